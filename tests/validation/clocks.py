"""Venue clocks that wander, are set, and are said to be known to so much. N messages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tests.ticks.clocks import CLOCKS, JITTERS, errors_ms, feed, held, step, walk
from tests.validation.claim import Line, holds

PART = "venue clocks"
WARM_S = 10.0


def tracking() -> Iterator[Line]:
    """The causal offset against truth + least transport."""
    clocks = {"a swing of 30 ms in 2 min": CLOCKS["wanders"]}
    clocks |= {
        f"a smooth walk of 30 ms in 5 min, number {seed}": lambda s, seed=seed: walk(s, seed) for seed in range(3)
    }
    for name, clock in clocks.items():
        worst = {}
        for jitter, per_s in itertools.product(JITTERS, (20, 140, 500)):
            if jitter == "bursts" and per_s == 20:
                continue  # two bursts a second: as good as two messages a second
            made = feed(clock, jitter, 300.0, per_s)
            worst[f"{jitter} {per_s}/s"] = float(np.abs(errors_ms(made))[made.since_s > WARM_S].max())
        cell, most = max(worst.items(), key=lambda item: item[1])
        yield holds(PART, f"largest error on {name}", "<= 2 ms", f"{most:.2f} ms ({cell})", most <= 2.0)


def steps() -> Iterator[Line]:
    """How long a clock that is set is wrong by more than 2 ms."""
    for by_ms, most_s in ((30.0, 7.0), (-30.0, 0.5)):
        wrong_s = 0.0
        for per_s in (20, 140, 500):
            made = feed(step(by_ms, 60.0), "exponential", 120.0, per_s)
            wrong = (np.abs(errors_ms(made)) > 2.0) & (made.since_s > WARM_S)
            wrong_s = max(wrong_s, float(made.since_s[wrong].max(initial=60.0)) - 60.0)
        yield holds(
            PART,
            f"right again after a step of {by_ms:+.0f} ms",
            f"<= {most_s} s",
            f"{wrong_s:.2f} s",
            wrong_s <= most_s,
        )


def coverage() -> Iterator[Line]:
    """How often the 95 % intervals held the truth."""
    for clock in CLOCKS:
        found = {cell: held(clock, *cell, seeds=1) for cell in itertools.product(JITTERS, (1, 20, 500))}
        share = float(np.mean(list(itertools.chain(*found.values()))))
        shown = f"{share:.3f} ({min(np.mean(one) for one in found.values()):.2f} to "
        shown += f"{max(np.mean(one) for one in found.values()):.2f} by jitter and rate)"
        yield holds(PART, f"95 % intervals hold the truth, clock {clock}", "0.90 to 0.99", shown, 0.90 <= share <= 0.99)


CLAIMS = (tracking, steps, coverage)
