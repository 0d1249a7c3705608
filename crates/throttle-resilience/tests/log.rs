//! The log of an outage: a line for each change, none for each request.

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Behaviour, FaultyStorage, fixed, limiter, until};
use throttle_resilience::{CircuitBreakerConfig, FailureModes, Resilience};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_outage_logs_four_lines_however_many_requests_it_affects() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let storage = FaultyStorage::new(Behaviour::Fails);
    let circuit = CircuitBreakerConfig::new().open_duration(Duration::from_millis(50));
    let wrapped = Resilience::new(storage.clone())
        .breaker(circuit)
        .failure_modes(FailureModes::fail_open())
        .build();
    let limiter = limiter(wrapped.clone(), [fixed("r", 1_000_000)]);
    for _ in 0..500 {
        limiter.check("k", "r").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    limiter.check("k", "r").await.unwrap(); // a probe that fails
    storage.be(Behaviour::AtOnce);
    until("the storage to count as recovered", Duration::from_secs(10), || async {
        limiter.check("k", "r").await.unwrap();
        !wrapped.stats().fallback.degraded
    })
    .await;
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let expected = [
        ("WARN", "the storage fails; failure modes apply"),
        ("WARN", "the circuit opens"),
        ("INFO", "the circuit closes: the storage has recovered"),
        ("INFO", "the storage has recovered"),
    ];
    assert_eq!(log.lines().count(), expected.len(), "{log}");
    for (line, (level, words)) in log.lines().zip(expected) {
        assert!(line.contains(level) && line.contains(words), "{log}");
    }
    assert!(log.contains("it is down"), "{log}");
}
