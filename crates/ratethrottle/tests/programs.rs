//! The first programs of users, as they type them.
#![cfg(all(feature = "memory", feature = "axum"))]

use std::{
    error::Error,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    http::Method,
    routing::{get, post},
};
use ratethrottle::{
    Algorithm, Decision, Limiter, ManualClock, MemoryStorage, RateThrottleLayer, Rule, Storage,
    StorageError, Value, async_trait,
};

type Tested = Result<(), Box<dyn Error>>;

async fn data() -> &'static str {
    "data"
}

async fn login() -> &'static str {
    "welcome"
}

/// Returns a layer; it has no type parameters, so it can be kept in a field and returned from a function.
struct Service {
    layer: RateThrottleLayer,
}

fn layer() -> RateThrottleLayer {
    RateThrottleLayer::new(Rule::per_minute("api", 100)) // in memory, keyed by client address
}

#[tokio::test]
async fn axum_without_configuration() {
    let service = Service { layer: layer() };
    let _app: Router = Router::new().route("/", get(|| async { "hello" })).layer(service.layer);
}

#[tokio::test]
async fn several_limits_on_one_route() -> Tested {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::new("daily", 10_000, Duration::from_secs(86_400)))?; // name, limit, window

    #[rustfmt::skip]
    let _app: Router = Router::new()
        .route("/data", get(data).layer(RateThrottleLayer::new(limiter.clone()).rule("burst").rule("daily")))
        .route("/login", post(login).layer(RateThrottleLayer::new(limiter.clone()).limit("login", "5/minute")));
    Ok(())
}

#[tokio::test]
async fn a_limiter_without_a_framework() -> Tested {
    let limiter = Limiter::new(MemoryStorage::new()); // Limiter is a cheap clone, Send + Sync
    limiter.add_rule(Rule::new("api_limit", 1000, Duration::from_secs(60)))?;
    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::parse("daily", "10000/day")?.block(Duration::from_secs(60)).cost(2))?;
    let decision: Decision = limiter.check("192.168.1.100", "api_limit").await?;
    if decision.is_allowed() {
        println!("{} left", decision.remaining());
    } else {
        println!("retry in {:?}", decision.retry_after()); // Option<Duration>
    }
    assert_eq!((decision.limit(), decision.remaining(), decision.rule()), (1000, 999, "api_limit"));
    assert!(!decision.is_blocked() && !decision.is_degraded() && decision.delay().is_zero());
    assert!(decision.reset_after() > Duration::ZERO && decision.retry_after().is_none());

    limiter.check_all("192.168.1.100", &["burst", "daily"]).await?; // all or nothing
    limiter.check_cost("user:42", "api_limit", 10).await?;
    limiter.peek("user:42", "api_limit").await?; // charges nothing
    limiter.reset("user:42", "api_limit").await?;
    limiter.refund("user:42", "api_limit", 1).await?;
    limiter.until_ready("user:42", "api_limit").await?; // waits instead of rejecting, for outbound calls
    limiter.allow_list().add("10.0.0.0/8")?;
    limiter.deny_list().add_for("203.0.113.9", Duration::from_secs(3600))?;
    limiter.on_violation(|violation| tracing::warn!(?violation));
    let metrics = limiter.metrics();
    let status = limiter.status();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied, metrics.violations), (4, 4, 0, 0));
    assert_eq!((status.rules.len(), status.allow_list, status.deny_list), (3, 1, 1));
    assert_eq!(serde_json::to_value(&metrics)?["total"], 4);
    assert_eq!(serde_json::to_value(&status)?["storage"], "memory");
    assert!(!limiter.check("203.0.113.9", "api_limit").await?.is_allowed());
    assert_eq!(limiter.peek("user:42", "api_limit").await?.remaining(), 999);
    Ok(())
}

#[tokio::test]
async fn storage_operations() -> Tested {
    let storage = MemoryStorage::new();
    storage.set("key", "value".into(), Some(Duration::from_secs(60))).await?;
    let value: Option<Value> = storage.get("key").await?;
    assert_eq!(value.as_ref().and_then(Value::as_str), Some("value"));
    let n: i64 = storage.increment("counter", 1, Some(Duration::from_secs(60))).await?;
    let gone = storage.delete("key").await?;
    let there = storage.exists("key").await?;
    let cleared: u64 = storage.clear().await?;
    assert_eq!((n, gone, there, cleared), (1, true, false, 1));
    assert_eq!(Value::from(7).as_i64(), Some(7));
    assert_eq!(
        Value::from(String::from("text")).as_bytes(),
        Value::from(b"text".to_vec()).as_bytes()
    );
    Ok(())
}

/// A storage with a single value.
#[derive(Default)]
struct MyStorage(Mutex<Option<Value>>);

#[async_trait]
impl Storage for MyStorage {
    // only these six operations
    async fn get(&self, _: &str) -> Result<Option<Value>, StorageError> {
        Ok(self.0.lock().map_err(|_| StorageError::other("poisoned"))?.clone())
    }
    #[rustfmt::skip]
    async fn set(&self, _: &str, value: Value, _: Option<Duration>) -> Result<(), StorageError> {
        *self.0.lock().map_err(|_| StorageError::other("poisoned"))? = Some(value);
        Ok(())
    }
    #[rustfmt::skip]
    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, StorageError> {
        Err(StorageError::not_carried_out("no counters here"))
    }
    async fn delete(&self, _: &str) -> Result<bool, StorageError> {
        Ok(self.0.lock().map_err(|_| StorageError::other("poisoned"))?.take().is_some())
    }
    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.get(key).await?.is_some())
    }
    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(u64::from(self.delete("").await?))
    }
}

#[tokio::test]
async fn a_custom_storage_serves_every_algorithm() -> Tested {
    for algorithm in Algorithm::ALL {
        let limiter = Limiter::new(MyStorage::default()); // every algorithm works on it
        limiter.add_rule(Rule::per_day("api", 2).algorithm(algorithm))?;
        for n in 0..4 {
            assert_eq!(limiter.check("one", "api").await?.is_allowed(), n < 2, "{algorithm}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn options_of_the_layer() -> Tested {
    use ratethrottle::{ClientIp, Header, Headers, RequestHead};

    let _layer = RateThrottleLayer::new(Rule::per_minute("api", 100))
        .key((
            Header::new("x-api-key"),
            ClientIp::new().trusted_proxies(["10.0.0.0/8"]).ipv6_prefix(64),
        ))
        .key(|head: &RequestHead<'_>| head.header("x-tenant").map(str::to_owned))
        .cost(2)
        .cost(|head: &RequestHead<'_>| head.path().len() as u64)
        .methods([Method::POST])
        .exempt(|head| head.path() == "/health")
        .headers(Headers::all())
        .on_rejection(|rejection| format!("{}: {}", rejection.reason(), rejection.status()))
        .dry_run()
        .build()?;
    Ok(())
}

#[tokio::test]
async fn time_in_tests() -> Tested {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    limiter.add_rule(Rule::per_minute("api", 1).algorithm(Algorithm::FixedWindow))?;
    assert!(limiter.check("user:42", "api").await?.is_allowed());
    assert!(!limiter.check("user:42", "api").await?.is_allowed());
    clock.advance(Duration::from_secs(60));
    assert!(limiter.check("user:42", "api").await?.is_allowed());
    clock.set(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    assert!(limiter.check("user:42", "api").await?.is_allowed());
    clock.set(SystemTime::UNIX_EPOCH);
    assert!(!limiter.check("user:42", "api").await?.is_allowed());
    Ok(())
}

/// Users can name every type in a signature of the layer.
#[tokio::test]
async fn the_types_of_the_layer_can_be_named() -> Tested {
    fn layer_of(source: impl Into<ratethrottle::options::LimitSource>) -> RateThrottleLayer {
        RateThrottleLayer::from_options(source, ratethrottle::options::Options::new().rule("api"))
    }
    let _layer = layer_of(Rule::per_minute("api", 1)).build()?;
    let error: ratethrottle::ConfigError =
        layer_of(Rule::per_minute("other", 1)).build().unwrap_err();
    assert!(error.to_string().contains("\"other\""));
    Ok(())
}

/// `?` works on a limiter and on a layer, whichever of the two errors the function returns.
#[test]
fn the_errors_of_limiters_and_layers_convert_into_each_other() {
    use ratethrottle::{ClientIp, ConfigError, Error};

    fn add(rule: Rule, key: ClientIp) -> Result<RateThrottleLayer, Error> {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(rule)?;
        Ok(RateThrottleLayer::new(limiter).key(key).build()?)
    }
    fn build(rule: Rule, key: ClientIp) -> Result<RateThrottleLayer, ConfigError> {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(rule)?;
        RateThrottleLayer::new(limiter).key(key).build()
    }
    let rule = || Rule::per_minute("api", 100);
    assert!(add(rule(), ClientIp::new()).is_ok() && build(rule(), ClientIp::new()).is_ok());
    let (rule, key) = (rule().cost(0), ClientIp::new());
    assert!(matches!(add(rule.clone(), key.clone()), Err(Error::InvalidRule(_))));
    assert!(matches!(build(rule, key), Err(ConfigError::Rules(Error::InvalidRule(_)))));

    let (rule, key) = (Rule::per_minute("api", 100), ClientIp::new().trusted_proxies(["proxy"]));
    let error = build(rule.clone(), key.clone()).unwrap_err();
    assert!(error.to_string().contains("\"proxy\""), "{error}");
    assert_eq!(add(rule, key).unwrap_err().to_string(), error.to_string());
}

/// An error names the known rules.
#[test]
fn configuration_errors_are_returned_when_the_layer_is_built() {
    let limiter = Limiter::new(MemoryStorage::new());
    let none = RateThrottleLayer::new(&limiter).build().unwrap_err().to_string();
    assert!(none.contains("no rules"), "{none}");
    limiter.add_rule(Rule::per_minute("api", 100)).unwrap();
    let unknown = RateThrottleLayer::new(&limiter).rule("apt").build().unwrap_err().to_string();
    assert!(unknown.contains("\"apt\"") && unknown.contains("\"api\""), "{unknown}");
    let rate = RateThrottleLayer::new(&limiter).limit("x", "ten").build().unwrap_err().to_string();
    assert!(rate.contains("\"ten\"") && rate.contains("100/minute"), "{rate}");
    assert!(RateThrottleLayer::new(Rule::per_minute("api", 0)).build().is_err());
}

#[cfg(feature = "actix")]
#[actix_web::test]
async fn actix() -> Tested {
    use actix_web::{App, HttpServer, web};
    use ratethrottle::RateThrottle;

    async fn index() -> &'static str {
        "hello"
    }
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_minute("api", 100))?;

    let throttle = RateThrottle::new(limiter.clone()).rule("api"); // or RateThrottle::new(Rule::per_minute("api", 100))
    #[rustfmt::skip]
    let _server =
    HttpServer::new(move || App::new().wrap(throttle.clone()).route("/", web::get().to(index)))
    ;
    let _inside = HttpServer::new(|| {
        let throttle = RateThrottle::new(Rule::per_minute("api", 100));
        App::new().wrap(throttle).route("/", web::get().to(index))
    });
    Ok(())
}

/// The options have the same names as those of the layer.
#[cfg(feature = "actix")]
#[test]
fn options_of_the_throttle() -> Tested {
    use ratethrottle::{ClientIp, Header, Headers, RateThrottle, RequestHead, actix::http::Method};

    let _throttle = RateThrottle::new(Rule::per_minute("api", 100))
        .key((
            Header::new("x-api-key"),
            ClientIp::new().trusted_proxies(["10.0.0.0/8"]).ipv6_prefix(64),
        ))
        .key(|head: &RequestHead<'_>| head.header("x-tenant").map(str::to_owned))
        .cost(2)
        .cost(|head: &RequestHead<'_>| head.path().len() as u64)
        .methods([Method::POST])
        .exempt(|head| head.path() == "/health")
        .headers(Headers::all())
        .on_rejection(|rejection| {
            actix_web::HttpResponse::Ok().body(format!(
                "{}: {}",
                rejection.reason(),
                rejection.status()
            ))
        })
        .dry_run()
        .build()?;
    Ok(())
}

/// Programs with Redis, on real servers.
#[cfg(feature = "redis")]
mod with_redis {
    use std::net::SocketAddr;

    use axum::{body::Body, extract::ConnectInfo, http::Request};
    use ratethrottle::{RedisStorage, Tls};
    use throttle_testbed::{Cluster, Sentinels, Server};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn one_limiter_several_servers_several_limits_on_one_route() -> Tested {
        let redis = Server::start();
        let limiter = Limiter::new(RedisStorage::connect(&redis.url()).await?);
        #[rustfmt::skip]
        limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
        limiter.add_rule(Rule::new("daily", 10_000, Duration::from_secs(86_400)))?; // name, limit, window

        #[rustfmt::skip]
        let app: Router = Router::new()
            .route("/data", get(data).layer(RateThrottleLayer::new(limiter.clone()).rule("burst").rule("daily")))
            .route("/login", post(login).layer(RateThrottleLayer::new(limiter.clone()).limit("login", "5/minute")));

        for n in 1..=6 {
            let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 50_000)));
            let request = Request::post("/login").extension(peer).body(Body::empty())?;
            let response = app.clone().oneshot(request).await?;
            assert_eq!(response.status(), if n <= 5 { 200 } else { 429 });
        }
        assert_eq!(serde_json::to_value(limiter.status())?["storage"], "redis");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn selecting_the_storage_by_url() -> Tested {
        let nodes = Cluster::builder().without_replicas().start();
        let storage =
            ratethrottle::connect(&format!("redis+cluster://{}", nodes.addresses().join(",")))
                .await?;
        let limiter = Limiter::new(storage);
        limiter.add_rule(Rule::per_minute("api", 1))?;
        assert!(limiter.check("user:42", "api").await?.is_allowed());
        assert!(!limiter.check("user:42", "api").await?.is_allowed());

        let redis = Server::start();
        let sentinels = Sentinels::start();
        let hosts = sentinels.sentinel_addresses().join(",");
        for url in [
            format!("{}/0", redis.url()),
            format!("redis+sentinel://{hosts}/{}/0", sentinels.master_name()),
            "memory://".to_owned(),
        ] {
            let limiter = Limiter::new(ratethrottle::connect(&url).await?);
            limiter.add_rule(Rule::per_minute("api", 1))?;
            assert!(limiter.check("user:42", "api").await?.is_allowed(), "{url}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn redis_with_its_options() -> Tested {
        let redis = Server::start();
        let storage = RedisStorage::builder(&redis.url())
            .max_connections(50)
            .connect_timeout(Duration::from_secs(5))
            .response_timeout(Duration::from_secs(5))
            .key_prefix("myapp:")
            .connect()
            .await?;
        storage.set("key", "value".into(), None).await?;
        assert_eq!(redis.command(&["GET", "myapp:key"]).to_string(), "value");
        Ok(())
    }

    #[tokio::test]
    async fn redis_over_tls() -> Tested {
        let redis = Server::builder().tls().start();
        let files = redis.certificates();
        let tls = RedisStorage::builder(&redis.url())
            .tls(Tls::new().ca(files.ca()).client(files.client(), files.client_key()))
            .connect()
            .await?;
        tls.ping().await?;
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sentinel_and_cluster() -> Tested {
        let redis = Sentinels::start();
        let [s1, s2, s3] = &redis.sentinel_addresses()[..] else { panic!("there are three") };
        let sentinel = RedisStorage::sentinel([s1, s2, s3], "mymaster").connect().await?;
        sentinel.ping().await?;

        let redis = Cluster::builder().without_replicas().start();
        let [one, two, _] = &redis.urls()[..] else { panic!("there are three") };
        let cluster = RedisStorage::cluster([one, two]).connect().await?;
        cluster.ping().await?;
        Ok(())
    }
}
