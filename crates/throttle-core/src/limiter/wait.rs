//! Waiting for one's turn instead of being refused.

use std::time::Duration;

use super::{ask_kind::AskKind, error::Error, handle::Limiter};
use crate::{decision::Decision, key::Key};

impl Limiter {
    /// Waits until a rule admits what one request costs, charges it, and returns the decision: for
    /// outgoing calls.
    ///
    /// By a leaky bucket it also waits for the request's turn, so that calls leave evenly. It waits
    /// by the limiter's clock, on any executor; to give up earlier, wrap it in a timeout: a wait that
    /// is dropped has charged nothing, except for a leaky bucket's turn. Waiters are not queued: of
    /// several, any may be the next. Waiting is no violation, and shuts nobody out.
    ///
    /// It notices at once that this limiter replaces or removes the rule or resets the key, and within a second
    /// what else makes room: other limiters and servers that reset the key, refunds, and lists. It never passes
    /// before the rule allows it as it is then: of a leaky bucket it keeps its place in the queue when the rule is
    /// replaced, and takes another one when the key is reset.
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
            let since = self.change_count();
            let kind = AskKind::Wait { max_delay: Duration::MAX };
            let decisions = self.begin(&key, Some(&[rule]), None, kind).await?;
            if decisions.is_allowed() {
                let waited = self.wait_until_scheduled(&key, &decisions, Duration::MAX, since);
                let Err(lost) = waited.await else { return Ok(decisions.into_most_restrictive()) };
                if lost.is_refundable(decisions.most_restrictive()) {
                    self.rollback(&key, decisions.all()).await?;
                }
                continue;
            }
            match decisions.most_restrictive().retry_after() {
                Some(wait) => _ = self.wait_to_ask_again(&key, rule, wait, since).await,
                None => return Ok(decisions.into_most_restrictive()),
            }
        }
    }
}
