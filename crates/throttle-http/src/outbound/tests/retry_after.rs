use super::*;
use crate::outbound::server_backoff::{MOST, Pauses};

fn obedient(longest: u64, max_wait: u64) -> WaitLimits {
    WaitLimits { respect: Some(secs(longest)), ..patient(max_wait) }
}

fn ample(clock: &ManualClock) -> Limiter {
    limiter(clock, fixed(1_000))
}

fn refuse_for(permit: OutboundPermit, seconds: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", seconds.parse().unwrap());
    permit.observe_response(StatusCode::TOO_MANY_REQUESTS, &headers);
}

#[test]
fn calls_wait_for_as_long_as_the_server_asked_and_no_longer() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), obedient(3_600, 60));
    refuse_for(now(&calls), "30");
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(30) - Duration::from_micros(1));
    assert_waits(&mut waits);
    clock.advance(Duration::from_micros(1));
    assert_passes(&mut waits);
    now(&calls);
}

#[tokio::test]
async fn a_pause_that_is_longer_than_a_call_may_wait_is_said_and_costs_nothing() {
    let clock = clock();
    let limiter = ample(&clock);
    let calls = dispatcher(&limiter, Options::new(), obedient(3_600, 29));
    refuse_for(now(&calls), "30");
    let not_sent = assert_not_sent(&mut later(&calls));
    assert!(
        matches!(not_sent, OutboundError::Paused { wait, left } if (wait, left) == (secs(30), secs(29)))
    );
    assert_eq!(not_sent.retry_after(), Some(secs(30)));
    assert_eq!(remaining(&limiter, "fixed").await, 999);
}

#[test]
fn a_server_is_obeyed_for_no_longer_than_was_said_whatever_it_asks_for() {
    for asked in ["31", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let clock = clock();
        let calls = dispatcher(&ample(&clock), Options::new(), obedient(30, 60));
        refuse_for(now(&calls), asked);
        let mut waits = later(&calls);
        assert_waits(&mut waits);
        clock.advance(secs(30));
        assert_passes(&mut waits);
    }
}

#[test]
fn nobody_waits_for_longer_than_a_year_however_much_is_allowed() {
    let clock = clock();
    let endless = WaitLimits { max_wait: Duration::MAX, respect: Some(Duration::MAX) };
    let calls = dispatcher(&ample(&clock), Options::new(), endless);
    refuse_for(now(&calls), "99999999999999999999");
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(MAX_PAUSE);
    assert_passes(&mut waits);
}

#[test]
fn whoever_does_not_obey_does_not_listen() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), patient(0));
    refuse_for(now(&calls), "30");
    now(&calls);
}

#[test]
fn a_pause_is_the_key_s_and_of_nobody_else() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), obedient(60, 0));
    refuse_for(now(&calls), "30");
    assert_not_sent(&mut later(&calls));
    let Dispatch::Now(_) = calls.acquire_key(&Key::from("another.example.com")) else {
        panic!("another host was not asked for a pause")
    };
}

#[test]
fn a_pause_is_made_longer_by_a_later_answer_and_never_shorter() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), obedient(60, 60));
    let (one, two, three) = (now(&calls), now(&calls), now(&calls));
    refuse_for(one, "20");
    refuse_for(two, "10");
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(10));
    assert_waits(&mut waits);
    refuse_for(three, "20");
    clock.advance(secs(10));
    assert_waits(&mut waits);
    clock.advance(secs(10));
    assert_passes(&mut waits);
}

#[tokio::test]
async fn a_pause_that_comes_while_a_call_waits_for_its_turn_is_obeyed_too() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(3));
    let calls = dispatcher(&limiter, Options::new(), obedient(600, 600));
    let first = now(&calls);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    refuse_for(first, "90");
    clock.advance(secs(60));
    assert_waits(&mut waits);
    assert_eq!(remaining(&limiter, "leaky").await, 3, "its turn is over, and charged no more");
    clock.advance(secs(30));
    assert_passes(&mut waits);
}

#[test]
fn calls_whose_turns_come_in_a_pause_are_sent_one_by_one_after_it_and_not_all_at_once() {
    let clock = clock();
    let calls = dispatcher(&limiter(&clock, leaky(10)), Options::new(), obedient(3_600, 3_600));
    let first = now(&calls);
    let mut waiting: Vec<_> = (0..3).map(|_| later(&calls)).collect();
    waiting.iter_mut().for_each(assert_waits);
    refuse_for(first, "200");
    clock.advance(secs(190)); // all turns have come
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
fn a_clock_that_is_set_back_prolongs_no_pause() {
    let clock = clock();
    let calls = dispatcher(&ample(&clock), Options::new(), obedient(3_600, 3_600));
    refuse_for(now(&calls), "30");
    clock.set(Micros::ZERO.to_system_time());
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(29));
    assert_waits(&mut waits);
    clock.advance(secs(1));
    assert_passes(&mut waits);
}

#[test]
fn a_flood_of_hosts_that_ask_for_pauses_takes_bounded_room() {
    let (pauses, now) = (Pauses::default(), Micros::new(1));
    let host = |i: usize| Key::from(format!("host-{i}"));
    let left = |i: usize, at: Micros| pauses.left(&host(i), || at);
    for i in 0..3 * MOST {
        pauses.add(host(i), now, Micros::new(1_000_000 + i as u64));
    }
    assert!(pauses.len() <= MOST, "{}", pauses.len());
    assert!(left(0, now).is_none(), "those that end first are forgotten");
    assert!(left(3 * MOST - 1, now).is_some());
    // What is over makes room for what is not.
    let over = Micros::new(2_000_000);
    for i in 0..MOST {
        pauses.add(host(4 * MOST + i), over, Micros::new(1_000_000));
    }
    assert!((0..MOST).all(|i| left(4 * MOST + i, over).is_some()));
}
