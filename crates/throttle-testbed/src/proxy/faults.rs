//! The faults of a proxy, as data.

use std::{iter, time::Duration};

use crate::random::Random;

/// The faults that a [`Proxy`](crate::Proxy) injects; by default none.
///
/// They also apply to open connections, except for `connect`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The treatment of new connections.
    pub connect: Connect,
    /// Resets all open connections, once, when the faults are set.
    pub reset: bool,
    /// The additional latency in each direction, which does not limit the throughput.
    pub latency: Duration,
    /// The maximum of a random latency in each direction, in addition to `latency`.
    pub jitter: Duration,
    /// Holds requests back while it is set.
    pub hold_requests: bool,
    /// Holds answers back while it is set. The server has carried out their requests.
    pub hold_answers: bool,
    /// Forwards this many bytes of the next answer, and then closes the connection.
    pub cut_answers_at: Option<usize>,
    /// The bandwidth of each connection in each direction; 0 counts as 1.
    pub bytes_per_second: Option<u32>,
    /// The delay before the close of one side is forwarded to the other.
    pub close_delay: Duration,
}

/// The treatment of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connect {
    /// They are forwarded to the server.
    #[default]
    Accept,
    /// They are refused.
    Refuse,
    /// They are accepted and never get an answer, even after the faults have changed.
    BlackHole,
}

impl Faults {
    /// Returns random faults with their durations of 20 to 200 ms, which are the same for the same seed.
    ///
    /// Between two faults there is a period without faults, in which a client can recover.
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
