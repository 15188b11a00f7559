"""GhostBridge: the fair price, and who is off it. Axis legend: N events, V streams, A arbitrage windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from schwabot.errors import ConfigError
from schwabot.modules.settings import GhostBridgeConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import Timeline, has_quotes
from schwabot.records.audit import ArbitrageEvents, Route
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int8
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.arbitrage import cpu as arbitrage_kernel
from schwabot_kernels.arbitrage.cpu import ArbitrageState, close_window
from schwabot_kernels.arbitrage.op import arbitrage
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
    basis is no arbitrage. A stream without quotes is no leg: its last trade is no price one can deal at.

    Args:
        instruments: V instruments, sorted by stream name.
        config: settings; see ``GhostBridgeConfig`` for units and defaults.
        trades_only: streams without quotes, beside those whose instrument says so.

    Shape:
        batch [N], timeline [N, V]; price [N], deviations [N, V].

    Raises:
        ConfigError: a setting is out of range or names a stream that is not there.
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
    ) -> None:
        config = config or GhostBridgeConfig()
        config.check()
        streams = len(instruments)
        empty = {
            "consensus": consensus_kernel.empty_state(streams),
            "kalman": kalman_kernel.empty_state(streams),
            "arbitrage": arbitrage_kernel.empty_state(streams, capacity=4096),
        }
        super().__init__("ghost_bridge", config, ("reliability_horizon_ms",), empty, len(instruments))
        self.estimator = config.estimator
        self.desync_bp = float(config.desync_bp)
        self.min_edge_bp = float(config.min_edge_bp)
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
        self.quoted = has_quotes(instruments, trades_only)
        self.fee_bp = np.array([i.taker_fee_bp for i in instruments], np.float64)
        self.fungible = np.array(
            [[a.delivers == b.delivers and a.quote == b.quote for b in instruments] for a in instruments], np.int8
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
        """Windows that closed within N events. Net of the expected lag of both legs, so it comes after PhantomLag.

        Within our latency the price moves against the leg that buys or against the one that sells: |move| either way.

        Args:
            batch: the events. [N]
            timeline: of the same events. [N, V]
            move_bp: what the price is expected to do within our latency, ``Lag.move_bp``. [N]
            state: this module's.
        """
        self.check_state(state)
        aligned = timeline.aligned
        leaves = arbitrage(
            batch.ts_ns,
            aligned.x.T,
            aligned.half.T,
            aligned.depth.T,
            aligned.imbalance.T,
            timeline.compensated.T,
            timeline.route.T,
            torch.from_numpy(self.quoted),
            move_bp,
            torch.from_numpy(self.fungible),
            torch.from_numpy(self.fee_bp),
            self.min_edge_bp,
            self._leaves("arbitrage", state),
        )
        after = self._own(state) | self._named("arbitrage", leaves)
        return take_windows(self._windows(after), self.fungible), after

    def finish(self, state: State, last_ns: int) -> ArbitrageEvents:
        """Windows still open when the data ended at ``last_ns``; ``state`` is moved on in place."""
        ring = self._windows(state)
        for buy, sell in zip(*np.nonzero(ring.open_ns >= 0), strict=True):
            close_window(buy, sell, last_ns, ring)
        return take_windows(ring, self.fungible)

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


def take_windows(ring: ArbitrageState, fungible: Int8) -> ArbitrageEvents:
    """Hand out the closed windows and free their places.

    Args:
        ring: the kernel's state, moved on in place.
        fungible: 1 where two streams deliver the same thing. [V, V]
    """
    slots = np.arange(ring.head[0], ring.head[1]) & (ring.pair.size - 1)
    ring.head[0] = ring.head[1]
    buy, sell = np.divmod(ring.pair[slots], len(fungible))
    return ArbitrageEvents(
        locked=fungible[buy, sell],
        buy=buy,
        sell=sell,
        start_ns=ring.start_ns[slots],
        end_ns=ring.end_ns[slots],
        edge_bp=ring.edge_bp[slots],
        qty=ring.qty[slots],
    )
