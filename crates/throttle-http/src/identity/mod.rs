//! Finds out whose request this is.
//!
//! The address of the connection cannot be forged; what the header fields say can.
//! [`client_address`] believes a field only as far as a chain of [`TrustedProxies`] vouches for it,
//! from the right to the left.
//!
//! - `address`: one address, in the ways proxies write it
//! - `proxies`: whom to believe
//! - `x_forwarded_for`, `forwarded`: the hops of a request, the nearest first
//! - `client`: the walk over them
//! - [`ClientIp`], [`Header`], [`Cookie`], [`RequestPath`], [`RequestMethod`], [`RequestHost`],
//!   [`RoutePattern`], [`Global`], functions, [`AsyncKey`] and tuples: [`ExtractKey`], what becomes the key

mod address;
mod async_key;
mod client;
mod client_ip;
mod cookie;
mod extract;
mod forwarded;
mod header;
mod into_key;
mod invalid;
mod keyed;
mod missing;
mod proxies;
mod target;
mod x_forwarded_for;

pub use address::{canonical, parse_node};
pub use async_key::AsyncKey;

pub use client::{ForwardedHeader, client_address};
pub use client_ip::ClientIp;
pub use cookie::Cookie;
pub use extract::ExtractKey;
pub use header::Header;
pub use into_key::{IntoKey, NoKey};
pub use invalid::InvalidKey;
pub use keyed::{IntoKeyWithRules, KeyError, KeyFuture, KeyWithRules};
pub use missing::OnMissing;
pub use proxies::{InvalidProxy, TrustedProxies};
pub use target::{Global, RequestHost, RequestMethod, RequestPath, RoutePattern};
