//! What a call was charged, until it is sent.

use std::time::Duration;

use throttle_core::{Decisions, Key, Limiter};

use crate::follow::background::{self, ToItsEnd};

/// Gives what was charged back when it is dropped before it is taken.
pub(super) struct Place(Option<Charged>);

struct Charged {
    limiter: Limiter,
    key: Key<'static>,
    decisions: Decisions,
}

impl Place {
    pub(super) fn new(limiter: Limiter, key: Key<'static>, decisions: Decisions) -> Self {
        Self(Some(Charged { limiter, key, decisions }))
    }

    /// Returns how far away the call's turn was when it was charged.
    pub(super) fn turn(&self) -> Duration {
        self.0.as_ref().map(|charged| charged.decisions.delay()).unwrap_or_default()
    }

    /// Returns the name of the rule whose turn is furthest away.
    pub(super) fn rule(&self) -> &str {
        let all = self.0.as_ref().map(|charged| charged.decisions.all()).unwrap_or_default();
        all.iter().max_by_key(|one| one.delay()).map(|one| one.rule()).unwrap_or_default()
    }

    /// Takes the place: the call is sent.
    pub(super) fn take(mut self) {
        self.0 = None;
    }

    /// Gives the place back, and waits until the storage has done it, which it does also if this is dropped.
    pub(super) async fn give_back(mut self) {
        if let Some(charged) = self.0.take() {
            ToItsEnd::new(charged.give_back()).await;
        }
    }
}

impl Charged {
    async fn give_back(self) {
        if let Err(error) = self.limiter.give_back(&self.key, self.decisions.all()).await {
            tracing::warn!(%error, "a call was not sent, and its charge was not given back");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(charged) = self.0.take() {
            background::finish(charged.give_back());
        }
    }
}
