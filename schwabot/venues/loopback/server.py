"""The exchange as a whole: one HTTP and websocket server on 127.0.0.1, on a loop and thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from schwabot.errors import ConfigError, VenueError, why
from schwabot.records.market import MISSING_NS
from schwabot.ticks.base import Feed
from schwabot.venues.loopback import binance_routes
from schwabot.venues.loopback.binance_private import BinancePrivate
from schwabot.venues.loopback.binance_public import BinancePublic
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.coinbase import Coinbase
from schwabot.venues.loopback.coinbase_private import CoinbasePrivate
from schwabot.venues.loopback.faults import Faults
from schwabot.venues.loopback.gate import PER_MINUTE, VENUE_OF, Usage, gate
from schwabot.venues.loopback.hub import Hub
from schwabot.venues.loopback.kraken import Kraken
from schwabot.venues.loopback.kraken_private import KrakenPrivate
from schwabot.venues.loopback.listing import BINANCE, COINBASE, KRAKEN, listings
from schwabot.venues.loopback.matching import Matching
from schwabot.venues.loopback.player import MS, Player, Row
from schwabot.venues.loopback.private import SIDES, Account, Private
from schwabot.venues.loopback.stamps import OrderClock
from schwabot.venues.loopback.urls import KEY, SECRET

Desk = BinancePublic | Coinbase | Kraken
OTHERS: dict[str, type[Coinbase] | type[Kraken]] = {COINBASE: Coinbase, KRAKEN: Kraken}
HOST = "127.0.0.1"
START_S = 30.0


class LoopbackExchange:
    """An exchange on this machine, played from any feed; use it in a ``with``.

    Args:
        feed: what its market does; read once, the exchange stays up after its end with the last book.
        port: on 127.0.0.1; 0 = a free one, see ``port``.
        speed: 1 = as it was, 0 = as fast as those who listen take it.
        names: stream of the feed -> stream it goes by here, ``venue:symbol``.
        held: the market begins with ``play()`` instead of at once.
        keep: messages of each channel to keep for ``state()``.
        deposits: what the account of each venue that has one begins with, by asset, e.g. ``{"USDT": "10000"}``; None
            = nobody can trade, and the simulator isn't compiled.
        keys: API key and secret of the account.
        weight_per_minute: limit of each of Binance's markets, and points of Kraken's call counter; None = the real
            ones.
        faults: to begin with, see ``faults.Fault``.

    Raises:
        ConfigError: a stream that can't be listed, a deposit that is no number, no such fault, or a speed below 0.
        VenueError: on entering: the port is taken.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> with LoopbackExchange(SyntheticFeed(SyntheticConfig(events=100))) as exchange:
        ...     exchange.port > 0
        True
    """

    def __init__(
        self,
        feed: Feed,
        port: int = 0,
        *,
        speed: float = 1.0,
        names: dict[str, str] | None = None,
        held: bool = False,
        keep: int = 0,
        deposits: Mapping[str, str] | None = None,
        keys: tuple[str, str] = (KEY, SECRET),
        weight_per_minute: int | None = None,
        faults: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        if not 0 <= speed < 1e6:
            raise ConfigError(f"speed={speed}: 1 = as it was, 0 = as fast as possible, at most a million")
        self.port = port
        self.faults = Faults()
        for one in faults:
            self.faults.add(one)
        self.hub = Hub(self.faults, keep)
        self.books = [Book(one) for one in listings(feed.instruments, names)]
        self._player = Player(feed, speed, self._publish, self.hub.taken)
        self._held = held
        self._desks: dict[str, Desk] = {}
        for venue in dict.fromkeys(one.listing.venue for one in self.books):
            there = {one.listing.id: one for one in self.books if one.listing.venue == venue}
            clock = self._clock(venue)
            kind = OTHERS.get(venue)
            self._desks[venue] = kind(there, self.hub, clock) if kind else BinancePublic(venue, there, self.hub, clock)
        self._order_clocks = {venue: OrderClock() for venue in self._desks}
        self._accounts: dict[str, Account] = {}
        if deposits is not None:
            paid_in = _decimals(deposits)
            matching = Matching(self.books)
            self._accounts = {
                venue: SIDES[venue](
                    venue,
                    desk.books,
                    self.hub,
                    matching,
                    self.faults,
                    keys,
                    paid_in,
                    self._clock(venue),
                    time.time_ns,
                    self._order_clock(venue),
                )
                for venue, desk in self._desks.items()
                if venue in SIDES
            }
            for venue, desk in self._desks.items():
                if isinstance(desk, Coinbase) and isinstance(account := self._accounts[venue], CoinbasePrivate):
                    desk.user = account.subscribe  # one socket for both sides
        if weight_per_minute is not None and isinstance(kraken := self._accounts.get(KRAKEN), KrakenPrivate):
            kraken.calls.most = weight_per_minute
        self._usage = {
            venue: Usage(venue, PER_MINUTE[venue] if weight_per_minute is None else weight_per_minute)
            for venue in BINANCE
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loopback exchange", daemon=True)
        self._started: Future[int] = Future()
        self._play = asyncio.Event()
        self._stop = asyncio.Event()
        self.error: BaseException | None = None

    @property
    def streams(self) -> list[str]:
        """What it lists, as ``venue:symbol``."""
        return [book.listing.instrument.stream for book in self.books]

    @property
    def ended(self) -> bool:
        """Whether the feed is at its end, or broke; then ``error`` says how."""
        return self._player.ended or self.error is not None

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._started.result(START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)

    def play(self) -> None:
        """Begin the market that was held."""
        self._loop.call_soon_threadsafe(self._play.set)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the exchange's loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def _clock(self, venue: str) -> Callable[[], int]:
        return lambda: time.time_ns() // MS + self.faults.skew_ms(venue)

    def _order_clock(self, venue: str) -> Callable[[], int]:
        return lambda: self._order_clocks[venue].now_ms(time.time_ns(), self.faults.skew_ms(venue))

    def _publish(self, row: Row) -> None:
        book = self.books[row.stream]
        venue = book.listing.venue
        self._order_clocks[venue].learn(row)
        if skew_ms := self.faults.skew_ms(venue):
            event, emit = (one if one == MISSING_NS else one + skew_ms * MS for one in (row.event_ns, row.emit_ns))
            row = row._replace(event_ns=event, emit_ns=emit)
        book.take(row)
        self._desks[venue].publish(book, row)
        if (account := self._accounts.get(venue)) is not None:
            account.trading.met(row.stream, row)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - who waits for the start gets it
            if not self._started.done():
                self._started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[gate(self.faults, self._usage, self._others())])
        self._add_routes(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, HOST, self.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise VenueError(
                f"port {self.port} of {HOST} can't be had ({error.strerror or error}): choose another, 0 = a free one"
            ) from None
        if not self._held:
            self._play.set()
        tasks = [
            asyncio.create_task(self._market()),
            *(asyncio.create_task(desk.run()) for desk in self._desks.values()),
        ]
        self._started.set_result(runner.addresses[0][1])
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.hub.close()
        await runner.cleanup()

    async def _market(self) -> None:
        await self._play.wait()
        try:
            await self._player.run()
        except Exception as error:  # noqa: BLE001 - a feed may fail in any way; the exchange stays up and says so
            self.error = error

    def _add_routes(self, app: web.Application) -> None:
        for other in self._others().values():
            other.add_routes(app)
        for venue, desk in self._desks.items():
            if isinstance(desk, BinancePublic):
                account = self._accounts.get(venue)
                binance_routes.add_routes(app, self.hub, desk, account if isinstance(account, BinancePrivate) else None)
            else:
                desk.add_routes(app)
        app.router.add_get("/loopback/state", self._state)
        app.router.add_post("/loopback/play", self._begin)
        app.router.add_get("/loopback/faults", self._list_faults)
        app.router.add_post("/loopback/faults", self._add_faults)
        app.router.add_delete("/loopback/faults", self._remove_faults)
        app.router.add_delete("/loopback/faults/{number:[0-9]+}", self._remove_faults)
        app.router.add_route("*", "/{tail:.*}", self._nobody)

    def _others(self) -> dict[str, Private]:
        """Accounts of other venues than Binance."""
        return {venue: one for venue, one in self._accounts.items() if not isinstance(one, BinancePrivate)}

    async def _nobody(self, request: web.Request) -> web.Response:
        venue = VENUE_OF.get(request.path.split("/")[1])
        if venue is None or venue in self._desks:
            return web.json_response({"error": f"{request.path}: nothing is here"}, status=404)
        said = f"this loopback exchange lists {', '.join(self.streams)} and nothing of {venue}: start it with more"
        return web.json_response({"error": f"{said} --streams, or with --name STREAM={venue}:SYMBOL"}, status=404)

    async def _begin(self, _: web.Request) -> web.Response:
        self._play.set()
        return web.json_response({})

    async def _list_faults(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": self.faults.listed(), "happened": self.faults.happened})

    async def _add_faults(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            numbers = [self.faults.add(one) for one in (asked if isinstance(asked, list) else [asked])]
        except (ValueError, AttributeError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"numbers": numbers})

    async def _remove_faults(self, request: web.Request) -> web.Response:
        number = request.match_info.get("number")
        self.faults.remove(None if number is None else int(number))
        return web.json_response({})

    def fault(self, kind: str, **settings: Any) -> int:
        """Ask for a fault, see ``faults.Fault``; its number."""

        async def add() -> int:
            return self.faults.add({"kind": kind, **settings})

        number: int = self.call(add())
        return number

    def heal(self) -> None:
        """Take all faults away."""

        async def remove() -> None:
            self.faults.remove()

        self.call(remove())

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response(self._truth())

    def state(self) -> dict[str, Any]:
        """What is true, for tests: see docs/loopback.md."""

        async def ask() -> dict[str, Any]:
            return self._truth()

        said: dict[str, Any] = self.call(ask())
        return said

    def _truth(self) -> dict[str, Any]:
        return {
            "streams": self.streams,
            "rows": self._player.rows,
            "ended": self.ended,
            "error": None if self.error is None else why(self.error),
            "books": {
                book.listing.instrument.stream: {
                    "update_id": book.update_id,
                    "trade_id": book.trade_id,
                    "bid_ticks": book.bid,
                    "ask_ticks": book.ask,
                    "bid_lots": book.bid_lots,
                    "ask_lots": book.ask_lots,
                }
                for book in self.books
            },
            "channels": {
                f"{one.venue}:{one.name}": {
                    "listeners": len(one.listeners),
                    "sent": one.sent,
                    "last_id": one.last_id,
                    "kept": list(one.kept),
                }
                for one in self.hub.channels.values()
                if one.sent or one.listeners
            },
            "faults": {"on": self.faults.listed(), "happened": self.faults.happened},
            "accounts": {venue: account.truth() for venue, account in self._accounts.items()},
        }


def _decimals(deposits: Mapping[str, str]) -> dict[str, Decimal]:
    try:
        amounts = {asset: Decimal(str(amount)) for asset, amount in deposits.items()}
    except InvalidOperation:
        raise ConfigError(f"deposits {dict(deposits)}: amounts are numbers, e.g. USDT=10000") from None
    if not all(one.is_finite() and one >= 0 for one in amounts.values()):
        raise ConfigError(f"deposits {dict(deposits)}: amounts are finite and not negative")
    return amounts
