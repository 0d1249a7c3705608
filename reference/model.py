"""An exact model of the algorithms, in rational arithmetic.

It implements the definitions of the algorithms independently of the Rust and Lua code, so that both can be compared
with it. Times are whole microseconds since the Unix epoch. `generate.py` computes the test vectors with it.
"""

from fractions import Fraction
from math import ceil, floor


def decision(
    allowed, limit, remaining, reset_after, retry_after=None, delay=0, blocked=False
):
    return dict(
        allowed=allowed,
        limit=limit,
        remaining=remaining,
        reset_after_us=reset_after,
        retry_after_us=retry_after,
        delay_us=delay,
        blocked=blocked,
    )


class FixedWindow:
    """Windows are aligned to the epoch: [k*W, (k+1)*W)."""

    def __init__(self, limit, window, burst=None):
        self.n, self.w = limit, window
        self.start, self.used = None, 0

    def acquire(self, t, c):
        start = t - t % self.w
        if self.start != start:
            self.start, self.used = start, 0
        left = start + self.w - t
        if self.used + c <= self.n:
            self.used += c
            return decision(True, self.n, self.n - self.used, left if self.used else 0)
        reset = left if self.used else 0
        retry = left if c <= self.n else None
        return decision(False, self.n, self.n - self.used, reset, retry)


class SlidingWindowCounter:
    """The count of the previous window decays linearly. Windows are aligned to the epoch."""

    def __init__(self, limit, window, burst=None):
        self.n, self.w = limit, window
        self.start, self.prev, self.cur = None, 0, 0

    def roll(self, t):
        start = t - t % self.w
        if self.start is None or start > self.start + self.w:
            self.start, self.prev, self.cur = start, 0, 0
        elif start == self.start + self.w:
            self.start, self.prev, self.cur = start, self.cur, 0

    def weight(self, e):
        return Fraction(self.prev * (self.w - e), self.w) + self.cur

    def reset_after(self, t):
        if self.cur:
            return self.start + 2 * self.w - t
        if self.prev:
            return self.start + self.w - t
        return 0

    def acquire(self, t, c):
        self.roll(t)
        e = t - self.start
        allowed = self.weight(e) + c <= self.n
        if allowed:
            self.cur += c
        remaining = max(0, floor(self.n - self.weight(e)))
        retry = None if allowed else self.retry_after(t, c)
        return decision(allowed, self.n, remaining, self.reset_after(t), retry)

    def retry_after(self, t, c):
        if c > self.n:
            return None
        e = t - self.start
        room = self.n - self.cur - c
        if room >= 0:
            # The previous window has to decay to `room` within this window.
            return ceil(self.w - e - Fraction(room * self.w, self.prev))
        # Only in the next window, in which the count of this one decays.
        into = max(Fraction(0), self.w - Fraction((self.n - c) * self.w, self.cur))
        return ceil(self.w - e + into)


class SlidingWindowLog:
    """An entry made at s counts while t < s + W."""

    def __init__(self, limit, window, burst=None):
        self.n, self.w = limit, window
        self.log = []

    def acquire(self, t, c):
        self.log = [(s, k) for s, k in self.log if s > t - self.w]
        used = sum(k for _, k in self.log)
        if used + c <= self.n:
            self.log.append((t, c))
            return decision(True, self.n, self.n - used - c, self.w)
        retry = None
        if c <= self.n:
            freed = 0
            for s, k in self.log:
                freed += k
                if used - freed + c <= self.n:
                    retry = s + self.w - t
                    break
        reset = self.log[-1][0] + self.w - t if self.log else 0
        return decision(False, self.n, self.n - used, reset, retry)


class TokenBucket:
    """A bucket of up to B (burst) tokens that is refilled at N/W. It starts full."""

    def __init__(self, limit, window, burst=None):
        self.n, self.w, self.b = limit, window, burst or limit
        self.interval = Fraction(window, limit)
        # The time at which the bucket is full.
        self.tat = None

    def backlog(self, t):
        return Fraction(0) if self.tat is None or self.tat <= t else self.tat - t

    def acquire(self, t, c):
        before = self.backlog(t)
        capacity = self.b * self.interval
        after = before + c * self.interval
        if after <= capacity:
            self.tat = t + after
            remaining = floor((capacity - after) / self.interval)
            return decision(True, self.b, remaining, ceil(after))
        remaining = floor((capacity - before) / self.interval)
        retry = ceil(after - capacity) if c <= self.b else None
        return decision(False, self.b, remaining, ceil(before), retry)


class LeakyBucket(TokenBucket):
    """A queue of capacity B that drains at N/W. Allowed requests wait until their scheduled time."""

    def acquire(self, t, c):
        before = self.backlog(t)
        d = super().acquire(t, c)
        if d["allowed"]:
            d["delay_us"] = ceil(before)
        return d


class Blocking:
    """A rule with a block: a denial blocks the key for the longer of the block D and the wait of the algorithm.

    A blocked key is not charged. A cost above the capacity is denied and does not block the key.
    """

    def __init__(self, inner, block):
        self.inner, self.block, self.until = inner, block, None

    def acquire(self, t, c):
        if self.until is not None and t < self.until:
            left = self.until - t
            retry = left if c <= self.limit() else None
            return decision(False, self.limit(), 0, left, retry, blocked=True)
        d = self.inner.acquire(t, c)
        if not d["allowed"] and d["retry_after_us"] is not None:
            wait = max(self.block, d["retry_after_us"])
            self.until = t + wait
            d.update(
                remaining=0, reset_after_us=wait, retry_after_us=wait, blocked=True
            )
        return d

    def limit(self):
        return getattr(self.inner, "b", self.inner.n)


# Add a new algorithm at the end, so that the files of the others do not change. block.json changes as a whole, because
# its random cases follow those of all algorithms.
ALGORITHMS = {
    "fixed_window": FixedWindow,
    "sliding_window_counter": SlidingWindowCounter,
    "sliding_window_log": SlidingWindowLog,
    "token_bucket": TokenBucket,
    "leaky_bucket": LeakyBucket,
}
