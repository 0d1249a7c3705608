//! The workers of a server share one limit, independent of where the throttle is created.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{collections::HashSet, thread, time::Duration};

use actix_web::{App, test::init_service, web};
use throttle_actix::RateThrottle;
use throttle_core::{Limiter, Rule};
use throttle_memory::MemoryStorage;

use common::{Runtime, Server, call, get};

const WORKERS: usize = 4;
const LIMIT: u64 = 40;
const RUNTIMES: [Runtime; 2] = [Runtime::System, Runtime::Tokio];

/// Returns the name of the worker.
async fn who() -> String {
    format!("{:?}", thread::current().id())
}

/// Sends three times the limit from eight threads. Returns how many requests were allowed, and by how many workers.
fn storm(server: &Server) -> (u64, usize) {
    let ask = || {
        let allowed = (0..3 * LIMIT / 8).map(|_| server.get("/")).filter(|one| one.status() == 200);
        allowed.map(|one| one.body().to_owned()).collect::<Vec<_>>()
    };
    let allowed: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (allowed.len() as u64, allowed.iter().collect::<HashSet<_>>().len())
}

#[track_caller]
fn assert_one_limit(server: &Server, what: &str) {
    let (allowed, workers) = storm(server);
    assert_eq!(allowed, LIMIT, "{what}");
    assert!(workers > 1, "{what}: a single worker answered everything, so nothing is tested");
}

#[test]
fn a_throttle_that_is_created_outside_of_the_factory_is_shared_by_all_workers() {
    for runtime in RUNTIMES {
        let throttle = RateThrottle::new(Rule::per_day("api", LIMIT));
        let factory = move || App::new().wrap(throttle.clone()).default_service(web::to(who));
        assert_one_limit(&Server::start(runtime, WORKERS, 1, factory), &format!("{runtime:?}"));
    }
}

#[test]
fn a_throttle_that_is_created_inside_from_a_limiter_is_shared_by_all_workers() {
    for runtime in RUNTIMES {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(Rule::per_day("api", LIMIT)).unwrap();
        let factory =
            move || App::new().wrap(RateThrottle::new(&limiter)).default_service(web::to(who));
        assert_one_limit(&Server::start(runtime, WORKERS, 1, factory), &format!("{runtime:?}"));
    }
}

#[test]
fn a_throttle_that_is_created_inside_from_a_rule_is_shared_by_all_workers() {
    for runtime in RUNTIMES {
        let factory = || {
            App::new()
                .wrap(RateThrottle::new(Rule::per_day("api", LIMIT)))
                .default_service(web::to(who))
        };
        assert_one_limit(&Server::start(runtime, WORKERS, 1, factory), &format!("{runtime:?}"));
    }
}

#[test]
fn several_throttles_from_one_call_site_are_each_shared_by_all_workers() {
    for runtime in RUNTIMES {
        let factory = || {
            let mut app = App::new();
            for path in ["/a", "/b"] {
                let throttle = RateThrottle::new(Rule::per_day("api", 10));
                app = app.service(web::resource(path).wrap(throttle).to(who));
            }
            app
        };
        let server = Server::start(runtime, WORKERS, 1, factory);
        let allowed = |path| (0..30).filter(|_| server.get(path).status() == 200).count();
        assert_eq!((allowed("/a"), allowed("/b")), (10, 10), "{runtime:?}");
    }
}

#[test]
fn the_listeners_of_a_server_share_one_limit() {
    for runtime in RUNTIMES {
        let factory = || {
            App::new()
                .wrap(RateThrottle::new(Rule::per_day("api", 10)))
                .default_service(web::to(who))
        };
        let server = Server::start(runtime, 2, 2, factory);
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let allowed = (0..30).filter(|n| server.ask(n % 2, request).status() == 200).count();
        assert_eq!(allowed, 10, "{runtime:?}");
    }
}

#[test]
fn different_rules_have_separate_limits() {
    fn of(limit: u64) -> RateThrottle {
        RateThrottle::new(Rule::per_day("api", limit))
    }
    let factory = || {
        App::new()
            .service(web::resource("/a").wrap(of(3)).to(who))
            .service(web::resource("/b").wrap(of(5)).to(who))
    };
    let server = Server::start(Runtime::System, 2, 1, factory);
    let allowed = |path| (0..20).filter(|_| server.get(path).status() == 200).count();
    assert_eq!((allowed("/a"), allowed("/b")), (3, 5));
}

#[test]
fn a_server_that_is_restarted_starts_with_new_counts() {
    let start = || {
        Server::start(Runtime::Tokio, 2, 1, || {
            App::new()
                .wrap(RateThrottle::new(Rule::per_day("api", 1)))
                .default_service(web::to(who))
        })
    };
    let ask_twice = |server: Server| (server.get("/").status(), server.get("/").status());
    assert_eq!(ask_twice(start()), (200, 429));
    // The threads of the first server may take a while to end, because a server does not wait for them.
    let restarts = (0..50).any(|_| {
        thread::park_timeout(Duration::from_millis(20));
        ask_twice(start()) == (200, 429)
    });
    assert!(restarts);
}

#[test]
fn servers_in_separate_systems_have_separate_limits() {
    let start = || {
        Server::start(Runtime::System, 2, 1, || {
            App::new()
                .wrap(RateThrottle::new(Rule::per_day("api", 1)))
                .default_service(web::to(who))
        })
    };
    let servers = [start(), start()];
    for server in &servers {
        assert_eq!((server.get("/").status(), server.get("/").status()), (200, 429));
    }
}

#[actix_web::test]
async fn apps_of_tests_share_nothing_even_if_one_function_creates_them() {
    fn throttle() -> RateThrottle {
        RateThrottle::new(Rule::per_day("api", 1))
    }
    let make = || App::new().wrap(throttle()).default_service(web::to(who));
    let (one, other) = (init_service(make()).await, init_service(make()).await);
    for app in [&one, &other] {
        assert_eq!(call(app, get()).await.status(), 200);
        assert_eq!(call(app, get()).await.status(), 429);
    }
}

#[test]
fn an_invalid_rule_is_an_error_in_every_worker() {
    let server = Server::start(Runtime::System, 2, 1, || {
        let throttle = RateThrottle::new(Rule::per_day("api", 0));
        assert!(throttle.clone().build().is_err());
        App::new().wrap(throttle).default_service(web::to(who))
    });
    let statuses: Vec<_> = (0..4).map(|_| server.get("/").status()).collect();
    assert_eq!(statuses, [500; 4]);
}
