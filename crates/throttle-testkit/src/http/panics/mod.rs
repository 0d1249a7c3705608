//! Functions of the user's that panic: what comes after is answered as if nothing had been.

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
    /// Lets each function among the options panic, the handler, and a storage, in each setup: a rule alone,
    /// places, turns, costs that are settled.
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
        let places = setup.places(&limits.limiter);
        let app = self.app(&limits, [options]).await;
        let trap = if case.is_handler { app.handler.trap().clone() } else { trap };
        Trial { case, trap, places, app }.run().await;
    }
}

/// One case in one setup.
struct Trial<'a, A: Adapter> {
    case: Case,
    trap: Trap,
    places: Option<ConcurrencyLimit>,
    app: App<'a, A>,
}

impl<A: Adapter> Trial<'_, A> {
    /// Does to one client what it does to another, but for the panics.
    async fn run(self) {
        // Twice: a function that has panicked is called again.
        for _ in 0..2 {
            self.begin().await;
            if self.case.is_callback {
                self.is_harmless().await;
            } else {
                self.panics().await;
            }
            self.holds_nothing("one").await;
            self.both_are_answered_alike("afterwards").await;
        }
        self.begin().await;
        self.one_of_three_at_once().await;
        self.both_are_answered_alike("after three at once").await;
        let other = self.answer("other").await;
        assert_eq!(other.status, self.case.status, "another client");
    }

    /// Lets what was charged be over, and brings all clients to where the function is called.
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
        panic!("a client beyond its limit is admitted");
    }

    async fn panics(&self) {
        let calm = self.answer("calm").await;
        assert_eq!(calm.status, self.case.status);
        let before = self.trap.sprung();
        self.trap.set();
        let panicked = self.ask("one").await;
        self.says("whether the request panicked", &panicked.is_none(), &true);
        self.says("how often it panicked", &(self.trap.sprung() - before), &1);
        if !self.case.is_charged {
            let again = self.answer("one").await;
            self.says("what was not charged", &again, &calm);
        }
    }

    async fn is_harmless(&self) {
        let calm = self.answer("calm").await;
        assert_eq!(calm.status, self.case.status);
        let before = self.trap.sprung();
        self.trap.set();
        let one = self.answer("one").await;
        self.says("how often it panicked", &(self.trap.sprung() - before), &1);
        self.says("the request of the panic", &one, &calm);
    }

    async fn both_are_answered_alike(&self, when: &str) {
        let (calm, one) = (self.answer("calm").await, self.answer("one").await);
        self.says(when, &one, &calm);
    }

    /// Whichever it is, the others are answered.
    async fn one_of_three_at_once(&self) {
        self.trap.set();
        let answers = tokio::join!(self.ask("a"), self.ask("b"), self.ask("c"));
        let statuses = [answers.0, answers.1, answers.2].map(|one| one.map(|one| one.status));
        let panicked = statuses.iter().filter(|one| one.is_none()).count();
        self.says("how many panicked", &panicked, &usize::from(!self.case.is_callback));
        let others = statuses.iter().flatten().all(|status| *status == self.case.status);
        assert!(others, "of three at once {statuses:?}");
        for client in ["a", "b", "c"] {
            self.holds_nothing(client).await;
        }
    }

    /// Storages that answer later have places back after a moment.
    async fn holds_nothing(&self, client: &str) {
        let Some(places) = &self.places else { return };
        let mut in_use = places.in_use(client).await.unwrap_or(u64::MAX);
        for _ in 0..1000 {
            if in_use == 0 {
                return;
            }
            yield_now().await;
            in_use = places.in_use(client).await.unwrap_or(u64::MAX);
        }
        panic!("{client} holds {in_use} places");
    }

    async fn answer(&self, client: &str) -> Answer {
        match self.ask(client).await {
            Some(answer) => answer,
            None => panic!("a request of {client} panicked unasked"),
        }
    }

    async fn ask(&self, client: &str) -> Option<Answer> {
        let mut request = Request::new(Bytes::new());
        let client = HeaderValue::from_str(client).expect("these names can be sent");
        request.headers_mut().insert(table::CLIENT, client);
        let response = unwinding(self.app.call(request)).await.ok()?;
        Some(Answer::of(&response))
    }

    fn says<T: PartialEq + Debug>(&self, what: &str, is: &T, should_be: &T) {
        assert_eq!(is, should_be, "{what}");
    }
}
