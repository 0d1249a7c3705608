//! nginx and HAProxy in front of test servers. They stop when the handle is dropped or the test process ends.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use crate::servers::Server;

/// A shell script that starts `$@`, and kills it when the pipe to the test closes.
const WATCHDOG: &str = r#""$@" & read -r _; kill -9 $!; wait"#;

/// A running reverse proxy.
pub(crate) struct ReverseProxy {
    address: SocketAddr,
    watchdog: Child,
    _folder: TempDir,
}

impl ReverseProxy {
    /// Starts nginx with the servers in an upstream, and with these directives in the location.
    pub(crate) async fn nginx(servers: &[Server], lines: &str) -> Self {
        Self::start(|folder, address| {
            let folder = folder.display();
            let servers: String =
                servers.iter().map(|server| format!("server {};\n", server.address)).collect();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|of| format!("{of}_temp_path {folder}/{of};\n"))
                .concat();
            let configuration = format!(
                "daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;\n\
                 events {{}}\n\
                 http {{\n\
                 access_log off; client_max_body_size 16m;\n{temporary}\
                 proxy_cache_path {folder}/cache keys_zone=cache:1m;\n\
                 upstream app {{ {servers} }}\n\
                 server {{ listen {address}; location / {{ proxy_pass http://app;\n{lines}\n}} }}\n\
                 }}\n"
            );
            (configuration, &["nginx", "-c"])
        })
        .await
    }

    /// Starts HAProxy with the servers in a backend.
    pub(crate) async fn haproxy(servers: &[Server]) -> Self {
        Self::start(|_, address| {
            let servers: String = servers
                .iter()
                .map(|server| format!("server {} {}\n", server.address.port(), server.address))
                .collect();
            let configuration = format!(
                "defaults\nmode http\ntimeout connect 20s\ntimeout client 20s\ntimeout server 20s\n\
                 frontend in\nbind {address}\ndefault_backend app\n\
                 backend app\n{servers}"
            );
            (configuration, &["haproxy", "-db", "-f"])
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn start(
        configured: impl FnOnce(&Path, SocketAddr) -> (String, &'static [&'static str]),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (configuration, command) = configured(folder.path(), address);
        let (file, log) = (folder.path().join("configuration"), folder.path().join("log"));
        fs::write(&file, configuration).unwrap();
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh"])
            .args(command)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let proxy = Self { address, watchdog, _folder: folder };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{command:?} does not listen after 20 seconds: {log}"
            );
            sleep(Duration::from_millis(10)).await;
        }
        proxy
    }
}

impl Drop for ReverseProxy {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
