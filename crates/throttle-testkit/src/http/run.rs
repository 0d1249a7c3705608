//! How scenarios are run, and what is reported of them.

use std::{
    any::Any,
    cell::RefCell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::timeout;

/// How long a scenario may take.
const LONGEST: Duration = Duration::from_secs(120);

/// How much was checked, so that a suite that ran nothing cannot look green.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How many scenarios passed.
    pub scenarios: usize,
    /// How many answers of the table were compared.
    pub answers: usize,
    /// What could not be checked, since the adapter does not offer it.
    pub unchecked: Vec<&'static str>,
}

/// A scenario, boxed: together they would overflow the stack.
pub(super) type Scenario<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A run of the suite.
pub(super) struct Run<'a> {
    /// Runs only scenarios with this in their name.
    part: &'a str,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    report: Report,
    failures: Vec<String>,
}

impl<'a> Run<'a> {
    pub(super) fn new(part: &'a str) -> Self {
        Self { part, found: RefCell::default() }
    }

    /// Runs a scenario, and collects why it fails.
    pub(super) async fn scenario(&self, name: String, scenario: Scenario<'_>) {
        if !name.contains(self.part) {
            return;
        }
        let ended = timeout(LONGEST, unwinding(scenario)).await;
        let mut found = self.found.borrow_mut();
        match ended {
            Ok(Ok(())) => found.report.scenarios += 1,
            Ok(Err(panic)) => found.failures.push(format!("{name}: {}", text(&*panic))),
            Err(_) => found.failures.push(format!("{name}: it did not end within {LONGEST:?}")),
        }
    }

    /// Counts an answer that was compared.
    pub(super) fn answered(&self) {
        self.found.borrow_mut().report.answers += 1;
    }

    /// Notes once what the adapter does not offer.
    pub(super) fn unchecked(&self, what: &'static str) {
        let mut found = self.found.borrow_mut();
        if !found.report.unchecked.contains(&what) {
            found.report.unchecked.push(what);
        }
    }

    /// Returns whether nothing has failed yet.
    pub(super) fn is_clean(&self) -> bool {
        self.found.borrow().failures.is_empty()
    }

    /// Returns the report, or panics with all that failed and what is to be said of the rest.
    pub(super) fn finish(self, of_the_rest: &str) -> Report {
        let Found { report, failures } = self.found.into_inner();
        let all = report.scenarios + failures.len();
        assert!(
            failures.is_empty(),
            "{} of {all} fail:\n\n{}\n\n{of_the_rest}",
            failures.len(),
            failures.join("\n\n")
        );
        report
    }
}

/// Runs methods of a fixture, each of which is a scenario of its name.
macro_rules! scenarios {
    ($on:expr, $group:literal; $($name:ident),* $(,)?) => {
        $($on.scenario($group, stringify!($name), Box::pin($on.$name())).await;)*
    };
}
pub(super) use scenarios;

/// Awaits a future, and returns the panic where it panics.
pub(super) async fn unwinding<T>(
    future: impl Future<Output = T>,
) -> Result<T, Box<dyn Any + Send>> {
    let mut future = Some(Box::pin(future));
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| poll(&mut future, cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Polls a future, which is dropped while a panic unwinds, as runtimes drop it.
fn poll<F: Future>(future: &mut Option<Pin<Box<F>>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    struct Unwound<'a, F>(&'a mut Option<F>);

    impl<F> Drop for Unwound<'_, F> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                *self.0 = None;
            }
        }
    }

    let unwound = Unwound(future);
    match &mut *unwound.0 {
        Some(future) => future.as_mut().poll(cx),
        None => Poll::Pending,
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
