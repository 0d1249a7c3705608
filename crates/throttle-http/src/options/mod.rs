//! What both adapters let users choose.

mod actual;
mod content_length;
mod cost;
mod exempt_paths;
mod grpc;
mod on_error;
mod peer;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Extensions, Method, Response,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use throttle_core::{Concurrency, Decision, Decisions, Key};

pub(crate) use self::actual::Actual;
use self::exempt_paths::{ExemptPaths, is_health_check};
pub use self::{
    content_length::{ContentLength, MissingLength},
    cost::{ExtractCost, InvalidCost, NoCost},
    exempt_paths::InvalidPath,
    on_error::OnError,
};
use crate::{
    fields::Headers,
    head::RequestHead,
    identity::{ClientIp, ExtractKey},
    picked_rules::{IntoRules, PickedRules},
    response_head::ResponseHead,
};

/// Collects the options of a middleware; an adapter offers each under the same name.
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) selection: Selection,
    pub(crate) added: Vec<(String, String)>,
    pub(crate) rules_by: Option<SelectRules>,
    /// What `rules_by` may pick.
    pub(crate) declared: Vec<String>,
    pub(crate) key: Arc<dyn ExtractKey>,
    pub(crate) peer: Option<PeerOf>,
    pub(crate) cost: Option<Arc<dyn ExtractCost>>,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) exempt: Vec<Exempt>,
    pub(crate) invalid_path: Option<InvalidPath>,
    pub(crate) headers: Headers,
    pub(crate) on_denied: Option<OnDenied>,
    pub(crate) on_error: OnError,
    pub(crate) charge_if: Option<ChargeIf>,
    pub(crate) actual: Option<Actual>,
    pub(crate) concurrency: Vec<Concurrency>,
    /// The longest wait of a request for its turn.
    pub(crate) shape: Option<Duration>,
    pub(crate) dry_run: bool,
    pub(crate) response_extension: bool,
}

/// Says which rules of the limiter apply.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "either all or some")]
pub enum Selection {
    /// Every rule that the limiter has when the request comes.
    All,
    /// The rules of these names.
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

/// Selects rules by the key and the head of a request.
pub(crate) type SelectRules = Arc<dyn Fn(&Key<'_>, &RequestHead<'_>) -> PickedRules + Send + Sync>;
/// Returns the address of the connection, by what is beside the request.
pub(crate) type PeerOf = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;
pub(crate) type Exempt = Arc<dyn Fn(&RequestHead<'_>) -> bool + Send + Sync>;
pub(crate) type ChargeIf = Arc<dyn Fn(&ResponseHead<'_>) -> bool + Send + Sync>;
pub(crate) type OnDenied = Arc<dyn Fn(&Denial<'_>) -> Response<Bytes> + Send + Sync>;

/// Shows a refusal to the function that answers it.
#[derive(Copy, Clone, Debug)]
pub struct Denial<'a> {
    pub(crate) decisions: &'a Decisions,
}

impl<'a> Denial<'a> {
    /// Returns the decision that the client is told about.
    #[must_use]
    pub fn decision(&self) -> &'a Decision {
        self.decisions.reported()
    }

    /// Returns the decisions of all rules.
    #[must_use]
    pub fn decisions(&self) -> &'a Decisions {
        self.decisions
    }
}

impl Options {
    /// Takes every rule, the client's address, and the header fields of the draft.
    pub fn new() -> Self {
        Self {
            selection: Selection::All,
            added: Vec::new(),
            rules_by: None,
            declared: Vec::new(),
            key: Arc::new(ClientIp::new()),
            peer: None,
            cost: None,
            methods: None,
            exempt: Vec::new(),
            invalid_path: None,
            headers: Headers::default(),
            on_denied: None,
            on_error: OnError::default(),
            charge_if: None,
            actual: None,
            concurrency: Vec::new(),
            shape: None,
            dry_run: false,
            response_extension: false,
        }
    }

    /// Applies a rule of the limiter; may be said several times. Without it, every rule applies.
    pub fn rule(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        match &mut self.selection {
            Selection::All => self.selection = Selection::Named(vec![name]),
            Selection::Named(names) => names.push(name),
        }
        self
    }

    /// Adds a rule to the limiter by its rate, such as `5/minute`, and applies it.
    pub fn limit(mut self, name: impl Into<String>, rate: impl Into<String>) -> Self {
        let name = name.into();
        self.added.push((name.clone(), rate.into()));
        self.rule(name)
    }

    /// Picks rules of the limiter for each request, by its key and head: plans.
    ///
    /// They apply beside those that are named by [`rule`](Self::rule) and [`limit`](Self::limit), and in
    /// place of all rules where none is named. A request for which there is no rule at all passes
    /// unlimited. A rule that the limiter does not have is a mistake of the service: it is logged, and
    /// the request is answered with 500; see [`declare_rules`](Self::declare_rules).
    ///
    /// A key of more than [`MAX_KEY_LEN`](throttle_core::MAX_KEY_LEN) bytes is a digest here: look such
    /// things up by the head.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{collections::HashMap, sync::Arc};
    /// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; }
    /// use ratethrottle::{Header, Options};
    ///
    /// let plans: HashMap<Vec<u8>, Arc<str>> = HashMap::from([(b"k-1".to_vec(), "pro".into())]);
    /// let options = Options::new()
    ///     .key(Header::new("x-api-key"))
    ///     .declare_rules(["free", "pro"])
    ///     .rules_by(move |key, _head| {
    ///         plans.get(key.as_bytes()).cloned().unwrap_or_else(|| "free".into())
    ///     });
    /// ```
    pub fn rules_by<R: IntoRules>(
        mut self,
        pick: impl Fn(&Key<'_>, &RequestHead<'_>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.rules_by = Some(Arc::new(move |key, head| PickedRules::new(pick(key, head))));
        self
    }

    /// Names the rules that [`rules_by`](Self::rules_by) may pick, so that one that the limiter does not
    /// have is an error when the middleware is built; may be said several times.
    pub fn declare_rules(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.declared.extend(names.into_iter().map(Into::into));
        self
    }

    /// Says who is limited; default [`ClientIp`].
    pub fn key(mut self, key: impl ExtractKey) -> Self {
        self.key = Arc::new(key);
        self
    }

    /// Says what a request costs, as a number, a function of the request, or by [`ContentLength`];
    /// default: the rule's cost. A function that returns 0 lets the request pass uncharged; the number 0 is
    /// an error when the middleware is built.
    pub fn cost(mut self, cost: impl ExtractCost) -> Self {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// Limits only requests of these methods; default: all. `HEAD` is limited where `GET` is, whose handlers
    /// answer it.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Lets requests pass uncharged for which `exempt` returns true; may be said several times.
    pub fn exempt(
        mut self,
        exempt: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.exempt.push(Arc::new(exempt));
        self
    }

    /// Lets CORS preflight requests pass uncharged: `OPTIONS` with `Origin` and
    /// `Access-Control-Request-Method`. Browsers send them by themselves, and without keys.
    pub fn exempt_preflight(self) -> Self {
        self.exempt(|head| {
            head.method() == Method::OPTIONS
                && head.headers().contains_key(ORIGIN)
                && head.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        })
    }

    /// Lets requests of these paths pass uncharged; may be said several times.
    ///
    /// A path is compared to the letter, as the middleware sees it and without its query: axum's `nest`
    /// takes the prefix away before. With `/*` at its end it is all that is below: `/static/*` is
    /// `/static/` and `/static/a.css`, not `/static`. A path with `..`, a backslash, or an escaped dot or
    /// slash is below nothing.
    ///
    /// One that can be no path is an error when the middleware is built.
    pub fn exempt_paths(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        match ExemptPaths::new(paths.into_iter().map(Into::into)) {
            Ok(paths) => self.exempt(move |head| paths.contains(head.path())),
            Err(error) => {
                self.invalid_path.get_or_insert(error);
                self
            }
        }
    }

    /// Lets health checks pass uncharged: `GET` and `HEAD` of `/health`, `/healthz`, `/livez`, `/readyz`,
    /// `/startupz` and `/ping`.
    pub fn exempt_health_checks(self) -> Self {
        self.exempt(is_health_check)
    }

    /// Picks the header fields; default: those of the IETF draft, and `Retry-After`.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Answers refusals; default: 429 with problem details. The header fields are added to it.
    pub fn on_denied<T: Into<Bytes>>(
        mut self,
        answer: impl Fn(&Denial<'_>) -> Response<T> + Send + Sync + 'static,
    ) -> Self {
        self.on_denied = Some(Arc::new(move |denial| answer(denial).map(Into::into)));
        self
    }

    /// Says what it means that the storage failed; default [`OnError::Refuse`]: 503.
    ///
    /// That it failed is logged once, and that it works again once, with how many requests were not
    /// decided in between.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Looks at the response, and gives the charge back where `charge_if` returns false: `|response|
    /// response.status() == 401` counts failed logins only.
    ///
    /// A request is charged before its handler runs, so that no more than the limit are under way. What
    /// is given back goes to the windows that were charged and to no later ones, before the response is
    /// sent. Its header fields tell of the limit as if the request had not been; what others did in
    /// between is not in them. Where there is no response, the charge stays: the handler panics, the
    /// service within fails, the client goes away. So it does where the storage fails to give back,
    /// which is logged.
    pub fn charge_if(
        mut self,
        charge_if: impl Fn(&ResponseHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.charge_if = Some(Arc::new(charge_if));
        self
    }

    /// Limits how many requests of a key are under way at once; may be said several times.
    ///
    /// A place is taken before the rules are asked, and given back when the body of the response has ended
    /// or failed, when the handler panics, and when the client goes away. All or nothing: a rule that
    /// refuses gives the place back, and a place that is refused charges no rule. As
    /// [`rule`](Self::rule) it picks: rules that are not named then do not apply. Exempt requests hold no
    /// place, a dry run refuses none.
    ///
    /// It is refused with 429 and the draft's `RateLimit-Policy: "uploads";q=5;qu="concurrent-requests"`,
    /// without `Retry-After` and `t`, since nobody knows when a place is free. A handler whose work goes on
    /// after the response, as that of a WebSocket does, keeps the place by [`InFlight`](crate::InFlight) in
    /// the extensions of the request.
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        if self.selection == Selection::All {
            self.selection = Selection::Named(Vec::new());
        }
        self.concurrency.push(concurrency);
        self
    }

    /// Takes the [`cost`](Self::cost) as an estimate, and settles it when the handler has said what the
    /// request turned out to cost, by [`ActualCost`](crate::ActualCost) in the extensions of the request:
    /// at the end of the body, so that a body that is streamed can say it, too.
    ///
    /// What was charged too much is given back to the windows that were charged, and to no later ones.
    /// What was charged too little is charged at the end, to each rule as far as its limit has room then;
    /// the rest is forgiven. Where the handler panics or the client goes away, the request is settled to
    /// what was said by then; where nothing was said the estimate stands: also where a layer within
    /// this one refuses, for which there is `charge_if`. The header fields tell of the estimate, since they are
    /// sent before.
    pub fn charge_actual(mut self) -> Self {
        self.actual.get_or_insert_default();
        self
    }

    /// As [`charge_actual`](Self::charge_actual); a request whose cost `known` finds in the head of the
    /// response is settled to that, before the response is sent, and its header fields tell of it.
    pub fn charge_actual_by(
        mut self,
        known: impl Fn(&ResponseHead<'_>) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.actual.get_or_insert_default().by = Some(Arc::new(known));
        self
    }

    /// As [`charge_actual`](Self::charge_actual); the bytes of the body of the response are added to the
    /// cost as they are sent: none where it has no body, or the client leaves before the first.
    pub fn charge_bytes_sent(mut self) -> Self {
        self.actual.get_or_insert_default().bytes_sent = true;
        self
    }

    /// Lets requests wait for their turn by a leaky bucket before the handler is called, so that they
    /// reach it evenly; by other algorithms nobody waits. In a dry run neither.
    ///
    /// They wait by the limiter's clock. A client that goes away while it waits gives its place back: at
    /// once in a storage that answers at once; by a task in the background in one that answers later. The
    /// next that comes has its turn.
    pub fn shape(self) -> Self {
        self.shape_at_most(Duration::MAX)
    }

    /// As `shape`, but whose turn is further away than `at_most` is denied as by a full queue: with 429, of which
    /// `Retry-After` says when its turn would be near enough. What `RateLimit` says to remain are
    /// those that would be.
    pub fn shape_at_most(mut self, at_most: Duration) -> Self {
        self.shape = Some(at_most);
        self
    }

    /// Decides, counts and writes header fields, but lets everything pass, also requests without a key or
    /// cost and those that the storage cannot decide. A response that would have been a refusal has
    /// `X-RateLimit-Dry-Run: denied`, and no `Retry-After`. The metrics count as without it.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Leaves the decisions in the extensions of the response too, of refusals as well, for layers
    /// around this one; default no.
    ///
    /// Handlers find them in those of the request in any case. A response seldom has extensions, so
    /// that leaving something there takes about a sixth of what the whole limit does.
    pub fn response_extension(mut self, leave: bool) -> Self {
        self.response_extension = leave;
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
            .field("dry_run", &self.dry_run)
            .field("response_extension", &self.response_extension)
            .finish_non_exhaustive()
    }
}
