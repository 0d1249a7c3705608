//! The test vectors and the whole conformance suite, on every topology.

mod common;

use common::{cluster, sentinel, standalone};
use throttle_core::Scope;
use throttle_redis::{RedisStorage, Tls, redis};
use throttle_testbed::{Cluster, Sentinels, Server};
use throttle_testkit::Suite;

async fn conforms(storage: RedisStorage) {
    let report = Suite::new(|| async { storage.clone() }).scope(Scope::Shared).run().await;
    assert_eq!((report.vectors, report.decisions), (225, 8_940));
    assert!(report.checks > 80, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standalone_server_conforms() {
    let server = Server::start();
    conforms(standalone(&server).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_over_resp2_with_hidden_identities_and_one_connection_conforms() {
    let server = Server::builder().password("se/cr@et").start();
    let builder = RedisStorage::builder(&server.url())
        .resp3(false)
        .hash_keys(*b"sixteen bytes...")
        .max_connections(1);
    conforms(builder.connect().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_with_tls_and_client_certificates_conforms() {
    let server = Server::builder().tls().start();
    let files = server.certificates();
    let tls = Tls::new().ca(files.ca()).client(files.client(), files.client_key());
    conforms(RedisStorage::builder(&server.url()).tls(tls).connect().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_behind_sentinels_conforms() {
    let sentinels = Sentinels::start();
    conforms(sentinel(&sentinels).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_conforms() {
    let nodes = Cluster::start();
    conforms(cluster(&nodes).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_existing_connection_conforms() {
    let server = Server::start();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    conforms(RedisStorage::from_connection(connection, "given:").unwrap()).await;
}
