//! The workers of a server share one limit, wherever the throttle is made.
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

/// Says which worker answers.
async fn who() -> String {
    format!("{:?}", thread::current().id())
}

/// Sends three times the limit from eight threads; returns how many passed, and through how many
/// workers.
fn storm(server: &Server) -> (u64, usize) {
    let ask = || {
        let passed = (0..3 * LIMIT / 8).map(|_| server.get("/")).filter(|one| one.status() == 200);
        passed.map(|one| one.body().to_owned()).collect::<Vec<_>>()
    };
    let passed: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (passed.len() as u64, passed.iter().collect::<HashSet<_>>().len())
}

#[track_caller]
fn assert_one_limit(server: &Server, what: &str) {
    let (passed, workers) = storm(server);
    assert_eq!(passed, LIMIT, "{what}");
    assert!(workers > 1, "{what}: one worker answered everything, so that nothing was shown");
}

#[test]
fn a_throttle_made_outside_the_factory_is_one_for_all_workers() {
    for runtime in RUNTIMES {
        let throttle = RateThrottle::new(Rule::per_day("api", LIMIT));
        let factory = move || App::new().wrap(throttle.clone()).default_service(web::to(who));
        assert_one_limit(&Server::start(runtime, WORKERS, 1, factory), &format!("{runtime:?}"));
    }
}

#[test]
fn a_throttle_made_inside_of_a_limiter_is_one_for_all_workers() {
    for runtime in RUNTIMES {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(Rule::per_day("api", LIMIT)).unwrap();
        let factory =
            move || App::new().wrap(RateThrottle::new(&limiter)).default_service(web::to(who));
        assert_one_limit(&Server::start(runtime, WORKERS, 1, factory), &format!("{runtime:?}"));
    }
}

#[test]
fn a_throttle_made_inside_of_a_rule_is_one_for_all_workers() {
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
fn of_one_place_that_makes_several_each_is_one_for_all_workers() {
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
        let passed = |path| (0..30).filter(|_| server.get(path).status() == 200).count();
        assert_eq!((passed("/a"), passed("/b")), (10, 10), "{runtime:?}");
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
        let passed = (0..30).filter(|n| server.ask(n % 2, request).status() == 200).count();
        assert_eq!(passed, 10, "{runtime:?}");
    }
}

#[test]
fn rules_that_differ_have_limits_of_their_own() {
    fn of(limit: u64) -> RateThrottle {
        RateThrottle::new(Rule::per_day("api", limit))
    }
    let factory = || {
        App::new()
            .service(web::resource("/a").wrap(of(3)).to(who))
            .service(web::resource("/b").wrap(of(5)).to(who))
    };
    let server = Server::start(Runtime::System, 2, 1, factory);
    let passed = |path| (0..20).filter(|_| server.get(path).status() == 200).count();
    assert_eq!((passed("/a"), passed("/b")), (3, 5));
}

#[test]
fn a_server_that_is_started_again_begins_anew() {
    let start = || {
        Server::start(Runtime::Tokio, 2, 1, || {
            App::new()
                .wrap(RateThrottle::new(Rule::per_day("api", 1)))
                .default_service(web::to(who))
        })
    };
    let ask_twice = |server: Server| (server.get("/").status(), server.get("/").status());
    assert_eq!(ask_twice(start()), (200, 429));
    // The threads of the first may take a while to end: a server does not wait for them.
    let begins_anew = (0..50).any(|_| {
        thread::park_timeout(Duration::from_millis(20));
        ask_twice(start()) == (200, 429)
    });
    assert!(begins_anew);
}

#[test]
fn servers_in_systems_of_their_own_have_limits_of_their_own() {
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
async fn apps_of_tests_are_apart_though_one_function_makes_them() {
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
fn a_rule_that_cannot_be_taken_is_an_error_in_every_worker() {
    let server = Server::start(Runtime::System, 2, 1, || {
        let throttle = RateThrottle::new(Rule::per_day("api", 0));
        assert!(throttle.clone().build().is_err());
        App::new().wrap(throttle).default_service(web::to(who))
    });
    let statuses: Vec<_> = (0..4).map(|_| server.get("/").status()).collect();
    assert_eq!(statuses, [500; 4]);
}
