//! HTTP/1.1 requests that are written as bytes.

use std::{net::SocketAddr, time::Duration};

use throttle_core::{Algorithm, Rule};
use throttle_http::{Options, identity::Header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::http::{
    adapter::Adapter,
    answer::rejected,
    fixture::{App, Fixture},
    handler::BODY,
    run::scenarios,
    sockets::wired::Wired,
};

const ALLOWED: &str = "HTTP/1.1 200 OK
content-length: 5
content-type: text/plain; charset=utf-8
ratelimit-policy: \"api\";q=1;w=60
ratelimit: \"api\";r=0;t=60";
const REJECTED: &str = "HTTP/1.1 429 Too Many Requests
cache-control: no-store
content-length: 188
content-type: application/problem+json
ratelimit-policy: \"api\";q=1;w=60
ratelimit: \"api\";r=0;t=60
retry-after: 60";

impl<A: Adapter> Fixture<'_, Wired<'_, A>> {
    pub(in crate::http) async fn raw(&self) {
        scenarios!(
            self, "raw";
            an_allowed_and_a_rejected_response_on_the_wire,
            a_rejection_keeps_the_connection_open_and_a_new_connection_is_rejected_too,
            a_rejection_of_head_has_the_length_of_its_body_but_no_body,
            requests_in_one_packet_are_limited_one_by_one,
            an_unread_body_is_not_parsed_as_a_request,
            a_rejection_is_sent_before_the_body_arrives,
            an_absolute_target_is_limited_as_its_path,
            keys_are_the_exact_bytes_on_the_wire,
            concurrent_connections_share_the_limit_exactly,
        );
    }

    async fn limited(&self, limit: u64, options: Options) -> App<'_, Wired<'_, A>> {
        let rule = Rule::per_minute("api", limit).algorithm(Algorithm::FixedWindow);
        self.serve([rule], [options]).await
    }

    async fn an_allowed_and_a_rejected_response_on_the_wire(&self) {
        let app = self.limited(1, Options::new()).await;
        let mut wire = Wire::to(&app).await;
        assert_eq!(wire.ask("GET / HTTP/1.1").await, (ALLOWED.to_owned(), BODY.to_owned()));
        assert_eq!(wire.ask("GET / HTTP/1.1").await, (REJECTED.to_owned(), rejection()));
    }

    async fn a_rejection_keeps_the_connection_open_and_a_new_connection_is_rejected_too(&self) {
        let app = self.limited(1, Options::new()).await;
        let mut wire = Wire::to(&app).await;
        assert_eq!(wire.ask("GET / HTTP/1.1").await.0, ALLOWED);
        for _ in 0..3 {
            assert_eq!(wire.ask("GET / HTTP/1.1").await.1, rejection());
        }
        assert_eq!(Wire::to(&app).await.ask("GET / HTTP/1.1").await.1, rejection());
    }

    async fn a_rejection_of_head_has_the_length_of_its_body_but_no_body(&self) {
        let app = self.limited(1, Options::new()).await;
        let mut wire = Wire::to(&app).await;
        let (head, body) = wire.ask("HEAD / HTTP/1.1").await;
        assert!(head.starts_with("HTTP/1.1 200 OK") && body.is_empty(), "{head}\n{body}");
        assert_eq!(wire.ask("HEAD / HTTP/1.1").await, (REJECTED.to_owned(), String::new()));
        assert_eq!(wire.ask("GET / HTTP/1.1").await, (REJECTED.to_owned(), rejection()));
    }

    async fn requests_in_one_packet_are_limited_one_by_one(&self) {
        let app = self.limited(2, Options::new()).await;
        let mut wire = Wire::to(&app).await;
        wire.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(3)).await;
        for status in ["200 OK", "200 OK", "429 Too Many Requests"] {
            let (head, _) = wire.read(true).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\n")), "{head}");
        }
    }

    async fn an_unread_body_is_not_parsed_as_a_request(&self) {
        let app = self.limited(1, Options::new()).await;
        let mut wire = Wire::to(&app).await;
        wire.ask("GET / HTTP/1.1").await;
        wire.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 40\r\n\r\n").await;
        wire.write("GET /in-the-body HTTP/1.1\r\nhost: evil\r\n\r\n").await;
        assert_eq!(wire.read(true).await.1, rejection());
        let mut rest = String::new();
        // The server may close the connection, or wait for the next request.
        let _ = timeout(Duration::from_millis(200), wire.0.read_to_string(&mut rest)).await;
        assert_eq!(rest, "", "one request must get one response");
    }

    async fn a_rejection_is_sent_before_the_body_arrives(&self) {
        let app = self.limited(1, Options::new()).await;
        Wire::to(&app).await.ask("GET / HTTP/1.1").await;
        let mut wire = Wire::to(&app).await;
        wire.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n").await;
        assert_eq!(wire.read(true).await.1, rejection());
    }

    async fn an_absolute_target_is_limited_as_its_path(&self) {
        let app = self.limited(1, Options::new()).await;
        assert_eq!(Wire::to(&app).await.ask("GET / HTTP/1.1").await.0, ALLOWED);
        let (head, body) = Wire::to(&app).await.ask("GET http://localhost/b HTTP/1.1").await;
        assert_eq!((head, body), (REJECTED.to_owned(), rejection()));
    }

    async fn keys_are_the_exact_bytes_on_the_wire(&self) {
        let app = self.limited(1, Options::new().key(Header::new("x-api-key"))).await;
        let mut wire = Wire::to(&app).await;
        let long = [b'k'; 64 * 1024];
        let keys: [&[u8]; 4] = [b"\xff\xfe", b"\xff\xfd", &long, &long[1..]];
        for status in ["200", "429"] {
            for key in keys {
                wire.write("GET / HTTP/1.1\r\nhost: localhost\r\nx-api-key: ").await;
                wire.write(key).await;
                wire.write("\r\n\r\n").await;
                let (head, _) = wire.read(true).await;
                assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
            }
        }
    }

    async fn concurrent_connections_share_the_limit_exactly(&self) {
        let app = self.limited(20, Options::new()).await;
        let mut connections = JoinSet::new();
        for _ in 0..20 {
            connections.spawn(allowed_of_four(app.service.server.address));
        }
        let allowed: usize = connections.join_all().await.into_iter().sum();
        assert_eq!(allowed, 20);
    }
}

async fn allowed_of_four(address: SocketAddr) -> usize {
    let mut wire = Wire(TcpStream::connect(address).await.unwrap());
    let mut allowed = 0;
    for _ in 0..4 {
        allowed += usize::from(wire.ask("GET / HTTP/1.1").await.1 == BODY);
    }
    allowed
}

/// Returns the body of a rejection by the rule.
fn rejection() -> String {
    String::from_utf8(rejected(&["api"]).body.into()).unwrap()
}

/// A connection on which requests are written as bytes.
struct Wire(TcpStream);

impl Wire {
    async fn to<A: Adapter>(app: &App<'_, Wired<'_, A>>) -> Self {
        Self(TcpStream::connect(app.service.server.address).await.unwrap())
    }

    async fn write(&mut self, request: impl AsRef<[u8]>) {
        self.0.write_all(request.as_ref()).await.unwrap();
    }

    async fn ask(&mut self, head: &str) -> (String, String) {
        self.write(format!("{head}\r\nhost: localhost\r\n\r\n")).await;
        self.read(!head.starts_with("HEAD")).await
    }

    /// Reads one response: its head with sorted fields and without `date`, and its body.
    async fn read(&mut self, has_body: bool) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(
                self.0.read_u8().await.expect("the connection was closed before the response"),
            );
        }
        let head = String::from_utf8(head).unwrap();
        let (status, fields) = head.trim_end().split_once("\r\n").unwrap();
        let mut lines: Vec<_> = fields.lines().collect();
        lines.sort_unstable();
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0
            .read_exact(&mut body)
            .await
            .expect("the connection was closed before the end of the body");
        lines.retain(|line| !line.starts_with("date: ") && !line.starts_with("connection: "));
        (format!("{status}\n{}", lines.join("\n")), String::from_utf8(body).unwrap())
    }
}
