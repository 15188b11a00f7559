"""From sorted Binance messages to columns of ticks: quotes and trades.

Axis legend: N rows of one block of lines, V streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa

from schwabot.errors import BadPriceError, BadTimeError, CrossedQuoteError, MalformedLineError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int64, Kind, Ticks
from schwabot.ticks.binance_messages import NO_STAMP, Problem, Quote, Trade
from schwabot.ticks.merge import blank
from schwabot.ticks.plausible import DROP_SUCH, odd_times
from schwabot.ticks.validate import Bool, price_problem, quantity_problem, to_steps

_MICROSECONDS_FROM = 10**14
"""Stamps from here on are in us (in ms it would be the year 5138); Binance offers both units."""

_MAX_MS = 9 * 10**12
_MAX_US = 9 * 10**15


class Columns:
    """Turns the quotes and trades of one file into ticks.

    Args:
        file: named in the messages.
        instruments: V streams.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", 0.01, 1e-5)
        >>> rows, lines, problems = Columns("a.gz", (spot,)).quotes([Quote(1, 7, 0, -1, -1, "4.02", "1", "5", "2")])
        >>> rows.bid_ticks.tolist(), rows.ask_lots.tolist(), lines.tolist(), problems
        ([402], [200000], [1], [])
    """

    def __init__(self, file: str, instruments: tuple[Instrument, ...]) -> None:
        self.file = file
        self.instruments = instruments
        self.tick_sizes = np.array([instrument.tick_size for instrument in instruments])
        self.lot_sizes = np.array([instrument.lot_size for instrument in instruments])

    def quotes(self, quotes: Sequence[Quote]) -> tuple[Ticks, Int64, list[Problem]]:
        """Good rows, the line of each, and the bad ones."""
        if not quotes:
            return blank(self.instruments, 0), np.empty(0, np.int64), []
        problems: list[Problem] = []
        line, recv, stream, event, emit, bid, bid_qty, ask, ask_qty = zip(*quotes, strict=True)
        which = np.array(stream, np.int32)
        tick, lot = self.tick_sizes[which], self.lot_sizes[which]
        bid_ticks, ok_bid = to_steps(floats(bid), tick)
        ask_ticks, ok_ask = to_steps(floats(ask), tick)
        bid_lots, ok_bid_qty = to_steps(floats(bid_qty), lot)
        ask_lots, ok_ask_qty = to_steps(floats(ask_qty), lot)
        event_ns, emit_ns, ok = stamps(event, emit)
        odd = odd_times(np.array(recv, np.int64), event_ns, emit_ns, "ns")
        ok[list(odd)] = False
        good = ok & ok_bid & ok_ask & ok_bid_qty & ok_ask_qty
        good &= (bid_ticks > 0) & (ask_ticks > 0) & (bid_lots >= 0) & (ask_lots >= 0)
        crossed = good & (bid_ticks > ask_ticks)
        for row in np.flatnonzero(~good).tolist():
            fields = ((bid[row], "bid"), (ask[row], "ask"))
            quantities = ((bid_qty[row], "bid quantity"), (ask_qty[row], "ask quantity"))
            problems.append(self.bad_number(line[row], stream[row], fields, quantities, odd.get(row)))
        for row in np.flatnonzero(crossed).tolist():
            name = self.instruments[stream[row]].stream
            what = f"crossed quote of {name}: bid {bid[row]} above ask {ask[row]}"
            problems.append(Problem(line[row], CrossedQuoteError(what, file=self.file, line=line[row])))
        rows = np.flatnonzero(good & ~crossed)
        taken = replace(
            blank(self.instruments, len(rows), Kind.QUOTE),
            ts_recv_ns=np.array(recv, np.int64)[rows],
            ts_event_ns=event_ns[rows],
            ts_emit_ns=emit_ns[rows],
            stream=which[rows],
            bid_ticks=bid_ticks[rows],
            ask_ticks=ask_ticks[rows],
            bid_lots=bid_lots[rows],
            ask_lots=ask_lots[rows],
        )
        return taken, np.array(line, np.int64)[rows], problems

    def trades(self, trades: Sequence[Trade]) -> tuple[Ticks, Int64, list[Problem]]:
        """Good rows, the line of each, and the bad ones."""
        if not trades:
            return blank(self.instruments, 0), np.empty(0, np.int64), []
        problems: list[Problem] = []
        line, recv, stream, event, emit, price, quantity, seller, _ = zip(*trades, strict=True)
        which = np.array(stream, np.int32)
        price_ticks, ok_price = to_steps(floats(price), self.tick_sizes[which])
        qty_lots, ok_qty = to_steps(floats(quantity), self.lot_sizes[which])
        event_ns, emit_ns, ok = stamps(event, emit)
        odd = odd_times(np.array(recv, np.int64), event_ns, emit_ns, "ns")
        ok[list(odd)] = False
        good = ok & ok_price & ok_qty & (price_ticks > 0) & (qty_lots >= 0)
        for row in np.flatnonzero(~good).tolist():
            prices, quantities = ((price[row], "price"),), ((quantity[row], "quantity"),)
            problems.append(self.bad_number(line[row], stream[row], prices, quantities, odd.get(row)))
        rows = np.flatnonzero(good)
        taken = replace(
            blank(self.instruments, len(rows), Kind.TRADE),
            ts_recv_ns=np.array(recv, np.int64)[rows],
            ts_event_ns=event_ns[rows],
            ts_emit_ns=emit_ns[rows],
            stream=which[rows],
            price_ticks=price_ticks[rows],
            qty_lots=qty_lots[rows],
            side=np.where(np.array(seller)[rows], -1, 1).astype(np.int8),
        )
        return taken, np.array(line, np.int64)[rows], problems

    def bad_number(
        self,
        line: int,
        stream: int,
        prices: Sequence[tuple[str, str]],
        quantities: Sequence[tuple[str, str]],
        odd_time: str | None = None,
    ) -> Problem:
        """Say what is wrong with a row that failed a check."""
        instrument = self.instruments[stream]
        checks: list[tuple[str, str, float, Callable[[float, float, str], str | None]]] = [
            *((text, what, instrument.tick_size, price_problem) for text, what in prices),
            *((text, what, instrument.lot_size, quantity_problem) for text, what in quantities),
        ]
        for text, what, step, check in checks:
            try:
                found = check(float(text), step, f"{instrument.stream} {what}")
            except (TypeError, ValueError):
                malformed = f"{instrument.stream} {what} {text!r} is not a number"
                return Problem(line, MalformedLineError(malformed, file=self.file, line=line))
            if found:
                return Problem(line, BadPriceError(found, file=self.file, line=line))
        if odd_time is not None:
            is_unit = odd_time.endswith("not ns")
            hint = ": a recording starts every line with the time in ns" if is_unit else f"; {DROP_SUCH}"
            what = odd_time + hint
            return Problem(line, BadTimeError(what, file=self.file, line=line))
        return Problem(line, MalformedLineError("T or E is not a time in ms or us", file=self.file, line=line))


def floats(values: Sequence[str]) -> Float64:
    """Numbers from text; NaN where it is none.

    Example:
        >>> floats(["0.5", "x", None]).tolist()
        [0.5, nan, nan]
    """
    # Arrow reads plain decimals to the same bits as float(), three times as fast; what else Python takes is rare.
    with suppress(ValueError, TypeError):
        decimals: Float64 = pa.array(values, pa.string()).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return decimals
    return np.array([_number(value) for value in values], np.float64)


def _number(value: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def stamps(event: Sequence[int], emit: Sequence[int]) -> tuple[Int64, Int64, Bool]:
    """T and E in ms or us as event and emission time in ns, and whether both are times or absent.

    Event time is T where given, else E.

    Example:
        >>> event_ns, emit_ns, ok = stamps([5, NO_STAMP], [6, 7])
        >>> event_ns.tolist(), emit_ns.tolist(), ok.tolist()
        ([5000000, 7000000], [6000000, 7000000], [True, True])
    """
    event_ns, ok_event = _to_ns(event)
    emit_ns, ok_emit = _to_ns(emit)
    return np.where(event_ns == MISSING_NS, emit_ns, event_ns), emit_ns, ok_event & ok_emit


def _to_ns(values: Sequence[int]) -> tuple[Int64, Bool]:
    given = np.array(values) if values else np.empty(0, np.int64)
    if given.dtype != np.int64:
        given = np.array([value if type(value) is int and 0 <= value < _MAX_US else -2 for value in values], np.int64)
    missing = given == NO_STAMP
    in_us = given >= _MICROSECONDS_FROM
    ok = missing | ((given > 0) & np.where(in_us, given < _MAX_US, given < _MAX_MS))
    scaled = np.where(ok, given, 0) * np.where(in_us, 1_000, 1_000_000)
    return np.where(missing | ~ok, MISSING_NS, scaled), ok
