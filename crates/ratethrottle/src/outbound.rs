//! Limits of outbound calls, which delay the calls of a client.
//!
//! Start with [`OutboundLimiter`](crate::OutboundLimiter). It is a layer around a client, or is called before
//! each call.
//!
//! ```
//! use ratethrottle::{OutboundLimiter, outbound::{OutboundError, OutboundPermit}};
//!
//! async fn permit(outbound: &OutboundLimiter) -> Result<OutboundPermit, OutboundError> {
//!     let permit = outbound.wait_for("api.example.com").await;
//!     if let Err(not_sent) = &permit {
//!         println!("retry in {:?}", not_sent.retry_after());
//!     }
//!     permit
//! }
//! ```

pub use throttle_tower::{
    BoxError, OutboundError, OutboundFuture, OutboundPermit, OutboundService,
};
