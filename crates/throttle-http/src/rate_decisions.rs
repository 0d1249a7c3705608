//! The decisions as an argument of handlers, for axum and Actix Web.
//!
//! The type implements the traits of both frameworks, so it has one name in a program that enables both
//! features. Only the crate that defines a type can implement foreign traits for it, so the implementations are
//! here, behind features, and not in the adapters.

use std::{error, fmt, ops::Deref};

use throttle_core::Decisions;

/// The decisions about a request, as an argument of its handler, in axum and Actix Web.
///
/// If two throttles are nested, these are the decisions of the inner one.
///
/// Exempt requests have no decisions: take `Option<RateDecisions>` in a handler that also receives those. If a
/// handler takes `RateDecisions` and no limit was checked, the request is answered with 500, and the reason is
/// logged.
///
/// # Examples
///
/// ```
/// # use throttle_http as ratethrottle;
/// use ratethrottle::RateDecisions;
///
/// async fn index(decisions: RateDecisions) -> String {
///     format!("{} left", decisions.most_restrictive().remaining())
/// }
///
/// async fn status(decisions: Option<RateDecisions>) -> &'static str {
///     if decisions.is_some() { "limited" } else { "exempt" }
/// }
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a pattern in the arguments of handlers")]
pub struct RateDecisions(pub Decisions);

impl RateDecisions {
    /// Returns the decisions.
    #[must_use]
    pub fn into_inner(self) -> Decisions {
        self.0
    }
}

impl Deref for RateDecisions {
    type Target = Decisions;

    fn deref(&self) -> &Decisions {
        &self.0
    }
}

/// The error of a handler that takes [`RateDecisions`] while no limit was checked; answered with 500.
pub struct NoDecisions(());

throttle_core::debug_as_text!(NoDecisions);

impl fmt::Display for NoDecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no rate limit was checked for this request: wrap its handler in the middleware of the limit, or \
             take `Option<RateDecisions>` if the request may be exempt",
        )
    }
}

impl error::Error for NoDecisions {}

#[cfg(feature = "axum")]
mod axum {
    use std::{convert::Infallible, sync::Once};

    use axum_core::{
        extract::{FromRequestParts, OptionalFromRequestParts},
        response::{IntoResponse, Response},
    };
    use http::{StatusCode, request::Parts};

    use super::{NoDecisions, RateDecisions};

    impl<S: Send + Sync> FromRequestParts<S> for RateDecisions {
        type Rejection = NoDecisions;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoDecisions> {
            parts.extensions.get().cloned().map(Self).ok_or(NoDecisions(()))
        }
    }

    impl<S: Send + Sync> OptionalFromRequestParts<S> for RateDecisions {
        type Rejection = Infallible;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
            Ok(parts.extensions.get().cloned().map(Self))
        }
    }

    /// Logs the reason once, and does not show it to clients.
    impl IntoResponse for NoDecisions {
        fn into_response(self) -> Response {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| {
                tracing::error!(target: "ratethrottle::config", "a request is answered with 500: {self}");
            });
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(feature = "actix")]
mod actix {
    use std::future::{Ready, ready};

    use actix_web::{
        FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, body::BoxBody,
        dev::Payload,
    };

    use super::{NoDecisions, RateDecisions};

    impl FromRequest for RateDecisions {
        type Error = NoDecisions;
        type Future = Ready<Result<Self, NoDecisions>>;

        fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
            ready(request.extensions().get().cloned().map(Self).ok_or(NoDecisions(())))
        }
    }

    /// Leaves the reason to the log of Actix Web, and does not show it to clients.
    impl ResponseError for NoDecisions {
        fn error_response(&self) -> HttpResponse<BoxBody> {
            HttpResponse::new(self.status_code())
        }
    }
}
