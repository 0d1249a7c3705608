//! Certificates for one server, which are removed with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// The folder of the certificates within a server's folder.
const FOLDER: &str = "tls";

/// The paths of the certificates and keys, all in PEM format.
///
/// The authority signed the certificates of the server and of one client. The other authority is not trusted by
/// the server. A client that trusts only the other authority rejects the server, and the server rejects the
/// client of the other authority.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Returns the certificate of the authority to trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Returns the certificate of a client that the server accepts.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.folder.join("client.crt")
    }

    /// Returns the key of [`client`](Self::client).
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    /// Returns the certificate of the other authority, which signed only the other client's.
    #[must_use]
    pub fn other_ca(&self) -> PathBuf {
        self.folder.join("other-ca.pem")
    }

    /// Returns the certificate of a client that the server rejects.
    #[must_use]
    pub fn other_client(&self) -> PathBuf {
        self.folder.join("other-client.crt")
    }

    /// Returns the key of [`other_client`](Self::other_client).
    #[must_use]
    pub fn other_client_key(&self) -> PathBuf {
        self.folder.join("other-client.key")
    }

    /// Returns the certificate of the server, for `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    pub(crate) fn server_key(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}

/// Signed certificates, which are written for each server of a group.
#[derive(Debug)]
pub(crate) struct Authority {
    files: Vec<(&'static str, String)>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let ours = authority("RateThrottle's testbed");
        let other = authority("Another authority");
        let mut files = vec![("ca.pem", ours.pem()), ("other-ca.pem", other.pem())];
        let mut add = |certificate, key, (signed, secret)| {
            files.push((certificate, signed));
            files.push((key, secret));
        };
        add("server.crt", "server.key", leaf("server", &ours));
        add("client.crt", "client.key", leaf("client", &ours));
        add("other-client.crt", "other-client.key", leaf("client", &other));
        Self { files }
    }

    pub(crate) fn write_to(&self, folder: &Path) -> Certificates {
        let folder = folder.join(FOLDER);
        fs::create_dir(&folder).expect("the folder of the server is new and empty");
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).expect("cannot write a certificate");
        }
        Certificates { folder }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut wanted = named(name);
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(wanted, key()).expect("an authority can sign itself")
}

/// Returns a certificate for servers and clients: the servers of a cluster are clients of each other.
fn leaf(name: &str, authority: &CertifiedIssuer<'_, KeyPair>) -> (String, String) {
    let key = key();
    let mut wanted = named(name);
    wanted.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let signed = wanted.signed_by(&key, authority).expect("the authority can sign");
    (signed.pem(), key.serialize_pem())
}

fn named(name: &str) -> CertificateParams {
    let addresses = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut wanted = CertificateParams::new(addresses).expect("both are valid names");
    wanted.distinguished_name.push(DnType::CommonName, name);
    wanted
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the machine has randomness")
}
