"""The five modules as one graph. Axis legend: N events, V streams, L latencies.

``Graph`` runs all of them in one fused compiled pass; ``forward`` is functional (the state passed in is left alone),
``advance`` moves a state on in place, which is what the engine does with the state it owns; ``by_module`` runs the five
one after the other, with the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from schwabot.errors import StateError, UnknownStreamError, UnsortedTimeError
from schwabot.modules.checkpoint import load_state, save_state
from schwabot.modules.forecast import Forecast, ForecastHead
from schwabot.modules.ghost_bridge import GhostBridge, take_windows
from schwabot.modules.hash_registry import HashRegistry
from schwabot.modules.own_columns import OwnColumns
from schwabot.modules.phantom_lag import PhantomLag, finish_decisions, take_decisions
from schwabot.modules.settings import ModulesConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import TensorHarness
from schwabot.modules.voltage_lanes import VoltageLanes
from schwabot.records.audit import ArbitrageEvents, LagDecisions, SignalColumns
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels import tree
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.graph import cpu as kernel
from schwabot_kernels.graph.columns import ColumnMemory
from schwabot_kernels.graph.op import flat_params, grown_state
from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.rings import is_ring
from schwabot_kernels.scalar import MISSING_NS

__all__ = ["Graph", "GraphOutput", "State", "is_ring"]

Table = TypeVar("Table", LagDecisions, ArbitrageEvents)


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """What a batch gave: signals per event, and the decisions and windows that were completed in it."""

    signals: SignalColumns
    decisions: LagDecisions
    arbitrage: ArbitrageEvents


class Graph(torch.nn.Module):
    """Ticks in, signals out: TensorHarness, GhostBridge, HashRegistry, PhantomLag, VoltageLanes.

    Args:
        instruments: V instruments, sorted by stream name, as the feed gives them.
        config: settings of the five modules.
        trades_only: streams whose price is their last trade, beside those whose instrument says so.
        head: a trained forecast; None = deviation times an online slope.
        own: computes the head's columns of the user's own, where it has any.

    Shape:
        batch [N]; signals [N], [N, V] and [N, V, H].

    Raises:
        ConfigError: a setting is out of range, or the instruments are of several assets, of which some are no rates.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> batch = TickBatch.from_ticks(next(iter(feed.batches())))
        >>> graph = Graph(feed.instruments)
        >>> output, state = graph(batch, graph.initial_state())
        >>> output.signals.deviation_bp.shape
        (300, 4)
        >>> [name for name, _ in graph.named_children()]
        ['tensor_harness', 'ghost_bridge', 'hash_registry', 'phantom_lag', 'voltage_lanes']
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: ModulesConfig | None = None,
        trades_only: Sequence[str] = (),
        head: ForecastHead | None = None,
        own: OwnColumns | None = None,
    ) -> None:
        super().__init__()
        self.instruments = tuple(instruments)
        self.config = config or ModulesConfig()
        self.config.check()
        bridge, registry = self.config.ghost_bridge, self.config.hash_registry
        ghost_bridge = GhostBridge(self.instruments, bridge, trades_only, self.config.phantom_lag.latency_ms)
        self.tensor_harness = TensorHarness(
            self.instruments, self.config.tensor_harness, trades_only, bridge.latency_max_ms, ghost_bridge.rate
        )
        self.ghost_bridge = ghost_bridge
        self.ghost_bridge.forecast = Forecast(
            self.instruments,
            head,
            trades_only,
            self.config.voltage_lanes.horizon_ms,
            registry.horizon_ms,
            own if head else None,
        )
        self.hash_registry = HashRegistry(self.instruments, registry)
        self.phantom_lag = PhantomLag(
            self.instruments, self.config.phantom_lag, bridge.desync_bp, registry.horizon_ms, trades_only
        )
        self.voltage_lanes = VoltageLanes(
            self.instruments,
            self.config.voltage_lanes,
            trades_only,
            self.config.phantom_lag.latency_ms,
            bridge.latency_max_ms,
        )
        self.table = self.tensor_harness.table
        self.params = self._params()
        self._horizons = len(self.horizons_ms)
        self._work = self.workspace()
        self._memory = ColumnMemory()
        # Holds one entry while nobody uses the two. A list, because a lock can't be copied or pickled; pop is atomic.
        self._turn: list[None] = [None]
        self._names = set(self.initial_state())

    def workspace(self) -> kernel.Workspace:
        """Scratch of one block for this graph's settings."""
        registry, own = self.config.hash_registry, self._forecast.own
        columns = len(own.columns) if own else 0
        return kernel.workspace(len(self.instruments), registry.bits, registry.tables, self._horizons, columns)

    def _params(self) -> kernel.GraphParams:
        """Settings in the kernels' units."""
        harness, bridge, delay = self.tensor_harness, self.ghost_bridge, self.phantom_lag
        return kernel.GraphParams(
            latency_max_ns=harness.latency_max_ns,
            phase=harness.params,
            estimator=kernel.KALMAN if bridge.estimator == "kalman" else kernel.WEIGHTED,
            consensus=bridge.params,
            q_bp2_per_s=bridge.q_bp2_per_s,
            r_bp2=bridge.r_bp2,
            registry=self.hash_registry.params,
            lag=delay.params,
            latencies_ns=delay.latencies_ns,
            arbitrage=bridge.traded,
            lanes=self.voltage_lanes.params,
            style_fee_bp=self.voltage_lanes.style_fee_bp,
            head=self._forecast.params,
        )

    @property
    def own(self) -> OwnColumns | None:
        """What computes the head's columns of the user's own, if it has any."""
        return self._forecast.own

    @property
    def _forecast(self) -> Forecast:
        part = self.ghost_bridge.forecast
        assert isinstance(part, Forecast)
        return part

    @property
    def horizons_ms(self) -> tuple[float, ...]:
        """The H horizons of the trained forecast; none without a head."""
        return self._forecast.horizons_ms

    def _modules_in_order(self) -> tuple[Stateful, ...]:
        return (
            self.tensor_harness,
            self.ghost_bridge,
            self.hash_registry,
            self.phantom_lag,
            self.voltage_lanes,
            self._forecast,
        )

    def initial_state(self) -> State:
        """State before the first event: the states of the five modules together."""
        state: State = {}
        for module in self._modules_in_order():
            state |= module.initial_state()
        return state

    def check_state(self, state: State) -> None:
        """Raise StateError when ``state`` does not belong to a graph of this shape and these settings."""
        if self._names != state.keys():
            odd = sorted(self._names ^ state.keys())
            raise StateError(f"state has missing or unknown parts: {', '.join(odd[:5])}; was it saved by this version?")
        for module in self._modules_in_order():
            module.check_state(state)

    def save(self, state: State, file: str | Path) -> None:
        """Write a state to a file, whole or not at all.

        Args:
            state: of this graph.
            file: where to.

        Raises:
            StateError: ``state`` does not belong to this graph.
        """
        self.check_state(state)
        save_state(file, [i.stream for i in self.instruments], state)

    def load(self, file: str | Path) -> State:
        """Read a state that ``save`` wrote.

        Args:
            file: where from.

        Raises:
            StateError: it is no whole state, or does not fit this graph; the message says why.
            FileNotFoundError: there is no such file.
        """
        state = load_state(file, [i.stream for i in self.instruments])
        try:
            self.check_state(state)
        except StateError as error:
            raise StateError(f"{file}: {error}") from None
        return state

    def forward(self, batch: TickBatch, state: State) -> tuple[GraphOutput, State]:
        """Run N events through the graph in one fused pass; returns the answers and the state after them.

        ``state`` is left as it was. One call on N events equals any split into several, bit for bit.
        """
        self.check_state(state)
        self.check_batch(batch, state)
        like = tree.to_dict(TEMPLATE)
        numbers, arrays = flat_params(self.params)
        after = {name: tensor.clone() for name, tensor in state.items() if name not in like}
        out = graph_op(
            [getattr(batch, name).cpu() for name in Events._fields],
            self.own_columns(batch, after),
            tree.leaves(self.table),
            numbers,
            arrays,
            [state[name] for name in like],
        )
        count = len(kernel.GraphColumns._fields)
        after |= dict(zip(like, out[count:], strict=True))
        parts = self._like(after)
        columns = kernel.GraphColumns._make(column.numpy() for column in out[:count])
        return (
            GraphOutput(
                signals_of(columns),
                take_decisions(parts.lag, int(parts.lag.pending.min())),
                take_windows(parts.arbitrage, self.params.arbitrage),
            ),
            {name: after[name] for name in state},
        )

    def advance(self, batch: TickBatch, state: State) -> GraphOutput:
        """Like ``forward``, but moves ``state`` on in place.

        All calls write into one scratch memory of this graph, so one thread at a time may be in here, whatever the
        states; ``forward`` takes memory of its own.

        Raises:
            StateError: another thread is in here.
        """
        try:
            self._turn.pop()
        except IndexError:
            raise StateError(
                "another thread is in this graph's advance, whose scratch memory they would share: one Graph per thread"
            ) from None
        try:
            return self._advance(batch, state)
        finally:
            self._turn.append(None)

    def _advance(self, batch: TickBatch, state: State) -> GraphOutput:
        self.check_batch(batch, state)
        events = Events(*(getattr(batch, name).cpu().contiguous().numpy() for name in Events._fields))
        own = self.own_columns(batch, state).numpy()
        columns = self._memory.columns(len(batch), len(self.instruments), self._horizons)
        parts = self._like(state)
        decisions: list[LagDecisions] = []
        windows: list[ArbitrageEvents] = []
        row = 0
        while True:
            row = kernel.graph_pass(row, events, own, self.table, self.params, parts, self._work, columns)
            decisions.append(take_decisions(parts.lag, int(parts.lag.pending.min())))
            windows.append(take_windows(parts.arbitrage, self.params.arbitrage))
            if row == len(batch):
                break
            parts = grown_state(parts)
            state.update(tree.to_dict(parts))
        return GraphOutput(signals_of(columns), _join(decisions), _join(windows))

    def by_module(self, batch: TickBatch, state: State) -> tuple[GraphOutput, State]:
        """Like ``forward``, through the five modules one after the other: slower, with every step in the open."""
        self.check_state(state)
        self.check_batch(batch, state)
        timeline, harness = self.tensor_harness(batch, state)
        ghost, bridge = self.ghost_bridge(batch, timeline, state)
        forecasts_bp, move_bp, given, foreseen = ghost.deviation_bp[..., None][..., :0], None, None, {}
        if self._horizons:
            (_, forecasts_bp, move_bp), foreseen = self._forecast(batch, timeline, state)
            given = forecasts_bp[..., self._forecast.params.lanes_horizon]
        memory, registry = self.hash_registry(batch, timeline, ghost, state, move_bp)
        lag, delay = self.phantom_lag(batch, timeline, ghost, memory, state, move_bp)
        windows, bridge = self.ghost_bridge.arbitrage(batch, timeline, lag.move_bp, bridge | harness)
        lanes, gates = self.voltage_lanes(batch, timeline, ghost, memory, lag, state, given)
        signals = SignalColumns(
            ghost_bp=ghost.price_bp.numpy(),
            mid_bp=timeline.aligned.x.numpy(),
            half_spread_bp=timeline.aligned.half.numpy(),
            deviation_bp=ghost.deviation_bp.numpy(),
            phase_bp=timeline.phase.numpy(),
            drift=timeline.drift.numpy(),
            route=timeline.route.numpy(),
            status=timeline.status.numpy(),
            forecast_bp=lanes.forecast_bp.numpy(),
            key=memory.key.numpy(),
            entropy=memory.entropy.numpy(),
            echo_bp=memory.echo_bp.numpy(),
            expected_lag_bp=lag.expected_bp.numpy(),
            penalty=lag.penalty.numpy(),
            snr=lanes.snr.numpy(),
            bits=lanes.bits.numpy(),
            voltage=lanes.voltage.numpy(),
            lane=lanes.lane.numpy(),
            pays_fees=lanes.pays_fees.numpy(),
            forecasts_bp=forecasts_bp.numpy(),
        )
        return GraphOutput(signals, lag.decisions, windows), (
            state | harness | bridge | registry | delay | gates | foreseen
        )

    def finish(self, state: State) -> GraphOutput:
        """At the end of the data: decisions whose later prices never came (NaN there), and windows still open."""
        parts = self._like(state)
        last_ns = int(parts.align.clock[0])
        if last_ns == MISSING_NS:
            decisions = take_decisions(parts.lag, int(parts.lag.head[1]))
        else:
            decisions = finish_decisions(parts.lag, last_ns, self.params.latencies_ns, self.params.lag)
        windows = self.ghost_bridge.finish(state, last_ns)
        return GraphOutput(self.no_signals(), decisions, windows)

    def no_signals(self) -> SignalColumns:
        """Columns without a row."""
        return signals_of(kernel.empty_columns(0, len(self.instruments), self._horizons))

    def reference_price(self, state: State) -> float:
        """Quote price that 0 bp stands for; NaN before the first quote."""
        return float(torch.exp(state["align.log_ref"])[0])

    def own_columns(self, batch: TickBatch, state: State) -> torch.Tensor:
        """The user's own columns that the head reads; moves their part of ``state`` on in place. Shape: [V, E, N]."""
        return self._forecast.own_columns(batch, state)

    def check_batch(self, batch: TickBatch, state: State) -> None:
        """Refuse what the compiled pass would misread: it checks no bounds."""
        if not len(batch):
            return
        low, high = (int(value) for value in batch.stream.aminmax())
        if low < 0 or high >= len(self.instruments):
            raise UnknownStreamError(f"stream runs from {low} to {high}, the graph has {len(self.instruments)} streams")
        before, first = int(state["align.clock"][0]), int(batch.ts_ns[0])
        if first < before:
            raise UnsortedTimeError(f"the batch starts at {first} ns, before the state's last event at {before} ns")
        if bool((batch.ts_ns[1:] < batch.ts_ns[:-1]).any()):
            raise UnsortedTimeError("receive times run backwards within the batch: sort it")

    def _like(self, state: State) -> kernel.GraphState:
        return tree.from_dict(TEMPLATE, state)


TEMPLATE = kernel.empty_state(streams=1, bits=4, tables=1, seed=0, slots=1, latencies=1, v0=0.8, capacity=1)


def signals_of(columns: kernel.GraphColumns) -> SignalColumns:
    """Kernel columns, stream-major, as records [N], [N, V] and [N, V, H]."""
    wide = kernel.GraphColumns._make(column.T for column in columns)
    return SignalColumns(
        ghost_bp=wide.ghost,
        mid_bp=wide.mid,
        half_spread_bp=wide.half,
        deviation_bp=wide.deviation,
        phase_bp=wide.phase,
        drift=wide.drift,
        route=wide.route,
        status=wide.status,
        forecast_bp=wide.forecast,
        key=wide.key,
        entropy=wide.entropy,
        echo_bp=wide.echo,
        expected_lag_bp=wide.expected_lag,
        penalty=wide.penalty,
        snr=wide.snr,
        bits=wide.bits,
        voltage=wide.voltage,
        lane=wide.lane,
        pays_fees=wide.pays_fees,
        forecasts_bp=wide.forecasts,
    )


def _join(parts: list[Table]) -> Table:
    """Tables of the same kind, one after the other."""
    if len(parts) == 1:
        return parts[0]
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(kind)))
