//! The files for TLS.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Once,
};

use redis::{ClientTlsConfig, TlsCertificates};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use crate::error::Error;

/// The PEM files for TLS: a CA to trust, and a client certificate.
///
/// By default the system's root certificates are trusted and no client certificate is presented. The server's
/// name is always checked against its certificate.
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
    /// Creates a configuration that trusts the system's root certificates and presents no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates of a PEM file instead of the system's root certificates.
    pub fn ca(mut self, file: impl AsRef<Path>) -> Self {
        self.ca = Some(file.as_ref().into());
        self
    }

    /// Presents a client certificate (a PEM file with the chain), with its private key (a PEM file).
    pub fn client(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.client = Some((certificate.as_ref().into(), key.as_ref().into()));
        self
    }

    /// Reads the files, and checks their content.
    pub(crate) fn certificates(&self) -> Result<TlsCertificates, Error> {
        let client_tls = match &self.client {
            None => None,
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read(certificate, "client certificate", has_certificates)?,
                client_key: read(key, "client key", has_key)?,
            }),
        };
        let root_cert = self.ca.as_deref();
        let root_cert = root_cert.map(|file| read(file, "CA", has_certificates)).transpose()?;
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
        let certificate = self.client.as_ref().map(|(certificate, _)| shown(certificate));
        f.debug_struct("Tls")
            .field("ca", &self.ca.as_deref().map(shown))
            .field("client", &certificate)
            .finish_non_exhaustive()
    }
}

/// Installs a crypto provider for the process, unless the program has installed one.
///
/// rustls panics without an installed provider if the program links several.
pub(crate) fn pick_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // It fails if another thread has just installed one, which serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
    });
}

fn read(
    file: &Path,
    what: &'static str,
    check: fn(&[u8]) -> Result<(), pem::Error>,
) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::TlsFile { what, file: shown(file).to_owned(), source };
    let text = fs::read(file).map_err(unreadable)?;
    check(&text).map_err(|error| {
        let words = match error {
            pem::Error::NoItemsFound => "the file has no such PEM block",
            _ => "the file is not valid PEM", // the error's own text may quote the file
        };
        unreadable(io::Error::new(io::ErrorKind::InvalidData, words))
    })?;
    Ok(text)
}

fn has_certificates(text: &[u8]) -> Result<(), pem::Error> {
    let mut certificates = CertificateDer::pem_slice_iter(text).peekable();
    match certificates.peek() {
        None => Err(pem::Error::NoItemsFound),
        Some(_) => certificates.try_for_each(|certificate| certificate.map(drop)),
    }
}

fn has_key(text: &[u8]) -> Result<(), pem::Error> {
    PrivateKeyDer::from_pem_slice(text).map(drop)
}

/// Returns the path, unless it may be a private key that was passed instead of a path.
fn shown(file: &Path) -> &Path {
    let text = file.to_string_lossy();
    // PEM has line breaks. Base64 has no dot, and the Base64 of a DER file does not start with a slash.
    let is_path = !text.contains(['\n', '\r']) && (file.is_absolute() || text.contains('.'));
    if is_path { file } else { Path::new("(not shown: this may be a key instead of a path)") }
}
