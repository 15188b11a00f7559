"""What a sweep's source is cut into when every asset or day is to be a market of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from schwabot.config import RunConfig, StoreSource, without_reference
from schwabot.errors import ConfigError
from schwabot.modules.currencies import is_money
from schwabot.records.instrument import Instrument
from schwabot.simulation.sweep.shards import edges_of
from schwabot.ticks.base import Feed
from schwabot.ticks.store import StoreFeed
from schwabot.ticks.store_format import DAY_NS

WHOLE = "whole"
"""Name of the market that is the whole source."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the source that is a market of its own.

    Attributes:
        name: asset and day, as far as they are apart.
        time: the day; what lies at one time is worth one drawdown.
        symbols: of its streams; none = all there are.
        trade: streams to trade; none = as the settings say.
        first_ns, end_ns: rows received from here on and before there are traded on; 0 = all.
        read_ns: rows are read from here on.
    """

    name: str = WHOLE
    time: str = ""
    symbols: tuple[str, ...] = ()
    trade: tuple[str, ...] = ()
    first_ns: int = 0
    end_ns: int = 0
    read_ns: int = 0

    def settings(self, settings: RunConfig) -> RunConfig:
        """The run's settings, for this part of the source only."""
        source = settings.source
        if self.symbols:
            assert isinstance(source, StoreSource)
            source = replace(source, symbols=list(self.symbols), reference=None)  # it may be of another asset
        if self.end_ns:
            assert isinstance(source, StoreSource)
            source = replace(source, start=_iso(self.read_ns), end=_iso(self.end_ns, up=True))
        policy = replace(settings.policy, trade=list(self.trade)) if self.trade else settings.policy
        return replace(settings, source=source, policy=policy)


@dataclass(frozen=True, slots=True)
class Slices:
    """All of them, by name.

    Attributes:
        parts: sorted by name.
        edges: where the folds of the whole begin, ns; none = as the only market says.
        streams: of the whole source; none = of the only market.
        notes: what is left out.
    """

    parts: tuple[Slice, ...]
    edges: tuple[int, ...] = ()
    streams: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def named(self, name: str) -> Slice:
        """The one of that name."""
        return next(one for one in self.parts if one.name == name)


def slices_of(settings: RunConfig, feed: Feed) -> Slices:
    """What the source is cut into: by ``sweep.each``, from what the store's catalogue says.

    Args:
        settings: of the run.
        feed: its source, unread.

    Raises:
        ConfigError: not a store, or nothing to trade.
    """
    config = settings.sweep
    if not config.each:
        return Slices((Slice(),))
    if not isinstance(feed, StoreFeed):
        raise ConfigError(
            f"sweep.each=[{','.join(config.each)}] needs source=store, which knows its days and streams before it is"
            " read: make one with mode=convert convert.out=FOLDER and the source as it is now, then source=store"
            " source.path=FOLDER"
        )
    assert isinstance(settings.source, StoreSource)
    groups, notes = (
        _assets(feed.instruments, settings.policy.trade) if "symbol" in config.each else ([("", (), ())], [])
    )
    parts = []
    for asset, symbols, trade in groups:
        source = without_reference(replace(settings.source, symbols=list(symbols) or settings.source.symbols))
        part = StoreFeed(source)
        first_ns, last_ns = part.span_ns
        if "day" not in config.each:
            parts.append(Slice(asset, "", symbols, trade))
            continue
        for day in sorted({day for file in part.files for day in _days(file.first_ns, file.last_ns)}):
            begin_ns, end_ns = max(day * DAY_NS, first_ns), min((day + 1) * DAY_NS, last_ns + 1)
            if begin_ns < end_ns:
                date = _iso(day * DAY_NS)[:10]
                read_ns = max(begin_ns - round(config.lead_in_s * 1e9), first_ns)
                parts.append(Slice(f"{asset} {date}".strip(), date, symbols, trade, begin_ns, end_ns, read_ns))
    if not parts:
        raise ConfigError("sweep.each: the source holds no rows")
    first_ns, last_ns = feed.span_ns
    edges = tuple(edges_of(first_ns, last_ns, config, _spans(feed) if "day" in config.each else ()))
    streams = tuple(one.stream for one in feed.instruments)
    return Slices(tuple(sorted(parts, key=lambda one: one.name)), edges, streams, tuple(notes))


def _assets(
    instruments: Sequence[Instrument], wanted: Sequence[str]
) -> tuple[list[tuple[str, tuple[str, ...], tuple[str, ...]]], list[str]]:
    """Each asset's name, symbols (rates between currencies among them) and streams to trade; and what is left out."""
    rates = [one.symbol for one in instruments if is_money(one.base)]
    streams = [one.stream for one in instruments]
    if missing := [stream for stream in wanted if stream not in streams]:
        raise ConfigError(f"policy.trade: {missing[0]} is not in the source; it has {', '.join(streams)}")
    found, notes = [], []
    for asset in sorted({one.base for one in instruments if not is_money(one.base)}):
        own = [one for one in instruments if one.base == asset]
        trade = tuple(stream for stream in wanted if stream in [one.stream for one in own])
        if wanted and not trade:
            notes.append(f"note: {asset} is left out: policy.trade names none of its streams")
        elif all(one.trades_only for one in own):
            notes.append(f"note: {asset} is left out: it has trades only, and quotes are needed")
        else:
            found.append((asset, tuple(sorted({one.symbol for one in own} | set(rates))), trade))
    if left := [one.stream for one in instruments if one.stream in wanted and is_money(one.base)]:
        notes.append(f"note: not traded: {', '.join(left)}, which each asset's market has for its rate only")
    if not found:
        raise ConfigError(f"sweep.each=[symbol]: nothing to trade among {', '.join(streams)}")
    return found, notes


def _spans(feed: StoreFeed) -> list[tuple[int, int]]:
    """From the first to beyond the last row of each day, of whatever stream, in order."""
    begin_ns, end_ns = feed.span_ns
    days: dict[int, tuple[int, int]] = {}
    for file in feed.files:
        for day in _days(file.first_ns, file.last_ns):
            first_ns, last_ns = (
                max(file.first_ns, day * DAY_NS, begin_ns),
                min(file.last_ns, (day + 1) * DAY_NS, end_ns),
            )
            before = days.get(day, (first_ns, last_ns + 1))
            if first_ns <= last_ns:
                days[day] = min(before[0], first_ns), max(before[1], last_ns + 1)
    return [days[day] for day in sorted(days)]


def _days(first_ns: int, last_ns: int) -> range:
    return range(first_ns // DAY_NS, last_ns // DAY_NS + 1)


def _iso(ts_ns: int, *, up: bool = False) -> str:
    """A time as ``source.start`` takes it, to the microsecond."""
    return (
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=-(-ts_ns // 1000) if up else ts_ns // 1000)
    ).isoformat()
