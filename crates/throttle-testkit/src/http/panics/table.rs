//! The functions that can panic, and the setups in which they are tested.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use throttle_core::{Algorithm, ConcurrencyLimit, Limiter, Rule, StorageError};
use throttle_http::{
    Options, RequestHead,
    identity::{AsyncKey, Header, KeyWithRules},
};

use crate::trap::Trap;

/// The field that is the key of the clients.
pub(super) const CLIENT: &str = "x-client";
/// The limit of requests in flight.
const PERMITS: u64 = 8;
/// The window of the rule.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// The limit of the rule.
pub(super) const LIMIT: u64 = 10;
/// The status of custom responses.
const OWN: u16 = 418;

/// The condition under which the function is called.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Denied,
    StorageFails,
    /// The function is a custom storage.
    InStorage,
}

/// A user function.
#[derive(Clone)]
pub(super) struct Case {
    pub title: &'static str,
    /// Adds the function with the trap to the options.
    pub options: fn(Options, Trap) -> Options,
    pub when: When,
    /// The status if nothing panics.
    pub status: u16,
    /// Whether a request that panics is charged.
    pub is_charged: bool,
    /// Whether the rule is named, not selected.
    pub names_rules: bool,
    pub is_handler: bool,
    pub is_callback: bool,
}

/// The other features of the layer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Setup {
    Rule,
    Permits,
    Queue,
    Costs,
    All,
}

impl Setup {
    pub(super) const ALL: [Self; 5] =
        [Self::Rule, Self::Permits, Self::Queue, Self::Costs, Self::All];

    /// Adds the rule to the limiter, and returns the options. The clock does not advance during a case, so that
    /// a lost slot of the queue stays lost.
    pub(super) fn options(self, limiter: &Limiter, names_rules: bool) -> Options {
        let rule = Rule::new("api", LIMIT, MINUTE);
        let rule = match self.has_queue() {
            true => rule.algorithm(Algorithm::LeakyBucket).burst(LIMIT),
            false => rule.algorithm(Algorithm::FixedWindow),
        };
        limiter.add_rule(rule).expect("the rule is valid");
        let mut options = Options::new().key(Header::new(CLIENT));
        if names_rules {
            options = options.rule("api");
        }
        if let Some(permits) = self.permits(limiter) {
            options = options.concurrency(permits);
        }
        if self.has_queue() {
            // No request may wait, so a queued request is rejected.
            options = options.shape_at_most(Duration::ZERO);
        }
        if matches!(self, Self::Costs | Self::All) {
            options = options.cost(2).charge_actual();
        }
        options
    }

    pub(super) fn permits(self, limiter: &Limiter) -> Option<ConcurrencyLimit> {
        let limited = matches!(self, Self::Permits | Self::All);
        limited.then(|| limiter.concurrency("permits", PERMITS).expect("the limit is valid"))
    }

    fn has_queue(self) -> bool {
        matches!(self, Self::Queue | Self::All)
    }
}

impl Case {
    fn new(title: &'static str, options: fn(Options, Trap) -> Options) -> Self {
        let (when, is_charged, names_rules) = (When::Always, false, true);
        let (is_handler, is_callback) = (false, false);
        Self { title, options, when, status: 200, is_charged, names_rules, is_handler, is_callback }
    }

    fn charged(mut self) -> Self {
        self.is_charged = true;
        self
    }

    fn when(mut self, when: When, status: u16) -> Self {
        (self.when, self.status) = (when, status);
        self
    }
}

pub(super) fn all() -> Vec<Case> {
    let [select_rules, mut handler, mut callback] = [
        Case::new("select_rules", select_rules),
        Case::new("the handler", |options, _| options),
        Case::new("on_violation", |options, _| options),
    ];
    let in_storage = Case::new("a custom storage", |options, _| options);
    handler.is_handler = true;
    callback.is_callback = true;
    vec![
        Case::new("a key function", key),
        Case::new("an async key function", look_up),
        Case::new("the future of an async key", future_of_key),
        Case::new("cost", cost),
        Case::new("exempt", exempt),
        Case::new("peer", peer),
        Case { names_rules: false, ..select_rules },
        Case::new("on_rejection", on_rejection).when(When::Denied, OWN),
        Case::new("on_rejection of a storage error", on_rejection).when(When::StorageFails, OWN),
        Case::new("charge_if", charge_if).charged(),
        Case::new("charge_actual_by", charge_actual_by).charged(),
        handler.charged(),
        callback.when(When::Denied, 429),
        in_storage.when(When::InStorage, 200),
    ]
}

fn client_of(head: &RequestHead<'_>) -> Option<String> {
    head.header(CLIENT).map(str::to_owned)
}

fn key(options: Options, trap: Trap) -> Options {
    options.key(move |head: &RequestHead<'_>| {
        trap.spring();
        client_of(head)
    })
}

fn look_up(options: Options, trap: Trap) -> Options {
    options.key(AsyncKey::new(move |head: &RequestHead<'_>| {
        trap.spring();
        let client = client_of(head);
        async move { Ok::<_, StorageError>(client) }
    }))
}

fn future_of_key(options: Options, trap: Trap) -> Options {
    options.key(AsyncKey::new(move |head: &RequestHead<'_>| {
        let (trap, client) = (trap.clone(), client_of(head));
        async move {
            tokio::task::yield_now().await;
            trap.spring();
            Ok::<_, StorageError>(client.and_then(|client| KeyWithRules::new(client, "api")))
        }
    }))
}

fn cost(options: Options, trap: Trap) -> Options {
    options.cost(move |_: &RequestHead<'_>| {
        trap.spring();
        2
    })
}

fn exempt(options: Options, trap: Trap) -> Options {
    options.exempt(move |_| {
        trap.spring();
        false
    })
}

/// Adds a peer function, which is called because the requests have no peer address.
fn peer(options: Options, trap: Trap) -> Options {
    options.peer(move |_| {
        trap.spring();
        None
    })
}

fn select_rules(options: Options, trap: Trap) -> Options {
    options.declare_rules(["api"]).select_rules(move |_, _| {
        trap.spring();
        "api"
    })
}

fn on_rejection(options: Options, trap: Trap) -> Options {
    options.on_rejection(move |_| {
        trap.spring();
        own()
    })
}

fn charge_if(options: Options, trap: Trap) -> Options {
    options.charge_if(move |_| {
        trap.spring();
        true
    })
}

fn charge_actual_by(options: Options, trap: Trap) -> Options {
    options.charge_actual_by(move |_| {
        trap.spring();
        None // keeps the estimate, as a panic does
    })
}

fn own() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"custom"));
    *response.status_mut() = OWN.try_into().expect("418 is a status");
    response
}
