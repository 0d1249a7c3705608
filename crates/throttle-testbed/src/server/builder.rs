//! The builder of a server.

use std::{fs, path::Path, sync::Mutex};

use tempfile::TempDir;

use crate::{
    certificates::{Authority, Certificates},
    port::Port,
    server::{ADMIN, LOG, SOCKET, Server},
};

const CONFIGURATION: &str = "redis.conf";

/// A builder of a [`Server`].
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    password: Option<String>,
    users: Vec<String>,
    options: Vec<(String, String)>,
    tls: Tls,
    role: Role,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tls {
    #[default]
    Off,
    Required,
    /// The server presents a certificate, and requires none of clients.
    OneSided,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Standalone,
    ClusterNode,
    Sentinel,
}

impl Server {
    /// Starts a server without a password and without TLS.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Returns a builder.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

impl ServerBuilder {
    /// Sets the password of the default user.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a user with rules as in `ACL SETUSER`, such as `~throttle:* +@all`.
    #[must_use]
    pub fn acl_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.users.push(format!("{name} on {} {rules}", quoted(&format!(">{password}"))));
        self
    }

    /// Enables TLS only, and requires client certificates of the server's authority.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Tls::Required;
        self
    }

    /// Enables TLS only, without client certificates.
    #[must_use]
    pub fn tls_without_client_certificates(mut self) -> Self {
        self.tls = Tls::OneSided;
        self
    }

    /// Sets any option of `redis.conf`. `value` is written unchanged, so it must be quoted if necessary.
    ///
    /// A later value replaces an earlier one, and the testbed's own.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// Starts the server, and returns when it answers.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start with these options.
    #[must_use]
    pub fn start(self) -> Server {
        let authority = self.wants_tls().then(Authority::new);
        super::attempt(|| {
            let server = self.launch(Port::reserve(), authority.as_ref());
            server.wait_until_ready().map(|()| server)
        })
    }

    pub(crate) fn cluster_node(mut self) -> Self {
        self.role = Role::ClusterNode;
        self.option("cluster-enabled", "yes")
    }

    pub(crate) fn sentinel(mut self) -> Self {
        self.role = Role::Sentinel;
        self
    }

    pub(crate) fn wants_tls(&self) -> bool {
        self.tls != Tls::Off
    }

    /// Starts the server, and returns before it answers, so that several servers can start at the same time.
    pub(crate) fn launch(&self, port: Port, authority: Option<&Authority>) -> Server {
        let server = self.prepare(port, authority);
        server.launch();
        server
    }

    /// Creates the folder of the server, to which files can be added before the launch.
    pub(crate) fn prepare(&self, port: Port, authority: Option<&Authority>) -> Server {
        let folder = TempDir::with_prefix("throttle-testbed-").expect("cannot create a folder");
        let certificates = authority.map(|authority| authority.write_to(folder.path()));
        let text = self.configuration(&port, folder.path(), certificates.as_ref());
        let configuration = folder.path().join(CONFIGURATION);
        fs::write(&configuration, text).expect("cannot write redis.conf");
        Server {
            port,
            folder,
            configuration,
            arguments: if self.role == Role::Sentinel { &["--sentinel"] } else { &[] },
            password: self.password.clone(),
            certificates,
            process: Mutex::new(None),
        }
    }

    fn configuration(
        &self,
        port: &Port,
        folder: &Path,
        certificates: Option<&Certificates>,
    ) -> String {
        let mut text = Lines::default();
        text.add("bind", "127.0.0.1");
        text.add("dir", folder.display());
        text.add("unixsocket", folder.join(SOCKET).display());
        text.add("logfile", folder.join(LOG).display());
        text.add("user", format!("{ADMIN} on >{ADMIN} ~* &* +@all"));
        match certificates {
            None => text.add("port", port.number()),
            Some(certificates) => self.write_tls(&mut text, port, certificates),
        }
        if self.role != Role::Sentinel {
            text.write_data();
        }
        if let Some(password) = &self.password {
            text.add("requirepass", quoted(password));
        }
        for user in &self.users {
            text.add("user", user);
        }
        for (name, value) in &self.options {
            text.add(name, value);
        }
        text.0
    }

    fn write_tls(&self, text: &mut Lines, port: &Port, certificates: &Certificates) {
        text.add("port", 0);
        text.add("tls-port", port.number());
        text.add("tls-ca-cert-file", certificates.ca().display());
        text.add("tls-cert-file", certificates.server().display());
        text.add("tls-key-file", certificates.server_key().display());
        text.add("tls-auth-clients", if self.tls == Tls::OneSided { "no" } else { "yes" });
        text.add("tls-replication", "yes");
        if self.role == Role::ClusterNode {
            text.add("tls-cluster", "yes");
        }
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: impl std::fmt::Display, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{name} {value}\n"));
    }

    /// Adds options for data: none is kept over a restart, and replicas synchronize without delay.
    fn write_data(&mut self) {
        self.add("save", "\"\"");
        self.add("masteruser", ADMIN);
        self.add("masterauth", ADMIN);
        self.add("repl-diskless-sync", "yes");
        self.add("repl-diskless-sync-delay", 0);
        self.add("repl-diskless-load", "on-empty-db");
        self.add("rdb-del-sync-files", "yes");
        // Ten times the default rate of the server's timer, so that timed actions need less time.
        self.add("hz", 100);
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
