//! A limit in Redis over TLS, with a client certificate.
//!
//! `cargo run --features redis --example redis_tls` starts `redis-server`, which must be installed, with certificates
//! of its own. It shows three clients: one that is accepted, one that does not trust the server, and one that the
//! server does not trust.
//!
//! To use a running server, pass its address and the certificates:
//! `cargo run --features redis --example redis_tls -- rediss://localhost:6380/0 ca.pem client.crt client.key`.
//! Omit the last two files if the server does not require a client certificate, and `ca.pem` if the system trusts
//! the certificate of the server. A user name and password belong in the address:
//! `rediss://user:password@localhost:6380/0`.

use std::{env, error::Error, path::PathBuf, time::Duration};

use ratethrottle::{Limiter, RedisStorage, Rule, Tls};
use throttle_testbed::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let mut arguments = env::args().skip(1);
    if let Some(url) = arguments.next() {
        let files: Vec<_> = arguments.map(PathBuf::from).collect();
        println!("{}", run(&url, &files).await?);
    } else {
        let server = tokio::task::block_in_place(|| Server::builder().tls().start());
        for line in compare(&server).await {
            println!("{line}");
        }
    }
    Ok(())
}

/// Connects with three sets of certificates, and describes the results.
async fn compare(server: &Server) -> [String; 3] {
    let files = server.certificates();
    let clients = [
        ("the right certificates", [files.ca(), files.client(), files.client_key()]),
        (
            "a server that the client does not trust",
            [files.other_ca(), files.client(), files.client_key()],
        ),
        (
            "a client that the server does not trust",
            [files.ca(), files.other_client(), files.other_client_key()],
        ),
    ];
    let mut lines = [const { String::new() }; 3];
    for (line, (title, files)) in lines.iter_mut().zip(clients) {
        *line = match run(&server.url(), &files).await {
            Ok(result) => format!("{title}: {result}"),
            Err(error) => format!("{title}: {error}"),
        };
    }
    lines
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
    use super::*;

    #[tokio::test]
    async fn client_and_server_verify_each_other() {
        let server = Server::builder().tls().start();
        let [right, untrusted_server, untrusted_client] = compare(&server).await;
        assert!(right.contains("99 left"), "{right}");
        assert!(untrusted_server.contains("not signed by a trusted CA"), "{untrusted_server}");
        assert!(untrusted_client.contains("certificate"), "{untrusted_client}");
    }

    #[tokio::test]
    async fn the_client_certificate_is_optional() {
        let server = Server::builder().tls_without_client_certificates().start();
        run(&server.url(), &[server.certificates().ca()]).await.unwrap();
    }
}
