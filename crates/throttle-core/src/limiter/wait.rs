//! Waiting until a rule allows a request.

use std::time::Duration;

use super::{ask_kind::AskKind, error::Error, handle::Limiter};
use crate::{decision::Decision, key::Key};

impl Limiter {
    /// Waits until a rule allows a request, charges it, and returns the decision. Use it for outgoing calls.
    ///
    /// With a leaky bucket it also waits for the scheduled time, so calls are made at a constant rate. It uses the
    /// limiter's clock, and works on any executor. To limit the wait, wrap it in a timeout. If a wait is dropped,
    /// nothing was charged, except with a leaky bucket, which charges the request when it is scheduled. Only a leaky
    /// bucket queues waiting requests; otherwise any of them may be the next. A denial during the wait is not a
    /// violation, and does not block the key.
    ///
    /// The wait ends early if capacity becomes free. If this limiter replaces or removes the rule or resets the key, it
    /// notices at once. Resets by another limiter or server, refunds and changes of lists are noticed within a second.
    /// It never ends before the current rule allows the request. In the queue of a leaky bucket, a
    /// request keeps its position if the rule is replaced, and is scheduled again if the key is reset.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Limiter::check`]. If waiting cannot lift a denial, it is returned as the decision.
    pub async fn until_ready<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
    ) -> Result<Decision, Error> {
        self.wait_until_ready(&key.into(), rule, None).await
    }

    /// Waits until a rule allows a request with a cost of at least 1, as [`until_ready`](Self::until_ready) does.
    ///
    /// Requests with a lower cost may be allowed first, and a steady stream of them can delay this request
    /// indefinitely. A leaky bucket prevents this, because it queues requests.
    ///
    /// # Errors
    ///
    /// Returns [`Error::ZeroCost`], and the same errors as [`Limiter::until_ready`].
    pub async fn until_ready_cost<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
        cost: u64,
    ) -> Result<Decision, Error> {
        self.wait_until_ready(&key.into(), rule, Some(cost)).await
    }

    async fn wait_until_ready(
        &self,
        key: &Key<'_>,
        rule: &str,
        cost: Option<u64>,
    ) -> Result<Decision, Error> {
        loop {
            let since = self.change_count();
            let kind = AskKind::Wait { max_delay: Duration::MAX };
            let decisions = self.begin(key, Some(&[rule]), cost, kind).await?;
            if decisions.is_allowed() {
                let waited = self.wait_until_scheduled(key, &decisions, Duration::MAX, since);
                let Err(lost) = waited.await else { return Ok(decisions.into_most_restrictive()) };
                if lost.is_refundable(decisions.most_restrictive()) {
                    self.rollback(key, decisions.all()).await?;
                }
                continue;
            }
            match decisions.most_restrictive().retry_after() {
                Some(wait) => _ = self.wait_to_ask_again(key, rule, wait, since).await,
                None => return Ok(decisions.into_most_restrictive()),
            }
        }
    }
}
