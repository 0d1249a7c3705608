//! The stripe of a thread in counters.
//!
//! Only one thread writes a stripe, so an addition needs no atomic read-modify-write operation. Such an operation would
//! take about 4 % of the time of a decision. If there are more threads than stripes, the other threads share the last
//! stripe and add to it atomically.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The number of stripes, of which the last one is shared.
pub(super) const STRIPES: usize = 8;

/// The number of a stripe, as returned by [`Stripe::own`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Stripe(usize);

thread_local! {
    /// The stripe of this thread. It has no destructor, so it is available as long as the thread runs.
    static OWN: Cell<Option<Stripe>> = const { Cell::new(None) };
    /// Returns the stripe when the thread ends.
    static RETURN: Return = const { Return };
}

/// Whether each stripe is free. The lock orders the additions of a thread that ended before those of the next thread
/// that gets the same stripe.
static FREE: Mutex<[bool; STRIPES - 1]> = Mutex::new([true; STRIPES - 1]);

struct Return;

impl Stripe {
    /// The stripe that several threads may use.
    pub(super) const SHARED: Self = Self(STRIPES - 1);

    /// Returns the stripe of the calling thread.
    #[inline]
    pub(super) fn own() -> Self {
        OWN.get().unwrap_or_else(Self::assign)
    }

    #[cold]
    fn assign() -> Self {
        // The destructor is registered first: without it, the stripe would never be returned.
        let own = match RETURN.try_with(|_| ()) {
            Ok(()) => Self::take_free(),
            Err(_) => Self::SHARED,
        };
        OWN.set(Some(own));
        own
    }

    fn take_free() -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().position(|is_free| *is_free) {
            Some(index) => {
                free[index] = false;

                Self(index)
            }
            None => Self::SHARED,
        }
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        self.0
    }

    /// Adds one to a counter of this stripe.
    #[inline]
    pub(super) fn increment(self, counter: &AtomicU64) {
        if self == Self::SHARED {
            counter.fetch_add(1, Relaxed);
        } else {
            counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }
}

impl Drop for Return {
    fn drop(&mut self) {
        // Other destructors of the thread may still count.
        if let Some(own) = OWN.replace(Some(Stripe::SHARED))
            && own != Stripe::SHARED
        {
            FREE.lock().unwrap_or_else(PoisonError::into_inner)[own.index()] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{array, sync::Barrier, thread};

    use super::*;

    #[test]
    fn no_two_threads_that_run_at_the_same_time_have_the_same_own_stripe() {
        const THREADS: usize = 2 * STRIPES;
        let all_have_one = Barrier::new(THREADS);
        let stripes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let own = Stripe::own();
                        all_have_one.wait();
                        assert_eq!(Stripe::own(), own);
                        own.index()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for index in 0..Stripe::SHARED.index() {
            assert!(stripes.iter().filter(|own| **own == index).count() <= 1, "{stripes:?}");
        }
        assert!(stripes.contains(&Stripe::SHARED.index()), "{stripes:?}");
    }

    #[test]
    fn nothing_is_lost_while_threads_begin_and_end() {
        let counters: [AtomicU64; STRIPES] = array::from_fn(|_| AtomicU64::new(0));
        let add =
            || (0..1_000).for_each(|_| Stripe::own().increment(&counters[Stripe::own().index()]));
        thread::scope(|scope| {
            for _ in 0..STRIPES {
                scope.spawn(|| {
                    for _ in 0..50 {
                        thread::scope(|inner| {
                            inner.spawn(add);
                            add();
                        });
                    }
                });
            }
        });
        let sum: u64 = counters.iter().map(|counter| counter.load(Relaxed)).sum();
        assert_eq!(sum, STRIPES as u64 * 50 * 2 * 1_000);
    }

    #[test]
    fn a_destructor_that_counts_after_the_stripe_is_returned_uses_the_shared_one() {
        struct Counts(Cell<Option<std::sync::mpsc::Sender<Stripe>>>);
        impl Drop for Counts {
            fn drop(&mut self) {
                if let Some(sender) = self.0.take() {
                    let _ = sender.send(Stripe::own());
                }
            }
        }
        thread_local! {
            static LATE: Counts = const { Counts(Cell::new(None)) };
        }
        let (sender, late) = std::sync::mpsc::channel();
        let count = || {
            // The destructor of `LATE` is registered first, so it runs last.
            LATE.with(|late| late.0.set(Some(sender)));
            Stripe::own()
        };
        thread::spawn(count).join().unwrap();
        assert_eq!(late.recv(), Ok(Stripe::SHARED));
    }
}
