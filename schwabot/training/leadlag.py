"""Who leads whom, and by how much: the lead-lag of two price series that tick at times of their own.

Axis legend: n + 1, m + 1 prices of X and Y, L lags, B blocks of time, R resamples.

    U(theta)   = sum_i sum_j dX_i dY_j 1{I_i and J_j - theta have a point in common}
    contrast   = |U(theta)| / sqrt(sum dX^2 * sum dY^2), over the moves that can meet one of the other at some lag
    ratio      = sum_{theta > 0} |U| / sum_{theta < 0} |U|, turned over where Y leads

I_i and J_j are the times between two prices. A peak at theta > 0 says that Y does theta later what X does. Nothing is
filled in or thinned out, so a stream that ticks seldom does not look late for that alone. Nothing bounds the contrast
by 1; what is bounded is the correlation of moves within bins, which stands beside it.

Source: Hayashi, Yoshida (2005); Hoffmann, Rosenbaum, Yoshida (2013), "Estimation of the lead-lag parameter from
non-synchronous data"; Huth, Abergel (2014), "High frequency lead/lag relationships", for the ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schwabot.errors import ConfigError, DataError
from schwabot.records.market import Float64, Int64
from schwabot.ticks.overlap import utc
from schwabot.training.lag_peak import contrast_peak, peak_of
from schwabot.training.leadlag_sums import DeviceGivenUpError, LagSums, SumsDevice
from schwabot.training.price_series import Series

FINE_S, FINE_MS = 1.0, 10.0
COARSE_S, COARSE_MS = 30.0, 100.0
RESOLUTION_MS = 1.0
SLOW_MS = 100.0
"""From this mean time between prices on the coarse grid is the default one."""
MOST_LAGS = 20_001
WANTED_BLOCKS, MOST_BLOCKS = 20, 500
LEAST_BLOCKS = 8
"""Fewer blocks of time say nothing about how sure the answer is."""
PRICES_PER_BLOCK = 10
Progress = Callable[[float], None]
"""Told the share of the work that is done."""


@dataclass
class LeadLagConfig:
    """mode=leadlag: who leads whom.

    Attributes:
        max_lag_s: lags from minus to plus this, s; absent = 1, or 30 where prices come every 100 ms or slower.
        step_ms: step between lags, ms; absent = 10, or 100 where prices come every 100 ms or slower.
        price: mid (of the quotes), last (of the trades), or auto = mid where a stream has quotes, else last.
        returns: log (differences of log prices) or simple (differences of prices).
        resolution_ms: of prices within this time the last counts; absent = 1 (what exchanges stamp to), or a step
            where that is shorter; 0 = of prices at the same ns.
        bin_ms: bins of the correlation, ms; absent = the time between two prices of the slower stream, at least a step.
        block_s: blocks of the bootstrap, s; shorter where they would be fewer than 20, longer where they would be more
            than 500 or hold fewer than 10 prices.
        draws: resamples of the bootstrap; 0 = no intervals.
        seed: of the bootstrap.
        max_prices: most prices kept in memory, 32 bytes each; repeats between two equal prices need none. What comes
            after is left unread, and a note says so.
    """

    max_lag_s: float | None = None
    step_ms: float | None = None
    price: str = "auto"
    returns: str = "log"
    resolution_ms: float | None = None
    bin_ms: float | None = None
    block_s: float = 5.0
    draws: int = 500
    seed: int = 0
    max_prices: int = 20_000_000

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, choices in (("price", "auto, mid or last"), ("returns", "log or simple")):
            if getattr(self, name) not in choices.replace(" or", ",").split(", "):
                raise ConfigError(f"leadlag.{name}={getattr(self, name)} is not a choice; use {choices}")
        for name, least, most in (
            ("max_lag_s", 1e-6, 1e6),
            ("step_ms", 1e-3, 1e9),
            ("resolution_ms", 0, 1e9),
            ("bin_ms", 1e-3, 1e9),
            ("block_s", 1e-3, 1e6),
            ("draws", 0, 100_000),
            ("seed", 0, 2**63 - 1),
            ("max_prices", 1_000, 2_000_000_000),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(f"leadlag.{name}={value} is out of range: use {least:g} to {most:g}")
        if self.max_lag_s is not None and self.step_ms is not None:
            LagGrid.of(self.max_lag_s, self.step_ms)

    @property
    def resolution_ns(self) -> int:
        """Stamps are told apart to this, ns.

        Example:
            >>> LeadLagConfig().resolution_ns, LeadLagConfig(step_ms=0.5).resolution_ns
            (1000000, 500000)
        """
        usual_ms = min(RESOLUTION_MS, math.inf if self.step_ms is None else self.step_ms)
        return max(1, round((usual_ms if self.resolution_ms is None else self.resolution_ms) * 1e6))

    def grid(self, interval_ms: float) -> LagGrid:
        """The lags asked for, or those that suit prices that come every ``interval_ms``.

        Example:
            >>> LeadLagConfig().grid(5.0), LeadLagConfig(step_ms=50).grid(1000.0)
            (LagGrid(step_ns=10000000, side=100), LagGrid(step_ns=50000000, side=600))
        """
        slow = interval_ms >= SLOW_MS
        max_lag_s = (COARSE_S if slow else FINE_S) if self.max_lag_s is None else self.max_lag_s
        step_ms = (COARSE_MS if slow else FINE_MS) if self.step_ms is None else self.step_ms
        return LagGrid.of(max_lag_s, step_ms)


@dataclass(frozen=True)
class LagGrid:
    """Lags from -side to +side steps.

    Attributes:
        step_ns: between two lags.
        side: lags on either side of 0; L = 2 side + 1.
    """

    step_ns: int
    side: int

    @classmethod
    def of(cls, max_lag_s: float, step_ms: float) -> LagGrid:
        """Multiples of ``step_ms`` up to ``max_lag_s`` on either side.

        Raises:
            ConfigError: not a single step, or too many.

        Example:
            >>> LagGrid.of(30.0, 100.0).lags_ms()[[0, 300, 301, 600]]
            array([-30000.,      0.,    100.,  30000.])
        """
        step_ns = round(step_ms * 1e6)
        side = math.floor(max_lag_s * 1e9 / step_ns + 1e-6)
        if side < 1:
            raise ConfigError(
                f"leadlag.step_ms={step_ms:g} is longer than leadlag.max_lag_s={max_lag_s:g}: make it a fraction of it"
            )
        if 2 * side + 1 > MOST_LAGS:
            raise ConfigError(
                f"leadlag.max_lag_s={max_lag_s:g} in steps of leadlag.step_ms={step_ms:g} makes {2 * side + 1:,} lags,"
                f" more than {MOST_LAGS:,}: use a longer step or a shorter lag"
            )
        return cls(step_ns, side)

    def lags_ns(self) -> Int64:
        """All lags, ns. Shape: [L]."""
        return np.arange(-self.side, self.side + 1, dtype=np.int64) * self.step_ns

    def lags_ms(self) -> Float64:
        """All lags, ms. Shape: [L]."""
        return self.lags_ns() / 1e6


@dataclass(frozen=True)
class LeadLag:
    """Lead-lag of a pair on one clock. Lags are from leader to follower; below 0 they say the opposite.

    Attributes:
        leader, follower: by the sign of the peak's lag; at lag 0 by the ratio, so that it is at least 1, which orients
            the ratio and says nothing about a lead.
        lag_ms: where |U| peaks, at least 0; of a plateau the middle, of its two halves where they meet.
        contrast: |U| there over sqrt(sum dX^2 * sum dY^2); above 1 on bursty paths.
        ratio, ratio_sq: sum of |U| (of U^2) over lags at which the leader leads, over that at which it follows.
        clock: receive or event.
        event_estimated: the times of one of the two are estimates: its venue does not stamp all of its prices.
        lead_seen: the peak lies beside lag 0, its interval is on that side too, and the two peaks do not disagree;
            None where there is no interval.
        lag_ci_ms, contrast_ci, ratio_ci: 95 % of the resamples; None without enough blocks.
        confidence: share of resamples that peak where the leader leads, lag 0 not among them; None likewise.
        reverse_confidence: share of those that peak where the follower leads.
        blocks, block_s: of the bootstrap.
        correlation, correlation_lag_ms, bin_ms: peak of the correlation of moves within bins.
        disagree: the two peaks lie more than a bin apart, or on different sides of 0.
        edge: the peak is at the end of the grid, so that the true one may lie beyond.
        x, y: the pair in the order of the curves.
        n_x, n_y: stamps with a price.
        moves_x, moves_y: how often the price moved.
        refresh_x_ms, refresh_y_ms: mean time between prices.
        overlap_s: time that both cover.
        lags_ms: the grid; above 0 X leads. [L]
        curve: U over sqrt(sum dX^2 * sum dY^2), signed. [L]
        correlations: of moves within bins. [L]
    """

    leader: str
    follower: str
    lag_ms: float
    contrast: float
    ratio: float
    ratio_sq: float
    clock: str
    event_estimated: bool
    lead_seen: bool | None
    lag_ci_ms: tuple[float, float] | None
    contrast_ci: tuple[float, float] | None
    ratio_ci: tuple[float, float] | None
    confidence: float | None
    reverse_confidence: float | None
    blocks: int
    block_s: float
    correlation: float
    correlation_lag_ms: float
    bin_ms: float
    disagree: bool
    edge: bool
    x: str
    y: str
    n_x: int
    n_y: int
    moves_x: int
    moves_y: int
    refresh_x_ms: float
    refresh_y_ms: float
    overlap_s: float
    lags_ms: Float64 = field(repr=False)
    curve: Float64 = field(repr=False)
    correlations: Float64 = field(repr=False)

    def entry(self) -> dict[str, Any]:
        """What summary.json holds of it: everything but the curves."""
        names = [name for name in self.__dataclass_fields__ if name not in ("lags_ms", "curve", "correlations")]
        return {name: getattr(self, name) for name in names}


def lead_lag(
    x: Series,
    y: Series,
    grid: LagGrid,
    config: LeadLagConfig | None = None,
    *,
    clock: str = "receive",
    event_estimated: bool = False,
    progress: Progress | None = None,
    device: SumsDevice | None = None,
) -> LeadLag:
    """Lead-lag of two series over a grid of lags.

    Args:
        x: one series, as ``to_series`` gives it.
        y: the other.
        grid: which lags.
        config: bins and bootstrap.
        clock: what the stamps are; told in the answer.
        event_estimated: they are estimates for some prices; told in the answer.
        progress: told the share of the work that is done; may raise to end it.
        device: where the sums over lags are computed; default the CPU.

    Raises:
        DataError: the two have no time in common at any of the lags.

    Source: see the file's head. Cost: O((n + m) L), memory O(n + m + L B).

    Example:
        >>> from schwabot.training.price_series import to_series
        >>> rng = np.random.default_rng(0)
        >>> path = np.cumsum(rng.normal(size=4_000))
        >>> early, late = np.sort(rng.permutation(3_900)[:800]), np.sort(rng.permutation(3_900)[:2_000])
        >>> x = to_series(early * 1_000_000, path[early + 50], "fast", returns="simple")
        >>> y = to_series(late * 1_000_000, path[late], "slow", returns="simple")
        >>> found = lead_lag(y, x, LagGrid.of(max_lag_s=0.1, step_ms=1))
        >>> found.leader, found.lag_ms, found.confidence, found.disagree
        ('fast', 50.0, 1.0, False)
    """
    config = config or LeadLagConfig()
    told = progress or (lambda share: None)
    lags_ns = grid.lags_ns()
    slower_ms = max(x.interval_ms, y.interval_ms)
    reach_ns = int(lags_ns[-1])
    time_x, value_x = _within_reach(x, y, reach_ns)
    time_y, value_y = _within_reach(y, x, reach_ns)
    spans = (f"{one.name} ({utc(one.ts_ns[0])} to {utc(one.ts_ns[-1])})" for one in (x, y))
    alone = DataError(f"{' and '.join(spans)} have no moves in common at any lag up to {reach_ns / 1e9:g} s")
    if min(len(time_x), len(time_y)) < 2:
        raise alone
    span_ns = float(time_x[-1] - time_x[0])
    block_ns = min(config.block_s * 1e9, span_ns / WANTED_BLOCKS)
    block_ns = max(block_ns, span_ns / MOST_BLOCKS, PRICES_PER_BLOCK * slower_ms * 1e6)
    block_x = np.maximum(0, (time_x - time_x[0] - 1) // block_ns).astype(np.int64)  # a move belongs to its end
    energy_x, energy_y = (np.diff(values) ** 2 for values in (value_x, value_y))
    sums = LagSums((time_x, value_x, time_y, value_y), device or SumsDevice())
    by_block = _over_lags(
        lambda lags: sums.contrast(lags, block_x),
        lags_ns,
        sums,
        lambda share: told(0.5 * share),
    )
    covariance = by_block.sum(axis=1)
    if not covariance.any():
        raise alone
    width_ns = round(max(grid.step_ns, config.bin_ms * 1e6 if config.bin_ms else slower_ms * 1e6))
    # The first price of X in the middle of a bin: on common stamps the bins then peak around the lag, not beside it.
    origin_ns = int(time_x[0]) - width_ns // 2
    origin_ns -= max(0, -(-(origin_ns - int(time_y[0]) + reach_ns) // width_ns)) * width_ns
    correlations = _over_lags(
        lambda lags: sums.bin_correlation(lags, width_ns, origin_ns),
        lags_ns,
        sums,
        lambda share: told(0.5 + 0.5 * share),
    )
    norm = math.sqrt(energy_x.sum() * energy_y.sum())
    peak = contrast_peak(np.abs(covariance))
    ratio, ratio_sq = (_ratio(np.abs(covariance) ** power, grid.side) for power in (1, 2))
    side = int(np.sign(peak - grid.side)) or (1 if ratio >= 1.0 else -1)
    bin_peak = peak_of(np.nan_to_num(np.abs(correlations)))
    lag_ns, bin_lag_ns = (int(lags_ns[at]) * side for at in (peak, bin_peak))
    disagree = abs(lag_ns - bin_lag_ns) > width_ns or lag_ns * bin_lag_ns < 0
    blocks = by_block.shape[1]
    block_y = np.clip((time_y[1:] - time_x[0] - 1) // block_ns, 0, block_x[-1]).astype(np.int64)
    resampled = _bootstrap(
        by_block,
        _per_block(block_x[1:], energy_x, blocks),
        _per_block(block_y, energy_y, blocks),
        config,
        side,
    )
    names = (x.name, y.name) if side > 0 else (y.name, x.name)
    lag_ci_ms = resampled.interval(resampled.lag_steps * (grid.step_ns / 1e6))
    return LeadLag(
        *names,
        lag_ms=lag_ns / 1e6,
        contrast=abs(float(covariance[peak])) / norm,
        ratio=ratio if side > 0 else _inverse(ratio),
        ratio_sq=ratio_sq if side > 0 else _inverse(ratio_sq),
        clock=clock,
        event_estimated=event_estimated,
        lead_seen=_lead_seen(lag_ns, lag_ci_ms, disagree),
        lag_ci_ms=lag_ci_ms,
        contrast_ci=resampled.interval(resampled.contrast),
        ratio_ci=resampled.interval(resampled.ratio),
        confidence=resampled.share(1),
        reverse_confidence=resampled.share(-1),
        blocks=resampled.blocks,
        block_s=block_ns / 1e9,
        correlation=float(correlations[bin_peak]),
        correlation_lag_ms=bin_lag_ns / 1e6,
        bin_ms=width_ns / 1e6,
        disagree=disagree,
        edge=bool(lag_ns == lags_ns[-1]),
        x=x.name,
        y=y.name,
        n_x=x.observations,
        n_y=y.observations,
        moves_x=x.moves,
        moves_y=y.moves,
        refresh_x_ms=x.interval_ms,
        refresh_y_ms=y.interval_ms,
        overlap_s=max(0.0, float(min(x.ts_ns[-1], y.ts_ns[-1]) - max(x.ts_ns[0], y.ts_ns[0])) / 1e9),
        lags_ms=grid.lags_ms(),
        curve=covariance / norm,
        correlations=correlations,
    )


def _within_reach(one: Series, other: Series, reach_ns: int) -> tuple[Int64, Float64]:
    """The part of ``one`` whose moves can meet one of ``other`` at some lag.

    The rest adds nothing to U at any lag. Left in, a stream that joined late would look less alike the longer the
    other one ran without it, and its blocks would be few or many by which of the two comes first.
    """
    first = max(0, int(np.searchsorted(one.ts_ns, other.ts_ns[0] - reach_ns, side="right")) - 1)
    last = int(np.searchsorted(one.ts_ns, other.ts_ns[-1] + reach_ns, side="left"))
    return one.ts_ns[first : last + 1], one.value[first : last + 1]


def _lead_seen(lag_ns: int, lag_ci_ms: tuple[float, float] | None, disagree: bool) -> bool | None:
    """Whether lag 0 is told from the peak; a peak at 0, or two that disagree, show no lead, however little is known."""
    if lag_ns == 0 or disagree:
        return False
    return None if lag_ci_ms is None else lag_ci_ms[0] > 0


def _ratio(size: Float64, side: int) -> float:
    """Sum over lags at which X leads, over that at which Y does; infinite without any of the latter."""
    ahead, behind = float(size[side + 1 :].sum()), float(size[:side].sum())
    return ahead / behind if behind > 0 else math.inf if ahead > 0 else 1.0


def _inverse(ratio: float) -> float:
    return 1.0 / ratio if ratio > 0 else math.inf


def _per_block(block: Int64, values: Float64, blocks: int) -> Float64:
    return np.bincount(block, values, blocks).astype(np.float64)


def _over_lags(work: Callable[[Int64], Float64], lags_ns: Int64, sums: LagSums, told: Progress) -> Float64:
    """Some lags at a time on every core; each lag is on its own, so neither cores nor cuts change a result.

    Where a device is given up, what is left is cut anew, to the CPU's size.
    """
    found: list[Float64] = []
    done = 0
    while done < len(lags_ns):
        left = lags_ns[done:]
        pool = ThreadPoolExecutor(sums.device.cores)
        try:
            for answer in pool.map(work, np.array_split(left, sums.calls(len(left)))):
                found.append(answer)
                done += len(answer)
                told(done / len(lags_ns))
        except DeviceGivenUpError:
            continue
        finally:
            pool.shutdown(cancel_futures=True)
    return np.concatenate(found)


@dataclass(frozen=True)
class _Resamples:
    """What the resamples say, oriented to the leader of the whole. [R]."""

    lag_steps: Float64
    contrast: Float64
    ratio: Float64
    blocks: int

    def interval(self, values: Float64) -> tuple[float, float] | None:
        """95 % of the values lie in it."""
        if not len(values):
            return None
        low, high = np.quantile(values, [0.025, 0.975], method="nearest")
        return float(low), float(high)

    def share(self, side: int) -> float | None:
        """How many of the peaks lie on that side of lag 0, which is on neither."""
        return float(np.mean(np.sign(self.lag_steps) == side)) if len(self.lag_steps) else None


def _bootstrap(by_block: Float64, energy_x: Float64, energy_y: Float64, config: LeadLagConfig, side: int) -> _Resamples:
    """Draw whole blocks of X's moves, with what they met of Y at every lag, with replacement (Künsch 1989)."""
    met = int(np.count_nonzero(by_block.any(axis=0)))
    # A block in which only one of them moved counts too: its energy is in the norm of the whole.
    used = np.flatnonzero(by_block.any(axis=0) | (energy_x > 0) | (energy_y > 0))
    blocks, nothing = len(used), np.zeros(0)
    if met < LEAST_BLOCKS or config.draws < 2:
        return _Resamples(nothing, nothing, nothing, met)
    parts, energies = by_block[:, used].T, np.stack([energy_x[used], energy_y[used]], axis=1)
    centre = by_block.shape[0] // 2
    rng = np.random.default_rng(config.seed)
    lag_steps, contrast, ratio = (np.empty(config.draws) for _ in range(3))
    for draw in range(config.draws):
        times = np.bincount(rng.integers(blocks, size=blocks), minlength=blocks).astype(np.float64)
        size = np.abs(times @ parts)
        peak = contrast_peak(size)
        x, y = times @ energies
        forward = _ratio(size, centre)
        lag_steps[draw] = (peak - centre) * side
        contrast[draw] = size[peak] / math.sqrt(x * y) if x > 0 and y > 0 else math.nan
        ratio[draw] = forward if side > 0 else _inverse(forward)
    return _Resamples(lag_steps, contrast, ratio, met)
