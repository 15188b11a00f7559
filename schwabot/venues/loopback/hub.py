"""Channels, and the sockets that listen to them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, web

from schwabot.venues.loopback.faults import Faults

MOST_WAITING = 50_000
"""Messages that may wait for one socket; who is slower than that is disconnected, as real exchanges do."""
FEW_WAITING = 256
Dress = Callable[[str, str], str]


class Connection:
    """One websocket. What is sent goes out in order, by one task, so that nobody waits for a slow reader.

    Args:
        ws: the socket, prepared.
        transport: what it goes over.
        dress: makes of a channel's name and message what goes out, e.g. gives it a number; None = the message.
    """

    def __init__(
        self, ws: web.WebSocketResponse, transport: asyncio.Transport | None, dress: Dress | None = None
    ) -> None:
        self.ws = ws
        self.dress = dress
        self._transport = transport
        self.names: set[str] = set()
        self._waiting: deque[str] = deque()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """Messages that were not handed to the socket yet."""
        return len(self._waiting)

    def send(self, text: str) -> None:
        """Put a message at the end of what waits."""
        self._waiting.append(text)
        self._wake.set()
        if len(self._waiting) > MOST_WAITING:
            self.drop()

    def drop(self) -> None:
        """Cut the connection, as a network does: without a word, and what waits is lost."""
        self.stop()
        if self._transport is not None:
            self._transport.abort()

    def stop(self) -> None:
        """Send nothing any more."""
        self._waiting.clear()
        self._task.cancel()

    async def close(self) -> None:
        """Say goodbye and close."""
        self.stop()
        await self.ws.close(code=WSCloseCode.GOING_AWAY, message=b"the exchange is closing")

    async def _run(self) -> None:
        try:
            while True:
                while self._waiting:
                    await self.ws.send_str(self._waiting.popleft())
                self._wake.clear()
                await self._wake.wait()
        except ConnectionError:
            self._waiting.clear()


@dataclass(slots=True)
class Channel:
    """One stream of messages of a venue.

    Attributes:
        venue: ccxt's id.
        name: as the venue calls it.
        listeners: sockets that subscribed.
        sent: messages published to at least one socket, before faults.
        last_id: id in the last of them.
        kept: the last of them, id and text.
    """

    venue: str
    name: str
    listeners: dict[Connection, None] = field(default_factory=dict)
    sent: int = 0
    last_id: int = 0
    kept: deque[tuple[int, str]] = field(default_factory=deque)


class Hub:
    """All channels by venue and name.

    Args:
        faults: what is done to messages.
        keep: messages of each channel to keep for ``state``.
    """

    def __init__(self, faults: Faults, keep: int = 0) -> None:
        self._faults = faults
        self._keep = keep
        self.channels: dict[tuple[str, str], Channel] = {}
        self.connections: dict[Connection, None] = {}

    def channel(self, venue: str, name: str) -> Channel:
        """The channel of that name, made at the first call."""
        found = self.channels.get((venue, name))
        if found is None:
            found = self.channels[venue, name] = Channel(venue, name, kept=deque(maxlen=self._keep))
        return found

    def publish(self, channel: Channel, number: int, text: str) -> None:
        """Send a message to all that listen; call only where somebody does."""
        channel.sent += 1
        channel.last_id = number
        if self._keep:
            channel.kept.append((number, text))
        # Dressed before the faults: a message that is lost takes its number along.
        dressed = [(one, text if one.dress is None else one.dress(channel.name, text)) for one in channel.listeners]
        copies = [dressed]
        if self._faults.on_messages:
            found = self._faults.messages(channel.venue, channel.name, dressed)
            if found is None:
                for connection, _ in dressed:
                    connection.drop()
                return
            copies = found
        for copy in copies:
            for connection, one in copy:
                connection.send(one)

    def listen(self, connection: Connection, channel: Channel) -> None:
        """Subscribe."""
        channel.listeners[connection] = None
        connection.names.add(channel.name)

    def leave(self, connection: Connection, channels: Iterable[Channel]) -> None:
        """Unsubscribe."""
        for channel in channels:
            channel.listeners.pop(connection, None)
            connection.names.discard(channel.name)

    def opened(self, connection: Connection) -> None:
        """A socket was opened."""
        self.connections[connection] = None

    def closed(self, connection: Connection) -> None:
        """A socket is gone, and all its subscriptions."""
        self.connections.pop(connection, None)
        self.leave(connection, self.channels.values())

    async def taken(self) -> None:
        """Return once no socket has more than a few messages waiting."""
        await asyncio.sleep(0)
        while any(one.waiting > FEW_WAITING for one in self.connections):
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Close every socket."""
        for connection in tuple(self.connections):
            await connection.close()
