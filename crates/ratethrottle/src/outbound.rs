//! Limits of outgoing calls: calls wait for a limit in front of a client.
//!
//! Start with [`Outgoing`](crate::Outgoing), as a layer around a client or called for each call.
//!
//! ```
//! use ratethrottle::{Outgoing, outbound::{NotSent, OutgoingPermit}};
//!
//! async fn permit(outgoing: &Outgoing) -> Result<OutgoingPermit, NotSent> {
//!     let permit = outgoing.wait_for("api.example.com").await;
//!     if let Err(not_sent) = &permit {
//!         println!("try again in {:?}", not_sent.retry_after());
//!     }
//!     permit
//! }
//! ```

pub use throttle_tower::{BoxError, NotSent, OutgoingFuture, OutgoingPermit, OutgoingService};
