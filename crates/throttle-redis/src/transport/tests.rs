//! Tests of the proof that a command was not carried out when its connection ends.

use redis::{ProtocolVersion, RedisConnectionInfo, cmd};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex, join},
    task::yield_now,
};

use super::*;

/// Returns a connection without traffic, and the server's end of it.
async fn connected(buffer: usize) -> (Connected, DuplexStream) {
    let (ours, theirs) = duplex(buffer);
    (over(Box::new(ours), false, &settings(), || ()).await.unwrap(), theirs)
}

fn settings() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name()
}

#[tokio::test]
async fn a_connection_that_ends_before_a_write_proves_that_the_command_was_not_carried_out() {
    let (connected, theirs) = connected(1_024).await;
    let mut multiplexed = connected.sender.multiplexed.clone();
    let written = connected.sender.wire.written();
    drop(theirs); // the connection's task has not noticed it yet
    multiplexed.send_packed_command(&cmd("PING")).await.unwrap_err();
    assert!(connected.sender.wire.ended_unwritten_since(written));
}

#[tokio::test]
async fn a_failed_write_proves_that_the_command_was_not_carried_out_except_over_tls() {
    for is_encrypted in [false, true] {
        let ((reader, _theirs), (writer, closed)) = (duplex(64), duplex(64));
        let stream = Box::new(join(reader, writer));
        let connected = over(stream, is_encrypted, &settings(), || ()).await.unwrap();
        let mut multiplexed = connected.sender.multiplexed.clone();
        let written = connected.sender.wire.written();
        drop(closed);
        multiplexed.send_packed_command(&cmd("PING")).await.unwrap_err();
        assert_eq!(connected.sender.wire.ended_unwritten_since(written), !is_encrypted);
    }
}

#[tokio::test]
async fn a_connection_that_ends_after_a_partial_write_proves_nothing() {
    for read in [0, 5, 14] {
        let (connected, mut theirs) = connected(7).await;
        let mut multiplexed = connected.sender.multiplexed.clone();
        let written = connected.sender.wire.written();
        let ping = tokio::spawn(async move { multiplexed.send_packed_command(&cmd("PING")).await });
        while connected.sender.wire.written() == written {
            yield_now().await;
        }
        theirs.read_exact(&mut vec![0; read]).await.unwrap();
        drop(theirs);
        ping.await.unwrap().unwrap_err();
        assert!(
            !connected.sender.wire.ended_unwritten_since(written),
            "the server read {read} bytes"
        );
    }
}

#[tokio::test]
async fn an_open_connection_proves_nothing() {
    let (connected, _theirs) = connected(1_024).await;
    assert!(
        !connected.sender.wire.ended_unwritten_since(connected.sender.wire.written()),
        "it may yet be written"
    );
}

#[tokio::test]
async fn a_task_that_ends_with_its_runtime_ends_the_connection() {
    let ended = Arc::new(std::sync::atomic::AtomicBool::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (ours, _theirs) = duplex(64);
    let flag = Arc::clone(&ended);
    let connected = runtime
        .spawn(async move {
            let on_end = move || flag.store(true, std::sync::atomic::Ordering::Relaxed);
            over(Box::new(ours), false, &settings(), on_end).await.unwrap()
        })
        .await
        .unwrap();
    assert!(!ended.load(std::sync::atomic::Ordering::Relaxed));
    tokio::task::spawn_blocking(|| drop(runtime)).await.unwrap();
    assert!(ended.load(std::sync::atomic::Ordering::Relaxed));
    assert!(connected.sender.wire.ended_unwritten_since(0), "nothing was written");
}
