//! What an adapter provides.

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

/// An adapter of a framework, as the suite uses it.
///
/// The methods say how a service is made, called and served; [`run`](super::run) does the rest.
///
/// # Examples
///
/// ```
#[doc = include_str!("../../tests/adapter.rs")]
/// ```
pub trait Adapter {
    /// A service of the framework: layers around a handler.
    type Service;

    /// Wraps a handler in each of the layers, the innermost first.
    ///
    /// The handler answers every request with [`Handler::call`], of every method: `PROPFIND` and `propfind` come,
    /// too. Where the framework has routes,
    /// `/users/{id}` is one of them, written as the framework writes it, and every other path goes to the same
    /// handler. The routes share one limit: build each layer once, and wrap every route in it, if layers have to
    /// stand within the router to see the pattern.
    ///
    /// An adapter that takes a [`Throttle`] makes it by [`Layer::throttle`]; one that has a type of its own for
    /// layers makes it of [`Layer::source`] and [`Layer::options`], as users do.
    ///
    /// # Errors
    ///
    /// Why a layer cannot be built; see [`Layer::is_built`].
    fn service(
        &self,
        layers: &[Layer],
        handler: Handler,
    ) -> impl Future<Output = Result<Self::Service, Arc<ConfigError>>>;

    /// Hands a request to a service, and returns when the head of the response is there.
    ///
    /// The address that the request comes from is a [`SocketAddr`] in its extensions. Where the framework
    /// keeps it elsewhere, move it there, and remove it from the extensions: `RequestHead` also looks in them, so
    /// that a peer that the adapter forgets would not be noticed. Move it to where the framework's server puts
    /// it: a wrong place that the adapter and its test agree on shows only over sockets. Where there is none, the address is unknown.
    ///
    /// The response has the extensions that the service returns. The suite reads
    /// [`Decisions`](throttle_core::Decisions) there, and nothing of what frameworks add.
    ///
    /// To drop the future, or the [`Reader`], is to be a client that goes away. A panic goes through.
    fn call(
        &self,
        service: &Self::Service,
        request: Request<Bytes>,
    ) -> impl Future<Output = Response<Reader>>;

    /// Serves a handler in layers, as [`service`](Self::service) makes it, on a socket of this machine, by
    /// HTTP/1.1 or HTTP/2 without TLS; returns none where it cannot, which is the default.
    ///
    /// Each request of the suite comes from this machine. Where one has the field [`PEER`](super::PEER),
    /// it comes from the address that [`peer`](super::peer) makes of it: before the layers, remove the field,
    /// and give that address to the request as the framework keeps it.
    ///
    /// Some keys have 64 KiB: allow header fields of at least 128 KiB, where the server has a limit (of hyper's
    /// HTTP/2 it is `max_header_list_size`). The suite cannot make a handler return an error of the framework:
    /// test that `charge_if` sees its status. Bodies of
    /// known length have their length on the wire, see [`Body::into_bytes`](super::Body::into_bytes).
    ///
    /// # Panics
    ///
    /// When the server cannot be started.
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

/// A layer that an adapter makes: its source, and its options.
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

    /// Makes a layer of a rule alone, whose counts are its own.
    pub(super) fn of_rule(rule: Rule, options: Options) -> Self {
        Self { origin: Origin::Rule(rule), options, is_built: true }
    }

    pub(super) fn unbuilt(self) -> Self {
        Self { is_built: false, ..self }
    }

    /// Returns what the layer limits by.
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

    /// Returns what the layer limits with, for an adapter that takes a [`Throttle`] and has no type of its own
    /// for layers; a rule alone is then an error.
    ///
    /// # Errors
    ///
    /// Why the layer cannot be built.
    pub fn throttle(&self) -> Result<Arc<Throttle>, Arc<ConfigError>> {
        let limiter = self.source().into_limiter(None)?;
        Ok(Arc::new(Throttle::new(limiter, self.options())?))
    }

    /// Returns whether the layer is checked, as by `build`, before it wraps a service.
    ///
    /// One that is not checked logs what is wrong with it, and answers every request with 500. An adapter
    /// without such layers checks all of them.
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
    /// Takes the address of a server, and a guard that stops the server when it is dropped.
    pub fn new(address: SocketAddr, guard: impl Any) -> Self {
        Self { address, _guard: Box::new(guard) }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
