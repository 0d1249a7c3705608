//! The decisions as an argument of handlers.

use std::{
    error, fmt,
    future::{Ready, ready},
    ops::Deref,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, body::BoxBody, dev::Payload,
};
use throttle_core::Decisions;

/// Hands the decisions about its request to a handler.
///
/// Requests that are exempt have none; `Option<RateDecisions>` is for handlers that see both. Of
/// nested throttles, it is that of the innermost.
///
/// # Examples
///
/// ```
/// # use throttle_actix as ratethrottle;
/// use ratethrottle::RateDecisions;
///
/// async fn index(decisions: RateDecisions) -> String {
///     format!("{} left", decisions.most_restrictive().remaining())
/// }
/// # actix_web::web::to(index);
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

impl FromRequest for RateDecisions {
    type Error = NoDecisions;
    type Future = Ready<Result<Self, NoDecisions>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get().cloned().map(Self).ok_or(NoDecisions(())))
    }
}

/// Says that a handler asks for decisions and that there are none; answered with 500.
#[derive(Debug)]
pub struct NoDecisions(());

impl fmt::Display for NoDecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no rate limit was decided about this request: wrap `RateThrottle` around its handler, \
             or take `Option<RateDecisions>` where requests are exempt",
        )
    }
}

impl error::Error for NoDecisions {}

/// Tells what is wrong within to the log of Actix, and nothing to clients.
impl ResponseError for NoDecisions {
    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::new(self.status_code())
    }
}
