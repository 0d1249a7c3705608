//! Requests that wait for their turn.

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
    pub(super) async fn turns(&self) {
        scenarios!(
            self, "turns";
            a_request_waits_for_its_turn,
            a_turn_that_is_too_far_away_is_refused_and_not_charged,
            who_comes_and_goes_cannot_have_many_run_at_one_moment,
            a_turn_that_was_had_is_not_given_back,
            who_leaves_while_it_waits_gives_its_turn_back,
            who_leaves_at_any_moment_before_its_turn_is_not_charged,
            who_leaves_while_it_is_refused_is_not_charged,
            a_queue_notices_that_its_key_is_reset,
            a_queue_notices_that_its_rule_is_replaced,
            a_dry_run_waits_for_no_turn,
            a_reset_in_unix_time_counts_from_the_decision_and_not_from_the_end_of_the_wait,
        );
    }

    async fn a_request_waits_for_its_turn(&self) {
        let app = self.queue(3, Options::new().shape()).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let mut second = pin!(app.ask("200"));
        assert!(go_on(second.as_mut()).await.is_none(), "the second waits");
        app.clock.advance(SECOND - MILLISECOND);
        assert!(go_on(second.as_mut()).await.is_none(), "for all of its second");
        assert_eq!(app.handler.calls(), 1);
        app.clock.advance(MILLISECOND);
        let response = go_on(second).await.expect("its turn has come");
        assert_eq!((response.status().as_u16(), app.handler.calls()), (200, 2));
    }

    async fn a_queue_notices_that_its_key_is_reset(&self) {
        let app = self.queue(5, Options::new().shape()).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let (mut second, mut third) = (pin!(app.ask("200")), pin!(app.ask("200")));
        assert!(go_on(second.as_mut()).await.is_none() && go_on(third.as_mut()).await.is_none());
        app.limiter.reset(CLIENT, "api").await.expect("the storage answers");
        let response = go_on(second).await.expect("its scheduled time is now");
        assert_eq!(response.status(), 200);
        assert!(go_on(third.as_mut()).await.is_none(), "no two come together");
        app.clock.advance(SECOND);
        assert!(go_on(third).await.is_some_and(|response| response.status() == 200));
        assert_eq!(app.left_now("api").await, 4, "nothing is charged twice");
    }

    async fn a_queue_notices_that_its_rule_is_replaced(&self) {
        let app = self.queue(5, Options::new().shape_at_most(4 * SECOND)).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let (mut second, mut third) = (pin!(app.ask("200")), pin!(app.ask("200")));
        assert!(go_on(second.as_mut()).await.is_none() && go_on(third.as_mut()).await.is_none());
        let rule = app.limiter.rule("api").expect("it is there");
        let slower = Rule::new("api", rule.limit(), 3 * SECOND).burst(rule.capacity());
        let slower = slower.algorithm(Algorithm::LeakyBucket);
        app.limiter.replace_rule(slower).expect("it is a rule");
        let rejected =
            go_on(third).await.expect("its scheduled time is more than four seconds away");
        assert_eq!(rejected.status(), 429);
        assert!(go_on(second.as_mut()).await.is_none());
        app.clock.advance(SECOND);
        assert!(go_on(second.as_mut()).await.is_none(), "by the new rule it is three seconds");
        app.clock.advance(2 * SECOND);
        assert!(go_on(second).await.is_some_and(|response| response.status() == 200));
        assert_eq!(app.handler.calls(), 2);
    }

    async fn a_turn_that_is_too_far_away_is_refused_and_not_charged(&self) {
        let app = self.queue(5, Options::new().shape_at_most(SECOND / 2)).await;
        assert_eq!(app.ask("200").await.status(), 200);
        for _ in 0..3 {
            let response = app.ask("200").await;
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()["retry-after"], "1");
            let body = String::from_utf8_lossy(response.body());
            assert!(body.contains(r#""violated-policies":["api"]"#), "{body}");
            assert_eq!(app.left_now("api").await, 4, "it has no place in the queue");
        }
        let metrics = app.limiter.metrics();
        assert_eq!((app.handler.calls(), metrics.denied), (1, 3));
        let mut refused: Vec<_> = (0..10).map(|_| Box::pin(app.ask("200"))).collect();
        for one in &mut refused {
            go_on(one.as_mut()).await;
        }
        drop(refused); // of a flood, whatever they had done
        app.clock.advance(SECOND / 2);
        let mut next = pin!(app.ask("200"));
        assert!(go_on(next.as_mut()).await.is_none(), "its turn is near enough");
        app.clock.advance(SECOND / 2);
        assert_eq!(go_on(next).await.map(|response| response.status().as_u16()), Some(200));
    }

    async fn who_comes_and_goes_cannot_have_many_run_at_one_moment(&self) {
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
        assert!(kept.is_empty(), "all had their turn");
        assert_eq!(most, 1, "at one moment");
    }

    async fn a_turn_that_was_had_is_not_given_back(&self) {
        let shaped = || Options::new().shape();
        for options in [shaped().charge_if(|_| false), shaped().charge_actual_by(|_| Some(0))] {
            let app = self.queue(3, options).await;
            assert_eq!(app.ask("200").await.status(), 200);
            let mut second = pin!(app.ask("200"));
            let waits = go_on(second.as_mut()).await.is_none();
            assert!(waits, "the stream is even, whatever came of the first");
            app.clock.advance(SECOND);
            assert_eq!(go_on(second).await.map(|response| response.status().as_u16()), Some(200));
        }
    }

    async fn who_leaves_while_it_waits_gives_its_turn_back(&self) {
        let app = self.queue(5, Options::new().shape()).await;
        assert_eq!(app.ask("200").await.status(), 200);
        {
            let mut waiting = Box::pin(app.ask("200"));
            assert!(go_on(waiting.as_mut()).await.is_none(), "it waits");
            assert_eq!(app.left_now("api").await, 3);
        }
        app.has_left("api", 4, "its turn is for others").await;
        app.clock.advance(SECOND);
        assert_eq!(app.handler.calls(), 1);
    }

    async fn who_leaves_at_any_moment_before_its_turn_is_not_charged(&self) {
        self.who_leaves_at_any_moment_is_not_charged(Options::new().shape()).await;
    }

    async fn who_leaves_while_it_is_refused_is_not_charged(&self) {
        let refused = Options::new().shape_at_most(SECOND / 2);
        self.who_leaves_at_any_moment_is_not_charged(refused).await;
    }

    async fn who_leaves_at_any_moment_is_not_charged(&self, options: Options) {
        let app = self.queue(5, options).await;
        assert_eq!(app.ask("200").await.status(), 200);
        for polls in 0..30 {
            {
                let mut leaving = Box::pin(app.ask("200"));
                for _ in 0..polls {
                    if poll_once(leaving.as_mut()).await.is_some() {
                        break; // it was refused
                    }
                }
            }
            background().await;
            assert_eq!(app.left_now("api").await, 4, "it left after {polls} polls");
        }
        assert_eq!(app.handler.calls(), 1);
    }

    async fn a_dry_run_waits_for_no_turn(&self) {
        let app = self.queue(2, Options::new().shape().dry_run()).await;
        for mark in ["", "", "denied"] {
            let answer = go_on(pin!(app.field_of("200", "x-ratelimit-dry-run"))).await;
            assert_eq!(answer, Some((200, mark.to_owned())), "without waiting");
        }
        let metrics = app.limiter.metrics();
        assert_eq!((metrics.total, metrics.denied, metrics.violations), (3, 1, 1), "as without it");
    }
    async fn a_reset_in_unix_time_counts_from_the_decision_and_not_from_the_end_of_the_wait(&self) {
        let headers = Headers::all().legacy_reset_as_unix_time(true);
        let app = self.queue(3, Options::new().shape().headers(headers)).await;
        assert_eq!(app.ask("200").await.status(), 200);
        let mut second = pin!(app.ask("200"));
        assert!(go_on(second.as_mut()).await.is_none(), "the second waits");
        app.clock.advance(SECOND);
        let response = go_on(second).await.expect("its turn has come");
        let reset: u64 = field(&response, "x-ratelimit-reset").parse().unwrap();
        assert_eq!(reset - START.as_secs_ceil(), 2, "two were queued at the start");
    }
}
