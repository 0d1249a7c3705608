//! Requests that are followed past the decision: their key or their turn is waited for, they hold a place
//! until their response has ended, what they were charged depends on that, or their key is told in code.
//!
//! Only requests of a throttle with such an option come here, so that only they are boxed and keep
//! their key.

mod actual;
mod asking;
pub(crate) mod background;
mod enter;
mod exit;
mod in_flight;
mod response;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use throttle_core::{Algorithm, Decision, Decisions, Error, Key, Limiter, Listed, Reply};

pub use self::{
    actual::ActualCost,
    exit::{Departure, Exit, Hold, Leaving},
    in_flight::{InFlight, KeptPlaces},
    response::ResponseHead,
};
use self::{actual::Settlement, asking::ask, enter::enter, exit::Bill};
use crate::{
    Marks, PickedRules, Protocol, Refusal, Seen, Throttle, Verdict,
    identity::{KeyError, LaterKey},
};

/// Is what [`Throttle::admit`] found out about a request that is to be followed.
#[derive(Debug)]
pub struct Followed {
    pub(crate) asked: Asked,
    pub(crate) protocol: Protocol,
}

/// Says how far a request has come.
pub(crate) enum Asked {
    /// The limiter was asked about it.
    Limiter(Key<'static>, Reply<Decisions, Error>),
    /// Places are taken before the limiter is asked.
    Places { key: Key<'static>, cost: Option<u64>, picked: Option<PickedRules> },
    /// It is being asked whose it is, and then the limiter, with this cost; what was seen of it, if it is
    /// looked at.
    Key(LaterKey, Option<u64>, Option<Seen<'static>>),
}

/// Answers when the request may pass, or is refused; while a request waits for its turn, to drop it is
/// to give the turn back.
///
/// A storage that answers at once has it back then. One that answers later has it back when it has
/// answered, in a task of the tokio runtime that serves the request; without a runtime it is asked once.
#[must_use = "it waits when it is awaited"]
pub struct Entry(Pin<Box<dyn Future<Output = Result<Passage, Refusal>> + Send>>);

/// Lets a request pass.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "adapters take it apart")]
pub struct Passage {
    /// What goes into the request's extensions.
    pub decisions: Option<Decisions>,
    /// What goes there too, [beside](InFlight::beside) what is there.
    pub in_flight: Option<InFlight>,
    /// As before.
    pub actual_cost: Option<ActualCost>,
    /// What the response is marked with.
    pub exit: Box<Exit>,
}

/// Knows what was charged, and so what can be given back.
#[derive(Debug)]
struct Charged {
    throttle: Arc<Throttle>,
    key: Key<'static>,
    decisions: Decisions,
}

impl Throttle {
    /// Follows a request to its turn.
    pub fn follow(self: &Arc<Self>, followed: Box<Followed>) -> Entry {
        let throttle = Arc::clone(self);
        let Followed { asked, protocol } = *followed;
        let (key, reply) = match asked {
            Asked::Limiter(key, reply) => (key, reply),
            Asked::Places { key, cost, picked } => {
                let request = Request { throttle, key, protocol };
                return Entry(Box::pin(enter(request, cost, picked)));
            }
            Asked::Key(later, cost, seen) => {
                return Entry(Box::pin(throttle.find_key(later, cost, seen, protocol)));
            }
        };
        let request = Request { throttle, key, protocol };
        match reply.into_ready() {
            // The place is taken, and whoever drops the entry gives it back, polled or not.
            Ok(answer) => Entry(Box::pin(turn(request.place(answer)))),
            Err(pending) => {
                Entry(Box::pin(async { turn(ask(request, pending, Vec::new()).await).await }))
            }
        }
    }

    /// Waits for the key, and then for the decision.
    async fn find_key(
        self: Arc<Self>,
        later: LaterKey,
        cost: Option<u64>,
        seen: Option<Seen<'static>>,
        protocol: Protocol,
    ) -> Result<Passage, Refusal> {
        let throttle = self;
        let keyed = match later.await {
            Ok(keyed) => keyed,
            Err(KeyError::NoKey(no_key)) => {
                let marks = throttle.judge_without_key(protocol, &no_key)?;
                return Ok(Passage::new(marks, None, Bill::Paid));
            }
            Err(KeyError::Failed(error)) => {
                // Nobody's: a request that is not decided needs no key.
                let request = Request { throttle, key: Key::from(&b""[..]), protocol };
                return turn(request.place(Err(error.into()))).await;
            }
        };
        if let Some(seen) = seen {
            throttle.look(seen, &keyed.key);
        }
        let picked = keyed.rules;
        let request = Request { throttle, key: keyed.key, protocol };
        if !request.throttle.options().concurrency.is_empty() {
            return enter(request, cost, picked).await;
        }
        match request.throttle.begin_rules(&request.key, picked.as_ref(), cost) {
            Some(reply) => turn(ask(request, reply, Vec::new()).await).await,
            None => Ok(Passage::new(Marks::default(), None, Bill::Paid)),
        }
    }
}

/// Is a request whose key is known.
struct Request {
    throttle: Arc<Throttle>,
    key: Key<'static>,
    protocol: Protocol,
}

impl Request {
    fn place(self, answer: Result<Decisions, Error>) -> Place {
        let Self { throttle, key, protocol } = self;
        match throttle.judge_keyed(Some(&key), || protocol, answer) {
            Verdict::Refused(refusal) => Place::Refused(refusal),
            Verdict::Undecided(marks) => Place::Free(Passage::new(marks, None, Bill::Paid)),
            Verdict::Passed(decisions) => {
                Place::Taken(Taken(Some(Charged { throttle, key, decisions })))
            }
        }
    }
}

/// Returns whether a request whose client leaves before the handler is called has its charge given back: its turn
/// goes to others, or the handler would have said what it costs.
fn goes_back(throttle: &Throttle) -> bool {
    throttle.options().shape.is_some() || throttle.options().actual.is_some()
}

/// Returns whether requests wait for their turn.
fn waits(throttle: &Throttle) -> bool {
    throttle.options().shape.is_some() && !throttle.options().dry_run
}

enum Place {
    Refused(Refusal),
    Free(Passage),
    Taken(Taken),
}

/// Gives its place back when it is dropped before its turn has come.
struct Taken(Option<Charged>);

async fn turn(place: Place) -> Result<Passage, Refusal> {
    let mut taken = match place {
        Place::Refused(refusal) => return Err(refusal),
        Place::Free(passage) => return Ok(passage),
        Place::Taken(taken) => taken,
    };
    if let Some((limiter, delay)) = taken.wait() {
        limiter.sleep(delay).await;
    }
    // Nobody else takes it.
    taken.0.take().map(Charged::pass).ok_or_else(Throttle::misconfigured)
}

impl Taken {
    /// Returns how long to wait; none where there is no need to.
    fn wait(&self) -> Option<(Limiter, Duration)> {
        let charged = self.0.as_ref().filter(|charged| waits(&charged.throttle))?;
        let delay = charged.decisions.delay();
        (!delay.is_zero()).then(|| (charged.throttle.limiter().clone(), delay))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(charged) = self.0.take() else { return };
        if goes_back(&charged.throttle) {
            background::finish(async move { _ = charged.give_back().await });
        }
    }
}

impl Charged {
    fn pass(self) -> Passage {
        let marks = self.throttle.marks_for(Some(&self.key), &self.decisions);
        let decisions = Some(self.decisions.clone());
        let options = self.throttle.options();
        let (settles, may_not_count) = (options.actual.is_some(), options.charge_if.is_some());
        let bill = match self.is_charged() {
            true if settles => Bill::Open(Settlement::new(self)),
            true if may_not_count => Bill::Charged(self),
            _ => Bill::Paid,
        };
        Passage::new(marks, decisions, bill)
    }

    fn marks(&self, decisions: &Decisions) -> Marks {
        self.throttle.marks_for(Some(&self.key), decisions)
    }

    fn is_charged(&self) -> bool {
        let by_list = self.decisions.reported().listed() == Some(Listed::Allowed);
        self.decisions.is_allowed() && !by_list
    }

    /// Gives all back, and returns whether it worked.
    async fn give_back(&self) -> bool {
        self.give_back_by(self.decisions.all()).await
    }

    /// Returns whether a rule charged what a handler that was called has used up: its turn.
    fn is_used_up(&self, decision: &Decision) -> bool {
        waits(&self.throttle) && decision.checked_rule().algorithm() == Algorithm::LeakyBucket
    }

    /// Gives back what the handler has not used up, and returns what to tell, if it worked.
    async fn undo(&self) -> Option<Decisions> {
        let all = self.decisions.all().iter();
        let given: Vec<_> = all.filter(|one| !self.is_used_up(one)).cloned().collect();
        let goes_back = |one: &Decision| !self.is_used_up(one);
        self.give_back_by(&given).await.then(|| self.decisions.given_back(goes_back))
    }

    async fn give_back_by(&self, decisions: &[Decision]) -> bool {
        let given = self.throttle.limiter().give_back(&self.key, decisions).await;
        if let Err(error) = &given {
            tracing::warn!(%error, "a charge was not given back");
        }
        given.is_ok()
    }

    /// Settles what the handler has not used up, and returns what to tell, if it worked.
    async fn settle(&self, actual: u64) -> Option<Decisions> {
        let changes = |one: &Decision| one.cost() < actual || !self.is_used_up(one);
        let changed: Vec<_> =
            self.decisions.all().iter().filter(|one| changes(one)).cloned().collect();
        let settled = self.throttle.limiter().settle(&self.key, &changed, actual).await;
        if let Err(error) = &settled {
            tracing::warn!(%error, "a charge was not settled");
        }
        settled.is_ok().then(|| self.decisions.settled(actual, changes))
    }
}

impl Passage {
    fn new(marks: Marks, decisions: Option<Decisions>, bill: Bill) -> Self {
        let actual_cost = match &bill {
            Bill::Open(settlement) => Some(ActualCost::of(settlement.cell())),
            _ => None,
        };
        let exit = Box::new(Exit { marks, bill, places: None });
        Self { decisions, in_flight: None, actual_cost, exit }
    }
}

impl Future for Entry {
    type Output = Result<Passage, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limiter(..) => "Limiter",
            Self::Places { .. } => "Places",
            Self::Key(..) => "Key",
        })
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}
