//! Requests that are followed past the decision: their key or their turn is waited for, what they
//! were charged depends on their response, or their key is told in code.
//!
//! Only requests of a throttle with such an option come here, so that only they are boxed and keep
//! their key.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use throttle_core::{Decisions, Error, Key, Limiter, Listed, Reply};

use crate::{
    Marks, Protocol, Refusal, Throttle, Verdict,
    identity::{KeyError, LaterKey},
};

/// Shows the head of a response to the function that says whether its request counts.
#[derive(Copy, Clone, Debug)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl<'a> ResponseHead<'a> {
    /// Looks at a response.
    #[must_use]
    pub fn new(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self { status, headers }
    }

    /// Returns the status; it can be compared to a number.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the header fields, without those of this limit.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the first value of a header field, if it is there and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a str> {
        self.headers.get(name.as_ref())?.to_str().ok()
    }
}

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
    /// It is being asked whose it is, and then the limiter, with this cost.
    Key(LaterKey, Option<u64>),
}

/// Answers when the request may pass, or is refused; while a request waits for its turn, to drop it is
/// to give the turn back.
///
/// A storage that answers at once has it back then. One that answers later is asked once, and nobody
/// waits for its answer: the place may stay taken until it drains.
#[must_use = "it waits when it is awaited"]
pub struct Entry(Pin<Box<dyn Future<Output = Result<Passage, Refusal>> + Send>>);

/// Lets a request pass.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "adapters take it apart")]
pub struct Passage {
    /// What goes into the request's extensions.
    pub decisions: Option<Decisions>,
    /// What the response is marked with.
    pub exit: Box<Exit>,
}

/// Is waited for when the handler has answered; to drop it before is to leave the charge as it is.
#[derive(Debug)]
pub struct Exit {
    marks: Marks,
    charged: Option<Charged>,
}

/// Knows what was charged, and so what can be given back.
#[derive(Debug)]
struct Charged {
    throttle: Arc<Throttle>,
    key: Key<'static>,
    decisions: Decisions,
    protocol: Protocol,
}

/// Answers with the marks of a response.
pub type Leaving = Pin<Box<dyn Future<Output = Marks> + Send>>;

impl Throttle {
    /// Follows a request to its turn.
    #[expect(clippy::boxed_local, reason = "it comes boxed, so that an admission stays small")]
    pub fn follow(self: &Arc<Self>, followed: Box<Followed>) -> Entry {
        let throttle = Arc::clone(self);
        let Followed { asked, protocol } = *followed;
        let (key, reply) = match asked {
            Asked::Limiter(key, reply) => (key, reply),
            Asked::Key(later, cost) => {
                return Entry(Box::pin(throttle.find_key(later, cost, protocol)));
            }
        };
        match reply.into_ready() {
            // The place is taken, and whoever drops the entry gives it back, polled or not.
            Ok(answer) => Entry(Box::pin(turn(throttle.place(key, protocol, answer)))),
            Err(pending) => Entry(Box::pin(async move {
                let answer = pending.await;
                turn(throttle.place(key, protocol, answer)).await
            })),
        }
    }

    /// Waits for the key, and then for the decision.
    async fn find_key(
        self: Arc<Self>,
        later: LaterKey,
        cost: Option<u64>,
        protocol: Protocol,
    ) -> Result<Passage, Refusal> {
        let (key, reply) = match later.await {
            Ok(keyed) => match self.begin_keyed(&keyed, cost) {
                Some(reply) => (keyed.key, reply),
                None => {
                    return Ok(Passage {
                        decisions: None,
                        exit: Exit::new(Marks::default(), None),
                    });
                }
            },
            Err(KeyError::NoKey(no_key)) => {
                return Err(protocol.undecided(self.refuse_without_key(&no_key)));
            }
            // Nobody's: a request that is not decided needs no key.
            Err(KeyError::Failed(error)) => (Key::from(&b""[..]), Reply::ready(Err(error.into()))),
        };
        let answer = reply.await;
        turn(self.place(key, protocol, answer)).await
    }

    fn place(
        self: Arc<Self>,
        key: Key<'static>,
        protocol: Protocol,
        answer: Result<Decisions, Error>,
    ) -> Place {
        match self.judge_keyed(Some(&key), || protocol, answer) {
            Verdict::Refused(refusal) => Place::Refused(refusal),
            Verdict::Undecided(marks) => {
                Place::Free(Passage { decisions: None, exit: Exit::new(marks, None) })
            }
            Verdict::Passed(decisions) => {
                Place::Taken(Taken(Some(Charged { throttle: self, key, decisions, protocol })))
            }
        }
    }
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
    if let Some((limiter, delay, at_most)) = taken.wait() {
        if delay > at_most {
            let Some(charged) = taken.0.take() else { return Err(Throttle::misconfigured()) };
            charged.give_back().await;
            let refusal = charged.decisions.too_far(at_most);
            return Err(charged.throttle.refuse(Some(&charged.key), charged.protocol, refusal));
        }
        limiter.sleep(delay).await;
    }
    // Nobody else takes it.
    taken.0.take().map(Charged::pass).ok_or_else(Throttle::misconfigured)
}

impl Taken {
    /// Returns how long to wait, and how long at most; none where there is no need to.
    fn wait(&self) -> Option<(Limiter, Duration, Duration)> {
        let charged = self.0.as_ref()?;
        let options = charged.throttle.options();
        let at_most = options.shape.filter(|_| !options.dry_run)?;
        let delay = charged.decisions.delay();
        (!delay.is_zero()).then(|| (charged.throttle.limiter().clone(), delay, at_most))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(charged) = self.0.take() else { return };
        if charged.throttle.options().shape.is_some() {
            // There is no task to wait in; memory is done at the first poll.
            let _ = pin!(charged.give_back()).poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl Charged {
    fn pass(self) -> Passage {
        let marks = self.throttle.marks_for(Some(&self.key), &self.decisions);
        let decisions = Some(self.decisions.clone());
        let counts_always = self.throttle.options().charge_if.is_none();
        let charged = (!counts_always && self.is_charged()).then_some(self);
        Passage { decisions, exit: Exit::new(marks, charged) }
    }

    fn is_charged(&self) -> bool {
        let by_list = self.decisions.reported().listed() == Some(Listed::Allowed);
        self.decisions.is_allowed() && !by_list
    }

    /// Returns whether it worked.
    async fn give_back(&self) -> bool {
        let given = self.throttle.limiter().give_back(&self.key, self.decisions.all()).await;
        if let Err(error) = &given {
            tracing::warn!(%error, "a charge was not given back");
        }
        given.is_ok()
    }
}

impl Exit {
    /// Boxed, so that the futures of requests that are not followed have no place for it.
    fn new(marks: Marks, charged: Option<Charged>) -> Box<Self> {
        Box::new(Self { marks, charged })
    }

    /// Returns the marks of the response, at once if the request counts; else when its charge was given
    /// back, which is to be waited for before the response is sent, so that the next request of the
    /// client finds it there.
    ///
    /// # Errors
    ///
    /// What is to be waited for; it is no mistake.
    pub fn leave(self: Box<Self>, head: &ResponseHead<'_>) -> Result<Marks, Leaving> {
        let Self { marks, charged } = *self;
        match charged {
            Some(charged) if !charged.throttle.counts(head) => Err(Box::pin(async move {
                if charged.give_back().await {
                    let given_back = charged.decisions.given_back();
                    return charged.throttle.marks_for(Some(&charged.key), &given_back);
                }
                marks
            })),
            _ => Ok(marks),
        }
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
            Self::Key(..) => "Key",
        })
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}
