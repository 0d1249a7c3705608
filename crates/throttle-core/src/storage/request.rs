//! The request to a storage.

use std::{fmt, sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::charge::{Charge, OwnedCharge};
use crate::time::Clock;

/// The charges of one request, and the limiter's clock.
#[derive(Copy, Clone)]
pub struct ChargeRequest<'a> {
    charges: &'a [Charge<'a>],
    clock: Option<&'a Arc<dyn Clock>>,
}

/// An owned [`ChargeRequest`], which outlives the keys and charges of the borrowed one.
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
    /// The additional lifetime of keys that are written by the clock of a limiter instead of the storage's.
    pub const TTL_MARGIN: Duration = Duration::from_secs(60);

    /// Creates a request from charges; no two of them may have the same key and rule.
    ///
    /// `clock` is the limiter's own clock; without one, the storage uses its own.
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
    /// A storage reads this clock, or its own, only after it has locked the states: a time that was read earlier could
    /// be older than a state. With this clock, it stores states for [`ChargeRequest::TTL_MARGIN`] longer than their
    /// lifetime, because the storage expires them in real time, which may run ahead of this clock.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> Option<&'a Arc<dyn Clock>> {
        self.clock
    }

    /// Clones the borrowed charges and the clock into an owned request.
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
