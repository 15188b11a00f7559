"""The five modules as one graph. Axis legend: N events, V streams, L latencies.

``Graph`` runs all of them in one fused compiled pass; ``forward`` is functional (the state passed in is left alone),
``advance`` moves a state on in place, which is what the engine does with the state it owns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch

from schwabot.errors import StateError
from schwabot.modules.settings import ModulesConfig
from schwabot.records.audit import ArbitrageEvents, LagDecisions, SignalColumns
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels import tree
from schwabot_kernels.align.cpu import BLOCK, Events, StreamTable
from schwabot_kernels.arbitrage.cpu import ArbitrageState, close_window
from schwabot_kernels.consensus.cpu import ConsensusParams
from schwabot_kernels.graph import cpu as kernel
from schwabot_kernels.lag.cpu import FAR_NS, LagParams, LagState, resolve_decisions
from schwabot_kernels.lanes.cpu import LanesParams
from schwabot_kernels.phase.cpu import PhaseParams
from schwabot_kernels.registry.cpu import RegistryParams
from schwabot_kernels.scalar import MISSING_NS

State = dict[str, torch.Tensor]
"""Named tensors, e.g. ``"phase.pair_sum"``: everything the graph remembers. Save it, load it, pass it on."""

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
        trades_only: streams whose price is their last trade (price-only tables).

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: ModulesConfig | None = None,
        trades_only: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.instruments = tuple(instruments)
        self.config = config or ModulesConfig()
        self.config.check()
        self.table = StreamTable(
            tick=np.array([i.tick_size for i in self.instruments]),
            unit=np.array([i.lot_size * i.contract_value for i in self.instruments]),
            inverse=np.array([i.inverse for i in self.instruments], np.int8),
            trades_only=np.array([i.stream in trades_only for i in self.instruments], np.int8),
        )
        self.params = kernel_params(self.instruments, self.config)
        memory = self.config.hash_registry
        self._work = kernel.workspace(len(self.instruments), memory.bits, memory.tables)

    def initial_state(self) -> State:
        """State before the first event."""
        return tree.to_dict(self._empty())

    def _empty(self) -> kernel.GraphState:
        memory = self.config.hash_registry
        return kernel.empty_state(
            len(self.instruments),
            memory.bits,
            memory.tables,
            memory.seed,
            slots=memory.capacity,
            latencies=len(self.config.phantom_lag.latencies_ms),
            v0=self.config.voltage_lanes.v0_v,
        )

    def check_state(self, state: State) -> None:
        """Raise StateError when ``state`` does not belong to a graph of this shape."""
        expected = self.initial_state()
        if expected.keys() != state.keys():
            odd = sorted(expected.keys() ^ state.keys())
            raise StateError(f"state has missing or unknown parts: {', '.join(odd[:5])}; was it saved by this version?")
        for name, tensor in expected.items():
            given = state[name]
            shape = tensor.shape[1:] if is_ring(name) else tensor.shape
            if given.dtype != tensor.dtype or (given.shape[1:] if is_ring(name) else given.shape) != shape:
                raise StateError(
                    f"state part {name} is {given.dtype} {tuple(given.shape)}, this graph needs "
                    f"{tensor.dtype} {tuple(tensor.shape)}: it was saved with other streams or module settings"
                )

    def forward(self, batch: TickBatch, state: State) -> tuple[GraphOutput, State]:
        """Run N events through the graph; returns the answers and the state after them.

        ``state`` is left as it was. One call on N events equals any split into several, bit for bit.
        """
        self.check_state(state)
        state = {name: tensor.clone() for name, tensor in state.items()}
        return self.advance(batch, state), state

    def advance(self, batch: TickBatch, state: State) -> GraphOutput:
        """Like ``forward``, but moves ``state`` on in place."""
        events = Events(*(getattr(batch, name).numpy() for name in Events._fields))
        columns = kernel.empty_columns(len(batch), len(self.instruments))
        parts = self._like(state)
        decisions: list[LagDecisions] = []
        windows: list[ArbitrageEvents] = []
        row = 0
        while True:
            row = kernel.graph_pass(row, events, self.table, self.params, parts, self._work, columns)
            decisions.append(_take_decisions(parts.lag, int(parts.lag.pending.min())))
            windows.append(_take_windows(parts.arbitrage, self.params))
            if row == len(batch):
                break
            parts = _grow_rings(parts)
            state.update(tree.to_dict(parts))
        return GraphOutput(_signals(columns), _join(decisions), _join(windows))

    def finish(self, state: State) -> GraphOutput:
        """At the end of the data: decisions whose later prices never came (NaN there), and windows still open."""
        parts = self._like(state)
        last = int(parts.align.clock[0])
        if last != MISSING_NS:
            # Prices that stand at the end are known for every latency that ends there or before.
            resolve_decisions(last + 1, self.params.latencies_ns, parts.lag)
            for buy, sell in zip(*np.nonzero(parts.arbitrage.open_ns >= 0), strict=True):
                close_window(buy, sell, last, parts.arbitrage)
        decisions = _take_decisions(parts.lag, int(parts.lag.head[1]))
        parts.lag.pending[:] = parts.lag.head[1]
        parts.lag.next_due_ns[0] = FAR_NS
        windows = _take_windows(parts.arbitrage, self.params)
        return GraphOutput(_signals(kernel.empty_columns(0, len(self.instruments))), decisions, windows)

    def reference_price(self, state: State) -> float:
        """Quote price that 0 bp stands for; NaN before the first quote."""
        return float(torch.exp(state["align.log_ref"])[0])

    def _like(self, state: State) -> kernel.GraphState:
        return tree.from_dict(_TEMPLATE, state)


_TEMPLATE = kernel.empty_state(streams=1, bits=4, tables=1, seed=0, slots=1, latencies=1, v0=0.8, capacity=1)


def _signals(columns: kernel.GraphColumns) -> SignalColumns:
    """Kernel columns, stream-major, as records [N] and [N, V]."""
    wide = kernel.GraphColumns(*(column.T for column in columns))
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
    )


def kernel_params(instruments: tuple[Instrument, ...], config: ModulesConfig) -> kernel.GraphParams:
    """Settings in the kernels' units."""
    harness, bridge, memory = config.tensor_harness, config.ghost_bridge, config.hash_registry
    delay, gates = config.phantom_lag, config.voltage_lanes
    ms = 1_000_000
    maker = [i.maker_fee_bp for i in instruments]
    taker = [i.taker_fee_bp for i in instruments]
    fee_of_style = {"observe": [0.0] * len(instruments), "post": maker, "cross": taker}
    fungible = [[a.delivers == b.delivers and a.quote == b.quote for b in instruments] for a in instruments]
    return kernel.GraphParams(
        latency_max_ns=bridge.latency_max_ms * ms,
        phase=PhaseParams(
            tau_s=harness.tau_phase_s,
            stale_ns=round(harness.stale_s * 1e9),
            window_ns=round(harness.drift_window_s * 1e9),
            drifting_at=harness.drifting_at,
            critical_at=harness.critical_at,
            k0=harness.k0,
            k_max=harness.k_max,
        ),
        estimator=kernel.KALMAN if bridge.estimator == "kalman" else kernel.WEIGHTED,
        consensus=ConsensusParams(
            age_decay_per_s=bridge.age_decay_per_s,
            tau_depth_s=bridge.tau_depth_s,
            tau_reliability_s=bridge.tau_reliability_s,
            horizon_ns=round(bridge.reliability_horizon_ms * ms),
            prior_variance_bp2=bridge.prior_variance_bp2,
            prior_count=bridge.prior_count,
        ),
        q_bp2_per_s=bridge.kalman_q_bp2_per_s,
        r_bp2=np.full(len(instruments), bridge.kalman_r_bp2),
        registry=RegistryParams(
            bits=memory.bits,
            horizon_ns=round(memory.horizon_ms * ms),
            tau_s=memory.half_life_s / math.log(2.0),
            echo_tau_s=memory.echo_tau_s,
            momentum_tau_s=memory.momentum_tau_ms * 1e-3,
            warmup_events=memory.warmup_events,
            step_bp=memory.step_bp,
            dead_band_steps=memory.dead_band_steps,
            min_count=memory.min_count,
        ),
        lag=LagParams(
            desync_bp=bridge.desync_bp,
            latency_share=min(1.0, delay.latency_ms / memory.horizon_ms),
            tau_range_s=delay.tau_range_s,
            min_range_bp=delay.min_range_bp,
        ),
        latencies_ns=np.array([round(value * ms) for value in delay.latencies_ms], np.int64),
        fungible=np.array(fungible, np.int8),
        fee_bp=np.array(taker, np.float64),
        min_edge_bp=bridge.min_edge_bp,
        lanes=LanesParams(
            horizon_ns=round(gates.horizon_ms * ms),
            tau_s=gates.half_life_s / math.log(2.0),
            slope_tau_s=gates.slope_tau_s,
            kappa=gates.kappa,
            count_cap=gates.count_cap,
            v0=gates.v0_v,
            v_max=gates.v_max_v,
            medium=gates.medium_v,
            high=gates.high_v,
            margin=gates.margin_v,
            slew_per_s=gates.slew_v_per_s,
            may_rise=gates.latency_ms < gates.latency_max_ms,
        ),
        style_fee_bp=np.array([fee_of_style[style] for style in gates.style], np.float64),
    )


def _take_decisions(ring: LagState, upto: int) -> LagDecisions:
    """Hand out the decisions before number ``upto`` and free their places."""
    slots = np.arange(ring.head[0], upto) & (ring.ts_ns.size - 1)
    ring.head[0] = upto
    return LagDecisions(ring.ts_ns[slots], ring.stream[slots], ring.side[slots], ring.cost[slots])


def _take_windows(ring: ArbitrageState, params: kernel.GraphParams) -> ArbitrageEvents:
    """Hand out the closed windows and free their places."""
    slots = np.arange(ring.head[0], ring.head[1]) & (ring.pair.size - 1)
    ring.head[0] = ring.head[1]
    buy, sell = np.divmod(ring.pair[slots], params.fee_bp.size)
    return ArbitrageEvents(
        locked=params.fungible[buy, sell],
        buy=buy,
        sell=sell,
        start_ns=ring.start_ns[slots],
        end_ns=ring.end_ns[slots],
        edge_bp=ring.edge_bp[slots],
        qty=ring.qty[slots],
    )


def _join(parts: list[Table]) -> Table:
    """Tables of the same kind, one after the other."""
    if len(parts) == 1:
        return parts[0]
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(kind)))


def _grow(values: np.ndarray, head: np.ndarray) -> np.ndarray:
    """A ring of twice the capacity with the same live entries."""
    size = values.shape[0]
    larger = np.zeros((2 * size, *values.shape[1:]), values.dtype)
    live = np.arange(head[0], head[1])
    larger[live & (2 * size - 1)] = values[live & (size - 1)]
    return larger


def _grow_rings(parts: kernel.GraphState) -> kernel.GraphState:
    """Double every ring that has no room for another block."""
    streams = parts.align.x.size
    grown = parts._asdict()
    for name, need in (
        ("consensus", BLOCK),
        ("registry", BLOCK),
        ("lanes", BLOCK),
        ("lag", BLOCK * streams),
        ("arbitrage", BLOCK * streams * streams),
    ):
        part = grown[name]
        rings = [field for field in part._fields if is_ring(f"{name}.{field}")]
        while getattr(part, rings[0]).shape[0] - (part.head[1] - part.head[0]) < need:
            part = part._replace(**{ring: _grow(getattr(part, ring), part.head) for ring in rings})
        grown[name] = part
    return kernel.GraphState(**grown)


def is_ring(name: str) -> bool:
    """Whether a part of the state is a ring, whose length may grow."""
    module, _, field = name.partition(".")
    return (
        field.startswith("due_")
        or (module == "lag" and field in ("ts_ns", "stream", "side", "touch", "cost"))
        or (module == "arbitrage" and field in ("pair", "start_ns", "end_ns", "edge_bp", "qty"))
    )
