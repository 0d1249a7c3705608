//! Rules that are picked for each request cost no allocation.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{alloc::System, net::IpAddr, sync::Arc};

use http::Request;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_core::{Limiter, Rule};
use throttle_http::{Headers, IntoRules, Options, RequestHead, Throttle};
use throttle_memory::MemoryStorage;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations<R: IntoRules>(pick: impl Fn() -> R + Send + Sync + 'static) -> usize {
    let limiter = Limiter::new(MemoryStorage::new());
    for name in ["a", "b", "c", "d"] {
        limiter.add_rule(Rule::per_day(name, 1_000_000)).unwrap();
    }
    let options = Options::new().headers(Headers::none()).rules_by(move |_, _| pick());
    let throttle = Arc::new(Throttle::new(limiter, options).unwrap());
    let request = Request::new(());
    let ask = || {
        let peer: IpAddr = [203, 0, 113, 7].into();
        let head = RequestHead::new(&request, Some(peer));
        _ = throttle.check(&head).into_ready().expect("memory answers at once").unwrap();
    };
    (0..10).for_each(|_| ask());
    // The thread that began this test allocates too, now and then.
    let counted = (0..3).map(|_| {
        let region = Region::new(ALLOCATOR);
        (0..100).for_each(|_| ask());
        region.change().allocations
    });
    counted.min().unwrap()
}

#[test]
fn a_rule_that_is_picked_allocates_nothing_unless_its_name_does() {
    let plan: Arc<str> = "b".into();
    assert_eq!(allocations(|| "a"), 0);
    assert_eq!(allocations(move || Arc::clone(&plan)), 0);
    assert_eq!(allocations(|| String::from("c")), 100, "the name's own");
}
