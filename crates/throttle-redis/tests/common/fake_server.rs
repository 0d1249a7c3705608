//! A server with scripted answers, which need not be those of Redis.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An answer to a command.
pub(crate) enum Answer {
    Text(&'static str),
    Bytes(Vec<u8>),
    /// A text, and then another text that repeats as long as the client reads.
    Endless(&'static str, &'static str),
    Close,
}

/// A fake server that answers each command by a function, and counts connections. It stops when this is dropped.
pub(crate) struct FakeServer {
    pub(crate) address: String,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FakeServer {
    /// Starts the server. `answer` gets each command as its words in capitals.
    pub(crate) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (connections, sent) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let counts = (Arc::clone(&connections), Arc::clone(&sent));
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counts.0.fetch_add(1, Relaxed);
                let (answer, sent) = (Arc::clone(&answer), Arc::clone(&counts.1));
                tokio::spawn(async move { serve(client, &*answer, &sent).await });
            }
        });
        Self { address, connections, sent, task }
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    client: TcpStream,
    answer: &(impl Fn(&str) -> Answer + Sync),
    sent: &AtomicU64,
) -> io::Result<()> {
    let mut client = BufStream::new(client);
    loop {
        let words = command(&mut client).await?;
        match answer(&words) {
            Answer::Text(text) => client.write_all(text.as_bytes()).await?,
            Answer::Bytes(bytes) => client.write_all(&bytes).await?,
            Answer::Close => return Ok(()),
            Answer::Endless(beginning, again) => {
                client.write_all(beginning.as_bytes()).await?;
                let again = again.repeat(65_536 / again.len());
                loop {
                    client.write_all(again.as_bytes()).await?;
                    sent.fetch_add(again.len() as u64, Relaxed);
                }
            }
        }
        client.flush().await?;
    }
}

/// Reads a command as its words in capitals.
async fn command(client: &mut BufStream<TcpStream>) -> io::Result<String> {
    let mut words = Vec::new();
    for _ in 0..number(client).await? {
        let mut word = vec![0; number(client).await? + 2];
        client.read_exact(&mut word).await?;
        words.push(String::from_utf8_lossy(&word).trim_end().to_uppercase());
    }
    Ok(words.join(" "))
}

async fn number(client: &mut BufStream<TcpStream>) -> io::Result<usize> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.trim_start_matches(['*', '$']).trim_end().parse().map_err(io::Error::other)
}
