//! A rate limiter for Rust services: five algorithms, Tower and Axum middleware, storages of your choice.
