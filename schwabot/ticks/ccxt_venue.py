"""One exchange, live through ccxt: connects, subscribes, watches over its streams, polls where the websocket fails.

Everything here runs in one asyncio loop. Rows go to ``put``, switches of source to ``tell``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from schwabot.errors import VenueError, why
from schwabot.fallback import FEED, FallbackRouter
from schwabot.records.audit import FallbackEvent
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS
from schwabot.ticks.ccxt_lines import Channel, Line, Repair
from schwabot.ticks.ccxt_markets import differences, instrument_of, market_of
from schwabot.ticks.ccxt_rest import CHECK_S, Rest, failure_of, kind_of, quote_row, touch_of
from schwabot.ticks.ccxt_rows import Receipt, StreamRows
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.ccxt_tap import Found, Tap
from schwabot.ticks.live_queue import Row
from schwabot.ticks.watchdog import Backoff, Delay, Silence

RENEW_S = 0.5
"""Time between calls of ccxt's watch coroutines, which renew and tell of errors; rows do not wait for them."""
CLOSE_S = 3.0
TRADES_KNOWN = 20
"""Trades to hear before their absence means anything."""
LATE_S = 0.3
"""A trade that is missing for this long is asked for by REST: before, it may only be out of order."""
APART_NS = 2_000_000_000
"""Clocks that are closer than this are the same: some venues tell whole seconds, and an answer takes its time."""

_SUBSCRIBING: ContextVar[Channel | None] = ContextVar("channel", default=None)


class Venue:
    """One exchange.

    Args:
        name: ccxt's id.
        symbols: of the streams wanted.
        settings: of the source.
        options: for ccxt's constructor, over what is set here.
        known: what conf/instruments says, by stream.
        receipt: stamps every row of the process.
        put: takes a row; False when a trade found no room.
        put_late: takes a trade that is known too late to be a row.
        tell: takes a switch.
        router: which of websocket, REST and nothing each line goes by.
    """

    def __init__(
        self,
        name: str,
        symbols: Sequence[str],
        settings: CcxtConfig,
        options: Mapping[str, Any],
        known: Mapping[str, Instrument],
        receipt: Receipt,
        put: Callable[[Row], bool],
        put_late: Callable[[Row], None],
        tell: Callable[[FallbackEvent], None],
        router: FallbackRouter,
    ) -> None:
        self.name = name
        self.instruments: list[Instrument] = []
        self.notes: list[str] = []
        self.rows: dict[str, StreamRows] = {}
        self.lines: list[Line] = []
        self._symbols = list(symbols)
        self._settings, self._options, self._known = settings, options, known
        self._receipt, self._put, self._put_late, self._tell = receipt, put, put_late, tell
        self._router = router
        self._quotes: dict[str, Line] = {}
        self._trades: dict[str, Line] = {}
        self._repairs: dict[str, Repair] = {}
        self._channels: list[Channel] = []
        self._exchange: Any = None
        self._closing = False
        self._ahead_ns = 0
        self.tap = Tap(
            on_message=receipt.arrived,
            on_found=self._take,
            on_ended=self._ended,
            on_unread=self._unread,
            on_hole=self._hole,
            on_client=self._connected,
        )

    async def open(self) -> None:
        """Load the markets.

        Raises:
            VenueError: there is no such venue, it can't be reached, or does not trade a symbol.
        """
        import ccxt.pro

        base = getattr(ccxt.pro, self.name, None) if self.name in ccxt.pro.exchanges else None
        if base is None:
            raise VenueError(f"{self.name}: ccxt knows no exchange of this name that has a websocket")
        config = ccxt.Exchange.deep_extend(self._defaults(), dict(self._options))
        self._exchange = self.tap.exchange(base, config)
        limit_s = self._settings.connect_s
        try:
            markets = await asyncio.wait_for(self._exchange.load_markets(), limit_s)
        except TimeoutError:
            raise VenueError(
                f"{self.name}: no answer within source.connect_s={limit_s:g}: is the network up?"
            ) from None
        except Exception as error:
            raise VenueError(f"{self.name}: its markets can't be loaded: {why(error)}") from error
        await self._compare_clocks()
        for symbol in self._symbols:
            known = self._known.get(f"{self.name}:{symbol}")
            market = market_of(self.name, markets, symbol)
            found = instrument_of(self.name, market, self._exchange.precisionMode, known)
            self.instruments.append(found)
            self.notes += differences(found, known)

    async def _compare_clocks(self) -> None:
        """See how far the machine's clock is from the venue's; one that can't be asked now is taken to be right."""
        if not self._exchange.has["fetchTime"]:
            return
        began_ns = time.time_ns()
        with suppress(Exception):  # of ccxt and of the network, in any way
            said_ms = await asyncio.wait_for(self._exchange.fetch_time(), self._settings.answer_s)
            ahead_ns = (began_ns + time.time_ns()) // 2 - int(said_ms) * 1_000_000
            if abs(ahead_ns) > APART_NS:
                self._ahead_ns = ahead_ns
                how = "ahead of" if ahead_ns > 0 else "behind"
                self.notes.append(f"{self.name}: this machine's clock is {abs(ahead_ns) / 1e9:.0f} s {how} the venue's")

    async def round_trip_s(self, times: int) -> float:
        """Median time from a request to its answer, of the cheapest request there is.

        Raises:
            VenueError: the venue did not answer.
        """
        import ccxt

        exchange, took_s = self._exchange, []
        for _ in range(times):
            began_s = time.perf_counter()
            try:
                if exchange.has["fetchTime"]:
                    await exchange.fetch_time()
                else:
                    await exchange.fetch_ticker(self._symbols[0])
            except ccxt.BaseError as error:
                raise VenueError(f"{self.name}: how long an answer takes can't be measured: {why(error)}") from error
            took_s.append(time.perf_counter() - began_s)
        return sorted(took_s)[times // 2]

    def _defaults(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.name.startswith("binance"):
            # Only what is needed: the markets of all kinds together are 30 MB.
            kinds = sorted({kind_of(symbol) for symbol in self._symbols})
            options = {"fetchMarkets": {"types": kinds}, "fetchCurrencies": False, "fetchMargins": False}
        return {"options": options, "timeout": int(1e3 * self._settings.connect_s)}

    def begin(self, index: Mapping[str, int]) -> None:
        """Get ready to ``run``.

        Args:
            index: stream → its index among all streams of the run.
        """
        began_ns = self._receipt.now_ns()
        for one in self.instruments:
            self.rows[one.symbol] = StreamRows(
                index[one.stream], one, self._receipt, began_ns, self._put_late, self._ahead_ns
            )
            self._repairs[one.symbol] = Repair(self._backoff())
        has = self._exchange.has
        whole = [self._symbols]
        each = [[symbol] for symbol in self._symbols]
        for symbols in whole if has["watchBidsAsks"] else each:
            self._subscribe(symbols, self._quote_watch(symbols), trades=False)
        if not has["watchBidsAsks"] and has["watchOrderBook"]:
            self.tap.book_symbols = tuple(self._symbols)
        if self._settings.trades:
            for symbols in whole if has["watchTradesForSymbols"] else each:
                self._subscribe(symbols, self._trade_watch(symbols), trades=True)

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.retry_first_s, self._settings.retry_most_s)

    def _quote_watch(self, symbols: Sequence[str]) -> Callable[[], Awaitable[Any]]:
        exchange = self._exchange
        if exchange.has["watchBidsAsks"]:
            return lambda: exchange.watch_bids_asks(symbols)
        if exchange.has["watchOrderBook"]:
            return lambda: exchange.watch_order_book(symbols[0])
        if exchange.has["watchTicker"]:
            return lambda: exchange.watch_ticker(symbols[0])
        raise VenueError(f"{self.name}: ccxt has no live quotes of it")

    def _trade_watch(self, symbols: Sequence[str]) -> Callable[[], Awaitable[Any]]:
        exchange = self._exchange
        if exchange.has["watchTradesForSymbols"]:
            return lambda: exchange.watch_trades_for_symbols(symbols)
        if exchange.has["watchTrades"]:
            return lambda: exchange.watch_trades(symbols[0])
        raise VenueError(f"{self.name}: ccxt has no live trades of it: set source.trades=false")

    def _subscribe(self, symbols: Sequence[str], watch: Callable[[], Awaitable[Any]], *, trades: bool) -> None:
        settings = self._settings
        channel = Channel(symbols, trades, watch, self._backoff())
        self._channels.append(channel)
        for symbol in symbols:
            name = f"feed.{self.name}:{symbol}.{'trades' if trades else 'quotes'}"
            line = Line(
                name,
                symbol,
                trades,
                self.rows[symbol],
                self._router.add(name, FEED),
                Silence(settings.silence_s, TRADES_KNOWN if trades else 0, time.monotonic()),
                Delay(settings.behind_s),
                Backoff(settings.poll_s, max(settings.poll_s, settings.retry_most_s)),
                channel,
            )
            self.lines.append(line)
            (self._trades if trades else self._quotes)[symbol] = line

    async def run(self) -> None:
        """Subscribe and watch over it until cancelled; raises only what nobody thought of."""
        async with asyncio.TaskGroup() as tasks:
            for channel in self._channels:
                tasks.create_task(self._keep(channel))
            rest = Rest(self._exchange, self._settings, self._receipt, self.lines, self._repairs, self._hand_on)
            tasks.create_task(self._watch_over(rest, tasks))
            tasks.create_task(rest.poll())
            tasks.create_task(rest.repair())

    async def close(self) -> None:
        """End every connection; one that does not answer any more is left."""
        self._closing = True
        if self._exchange is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._exchange.close(), CLOSE_S)

    # the websocket

    async def _keep(self, channel: Channel) -> None:
        """Keep one subscription up."""
        _SUBSCRIBING.set(channel)
        while True:
            channel.wake.clear()
            reason = await failure_of(channel.watch)
            if reason is None:
                if channel.renewed:
                    channel.renewed = False
                    self._after_reconnect(channel)
                try:
                    await asyncio.wait_for(channel.wake.wait(), RENEW_S)
                except TimeoutError:
                    channel.backoff.reset()  # only now: one that is lost as soon as it is there was no success
                    continue
            else:
                self._lost(channel, reason)
            await asyncio.sleep(channel.backoff.next_s())

    def _connected(self, client: Any) -> None:
        channel = _SUBSCRIBING.get()
        if channel is None or channel.client is client:
            return
        channel.renewed = channel.client is not None
        channel.client = client
        if not channel.renewed:
            return
        self.tap.renew(self._exchange, () if channel.trades else channel.symbols)
        for symbol in channel.symbols if channel.trades else ():
            self.rows[symbol].reconnected(self._receipt.now_ns())

    def _after_reconnect(self, channel: Channel) -> None:
        for symbol in channel.symbols:
            self.rows[symbol].counts.reconnects += 1
            if channel.trades:
                self._repairs[symbol].due_s = time.monotonic()

    def _ended(self, client: Any, reason: str) -> None:
        for channel in self._channels:
            if channel.client is client:
                self._lost(channel, reason)
                channel.wake.set()

    def _unread(self, client: Any, error: Exception) -> None:
        """What ccxt can't read may be half of an order book: begin anew."""
        self._count(client, "malformed", f"ccxt: {why(error)}")
        _disconnect(client, f"a message can't be read: {why(error)}")

    def _hole(self, client: Any, first: int, last: int) -> None:
        """What was missed may be a change of an order book, which stays wrong without it: begin anew."""
        lost = f"1 numbered message was lost, number {first}"
        if last > first:
            lost = f"{last - first + 1} numbered messages were lost, number {first} to {last}"
        self._count(client, "lost", lost)
        _disconnect(client, lost)

    def _count(self, client: Any, reason: str, message: str) -> None:
        """Count a drop on every stream of a connection."""
        for symbol in dict.fromkeys(one for there in self._channels if there.client is client for one in there.symbols):
            self.rows[symbol].counts.drop(reason, f"{self.name}:{symbol}: {message}")

    def _lost(self, channel: Channel, reason: str) -> None:
        if self._closing:
            return  # by ourselves
        now_s = time.monotonic()
        for line in self._lines_of(channel):
            line.silence.restarted(now_s)
            if line.trades:
                line.rows.lost()
            if line.lost_s is None:
                line.lost_s, line.why = now_s, reason
                if line.silence.heard_s > float("-inf"):
                    self._say(line, self._state(line), "gapped", f"the websocket was lost: {reason}")
                    line.gapped = True

    def _heard(self, line: Line, now_s: float) -> None:
        """The websocket spoke."""
        line.silence.heard(now_s)
        if line.lost_s is None:
            return
        line.lost_s = None
        if line.trades:
            line.rows.heard(self._receipt.arrived_ns)
        if line.gapped:
            line.gapped = False
            reason = f"connected anew, the websocket was lost: {line.why}"
            self._tell(FallbackEvent(self._receipt.arrived_ns, line.name, "gapped", self._state(line), reason))

    def _lines_of(self, channel: Channel) -> Iterable[Line]:
        lines = self._trades if channel.trades else self._quotes
        return (lines[symbol] for symbol in channel.symbols)

    def _take(self, client: Any, found: list[Found]) -> None:
        """Take what one message changed."""
        now_s = time.monotonic()
        for kind, symbol, value in found:
            lines = self._trades if kind == "trade" else self._quotes
            # Coinbase answers a subscription to BTC/USDC with BTC/USD, its alias.
            line = lines.get(symbol) or lines.get(f"{symbol}C")
            if line is None:
                continue
            self._heard(line, now_s)
            if kind != "trade":
                line.touch = touch_of(kind, value)
            if kind == "book":
                line.crossed.heard(line.touch is not None and line.touch[0] > line.touch[1], now_s)
            row = line.rows.trade(value, now_s) if kind == "trade" else quote_row(line.rows, kind, value)
            if row is not None:
                if row[2] != MISSING_NS:
                    line.delay.heard((row[0] - row[2]) / 1e9)
                self._hand_on(line, row)

    def _hand_on(self, line: Line, row: Row) -> None:
        repair, stream = self._repairs[line.symbol], line.rows.instrument.stream
        if self._put(row):
            if repair.refused and line.trades:
                count, repair.refused = repair.refused, 0
                self._say(line, "gapped", self._state(line), f"there is room again; {count} trades were lost")
            return
        line.rows.counts.received -= 1
        line.rows.counts.drop("overflow", f"{stream}: a trade was lost, the queue to the engine is full")
        if not repair.refused:
            self._say(line, self._state(line), "gapped", "the engine is too slow, trades are lost")
        repair.refused += 1

    def _state(self, line: Line) -> str:
        """A line is whole once nothing is the matter any more, whatever of it ended before."""
        refused = line.trades and self._repairs[line.symbol].refused
        return "gapped" if line.gapped or refused else "whole"

    def _say(self, line: Line, before: str, after: str, reason: str) -> None:
        self._tell(FallbackEvent(self._receipt.now_ns(), line.name, before, after, reason))

    # the watchdogs

    async def _watch_over(self, rest: Rest, tasks: asyncio.TaskGroup) -> None:
        looked_s = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_S)
            now_s, now_ns = time.monotonic(), self._receipt.now_ns()
            stall_s, looked_s = now_s - looked_s - CHECK_S, now_s
            for line in self.lines:
                line.silence.excuse(stall_s)
                if line.silence.is_silent(now_s):
                    if line.asked is None:
                        line.asked = tasks.create_task(self._ask_about(line, rest))
                elif line.delay.is_behind:
                    self._restart(line, f"{line.delay.behind_s:.1f} s behind")
                    line.delay.restarted()
                elif line.crossed.is_stuck(now_s):
                    self._restart(line, "its order book stays crossed")
                    line.crossed.restarted()
                if line.lost_s is None:
                    line.fallback.worked(FEED[0], now_ns)
                elif line.fallback.now != FEED[0] or now_s - line.lost_s >= self._settings.poll_after_s:
                    line.fallback.failed(FEED[0], now_ns, line.why, down=True)
                if (switch := line.fallback.choose(now_ns)) is not None:
                    self._tell(switch)
                    if switch.before == FEED[0]:
                        line.backoff.reset()
                        line.poll_s = now_s
                        if not line.gapped:  # it never spoke: what is polled has holes all the same
                            self._say(line, self._state(line), "gapped", switch.reason)
                            line.gapped = True
            for line in self._trades.values():
                self._look_for_gaps(line, now_s)

    async def _ask_about(self, line: Line, rest: Rest) -> None:
        """Nothing was heard: a websocket that stands still says as little as a market that does."""
        reason, heard_s = f"nothing heard for {time.monotonic() - line.silence.since_s:.1f} s", line.silence.heard_s
        is_quiet = await rest.is_quiet(line)
        line.asked = None
        if line.silence.heard_s > heard_s:
            return
        if is_quiet:
            line.silence.quiet(time.monotonic())
        else:
            line.silence.doubt()
            self._restart(line, reason)

    def _restart(self, line: Line, reason: str) -> None:
        """Connect anew: a websocket can stay open and say nothing for ever."""
        client = line.channel.client
        if client is not None:
            _disconnect(client, reason)
        self._lost(line.channel, reason)

    def _look_for_gaps(self, line: Line, now_s: float) -> None:
        trades, repair, counts = line.rows.trades, self._repairs[line.symbol], line.rows.counts
        if counts.backfilled > line.late and not line.gapped:
            count = counts.backfilled - line.late
            self._say(line, "gapped", self._state(line), f"{count} trades were told too late to be rows")
        line.late = counts.backfilled
        if not trades.missing and not trades.too_many:
            return
        settings = self._settings
        oldest_s = min(trades.missing.values(), default=now_s)
        if repair.due_s is None and oldest_s <= now_s - LATE_S and repair.asked_s <= now_s - settings.poll_s:
            repair.due_s = now_s
        # Lost is what REST did not tell either; while REST is down there is hope, for a while.
        lost = trades.give_up(max(min(now_s - settings.gap_s, repair.asked_s), now_s - 12 * settings.gap_s))
        count, trades.too_many = len(lost) + trades.too_many, 0
        if count:
            counts.missing += count
            numbers = f", number {lost[0]} to {lost[-1]}" if lost else ""
            self._say(line, "gapped", self._state(line), f"{count} trades were lost{numbers}")


def _disconnect(client: Any, reason: str) -> None:
    """As ccxt itself does when pings stay unanswered: whoever waits for the connection is told why."""
    from ccxt import NetworkError

    client.on_error(NetworkError(reason))
