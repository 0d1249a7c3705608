//! Queued requests.

use std::{pin::pin, time::Duration};

use throttle_core::{Algorithm, Rule};
use throttle_http::{Headers, Options};

use crate::http::{
    adapter::Adapter,
    fixture::{CLIENT, Fixture, START, background, field, go_on, poll_once},
    run::scenarios,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn shaping(&self) {
        scenarios!(
            self, "shaping";
            a_request_waits_for_its_scheduled_time,
            a_request_whose_scheduled_time_is_too_far_away_is_rejected_and_not_charged,
            disconnects_cannot_make_several_requests_run_at_the_same_time,
            a_scheduled_time_that_was_used_is_not_refunded,
            a_client_that_disconnects_while_it_waits_frees_its_slot,
            a_client_that_disconnects_before_its_scheduled_time_is_not_charged,
            a_client_that_disconnects_while_it_is_rejected_is_not_charged,
            a_reset_of_the_key_reschedules_the_queue,
            a_replaced_rule_reschedules_the_queue,
            a_dry_run_delays_no_request,
            a_reset_in_unix_time_is_relative_to_the_decision,
        );
    }

    async fn a_request_waits_for_its_scheduled_time(&self) {
        let app = self.queue(3, Options::new().shape()).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let mut second = pin!(app.ask("200"));
        assert!(go_on(second.as_mut()).await.is_none(), "the second waits");
        app.clock.advance(SECOND - MILLISECOND);
        assert!(
            go_on(second.as_mut()).await.is_none(),
            "the second waits until its scheduled time"
        );
        assert_eq!(app.handler.calls(), 1);
        app.clock.advance(MILLISECOND);
        let response = go_on(second).await.expect("its scheduled time has come");
        assert_eq!((response.status().as_u16(), app.handler.calls()), (200, 2));
    }

    async fn a_reset_of_the_key_reschedules_the_queue(&self) {
        let app = self.queue(5, Options::new().shape()).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let (mut second, mut third) = (pin!(app.ask("200")), pin!(app.ask("200")));
        assert!(go_on(second.as_mut()).await.is_none() && go_on(third.as_mut()).await.is_none());
        app.limiter.reset(CLIENT, "api").await.expect("the storage answers");
        let response = go_on(second).await.expect("its scheduled time is now");
        assert_eq!(response.status(), 200);
        assert!(
            go_on(third.as_mut()).await.is_none(),
            "the third is not sent together with the second"
        );
        app.clock.advance(SECOND);
        assert!(go_on(third).await.is_some_and(|response| response.status() == 200));
        assert_eq!(app.remaining_now("api").await, 4, "no request is charged twice");
    }

    async fn a_replaced_rule_reschedules_the_queue(&self) {
        let app = self.queue(5, Options::new().shape_at_most(4 * SECOND)).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let (mut second, mut third) = (pin!(app.ask("200")), pin!(app.ask("200")));
        assert!(go_on(second.as_mut()).await.is_none() && go_on(third.as_mut()).await.is_none());
        let rule = app.limiter.rule("api").expect("the rule exists");
        let slower = Rule::new("api", rule.limit(), 3 * SECOND).burst(rule.capacity());
        let slower = slower.algorithm(Algorithm::LeakyBucket);
        app.limiter.replace_rule(slower).expect("the rule is valid");
        let rejected =
            go_on(third).await.expect("its scheduled time is more than four seconds away");
        assert_eq!(rejected.status(), 429);
        assert!(go_on(second.as_mut()).await.is_none());
        app.clock.advance(SECOND);
        assert!(go_on(second.as_mut()).await.is_none(), "the new rule delays it by three seconds");
        app.clock.advance(2 * SECOND);
        assert!(go_on(second).await.is_some_and(|response| response.status() == 200));
        assert_eq!(app.handler.calls(), 2);
    }

    async fn a_request_whose_scheduled_time_is_too_far_away_is_rejected_and_not_charged(&self) {
        let app = self.queue(5, Options::new().shape_at_most(SECOND / 2)).await;
        assert_eq!(app.ask("200").await.status(), 200);
        for _ in 0..3 {
            let response = app.ask("200").await;
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()["retry-after"], "1");
            let body = String::from_utf8_lossy(response.body());
            assert!(body.contains(r#""violated-policies":["api"]"#), "{body}");
            assert_eq!(app.remaining_now("api").await, 4, "a rejected request must not be queued");
        }
        let metrics = app.limiter.metrics();
        assert_eq!((app.handler.calls(), metrics.denied), (1, 3));
        let mut rejected: Vec<_> = (0..10).map(|_| Box::pin(app.ask("200"))).collect();
        for one in &mut rejected {
            go_on(one.as_mut()).await;
        }
        drop(rejected); // a flood of rejected requests, some of them unfinished
        app.clock.advance(SECOND / 2);
        let mut next = pin!(app.ask("200"));
        assert!(go_on(next.as_mut()).await.is_none(), "its scheduled time is half a second away");
        app.clock.advance(SECOND / 2);
        assert_eq!(go_on(next).await.map(|response| response.status().as_u16()), Some(200));
    }

    async fn disconnects_cannot_make_several_requests_run_at_the_same_time(&self) {
        let app = self.queue(5, Options::new().shape()).await;
        let mut kept = Vec::new();
        for _ in 0..5 {
            let mut round: Vec<_> = (0..5).map(|_| Box::pin(app.ask("200"))).collect();
            let mut answered = Vec::new();
            for one in &mut round {
                answered.push(go_on(one.as_mut()).await.is_some());
            }
            let waiting = round.into_iter().zip(answered).filter(|(_, answered)| !answered);
            kept.extend(waiting.map(|(one, _)| one).last());
            background().await;
        }
        let mut most = 0;
        for _ in 0..40 {
            let before = app.handler.calls();
            app.clock.advance(SECOND / 4);
            for one in std::mem::take(&mut kept) {
                let mut one = one;
                if go_on(one.as_mut()).await.is_none() {
                    kept.push(one);
                }
            }
            most = most.max(app.handler.calls() - before);
        }
        assert!(kept.is_empty(), "all requests must be sent");
        assert_eq!(most, 1, "requests that ran at the same time");
    }

    async fn a_scheduled_time_that_was_used_is_not_refunded(&self) {
        let shaped = || Options::new().shape();
        for options in [shaped().charge_if(|_| false), shaped().charge_actual_by(|_| Some(0))] {
            let app = self.queue(3, options).await;
            assert_eq!(app.ask("200").await.status(), 200);
            let mut second = pin!(app.ask("200"));
            let waits = go_on(second.as_mut()).await.is_none();
            assert!(waits, "the second must wait, although the first was refunded");
            app.clock.advance(SECOND);
            assert_eq!(go_on(second).await.map(|response| response.status().as_u16()), Some(200));
        }
    }

    async fn a_client_that_disconnects_while_it_waits_frees_its_slot(&self) {
        let app = self.queue(5, Options::new().shape()).await;
        assert_eq!(app.ask("200").await.status(), 200);
        {
            let mut waiting = Box::pin(app.ask("200"));
            assert!(go_on(waiting.as_mut()).await.is_none(), "the request waits");
            assert_eq!(app.remaining_now("api").await, 3);
        }
        app.wait_for_remaining("api", 4, "its slot must be freed").await;
        app.clock.advance(SECOND);
        assert_eq!(app.handler.calls(), 1);
    }

    async fn a_client_that_disconnects_before_its_scheduled_time_is_not_charged(&self) {
        self.a_disconnect_after_any_poll_is_not_charged(Options::new().shape()).await;
    }

    async fn a_client_that_disconnects_while_it_is_rejected_is_not_charged(&self) {
        let rejected = Options::new().shape_at_most(SECOND / 2);
        self.a_disconnect_after_any_poll_is_not_charged(rejected).await;
    }

    async fn a_disconnect_after_any_poll_is_not_charged(&self, options: Options) {
        let app = self.queue(5, options).await;
        assert_eq!(app.ask("200").await.status(), 200);
        for polls in 0..30 {
            {
                let mut request = Box::pin(app.ask("200"));
                for _ in 0..polls {
                    if poll_once(request.as_mut()).await.is_some() {
                        break; // rejected
                    }
                }
            }
            background().await;
            assert_eq!(app.remaining_now("api").await, 4, "disconnected after {polls} polls");
        }
        assert_eq!(app.handler.calls(), 1);
    }

    async fn a_dry_run_delays_no_request(&self) {
        let app = self.queue(2, Options::new().shape().dry_run()).await;
        for mark in ["", "", "denied"] {
            let answer = go_on(pin!(app.field_of("200", "x-ratelimit-dry-run"))).await;
            assert_eq!(answer, Some((200, mark.to_owned())), "a dry run must not delay a request");
        }
        let metrics = app.limiter.metrics();
        assert_eq!(
            (metrics.total, metrics.denied, metrics.violations),
            (3, 1, 1),
            "a dry run must count like a normal run"
        );
    }

    async fn a_reset_in_unix_time_is_relative_to_the_decision(&self) {
        let headers = Headers::all().legacy_reset_as_unix_time(true);
        let app = self.queue(3, Options::new().shape().headers(headers)).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let mut second = pin!(app.ask("200"));
        assert!(go_on(second.as_mut()).await.is_none(), "the second waits");
        app.clock.advance(SECOND);
        let response = go_on(second).await.expect("its scheduled time has come");
        let reset: u64 = field(&response, "x-ratelimit-reset").parse().unwrap();
        assert_eq!(reset - START.as_secs_ceil(), 2, "the queue held two requests at the decision");
    }
}
