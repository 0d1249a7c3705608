//! Limits of outgoing calls: calls wait for a limit in front of a client.
//!
//! Start with [`OutboundLimiter`](crate::OutboundLimiter), as a layer around a client or called for each call.
//!
//! ```
//! use ratethrottle::{OutboundLimiter, outbound::{OutboundError, OutboundPermit}};
//!
//! async fn permit(outbound: &OutboundLimiter) -> Result<OutboundPermit, OutboundError> {
//!     let permit = outbound.wait_for("api.example.com").await;
//!     if let Err(not_sent) = &permit {
//!         println!("try again in {:?}", not_sent.retry_after());
//!     }
//!     permit
//! }
//! ```

pub use throttle_tower::{
    BoxError, OutboundError, OutboundFuture, OutboundPermit, OutboundService,
};
