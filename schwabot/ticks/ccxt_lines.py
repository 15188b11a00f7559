"""The parts of a venue that are watched over one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schwabot.fallback import Fallback
from schwabot.ticks.ccxt_rows import StreamRows
from schwabot.ticks.watchdog import Backoff, Crossed, Delay, Silence


@dataclass(eq=False)
class Channel:
    """One subscription: the quotes or the trades of some symbols.

    Attributes:
        symbols: ccxt's names.
        trades: trades, else quotes.
        watch: ccxt's coroutine.
        backoff: between attempts.
        wake: set when its connection ended.
        client: its connection.
        renewed: the connection is another one than before, and nothing came by it yet.
    """

    symbols: Sequence[str]
    trades: bool
    watch: Callable[[], Awaitable[Any]]
    backoff: Backoff
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    client: Any = None
    renewed: bool = False


@dataclass(eq=False)
class Line:
    """The quotes or the trades of one stream, and who watches over them.

    Attributes:
        name: for the events.
        symbol: ccxt's name.
        trades: trades, else quotes.
        rows: makes its rows.
        fallback: websocket, REST or none.
        silence, delay, crossed: of the websocket.
        backoff: between polls that fail.
        channel: its subscription.
        poll_s: when to poll next, while that is needed.
        lost_s: since when the websocket is closed, silent or behind; None while it speaks.
        why: it was lost.
        gapped: the loss was told.
        late: trades that were told too late, as far as they were reported.
        touch: best bid and ask that the websocket told last, or REST when it was asked about a silence.
        asked: REST is being asked about a silence.
    """

    name: str
    symbol: str
    trades: bool
    rows: StreamRows
    fallback: Fallback
    silence: Silence
    delay: Delay
    backoff: Backoff
    channel: Channel
    crossed: Crossed = field(default_factory=Crossed)
    poll_s: float = 0.0
    lost_s: float | None = None
    why: str = ""
    gapped: bool = False
    late: int = 0
    touch: tuple[float, float] | None = None
    asked: asyncio.Task[None] | None = None


@dataclass(eq=False)
class Repair:
    """Trades of one stream that may have been missed.

    Attributes:
        due_s: when to ask for them; None = there is no reason to.
        asked_s: when they were asked for last, with success.
        backoff: between attempts.
        refused: trades that found no room in the queue since it was last whole.
    """

    backoff: Backoff
    due_s: float | None = None
    asked_s: float = float("-inf")
    refused: int = 0
