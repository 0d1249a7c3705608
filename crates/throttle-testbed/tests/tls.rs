//! TLS and client certificates.

use std::{
    path::Path,
    process::{Command, Output},
};

use throttle_testbed::Server;

/// Sends a PING by `redis-cli`. The testbed's own connection does not use TLS.
fn ping(redis: &Server, ca: &Path, client: Option<(&Path, &Path)>) -> Output {
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", "127.0.0.1", "-p", &redis.port().to_string(), "--tls", "--cacert"]).arg(ca);
    if let Some((certificate, key)) = client {
        cli.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    cli.arg("PING").output().expect("redis-cli comes with redis-server")
}

fn answers(output: &Output) -> bool {
    output.stdout == b"PONG\n"
}

#[test]
fn only_certificates_of_the_right_authority_are_accepted() {
    let redis = Server::builder().tls().start();
    let files = redis.certificates();
    let (client, client_key) = (files.client(), files.client_key());
    let (other, other_key) = (files.other_client(), files.other_client_key());
    let ours = Some((client.as_path(), client_key.as_path()));
    let others = Some((other.as_path(), other_key.as_path()));

    assert!(answers(&ping(&redis, &files.ca(), ours)));
    for (ca, client, words) in [
        (files.ca(), None, ""),
        (files.ca(), others, ""),
        (files.other_ca(), ours, "certificate verify failed"),
    ] {
        let output = ping(&redis, &ca, client);
        assert!(!answers(&output));
        let output = String::from_utf8_lossy(&output.stderr);
        assert!(output.contains(words), "{output}");
    }
    assert!(redis.url().starts_with("rediss://127.0.0.1:"));
    assert_eq!(redis.command(&["PING"]).to_string(), "PONG");
}

#[test]
fn client_certificates_can_be_optional() {
    let redis = Server::builder().tls_without_client_certificates().start();
    assert!(answers(&ping(&redis, &redis.certificates().ca(), None)));
}
