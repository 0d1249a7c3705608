//! Functions of the user's that panic: what comes after is answered as if nothing had been.

mod storages;
mod table;
mod trap;

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use throttle_core::{Concurrency, Limiter, ManualClock, Storage};
use throttle_http::Options;
use tokio::task::yield_now;

pub(super) use self::storages::Down;
pub use self::trap::Trap;
use self::{
    storages::Trapped,
    table::{Case, Setup, When},
};
use super::{Answer, START};

/// The field by which the clients of these cases are told apart.
const CLIENT: &str = "x-client";
/// How many requests are under way at most, where that is limited.
const PLACES: u64 = 8;
/// The window of the rule.
const MINUTE: Duration = Duration::from_secs(60);

/// Lets each function among the options panic, the handler, and a storage, in each setup: a rule alone, places,
/// turns, costs that are settled. Returns how many panics there were.
///
/// The adapter makes a service of the options and the limiter, around a handler that calls
/// [`Trap::spring`] and then answers as [`handler`](super::handler) does. Each request is to be called in
/// a task of its own, as servers do; where that panics there is no response.
///
/// # Panics
///
/// When a request is answered otherwise than that of a client for whom nothing panicked, when a place is
/// not given back, and when a panic reaches more than one request.
pub async fn run_panics<St: Storage, S>(
    storage: impl Fn() -> St,
    make: impl AsyncFn(Options, Limiter, Trap) -> S,
    call: impl AsyncFn(&S, Request<Bytes>) -> Option<Response<Bytes>>,
) -> usize {
    run(table::all(), storage, make, call).await
}

/// As [`run_panics`], where requests come over connections, so that nobody is asked for their peers.
///
/// # Panics
///
/// As it says.
pub async fn run_panics_over_connections<St: Storage, S>(
    storage: impl Fn() -> St,
    make: impl AsyncFn(Options, Limiter, Trap) -> S,
    call: impl AsyncFn(&S, Request<Bytes>) -> Option<Response<Bytes>>,
) -> usize {
    run(table::of_connections(), storage, make, call).await
}

async fn run<St: Storage, S>(
    cases: Vec<Case>,
    storage: impl Fn() -> St,
    make: impl AsyncFn(Options, Limiter, Trap) -> S,
    call: impl AsyncFn(&S, Request<Bytes>) -> Option<Response<Bytes>>,
) -> usize {
    let mut panics = 0;
    for setup in Setup::ALL {
        for case in cases.clone() {
            let clock = ManualClock::at(START.to_system_time());
            let (trap, at_handler) = (Trap::default(), Trap::default());
            let limiter = match case.when {
                When::StorageFails => Limiter::builder(Down),
                When::InStorage => Limiter::builder(Trapped::new(trap.clone())),
                _ => Limiter::builder(storage()),
            };
            let limiter = limiter.clock(clock.clone()).build();
            let options = (case.options)(setup.options(&limiter, case.names_rules), trap.clone());
            if case.is_callback {
                let trap = trap.clone();
                limiter.on_violation(move |_| trap.spring());
            }
            let places = setup.places(&limiter);
            let service = make(options, limiter, at_handler.clone()).await;
            let trap = if case.is_handler { at_handler } else { trap };
            let about = format!("{} ({setup:?})", case.title);
            let trial = Trial { case, about, clock, trap, places, service, call: &call };
            panics += trial.run().await;
        }
    }
    panics
}

/// Is one case in one setup.
struct Trial<'a, S, F> {
    case: Case,
    about: String,
    clock: ManualClock,
    trap: Trap,
    places: Option<Concurrency>,
    service: S,
    call: &'a F,
}

impl<S, F> Trial<'_, S, F>
where
    F: AsyncFn(&S, Request<Bytes>) -> Option<Response<Bytes>>,
{
    /// Does to one client what it does to another, but for the panics.
    async fn run(self) -> usize {
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
        assert_eq!(other.status, self.case.status, "{}: another client", self.about);
        self.trap.sprung()
    }

    /// Lets what was charged be over, and brings all clients to where the function is called.
    async fn begin(&self) {
        self.clock.advance(MINUTE);
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
        panic!("{}: a client beyond its limit is admitted", self.about);
    }

    async fn panics(&self) {
        let calm = self.answer("calm").await;
        assert_eq!(calm.status, self.case.status, "{}", self.about);
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
        assert_eq!(calm.status, self.case.status, "{}", self.about);
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
        assert!(others, "{}: of three at once {statuses:?}", self.about);
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
        panic!("{}: {client} holds {in_use} places", self.about);
    }

    async fn answer(&self, client: &str) -> Answer {
        match self.ask(client).await {
            Some(answer) => answer,
            None => panic!("{}: a request of {client} panicked unasked", self.about),
        }
    }

    async fn ask(&self, client: &str) -> Option<Answer> {
        let mut request = Request::new(Bytes::new());
        let client = HeaderValue::from_str(client).expect("these names can be sent");
        request.headers_mut().insert(CLIENT, client);
        let response = (self.call)(&self.service, request).await?;
        Some(Answer::of(&response))
    }

    fn says<T: PartialEq + Debug>(&self, what: &str, is: &T, should_be: &T) {
        assert_eq!(is, should_be, "{}: {what}", self.about);
    }
}
