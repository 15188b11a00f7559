"""The live stream: server-sent events, a snapshot first, then what the run tells, as it tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from schwabot.server.auth import still_allowed, viewer
from schwabot.server.problems import Problem, documented
from schwabot.server.routes_live import AnyHub

router = APIRouter(prefix="/api/v1", dependencies=[Depends(viewer)])
QUIET_S = 5.0
"""Something is sent at least this often, so that who listens knows that the line is open."""


def _has_room(hub: AnyHub) -> None:
    """Before the answer begins: afterwards an error could not be told."""
    if hub.listeners >= hub.config.max_clients:
        raise Problem(
            503, "too_many", f"{hub.listeners} live streams are open already", "close one, or raise server.max_clients"
        )


@router.get(
    "/events",
    tags=["run"],
    response_class=EventSourceResponse,
    responses=documented(503),
    dependencies=[Depends(_has_room)],
)
async def events(request: Request, hub: AnyHub) -> AsyncIterator[ServerSentEvent]:
    """`snapshot` first, then `step`, `log`, `sweep`, `host`, `close` and `end`, as JSON."""
    listener = hub.listen()
    try:
        while still_allowed(request):
            while listener.waiting:
                event, data = listener.waiting.popleft()
                yield ServerSentEvent(raw_data=data, event=event)
            if listener.ends:
                return
            listener.news.clear()
            try:
                await asyncio.wait_for(listener.news.wait(), QUIET_S)
            except TimeoutError:
                yield ServerSentEvent(comment="still here")
    finally:
        hub.leave(listener)
