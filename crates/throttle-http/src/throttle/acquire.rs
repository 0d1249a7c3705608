//! Permits of concurrency limits, which a request acquires before its rules are checked.

use std::sync::Arc;

use throttle_core::{Decisions, Key, Reply};

use super::{Throttle, after::in_flight::Permits, keyed::KeyedRequest, pass::Pass};
use crate::{head::RequestHead, picked_rules::PickedRules, rejection::Rejected};

impl Throttle {
    // Not inlined, to keep the usual path small.
    #[inline(never)]
    pub(super) fn check_with_permits(
        self: &Arc<Self>,
        key: Key<'_>,
        head: &RequestHead<'_>,
        cost: Option<u64>,
    ) -> Reply<Pass, Rejected> {
        let picked = self.options.select_rules.as_ref().map(|select| select(&key, head));
        let since = self.limiter.change_count();
        let request = self.keyed(key.into_owned(), cost, since);
        Reply::pending(request.acquire(picked))
    }
}

impl KeyedRequest {
    /// Acquires the permits, then checks the rules. If a permit is denied, no rule is charged. If a rule
    /// denies, or this future is dropped, the permits are released.
    pub(super) async fn acquire(self, picked: Option<PickedRules>) -> Result<Pass, Rejected> {
        let (throttle, key) = (Arc::clone(&self.throttle), &self.key);
        let options = throttle.options();
        let has_rules = throttle.has_rules(picked.as_ref());
        let (mut permits, mut decisions) = (Permits::new(), Vec::new());
        for (i, limit) in options.concurrency.iter().enumerate() {
            // The request is counted once in the metrics: by its rules, or by the last permit if it has no rules.
            let counts = !has_rules && i + 1 == options.concurrency.len();
            let (decision, permit) = match limit.acquire(key, counts).await {
                Ok(acquired) => acquired.into_parts(),
                Err(error) => return throttle.judge(Some(key), Err(error)),
            };
            match permit {
                Some(permit) => permits.push(permit),
                None => {
                    let denied = Decisions::of([decision]).ok_or_else(no_decision)?;
                    // This also applies to a dry run: the rules are not checked then, and no permit is held.
                    return match options.dry_run {
                        false => Err(throttle.reject(Some(key), denied)),
                        true => Ok(Pass::new(throttle.response_fields(Some(key), &denied), denied)),
                    };
                }
            }
            decisions.push(decision);
        }
        let mut pass = match throttle.ask_rules(key, picked.as_ref(), self.cost) {
            Some(reply) => self.decide(reply, decisions).await?,
            None => self.judge(Ok(Decisions::of(decisions).ok_or_else(no_decision)?))?,
        };
        // A request that only a dry run allows holds no permits: it would keep them from requests within the limit.
        if pass.decisions().is_none_or(Decisions::is_allowed) && !permits.is_empty() {
            pass.after_mut().permits = Some(Arc::new(permits));
        }
        Ok(pass)
    }
}

/// Rejects a request for which there is no decision. This cannot happen, because there is always a limit here.
fn no_decision() -> Rejected {
    Rejected::misconfigured("The server is not configured to limit this request.")
}
