//! States that another program changed: they are an error of their key, or valid states.

use std::{sync::Arc, time::Duration};

use redis::Cmd;
use throttle_core::{Algorithm, Charge, CheckedRule, Effect, Key, Micros, Refund, Rule};

use super::{
    random::Random,
    server::{Server, storage_key},
};
use crate::script::Op;

const NOW: u64 = 1_767_225_600_000_000;
/// The number of changes of each state.
const CHANGES: usize = 20;

/// A value under a key.
#[derive(Clone, Debug)]
enum Stored {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

fn rule(algorithm: Algorithm) -> Arc<CheckedRule> {
    let rule = Rule::per_minute("api", 9).algorithm(algorithm).block(Duration::from_secs(9));
    Arc::new(rule.check().unwrap())
}

/// Returns states of every kind: of one algorithm or two, blocked or not, and after refunds.
fn states(
    server: &mut Server,
    key: &str,
    charge: &dyn Fn(Algorithm) -> Charge<'static>,
) -> Vec<Stored> {
    let mut states = Vec::new();
    for one in Algorithm::ALL {
        for two in Algorithm::ALL {
            server.send::<()>("FLUSHALL");
            let mut receipts = Vec::new();
            for (after, algorithm) in [(0, one), (1, one), (2, one), (3, two)] {
                let charge = Charge::new(charge(algorithm).key(), charge(algorithm).rule(), 2);
                let now = Some(Micros::new(NOW + after));
                let outcome = server.acquire(Op::Acquire, &[charge], now).unwrap();
                receipts.push(outcome.verdicts()[0].receipt);
            }
            states.push(stored(server, key));
            // In a bucket, this leaves an offset or a freed slot.
            let now = Some(Micros::new(NOW + 4));
            server.refund(&[Refund::new(charge(one), receipts[1])], now).unwrap();
            states.push(stored(server, key));
            while server.acquire(Op::Acquire, &[charge(one)], now).unwrap().is_allowed() {}
            states.push(stored(server, key));
        }
    }
    states
}

fn stored(server: &mut Server, key: &str) -> Stored {
    match server.send::<String>(&format!("TYPE {key}")).as_str() {
        "list" => Stored::List(server.send(&format!("LRANGE {key} 0 -1"))),
        _ => Stored::Text(server.send(&format!("GET {key}"))),
    }
}

fn store(server: &mut Server, key: &str, stored: &Stored) {
    server.send::<()>(&format!("DEL {key}"));
    let mut cmd = Cmd::new();
    match stored {
        Stored::Text(bytes) => cmd.arg("SET").arg(key).arg(&bytes[..]),
        Stored::List(elements) => cmd.arg("RPUSH").arg(key).arg(elements),
    };
    server.ask::<()>(&cmd).unwrap();
}

/// Numbers that states never or rarely have.
const ODD: [f64; 14] = [
    0.0,
    -0.0,
    -1.0,
    0.5,
    1.0,
    999_999_999_999_999.0,
    1e15,
    1_767_225_600_000_001.0,
    8e15,
    9_007_199_254_740_991.0,
    9_007_199_254_740_992.0,
    1e300,
    f64::INFINITY,
    f64::NAN,
];

fn change(stored: &mut Stored, random: &mut Random) {
    let bytes = match stored {
        Stored::Text(bytes) => bytes,
        Stored::List(elements) if random.one_in(8) => {
            let index = random.below(elements.len() as u64) as usize;
            if elements.len() > 1 {
                elements.remove(index);
            }
            return;
        }
        Stored::List(elements) => {
            let index = random.below(elements.len() as u64) as usize;
            &mut elements[index]
        }
    };
    let len = bytes.len() as u64;
    match random.below(8) {
        0 => bytes.truncate(random.below(len) as usize),
        1 => bytes.extend((0..random.below(40) + 1).map(|i| i as u8)),
        2..5 => bytes[random.below(len) as usize] ^= 1 << random.below(8),
        _ => {
            // Change one number or two.
            for _ in 0..=random.below(2) {
                let numbers = (len - 1) / 8;
                let start = 1 + 8 * random.below(numbers.max(1)) as usize;
                if let Some(number) = bytes.get_mut(start..start + 8) {
                    let odd = ODD[random.below(ODD.len() as u64) as usize];
                    number.copy_from_slice(&odd.to_be_bytes());
                }
            }
        }
    }
}

#[test]
fn a_changed_state_is_an_error_of_its_key_or_is_valid_and_no_other_key_changes() {
    let mut server = Server::start();
    let mut random = Random::new(7);
    // Leaked, because charges must borrow for 'static.
    let keys: &'static [Key<'static>; 2] = Box::leak(Box::new(["one", "two"].map(Key::from)));
    let rules: &'static Vec<_> = Box::leak(Box::new(Algorithm::ALL.map(rule).to_vec()));
    let charge = move |key: usize, algorithm: Algorithm| {
        let rule = rules.iter().find(|rule| rule.algorithm() == algorithm).unwrap();
        Charge::new(&keys[key], rule, 1)
    };
    let key = storage_key(&charge(1, Algorithm::FixedWindow));
    let (mut errors, mut answers) = (0, 0);
    for right in states(&mut server, &key, &move |algorithm| charge(1, algorithm)) {
        for _ in 0..CHANGES {
            let mut wrong = right.clone();
            change(&mut wrong, &mut random);
            let algorithm = Algorithm::ALL[random.below(5) as usize];
            let charges = [charge(0, algorithm), charge(1, algorithm)];
            let now = Some(Micros::new(NOW + random.below(3) * 20_000_000));
            for what in 0..3 {
                server.send::<()>("FLUSHALL");
                store(&mut server, &key, &wrong);
                let context = || format!("{algorithm}, {what}: {wrong:?}");
                let answer = match what {
                    0 => server.acquire(Op::Acquire, &charges, now).map(Some),
                    1 => server.acquire(Op::Peek, &charges, now).map(Some),
                    _ => {
                        let refunds = charges.map(|charge| Refund::new(charge, None));
                        server.refund(&refunds, now).map(|()| None)
                    }
                };
                match answer {
                    Ok(outcome) => {
                        answers += 1;
                        let verdicts = outcome.iter().flat_map(throttle_core::Outcome::verdicts);
                        for verdict in verdicts {
                            assert!(verdict.remaining <= 9, "{}", context());
                        }
                        // The script wrote a valid state, except that the entries of a log may not sum up to it.
                        let again = server.acquire(Op::Acquire, &charges, now);
                        let is_of_key = again.as_ref().err().is_none_or(|error| error.is_of_key());
                        assert!(is_of_key, "{again:?} after {}", context());
                        let is_list = matches!(wrong, Stored::List(_));
                        assert!(again.is_ok() || is_list, "{again:?} after {}", context());
                    }
                    Err(error) => {
                        errors += 1;
                        assert!(error.is_of_key(), "{error} of {}", context());
                        assert_eq!(error.effect(), Effect::None, "{}", context());
                        assert_eq!(server.send::<i64>("DBSIZE"), 1, "{}", context());
                        assert_eq!(
                            format!("{:?}", stored(&mut server, &key)),
                            format!("{wrong:?}"),
                            "the value stays"
                        );
                    }
                }
            }
        }
    }
    assert!(errors > 500 && answers > 300, "{errors} errors, {answers} answers");
}
