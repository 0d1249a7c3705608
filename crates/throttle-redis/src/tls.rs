//! What TLS needs beside a `rediss://` address.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Once,
};

use redis::{ClientTlsConfig, TlsCertificates};

use crate::error::Error;

/// Says whom to trust and who we are, by PEM files.
///
/// Without any, the system's roots are trusted and no client certificate is shown. The server's name
/// is always checked against its certificate.
///
/// ```
/// # use throttle_redis as ratethrottle;
/// use ratethrottle::Tls;
///
/// let tls = Tls::new().ca("ca.pem").client("client.crt", "client.key");
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tls {
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Trusts the system's roots, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates of a PEM file, in place of the system's roots.
    pub fn ca(mut self, file: impl AsRef<Path>) -> Self {
        self.ca = Some(file.as_ref().into());
        self
    }

    /// Shows a client certificate (a PEM file, with its chain) and proves it by its key (PEM).
    pub fn client(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.client = Some((certificate.as_ref().into(), key.as_ref().into()));
        self
    }

    /// Reads the files.
    pub(crate) fn certificates(&self) -> Result<TlsCertificates, Error> {
        let client_tls = match &self.client {
            None => None,
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read(certificate, "client certificate")?,
                client_key: read(key, "client key")?,
            }),
        };
        let root_cert = self.ca.as_deref().map(|file| read(file, "CA")).transpose()?;
        Ok(TlsCertificates { client_tls, root_cert })
    }

    pub(crate) fn set_ca(&mut self, file: String) {
        self.ca = Some(file.into());
    }

    pub(crate) fn set_certificate(&mut self, file: String) {
        self.client.get_or_insert_default().0 = file.into();
    }

    pub(crate) fn set_key(&mut self, file: String) {
        self.client.get_or_insert_default().1 = file.into();
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = self.client.as_ref().map(|(certificate, _)| certificate);
        f.debug_struct("Tls")
            .field("ca", &self.ca)
            .field("client", &certificate)
            .finish_non_exhaustive()
    }
}

/// Picks a provider of cryptography for the process, unless the program did.
///
/// rustls asks for one as soon as a program links several.
pub(crate) fn pick_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // That somebody was quicker is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
    });
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|source| Error::TlsFile { what, file: file.to_owned(), source })
}
