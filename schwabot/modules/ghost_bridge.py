"""GhostBridge: the fair price, and who is off it. Axis legend: N events, V streams, A arbitrage windows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from schwabot.errors import ConfigError
from schwabot.modules.currencies import currencies
from schwabot.modules.settings import GhostBridgeConfig, PhantomLagConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import Timeline, has_quotes
from schwabot.records.audit import ArbitrageEvents, Route
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align.cpu import RATE
from schwabot_kernels.arbitrage import cpu as arbitrage_kernel
from schwabot_kernels.arbitrage.cpu import ArbitrageParams, ArbitrageState, end_windows
from schwabot_kernels.arbitrage.op import arbitrage
from schwabot_kernels.arbitrage.windows import KNOWN
from schwabot_kernels.blocks import wide
from schwabot_kernels.consensus import cpu as consensus_kernel
from schwabot_kernels.consensus.cpu import ConsensusParams
from schwabot_kernels.consensus.op import consensus
from schwabot_kernels.consensus.reference import stage_weight, weighted_mean
from schwabot_kernels.kalman import cpu as kalman_kernel
from schwabot_kernels.kalman.op import kalman

__all__ = ["Ghost", "GhostBridge", "stage_weight", "take_windows", "weighted_mean"]


class Ghost(NamedTuple):
    """The fair price at every event.

    Attributes:
        price_bp: fair log price, bp from the first quote; NaN where every stream is routed out. [N]
        deviation_bp: ghost + compensated phase - mid; positive = the stream is cheap. [N, V]
        desync: the stream takes part and is further than ``desync_bp`` from its fair price. bool [N, V]
    """

    price_bp: torch.Tensor
    deviation_bp: torch.Tensor
    desync: torch.Tensor


class GhostBridge(Stateful):
    r"""Consensus price over all streams, deviations from it, and arbitrage windows.

    .. math::
        g = \frac{\sum_v w_v (x_v - \hat\varphi_v)}{\sum_v w_v}, \quad
        w_v = \ln(1 + \tilde D_v)\, e^{-\lambda a_v} \max\!\left(0, 1 - \frac{\ell_v}{\ell_{max}}\right) r_v, \quad
        d_v = g + \hat\varphi_v - x_v

    D is the touch depth over its decayed mean across streams, a the quote's age, l the feed delay (unknown: weight
    1), r the decayed inverse variance of the stream against the same price without r, ``reliability_horizon_ms``
    later. The ``kalman`` estimator is a random walk of variance q per second, observed with variance r at each mid
    change.

    A window (buy a, sell b) is open while ln(bid_b / ask_a), less both taker fees and the expected lag of both legs,
    exceeds ``min_edge_bp``; less the difference of phases too, unless a and b deliver the same thing, so that a lasting
    basis is no arbitrage. Where rates are given (``currencies``), a window is also a cycle of up to four trades that
    ends in what it began with. A stream without quotes is no leg: its last trade is no price one can deal at.

    Args:
        instruments: V instruments, sorted by stream name.
        config: settings; see ``GhostBridgeConfig`` for units and defaults.
        trades_only: streams without quotes, beside those whose instrument says so.
        latency_ms: our own latency from decision to exchange, for the edge left after it.
        latency_max_ms: as in TensorHarness, whose weights the feed delays are read from.

    Shape:
        batch [N], timeline [N, V]; price [N], deviations [N, V].

    Raises:
        ConfigError: a setting is out of range or names a stream that is not there; streams of other assets that are of
            no use, or need a word on which is priced.
        StateError: the state belongs to another bridge.

    Source:
        The efficient price that several markets share: Hasbrouck (1995). Kalman (1960). Reliability is inverse-variance
        weighting (Bates & Granger 1969).

    Example:
        >>> from schwabot.modules.tensor_harness import TensorHarness
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> batch = TickBatch.from_ticks(next(iter(feed.batches())))
        >>> harness, bridge = TensorHarness(feed.instruments), GhostBridge(feed.instruments)
        >>> timeline, _ = harness(batch, harness.initial_state())
        >>> ghost, state = bridge(batch, timeline, bridge.initial_state())
        >>> tuple(ghost.deviation_bp.shape), bool(ghost.price_bp.isnan().any())
        ((300, 4), False)
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: GhostBridgeConfig | None = None,
        trades_only: Sequence[str] = (),
        latency_ms: float = PhantomLagConfig.latency_ms,
    ) -> None:
        config = config or GhostBridgeConfig()
        config.check()
        streams = len(instruments)
        self.quoted = has_quotes(instruments, trades_only)
        graph = currencies(instruments, self.quoted, config.asset, config.max_legs)
        empty = {
            "consensus": consensus_kernel.empty_state(streams),
            "kalman": kalman_kernel.empty_state(streams),
            "arbitrage": arbitrage_kernel.empty_state(streams, 4096, len(graph.leg)),
        }
        traded = {"the checksum of the cycles": zlib.crc32(graph.leg.tobytes() + graph.fungible.tobytes())}
        super().__init__("ghost_bridge", config, ("reliability_horizon_ms",), empty, streams, traded)
        self.estimator = config.estimator
        self.desync_bp = float(config.desync_bp)
        self.params = ConsensusParams(
            age_decay_per_s=float(config.age_decay_per_s),
            tau_depth_s=float(config.tau_depth_s),
            tau_reliability_s=float(config.tau_reliability_s),
            horizon_ns=round(config.reliability_horizon_ms * 1e6),
            prior_variance_bp2=float(config.prior_variance_bp2),
            prior_count=float(config.prior_count),
        )
        self.q_bp2_per_s = float(config.kalman_q_bp2_per_s)
        self.r_bp2 = _noise([instrument.stream for instrument in instruments], config)
        self.rate = graph.rate
        self.latency_max_ns = config.latency_max_ms * 1e6
        self.traded = ArbitrageParams(
            min_edge_bp=float(config.min_edge_bp),
            latency_ns=round(latency_ms * 1e6),
            rate_stale_ns=round(config.rate_stale_ms * 1e6),
            fungible=graph.fungible,
            fee_bp=np.array([i.taker_fee_bp for i in instruments], np.float64),
            leg=graph.leg,
            through=graph.through,
        )

    def forward(self, batch: TickBatch, timeline: Timeline, state: State) -> tuple[Ghost, State]:
        """Fair price of N events; returns it and the state after them, and leaves ``state`` as it was."""
        self.check_state(state)
        aligned, x, compensated, route = (
            timeline.aligned,
            timeline.aligned.x.T,
            timeline.compensated.T,
            timeline.route.T,
        )
        if self.estimator == "kalman":
            price, *leaves = kalman(
                batch.stream,
                x,
                aligned.dt_s,
                compensated,
                route,
                torch.from_numpy(self.r_bp2),
                self.q_bp2_per_s,
                self._leaves("kalman", state),
            )
        else:
            price, *leaves = consensus(
                batch.ts_ns,
                batch.stream,
                batch.kind,
                aligned.last_ns.T,
                x,
                aligned.depth.T,
                aligned.latency_weight.T,
                aligned.dt_s,
                timeline.phase.T,
                compensated,
                route,
                torch.from_numpy(self.quoted),
                **self.params._asdict(),
                state=self._leaves("consensus", state),
            )
        deviation = (price + compensated - x).T
        ghost = Ghost(price, deviation, (deviation.abs() > self.desync_bp) & (timeline.route == Route.OK))
        op = "kalman" if self.estimator == "kalman" else "consensus"
        return ghost, self._own(state) | self._named(op, leaves)

    def arbitrage(
        self, batch: TickBatch, timeline: Timeline, move_bp: torch.Tensor, state: State
    ) -> tuple[ArbitrageEvents, State]:
        """Windows that closed within N events. Net of the expected lag of the legs, so it comes after PhantomLag.

        Within our latency the price moves against the leg that buys or against the one that sells: a pair pays |move|
        either way. Legs that trade rates bear none of it.

        Args:
            batch: the events. [N]
            timeline: of the same events. [N, V]
            move_bp: what the price is expected to do within our latency, ``Lag.move_bp``. [N]
            state: the graph's: this module's part, and TensorHarness's first quote where there are rates.
        """
        self.check_state(state)
        aligned, traded = timeline.aligned, self.traded
        log_ref = state.get("align.log_ref", torch.zeros(1, dtype=torch.float64))
        leaves = arbitrage(
            batch.ts_ns,
            aligned.last_ns.T,
            aligned.x.T,
            aligned.half.T,
            aligned.depth.T,
            aligned.imbalance.T,
            aligned.latency_weight.T,
            timeline.compensated.T,
            timeline.route.T,
            torch.from_numpy(self.quoted),
            torch.from_numpy(self.rate),
            move_bp,
            1e4 * log_ref,
            torch.from_numpy(traded.fungible),
            torch.from_numpy(traded.fee_bp),
            torch.from_numpy(traded.leg),
            torch.from_numpy(traded.through),
            traded.min_edge_bp,
            traded.latency_ns,
            traded.rate_stale_ns,
            self.latency_max_ns,
            self._leaves("arbitrage", state),
        )
        after = self._own(state) | self._named("arbitrage", leaves)
        return take_windows(self._windows(after), traded), after

    def finish(self, state: State, last_ns: int) -> ArbitrageEvents:
        """Windows still open when the data ended at ``last_ns``, and those that waited; ``state`` is moved on."""
        ring, traded = self._windows(state), self.traded
        log_ref = float(state["align.log_ref"][0]) if "align.log_ref" in state else 0.0
        end_windows(last_ns, wide(RATE * self.rate), 1e4 * log_ref, traded, ring)
        return take_windows(ring, traded)

    def _windows(self, state: State) -> ArbitrageState:
        return self._tuple("arbitrage", _WINDOWS, state)


def _noise(streams: list[str], config: GhostBridgeConfig) -> Float64:
    """Observation variance of every stream.

    Shape: [V]
    """
    by_stream = config.kalman_r_by_stream_bp2
    if unknown := sorted(by_stream.keys() - set(streams)):
        raise ConfigError(
            f"modules.ghost_bridge.kalman_r_by_stream_bp2: {', '.join(unknown)} is no stream of this run; streams:"
            f" {', '.join(streams)}"
        )
    return np.array([by_stream.get(stream, config.kalman_r_bp2) for stream in streams], np.float64)


_WINDOWS = arbitrage_kernel.empty_state(streams=1, capacity=1)


def take_windows(ring: ArbitrageState, traded: ArbitrageParams) -> ArbitrageEvents:
    """Hand out the closed windows, up to the first whose edge left is not known yet, and free their places.

    Args:
        ring: the kernel's state, moved on in place.
        traded: the kernel's settings.
    """
    slots = np.arange(ring.head[0], ring.head[1]) & (len(ring.closed_ns) - 1)
    waiting = np.flatnonzero(ring.closed_ns[slots, KNOWN] == 0)
    slots = slots[: waiting[0]] if len(waiting) else slots
    ring.head[0] += len(slots)
    (window, start_ns, end_ns, _), streams = ring.closed_ns[slots].T, len(traded.fungible)
    first_bp, edge_bp, qty, rest_bp = ring.closed_bp[slots].T
    pair = window < streams * streams
    buy, sell = np.divmod(np.where(pair, window, 0), streams)
    leg = np.full((len(window), traded.leg.shape[1]), -1, np.int32)
    leg[pair, 0], leg[pair, 1] = 2 * buy[pair], 2 * sell[pair] + 1
    leg[~pair] = traded.leg[window[~pair] - streams * streams]
    return ArbitrageEvents(
        locked=np.where(pair, traded.fungible[buy, sell], np.int8(1)),
        legs=leg >> 1,
        sides=np.where(leg < 0, 0, 1 - 2 * (leg & 1)).astype(np.int8),
        start_ns=start_ns.copy(),
        end_ns=end_ns.copy(),
        start_bp=first_bp.copy(),
        edge_bp=edge_bp.copy(),
        qty=qty.copy(),
        realised_left_bp=rest_bp.copy(),
    )
