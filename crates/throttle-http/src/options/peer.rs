//! Where a connection comes from, on servers that say it in a way of their own.

use std::{net::SocketAddr, sync::Arc};

use http::Extensions;

use super::Options;

impl Options {
    /// Says where the server leaves the address of the connection, for servers that do it otherwise than
    /// axum, actix-web and those that put a [`SocketAddr`] into the request's extensions: by tonic it is
    /// `|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr()`.
    ///
    /// It is asked only where no such address is there. Client addresses are then known to every key,
    /// trusted proxies included. Where it returns none, they are not.
    pub fn peer(
        mut self,
        peer: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Some(Arc::new(move |extensions| Some(peer(extensions)?.ip())));
        self
    }
}
