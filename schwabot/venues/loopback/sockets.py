"""Keeps a websocket open and hands on what comes over it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from schwabot.venues.loopback.hub import Connection, Dress, Hub

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def listen(
    request: web.Request,
    hub: Hub,
    heard: Callable[[Connection, Any], None],
    begin: Callable[[Connection], None] | None = None,
    dress: Dress | None = None,
) -> web.StreamResponse:
    """Serve one socket until it is closed.

    Args:
        request: that asks for it.
        hub: of the channels.
        heard: called with every message, read as JSON; None where it is none.
        begin: called once it is open.
        dress: see ``Connection``.
    """
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    connection = Connection(ws, request.transport, dress)
    hub.opened(connection)
    try:
        if begin is not None:
            begin(connection)
        async for message in ws:
            if message.type != WSMsgType.TEXT:
                continue
            try:
                asked = json.loads(message.data)
            except ValueError:
                asked = None
            heard(connection, asked)
    finally:
        hub.closed(connection)
        connection.stop()
    return ws
