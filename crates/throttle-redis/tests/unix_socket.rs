//! Redis on a Unix socket.
#![cfg(unix)]

mod common;

use std::time::Duration;

use common::{fixed, limiter, until_answered};
use throttle_redis::{RedisStorage, Tls, redis};
use throttle_testbed::Server;

#[tokio::test]
async fn every_spelling_of_a_socket_address_works() {
    let server = Server::builder().acl_user("limiter", "p@ss/word", "~* &* +@all").start();
    let path = server.socket();
    let path = path.display();
    for (n, url) in (1..).zip([
        format!("redis+unix://{path}?user=limiter&pass=p%40ss%2Fword&db=2"),
        format!("unix://{path}?pass=p%40ss%2Fword&user=limiter&db=2&protocol=2"),
        format!("valkey+unix://limiter:p%40ss%2Fword@{path}?db=2"),
    ]) {
        let storage = RedisStorage::connect(&url).await.unwrap();
        let decision = limiter(&storage, [fixed("r", 10)]).check("k", "r").await.unwrap();
        assert_eq!(decision.remaining(), 10 - n, "all addresses share the count");
        let info = storage.info().await.unwrap();
        assert_eq!(info.topology, "standalone");
        assert_eq!(info.nodes[0].address, path.to_string());
    }
    assert!(server.command(&["INFO", "keyspace"]).to_string().contains("db2:keys=1"));

    let client = redis::Client::open(format!("unix://{path}?user=limiter&pass=p%40ss%2Fword&db=2"));
    let storage = RedisStorage::from_client(&client.unwrap()).await.unwrap();
    assert_eq!(limiter(&storage, [fixed("r", 10)]).peek("k", "r").await.unwrap().remaining(), 7);
}

#[tokio::test]
async fn a_socket_reconnects_after_a_restart() {
    let server = Server::start();
    let url = format!("redis+unix://{}", server.socket().display());
    let storage = RedisStorage::connect(&url).await.unwrap();
    let limiter = limiter(&storage, [fixed("r", 10)]);
    limiter.check("k", "r").await.unwrap();
    server.restart();
    until_answered(&limiter, "k", "r", Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_error_of_a_socket_has_its_path() {
    let server = Server::builder().option("unixsocketperm", "700").start();
    let connect_error = async |url: String| {
        let builder = RedisStorage::builder(&url).connect_timeout(Duration::from_secs(1));
        builder.connect().await.unwrap_err().to_string()
    };
    let text = connect_error("redis+unix:///nowhere/redis.sock".to_owned()).await;
    assert!(text.contains("(/nowhere/redis.sock)") && text.contains("the path"), "{text}");
    let text =
        connect_error(format!("unix://{}", server.folder().join("redis.conf").display())).await;
    assert!(text.contains("redis.conf") && text.contains("check that Redis is running"), "{text}");

    let url = format!("unix://{}", server.socket().display());
    let error = RedisStorage::builder(&url).tls(Tls::new()).connect().await.unwrap_err();
    assert!(error.to_string().contains("Unix socket"), "{error}");
    let error = RedisStorage::cluster([&url]).connect().await.unwrap_err();
    assert!(error.to_string().contains("Unix socket"), "{error}");
}
