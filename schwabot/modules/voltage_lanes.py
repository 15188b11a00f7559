"""VoltageLanes: from evidence to action. Axis legend: N events, V streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from schwabot.modules.ghost_bridge import Ghost
from schwabot.modules.hash_registry import Memory
from schwabot.modules.phantom_lag import Lag
from schwabot.modules.settings import GhostBridgeConfig, PhantomLagConfig, VoltageLanesConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import Timeline, has_quotes
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.lanes import cpu as kernel
from schwabot_kernels.lanes.cpu import LanesParams
from schwabot_kernels.lanes.op import COLUMNS, lanes
from schwabot_kernels.lanes.reference import bits_of, bits_of_voltage, voltage

__all__ = ["Lanes", "VoltageLanes", "bits_of", "bits_of_voltage", "voltage"]


class Lanes(NamedTuple):
    """Conviction of every stream at every event, [N, V].

    Attributes:
        forecast_bp: expected move over the horizon.
        snr: max(0, mean net edge)² over its variance, of the forecast's bucket.
        bits: evidence, 0 to 16.
        voltage: what the bits allow, slew limited, V.
        lane: ``Lane``. int8
        pays_fees: edge less the move expected the forecast's way within our latency, less the style's fee, is
            positive. int8
    """

    forecast_bp: torch.Tensor
    snr: torch.Tensor
    bits: torch.Tensor
    voltage: torch.Tensor
    lane: torch.Tensor
    pays_fees: torch.Tensor


class VoltageLanes(Stateful):
    r"""Bits of evidence, as a voltage, as one of three lanes that decide size and style.

    .. math::
        b = \mathrm{clip}\!\left(\tfrac{\kappa}{2} \log_2(1 + n\,\mathrm{SNR}), 0, 16\right), \quad
        \mathrm{SNR} = \frac{\max(0, \bar E)^2}{\mathrm{var}\,E}, \quad
        V = V_0\, 2^{b/8}, \quad b = 8 \log_2(V / V_0)

    E is what followed forecasts of this size (half octaves of |m| / sigma per stream): the move the forecast's way
    over the horizon, less half the spread; n the decayed count of non-overlapping outcomes, at most ``count_cap``. The
    output voltage rises by at most ``slew_v_per_s`` dt and falls at once; a lane is left upward only ``margin_v`` above
    its edge and while the latency is below ``latency_max_ms``: ours plus the stream's feed delay, as measured above the
    fastest message seen plus the least transport assumed (unknown counts as 0; at ``feed_latency_max_ms`` it is too
    long). A stream without quotes stays LOW.
    ``pays_fees``: E less what the price is expected to run away within our latency, less the fee of the lane's style,
    is positive.

    Args:
        instruments: V instruments, sorted by stream name.
        config: settings; see ``VoltageLanesConfig`` for units and defaults.
        trades_only: streams whose price is their last trade, beside those whose instrument says so.
        latency_ms: our own latency from decision to exchange.
        feed_latency_max_ms: feed delay at which a stream's weight in the timeline reaches zero.

    Shape:
        batch [N], timeline [N, V]; outputs [N, V].

    Raises:
        ConfigError: a setting is out of range.
        StateError: the state belongs to other lanes.

    Source:
        Discrete bet sizing from a forecast's significance: López de Prado (2018), ch. 10; capacity in bits per use:
        Shannon (1948), and its link to the size of bets: Kelly (1956).

    Example:
        >>> [round(v, 6) for v in voltage(torch.tensor([0.0, 8.0, 16.0])).tolist()]
        [0.8, 1.6, 3.2]
        >>> bits_of_voltage(torch.tensor([0.8, 1.6, 3.2])).tolist()
        [0.0, 8.0, 16.0]
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: VoltageLanesConfig | None = None,
        trades_only: Sequence[str] = (),
        latency_ms: float = PhantomLagConfig.latency_ms,
        feed_latency_max_ms: float = GhostBridgeConfig.latency_max_ms,
    ) -> None:
        config = config or VoltageLanesConfig()
        config.check()
        empty = kernel.empty_state(len(instruments), float(config.v0_v), capacity=4096)
        super().__init__(
            "voltage_lanes", config, ("horizon_ms", "half_life_s", "slope_tau_s"), {"lanes": empty}, len(instruments)
        )
        fee_bp = {
            "observe": [0.0] * len(instruments),
            "post": [i.maker_fee_bp for i in instruments],
            "cross": [i.taker_fee_bp for i in instruments],
        }
        self.quoted = has_quotes(instruments, trades_only)
        self.style_fee_bp = np.array([fee_bp[style] for style in config.style], np.float64)
        self.size = tuple(config.size)
        self.params = LanesParams(
            horizon_ns=round(config.horizon_ms * 1e6),
            tau_s=config.half_life_s / math.log(2.0),
            slope_tau_s=float(config.slope_tau_s),
            kappa=float(config.kappa),
            count_cap=float(config.count_cap),
            v0=float(config.v0_v),
            v_max=float(config.v_max_v),
            medium=float(config.medium_v),
            high=float(config.high_v),
            margin=float(config.margin_v),
            slew_per_s=float(config.slew_v_per_s),
            # A delay beyond what the timeline tells apart, weight 0, never rises.
            weight_min=max(0.0, 1.0 - (config.latency_max_ms - latency_ms) / feed_latency_max_ms),
        )

    def forward(
        self,
        batch: TickBatch,
        timeline: Timeline,
        ghost: Ghost,
        memory: Memory,
        lag: Lag,
        state: State,
        forecast_bp: torch.Tensor | None = None,
    ) -> tuple[Lanes, State]:
        """Lanes of N events; returns them and the state after, and leaves ``state`` as it was.

        ``forecast_bp`` [N, V] is what a trained head expects over the lanes' horizon, NaN where it has no answer.
        """
        self.check_state(state)
        out = lanes(
            batch.ts_ns,
            timeline.aligned.x.T,
            timeline.aligned.half.T,
            timeline.aligned.dt_s,
            timeline.route.T,
            ghost.deviation_bp.T,
            ghost.deviation_bp.T[:0] if forecast_bp is None else forecast_bp.T,
            memory.mean_bp,
            memory.trusted,
            timeline.aligned.latency_weight.T,
            lag.move_bp,
            torch.from_numpy(self.quoted),
            torch.from_numpy(self.style_fee_bp),
            **self.params._asdict(),
            state=self._leaves("lanes", state),
        )
        columns, leaves = out[: len(COLUMNS)], out[len(COLUMNS) :]
        return Lanes(*(column.T for column in columns)), self._own(state) | self._named("lanes", leaves)

    def size_of(self, lane: torch.Tensor) -> torch.Tensor:
        """Size multiplier of each lane, in the units of ``VoltageLanesConfig.size``.

        Example:
            >>> from schwabot.records.instrument import Instrument
            >>> lanes = VoltageLanes([Instrument("binance:BTC/USDT", 0.01, 1e-5)])
            >>> lanes.size_of(torch.tensor([0, 2], dtype=torch.int8)).tolist()
            [0.0, 2.0]
        """
        return torch.tensor(self.size, dtype=torch.float64, device=lane.device)[lane.long()]
