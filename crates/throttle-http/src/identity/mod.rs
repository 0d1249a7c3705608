//! Client identity: the key of a request.
//!
//! The address of the connection cannot be forged, but header fields can. [`client_address`] therefore reads a
//! field from right to left, and trusts only entries written by [`TrustedProxies`].
//!
//! - [`ExtractKey`]: the trait of all keys; implemented by [`ClientIp`], [`Header`], [`Cookie`],
//!   [`RequestPath`], [`RequestMethod`], [`RequestHost`], [`RoutePattern`], [`Global`], [`AsyncKey`], functions
//!   and tuples
//! - [`OnMissing`]: the handling of requests without a key
//! - [`TrustedProxies`], [`ForwardedHeader`]: the proxies whose field is read
//! - [`client_address`]: the client address behind these proxies

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
