"""The pipeline, a row at a time: whoever decides hears of each row within microseconds, the record is made after.

    row ─▶ VenueClock.step ─▶ LiveStep ─▶ GhostChain ─▶ on_row(row, signals)     every row, at once
    all rows since the last one ─▶ StepRecord ─▶ sinks                           every RECORD_S

The same compiled graph on the same state as ``Pipeline``, so the same bits, as long as no answer has to be taken by a
fallback. Axis legend: N rows, V streams.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from schwabot.execution.ghost_chain import GhostChain
from schwabot.fallback import FallbackConfig
from schwabot.modules.graph import GraphOutput
from schwabot.modules.live import LiveStep
from schwabot.pipeline import Pipeline
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.market import Float64, Int8, Kind, Row, Ticks
from schwabot.ticks.merge import concat
from schwabot.ticks.rows import RowTicks, rows_of
from schwabot_kernels.graph.step import SMALL, WIDE

OnRow = Callable[[Row, SignalColumns], None]
"""Told of a quote or trade and the graph's answer to it: arrays [1] and [1, V] that the next row overwrites."""
_DEPTH = int(Kind.DEPTH)  # looked up once: a member of an enum is a call of Python code
_SIGNAL = {"mid": "mid_bp", "half": "half_spread_bp", "deviation": "deviation_bp", "phase": "phase_bp",
           "forecast": "forecast_bp"}  # fmt: skip
"""Fields of ``SignalColumns`` that ``WIDE`` and ``SMALL`` call otherwise."""
_NUMBERS = ("ghost_bp", "key", "entropy", "echo_bp", "expected_lag_bp", "penalty")
RECORD_S, RECORD_ROWS = 0.05, 4_096
"""A record is made of the rows of this long, or of this many."""
SWITCH_S = 0.0005
"""A thread that works gives way this soon to one that a message or an answer has come for; Python's own is ten times
as long."""


class _Heard(NamedTuple):
    """A batch and what was answered to its rows; lists by quote or trade, venue times by row."""

    ticks: Ticks
    ts_venue_ns: list[int]
    numbers: list[tuple[Any, ...]]
    wide: list[Float64]
    small: list[Int8]
    forecasts: list[Float64]


class LivePipeline(Pipeline):
    """``Pipeline`` on the CPU for batches of few rows; arguments are those of ``Pipeline``, and two more.

    Args:
        on_row: told of every row at once.
        fallback: when a part of the ghost's chain is left, and taken back; see ``GhostChain``.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> pipeline, heard = LivePipeline(feed.instruments), []
        >>> pipeline.on_row = lambda row, signals: heard.append(float(signals.ghost_bp[0]))
        >>> records = [pipeline.step(ticks) for ticks in feed.batches(100)]
        >>> sum(len(record.ts_recv_ns) for record in records), len(heard)
        (300, 300)
    """

    def __init__(
        self, *args: Any, on_row: OnRow | None = None, fallback: FallbackConfig | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fallback = fallback
        """When a link of the ghost's chain is left, and taken back; as it is at the first row."""
        self._chain: GhostChain | None = None
        self.on_row = on_row
        """Called with each row, before the next one is looked at; an error it raises ends the step there."""
        self._live: LiveStep | None = None

    def step(self, ticks: Ticks, ahead: Ticks | None = None) -> StepRecord:
        """Answer one batch of N ≥ 1 rows, each by itself; one thread at a time. ``ahead`` is not looked at."""
        return self._told([self._hear(ticks)])[1]

    def answers(self, chunks: Iterable[Ticks]) -> Iterator[tuple[Ticks, StepRecord]]:
        """Answer each row at once, and say what was answered about every ``RECORD_S``, and when none came for a while.

        A record costs as much as twenty rows: one for every few rows would keep the next ones waiting.
        """
        heard: list[_Heard] = []
        due_s, rows = 0.0, 0
        with _at_hand():
            for ticks in chunks:
                due_s = due_s if heard else time.monotonic() + RECORD_S
                heard.append(self._hear(ticks))
                rows += len(ticks)
                if not len(ticks) or rows >= RECORD_ROWS or time.monotonic() >= due_s:
                    yield self._told(heard)
                    heard, rows = [], 0
            if heard:
                yield self._told(heard)

    def _hear(self, ticks: Ticks) -> _Heard:
        """Answer rows and tell of them, and nothing else before that."""
        live, chain = self._bound()
        heard = _Heard(ticks, [], [], [], [], [])
        on_row, one, clock, answer = self.on_row, self._one, self.clock, live.answer
        places = self._places
        for values in ticks.rows if isinstance(ticks, RowTicks) else rows_of(ticks):
            recv, event, emit, stream, kind, *rest = values
            venue_ns, latency_ns = clock.step(stream, kind, recv, event, emit)
            heard.ts_venue_ns.append(venue_ns)
            if kind == _DEPTH:
                continue
            said = live.step(*(recv, stream, kind, *rest, latency_ns))
            if chain.busy or not chain.fine(stream):
                said = chain.settle(recv, stream, said)
            if on_row is not None:
                for place, number in zip(places, said, strict=False):
                    place[0] = number
                on_row(Row._make((*values, venue_ns)), one)
            heard.numbers.append(said[: len(_NUMBERS)])
            heard.wide.append(answer.wide.copy())
            heard.small.append(answer.small.copy())
            heard.forecasts.append(answer.forecasts.copy())
        return heard

    def _told(self, heard: Sequence[_Heard]) -> tuple[Ticks, StepRecord]:
        """The rows that were heard as one batch, and the record of them."""
        live, chain = self._bound()
        ticks = _joined([part.ticks for part in heard])
        numbers = [said for part in heard for said in part.numbers]
        wide, small, forecasts = (
            np.concatenate([like[:0], *(values for part in heard for values in getattr(part, name))]).reshape(
                len(numbers), *like.shape
            )
            for name, like in live.answer._asdict().items()
        )
        by_name = zip(*numbers, strict=True) if numbers else [()] * len(_NUMBERS)
        signals = _columns(
            wide.transpose(1, 0, 2), small.transpose(1, 0, 2), forecasts.transpose(0, 2, 1),
            [np.array(column, _kind(name)) for name, column in zip(_NUMBERS, by_name, strict=True)],
        )  # fmt: skip
        ts_venue_ns = np.array([ts_ns for part in heard for ts_ns in part.ts_venue_ns], np.int64)
        output = GraphOutput(signals, *live.take())
        record = self._record(output, ticks, ts_venue_ns, ticks.kind != Kind.DEPTH)
        switches = chain.take()
        return ticks, replace(record, fallbacks=(*switches, *record.fallbacks)) if switches else record

    def _bound(self) -> tuple[LiveStep, GhostChain]:
        """The step, bound to the state and the graph there are now: ``load`` and ``retune`` bring others."""
        live, chain = self._live, self._chain
        if live is None or chain is None or live.state is not self._graph_state or live.graph is not self.graph:
            self._live = live = LiveStep(self.graph, self._graph_state)
            self._chain = chain = GhostChain(live, self.fallback, chain)
            answer = live.answer
            self._places: list[Any] = [np.zeros(1, _kind(name)) for name in _NUMBERS]
            self._one = _columns(
                answer.wide[:, None], answer.small[:, None], answer.forecasts.T[None],
                self._places,
            )  # fmt: skip
        return live, chain


class RecordedPipeline(LivePipeline):
    """The answers of ``LivePipeline``, the ghost's chain included, to a recording: in batches, twenty times as fast.

    A batch is answered as ``Pipeline`` does. Where the chain would have had something to do in it, what is remembered
    is put back, and its rows are answered one by one.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> pipeline = RecordedPipeline(feed.instruments)
        >>> sum(len(record.ts_recv_ns) for _, record in pipeline.answers(feed.batches(100)))
        300
    """

    def __init__(self, *args: Any, fallback: FallbackConfig | None = None, **kwargs: Any) -> None:
        super().__init__(*args, fallback=fallback, **kwargs)
        self._bound()

    def step(self, ticks: Ticks, ahead: Ticks | None = None) -> StepRecord:
        """Answer one batch; ``ahead`` is not looked at."""
        chain = self._chain
        if chain is None or chain.busy:
            return super().step(ticks)
        before = {name: tensor.clone() for name, tensor in self.state.items()}
        record = Pipeline.step(self, ticks)
        self._live = None  # rings may have grown, of which it would not know
        if chain.fine_throughout(record.stream, record.signals):
            return record
        self._go_on_from(before)
        return super().step(ticks)

    def answers(self, chunks: Iterable[Ticks]) -> Iterator[tuple[Ticks, StepRecord]]:
        """Answer a recording, batch by batch."""
        return Pipeline.answers(self, chunks)


def _joined(parts: Sequence[Ticks]) -> Ticks:
    one_by_one = [part for part in parts if isinstance(part, RowTicks)]
    if len(one_by_one) < len(parts):
        return concat(parts)
    return RowTicks.of(parts[0].instruments, [row for part in one_by_one for row in part.rows])


@contextmanager
def _at_hand() -> Iterator[None]:
    """Let threads take turns often, and let the garbage collector leave alone what there is before the first row."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before_s)


def _kind(name: str) -> type:
    return np.int64 if name == "key" else np.float64


def _columns(wide: Any, small: Any, forecasts: Any, numbers: Any) -> SignalColumns:
    """wide [9, N, V], small [4, N, V], forecasts [N, V, H], numbers [6][N]."""
    named = dict(zip((*WIDE, *SMALL), (*wide, *small), strict=True))
    return SignalColumns(
        **{_SIGNAL.get(name, name): values for name, values in named.items()},
        **dict(zip(_NUMBERS, numbers, strict=True)),
        forecasts_bp=forecasts,
    )
