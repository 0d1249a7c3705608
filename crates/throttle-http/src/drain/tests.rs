use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Waker},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use throttle_core::ManualClock;

use super::*;

/// A body of frames that a test sends; it records whether it was polled.
#[derive(Clone, Default)]
struct Sent {
    pieces: Arc<std::sync::Mutex<Vec<usize>>>,
    ended: Arc<AtomicBool>,
    polled: Arc<AtomicBool>,
}

impl Sent {
    fn send(&self, length: usize) {
        self.pieces.lock().unwrap().push(length);
    }

    /// Returns whether everything that was sent has been read.
    fn is_read(&self) -> bool {
        self.pieces.lock().unwrap().is_empty()
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polled.store(true, SeqCst);
        match self.pieces.lock().unwrap().pop() {
            Some(length) => Poll::Ready(Some(Ok(Frame::data(vec![0; length].into())))),
            None if self.ended.load(SeqCst) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A drain that a test polls.
struct Drain {
    future: Pin<Box<dyn Future<Output = ()>>>,
    clock: ManualClock,
    sent: Sent,
}

impl Drain {
    fn new(max_bytes: u64) -> Self {
        let (clock, sent) = (ManualClock::default(), Sent::default());
        let (by, body) = (clock.clone(), sent.clone());
        let future = Box::pin(async move { drain(body, max_bytes, &by).await });
        let mut drain = Self { future, clock, sent };
        assert!(!drain.is_over(), "nothing has been sent yet");
        drain
    }

    fn is_over(&mut self) -> bool {
        self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn is_over_after(&mut self, ticks: f64) -> bool {
        self.clock.advance(TICK.mul_f64(ticks));
        self.is_over()
    }
}

#[test]
fn a_body_of_any_number_of_frames_is_read_to_its_end() {
    let mut drain = Drain::new(u64::MAX);
    for _ in 0..1000 {
        drain.sent.send(64 * 1024);
        assert!(!drain.is_over() && drain.sent.is_read());
    }
    drain.sent.ended.store(true, SeqCst);
    assert!(drain.is_over());
}

#[test]
fn no_more_than_the_limit_is_read() {
    let mut drain = Drain::new(1000);
    drain.sent.send(999);
    assert!(!drain.is_over());
    drain.sent.send(1);
    drain.sent.send(1);
    assert!(drain.is_over() && !drain.sent.is_read());

    let mut empty_pieces = Drain::new(1000);
    (0..1001).for_each(|_| empty_pieces.sent.send(0));
    assert!((0..1000).any(|_| empty_pieces.is_over()) && !empty_pieces.sent.is_read());
}

#[test]
fn a_body_that_is_always_ready_ends_in_time_and_yields_to_other_tasks() {
    let mut drain = Drain::new(u64::MAX);
    drain.sent.pieces.lock().unwrap().resize(100_000, 1);
    for _ in 1..MAX_TICKS {
        assert!(!drain.is_over_after(1.0));
    }
    assert!(drain.is_over_after(1.0) && !drain.sent.is_read());
}

#[test]
fn a_drain_waits_at_most_half_a_second_for_a_silent_client() {
    let mut silent = Drain::new(u64::MAX);
    assert!(!silent.is_over_after(0.99));
    assert!(silent.is_over_after(0.01));

    let mut stops = Drain::new(u64::MAX);
    stops.sent.send(1);
    assert!(!stops.is_over_after(1.0), "a frame arrived in this tick");
    assert!(!stops.is_over_after(0.99));
    assert!(stops.is_over_after(0.01));
    assert!(2 * TICK <= Duration::from_millis(500));
}

#[test]
fn a_drain_waits_at_most_five_seconds_for_a_slow_client() {
    let mut drain = Drain::new(u64::MAX);
    for _ in 1..MAX_TICKS {
        drain.sent.send(1);
        assert!(!drain.is_over_after(1.0));
    }
    drain.sent.send(1);
    assert!(drain.is_over_after(1.0));
    assert_eq!(MAX_TICKS * TICK, Duration::from_secs(5));
}

#[test]
fn the_number_of_concurrent_drains_is_limited() {
    static OURS: AtomicUsize = AtomicUsize::new(0);
    let mut slots: Vec<_> = (0..MAX_DRAINS).map(|_| Slot::acquire(&OURS).unwrap()).collect();
    assert!(Slot::acquire(&OURS).is_none() && Slot::acquire(&OURS).is_none());
    slots.pop();
    let again = Slot::acquire(&OURS);
    assert!(again.is_some() && Slot::acquire(&OURS).is_none());
    drop((slots, again));
    assert_eq!(OURS.load(Relaxed), 0);
}

fn post() -> (Request<Sent>, Arc<AtomicBool>) {
    let sent = Sent::default();
    let polled = Arc::clone(&sent.polled);
    (Request::post("/").body(sent).unwrap(), polled)
}

#[tokio::test]
async fn a_body_is_read_only_if_that_helps_the_client() {
    type Change = fn(&mut Request<Sent>);
    let table: [(&str, Change, u64, bool); 5] = [
        ("HTTP/1.1", |_| {}, 1, true),
        ("HTTP/1.0", |request| *request.version_mut() = Version::HTTP_10, 1, true),
        ("HTTP/2", |request| *request.version_mut() = Version::HTTP_2, 1, false),
        (
            "Expect",
            |request| _ = request.headers_mut().insert(EXPECT, "100-continue".parse().unwrap()),
            1,
            false,
        ),
        ("no bytes", |_| {}, 0, false),
    ];
    for (about, change, max_bytes, is_read) in table {
        let (mut request, polled) = post();
        change(&mut request);
        drain_body(request, max_bytes);
        // A task that was spawned is the next to run.
        tokio::task::yield_now().await;
        assert_eq!(polled.load(SeqCst), is_read, "{about}");
    }
}

#[test]
fn outside_of_a_runtime_a_body_is_dropped() {
    let (request, polled) = post();
    let pieces = Arc::downgrade(&request.body().pieces);
    drain_body(request, 1);
    assert!(!polled.load(SeqCst) && pieces.upgrade().is_none());
}
