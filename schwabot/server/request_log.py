"""One line for each request, without what it carried: time, peer, who, method, path, status, milliseconds."""

from __future__ import annotations

import logging
import time
from urllib.parse import parse_qsl, quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schwabot.secrets import scrub

LONGEST = 200
_log = logging.getLogger("schwabot.server.requests")


class RequestLog:
    """Writes the line when the answer is complete; refused requests too.

    Args:
        app: what comes behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not _log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        status, begun_s = 0, time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            who = scope.get("state", {}).get("identity")
            line = {
                "peer": scope["client"][0] if scope.get("client") else "-",
                "who": "-" if who is None else who.name,
                "method": scope["method"],
                "path": scrub(shown_path(scope["path"], scope["query_string"])),
                "status": status,
                "ms": round((time.perf_counter() - begun_s) * 1e3, 1),
            }
            _log.info("%(peer)s %(who)s %(method)s %(path)s %(status)s %(ms)s ms", line, extra={"request": line})


def shown_path(path: str, query: bytes) -> str:
    r"""The path in plain characters, and the names of what was asked without the values: they may be secrets.

    Example:
        >>> shown_path("/api/v1/runs/a b\nforged", b"limit=5&ticket=abc")
        '/api/v1/runs/a%20b%0Aforged?limit&ticket'
    """
    names = [quote(name[:40]) for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)[:10]]
    return quote(path[:LONGEST], safe="/:@-._~") + (f"?{'&'.join(names)}" if names else "")
