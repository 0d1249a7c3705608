//! The suite over real sockets, where the adapter serves them.

mod client;
mod peer;
mod raw;
mod rejections;
mod wired;

pub use self::peer::{PEER, peer};
pub(super) use self::wired::Wired;
