//! Permits of concurrency limits, which a request acquires before its rules are asked: all or nothing.

use std::sync::Arc;

use throttle_core::{Decisions, Key, Reply};

use super::{
    Throttle,
    after::in_flight::Permits,
    keyed::KeyedRequest,
    pass::Pass,
    rejection::{self, Rejection},
};
use crate::{grpc::Protocol, head::RequestHead, picked_rules::PickedRules};

impl Throttle {
    #[inline(never)]
    pub(super) fn check_with_permits(
        self: &Arc<Self>,
        key: Key<'_>,
        head: &RequestHead<'_>,
        cost: Option<u64>,
    ) -> Reply<Pass, Rejection> {
        let picked = self.options.select_rules.as_ref().map(|select| select(&key, head));
        let (protocol, since) = (Protocol::of_head(head), self.limiter.change_count());
        let request = self.keyed(key.into_owned(), protocol, cost, since);
        Reply::pending(request.acquire(picked))
    }
}

impl KeyedRequest {
    /// Acquires the permits, then asks the rules. A permit that is denied charges no rule; a rule that denies
    /// releases the permits, and so does a drop of this future.
    pub(super) async fn acquire(self, picked: Option<PickedRules>) -> Result<Pass, Rejection> {
        let (throttle, key, protocol) = (Arc::clone(&self.throttle), &self.key, self.protocol);
        let options = throttle.options();
        let has_rules = throttle.has_rules(picked.as_ref());
        let (mut permits, mut decisions) = (Permits::new(), Vec::new());
        for (i, limit) in options.concurrency.iter().enumerate() {
            // Counted once in the metrics, as a request of several rules is.
            let counts = !has_rules && i + 1 == options.concurrency.len();
            let (decision, permit) = match limit.acquire(key, counts).await {
                Ok(acquired) => acquired.into_parts(),
                Err(error) => return throttle.judge(Some(key), || protocol, Err(error)),
            };
            match permit {
                Some(permit) => permits.push(permit),
                None => {
                    let denied = Decisions::of([decision]).ok_or_else(undecidable)?;
                    // In a dry run, too, no rule is asked then, and no permit is held.
                    return match options.dry_run {
                        false => Err(throttle.reject(Some(key), protocol, denied)),
                        true => Ok(Pass::new(throttle.response_fields(Some(key), &denied), denied)),
                    };
                }
            }
            decisions.push(decision);
        }
        let mut pass = match throttle.ask_rules(key, picked.as_ref(), self.cost) {
            Some(reply) => self.decide(reply, decisions).await?,
            None => self.judge(Ok(Decisions::of(decisions).ok_or_else(undecidable)?))?,
        };
        // A request that only a dry run allows holds nothing.
        if pass.decisions().is_none_or(Decisions::is_allowed) && !permits.is_empty() {
            pass.after_mut().permits = Some(Arc::new(permits));
        }
        Ok(pass)
    }
}

/// Rejects a request for which nothing was asked; there is always a limit here.
fn undecidable() -> Rejection {
    rejection::misconfigured("The server is not configured to limit this request.")
}
