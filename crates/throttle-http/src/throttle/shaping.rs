//! Delays of requests until their scheduled time, which may change in the meantime.

use std::time::Duration;

use throttle_core::{Decision, Decisions};

use super::{
    Throttle,
    keyed::{KeyedRequest, with_permits},
    pass::Pass,
};
use crate::{background, rejection::Rejected};

impl Throttle {
    /// Returns the longest delay of a request; `None` if requests are not delayed.
    fn longest_wait(&self) -> Option<Duration> {
        self.options().shape.filter(|_| self.shapes())
    }
}

impl KeyedRequest {
    /// Waits for the scheduled time of a request that is shaped. If the time is lost, because the key was reset
    /// or the rule changed, the request gets another one and keeps its permits.
    pub(super) async fn wait(self, mut pass: Pass) -> Result<Pass, Rejected> {
        let Some(longest) = self.throttle.longest_wait() else { return Ok(pass) };
        let (mut since, mut waited) = (self.since, Duration::ZERO);
        while !pass.delay().is_zero() {
            let left = longest.saturating_sub(waited);
            let Some(decisions) = pass.decisions() else { break };
            let limiter = self.throttle.limiter();
            let scheduled = limiter.wait_until_scheduled(&self.key, decisions, left, since).await;
            let Err(lost) = scheduled else { break };
            waited = waited.saturating_add(lost.waited());
            // The old scheduled time is refunded before the next one is requested, or the request would queue
            // behind itself.
            if let Some(guard) = pass.after_mut().guard.take() {
                guard.refund_where(|one| lost.is_refundable(one)).await;
            }
            (pass, since) = self.ask_again(pass, longest, &mut waited).await?;
        }
        Ok(pass)
    }

    /// Requests another scheduled time, until the longest delay has passed.
    async fn ask_again(
        &self,
        mut lost: Pass,
        longest: Duration,
        waited: &mut Duration,
    ) -> Result<(Pass, u64), Rejected> {
        let Some(decisions) = lost.decisions().cloned() else { return Ok((lost, self.since)) };
        loop {
            let since = self.throttle.limiter().change_count();
            let left = longest.saturating_sub(*waited);
            let reply = self.throttle.ask_waiting(&self.key, &decisions, self.cost, left);
            let (request, permits) = (self.clone(), permits_of(&decisions));
            // Completes even if this is dropped early, because the storage may charge the request in any case.
            let judged = background::complete(self.throttle.limiter(), async move {
                let answer = reply.await;
                match answer.as_ref().ok().and_then(wait_of) {
                    Some((rule, wait)) if wait <= left => Err((rule.to_owned(), wait)),
                    _ => Ok(request.judge(answer.map(|rules| with_permits(rules, permits)))),
                }
            });
            match judged.await {
                Ok(judged) => {
                    let mut pass = judged?;
                    if let Some(permits) = lost.after_mut().permits.take() {
                        pass.after_mut().permits = Some(permits);
                    }
                    return Ok((pass, since));
                }
                Err((rule, wait)) => {
                    let limiter = self.throttle.limiter();
                    let paused = limiter.wait_to_ask_again(&self.key, &rule, wait, since).await;
                    *waited = waited.saturating_add(paused);
                }
            }
        }
    }
}

fn permits_of(decisions: &Decisions) -> Vec<Decision> {
    decisions.all().iter().filter(|one| one.is_concurrency()).cloned().collect()
}

/// Returns the wait after which a denied request may try again.
fn wait_of(decisions: &Decisions) -> Option<(&str, Duration)> {
    let most_restrictive = decisions.most_restrictive();
    if most_restrictive.is_allowed() {
        return None;
    }
    most_restrictive.retry_after().map(|wait| (most_restrictive.rule(), wait))
}
