//! The options as methods of a builder, written and documented once: for [`Options`](crate::Options) and for every
//! adapter.

/// Writes a method for each option into the `impl` of a builder, which needs a function that changes its
/// options: `fn with(self, change: impl FnOnce(&mut Options)) -> Self`.
#[doc(hidden)]
#[macro_export]
macro_rules! option_methods {
    () => {
        /// Applies a rule of the limiter; may be called more than once. Without it, every rule applies.
        pub fn rule(self, name: impl Into<String>) -> Self {
            self.with(|options| options.set_rule(name.into()))
        }

        /// Adds a rule to the limiter by its rate, such as `5/minute`, and applies it.
        pub fn limit(self, name: impl Into<String>, rate: impl Into<String>) -> Self {
            self.with(|options| options.set_limit(name.into(), rate.into()))
        }

        /// Selects rules of the limiter for each request, by its key and head: plans, such as
        /// `|key, _| if is_paid(key) { "pro" } else { "free" }`.
        ///
        /// They apply beside those that are named by [`rule`](Self::rule) and [`limit`](Self::limit), and in
        /// place of all rules where none is named. A request for which there is no rule at all is allowed
        /// without a limit. An unknown rule is a fault of the service: it is logged, and the request is
        /// answered with 500; those named by [`declare_rules`](Self::declare_rules) are checked when this is
        /// built.
        ///
        /// If rules depend on the path, compare [`RequestHead::decoded_path`](throttle_http::RequestHead::decoded_path).
        ///
        /// A key of more than [`MAX_KEY_LEN`](throttle_core::MAX_KEY_LEN) bytes is a digest here: look such
        /// keys up by the head.
        pub fn select_rules<R: $crate::IntoRules>(
            self,
            select: impl Fn(&$crate::macros::Key<'_>, &$crate::RequestHead<'_>) -> R
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.with(|options| {
                options.set_select_rules(std::sync::Arc::new(
                    move |key: &$crate::macros::Key<'_>, head: &$crate::RequestHead<'_>| {
                        $crate::PickedRules::new(select(key, head))
                    },
                ));
            })
        }

        /// Names the rules that [`select_rules`](Self::select_rules) may select, so that an unknown one is an error
        /// when this is built; may be called more than once.
        pub fn declare_rules(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.with(|options| options.set_declared(names.into_iter().map(Into::into).collect()))
        }

        /// Sets who is limited; default [`ClientIp`](throttle_http::identity::ClientIp).
        pub fn key(self, key: impl $crate::identity::ExtractKey) -> Self {
            self.with(|options| options.set_key(std::sync::Arc::new(key)))
        }

        /// Leaves the decisions in the extensions of the response too, also of rejections, for outer layers;
        /// default no. Handlers find them in the extensions of the request in any case.
        ///
        /// A response seldom has extensions, so that this takes about a sixth of what the whole limit does.
        pub fn response_extension(self, leave: bool) -> Self {
            self.with(|options| options.set_response_extension(leave))
        }

        /// Sets what a request costs, as a number, a function of the request, or by
        /// [`ContentLength`](throttle_http::ContentLength); default: the rule's cost. A request for which a
        /// function returns 0 is allowed and not charged; the number 0 is an error when this is built.
        ///
        /// If a path costs more, compare [`RequestHead::decoded_path`](throttle_http::RequestHead::decoded_path); if it
        /// costs less or nothing, compare [`RequestHead::path`](throttle_http::RequestHead::path).
        pub fn cost(self, cost: impl $crate::ExtractCost) -> Self {
            self.with(|options| options.set_cost(std::sync::Arc::new(cost)))
        }

        /// Limits only requests of these methods; default: all. `HEAD` is limited where `GET` is, whose
        /// handlers answer it.
        pub fn methods(self, methods: impl IntoIterator<Item = $crate::macros::Method>) -> Self {
            self.with(|options| options.set_methods(methods.into_iter().collect()))
        }

        /// Exempts requests for which `exempt` returns true: they are allowed and not charged. May be called
        /// more than once.
        ///
        /// To exempt a path, compare [`RequestHead::path`](throttle_http::RequestHead::path). To exempt all but some
        /// paths, as in `!head.decoded_path().starts_with("/api/")`, compare
        /// [`RequestHead::decoded_path`](throttle_http::RequestHead::decoded_path), or a client reaches them without a
        /// limit by an escape.
        pub fn exempt(
            self,
            exempt: impl Fn(&$crate::RequestHead<'_>) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.set_exempt(std::sync::Arc::new(exempt)))
        }

        /// Exempts CORS preflight requests: `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
        /// Browsers send them on their own, and without keys.
        pub fn exempt_preflight(self) -> Self {
            self.with($crate::Options::set_exempt_preflight)
        }

        /// Exempts requests of these paths; may be called more than once.
        ///
        /// A path is compared byte by byte, as the router matches it and without its query: axum's `nest`
        /// removes the prefix before. In Actix Web, whose router decodes escapes, `/%6detrics` is `/metrics`; in axum,
        /// where it is not, it is limited. With `/*` at its end it is all that is below: `/static/*` is `/static/`
        /// and `/static/a.css`, not `/static`. A path with `..`, a backslash, an escaped dot or slash, a
        /// percent sign that is left when it is decoded, or bytes that are not UTF-8 is below nothing: a server
        /// behind could read it as another path.
        ///
        /// Write a path as clients send it: `/a%20b`, not `/a b`. Characters that clients escape, parameters of routes
        /// (`/users/{id}`), and other invalid paths are errors when this is built, which say what to write instead.
        pub fn exempt_paths(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.with(|options| {
                options.set_exempt_paths(paths.into_iter().map(Into::into).collect());
            })
        }

        /// Exempts health checks: `GET` and `HEAD` of `/health`, `/healthz`, `/livez`, `/readyz`, `/startupz`
        /// and `/ping`.
        pub fn exempt_health_checks(self) -> Self {
            self.with($crate::Options::set_exempt_health_checks)
        }

        /// Sets where the server leaves the address of the connection, for servers other than axum,
        /// actix-web and those that put a [`SocketAddr`](std::net::SocketAddr) into the request's extensions:
        /// for tonic it is `|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr()`.
        ///
        /// It is called only where no such address is there; in Actix Web it sees the extensions that
        /// `extension` copies. Client addresses are then known to every key, trusted proxies included. Where it
        /// returns `None`, they are not.
        pub fn peer(
            self,
            peer: impl Fn(&$crate::macros::Extensions) -> Option<std::net::SocketAddr>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.with(|options| {
                options.set_peer(std::sync::Arc::new(move |extensions| {
                    peer(extensions).map(|address| address.ip())
                }));
            })
        }

        /// Exempts calls of the [gRPC health service], which load balancers make all the time.
        ///
        /// [gRPC health service]: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
        pub fn exempt_grpc_health(self) -> Self {
            self.with($crate::Options::set_exempt_grpc_health)
        }

        /// Exempts calls of the [gRPC reflection service], `v1` and `v1alpha`.
        ///
        /// [gRPC reflection service]: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
        pub fn exempt_grpc_reflection(self) -> Self {
            self.with($crate::Options::set_exempt_grpc_reflection)
        }

        /// Sets the header fields; default: those of the IETF draft, and `Retry-After`.
        pub fn headers(self, headers: $crate::Headers) -> Self {
            self.with(|options| options.set_headers(headers))
        }

        /// Sets the response to denied requests; default: 429 with problem details. The header fields are
        /// added to it.
        pub fn on_denied<T: Into<$crate::macros::Bytes>>(
            self,
            answer: impl Fn(&$crate::Denial<'_>) -> $crate::macros::Response<T> + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| {
                options.set_on_denied(std::sync::Arc::new(move |denial: &$crate::Denial<'_>| {
                    answer(denial).map(Into::into)
                }));
            })
        }

        /// Sets what happens to requests while the storage fails; default
        /// [`OnError::Reject`](throttle_http::OnError::Reject): 503.
        ///
        /// A failure is logged once, and so is its end, with the number of requests that were not decided in
        /// between.
        pub fn on_error(self, on_error: $crate::OnError) -> Self {
            self.with(|options| options.set_on_error(on_error))
        }

        /// Refunds requests for whose response `charge_if` returns false: `|response| response.status() == 401`
        /// counts failed logins only.
        ///
        /// A request is charged before its handler runs, so that no more than the limit are in flight. The
        /// refund goes to the windows that were charged and to no later ones, before the response is sent. Its
        /// header fields show the limit without this request; what others did in between is not in them. Where
        /// there is no response, the charge stays: the handler panics, the inner service fails, the client
        /// disconnects. So it does where the storage fails to refund, which is logged.
        pub fn charge_if(
            self,
            charge_if: impl Fn(&$crate::ResponseHead<'_>) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.set_charge_if(std::sync::Arc::new(charge_if)))
        }

        /// Limits how many requests of a key are in flight at once; may be called more than once.
        ///
        /// A permit is acquired before the rules are asked, and released when the body of the response has
        /// ended or failed, when the handler panics, and when the client disconnects. All or nothing: a rule
        /// that denies releases the permit, and a permit that is denied charges no rule. Like
        /// [`rule`](Self::rule) it selects: rules that are not named do not apply. Exempt requests hold no
        /// permit; a dry run rejects none.
        ///
        /// A rejection is 429 with the draft's `RateLimit-Policy: "uploads";q=5;qu="concurrent-requests"`,
        /// without `Retry-After` and `t`, since it is unknown when a permit is released. A handler whose work
        /// goes on after the response, like that of a WebSocket, keeps the permit by
        /// [`InFlight`](throttle_http::InFlight) in the extensions of the request.
        pub fn concurrency(self, concurrency: $crate::macros::ConcurrencyLimit) -> Self {
            self.with(|options| options.set_concurrency(concurrency))
        }

        /// Treats the [`cost`](Self::cost) as an estimate, and reconciles it when the handler has reported the
        /// actual cost by [`ActualCost`](throttle_http::ActualCost) in the extensions of the request: at the
        /// end of the body, so that a body that is streamed can report it, too.
        ///
        /// What was charged too much is refunded to the windows that were charged, and to no later ones. What
        /// was charged too little is charged at the end, to each rule as far as its limit has room then; the
        /// rest is dropped. Where the handler panics or the client disconnects, the charge is reconciled to
        /// what was reported by then; where nothing was reported the estimate stays: also where an inner layer
        /// rejects the request, for which there is [`charge_if`](Self::charge_if). The header fields show the
        /// estimate, since they are sent before.
        pub fn charge_actual(self) -> Self {
            self.with($crate::Options::set_charge_actual)
        }

        /// As [`charge_actual`](Self::charge_actual); a request whose cost `known` finds in the head of the
        /// response is reconciled to it before the response is sent, and its header fields show it.
        pub fn charge_actual_by(
            self,
            known: impl Fn(&$crate::ResponseHead<'_>) -> Option<u64> + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.set_charge_actual_by(std::sync::Arc::new(known)))
        }

        /// As [`charge_actual`](Self::charge_actual); the bytes of the body of the response are added to the
        /// cost as they are sent: none where it has no body, or the client disconnects before the first.
        pub fn charge_bytes_sent(self) -> Self {
            self.with($crate::Options::set_charge_bytes_sent)
        }

        /// Delays requests by a leaky bucket until their scheduled time, so that they reach the handler evenly;
        /// other algorithms delay nothing, and neither does a dry run.
        ///
        /// They wait by the limiter's clock. A client that disconnects while it waits is refunded: at once in
        /// a storage that answers at once; by a task in the background in one that answers later. The next
        /// request takes its scheduled time.
        pub fn shape(self) -> Self {
            self.shape_at_most(std::time::Duration::MAX)
        }

        /// As [`shape`](Self::shape); a request whose scheduled time is more than `at_most` away is denied as by
        /// a full queue: with 429, whose `Retry-After` is when its scheduled time is near enough. What
        /// `RateLimit` shows as remaining are requests that would be allowed.
        pub fn shape_at_most(self, at_most: std::time::Duration) -> Self {
            self.with(|options| options.set_shape(at_most))
        }

        /// Decides, counts and writes header fields, but allows everything, also requests without a key or
        /// cost and those that the storage cannot decide. A response that would have been a rejection has
        /// `X-RateLimit-Dry-Run: denied`, and no `Retry-After`. The metrics count as without it.
        pub fn dry_run(self) -> Self {
            self.with($crate::Options::set_dry_run)
        }
    };
}

/// Names the types of other crates for the macro.
#[doc(hidden)]
pub mod macros {
    pub use bytes::Bytes;
    pub use http::{Extensions, Method, Response};
    pub use throttle_core::{ConcurrencyLimit, Key};
}
