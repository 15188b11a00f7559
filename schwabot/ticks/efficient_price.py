"""The efficient price behind the synthetic market: a diffusion with stochastic volatility and jumps.

Axis legend: N times, G steps of a block, C cells of a block (each G / C steps, one volatility each).

The path is made in blocks at fixed times. Each block has its own random numbers and starts from the
state the block before ended in, so any stretch can be made again, and memory does not grow with length.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, pi, sqrt

import numpy as np

from schwabot.records.market import Float64, Int64

STEPS = 65_536
CELLS = 512
KEPT_BLOCKS = 4
BURST_TAU_S = 2.0
"""Trading stays busier for about this long after a jump."""
BURST_PER_BP = 1.0
"""A jump of one bp adds this many times the usual activity, at first."""


@dataclass(frozen=True, slots=True)
class PathBlock:
    """One block of the path.

    Attributes:
        log_price_bp: at the edges of the steps, bp relative to the reference price. [G + 1]
        activity: how busy the market is, 1 on average. [C]
    """

    log_price_bp: Float64
    activity: Float64


class EfficientPrice:
    """Efficient log price p: dp = σ dW + J dN with log σ an Ornstein–Uhlenbeck process.

    σ² averages ``volatility_bp``² per second. Activity rises with volatility and after jumps.

    Args:
        seed: of the random numbers.
        start_ns: where the path starts, at 0 bp.
        step_ns: length of a step; the path is linear inside it.
        volatility_bp: root mean square move in one second, bp.
        volatility_log_sd: standard deviation of log σ.
        volatility_tau_s: how long log σ remembers, seconds.
        jumps_per_hour: mean number of jumps.
        jump_bp: standard deviation of a jump, bp.

    Example:
        >>> path = EfficientPrice(seed=1, start_ns=0, step_ns=1_000_000)
        >>> path.at(np.array([-5, 0])).tolist()
        [0.0, 0.0]
    """

    def __init__(
        self,
        *,
        seed: int,
        start_ns: int,
        step_ns: int,
        volatility_bp: float = 1.0,
        volatility_log_sd: float = 0.5,
        volatility_tau_s: float = 60.0,
        jumps_per_hour: float = 60.0,
        jump_bp: float = 5.0,
    ) -> None:
        self.seed = seed
        self.start_ns = start_ns
        self.step_ns = step_ns
        self.block_ns = step_ns * STEPS
        self.volatility_bp = volatility_bp
        self.volatility_log_sd = volatility_log_sd
        self.volatility_tau_s = volatility_tau_s
        self.jumps_per_hour = jumps_per_hour
        self.jump_bp = jump_bp
        first_log_vol = volatility_log_sd * float(np.random.default_rng([seed, 0]).standard_normal())
        self._starts = [(0.0, first_log_vol, 0.0)]
        self._kept: dict[int, PathBlock] = {}

    def block(self, k: int) -> PathBlock:
        """Block ``k``, from ``start_ns + k * block_ns`` on."""
        if k not in self._kept:
            for before in range(len(self._starts) - 1, k):
                self._make(before)
            self._make(k)
        return self._kept[k]

    def at(self, ts_ns: Int64) -> Float64:
        """Efficient log price in bp at any times; 0 before the start, N of them."""
        since = np.maximum(ts_ns - self.start_ns, 0)
        blocks = since // self.block_ns
        values = np.empty(len(since))
        if not len(since):
            return values
        for k in range(int(blocks.min()), int(blocks.max()) + 1):
            rows = np.flatnonzero(blocks == k)
            if len(rows):
                step, rest = np.divmod(since[rows] - k * self.block_ns, self.step_ns)
                path = self.block(k).log_price_bp
                values[rows] = path[step] + (path[step + 1] - path[step]) * (rest / self.step_ns)
        return values

    def _make(self, k: int) -> None:
        price_bp, log_vol, burst = self._starts[k]
        rng = np.random.default_rng([self.seed, 1, k])
        cell_steps = STEPS // CELLS
        cell_s = cell_steps * self.step_ns / 1e9
        jumps = np.zeros(STEPS)
        count = int(rng.poisson(self.jumps_per_hour / 3600.0 * self.block_ns / 1e9))
        np.add.at(jumps, rng.integers(0, STEPS, count), self.jump_bp * rng.standard_normal(count))
        jumped = np.abs(jumps).reshape(CELLS, cell_steps).sum(axis=1).tolist()
        keep = exp(-cell_s / self.volatility_tau_s)
        shocks = (self.volatility_log_sd * sqrt(1.0 - keep * keep) * rng.standard_normal(CELLS)).tolist()
        fade = exp(-cell_s / BURST_TAU_S)
        log_vols, bursts = [], []
        for shock, size in zip(shocks, jumped, strict=True):
            burst += BURST_PER_BP * size
            log_vols.append(log_vol)
            bursts.append(burst)
            burst *= fade
            log_vol = keep * log_vol + shock
        variance = self.volatility_log_sd**2
        sigma = self.volatility_bp * sqrt(self.step_ns / 1e9) * np.exp(np.array(log_vols) - variance)
        moves = rng.standard_normal(STEPS).reshape(CELLS, cell_steps) * sigma[:, None]
        path = np.empty(STEPS + 1)
        path[0] = price_bp
        np.cumsum(moves.reshape(-1) + jumps, out=path[1:])
        path[1:] += price_bp
        mean_burst = BURST_PER_BP * self.jump_bp * sqrt(2.0 / pi) * self.jumps_per_hour / 3600.0 * cell_s / (1.0 - fade)
        activity = (np.exp(0.5 * np.array(log_vols) - variance / 8.0) + np.array(bursts)) / (1.0 + mean_burst)
        if len(self._starts) == k + 1:
            self._starts.append((float(path[-1]), log_vol, burst))
        self._kept[k] = PathBlock(path, activity)
        for old in sorted(self._kept, key=lambda other: abs(other - k))[KEPT_BLOCKS:]:
            del self._kept[old]
