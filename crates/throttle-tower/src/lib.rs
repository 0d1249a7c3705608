//! RateThrottle as a Tower layer, for Axum, hyper and every other http service.
