//! The options as builder methods, written and documented once for [`Options`](crate::Options) and every adapter.

/// Adds one method for each option to the `impl` of a builder. The builder needs a function that changes its
/// options: `fn with(self, change: impl FnOnce(&mut Options)) -> Self`.
#[doc(hidden)]
#[macro_export]
macro_rules! option_methods {
    () => {
        /// Applies the rule of this name, which the limiter must have. May be called more than once.
        ///
        /// By default, a layer applies all rules that the limiter has when the request arrives, except those that
        /// layers added by [`limit`](Self::limit). Once a rule is named here or by `limit`, only named rules apply. An
        /// unknown name is an error when the middleware is built.
        pub fn rule(self, name: impl Into<String>) -> Self {
            self.with(|options| options.set_rule(name.into()))
        }

        /// Adds a rule with this rate, such as `5/minute` or `100 per 30 seconds`, to the limiter, and applies
        /// it. May be called more than once.
        ///
        /// The rule applies only to layers that name it, here or by [`rule`](Self::rule). Layers that add the same
        /// name and rate share the counts.
        ///
        /// A rate that cannot be parsed, and a name that the limiter uses for another rule, are errors when the
        /// middleware is built. Once a rule is named, rules that are not named do not apply.
        pub fn limit(self, name: impl Into<String>, rate: impl Into<String>) -> Self {
            self.with(|options| options.set_limit(name.into(), rate.into()))
        }

        /// Selects rules for each request by its key and head, for example by the plan of a customer:
        /// `|key, _| if is_paid(key) { "pro" } else { "free" }`.
        ///
        /// The function returns one name, several, or none. Selected rules apply in addition to those named by
        /// [`rule`](Self::rule) and [`limit`](Self::limit). If no rule is named, only the selected rules apply.
        /// A request without any rule is allowed without a limit.
        ///
        /// An unknown rule is an error of the service: it is logged, and the request is answered with 500. List
        /// the names with [`declare_rules`](Self::declare_rules) to find such an error when the middleware is
        /// built.
        ///
        /// To select by path, compare [`RequestHead::decoded_path`](throttle_http::RequestHead::decoded_path).
        ///
        /// A key longer than [`MAX_KEY_LEN`](throttle_core::MAX_KEY_LEN) bytes is passed as a digest. To look
        /// such a key up, read it from the head instead.
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

        /// Declares the rules that [`select_rules`](Self::select_rules) may select, so that an unknown name is
        /// an error when the middleware is built. May be called more than once.
        pub fn declare_rules(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.with(|options| options.set_declared(names.into_iter().map(Into::into).collect()))
        }

        /// Sets the key: requests with the same key share a limit. Default:
        /// [`ClientIp`](throttle_http::identity::ClientIp), the client address.
        ///
        /// The key can be an address, a header field, a cookie, a function, or a tuple of these. An invalid key is
        /// an error when the middleware is built, for example if a trusted proxy is not a network.
        pub fn key(self, key: impl $crate::identity::ExtractKey) -> Self {
            self.with(|options| options.set_key(std::sync::Arc::new(key)))
        }

        /// Sets the key to the result of a function, as [`key`](Self::key) does:
        /// `|head| head.header("x-tenant").map(str::to_owned)`.
        ///
        /// The compiler infers the type of the closure's argument here. For a closure that is passed to `key` or is part
        /// of a tuple it cannot, because these accept other types, too. Write `|head: &RequestHead<'_>| …` there.
        pub fn key_by<K: $crate::identity::IntoKey>(
            self,
            key: impl Fn(&$crate::RequestHead<'_>) -> K + Send + Sync + 'static,
        ) -> Self {
            self.key(key)
        }

        /// Adds the decisions to the extensions of the response, too, including rejections, so that outer layers can
        /// read them. This is disabled by default.
        ///
        /// Handlers read the decisions from the extensions of the request, with or without this option. Most
        /// responses have no extensions, so creating them adds about a sixth to the time of the whole check.
        pub fn response_extension(self, leave: bool) -> Self {
            self.with(|options| options.set_response_extension(leave))
        }

        /// Sets the cost of a request: a number, a function of the request, or
        /// [`ContentLength`](throttle_http::ContentLength). The default is the cost of the rule, which is 1 unless the
        /// rule sets another.
        ///
        /// If a function returns 0, the request is allowed and not charged. A request that costs more than a
        /// rule allows at once is always rejected. A constant below 1 is an error when the middleware is built.
        ///
        /// To charge more for a path, compare
        /// [`RequestHead::decoded_path`](throttle_http::RequestHead::decoded_path). To charge less or nothing,
        /// compare [`RequestHead::path`](throttle_http::RequestHead::path).
        pub fn cost(self, cost: impl $crate::ExtractCost) -> Self {
            self.with(|options| options.set_cost(std::sync::Arc::new(cost)))
        }

        /// Sets the cost to the result of a function, as [`cost`](Self::cost) does. The compiler infers the type of
        /// its argument: `|head| if head.uri().query().is_some() { 5 } else { 1 }`.
        pub fn cost_by(
            self,
            cost: impl Fn(&$crate::RequestHead<'_>) -> u64 + Send + Sync + 'static,
        ) -> Self {
            self.cost(cost)
        }

        /// Limits only requests with these methods. By default, all methods are limited.
        ///
        /// `GET` includes `HEAD`, because handlers of `GET` also answer `HEAD`. An empty list is an error when
        /// the middleware is built.
        pub fn methods(self, methods: impl IntoIterator<Item = $crate::macros::Method>) -> Self {
            self.with(|options| options.set_methods(methods.into_iter().collect()))
        }

        /// Exempts requests for which the function returns `true`: they are allowed and not charged. May be
        /// called more than once; a request is exempt if any of the functions returns `true`.
        ///
        /// To exempt a path, compare [`RequestHead::path`](throttle_http::RequestHead::path). To exempt
        /// everything *except* some paths, as in `!head.decoded_path().starts_with("/api/")`, compare
        /// [`RequestHead::decoded_path`](throttle_http::RequestHead::decoded_path). With `path`, a client could
        /// bypass the limit by escaping a character of the path.
        pub fn exempt(
            self,
            exempt: impl Fn(&$crate::RequestHead<'_>) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.set_exempt(std::sync::Arc::new(exempt)))
        }

        /// Exempts CORS preflight requests: `OPTIONS` with `Origin` and `Access-Control-Request-Method`. This is
        /// disabled by default.
        ///
        /// Browsers send them on their own, without API keys or cookies.
        pub fn exempt_preflight(self) -> Self {
            self.with($crate::Options::set_exempt_preflight)
        }

        /// Exempts requests for these paths. May be called more than once.
        ///
        /// - `/metrics` matches this path only.
        /// - `/static/*` matches everything below `/static/`: `/static/` and `/static/a.css`, but not `/static`.
        ///
        /// A path is compared byte by byte, without its query, in the form in which the router matches it. In
        /// axum, `nest` has already removed its prefix, and escapes are not decoded: `/%6detrics` is not
        /// `/metrics` and is limited. Actix Web decodes escapes first, so both are exempt there.
        ///
        /// `/*` does not match a path that a server behind this one could resolve to a path elsewhere: one with
        /// `..`, a backslash, an escaped dot or slash, bytes that are not UTF-8, or a percent sign that remains
        /// after decoding.
        ///
        /// Write a path as clients send it: `/a%20b`, not `/a b`. A character that clients escape, a route
        /// parameter (`/users/{id}`), and any other invalid path is an error when the middleware is built. The
        /// error shows the correct form.
        pub fn exempt_paths(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.with(|options| {
                options.set_exempt_paths(paths.into_iter().map(Into::into).collect());
            })
        }

        /// Exempts health checks: `GET` and `HEAD` requests for `/health`, `/healthz`, `/livez`, `/readyz`, `/startupz`
        /// and `/ping`. This is disabled by default.
        pub fn exempt_health_checks(self) -> Self {
            self.with($crate::Options::set_exempt_health_checks)
        }

        /// Sets a function that returns the peer address of the connection from the extensions of the request.
        /// For tonic: `|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr()`.
        ///
        /// Not needed for axum, for Actix Web, or for a server that inserts a
        /// [`SocketAddr`](std::net::SocketAddr) into the extensions: the function is called only if none of
        /// these provides the address. In Actix Web it sees the extensions that `extension` copies.
        ///
        /// Every key then sees the address as the peer, and trusted proxies are compared with it. If the
        /// function returns `None`, the client address is unknown, and a key that needs it rejects the request
        /// with 500.
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

        /// Exempts calls of the [gRPC health service], which load balancers make frequently. This is disabled by
        /// default.
        ///
        /// [gRPC health service]: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
        pub fn exempt_grpc_health(self) -> Self {
            self.with($crate::Options::set_exempt_grpc_health)
        }

        /// Exempts calls of the [gRPC reflection service], `v1` and `v1alpha`. This is disabled by default.
        ///
        /// [gRPC reflection service]: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
        pub fn exempt_grpc_reflection(self) -> Self {
            self.with($crate::Options::set_exempt_grpc_reflection)
        }

        /// Sets the header fields of responses. The default is `RateLimit` and `RateLimit-Policy` of the IETF draft,
        /// and `Retry-After` on rejections.
        pub fn headers(self, headers: $crate::Headers) -> Self {
            self.with(|options| options.set_headers(headers))
        }

        /// Sets how requests are handled while the storage fails. Default:
        /// [`OnError::Reject`](throttle_http::OnError::Reject), which answers with 503.
        ///
        /// The start of a failure is logged once, with the names of the rules. Its end is logged with the number
        /// of requests that could not be checked in the meantime, as soon as the storage decides a request of any
        /// layer of the limiter.
        pub fn on_error(self, on_error: $crate::OnError) -> Self {
            self.with(|options| options.set_on_error(on_error))
        }

        /// Refunds a request if the function returns `false` for its response. By default, every request stays charged.
        ///
        /// `|response| response.status() == 401` counts failed logins only.
        ///
        /// A request is charged before its handler runs, so that no more requests than the limit are in flight.
        /// It is refunded before its response is sent, and only in the windows that were charged. The header
        /// fields then show the limit without this request, but not changes by other requests in the meantime.
        ///
        /// The charge stays if there is no response, because the handler panics, the inner service fails or the
        /// client disconnects. It also stays if the storage fails to refund it, which is logged.
        pub fn charge_if(
            self,
            charge_if: impl Fn(&$crate::ResponseHead<'_>) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.set_charge_if(std::sync::Arc::new(charge_if)))
        }

        /// Limits how many requests of a key are in flight at the same time. May be called more than once. By default,
        /// there is no such limit.
        ///
        /// A request acquires a permit before the rules are checked. The permit is released when the body of
        /// the response has ended or failed, when the handler panics, or when the client disconnects. If a rule
        /// denies the request, its permit is released; if no permit is free, no rule is charged. Exempt
        /// requests hold no permit. A dry run does not reject requests.
        ///
        /// Like [`rule`](Self::rule), this option selects: rules that are not named do not apply.
        ///
        /// A rejection is a 429 with the draft's `RateLimit-Policy: "uploads";q=5;qu="concurrent-requests"`. It
        /// has neither `Retry-After` nor `t`, because it is unknown when a permit will be released.
        ///
        /// A handler that continues after its response, for example a WebSocket, keeps its permit with
        /// [`InFlight`](throttle_http::InFlight), which is in the extensions of the request.
        pub fn concurrency(self, concurrency: $crate::macros::ConcurrencyLimit) -> Self {
            self.with(|options| options.set_concurrency(concurrency))
        }

        /// Treats the [`cost`](Self::cost) as an estimate, and reconciles the charge with the actual cost. By default,
        /// the charge does not change.
        ///
        /// The handler reports the actual cost through [`ActualCost`](throttle_http::ActualCost), which is in
        /// the extensions of the request. The charge is reconciled when the body of the response ends, so a
        /// streamed body can report it, too. The header fields are sent earlier and show the estimate.
        ///
        /// - If the estimate was too high, the difference is refunded, in the windows that were charged.
        /// - If it was too low, the difference is charged when the body ends, to each rule up to its limit. The rest
        ///   is dropped.
        /// - If no cost was reported, the estimate stays. This includes requests that an inner layer rejects;
        ///   use [`charge_if`](Self::charge_if) to refund them.
        /// - If the handler panics or the client disconnects, the cost reported until then counts.
        pub fn charge_actual(self) -> Self {
            self.with($crate::Options::set_charge_actual)
        }

        /// Enables [`charge_actual`](Self::charge_actual), and reads the actual cost from the head of the
        /// response if the function finds it there.
        ///
        /// Such a request is reconciled before its response is sent, so its header fields show the actual cost.
        /// If the function returns `None`, the handler can still report the cost.
        pub fn charge_actual_by(
            self,
            known: impl Fn(&$crate::ResponseHead<'_>) -> Option<u64> + Send + Sync + 'static,
        ) -> Self {
            self.with(|options| options.set_charge_actual_by(std::sync::Arc::new(known)))
        }

        /// Enables [`charge_actual`](Self::charge_actual), and adds each byte of the response body to the
        /// actual cost when it is sent.
        ///
        /// A response costs 0 if it has no body, or if the client disconnects before the first byte.
        pub fn charge_bytes_sent(self) -> Self {
            self.with($crate::Options::set_charge_bytes_sent)
        }

        /// Delays requests until their scheduled time in a leaky bucket, so that they reach the handler at a constant
        /// rate. By default, no request is delayed.
        ///
        /// Rules with other algorithms and dry runs do not delay requests. Delays use the clock of
        /// the limiter.
        ///
        /// If a client disconnects during the delay, its request is refunded, and the next request takes its
        /// scheduled time. A storage that answers immediately refunds it immediately; otherwise a background
        /// task does.
        pub fn shape(self) -> Self {
            self.shape_at_most(std::time::Duration::MAX)
        }

        /// Enables [`shape`](Self::shape) with a longest delay: a request with a longer delay is rejected with
        /// 429. Default of `shape`: no bound besides the queue of the leaky bucket.
        ///
        /// `Retry-After` shows when the delay will be short enough. The remaining requests in `RateLimit` are
        /// those that would be allowed.
        pub fn shape_at_most(self, at_most: std::time::Duration) -> Self {
            self.with(|options| options.set_shape(at_most))
        }

        /// Enables or disables the limits, for example by a setting or in tests. They are enabled by default.
        ///
        /// If disabled, requests go straight to the inner service: they are neither checked nor counted, and get
        /// no header fields. Handlers find no values in the extensions of the request, as for exempt requests.
        /// The configuration is still checked when the middleware is built.
        pub fn enabled(self, enabled: bool) -> Self {
            self.with(|options| options.set_enabled(enabled))
        }

        /// Checks, counts and writes header fields as usual, but allows every request, including requests without a key
        /// or a cost, and requests that the storage cannot check. This is disabled by default.
        ///
        /// A response that would have been a rejection has `X-RateLimit-Dry-Run: denied` and no `Retry-After`.
        /// The metrics count as they would without this option.
        pub fn dry_run(self) -> Self {
            self.with($crate::Options::set_dry_run)
        }
    };
}

/// Types of other crates that the macro names.
#[doc(hidden)]
pub mod macros {
    pub use http::{Extensions, Method};
    pub use throttle_core::{ConcurrencyLimit, Key};
}
