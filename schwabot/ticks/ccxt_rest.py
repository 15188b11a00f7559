"""What REST does for a venue.

It stands in for a websocket that is lost, knows the trades that it did not tell, and says whether one that says nothing
is broken or its market quiet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from schwabot.errors import VenueError, why
from schwabot.fallback import FEED
from schwabot.records.market import MISSING_NS
from schwabot.ticks.ccxt_lines import Line, Repair
from schwabot.ticks.ccxt_rows import MS, Receipt, StreamRows, stamps_of
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.live_queue import Row

CHECK_S = 0.1
"""Time between looks at what is due."""
BOOK_LEVELS = 5
BOTH = ("bids", "asks")
BINANCE_TRADES = {"spot": "publicGetTrades", "linear": "fapiPublicGetTrades", "inverse": "dapiPublicGetTrades"}
"""ccxt's default is aggregate trades, whose numbers are not those of the websocket's trades."""
BINANCE_MOST = 1_000
MOST_ASKED = 8
"""Requests to a venue at a time: ccxt sends them one by one at the rate that the venue allows."""


class Rest:
    """Polls and repairs.

    Args:
        exchange: ccxt's.
        settings: of the source.
        receipt: stamps every row of the process.
        lines: of the venue.
        repairs: symbol → trades that may have been missed.
        hand_on: takes a row of a line.
    """

    def __init__(
        self,
        exchange: Any,
        settings: CcxtConfig,
        receipt: Receipt,
        lines: Sequence[Line],
        repairs: Mapping[str, Repair],
        hand_on: Callable[[Line, Row], None],
    ) -> None:
        self._exchange, self._settings, self._receipt = exchange, settings, receipt
        self._lines, self._repairs, self._hand_on = lines, repairs, hand_on
        self._free = asyncio.Semaphore(MOST_ASKED)

    async def poll(self) -> None:
        """Ask for what the websocket does not tell; for ever. Nobody waits for the answer of another one."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(min(CHECK_S, self._settings.poll_s))
                now_s = time.monotonic()
                due = [one for one in self._lines if one.fallback.now != FEED[0] and one.poll_s <= now_s]
                quotes = [line for line in due if not line.trades]
                groups = [quotes] if quotes and self._exchange.has["fetchBidsAsks"] else [[line] for line in quotes]
                groups += [[line] for line in due if line.trades]
                for group in groups:
                    for line in group:
                        line.poll_s = float("inf")  # until there is an answer
                    ask = self._poll_trades if group[0].trades else self._poll_quotes
                    tasks.create_task(self._polled(group, ask))

    async def repair(self) -> None:
        """Ask for trades that were missed; for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(CHECK_S)
                now_s = time.monotonic()
                for line in self._lines:
                    repair = self._repairs[line.symbol]
                    if line.trades and repair.due_s is not None and repair.due_s <= now_s:
                        repair.due_s = None
                        tasks.create_task(self._repaired(line, repair))

    async def _repaired(self, line: Line, repair: Repair) -> None:
        reason = await self._asked(lambda: self._poll_trades([line]))
        if reason is None:
            repair.backoff.reset()
        else:
            line.rows.counts.refetches_failed += 1
            repair.due_s = time.monotonic() + repair.backoff.next_s()

    async def is_quiet(self, line: Line) -> bool:
        """Whether a line says nothing because nothing happens: REST knows no more. False where REST does not say."""
        found: list[bool] = []

        async def ask() -> None:
            found.append(await (self._no_trade(line) if line.trades else self._same_touch(line)))

        await self._asked(ask)
        return found == [True]

    async def _no_trade(self, line: Line) -> bool:
        trades = await self._fetch_trades(line)
        newest = trades[-1].get("id") if trades else None
        return line.rows.trades.is_known(None if newest is None else str(newest))

    async def _same_touch(self, line: Line) -> bool:
        """Prices alone: some venues tell of no other change. Where the websocket told none yet, the first is noted."""
        book = await self._exchange.fetch_order_book(line.symbol, BOOK_LEVELS)
        before, line.touch = line.touch, touch_of("book", book)
        return before is None or before == line.touch

    async def _asked(self, ask: Callable[[], Awaitable[None]]) -> str | None:
        limit_s = self._settings.answer_s

        async def bounded() -> None:
            try:
                await asyncio.wait_for(ask(), limit_s)
            except TimeoutError:
                raise VenueError(f"REST gave no answer within source.answer_s={limit_s:g}") from None

        async with self._free:
            return await failure_of(bounded)

    async def _polled(self, lines: list[Line], ask: Callable[[list[Line]], Awaitable[None]]) -> None:
        reason = await self._asked(lambda: ask(lines))
        now_s, now_ns = time.monotonic(), self._receipt.now_ns()
        for line in lines:
            if reason is None:
                line.fallback.worked("rest", now_ns)
                line.backoff.reset()
                line.poll_s = now_s + self._settings.poll_s
            else:
                line.fallback.failed("rest", now_ns, reason)
                line.poll_s = now_s + max(self._settings.poll_s, line.backoff.next_s())

    async def _poll_quotes(self, lines: list[Line]) -> None:
        asked_s = time.monotonic()
        if self._exchange.has["fetchBidsAsks"]:
            found = await self._exchange.fetch_bids_asks([line.symbol for line in lines])
            kind = "quote"
        else:
            found = {one.symbol: await self._exchange.fetch_order_book(one.symbol, BOOK_LEVELS) for one in lines}
            kind = "book"
        self._receipt.arrived()
        for line in lines:
            # What the websocket told meanwhile is newer.
            if line.symbol in found and line.silence.heard_s < asked_s:
                row = quote_row(line.rows, kind, found[line.symbol])
                if row is not None:
                    self._hand_on(line, row)

    async def _poll_trades(self, lines: list[Line]) -> None:
        """Take note of the trades that REST knows and we do not."""
        (line,) = lines
        asked_s = time.monotonic()
        trades = await self._fetch_trades(line)
        self._receipt.arrived()
        for trade in trades:
            line.rows.trade(trade, asked_s, asked=True)
        self._repairs[line.symbol].asked_s = asked_s

    async def _fetch_trades(self, line: Line) -> list[Any]:
        if line.rows.instrument.venue.startswith("binance"):
            params = {"fetchTradesMethod": BINANCE_TRADES[kind_of(line.symbol)]}
            found: list[Any] = await self._exchange.fetch_trades(line.symbol, None, BINANCE_MOST, params)
        else:
            found = await self._exchange.fetch_trades(line.symbol)
        return found


def touch_of(kind: str, value: Any) -> tuple[float, float] | None:
    """Best bid and ask of ccxt's unified ticker or order book; None where a side is empty.

    Example:
        >>> touch_of("book", {"bids": [[99.5, 1.0]], "asks": [[100.0, 2.0]]}), touch_of("quote", {"bid": 99.5})
        ((99.5, 100.0), None)
    """
    if kind == "book":
        bid, ask = (value[side][0][0] if value[side] else None for side in BOTH)
    else:
        bid, ask = value.get("bid"), value.get("ask")
    return None if bid is None or ask is None else (float(bid), float(ask))


def quote_row(rows: StreamRows, kind: str, value: Any) -> Row | None:
    """The row of ccxt's unified ticker ("quote") or order book ("book"), if it makes one."""
    if kind == "book":
        (bid, bid_qty), (ask, ask_qty) = (value[side][0][:2] if value[side] else (None, None) for side in BOTH)
        stamp = value.get("timestamp")
        at_ns = MISSING_NS if stamp is None else int(stamp) * MS
        return rows.quote(bid, bid_qty, ask, ask_qty, (at_ns, at_ns, None))
    stamps = stamps_of(rows.instrument.venue, value.get("info"))
    return rows.quote(value.get("bid"), value.get("bidVolume"), value.get("ask"), value.get("askVolume"), stamps)


def kind_of(symbol: str) -> str:
    """What a Binance market is.

    Example:
        >>> kind_of("BTC/USDT"), kind_of("BTC/USDT:USDT"), kind_of("BTC/USD:BTC-261225")
        ('spot', 'linear', 'inverse')
    """
    pair, _, settle = symbol.partition(":")
    if not settle:
        return "spot"
    return "inverse" if settle.partition("-")[0] == pair.partition("/")[0] else "linear"


async def failure_of(ask: Callable[[], Awaitable[Any]]) -> str | None:
    """Await a coroutine of ccxt; gives why it failed, or None."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await ask()
    except asyncio.CancelledError:
        if task.cancelling():
            raise
        return "the connection was closed"  # ccxt cancels what waits for it
    # ccxt reads what it does not control: an odd answer ends in any exception, and must not end the run
    except Exception as error:  # noqa: BLE001
        return why(error)
    return None
