//! Selected rules need no allocation, and neither does the empty body of a rejected request.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{alloc::System, net::IpAddr, sync::Arc};

use http::Request;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_core::{Limiter, Rule};
use throttle_http::{Headers, IntoRules, Options, RequestHead, Throttle, drain_body};
use throttle_memory::MemoryStorage;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations<R: IntoRules>(pick: impl Fn() -> R + Send + Sync + 'static) -> usize {
    let limiter = Limiter::new(MemoryStorage::new());
    for name in ["a", "b", "c", "d"] {
        limiter.add_rule(Rule::per_day(name, 1_000_000)).unwrap();
    }
    let options = Options::new().headers(Headers::none()).select_rules(move |_, _| pick());
    let throttle = Arc::new(Throttle::new(limiter, options).unwrap());
    let request = Request::new(());
    let ask = || {
        let peer: IpAddr = [203, 0, 113, 7].into();
        let head = RequestHead::new(&request, Some(peer));
        _ = throttle.check(&head).into_ready().expect("memory is ready immediately").unwrap();
    };
    (0..10).for_each(|_| ask());
    allocations_of_a_hundred(ask)
}

fn allocations_of_a_hundred(work: impl Fn()) -> usize {
    // The thread that started this test sometimes allocates, too.
    let counted = (0..3).map(|_| {
        let region = Region::new(ALLOCATOR);
        (0..100).for_each(|_| work());
        region.change().allocations
    });
    counted.min().unwrap()
}

#[test]
fn a_selected_rule_allocates_only_for_its_name() {
    let plan: Arc<str> = "b".into();
    assert_eq!(allocations(|| "a"), 0);
    assert_eq!(allocations(move || Arc::clone(&plan)), 0);
    assert_eq!(allocations(|| String::from("c")), 100, "the names themselves");
}

#[test]
fn a_rejected_request_without_a_body_starts_no_task() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let drains = |body: &'static str| {
        allocations_of_a_hundred(move || drain_body(Request::new(Static(body)), 1))
    };
    assert_eq!(drains(""), 0);
    assert!(drains("a body") > 0, "a task");
}

/// A body that allocates nothing.
struct Static(&'static str);

impl http_body::Body for Static {
    type Data = &'static [u8];
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<&'static [u8]>, Self::Error>>> {
        std::task::Poll::Pending
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.len() as u64)
    }
}
