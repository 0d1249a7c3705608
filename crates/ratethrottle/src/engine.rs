//! Arithmetic and clocks, for storages that decide whole requests and for simulations.
//!
//! [`acquire`] checks all rules of a request against their states, and charges either all of them or none.
//! [`AtomicStorage`](crate::storage::AtomicStorage) describes when a storage calls it.
//!
//! ```
//! use std::sync::Arc;
//! use ratethrottle::{
//!     Key, Rule,
//!     engine::{Micros, State, acquire},
//!     storage::Charge,
//! };
//!
//! let (key, rule) = (Key::from("user:42"), Arc::new(Rule::per_minute("api", 1).check()?));
//! let charges = [Charge::new(&key, &rule, 1)];
//! let now = Micros::new(1_767_225_600_000_000);
//!
//! let mut state = State::default();
//! assert!(acquire(&charges, now, &mut state).is_allowed());
//! assert!(!acquire(&charges, now, &mut state).is_allowed());
//! # Ok::<(), ratethrottle::limiter::InvalidRule>(())
//! ```

pub use throttle_core::{
    CheckedRule, Clock, CorruptState, Micros, Outcome, Receipt, Sleep, State, StateStore,
    SystemClock, Verdict, acquire, acquire_one, peek, refund,
};
