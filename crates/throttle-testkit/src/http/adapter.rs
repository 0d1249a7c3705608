//! The trait that connects an adapter to the suite.

use std::{
    any::Any,
    fmt,
    future::{Future, ready},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response, Version};
use throttle_core::{Limiter, Rule};
use throttle_http::{ConfigError, LimitSource, Options, Throttle};

use crate::http::{body::Reader, handler::Handler};

/// An adapter for a framework, as the suite uses it.
///
/// The methods build, call and serve a service of the framework. [`run`](super::run) does the rest.
///
/// # Examples
///
/// ```
#[doc = include_str!("../../tests/adapter.rs")]
/// ```
pub trait Adapter {
    /// A service of the framework: a handler that is wrapped in layers.
    type Service;

    /// Wraps a handler in each of the layers, the innermost first.
    ///
    /// The service must answer every request by [`Handler::call`], regardless of its method: the suite also sends
    /// `PROPFIND` and `propfind`. If the framework has routes, add the route `/users/{id}`, in the syntax of the
    /// framework, and route all other paths to the same handler. The routes share one limit: if layers must be
    /// inside the router to see the pattern, build each layer once and wrap every route in it.
    ///
    /// An adapter that uses a [`Throttle`] directly gets it from [`Layer::throttle`]. An adapter with its own
    /// layer type builds it from [`Layer::source`] and [`Layer::options`], as users do.
    ///
    /// # Errors
    ///
    /// Returns the reason if a layer cannot be built; see [`Layer::is_built`].
    fn service(
        &self,
        layers: &[Layer],
        handler: Handler,
    ) -> impl Future<Output = Result<Self::Service, ConfigError>>;

    /// Sends a request to a service, and returns the response when its head is available.
    ///
    /// The peer address of the request is a [`SocketAddr`] in its extensions. Without one, the address is
    /// unknown. If the server of the framework stores the address somewhere else, move it there and remove it from
    /// the extensions. Otherwise `RequestHead` finds it in the extensions, and the suite does not notice an adapter
    /// that ignores the peer. An address that both the adapter and its test store wrongly is found only over
    /// sockets.
    ///
    /// The response must have the extensions that the service returns. The suite reads only
    /// [`Decisions`](throttle_core::Decisions) from them.
    ///
    /// The suite drops the future or the [`Reader`] to simulate a client that disconnects. Do not catch panics.
    fn call(
        &self,
        service: &Self::Service,
        request: Request<Bytes>,
    ) -> impl Future<Output = Response<Reader>>;

    /// Serves the result of [`service`](Self::service) on a local socket, over HTTP/1.1 or HTTP/2 without TLS.
    ///
    /// The default returns `None`: the adapter cannot be tested over sockets.
    ///
    /// All requests of the suite come from this machine. A request with the field [`PEER`](super::PEER)
    /// stands for a request from another address: before the layers, remove the field and set the address that
    /// [`peer`](super::peer) returns, as the server of the framework would.
    ///
    /// If the server limits the size of header fields, allow at least 128 KiB, because some keys have 64 KiB
    /// (the setting of HTTP/2 in hyper is `max_header_list_size`). Send bodies of known length with their
    /// length; see [`Body::into_bytes`](super::Body::into_bytes).
    ///
    /// The suite cannot make a handler return an error of the framework. Test separately that `charge_if` sees
    /// the status of such an error.
    ///
    /// # Panics
    ///
    /// Panics if the server cannot be started.
    fn serve(
        &self,
        version: Version,
        layers: &[Layer],
        handler: Handler,
    ) -> impl Future<Output = Option<Server>> {
        _ = (version, layers, handler);
        ready(None)
    }
}

/// The description of a layer that an adapter builds: its source and its options.
#[derive(Clone, Debug)]
pub struct Layer {
    origin: Origin,
    options: Options,
    is_built: bool,
}

#[derive(Clone, Debug)]
enum Origin {
    Limiter(Limiter),
    Rule(Rule),
}

impl Layer {
    pub(super) fn new(limiter: &Limiter, options: Options) -> Self {
        Self { origin: Origin::Limiter(limiter.clone()), options, is_built: true }
    }

    /// Describes a layer that has a rule instead of a limiter, with separate counts.
    pub(super) fn of_rule(rule: Rule, options: Options) -> Self {
        Self { origin: Origin::Rule(rule), options, is_built: true }
    }

    pub(super) fn unbuilt(self) -> Self {
        Self { is_built: false, ..self }
    }

    /// Returns the limiter or the rule of the layer.
    #[must_use]
    pub fn source(&self) -> LimitSource {
        match &self.origin {
            Origin::Limiter(limiter) => LimitSource::Limiter(limiter.clone()),
            Origin::Rule(rule) => LimitSource::Rule(rule.clone()),
        }
    }

    /// Returns the options of the layer.
    pub fn options(&self) -> Options {
        self.options.clone()
    }

    /// Builds the [`Throttle`] of the layer, for an adapter without its own layer type.
    ///
    /// # Errors
    ///
    /// Returns the reason if the layer cannot be built. A layer that has a rule instead of a limiter is always
    /// an error.
    pub fn throttle(&self) -> Result<Arc<Throttle>, ConfigError> {
        let limiter = self.source().into_limiter(None)?;
        Ok(Arc::new(Throttle::new(limiter, self.options())?))
    }

    /// Returns whether the layer must be validated, as by `build`, before it wraps a service.
    ///
    /// A layer that is not validated logs its configuration error and answers every request with 500. An
    /// adapter without such layers validates all of them.
    #[must_use]
    pub fn is_built(&self) -> bool {
        self.is_built
    }
}

/// A server that an adapter started.
pub struct Server {
    pub(super) address: SocketAddr,
    _guard: Box<dyn Any>,
}

impl Server {
    /// Creates a server from its address and a guard that stops the server when it is dropped.
    pub fn new(address: SocketAddr, guard: impl Any) -> Self {
        Self { address, _guard: Box::new(guard) }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
