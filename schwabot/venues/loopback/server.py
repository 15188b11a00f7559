"""The exchange as a whole: one HTTP and websocket server on 127.0.0.1, on a loop and thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

from schwabot.errors import ConfigError, VenueError, why
from schwabot.ticks.base import Feed
from schwabot.venues.loopback.binance_public import SOCKETS, BinancePublic
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.hub import Connection, Hub
from schwabot.venues.loopback.listing import BINANCE, listings
from schwabot.venues.loopback.player import MS, Player, Row

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

    Raises:
        ConfigError: a stream that can't be listed, or a speed below 0.
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
    ) -> None:
        if not 0 <= speed < 1e6:
            raise ConfigError(f"speed={speed}: 1 = as it was, 0 = as fast as possible, at most a million")
        self.port = port
        self.hub = Hub(keep)
        self.books = [Book(one) for one in listings(feed.instruments, names)]
        self._player = Player(feed, speed, self._publish, self.hub.taken)
        self._held = held
        self._desks = [
            BinancePublic(venue, books, self.hub, self._now_ms)
            for venue in BINANCE
            if (books := {one.listing.id: one for one in self.books if one.listing.venue == venue})
        ]
        self._desk_of = {desk.venue: desk for desk in self._desks}
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

    def _now_ms(self) -> int:
        return time.time_ns() // MS

    def _publish(self, row: Row) -> None:
        book = self.books[row.stream]
        book.take(row)
        desk = self._desk_of.get(book.listing.venue)
        if desk is not None:
            desk.publish(book, row)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - who waits for the start gets it
            if not self._started.done():
                self._started.set_exception(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
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
        tasks = [asyncio.create_task(self._market()), *(asyncio.create_task(desk.run()) for desk in self._desks)]
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
        for desk in self._desks:
            desk.add_routes(app)
            app.router.add_get(f"/{SOCKETS[desk.venue]}/{{tail:.*}}", self._binance_socket(desk))
        app.router.add_get("/loopback/state", self._state)
        app.router.add_post("/loopback/play", self._begin)

    def _binance_socket(self, desk: BinancePublic) -> Any:
        async def handler(request: web.Request) -> web.StreamResponse:
            ws = web.WebSocketResponse(heartbeat=None)
            await ws.prepare(request)
            path = request.match_info["tail"].split("/")
            wraps = path[-1] == "stream"
            connection = Connection(ws, request.transport, wraps=wraps)
            self.hub.opened(connection)
            # .../ws/NAME subscribes to it; ccxt puts a number of its own there.
            names = [part for part in path[path.index("ws") + 1 :] if "@" in part] if "ws" in path else []
            names += request.query["streams"].split("/") if wraps and "streams" in request.query else []
            try:
                if (unknown := desk.subscribe(connection, names)) is not None:
                    await ws.close(code=1008, message=f"no stream {unknown}".encode())
                async for message in ws:
                    if message.type != WSMsgType.TEXT:
                        continue
                    try:
                        asked = json.loads(message.data)
                    except ValueError:
                        asked = None
                    desk.asked(connection, asked)
            finally:
                self.hub.closed(connection)
                connection.stop()
            return ws

        return handler

    async def _begin(self, _: web.Request) -> web.Response:
        self._play.set()
        return web.json_response({})

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
        }
