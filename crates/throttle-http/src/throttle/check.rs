//! The first steps of a check: exemptions, cost, key and rules.

use std::sync::Arc;

use http::Method;
use throttle_core::{Decisions, Error, Key, Reply};

use super::{Throttle, pass::Pass};
use crate::{
    config_warning::RequestSample,
    diagnostics::Diagnostics,
    head::RequestHead,
    identity::NoKey,
    options::{NoCost, SelectRules},
    rejection::Rejected,
};

impl Throttle {
    /// Checks a request against the limits: allows it with a [`Pass`], or rejects it.
    ///
    /// The reply is ready immediately, unless the key is asynchronous, the storage is remote, or the request is
    /// delayed. Dropping a pending reply cancels the request: its charge is refunded if it was for a scheduled
    /// time or an estimate, and its permits are released.
    #[inline]
    pub fn check(self: &Arc<Self>, head: &RequestHead<'_>) -> Reply<Pass, Rejected> {
        let with_peer;
        let head = match self.with_peer(head) {
            Some(head) => {
                with_peer = head;
                &with_peer
            }
            None => head,
        };
        // The cheapest steps come first: an exempt request needs neither a cost nor a key.
        if self.is_exempt(head) {
            return Reply::ready(Ok(Pass::default()));
        }
        let cost = match self.options.cost.as_ref().map(|cost| cost.try_cost(head)).transpose() {
            Ok(Some(0)) => return Reply::ready(Ok(Pass::default())),
            Ok(cost) => cost,
            Err(no_cost) => return Reply::ready(self.judge_without_cost(no_cost)),
        };
        if self.waits_for_key {
            return self.check_async_key(head, cost);
        }
        let key = match self.options.key.extract(head) {
            Ok(key) => key,
            Err(no_key) => {
                return Reply::ready(self.judge_without_key(no_key));
            }
        };
        if self.diagnostics.is_on() {
            self.diagnose(Diagnostics::sample(head), &key);
        }
        if !self.options.concurrency.is_empty() {
            return self.check_with_permits(key, head, cost);
        }
        // Read before the rules are checked, so that no change after the check is missed while the request waits.
        let since = self.limiter.change_count();
        let reply = match &self.options.select_rules {
            None => self.ask(&key, self.options.selection.names(), cost),
            Some(select) => match self.ask_selected(select, &key, head, cost) {
                Some(reply) => reply,
                None => return Reply::ready(Ok(Pass::default())),
            },
        };
        // The key is cloned only for options that need it after the decision.
        if self.keeps_key {
            let request = self.keyed(key.into_owned(), cost, since);
            return request.conclude(reply);
        }
        // An in-memory storage is ready here: such a request allocates no future.
        match reply.into_ready() {
            Ok(answer) => Reply::ready(self.judge(None, answer)),
            Err(pending) => self.judge_later(pending),
        }
    }

    /// Returns the head with the address that the option `peer` finds, if the server did not set one.
    #[inline]
    pub(super) fn with_peer<'a>(&self, head: &RequestHead<'a>) -> Option<RequestHead<'a>> {
        let peer_of = self.options.peer.as_ref().filter(|_| head.peer().is_none())?;
        Some(head.with_peer(peer_of(head.extensions())))
    }

    #[inline]
    pub(crate) fn is_exempt(&self, head: &RequestHead<'_>) -> bool {
        let options = &self.options;
        let method = match head.method() {
            &Method::HEAD => &Method::GET, // handlers of `GET` also answer `HEAD`
            method => method,
        };
        let is_limited =
            |methods: &Vec<Method>| methods.contains(method) || methods.contains(head.method());
        options.methods.as_ref().is_some_and(|methods| !is_limited(methods))
            || options.exempt.iter().any(|exempt| exempt(head))
    }

    /// Logs a warning if this request shows that the configuration is probably wrong.
    #[cold]
    pub(super) fn diagnose(&self, sample: RequestSample<'static>, key: &Key<'_>) {
        self.diagnostics.inspect(&self.limiter, &*self.options.key, &sample.with_key(key));
    }

    /// Checks the rules that a function selects; returns `None` if there are none.
    // Not inlined, so that the usual path does not reserve stack for the names.
    #[inline(never)]
    fn ask_selected(
        &self,
        select: &SelectRules,
        key: &Key<'_>,
        head: &RequestHead<'_>,
        cost: Option<u64>,
    ) -> Option<Reply<Decisions, Error>> {
        self.ask_rules(key, Some(&select(key, head)), cost)
    }

    fn judge_later(self: &Arc<Self>, reply: Reply<Decisions, Error>) -> Reply<Pass, Rejected> {
        let throttle = Arc::clone(self);
        Reply::pending(async move { throttle.judge(None, reply.await) })
    }

    #[cold]
    fn judge_without_cost(&self, no_cost: NoCost) -> Result<Pass, Rejected> {
        match self.options.dry_run {
            true => Ok(Pass::of_fields(self.denied_dry_run())),
            false => Err(Rejected::without_length(no_cost.to_string())),
        }
    }

    /// Rejects a request without a key, or allows it in a dry run. A configuration error of the service is
    /// logged once, and not shown to clients.
    pub(super) fn judge_without_key(&self, no_key: NoKey) -> Result<Pass, Rejected> {
        if no_key == NoKey::NoPeer {
            self.no_peer.call_once(|| {
                let effect = match self.options.dry_run {
                    true => "no request is limited; without the dry run, every request would be answered with 500",
                    false => "every request is answered with 500",
                };
                tracing::error!(target: "ratethrottle::config", "{effect}: {no_key}");
            });
        }
        if no_key == NoKey::Unidentified {
            self.diagnostics.record_missing_key();
        }
        match self.options.dry_run {
            true => Ok(Pass::of_fields(self.denied_dry_run())),
            false => Err(Rejected::without_key(no_key)),
        }
    }
}
