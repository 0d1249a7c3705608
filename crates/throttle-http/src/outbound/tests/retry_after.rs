use super::*;
use crate::outbound::server_backoff::{MAX_KEYS, Pauses};

fn respecting(longest: u64, wait: u64) -> WaitLimits {
    WaitLimits { respect: Some(secs(longest)), ..max_wait(wait) }
}

fn ample(clock: &ManualClock) -> Limiter {
    limiter(clock, fixed(1_000))
}

fn request_pause(permit: OutboundPermit, seconds: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", seconds.parse().unwrap());
    permit.observe_response(StatusCode::TOO_MANY_REQUESTS, &headers);
}

#[test]
fn calls_wait_exactly_as_long_as_the_server_requested() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), respecting(3_600, 60));
    request_pause(now(&calls), "30");
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(30) - Duration::from_micros(1));
    assert_waits(&mut waits);
    clock.advance(Duration::from_micros(1));
    assert_passes(&mut waits);
    now(&calls);
}

#[tokio::test]
async fn a_pause_that_is_longer_than_a_call_may_wait_is_an_error_and_costs_nothing() {
    let clock = clock();
    let limiter = ample(&clock);
    let calls = dispatcher(&limiter, Options::new(), respecting(3_600, 29));
    request_pause(now(&calls), "30");
    let not_sent = assert_not_sent(&mut later(&calls));
    assert!(
        matches!(not_sent, OutboundError::Paused { wait, left } if (wait, left) == (secs(30), secs(29)))
    );
    assert_eq!(not_sent.retry_after(), Some(secs(30)));
    assert_eq!(remaining(&limiter, "fixed").await, 999);
}

#[test]
fn no_pause_is_longer_than_the_configured_maximum() {
    for seconds in ["31", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let clock = clock();
        let calls = dispatcher(&ample(&clock), Options::new(), respecting(30, 60));
        request_pause(now(&calls), seconds);
        let mut waits = later(&calls);
        assert_waits(&mut waits);
        clock.advance(secs(30));
        assert_passes(&mut waits);
    }
}

#[test]
fn no_pause_is_longer_than_a_year() {
    let clock = clock();
    let endless = WaitLimits { max_wait: Duration::MAX, respect: Some(Duration::MAX) };
    let calls = dispatcher(&ample(&clock), Options::new(), endless);
    request_pause(now(&calls), "99999999999999999999");
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(MAX_PAUSE);
    assert_passes(&mut waits);
}

#[test]
fn pauses_are_ignored_by_default() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), max_wait(0));
    request_pause(now(&calls), "30");
    now(&calls);
}

#[test]
fn a_pause_applies_to_its_key_only() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), respecting(60, 0));
    request_pause(now(&calls), "30");
    assert_not_sent(&mut later(&calls));
    let Dispatch::Now(_) = calls.acquire_key(&Key::from("another.example.com")) else {
        panic!("another host has no pause")
    };
}

#[test]
fn a_later_response_makes_a_pause_longer_but_never_shorter() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), respecting(60, 60));
    let (one, two, three) = (now(&calls), now(&calls), now(&calls));
    request_pause(one, "20");
    request_pause(two, "10");
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(10));
    assert_waits(&mut waits);
    request_pause(three, "20");
    clock.advance(secs(10));
    assert_waits(&mut waits);
    clock.advance(secs(10));
    assert_passes(&mut waits);
}

#[tokio::test]
async fn a_pause_that_begins_while_a_call_waits_in_a_queue_is_respected() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(3));
    let calls = dispatcher(&limiter, Options::new(), respecting(600, 600));
    let first = now(&calls);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    request_pause(first, "90");
    clock.advance(secs(60));
    assert_waits(&mut waits);
    assert_eq!(remaining(&limiter, "leaky").await, 3, "its scheduled time is over and not charged");
    clock.advance(secs(30));
    assert_passes(&mut waits);
}

#[test]
fn calls_that_were_scheduled_in_a_pause_are_sent_one_by_one_after_it() {
    let clock = clock();
    let calls = dispatcher(&limiter(&clock, leaky(10)), Options::new(), respecting(3_600, 3_600));
    let first = now(&calls);
    let mut waiting: Vec<_> = (0..3).map(|_| later(&calls)).collect();
    waiting.iter_mut().for_each(assert_waits);
    request_pause(first, "200");
    clock.advance(secs(190)); // all scheduled times have come
    waiting.iter_mut().for_each(assert_waits);

    clock.advance(secs(10));
    for left in (0..3).rev() {
        assert_passes(&mut waiting.remove(0));
        assert_eq!(waiting.len(), left);
        waiting.iter_mut().for_each(assert_waits);
        clock.advance(secs(60) - Duration::from_micros(1));
        waiting.iter_mut().for_each(assert_waits);
        clock.advance(Duration::from_micros(1));
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_pause_longer() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), respecting(3_600, 3_600));
    request_pause(now(&calls), "30");
    clock.set(Micros::ZERO.to_system_time());
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(29));
    assert_waits(&mut waits);
    clock.advance(secs(1));
    assert_passes(&mut waits);
}

#[test]
fn a_flood_of_hosts_with_pauses_uses_bounded_memory() {
    let (pauses, now) = (Pauses::default(), Micros::new(1));
    let host = |i: usize| Key::from(format!("host-{i}"));
    let left = |i: usize, at: Micros| pauses.left(&host(i), || at);
    for i in 0..3 * MAX_KEYS {
        pauses.add(host(i), now, Micros::new(1_000_000 + i as u64));
    }
    assert!(pauses.len() <= MAX_KEYS, "{}", pauses.len());
    assert!(left(0, now).is_none(), "pauses that end first are dropped");
    assert!(left(3 * MAX_KEYS - 1, now).is_some());
    // Pauses that are over are removed before others.
    let over = Micros::new(2_000_000);
    for i in 0..MAX_KEYS {
        pauses.add(host(4 * MAX_KEYS + i), over, Micros::new(1_000_000));
    }
    assert!((0..MAX_KEYS).all(|i| left(4 * MAX_KEYS + i, over).is_some()));
}
