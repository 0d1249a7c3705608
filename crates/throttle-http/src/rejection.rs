//! A request that is rejected: the reason, and the response.

use std::{fmt, mem, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE as CONTENT_TYPE_FIELD, RETRY_AFTER},
};
use serde::Serialize;
use throttle_core::{Decision, Decisions, Error, ListMatch, Micros};

use crate::{
    fields::{Degraded, Values},
    grpc::{self, Protocol},
    head::RequestHead,
    identity::NoKey,
    problem::{self, CONTENT_TYPE},
};

/// Builds the response to a rejection.
pub(crate) type OnRejection = Arc<dyn Fn(&Rejection<'_>) -> Response<Bytes> + Send + Sync>;

/// A request that [`Throttle::check`](crate::Throttle::check) rejects;
/// [`Throttle::respond`](crate::Throttle::respond) builds the response.
#[derive(Debug)]
#[must_use = "the client expects a response"]
pub struct Rejected(Cause);

/// Why a request is rejected.
#[derive(Debug)]
enum Cause {
    Denied {
        decisions: Decisions,
        values: Values,
        problem: Bytes,
    },
    NoKey(NoKey),
    /// The detail for the client.
    NoLength(String),
    Storage(Error),
    /// The detail for the client; the rest is only logged.
    Misconfigured(&'static str),
}

/// The reason of a [`Rejection`].
///
/// As text and in JSON, the reasons are in snake case, such as `missing_key`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectionReason {
    /// A rule denies the request: 429.
    Rule,
    /// A concurrency limit has no free permit: 429.
    Concurrency,
    /// The client is on the deny list: 403, or 429 if the entry expires.
    DenyList,
    /// The request has no key: 400, or the status of [`OnMissing`](crate::identity::OnMissing).
    MissingKey,
    /// The request has no `Content-Length`, but is charged by it: 411.
    MissingLength,
    /// The request could not be checked, because the storage failed or a rule of the layer was removed: 503.
    Storage,
    /// The service is not configured correctly: 500. The reason and the fix are logged.
    Misconfigured,
}

/// A rejection, as passed to the function of `on_rejection`.
#[derive(Copy, Clone, Debug)]
pub struct Rejection<'a> {
    cause: &'a Cause,
    head: &'a RequestHead<'a>,
}

impl<'a> Rejection<'a> {
    /// Returns the reason for the rejection.
    #[must_use]
    pub fn reason(&self) -> RejectionReason {
        match self.cause {
            Cause::Denied { decisions, .. } => {
                let decision = decisions.most_restrictive();
                match decision.listed() {
                    Some(ListMatch::Denied) => RejectionReason::DenyList,
                    _ if decision.is_concurrency() => RejectionReason::Concurrency,
                    _ => RejectionReason::Rule,
                }
            }
            Cause::NoKey(_) => RejectionReason::MissingKey,
            Cause::NoLength(_) => RejectionReason::MissingLength,
            Cause::Storage(_) => RejectionReason::Storage,
            Cause::Misconfigured(_) => RejectionReason::Misconfigured,
        }
    }

    /// Returns the status of the default response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.cause {
            Cause::Denied { decisions, .. } if is_denied_for_good(decisions) => {
                StatusCode::FORBIDDEN
            }
            Cause::Denied { .. } => StatusCode::TOO_MANY_REQUESTS,
            Cause::NoKey(NoKey::Status(status))
                if status.is_client_error() || status.is_server_error() =>
            {
                *status
            }
            Cause::NoKey(_) => StatusCode::BAD_REQUEST,
            Cause::NoLength(_) => StatusCode::LENGTH_REQUIRED,
            Cause::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
            Cause::Misconfigured(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the body of the default response: problem details as JSON
    /// ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), of the media type [`CONTENT_TYPE`].
    #[must_use]
    pub fn problem_details(&self) -> Bytes {
        let status = self.status();
        let plain = |detail: &str| {
            let title = status.canonical_reason().unwrap_or("Bad Request");
            problem::plain(status.as_u16(), title, detail)
        };
        match self.cause {
            Cause::Denied { decisions, .. } if is_denied_for_good(decisions) => {
                plain("This client may not use the service.")
            }
            Cause::Denied { problem, .. } => problem.clone(),
            Cause::NoKey(no_key) => plain(&no_key.to_string()),
            Cause::NoLength(detail) => plain(detail),
            Cause::Storage(_) => problem::reduced_capacity(),
            Cause::Misconfigured(detail) => plain(detail),
        }
    }

    /// Returns the decisions of all rules of the request; `None` if it was not decided.
    #[must_use]
    pub fn decisions(&self) -> Option<&'a Decisions> {
        match self.cause {
            Cause::Denied { decisions, .. } => Some(decisions),
            _ => None,
        }
    }

    /// Returns the decision that the header fields report: the denial with the longest wait.
    #[must_use]
    pub fn decision(&self) -> Option<&'a Decision> {
        self.decisions().map(Decisions::most_restrictive)
    }

    /// Returns how long the client has to wait; `None` if waiting does not help, or if the wait is unknown.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.cause {
            Cause::Denied { decisions, .. } => decisions.most_restrictive().retry_after(),
            Cause::Storage(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Returns the wait in whole seconds, rounded up, as the field `Retry-After` has it.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after().map(|wait| Micros::from(wait).as_secs_ceil().max(1))
    }

    /// Returns the error for which the request could not be checked. It is for the log: it can name servers.
    #[must_use]
    pub fn error(&self) -> Option<&'a Error> {
        match self.cause {
            Cause::Storage(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the request without its body.
    #[must_use]
    pub fn head(&self) -> &'a RequestHead<'a> {
        self.head
    }
}

impl Rejected {
    pub(crate) fn denied(decisions: Decisions, (values, problem): (Values, Bytes)) -> Self {
        Self(Cause::Denied { decisions, values, problem })
    }

    #[cold]
    pub(crate) fn without_key(no_key: NoKey) -> Self {
        match no_key {
            NoKey::NoPeer => {
                Self::misconfigured("The server is not configured to tell clients apart.")
            }
            no_key => Self(Cause::NoKey(no_key)),
        }
    }

    #[cold]
    pub(crate) fn without_length(detail: String) -> Self {
        Self(Cause::NoLength(detail))
    }

    #[cold]
    pub(crate) fn storage(error: Error) -> Self {
        Self(Cause::Storage(error))
    }

    #[cold]
    pub(crate) fn misconfigured(detail: &'static str) -> Self {
        Self(Cause::Misconfigured(detail))
    }

    /// Builds the response.
    pub(crate) fn respond(
        self,
        head: &RequestHead<'_>,
        on_rejection: Option<&OnRejection>,
        write_retry_after: impl FnOnce(&Decisions, &mut Response<Bytes>),
    ) -> (Response<Bytes>, Option<Decisions>) {
        let rejection = Rejection { cause: &self.0, head };
        rejection.trace();
        let mut response = match on_rejection {
            Some(answer) => rejection.custom_response(answer),
            None => rejection.default_response(),
        };
        let is_denied_for_good = rejection.decisions().is_some_and(is_denied_for_good);
        let protocol = Protocol::of_head(head);
        let (mut response, decisions) = match self.0 {
            Cause::Denied { decisions, values, .. } => {
                if !is_denied_for_good {
                    values.write(response.headers_mut());
                    write_retry_after(&decisions, &mut response);
                }
                if let Some(degraded) = Degraded::of(&decisions) {
                    degraded.write(response.headers_mut());
                }
                let response = match protocol {
                    Protocol::Http => response,
                    _ => protocol.denied(response, &decisions, on_rejection.is_some()),
                };
                (response, Some(decisions))
            }
            cause => {
                if let Cause::Storage(_) = cause {
                    let in_a_second = HeaderValue::from_static("1");
                    response.headers_mut().entry(RETRY_AFTER).or_insert(in_a_second);
                }
                (protocol.undecided(response), None)
            }
        };
        if protocol == Protocol::Http {
            forbid_storing(&mut response);
        }
        if *head.method() == Method::HEAD {
            strip_body(&mut response);
        }
        (response, decisions)
    }
}

impl Rejection<'_> {
    fn default_response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.problem_details());
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE_FIELD, HeaderValue::from_static(CONTENT_TYPE));
        response
    }

    /// Calls the user's function. A response with status 200 gets the default status of the rejection: in most
    /// frameworks, a body alone, such as JSON, becomes a response with status 200, which a rejection must not have.
    fn custom_response(&self, answer: &OnRejection) -> Response<Bytes> {
        let mut response = answer(self);
        if response.status() == StatusCode::OK && !grpc::is_status(&response) {
            *response.status_mut() = self.status();
        }
        response
    }

    /// Logs the rejection, to debug a limit. The key is left out, because it may be a secret.
    fn trace(&self) {
        let decision = self.decision();
        tracing::debug!(
            target: "ratethrottle::rejection",
            reason = %self.reason(),
            status = self.status().as_u16(),
            rule = decision.map(Decision::rule),
            limit = decision.map(Decision::limit),
            retry_after_secs = decision.and_then(Decision::retry_after).map(|wait| wait.as_secs_f64()),
            route = self.head.route(),
            "a request is rejected"
        );
    }
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "rule",
            Self::Concurrency => "concurrency",
            Self::DenyList => "deny_list",
            Self::MissingKey => "missing_key",
            Self::MissingLength => "missing_length",
            Self::Storage => "storage",
            Self::Misconfigured => "misconfigured",
        })
    }
}

/// Returns whether rejections are logged.
#[inline]
pub(crate) fn is_logged() -> bool {
    tracing::enabled!(target: "ratethrottle::rejection", tracing::Level::DEBUG)
}

/// Returns whether the client is on the deny list permanently, so waiting does not help.
fn is_denied_for_good(decisions: &Decisions) -> bool {
    let decision = decisions.most_restrictive();
    decision.listed() == Some(ListMatch::Denied) && decision.retry_after().is_none()
}

/// Prevents caches from storing a rejection ([RFC 6585, section 4]), unless the service set the field itself: a stored
/// rejection would be served to other clients.
///
/// [RFC 6585, section 4]: https://www.rfc-editor.org/rfc/rfc6585#section-4
fn forbid_storing(response: &mut Response<Bytes>) {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
}

fn strip_body(response: &mut Response<Bytes>) {
    let body = mem::take(response.body_mut());
    response.headers_mut().entry(CONTENT_LENGTH).or_insert(body.len().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_same_name_as_text_and_in_json() {
        use RejectionReason as Reason;
        let all = [
            Reason::Rule,
            Reason::Concurrency,
            Reason::DenyList,
            Reason::MissingKey,
            Reason::MissingLength,
            Reason::Storage,
            Reason::Misconfigured,
        ];
        for reason in all {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.to_string());
        }
    }
}
