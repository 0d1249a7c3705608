//! Limits of outbound calls: a client delays its calls until they may be sent.
//!
//! - [`Dispatcher`]: decides when a call may be sent
//! - [`OutboundPermit`]: the permission to send one call; it observes the response
//! - [`OutboundError`]: the reason why a call was not sent
//! - `retry_after`: reads the pause that a server requests; `server_backoff`: stores it until it ends

mod error;
mod retry_after;
mod server_backoff;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use throttle_core::{
    Algorithm, AskKind, Decision, Decisions, Error, Key, LostSchedule, Micros, Reply,
};

pub use self::error::OutboundError;
use self::server_backoff::Pauses;
use crate::{
    background,
    config_error::ConfigError,
    head::RequestHead,
    options::OnError,
    throttle::{ChargeGuard, Throttle},
};

/// The longest pause that a server can request: a year.
pub const MAX_PAUSE: Duration = Duration::from_secs(365 * 86_400);

/// The limits of waiting.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "adapters construct it field by field")]
pub struct WaitLimits {
    /// The longest wait of a call in total.
    pub max_wait: Duration,
    /// The longest pause that a server can request, at most [`MAX_PAUSE`]; `None` to ignore such requests.
    pub respect: Option<Duration>,
}

impl Default for WaitLimits {
    fn default() -> Self {
        Self { max_wait: Duration::from_secs(30), respect: None }
    }
}

/// The limits of outbound calls, and the pauses that servers requested.
#[derive(Debug)]
pub struct Dispatcher {
    throttle: Arc<Throttle>,
    wait_limits: WaitLimits,
    pauses: Pauses,
}

/// The decision about when a call may be sent.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "adapters match on it once")]
pub enum Dispatch {
    /// Send the call now.
    Now(OutboundPermit),
    /// Send the call when this future returns a permit.
    Wait(OutboundWait),
    /// Do not send the call.
    Never(OutboundError),
}

/// A future that waits until the call may be sent. If it is dropped early, the charge of the call is refunded.
#[must_use = "it waits when it is awaited"]
pub struct OutboundWait(
    Pin<Box<dyn Future<Output = Result<OutboundPermit, OutboundError>> + Send>>,
);

/// The permission to send one call. Pass the response to it if the pauses of the server are respected;
/// otherwise it can be dropped.
#[derive(Debug)]
pub struct OutboundPermit(Option<(Arc<Dispatcher>, Key<'static>)>);

/// The answer of the limiter to a call.
enum Answer {
    Allowed(OutboundPermit),
    /// The call is charged; it may have to wait for its scheduled time.
    Charged(ChargeGuard),
    /// The call may try this rule again after `wait`; it would then be delayed until `delay` from now.
    Wait {
        rule: String,
        wait: Duration,
        delay: Duration,
    },
}

/// Returns the delay until the scheduled time of a call, from the time when it was charged.
fn delay(guard: &ChargeGuard) -> Duration {
    guard.charged().map(|charged| charged.decisions.delay()).unwrap_or_default()
}

/// Returns the name of the rule with the latest scheduled time.
fn latest_rule(guard: &ChargeGuard) -> &str {
    let all = guard.charged().map(|charged| charged.decisions.all()).unwrap_or_default();
    all.iter().max_by_key(|one| one.delay()).map(Decision::rule).unwrap_or_default()
}

/// Returns the delay of a call that was denied, based on the queue in which it would have to wait.
fn delay_of(denied: &Decisions) -> Duration {
    let is_queue = |one: &&Decision| {
        !one.is_allowed() && one.checked_rule().algorithm() == Algorithm::LeakyBucket
    };
    denied.all().iter().filter(is_queue).map(Decision::reset_after).max().unwrap_or_default()
}

impl Dispatcher {
    /// Creates a dispatcher with the limiter, rules, key, cost and exemptions of a throttle.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::OutboundAsyncKey`] for an asynchronous key.
    pub fn new(throttle: Arc<Throttle>, wait_limits: WaitLimits) -> Result<Self, ConfigError> {
        if throttle.options().key.is_async() {
            return Err(ConfigError::OutboundAsyncKey);
        }
        let respect = wait_limits.respect.map(|longest| longest.min(MAX_PAUSE));
        let wait_limits = WaitLimits { respect, ..wait_limits };
        Ok(Self { throttle, wait_limits, pauses: Pauses::default() })
    }

    /// Decides when a call may be sent.
    #[must_use]
    pub fn acquire(self: &Arc<Self>, head: &RequestHead<'_>) -> Dispatch {
        let (options, head) = (self.throttle.options(), &head.as_call());
        if self.throttle.is_exempt(head) {
            return Dispatch::Now(OutboundPermit(None));
        }
        let cost = match options.cost.as_ref().map(|cost| cost.try_cost(head)).transpose() {
            Ok(Some(0)) => return Dispatch::Now(OutboundPermit(None)),
            Ok(cost) => cost,
            Err(no_cost) => return Dispatch::Never(OutboundError::NoCost(no_cost)),
        };
        match options.key.extract(head) {
            Ok(key) => self.acquire_by(&key, cost),
            Err(no_key) => Dispatch::Never(OutboundError::NoKey(no_key)),
        }
    }

    /// Decides when a call with this key may be sent, for a client without a request head. The call has the
    /// constant cost of the options, or the cost of the rules.
    #[must_use]
    pub fn acquire_key(self: &Arc<Self>, key: &Key<'_>) -> Dispatch {
        let cost = self.throttle.options().cost.as_ref().and_then(|cost| cost.constant());
        self.acquire_by(key, cost)
    }

    fn acquire_by(self: &Arc<Self>, key: &Key<'_>, cost: Option<u64>) -> Dispatch {
        let since = self.throttle.limiter().change_count();
        if self.pause_left(key).is_some() {
            return self.later(key, cost, since, None, None);
        }
        match self.ask(key, cost, Duration::ZERO).into_ready() {
            Err(pending) => self.later(key, cost, since, None, Some(pending)),
            Ok(answer) => match self.judge(key, answer) {
                Err(not_sent) => Dispatch::Never(not_sent),
                Ok(Answer::Allowed(permit)) => Dispatch::Now(permit),
                Ok(Answer::Charged(guard)) if delay(&guard).is_zero() => {
                    guard.keep();
                    Dispatch::Now(self.permit(key))
                }
                Ok(answer) => self.later(key, cost, since, Some(answer), None),
            },
        }
    }

    fn later(
        self: &Arc<Self>,
        key: &Key<'_>,
        cost: Option<u64>,
        since: u64,
        answer: Option<Answer>,
        pending: Option<Reply<Decisions, Error>>,
    ) -> Dispatch {
        let (this, key) = (Arc::clone(self), key.clone().into_owned());
        // The guard is in the future, so its charge is refunded if the future is dropped, polled or not.
        Dispatch::Wait(OutboundWait(Box::pin(this.wait(key, cost, since, answer, pending))))
    }

    /// Waits until a call may be sent. `since` is the limiter's count of changes before it was checked.
    async fn wait(
        self: Arc<Self>,
        key: Key<'static>,
        cost: Option<u64>,
        mut since: u64,
        mut answer: Option<Answer>,
        mut pending: Option<Reply<Decisions, Error>>,
    ) -> Result<OutboundPermit, OutboundError> {
        let limiter = self.throttle.limiter();
        let mut waited = Duration::ZERO;
        loop {
            let known = match (answer.take(), pending.take()) {
                (Some(answer), _) => answer,
                (None, Some(reply)) => self.clone().judge_later(key.clone(), reply).await?,
                (None, None) => {
                    self.wait_out_pauses(&key, &mut waited).await?;
                    since = limiter.change_count();
                    let reply = self.ask(&key, cost, waited);
                    self.clone().judge_later(key.clone(), reply).await?
                }
            };
            match known {
                Answer::Allowed(permit) => return Ok(permit),
                Answer::Wait { rule, wait, delay } => {
                    let left = self.wait_limits.max_wait.saturating_sub(waited);
                    if wait.max(delay) > left {
                        return Err(OutboundError::TooLong { rule, wait: wait.max(delay), left });
                    }
                    let paused = limiter.wait_to_ask_again(&key, &rule, wait, since).await;
                    waited = waited.saturating_add(paused);
                }
                Answer::Charged(guard) => {
                    let lost = self.wait_until_scheduled(&guard, &mut waited, since).await;
                    if let Ok(None) = lost
                        && self.pause_left(&key).is_none()
                    {
                        guard.keep();
                        return Ok(self.permit(&key));
                    }
                    // A scheduled time within a pause is not used. Otherwise all calls that were scheduled in
                    // the pause would be sent at its end, at the same time.
                    let is_refunded = |one: &Decision| match &lost {
                        Ok(Some(lost)) => lost.is_refundable(one),
                        _ => true,
                    };
                    guard.refund_where(is_refunded).await;
                    lost?;
                }
            }
        }
    }

    /// Waits for the scheduled time of a call, and returns whether it was lost while waiting.
    async fn wait_until_scheduled(
        &self,
        guard: &ChargeGuard,
        waited: &mut Duration,
        since: u64,
    ) -> Result<Option<LostSchedule>, OutboundError> {
        let Some(charged) = guard.charged() else { return Ok(None) };
        let left = self.wait_limits.max_wait.saturating_sub(*waited);
        let wait = charged.decisions.delay();
        if wait > left {
            let rule = latest_rule(guard).to_owned();
            return Err(OutboundError::TooLong { rule, wait, left });
        }
        let limiter = self.throttle.limiter();
        let (key, decisions) = (&charged.key, &charged.decisions);
        let (lost, paused) = match limiter.wait_until_scheduled(key, decisions, left, since).await {
            Ok(paused) => (None, paused),
            Err(lost) => {
                let paused = lost.waited();
                (Some(lost), paused)
            }
        };
        *waited = waited.saturating_add(paused);
        Ok(lost)
    }

    async fn wait_out_pauses(
        &self,
        key: &Key<'static>,
        waited: &mut Duration,
    ) -> Result<(), OutboundError> {
        while let Some(wait) = self.pause_left(key) {
            let left = self.wait_limits.max_wait.saturating_sub(*waited);
            if wait > left {
                return Err(OutboundError::Paused { wait, left });
            }
            self.throttle.limiter().sleep(wait).await;
            *waited = waited.saturating_add(wait);
        }
        Ok(())
    }

    /// Checks the rules for a call that has waited for `waited`.
    fn ask(&self, key: &Key<'_>, cost: Option<u64>, waited: Duration) -> Reply<Decisions, Error> {
        let names = self.throttle.options().selection.names();
        let max_delay = self.wait_limits.max_wait.saturating_sub(waited);
        self.throttle.limiter().begin(key, names, cost, AskKind::Wait { max_delay })
    }

    /// Handles the answer of the limiter when it arrives, even if this is dropped early: in that case the charge
    /// is refunded.
    async fn judge_later(
        self: Arc<Self>,
        key: Key<'static>,
        reply: Reply<Decisions, Error>,
    ) -> Result<Answer, OutboundError> {
        match reply.into_ready() {
            Ok(answer) => self.judge(&key, answer),
            Err(pending) => {
                let limiter = self.throttle.limiter().clone();
                let judged = async move { self.judge(&key, pending.await) };
                background::complete(&limiter, judged).await
            }
        }
    }

    fn judge(
        self: &Arc<Self>,
        key: &Key<'_>,
        answer: Result<Decisions, Error>,
    ) -> Result<Answer, OutboundError> {
        let decisions = match answer {
            Ok(decisions) => decisions,
            Err(error @ Error::Storage(_)) => return self.judge_undecided(key, error),
            Err(error) => return Err(OutboundError::Limiter(error)),
        };
        self.throttle.record_decided(&decisions);
        if decisions.is_allowed() {
            let (throttle, key) = (Arc::clone(&self.throttle), key.clone().into_owned());
            return Ok(Answer::Charged(ChargeGuard::refunding(throttle, key, decisions)));
        }
        let most_restrictive = decisions.most_restrictive();
        let rule = most_restrictive.rule().to_owned();
        match most_restrictive.retry_after() {
            Some(wait) => Ok(Answer::Wait { delay: delay_of(&decisions), rule, wait }),
            None if most_restrictive.listed().is_some() => Err(OutboundError::DenyListed),
            None => Err(OutboundError::TooCostly { rule, limit: most_restrictive.limit() }),
        }
    }

    #[cold]
    fn judge_undecided(
        self: &Arc<Self>,
        key: &Key<'_>,
        error: Error,
    ) -> Result<Answer, OutboundError> {
        match self.throttle.options().on_error {
            OnError::Pass => {
                // Logged once for each change, as for incoming requests.
                self.throttle.record_undecided(&error);
                Ok(Answer::Allowed(self.permit(key)))
            }
            _ => Err(OutboundError::Limiter(error)),
        }
    }

    fn permit(self: &Arc<Self>, key: &Key<'_>) -> OutboundPermit {
        let respects = self.wait_limits.respect.is_some();
        OutboundPermit(respects.then(|| (Arc::clone(self), key.clone().into_owned())))
    }

    fn pause_left(&self, key: &Key<'_>) -> Option<Duration> {
        self.wait_limits.respect?;
        self.pauses.left(key, || self.throttle.limiter().now())
    }

    /// Reads the pause that a server requests in its response to a call with this key.
    pub fn observe_response(&self, key: &Key<'_>, status: StatusCode, headers: &HeaderMap) {
        let now = self.throttle.limiter().now();
        let requested = retry_after::requested_pause(status, headers, now);
        if let (Some(longest), Some(requested)) = (self.wait_limits.respect, requested) {
            let pause = requested.min(longest);
            tracing::debug!(
                target: "ratethrottle::outbound",
                ?pause, "the server requests a pause"
            );
            self.pauses.add(key.clone().into_owned(), now, Micros::from(pause));
        }
    }
}

impl OutboundPermit {
    /// Reads the response: if the server requests a pause, later calls with the same key wait until it ends.
    pub fn observe_response(self, status: StatusCode, headers: &HeaderMap) {
        if let Some((dispatcher, key)) = self.0 {
            dispatcher.observe_response(&key, status, headers);
        }
    }
}

impl Future for OutboundWait {
    type Output = Result<OutboundPermit, OutboundError>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for OutboundWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutboundWait")
    }
}
