//! A limit in Redis over TLS, with a client certificate.
//!
//! Run `cargo run --features redis --example redis_tls -- rediss://localhost:6380/0 ca.pem client.crt client.key`.
//! Omit the last two files if the server does not require a client certificate, and `ca.pem` if the system trusts
//! the certificate of the server. A user name and password belong in the address:
//! `rediss://user:password@localhost:6380/0`.

use std::{env, error::Error, path::PathBuf, time::Duration};

use ratethrottle::{Limiter, RedisStorage, Rule, Tls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let mut arguments = env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "rediss://localhost:6380/0".to_owned());
    let files: Vec<_> = arguments.map(PathBuf::from).collect();
    println!("{}", run(&url, &files).await?);
    Ok(())
}

/// Connects with TLS. `files` are the CA certificate, the client certificate and its key; the last two are
/// optional.
async fn connect(url: &str, files: &[PathBuf]) -> Result<RedisStorage, ratethrottle::redis::Error> {
    let mut tls = Tls::new(); // trusts the root certificates of the system, sends no client certificate
    if let [ca, ..] = files {
        tls = tls.ca(ca); // trusts only this CA
    }
    if let [_, certificate, key, ..] = files {
        tls = tls.client(certificate, key);
    }
    RedisStorage::builder(url)
        .tls(tls)
        .connect_timeout(Duration::from_secs(5)) // including TLS and authentication; the default is 2 s
        .key_prefix("tls-example:")
        .connect()
        .await
}

async fn run(url: &str, files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let storage = connect(url, files).await?;
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_minute("api", 100))?;
    let decision = limiter.check("user:42", "api").await?;
    let took = storage.ping().await?;
    Ok(format!("{} left; a ping took {took:?}", decision.remaining()))
}

#[cfg(test)]
mod tests {
    use throttle_testbed::Server;

    use super::*;

    #[tokio::test]
    async fn client_and_server_verify_each_other() {
        let server = Server::builder().tls().start();
        let files = server.certificates();
        let own = [files.ca(), files.client(), files.client_key()];
        let line = run(&server.url(), &own).await.unwrap();
        assert!(line.starts_with("99 left"), "{line}");

        let error = run(&server.url(), &[files.other_ca()]).await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    }

    #[tokio::test]
    async fn the_client_certificate_is_optional() {
        let server = Server::builder().tls_without_client_certificates().start();
        run(&server.url(), &[server.certificates().ca()]).await.unwrap();
    }
}
