//! Refusals that are made without a decision, and what all of them are made of.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE as CONTENT_TYPE_FIELD, RETRY_AFTER},
};

use crate::{CONTENT_TYPE, NoCost, Refusal, identity::NoKey, problem};

pub(crate) fn problem_response(status: StatusCode, body: Bytes) -> Refusal {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE_FIELD, HeaderValue::from_static(CONTENT_TYPE));
    response
}

#[cold]
pub(crate) fn refuse_without_cost(no_cost: NoCost) -> Refusal {
    let NoCost::NoLength = no_cost;
    let body = problem::plain(411, "Length Required", &no_cost.to_string());
    problem_response(StatusCode::LENGTH_REQUIRED, body)
}

pub(crate) fn refuse_misconfigured(detail: &str) -> Refusal {
    let body = problem::plain(500, "Internal Server Error", detail);
    problem_response(StatusCode::INTERNAL_SERVER_ERROR, body)
}

/// Refuses what could not be decided: a limit that is not kept would be worse than a retry.
pub(crate) fn refuse_undecided() -> Refusal {
    let body = problem::reduced_capacity();
    let mut response = problem_response(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

pub(crate) fn refuse_without_key(no_key: &NoKey) -> Refusal {
    let status = match no_key {
        NoKey::NoPeer => {
            let detail = "The server is not configured to tell clients apart.";
            return refuse_misconfigured(detail);
        }
        NoKey::Status(status) if status.is_client_error() || status.is_server_error() => *status,
        _ => StatusCode::BAD_REQUEST,
    };
    let title = status.canonical_reason().unwrap_or("Bad Request");
    let body = problem::plain(status.as_u16(), title, &no_key.to_string());
    problem_response(status, body)
}
