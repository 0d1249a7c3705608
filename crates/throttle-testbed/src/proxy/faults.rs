//! What goes wrong, as data.

use std::{iter, time::Duration};

use crate::random::Random;

/// Says what a [`Proxy`](crate::Proxy) breaks from now on; by default nothing.
///
/// Connections that are open follow it as well, save for `connect`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What happens to new connections.
    pub connect: Connect,
    /// Resets the connections that are open, once, when this is set.
    pub reset: bool,
    /// What each way takes longer; throughput is not affected.
    pub latency: Duration,
    /// What each way takes longer at random, from nothing to this, on top of `latency`.
    pub jitter: Duration,
    /// Keeps requests from the server until this is over.
    pub hold_requests: bool,
    /// Keeps answers from the client until this is over: the server has done what it was asked.
    pub hold_answers: bool,
    /// Passes on so many bytes of the next answer, then closes the connection.
    pub cut_answers_at: Option<usize>,
    /// Passes on no more than this, each way, for each connection; 0 counts as 1.
    pub bytes_per_second: Option<u32>,
    /// How long a side that has closed seems open to the other.
    pub close_delay: Duration,
}

/// What happens to new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connect {
    /// They reach the server.
    #[default]
    Accept,
    /// Nobody listens.
    Refuse,
    /// They are accepted, and nothing is ever answered on them, not even when this is over.
    BlackHole,
}

impl Faults {
    /// Returns faults and how long each lasts, 20 to 200 ms; the same ones for the same seed.
    ///
    /// Every second one is none at all, so that a client has something to recover to.
    pub fn random(seed: u64) -> impl Iterator<Item = (Duration, Self)> {
        let mut random = Random::seeded(seed);
        let mut broken = false;
        iter::from_fn(move || {
            broken = !broken;
            let time = Duration::from_millis(20 + random.below(180));
            Some((time, if broken { Self::draw(&mut random) } else { Self::default() }))
        })
    }

    fn draw(random: &mut Random) -> Self {
        let nothing = Self::default();
        let mut milliseconds = |bound| Duration::from_millis(random.below(bound));
        let (latency, jitter) = (milliseconds(50), milliseconds(50));
        match random.below(9) {
            0 => Self { connect: Connect::Refuse, ..nothing },
            1 => Self { connect: Connect::Refuse, reset: true, ..nothing },
            2 => Self { connect: Connect::BlackHole, reset: true, ..nothing },
            3 => Self { reset: true, ..nothing },
            4 => Self { latency, jitter, ..nothing },
            5 => Self { hold_requests: true, ..nothing },
            6 => Self { hold_answers: true, ..nothing },
            7 => Self { cut_answers_at: Some(1), ..nothing },
            _ => Self { bytes_per_second: Some(1_000), close_delay: latency, ..nothing },
        }
    }
}
