//! A limit on Redis over TLS, with a client certificate.
//!
//! `cargo run --features redis --example redis_tls -- rediss://localhost:6380/0 ca.pem client.crt client.key`. The last
//! two may be left out where the server asks for no certificate, and `ca.pem` where the system trusts
//! the server's. A login stands in the address: `rediss://user:password@localhost:6380/0`.

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

/// Connects; `files` are the CA, the client's certificate and its key, or the first of them.
async fn connect(url: &str, files: &[PathBuf]) -> Result<RedisStorage, ratethrottle::redis::Error> {
    let mut tls = Tls::new(); // trusts the system's roots, shows no certificate
    if let [ca, ..] = files {
        tls = tls.ca(ca); // trusts this one instead
    }
    if let [_, certificate, key, ..] = files {
        tls = tls.client(certificate, key);
    }
    RedisStorage::builder(url)
        .tls(tls)
        .connect_timeout(Duration::from_secs(5)) // TLS and login included; the default is 2 s
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
    async fn it_shows_its_certificate_and_checks_the_servers() {
        let server = Server::builder().tls().start();
        let files = server.certificates();
        let ours = [files.ca(), files.client(), files.client_key()];
        let said = run(&server.url(), &ours).await.unwrap();
        assert!(said.starts_with("99 left"), "{said}");

        let error = run(&server.url(), &[files.other_ca()]).await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    }

    #[tokio::test]
    async fn a_server_may_ask_for_no_certificate() {
        let server = Server::builder().tls_without_client_certificates().start();
        run(&server.url(), &[server.certificates().ca()]).await.unwrap();
    }
}
