//! A measure of the delay of tasks on this machine, which a limiter cannot
//! change.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(10);
/// Shorter delays are ignored.
const LEAST: Duration = Duration::from_millis(5);
const KEPT: usize = 10_000;

/// The delays of a task that sleeps for ten milliseconds at a time.
#[derive(Default, Debug)]
pub(crate) struct Lag {
    late: Mutex<VecDeque<(Instant, Duration)>>,
}

impl Lag {
    /// Measures delays; never returns.
    pub(crate) async fn watch(&self) {
        loop {
            let began = Instant::now();
            tokio::time::sleep(TICK).await;
            let late = began.elapsed().saturating_sub(TICK);
            if late >= LEAST {
                let mut all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                all.push_back((Instant::now(), late));
                if all.len() > KEPT {
                    all.pop_front();
                }
            }
        }
    }

    /// Returns the sum of the delays since a moment.
    pub(crate) fn since(&self, moment: Instant) -> Duration {
        let all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().take_while(|(at, _)| *at >= moment).map(|(_, late)| *late).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the executor itself must be blocked")]
    async fn a_blocked_thread_is_measured_as_late() {
        let lag = std::sync::Arc::new(Lag::default());
        let (watching, began) = (std::sync::Arc::clone(&lag), Instant::now());
        let task = tokio::spawn(async move { watching.watch().await });
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(60));
        tokio::time::sleep(Duration::from_millis(30)).await;
        task.abort();
        assert!(lag.since(began) >= Duration::from_millis(40), "{lag:?}");
        assert_eq!(lag.since(Instant::now()), Duration::ZERO);
    }
}
