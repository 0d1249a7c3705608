//! Elections of a new master.

use std::time::{Duration, Instant};

use throttle_testbed::{Reply, Sentinels};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn a_killed_master_is_replaced() {
    let started = Instant::now();
    let sentinels = Sentinels::start();
    eprintln!("started in {:?}", started.elapsed());
    assert_eq!(sentinels.sentinel_addresses().len(), 3);
    assert_eq!(sentinels.master().port(), sentinels.servers()[0].port());
    sentinels.master().command(&["SET", "key", "value"]);
    sentinels.master().command(&["WAIT", "2", "5000"]);

    let killed = Instant::now();
    let old = sentinels.kill_master();
    let new = sentinels.wait_for_new_master(old, TIMEOUT);
    eprintln!("elected in {:?}", killed.elapsed());

    assert_ne!(new.port(), old.port());
    assert_eq!(sentinels.master().port(), new.port());
    assert_eq!(new.command(&["GET", "key"]).to_string(), "value");
    new.command(&["SET", "key", "after"]);

    let pids: Vec<_> = sentinels.sentinels().iter().map(|sentinel| sentinel.pid()).collect();
    drop(sentinels);
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::test_kill_process(pid).unwrap_err();
    }
}

#[test]
fn a_failover_of_a_healthy_master_works_with_passwords_and_tls() {
    let started = Instant::now();
    let sentinels = Sentinels::builder().password("data").sentinel_password("watch").tls().start();
    eprintln!("started in {:?}", started.elapsed());
    for (server, password) in [(sentinels.master(), "data"), (&sentinels.sentinels()[0], "watch")] {
        let wrong = server.try_command(&["AUTH", "default", "wrong"]).unwrap();
        assert!(matches!(wrong, Reply::Error(_)), "{wrong}");
        server.command(&["AUTH", "default", password]);
        assert!(server.url().starts_with(&format!("rediss://:{password}@")));
    }
    let old = sentinels.master();
    let new = sentinels.failover();
    eprintln!("failed over in {:?}", started.elapsed());
    assert_ne!(new.port(), old.port());
}
