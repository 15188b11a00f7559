"""Where Binance's requests and sockets come in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from schwabot.ticks.binance_messages import SPOT
from schwabot.venues.loopback.binance_private import BinanceError, BinancePrivate
from schwabot.venues.loopback.binance_public import SOCKETS, BinancePublic, answered, refused
from schwabot.venues.loopback.binance_words import PREFIX
from schwabot.venues.loopback.hub import Connection, Hub
from schwabot.venues.loopback.sockets import Handler, listen

API_METHODS = {
    "order.place": ("POST", "order"),
    "order.test": ("POST", "order/test"),
    "order.cancel": ("DELETE", "order"),
    "order.status": ("GET", "order"),
    "openOrders.status": ("GET", "openOrders"),
    "openOrders.cancelAll": ("DELETE", "openOrders"),
    "allOrders": ("GET", "allOrders"),
    "myTrades": ("GET", "myTrades"),
    "account.status": ("GET", "account"),
}
"""Methods of spot's websocket API, and the requests they stand for."""


def add_routes(app: web.Application, hub: Hub, public: BinancePublic, private: BinancePrivate | None) -> None:
    """All of one market.

    Args:
        app: to add them to.
        hub: of the channels.
        public: its public side.
        private: its private side, where there is an account.
    """
    public.add_routes(app)
    app.router.add_get(f"/{SOCKETS[public.venue]}/{{tail:.*}}", _socket(hub, public, private))
    if private is not None:
        at = PREFIX[public.venue] + "/{version:v[1-3]}"
        for (method, path), call in private.calls.items():
            app.router.add_route(method, f"{at}/{path}", _signed(private, call))
        if public.venue == SPOT:
            app.router.add_get("/ws-api/v3", _api_socket(hub, private))
        else:
            app.router.add_route("*", f"{at}/listenKey", _listen_key(private))
    app.router.add_route("*", PREFIX[public.venue] + "/{tail:.*}", _nothing(private is None))


def _nothing(has_no_account: bool) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        if has_no_account and request.headers.get("X-MBX-APIKEY"):
            return refused(-2015, "The loopback exchange was started without an account.", 401)
        return refused(-1000, f"The loopback exchange does not speak {request.method} {request.path}.", 404)

    return handler


def _signed(private: BinancePrivate, call: Callable[[Mapping[str, str]], Any]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        raw = request.rel_url.raw_query_string + (await request.text())
        try:
            return answered(call(private.signed(raw, request.headers.get("X-MBX-APIKEY"))))
        except BinanceError as error:
            return refused(error.code, error.text, error.status)
        except ValueError as error:
            return refused(-1100, f"Illegal characters found in a parameter: {error}")

    return handler


def _listen_key(private: BinancePrivate) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            private.check_key(request.headers.get("X-MBX-APIKEY"))
        except BinanceError as error:
            return refused(error.code, error.text, error.status)
        if request.method == "DELETE":
            private.listen_keys.clear()
            return answered({})
        if request.method == "PUT" and not private.listen_keys:
            return refused(-1125, "This listenKey does not exist.")
        return answered({"listenKey": private.listen_key()} if request.method == "POST" else {})

    return handler


def _socket(hub: Hub, public: BinancePublic, private: BinancePrivate | None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        path = request.match_info["tail"].split("/")
        wraps = path[-1] == "stream"
        # .../ws/NAME subscribes to it, or is the user's stream by its key; ccxt puts a number of its own there.
        after = path[path.index("ws") + 1 :] if "ws" in path else []
        names = [part for part in after if "@" in part]
        names += request.query["streams"].split("/") if wraps and "streams" in request.query else []
        keys = {request.query.get("listenKey"), *after}

        def begin(connection: Connection) -> None:
            if private is not None and keys & private.listen_keys:
                hub.listen(connection, private.user)
            if (unknown := public.subscribe(connection, names)) is not None:
                connection.send(json.dumps({"error": {"code": 2, "msg": f"Invalid request: no stream {unknown}"}}))

        return await listen(request, hub, public.asked, begin, _wrapped if wraps else None)

    return handler


def _wrapped(name: str, text: str) -> str:
    return f'{{"stream":"{name}","data":{text}}}'


def _api_socket(hub: Hub, private: BinancePrivate) -> Handler:
    def heard(connection: Connection, asked: Any) -> None:
        said: dict[str, Any] = {"id": asked.get("id") if isinstance(asked, dict) else None, "status": 200}
        try:
            if not isinstance(asked, dict):
                raise BinanceError(-1135, "Invalid JSON Request")
            method = asked.get("method")
            if method == "userDataStream.subscribe.signature":
                private.signed_message(asked.get("params") or {})
                hub.listen(connection, private.user)
                said["result"] = {"subscriptionId": 0}
            elif method in API_METHODS:
                given = private.signed_message(asked.get("params") or {})
                said["result"] = private.calls[API_METHODS[method]](given)
            else:
                raise BinanceError(-1000, f"The loopback exchange does not speak {method}.")
        except BinanceError as error:
            said |= {"status": error.status, "error": {"code": error.code, "msg": error.text}}
        except ValueError as error:
            said |= {"status": 400, "error": {"code": -1100, "msg": f"Illegal characters in a parameter: {error}"}}
        connection.send(json.dumps(said))

    async def handler(request: web.Request) -> web.StreamResponse:
        return await listen(request, hub, heard)

    return handler
