//! Selection of the storage by URL.

use std::sync::Arc;

use throttle_core::Storage;

/// The reason why there is no storage for a URL.
///
/// No text contains a password, or a part of a URL that could not be parsed, because it could be a part of a password.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The feature of the storage is not enabled.
    #[error(
        "{scheme}:// needs the feature `{feature}` of ratethrottle: add it in Cargo.toml, \
         ratethrottle = {{ version = \"…\", features = [\"{feature}\"] }}"
    )]
    FeatureOff {
        /// The scheme of the URL.
        scheme: String,
        /// The feature of the storage.
        feature: &'static str,
    },
    /// The scheme of the URL is unknown.
    #[error(
        "the URL of the storage has an unknown scheme: use memory://, redis://, rediss://, redis+unix://, \
         redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://"
    )]
    UnknownScheme,
    /// A parameter of a `memory://` URL is invalid.
    #[error("the only parameter of memory:// is ?max_entries=, a whole number of at least 1")]
    InvalidMemoryAddress,
    /// The Redis server could not be reached, or its URL is invalid.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    Redis(#[from] throttle_redis::Error),
}

throttle_core::debug_as_text!(ConnectError);

/// Connects to the storage at a URL.
///
/// | URL | storage |
/// | --- | --- |
/// | `memory://`, `memory://?max_entries=100000` | the memory of this process (feature `memory`) |
/// | `redis://user:password@host:6379/0` | a Redis server (feature `redis`) |
/// | `redis+unix:///run/redis/redis.sock` | a Redis server on a Unix socket |
/// | `redis+sentinel://host:26379,host:26379/mymaster/0` | the master that Redis Sentinel reports |
/// | `redis+cluster://host:7000,host:7001` | a Redis Cluster |
/// | `rediss://`, `rediss+sentinel://`, `rediss+cluster://` | the same over TLS |
///
/// URLs of Redis accept options as parameters, such as `?max_connections=2&prefix=app:`.
///
/// # Errors
///
/// Returns a [`ConnectError`] if the URL is invalid, if the feature of its scheme is not enabled (the text
/// names the feature), or if the server cannot be reached.
///
/// # Examples
///
/// ```
/// use ratethrottle::{Limiter, Rule};
///
/// # #[cfg(feature = "memory")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = ratethrottle::connect("memory://").await?;
/// let limiter = Limiter::new(storage);
/// limiter.add_rule(Rule::per_minute("api", 100))?;
/// # Ok(()) }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn Storage>, ConnectError> {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let scheme = scheme.to_ascii_lowercase();
    match &scheme[..] {
        "memory" => memory(rest),
        "redis" | "rediss" | "valkey" | "valkeys" | "redis+sentinel" | "rediss+sentinel"
        | "valkey+sentinel" | "valkeys+sentinel" | "redis+cluster" | "rediss+cluster"
        | "valkey+cluster" | "valkeys+cluster" | "unix" | "redis+unix" | "valkey+unix" => {
            redis(url, scheme).await
        }
        _ => Err(ConnectError::UnknownScheme),
    }
}

#[cfg(feature = "memory")]
fn memory(rest: &str) -> Result<Arc<dyn Storage>, ConnectError> {
    let builder = throttle_memory::MemoryStorage::builder();
    let builder = match rest.trim_start_matches('/') {
        "" => builder,
        parameters => {
            let number = parameters.strip_prefix("?max_entries=").and_then(|n| n.parse().ok());
            match number {
                Some(entries) if entries > 0 => builder.max_entries(entries),
                _ => return Err(ConnectError::InvalidMemoryAddress),
            }
        }
    };
    Ok(Arc::new(builder.build()))
}

#[cfg(not(feature = "memory"))]
fn memory(_: &str) -> Result<Arc<dyn Storage>, ConnectError> {
    Err(ConnectError::FeatureOff { scheme: "memory".to_owned(), feature: "memory" })
}

#[cfg(feature = "redis")]
async fn redis(url: &str, _: String) -> Result<Arc<dyn Storage>, ConnectError> {
    Ok(Arc::new(throttle_redis::RedisStorage::connect(url).await?))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &str, scheme: String) -> Result<Arc<dyn Storage>, ConnectError> {
    Err(ConnectError::FeatureOff { scheme, feature: "redis" })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn error_of(url: &str) -> String {
        connect(url).await.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_an_error_that_lists_the_known_ones() {
        for url in ["http://h", "", "postgres", "redis+mirror://h", "rediss+unix:///s"] {
            assert!(error_of(url).await.contains("rediss+cluster"), "{url}");
        }
    }

    #[cfg(feature = "memory")]
    #[tokio::test]
    async fn memory_accepts_its_bound_and_no_other_parameter() {
        connect("memory://").await.unwrap();
        connect("memory://?max_entries=5").await.unwrap();
        for url in ["memory://host", "memory://?max_entries=0", "memory://?size=1"] {
            assert!(error_of(url).await.contains("max_entries"), "{url}");
        }
    }

    #[cfg(not(feature = "memory"))]
    #[tokio::test]
    async fn without_the_feature_memory_is_an_error_that_names_it() {
        assert!(error_of("memory://").await.contains("`memory`"));
    }

    #[cfg(not(feature = "redis"))]
    #[tokio::test]
    async fn without_the_feature_redis_is_an_error_that_names_it() {
        for url in ["redis://h", "rediss+cluster://h", "redis+sentinel://:hunter2@h/m"] {
            let text = error_of(url).await;
            assert!(text.contains("`redis`") && !text.contains("hunter2"), "{text}");
        }
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn a_redis_url_is_parsed_by_its_storage() {
        assert!(error_of("redis://:hunter2@h:0").await.contains("port"));
        assert!(!error_of("redis://:hunter2@h:0").await.contains("hunter2"));
    }
}
