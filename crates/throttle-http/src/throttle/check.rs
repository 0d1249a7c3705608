//! What is decided before the limiter is asked: exemptions, cost, key and rules.

use std::sync::Arc;

use http::Method;
use throttle_core::{Decisions, Error, Key, Reply};

use super::{
    Throttle,
    pass::Pass,
    rejection::{self, Rejection},
    response_fields::ResponseFields,
};
use crate::{
    config_warning::RequestSample,
    diagnostics::Diagnostics,
    grpc::Protocol,
    head::RequestHead,
    identity::NoKey,
    options::{NoCost, SelectRules},
};

impl Throttle {
    /// Decides about a request: allows it with a [`Pass`], or rejects it.
    ///
    /// The reply is ready at once where the key needs no lookup, the storage answers at once and the request
    /// does not have to be delayed. To drop a reply that is pending is to give the request up: what it was
    /// charged for a scheduled time, or as an estimate, is refunded, and its permits are released.
    #[inline]
    pub fn check(self: &Arc<Self>, head: &RequestHead<'_>) -> Reply<Pass, Rejection> {
        let with_peer;
        let head = match &self.options.peer {
            Some(peer_of) if head.peer().is_none() => {
                with_peer = head.with_peer(peer_of(head.extensions()));
                &with_peer
            }
            _ => head,
        };
        if self.is_exempt(head) {
            return Reply::ready(Ok(Pass::default()));
        }
        let cost = match self.options.cost.as_ref().map(|cost| cost.try_cost(head)).transpose() {
            Ok(Some(0)) => return Reply::ready(Ok(Pass::default())),
            Ok(cost) => cost,
            Err(no_cost) => return Reply::ready(self.judge_without_cost(head, no_cost)),
        };
        if self.waits_for_key {
            return self.check_async_key(head, cost);
        }
        let key = match self.options.key.extract(head) {
            Ok(key) => key,
            Err(no_key) => {
                return Reply::ready(self.judge_without_key(Protocol::of_head(head), &no_key));
            }
        };
        if self.diagnostics.is_on() {
            self.diagnose(Diagnostics::sample(head), &key);
        }
        if !self.options.concurrency.is_empty() {
            return self.check_with_permits(key, head, cost);
        }
        let since = self.limiter.change_count();
        let reply = match &self.options.select_rules {
            None => self.ask(&key, self.options.selection.names(), cost),
            Some(select) => match self.ask_selected(select, &key, head, cost) {
                Some(reply) => reply,
                None => return Reply::ready(Ok(Pass::default())),
            },
        };
        if self.keeps_key {
            let protocol = Protocol::of_head(head);
            let request = self.keyed(key.into_owned(), protocol, cost, since);
            return request.conclude(reply);
        }
        match reply.into_ready() {
            Ok(answer) => Reply::ready(self.judge(None, || Protocol::of_head(head), answer)),
            Err(pending) => self.judge_later(Protocol::of_head(head), pending),
        }
    }

    #[inline]
    pub(crate) fn is_exempt(&self, head: &RequestHead<'_>) -> bool {
        let options = &self.options;
        let method = match head.method() {
            &Method::HEAD => &Method::GET, // a handler of GET answers it
            method => method,
        };
        let is_limited =
            |methods: &Vec<Method>| methods.contains(method) || methods.contains(head.method());
        options.methods.as_ref().is_some_and(|methods| !is_limited(methods))
            || options.exempt.iter().any(|exempt| exempt(head))
    }

    /// Warns about a configuration that looks wrong by this request.
    #[cold]
    pub(super) fn diagnose(&self, sample: RequestSample<'static>, key: &Key<'_>) {
        self.diagnostics.look(&*self.options.key, &sample.with_key(key));
    }

    /// Asks the limiter by the rules that a function selects; `None` where there are none.
    // Apart, so that the usual path has no room for the names on its stack.
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

    fn judge_later(
        self: &Arc<Self>,
        protocol: Protocol,
        reply: Reply<Decisions, Error>,
    ) -> Reply<Pass, Rejection> {
        let throttle = Arc::clone(self);
        Reply::pending(async move { throttle.judge(None, || protocol, reply.await) })
    }

    #[cold]
    fn judge_without_cost(
        &self,
        head: &RequestHead<'_>,
        no_cost: NoCost,
    ) -> Result<Pass, Rejection> {
        match self.options.dry_run {
            true => Ok(Pass::of_fields(ResponseFields::denied_dry_run())),
            false => Err(rejection::without_cost(no_cost).translated(Protocol::of_head(head))),
        }
    }

    /// Rejects a request without a key, or allows it in a dry run. What is missing in the service is logged
    /// once, and not shown to clients.
    pub(super) fn judge_without_key(
        &self,
        protocol: Protocol,
        no_key: &NoKey,
    ) -> Result<Pass, Rejection> {
        if *no_key == NoKey::NoPeer {
            self.no_peer.call_once(|| {
                let then = match self.options.dry_run {
                    true => "no request is limited, nor would be without the dry run",
                    false => "every request is answered with 500",
                };
                tracing::error!("{then}: {no_key}");
            });
        }
        if *no_key == NoKey::Unidentified {
            self.diagnostics.look_at_keyless();
        }
        match self.options.dry_run {
            true => Ok(Pass::of_fields(ResponseFields::denied_dry_run())),
            false => Err(rejection::without_key(no_key).translated(protocol)),
        }
    }
}
