//! User functions that panic: later requests are handled as if no panic had occurred.

mod table;

use std::fmt::Debug;

use bytes::Bytes;
use http::{HeaderValue, Request};
use throttle_core::ConcurrencyLimit;
use tokio::task::yield_now;

use self::table::{Case, Setup, When};
use crate::{
    http::{
        adapter::Adapter,
        answer::Answer,
        fixture::{App, Fixture, Limits},
        run::unwinding,
    },
    storages::Failing,
    trap::Trap,
};

impl<A: Adapter> Fixture<'_, A> {
    /// Makes each function of the options panic, and the handler and a storage, in each setup.
    pub(super) async fn panics(&self) {
        for setup in Setup::ALL {
            for case in table::all() {
                let title = format!("{} ({setup:?})", case.title);
                self.scenario("panics", &title, Box::pin(self.panic_of(case, setup))).await;
            }
        }
    }

    async fn panic_of(&self, case: Case, setup: Setup) {
        let trap = Trap::default();
        let storage = Failing::new(trap.clone());
        let limits = match case.when {
            When::StorageFails | When::InStorage => Limits::over(storage.clone(), []),
            _ => self.limits([]),
        };
        storage.set_down(case.when == When::StorageFails);
        let options = setup.options(&limits.limiter, case.names_rules);
        let options = (case.options)(options, trap.clone());
        if case.is_callback {
            let trap = trap.clone();
            limits.limiter.on_violation(move |_| trap.spring());
        }
        let permits = setup.permits(&limits.limiter);
        let app = self.app(&limits, [options]).await;
        let trap = if case.is_handler { app.handler.trap().clone() } else { trap };
        Trial { case, trap, permits, app }.run().await;
    }
}

/// One case in one setup.
struct Trial<'a, A: Adapter> {
    case: Case,
    trap: Trap,
    permits: Option<ConcurrencyLimit>,
    app: App<'a, A>,
}

impl<A: Adapter> Trial<'_, A> {
    /// Sends the same requests from two clients, one of which panics, and compares the responses.
    async fn run(self) {
        // The second round checks that a function is called again after a panic.
        for _ in 0..2 {
            self.begin().await;
            if self.case.is_callback {
                self.panics_in_callback().await;
            } else {
                self.panics().await;
            }
            self.holds_no_permit("one").await;
            self.both_get_the_same_response("afterwards").await;
        }
        self.begin().await;
        self.panics_in_one_of_three_concurrent_requests().await;
        self.both_get_the_same_response("after three concurrent requests").await;
        let other = self.answer("other").await;
        assert_eq!(other.status, self.case.status, "another client");
    }

    /// Starts a new window, and uses up the limit of all clients if the function is called for rejections.
    async fn begin(&self) {
        self.app.clock.advance(table::MINUTE);
        if self.case.when == When::Denied {
            for client in ["calm", "one", "a", "b", "c", "other"] {
                self.exhaust(client).await;
            }
        }
    }

    async fn exhaust(&self, client: &str) {
        for _ in 0..=table::LIMIT {
            if self.answer(client).await.status != 200 {
                return;
            }
        }
        panic!("{client} was not rejected after {} requests", table::LIMIT + 1);
    }

    async fn panics(&self) {
        let calm = self.answer("calm").await;
        assert_eq!(calm.status, self.case.status);
        let before = self.trap.sprung();
        self.trap.set();
        let panicked = self.ask("one").await;
        self.expect("the request panicked", &panicked.is_none(), &true);
        self.expect("number of panics", &(self.trap.sprung() - before), &1);
        if !self.case.is_charged {
            let again = self.answer("one").await;
            self.expect("the panicked request must not be charged", &again, &calm);
        }
    }

    async fn panics_in_callback(&self) {
        let calm = self.answer("calm").await;
        assert_eq!(calm.status, self.case.status);
        let before = self.trap.sprung();
        self.trap.set();
        let one = self.answer("one").await;
        self.expect("number of panics", &(self.trap.sprung() - before), &1);
        self.expect("a panic in a callback must not change the response", &one, &calm);
    }

    async fn both_get_the_same_response(&self, when: &str) {
        let (calm, one) = (self.answer("calm").await, self.answer("one").await);
        self.expect(when, &one, &calm);
    }

    /// Sends three concurrent requests, one of which panics; the others must get their responses.
    async fn panics_in_one_of_three_concurrent_requests(&self) {
        self.trap.set();
        let answers = tokio::join!(self.ask("a"), self.ask("b"), self.ask("c"));
        let statuses = [answers.0, answers.1, answers.2].map(|one| one.map(|one| one.status));
        let panicked = statuses.iter().filter(|one| one.is_none()).count();
        self.expect(
            "number of requests that panicked",
            &panicked,
            &usize::from(!self.case.is_callback),
        );
        let others = statuses.iter().flatten().all(|status| *status == self.case.status);
        assert!(
            others,
            "of three concurrent requests, the others must get {}: {statuses:?}",
            self.case.status
        );
        for client in ["a", "b", "c"] {
            self.holds_no_permit(client).await;
        }
    }

    /// Waits until a client holds no permit, because a storage may release permits in the background.
    async fn holds_no_permit(&self, client: &str) {
        let Some(permits) = &self.permits else { return };
        let mut in_use = permits.in_use(client).await.unwrap_or(u64::MAX);
        for _ in 0..1000 {
            if in_use == 0 {
                return;
            }
            yield_now().await;
            in_use = permits.in_use(client).await.unwrap_or(u64::MAX);
        }
        panic!("{client} still holds {in_use} permits");
    }

    async fn answer(&self, client: &str) -> Answer {
        match self.ask(client).await {
            Some(answer) => answer,
            None => panic!("a request of {client} panicked unexpectedly"),
        }
    }

    async fn ask(&self, client: &str) -> Option<Answer> {
        let mut request = Request::new(Bytes::new());
        let client = HeaderValue::from_str(client).expect("names of clients are header values");
        request.headers_mut().insert(table::CLIENT, client);
        let response = unwinding(self.app.call(request)).await.ok()?;
        Some(Answer::of(&response))
    }

    fn expect<T: PartialEq + Debug>(&self, what: &str, actual: &T, expected: &T) {
        assert_eq!(actual, expected, "{what}");
    }
}
