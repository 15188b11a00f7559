"""How good is the ghost price? Out-of-sample skill of a deviation against what followed.

Axis legend: N events, n rows scored, V streams, H horizons, P predictors, C cases, S segments (pieces of a block).

Rows are the bookTicker quotes of any stream once every stream has a mid. For stream v and horizon h the outcome is

    y_i = x_v(t_i + h) - x_v(t_i),   x_v(t + h) = log mid after the last event with ts_recv <= t + h,

and the forecast is slope_i * d_i with the causal online slope

    slope_i = sum_j d_j y_j / (sum_j d_j^2 + prior),   over rows j with t_j + h < t_i,
    R^2 = 1 - sum (y_i - slope_i d_i)^2 / sum y_i^2.

The comparison is strict because x(t_j + h) takes in every event of its stamp, also those that come after row i.
On the time grid a row is taken after all events of its stamp, so there t_j + h <= t_i is causal.

Work is done in whole blocks of absolute time and summed in pieces at fixed places of a block, so results are the same
bit for bit however the events are cut into batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schwabot.errors import ConfigError, UnsortedTimeError
from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64, Kind
from schwabot.training.bootstrap import BlockSums, bootstrap_ratio
from schwabot.training.recent_rows import RecentRows

Predictor = Callable[[StepRecord], Float64]
"""From a batch to one number per event and stream, [N, V]; causal; NaN = no answer."""

Observer = Callable[[float, Int64, Float64, Float64], None]
"""Called with horizon_ms, row times [n], forecasts of the first predictor in bp [n, V], outcomes in bp [n, V]."""

_MS = 1_000_000
_SEGMENT_ROWS = 2048
_BATCH_ROWS = 4096
_MOMENTS = 4
_SILENT_BP = 1e-9
"""A predictor whose root mean square is no larger says nothing: what it shows is rounding."""


@dataclass(frozen=True)
class SkillConfig:
    """What the skill meter measures.

    Args:
        enabled: ``auto`` (stops after ``max_events``), ``on`` or ``off``.
        max_events: events measured by ``auto``.
        horizons_ms: how far ahead the outcome lies.
        block_s: length of a bootstrap block.
        draws: bootstrap resamples; 0 = no interval.
        seed: of the bootstrap.
        grid_ms: step of the time grid for ``r2_grid``.
        grid_stale_ms: grid points longer than this after the last event are left out (nothing trades).
        placebo_s: age of the placebo's forecast.
        skip_ms: ``r2_after_1ms`` counts the outcome from this long after the row on.
        top_blocks: blocks of most energy that ``r2_without_top3`` leaves out.
        prior_bp2: pull of the slope to zero, in units of the sum of squared deviations; too little of it and the first
            few rows, whose outcomes overlap, fit wild slopes that cost more R² than the rest of the run earns.

    Raises:
        ConfigError: a value that can't be used.

    Example:
        >>> SkillConfig(horizons_ms=(100,)).block_s
        5.0
    """

    enabled: str = "auto"
    max_events: int = 5_000_000
    horizons_ms: tuple[int, ...] = (10, 50, 100, 500, 1000)
    block_s: float = 5.0
    draws: int = 1000
    seed: int = 0
    grid_ms: float = 10.0
    grid_stale_ms: float = 1000.0
    placebo_s: float = 7.0
    skip_ms: float = 1.0
    top_blocks: int = 3
    prior_bp2: float = 1.0

    def __post_init__(self) -> None:
        if self.enabled not in ("auto", "on", "off"):
            raise ConfigError(f"skill.enabled is {self.enabled!r}; choose 'auto', 'on' or 'off' (quoted in YAML)")
        if not self.horizons_ms or any(h <= 0 for h in self.horizons_ms):
            raise ConfigError(f"skill.horizons_ms must be one or more positive numbers, got {self.horizons_ms}")
        if len(set(self.horizons_ms)) != len(self.horizons_ms):
            raise ConfigError(f"skill.horizons_ms names a horizon twice: {self.horizons_ms}")
        for name in ("max_events", "block_s", "grid_ms", "prior_bp2"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"skill.{name} must be positive, got {getattr(self, name)}")
        for name in ("draws", "seed", "grid_stale_ms", "placebo_s", "skip_ms", "top_blocks"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"skill.{name} must not be negative, got {getattr(self, name)}")


class CausalSlope:
    """Slope through the origin, fitted on the outcomes known before each row.

    slope_i = sum_j d_j y_j / (sum_j d_j^2 + prior) over j with t_j + h < t_i (``<=`` when ``closed``).

    Args:
        horizon_ns: h, how long an outcome takes to become known.
        shape: of one row, e.g. (C, V).
        prior_bp2: pull to zero.
        closed: rows are taken after all events of their stamp.

    Example:
        >>> slope = CausalSlope(horizon_ns=2, shape=(1,), prior_bp2=1.0)
        >>> slope.step(np.array([0, 2, 3]), np.ones((3, 1)), np.full((3, 1), 3.0)).ravel()
        array([0. , 0. , 1.5])
    """

    def __init__(self, horizon_ns: int, shape: tuple[int, ...], prior_bp2: float, closed: bool = False) -> None:
        self.horizon_ns = horizon_ns
        self.prior_bp2 = prior_bp2
        self._side: Any = "right" if closed else "left"
        # When each row's outcome is known, and the running sums of d^2 and d*y up to it; row 0 stands for all before.
        self._rows = RecentRows(((), np.int64), ((2, *shape), np.float64))
        self._rows.append(np.array([np.iinfo(np.int64).min]), np.zeros((1, 2, *shape)))

    def step(self, ts_ns: Int64, dd: Float64, dy: Float64) -> Float64:
        """Slope for each row, then remember the rows.

        Args:
            ts_ns: row times, never decreasing, none before the last call's. [n]
            dd: squared deviation; 0 for rows that do not count. [n, ...]
            dy: deviation times outcome, likewise. [n, ...]

        Shape: [n, ...]
        """
        self._rows.append(ts_ns + self.horizon_ns, np.stack([dd, dy], axis=1))
        known_ns, sums = self._rows.column(0), self._rows.column(1)
        # Left to right from the last running sum, so a cut between calls changes no bit.
        fresh = sums[len(sums) - len(ts_ns) - 1 :]
        np.add.accumulate(fresh, axis=0, out=fresh)
        known = np.searchsorted(known_ns, ts_ns, side=self._side) - 1
        slope = np.take(sums, known, axis=0)
        self._rows.forget(int(known[-1]))
        return np.asarray(slope[:, 1] / (slope[:, 0] + self.prior_bp2))


class _Score:
    """Everything summed so far over one set of rows.

    Attributes:
        slopes: one per horizon.
        fit: rows counted, sum y^2, sum squared error. [3, C, V, H]
        counted: rows whose outcome lies within the data, answered or not. [H]
        moments: sums of d, y, d^2, d*y of the first P cases. [4, P, V, H]
        blocks: per block, sum y^2 and squared error of the first P cases. [B, H*2*P*V]
    """

    def __init__(self, cases: int, predictors: int, streams: int, config: SkillConfig, closed: bool) -> None:
        horizons = len(config.horizons_ms)
        self.slopes = [
            CausalSlope(int(h * _MS), (cases, streams), config.prior_bp2, closed) for h in config.horizons_ms
        ]
        self.fit = np.zeros((3, cases, streams, horizons))
        self.counted = np.zeros(horizons, dtype=np.int64)
        self.moments = np.zeros((_MOMENTS, predictors, streams, horizons))
        self.blocks = BlockSums(horizons * 2 * predictors * streams)


def _add_in_order(total: Float64, pieces: Float64) -> Float64:
    """total + pieces[0] + pieces[1] + ..., left to right."""
    return np.asarray(np.add.accumulate(np.concatenate([total[None], pieces]))[-1])


def ghost_deviation(record: StepRecord) -> Float64:
    """The ghost's own forecast: positive where the stream is cheap, bp. Shape [N, V]."""
    return record.signals.deviation_bp


class SkillMeter:
    """Streaming out-of-sample skill of the ghost's deviation (and of any other predictor) per stream and horizon.

    Memory holds the last few seconds of events and one row of sums per block, not the run.

    Args:
        instruments: V instruments of the run.
        config: see ``SkillConfig``.
        predictors: name → columns; the default is the ghost's deviation.
        observer: sees every row's forecast and outcome, for plots and tests; ``summary`` shows it the rows of the
            last seconds, which wait for their outcomes until then.
        rates: streams that price something else than the asset; neither they nor their quotes are scored.

    Example:
        >>> meter = SkillMeter((Instrument("a:X/Y", 0.1, 1.0),), SkillConfig(horizons_ms=(100,)))
        >>> meter.summary()["a:X/Y"]["100"]["n"]
        0
    """

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        config: SkillConfig | None = None,
        *,
        predictors: Mapping[str, Predictor] | None = None,
        observer: Observer | None = None,
        rates: Sequence[str] = (),
    ) -> None:
        self.config = config or SkillConfig()
        self._is_priced = np.array([instrument.stream not in rates for instrument in instruments])
        self._at = np.flatnonzero(self._is_priced) if rates else slice(None)  # a slice copies nothing
        self.streams = tuple(one.stream for one in instruments if one.stream not in rates)
        self.predictors: dict[str, Predictor] = dict(predictors or {"ghost": ghost_deviation})
        self.note = "off: skill.enabled=off" if self.config.enabled == "off" else ""
        """Why the numbers cover less than the run; empty when they cover all of it."""
        self._observer = observer
        self._horizons_ns = [int(h * _MS) for h in self.config.horizons_ms]
        self._block_ns = int(self.config.block_s * 1e9)
        self._grid_ns = int(self.config.grid_ms * _MS)
        self._grid_stale_ns = int(self.config.grid_stale_ms * _MS)
        self._placebo_ns = int(self.config.placebo_s * 1e9)
        self._skip_ns = int(self.config.skip_ms * _MS)
        wide = (len(self.predictors), len(self.streams))
        self._events = RecentRows(((), np.int64), ((), np.bool_), (wide[1:], np.float64), (wide, np.float64))
        self._seen = 0
        self._next_block: int | None = None
        self._rows = _Score(3 * wide[0], *wide, self.config, closed=False)
        self._grid = _Score(wide[0], *wide, self.config, closed=True)

    def update(self, record: StepRecord) -> None:
        """Take in one batch.

        Raises:
            UnsortedTimeError: receive time ran backwards.
            ConfigError: a predictor whose answer is not numbers of shape [N, V].
        """
        if self.config.enabled == "off":
            return
        events = len(record.ts_recv_ns)
        stop = events
        if self.config.enabled == "auto" and self._seen + events > self.config.max_events:
            stop = self.config.max_events - self._seen
            self.note = (
                f"measured on the first {self.config.max_events:,} events only; set skill.enabled='on' for all of them"
            )
        if stop > 0:
            self._seen += stop
            self._take(record, stop)

    def summary(self, predictor: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
        """Skill so far: stream → horizon in ms → numbers; what can't be computed yet is None.

        ``corr``, ``r2``, ``r2_ci`` [low, high], ``r2_grid``, ``r2_after_1ms``, ``r2_without_top3``, ``placebo`` (R² of
        the stale forecast), ``n`` (rows) and ``excluded`` (rows without an answer). Empty when off.

        Args:
            predictor: its name; default the first one.

        Raises:
            ConfigError: no such predictor.
        """
        names = list(self.predictors)
        if predictor is not None and predictor not in names:
            raise ConfigError(f"no predictor {predictor!r}; there are {names}")
        if self.config.enabled == "off":
            return {}
        rows, grid = copy.deepcopy(self._rows), copy.deepcopy(self._grid)
        if len(self._ts_ns):
            last_ns = int(self._ts_ns[-1])
            self._score(rows, grid, last_ns // self._block_ns + 1, last_ns)
        at = 0 if predictor is None else names.index(predictor)
        table = _Table(rows, grid, at, len(names), self.config)
        return {
            stream: {f"{h:.12g}": table.cell(v, k) for k, h in enumerate(self.config.horizons_ms)}
            for v, stream in enumerate(self.streams)
        }

    @property
    def _ts_ns(self) -> Int64:
        return self._events.column(0)

    def _as_of(self, times_ns: Int64) -> npt.NDArray[np.intp]:
        """Row of the last event at or before each time, the last of a tie; -1 where there is none."""
        return np.searchsorted(self._ts_ns, times_ns, side="right") - 1

    def _take(self, record: StepRecord, stop: int) -> None:
        ts_ns = record.ts_recv_ns[:stop]
        before = self._ts_ns[-1:]
        if np.any(np.diff(np.concatenate([before, ts_ns])) < 0):
            raise UnsortedTimeError("receive time runs backwards in the step records; skill needs them in order")
        mid_bp = record.signals.mid_bp[:stop, self._at]
        start = 0
        if self._next_block is None:
            complete = np.flatnonzero(np.isfinite(mid_bp).all(axis=1))
            if not len(complete):
                return
            start = int(complete[0])
            self._next_block = int(ts_ns[start]) // self._block_ns
        deviation_bp = np.empty((stop - start, len(self.predictors), len(self.streams)))
        for p, (name, predict) in enumerate(self.predictors.items()):
            deviation_bp[:, p] = _as_columns(name, predict(record), record.signals.mid_bp.shape)[start:stop, self._at]
        scored = (record.kind[start:stop] == Kind.QUOTE) & self._is_priced[record.stream[start:stop]]
        self._events.append(ts_ns[start:], scored, mid_bp[start:], deviation_bp)
        # A block is complete when an event later than every outcome of its rows is here.
        stop_block = (int(ts_ns[-1]) - max(*self._horizons_ns, self._skip_ns)) // self._block_ns
        if stop_block > self._next_block:
            self._score(self._rows, self._grid, stop_block, None)
            self._next_block = stop_block
            oldest_ns = stop_block * self._block_ns - max(self._placebo_ns, self._grid_stale_ns)
            self._events.forget(max(0, int(self._as_of(np.array([oldest_ns]))[0])))

    def _score(self, rows: _Score, grid: _Score, stop_block: int, last_ns: int | None) -> None:
        """Score all rows up to a block edge; with ``last_ns`` only those whose outcome lies within the data."""
        assert self._next_block is not None
        ts_ns = self._ts_ns
        low, high = np.searchsorted(ts_ns, [self._next_block * self._block_ns, stop_block * self._block_ns])
        at = low + np.flatnonzero(self._events.column(1)[low:high])
        for cut in _batches(ts_ns[at] // self._block_ns):
            self._score_rows(rows, ts_ns[at[cut]], at[cut], last_ns, on_grid=False)
        for times_ns in self._grid_times(stop_block, last_ns):
            self._score_rows(grid, times_ns, self._as_of(times_ns), last_ns, on_grid=True)

    def _grid_times(self, stop_block: int, last_ns: int | None) -> Iterator[Int64]:
        """Grid points that follow an event closely enough, some blocks at a time."""
        ts_ns, block_ns, grid_ns = self._ts_ns, self._block_ns, self._grid_ns
        reach = np.concatenate([ts_ns, ts_ns + self._grid_stale_ns]) // block_ns
        blocks = np.unique(reach)
        blocks = blocks[(blocks >= self._next_block) & (blocks < stop_block)]
        per_block = -(-block_ns // grid_ns)
        together = max(1, _SEGMENT_ROWS // per_block)
        for start in range(0, len(blocks), together):
            edge = blocks[start : start + together]
            first = -(-edge * block_ns // grid_ns)
            points = (first[:, None] + np.arange(per_block)) * grid_ns
            times_ns = points[points < (edge[:, None] + 1) * block_ns]
            if last_ns is not None:
                times_ns = times_ns[times_ns <= last_ns]
            at = self._as_of(times_ns)
            times_ns = times_ns[(at >= 0) & (times_ns - ts_ns[at] <= self._grid_stale_ns)]
            if len(times_ns):
                yield times_ns

    def _score_rows(
        self, score: _Score, ts_ns: Int64, at: npt.NDArray[np.intp], last_ns: int | None, on_grid: bool
    ) -> None:
        mid_bp, deviation_bp = self._events.column(2), self._events.column(3)
        predictors, streams = deviation_bp.shape[1:]
        now_bp = np.take(mid_bp, at, axis=0)
        d = np.take(deviation_bp, at, axis=0)
        if not on_grid:
            stale_at = self._as_of(ts_ns - self._placebo_ns)
            stale = np.take(deviation_bp, np.maximum(stale_at, 0), axis=0)
            stale[stale_at < 0] = np.nan
            skipped_bp = np.take(mid_bp, self._as_of(ts_ns + self._skip_ns), axis=0)
            d = np.concatenate([d, d, stale], axis=1)
        answered = np.isfinite(d)
        block, starts = _segments(ts_ns // self._block_ns)
        energy = np.zeros((len(starts), len(self._horizons_ns), 2, predictors, streams))
        for k, horizon_ns in enumerate(self._horizons_ns):
            n = len(ts_ns)
            if last_ns is not None:
                n = int(np.searchsorted(ts_ns, last_ns - horizon_ns, side="right"))
            if n == 0:
                continue
            end_bp = np.take(mid_bp, self._as_of(ts_ns[:n] + horizon_ns), axis=0)
            y = np.empty((n, *d.shape[1:]))
            y[:] = (end_bp - now_bp[:n])[:, None]
            if not on_grid:
                late = end_bp - skipped_bp[:n] if horizon_ns > self._skip_ns else np.zeros_like(end_bp)
                y[:, predictors : 2 * predictors] = late[:, None]
            pieces = starts[: int(np.searchsorted(starts, n))]
            forecast, fit = self._add(score, k, ts_ns[:n], d[:n], y, answered[:n], pieces)
            energy[: len(pieces), k] = fit[:, 1:, :predictors]
            if self._observer is not None and not on_grid:
                self._observer(self.config.horizons_ms[k], ts_ns[:n], forecast[:, 0], y[:, 0])
        if not on_grid:
            score.blocks.add(block, energy.reshape(len(starts), -1))

    def _add(
        self,
        score: _Score,
        k: int,
        ts_ns: Int64,
        d: Float64,
        y: Float64,
        answered: npt.NDArray[np.bool_],
        starts: npt.NDArray[np.intp],
    ) -> tuple[Float64, Float64]:
        """Forecast the rows of one horizon and add them to the sums; returns forecasts and ``fit`` per segment."""
        predictors = len(self.predictors)
        score.counted[k] += len(ts_ns)
        counts = answered & np.isfinite(y)
        if not counts.all():
            d, y = np.where(counts, d, 0.0), np.where(counts, y, 0.0)
        dd, dy = d * d, d * y
        forecast = score.slopes[k].step(ts_ns, dd, dy)
        forecast *= d
        error = y - forecast
        fit = np.stack([np.add.reduceat(q, starts) for q in (counts * 1.0, y * y, error * error)], axis=1)
        moments = np.stack([np.add.reduceat(q[:, :predictors], starts) for q in (d, y, dd, dy)], axis=1)
        score.fit[..., k] = _add_in_order(score.fit[..., k], fit)
        score.moments[..., k] = _add_in_order(score.moments[..., k], moments)
        return forecast, fit


def _as_columns(name: str, answer: object, shape: tuple[int, ...]) -> Float64:
    """A predictor's answer as [N, V] numbers.

    Raises:
        ConfigError: it is something else.
    """
    try:
        columns = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        said = f"predictor {name!r} gave a {type(answer).__name__} that holds no numbers"
        raise ConfigError(f"{said}, expected shape {shape} [N, V]") from None
    if columns.shape != shape:
        kind = "" if isinstance(answer, np.ndarray) else f" (a {type(answer).__name__})"
        raise ConfigError(f"predictor {name!r} gave shape {columns.shape}{kind}, expected {shape} [N, V]")
    return columns


def _segments(block: Int64) -> tuple[Int64, npt.NDArray[np.intp]]:
    """Block and first row of each segment: a block, or a piece of one at a fixed place in it."""
    first = np.flatnonzero(np.concatenate([[True], block[1:] != block[:-1]]))
    length = np.diff(np.concatenate([first, [len(block)]]))
    pieces = -(-length // _SEGMENT_ROWS)
    within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = np.repeat(first, pieces) + within * _SEGMENT_ROWS
    return block[starts], starts


def _batches(block: Int64) -> Iterator[slice]:
    """Runs of whole segments, small enough for the cache."""
    if not len(block):
        return
    _, starts = _segments(block)
    edges = [0]
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(block)], strict=True):
        if stop - edges[-1] > _BATCH_ROWS and start > edges[-1]:
            edges.append(start)
    for low, high in zip(edges, [*edges[1:], len(block)], strict=True):
        yield slice(low, high)


class _Table:
    """Turns the sums of one predictor into the numbers of the summary."""

    def __init__(self, rows: _Score, grid: _Score, predictor: int, predictors: int, config: SkillConfig) -> None:
        self._fit = rows.fit[:, [predictor, predictors + predictor, 2 * predictors + predictor]]
        self._moments = rows.moments[:, predictor]
        self._grid_fit = grid.fit[:, predictor]
        self._seen = rows.counted
        horizons, streams = len(config.horizons_ms), self._fit.shape[2]
        blocks = rows.blocks.values().reshape(-1, horizons, 2, predictors, streams)[:, :, :, predictor]
        self._energy = blocks.transpose(2, 0, 3, 1)
        energy, error = self._energy.reshape(2, len(blocks), streams * horizons)
        ratio = bootstrap_ratio(error, energy, config.draws, config.seed)
        self._interval = (1.0 - ratio[:, ::-1]).reshape(streams, horizons, 2)
        self._top = config.top_blocks

    def cell(self, v: int, k: int) -> dict[str, Any]:
        """The numbers of one stream and horizon."""
        (n, yy, sse) = self._fit[:, :, v, k]
        d, y, dd, dy = (float(q) for q in self._moments[:, v, k])
        energy, error = self._energy[:, :, v, k]
        calm = np.argsort(-energy, kind="stable")[self._top :]
        low, high = self._interval[v, k]
        return {
            "corr": _correlation(float(n[0]), d, y, dd, dy, float(yy[0])),
            "r2": _r2(yy[0], sse[0]),
            "r2_ci": [_finite(low), _finite(high)],
            "r2_grid": _r2(*self._grid_fit[1:, v, k]),
            "r2_after_1ms": _r2(yy[1], sse[1]),
            "r2_without_top3": _r2(energy[calm].sum(), error[calm].sum()),
            "placebo": _r2(yy[2], sse[2]),
            "n": int(n[0]),
            "excluded": int(self._seen[k] - n[0]),
        }


def _r2(energy: float, error: float) -> float | None:
    return None if energy <= 0 else float(1.0 - error / energy)


def _correlation(n: float, d: float, y: float, dd: float, dy: float, yy: float) -> float | None:
    """Pearson's, from sums; None where d says nothing."""
    spread = (n * dd - d * d) * (n * yy - y * y)
    return None if n < 2 or spread <= 0 or dd <= n * _SILENT_BP**2 else float((n * dy - d * y) / np.sqrt(spread))


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
