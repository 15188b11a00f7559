"""HTTP as uvicorn reads it, with an end: headers have a size and a time, and connections a number.

uvicorn's fast parser takes headers of any length and waits for them for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST_HEAD = 64 * 1024
HEAD_S = 10.0
MOST_CONNECTIONS = 512


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose headers are larger than 64 KiB or not there after 10 s, and those above 512."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._head_bytes = 0
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """It sent something."""
        super().data_received(data)
        if self._head_due is None:
            if self._is_idle():  # an empty line before a request stops uvicorn's clock
                self._await_head()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
            self.logger.warning("Headers of more than %d bytes.", MOST_HEAD)
            self.send_400_response("Headers too large.")

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        if self._head_due is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        self._head_arrived()
        super().on_headers_complete()

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request
        is_done = cycle is None or cycle.response_complete
        return is_done and self.timeout_keep_alive_task is None and not self.transport.is_closing()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_due = self.loop.call_later(HEAD_S, self._give_up)

    def _head_arrived(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
