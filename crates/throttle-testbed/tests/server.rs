//! A server starts quickly with its options, and leaves nothing behind.

use std::{
    env,
    io::{BufRead, BufReader},
    net::TcpStream,
    panic,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, test_kill_process};
use throttle_testbed::{Reply, Server};

const HANG: &str = "THROTTLE_TESTBED_HANG";

fn runs(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    test_kill_process(pid.expect("it is a process ID")).is_ok()
}

fn has_ended(pid: u32, folder: &Path) -> bool {
    !runs(pid) && !folder.exists()
}

#[test]
fn a_server_answers_and_ends_with_its_handle() {
    let started = Instant::now();
    let redis = Server::start();
    eprintln!("started in {:?}", started.elapsed());

    assert_eq!(redis.command(&["PING"]).to_string(), "PONG");
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    TcpStream::connect(redis.address()).unwrap();

    let (pid, folder) = (redis.pid(), redis.folder().to_owned());
    assert!(runs(pid) && folder.exists());
    drop(redis);
    assert!(has_ended(pid, &folder));
}

#[test]
fn a_server_ends_with_a_test_that_panics() {
    let thread = thread::spawn(|| {
        let redis = Server::start();
        panic::panic_any((redis.pid(), redis.folder().to_owned()));
    });
    let payload = thread.join().unwrap_err();
    let (pid, folder) = payload.downcast_ref::<(u32, PathBuf)>().unwrap();
    assert!(has_ended(*pid, folder));
}

/// Runs this test again in another process, which is killed.
#[test]
fn a_server_ends_with_a_test_that_is_killed() {
    if env::var_os(HANG).is_some() {
        let redis = Server::start();
        println!("\nserver {} {}", redis.pid(), redis.folder().display());
        loop {
            thread::park();
        }
    }
    let mut test = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_server_ends_with_a_test_that_is_killed", "--nocapture"])
        .env(HANG, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("server ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let pid = words.next().unwrap().parse().unwrap();
    let folder = PathBuf::from(words.next().unwrap());
    assert!(runs(pid) && folder.exists());

    test.kill().unwrap();
    test.wait().unwrap();

    let end = Instant::now() + Duration::from_secs(5);
    while !has_ended(pid, &folder) {
        assert!(Instant::now() < end, "{pid} or {} is still there", folder.display());
        thread::yield_now();
    }
}

#[test]
fn many_servers_start_at_once() {
    let start = |_| thread::spawn(Server::start);
    let threads: Vec<_> = (0..8).map(start).collect();
    let servers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for redis in &servers {
        assert_eq!(redis.command(&["PING"]).to_string(), "PONG");
    }
}

#[test]
fn a_restarted_server_has_its_port_and_no_data() {
    let redis = Server::start();
    let (port, pid) = (redis.port(), redis.pid());
    redis.command(&["SET", "key", "value"]);

    redis.kill();
    assert!(!redis.is_running() && !runs(pid));
    assert!(redis.try_command(&["PING"]).is_err());
    TcpStream::connect(redis.address()).unwrap_err();

    redis.restart();
    assert!(redis.is_running());
    assert_eq!(redis.port(), port);
    assert_eq!(redis.command(&["GET", "key"]), Reply::Nil);

    redis.restart();
    redis.stop();
    assert!(!redis.is_running());
    assert!(redis.log().contains("Redis is now ready to exit"));
}

#[test]
fn an_option_can_keep_the_data_over_a_restart() {
    let redis = Server::builder().option("appendonly", "yes").option("maxmemory", "8mb").start();
    redis.command(&["SET", "key", "value"]);
    redis.stop();
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]).to_string(), "value");
    assert_eq!(redis.command(&["CONFIG", "GET", "maxmemory"]).list()[1].integer(), 8 << 20);
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let redis = Server::start();
    redis.pause();
    assert!(!redis.is_running());
    thread::scope(|scope| {
        let asked = scope.spawn(|| redis.command(&["PING"]));
        // The kernel still accepts the connection.
        TcpStream::connect(redis.address()).unwrap();
        assert!(!asked.is_finished());
        redis.resume();
        assert_eq!(asked.join().unwrap().to_string(), "PONG");
    });
    redis.pause();
    redis.stop();
}

#[test]
fn passwords_and_users_are_required() {
    let redis = Server::builder()
        .password("p \"w\"")
        .acl_user("limiter", "secret", "~throttle:* +@all")
        .start();
    assert!(redis.url().starts_with("redis://:p%20%22w%22@127.0.0.1:"));
    assert!(redis.url_as("limiter", "secret").starts_with("redis://limiter:secret@"));
    for (user, password, error) in [
        ("default", "p \"w\"", false),
        ("limiter", "secret", false),
        ("default", "secret", true),
        ("limiter", "wrong", true),
    ] {
        let reply = redis.try_command(&["AUTH", user, password]).unwrap();
        assert_eq!(matches!(reply, Reply::Error(_)), error, "{user} {password}: {reply}");
    }
}

#[test]
#[should_panic(expected = "no-such-option")]
fn the_output_of_a_failed_start_is_in_the_panic() {
    let _ = Server::builder().option("no-such-option", "1").start();
}

#[test]
#[should_panic(expected = "answered `INCRBY` with: ERR wrong number of arguments")]
fn an_error_panics_with_the_command() {
    Server::start().command(&["INCRBY"]);
}
