"""Training rows against their definition, row by row, and however the events are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.training.forecast_rows import RowCollector, Rows
from schwabot.training.skill_settings import SkillConfig

MS = 1_000_000
SKILL = SkillConfig(horizons_ms=(10, 70), grid_ms=10, grid_stale_ms=45)


def by_definition(ts: np.ndarray, quote: np.ndarray, mid: np.ndarray, last: int) -> list[tuple[int, bool, int, list]]:
    """Every row as (time, is a quote, event, outcomes), one after the other."""
    first = int(np.argmax(np.isfinite(mid).all(axis=1)))

    def as_of(t: int) -> int:
        return max(i for i in range(len(ts)) if ts[i] <= t)

    times = [(int(ts[i]), True, i) for i in range(first, len(ts)) if quote[i]]
    points = range(-(-int(ts[first]) // (10 * MS)) * 10 * MS, last + 1, 10 * MS)
    times += [(t, False, as_of(t)) for t in points if t - ts[as_of(t)] <= 45 * MS]
    kept = sorted((one for one in times if one[0] + 70 * MS <= last), key=lambda one: (one[0], not one[1]))
    return [(t, q, i, [mid[as_of(t + h * MS)] - mid[i] for h in (10, 70)]) for t, q, i in kept]


def collect(cuts: list[int], *columns: np.ndarray, **options: int) -> Rows:
    collector = RowCollector(2, SKILL, **options)
    edges = sorted({0, len(columns[0]), *(cut for cut in cuts if cut < len(columns[0]))})
    for low, high in pairwise(edges):
        collector.update(*(column[low:high] for column in columns))
    return collector.rows()


@given(
    seed=st.integers(0, 10**6),
    events=st.integers(8, 70),
    cuts=st.lists(st.integers(1, 69), max_size=5),
    early_ms=st.sampled_from([None, 0, 35, 130]),
    silent=st.booleans(),
)
@settings(max_examples=60)
def test_rows_are_those_of_the_definition(
    seed: int, events: int, cuts: list[int], early_ms: int | None, silent: bool
) -> None:
    rng = np.random.default_rng(seed)
    gaps = rng.integers(0, 30, events) * (rng.random(events) < 0.7)  # whole ms: ties, and outcomes that end on a stamp
    if silent:
        gaps[events // 2] += 5_000
    ts = (10**9 + np.cumsum(gaps)) * MS
    mid = np.cumsum(rng.normal(size=(events, 2)), axis=0)
    mid[:3, 0] = np.nan
    quote, features = rng.random(events) < 0.8, rng.normal(size=(events, 2, 9))
    options = {} if early_ms is None else {"until_ns": int(ts[-1]) - early_ms * MS}
    last = options.get("until_ns", int(ts[-1]))
    within = ts <= last
    if not np.isfinite(mid[within]).all(axis=1).any():
        return
    found = collect(cuts, ts, quote, mid, features, **options)
    expected = by_definition(ts[within], quote[within], mid[within], last)
    assert [(int(t), bool(q)) for t, q in zip(found.ts_ns, found.quote, strict=True)] == [one[:2] for one in expected]
    if expected:
        np.testing.assert_allclose(found.outcome_bp.transpose(0, 2, 1), [one[3] for one in expected], atol=1e-5)
        np.testing.assert_array_equal(found.features, features[[one[2] for one in expected]].astype(np.float32))


@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(1, 399), max_size=8))
@settings(max_examples=20)
def test_thinning_does_not_depend_on_the_cuts(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    ts = np.cumsum(rng.integers(0, 12, 400)) * MS
    columns = ts, rng.random(400) < 0.8, np.cumsum(rng.normal(size=(400, 2)), axis=0), rng.normal(size=(400, 2, 9))
    whole, every = collect([], *columns), collect([], *columns, max_rows=100)
    cut = collect(cuts, *columns, max_rows=100)
    assert 50 <= len(every) <= 100 < len(whole)
    assert every.every in (4, 8)
    for kind in (True, False):
        kept = whole.ts_ns[whole.quote == kind][:: every.every]
        np.testing.assert_array_equal(every.ts_ns[every.quote == kind], kept)
    np.testing.assert_array_equal(every.ts_ns, cut.ts_ns)
    np.testing.assert_array_equal(every.features, cut.features)


def test_before_every_stream_has_a_mid_there_is_no_row() -> None:
    collector = RowCollector(2, SKILL)
    collector.update(np.arange(5) * MS, np.ones(5, bool), np.full((5, 2), np.nan), np.zeros((5, 2, 9)))
    assert len(collector.rows()) == 0
