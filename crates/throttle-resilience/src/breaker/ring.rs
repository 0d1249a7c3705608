//! The window of the latest calls.

/// A ring buffer with the results of the latest calls.
#[derive(Debug)]
pub(super) struct Ring {
    bad: Box<[bool]>,
    next: usize,
    len: usize,
    bad_count: usize,
}

impl Ring {
    pub(super) fn new(window: usize) -> Self {
        Self { bad: vec![false; window.max(1)].into(), next: 0, len: 0, bad_count: 0 }
    }

    /// Adds a call and drops the oldest one.
    pub(super) fn push(&mut self, bad: bool) {
        let oldest = std::mem::replace(&mut self.bad[self.next], bad);
        self.bad_count = self.bad_count + usize::from(bad) - usize::from(oldest);
        self.next = (self.next + 1) % self.bad.len();
        self.len = (self.len + 1).min(self.bad.len());
    }

    /// Returns the number of calls in the window.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the share of bad calls, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.bad_count as f64 / self.len.max(1) as f64
    }

    /// Returns whether the window is full of good calls, so another good call changes nothing.
    pub(super) fn is_clean(&self) -> bool {
        self.bad_count == 0 && self.len == self.bad.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bad.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_covers_only_the_latest_calls() {
        let mut ring = Ring::new(4);
        assert_eq!((ring.len(), ring.share()), (0, 0.0));
        for bad in [true, true, false] {
            ring.push(bad);
        }
        assert_eq!((ring.len(), ring.share()), (3, 2.0 / 3.0));
        for (bad, share) in [(false, 0.5), (false, 0.25), (false, 0.0), (true, 0.25)] {
            assert_eq!(ring.is_clean(), ring.len() == 4 && ring.share() == 0.0);
            ring.push(bad);
            assert_eq!(ring.share(), share);
        }
        assert!(!ring.is_clean());
        (0..4).for_each(|_| ring.push(false));
        assert!(ring.is_clean());
        ring.clear();
        assert!(!ring.is_clean() && ring.len() == 0);
    }
}
