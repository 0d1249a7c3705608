//! The script on a real server.

mod model;
mod random;
mod server;
mod twin;
