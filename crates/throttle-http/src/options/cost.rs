//! What a request costs.

use crate::head::RequestHead;

/// Says what a request costs: a number, or a function of the request.
pub trait ExtractCost: Send + Sync + 'static {
    /// Returns the cost; 0 lets the request pass uncharged.
    fn cost(&self, head: &RequestHead<'_>) -> u64;

    /// Returns the cost, or says why it is not known, and the request is refused; by default it is.
    ///
    /// # Errors
    ///
    /// [`NoCost`] says what the request lacks.
    fn try_cost(&self, head: &RequestHead<'_>) -> Result<u64, NoCost> {
        Ok(self.cost(head))
    }

    /// Returns the cost if it is that of every request; asked where there is no request to look at.
    fn constant(&self) -> Option<u64> {
        None
    }

    /// Says whether what was configured can be used; asked once, when the middleware is built.
    ///
    /// # Errors
    ///
    /// [`InvalidCost`] says what cannot be.
    fn validate(&self) -> Result<(), InvalidCost> {
        Ok(())
    }
}

/// Says why the cost of a request is not known.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCost {
    /// It does not say how long its body is; answered with 411.
    #[error("the request lacks the header field \"content-length\"")]
    NoLength,
}

/// Says that a cost cannot be computed as it was configured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} charges nothing right: {fix}")]
pub struct InvalidCost {
    what: String,
    fix: String,
}

impl InvalidCost {
    /// Says what cannot be, and what to write instead.
    #[must_use]
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

macro_rules! number {
    ($($number:ty),+) => {$(
        /// A number below 1 is an error when the middleware is built: it would lift the limit.
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
                        "the least cost is 1; say by `exempt` which requests pass uncharged",
                    )),
                    _ => Ok(()),
                }
            }
        }
    )+};
}

// `i32` is what literals are where nothing else is asked for.
number!(u64, u32, i32);

impl<F: Fn(&RequestHead<'_>) -> u64 + Send + Sync + 'static> ExtractCost for F {
    fn cost(&self, head: &RequestHead<'_>) -> u64 {
        self(head)
    }
}
