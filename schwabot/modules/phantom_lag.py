"""PhantomLag: what being late costs. Axis legend: N events, V streams, L latencies, D decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from schwabot.modules.ghost_bridge import Ghost
from schwabot.modules.hash_registry import Memory
from schwabot.modules.settings import GhostBridgeConfig, HashRegistryConfig, PhantomLagConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import Timeline, has_quotes
from schwabot.records.audit import LagDecisions
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.lag import cpu as kernel
from schwabot_kernels.lag.cpu import FAR_NS, LagParams, LagState, realised_penalties, resolve_decisions
from schwabot_kernels.lag.op import COLUMNS, lag
from schwabot_kernels.lag.reference import penalty, price_range, touch_bp

__all__ = ["Lag", "PhantomLag", "finish_decisions", "penalty", "price_range", "take_decisions", "touch_bp"]


class Lag(NamedTuple):
    """What being late costs at every event.

    Attributes:
        move_bp: what the price is expected to do within our latency; up costs who buys, down who sells. [N]
        expected_bp: the part of it that is favourable to the event's stream: what is gone when we act. [N]
        penalty: L(expected, entropy, P_max), 0 to 1. [N]
        avoid_reentry: the penalty exceeds ``reentry_penalty``: what is left is not worth chasing. bool [N]
        decisions: first events of desyncs whose last latency has passed, with what acting later was expected to cost
            and what it did cost. Who, when, which way and what was expected were known at once; the rest looks ahead.
    """

    move_bp: torch.Tensor
    expected_bp: torch.Tensor
    penalty: torch.Tensor
    avoid_reentry: torch.Tensor
    decisions: LagDecisions


class PhantomLag(Stateful):
    r"""Expected cost of our own latency, its penalty, and the realised cost of every decision.

    .. math::
        L(\Delta p, \mathcal{E}, P_{max}) =
            \mathrm{clip}\!\left(e^{-\mathcal{E}}\, \frac{\max(0, \Delta p)}{P_{max}}, 0, 1\right), \quad
        \mathrm{cost}_\ell = s\,(\mathrm{touch}(t + \ell) - \mathrm{touch}(t))

    The move is half the sum of the remembered mean and the echo, times the share of the outcome horizon that
    ``latency_ms`` takes; what is expected to be missed is s times it, where that is positive, s = sign of the
    stream's deviation (none within 1e-6 bp). P_max is the recent range, hi <- max(x, x + (hi - x) exp(-dt/tau)), lo
    likewise, at least ``min_range_bp``. Decisions are the first events of each desync, s = +1 buys the cheap stream at
    its ask, s = -1 sells the dear one at its bid; a stream that has no quotes has no touch, and makes none. The
    realised penalty is L of the realised cost, with entropy and P_max of the decision.

    What a decision is expected to cost is known when it is made: what the trained head, the registry and the echo
    expect, as far as the latency reaches into the outcome horizon h, plus what earlier decisions of the stream cost
    beyond that,

    .. math::
        \widehat{\mathrm{cost}}_\ell = m_\ell
            + \frac{\sum_j w_j (\mathrm{cost}_{\ell j} - m_{\ell j})}{n_0 + \sum_j w_j}, \quad
        m_\ell = s\,(\mathrm{predicted} + \tfrac12 (\mathrm{mean} + \mathrm{echo})) \min(1, \ell / h), \quad
        w_j = e^{-(t - t_j - \ell) / \tau}

    over those with :math:`t_j + \ell < t`; tau = ``tau_curve_s``, n_0 = ``prior_decisions``.

    Args:
        instruments: V instruments, sorted by stream name.
        config: settings; see ``PhantomLagConfig`` for units and defaults.
        desync_bp: deviation beyond which a stream is desynchronised, bp.
        horizon_ms: horizon of the remembered outcomes, ms.
        trades_only: streams without quotes, beside those whose instrument says so.

    Shape:
        batch [N], timeline [N, V]; outputs [N], realised costs [D, L].

    Raises:
        ConfigError: a setting is out of range.
        StateError: the state belongs to another PhantomLag.

    Source:
        Opportunity cost and delay within the implementation shortfall: Perold (1988); the price of latency: Moallemi &
        Sağlam (2013); costs of trading later: Almgren & Chriss (2000).

    Example:
        >>> value = penalty(torch.tensor(1000.0), torch.tensor(0.3), torch.tensor(70000.0))
        >>> bool(torch.isclose(value, torch.exp(torch.tensor(-0.3)) / 70))
        True
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: PhantomLagConfig | None = None,
        desync_bp: float = GhostBridgeConfig.desync_bp,
        horizon_ms: float = HashRegistryConfig.horizon_ms,
        trades_only: Sequence[str] = (),
    ) -> None:
        config = config or PhantomLagConfig()
        config.check()
        empty = kernel.empty_state(len(instruments), len(config.latencies_ms), capacity=4096)
        super().__init__("phantom_lag", config, ("latencies_ms",), {"lag": empty}, len(instruments))
        self.params = LagParams(
            desync_bp=float(desync_bp),
            latency_share=min(1.0, config.latency_ms / horizon_ms),
            tau_range_s=float(config.tau_range_s),
            min_range_bp=float(config.min_range_bp),
            horizon_ns=float(horizon_ms * 1e6),
            tau_curve_s=float(config.tau_curve_s),
            prior_decisions=float(config.prior_decisions),
        )
        self.latencies_ns = np.array([round(value * 1e6) for value in config.latencies_ms], np.int64)
        self.quoted = has_quotes(instruments, trades_only)
        self.reentry_penalty = float(config.reentry_penalty)

    def forward(
        self,
        batch: TickBatch,
        timeline: Timeline,
        ghost: Ghost,
        memory: Memory,
        state: State,
        predicted_bp: torch.Tensor | None = None,
    ) -> tuple[Lag, State]:
        """Cost of being late at N events; returns it and the state after them, and leaves ``state`` as it was.

        ``predicted_bp`` [N] is the ghost's move that a trained head expects over the registry's horizon.
        """
        self.check_state(state)
        out = lag(
            batch.ts_ns,
            batch.stream,
            timeline.aligned.x.T,
            timeline.aligned.half.T,
            timeline.aligned.dt_s,
            timeline.route.T,
            ghost.price_bp,
            ghost.deviation_bp.T,
            memory.entropy,
            memory.mean_bp,
            memory.echo_bp,
            torch.zeros_like(ghost.price_bp) if predicted_bp is None else predicted_bp,
            torch.from_numpy(self.quoted),
            torch.from_numpy(self.latencies_ns),
            **self.params._asdict(),
            state=self._leaves("lag", state),
        )
        move, expected, share = out[: len(COLUMNS)]
        after = self._own(state) | self._named("lag", out[len(COLUMNS) :])
        ring = self._ring(after)
        decisions = take_decisions(ring, int(ring.pending.min()))
        return Lag(move, expected, share, share > self.reentry_penalty, decisions), after

    def finish(self, state: State, last_ns: int) -> LagDecisions:
        """Decisions still waiting when the data ended at ``last_ns``; ``state`` is moved on in place."""
        return finish_decisions(self._ring(state), last_ns, self.latencies_ns, self.params)

    def _ring(self, state: State) -> LagState:
        return self._tuple("lag", _RING, state)


_RING = kernel.empty_state(streams=1, latencies=1, capacity=1)


def take_decisions(ring: LagState, upto: int) -> LagDecisions:
    """Hand out the decisions before number ``upto`` and free their places.

    Args:
        ring: the kernel's state, moved on in place.
        upto: the first that stays.
    """
    slots = np.arange(ring.head[0], upto) & (ring.ts_ns.size - 1)
    ring.head[0] = upto
    entropy, range_bp, cost = ring.entropy[slots], ring.range_bp[slots], ring.cost[slots]
    share = np.empty_like(cost)
    realised_penalties(entropy, range_bp, cost, share)
    return LagDecisions(
        ts_ns=ring.ts_ns[slots],
        stream=ring.stream[slots],
        side=ring.side[slots],
        expected_cost_bp=ring.expected[slots],
        realised_cost_bp=cost,
        entropy=entropy,
        range_bp=range_bp,
        realised_penalty=share,
    )


def finish_decisions(
    ring: LagState, last_ns: int, latencies_ns: np.ndarray[tuple[int], np.dtype[np.int64]], params: LagParams
) -> LagDecisions:
    """Hand out every decision. Prices that stand at the end count for latencies that end by then; later costs are NaN.

    Args:
        ring: the kernel's state, moved on in place.
        last_ns: when the data ended.
        latencies_ns: of the costs. [L]
        params: the kernel's settings.
    """
    resolve_decisions(last_ns + 1, latencies_ns, params, ring)
    decisions = take_decisions(ring, int(ring.head[1]))
    ring.pending[:] = ring.head[1]
    ring.next_due_ns[0] = FAR_NS
    return decisions
