"""Column mappings of well-known archives, so that ``source.preset`` is all one has to say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace

from schwabot.errors import ConfigError


@dataclass
class ColumnMap:
    """Which column of a table holds what; empty = there is none.

    Args:
        time: when the row was received (or happened, when nothing else is known); rows are ordered by it.
        event_time: when the venue says it happened.
        emit_time: when the venue says it sent the message.
        bid, ask: best prices of a quote.
        bid_qty, ask_qty: quantities there.
        price, qty: of a trade.
        side: aggressor of a trade: buy, b, 1, +1, bid or sell, s, -1, ask; unknown, 0 or nothing else.
        buyer_maker: true when the buyer was the maker, so that the seller was the aggressor.
        stream: names the stream of the row, for files that hold several.
    """

    time: str = ""
    event_time: str = ""
    emit_time: str = ""
    bid: str = ""
    ask: str = ""
    bid_qty: str = ""
    ask_qty: str = ""
    price: str = ""
    qty: str = ""
    side: str = ""
    buyer_maker: str = ""
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of file.

    Attributes:
        columns: the mapping.
        names: columns of a file without a header line; empty = there always is one.
        time_unit: of its time columns; auto where it changed over the years.
        sole: columns, where there, that name the instrument: one stream holds one value of each.
    """

    columns: ColumnMap
    names: tuple[str, ...] = field(default=())
    time_unit: str = "auto"
    sole: tuple[str, ...] = ()


# Spot archives have no header line and two more columns of trades than futures archives, which have one
# since 2022; spot times are in µs from 2025 on, in ms before. They hold the venue's time only.
_BINANCE_TRADES = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match")
_BINANCE_AGG_TRADES = (
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
    "is_best_match",
)
_BINANCE_BOOK_TICKER = (
    "update_id",
    "best_bid_price",
    "best_bid_qty",
    "best_ask_price",
    "best_ask_qty",
    "transaction_time",
    "event_time",
)

# Tardis: µs since 1970; ``timestamp`` repeats ``local_timestamp`` where the venue gives none.
_TARDIS_SOLE = ("exchange", "symbol")
_TARDIS = ColumnMap(time="local_timestamp", event_time="timestamp")

PRESETS = {
    "none": Preset(ColumnMap()),
    "binance_trades": Preset(
        ColumnMap(time="time", event_time="time", price="price", qty="qty", buyer_maker="is_buyer_maker"),
        _BINANCE_TRADES,
    ),
    "binance_agg_trades": Preset(
        ColumnMap(
            time="transact_time",
            event_time="transact_time",
            price="price",
            qty="quantity",
            buyer_maker="is_buyer_maker",
        ),
        _BINANCE_AGG_TRADES,
    ),
    "binance_book_ticker": Preset(
        ColumnMap(
            time="event_time",
            event_time="transaction_time",
            emit_time="event_time",
            bid="best_bid_price",
            ask="best_ask_price",
            bid_qty="best_bid_qty",
            ask_qty="best_ask_qty",
        ),
        _BINANCE_BOOK_TICKER,
    ),
    "tardis_quotes": Preset(
        replace(_TARDIS, bid="bid_price", ask="ask_price", bid_qty="bid_amount", ask_qty="ask_amount"),
        time_unit="us",
        sole=_TARDIS_SOLE,
    ),
    "tardis_trades": Preset(
        replace(_TARDIS, price="price", qty="amount", side="side"), time_unit="us", sole=_TARDIS_SOLE
    ),
    "tardis_book_snapshot": Preset(
        replace(_TARDIS, bid="bids[0].price", ask="asks[0].price", bid_qty="bids[0].amount", ask_qty="asks[0].amount"),
        time_unit="us",
        sole=_TARDIS_SOLE,
    ),
    # Event arrays of hftbacktest, one field per column; the mapping is fixed.
    "hftbacktest": Preset(ColumnMap(), time_unit="ns"),
}


def mapping(preset: str, columns: ColumnMap) -> ColumnMap:
    """Lay stated columns over those of a preset, and check that they make quotes or trades.

    Raises:
        ConfigError: an unknown preset, or columns that make neither.

    Example:
        >>> mapping("binance_trades", ColumnMap(time="recv")).time
        'recv'
        >>> mapping("none", ColumnMap(time="t", bid="b"))
        Traceback (most recent call last):
        schwabot.errors.ConfigError: source.columns: bid is stated without ask
    """
    if preset not in PRESETS:
        raise ConfigError(f"source.preset={preset!r}: choose from {', '.join(PRESETS)}")
    stated = {one.name: getattr(columns, one.name) for one in fields(ColumnMap) if getattr(columns, one.name)}
    if preset == "hftbacktest":
        if stated:
            raise ConfigError(f"source.columns.{next(iter(stated))}: the fields of preset hftbacktest are fixed")
        return columns
    joined = replace(PRESETS[preset].columns, **stated)
    for one, other in (("bid", "ask"), ("ask", "bid"), ("bid_qty", "bid"), ("ask_qty", "ask"), ("qty", "price"),
                       ("side", "price"), ("buyer_maker", "price")):  # fmt: skip
        if getattr(joined, one) and not getattr(joined, other):
            raise ConfigError(f"source.columns: {one} is stated without {other}")
    if not joined.time or not (joined.bid or joined.price):
        raise ConfigError(
            "source.columns: state time, and bid and ask (quotes) or price (trades), e.g. source.columns.time=NAME;"
            " or a source.preset"
        )
    if joined.side and joined.buyer_maker:
        raise ConfigError("source.columns: state side or buyer_maker, not both")
    return joined


def columns_hint(there: list[str], delimiter: str) -> str:
    r"""What may be wrong with a file whose columns are not those that were named.

    Args:
        there: its columns.
        delimiter: what its cells were cut at; empty where there is no such thing.

    Example:
        >>> columns_hint(["t;bid;ask"], ",")
        '; are cells apart by \';\'? then add "source.delimiter=\';\'"'
        >>> columns_hint(["1723161600", "60000.5"], ",")
        '; no header line? then name its columns: source.names=[...]'
    """
    if re.match(r"\d{16,} \{", there[0] if there else ""):
        return "; this looks like a recording: source=capture"
    other = next((one for one in ",;\t| " if len(there) == 1 and one != delimiter and one in there[0]), "")
    if delimiter and other:
        shown = {"\t": "'\\t'"}.get(other, f"'{other}'")
        return f'; are cells apart by {other!r}? then add "source.delimiter={shown}"'
    numbers = all(re.fullmatch(r"[-+.\d]+", name) for name in there)
    return "; no header line? then name its columns: source.names=[...]" if delimiter and numbers else ""
