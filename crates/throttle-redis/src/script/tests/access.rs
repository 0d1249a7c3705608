//! The permissions that the script needs, and its errors without them.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, Charge, CheckedRule, Effect, Key, Micros, Refund, Rule};

use super::server::Server;
use crate::script::Op;

const START: u64 = 1_767_225_600_000_000;
/// The commands in the documentation of `script`.
const STRINGS: &str = "+evalsha +script|load +time +get +set +unlink";
const LISTS: &str = "+lrange +lindex +llen +lset +ltrim +lrem +rpush +pexpire";

fn rule_of(algorithm: Algorithm) -> Arc<CheckedRule> {
    let rule = Rule::new("r", 3, Duration::from_secs(1)).algorithm(algorithm);
    Arc::new(rule.block(Duration::from_millis(1)).check().unwrap())
}

fn log_in(server: &mut Server, commands: &str) {
    server.send::<()>(&format!("ACL SETUSER limited reset on >secret ~rt:* {commands}"));
    server.send::<()>("AUTH limited secret");
}

/// Makes the script charge, trim, block and refund in every way.
fn use_all_commands(server: &mut Server, algorithm: Algorithm) {
    let (key, rule) = (Key::from("k"), rule_of(algorithm));
    let charge = |cost| Charge::new(&key, &rule, cost);
    let mut receipts = Vec::new();
    for at in (0..5_000_000).step_by(250_000) {
        let now = Some(Micros::new(START + at));
        let outcome = server.acquire(Op::Acquire, &[charge(1)], now).unwrap();
        receipts.extend(outcome.verdicts()[0].receipt);
        server.acquire(Op::Acquire, &[charge(1)], now).unwrap();
    }
    let now = Some(Micros::new(START + 4_900_000));
    for receipt in receipts.into_iter().rev().take(2).map(Some).chain([None]) {
        server.refund(&[Refund::new(charge(1), receipt)], now).unwrap();
    }
    server.acquire(Op::Peek, &[charge(1)], None).unwrap();
}

#[test]
fn the_listed_commands_suffice() {
    let mut server = Server::start();
    log_in(&mut server, &format!("{STRINGS} {LISTS}"));
    for algorithm in Algorithm::ALL {
        use_all_commands(&mut server, algorithm); // with the state that the last algorithm left
    }
}

#[test]
fn a_missing_permission_is_reported_and_nothing_is_written() {
    for (algorithm, missing) in
        [(Algorithm::FixedWindow, "-get"), (Algorithm::SlidingWindowLog, "-lrange")]
    {
        let mut server = Server::start();
        log_in(&mut server, &format!("+dbsize {STRINGS} {LISTS} {missing}"));
        let (key, rule) = (Key::from("k"), rule_of(algorithm));
        let error = server.acquire(Op::Acquire, &[Charge::new(&key, &rule, 1)], None).unwrap_err();
        assert!(!error.to_string().contains("cannot be read"), "{error}");
        let texts = ["can't run this command", "no permission"];
        assert!(texts.iter().any(|text| error.to_string().contains(text)), "{error}");
        assert_eq!(error.effect(), Effect::Unknown, "this helper does not classify errors");
        assert_eq!(server.send::<i64>("DBSIZE"), 0);
    }
}
