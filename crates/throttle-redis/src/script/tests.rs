//! Tests of the script on a real server.

mod access;
mod corrupt;
mod exact;
mod jumps;
mod keys;
mod log;
mod model;
mod random;
mod replies;
mod server;
mod twin;
mod vectors;
