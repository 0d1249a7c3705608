//! TCP, TLS and Unix sockets.

use std::{fmt, io, sync::Arc};

use redis::{ConnectionAddr, TlsCertificates, aio::AsyncStream};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use crate::tls::pick_provider;

/// A socket to a server.
pub(super) type Stream = Box<dyn AsyncStream + Send + Unpin>;

/// The TLS configuration, which the debug output does not show.
#[derive(Clone)]
pub(crate) struct Encryption(Arc<ClientConfig>);

impl Encryption {
    /// Creates a configuration from certificates. Without a CA, the system's root certificates are trusted.
    ///
    /// # Errors
    ///
    /// Returns an error if a certificate or a key cannot be parsed.
    pub(crate) fn new(certificates: &TlsCertificates) -> io::Result<Self> {
        pick_provider();
        let mut roots = RootCertStore::empty();
        match &certificates.root_cert {
            Some(pem) => {
                for certificate in read_all(pem)? {
                    roots.add(certificate).map_err(io::Error::other)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                if let (true, Some(error)) = (found.certs.is_empty(), found.errors.first()) {
                    return Err(io::Error::other(error.to_string()));
                }
                roots.add_parsable_certificates(found.certs);
            }
        }
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match &certificates.client_tls {
            None => config.with_no_client_auth(),
            Some(client) => {
                let key =
                    PrivateKeyDer::from_pem_slice(&client.client_key).map_err(io::Error::other)?;
                config
                    .with_client_auth_cert(read_all(&client.client_cert)?, key)
                    .map_err(io::Error::other)?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryption(…)")
    }
}

/// Connects to an address.
pub(super) async fn connect(
    address: &ConnectionAddr,
    encryption: Option<&Encryption>,
) -> io::Result<Stream> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let Some(Encryption(config)) = encryption else {
                return Err(io::Error::other("TLS is not configured"));
            };
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let stream = tcp(host, *port).await?;
            Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Connects to all addresses of a name at once, and returns the first connection. An address that does not answer
/// causes no delay.
async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((host, port)).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::from).and_then(|attempt| attempt) {
            Ok(stream) => {
                stream.set_nodelay(true)?; // requests are small and must not be delayed
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_all(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(io::Error::other)
}
