//! By how much the machine is late, which no limiter can help.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(10);
/// Less is not kept.
const LEAST: Duration = Duration::from_millis(5);
const KEPT: usize = 10_000;

/// Remembers when a task that sleeps for ten milliseconds slept for longer.
#[derive(Default, Debug)]
pub(crate) struct Lag {
    late: Mutex<VecDeque<(Instant, Duration)>>,
}

impl Lag {
    /// Watches; never ends by itself.
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

    /// Returns by how much everything was late since a moment, in sum.
    pub(crate) fn since(&self, moment: Instant) -> Duration {
        let all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().take_while(|(at, _)| *at >= moment).map(|(_, late)| *late).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "it is the executor that is to be late")]
    async fn a_thread_that_was_blocked_is_late() {
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
