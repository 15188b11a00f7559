"""What REST does for a venue: stands in for a websocket that is lost, and fetches trades that it did not tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from schwabot.errors import why
from schwabot.records.market import MISSING_NS
from schwabot.ticks.ccxt_lines import Line, Repair
from schwabot.ticks.ccxt_rows import MS, Receipt, StreamRows, stamps_of
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.live_queue import Row
from schwabot.ticks.watchdog import Source

CHECK_S = 0.1
"""Time between looks at what is due."""
BOOK_LEVELS = 5
BINANCE_TRADES = {"spot": "publicGetTrades", "linear": "fapiPublicGetTrades", "inverse": "dapiPublicGetTrades"}
"""ccxt's default is aggregate trades, whose numbers are not those of the websocket's trades."""
BINANCE_MOST = 1_000


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

    async def poll(self) -> None:
        """Ask for what the websocket does not tell; for ever."""
        while True:
            await asyncio.sleep(min(CHECK_S, self._settings.poll_s))
            now_s = time.monotonic()
            due = [one for one in self._lines if one.chain.source is not Source.WEBSOCKET and one.poll_s <= now_s]
            quotes = [line for line in due if not line.trades]
            groups = [quotes] if quotes and self._exchange.has["fetchBidsAsks"] else [[line] for line in quotes]
            for group in groups:
                await self._polled(group, self._poll_quotes)
            for line in due:
                if line.trades:
                    await self._polled([line], self._poll_trades)

    async def repair(self) -> None:
        """Ask for trades that were missed; for ever."""
        while True:
            await asyncio.sleep(CHECK_S)
            now_s = time.monotonic()
            for line in self._lines:
                repair = self._repairs[line.symbol]
                if not line.trades or repair.due_s is None or repair.due_s > now_s:
                    continue
                repair.due_s = None
                reason = await self._asked([line], self._poll_trades)
                if reason is None:
                    repair.backoff.reset()
                else:
                    line.rows.counts.refetches_failed += 1
                    repair.due_s = time.monotonic() + repair.backoff.next_s()

    async def _asked(self, lines: list[Line], ask: Callable[[list[Line]], Awaitable[None]]) -> str | None:
        return await failure_of(lambda: asyncio.wait_for(ask(lines), self._settings.connect_s))

    async def _polled(self, lines: list[Line], ask: Callable[[list[Line]], Awaitable[None]]) -> None:
        reason = await self._asked(lines, ask)
        now_s = time.monotonic()
        for line in lines:
            if reason is None:
                line.chain.polled()
                line.backoff.reset()
                line.poll_s = now_s + self._settings.poll_s
            else:
                line.chain.poll_failed(reason)
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
        """Hand on the trades that REST knows and we do not."""
        (line,) = lines
        asked_s = time.monotonic()
        if line.rows.instrument.venue.startswith("binance"):
            params = {"fetchTradesMethod": BINANCE_TRADES[kind_of(line.symbol)]}
            trades = await self._exchange.fetch_trades(line.symbol, None, BINANCE_MOST, params)
        else:
            trades = await self._exchange.fetch_trades(line.symbol)
        self._receipt.arrived()
        for trade in trades:
            row = line.rows.trade(trade, asked_s, late=True)
            if row is not None:
                self._hand_on(line, row)
        self._repairs[line.symbol].asked_s = asked_s


def quote_row(rows: StreamRows, kind: str, value: Any) -> Row | None:
    """The row of ccxt's unified ticker ("quote") or order book ("book"), if it makes one."""
    if kind == "book":
        if not value["bids"] or not value["asks"]:
            return rows.quote(None, None, None, None, (MISSING_NS, MISSING_NS, None))
        (bid, bid_qty), (ask, ask_qty) = value["bids"][0][:2], value["asks"][0][:2]
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
