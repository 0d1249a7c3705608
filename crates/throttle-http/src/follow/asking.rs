//! A storage that is asked for a turn and answers later.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use throttle_core::{Decision, Decisions, Error, Reply};

use super::{Place, Request, background, goes_back};

/// Answers with the turn of a request. If it is dropped before, and what the request was charged [goes
/// back then](super::goes_back), it is given back when it is known.
pub(super) struct Asking {
    of: Option<Asked>,
    begun: bool,
}

struct Asked {
    request: Request,
    reply: Reply<Decisions, Error>,
    /// What places said, to be told beside what rules say.
    told: Vec<Decision>,
}

impl Asking {
    pub(super) fn new(
        request: Request,
        reply: Reply<Decisions, Error>,
        told: Vec<Decision>,
    ) -> Self {
        Self { of: Some(Asked { request, reply, told }), begun: false }
    }
}

impl Asked {
    fn conclude(self, answer: Result<Decisions, Error>) -> Place {
        let Self { request, told, .. } = self;
        // A rule that refuses gives the places back, so that nothing is told of them.
        let beside =
            |rules: Decisions| match rules.is_allowed() || request.throttle.options().dry_run {
                true => Decisions::of(rules.all().iter().cloned().chain(told)).unwrap_or(rules),
                false => rules,
            };
        let answer = answer.map(beside);
        request.place(answer)
    }
}

impl Future for Asking {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place> {
        self.begun = true;
        // While it is polled it is not here: what has panicked must not be asked again when this is dropped.
        let Some(mut asked) = self.of.take() else { return Poll::Pending }; // polled after the end
        match Pin::new(&mut asked.reply).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(asked.conclude(answer)),
            Poll::Pending => {
                self.of = Some(asked);
                Poll::Pending
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(mut asked) = self.of.take() else { return };
        if self.begun && goes_back(&asked.request.throttle) {
            background::finish(async move {
                let answer = (&mut asked.reply).await;
                drop(asked.conclude(answer));
            });
        }
    }
}
