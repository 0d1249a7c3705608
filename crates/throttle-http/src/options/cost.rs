//! The cost of a request.

use crate::head::RequestHead;

/// A source of the cost of requests: a number, [`ContentLength`](crate::ContentLength), or a function of the request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of costs",
    label = "expected a number, `ContentLength::in_kib()`, or a function",
    note = "a number is an integer such as `5`, or a `u64`",
    note = "for a function write `.cost_by(|head| …)`; it returns a `u64`"
)]
pub trait ExtractCost: Send + Sync + 'static {
    /// Returns the cost; 0 allows the request without a charge.
    fn cost(&self, head: &RequestHead<'_>) -> u64;

    /// Returns the cost, or the reason why it is unknown. The default implementation returns the cost that
    /// [`cost`](Self::cost) returns.
    ///
    /// # Errors
    ///
    /// Returns [`NoCost`] if the cost is unknown; the request is then rejected.
    fn try_cost(&self, head: &RequestHead<'_>) -> Result<u64, NoCost> {
        Ok(self.cost(head))
    }

    /// Returns the cost if all requests cost the same; called when no request is available.
    fn constant(&self) -> Option<u64> {
        None
    }

    /// Checks the configuration; called once, when the middleware is built.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidCost`] if the cost is invalid for every request.
    fn validate(&self) -> Result<(), InvalidCost> {
        Ok(())
    }
}

/// The reason why the cost of a request is unknown.
#[derive(Copy, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCost {
    /// A body of unknown length; answered with 411.
    #[error("the request has no header field \"content-length\"")]
    NoLength,
}

throttle_core::debug_as_text!(NoCost);

/// A cost that cannot be used.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is invalid: {fix}")]
pub struct InvalidCost {
    what: String,
    fix: String,
}

throttle_core::debug_as_text!(InvalidCost);

impl InvalidCost {
    /// Creates an error from the problem and its remedy.
    #[must_use]
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

macro_rules! number {
    ($($number:ty),+) => {$(
        /// A number below 1 is an error when the middleware is built, because it would disable the limit.
        impl ExtractCost for $number {
            fn cost(&self, _: &RequestHead<'_>) -> u64 {
                u64::try_from(*self).unwrap_or(0)
            }

            fn constant(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }

            fn validate(&self) -> Result<(), InvalidCost> {
                match *self {
                    ..=0 => Err(InvalidCost::new(
                        format!("a cost of {self}"),
                        "the lowest cost is 1; use `exempt` for requests that are not charged",
                    )),
                    _ => Ok(()),
                }
            }
        }
    )+};
}

// `i32` is the type of a literal without a suffix.
number!(u64, u32, i32);

#[diagnostic::do_not_recommend]
impl<F: Fn(&RequestHead<'_>) -> u64 + Send + Sync + 'static> ExtractCost for F {
    fn cost(&self, head: &RequestHead<'_>) -> u64 {
        self(head)
    }
}
