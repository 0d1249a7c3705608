//! The result of a check, from the limiter's answer.

use throttle_core::{Decisions, Error, Key, ListMatch};

use super::{Throttle, pass::Pass, response_fields::ResponseFields};
use crate::{
    fields::{Degraded, Values},
    options::OnError,
    rejection::Rejected,
};

impl Throttle {
    /// Converts the limiter's answer to a pass or a rejection.
    #[inline]
    pub(super) fn judge(
        &self,
        key: Option<&Key<'_>>,
        answer: Result<Decisions, Error>,
    ) -> Result<Pass, Rejected> {
        match answer {
            Ok(decisions) => {
                self.health.decided(&decisions);
                if decisions.is_allowed() || self.options.dry_run {
                    return Ok(Pass::new(self.response_fields(key, &decisions), decisions));
                }
                Err(self.reject(key, decisions))
            }
            Err(error) => self.judge_undecided(error),
        }
    }

    /// Returns the fields of the response to an allowed request. They are rendered before the handler is
    /// called, so that the decisions do not have to be kept until it returns.
    #[inline]
    pub(super) fn response_fields(
        &self,
        key: Option<&Key<'_>>,
        decisions: &Decisions,
    ) -> ResponseFields {
        let values = self.values(key, decisions);
        let listed = decisions.most_restrictive().listed() == Some(ListMatch::Allowed);
        let dry_run = self.options.dry_run && !listed && !decisions.is_allowed();
        let extension = self.options.response_extension;
        let degraded = Degraded::of(decisions);
        let decisions = extension.then(|| Box::new(decisions.clone()));
        let cors_expose = self.fields.cors_expose();
        ResponseFields { values, dry_run, degraded, cors_expose, decisions }
    }

    /// Returns the fields of a response to a request without a decision, which only a dry run allows.
    pub(super) fn denied_dry_run(&self) -> ResponseFields {
        ResponseFields { dry_run: true, ..self.no_fields() }
    }

    /// Returns the fields of a response to a request without a decision.
    fn no_fields(&self) -> ResponseFields {
        ResponseFields { cors_expose: self.fields.cors_expose(), ..ResponseFields::default() }
    }

    #[inline]
    fn values(&self, key: Option<&Key<'_>>, decisions: &Decisions) -> Values {
        match decisions.most_restrictive().listed() {
            Some(ListMatch::Allowed) => Values::default(),
            _ => self.fields.values(decisions, key, || self.limiter.now()),
        }
    }

    // Not inlined, to keep the usual path small.
    #[inline(never)]
    pub(super) fn reject(&self, key: Option<&Key<'_>>, decisions: Decisions) -> Rejected {
        let rendered = self.fields.rejection(&decisions, key, || self.limiter.now());
        Rejected::denied(decisions, rendered)
    }

    /// Handles a request that could not be checked. `on_error` applies only to failures of the storage. An unknown
    /// rule is an error of the service, and not a reason to disable its limits.
    #[cold]
    pub(super) fn judge_undecided(&self, error: Error) -> Result<Pass, Rejected> {
        if let (Error::UnknownRule { .. } | Error::NoRules, true) =
            (&error, self.options.select_rules.is_some() || self.waits_for_key)
        {
            self.no_rule.call_once(|| {
                tracing::error!(
                    target: "ratethrottle::config",
                    %error,
                    "a selected rule does not exist; such requests are answered with 500, except in a dry run: add \
                     the rule, and list it in `declare_rules` to detect this when the service starts"
                );
            });
            if self.options.dry_run {
                return Ok(Pass::of_fields(self.denied_dry_run()));
            }
            let detail = "The server is not configured to limit this request.";
            return Err(Rejected::misconfigured(detail));
        }
        let on_error = match error {
            Error::Storage(_) => self.options.on_error,
            _ => OnError::Reject,
        };
        match on_error {
            OnError::Reject if self.options.dry_run => {
                self.health.failed(
                    &error,
                    "requests are allowed without a limit, because this is a dry run",
                );
                let fields =
                    ResponseFields { degraded: Some(Degraded::Unlimited), ..self.denied_dry_run() };
                Ok(Pass::of_fields(fields))
            }
            OnError::Reject => {
                self.health.failed(&error, "requests are rejected with 503");
                Err(Rejected::storage(error))
            }
            OnError::Pass => {
                self.record_undecided(&error);
                let fields =
                    ResponseFields { degraded: Some(Degraded::Unlimited), ..self.no_fields() };
                Ok(Pass::of_fields(fields))
            }
        }
    }

    /// Records that a request is allowed without a limit because the storage failed.
    pub(crate) fn record_undecided(&self, error: &Error) {
        self.health.failed(error, "requests are allowed without a limit");
    }
}
