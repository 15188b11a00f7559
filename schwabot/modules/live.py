"""One event at a time through the same compiled graph, without torch. Axis legend: V streams."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from numba import types

from schwabot.errors import StateError, UnknownStreamError, UnsortedTimeError
from schwabot.modules.ghost_bridge import take_windows
from schwabot.modules.graph import Graph, State
from schwabot.modules.own_columns import market_of
from schwabot.modules.phantom_lag import take_decisions
from schwabot.records.audit import ArbitrageEvents, LagDecisions
from schwabot.records.market import MISSING_NS, Float64, Int8
from schwabot_kernels import tree
from schwabot_kernels.graph import cpu, step
from schwabot_kernels.graph.op import grown_state
from schwabot_kernels.graph.step import Answer


class LiveSignal(NamedTuple):
    """The graph's answer to one event; see ``SignalColumns`` for every field.

    The arrays [V], and a trained head's forecasts [V, H], are views that the next step overwrites: copy what is to be
    kept.
    """

    ghost_bp: float
    key: int
    entropy: float
    echo_bp: float
    expected_lag_bp: float
    penalty: float
    mid_bp: Float64
    half_spread_bp: Float64
    deviation_bp: Float64
    phase_bp: Float64
    drift: Float64
    forecast_bp: Float64
    snr: Float64
    bits: Float64
    voltage: Float64
    route: Int8
    status: Int8
    lane: Int8
    pays_fees: Int8
    forecasts_bp: Float64


class LiveStep:
    """The graph's compiled step, bound to a state that it moves on in place: the same bits as a batch, in microseconds.

    Args:
        graph: whose settings to use.
        state: of that graph; nobody else may move it on meanwhile. Its tensors are written to; where a ring grows,
            the dict gets the new tensor.

    Raises:
        StateError: the state does not belong to the graph.

    Example:
        >>> from schwabot.records.instrument import Instrument
        >>> graph = Graph([Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)])
        >>> live = LiveStep(graph, graph.initial_state())
        >>> signal = live.step(1_000, stream=0, kind=0, bid_ticks=99, ask_ticks=101, bid_lots=5, ask_lots=5)
        >>> signal.ghost_bp, signal.half_spread_bp.tolist(), signal.lane.tolist()
        (0.0, [100.0], [0])
    """

    def __init__(self, graph: Graph, state: State) -> None:
        graph.check_state(state)
        self.graph = graph
        self.state = state
        self._streams = len(graph.instruments)
        self._turn: list[None] = [None]  # holds one entry while no thread is in ``step``
        self._event = step.empty_event()
        self._work = graph.workspace()
        self._answer = step.empty_answer(self._streams, len(graph.horizons_ms))
        own = graph.own
        market = market_of(self._event, self._streams, len(own.columns) if own else 0)
        self._own = market.signals
        self._row = [getattr(market, name) for name in _ROW]
        self._fill = None if own is None else partial(own.fill, market, own.bind(state))
        self._params = graph.params
        self._views = (*self._answer.wide, *self._answer.small, self._answer.forecasts.T)
        self._bind(tree.from_dict(_TEMPLATE, state))
        # The dispatcher looks at the type of every argument on every call; they are always the same.
        self._run = step.step.compile((self._bound._numba_type_, *[types.int64] * len(self._event)))

    def _bind(self, parts: cpu.GraphState) -> None:
        self._parts = parts
        self._last_ns = int(parts.align.clock[0])
        self._bound = step.bind(self._event, self._own, self.graph.table, self._params, parts, self._work, self._answer)

    def use(self, params: cpu.GraphParams) -> None:
        """Answer with other settings than the graph's from the next event on; what is remembered stays.

        Args:
            params: the graph's, with other values.
        """
        self._params = params
        self._bind(self._parts)

    def step(
        self,
        ts_ns: int,
        stream: int,
        kind: int,
        bid_ticks: int,
        ask_ticks: int,
        bid_lots: int,
        ask_lots: int,
        price_ticks: int = 0,
        qty_lots: int = 0,
        side: int = 0,
        latency_ns: int = MISSING_NS,
    ) -> LiveSignal:
        """Answer one event; one thread at a time.

        Args:
            ts_ns: receive time, not before the last event's.
            stream: index into the graph's instruments.
            kind: ``Kind.QUOTE`` or ``Kind.TRADE``; DEPTH rows are no events of the graph.
            bid_ticks: bid of a quote, 0 for a trade.
            ask_ticks: ask of a quote, 0 for a trade.
            bid_lots: quantity at the bid.
            ask_lots: quantity at the ask.
            price_ticks: of a trade.
            qty_lots: of a trade, 0 where unknown.
            side: of a trade: +1 the buyer was the aggressor, -1 the seller, 0 unknown.
            latency_ns: the stream's usual feed delay.

        Raises:
            UnsortedTimeError: time runs backwards.
            UnknownStreamError: no such stream.
            StateError: another thread is in this step.
        """
        if ts_ns < self._last_ns:
            raise UnsortedTimeError(f"the event's time {ts_ns} ns is before the last one's, {self._last_ns} ns")
        if not 0 <= stream < self._streams:
            raise UnknownStreamError(f"stream {stream} is none of the graph's {self._streams}")
        event = (ts_ns, stream, kind, bid_ticks, ask_ticks, bid_lots, ask_lots, price_ticks, qty_lots, side, latency_ns)
        try:
            self._turn.pop()  # some 20 ns with the append below
        except IndexError:
            raise StateError(
                "another thread is in this LiveStep, whose state they would share: one per thread"
            ) from None
        try:
            if self._fill is not None:
                for column, value in zip(self._row, event, strict=False):
                    column[0] = value
                self._fill()
            answer = self._run(self._bound, *event)
            if answer[1] == step.NO_ROOM:
                grown = grown_state(self._parts)
                self.state.update(tree.to_dict(grown))
                self._bind(grown)
                answer = self._run(self._bound, *event)
            self._last_ns = ts_ns
            # What LiveSignal(...) does, without its generated constructor, which takes longer than the rest of this.
            return tuple.__new__(LiveSignal, answer + self._views)
        finally:
            self._turn.append(None)

    @property
    def answer(self) -> Answer:
        """The arrays that every step overwrites; ``LiveSignal``'s are views of them."""
        return self._answer

    def take(self) -> tuple[LagDecisions, ArbitrageEvents]:
        """Decisions and arbitrage windows completed since the last call; until taken they stay in the state."""
        decisions = take_decisions(self._parts.lag, int(self._parts.lag.pending.min()))
        return decisions, take_windows(self._parts.arbitrage, self.graph.params.arbitrage)


_ROW = ("ts_ns", "leg", "kind", "bid", "ask", "bid_lots", "ask_lots", "price", "lots", "side")
"""Fields of ``Market`` in the order of an event's."""
_TEMPLATE = cpu.empty_state(streams=1, bits=4, tables=1, seed=0, slots=1, latencies=1, v0=0.8, capacity=1)
