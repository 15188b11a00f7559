"""Clocks and delays whose truth is known, for tests of the venue clock. N messages."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64, Kind, Ticks
from schwabot.ticks.merge import blank, cut
from schwabot.ticks.venue_clock import VenueClock

ONE = (Instrument("x:A/B", 0.1, 1.0),)
STREAM = ONE[0].stream
START_NS = 1_700_000_000_000_000_000
LEAST_MS = 3.0
MEAN_MS = 1.5

Draw = np.random.Generator


def swing(wide_ms: float, period_s: float) -> Callable[[Float64], Float64]:
    return lambda s: 0.5 * wide_ms * np.sin(2 * np.pi * s / period_s)


def walk(s: Float64, seed: int = 0, long_s: float = 600.0) -> Float64:
    """Sum of a speed that walks at random, pulled back within 20 s, smoothed over 5 s: 30 ms in the first 5 minutes."""
    h = 0.1
    shocks = np.random.default_rng([900, seed]).standard_normal(round(long_s / h))
    speed = smooth = offset = 0.0
    path = []
    for shock in shocks:
        speed += shock - speed * h / 20.0
        smooth += (speed - smooth) * h / 5.0
        offset += smooth * h
        path.append(offset)
    return np.interp(s, h * np.arange(len(path)), 30.0 / np.ptp(path[: round(300.0 / h)]) * np.array(path))


def step(by_ms: float, at_s: float) -> Callable[[Float64], Float64]:
    return lambda s: np.where(s < at_s, 0.0, by_ms)


CLOCKS: dict[str, Callable[[Float64], Float64]] = {
    "constant": lambda s: np.full_like(s, -1270.0),
    "-5 ppm": lambda s: -5e-3 * s,
    "wanders": swing(30.0, 120.0),
    "walks": walk,
}
"""Our clock minus the venue's in ms, seconds after the start."""


def bursts(draw: Draw, seconds: float, per_s: float) -> tuple[Float64, Float64]:
    """Ten messages a burst, all as late as the burst is."""
    first = np.sort(draw.uniform(0, seconds, max(1, int(seconds * per_s / 10))))
    late = draw.exponential(MEAN_MS, len(first))
    sent = first[:, None] + np.cumsum(draw.exponential(2e-3, (len(first), 10)), axis=1)
    return sent.ravel(), (late[:, None] + draw.exponential(0.2, (len(first), 10))).ravel()


def scattered(jitter: Callable[[Draw, int], Float64]) -> Callable[[Draw, float, float], tuple[Float64, Float64]]:
    def made(draw: Draw, seconds: float, per_s: float) -> tuple[Float64, Float64]:
        n = int(seconds * per_s)
        return draw.uniform(0, seconds, n), jitter(draw, n)

    return made


JITTERS: dict[str, Callable[[Draw, float, float], tuple[Float64, Float64]]] = {
    "exponential": scattered(lambda draw, n: draw.exponential(MEAN_MS, n)),
    "gamma": scattered(lambda draw, n: draw.gamma(2.0, 0.5 * MEAN_MS, n)),
    "lognormal": scattered(lambda draw, n: draw.lognormal(np.log(0.9), 0.8, n)),
    "narrow lognormal": scattered(lambda draw, n: draw.lognormal(np.log(1.2), 0.5, n)),
    "bursts": bursts,
}
"""When messages are sent, s, and what transport takes above the least, ms."""


@dataclass(frozen=True)
class Feed:
    """Rows of one stream, and at each one's receipt the truth: clock offset + least transport, ns."""

    ticks: Ticks
    truth_ns: Int64
    since_s: Float64


def feed(clock: Callable[[Float64], Float64], jitter: str, seconds: float, per_s: float, seed: int = 0) -> Feed:
    """Messages of a connection that keeps their order, stamped in whole ms."""
    sent_s, late_ms = JITTERS[jitter](np.random.default_rng([seed, round(per_s)]), seconds, per_s)
    order = np.argsort(sent_s)
    sent_s, late_ms = sent_s[order], late_ms[order]
    stamp_ms = np.floor(1e3 * sent_s - clock(sent_s))
    recv_ms = np.maximum.accumulate(1e3 * sent_s + LEAST_MS + late_ms)
    recv = START_NS + np.rint(1e6 * recv_ms).astype(np.int64)
    ticks = replace(
        blank(ONE, len(recv), Kind.DEPTH),
        ts_recv_ns=recv,
        ts_emit_ns=START_NS + 1_000_000 * stamp_ms.astype(np.int64),
        ts_event_ns=START_NS + 1_000_000 * stamp_ms.astype(np.int64),
    )
    since_s = (recv - START_NS) / 1e9
    return Feed(ticks, np.rint(1e6 * (clock(since_s) + LEAST_MS)).astype(np.int64), since_s)


def errors_ms(made: Feed) -> Float64:
    """Envelope minus truth at every message, before the rule that venue time never runs backwards hides some."""
    recv_ns = made.ticks.ts_recv_ns
    envelope_ns, _ = VenueClock(ONE)._venues[0].advance(recv_ns, recv_ns - made.ticks.ts_emit_ns)
    return np.asarray((envelope_ns - made.truth_ns) / 1e6)


def held(clock: str, jitter: str, per_s: float, seeds: int = 2, silent_s: float = 0.0) -> list[bool]:
    """Whether the clock's interval held the truth, every 6 s of 5 minutes, ``silent_s`` after the last message."""
    found = []
    for seed in range(seeds):
        made = feed(CLOCKS[clock], jitter, 300.0, per_s, seed)
        venue_clock = VenueClock(ONE)
        edges = np.unique(np.searchsorted(made.since_s, np.arange(12.0, 295.0, 6.1))).tolist()
        for start, end in itertools.pairwise([0, *edges]):
            venue_clock.update(cut(made.ticks, start, end))
            at_s = made.since_s[end - 1] + silent_s
            interval = venue_clock.interval(STREAM, START_NS + round(at_s * 1e9))
            assert interval is not None
            truth_ns = made.truth_ns[end - 1] + 1e6 * float(
                np.diff(CLOCKS[clock](np.array([at_s - silent_s, at_s])))[0]
            )
            found.append(bool(interval[0] <= truth_ns <= interval[1]))
    return found
