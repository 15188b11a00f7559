"""The five modules as one graph. Axis legend: N events, V streams, L latencies.

``Graph`` runs all of them in one fused compiled pass; ``forward`` is functional (the state passed in is left alone),
``advance`` moves a state on in place, which is what the engine does with the state it owns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from schwabot_kernels import tree
from schwabot_kernels.align import cpu as align
from schwabot_kernels.arbitrage import cpu as arbitrage
from schwabot_kernels.consensus import cpu as consensus
from schwabot_kernels.graph import cpu as graph
from schwabot_kernels.kalman import cpu as kalman
from schwabot_kernels.lag import cpu as lag
from schwabot_kernels.lanes import cpu as lanes
from schwabot_kernels.phase import cpu as phase
from schwabot_kernels.registry import cpu as registry

from schwabot.errors import StateError
from schwabot.modules.settings import ModulesConfig
from schwabot.records.audit import ArbitrageEvents, LagDecisions, SignalColumns
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch

State = dict[str, torch.Tensor]
"""Named tensors, e.g. ``"phase.pair_sum"``: everything the graph remembers. Save it, load it, pass it on."""

STYLES = ("observe", "post", "cross")


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
        self.table = align.StreamTable(
            tick=np.array([i.tick_size for i in self.instruments]),
            unit=np.array([i.lot_size * i.contract_value for i in self.instruments]),
            inverse=np.array([i.inverse for i in self.instruments], np.int8),
            trades_only=np.array([i.stream in trades_only for i in self.instruments], np.int8),
        )
        self.params = kernel_params(self.instruments, self.config)

    def initial_state(self) -> State:
        """State before the first event."""
        return tree.to_dict(self._empty())

    def _empty(self) -> graph.GraphState:
        streams = len(self.instruments)
        settings = self.config.hash_registry
        return graph.GraphState(
            align=align.empty_state(streams),
            phase=phase.empty_state(streams),
            consensus=consensus.empty_state(streams),
            kalman=kalman.empty_state(streams),
            registry=registry.empty_state(
                streams, settings.bits, settings.tables, settings.seed, slots=settings.capacity
            ),
            lag=lag.empty_state(streams, len(self.config.phantom_lag.latencies_ms)),
            arbitrage=arbitrage.empty_state(streams),
            lanes=lanes.empty_state(streams, self.config.voltage_lanes.v0_v),
        )

    def check_state(self, state: State) -> None:
        """Raise StateError when ``state`` does not belong to a graph of this shape."""
        expected = self.initial_state()
        if expected.keys() != state.keys():
            odd = sorted(expected.keys() ^ state.keys())
            raise StateError(f"state has missing or unknown parts: {', '.join(odd[:5])}; was it saved by this version?")
        for name, tensor in expected.items():
            given = state[name]
            grows = ".due_" in name or name.startswith(("lag.", "arbitrage."))
            if given.dtype != tensor.dtype or (given.shape != tensor.shape and not grows):
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
        events = align.Events(
            *(
                getattr(batch, name).numpy()
                for name in (
                    "ts_ns",
                    "stream",
                    "kind",
                    "bid_ticks",
                    "ask_ticks",
                    "bid_lots",
                    "ask_lots",
                    "price_ticks",
                    "latency_ns",
                )
            )
        )
        columns = graph.empty_columns(len(batch), len(self.instruments))
        like = self._like(state)
        decisions: list[LagDecisions] = []
        windows: list[ArbitrageEvents] = []
        row = 0
        while True:
            row = graph.graph_pass(events, self.table, self.params, like, columns, row)
            decisions.append(_take_decisions(like.lag, int(like.lag.pending.min(initial=like.lag.head[1]))))
            windows.append(_take_windows(like.arbitrage, self.params))
            if row == len(batch):
                break
            like = _grow_rings(like)
            state.update(tree.to_dict(like))
        signals = SignalColumns(
            ghost_bp=columns.ghost,
            mid_bp=columns.mid,
            half_spread_bp=columns.half,
            deviation_bp=columns.deviation,
            phase_bp=columns.phase,
            drift=columns.drift,
            route=columns.route,
            status=columns.status,
            forecast_bp=columns.forecast,
            key=columns.key,
            entropy=columns.entropy,
            echo_bp=columns.echo,
            expected_lag_bp=columns.expected_lag,
            penalty=columns.penalty,
            snr=columns.snr,
            bits=columns.bits,
            voltage=columns.voltage,
            lane=columns.lane,
            pays_fees=columns.pays_fees,
        )
        return GraphOutput(signals, _join_decisions(decisions), _join_windows(windows))

    def finish(self, state: State) -> GraphOutput:
        """At the end of the data: decisions whose later prices never came (NaN there), and windows still open."""
        like = self._like(state)
        last = int(like.align.clock[0])
        if last != align.MISSING_NS:
            # A price that stands at the end stands for every latency that ends within the data.
            lag.resolve_decisions(last + 1, self.params.latencies_ns, like.lag)
            streams = len(self.instruments)
            for a in range(streams):
                for b in range(streams):
                    if like.arbitrage.open_ns[a, b] >= 0:
                        arbitrage.close_window(a, b, last, like.arbitrage)
        decisions = _take_decisions(like.lag, int(like.lag.head[1]))
        like.lag.pending[:] = like.lag.head[1]
        like.lag.next_due_ns[0] = lag.FAR_NS
        windows = _take_windows(like.arbitrage, self.params)
        columns = graph.empty_columns(0, len(self.instruments))
        return GraphOutput(SignalColumns(*columns), decisions, windows)

    def reference_price(self, state: State) -> float:
        """Quote price that 0 bp stands for; NaN before the first quote."""
        return float(torch.exp(state["align.log_ref"])[0])

    def _like(self, state: State) -> graph.GraphState:
        return tree.from_dict(_TEMPLATE, state)


_TEMPLATE = graph.GraphState(
    align=align.empty_state(1),
    phase=phase.empty_state(1),
    consensus=consensus.empty_state(1),
    kalman=kalman.empty_state(1),
    registry=registry.empty_state(1, 4, 1, 0, capacity=2),
    lag=lag.empty_state(1, 1, capacity=2),
    arbitrage=arbitrage.empty_state(1, capacity=2),
    lanes=lanes.empty_state(1, 0.8, capacity=2),
)


def kernel_params(instruments: tuple[Instrument, ...], config: ModulesConfig) -> graph.GraphParams:
    """Settings in the kernels' units."""
    harness, bridge, memory = config.tensor_harness, config.ghost_bridge, config.hash_registry
    delay, gates = config.phantom_lag, config.voltage_lanes
    ms = 1_000_000
    maker = [i.maker_fee_bp for i in instruments]
    taker = [i.taker_fee_bp for i in instruments]
    fee_of_style = {"observe": [0.0] * len(instruments), "post": maker, "cross": taker}
    fungible = [[a.delivers == b.delivers and a.quote == b.quote for b in instruments] for a in instruments]
    return graph.GraphParams(
        latency_max_ns=bridge.latency_max_ms * ms,
        phase=phase.PhaseParams(
            tau_s=harness.tau_phase_s,
            stale_ns=round(harness.stale_s * 1e9),
            window_ns=round(harness.drift_window_s * 1e9),
            drifting_at=harness.drifting_at,
            critical_at=harness.critical_at,
            k0=harness.k0,
            k_max=harness.k_max,
        ),
        estimator=graph.KALMAN if bridge.estimator == "kalman" else graph.WEIGHTED,
        consensus=consensus.ConsensusParams(
            age_decay_per_s=bridge.age_decay_per_s,
            tau_depth_s=bridge.tau_depth_s,
            tau_reliability_s=bridge.tau_reliability_s,
            horizon_ns=round(bridge.reliability_horizon_ms * ms),
            prior_variance_bp2=bridge.prior_variance_bp2,
            prior_count=bridge.prior_count,
        ),
        q_bp2_per_s=bridge.kalman_q_bp2_per_s,
        r_bp2=np.full(len(instruments), bridge.kalman_r_bp2),
        registry=registry.RegistryParams(
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
        lag=lag.LagParams(
            desync_bp=bridge.desync_bp,
            latency_share=min(1.0, delay.latency_ms / memory.horizon_ms),
            tau_range_s=delay.tau_range_s,
            min_range_bp=delay.min_range_bp,
        ),
        latencies_ns=np.array([round(value * ms) for value in delay.latencies_ms], np.int64),
        fungible=np.array(fungible, np.int8),
        fee_bp=np.array(taker, np.float64),
        min_edge_bp=bridge.min_edge_bp,
        lanes=lanes.LanesParams(
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


def _take_decisions(ring: lag.LagState, upto: int) -> LagDecisions:
    """Hand out the decisions before number ``upto`` and free their places."""
    slots = np.arange(ring.head[0], upto) & (ring.ts_ns.size - 1)
    ring.head[0] = upto
    return LagDecisions(ring.ts_ns[slots], ring.stream[slots], ring.side[slots], ring.cost[slots])


def _take_windows(ring: arbitrage.ArbitrageState, params: graph.GraphParams) -> ArbitrageEvents:
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


def _join_decisions(parts: list[LagDecisions]) -> LagDecisions:
    if len(parts) == 1:
        return parts[0]
    return LagDecisions(
        *(np.concatenate([getattr(p, f) for p in parts]) for f in ("ts_ns", "stream", "side", "realised_cost_bp"))
    )


def _join_windows(parts: list[ArbitrageEvents]) -> ArbitrageEvents:
    if len(parts) == 1:
        return parts[0]
    names = ("locked", "buy", "sell", "start_ns", "end_ns", "edge_bp", "qty")
    return ArbitrageEvents(*(np.concatenate([getattr(p, f) for p in parts]) for f in names))


def _grow(values: np.ndarray, head: np.ndarray) -> np.ndarray:
    """A ring of twice the capacity with the same live entries."""
    size = values.shape[0]
    larger = np.zeros((2 * size, *values.shape[1:]), values.dtype)
    live = np.arange(head[0], head[1])
    larger[live & (2 * size - 1)] = values[live & (size - 1)]
    return larger


def _grow_rings(like: graph.GraphState) -> graph.GraphState:
    """Double every ring that has no room for another block."""
    streams = like.align.x.size
    parts = like._asdict()
    for name, need in (
        ("consensus", graph.BLOCK),
        ("registry", graph.BLOCK),
        ("lanes", graph.BLOCK),
        ("lag", graph.BLOCK * streams),
        ("arbitrage", graph.BLOCK * streams * streams),
    ):
        part = parts[name]
        rings = RINGS[name]
        while getattr(part, rings[0]).shape[0] - (part.head[1] - part.head[0]) < need:
            part = part._replace(**{ring: _grow(getattr(part, ring), part.head) for ring in rings})
        parts[name] = part
    return graph.GraphState(**parts)


RINGS = {
    "consensus": tuple(f for f in consensus.ConsensusState._fields if f.startswith("due_")),
    "registry": tuple(f for f in registry.RegistryState._fields if f.startswith("due_")),
    "lanes": tuple(f for f in lanes.LanesState._fields if f.startswith("due_")),
    "lag": ("ts_ns", "stream", "side", "touch", "cost"),
    "arbitrage": ("pair", "start_ns", "end_ns", "edge_bp", "qty"),
}
