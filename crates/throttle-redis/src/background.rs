//! The background tasks of a storage, and the tokio runtime that they run on.
//!
//! The tasks run on the runtime on which the storage was created. A storage may outlive that runtime: it may
//! be a static in tests that each have their own runtime, or may be created before the server starts its
//! runtime. Then the tasks restart on the runtime that uses the storage next.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
};

use throttle_core::pending_work::PendingWork;
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Make = Box<dyn Fn() -> Work + Send + Sync>;

/// The background tasks of one storage.
pub(crate) struct Background {
    /// A task ended with its runtime, or has not started yet.
    is_lost: AtomicBool,
    state: Mutex<State>,
    /// The work of [`Background::spawn_once`], and the permits that are held.
    pub(crate) pending: PendingWork,
}

struct State {
    /// The runtime of the tasks.
    runtime: Option<Handle>,
    /// The number of moves to another runtime, including one that is about to start.
    moves: u64,
    tasks: Vec<Weak<Entry>>,
    /// Detached tasks, which have no other owner.
    own: Vec<Task>,
}

/// The error of a call outside a tokio runtime.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct NoRuntime;

/// A task that runs until its work is done, or until this handle is dropped.
pub(crate) struct Probe {
    task: JoinHandle<()>,
    moves: u64,
}

impl Probe {
    /// Returns whether the runtime has run it.
    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// A task that runs until its work is done, or this is dropped.
#[must_use = "the task ends with it"]
pub(crate) struct Task(Arc<Entry>);

struct Entry {
    make: Make,
    running: Mutex<Option<AbortHandle>>,
    /// The number of starts.
    run: AtomicU64,
    is_lost: AtomicBool,
    /// The work is done, or its handle was dropped.
    is_done: AtomicBool,
}

impl Background {
    /// Creates the tasks of a storage, on the current runtime if there is one.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { runtime: None, moves: 0, tasks: Vec::new(), own: Vec::new() };
        let (is_lost, state) = (AtomicBool::new(true), Mutex::new(state));
        let background = Arc::new(Self { is_lost, state, pending: PendingWork::default() });
        // A task that never finishes shows that its runtime has ended, even if no other task ran on it.
        background.spawn_detached(pending);
        let _ = background.ready(); // without a runtime, the tasks start at the first use
        background
    }

    /// Restarts the tasks whose runtime has ended, on the current runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if this is called outside a tokio runtime.
    pub(crate) fn ready(self: &Arc<Self>) -> Result<(), NoRuntime> {
        let here = Handle::try_current().map_err(|_| NoRuntime)?;
        if self.is_lost.load(Acquire) {
            self.begin_again(&here);
        }
        Ok(())
    }

    /// Spawns the future that `make` returns, and spawns it again if the runtime ends before the work is done.
    pub(crate) fn spawn<F>(self: &Arc<Self>, make: impl Fn() -> F + Send + Sync + 'static) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = Arc::new(Entry {
            make: Box::new(move || Box::pin(make())),
            running: Mutex::default(),
            run: AtomicU64::default(),
            is_lost: AtomicBool::new(true),
            is_done: AtomicBool::default(),
        });
        let mut state = self.state();
        if state.tasks.len() == state.tasks.capacity() {
            state.tasks.retain(|entry| entry.strong_count() > 0);
        }
        state.tasks.push(Arc::downgrade(&entry));
        match &state.runtime {
            Some(runtime) => entry.begin(self, runtime),
            None => self.is_lost.store(true, Release),
        }
        Task(entry)
    }

    /// Spawns work like [`Background::spawn`], which runs as long as the storage exists or until it is done.
    pub(crate) fn spawn_detached<F>(self: &Arc<Self>, make: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = self.spawn(make);
        self.state().own.push(task);
    }

    /// Spawns a future once, without waiting for it.
    ///
    /// # Errors
    ///
    /// Returns the future if there is no runtime.
    pub(crate) fn spawn_once<F>(&self, work: F) -> Result<(), F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = match self.is_lost.load(Acquire) {
            true => Handle::try_current().ok(),
            false => self.state().runtime.clone(),
        };
        let Some(runtime) = runtime else { return Err(work) };
        runtime.spawn(self.pending.track(work));
        Ok(())
    }

    /// Spawns an empty task, which finishes soon if the runtime of the tasks makes progress.
    pub(crate) fn probe(&self) -> Option<Probe> {
        let state = self.state();
        let runtime = state.runtime.as_ref()?;
        Some(Probe { task: runtime.spawn(async {}), moves: state.moves })
    }

    /// Moves all tasks to the caller's runtime: their own runtime exists but does not run them, for example a
    /// current-thread runtime outside of `block_on`. Tasks that were moved since `probe` was begun stay where they
    /// are.
    pub(crate) fn move_here(self: &Arc<Self>, probe: &Probe) {
        let Ok(here) = Handle::try_current() else { return };
        let tasks = {
            let mut state = self.state();
            if state.moves != probe.moves {
                return;
            }
            state.moves += 1;
            state.tasks.clone()
        };
        for entry in tasks.iter().filter_map(Weak::upgrade) {
            entry.is_lost.store(true, Release);
        }
        self.begin_again(&here);
    }

    #[cold]
    fn begin_again(self: &Arc<Self>, here: &Handle) {
        let mut state = self.state();
        self.is_lost.store(false, Release);
        state.tasks.retain(|entry| {
            let Some(entry) = entry.upgrade() else { return false };
            if entry.is_lost.load(Acquire) {
                entry.begin(self, here);
            }
            !entry.is_done.load(Acquire)
        });
        state.runtime = Some(here.clone());
        state.moves += 1;
        let is_done = |task: &mut Task| task.0.is_done.load(Acquire);
        let done: Vec<_> = state.own.extract_if(.., is_done).collect();
        drop(state);
        drop(done);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn begin(self: &Arc<Self>, background: &Arc<Background>, runtime: &Handle) {
        let mut before = self.running();
        if self.is_done.load(Acquire) {
            return; // its handle was dropped meanwhile
        }
        self.is_lost.store(false, Release);
        let running = Running {
            entry: Arc::downgrade(self),
            background: Arc::downgrade(background),
            run: self.run.fetch_add(1, AcqRel) + 1,
        };
        let work = (self.make)();
        let task = runtime.spawn(async move {
            let running = running;
            work.await;
            if let Some(entry) = running.entry.upgrade() {
                entry.is_done.store(true, Release);
            }
        });
        if let Some(before) = before.replace(task.abort_handle()) {
            before.abort();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let running = {
            let mut running = self.0.running();
            self.0.is_done.store(true, Release); // so that it is not restarted
            running.take()
        };
        if let Some(running) = running {
            running.abort();
        }
    }
}

/// A guard within a task that reports its end when it is dropped, even if the runtime drops the task.
struct Running {
    entry: Weak<Entry>,
    background: Weak<Background>,
    run: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(entry), Some(background)) = (self.entry.upgrade(), self.background.upgrade())
            && !entry.is_done.load(Acquire)
            && entry.run.load(Acquire) == self.run
        {
            entry.is_lost.store(true, Release);
            background.is_lost.store(true, Release);
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("is_lost", &self.is_lost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropped_tasks_leave_nothing_behind() {
        let background = Background::new();
        for _ in 0..10_000 {
            drop(background.spawn(pending));
        }
        let kept = background.state().tasks.len();
        assert!(kept < 200, "{kept} tasks are kept");
    }

    #[tokio::test]
    async fn tasks_that_were_moved_since_the_probe_are_not_moved_again() {
        let background = Background::new();
        let begun = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&begun);
        let _task = background.spawn(move || {
            counted.fetch_add(1, Relaxed);
            pending()
        });
        let probes = [background.probe().unwrap(), background.probe().unwrap()];
        for probe in &probes {
            background.move_here(probe);
        }
        assert_eq!(begun.load(Relaxed), 2, "two requests notice that one runtime does nothing");
        background.move_here(&background.probe().unwrap());
        assert_eq!(begun.load(Relaxed), 3);
    }

    #[tokio::test]
    async fn a_task_that_was_dropped_is_not_begun_again() {
        let background = Background::new();
        let kept = Arc::new(());
        let held = Arc::clone(&kept);
        let task = background.spawn(move || {
            let held = Arc::clone(&held);
            async move {
                pending::<()>().await;
                drop(held);
            }
        });
        // The state that `begin_again` sees when another thread drops the task at the same time.
        let entry = Arc::clone(&task.0);
        drop(task);
        entry.begin(&background, &Handle::current());
        drop(entry);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&kept), 1, "the work still runs");
    }
}
