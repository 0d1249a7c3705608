//! Errors of connecting with their cause and one advice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;
use throttle_redis::{Error, RedisStorage, RedisStorageBuilder, Tls};
use throttle_testbed::Server;
use tokio::{io::AsyncWriteExt, net::TcpListener};

/// A timeout that is only reached if the machine is at fault.
const TIMEOUT: Duration = Duration::from_secs(20);

async fn connect_error(builder: RedisStorageBuilder) -> String {
    let builder = builder.connect_timeout(TIMEOUT);
    builder.connect().await.expect_err("it fails").to_string()
}

/// Takes the only connection that the server allows.
fn fill(server: &Server) -> TcpStream {
    server.command(&["CONFIG", "SET", "maxclients", "1"]);
    loop {
        // The connection that set the option may still be counted for a moment.
        let mut client = TcpStream::connect(server.address()).unwrap();
        let mut answer = [0; 5];
        let sent = client.write_all(b"PING\r\n");
        if sent.and_then(|()| client.read_exact(&mut answer)).is_ok() && &answer == b"+PONG" {
            return client;
        }
    }
}

#[tokio::test]
async fn a_server_at_its_client_limit_is_reported_as_such() {
    let server = Server::start();
    let _held = fill(&server);
    let socket = format!("unix://{}", server.socket().display());
    for url in [server.url(), format!("{}?protocol=2", server.url()), socket] {
        let text = connect_error(RedisStorage::builder(&url)).await;
        assert!(text.contains("ERR max number of clients reached"), "{text}");
        assert!(text.contains("raise maxclients"), "{text}");
        assert!(!text.contains("TLS"), "{text}");
    }
}

#[tokio::test]
async fn over_tls_the_advice_mentions_the_client_limit() {
    let server = Server::builder().tls_without_client_certificates().start();
    let storage =
        |url: &str| RedisStorage::builder(url).tls(Tls::new().ca(server.certificates().ca()));
    let first =
        storage(&server.url()).max_connections(1).connect_timeout(TIMEOUT).connect().await.unwrap();
    server.command(&["CONFIG", "SET", "maxclients", "1"]);
    let text = connect_error(storage(&server.url())).await;
    assert!(text.contains("maxclients"), "{text}");
    drop(first);
}

#[tokio::test]
async fn protected_mode_is_reported_with_the_first_sentence_of_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rejects = async {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let _ = client
                .write_all(b"-DENIED Redis is running in protected mode. Do this. Or that.\r\n")
                .await;
        }
    };
    let asks = connect_error(RedisStorage::builder(&format!("redis://{address}")));
    let text = tokio::select! { text = asks => text, () = rejects => unreachable!() };
    assert!(text.contains("DENIED Redis is running in protected mode; set a password"), "{text}");
}

#[tokio::test]
async fn a_server_that_closes_with_no_or_an_invalid_greeting_gets_the_general_advice() {
    for greeting in [&b""[..], b"hello\r\n", b"-\xff\r\n", b"+OK\r\n", &[b'-'; 10_000]] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closes = async {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let _ = client.write_all(greeting).await;
            }
        };
        let asks = connect_error(RedisStorage::builder(&format!("redis://{address}")));
        let text = tokio::select! { text = asks => text, () = closes => unreachable!() };
        assert!(text.contains("check that Redis listens"), "{greeting:?}: {text}");
    }
}

/// Writes a self-signed certificate and its key.
fn self_signed(folder: &TempDir, is_ca: IsCa, names: &[&str]) -> (PathBuf, PathBuf) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut wanted = CertificateParams::new(names).unwrap();
    wanted.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    let signed = wanted.self_signed(&key).unwrap();
    let files = (folder.path().join("server.crt"), folder.path().join("server.key"));
    std::fs::write(&files.0, signed.pem()).unwrap();
    std::fs::write(&files.1, key.serialize_pem()).unwrap();
    files
}

fn server_with((certificate, key): &(PathBuf, PathBuf)) -> Server {
    Server::builder()
        .tls_without_client_certificates()
        .option("tls-cert-file", certificate.display().to_string())
        .option("tls-key-file", key.display().to_string())
        .start()
}

#[tokio::test]
async fn each_rejected_certificate_has_the_advice_that_fixes_it() {
    let folder = TempDir::new().unwrap();
    let names = ["localhost", "127.0.0.1"];
    let files = self_signed(&folder, IsCa::Ca(BasicConstraints::Unconstrained), &names);
    let server = server_with(&files);
    let trusting = || RedisStorage::builder(&server.url()).tls(Tls::new().ca(&files.0));
    let text = connect_error(trusting()).await;
    assert!(text.contains("basicConstraints=critical,CA:FALSE"), "{text}");
    assert!(!text.contains("check the CA"), "{text}");
    drop(server);

    let files = self_signed(&folder, IsCa::ExplicitNoCa, &names);
    let server = server_with(&files);
    let storage = RedisStorage::builder(&server.url()).tls(Tls::new().ca(&files.0));
    storage
        .connect_timeout(TIMEOUT)
        .response_timeout(TIMEOUT)
        .connect()
        .await
        .expect("the advice was followed")
        .ping()
        .await
        .unwrap();
    let text = connect_error(RedisStorage::builder(&server.url())).await;
    assert!(text.contains("set `ca` to the CA's file") && !text.contains("CA:FALSE"), "{text}");
    drop(server);

    let files = self_signed(&folder, IsCa::ExplicitNoCa, &["elsewhere.example"]);
    let server = server_with(&files);
    let text =
        connect_error(RedisStorage::builder(&server.url()).tls(Tls::new().ca(&files.0))).await;
    assert!(text.contains("subjectAltName") && text.contains("elsewhere.example"), "{text}");
    drop(server);

    let server = Server::builder().tls().start();
    let ca = Tls::new().ca(server.certificates().ca());
    let text = connect_error(RedisStorage::builder(&server.url()).tls(ca)).await;
    assert!(text.contains("set one and its key") && !text.contains("check the CA"), "{text}");
}

#[tokio::test]
async fn a_wrong_file_for_tls_is_named() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = self_signed(&folder, IsCa::ExplicitNoCa, &["localhost"]);
    let flat = folder.path().join("flat.key");
    std::fs::write(&flat, std::fs::read_to_string(&key).unwrap().replace('\n', " ")).unwrap();
    for (tls, what, file) in [
        (Tls::new().ca(&key), "CA", &key),
        (Tls::new().client(&key, &key), "client certificate", &key),
        (Tls::new().client(&certificate, &certificate), "client key", &certificate),
        (Tls::new().client(&certificate, &flat), "client key", &flat),
    ] {
        let builder = RedisStorage::builder("rediss://127.0.0.1:1").tls(tls);
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(&error, Error::TlsFile { what: it, .. } if *it == what), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&*file.to_string_lossy()) && text.contains("PEM"), "{text}");
        // The content is shown neither as text nor as bytes.
        assert!(!format!("{text} {error:?}").contains("45, 45"), "{error:?}");
    }
}
