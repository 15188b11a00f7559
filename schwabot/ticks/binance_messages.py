"""Raw Binance WebSocket messages, sorted into quotes, trades and depth as columns of Python values.

Markets are told apart by what a message holds: spot has no E on bookTicker, no T or pu on depth and
an M on trades; COIN-M has ps, or a symbol like BTCUSD_PERP; the rest is USD-M.

Source: Binance, web socket streams of Spot, USD-M futures and COIN-M futures.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import orjson

from schwabot.errors import DataError, MalformedLineError, UnknownStreamError, UnsortedTimeError
from schwabot.records.instrument import Instrument
from schwabot.ticks.validate import late_message

SPOT, USDM, COINM = "binance", "binanceusdm", "binancecoinm"
NO_STAMP = -1
"""Stands for a T or E that the message does not have."""

_END_NS = 1 << 63

_COINM_SYMBOL = re.compile(r"(?<!B)USD_(PERP|\d{6})$")
_QUOTE_CURRENCIES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY")


_new = tuple.__new__
"""Makes a row without the constructor of its class, which takes longer than all of its fields."""


class Quote(NamedTuple):
    """One bookTicker; ``event`` and ``emit`` are T and E in ms or us, else NO_STAMP."""

    line: int
    recv_ns: int
    stream: int
    event: int
    emit: int
    bid: str
    bid_quantity: str
    ask: str
    ask_quantity: str


class Trade(NamedTuple):
    """One trade or aggTrade; ``seller_aggressed`` is m."""

    line: int
    recv_ns: int
    stream: int
    event: int
    emit: int
    price: str
    quantity: str
    seller_aggressed: bool
    aggregate: bool


class Depth(NamedTuple):
    """One depthUpdate, or one REST snapshot (before = final = its id).

    A snapshot names its market in ``snapshot_of``; on spot and USD-M it does not name its symbol, and
    ``stream`` is -1.
    """

    line: int
    recv_ns: int
    stream: int
    event: int
    emit: int
    before_id: int
    final_id: int
    bids: int
    asks: int
    snapshot_of: str


class Problem(NamedTuple):
    """A line left out: an error for the policy to decide on, or a reason to count with a message."""

    line: int
    what: DataError | str
    message: str = ""


@dataclass(slots=True)
class Messages:
    """What a run of lines held.

    Attributes:
        quotes, trades, depths: rows in line order.
        levels: price and quantity of every level of all ``depths``, flat, bids first.
        problems: lines left out.
        last_recv_ns: receive time of the last line taken.
    """

    quotes: list[Quote] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    depths: list[Depth] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    last_recv_ns: int = NO_STAMP


def native_symbol(instrument: Instrument) -> tuple[str, str] | None:
    """Market and exchange symbol of an instrument, or None if it is not one of Binance's three books.

    Example:
        >>> native_symbol(Instrument("binance:BTC/USDT", 0.01, 1e-5))
        ('binance', 'BTCUSDT')
        >>> native_symbol(Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0))
        ('binancecoinm', 'BTCUSD_PERP')
        >>> native_symbol(Instrument("binanceusdm:ETH/USDT:USDT-240927", 0.01, 0.001))
        ('binanceusdm', 'ETHUSDT_240927')
    """
    venue = instrument.venue
    if venue not in (SPOT, USDM, COINM):
        return None
    pair = instrument.base + instrument.quote
    settle, _, expiry = instrument.symbol.partition(":")[2].partition("-")
    if bool(settle) == (venue == SPOT):
        return None
    suffix = f"_{expiry}" if expiry else "_PERP" if venue == COINM else ""
    return venue, pair + suffix


def ccxt_name(market: str, symbol: str) -> str:
    """Best guess at a stream's name from market and exchange symbol, for messages to the user.

    Example:
        >>> ccxt_name("binance", "SOLUSDT"), ccxt_name("binancecoinm", "SOLUSD_PERP")
        ('binance:SOL/USDT', 'binancecoinm:SOL/USD:SOL')
    """
    pair, _, expiry = symbol.partition("_")
    quote = next((quote for quote in _QUOTE_CURRENCIES if pair.endswith(quote) and pair != quote), "")
    base = pair[: len(pair) - len(quote)]
    name = f"{market}:{base}/{quote or '?'}"
    if market == SPOT:
        return name
    settle = base if market == COINM else quote
    return f"{name}:{settle}" + (f"-{expiry}" if expiry not in ("", "PERP") else "")


class _LeftOutError(Exception):
    """A good message that makes no row; carries the reason to count it under."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Sorter:
    """Sorts lines of one file into ``Messages``.

    Args:
        file: named in the messages.
        instruments: the V streams to take; ``stream`` in the output indexes it.
        described: names of streams that have an instrument but are not among the V; only for messages.
        repeats: streams whose aggTrade messages repeat trade messages and are left out; the first trade message of
            a stream makes it one of them.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", 0.01, 1e-5)
        >>> line = b'7 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"4","B":"1","a":"5","A":"2"}}'
        >>> Sorter("a.gz", (spot,)).sort([line], 1).quotes
        [Quote(line=1, recv_ns=7, stream=0, event=-1, emit=-1, bid='4', bid_quantity='1', ask='5', ask_quantity='2')]
    """

    def __init__(
        self,
        file: str,
        instruments: Sequence[Instrument],
        *,
        described: Collection[str] = (),
        repeats: Collection[int] = (),
    ) -> None:
        self.file = file
        self._described = described
        self._repeats = set(repeats)
        self._spot: dict[str, int] = {}
        self._futures: dict[str, int] = {}
        for stream, instrument in enumerate(instruments):
            market, symbol = native_symbol(instrument) or ("", "")
            if market:
                (self._spot if market == SPOT else self._futures)[symbol] = stream
        self._take: dict[str, Callable[[Messages, int, int, dict[str, Any]], None]] = {
            "bookTicker": self._quote,
            "trade": self._trade,
            "aggTrade": self._trade,
            "depthUpdate": self._depth,
        }

    def sort(self, lines: Iterable[bytes], first_line: int, after_ns: int = NO_STAMP) -> Messages:
        """Sort lines, the first of which has number ``first_line``; ``after_ns`` is the receive time before it."""
        # What a block makes holds no cycles, but is so much that the collector would search all of the program over and
        # over: a tenth of the time. It rests for the few milliseconds of one block.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._sort(lines, first_line, after_ns)
        finally:
            if collecting:
                gc.enable()

    def _sort(self, lines: Iterable[bytes], first_line: int, after_ns: int) -> Messages:
        out = Messages(last_recv_ns=after_ns)
        loads, take = orjson.loads, self._take
        last_ns = after_ns
        for number, line in enumerate(lines, first_line):
            if not line or line.isspace():
                continue
            try:
                stamp, _, text = line.partition(b" ")
                recv_ns = int(stamp)
                message = loads(text)
                data = message["data"] if "stream" in message else message
                if recv_ns < last_ns:
                    raise UnsortedTimeError(late_message(recv_ns, last_ns), file=self.file, line=number)
                if not 0 <= recv_ns < _END_NS:
                    raise ValueError(f"receive time {recv_ns} is not in ns since 1970")
                event = data.get("e")
                if event in take:
                    take[event](out, number, recv_ns, data)
                elif event is None and "A" in data:
                    self._quote(out, number, recv_ns, data)
                elif data is message and "lastUpdateId" in data:
                    self._snapshot(out, number, recv_ns, data)
                else:
                    raise _LeftOutError("other_message", f"not a quote, trade or depth message: {text[:80]!r}")
            except DataError as error:
                out.problems.append(Problem(number, error))
            except _LeftOutError as left_out:
                message = f"{self.file}:{number}: {left_out}"
                out.problems.append(Problem(number, left_out.reason, message))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                malformed = MalformedLineError(_explain(line, error), file=self.file, line=number)
                out.problems.append(Problem(number, malformed))
            else:
                last_ns = recv_ns
        out.last_recv_ns = last_ns
        return out

    def _quote(self, out: Messages, number: int, recv_ns: int, data: dict[str, Any]) -> None:
        emit = data.get("E", NO_STAMP)
        stream = (self._spot if emit == NO_STAMP else self._futures).get(data["s"])
        if stream is None:
            raise self._unknown(number, data, spot=emit == NO_STAMP)
        event = data.get("T", NO_STAMP)
        row = (number, recv_ns, stream, event, emit, data["b"], data["B"], data["a"], data["A"])
        out.quotes.append(_new(Quote, row))

    def _trade(self, out: Messages, number: int, recv_ns: int, data: dict[str, Any]) -> None:
        spot = "M" in data
        stream = (self._spot if spot else self._futures).get(data["s"])
        if stream is None:
            raise self._unknown(number, data, spot=spot)
        aggregate = data["e"] == "aggTrade"
        if aggregate and stream in self._repeats:
            raise _LeftOutError("aggregate_trade", "aggTrade of a stream that is recorded trade by trade")
        if not aggregate:
            self._repeats.add(stream)
        # INSURANCE_FUND, ADL and NA are settled outside the order book, some at price zero.
        if data.get("X", "MARKET") != "MARKET":
            raise _LeftOutError("off_book_trade", f"trade of type {data['X']}, not made in the order book")
        seller_aggressed = data["m"]
        if seller_aggressed is not True and seller_aggressed is not False:
            raise ValueError(f"m is {seller_aggressed!r}, not true or false")
        row = (number, recv_ns, stream, data["T"], data["E"], data["p"], data["q"], seller_aggressed, aggregate)
        out.trades.append(_new(Trade, row))

    def _depth(self, out: Messages, number: int, recv_ns: int, data: dict[str, Any]) -> None:
        spot = "pu" not in data
        stream = (self._spot if spot else self._futures).get(data["s"])
        if stream is None:
            raise self._unknown(number, data, spot=spot)
        before_id = data["U"] - 1 if spot else data["pu"]
        self._levels(
            out, data["b"], data["a"], number, recv_ns, stream, data.get("T", NO_STAMP), data["E"], before_id, data["u"]
        )

    def _snapshot(self, out: Messages, number: int, recv_ns: int, data: dict[str, Any]) -> None:
        last_id = data["lastUpdateId"]
        symbol = data.get("symbol")
        stream, market = -1, SPOT if "T" not in data else USDM
        if symbol is not None:
            found = self._futures.get(symbol)
            if found is None:
                raise self._unknown(number, {"s": symbol}, spot=False)
            stream = found
        self._levels(
            out, data["bids"], data["asks"], number, recv_ns, stream, NO_STAMP, NO_STAMP, last_id, last_id, market
        )

    def _levels(
        self,
        out: Messages,
        bids: list[list[str]],
        asks: list[list[str]],
        number: int,
        recv_ns: int,
        stream: int,
        event: int,
        emit: int,
        before_id: int,
        final_id: int,
        snapshot_of: str = "",
    ) -> None:
        if type(before_id) is not int or type(final_id) is not int:
            raise ValueError("update ids are not whole numbers")
        flat = [*chain.from_iterable(bids), *chain.from_iterable(asks)]
        n_bids, n_asks = len(bids), len(asks)
        if len(flat) != 2 * (n_bids + n_asks):
            raise ValueError("a book level is not a price and a quantity")
        out.levels += flat
        row = (number, recv_ns, stream, event, emit, before_id, final_id, n_bids, n_asks, snapshot_of)
        out.depths.append(_new(Depth, row))

    def _unknown(self, number: int, data: dict[str, Any], *, spot: bool) -> UnknownStreamError:
        symbol = data["s"]
        coinm = "ps" in data or _COINM_SYMBOL.search(symbol)
        name = ccxt_name(SPOT if spot else COINM if coinm else USDM, symbol)
        if name in self._described:
            what = (
                f"stream {name} is not in the first lines of any file, so it was not expected here:"
                " name it in source.streams"
            )
        else:
            what = (
                f"no instrument describes {symbol}: add {name} with its tick size, lot size and fees to"
                " conf/instruments, or leave it out with source.policy.unknown_stream=drop"
            )
        return UnknownStreamError(what, file=self.file, line=number)


def _explain(line: bytes, error: Exception) -> str:
    stamp, _, text = line.partition(b" ")
    if not stamp.strip().isdigit():
        return f"the line does not start with a receive time in ns: {line[:40]!r}; is this a table (source=table)?"
    if isinstance(error, orjson.JSONDecodeError):
        half = "half a line, " if not text.rstrip().endswith(b"}") else ""
        return f"{half}invalid JSON ({error}): ...{text[-40:]!r}"
    if isinstance(error, KeyError):
        return f"the message has no field {error}"
    if isinstance(error, ValueError):
        return str(error)
    return f"a field is not of the type it should be ({error})"
