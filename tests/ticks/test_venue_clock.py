"""The venue clock against clocks that are known, and its invariants."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int64, Kind, Ticks
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.envelope import closest_line_below, lower_hull_push
from schwabot.ticks.merge import blank, cut
from schwabot.ticks.venue_clock import VenueClock, VenueClockConfig

TWO_VENUES = (Instrument("x:A/B", 0.1, 1.0), Instrument("x:C/B", 0.1, 1.0), Instrument("y:A/B", 0.1, 1.0))
START_NS = 1_700_000_000_000_000_000


def messages(offset_ns: Float64, sent_ns: Float64, transport_ns: Float64) -> tuple[Ticks, Int64]:
    """One stream of a venue whose clock is ``offset_ns`` behind ours, and when each row was really sent."""
    order = np.argsort(sent_ns + transport_ns, kind="stable")
    sent = START_NS + sent_ns.astype(np.int64)[order]
    stamp = (sent - offset_ns.astype(np.int64)[order]) // 1_000_000 * 1_000_000
    ticks = replace(
        blank(TWO_VENUES[:1], len(order), Kind.DEPTH),
        ts_recv_ns=sent + transport_ns.astype(np.int64)[order],
        ts_emit_ns=stamp,
        ts_event_ns=stamp,
    )
    return ticks, sent


def feed(seconds: float, seed: int = 0, per_s: int = 100) -> tuple[Float64, Float64]:
    draw = np.random.default_rng(seed)
    n = int(seconds * per_s)
    return np.sort(draw.uniform(0, seconds, n)) * 1e9, 3e6 + draw.exponential(1.5e6, n)


def random_ticks(seed: int, n: int) -> Ticks:
    """Rows of all streams with and without stamps, long silences and many per bucket."""
    draw = np.random.default_rng(seed)
    gaps = draw.choice([0, 1_000, 3_000_000, 120_000_000, 3_000_000_000], n, p=[0.2, 0.3, 0.3, 0.17, 0.03])
    recv = START_NS + np.cumsum(gaps)
    emit = (recv - 1_270_000_000 - draw.integers(0, 9_000_000, n)) // 1_000_000 * 1_000_000
    emit = np.where(draw.random(n) < 0.3, MISSING_NS, emit)
    event = emit + draw.choice([0, -2_000_000, 3_000_000], n, p=[0.7, 0.2, 0.1])  # some are even dated ahead
    event = np.where(emit == MISSING_NS, MISSING_NS, event)
    return replace(
        blank(TWO_VENUES, n),
        ts_recv_ns=recv,
        ts_emit_ns=emit,
        ts_event_ns=event,
        stream=draw.integers(0, 3, n).astype(np.int32),
        kind=draw.integers(0, 3, n).astype(np.int8),
    )


def in_pieces(ticks: Ticks, cuts: list[int]) -> tuple[Int64, Int64, VenueClock]:
    clock = VenueClock(TWO_VENUES, VenueClockConfig(window_s=2.0, min_transport_ns=500))
    edges = sorted({0, len(ticks), *(edge % len(ticks) for edge in cuts)})
    parts = [clock.update(cut(ticks, a, b)) for a, b in itertools.pairwise(edges)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), clock


def test_the_usual_delay_is_forgotten_within_its_memory() -> None:
    """Ten messages a second are 10 ms late, then 40; of the step 1 - e^(-t / tau) is known after buckets of t."""
    for tau_s in (2.0, 5.0):
        at_s = np.arange(0.05, 100.0 + tau_s, 0.1)
        least = np.arange(len(at_s)) % 10 == 0  # one a second is not delayed at all
        late_ns = np.where(least, 0.0, np.where(at_s < 100.0, 10e6, 40e6))
        recv = START_NS + (at_s * 1e9).astype(np.int64)
        stamp = recv - late_ns.astype(np.int64)
        ticks = replace(blank(TWO_VENUES[:1], len(recv)), ts_recv_ns=recv, ts_emit_ns=stamp, ts_event_ns=stamp)
        clock = VenueClock(TWO_VENUES[:1], VenueClockConfig(window_s=4.0, bucket_ms=500, delay_tau_s=tau_s))
        latency_ms = clock.update(ticks)[1] / 1e6
        assert latency_ms[np.searchsorted(at_s, 99.0)] == pytest.approx(10.0, abs=0.1)
        assert latency_ms[-1] == pytest.approx(40.0 - 30.0 * np.exp(-(tau_s - 0.5) / tau_s), abs=0.1)


@given(st.integers(0, 10**6), st.integers(1, 300), st.lists(st.integers(0, 300), max_size=60))
def test_batches_change_nothing(seed: int, n: int, cuts: list[int]) -> None:
    ticks = random_ticks(seed, n)
    whole, pieces = in_pieces(ticks, []), in_pieces(ticks, cuts)
    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_array_equal(whole[1], pieces[1])
    assert whole[2].summary() == pieces[2].summary()


def test_one_by_one_is_the_same() -> None:
    ticks = random_ticks(5, 3_000)
    whole, pieces = in_pieces(ticks, []), in_pieces(ticks, list(range(3_000)))
    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_array_equal(whole[1], pieces[1])
    assert whole[2].summary() == pieces[2].summary()


def test_the_median_delay_needs_bounded_memory() -> None:
    # 200,000 delays, 0.01 ms apart from 0 to 2 s: four times as coarse a grid holds them in 50,000 bins.
    delays = np.arange(200_000) * 10_000
    shuffled = np.random.default_rng(0).permutation(delays)
    recv = START_NS + np.arange(200_000) * 1_000_000
    ticks = replace(blank(TWO_VENUES, 200_000, Kind.DEPTH), ts_recv_ns=recv, ts_emit_ns=recv - shuffled)
    found = []
    for pieces in ([ticks], [cut(ticks, i, i + 999) for i in range(0, 199_800, 999)] + [cut(ticks, 199_800, 200_000)]):
        clock = VenueClock(TWO_VENUES)
        for piece in pieces:
            clock.update(piece)
        assert len(clock._depth_delays[0]._bins) == 50_000
        found.append(clock.summary()["x:A/B"]["feed_delay_median_ms"])
    assert found[0] == found[1] == pytest.approx(1_000.0, abs=0.04)


@given(st.integers(0, 10**6), st.integers(2, 200), st.data())
def test_later_events_change_nothing_before_them(seed: int, n: int, data: st.DataObject) -> None:
    ticks = random_ticks(seed, n)
    known = data.draw(st.integers(1, n - 1))
    stamps = ticks.ts_emit_ns.copy()
    stamps[known:] += data.draw(st.integers(-(10**10), 10**10))
    other = replace(ticks, ts_emit_ns=stamps, kind=np.roll(ticks.kind, 1))
    for one, two in zip(in_pieces(ticks, [])[:2], in_pieces(other, [])[:2], strict=True):
        np.testing.assert_array_equal(one[:known], two[:known])


@given(st.integers(0, 10**6), st.integers(1, 300))
def test_venue_time_never_runs_backwards_nor_ahead_of_us(seed: int, n: int) -> None:
    ticks = random_ticks(seed, n)
    ts_venue, latency, _ = in_pieces(ticks, [])
    known = ts_venue != MISSING_NS
    assert np.all(known | (ticks.ts_emit_ns == MISSING_NS)), "every stamped row has a venue time"
    assert np.all(ts_venue[known] <= ticks.ts_recv_ns[known] - 500)
    assert np.all(latency[latency != MISSING_NS] >= 500)
    for stream in range(3):
        assert np.all(np.diff(ts_venue[known & (ticks.stream == stream)]) >= 0)


def test_a_venue_knows_nothing_of_another() -> None:
    ticks = random_ticks(3, 2_000)
    alone = np.flatnonzero(ticks.stream == 2)
    y_only = replace(ticks, ts_emit_ns=np.where(ticks.stream == 2, ticks.ts_emit_ns, MISSING_NS))
    np.testing.assert_array_equal(in_pieces(ticks, [])[0][alone], in_pieces(y_only, [])[0][alone])


CLOCKS = {
    "steady": lambda s: np.full_like(s, -1.27e9),
    "ahead": lambda s: np.full_like(s, 3.6e12),
    "-4.9 ppm": lambda s: -4.9e3 * s,
    "+200 ppm": lambda s: 2e5 * s,
    "wanders 30 ms in a minute": lambda s: 15e6 * np.sin(2 * np.pi * s / 120),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_known_clocks_are_followed(name: str) -> None:
    sent, transport = feed(180.0)
    offset = CLOCKS[name](sent / 1e9)
    ticks, truth = messages(offset, sent, transport)
    clock = VenueClock(TWO_VENUES[:1], VenueClockConfig(min_transport_ns=3_000_000, window_s=10.0))
    ts_venue, latency = clock.update(ticks)
    later = slice(500, None)
    # The envelope's own error: what is left is the whole-millisecond stamp, and messages that overtook others.
    envelope = ts_venue - ticks.ts_emit_ns
    true = truth - ticks.ts_emit_ns
    ordered = np.append(np.diff(ts_venue) > 0, True)[later]
    error_ms = (envelope - true)[later][ordered] / 1e6
    assert np.percentile(np.abs(error_ms), 95) < 2.0
    assert abs(np.median(latency[later]) / 1e6 - (3.0 + 1.5 * np.log(2) + 0.5)) < 0.8


@pytest.mark.parametrize("drift_ppm", [-50.0, -4.9, 0.0, 120.0])
def test_drift_and_offset_at_the_end(drift_ppm: float) -> None:
    sent, transport = feed(240.0, seed=2)
    ticks, _ = messages(-1.27e9 + drift_ppm * sent / 1e6, sent, transport)
    clock = VenueClock(TWO_VENUES[:1])
    clock.update(ticks)
    summary = clock.summary()["x:A/B"]
    assert summary["clock_drift_ppm"] == pytest.approx(drift_ppm, abs=0.5)
    assert summary["clock_offset_ms"] == pytest.approx(-1270 + drift_ppm * 0.24 + 3.0, abs=0.6)
    exact = np.median(ticks.ts_recv_ns - ticks.ts_emit_ns) / 1e6
    assert summary["feed_delay_median_ms"] == pytest.approx(exact, abs=0.011)


def test_a_clock_that_steps_is_found_again() -> None:
    sent, transport = feed(60.0)
    for step in (-20e6, 20e6):
        ticks, truth = messages(np.where(sent > 30e9, step, 0.0), sent, transport)
        config = VenueClockConfig(min_transport_ns=3_000_000, window_s=10.0)
        ts_venue, _ = VenueClock(TWO_VENUES[:1], config).update(ticks)
        late = truth > START_NS + 45e9
        assert np.median(np.abs(ts_venue - truth)[late]) < 1.5e6


def test_first_messages() -> None:
    n = 4
    rows = replace(
        blank(TWO_VENUES[:1], n),
        ts_recv_ns=START_NS + np.array([0, 1_000_000, 2_000_000, 300_000_000]),
        ts_emit_ns=np.array([MISSING_NS, START_NS - 5_000_000, MISSING_NS, MISSING_NS]),
    )
    ts_venue, latency = VenueClock(TWO_VENUES[:1], VenueClockConfig(min_transport_ns=7)).update(rows)
    assert ts_venue.tolist() == [MISSING_NS, rows.ts_recv_ns[1] - 7, MISSING_NS, rows.ts_recv_ns[3] - 7]
    assert latency.tolist() == [MISSING_NS] * 3 + [7]


def test_event_time_is_placed_by_its_own_stamp() -> None:
    rows = replace(
        blank(TWO_VENUES[:1], 1),
        ts_recv_ns=np.array([START_NS]),
        ts_emit_ns=np.array([START_NS - 10]),
        ts_event_ns=np.array([START_NS - 14]),
    )
    assert VenueClock(TWO_VENUES[:1]).update(rows)[0].tolist() == [START_NS - 4]


def test_a_venue_without_stamps_stays_unknown() -> None:
    rows = replace(blank(TWO_VENUES, 50), ts_recv_ns=START_NS + np.arange(50) * 100_000_000)
    clock = VenueClock(TWO_VENUES)
    ts_venue, latency = clock.update(rows)
    assert set(ts_venue.tolist()) == set(latency.tolist()) == {MISSING_NS}
    assert set(clock.summary()) == {i.stream for i in TWO_VENUES}
    assert set(clock.summary()["x:A/B"].values()) == {None}
    assert [len(part) for part in clock.update(blank(TWO_VENUES, 0))] == [0, 0]


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_line_below_is_the_closest_in_the_middle(heights: list[int]) -> None:
    hull: list[tuple[int, int]] = []
    for point in enumerate(heights):
        lower_hull_push(hull, point)
    at, height, slope = closest_line_below(hull)
    line = height + slope * (np.arange(len(heights)) - at)
    assert np.all(line <= np.array(heights) + 1e-9)
    if len(heights) > 1:
        middle = (len(heights) - 1) / 2
        pairs = [
            heights[i] + (heights[j] - heights[i]) * (middle - i) / (j - i)
            for i in range(len(heights))
            for j in range(i + 1, len(heights))
            if i <= middle <= j
        ]
        assert height + slope * (middle - at) == pytest.approx(min(pairs))


@pytest.mark.parametrize(
    "bad",
    [{"bucket_ms": 0}, {"delay_tau_s": -1.0}, {"max_drift_ppm": 0.0}, {"min_transport_ns": -1}, {"window_s": 0.3}],
)
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"^latency\.{next(iter(bad))}="):
        VenueClockConfig(**bad)  # type: ignore[arg-type]


def test_btc_captures(captures: Path) -> None:
    known = (
        Instrument("binance:BTC/USDT", 0.01, 1e-5),
        Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001),
        Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, True),
    )
    paths = (captures / "binance").glob("*/btc*.gz")
    source = CaptureFeed(paths, {instrument.stream: instrument for instrument in known})
    clock = VenueClock(source.instruments)
    missing = 0
    for ticks in source.batches():
        ts_venue, _ = clock.update(ticks)
        missing += int(np.sum(ts_venue == MISSING_NS))
    assert missing == 0, "spot's first message is a stamped depth message 0.15 s before its first quote"
    medians = {"binance:BTC/USDT": -1272.0, "binanceusdm:BTC/USDT:USDT": -1270.1, "binancecoinm:BTC/USD:BTC": -1269.2}
    for stream, median_ms in medians.items():
        summary = clock.summary()[stream]
        delay, offset, drift = (summary[k] for k in ("feed_delay_median_ms", "clock_offset_ms", "clock_drift_ppm"))
        assert delay is not None and offset is not None and drift is not None  # noqa: PT018
        assert delay == pytest.approx(median_ms, abs=0.05)
        assert 2.0 < delay - offset < 4.0
        assert drift == pytest.approx(-4.9, abs=0.3)
