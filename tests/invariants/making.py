"""Markets as a feed gives them, and everything a pipeline says about them. N rows, V streams, L latencies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from schwabot.modules.graph import State, is_ring
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.audit import FallbackEvent, MemoryColumns, SignalColumns, StepRecord
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks.venue_clock import VenueClockConfig
from schwabot_kernels.rings import LISTS
from tests.kernels.making import ALL_HABITS, DECISIONS, WINDOWS, Habits, adversarial, settings

CLOCK = VenueClockConfig(window_s=2.0, bucket_ms=50)
COLUMNS = [field.name for field in fields(Ticks) if field.name not in ("instruments", "levels")]
MEMORY = [field.name for field in fields(MemoryColumns)]
SIGNALS = [field.name for field in fields(SignalColumns)]
ROWS = ("ts_recv_ns", "ts_event_ns", "ts_venue_ns", "stream", "kind")
TABLES = {
    "decisions": DECISIONS,
    "arbitrage": WINDOWS,
    "drift_events": ("ts_ns", "stream", "what", "before", "after", "drift"),
}

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Said:
    """All that a run said. ``finished`` is what only ``Pipeline.finish`` gave.

    columns: per event: signals and times, by name. [N, ...]
    tables: per table of ``TABLES``: its columns, by name.
    """

    columns: Columns
    tables: dict[str, Columns]
    finished: dict[str, Columns]
    fallbacks: list[FallbackEvent]
    reference_price: float
    state: State


def rows(ticks: Ticks, at: slice | np.ndarray) -> Ticks:
    """Some rows of ticks without levels."""
    return replace(ticks, **{name: getattr(ticks, name)[at] for name in COLUMNS})


def pieces(ticks: Ticks, edges: Iterable[int]) -> list[Ticks]:
    """Ticks cut before each of the given rows; no piece is empty."""
    at = sorted({0, len(ticks), *(edge for edge in edges if 0 < edge < len(ticks))})
    return [rows(ticks, np.s_[a:b]) for a, b in pairwise(at)]


def run(parts: Sequence[Ticks], config: ModulesConfig, state: State | None = None) -> Said:
    """Every batch through a new pipeline, the data ending with the last."""
    pipeline = Pipeline(parts[0].instruments, config, CLOCK, state=state)
    return said([pipeline.step(part) for part in parts], pipeline)


def said(records: list[StepRecord], pipeline: Pipeline) -> Said:
    """What a pipeline said of all its batches, the data ending with the last."""
    last = pipeline.finish()
    state = {name: tensor.clone() for name, tensor in pipeline.state.items()}
    return Said(
        columns={name: np.concatenate([getattr(record, name) for record in records]) for name in ROWS}
        | {name: np.concatenate([getattr(record.signals, name) for record in records]) for name in SIGNALS},
        tables=_tables(records),
        finished=_tables([last]) | {"memory": {name: getattr(last.memory, name) for name in MEMORY}},
        fallbacks=[event for record in records for event in record.fallbacks],
        reference_price=last.reference_price,
        state=state,
    )


def _tables(records: list[StepRecord]) -> dict[str, Columns]:
    return {
        table: {name: np.concatenate([getattr(getattr(record, table), name) for record in records]) for name in names}
        for table, names in TABLES.items()
    }


def assert_bits(one: np.ndarray, two: np.ndarray, what: str) -> None:
    """Equal bit for bit: the sign of a zero counts, which NaN it is does not."""
    assert one.shape == two.shape, what
    assert one.dtype == two.dtype, what
    if one.dtype.kind == "f":
        differ = (one != two) & ~(np.isnan(one) & np.isnan(two)) | (np.signbit(one) != np.signbit(two)) & (one == two)
    else:
        differ = one != two
    where = np.argwhere(differ)
    if len(where):
        at = tuple(where[0].tolist())
        raise AssertionError(f"{what}: {len(where)} of {one.size} differ, first at {at}: {one[at]!r}, {two[at]!r}")


def assert_same(one: Said, two: Said, *, state: bool = True) -> None:
    """Two runs said the same, bit for bit, and remember the same but for the number of batches."""
    for name in one.columns:
        assert_bits(one.columns[name], two.columns[name], name)
    for part in ("tables", "finished"):
        for table, columns in getattr(one, part).items():
            for name in columns:
                assert_bits(columns[name], getattr(two, part)[table][name], f"{part} {table}.{name}")
    assert one.fallbacks == two.fallbacks
    assert one.reference_price == two.reference_price or one.reference_price != one.reference_price
    if state:
        assert one.state.keys() == two.state.keys()
        for name in one.state.keys() - {"pipeline.batches"}:
            assert_bits(alive(one.state, name), alive(two.state, name), f"state {name}")


def alive(state: State, name: str) -> np.ndarray:
    """A part of the state; of a ring only the places that are in use, oldest first."""
    values: np.ndarray = state[name].numpy()
    if not is_ring(name):
        return values
    op, _, field = name.partition(".")
    first, stop, *listed = state[f"{op}.head"].tolist()
    if field in LISTS.get(op, ()):
        return values[: listed[0]]
    return values[np.arange(first, stop) & (len(values) - 1)]


# Markets


def as_ticks(habits: Habits, depth: float = 0.2, unstamped: float = 0.4) -> Ticks:
    """The adversarial market of these habits with the venues' stamps, some missing, and depth rows among the others."""
    market = adversarial(habits)
    rng = np.random.default_rng(habits.seed + 1)
    instruments = market.instruments
    batch = {name: getattr(market.batch, name).numpy() for name in market.batch.__dataclass_fields__}
    n, streams = habits.events, habits.streams
    ms = 1_000_000
    offset = rng.integers(-1_300 * ms, 1_300 * ms, streams)
    delay = offset[batch["stream"]] + rng.exponential(3 * ms, n).astype(np.int64)
    emit = batch["ts_ns"] - delay
    event = emit - rng.integers(0, 2 * ms, n)
    silent = (rng.random(streams) < unstamped)[batch["stream"]] & (batch["kind"] == Kind.QUOTE)
    emit[silent] = event[silent] = MISSING_NS
    event[rng.random(n) < 0.1] = MISSING_NS
    kind = batch["kind"].copy()
    only = np.array([i.trades_only for i in instruments])[batch["stream"]]
    kind[(rng.random(n) < depth) & (kind == Kind.QUOTE) & ~only] = Kind.DEPTH
    columns = {name: batch[name].copy() for name in COLUMNS if name in batch}
    return Ticks(
        instruments=instruments,
        ts_recv_ns=batch["ts_ns"].copy(),
        ts_event_ns=event,
        ts_emit_ns=emit,
        **columns | {"kind": kind},
    )


CODES = st.sampled_from([(4, 1), (8, 1), (8, 3), (16, 2), (42, 2)])


@st.composite
def configs(draw: st.DrawFn) -> ModulesConfig:
    """Settings under which a few hundred events reach every branch."""
    bits, tables = draw(CODES)
    return settings(draw(st.sampled_from(["weighted", "kalman"])), bits, tables, draw(st.sampled_from([5, 20])))


MARKETS = st.builds(as_ticks, ALL_HABITS)


@st.composite
def markets_of_one_shape(draw: st.DrawFn) -> tuple[Ticks, Ticks]:
    """A market, and another one of the same instruments."""
    habits = draw(ALL_HABITS)
    one = as_ticks(habits)
    other = as_ticks(replace(habits, seed=draw(st.integers(0, 2**32 - 1))))
    return one, replace(other, instruments=one.instruments)


def concat(*parts: Ticks) -> Ticks:
    """Ticks without levels, one after the other."""
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS})
