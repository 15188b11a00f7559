"""What a stream is called, what unit its price is in and a stream that is gone must not matter.

Sums run in another order or start from another number, so floats agree to ``1e-9`` bp, in proportion more where the
price went further, and a status or route may differ where its float lies on the threshold. A feature's weights in the
state hash come with its place, so other names give other keys, and what is remembered at them differs: with a memory,
what comes before the keys must agree, and when they begin; without one (a warm-up without end), all that follows too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.audit import Route
from schwabot.records.market import Float64, Ticks
from tests.invariants.making import CLOCK, MARKETS, SIGNALS, Said, as_ticks, configs, rows, run
from tests.kernels.making import HABITS, Habits
from tests.kernels.making import settings as small

PER_STREAM = ("mid_bp", "half_spread_bp", "deviation_bp", "phase_bp", "drift", "route", "status")
CONSENSUS = ("ghost_bp", *PER_STREAM)


def without_memory(config: ModulesConfig) -> ModulesConfig:
    """The same with keys that never begin."""
    config.hash_registry.warmup_events = 10**9
    return config


def assert_close(one: Float64, two: Float64, what: str, tolerance: float) -> None:
    np.testing.assert_array_equal(np.isnan(one), np.isnan(two), err_msg=what)
    np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance, err_msg=what)


def travelled(said: Said) -> float:
    """How far the price went, as a multiple of 1000 bp, at least 1."""
    mid = said.columns["mid_bp"]
    known = mid[np.isfinite(mid)]
    return max(1.0, float(np.ptp(known)) / 1000.0) if known.size else 1.0


def on_threshold(said: Said, config: ModulesConfig) -> np.ndarray:
    """Where the drift decides by less than rounding. [N, V]"""
    edges = np.array([config.tensor_harness.drifting_at, config.tensor_harness.critical_at])
    return np.asarray((np.abs(said.columns["drift"][..., None] - edges) < 1e-9).any(-1))


def renamed(ticks: Ticks, order: list[int]) -> Ticks:
    """The same rows with the streams called so that stream v comes at place ``order[v]``."""
    names = {
        place: replace(ticks.instruments[v], stream=f"venue{place}:{ticks.instruments[v].symbol}")
        for v, place in enumerate(order)
    }
    instruments = tuple(names[place] for place in range(len(order)))
    return replace(ticks, instruments=instruments, stream=np.array(order, np.int32)[ticks.stream])


@settings(max_examples=25)
@given(MARKETS, configs(), st.randoms(use_true_random=False))
def test_names_do_not_matter(ticks: Ticks, config: ModulesConfig, random: object) -> None:
    streams = len(ticks.instruments)
    order = list(range(streams))
    random.shuffle(order)  # type: ignore[attr-defined]
    config = without_memory(config)
    one, two = run([ticks], config), run([renamed(ticks, order)], config)
    tolerance = 1e-9 * travelled(one)
    assume(not on_threshold(one, config).any())
    for name in SIGNALS:
        ours, theirs = one.columns[name], two.columns[name]
        theirs = theirs[:, order] if theirs.ndim == 2 else theirs
        if name in ("lane", "pays_fees", "bits", "snr", "voltage", "forecast_bp"):
            continue  # the lanes' memory takes one stream per event in turn, by place
        assert_close(ours, theirs, name, tolerance)
    for table in ("decisions", "arbitrage"):
        keys = (
            ("ts_ns", "stream", "side") if table == "decisions" else ("start_ns", "end_ns", "legs", "sides", "locked")
        )
        assert sorted(events(one, table, keys, range(streams))) == sorted(events(two, table, keys, order, back=True))
    assert one.reference_price == two.reference_price or np.isnan(one.reference_price)


@settings(max_examples=25)
@given(MARKETS, configs(), st.randoms(use_true_random=False))
def test_names_do_not_matter_beside_a_memory(ticks: Ticks, config: ModulesConfig, random: object) -> None:
    """What is remembered, at whatever keys, reaches neither prices nor decisions."""
    order = list(range(len(ticks.instruments)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, two = run([ticks], config), run([renamed(ticks, order)], config)
    assume(not on_threshold(one, config).any())
    tolerance = 1e-9 * travelled(one)
    for name in CONSENSUS:
        theirs = two.columns[name]
        assert_close(one.columns[name], theirs[:, order] if theirs.ndim == 2 else theirs, name, tolerance)
    np.testing.assert_array_equal(one.columns["key"] < 0, two.columns["key"] < 0)
    keys = ("ts_ns", "stream", "side")
    assert sorted(events(one, "decisions", keys, order)) == sorted(events(two, "decisions", keys, order, back=True))
    # As much is remembered in all, whichever keys it is spread over; bounded tables let go of other keys.
    if config.hash_registry.bits <= 16:
        counts = [
            np.bincount(said.finished["memory"]["table"], said.finished["memory"]["count"]) for said in (one, two)
        ]
        np.testing.assert_allclose(counts[0], counts[1], rtol=1e-9)


def test_a_memory_is_reached_under_other_names() -> None:
    """The test above compares something: the market has keys, and other names give other ones."""
    ticks = as_ticks(replace(CALM, events=600))
    one, two = run([ticks], small(bits=8)), run([renamed(ticks, [2, 0, 1])], small(bits=8))
    assert (one.columns["key"] >= 0).sum() > 400
    assert one.finished["memory"]["count"].sum() > 20
    assert (one.columns["key"] != two.columns["key"]).mean() > 0.3


def events(
    said: Said, table: str, keys: tuple[str, ...], order: object, *, back: bool = False
) -> list[tuple[int, ...]]:
    """Rows of a table, in terms of the first run's streams."""
    place = np.argsort(np.array(order)) if back else np.arange(len(list(order)))
    columns = [np.concatenate([said.tables[table][key], said.finished[table][key]]) for key in keys]
    streams = ("stream", "legs")
    columns = [
        np.where(column < 0, -1, place[column]) if key in streams else column
        for key, column in zip(keys, columns, strict=True)
    ]
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=25)
@given(MARKETS, configs(), st.sampled_from([2.0, 2.0**-7, 3.0, 0.1]), st.booleans())
def test_the_unit_of_price_does_not_matter(ticks: Ticks, config: ModulesConfig, factor: float, in_ticks: bool) -> None:
    """All prices of the asset times a factor, and what an inverse contract is worth: the ghost scales, bp stay."""
    whole = in_ticks and factor == 3.0
    instruments = tuple(
        replace(
            i,
            tick_size=i.tick_size * (1.0 if whole or i.base != "BTC" else factor),
            contract_value=i.contract_value * (factor if i.inverse else 1.0),
        )
        for i in ticks.instruments
    )
    scaled = replace(ticks, instruments=instruments)
    if whole:
        times = np.array([3 if i.base == "BTC" else 1 for i in ticks.instruments])[ticks.stream]
        scaled = replace(
            scaled, **{name: getattr(ticks, name) * times for name in ("bid_ticks", "ask_ticks", "price_ticks")}
        )
    config = without_memory(config)
    one, two = run([ticks], config), run([scaled], config)
    assume(not on_threshold(one, config).any())
    tolerance = 1e-9 * travelled(one)
    for name in CONSENSUS:
        assert_close(one.columns[name], two.columns[name], name, tolerance)
    if np.isfinite(one.reference_price):
        assert two.reference_price == pytest.approx(factor * one.reference_price, rel=1e-12)
        ours, theirs = (said.reference_price * np.exp(1e-4 * said.columns["ghost_bp"]) for said in (one, two))
        np.testing.assert_allclose(theirs, factor * ours, rtol=1e-12)


CALM = Habits(
    events=2_000, streams=3, seed=3, ties=0.1, round_times=False, gaps=0.0, trades=0.2, trades_only=0.0,
    crossed=0.0, no_size=0.0, still=0.0, outages=0.0, late=0.0, coarse=False,
)  # fmt: skip
DEAD_FROM = 0.4


@settings(max_examples=20)
@given(HABITS, configs(), st.sampled_from([0.0, 1e6, np.nan]))
def test_what_a_dead_stream_last_said_is_forgotten(habits: Habits, config: ModulesConfig, poison: float) -> None:
    """Once it is stale, another last quote of it changes nothing but what is said of itself."""
    ticks = as_ticks(replace(habits, events=600, streams=max(2, habits.streams), late=0.0))
    dead = 0
    last = int(DEAD_FROM * len(ticks))
    keep = (np.arange(len(ticks)) < last) | (ticks.stream != dead)

    alive = rows(ticks, np.flatnonzero(keep))
    stale_ns = int(alive.ts_recv_ns[last - 1] + config.tensor_harness.stale_s * 1e9)
    cut = int(np.searchsorted(alive.ts_recv_ns, stale_ns, side="right")) + 1
    assume(last < cut < len(alive))
    answers = []
    for poisoned in (False, True):
        pipeline = Pipeline(alive.instruments, config, CLOCK)
        pipeline.step(rows(alive, np.s_[:cut]))
        if poisoned:
            for name in ("align.x", "align.half", "align.micro", "align.imbalance", "phase.x"):
                pipeline.state[name][dead] = poison
        answers.append(pipeline.step(rows(alive, np.s_[cut:])).signals)
    clean, changed = answers
    assert (clean.route[:, dead] != Route.OK).all()
    others = np.arange(len(ticks.instruments)) != dead
    for name in SIGNALS:
        one, two = getattr(clean, name), getattr(changed, name)
        if one.ndim == 2:
            one, two = one[:, others], two[:, others]
        np.testing.assert_array_equal(one, two, err_msg=name)


def test_a_dead_stream_stops_moving_the_ghost() -> None:
    """With one stream left, the ghost keeps a constant distance to it, however long the other is gone."""
    ticks = as_ticks(replace(CALM, streams=2))
    ticks = rows(ticks, np.flatnonzero((np.arange(2_000) < 500) | (ticks.stream == 1)))
    config = without_memory(small())
    config.tensor_harness.drifting_at = config.tensor_harness.critical_at = 1e9  # no compensation ahead
    said = run([ticks], config)
    gone = said.columns["route"][:, 0] == Route.STALE
    assert gone.sum() > 300
    apart = (said.columns["ghost_bp"] - said.columns["mid_bp"][:, 1])[gone]
    assert np.ptp(said.columns["mid_bp"][gone, 1]) > 1.0
    np.testing.assert_allclose(apart, apart[0], atol=1e-9)
