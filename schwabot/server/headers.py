"""What goes out with every answer, so that a browser holds pages of ours, and of others, to their place."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)
"""For a run's report.html: its scripts run, in an origin of their own that sees neither token nor API."""
HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
ONE_YEAR_S = 31_536_000


class SecurityHeaders:
    """Adds the headers that an answer does not bring itself.

    Args:
        app: what comes behind.
        strict_transport: tell browsers to use nothing but HTTPS here for a year. Not for loopback: it would count for
            every port of localhost.
    """

    def __init__(self, app: ASGIApp, strict_transport: bool = False) -> None:
        self._app = app
        self._always = dict(HEADERS)
        if strict_transport:
            self._always["strict-transport-security"] = f"max-age={ONE_YEAR_S}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        is_api = path.startswith("/api/") or path == "/metrics"

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._always.items():
                    headers.setdefault(name, value)
                if is_api:
                    headers.setdefault("cache-control", "no-store")
                    headers.add_vary_header("Authorization")
            await send(message)

        await self._app(scope, receive, dressed)
