"""The skill meter against hand-made numbers, known truths and a brute-force reference."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import ConfigError, UnsortedTimeError
from schwabot.records.market import Float64, Int64, Kind
from schwabot.training.skill import SkillConfig, SkillMeter
from tests.training.making import EPOCH_NS, Market, instruments, random_market

MS = 1_000_000
Summary = dict[str, dict[str, dict[str, Any]]]


def measure(market: Market, config: SkillConfig, cuts: list[int] | None = None, **more: Any) -> Summary:
    meter = SkillMeter(instruments(market.mid_bp.shape[1]), config, **more)
    for record in market.records(cuts or []):
        meter.update(record)
    return meter.summary()


def quotes(ts_ns: Int64, mid_bp: Float64, deviation_bp: Float64) -> Market:
    return Market(ts_ns, mid_bp, deviation_bp, np.full(len(ts_ns), Kind.QUOTE, np.int8))


def test_by_hand() -> None:
    """Five rows, h = 10 ms: outcomes 2, 4, 2, then two rows whose outcome lies past the end."""
    ts = EPOCH_NS + MS * np.array([0, 20, 40, 60, 61])
    mid = np.array([[0.0], [2.0], [6.0], [8.0], [9.0]])
    # x(t+10 ms) is the row's own mid until the next event, so outcomes need events inside the horizon.
    ts[1], ts[2], ts[3] = ts[0] + 10 * MS, ts[0] + 20 * MS, ts[0] + 30 * MS
    d = np.array([[1.0], [2.0], [1.0], [5.0], [5.0]])
    config = SkillConfig(horizons_ms=(10,), prior_bp2=1.0, draws=0)
    cell = measure(quotes(ts, mid, d), config)["venuea:X/Y"]["10"]
    # y = 2, 4, 2, 0 (row 3 ends at 40 ms, before the event at 61). Slopes: row 0 and row 1 know nothing (row 0 is
    # known at 10 ms, not before); row 2 knows row 0: 1*2/(1+1) = 1; row 3 knows rows 0-1: (2+8)/(1+4+1) = 5/3.
    errors = [2.0, 4.0, 2.0 - 1.0, 0.0 - 5 * 5 / 3]
    assert cell["n"] == 4
    assert cell["r2"] == pytest.approx(1 - sum(e * e for e in errors) / (4 + 16 + 4))
    assert cell["corr"] == pytest.approx(np.corrcoef(d[:4, 0], [2.0, 4.0, 2.0, 0.0])[0, 1])
    assert cell["r2_ci"] == [None, None]
    assert cell["placebo"] is None


def test_as_of_takes_the_last_of_a_tie() -> None:
    ts = EPOCH_NS + MS * np.array([0, 10, 10, 10, 11])
    mid = np.array([[0.0], [1.0], [5.0], [7.0], [99.0]])
    seen: list[float] = []
    measure(
        quotes(ts, mid, np.ones((5, 1))),
        SkillConfig(horizons_ms=(10,)),
        observer=lambda h, t, forecast, y: seen.extend(y[:, 0].tolist()),
    )
    assert seen == [7.0]


def test_rows_start_when_every_stream_is_there_and_are_quotes() -> None:
    ts = EPOCH_NS + MS * np.arange(6)
    mid = np.array([[0, math.nan], [1, math.nan], [1, 5], [2, 5], [2, 6], [3, 6]], dtype=float)
    kind = np.array([Kind.QUOTE, Kind.QUOTE, Kind.QUOTE, Kind.TRADE, Kind.QUOTE, Kind.QUOTE], np.int8)
    deviation = np.ones((6, 2))
    deviation[4, 1] = math.nan
    cells = measure(Market(ts, mid, deviation, kind), SkillConfig(horizons_ms=(1,)))
    assert (cells["venuea:X/Y"]["1"]["n"], cells["venuea:X/Y"]["1"]["excluded"]) == (2, 0)
    assert (cells["venueb:X/Y"]["1"]["n"], cells["venueb:X/Y"]["1"]["excluded"]) == (1, 1)


def follower(seed: int, share: float, span_s: int = 600, step_ms: int = 10, lag: int = 10) -> Market:
    """A leader (random walk) and a follower that is the leader 100 ms ago plus its own noise.

    The deviation says exactly what the leader's part of the next 100 ms will be, so over h = 100 ms the best linear
    forecast of the follower explains ``share`` of its variance.
    """
    rng = np.random.default_rng(seed)
    n = span_s * 1000 // step_ms
    leader = np.cumsum(rng.normal(size=n + lag))
    own = np.cumsum(rng.normal(size=n)) * math.sqrt(1 / share - 1)
    mid = np.stack([leader[lag:], leader[:n] + own], axis=1)
    deviation = np.stack([rng.normal(size=n), leader[lag:] - leader[:n]], axis=1)
    return quotes(EPOCH_NS + step_ms * MS * np.arange(n), mid, deviation)


@pytest.mark.parametrize("share", [0.8, 0.3, 0.05])
def test_a_delayed_follower_has_the_skill_it_was_given(share: float) -> None:
    cells = measure(follower(3, share), SkillConfig(horizons_ms=(100,), draws=500))
    cell = cells["venueb:X/Y"]["100"]
    assert cell["r2"] == pytest.approx(share, abs=0.03)
    assert cell["r2_grid"] == pytest.approx(share, abs=0.03)
    assert cell["r2_without_top3"] == pytest.approx(share, abs=0.03)
    # Nine of the ten steps inside the horizon are left from 1 ms on: at 10 ms steps nothing is lost.
    assert cell["r2_after_1ms"] == pytest.approx(share, abs=0.03)
    assert cell["corr"] == pytest.approx(math.sqrt(share), abs=0.03)
    assert cell["r2_ci"][0] < share < cell["r2_ci"][1]
    assert cell["r2_ci"][1] - cell["r2_ci"][0] < 0.1
    assert abs(cell["placebo"]) < 0.02
    noise = cells["venuea:X/Y"]["100"]
    assert abs(noise["corr"]) < 0.02
    assert noise["r2_ci"][0] < 0.001


def test_noise_has_no_skill_and_the_interval_covers_zero() -> None:
    """A useless forecast pays a little for its slope, so its interval lies around zero or a hair below, never above."""
    markets = [follower(seed, 0.5, span_s=120) for seed in range(40)]
    cells = [measure(m, SkillConfig(horizons_ms=(10,), draws=300))["venuea:X/Y"]["10"] for m in markets]
    assert sum(cell["r2_ci"][0] > 0 for cell in cells) <= 2
    assert all(cell["r2_ci"][1] > -0.005 for cell in cells)
    assert all(-0.01 < cell["r2"] < 0.002 for cell in cells)
    assert abs(np.mean([cell["corr"] for cell in cells])) < 0.01


def test_a_shuffled_future_makes_skill_vanish() -> None:
    market = follower(5, 0.8)
    rng = np.random.default_rng(6)
    shuffled = np.cumsum(rng.permutation(np.diff(market.mid_bp[:, 1], prepend=0.0)))
    mixed = quotes(market.ts_ns, np.stack([market.mid_bp[:, 0], shuffled], axis=1), market.deviation_bp)
    cell = measure(mixed, SkillConfig(horizons_ms=(100,)))["venueb:X/Y"]["100"]
    assert abs(cell["r2"]) < 0.01
    assert abs(cell["corr"]) < 0.05


@given(seed=st.integers(0, 10**6), at=st.integers(1, 399), tied=st.sampled_from([0.0, 0.5]))
@settings(max_examples=40)
def test_no_forecast_looks_ahead(seed: int, at: int, tied: float) -> None:
    """Another future from event ``at`` on changes no forecast of an earlier event, ties included."""
    rng = np.random.default_rng(seed)
    market = random_market(rng, 400, 3, mean_gap_ms=20, tied=tied, trades=0.0)
    mid, deviation = market.mid_bp.copy(), market.deviation_bp.copy()
    mid[at:] += rng.normal(size=mid[at:].shape)
    deviation[at:] += rng.normal(size=deviation[at:].shape)
    changed = Market(market.ts_ns, mid, deviation, market.kind)

    def forecasts(m: Market) -> dict[float, Float64]:
        found: dict[float, list[Float64]] = {}
        measure(m, SkillConfig(block_s=0.5), observer=lambda h, t, f, y: found.setdefault(h, []).append(f))
        return {h: np.concatenate(f) for h, f in found.items()}

    before, after = forecasts(market), forecasts(changed)
    skipped = int(np.isnan(market.mid_bp).any(axis=1).sum())
    for h, values in before.items():
        kept = max(0, at - skipped)
        np.testing.assert_array_equal(values[:kept], after[h][:kept])


def reference(m: Market, config: SkillConfig) -> Summary:
    """The definition, in plain Python loops."""
    valid = [i for i in range(len(m)) if np.isfinite(m.mid_bp[i]).all()]
    t = [int(x) for x in m.ts_ns]
    end = t[-1]

    def as_of(time: int) -> int:
        at = bisect_right(t, time) - 1
        return at if at >= valid[0] else -1

    def score(rows: list[tuple[int, float, float]], h_ns: int, closed: bool) -> list[tuple[int, float, float, float]]:
        answer, known, dd, dy = [], 0, 0.0, 0.0
        for time, d, y in rows:
            while known < len(rows) and rows[known][0] + h_ns < time + closed:
                dd += rows[known][1] ** 2
                dy += rows[known][1] * rows[known][2]
                known += 1
            answer.append((time, d, y, dy / (dd + config.prior_bp2) * d))
        return answer

    def r2(scored: list[tuple[int, float, float, float]]) -> float | None:
        energy = sum(y * y for _, _, y, _ in scored)
        return 1 - sum((y - f) ** 2 for _, _, y, f in scored) / energy if energy > 0 else None

    result: Summary = {}
    first = valid[0]
    events = [i for i in range(first, len(m)) if m.kind[i] == Kind.QUOTE]
    step = int(config.grid_ms * MS)
    grid = list(range(-(-t[first] // step) * step, end + 1, step))
    for v in range(m.mid_bp.shape[1]):
        x, d = m.mid_bp[:, v], m.deviation_bp[:, v]
        result[f"venue{chr(97 + v)}:X/Y"] = by_horizon = {}
        for h in config.horizons_ms:
            h_ns = h * MS
            rows, late, stale, gridded = [], [], [], []
            for i in events:
                if t[i] + h_ns > end:
                    continue
                y = x[as_of(t[i] + h_ns)] - x[i]
                if np.isfinite(d[i]):
                    rows.append((t[i], d[i], y))
                    late.append((t[i], d[i], x[as_of(t[i] + h_ns)] - x[as_of(t[i] + MS)]))
                old = as_of(t[i] - int(config.placebo_s * 1e9))
                if old >= 0 and np.isfinite(d[old]):
                    stale.append((t[i], d[old], y))
            for g in grid:
                at = as_of(g)
                if g + h_ns <= end and np.isfinite(d[at]) and g - t[at] <= config.grid_stale_ms * MS:
                    gridded.append((g, d[at], x[as_of(g + h_ns)] - x[at]))
            scored = score(rows, h_ns, closed=False)
            block_ns = int(config.block_s * 1e9)
            energy: dict[int, float] = {}
            for time, _, y, _ in scored:
                energy[time // block_ns] = energy.get(time // block_ns, 0.0) + y * y
            top = sorted(energy, key=lambda b: -energy[b])[:3]
            by_horizon[str(h)] = {
                "n": len(rows),
                "r2": r2(scored),
                "r2_after_1ms": r2(score(late, h_ns, closed=False)),
                "r2_grid": r2(score(gridded, h_ns, closed=True)),
                "r2_without_top3": r2([s for s in scored if s[0] // block_ns not in top]),
                "placebo": r2(score(stale, h_ns, closed=False)),
            }
    return result


@given(
    seed=st.integers(0, 10**6),
    events=st.integers(30, 90),
    gap_ms=st.sampled_from([3.0, 12.0, 30.0]),
    cuts=st.lists(st.integers(1, 89), max_size=6),
)
@settings(max_examples=60)
def test_streaming_equals_the_definition(seed: int, events: int, gap_ms: float, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    market = random_market(rng, events, 2, gap_ms, tied=0.3)
    if not np.isfinite(market.mid_bp).all(axis=1).any():
        return
    market.ts_ns[:] = market.ts_ns // MS * MS  # whole milliseconds: outcomes end on stamps of other events
    config = SkillConfig(
        horizons_ms=(1, 10, 100, 1000), block_s=0.2, placebo_s=0.3, draws=0, grid_ms=5, grid_stale_ms=25
    )
    found, expected = measure(market, config, cuts), reference(market, config)
    for stream, by_horizon in expected.items():
        for h, numbers in by_horizon.items():
            for name, value in numbers.items():
                got = found[stream][h][name]
                assert got == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), (stream, h, name)


@given(
    seed=st.integers(0, 10**6), cuts=st.lists(st.integers(1, 2999), max_size=40), gap_ms=st.sampled_from([0.2, 15.0])
)
@settings(max_examples=15)
def test_no_cut_changes_a_bit(seed: int, cuts: list[int], gap_ms: float) -> None:
    market = random_market(np.random.default_rng(seed), 3000, 3, gap_ms, tied=0.2)
    config = SkillConfig(draws=50)
    assert measure(market, config, cuts) == measure(market, config)


def test_one_event_at_a_time_and_summaries_on_the_way() -> None:
    market = random_market(np.random.default_rng(8), 4000, 2, 6.0, tied=0.2)
    config = SkillConfig(draws=50)
    meter = SkillMeter(instruments(2), config)
    halves = []
    for i, record in enumerate(market.records(range(1, len(market)))):
        meter.update(record)
        if i == 1999:
            halves.append(meter.summary())
    assert meter.summary() == meter.summary() == measure(market, config)
    assert halves == [measure(market.head(2000), config)]


def test_memory_is_bounded() -> None:
    """An hour of events leaves only a few seconds of rows behind."""
    meter = SkillMeter(instruments(2), SkillConfig())
    market = random_market(np.random.default_rng(1), 200_000, 2, 18.0)
    most = 0
    for record in market.records(range(0, len(market), 5000)):
        meter.update(record)
        most = max(most, len(meter._events))
    assert market.ts_ns[-1] - market.ts_ns[0] > 3000 * 10**9
    assert most < 5000 + 20 * 1000 / 18 * 1.5


def test_a_long_silence_costs_nothing() -> None:
    ts = EPOCH_NS + np.concatenate([np.arange(500), np.arange(500) + 10**9]) * 10 * MS
    rng = np.random.default_rng(2)
    market = quotes(ts, np.cumsum(rng.normal(size=(1000, 1)), axis=0), rng.normal(size=(1000, 1)))
    cell = measure(market, SkillConfig(horizons_ms=(10,)))["venuea:X/Y"]["10"]
    assert cell["n"] == 999


def test_auto_stops_at_its_limit_wherever_the_cut_is() -> None:
    market = random_market(np.random.default_rng(4), 900, 2, 20.0)
    config = SkillConfig(max_events=500, draws=0)
    meter = SkillMeter(instruments(2), config)
    for record in market.records([300, 600]):
        meter.update(record)
    assert "first 500 events" in meter.note
    assert meter.summary() == measure(market.head(500), config)
    assert measure(market, SkillConfig(max_events=500, draws=0, enabled="on")) == measure(market, SkillConfig(draws=0))
    assert measure(market, SkillConfig(enabled="off")) == {}


def test_other_predictors_stand_beside_the_ghost() -> None:
    market = follower(9, 0.5, span_s=60)
    meter = SkillMeter(
        instruments(2),
        SkillConfig(horizons_ms=(100,), draws=0),
        predictors={
            "ghost": lambda record: record.signals.deviation_bp,
            "half": lambda record: 0.5 * record.signals.deviation_bp,
            "nothing": lambda record: np.full_like(record.signals.mid_bp, np.nan),
        },
    )
    for record in market.records([1000]):
        meter.update(record)
    ghost, half, nothing = (meter.summary(name)["venueb:X/Y"]["100"] for name in ("ghost", "half", "nothing"))
    alone = measure(market, SkillConfig(horizons_ms=(100,), draws=0))["venueb:X/Y"]["100"]
    assert ghost == alone
    assert half["corr"] == pytest.approx(ghost["corr"])
    assert nothing["n"] == 0
    assert nothing["r2"] is None
    assert nothing["excluded"] == ghost["n"]
    with pytest.raises(ConfigError, match="no predictor 'x'"):
        meter.summary("x")


def test_rounding_noise_says_nothing() -> None:
    """It would correlate by chance; at a million times its size it is a predictor like any other."""
    market = follower(9, 0.5, span_s=30)
    noise = 1e-14 * np.random.default_rng(0).standard_normal((1_000_000, 2))
    size = {"noise": 1.0, "tiny": 1e6}
    meter = SkillMeter(
        instruments(2),
        SkillConfig(horizons_ms=(100,), draws=0),
        predictors={name: lambda record, by=by: by * noise[: len(record.ts_recv_ns)] for name, by in size.items()},
    )
    for record in market.records([]):
        meter.update(record)
    noisy, tiny = (meter.summary(name)["venueb:X/Y"]["100"] for name in size)
    assert noisy["n"] == tiny["n"] > 100
    assert noisy["corr"] is None
    assert tiny["corr"] is not None
    assert noisy["r2"] == 0.0


def test_bad_settings_and_bad_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="'auto', 'on' or 'off'"):
        SkillConfig(enabled="maybe")
    with pytest.raises(ConfigError, match="horizons_ms"):
        SkillConfig(horizons_ms=())
    with pytest.raises(ConfigError, match="grid_ms must be positive"):
        SkillConfig(grid_ms=0)
    market = random_market(np.random.default_rng(0), 20, 1, 1.0)
    first, second = market.records([10])
    meter = SkillMeter(instruments(1), SkillConfig())
    meter.update(second)
    with pytest.raises(UnsortedTimeError):
        meter.update(first)
    wrong = SkillMeter(instruments(1), SkillConfig(), predictors={"flat": lambda r: r.signals.ghost_bp})
    with pytest.raises(ConfigError, match="'flat' gave shape"):
        wrong.update(first)
    for answer, said in (
        (0.5, r"shape \(\) \(a float\)"),
        (None, "holds no numbers|NoneType"),
        ("x", "holds no numbers"),
    ):
        odd = SkillMeter(instruments(1), SkillConfig(), predictors={"odd": lambda r, answer=answer: answer})
        with pytest.raises(ConfigError, match=rf"'odd' gave .*({said})"):
            odd.update(first)


def test_records_helper_covers_the_run() -> None:
    market = random_market(np.random.default_rng(0), 50, 2, 1.0)
    records = market.records([7, 7, 30])
    assert [len(r.ts_recv_ns) for r in records] == [7, 23, 20]
    assert all(a.ts_recv_ns[-1] <= b.ts_recv_ns[0] for a, b in pairwise(records))
