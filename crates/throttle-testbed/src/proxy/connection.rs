//! A connection through the proxy.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{self, Instant},
};

use crate::proxy::{
    faults::{Connect, Faults},
    shared::Shared,
};

const CHUNK: usize = 16 << 10;
/// The maximum number of chunks in flight.
const QUEUE: usize = 64;
/// The number of writes per second on a slow connection.
const SLICES: u32 = 20;

/// Forwards data in both directions with the current faults, until both sides have closed or it is reset.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    mut client: TcpStream,
    mut resets: watch::Receiver<usize>,
) {
    let _counted = Counted::new(&shared);
    let connect = shared.faults.borrow().connect;
    if connect == Connect::BlackHole {
        tokio::select! {
            () = discard(&mut client) => {}
            _ = resets.changed() => reset(&client),
        }
        return;
    }
    let Ok(mut server) = TcpStream::connect(&shared.target).await else {
        return reset(&client);
    };
    // Only the faults should delay data. Errors are ignored: without the option it is merely slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));

    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::try_join!(
            forward(&shared, Way::Requests, from_client, to_server),
            forward(&shared, Way::Answers, from_server, to_client),
        )
    };
    let was_reset = tokio::select! {
        ended = both => ended.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset),
        _ = resets.changed() => true,
    };
    if was_reset {
        reset(&client);
        reset(&server);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

impl Way {
    fn is_held(self, faults: &Faults) -> bool {
        match self {
            Self::Requests => faults.hold_requests,
            Self::Answers => faults.hold_answers,
        }
    }
}

async fn forward(
    shared: &Shared,
    way: Way,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
) -> io::Result<()> {
    let (queue, chunks) = mpsc::channel(QUEUE);
    tokio::try_join!(read(from, queue), write(shared, way, chunks, to))?;
    Ok(())
}

type Chunk = (Instant, Vec<u8>);

async fn read(mut from: ReadHalf<'_>, queue: mpsc::Sender<Chunk>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 || queue.send((Instant::now(), buffer[..length].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    shared: &Shared,
    way: Way,
    mut chunks: mpsc::Receiver<Chunk>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let mut changes = shared.faults.subscribe();
    while let Some((came, chunk)) = chunks.recv().await {
        time::sleep_until(came + shared.delay()).await;
        let faults = wait_until_released(way, &mut changes).await;
        if let (Way::Answers, Some(length)) = (way, faults.cut_answers_at) {
            to.write_all(&chunk[..length.min(chunk.len())]).await?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match faults.bytes_per_second {
            None => to.write_all(&chunk).await?,
            Some(rate) => write_slowly(&chunk, rate.max(1), &mut to).await?,
        }
    }
    let faults = wait_until_released(way, &mut changes).await;
    time::sleep(faults.close_delay).await;
    to.shutdown().await
}

async fn wait_until_released(way: Way, changes: &mut watch::Receiver<Faults>) -> Faults {
    let faults = changes.wait_for(|faults| !way.is_held(faults)).await;
    faults.expect("the caller borrows the sender").clone()
}

async fn write_slowly(chunk: &[u8], rate: u32, to: &mut WriteHalf<'_>) -> io::Result<()> {
    let slice = usize::try_from(rate.div_ceil(SLICES)).unwrap_or(CHUNK);
    for part in chunk.chunks(slice) {
        to.write_all(part).await?;
        time::sleep(Duration::from_secs(1) * u32::try_from(part.len()).unwrap_or(rate) / rate)
            .await;
    }
    Ok(())
}

/// Discards data until the client closes the connection.
async fn discard(client: &mut TcpStream) {
    let mut buffer = vec![0; CHUNK];
    while client.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

/// Makes the stream reset the connection when it is dropped, instead of closing it.
fn reset(stream: &TcpStream) {
    // It fails if the peer has closed the connection already.
    let _ = stream.set_zero_linger();
}

/// A guard that counts a connection as open.
struct Counted<'a>(&'a Shared);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Self(shared)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}
