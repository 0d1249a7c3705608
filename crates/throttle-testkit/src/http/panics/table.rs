//! The functions that can panic, and what stands beside them.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use throttle_core::{Algorithm, ConcurrencyLimit, Limiter, Rule, StorageError};
use throttle_http::{
    Options, RequestHead,
    identity::{AsyncKey, Header, KeyWithRules},
};

use crate::trap::Trap;

/// The field by which the clients of these cases are told apart.
pub(super) const CLIENT: &str = "x-client";
/// How many requests are under way at most, where that is limited.
const PLACES: u64 = 8;
/// The window of the rule.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// How many requests of a client are admitted.
pub(super) const LIMIT: u64 = 10;
/// The status of answers that are the service's own.
const OWN: u16 = 418;

/// Says when the function is called.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Denied,
    StorageFails,
    /// It is the storage, a user's own, that the trap is set into.
    InStorage,
}

/// One function of the user's.
#[derive(Clone)]
pub(super) struct Case {
    pub title: &'static str,
    /// Sets the trap into the function.
    pub options: fn(Options, Trap) -> Options,
    pub when: When,
    /// The status where nothing panics.
    pub status: u16,
    /// Whether a request is charged that panics.
    pub is_charged: bool,
    /// Whether the rule is named, and not picked.
    pub names_rules: bool,
    pub is_handler: bool,
    pub is_callback: bool,
}

/// What a throttle does beside.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Setup {
    Rule,
    Places,
    Turns,
    Costs,
    All,
}

impl Setup {
    pub(super) const ALL: [Self; 5] =
        [Self::Rule, Self::Places, Self::Turns, Self::Costs, Self::All];

    /// Adds the rule to the limiter. The clock stands in between, so that a turn that is lost stays so.
    pub(super) fn options(self, limiter: &Limiter, names_rules: bool) -> Options {
        let rule = Rule::new("api", LIMIT, MINUTE);
        let rule = match self.has_turns() {
            true => rule.algorithm(Algorithm::LeakyBucket).burst(LIMIT),
            false => rule.algorithm(Algorithm::FixedWindow),
        };
        limiter.add_rule(rule).expect("the rule can be kept");
        let mut options = Options::new().key(Header::new(CLIENT));
        if names_rules {
            options = options.rule("api");
        }
        if let Some(places) = self.places(limiter) {
            options = options.concurrency(places);
        }
        if self.has_turns() {
            // Nobody waits for more than no time: whose turn is ahead is denied.
            options = options.shape_at_most(Duration::ZERO);
        }
        if matches!(self, Self::Costs | Self::All) {
            options = options.cost(2).charge_actual();
        }
        options
    }

    pub(super) fn places(self, limiter: &Limiter) -> Option<ConcurrencyLimit> {
        let limited = matches!(self, Self::Places | Self::All);
        limited.then(|| limiter.concurrency("places", PLACES).expect("the limit can be kept"))
    }

    fn has_turns(self) -> bool {
        matches!(self, Self::Turns | Self::All)
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
        Case::new("a callback of violations", |options, _| options),
    ];
    let in_storage = Case::new("a storage of one's own", |options, _| options);
    handler.is_handler = true;
    callback.is_callback = true;
    vec![
        Case::new("a function of keys", key),
        Case::new("a function that looks keys up", look_up),
        Case::new("the future of a key", future_of_key),
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

/// Is asked since none of the requests comes over a connection.
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
        None // the estimate stands, as it does after a panic
    })
}

fn own() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"the service's own"));
    *response.status_mut() = OWN.try_into().expect("it is a status");
    response
}
