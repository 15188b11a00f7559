"""The pipeline, a row at a time: whoever decides hears of each row within microseconds, the record is made after.

    row ─▶ VenueClock.step ─▶ LiveStep ─▶ GhostChain ─▶ on_row(row, signals)     every row, at once
    all rows of the batch ─▶ StepRecord ─▶ sinks                                 once per batch

The same compiled graph on the same state as ``Pipeline``, so the same bits, as long as no answer has to be taken by a
fallback. Axis legend: N rows, V streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from schwabot.execution.ghost_chain import GhostChain
from schwabot.fallback import FallbackConfig
from schwabot.modules.graph import GraphOutput
from schwabot.modules.live import LiveStep
from schwabot.pipeline import Pipeline
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.market import Kind, Row, Ticks
from schwabot_kernels.graph.step import SMALL, WIDE

OnRow = Callable[[Row, SignalColumns], None]
"""Told of a quote or trade and the graph's answer to it: arrays [1] and [1, V] that the next row overwrites."""
_READ = Row._fields[:-1]
_SIGNAL = {"mid": "mid_bp", "half": "half_spread_bp", "deviation": "deviation_bp", "phase": "phase_bp",
           "forecast": "forecast_bp"}  # fmt: skip
"""Fields of ``SignalColumns`` that ``WIDE`` and ``SMALL`` call otherwise."""
_NUMBERS = ("ghost_bp", "key", "entropy", "echo_bp", "expected_lag_bp", "penalty")


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
        live, chain = self._bound()
        count, answer = len(ticks), live.answer
        wide = np.empty((count, *answer.wide.shape))
        small = np.empty((count, *answer.small.shape), np.int8)
        forecasts = np.empty((count, *answer.forecasts.shape))
        numbers: list[tuple[Any, ...]] = []
        ts_venue_ns, is_row = np.empty(count, np.int64), ticks.kind != Kind.DEPTH
        on_row, one, clock, n = self.on_row, self._one, self.clock, 0
        columns = (getattr(ticks, name).tolist() for name in _READ)
        for i, values in enumerate(zip(*columns, strict=True)):
            recv, event, emit, stream, kind, *rest = values
            ts_venue_ns[i], latency_ns = venue_ns, _ = clock.step(stream, kind, recv, event, emit)
            if kind == Kind.DEPTH:
                continue
            said = live.step(*(recv, stream, kind, *rest, latency_ns))
            if chain.busy or not chain.fine(stream):
                said = chain.settle(recv, stream, said)
            wide[n], small[n], forecasts[n] = answer.wide, answer.small, answer.forecasts
            numbers.append(said[: len(_NUMBERS)])
            n += 1
            if on_row is not None:
                for name, number in zip(_NUMBERS, said, strict=False):
                    getattr(one, name)[0] = number
                on_row(Row._make((*values, venue_ns)), one)
        by_name = zip(*numbers, strict=True) if numbers else [()] * len(_NUMBERS)
        signals = _columns(
            wide[:n].transpose(1, 0, 2), small[:n].transpose(1, 0, 2), forecasts[:n].transpose(0, 2, 1),
            [np.array(column, _kind(name)) for name, column in zip(_NUMBERS, by_name, strict=True)],
        )  # fmt: skip
        record = self._record(GraphOutput(signals, *live.take()), ticks, ts_venue_ns, is_row)
        switches = chain.take()
        return replace(record, fallbacks=(*switches, *record.fallbacks)) if switches else record

    def _bound(self) -> tuple[LiveStep, GhostChain]:
        """The step, bound to the state and the graph there are now: ``load`` and ``retune`` bring others."""
        live, chain = self._live, self._chain
        if live is None or chain is None or live.state is not self._graph_state or live.graph is not self.graph:
            self._live = live = LiveStep(self.graph, self._graph_state)
            self._chain = chain = GhostChain(live, self.fallback, chain)
            answer = live.answer
            self._one = _columns(
                answer.wide[:, None], answer.small[:, None], answer.forecasts.T[None],
                [np.zeros(1, _kind(name)) for name in _NUMBERS],
            )  # fmt: skip
        return live, chain


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
