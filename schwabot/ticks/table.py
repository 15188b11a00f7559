"""Tables of quotes or trades, CSV or Parquet, whose columns somebody else has named.

Axis legend: N rows, V streams.

One file is one stream, ``table:<file stem>``, unless ``streams`` or a stream column says otherwise. Times
without a zone are UTC. A file with prices only holds trades. Prices become whole ticks of ``tick``, or of
the finest decimal in the file, which ``TableFeed.notes`` reports.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from schwabot.errors import (
    BadPriceError,
    BadTimeError,
    ConfigError,
    CorruptFileError,
    CrossedQuoteError,
    DataError,
    EmptyFileError,
    NothingLeftError,
    SchemaError,
    UnsortedTimeError,
)
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int64, Kind, Ticks
from schwabot.ticks.base import ReadOnce
from schwabot.ticks.files import find_files
from schwabot.ticks.merge import Source, merge, rebatch, take
from schwabot.ticks.npz import NpzFile
from schwabot.ticks.overlap import Overlaps
from schwabot.ticks.plausible import DROP_SUCH, odd_times
from schwabot.ticks.presets import PRESETS, ColumnMap, mapping
from schwabot.ticks.table_files import LEAVE_OUT, CsvFile, ParquetFile, Rows, TableFile
from schwabot.ticks.table_values import MOST_DECIMALS, TIME_UNITS, decimals
from schwabot.ticks.validate import (
    NOTHING_LEFT,
    BadInput,
    BadInputPolicy,
    late_message,
    price_problem,
    quantity_problem,
    refuse_nothing,
    to_steps,
)

_PRICES = ("bid", "ask", "price")
_QUANTITIES = ("bid_qty", "ask_qty", "qty")
_FEW_ROWS = 10
"""A file of a quiet hour may lose so many rows, and be left with none, by chance."""


@dataclass
class TableConfig:
    r"""Settings of the table source.

    Args:
        glob: which files, one pattern or a list; ``**`` goes into subfolders.
        preset: columns of a known archive: binance_trades, binance_agg_trades, binance_book_ticker,
            tardis_quotes, tardis_trades, tardis_book_snapshot, hftbacktest, or none.
        columns: which column holds what; lies over the preset.
        names: columns of CSV files without a header line.
        delimiter: between the cells of a CSV line; ``\t`` is a tab.
        time_unit: auto, s, ms, us, ns (since 1970) or iso; auto tells it from the first row of each
            file, where numbers must then be dates from 2009 to 2100.
        tick: price step of every file, in quote currency; absent = the finest decimal in the file.
        lot: quantity step; absent = the finest decimal in the file.
        streams: stream name by file stem, by folder/file, or by value of the stream column; patterns with * are
            allowed.
        contract_value, inverse: of every instrument; see ``Instrument``.
        maker_fee_bp, taker_fee_bp: of every instrument, bp of the notional; absent = 0, which a note says.
        policy: what to do with bad input.
    """

    glob: Any = ""
    preset: str = "none"
    columns: ColumnMap = field(default_factory=ColumnMap)
    names: list[str] = field(default_factory=list)
    delimiter: str = ","
    time_unit: str = "auto"
    tick: float | None = None
    lot: float | None = None
    streams: dict[str, str] = field(default_factory=dict)
    contract_value: float = 1.0
    inverse: bool = False
    maker_fee_bp: float | None = None
    taker_fee_bp: float | None = None
    policy: BadInputPolicy = field(default_factory=BadInputPolicy)


@dataclass(slots=True)
class _Run:
    """One stream of one file."""

    file: TableFile
    label: str
    stream: str
    has_quotes: bool
    has_quantities: bool
    starts_ns: int = MISSING_NS
    price_places: int | None = 0
    quantity_places: int | None = 0
    empty: bool = True


class TableFeed:
    r"""Ticks of table files, merged by (receive time, stream name, path, line).

    Files are looked through once before the first batch when ``tick`` or ``lot`` is not known.

    Args:
        config: see ``TableConfig``.
        instruments: known instruments by any key; a stream among them takes its tick and lot size,
            contract value and fees from there.

    Raises:
        ConfigError: no file, or a setting that can't be used.
        SchemaError: a file without a mapped column; lists those it has.
        CorruptFileError: a file of which nothing can be read.
        OverlapError: while reading, two files hold rows of one kind and stream at the same time.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = Path(folder, "btc.csv").write_text("t,p\n2024-08-09 00:00:01,60000.5\n")
        ...     config = TableConfig(glob=f"{folder}/*.csv", columns=ColumnMap(time="t", price="p"))
        ...     feed = TableFeed(config)
        ...     [(batch.ts_recv_ns.tolist(), batch.price_ticks.tolist()) for batch in feed.batches()]
        [([1723161601000000000], [600005])]
        >>> feed.instruments[0].stream, feed.instruments[0].tick_size
        ('table:btc', 0.1)
    """

    def __init__(self, config: TableConfig, instruments: Mapping[str, Instrument] | None = None) -> None:
        _check(config)
        self.config = config
        self.notes: list[str] = []
        """What was found rather than stated, in words."""
        self.trading_notes: list[str] = []
        """Those of them that matter only where sizes, fees or steps of the price do."""
        self._bad = BadInput(config.policy)
        self._overlaps = Overlaps()
        self._once = ReadOnce()
        self._nothing_left: list[tuple[int, NothingLeftError]] = []
        columns = mapping(config.preset, config.columns)
        known = {instrument.stream: instrument for instrument in (instruments or {}).values()}
        self._empty: list[EmptyFileError] = []
        runs: list[_Run] = []
        for path in find_files(config.glob):
            try:
                runs += self._runs(path, columns)
            except EmptyFileError as error:
                self._empty.append(error)
        for run in runs:
            self._scan(run, whole=run.stream not in known and None in (config.tick, config.lot))
        what = f"no rows, not one line after the header: {LEAVE_OUT}"
        self._empty += [EmptyFileError(what, file=str(run.file.path)) for run in runs if run.empty]
        self._take_empty()
        # Ties between two files of one stream go to the path that comes first.
        self._table_runs = sorted(
            (run for run in runs if not run.empty), key=lambda run: (run.stream, str(run.file.path))
        )
        if not self._table_runs:
            raise self._empty[0]
        names = sorted({run.stream for run in self._table_runs})
        self._instruments = tuple(self._instrument(name, known) for name in names)
        self._note_fees([name for name in names if name not in known])
        self.notes += self.trading_notes
        self._index = {name: v for v, name in enumerate(names)}

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        return self._instruments

    @property
    def dropped(self) -> Mapping[str, int]:
        """Rows dropped so far, by reason."""
        return self._bad.dropped

    @property
    def examples(self) -> Sequence[str]:
        """The first few messages per reason."""
        return self._bad.examples

    @property
    def expected_events(self) -> int | None:
        """Unknown: rows may be dropped."""
        return None

    def progress(self) -> float:
        """Mean share of the files read so far."""
        return sum(run.file.progress() for run in self._table_runs) / len(self._table_runs)

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield batches of ``max_events`` rows (the last may be shorter), in order; once.

        Raises:
            ConfigError: the feed was already read.
            DataError: bad input that the policy calls an error, after every row before it.
        """
        self._once.begin()
        sources = [Source(lambda run=run: self._read(run), run.starts_ns) for run in self._table_runs]  # type: ignore[misc]
        return refuse_nothing(self._refuse_silent_streams(rebatch(merge(sources), max_events)), self._bad)

    def _refuse_silent_streams(self, batches: Iterator[Ticks]) -> Iterator[Ticks]:
        """Hand on batches; a stream of which no file had a good row is an error."""
        seen: set[int] = set()
        for batch in batches:
            seen.update(np.unique(batch.stream).tolist())
            yield batch
        for stream, error in self._nothing_left:
            if stream not in seen:
                raise error

    def _take_empty(self) -> None:
        """Refuse or count files without rows."""
        for error in self._empty:
            self._bad.found(error)

    def _runs(self, path: Path, columns: ColumnMap) -> list[_Run]:
        """The streams of one file."""
        whole = self._open(path, columns, None, True)
        has_quotes = bool(columns.bid) or self.config.preset == "hftbacktest"
        has_quantities = bool(columns.bid_qty or columns.qty) or self.config.preset == "hftbacktest"
        values = whole.streams()
        if not values:
            return [_Run(whole, str(path), self._stream_name(_stem(path), path), has_quotes, has_quantities)]
        if "" in values:
            raise SchemaError(f"column {columns.stream!r} (source.columns.stream) has empty cells", file=str(path))
        return [
            _Run(
                self._open(path, columns, value, value == values[0]),
                f"{path} ({value})",
                self._stream_name(value, path),
                has_quotes,
                has_quantities,
            )
            for value in values
        ]

    def _open(self, path: Path, columns: ColumnMap, only: str | None, report_skipped: bool) -> TableFile:
        config, preset = self.config, PRESETS[self.config.preset]
        if config.preset == "hftbacktest":
            return NpzFile(path)
        unit = config.time_unit if config.time_unit != "auto" else preset.time_unit
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        if parquet:
            return ParquetFile(path, columns, time_unit=unit, only=only, sole=preset.sole)
        return CsvFile(
            path,
            columns,
            names=tuple(config.names) or preset.names,
            delimiter=_delimiter(config),
            time_unit=unit,
            only=only,
            report_skipped=report_skipped,
            sole=preset.sole,
        )

    def _stream_name(self, key: str, path: Path) -> str:
        for pattern, stream in self.config.streams.items():
            by_folder = "/" in pattern and path.match(pattern)
            if by_folder or fnmatch.fnmatchcase(key, pattern) or fnmatch.fnmatchcase(path.name, pattern):
                return stream
        return f"table:{key}"

    def _instrument(self, name: str, known: Mapping[str, Instrument]) -> Instrument:
        """Describe a stream: from what is known, what is stated, or the finest decimals of its files."""
        config = self.config
        runs = [run for run in self._table_runs if run.stream == name]
        tick, lot = config.tick, config.lot
        described = known.get(name)
        if described is not None:
            tick, lot = described.tick_size, described.lot_size
        trades_only = not any(run.has_quotes for run in runs)
        if described is not None:
            return replace(described, trades_only=trades_only)
        files = ", ".join(run.file.path.name for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        if tick is None:
            tick = _finest([run.price_places for run in runs], "prices", "tick", files)
            self.trading_notes.append(
                f"{name}: tick size {tick:g} is the finest decimal in {files}; state it as source.tick"
            )
        if lot is None and not any(run.has_quantities for run in runs):
            lot = 1.0
            self.trading_notes.append(
                f"{name}: no column of quantities is stated, so every size is unknown and taken as 0"
            )
        if lot is None:
            lot = _finest([run.quantity_places for run in runs], "quantities", "lot", files)
            self.trading_notes.append(
                f"{name}: lot size {lot:g} is the finest decimal in {files}; state it as source.lot"
            )
        return Instrument(
            name,
            tick,
            lot,
            config.contract_value,
            config.inverse,
            config.maker_fee_bp or 0.0,
            config.taker_fee_bp or 0.0,
            trades_only,
        )

    def _note_fees(self, names: Sequence[str]) -> None:
        """Say once that fees are assumed to be 0: a table does not hold them."""
        if names and None in (self.config.maker_fee_bp, self.config.taker_fee_bp):
            said = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            self.trading_notes.append(
                f"{said}: fees are not stated and taken as 0 bp; state source.maker_fee_bp and source.taker_fee_bp,"
                " or describe the streams under instruments"
            )

    def _scan(self, run: _Run, *, whole: bool) -> None:
        """Learn when a run starts and, over the whole of it, how fine its decimals are."""
        try:
            for rows in run.file.rows():
                run.empty &= not (len(rows.line) or rows.faults)
                there = rows.recv_ns[rows.recv_ns != MISSING_NS]
                if run.starts_ns == MISSING_NS and len(there):
                    run.starts_ns = int(there.min())
                if not whole and not run.empty:
                    return
                run.price_places = _places(rows, _PRICES, run.price_places)
                run.quantity_places = _places(rows, _QUANTITIES, run.quantity_places)
        except CorruptFileError:
            run.empty = False  # reading reports it, after every row before it

    def _read(self, run: _Run) -> Iterator[Ticks]:
        """Rows of one run as ticks; an error comes after every row before it."""
        latest_ns, kept, lost = run.starts_ns, 0, 0
        try:
            for rows in run.file.rows():
                ticks, problems = self._to_ticks(rows, run, latest_ns)
                good = np.ones(len(ticks), dtype=np.bool_)
                good[[row for row, _ in problems if row >= 0]] = False
                failure = self._bad.first_error(error for _, error in problems)
                if failure is not None:
                    good &= rows.line < (failure.line or 0)
                if not good.all():
                    ticks = take(ticks, np.flatnonzero(good))
                kept, lost = kept + len(ticks), lost + len(problems)
                if len(ticks):
                    latest_ns = int(ticks.ts_recv_ns[-1])
                    self._overlaps.saw(run.label, ticks)
                    yield ticks
                if failure is not None:
                    raise failure
        except CorruptFileError as error:
            self._bad.found(error)
        if lost and not kept:
            shown = f" (e.g. {self._bad.examples[0]})" if self._bad.examples else ""
            what = f"all {lost:,} rows of {run.stream} were dropped{shown}: {NOTHING_LEFT}"
            nothing = NothingLeftError(what, file=run.label)
            if lost > _FEW_ROWS:
                raise nothing
            self._nothing_left.append((self._index[run.stream], nothing))

    def _to_ticks(self, rows: Rows, run: _Run, latest_ns: int) -> tuple[Ticks, list[tuple[int, DataError]]]:
        """Whole ticks and lots, and what is wrong with which row, in order of lines."""
        stream = self._index[run.stream]
        instrument = self._instruments[stream]
        file = str(run.file.path)
        problems = {row: error for row, error in rows.faults if row >= 0}
        lines_lost = [(row, error) for row, error in rows.faults if row < 0]
        quote = rows.kind == Kind.QUOTE
        counts: dict[str, Int64] = {}
        for names, step, problem, setting in (
            (_PRICES, instrument.tick_size, price_problem, "tick"),
            (_QUANTITIES, instrument.lot_size, quantity_problem, "lot"),
        ):
            for name in names:
                values: Float64 = getattr(rows, name)
                counts[name], ok = to_steps(values, step)
                if name in _PRICES:
                    wanted = ~quote if name == "price" else quote
                    bad = wanted & ~(ok & (values > 0))
                else:
                    # No quantity is unknown, which is 0; a cell that should hold one and does not is a fault.
                    bad = ~np.isnan(values) & ~(ok & (values >= 0))
                for row in np.flatnonzero(bad).tolist():
                    what = str(problem(float(values[row]), step, name.replace("qty", "quantity").replace("_", " ")))
                    what = what.replace("conf/instruments", f"conf/instruments or source.{setting}")
                    problems.setdefault(row, BadPriceError(what, file=file, line=int(rows.line[row])))
        for row in np.flatnonzero(quote & (counts["bid"] > counts["ask"])).tolist():
            what = f"crossed quote of {instrument.stream}: bid {rows.bid[row]:.12g} above ask {rows.ask[row]:.12g}"
            problems.setdefault(row, CrossedQuoteError(what, file=file, line=int(rows.line[row])))
        stated = self.config.time_unit if self.config.time_unit != "auto" else PRESETS[self.config.preset].time_unit
        for row, what in odd_times(rows.recv_ns, rows.event_ns, rows.emit_ns, stated, run.starts_ns).items():
            what += f"; source.time_unit says the unit, source.columns which time is which; {DROP_SUCH}"
            problems.setdefault(row, BadTimeError(what, file=file, line=int(rows.line[row])))
        self._find_late(rows, problems, latest_ns, file)
        n = len(rows.line)
        ticks = Ticks(
            instruments=self._instruments,
            ts_recv_ns=rows.recv_ns,
            ts_event_ns=rows.event_ns,
            ts_emit_ns=rows.emit_ns,
            stream=np.full(n, stream, dtype=np.int32),
            kind=rows.kind,
            bid_ticks=counts["bid"],
            ask_ticks=counts["ask"],
            bid_lots=counts["bid_qty"],
            ask_lots=counts["ask_qty"],
            price_ticks=counts["price"],
            qty_lots=counts["qty"],
            side=rows.side,
        )
        everything = [*problems.items(), *lines_lost]
        return ticks, sorted(everything, key=lambda one: one[1].line or 0)

    def _find_late(self, rows: Rows, problems: dict[int, DataError], latest_ns: int, file: str) -> None:
        """Add rows earlier than a good row before them."""
        good = np.ones(len(rows.line), dtype=np.bool_)
        good[list(problems)] = False
        index = np.flatnonzero(good)
        recv = rows.recv_ns[index]
        before = np.maximum.accumulate(np.concatenate([[latest_ns], recv]))[:-1]
        for at in np.flatnonzero(recv < before).tolist():
            row = int(index[at])
            what = late_message(int(recv[at]), int(before[at]))
            problems[row] = UnsortedTimeError(what, file=file, line=int(rows.line[row]))


def _stem(path: Path) -> str:
    """Name without what says how it is packed.

    Example:
        >>> _stem(Path("a/BTC-2024.08.csv.gz"))
        'BTC-2024.08'
    """
    while path.suffix.lower() in (".gz", ".zip", ".csv", ".txt", ".tsv", ".parquet", ".pq", ".npz"):
        path = path.with_suffix("")
    return path.name


def _places(rows: Rows, names: Sequence[str], least: int | None) -> int | None:
    for name in names:
        if least is None:
            return None
        least = decimals(getattr(rows, name), least)
    return least


def _finest(places: list[int | None], what: str, setting: str, files: str) -> float:
    known = [one for one in places if one is not None]
    if len(known) < len(places):
        raise ConfigError(f"{what} in {files} have more than {MOST_DECIMALS} decimals: state source.{setting}")
    return float(f"1e-{max(known)}")


def _delimiter(config: TableConfig) -> str:
    """A tab may be written as a backslash and a t: shells make it hard to pass one."""
    return config.delimiter.replace("\\t", "\t")


def _check(config: TableConfig) -> None:
    if config.time_unit not in TIME_UNITS:
        raise ConfigError(f"source.time_unit={config.time_unit!r}: choose from {', '.join(TIME_UNITS)}")
    if len(_delimiter(config)) != 1:
        raise ConfigError(f"source.delimiter={config.delimiter}: one character, or \\t for a tab")
    for key, stream in config.streams.items():
        venue, colon, symbol = stream.partition(":")
        if not (venue and colon and "/" in symbol):
            raise ConfigError(f"source.streams: {key}: {stream} is not of the form venue:BASE/QUOTE")
    for name in ("tick", "lot", "contract_value"):
        value = getattr(config, name)
        if value is not None and not (isfinite(value) and value > 0):
            raise ConfigError(f"source.{name}={value}: use a number above 0")
    for name in ("maker_fee_bp", "taker_fee_bp"):
        value = getattr(config, name)
        if value is not None and not -100.0 <= value <= 1000.0:
            raise ConfigError(f"source.{name}={value} is out of range: use -100 to 1000")
