//! Tests that span crates: real servers and clients, and the code of the guide.

#[cfg(test)]
mod browser;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod closed_connections;
#[cfg(test)]
mod contributing;
#[cfg(test)]
mod conventions;
#[cfg(test)]
mod inline_code;
#[cfg(test)]
mod load;
#[cfg(test)]
mod one_process;
#[cfg(test)]
mod over_redis;
#[cfg(test)]
mod quickstart;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod rejected_bodies;
#[cfg(test)]
mod reverse_proxy;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod stored_rejections;
#[cfg(test)]
mod words;

/// The code of the guide, which is compiled and run as doctests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../docs/axum.md")]
    mod axum {}
    #[doc = include_str!("../docs/actix.md")]
    mod actix {}
    #[doc = include_str!("../docs/grpc.md")]
    mod grpc {}
    #[doc = include_str!("../docs/outbound.md")]
    mod outbound {}
    #[doc = include_str!("../docs/recipes.md")]
    mod recipes {}
    #[doc = include_str!("../docs/counting-by-outcome.md")]
    mod counting_by_outcome {}
    #[doc = include_str!("../docs/concurrency.md")]
    mod concurrency {}
    #[doc = include_str!("../docs/shaping.md")]
    mod shaping {}
    #[doc = include_str!("../docs/algorithms.md")]
    mod algorithms {}
    #[doc = include_str!("../docs/storage.md")]
    mod storage {}
    #[doc = include_str!("../docs/redis.md")]
    mod redis {}
    #[doc = include_str!("../docs/keys-and-proxies.md")]
    mod keys_and_proxies {}
    #[doc = include_str!("../docs/headers.md")]
    mod headers {}
    #[doc = include_str!("../docs/failure-modes.md")]
    mod failure_modes {}
    #[doc = include_str!("../docs/sizing.md")]
    mod sizing {}
    #[doc = include_str!("../docs/performance.md")]
    mod performance {}
    #[doc = include_str!("../docs/migrating.md")]
    mod migrating {}
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}
}
