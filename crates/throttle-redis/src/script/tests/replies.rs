//! Invalid answers to the script.

use redis::Value;
use throttle_core::Effect;

use crate::script::{outcome, refunded};

fn record(flags: u8, numbers: [f64; 7]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    [flags].into_iter().chain(numbers).collect()
}

#[test]
fn an_invalid_answer_is_an_error_and_no_panic() {
    let right = record(1 | 8, [1.0, 2.0, 3.0, 0.0, 5.0, 6.0, -1.0]);
    let key = ["rt:{k}:api".to_owned()];
    let bytes = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
    assert_eq!(
        outcome(&bytes(&right), &key).unwrap().verdicts()[0].receipt.unwrap().fill_level(),
        5
    );

    let mut wrong = vec![Value::Nil, Value::Okay, Value::Int(1), Value::Array(vec![])];
    wrong.extend([bytes(&right[1..]), bytes(&[&right[..], &right[..]].concat()), bytes(b"")]);
    for index in 0..6 {
        for number in [f64::NAN, f64::INFINITY, -8.0, 0.5, 1e300] {
            let mut numbers = [1.0, 2.0, 3.0, 0.0, 5.0, 6.0, -1.0];
            numbers[index] = number;
            wrong.push(bytes(&record(4 | 8, numbers)));
        }
    }
    for answer in &wrong {
        let error = outcome(answer, &key).unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown, "{answer:?}: {error}");
    }
    assert!(refunded(&Value::Okay).is_ok());
    for answer in [Value::Nil, Value::Int(1), bytes(&right)] {
        assert_eq!(refunded(&answer).unwrap_err().effect(), Effect::Unknown);
    }
}
