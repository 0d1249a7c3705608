//! The options of a middleware, which all adapters share.

mod actual;
mod content_length;
mod cost;
mod exempt_paths;
mod on_error;
mod set;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, Method, Response};
use throttle_core::{ConcurrencyLimit, Key};

pub(crate) use self::actual::Actual;
pub use self::{
    content_length::{ContentLength, OnMissingLength},
    cost::{ExtractCost, InvalidCost, NoCost},
    exempt_paths::InvalidPath,
    on_error::OnError,
};
use crate::{
    fields::Headers,
    head::RequestHead,
    identity::{ClientIp, ExtractKey},
    picked_rules::PickedRules,
    rejection::{OnRejection, Rejection},
    response_head::ResponseHead,
};

/// The options of a middleware. Adapters have each option as a method with the same name.
///
/// # Examples
///
/// Plans, selected by the API key of a request:
///
/// ```
/// use std::{collections::HashMap, sync::Arc};
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; pub mod options { pub use super::*; } }
/// use ratethrottle::{Header, options::Options};
///
/// let plans: HashMap<Vec<u8>, Arc<str>> = HashMap::from([(b"k-1".to_vec(), "pro".into())]);
/// let options = Options::new()
///     .key(Header::new("x-api-key"))
///     .declare_rules(["free", "pro"])
///     .select_rules(move |key, _head| {
///         plans.get(key.as_bytes()).cloned().unwrap_or_else(|| "free".into())
///     });
/// ```
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) selection: Selection,
    pub(crate) added: Vec<(String, String)>,
    pub(crate) select_rules: Option<SelectRules>,
    /// The rules that `select_rules` may select.
    pub(crate) declared: Vec<String>,
    pub(crate) key: Arc<dyn ExtractKey>,
    pub(crate) peer: Option<PeerOf>,
    pub(crate) cost: Option<Arc<dyn ExtractCost>>,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) exempt: Vec<Exempt>,
    pub(crate) invalid_path: Option<InvalidPath>,
    pub(crate) headers: Headers,
    pub(crate) on_rejection: Option<OnRejection>,
    pub(crate) on_error: OnError,
    pub(crate) charge_if: Option<ChargeIf>,
    pub(crate) actual: Option<Actual>,
    pub(crate) concurrency: Vec<ConcurrencyLimit>,
    /// The longest delay of a request.
    pub(crate) shape: Option<Duration>,
    pub(crate) enabled: bool,
    pub(crate) dry_run: bool,
    pub(crate) response_extension: bool,
}

/// The rules of the limiter that apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selection {
    /// Every rule that the limiter has when the request arrives, except those of other layers.
    All,
    /// The rules with these names.
    Named(Vec<String>),
}

impl Selection {
    /// Returns the names; `None` for every rule.
    pub(crate) fn names(&self) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Named(names) => Some(names),
        }
    }

    /// Returns whether no rule applies.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }
}

/// A function that selects rules by the key and the head of a request.
pub(crate) type SelectRules = Arc<dyn Fn(&Key<'_>, &RequestHead<'_>) -> PickedRules + Send + Sync>;
/// A function that returns the peer address from the extensions of the request.
pub(crate) type PeerOf = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;
pub(crate) type Exempt = Arc<dyn Fn(&RequestHead<'_>) -> bool + Send + Sync>;
pub(crate) type ChargeIf = Arc<dyn Fn(&ResponseHead<'_>) -> bool + Send + Sync>;

impl Options {
    /// Creates the default options: every rule applies, the client address is the key, and the draft's header
    /// fields are written.
    pub fn new() -> Self {
        Self {
            selection: Selection::All,
            added: Vec::new(),
            select_rules: None,
            declared: Vec::new(),
            key: Arc::new(ClientIp::new()),
            peer: None,
            cost: None,
            methods: None,
            exempt: Vec::new(),
            invalid_path: None,
            headers: Headers::default(),
            on_rejection: None,
            on_error: OnError::default(),
            charge_if: None,
            actual: None,
            concurrency: Vec::new(),
            shape: None,
            enabled: true,
            dry_run: false,
            response_extension: false,
        }
    }

    crate::option_methods!();

    /// Sets the response to every rejection; default: problem details with the status of the
    /// [reason](crate::RejectionReason). An adapter has this option with the response of its framework.
    ///
    /// The header fields are added to the response. A response with status 200 gets the default status of the reason,
    /// so the function can return only a body.
    pub fn on_rejection<T: Into<Bytes>>(
        self,
        answer: impl Fn(&Rejection<'_>) -> Response<T> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| {
            options.set_on_rejection(Arc::new(move |rejection| answer(rejection).map(Into::into)));
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("selection", &self.selection)
            .field("added", &self.added)
            .field("declared", &self.declared)
            .field("methods", &self.methods)
            .field("headers", &self.headers)
            .field("shape", &self.shape)
            .field("concurrency", &self.concurrency)
            .field("charge_actual", &self.actual)
            .field("on_error", &self.on_error)
            .field("enabled", &self.enabled)
            .field("dry_run", &self.dry_run)
            .field("response_extension", &self.response_extension)
            .finish_non_exhaustive()
    }
}
