//! Stored values: their lifetime, their size, and values of other programs.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};
use throttle_core::{
    Algorithm, Charge, ChargeRequest, CheckedRule, Effect, Key, Micros, Refund, Rule,
    tag::{BLOCKED, FLAGS, FREED_SLOTS, RECEIPT_OFFSET},
};

use super::server::{Server, storage_key};
use crate::{
    lua::CHECK,
    script::{Op, request::MAX_TIME},
};

const FIXED_WINDOW: u8 = Algorithm::FixedWindow.number();
const SLIDING_WINDOW_COUNTER: u8 = Algorithm::SlidingWindowCounter.number();
const SLIDING_WINDOW_LOG: u8 = Algorithm::SlidingWindowLog.number();
const BUCKET: u8 = Algorithm::TokenBucket.number();

const NOW: Option<Micros> = Some(Micros::new(1_767_225_600_000_000));

fn rule_of(algorithm: Algorithm, limit: u64, window: Duration) -> Arc<CheckedRule> {
    Arc::new(Rule::new("api", limit, window).algorithm(algorithm).check().unwrap())
}

#[test]
fn with_the_servers_time_a_key_expires_to_the_millisecond() {
    let mut server = Server::start();
    for algorithm in Algorithm::ALL {
        let rule = rule_of(algorithm, 1, Duration::from_millis(200));
        let (name, key) = (algorithm.to_string(), Key::from(algorithm.as_str()));
        let charge = Charge::new(&key, &rule, 1);
        let outcome = server.acquire(Op::Acquire, &[charge], None).unwrap();
        let verdict = outcome.verdicts()[0];
        assert!(verdict.allowed, "{name}");

        let left: i64 = server.send(&format!("PTTL {}", storage_key(&charge)));
        let reset = i64::try_from(verdict.reset_after.get().div_ceil(1_000)).unwrap();
        assert!((reset - 100..=reset + 1).contains(&left), "{name}: {left} ms of {reset} ms");
        while server.send::<i64>("DBSIZE") > 0 {
            let again = server.acquire(Op::Peek, &[charge], None).unwrap();
            let elapsed = again.at().since(outcome.at());
            assert!(elapsed < Micros::new(1_000_000), "{name} has not expired");
            if elapsed < verdict.reset_after {
                assert!(!again.verdicts()[0].allowed, "{name} expired too early");
            }
        }
    }
}

#[test]
fn with_the_limiters_time_a_key_is_kept_a_minute_longer() {
    let mut server = Server::start();
    for algorithm in Algorithm::ALL {
        let rule = rule_of(algorithm, 1, Duration::from_secs(1));
        let key = Key::from(algorithm.as_str());
        let charge = Charge::new(&key, &rule, 1);
        let outcome = server.acquire(Op::Acquire, &[charge], NOW).unwrap();
        let reset_after = Duration::from(outcome.verdicts()[0].reset_after);
        let reset = i64::try_from((reset_after + ChargeRequest::TTL_MARGIN).as_millis()).unwrap();
        let left: i64 = server.send(&format!("PTTL {}", storage_key(&charge)));
        assert!((reset - 5_000..=reset).contains(&left), "{algorithm}: {left} ms of {reset} ms");
    }
}

#[test]
fn a_full_refund_removes_the_key() {
    let mut server = Server::start();
    for algorithm in Algorithm::ALL {
        let rule = rule_of(algorithm, 9, Duration::from_secs(60));
        let key = Key::from("k");
        let charge = Charge::new(&key, &rule, 3);
        let outcome = server.acquire(Op::Acquire, &[charge], NOW).unwrap();
        let receipt = outcome.verdicts()[0].receipt;
        assert_eq!(server.send::<i64>("DBSIZE"), 1, "{algorithm}");
        server.refund(&[Refund::new(charge, receipt)], NOW).unwrap();
        assert_eq!(server.send::<i64>("DBSIZE"), 0, "{algorithm}");
    }
}

#[test]
fn a_denial_and_a_peek_write_nothing() {
    let mut server = Server::start();
    for algorithm in Algorithm::ALL {
        let rule = rule_of(algorithm, 1, Duration::from_secs(60));
        let key = Key::from("k");
        let charge = Charge::new(&key, &rule, 1);
        server.acquire(Op::Acquire, &[charge], NOW).unwrap();
        let written = |server: &mut Server| -> u64 {
            let info: String = server.send("INFO persistence");
            let changes =
                info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
            changes.unwrap().parse().unwrap()
        };
        let before = written(&mut server);
        assert!(!server.acquire(Op::Acquire, &[charge], NOW).unwrap().is_allowed());
        assert!(!server.acquire(Op::Peek, &[charge], NOW).unwrap().is_allowed());
        assert_eq!(written(&mut server), before, "{algorithm}");
        server.send::<()>("FLUSHALL");
    }
}

#[test]
fn one_rule_of_64_that_denies_leaves_the_others_uncharged() {
    let mut server = Server::start();
    let key = Key::from("k");
    let rule = |i: usize| {
        let limit = if i == 40 { 2 } else { 10 };
        let rule = Rule::per_minute(format!("rule {i}"), limit);
        Arc::new(rule.algorithm(Algorithm::ALL[i % Algorithm::ALL.len()]).check().unwrap())
    };
    let rules: Vec<_> = (0..64).map(rule).collect();
    let charges: Vec<_> = rules.iter().map(|rule| Charge::new(&key, rule, 1)).collect();
    for is_allowed in [true, true, false, false] {
        let outcome = server.acquire(Op::Acquire, &charges, NOW).unwrap();
        let allowed = outcome.verdicts().iter().map(|verdict| verdict.allowed);
        assert!(allowed.enumerate().all(|(i, allowed)| allowed == (is_allowed || i != 40)));
        assert_eq!(outcome.verdicts().iter().all(|verdict| verdict.receipt.is_some()), is_allowed);
    }
    let outcome = server.acquire(Op::Peek, &charges, NOW).unwrap();
    for (i, verdict) in outcome.verdicts().iter().enumerate() {
        assert_eq!(verdict.remaining, if i == 40 { 0 } else { 8 }, "rule {i}");
    }
}

/// Asserts that an invalid value is an error of its key and stays, also in a request with another, valid key.
fn assert_corrupt(server: &mut Server, algorithm: Algorithm, write: impl Fn(&str) -> Cmd) {
    server.send::<()>("FLUSHALL");
    let rule = rule_of(algorithm, 9, Duration::from_secs(60));
    let keys = [Key::from("one"), Key::from("two")];
    let charges = [Charge::new(&keys[0], &rule, 1), Charge::new(&keys[1], &rule, 1)];
    server.ask::<()>(&write(&storage_key(&charges[1]))).unwrap();
    let dump = format!("DUMP {}", storage_key(&charges[1]));
    let before: Vec<u8> = server.send(&dump);
    let refunds = charges.map(|charge| Refund::new(charge, None));
    let errors = [
        server.acquire(Op::Acquire, &charges, NOW).unwrap_err(),
        server.acquire(Op::Peek, &charges, NOW).unwrap_err(),
        server.refund(&refunds, NOW).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("key \"rt:{two}:api\" cannot be read"), "{algorithm}: {text}");
        assert_eq!(error.effect(), Effect::None);
    }
    assert_eq!(server.send::<i64>("DBSIZE"), 1, "{algorithm}: nothing was written");
    assert_eq!(server.send::<Vec<u8>>(&dump), before, "{algorithm}: the value stays");
}

fn bytes(tag: u8, numbers: &[f64]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    [tag].into_iter().chain(numbers).collect()
}

fn mixed(states: &[Vec<u8>]) -> Vec<u8> {
    let state = |state: &Vec<u8>| [&[0, state.len() as u8][..], state].concat();
    [!FLAGS].into_iter().chain(states.iter().flat_map(state)).collect()
}

#[test]
fn a_value_that_is_not_a_state_is_an_error_and_stays() {
    let mut server = Server::start();
    let mut values: Vec<Vec<u8>> =
        [&b""[..], b"\x01", b"17", b"some text of another program", &[0xff; 17], &[0; 33]]
            .map(<[u8]>::to_vec)
            .into();
    values.extend([
        bytes(FIXED_WINDOW, &[0.0]),
        bytes(FIXED_WINDOW, &[0.0; 2]),
        bytes(FIXED_WINDOW, &[0.0; 4]),
        bytes(FIXED_WINDOW | FREED_SLOTS, &[0.0; 3]),
        bytes(!FLAGS, &[]),
        bytes(!FLAGS, &[0.0; 3]),
        mixed(&[bytes(FIXED_WINDOW, &[0.0; 3]), bytes(FIXED_WINDOW, &[0.0; 3])]),
        mixed(&[bytes(BUCKET, &[0.0, 0.0, 0.0, 1.0, 1.0]), bytes(FIXED_WINDOW, &[0.0; 2])]),
        mixed(&[bytes(BUCKET, &[0.0; 5]), bytes(FIXED_WINDOW, &[0.0; 3])]),
        mixed(&[bytes(!FLAGS, &[0.0; 5])]),
        mixed(&[bytes(FIXED_WINDOW, &[0.0; 3]), bytes(SLIDING_WINDOW_LOG, &[0.0; 5])]),
        mixed(&[bytes(FIXED_WINDOW, &[0.0; 3]), bytes(SLIDING_WINDOW_COUNTER, &[0.5; 4])]),
        bytes(FIXED_WINDOW | RECEIPT_OFFSET, &[0.0; 5]),
        bytes(SLIDING_WINDOW_LOG, &[0.0; 5]),
        bytes(FIXED_WINDOW | BLOCKED, &[0.0]),
        bytes(BUCKET, &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        bytes(BUCKET | RECEIPT_OFFSET, &[0.0, 0.0, 0.0, 1.0, 1.0]),
        bytes(BUCKET | FREED_SLOTS, &[0.0, 0.0, 0.0, 1.0, 1.0]),
        bytes(BUCKET | FREED_SLOTS, &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        bytes(BUCKET | FREED_SLOTS | RECEIPT_OFFSET, &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        bytes(Algorithm::LeakyBucket.number(), &[0.0, 0.0, 0.0, 1.0, 1.0]),
    ]);
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 1e16, f64::MIN_POSITIVE] {
        values.push(bytes(SLIDING_WINDOW_COUNTER | BLOCKED, &[0.0, 0.0, 0.0, 1.0, wrong, 1.0]));
        values.push(bytes(SLIDING_WINDOW_COUNTER | BLOCKED, &[0.0, 0.0, 0.0, 1.0, 1.0, wrong]));
    }
    for algorithm in Algorithm::ALL {
        for value in &values {
            assert_corrupt(&mut server, algorithm, |key| {
                let mut cmd = redis::cmd("SET");
                cmd.arg(key).arg(&value[..]);
                cmd
            });
        }
    }
}

#[test]
fn a_number_that_no_state_has_is_an_error_and_stays() {
    let mut server = Server::start();
    let states = [
        (Algorithm::FixedWindow, FIXED_WINDOW, vec![1e15, 3.0, 6e7]),
        (Algorithm::SlidingWindowCounter, SLIDING_WINDOW_COUNTER, vec![1e15, 3.0, 2.0, 6e7]),
        (Algorithm::TokenBucket, BUCKET, vec![3.0, 1.0, 1e15, 6e7, 100.0]),
        (Algorithm::LeakyBucket, BUCKET, vec![3.0, 1.0, 1e15, 6e7, 100.0]),
        (Algorithm::SlidingWindowLog, SLIDING_WINDOW_LOG, vec![2.0, 1.7672256e15, 7.0, 2.0, 6e7]),
    ];
    for (algorithm, tag, numbers) in states {
        // Except for buckets, only other algorithms read the window of a state.
        let own = numbers.len() - usize::from(tag != BUCKET);
        for index in 0..own {
            for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 1e16] {
                let mut numbers = numbers.clone();
                numbers[index] = wrong;
                let value = bytes(tag, &numbers);
                assert_corrupt(&mut server, algorithm, |key| {
                    let mut cmd = redis::cmd(if algorithm == Algorithm::SlidingWindowLog {
                        "RPUSH"
                    } else {
                        "SET"
                    });
                    cmd.arg(key).arg(&value[..]);
                    cmd
                });
            }
        }
    }
}

#[test]
fn an_invalid_entry_of_a_log_is_an_error_and_stays() {
    let mut server = Server::start();
    let header = bytes(SLIDING_WINDOW_LOG, &[2.0, 1_767_225_600_000_000.0, 7.0, 2.0, 6e7]);
    let entry = |at: f64, cost: u8| [&at.to_be_bytes()[..], &[0, 0, cost]].concat();
    for wrong in
        [vec![], b"x".to_vec(), entry(f64::NAN, 2), entry(-1.0, 2), entry(7.0, 0), vec![0; 12]]
    {
        assert_corrupt(&mut server, Algorithm::SlidingWindowLog, |key| {
            let mut cmd = redis::cmd("RPUSH");
            cmd.arg(key).arg(&header[..]).arg(&wrong[..]);
            cmd
        });
    }
    // A list with the state of a bucket as its header.
    assert_corrupt(&mut server, Algorithm::SlidingWindowLog, |key| {
        let mut cmd = redis::cmd("RPUSH");
        cmd.arg(key).arg(&bytes(BUCKET, &[3.0, 1.0, 1e15, 6e7, 100.0])[..]);
        cmd
    });
    // A header with a lower sum than its entries.
    assert_corrupt(&mut server, Algorithm::SlidingWindowLog, |key| {
        let mut cmd = redis::cmd("RPUSH");
        let header = bytes(SLIDING_WINDOW_LOG, &[1.0, 1_767_225_600_000_000.0, 7.0, 1.0, 6e7]);
        cmd.arg(key).arg(&header[..]).arg(&entry(7.0, 2)[..]);
        cmd
    });
    // A header without its entries.
    assert_corrupt(&mut server, Algorithm::SlidingWindowLog, |key| {
        let mut cmd = redis::cmd("RPUSH");
        cmd.arg(key).arg(&header[..]);
        cmd
    });
}

#[test]
fn a_key_of_another_type_is_an_error_and_stays() {
    let mut server = Server::start();
    for algorithm in Algorithm::ALL {
        for words in ["HSET KEY a b", "SADD KEY a", "ZADD KEY 1 a", "XADD KEY * a b", "RPUSH KEY a"]
        {
            assert_corrupt(&mut server, algorithm, |key| {
                let mut cmd = Cmd::new();
                words.replace("KEY", key).split(' ').for_each(|word| {
                    cmd.arg(word);
                });
                cmd
            });
        }
    }
}

#[test]
fn a_clock_out_of_range_is_an_error_and_nothing_is_sent() {
    let mut server = Server::start();
    let rule = rule_of(Algorithm::FixedWindow, 9, Duration::from_secs(60));
    let key = Key::from("k");
    let charge = [Charge::new(&key, &rule, 1)];
    assert!(server.acquire(Op::Acquire, &charge, Some(MAX_TIME)).is_ok());
    let late = server.acquire(Op::Acquire, &charge, Some(MAX_TIME.plus(Micros::new(1))));
    assert_eq!(late.unwrap_err().effect(), Effect::None);
}

#[test]
fn an_unknown_algorithm_is_an_error_and_nothing_is_written() {
    let mut server = Server::start();
    let rule = rule_of(Algorithm::FixedWindow, 9, Duration::from_secs(60));
    let key = Key::from("k");
    let charge = Charge::new(&key, &rule, 1);
    let record = |number| [&[number][..], &[0; 6 * 8]].concat();
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(CHECK.sha()).arg(2).arg(storage_key(&charge)).arg("other").arg("acquire").arg("");
    cmd.arg(record(FIXED_WINDOW)).arg(record(!FLAGS));
    let error = server.ask::<Value>(&cmd).unwrap_err();
    assert!(error.to_string().contains("this script has no algorithm 31"), "{error}");
    assert_eq!(server.send::<i64>("DBSIZE"), 0);
}

#[test]
fn a_key_takes_few_bytes() {
    let mut server = Server::start();
    for algorithm in Algorithm::ALL {
        let rule = rule_of(algorithm, 1_000, Duration::from_secs(3_600));
        let key = Key::from("12345678901234567890");
        let charge = Charge::new(&key, &rule, 1);
        server.acquire(Op::Acquire, &[charge], None).unwrap();
        let used: u64 = server.send(&format!("MEMORY USAGE {}", storage_key(&charge)));
        let most = if algorithm == Algorithm::SlidingWindowLog { 300 } else { 150 };
        assert!(used <= most, "{algorithm} takes {used} bytes");
        server.send::<()>("FLUSHALL");
    }
}

#[test]
fn refunds_add_few_bytes_to_a_bucket() {
    let mut server = Server::start();
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        let rule = rule_of(algorithm, 1_000, Duration::from_secs(3_600));
        let key = Key::from("12345678901234567890");
        let charge = Charge::new(&key, &rule, 1);
        let mut receipts = Vec::new();
        for _ in 0..80 {
            let outcome = server.acquire(Op::Acquire, &[charge], None).unwrap();
            receipts.push(outcome.verdicts()[0].receipt);
        }
        let mut used = Vec::new();
        for receipt in receipts.into_iter().step_by(2) {
            server.refund(&[Refund::new(charge, receipt)], None).unwrap();
            used.push(server.send::<u64>(&format!("MEMORY USAGE {}", storage_key(&charge))));
        }
        assert!(used[0] <= 180, "{algorithm} takes {} bytes", used[0]);
        let most = if algorithm == Algorithm::LeakyBucket { 800 } else { 180 };
        assert!(used.iter().all(|used| *used <= most), "{algorithm} takes {used:?} bytes");
        server.send::<()>("FLUSHALL");
    }
}

#[test]
fn counts_of_another_algorithm_under_the_same_name_are_logged_once() {
    let mut server = Server::start();
    let key = Key::from("203.0.113.9");
    let rules = [Algorithm::FixedWindow, Algorithm::SlidingWindowLog].map(|algorithm| {
        let rule = Rule::per_day("rolled out", 9).algorithm(algorithm);
        Arc::new(rule.check().unwrap())
    });
    let (log, _guard) = throttle_testkit::Log::start();
    for _ in 0..3 {
        for rule in &rules {
            server.acquire(Op::Acquire, &[Charge::new(&key, rule, 1)], NOW).unwrap();
        }
    }
    let log = log.take();
    assert_eq!(log.matches("another algorithm").count(), 1, "{log}");
    assert!(log.contains("rolled%20out") && !log.contains("203.0.113.9"), "{log}");
}
