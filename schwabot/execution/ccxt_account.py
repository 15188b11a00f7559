"""An account at one venue, through ccxt: orders, fills and holdings as whole lots, ticks and exact decimals.

ccxt is imported when an account is made. Errors carry no address and no key: addresses of signed requests hold both.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

from schwabot.errors import VenueError
from schwabot.execution.base_fees import step
from schwabot.execution.order_tracker import CANCELED, CLOSED, EXPIRED, OPEN, REJECTED, OrderSeen, TradeSeen
from schwabot.execution.risk import VenueLimits
from schwabot.execution.trouble import Fate, Trouble, patiently
from schwabot.execution.venue_rules import rules_of
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Request
from schwabot.secrets import learn, scrub

MS = 1_000_000
_STATUS = {"open": OPEN, "canceling": OPEN, "closed": CLOSED, "canceled": CANCELED, "expired": EXPIRED,
           "expired_in_match": EXPIRED, "rejected": REJECTED}  # fmt: skip
_PAGE = 500
_WINDOW_MS = 6 * 86_400_000
_DEFAULT_WAIT_S, _MOST_WAIT_S = 5.0, 600.0
_REMEMBERED = 1_000
_APART_S = 60.0


class CcxtAccount:
    """One venue's account; every coroutine belongs to one event loop.

    Args:
        venue: ccxt's id.
        instruments: that may be traded there.
        options: for ccxt's constructor: keys, addresses.
        recv_window_ms: a signed request is void after this long, or what the venue has for it, see ``VenueRules``.
        timeout_s: of one request.

    Raises:
        VenueError: ccxt has no such venue, or no orders go there.
    """

    def __init__(
        self, venue: str, instruments: Sequence[Instrument], options: Mapping[str, Any], recv_window_ms: int = 3_000,
        timeout_s: float = 5.0,
    ) -> None:  # fmt: skip
        import ccxt
        import ccxt.pro

        if not hasattr(ccxt.pro, venue):
            raise VenueError(f"ccxt has no websocket venue {venue}")
        self.venue, self.rules = venue, rules_of(venue)
        self.window_ms = self.rules.window(recv_window_ms)
        """A request can't arrive any more this long after it left."""
        self.instruments = {one.stream: one for one in instruments}
        self._ccxt = ccxt
        inner = {"adjustForTimeDifference": self.rules.stamped, "recvWindow": recv_window_ms}
        inner |= options.get("options", {})
        # ccxt's own throttle would let orders and cancels wait behind what is asked for in the background. How many
        # orders leave is the risk gate's to say, and a venue's 429 is heeded.
        given = {"enableRateLimit": False, "timeout": int(timeout_s * 1e3), **options, "options": inner}
        for name in ("apiKey", "secret", "password", "uid"):
            if given.get(name):
                learn(str(given[name]))
        self._exchange: Any = getattr(ccxt.pro, venue)(given)
        self.rules.prepare(self._exchange, recv_window_ms)
        self.entry_ticks: dict[str, float] = {}
        """Average prices of the positions in contracts, by stream, as of the last ``holdings``; 0 = not told."""
        self.rounding: dict[str, Decimal] = {}
        """By how much a fill may move a currency beside what it says, where the venue rounds its bookings."""
        self._by_symbol = {one.symbol: one for one in instruments}
        self._by_order: dict[str, Instrument] = {}
        self._clock = 0, 0.0  # what the venue's said, and when, by one of ours that nobody sets
        self._until_s = 0.0

    @property
    def wait_s(self) -> float:
        """How much longer the venue wants to be left alone."""
        return max(self._until_s - time.monotonic(), 0.0)

    def at_venue(self, ts_ns: int) -> int:
        """A time of our clock by the venue's, as far apart as they were when they were compared last."""
        return ts_ns - self._ahead_ms() * MS

    async def connect(self) -> dict[str, VenueLimits]:
        """Load the markets and set the clock; the venue's filters by stream.

        Raises:
            VenueError: it can't be reached, or does not list a stream.
        """
        await self._ask(self._exchange.load_markets)
        if not self.rules.stamped:
            await self._ask(self._compare_clocks)
        if abs(ahead_s := self._ahead_ms() / 1e3) > _APART_S:
            raise VenueError(
                f"{self.venue}: this machine's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"
                " the venue's; set it, and start again"
            )
        limits = {}
        for stream, one in self.instruments.items():
            market = self._exchange.markets.get(one.symbol)
            if market is None:
                raise VenueError(f"{self.venue} does not list {one.symbol}")
            limits[stream] = self._limits(one, market["limits"], market.get("info") or {})
            if self.rules.rounds:
                for name in (one.base, one.quote):  # what is traded, and its fee
                    places = (self._exchange.currencies.get(name) or {}).get("precision")
                    self.rounding[name] = 2 * step(places or 0.0)
        return limits

    async def close(self) -> None:
        """Close all connections."""
        with suppress(Exception):
            await self._exchange.close()

    async def place(self, request: Request, lots: int) -> tuple[OrderSeen, list[TradeSeen]]:
        """Send an order: immediate or cancel for a take, post-only for everything else.

        Raises:
            Trouble: it was not placed, or nobody knows.
        """
        one = self.instruments[request.stream]
        if len(request.client_id) > self.rules.id_chars:
            raise Trouble(Fate.REFUSED, f"{self.venue} takes client ids of {self.rules.id_chars} characters at most")
        takes = request.action is Action.TAKE
        how = self.rules.how(takes, self._venue_ms() + self.window_ms)
        side, amount = "buy" if request.side > 0 else "sell", float(step(one.lot_size) * lots)
        price = float(step(one.tick_size) * request.price_ticks)
        answer = await self._ask(
            self._exchange.create_order, one.symbol, "limit", side, amount, price,
            {self.rules.client_id: request.client_id, **how}, tries=1,
        )  # fmt: skip
        seen = self._order(one, answer)
        if not seen.venue_id:
            raise Trouble(Fate.LOST, f"{self.venue}: the answer to {request.client_id} names no order")
        if not seen.client_id:
            seen = seen._replace(client_id=request.client_id)
        trades = [
            self._trade(
                one, {"timestamp": answer.get("timestamp"), **_given(each), "order": seen.venue_id}, taker=takes
            )
            for each in answer.get("trades") or []
            if each.get("id") and each.get("fee") and (takes or each.get("takerOrMaker"))
        ]
        return seen._replace(status=seen.status or (OPEN if self.rules.accepts else "")), trades

    async def cancel(self, request: Request, venue_id: str | None) -> OrderSeen:
        """Cancel an order, also while the venue wants to be left alone.

        Raises:
            Trouble: it was not cancelled, is not there, or nobody knows.
        """
        one = self.instruments[request.stream]
        params = {} if venue_id else {"clientOrderId": request.client_id}
        answer = await self._ask(self._exchange.cancel_order, venue_id or "", one.symbol, params, at_once=True)
        return self._order(one, answer)._replace(client_id=request.client_id)

    async def order(self, request: Request, venue_id: str | None) -> OrderSeen:
        """What the venue knows of an order.

        Raises:
            Trouble: it does not know it, or can't be asked.
        """
        one = self.instruments[request.stream]
        params = {} if venue_id else {"clientOrderId": request.client_id}
        if venue_id or not self.rules.lists:
            return self._order(one, await self._ask(self._exchange.fetch_order, venue_id or "", one.symbol, params))
        since_ms, params = self.rules.sought(request.client_id, self.at_venue(request.ts_ns) // MS)
        for name in self.rules.lists:  # an order moves from one list to the next, never back
            for each in await self._listed(name, one, since_ms, params):
                if (seen := self._order(one, each)).client_id == request.client_id:
                    return seen
        raise Trouble(Fate.ABSENT, f"{self.venue}: no order goes by {request.client_id}")

    async def open_orders(self, stream: str, *, at_once: bool = False) -> list[OrderSeen]:
        """All open orders of a stream, ours and others'.

        Args:
            stream: of the orders.
            at_once: also while the venue wants to be left alone.

        Raises:
            Trouble: the venue can't be asked.
        """
        one = self.instruments[stream]
        return [self._order(one, each) for each in await self._listed("fetch_open_orders", one, at_once=at_once)]

    async def trades(self, stream: str, since_ns: int) -> list[TradeSeen]:
        """All fills of the account in a stream since then, by the venue's clock, oldest first.

        Raises:
            Trouble: the venue can't be asked.
        """
        one, since_ms = self.instruments[stream], since_ns // MS
        if self.rules.offset:
            return await self.trades_of([stream], since_ns)
        if self.rules.cursor:
            rows = map(self.rules.trade, await self._listed("fetch_my_trades", one, since_ms))
            return sorted((self._trade(one, each) for each in rows if each is not None), key=_when)
        found: dict[str, TradeSeen] = {}
        while True:
            page = await self._ask(self._exchange.fetch_my_trades, one.symbol, since_ms, _PAGE)
            new = [trade for each in page if (trade := self._trade(one, each)).trade_id not in found]
            found |= {trade.trade_id: trade for trade in new}
            if new and len(page) >= _PAGE:
                since_ms = max(trade.ts_event_ns // MS for trade in new)
            elif since_ms + _WINDOW_MS < self._exchange.milliseconds():  # venues answer for some days at once
                since_ms += _WINDOW_MS
            else:
                return list(found.values())

    async def trades_of(self, streams: Sequence[str], since_ns: int) -> list[TradeSeen]:
        """The same of several streams, with one question where a venue lists them together.

        Raises:
            Trouble: the venue can't be asked.
        """
        if not self.rules.offset:
            return [trade for stream in streams for trade in await self.trades(stream, since_ns)]
        ones = {one.symbol: one for one in map(self.instruments.__getitem__, streams)}
        rows = await self._rows_by_offset(since_ns // MS)
        mine = sorted((self._trade(ones[each["symbol"]], each) for each in rows if each["symbol"] in ones), key=_when)
        return list({(trade.stream, trade.trade_id): trade for trade in mine}.values())

    async def _rows_by_offset(self, since_ms: int) -> list[Mapping[str, Any]]:
        """Pages begin with the newest, and are of all symbols: only so is one seen to be the last."""
        rows: list[Mapping[str, Any]] = []
        more = True
        while more:
            ask = partial(self._ask, self._exchange.fetch_my_trades, None, since_ms, None, {"ofs": len(rows)})
            page = await patiently(ask)  # a page that fails does not cost those before it
            rows += page
            more = len(page) >= self.rules.offset
        return rows

    async def _listed(
        self, name: str, one: Instrument, since_ms: int | None = None, params: Mapping[str, Any] | None = None, *,
        at_once: bool = False,
    ) -> list[Mapping[str, Any]]:  # fmt: skip
        """One of ccxt's lists: all pages of it where each names the next."""
        call, rows, cursor = getattr(self._exchange, name), list[Mapping[str, Any]](), ""
        while True:
            following: list[str] = []
            given = {**(params or {}), **({"cursor": cursor} if cursor else {})}
            given |= {"next": following} if self.rules.cursor else {}
            ask = partial(self._ask, call, one.symbol, since_ms, self.rules.cursor or None, given, at_once=at_once)
            rows += await (patiently(ask) if cursor else ask())  # a page that fails does not cost those before it
            if not following or following[0] in ("", cursor):
                return rows
            cursor = following[0]

    async def holdings(self) -> dict[str, Decimal]:
        """Balances by currency on spot, positions in units of quantity by stream of contracts.

        Raises:
            Trouble: the venue can't be asked.
        """
        if not self.rules.stamped:
            self._heed()
            await self._set_clock()
        held: dict[str, Decimal] = {}
        spot = [one for one in self.instruments.values() if one.is_spot]
        contracts = [one for one in self.instruments.values() if not one.is_spot]
        if spot:
            totals = (await self._ask(self._exchange.fetch_balance)).get("total") or {}
            for currency in sorted({name for one in spot for name in (one.base, one.quote)}):
                held[currency] = _exact(totals.get(currency) or 0)
        if contracts:
            held |= {one.stream: Decimal(0) for one in contracts}
            for each in await self._ask(self._exchange.fetch_positions, [one.symbol for one in contracts]):
                amount = abs(_exact(each.get("contracts") or 0))
                one = self._by_symbol[each["symbol"]]
                held[one.stream] += -amount if each.get("side") == "short" else amount
                self.entry_ticks[one.stream] = float(each.get("entryPrice") or 0.0) / one.tick_size
        return held

    async def watch(
        self, on_order: Callable[[OrderSeen], None], on_trade: Callable[[TradeSeen], None],
        on_line: Callable[[bool], None],
    ) -> None:  # fmt: skip
        """Listen to the account's stream for ever; what it misses is asked for elsewhere.

        Args:
            on_order: told of each order.
            on_trade: told of each fill.
            on_line: told whether the stream is up; after it was down something may have been missed.
        """
        has = self._exchange.has
        loops = []
        if has.get("watchOrders"):
            loops.append(
                self._listen(self._exchange.watch_orders, lambda each: self._told_order(each, on_order), on_line)
            )
        if has.get("watchMyTrades"):
            loops.append(
                self._listen(self._exchange.watch_my_trades, lambda each: self._told_trade(each, on_trade), on_line)
            )
        await asyncio.gather(*loops)

    async def _listen(
        self, ask: Callable[[], Any], tell: Callable[[Any], None], on_line: Callable[[bool], None]
    ) -> None:
        failures = 0
        while True:
            try:
                for each in list(await ask()):
                    tell(each)
                failures = 0
                on_line(True)
            except VenueError:
                raise
            except Exception as error:  # noqa: BLE001 - ccxt fails in any way when a socket closes at the wrong moment
                on_line(False)
                self._learnt(error)
                failures += 1
                await asyncio.sleep(max(min(0.1 * 2**failures, 10.0) * random.uniform(0.5, 1.0), self.wait_s))  # nosec

    def _told_order(self, each: Mapping[str, Any], tell: Callable[[OrderSeen], None]) -> None:
        # Numbers of orders may be those of a symbol: they say whose it is only where the message names none.
        symbol = each["symbol"]
        one = self._by_symbol.get(symbol) if symbol else self._by_order.get(str(each.get("id")))
        if one is None:
            return
        try:
            seen = self._order(one, each)
        except VenueError:  # no whole lots: somebody else's, sized in quote; of ours, asking would say the same
            return
        tell(seen)

    def _told_trade(self, each: Mapping[str, Any], tell: Callable[[TradeSeen], None]) -> None:
        if (one := self._by_symbol.get(each["symbol"])) and (known := self.rules.trade(each)) is not None:
            tell(self._trade(one, known))

    def _heed(self) -> None:
        """Refuse to ask a venue that wants to be left alone: a ban gets longer by it."""
        if wait_s := self.wait_s:
            raise Trouble(Fate.THROTTLED, f"{self.venue} wants no requests for {wait_s:.1f} s more", wait_s)

    async def _ask(self, call: Callable[..., Any], *given: Any, tries: int | None = None, at_once: bool = False) -> Any:
        if not at_once:
            self._heed()
        left = self.rules.tries if tries is None else tries
        while True:
            left -= 1
            try:
                return await call(*given)
            except self._ccxt.BaseError as error:
                if re.search(self.rules.clock, _words(error)):
                    await self._set_clock()
                if not (left and isinstance(error, self._ccxt.InvalidNonce)):
                    raise self._learnt(error) from None
            except Exception as error:  # noqa: BLE001 - ccxt fails in any way where an answer is not as it expects
                raise Trouble(Fate.LOST, f"{self.venue}: {type(error).__name__}") from None

    async def _set_clock(self) -> None:
        """Learn anew how far the venue's clock is from ours; the next such error tries again."""
        with suppress(self._ccxt.BaseError):
            await self._compare_clocks()

    async def _compare_clocks(self) -> None:
        if self.rules.stamped:
            if self._exchange.has.get("fetchTime"):
                await self._exchange.load_time_difference()
            return
        said_ms = await self._exchange.fetch_time()  # rounded down, and some time ago: it is later there than this says
        self._clock = said_ms, time.monotonic()

    def _ahead_ms(self) -> int:
        """How far our clock is ahead of the venue's."""
        return int(self._exchange.milliseconds()) - self._venue_ms()

    def _venue_ms(self) -> int:
        if self.rules.stamped:
            return int(self._exchange.milliseconds() - (self._exchange.options.get("timeDifference") or 0))
        said_ms, at_s = self._clock
        return said_ms + int((time.monotonic() - at_s) * 1e3)

    def _learnt(self, error: Exception) -> Trouble:
        """What an error means; a venue that wants to be left alone is, from now on."""
        trouble = self._trouble(error)
        self._until_s = max(self._until_s, time.monotonic() + trouble.wait_s)
        return trouble

    def _trouble(self, error: Exception) -> Trouble:
        ccxt, said = self._ccxt, _words(error)
        what = f"{self.venue}: {_clean(said)}"
        if re.search(self.rules.absent, said):
            return Trouble(Fate.ABSENT, what)
        for pattern, wait_s in self.rules.throttled:
            if re.search(pattern, said):
                return Trouble(Fate.THROTTLED, what, wait_s)
        if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
            sure = isinstance(error, ccxt.RateLimitExceeded) or re.match(rf"{self.venue} (418|429) ", str(error))
            return Trouble(Fate.THROTTLED if sure else Fate.LOST, what, self._wait_s())
        if re.search("duplicat", said, re.IGNORECASE):  # it is there
            return Trouble(Fate.LOST, what)
        if isinstance(error, ccxt.InvalidNonce) or (self.rules.refused and re.search(self.rules.refused, said)):
            return Trouble(Fate.REFUSED, what)
        # Of an error that ccxt knows by no better name than this nobody knows whether the order was taken.
        known = isinstance(error, ccxt.ExchangeError) and type(error) is not ccxt.ExchangeError
        return Trouble(Fate.REFUSED if known else Fate.LOST, what)

    def _wait_s(self) -> float:
        headers = {str(k).lower(): v for k, v in (self._exchange.last_response_headers or {}).items()}
        try:
            return min(float(headers.get("retry-after", _DEFAULT_WAIT_S)), _MOST_WAIT_S)
        except ValueError:
            return _DEFAULT_WAIT_S

    def _limits(self, one: Instrument, limits: Mapping[str, Any], info: Mapping[str, Any]) -> VenueLimits:
        amount, cost = limits.get("amount") or {}, limits.get("cost") or {}
        lot = step(one.lot_size)
        least, most = amount.get("min"), amount.get("max")
        open_orders = next(
            (int(each["maxNumOrders"]) for each in info.get("filters") or [] if each.get("maxNumOrders")), 0
        )
        return VenueLimits(
            min_lots=-int(-_exact(least) // lot) if least else 0,
            max_lots=int(_exact(most) // lot) if most else 0,
            min_notional=float(cost.get("min") or 0.0),
            max_open_orders=open_orders,
        )

    def _order(self, one: Instrument, each: Mapping[str, Any]) -> OrderSeen:
        each = self.rules.order(each)
        if each.get("id"):
            self._by_order[str(each["id"])] = one
            while len(self._by_order) > _REMEMBERED:
                del self._by_order[next(iter(self._by_order))]
        ms = each.get("lastUpdateTimestamp") or each.get("lastTradeTimestamp") or each.get("timestamp") or 0
        return OrderSeen(
            stream=one.stream,
            client_id=each.get("clientOrderId") or "",
            venue_id=str(each.get("id") or ""),
            status=_STATUS.get(each.get("status") or "", ""),
            lots=self._count(one, each.get("amount") or 0, one.lot_size, "quantity"),
            filled_lots=self._count(one, each.get("filled") or 0, one.lot_size, "quantity"),
            ts_event_ns=int(ms) * MS,
            what=each.get("why") or "",
        )

    def _trade(self, one: Instrument, each: Mapping[str, Any], *, taker: bool = False) -> TradeSeen:
        fee = each.get("fee") or {}
        return TradeSeen(
            stream=one.stream,
            venue_id=str(each["order"]),
            trade_id=str(each["id"]),
            lots=self._count(one, each["amount"], one.lot_size, "quantity"),
            price_ticks=self._count(one, each["price"], one.tick_size, "price"),
            maker=each.get("takerOrMaker") == "maker" and not taker,
            fee=_exact(fee.get("cost") or 0),
            fee_currency=fee.get("currency") or "",
            ts_event_ns=int(each.get("timestamp") or 0) * MS,
        )

    def _count(self, one: Instrument, amount: Any, size: float, what: str) -> int:
        count = _exact(amount) / step(size)
        if count != int(count):
            raise VenueError(f"{one.stream}: {what} {amount} is no whole number of {size:g}")
        return int(count)


def _when(trade: TradeSeen) -> int:
    return trade.ts_event_ns


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _clean(said: str) -> str:
    return re.sub(r"\?\S+", "", scrub(said))[:300]


def _given(each: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in each.items() if value is not None}


def _exact(number: Any) -> Decimal:
    return Decimal(str(number))
