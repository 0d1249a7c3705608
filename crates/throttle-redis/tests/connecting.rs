//! Addresses, logins, certificates and options, and their errors.

mod common;

use std::time::{Duration, Instant};

use common::{limiter, rule};
use throttle_core::Storage;
use throttle_redis::{Error, RedisStorage, Tls, redis};
use throttle_testbed::{Cluster, Sentinels, Server};
use tokio::{io::AsyncWriteExt, net::TcpListener};

async fn connect_error(builder: throttle_redis::RedisStorageBuilder) -> String {
    let error = builder.connect().await.expect_err("it fails");
    let text = format!("{error} / {error:?}");
    assert!(!text.contains("hunter2"), "the error shows the password: {text}");
    text
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let server = Server::builder().password("right").start();
    let text = connect_error(RedisStorage::builder(&server.url_as("", "hunter2"))).await;
    assert!(text.contains("check the username and password"), "{text}");
    let text = connect_error(RedisStorage::builder(&format!("redis://{}", server.address()))).await;
    assert!(text.contains("password"), "{text}");
}

#[tokio::test]
async fn the_error_of_a_wrong_server_has_its_cause_and_advice() {
    let server = Server::start();
    let plain = server.address();
    let sentinels = Sentinels::start();
    let sentinel = sentinels.sentinel_addresses()[0].clone();
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let strange = stranger.local_addr().unwrap();
    let answers = async {
        loop {
            let (mut client, _) = stranger.accept().await.unwrap();
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    };
    let not_redis = "check that Redis listens at this host and port, and that both sides use TLS";
    let asking = async {
        for (url, cause, advice) in [
            (format!("redis+cluster://{plain}"), "cluster support disabled", "use redis://"),
            (format!("redis+sentinel://{plain}/main"), "sentinel", "default port 26379"),
            (format!("redis://{plain}/99"), "DB index is out of range", "below `databases`"),
            (format!("redis://{strange}"), "not in the Redis protocol", not_redis),
            (format!("rediss://{plain}"), "", not_redis),
            (format!("redis+sentinel://{sentinel}/other"), "", "check the name of the master"),
        ] {
            let builder = RedisStorage::builder(&url).connect_timeout(Duration::from_secs(1));
            let error = builder.connect().await.unwrap_err().to_string();
            assert!(error.contains(cause) && error.contains(advice), "{url}: {error}");
            assert!(!error.contains('\n'), "{url}: the error has several lines: {error}");
        }
    };
    tokio::select! { () = asking => {} () = answers => {} }
}

#[tokio::test]
async fn an_acl_user_needs_only_these_commands() {
    let rules = format!("~ratethrottle:* {}", COMMANDS);
    let server = Server::builder().acl_user("limiter", "secret", &rules).start();
    let url = server.url_as("limiter", "secret");
    let storage = RedisStorage::connect(&url).await.unwrap();
    let limiter = limiter(
        &storage,
        throttle_core::Algorithm::ALL.map(|algorithm| {
            throttle_core::Rule::per_minute(algorithm.as_str(), 3)
                .algorithm(algorithm)
                .block(Duration::from_secs(60))
        }),
    );
    for algorithm in throttle_core::Algorithm::ALL {
        let name = algorithm.as_str();
        for _ in 0..5 {
            limiter.check("k", name).await.unwrap();
        }
        limiter.peek("k", name).await.unwrap();
        limiter.refund("k", name, 1).await.unwrap();
        limiter.reset("k", name).await.unwrap();
    }
    storage.set("v", "1".into(), Some(Duration::from_secs(9))).await.unwrap();
    storage.increment("v", 1, Some(Duration::from_secs(9))).await.unwrap();
    storage.get("v").await.unwrap();
    storage.exists("v").await.unwrap();
    storage.delete("v").await.unwrap();
    storage.clear().await.unwrap();
    let lists = limiter.shared_lists().await.unwrap();
    lists.deny("user:1").await.unwrap();
    lists.remove_denied("user:1").await.unwrap();
    storage.info().await.unwrap();
    storage.ping().await.unwrap();
}

/// The commands of a plain connection. `access.rs` tests the rules of the guide.
const COMMANDS: &str = "+evalsha +script|load +time +get +set +unlink +lrange +lindex +llen +lset \
     +ltrim +lrem +rpush +pexpire +exists +incrby +scan +ping +info +zadd +zrem +zrange \
     +zrangebyscore +zcard +zscore +zcount +zrank +xadd +xrange +xrevrange +persist +pexpireat";

#[tokio::test]
async fn the_error_of_a_user_without_scripts_names_the_permissions() {
    let server = Server::builder().acl_user("weak", "hunter2", "~* +ping +get +hello").start();
    let storage = RedisStorage::connect(&server.url_as("weak", "hunter2")).await.unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    let error = limiter.check("k", "r").await.unwrap_err().to_string();
    assert!(error.contains("NOPERM") && error.contains("ACL"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_user_without_access_to_the_keys_gets_an_error() {
    let server = Server::builder().acl_user("other", "hunter2", "~other:* +@all").start();
    let storage = RedisStorage::connect(&server.url_as("other", "hunter2")).await.unwrap();
    let error = limiter(&storage, [rule("r", 10)]).check("k", "r").await.unwrap_err().to_string();
    assert!(error.contains("NOPERM"), "{error}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_rejected_on_either_side() {
    let server = Server::builder().tls().start();
    let files = server.certificates();
    let builder = || RedisStorage::builder(&server.url()).connect_timeout(Duration::from_secs(2));

    let untrusted = Tls::new().ca(files.other_ca()).client(files.client(), files.client_key());
    let text = connect_error(builder().tls(untrusted)).await;
    assert!(text.contains("certificate"), "{text}");

    let untrusted_client =
        Tls::new().ca(files.ca()).client(files.other_client(), files.other_client_key());
    connect_error(builder().tls(untrusted_client)).await;

    connect_error(builder().tls(Tls::new().ca(files.ca()))).await; // the server requires a client certificate
    let text = connect_error(builder().tls(Tls::new().ca("/nowhere/ca.pem"))).await;
    assert!(text.contains("/nowhere/ca.pem"), "{text}");
}

#[tokio::test]
async fn the_address_can_name_files_for_tls() {
    let server = Server::builder().tls().start();
    let files = server.certificates();
    let (ca, cert, key) = (files.ca(), files.client(), files.client_key());
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    let url = format!("{}?ca={ca}&cert={cert}&key={key}", server.url());
    RedisStorage::connect(&url).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn plain_text_to_a_tls_port_and_tls_to_a_plain_port_fail_within_the_timeout() {
    let began = Instant::now();
    let server = Server::builder().tls().start();
    let plain = format!("redis://{}", server.address());
    connect_error(RedisStorage::builder(&plain).connect_timeout(Duration::from_secs(1))).await;
    let server = Server::start();
    let tls = format!("rediss://{}", server.address());
    connect_error(RedisStorage::builder(&tls).connect_timeout(Duration::from_secs(1))).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_error_of_an_unreachable_server_has_its_address() {
    let server = Server::start();
    let url = server.url();
    server.kill();
    let text = connect_error(RedisStorage::builder(&url)).await;
    assert!(text.contains(&server.address()) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_storage_that_connects_in_the_background_works_once_redis_is_up() {
    let server = Server::start();
    server.stop();
    let storage = RedisStorage::builder(&server.url()).connect_in_background().unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    let error = limiter.check("k", "r").await.unwrap_err().to_string();
    assert!(error.contains("no connection"), "{error}");
    server.restart();
    common::until_answered(&limiter, "k", "r", Duration::from_secs(3)).await;
}

#[tokio::test]
async fn options_out_of_range_are_named() {
    let builder = || RedisStorage::builder("redis://127.0.0.1:1");
    for (builder, option) in [
        (builder().max_connections(0), "max_connections"),
        (builder().connect_timeout(Duration::ZERO), "connect_timeout"),
        (builder().response_timeout(Duration::MAX), "response_timeout"),
        (builder().retries(101), "retries"),
        (builder().health_check_interval(Duration::ZERO), "health_check_interval"),
        (builder().key_prefix(""), "key_prefix"),
        (builder().key_prefix("a{b"), "key_prefix"),
        (builder().key_prefix("x".repeat(129)), "key_prefix"),
        (builder().hash_keys("hunter2"), "hash_keys"),
        (builder().database(-1), "database"),
        (builder().client_name("a b"), "client_name"),
        (RedisStorage::cluster(Vec::<String>::new()), "nodes"),
        (RedisStorage::cluster(["h:1"]).database(1), "database"),
        (RedisStorage::sentinel(Vec::<String>::new(), "m"), "sentinels"),
        (RedisStorage::sentinel(["h:1"], ""), "master"),
    ] {
        let text = connect_error(builder).await;
        assert!(text.contains(option), "{option}: {text}");
    }
    let text = connect_error(RedisStorage::sentinel(["h:x"], "m")).await;
    assert!(text.contains("port"), "{text}");
    let text = connect_error(RedisStorage::cluster(["redis+sentinel://h/m"])).await;
    assert!(text.contains("sentinels"), "{text}");
}

#[test]
fn a_builder_without_a_runtime_is_an_error() {
    let error = RedisStorage::builder("redis://127.0.0.1:1").connect_in_background().unwrap_err();
    assert!(matches!(error, Error::NoRuntime));
}

#[tokio::test]
async fn every_option_reaches_the_server() {
    let server = Server::start();
    let storage = RedisStorage::builder(&format!("{}/3", server.url()))
        .client_name("limits-of-web-1")
        .max_connections(3)
        .key_prefix("app:")
        .resp3(false)
        .connect()
        .await
        .unwrap();
    limiter(&storage, [rule("r", 10)]).check("k", "r").await.unwrap();
    assert_eq!(server.command(&["INFO", "keyspace"]).to_string().matches("db3:keys=1").count(), 1);
    let clients = server.command(&["CLIENT", "LIST"]).to_string();
    let ours: Vec<_> = clients.lines().filter(|c| c.contains("name=limits-of-web-1")).collect();
    assert!((1..=3).contains(&ours.len()), "{clients}");
    assert!(ours.iter().all(|client| client.contains("db=3") && !client.contains("resp=3")));
    let keys = server.try_command(&["SCAN", "0"]).unwrap(); // database 0 is empty
    assert!(!keys.to_string().contains("app:"));
}

#[tokio::test]
async fn the_address_login_and_database_of_a_client_are_used() {
    let server = Server::builder().password("secret").start();
    let client = redis::Client::open(format!("{}/2", server.url())).unwrap();
    let storage = RedisStorage::from_client(&client).await.unwrap();
    storage.set("v", "1".into(), None).await.unwrap();
    assert!(server.command(&["INFO", "keyspace"]).to_string().contains("db2:keys=1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_servers_can_have_different_passwords_and_tls() {
    let sentinels =
        Sentinels::builder().password("for redis").sentinel_password("for sentinels").tls().start();
    let files = sentinels.servers()[0].certificates();
    let tls = || Tls::new().ca(files.ca()).client(files.client(), files.client_key());
    let builder = || {
        RedisStorage::sentinel(sentinels.sentinel_addresses(), sentinels.master_name()).tls(tls())
    };
    let storage =
        builder().password("for redis").sentinel_password("for sentinels").connect().await.unwrap();
    assert!(limiter(&storage, [rule("r", 1)]).check("k", "r").await.unwrap().is_allowed());
    connect_error(builder().password("for redis").sentinel_password("hunter2")).await;
    connect_error(builder().password("hunter2").sentinel_password("for sentinels")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_master_is_named() {
    let sentinels = Sentinels::start();
    let builder = RedisStorage::sentinel(sentinels.sentinel_addresses(), "theirmaster");
    let text = connect_error(builder).await;
    assert!(text.contains("theirmaster") && text.contains("name of the master"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_can_have_passwords_and_tls() {
    let cluster = Cluster::builder().password("secret").tls().start();
    let files = cluster.masters()[0].certificates();
    let tls = Tls::new().ca(files.ca()).client(files.client(), files.client_key());
    let storage = RedisStorage::cluster(cluster.urls()).tls(tls).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 1)]);
    for key in 0..20 {
        assert!(limiter.check(&format!("k{key}")[..], "r").await.unwrap().is_allowed());
    }
    assert_eq!(storage.info().await.unwrap().nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_single_cluster_node_has_the_right_scheme() {
    let cluster = Cluster::builder().without_replicas().start();
    let storage = RedisStorage::connect(&cluster.urls()[0]).await.unwrap();
    let limiter = limiter(&storage, [rule("r", 1)]);
    let mut advised = false;
    for key in 0..20 {
        if let Err(error) = limiter.check(&format!("k{key}")[..], "r").await {
            advised |= error.to_string().contains("redis+cluster://");
        }
    }
    assert!(advised);
}

#[tokio::test]
async fn info_and_statistics_describe_the_server() {
    let server = Server::builder().option("maxmemory", "100mb").start();
    let storage = common::standalone(&server).await;
    let info = storage.info().await.unwrap();
    assert_eq!((info.topology.as_str(), info.nodes.len()), ("standalone", 1));
    let node = &info.nodes[0];
    assert_eq!((node.role.as_str(), node.address.clone()), ("master", server.address()));
    assert!(node.version.starts_with(|c: char| c.is_ascii_digit()), "{node:?}");
    assert!(node.used_memory > 100_000 && node.connected_clients >= 1, "{node:?}");
    assert_eq!(node.max_memory, Some(100 << 20));
    assert!(storage.ping().await.unwrap() < Duration::from_secs(1));
    let stats = storage.stats();
    assert!(stats.connections >= 1 && stats.reconnects == 0, "{stats:?}");
}
