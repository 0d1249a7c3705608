//! RateThrottle beside its peers, in the same run.
