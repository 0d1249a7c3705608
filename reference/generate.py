#!/usr/bin/env python3
"""Writes the test vectors: one JSON file per algorithm, and block.json.

    python3 reference/generate.py [FOLDER]

The default FOLDER is crates/throttle-testkit/vectors. The output is the same in every run and with every Python
since 3.7. It needs only the standard library.
"""

import json
import random
import sys
from pathlib import Path

from model import ALGORITHMS, Blocking

SEED = 20261124
VECTORS = Path(__file__).parent / "../crates/throttle-testkit/vectors"

S = 1_000_000
# 2026-01-01T00:00:00Z, an edge of all windows used here.
BASE = 1_767_225_600 * S
# The minimum distance in microseconds of steps from a boundary that is not a whole microsecond.
MARGIN = 5

BUCKETS = ("token_bucket", "leaky_bucket")
# Algorithms whose boundaries are whole microseconds for every rule.
WHOLE = ("fixed_window", "sliding_window_log")


def limiter(algorithm, limit, window, burst, block):
    made = ALGORITHMS[algorithm](limit, window, burst)
    return Blocking(made, block) if block else made


def run(name, algorithm, limit, window, steps, burst=None, block=None):
    made = limiter(algorithm, limit, window, burst, block)
    return dict(
        name=name,
        algorithm=algorithm,
        rule=dict(limit=limit, window_us=window, burst=burst, block_us=block),
        steps=[dict(at_us=t, cost=c, expect=made.acquire(t, c)) for t, c in steps],
    )


def edges():
    """Yields the edge cases: name, limit, window, steps."""
    w = 10 * S
    yield "fills, then denies", 5, w, [(BASE + i, 1) for i in range(8)]
    moments = (0, 1, w - 1, w, w + 1, 2 * w - 1, 2 * w, 3 * w, 3 * w + 1)
    yield "limit of one", 1, w, [(BASE + k, 1) for k in moments]
    around = [(BASE + w - 4 + i, 1) for i in range(10)]
    after = [(BASE + 2 * w + i, 1) for i in range(6)]
    yield "across the window's edge", 4, w, around + after
    costs = [(0, 4), (1, 4), (2, 4), (3, 2), (4, 1), (w, 10), (2 * w, 10)]
    yield "weighted", 10, w, [(BASE + k, c) for k, c in costs]
    costs = [(0, 6), (1, 5), (2, 6), (w + 2, 5)]
    yield "more than the whole capacity", 5, w, [(BASE + k, c) for k, c in costs]
    costs = [(0, 3), (1, 1), (100 * w, 3), (100 * w + 1, 1)]
    yield "long idle", 3, w, [(BASE + k, c) for k, c in costs]
    yield "a day", 1000, 86400 * S, [(BASE + i * 30 * S, 40) for i in range(40)]
    yield "a second", 100, S, [(BASE + i * 4_000, 1) for i in range(300)]
    full = [(BASE + i, 1) for i in range(8)]
    later = [(BASE + w + w // 2, 1)] * 6 + [(BASE + 2 * w - 1, 1)] * 6
    yield "half gone", 8, w, full + later


def probing(algorithm, rng, limit, window, burst, n, block=None):
    """Returns random steps, many of them at, just before or just after the reported wait."""
    made = limiter(algorithm, limit, window, burst, block)
    is_whole = algorithm in WHOLE or window % limit == 0 and algorithm in BUCKETS
    capacity = burst or limit
    t, steps, wait = BASE + rng.randrange(window), [], None
    for _ in range(n):
        if wait and rng.random() < 0.5:
            offset = rng.choice([-1, 0, 1] if is_whole else [-MARGIN, MARGIN])
            t += max(0, wait + offset)
        else:
            pauses = [
                0,
                1,
                rng.randrange(max(1, window // limit)),
                rng.randrange(window),
                window,
                2 * window + 1,
            ]
            t += rng.choice(pauses)
        c = rng.choice([1, 1, 1, 1, 2, rng.randint(1, max(1, capacity // 2)), capacity])
        d = made.acquire(t, c)
        wait = d["retry_after_us"]
        if not wait and rng.random() < 0.3:
            wait = d["reset_after_us"]
        steps.append((t, c))
    return steps


def of_algorithm(algorithm, rng):
    cases = [run(n, algorithm, l, w, s) for n, l, w, s in edges()]
    for i in range(30):
        limit = rng.choice([1, 2, 3, 5, 7, 10, 60, 100, 999])
        window = rng.choice([S, 2 * S, 10 * S, 60 * S, 3600 * S, 250_000])
        burst = None
        if algorithm in BUCKETS:
            burst = rng.choice([None, limit * 2, limit + 1, max(1, limit // 2)])
        steps = probing(algorithm, rng, limit, window, burst, 40)
        name = f"random {i}: {limit} per {window} us, burst {burst}"
        cases.append(run(name, algorithm, limit, window, steps, burst))
    return cases


def of_blocks(rng):
    cases = []
    for algorithm in ALGORITHMS:
        for i in range(6):
            limit, window = rng.choice([1, 3, 10]), rng.choice([S, 10 * S])
            block = rng.choice([window // 2, window, 5 * window])
            steps = probing(algorithm, rng, limit, window, None, 30, block)
            name = f"{algorithm} {i}: {limit} per {window} us, blocked for {block} us"
            cases.append(run(name, algorithm, limit, window, steps, None, block))
    return cases


def write(path, cases):
    lines = (json.dumps(case, separators=(",", ":")) for case in cases)
    # Written as bytes, so that line endings are the same on every system.
    path.write_bytes(("[\n" + ",\n".join(lines) + "\n]\n").encode())
    steps = [step for case in cases for step in case["steps"]]
    denied = sum(not step["expect"]["allowed"] for step in steps)
    print(f"{path.name}: {len(cases)} cases, {len(steps)} steps, {denied} denied")
    return len(cases), len(steps)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    written = [
        write(folder / f"{algorithm}.json", of_algorithm(algorithm, rng))
        for algorithm in ALGORITHMS
    ]
    written.append(write(folder / "block.json", of_blocks(rng)))
    cases, steps = map(sum, zip(*written))
    print(f"total: {cases} vectors, {steps} decisions")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS)
