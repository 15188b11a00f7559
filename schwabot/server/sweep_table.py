"""sweep.parquet as one row per parameter set, and a grid of it over two parameters.

Axis legend: P sets, B bins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from schwabot.records.market import Float64, Int64
from schwabot.server.problems import Problem
from schwabot.server.tables import columns_of, opened, plain

SUMMED = ("net", "turnover", "fees", "funding", "slippage", "hold_s", "trades", "orders", "refused", "rejected")
MOMENTS = ("buckets", "sum1", "sum2")
POOLED = (*SUMMED, *MOMENTS, "drawdown")
HEAD, KEYS = ("set", "fold", "market", "leg", "stream", "graph"), ("set", "fold", "stream")
RESULTS = (
    *SUMMED, "net_bp", "slippage_bp", "drawdown", "lots", "position", "least_position", "equity2", "sharpe", *MOMENTS,
    "sum3", "sum4",
)  # fmt: skip
COUNTS = ("trades", "orders", "refused", "rejected")
HELD_OUT = "held_out_"
MOST_SETS = 1_000_000
MOST_BINS, LEVELS = 64, 16
"""Bins of an axis at most; values that are few enough for a bin each."""
BATCH = 65_536
YEAR_S = 365.25 * 86_400.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """What every set came to.

    Attributes:
        parameters: those that were searched, by full name. [P] each
        results: sums over all folds that were searched on, markets and streams, and ``held_out_*`` over the fold that
            was not. [P] each
    """

    parameters: dict[str, NDArray[Any]]
    results: dict[str, Float64]

    @property
    def sets(self) -> int:
        """How many there are."""
        return len(self.results["net"])

    def column(self, name: str) -> NDArray[Any]:
        """A parameter or a result. [P].

        Raises:
            Problem: there is none of this name.
        """
        if name == "set":
            return np.arange(self.sets)
        found = self.parameters.get(name, self.results.get(name))
        if found is None:
            here = ", ".join(["set", *self.parameters, *self.results])
            raise Problem(422, "unprocessable", f"the sweep has no column {name[:100]!r}", f"there are: {here}")
        return found

    def traded(self, least: int) -> Int64:
        """Numbers of the sets with at least so many fills where they were searched."""
        return np.flatnonzero(self.results["trades"] >= least)

    def rows(self, sort: str, first: int, limit: int, some: Int64) -> list[dict[str, Any]]:
        """Sets by a column, with - before it for the largest first; missing values come last.

        Args:
            sort: name of it.
            first: row of that order to begin with.
            limit: rows at most.
            some: numbers of the sets that are wanted.
        """
        by = self.column(sort.removeprefix("-"))[some]
        order = some[_ranked(by, descending=sort.startswith("-"))[first : first + limit]]
        names = {"set": np.arange(self.sets), **self.parameters, **self.results}
        columns = {name: values[order].tolist() for name, values in names.items()}
        counts = {*COUNTS, *(f"{HELD_OUT}{name}" for name in COUNTS)}
        return [
            {name: int(column[k]) if name in counts else plain(column[k]) for name, column in columns.items()}
            for k in range(len(order))
        ]


def read_sweep(path: Path, config: bytes) -> Sweep:
    """Pool a sweep's rows by set, a batch at a time.

    Args:
        path: of sweep.parquet.
        config: the run's config.yaml: which fold was held out, and the interval of the Sharpe ratios.

    Raises:
        Problem: it is no table of a sweep, or too large.
    """
    folds, bucket_s = _settings(config)
    with opened(path) as file:
        has = columns_of(file)
        missing = [name for name in (*KEYS, *POOLED) if name not in has]
        if missing:
            raise Problem(422, "unprocessable", f"{path.name} is no table of a sweep: it lacks {', '.join(missing)}")
        searched = [name for name in has if name not in HEAD and name not in RESULTS]
        sums: dict[str, Float64] = {f"{at}{name}": np.zeros(0) for at in ("", HELD_OUT) for name in POOLED}
        parameters: dict[str, NDArray[Any]] = {
            name: np.zeros(0, _kind(file.schema_arrow.field(name).type)) for name in searched
        }
        streams: set[str] = set()
        sets = 0
        try:
            wanted = [*KEYS, *searched, *POOLED]
            for batch in file.iter_batches(BATCH, columns=wanted):
                if not batch.num_rows:
                    continue
                number = _numbers(batch, "set").astype(np.int64)
                if number.min() < 0 or number.max() >= MOST_SETS:
                    raise Problem(422, "too_large", f"{path.name} holds more than {MOST_SETS:,} sets")
                sets = max(sets, int(number.max()) + 1)
                for of in (sums, parameters):
                    of.update({name: _grown(values, sets) for name, values in of.items()})
                streams.update(batch.column("stream").unique().to_pylist())
                _pool(sums, batch, number, _numbers(batch, "fold") >= folds)
                for name, values in parameters.items():
                    column = batch.column(name)
                    values[number] = (
                        column.to_pylist() if values.dtype == object else column.to_numpy(zero_copy_only=False)
                    )
        except (OSError, pa.ArrowException) as error:
            raise Problem(422, "unprocessable", f"{path.name} can't be read: {str(error)[:200]}") from None
    parameters = {name: values[:sets] for name, values in parameters.items()}
    return Sweep(parameters, _results({name: values[:sets] for name, values in sums.items()}, len(streams), bucket_s))


def _pool(sums: dict[str, Float64], batch: pa.RecordBatch, number: Int64, held: NDArray[np.bool_]) -> None:
    low, beyond = int(number.min()), int(number.max()) + 1  # few sets: a batch holds those that follow each other
    for prefix, some in (("", ~held), (HELD_OUT, held)):
        place = number[some] - low
        for name in (*SUMMED, *MOMENTS):
            given = np.nan_to_num(_numbers(batch, name)[some])
            sums[f"{prefix}{name}"][low:beyond] += np.bincount(place, given, beyond - low)
        np.fmax.at(sums[f"{prefix}drawdown"], number[some], _numbers(batch, "drawdown")[some])


def _results(sums: dict[str, Float64], streams: int, bucket_s: float) -> dict[str, Float64]:
    found: dict[str, Float64] = {}
    for prefix in ("", HELD_OUT):
        n, s1, s2 = (sums[f"{prefix}{name}"] for name in MOMENTS)
        turnover = sums[f"{prefix}turnover"]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = s1 / n
            # Below rounding of the power sums nothing moved.
            moved = (n > 1) & (s2 / n - mean**2 > 1e-14 * s2 / n)
            deviation = np.sqrt((s2 - s1 * mean) / (n - 1))
            sharpe = np.where(moved, mean / deviation * np.sqrt(YEAR_S / bucket_s), 0.0)
            bp = {
                f"{name}_bp": np.where(turnover > 0, 1e4 * sums[f"{prefix}{name}"] / turnover, np.nan)
                for name in ("net", "slippage")
            }
        told = {
            "net": sums[f"{prefix}net"], "net_bp": bp["net_bp"],
            "sharpe": sharpe if streams == 1 else np.full(len(n), np.nan),
            "trades": sums[f"{prefix}trades"], "worst_drawdown": sums[f"{prefix}drawdown"],
            **{name: sums[f"{prefix}{name}"] for name in ("fees", "funding", "turnover")},
            "slippage_bp": bp["slippage_bp"],
            **{name: sums[f"{prefix}{name}"] for name in ("hold_s", "orders", "refused", "rejected")},
        }  # fmt: skip
        found |= {f"{prefix}{name}": values for name, values in told.items()}
    return found


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a grid: a label per bin, and how the bins were made (levels, linear or log)."""

    labels: list[str]
    scale: str
    place: Int64


def heatmap(sweep: Sweep, x: str, y: str, value: str, reduce: str, bins: int, some: Int64) -> dict[str, Any]:
    """A result over two parameters: what came of the sets in each cell.

    Args:
        sweep: what to show.
        x: parameter of the columns.
        y: parameter of the rows.
        value: result.
        reduce: max, median, mean, or count of the sets.
        bins: at most, per axis; 0 = more sets, finer bins, as in the report.
        some: numbers of the sets that are shown; the bins are those of all.

    Raises:
        Problem: no such parameter or result.
    """
    for name in (x, y):
        if name not in sweep.parameters:
            here = ", ".join(sweep.parameters) or "none"
            raise Problem(422, "unprocessable", f"{name[:100]!r} was not searched", f"there are: {here}")
    values = sweep.column(value)
    if values.dtype.kind not in "fi":
        raise Problem(422, "unprocessable", f"{value} is not a number", "choose a result, e.g. value=net")
    most, levels = bins or int(np.clip(np.sqrt(sweep.sets) / 2, 3, LEVELS)), bins or LEVELS
    across, down = _axis(sweep.parameters[x], most, levels), _axis(sweep.parameters[y], most, levels)
    shape = (len(down.labels), len(across.labels))
    known = some[np.isfinite(values[some].astype(np.float64))]
    cell = (down.place * shape[1] + across.place)[known]
    count = np.bincount(cell, minlength=shape[0] * shape[1])
    if reduce == "count":
        z = count.astype(np.float64)
    else:
        z = np.full(len(count), np.nan)
        order = np.argsort(cell, kind="stable")
        reduces: dict[str, Callable[..., Any]] = {"max": np.max, "median": np.median, "mean": np.mean}
        for some in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1) if len(order) else ():
            z[cell[some[0]]] = reduces[reduce](values[known[some]])
    return {
        "x": {"name": x, "labels": across.labels, "scale": across.scale},
        "y": {"name": y, "labels": down.labels, "scale": down.scale},
        "value": value,
        "reduce": reduce,
        "z": [[plain(one) for one in row] for row in z.reshape(shape).tolist()],
        "sets": count.reshape(shape).tolist(),
    }


def _axis(values: NDArray[Any], most: int, levels: int) -> Axis:
    """Each value a bin of its own where there are few, else bins of equal width, or of equal ratio over two decades."""
    if values.dtype.kind not in "fi":
        texts = np.array([str(one) for one in values.tolist()])
        names, place = np.unique(texts, return_inverse=True)
        if len(names) > levels:  # those of most sets, and the rest together
            often = np.argsort(-np.bincount(place), kind="stable")[: levels - 1]
            kept = {int(one): k for k, one in enumerate(often)}
            place = np.array([kept.get(int(one), levels - 1) for one in place])
            names = np.array([*(names[often]), "others"])
        return Axis(names.tolist(), "levels", place.astype(np.int64))
    distinct = np.unique(values)
    if len(distinct) <= levels:
        return Axis([short(one) for one in distinct.tolist()], "levels", np.searchsorted(distinct, values))
    low, high = float(distinct[0]), float(distinct[-1])
    log = low > 0 and high / low >= 100
    at = np.log(values / low) / np.log(high / low) if log else (values - low) / (high - low)
    place = np.minimum((at * most).astype(np.int64), most - 1)
    middle = (np.arange(most) + 0.5) / most
    centres = low * (high / low) ** middle if log else low + middle * (high - low)
    return Axis([short(one) for one in centres.tolist()], "log" if log else "linear", place)


def short(value: int | float) -> str:
    """A label.

    Example:
        >>> short(0.123456), short(5), short(12345678)
        ('0.123', '5', '12345678')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _settings(config: bytes) -> tuple[int, float]:
    """Number of the fold that was held out, and seconds of a Sharpe ratio's interval."""
    found: dict[str, Any] = {}
    for part, name in ((b"sweep", "folds"), (b"simulation", "bucket_s")):
        block = re.search(rb"^" + part + rb":\n(?:[ -].*\n?|\n)+", config, re.MULTILINE)
        tree: Any
        try:
            tree = yaml.safe_load(block[0])[part.decode()] if block else {}
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            tree = {}
        found[name] = tree.get(name) if isinstance(tree, dict) else None
    folds, bucket_s = found["folds"], found["bucket_s"]
    if not isinstance(folds, int) or not isinstance(bucket_s, int | float) or not bucket_s > 0:
        raise Problem(422, "unprocessable", "config.yaml of this run does not say sweep.folds and simulation.bucket_s")
    return folds, float(bucket_s)


def _numbers(batch: pa.RecordBatch, name: str) -> Float64:
    found: Float64 = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _kind(kind: pa.DataType) -> type:
    return np.int64 if pa.types.is_integer(kind) else np.float64 if pa.types.is_floating(kind) else object


def _grown(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The values with room for more, at least twice as much."""
    if len(values) >= size:
        return values
    more = np.zeros(max(size, 2 * len(values)), values.dtype)
    more[: len(values)] = values
    return more


def _ranked(values: NDArray[Any], *, descending: bool) -> Int64:
    """Places of the values in their order, ties as they lie, missing ones last."""
    if values.dtype == object:
        _, values = np.unique(np.array([str(one) for one in values.tolist()]), return_inverse=True)
    key = values.astype(np.float64)
    return np.argsort(-key if descending else key, kind="stable")  # NaN sorts last either way
