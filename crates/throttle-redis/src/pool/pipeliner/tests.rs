//! Tests of the pipeliner on a connection to a real server.

use redis::{Client, cmd};
use throttle_testbed::Server;

use super::*;
use crate::transport::{self, Connected};

async fn connected(server: &Server) -> (Connected, RequestSender) {
    let client = Client::open(server.url()).unwrap();
    let connected = transport::open(client.get_connection_info(), None, || ()).await.unwrap();
    let sender = connected.sender.clone();
    (connected, sender)
}

fn reads(server: &Server) -> u64 {
    let stats = server.command(&["INFO", "stats"]).to_string();
    let line = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn concurrent_commands_get_their_own_answers_or_errors_with_few_writes() {
    let server = Server::start();
    server.command(&["SET", "text", "not a number"]);
    let (_connected, sender) = connected(&server).await;
    let pipeliner = Arc::new(Pipeliner::default());
    let before = reads(&server);
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let (sender, pipeliner) = (sender.clone(), Arc::clone(&pipeliner));
            tokio::spawn(async move {
                let mut command = cmd(if i % 10 == 7 { "INCR" } else { "ECHO" });
                command.arg(if i % 10 == 7 { "text".to_owned() } else { i.to_string() });
                pipeliner.send(&sender, &command).await.unwrap()
            })
        })
        .collect();
    for (i, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Err(error) => assert!(i % 10 == 7 && error.to_string().contains("integer")),
            Ok(answer) => assert_eq!(answer, Value::BulkString(i.to_string().into_bytes())),
        }
    }
    let reads = reads(&server) - before;
    assert!(reads < 50, "{reads} reads for 200 commands");
    assert_eq!(pipeliner.in_flight.load(Relaxed), 0);
}

#[tokio::test]
async fn a_command_that_is_cancelled_before_its_batch_is_not_sent_and_the_others_are() {
    let server = Server::start();
    let (_connected, sender) = connected(&server).await;
    let pipeliner = Arc::new(Pipeliner::default());
    let mut count = cmd("INCR");
    count.arg("count");
    let first = pipeliner.send(&sender, &count); // alone: sent at once
    let leaving = pipeliner.send(&sender, &count);
    let staying = pipeliner.send(&sender, &count);
    let mut leaving = Box::pin(leaving);
    let both = async {
        // Each future is polled once, in order, so that the cancelled command is the first of the batch.
        let mut first = std::pin::pin!(first);
        let mut staying = std::pin::pin!(staying);
        std::future::poll_fn(|cx| {
            let _ = first.as_mut().poll(cx);
            assert!(leaving.as_mut().poll(cx).is_pending());
            assert!(staying.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(leaving);
        staying.await
    };
    both.await.unwrap().unwrap();
    assert_eq!(server.command(&["GET", "count"]).to_string(), "2");
}

#[tokio::test]
async fn a_lost_connection_is_an_error_for_all_commands_of_the_batch() {
    let server = Server::start();
    let (_connected, sender) = connected(&server).await;
    let pipeliner = Arc::new(Pipeliner::default());
    let mut block = cmd("BLPOP");
    block.arg("none").arg(0);
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (sender, pipeliner) = (sender.clone(), Arc::clone(&pipeliner));
            let block = block.clone();
            tokio::spawn(async move { pipeliner.send(&sender, &block).await.unwrap() })
        })
        .collect();
    while !server.command(&["CLIENT", "LIST"]).to_string().contains("cmd=blpop") {
        tokio::task::yield_now().await;
    }
    server.command(&["CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes"]);
    for task in tasks {
        assert!(task.await.unwrap().unwrap_err().is_unrecoverable_error());
    }
}

#[tokio::test]
async fn an_abandoned_connection_that_hangs_is_not_kept_open() {
    let server = Server::start();
    let (_connected, sender) = connected(&server).await;
    let pipeliner = Arc::new(Pipeliner::default());
    server.pause();
    let count = cmd("INCR").arg("count").to_owned();
    let ask = || {
        let (sender, pipeliner, count) = (sender.clone(), Arc::clone(&pipeliner), count.clone());
        tokio::spawn(async move { pipeliner.send(&sender, &count).await })
    };
    let alone = ask();
    tokio::task::yield_now().await;
    let together: Vec<_> = (0..3).map(|_| ask()).collect();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(Arc::strong_count(&pipeliner) > 1);
    pipeliner.abandon();
    for one in together {
        assert!(one.await.unwrap().unwrap().unwrap_err().is_io_error());
    }
    assert_eq!(ask().await.unwrap(), Err(Unsent::Closed), "a later command fails at once");
    alone.abort();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&pipeliner), 1);
}

#[tokio::test]
async fn the_queue_is_bounded_and_cancelled_commands_free_their_room_and_are_never_sent() {
    let server = Server::start();
    let (_connected, sender) = connected(&server).await;
    let pipeliner = Arc::new(Pipeliner::default());
    let mut count = cmd("INCR");
    count.arg("count");
    server.pause();
    let ask = || {
        let (sender, pipeliner) = (sender.clone(), Arc::clone(&pipeliner));
        let count = count.clone();
        tokio::spawn(async move { pipeliner.send(&sender, &count).await })
    };
    // One command alone, the most batches in flight, and a full queue.
    let mut sent = vec![ask()];
    tokio::task::yield_now().await;
    for _ in 0..MAX_BATCHES {
        sent.extend((0..MAX_BATCH_SIZE).map(|_| ask()));
        while pipeliner.batch_permits.available_permits() + sent.len() / MAX_BATCH_SIZE
            > MAX_BATCHES
        {
            tokio::task::yield_now().await;
        }
    }
    let leaving: Vec<_> = (0..MAX_QUEUED).map(|_| ask()).collect();
    while pipeliner.queue().waiting.len() < MAX_QUEUED {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask().await.unwrap(), Err(Unsent::Full), "it fails at once while Redis hangs");
    leaving.iter().for_each(tokio::task::JoinHandle::abort);
    for one in leaving {
        assert!(one.await.unwrap_err().is_cancelled());
    }
    let staying = ask();
    server.resume();
    let total = sent.len() + 1;
    for one in sent {
        one.await.unwrap().unwrap().unwrap();
    }
    assert_eq!(staying.await.unwrap(), Ok(Ok(Value::Int(i64::try_from(total).unwrap()))));
    assert_eq!(server.command(&["GET", "count"]).to_string(), total.to_string());
    assert_eq!(pipeliner.batch_permits.available_permits(), MAX_BATCHES);
}
