//! The runner of scenarios, and its report.

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

/// The time limit of a scenario.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The result of a run: the number of checks, so that a run that checked nothing does not look like a success.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The number of scenarios that passed.
    pub scenarios: usize,
    /// The number of responses of the table that were compared.
    pub answers: usize,
    /// The features that were not checked, because the adapter does not offer them.
    pub unchecked: Vec<&'static str>,
}

/// A scenario. It is boxed, because all scenarios together would overflow the stack.
pub(super) type Scenario<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A run of the suite.
pub(super) struct Run<'a> {
    /// Only scenarios whose name contains this text are run.
    part: &'a str,
    results: RefCell<Results>,
}

#[derive(Default)]
struct Results {
    report: Report,
    failures: Vec<String>,
}

impl<'a> Run<'a> {
    pub(super) fn new(part: &'a str) -> Self {
        Self { part, results: RefCell::default() }
    }

    /// Runs a scenario, and records the reason if it fails.
    pub(super) async fn scenario(&self, name: String, scenario: Scenario<'_>) {
        if !name.contains(self.part) {
            return;
        }
        let outcome = timeout(TIME_LIMIT, unwinding(scenario)).await;
        let mut results = self.results.borrow_mut();
        match outcome {
            Ok(Ok(())) => results.report.scenarios += 1,
            Ok(Err(panic)) => results.failures.push(format!("{name}: {}", text(&*panic))),
            Err(_) => results.failures.push(format!("{name}: not finished after {TIME_LIMIT:?}")),
        }
    }

    /// Counts a response that was compared.
    pub(super) fn count_answer(&self) {
        self.results.borrow_mut().report.answers += 1;
    }

    /// Records once that the adapter does not offer a feature.
    pub(super) fn unchecked(&self, feature: &'static str) {
        let mut results = self.results.borrow_mut();
        if !results.report.unchecked.contains(&feature) {
            results.report.unchecked.push(feature);
        }
    }

    /// Returns whether nothing has failed yet.
    pub(super) fn is_clean(&self) -> bool {
        self.results.borrow().failures.is_empty()
    }

    /// Returns the report, or panics with all failures and a hint.
    pub(super) fn finish(self, hint: &str) -> Report {
        let Results { report, failures } = self.results.into_inner();
        let all = report.scenarios + failures.len();
        assert!(
            failures.is_empty(),
            "{} of {all} scenarios failed:\n\n{}\n\n{hint}",
            failures.len(),
            failures.join("\n\n")
        );
        report
    }
}

/// Runs methods of a fixture as scenarios, which have the names of the methods.
macro_rules! scenarios {
    ($on:expr, $group:literal; $($name:ident),* $(,)?) => {
        $($on.scenario($group, stringify!($name), Box::pin($on.$name())).await;)*
    };
}
pub(super) use scenarios;

/// Awaits a future, and returns its panic if it panics.
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

/// Polls a future, and drops it while a panic unwinds, as runtimes do.
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
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the scenario panicked")
}
