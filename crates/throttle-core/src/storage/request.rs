//! What a storage is asked for.

use std::{fmt, sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::charge::{Charge, OwnedCharge};
use crate::time::Clock;

/// The charges of one request: what is charged to which keys by which rules, and by which clock.
#[derive(Copy, Clone)]
pub struct ChargeRequest<'a> {
    charges: &'a [Charge<'a>],
    clock: Option<&'a Arc<dyn Clock>>,
}

/// A [`ChargeRequest`] that outlives what it was made of.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_core as storage; }
/// use ratethrottle::{
///     Key, Rule,
///     storage::{Charge, ChargeRequest},
/// };
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let rule = std::sync::Arc::new(Rule::per_minute("api", 100).check()?);
/// let owned = ChargeRequest::new(&[Charge::new(&Key::from("user:42"), &rule, 1)], None).to_owned();
/// let task = std::thread::spawn(move || owned.with(|request| request.charges()[0].cost()));
/// assert_eq!(task.join().ok(), Some(1));
/// # Ok(()) }
/// # example().unwrap();
/// ```
#[derive(Clone)]
pub struct OwnedChargeRequest {
    charges: SmallVec<[OwnedCharge; 1]>,
    clock: Option<Arc<dyn Clock>>,
}

impl<'a> ChargeRequest<'a> {
    /// How much longer keys are kept that were written by a clock of the limiter's own.
    pub const TTL_MARGIN: Duration = Duration::from_secs(60);

    /// Creates a request of charges; no two of them may be for the same key and rule.
    ///
    /// `clock` is the limiter's own; without one the storage goes by its own.
    #[inline]
    #[must_use]
    pub fn new(charges: &'a [Charge<'a>], clock: Option<&'a Arc<dyn Clock>>) -> Self {
        Self { charges, clock }
    }

    /// Returns the charges, in the order in which their verdicts are expected.
    #[inline]
    #[must_use]
    pub fn charges(&self) -> &'a [Charge<'a>] {
        self.charges
    }

    /// Returns the limiter's own clock, if it has one.
    ///
    /// A storage reads it, or its own, when it holds the states: a time that was read before could be
    /// older than what they hold. What is stored by such a clock is kept [`ChargeRequest::TTL_MARGIN`]
    /// longer than it matters, so that real time cannot overtake the injected one.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> Option<&'a Arc<dyn Clock>> {
        self.clock
    }

    /// Clones what the request borrows.
    #[must_use]
    pub fn to_owned(&self) -> OwnedChargeRequest {
        let charges = self.charges.iter().copied().map(Charge::to_owned).collect();
        OwnedChargeRequest { charges, clock: self.clock.cloned() }
    }
}

impl OwnedChargeRequest {
    /// Calls `work` with the request.
    pub fn with<T>(&self, work: impl FnOnce(&ChargeRequest<'_>) -> T) -> T {
        let charges: SmallVec<[_; 2]> = self.charges.iter().map(OwnedCharge::borrow).collect();
        work(&ChargeRequest::new(&charges, self.clock.as_ref()))
    }
}

impl fmt::Debug for ChargeRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChargeRequest").field("charges", &self.charges).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedChargeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|request| fmt::Debug::fmt(request, f))
    }
}
