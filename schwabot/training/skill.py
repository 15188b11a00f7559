"""How good is the ghost price? Out-of-sample skill of a deviation against what followed.

Axis legend: N events, n rows scored, V streams, H horizons, P predictors, C cases, S segments (pieces of a block).

Rows are the bookTicker quotes of any stream once every stream has a mid. For stream v and horizon h the outcome is

    y_i = x_v(t_i + h) - x_v(t_i),   x_v(t + h) = log mid after the last event with ts_recv <= t + h,

and the forecast is slope_i * d_i with the causal online slope

    slope_i = sum_j d_j y_j / (sum_j d_j^2 + prior),   over rows j with t_j + h < t_i,
    R^2 = 1 - sum (y_i - slope_i d_i)^2 / sum y_i^2.

A predictor that is itself a move in bp over every horizon is taken as it is: no slope is fitted to it.

The comparison is strict because x(t_j + h) takes in every event of its stamp, also those that come after row i.
On the time grid a row is taken after all events of its stamp, so there t_j + h <= t_i is causal.

Work is done in whole blocks of absolute time and summed in pieces at fixed places of a block, so results are the same
bit for bit however the events are cut into batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schwabot.errors import ConfigError, UnsortedTimeError
from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64, Kind
from schwabot.training.recent_rows import RecentRows
from schwabot.training.skill_score import CausalSlope, Score, Table
from schwabot.training.skill_settings import SkillConfig

Predictor = Callable[[StepRecord], Float64]
"""From a batch to one number per event and stream, [N, V]; causal; NaN = no answer. A predictor of ``moves`` gives one
per horizon, [N, V, H]."""

Observer = Callable[[float, Int64, Float64, Float64], None]
"""Called with horizon_ms, row times [n], forecasts of the first predictor in bp [n, V], outcomes in bp [n, V]."""

__all__ = ["CausalSlope", "Observer", "Predictor", "SkillConfig", "SkillMeter", "ghost_deviation"]

_MS = 1_000_000
_SEGMENT_ROWS = 2048
_BATCH_ROWS = 4096
_AXES = {2: "[N, V]", 3: "[N, V, H]"}


def ghost_deviation(record: StepRecord) -> Float64:
    """The ghost's own forecast: positive where the stream is cheap, bp. Shape [N, V]."""
    return record.signals.deviation_bp


class SkillMeter:
    """Streaming out-of-sample skill of the ghost's deviation (and of any other predictor) per stream and horizon.

    Memory holds the last few seconds of events and one row of sums per block, not the run.

    Args:
        instruments: V instruments of the run.
        config: see ``SkillConfig``.
        predictors: name → columns; the default is the ghost's deviation. Names alone where ``take`` brings the answers.
        moves: names of those that give moves in bp over every horizon, [N, V, H].
        left_out: by name, spans of time (first and last ns) that do not score it: a row whose time or outcome touches
            one is no row of that predictor. A slope learns from such rows all the same.
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
        predictors: Mapping[str, Predictor] | Sequence[str] | None = None,
        moves: Collection[str] = (),
        left_out: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        observer: Observer | None = None,
        rates: Sequence[str] = (),
    ) -> None:
        self.config = config or SkillConfig()
        self._is_priced = np.array([instrument.stream not in rates for instrument in instruments])
        self._at = np.flatnonzero(self._is_priced) if rates else slice(None)  # a slice copies nothing
        self.streams = tuple(one.stream for one in instruments if one.stream not in rates)
        given = predictors or {"ghost": ghost_deviation}
        self._predict: dict[str, Predictor] = dict(given) if isinstance(given, Mapping) else {}
        self.predictors = tuple(given)
        self.note = "skill was not measured: skill.enabled=off" if self.config.enabled == "off" else ""
        """Why the numbers cover less than the run; empty when they cover all of it."""
        self._observer = observer
        self._horizons_ns = [int(h * _MS) for h in self.config.horizons_ms]
        self._block_ns = int(self.config.block_s * 1e9)
        self._grid_ns = int(self.config.grid_ms * _MS)
        self._grid_stale_ns = int(self.config.grid_stale_ms * _MS)
        self._placebo_ns = int(self.config.placebo_s * 1e9)
        self._skip_ns = int(self.config.skip_ms * _MS)
        wide = (len(self.predictors), len(self.streams))
        horizons = len(self.config.horizons_ms)
        self._moves = np.array([name in moves for name in self.predictors])
        self._left_out = [list((left_out or {}).get(name, ())) for name in self.predictors]
        # Columns of each predictor: one for all horizons, or one for each. [H, P]
        ends = np.cumsum(np.where(self._moves, horizons, 1))
        self._columns = (ends - np.where(self._moves, horizons, 1)) + np.arange(horizons)[:, None] * self._moves
        held = (int(ends[-1]), wide[1])
        self._events = RecentRows(((), np.int64), ((), np.bool_), (wide[1:], np.float64), (held, np.float64))
        self._seen = 0
        self._next_block: int | None = None
        self._rows = Score(3 * wide[0], *wide, self.config, closed=False)
        self._grid = Score(wide[0], *wide, self.config, closed=True)

    def update(self, record: StepRecord) -> None:
        """Take in one batch.

        Raises:
            UnsortedTimeError: receive time ran backwards.
            ConfigError: a predictor whose answer is not numbers of shape [N, V].
        """
        if self.config.enabled == "off":
            return
        shape = record.signals.mid_bp.shape
        self.take(
            record.ts_recv_ns,
            (record.kind == Kind.QUOTE) & self._is_priced[record.stream],
            record.signals.mid_bp[:, self._at],
            lambda name: _as_columns(name, self._predict[name](record), self._shape(name, shape))[:, self._at],
        )

    def take(
        self,
        ts_ns: Int64,
        quote: npt.NDArray[np.bool_],
        mid_bp: Float64,
        answer: Callable[[str], Float64],
    ) -> None:
        """Take in one batch that is no step record. V are the streams that are scored.

        Args:
            ts_ns: receive times. [N]
            quote: is a quote, not a trade. bool [N]
            mid_bp: log mids as of each event. [N, V]
            answer: what the predictor of a name says. [N, V] or [N, V, H]

        Raises:
            UnsortedTimeError: receive time ran backwards.
        """
        if self.config.enabled == "off":
            return
        events = len(ts_ns)
        stop = events
        if self.config.enabled == "auto" and self._seen + events > self.config.max_events:
            stop = self.config.max_events - self._seen
            self.note = (
                f"measured on the first {self.config.max_events:,} events only; set skill.enabled='on' for all of them"
            )
        if stop > 0:
            self._seen += stop
            self._take(ts_ns[:stop], quote[:stop], mid_bp[:stop], answer)

    def _shape(self, name: str, wide: tuple[int, ...]) -> tuple[int, ...]:
        """Of a predictor's answer."""
        return (*wide, len(self.config.horizons_ms)) if self._moves[self.predictors.index(name)] else wide

    def summary(self, predictor: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
        """Skill so far: stream → horizon in ms → numbers; what can't be computed yet is None.

        ``corr``, ``r2``, ``r2_ci`` [low, high], ``r2_grid``, ``r2_after_1ms``, ``r2_without_top3``, ``placebo`` (R² of
        the stale forecast), ``n`` (rows) and ``excluded`` (rows without an answer). Empty when off.

        Args:
            predictor: its name; default the first one.

        Raises:
            ConfigError: no such predictor.
        """
        names = self.predictors
        if predictor is not None and predictor not in names:
            raise ConfigError(f"no predictor {predictor!r}; there are {list(names)}")
        if self.config.enabled == "off":
            return {}
        rows, grid = copy.deepcopy(self._rows), copy.deepcopy(self._grid)
        if len(self._ts_ns):
            last_ns = int(self._ts_ns[-1])
            self._score(rows, grid, last_ns // self._block_ns + 1, last_ns)
        at = 0 if predictor is None else names.index(predictor)
        table = Table(rows, grid, at, len(names), self.config)
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

    def _take(
        self, ts_ns: Int64, quote: npt.NDArray[np.bool_], mid_bp: Float64, answer: Callable[[str], Float64]
    ) -> None:
        before = self._ts_ns[-1:]
        if np.any(np.diff(np.concatenate([before, ts_ns])) < 0):
            raise UnsortedTimeError("receive time runs backwards in the step records; skill needs them in order")
        stop = len(ts_ns)
        start = 0
        if self._next_block is None:
            complete = np.flatnonzero(np.isfinite(mid_bp).all(axis=1))
            if not len(complete):
                return
            start = int(complete[0])
            self._next_block = int(ts_ns[start]) // self._block_ns
        said = np.empty((stop - start, int(self._columns.max()) + 1, len(self.streams)))
        for p, name in enumerate(self.predictors):
            columns = answer(name)[start:stop]
            if self._moves[p]:
                said[:, self._columns[:, p]] = columns.transpose(0, 2, 1)
            else:
                said[:, self._columns[0, p]] = columns
        self._events.append(ts_ns[start:], quote[start:], mid_bp[start:], said)
        # A block is complete when an event later than every outcome of its rows is here.
        stop_block = (int(ts_ns[-1]) - max(*self._horizons_ns, self._skip_ns)) // self._block_ns
        if stop_block > self._next_block:
            self._score(self._rows, self._grid, stop_block, None)
            self._next_block = stop_block
            oldest_ns = stop_block * self._block_ns - max(self._placebo_ns, self._grid_stale_ns)
            self._events.forget(max(0, int(self._as_of(np.array([oldest_ns]))[0])))

    def _score(self, rows: Score, grid: Score, stop_block: int, last_ns: int | None) -> None:
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
        self, score: Score, ts_ns: Int64, at: npt.NDArray[np.intp], last_ns: int | None, on_grid: bool
    ) -> None:
        mid_bp, said = self._events.column(2), self._events.column(3)
        predictors, streams = len(self.predictors), len(self.streams)
        now_bp = np.take(mid_bp, at, axis=0)
        now = np.take(said, at, axis=0)
        cases = 1 if on_grid else 3
        moves = np.tile(self._moves, cases)
        if not on_grid:
            stale_at = self._as_of(ts_ns - self._placebo_ns)
            stale = np.take(said, np.maximum(stale_at, 0), axis=0)
            stale[stale_at < 0] = np.nan
            skipped_bp = np.take(mid_bp, self._as_of(ts_ns + self._skip_ns), axis=0)
        block, starts = _segments(ts_ns // self._block_ns)
        energy = np.zeros((len(starts), len(self._horizons_ns), 2, predictors, streams))
        for k, horizon_ns in enumerate(self._horizons_ns):
            n = len(ts_ns)
            if last_ns is not None:
                n = int(np.searchsorted(ts_ns, last_ns - horizon_ns, side="right"))
            if n == 0:
                continue
            own = self._columns[k]
            d = now[:n, own] if on_grid else np.concatenate([now[:n, own], now[:n, own], stale[:n, own]], axis=1)
            end_bp = np.take(mid_bp, self._as_of(ts_ns[:n] + horizon_ns), axis=0)
            y = np.empty((n, *d.shape[1:]))
            y[:] = (end_bp - now_bp[:n])[:, None]
            if not on_grid:
                late = end_bp - skipped_bp[:n] if horizon_ns > self._skip_ns else np.zeros_like(end_bp)
                y[:, predictors : 2 * predictors] = late[:, None]
            pieces = starts[: int(np.searchsorted(starts, n))]
            out = self._is_left_out(ts_ns[:n], horizon_ns)
            out = None if out is None else np.tile(out, (1, cases))
            forecast, fit = score.add(k, ts_ns[:n], d, y, np.isfinite(d), pieces, moves, out)
            energy[: len(pieces), k] = fit[:, 1:, :predictors]
            if self._observer is not None and not on_grid:
                self._observer(self.config.horizons_ms[k], ts_ns[:n], forecast[:, 0], y[:, 0])
        if not on_grid:
            score.blocks.add(block, energy.reshape(len(starts), -1))

    def _is_left_out(self, ts_ns: Int64, horizon_ns: int) -> npt.NDArray[np.bool_] | None:
        """Rows that do not score each predictor; None where all do. Shape: bool [n, P]."""
        if not any(self._left_out):
            return None
        out = np.zeros((len(ts_ns), len(self._left_out)), np.bool_)
        for p, spans in enumerate(self._left_out):
            for first_ns, last_ns in spans:
                out[:, p] |= (ts_ns + horizon_ns >= first_ns) & (ts_ns <= last_ns)
        return out


def _as_columns(name: str, answer: object, shape: tuple[int, ...]) -> Float64:
    """A predictor's answer as numbers of a shape.

    Raises:
        ConfigError: it is something else.
    """
    try:
        columns = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        said = f"predictor {name!r} gave a {type(answer).__name__} that holds no numbers"
        raise ConfigError(f"{said}, expected shape {shape} {_AXES[len(shape)]}") from None
    if columns.shape != shape:
        kind = "" if isinstance(answer, np.ndarray) else f" (a {type(answer).__name__})"
        raise ConfigError(f"predictor {name!r} gave shape {columns.shape}{kind}, expected {shape} {_AXES[len(shape)]}")
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
