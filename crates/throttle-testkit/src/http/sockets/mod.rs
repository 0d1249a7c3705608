//! The suite over real sockets.

mod broken;
mod client;
mod peer;
mod raw;
mod rejections;
mod wired;

pub(super) use self::wired::Wired;
pub use self::{
    broken::break_connections,
    peer::{PEER, peer},
};
