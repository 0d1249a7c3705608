use super::*;

#[test]
fn a_call_beyond_the_limit_is_sent_as_soon_as_the_limit_allows_it() {
    let clock = clock();
    let calls = dispatcher(&limiter(&clock, fixed(1)), Options::new(), max_wait(60));
    now(&calls);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(60) - Duration::from_micros(1));
    assert_waits(&mut waits);
    clock.advance(Duration::from_micros(1));
    assert_passes(&mut waits);
    let mut next = later(&calls);
    assert_waits(&mut next);
}

#[test]
fn a_call_that_would_wait_too_long_fails_immediately_and_reports_the_wait() {
    let clock = clock();
    let calls = dispatcher(&limiter(&clock, fixed(1)), Options::new(), max_wait(59));
    now(&calls);
    let not_sent = assert_not_sent(&mut later(&calls));
    assert_eq!(not_sent.retry_after(), Some(secs(60)));
    let expected = "the limit \"fixed\" delays the call by 60s, but it may wait for at most 59s: make fewer calls, \
                    or allow longer waits with `.max_wait(…)`";
    assert_eq!(not_sent.to_string(), expected);
    clock.advance(secs(1));
    assert_waits(&mut later(&calls));
}

#[test]
fn a_call_that_another_one_overtakes_continues_to_wait_within_its_maximum() {
    let clock = clock();
    let calls = dispatcher(&limiter(&clock, fixed(1)), Options::new(), max_wait(100));
    now(&calls);
    let (mut first, mut second) = (later(&calls), later(&calls));
    assert_waits(&mut first);
    assert_waits(&mut second);
    clock.advance(secs(60));
    assert_passes(&mut second);
    let not_sent = assert_not_sent(&mut first);
    assert!(
        matches!(not_sent, OutboundError::TooLong { wait, left, .. } if (wait, left) == (secs(60), secs(40)))
    );
}

#[test]
fn a_wait_of_zero_delays_no_call_and_an_unlimited_wait_delays_all() {
    let clock = clock();
    let limiter = limiter(&clock, fixed(1));
    now(&dispatcher(&limiter, Options::new(), max_wait(0)));
    assert_not_sent(&mut later(&dispatcher(&limiter, Options::new(), max_wait(0))));
    let endless = WaitLimits { max_wait: Duration::MAX, respect: None };
    assert_waits(&mut later(&dispatcher(&limiter, Options::new(), endless)));
}

#[tokio::test]
async fn a_call_waits_for_its_scheduled_time_in_a_leaky_bucket() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(3));
    let calls = dispatcher(&limiter, Options::new(), max_wait(600));
    now(&calls);
    let (mut second, mut third) = (later(&calls), later(&calls));
    assert_waits(&mut second);
    assert_waits(&mut third);
    clock.advance(secs(60));
    assert_passes(&mut second);
    assert_waits(&mut third);
    clock.advance(secs(60));
    assert_passes(&mut third);
}

#[tokio::test]
async fn a_scheduled_time_that_is_too_late_is_refunded() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(3));
    let calls = dispatcher(&limiter, Options::new(), max_wait(59));
    now(&calls);
    let not_sent = assert_not_sent(&mut later(&calls));
    assert!(
        matches!(&not_sent, OutboundError::TooLong { rule, wait, .. } if rule == "leaky" && *wait == secs(60))
    );
    assert_eq!(remaining(&limiter, "leaky").await, 2);
}

#[tokio::test]
async fn a_call_that_is_dropped_before_it_is_sent_is_refunded() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(3));
    let calls = dispatcher(&limiter, Options::new(), max_wait(600));
    now(&calls);
    drop(later(&calls)); // never polled
    assert_eq!(remaining(&limiter, "leaky").await, 2);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    assert_eq!(remaining(&limiter, "leaky").await, 1);
    drop(waits);
    assert_eq!(remaining(&limiter, "leaky").await, 2);
}

#[tokio::test]
async fn a_call_that_was_sent_is_not_refunded() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(3));
    let calls = dispatcher(&limiter, Options::new(), max_wait(600));
    drop(now(&calls));
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(60));
    drop(assert_passes(&mut waits));
    drop(waits);
    assert_eq!(
        remaining(&limiter, "leaky").await,
        2,
        "one of three has drained, and two are charged"
    );
}

#[tokio::test]
async fn several_rules_are_charged_all_or_none_and_the_longest_wait_counts() {
    let clock = clock();
    let limiter = limiter(&clock, fixed(1));
    let hourly = Rule::per_hour("hourly", 1).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(hourly).unwrap();
    let calls = dispatcher(&limiter, Options::new(), max_wait(4_000));
    now(&calls);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(60));
    assert_waits(&mut waits);
    assert_eq!(remaining(&limiter, "fixed").await, 1);
    clock.advance(secs(3_540));
    assert_passes(&mut waits);
}

#[test]
fn waiting_is_no_violation_and_blocks_no_key() {
    let clock = clock();
    let limiter = limiter(&clock, fixed(1).block(secs(3_600)));
    let calls = dispatcher(&limiter, Options::new(), max_wait(60));
    now(&calls);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    clock.advance(secs(60));
    assert_passes(&mut waits);
    let metrics = limiter.metrics();
    assert_eq!((metrics.violations, metrics.denied, metrics.allowed), (0, 0, 2));
}

#[test]
fn a_call_is_not_sent_if_no_wait_helps() {
    let clock = clock();
    let limiter = limiter(&clock, fixed(2));
    let calls = dispatcher(&limiter, Options::new().cost(3), max_wait(60));
    let Dispatch::Never(not_sent) = acquire(&calls) else { panic!("it waits") };
    assert!(
        matches!(&not_sent, OutboundError::TooCostly { rule, limit: 2 } if rule == "fixed"),
        "{not_sent}"
    );
    assert_eq!(not_sent.retry_after(), None);

    limiter.deny_list().add(HOST).unwrap();
    let Dispatch::Never(not_sent) = acquire(&calls) else { panic!("it waits") };
    assert!(matches!(not_sent, OutboundError::DenyListed));
}

#[test]
fn a_call_that_is_exempt_or_free_is_neither_charged_nor_paused() {
    let clock = clock();
    let limiter = limiter(&clock, fixed(1));
    let respects = WaitLimits { respect: Some(secs(60)), ..max_wait(0) };
    for options in [Options::new().exempt(|_| true), Options::new().cost(|_: &RequestHead<'_>| 0)] {
        let calls = dispatcher(&limiter, options, respects);
        let headers = [("retry-after", "9")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = headers.into_iter().collect();
        for _ in 0..3 {
            now(&calls).observe_response(StatusCode::TOO_MANY_REQUESTS, &headers);
        }
        assert_eq!(limiter.metrics().total, 0);
    }
}

#[test]
fn a_call_without_a_host_is_an_error() {
    let calls = dispatcher(&limiter(&clock(), fixed(1)), Options::new(), max_wait(0));
    let request = Request::get("/path").body(()).unwrap();
    let dispatch = calls.acquire(&RequestHead::new(&request, None));
    let Dispatch::Never(not_sent) = dispatch else { panic!("{dispatch:?}") };
    let expected =
        "the request has no host: use a full URI, or another key, such as `.key(Global)`";
    assert_eq!(not_sent.to_string(), expected);
}

#[tokio::test]
async fn a_waiting_call_notices_a_reset_of_its_key_or_a_replaced_rule() {
    for is_reset in [true, false] {
        let clock = clock();
        let limiter = limiter(&clock, fixed(1));
        let calls = dispatcher(&limiter, Options::new(), max_wait(60));
        now(&calls);
        let (mut one, mut other) = (later(&calls), later(&calls));
        assert_waits(&mut one);
        assert_waits(&mut other);
        match is_reset {
            true => _ = limiter.reset(HOST, "fixed").await.unwrap(),
            false => assert!(limiter.replace_rule(fixed(2)).unwrap()),
        }
        assert_passes(&mut one);
        assert_waits(&mut other);
    }
}

#[tokio::test]
async fn calls_in_a_queue_notice_a_reset_of_their_key_or_a_replaced_rule() {
    for is_reset in [true, false] {
        let clock = clock();
        let limiter = limiter(&clock, leaky(9));
        let calls = dispatcher(&limiter, Options::new(), max_wait(600));
        now(&calls);
        let mut waiting: Vec<_> = (0..3).map(|_| later(&calls)).collect();
        waiting.iter_mut().for_each(assert_waits);
        match is_reset {
            true => _ = limiter.reset(HOST, "leaky").await.unwrap(),
            false => {
                let twice = Rule::per_minute("leaky", 2).algorithm(Algorithm::LeakyBucket).burst(9);
                assert!(limiter.replace_rule(twice).unwrap());
                waiting.iter_mut().for_each(assert_waits);
                clock.advance(secs(30));
            }
        }
        assert_passes(&mut waiting.remove(0));
        waiting.iter_mut().for_each(assert_waits);
        clock.advance(secs(if is_reset { 60 } else { 30 }));
        assert_passes(&mut waiting.remove(0));
        waiting.iter_mut().for_each(assert_waits);
    }
}

#[tokio::test]
async fn a_call_whose_scheduled_time_moves_beyond_its_longest_wait_fails_and_is_refunded() {
    let clock = clock();
    let limiter = limiter(&clock, leaky(9));
    let calls = dispatcher(&limiter, Options::new(), max_wait(60));
    now(&calls);
    let mut waits = later(&calls);
    assert_waits(&mut waits);
    let slower = Rule::new("leaky", 1, secs(61)).algorithm(Algorithm::LeakyBucket).burst(9);
    limiter.replace_rule(slower).unwrap();
    assert!(matches!(assert_not_sent(&mut waits), OutboundError::TooLong { .. }));
    drop(waits);
    // A charge of another window cannot be refunded: two calls remain charged until they drain.
    assert_eq!(remaining(&limiter, "leaky").await, 7);
}
