//! The way out: what is given back or settled, and what is held until the body has ended.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Charged, ResponseHead, actual::Settlement, background::ToItsEnd, in_flight::Places};
use crate::Marks;

/// Is waited for when the handler has answered. To drop it before is to give places back, to settle to
/// what is known of the cost, and else to leave the charge as it is.
#[derive(Debug)]
pub struct Exit {
    pub(super) marks: Marks,
    pub(super) bill: Bill,
    pub(super) places: Option<Arc<Places>>,
}

/// Says what may yet become of a charge.
#[derive(Debug)]
pub(super) enum Bill {
    /// It stays what it is.
    Paid,
    /// It may be given back.
    Charged(Charged),
    /// It may be given back, and is settled otherwise.
    Open(Settlement),
}

/// Marks a response, and holds something until its body has ended.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "adapters take it apart")]
pub struct Departure {
    /// What the response is marked with.
    pub marks: Marks,
    /// What is to be dropped when the body of the response has ended, failed, or is given up.
    pub hold: Option<Box<Hold>>,
}

/// Holds what a request is still charged or counted for while its response is sent.
#[derive(Debug)]
#[must_use = "places are given back, and the cost is settled, when this is dropped"]
pub struct Hold {
    settlement: Option<Settlement>,
    _places: Option<Arc<Places>>,
    counts_bytes: bool,
}

/// Answers when the response may be sent. What was begun is done also if this is dropped before, by a task
/// of the tokio runtime that serves the request where the storage answers later.
#[must_use = "the response waits for it"]
pub struct Leaving(ToItsEnd<Departure>);

impl Future for Leaving {
    type Output = Departure;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Departure> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaving")
    }
}

impl Exit {
    /// Returns how the response leaves, at once where nothing of its charge changes yet; else when that
    /// was given back or settled, which is to be waited for before the response is sent, so that the next
    /// request of the client finds it there.
    ///
    /// # Errors
    ///
    /// What is to be waited for; it is no mistake.
    pub fn leave(self: Box<Self>, head: &ResponseHead<'_>) -> Result<Departure, Leaving> {
        let Self { marks, bill, places } = *self;
        let settlement = match bill {
            Bill::Paid => None,
            Bill::Charged(charged) if charged.throttle.counts(head) => None,
            Bill::Charged(charged) => return Err(given_back(charged, marks, places)),
            Bill::Open(settlement) => match settlement.due(head) {
                Due::Later => Some(settlement),
                Due::Now(actual) => match settlement.into_charged() {
                    Some(charged) => return Err(settled(charged, actual, marks, places)),
                    None => None,
                },
                Due::Nothing => match settlement.into_charged() {
                    Some(charged) => return Err(given_back(charged, marks, places)),
                    None => None,
                },
            },
        };
        Ok(Departure { marks, hold: Hold::of(settlement, places) })
    }
}

/// Says what the head of a response tells of the cost.
enum Due {
    /// It is known when the body has ended.
    Later,
    /// It is this.
    Now(u64),
    /// The request does not count.
    Nothing,
}

impl Settlement {
    fn due(&self, head: &ResponseHead<'_>) -> Due {
        let Some(throttle) = self.throttle() else { return Due::Later };
        if !throttle.counts(head) {
            return Due::Nothing;
        }
        let by = throttle.options().actual.as_ref().and_then(|actual| actual.by.as_ref());
        by.and_then(|by| by(head)).map_or(Due::Later, Due::Now)
    }
}

fn given_back(charged: Charged, marks: Marks, places: Option<Arc<Places>>) -> Leaving {
    Leaving(ToItsEnd::new(async move {
        let marks = match charged.undo().await {
            Some(told) => charged.marks(&told),
            None => marks,
        };
        Departure { marks, hold: Hold::of(None, places) }
    }))
}

fn settled(charged: Charged, actual: u64, marks: Marks, places: Option<Arc<Places>>) -> Leaving {
    Leaving(ToItsEnd::new(async move {
        let marks = match charged.settle(actual).await {
            Some(told) => charged.marks(&told),
            None => marks,
        };
        Departure { marks, hold: Hold::of(None, places) }
    }))
}

impl Hold {
    fn of(settlement: Option<Settlement>, places: Option<Arc<Places>>) -> Option<Box<Self>> {
        if settlement.is_none() && places.is_none() {
            return None;
        }
        let counts_bytes = settlement.as_ref().is_some_and(Settlement::counts_bytes);
        let hold = Self { settlement, _places: places, counts_bytes };
        hold.sent(0); // that nothing was sent is known, too
        Some(Box::new(hold))
    }

    /// Notes that so many bytes of the body go out.
    pub fn sent(&self, bytes: usize) {
        if let (true, Some(settlement)) = (self.counts_bytes, &self.settlement) {
            settlement.cell().add(bytes as u64);
        }
    }
}
