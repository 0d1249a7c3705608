//! The options as the methods of an adapter's builder, written once.

/// Writes a method for each of [`Options`](crate::Options), of the same name and meaning, into the
/// `impl` of an adapter's builder, which needs a function to change them:
/// `fn with(self, change: impl FnOnce(Options) -> Options) -> Self`.
#[doc(hidden)]
#[macro_export]
macro_rules! option_methods {
    () => {
        /// Applies a rule of the limiter; may be said several times. Without it, every rule applies.
        pub fn rule(self, name: impl Into<String>) -> Self {
            self.with(|options| options.rule(name))
        }

        /// Adds a rule to the limiter by its rate, such as `5/minute`, and applies it.
        pub fn limit(self, name: impl Into<String>, rate: impl Into<String>) -> Self {
            self.with(|options| options.limit(name, rate))
        }

        /// Picks rules of the limiter for each request, by its key and head: plans, such as
        /// `|key, _| if is_paid(key) { "pro" } else { "free" }`.
        ///
        /// They apply beside those that are named by `rule` and `limit`, and in place of all rules where
        /// none is named. A request for which there is no rule at all passes unlimited. A rule that the
        /// limiter does not have is a mistake of the service: it is logged, and the request is answered
        /// with 500; those named by `declare_rules` are looked for when this is built.
        ///
        /// A key of more than [`MAX_KEY_LEN`](throttle_core::MAX_KEY_LEN) bytes is a digest here: look such
        /// things up by the head.
        pub fn rules_by<R: $crate::IntoRules>(
            self,
            pick: impl Fn(&$crate::macros::Key<'_>, &$crate::RequestHead<'_>) -> R
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.with(|options| options.rules_by(pick))
        }

        /// Names the rules that `rules_by` may pick, so that one that the limiter does not have is an
        /// error when this is built; may be said several times.
        pub fn declare_rules(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.with(|options| options.declare_rules(names))
        }

        /// Says who is limited; default [`ClientIp`](throttle_http::identity::ClientIp).
        pub fn key(self, key: impl $crate::identity::ExtractKey) -> Self {
            self.with(|options| options.key(key))
        }

        /// Leaves the decisions in the extensions of the response too, of refusals as well, for layers
        /// around this one; default no. Handlers find them in those of the request in any case.
        pub fn response_extension(self, leave: bool) -> Self {
            self.with(|options| options.response_extension(leave))
        }

        /// Says what a request costs, as a number, a function of the request, or by
        /// [`ContentLength`](throttle_http::ContentLength); default: the rule's cost. A function that
        /// returns 0 lets the request pass uncharged.
        pub fn cost(self, cost: impl $crate::ExtractCost) -> Self {
            self.with(|options| options.cost(cost))
        }

        /// Limits only requests of these methods; default: all. `HEAD` is limited where `GET` is, whose handlers
        /// answer it.
        pub fn methods(self, methods: impl IntoIterator<Item = $crate::macros::Method>) -> Self {
            self.with(|options| options.methods(methods))
        }

        /// Lets requests pass uncharged for which `exempt` returns true; may be said several times.
        pub fn exempt(
            self,
            exempt: impl Fn(&$crate::RequestHead<'_>) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.exempt(exempt))
        }

        /// Lets CORS preflight requests pass uncharged: `OPTIONS` with `Origin` and
        /// `Access-Control-Request-Method`. Browsers send them by themselves, and without keys.
        pub fn exempt_preflight(self) -> Self {
            self.with($crate::Options::exempt_preflight)
        }

        /// Lets requests of these paths pass uncharged; may be said several times.
        ///
        /// A path is compared to the letter, as this middleware sees it and without its query: axum's `nest`
        /// takes the prefix away before. With `/*` at its end it is all that is below: `/static/*` is
        /// `/static/` and `/static/a.css`, not `/static`. A path with `..`, a backslash, or an escaped dot
        /// or slash is below nothing.
        ///
        /// One that can be no path is an error when this is built.
        pub fn exempt_paths(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.with(|options| options.exempt_paths(paths))
        }

        /// Lets health checks pass uncharged: `GET` and `HEAD` of `/health`, `/healthz`, `/livez`,
        /// `/readyz`, `/startupz` and `/ping`.
        pub fn exempt_health_checks(self) -> Self {
            self.with($crate::Options::exempt_health_checks)
        }

        /// Says where the server leaves the address of the connection, for servers that do it otherwise
        /// than axum, actix-web and those that put a [`SocketAddr`](std::net::SocketAddr) into the
        /// request's extensions: by tonic it is
        /// `|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr()`.
        ///
        /// It is asked only where no such address is there; by Actix Web it sees the extensions that
        /// `extension` hands on. Client addresses are then known to every key,
        /// trusted proxies included. Where it returns none, they are not.
        pub fn peer(
            self,
            peer: impl Fn(&$crate::macros::Extensions) -> Option<std::net::SocketAddr>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.with(|options| options.peer(peer))
        }

        /// Lets calls of the [gRPC health service] pass uncharged: load balancers ask it all the time.
        ///
        /// [gRPC health service]: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
        pub fn exempt_grpc_health(self) -> Self {
            self.with($crate::Options::exempt_grpc_health)
        }

        /// Lets calls of the [gRPC reflection service] pass uncharged, `v1` and `v1alpha`.
        ///
        /// [gRPC reflection service]: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
        pub fn exempt_grpc_reflection(self) -> Self {
            self.with($crate::Options::exempt_grpc_reflection)
        }

        /// Picks the header fields; default: those of the IETF draft, and `Retry-After`.
        pub fn headers(self, headers: $crate::Headers) -> Self {
            self.with(|options| options.headers(headers))
        }

        /// Answers refusals; default: 429 with problem details. The header fields are added to it.
        pub fn on_denied<T: Into<$crate::macros::Bytes>>(
            self,
            answer: impl Fn(&$crate::Denial<'_>) -> $crate::macros::Response<T> + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.on_denied(answer))
        }

        /// Says what it means that the storage failed; default
        /// [`OnError::Refuse`](throttle_http::OnError::Refuse): 503.
        ///
        /// That it failed is logged once, and that it works again once, with how many requests were
        /// not decided in between.
        pub fn on_error(self, on_error: $crate::OnError) -> Self {
            self.with(|options| options.on_error(on_error))
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
            self,
            charge_if: impl Fn(&$crate::ResponseHead<'_>) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.charge_if(charge_if))
        }

        /// Limits how many requests of a key are under way at once; may be said several times.
        ///
        /// A place is taken before the rules are asked, and given back when the body of the response has
        /// ended or failed, when the handler panics, and when the client goes away. All or nothing: a rule
        /// that refuses gives the place back, and a place that is refused charges no rule. As `rule` it
        /// picks: rules that are not named then do not apply. Exempt requests hold no place, a dry run
        /// refuses none.
        ///
        /// It is refused with 429 and the draft's `RateLimit-Policy: "uploads";q=5;qu="concurrent-requests"`,
        /// without `Retry-After` and `t`, since nobody knows when a place is free. A handler whose work goes
        /// on after the response, as that of a WebSocket does, keeps the place by
        /// [`InFlight`](throttle_http::InFlight) in the extensions of the request.
        pub fn concurrency(self, concurrency: $crate::macros::Concurrency) -> Self {
            self.with(|options| options.concurrency(concurrency))
        }

        /// Takes the `cost` as an estimate, and settles it when the handler has said what the request turned
        /// out to cost, by [`ActualCost`](throttle_http::ActualCost) in the extensions of the request: at the
        /// end of the body, so that a body that is streamed can say it, too.
        ///
        /// What was charged too much is given back to the windows that were charged, and to no later ones.
        /// What was charged too little is charged at the end, to each rule as far as its limit has room
        /// then; the rest is forgiven. Where the handler panics or the client goes away, the request is
        /// settled to what was said by then; where nothing was said the estimate stands: also where a layer
        /// within this one refuses, for which there is `charge_if`. The header fields tell of the estimate,
        /// since they are sent before.
        pub fn charge_actual(self) -> Self {
            self.with($crate::Options::charge_actual)
        }

        /// As `charge_actual`; a request whose cost `known` finds in the head of the response is settled to
        /// that, before the response is sent, and its header fields tell of it.
        pub fn charge_actual_by(
            self,
            known: impl Fn(&$crate::ResponseHead<'_>) -> Option<u64> + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.charge_actual_by(known))
        }

        /// As `charge_actual`; the bytes of the body of the response are added to the cost as they are
        /// sent: none where it has no body, or the client leaves before the first.
        pub fn charge_bytes_sent(self) -> Self {
            self.with($crate::Options::charge_bytes_sent)
        }

        /// Lets requests wait for their turn by a leaky bucket before the handler is called, so that they
        /// reach it evenly; by other algorithms nobody waits. In a dry run neither.
        ///
        /// They wait by the limiter's clock. A client that goes away while it waits gives its place back: at
        /// once in a storage that answers at once; by a task in the background in one that answers later. The
        /// next that comes has its turn.
        pub fn shape(self) -> Self {
            self.with($crate::Options::shape)
        }

        /// As `shape`, but whose turn is further away than `at_most` is denied as by a full queue: with 429, of which
        /// `Retry-After` says when its turn would be near enough. What `RateLimit` says to remain are
        /// those that would be.
        pub fn shape_at_most(self, at_most: std::time::Duration) -> Self {
            self.with(|options| options.shape_at_most(at_most))
        }

        /// Decides, counts and writes header fields, but lets everything pass, also requests without a key or
        /// cost and those that the storage cannot decide. A response that would have been a refusal has
        /// `X-RateLimit-Dry-Run: denied`, and no `Retry-After`. The metrics count as without it.
        pub fn dry_run(self) -> Self {
            self.with($crate::Options::dry_run)
        }
    };
}

/// Names the types of other crates for the macro.
#[doc(hidden)]
pub mod macros {
    pub use bytes::Bytes;
    pub use http::{Extensions, Method, Response};
    pub use throttle_core::{Concurrency, Key};
}
