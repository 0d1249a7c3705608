//! Waiting for one's turn instead of being refused.

use std::{sync::Arc, time::Duration};

use super::{Error, Limiter, check::Mode, rules};
use crate::{Clock, Decision, Decisions, Key, Sleep, SystemClock};

impl Limiter {
    /// Waits until a rule admits what one request costs, charges it, and returns the decision: for
    /// outgoing calls.
    ///
    /// By a leaky bucket it also waits for the request's turn, so that calls leave evenly. It waits
    /// by the limiter's clock, on any executor; to give up earlier, wrap it in a timeout: a wait that
    /// is dropped has charged nothing, except for a leaky bucket's turn. Waiters are not queued: of
    /// several, any may be the next. Waiting is no violation, and shuts nobody out.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`]. A denial that no wait lifts is returned as it is.
    pub async fn until_ready<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
    ) -> Result<Decision, Error> {
        let key = key.into();
        loop {
            let decision = self.try_quietly(&key, rule).await?;
            if decision.is_allowed() {
                self.wait_for(decision.delay()).await;
                return Ok(decision);
            }
            match decision.retry_after() {
                Some(wait) => self.wait_for(wait).await,
                None => return Ok(decision),
            }
        }
    }

    /// Waits for `span` by the limiter's own clock, or the machine's; on any executor.
    #[must_use = "it waits when it is awaited"]
    pub fn sleep(&self, span: Duration) -> Sleep {
        match &self.inner.clock {
            Some(clock) => clock.sleep(span),
            None => SystemClock.sleep(span),
        }
    }

    async fn wait_for(&self, span: Duration) {
        if !span.is_zero() {
            self.sleep(span).await;
        }
    }

    async fn try_quietly(&self, key: &Key<'_>, rule: &str) -> Result<Decision, Error> {
        let reply = {
            let mut active = rules::find(&self.inner.rules.load(), rule)?.clone();
            if active.rule.block().is_some() {
                active.rule = Arc::new(active.rule.without_block());
            }
            let cost = active.rule.cost();
            self.inner.ask_rules(key, &[(&active, cost)], Mode::Wait)
        };
        reply.await.map(Decisions::into_reported)
    }
}
