//! Requests with an asynchronous key.

use std::sync::Arc;

use throttle_core::{Key, Reply};

use super::{Throttle, pass::Pass};
use crate::{
    config_warning::RequestSample,
    diagnostics::Diagnostics,
    head::RequestHead,
    identity::{KeyError, KeyFuture},
    rejection::Rejected,
};

impl Throttle {
    pub(super) fn check_async_key(
        self: &Arc<Self>,
        head: &RequestHead<'_>,
        cost: Option<u64>,
    ) -> Reply<Pass, Rejected> {
        let sample = self.diagnostics.is_on().then(|| Diagnostics::sample(head));
        let key = self.options.key.extract_later(head);
        Reply::pending(Arc::clone(self).await_key(key, cost, sample))
    }

    /// Waits for the key, then checks the limits.
    async fn await_key(
        self: Arc<Self>,
        key: KeyFuture,
        cost: Option<u64>,
        sample: Option<RequestSample<'static>>,
    ) -> Result<Pass, Rejected> {
        let found = match key.await {
            Ok(found) => found,
            Err(KeyError::NoKey(no_key)) => return self.judge_without_key(no_key),
            Err(KeyError::Failed(error)) => {
                // The key is not read when there is no decision, so an empty one is sufficient.
                let key = Key::from(&b""[..]);
                return self.keyed(key, cost, 0).judge(Err(error.into()));
            }
        };
        if let Some(sample) = sample {
            self.diagnose(sample, &found.key);
        }
        let since = self.limiter().change_count();
        let request = self.keyed(found.key, cost, since);
        if !self.options.concurrency.is_empty() {
            return request.acquire(found.rules).await;
        }
        match self.ask_rules(&request.key, found.rules.as_ref(), cost) {
            Some(reply) => request.decide(reply, Vec::new()).await,
            None => Ok(Pass::default()),
        }
    }
}
