"""From settings in ms and bp to the integers the kernel counts in.

Axis legend: P parameter sets, L legs, Q quantiles, F funding payments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from schwabot.errors import (
    ConfigError,
    DataError,
    EmptyFileError,
    OverlapError,
    SchemaError,
    UnknownStreamError,
    UnsortedTimeError,
)
from schwabot.records.market import Int64
from schwabot.simulation.accounts import e7
from schwabot.simulation.market import MarketBuilder
from schwabot.simulation.settings import LATENCIES, QUEUES, SimulationConfig
from schwabot_kernels.simulate.records import Rules

NS_PER_MS = 1_000_000


def make_rules(config: SimulationConfig, builder: MarketBuilder) -> Rules:
    """The rules of one run; a sweep makes one row per set of them, see ``schwabot.simulation.sweep.shards.rules_of``.

    Args:
        config: settings.
        builder: of the market; its scales are shared, so that they may still be filled in.

    Raises:
        ConfigError: a fee finer than 0.001 bp, no such funding file.
        DataError: a funding file that can't be used: says file and line.
    """
    legs = builder.instruments

    def column(name: str, of_instrument: Sequence[float], counted: str) -> Int64:
        common = getattr(config, name)
        return np.array([[_count(common if common is not None else own, counted) for own in of_instrument]], np.int64)

    none = [0.0] * len(legs)
    funding_ns, funding_leg, funding_e9 = _funding(config.funding, builder)
    return Rules(
        entry_ns=column("entry_ms", none, "ns"),
        response_ns=column("response_ms", none, "ns"),
        taker_e7=column("taker_fee_bp", [one.taker_fee_bp for one in legs], "e7"),
        maker_e7=column("maker_fee_bp", [one.maker_fee_bp for one in legs], "e7"),
        model=LATENCIES.index(config.latency),
        tables=_tables(config),
        seed=config.seed,
        scale=builder.scale,
        inverse=builder.inverse,
        max_lots=builder.max_lots,
        protection_e7=e7(config.protection_bp),
        queue=QUEUES.index(config.queue),
        bucket_ns=round(config.bucket_s * 1e9),
        funding_ns=funding_ns,
        funding_leg=funding_leg,
        funding_e9=funding_e9,
    )


def _count(value: float, counted: str) -> int:
    return round(value * NS_PER_MS) if counted == "ns" else e7(value)


def _tables(config: SimulationConfig) -> Int64:
    """Both tables at one length; a shorter one's entries are repeated evenly, so each quantile keeps its weight."""
    if config.latency != "table":
        return np.zeros((2, 1), np.int64)
    both = [config.entry_quantiles_ms, config.response_quantiles_ms]
    length = int(np.lcm(len(both[0]), len(both[1])))
    return np.array([np.repeat([round(ms * NS_PER_MS) for ms in one], length // len(one)) for one in both], np.int64)


def _funding(file: str | None, builder: MarketBuilder) -> tuple[Int64, Int64, Int64]:
    nothing = np.empty(0, np.int64)
    if file is None:
        return nothing, nothing, nothing
    table = _read(Path(file))
    if missing := {"time", "stream", "rate"} - set(table.column_names):
        raise SchemaError(f"no column {', '.join(sorted(missing))}: time, stream and rate are needed", file=file)
    if not table.num_rows:
        raise EmptyFileError("holds no funding payment", file=file)
    ts_ns = _times(table["time"], file)
    names = [one.stream for one in builder.instruments]
    given = [str(name) for name in table["stream"].to_pylist()]
    for row, name in enumerate(given):
        if name not in builder.streams:
            raise UnknownStreamError(
                f"{name} is not in the source, which has {', '.join(builder.streams)}", file=file, line=_line(file, row)
            )
    leg = np.array([names.index(name) if name in names else -1 for name in given])
    try:
        rate = np.array(table["rate"].to_pylist(), np.float64)
    except (TypeError, ValueError):
        raise SchemaError("rate holds something that is no number", file=file) from None
    if not (sane := np.isfinite(rate) & (np.abs(rate) < 1.0)).all():
        row = int(np.argmin(sane))
        raise DataError(
            f"rate {rate[row]}: a share of the notional is wanted, 0.0001 is one bp", file=file, line=_line(file, row)
        )
    _check_order(ts_ns, given, file)
    if not (leg >= 0).any():
        raise DataError(
            f"no payment of {', '.join(names)}; the file has {', '.join(sorted(set(given))[:5])}", file=file
        )
    order = np.argsort(ts_ns, kind="stable")
    order = order[leg[order] >= 0]
    return ts_ns[order], leg[order].astype(np.int64), np.rint(rate[order] * 1e9).astype(np.int64)


def _check_order(ts_ns: Int64, streams: Sequence[str], file: str) -> None:
    """Times of each stream have to grow; streams may follow one another or take turns."""
    last: dict[str, int] = {}
    for row, (time, name) in enumerate(zip(ts_ns.tolist(), streams, strict=True)):
        before = last.get(name)
        if before is not None and time <= before:
            said = str(np.datetime64(time, "ns"))
            if time == before:
                raise OverlapError(
                    f"{name} is paid twice at {said}: keep one of the two", file=file, line=_line(file, row)
                )
            raise UnsortedTimeError(
                f"{said} of {name} comes after {np.datetime64(before, 'ns')}: sort the payments by time", file=file,
                line=_line(file, row),
            )  # fmt: skip
        last[name] = time


def _line(file: str, row: int) -> int:
    """Where a row is: in a CSV file below the header."""
    return row + 1 if file.endswith(".parquet") else row + 2


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise ConfigError(f"simulation.funding={path}: there is no such file")
    try:
        return pq.read_table(path) if path.suffix == ".parquet" else pa_csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"can't be read: {str(error).splitlines()[0]}", file=str(path)) from error


def _times(column: pa.ChunkedArray, file: str) -> Int64:
    """Nanoseconds since 1970 UTC, of times or of whole numbers of ns."""
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"time is missing in {column.null_count:,} rows", file=file, line=_line(file, row))
    if pa.types.is_timestamp(column.type):
        values: npt.NDArray[np.int64] = (
            column.cast(pa.timestamp("ns")).to_numpy().astype("datetime64[ns]").astype(np.int64)
        )
        return values
    if pa.types.is_integer(column.type):
        counted: Int64 = column.to_numpy().astype(np.int64)
        if (counted > 10**17).all():
            return counted
    raise SchemaError("time: use ns since 1970 as whole numbers, or dates with times", file=file)
