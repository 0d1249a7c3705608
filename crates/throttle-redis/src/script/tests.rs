//! The script on a real server.

mod keys;
mod log;
mod model;
mod random;
mod server;
mod twin;
mod vectors;
mod wide;
