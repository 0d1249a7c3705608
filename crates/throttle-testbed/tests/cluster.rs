//! Moves of slots, and failovers to replicas.

use std::time::{Duration, Instant};

use throttle_testbed::{Cluster, Reply, Server};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the text of the error that a node answers.
fn error(server: &Server, command: &[&str]) -> String {
    match server.try_command(command).expect("the node runs") {
        Reply::Error(words) => words,
        reply => panic!("{command:?} was answered with {reply:?}"),
    }
}

fn started(start: impl FnOnce() -> Cluster) -> Cluster {
    let now = Instant::now();
    let cluster = start();
    eprintln!("started in {:?}", now.elapsed());
    cluster
}

#[test]
fn a_replica_takes_over_by_command_and_after_a_failure() {
    let cluster = started(Cluster::start);
    assert_eq!((cluster.addresses().len(), cluster.masters().len()), (6, 3));
    let slot = cluster.slot_of("key");
    let master = cluster.node_of_slot(slot);
    let replica = cluster.replica_of(master);
    master.command(&["SET", "key", "value"]);

    cluster.failover(replica);
    assert_eq!(cluster.node_of_slot(slot).port(), replica.port());
    assert_eq!(replica.command(&["GET", "key"]).to_string(), "value");

    let killed = Instant::now();
    replica.kill();
    cluster.wait_until_ok(TIMEOUT);
    eprintln!("healthy again after {:?}", killed.elapsed());
    assert_eq!(cluster.node_of_slot(slot).port(), master.port());
    assert_eq!(master.command(&["GET", "key"]).to_string(), "value");

    replica.restart();
    cluster.wait_until_ok(TIMEOUT);
    assert_eq!(cluster.replica_of(master).port(), replica.port());
}

#[test]
fn a_slot_that_moves_answers_ask_and_then_moved() {
    let cluster =
        started(|| Cluster::builder().without_replicas().password("secret").tls().start());
    let slot = cluster.slot_of("{tag}");
    let old = cluster.node_of_slot(slot);
    let new = cluster.masters().into_iter().find(|node| node.port() != old.port()).unwrap();
    for i in 0..250 {
        old.command(&["SET", &format!("{{tag}}{i}"), "value"]);
    }
    assert_eq!(error(new, &["GET", "{tag}1"]), format!("MOVED {slot} {}", old.address()));

    let moving = cluster.begin_move(slot, new);
    assert_eq!(old.command(&["GET", "{tag}1"]).to_string(), "value");
    assert_eq!(error(old, &["GET", "{tag}new"]), format!("ASK {slot} {}", new.address()));
    moving.move_keys();
    assert_eq!(error(old, &["GET", "{tag}1"]), format!("ASK {slot} {}", new.address()));
    assert_eq!(error(new, &["GET", "{tag}1"]), format!("MOVED {slot} {}", old.address()));
    moving.finish();

    assert_eq!(error(old, &["GET", "{tag}1"]), format!("MOVED {slot} {}", new.address()));
    assert_eq!(new.command(&["GET", "{tag}249"]).to_string(), "value");
    cluster.move_slot(slot, old);
    assert_eq!(old.command(&["GET", "{tag}249"]).to_string(), "value");
}

#[test]
fn without_full_coverage_the_other_slots_are_served() {
    let cluster = started(|| Cluster::builder().without_replicas().full_coverage(false).start());
    let [dead, alive] = [cluster.node_of_slot(0), cluster.node_of_slot(16_383)];
    dead.kill();
    let key = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .find(|key| cluster.node_of_slot(cluster.slot_of(key)).port() == alive.port())
        .unwrap();
    let end = Instant::now() + TIMEOUT;
    while !alive.command(&["CLUSTER", "NODES"]).to_string().contains("master,fail ") {
        assert!(Instant::now() < end);
    }
    alive.command(&["SET", key, "value"]);
}
