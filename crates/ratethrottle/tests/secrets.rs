//! No error, log line or debug output contains a part of a password, even if the URL is malformed.
#![cfg(feature = "redis")]

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use ratethrottle::{RedisStorage, Tls, redis::RedisStorageBuilder};
use throttle_testbed::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tracing_subscriber::fmt::MakeWriter;

/// The halves of the passwords, neither of which may be shown.
const HALVES: [&str; 2] = ["Zq9Xw", "V7kPm"];
/// The start of a password; some make a host and a port of the text before them.
const BEGINS: [&str; 3] = ["Zq9Xw", "7", "6379"];
/// Characters inside a password, unescaped.
const BETWEEN: [&str; 26] = [
    "",
    "/",
    "//",
    "?",
    "#",
    "@",
    ":",
    "&",
    "=",
    "%",
    "%zz",
    "%ff",
    "%40",
    ",",
    "[",
    "]",
    "[::1]",
    "://",
    " ",
    "\n",
    "{",
    "+",
    "\\",
    "é",
    "/0?",
    "@127.0.0.1:1/",
];
/// Valid and malformed URLs; each `$` is replaced by a password.
const ADDRESSES: [&str; 57] = [
    // Complete credentials.
    "redis://default:$@127.0.0.1:1",
    "redis://:$@127.0.0.1:1/0",
    "redis://$@127.0.0.1:1",
    "redis://$:x@127.0.0.1:1",
    "redis://$:$@127.0.0.1:1",
    "redis://default:$@127.0.0.1:1?max_connections=2",
    "redis://default:$@[::1]:1",
    "redis+sentinel://default:$@127.0.0.1:1/main",
    "redis+sentinel://default:$@127.0.0.1:1,127.0.0.1:2/main/0",
    "redis+sentinel://127.0.0.1:1/main?sentinel_password=$",
    "redis+sentinel://127.0.0.1:1/main?sentinel_username=$&sentinel_password=$&db=1",
    "redis+cluster://default:$@127.0.0.1:1,127.0.0.1:2",
    "redis+cluster://default:$@127.0.0.1:1,default:$@127.0.0.1:2",
    "redis+unix://default:$@/nowhere/redis.sock",
    "redis+unix:///nowhere/redis.sock?user=default&pass=$",
    "unix:///nowhere/redis.sock?pass=$&db=1",
    // Schemes that are missing, wrong, misspelt or misplaced.
    "$",
    "$@127.0.0.1:1",
    ":$@127.0.0.1:1",
    "default:$@127.0.0.1:1",
    "redis:$@127.0.0.1:1",
    "redis:default:$@127.0.0.1:1",
    "redis:/default:$@127.0.0.1:1",
    "redis//default:$@127.0.0.1:1",
    "://default:$@127.0.0.1:1",
    "$://127.0.0.1:1",
    "redis+$://127.0.0.1:1",
    "$@redis://127.0.0.1:1",
    "default:$@redis://127.0.0.1:1",
    "http://default:$@127.0.0.1:1",
    "reddis://default:$@127.0.0.1:1",
    "redis+mirror://default:$@127.0.0.1:1",
    "rediss+unix://default:$@/nowhere/redis.sock",
    "memory://$",
    "memory://?max_entries=$",
    "memory:$",
    // Hosts, paths, parameters and fragments.
    "redis://127.0.0.1:$",
    "redis://default:$@",
    "redis://default:$@127.0.0.1:none",
    "redis://default:$@127.0.0.1:1,127.0.0.1:2",
    "redis://default:$@[::1",
    "redis://default:$@::1",
    "redis://[default:$@::1]:1",
    "redis+sentinel://default:$@127.0.0.1:1",
    "redis+cluster://127.0.0.1:1,default:$@127.0.0.1:none",
    "redis+unix://$@host/nowhere",
    "redis://127.0.0.1:1/$",
    "redis+sentinel://127.0.0.1:1/main/$",
    "redis://127.0.0.1:1/0#$",
    "redis://127.0.0.1:1?$",
    "redis://127.0.0.1:1?$=1",
    "redis://127.0.0.1:1?password=$",
    "redis://127.0.0.1:1?db=$",
    "redis://127.0.0.1:1?retries=$",
    "redis://127.0.0.1:1?connect_timeout=1$",
    "redis://127.0.0.1:1?protocol=$",
    "redis://127.0.0.1:1?ca=$",
];

fn addresses() -> impl Iterator<Item = String> {
    let passwords = BEGINS.iter().flat_map(|begin| {
        BETWEEN.iter().map(move |between| format!("{begin}{between}{}", HALVES[1]))
    });
    let all =
        passwords.flat_map(|password| ADDRESSES.map(|address| address.replace('$', &password)));
    // A valid URL, with credentials and a host.
    all.filter(|address| {
        !address.ends_with(&format!("@{}", HALVES[1])) || !address.starts_with("redis://127")
    })
}

/// A collector of log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Collects the log lines of this thread until the guard is dropped.
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no test panics with the lock")).into_owned()
    }
}

/// Returns everything that an error can show, including its sources.
fn shown(error: &dyn Error) -> String {
    let mut text = format!("{error} / {error:?} / {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" / {error} / {error:?}");
        source = error.source();
    }
    text
}

#[track_caller]
fn assert_hidden(text: &str, address: &str) {
    for half in HALVES {
        assert!(!text.contains(half), "{address:?} shows {half}: {text}");
    }
}

async fn of(builder: RedisStorageBuilder) -> String {
    let debug = format!("{builder:?}");
    match builder.connect_timeout(Duration::from_secs(1)).connect().await {
        Ok(_) => debug,
        Err(error) => format!("{debug} / {}", shown(&error)),
    }
}

#[tokio::test]
async fn no_malformed_url_shows_a_part_of_its_password() {
    let (log, _guard) = Log::begin();
    for address in addresses() {
        if let Err(error) = ratethrottle::connect(&address).await {
            assert_hidden(&shown(&error), &address);
        }
        assert_hidden(&format!("{:?}", RedisStorage::builder(&address)), &address);
        let nodes = RedisStorage::cluster([&address, "redis://127.0.0.1:none"]);
        assert_hidden(&of(nodes).await, &address);
        let sentinels = RedisStorage::sentinel([&address, "127.0.0.1:none"], "main");
        assert_hidden(&of(sentinels).await, &address);
    }
    assert_hidden(&log.text(), "the log");
}

/// Responses of servers that quote the client, as functions of the bytes that it sent.
const CITATIONS: [fn(&str) -> String; 7] = [
    |sent| cut(sent, 40),
    |sent| cut(sent, 60),
    |sent| cut(sent, 80),
    |sent| format!("-ERR no {}\r\n", sent.replace("\r\n", " ")),
    |sent| format!("-{}\r\n", sent.replace("\r\n", "")),
    |sent| format!("-{}, with args\r\n", sent.replace("\r\n", " ")),
    str::to_owned,
];

/// Quotes a command as Redis does.
fn cut(sent: &str, most: usize) -> String {
    let cited: String = sent.replace("\r\n", " ").chars().take(most).collect();
    format!("-ERR unknown command, with args {cited}\r\n")
}

async fn cite(listener: TcpListener, answer: fn(&str) -> String) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        tokio::spawn(async move {
            let mut sent = [0; 4_096];
            while let Ok(count @ 1..) = client.read(&mut sent).await {
                let sent = String::from_utf8_lossy(&sent[..count]);
                // One response for each of the commands that were sent together.
                let answers = answer(&sent).repeat(sent.matches('*').count());
                if client.write_all(answers.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::test]
async fn a_server_that_quotes_the_client_does_not_bring_the_password_into_errors_or_logs() {
    let (log, _guard) = Log::begin();
    let redis = Server::builder().option("rename-command", "HELLO \"\"").start();
    let mut hosts = vec![redis.address()];
    for citation in CITATIONS {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        hosts.push(listener.local_addr().expect("it is bound").to_string());
        tokio::spawn(cite(listener, citation));
    }
    let [plain, escaped] = ["", "%22%5C%0A"].map(|between| HALVES.join(between));
    for (host, password) in hosts.iter().flat_map(|host| [(host, &plain), (host, &escaped)]) {
        let login = format!("limiter:{password}");
        for address in [
            format!("redis://:{password}@{host}"),
            format!("redis://{login}@{host}"),
            format!("redis://{login}@{host}?protocol=2"),
            format!("redis+cluster://{login}@{host}"),
            format!("redis+sentinel://{login}@{host}/main"),
            format!(
                "redis+sentinel://{host}/main?sentinel_username=u&sentinel_password={password}"
            ),
        ] {
            let error =
                ratethrottle::connect(&address).await.err().expect("the server rejects the client");
            assert_hidden(&shown(&error), &address);
        }
    }
    assert_hidden(&log.text(), "the log");
    assert!(log.text().contains("the subscription to a sentinel failed"), "{}", log.text());
}

#[tokio::test]
async fn secrets_of_the_builder_are_not_shown() {
    let password = HALVES.concat();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{password}\n-----END PRIVATE KEY-----\n");
    let builder = || RedisStorage::builder("rediss://127.0.0.1:1");
    for builder in [
        builder().username(&password).password(&password),
        builder().sentinel_username(&password).sentinel_password(&password),
        builder().hash_keys(password.clone()),
        builder().hash_keys(&password[..5]),
        builder().tls(Tls::new().ca(&key)),
        builder().tls(Tls::new().client(&key, &key)),
        builder().tls(Tls::new().client("/dev/null", &key)),
        // Base64 without PEM markers, as an environment variable may contain it.
        builder().tls(Tls::new().ca(&password)),
        builder().tls(Tls::new().client(&password, &password)),
    ] {
        assert_hidden(&of(builder).await, "the builder");
    }
    for text in ["{", "é", " "] {
        let text = format!("{}{text}{}", HALVES[0], HALVES[1]);
        for builder in [
            RedisStorage::builder("redis://127.0.0.1:1").key_prefix(&text),
            RedisStorage::builder("redis://127.0.0.1:1").client_name(&text),
        ] {
            if let Err(error) = builder.connect().await {
                assert_hidden(&shown(&error), "the option");
            }
        }
    }
}
