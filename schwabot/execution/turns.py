"""Requests that must arrive in the order in which they were signed: one on its way at a time, the most urgent first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count


class Turns:
    """Who is next; belongs to one event loop.

    Args:
        most_s: a turn ends after so many seconds at the latest: a request that is not answered by then has arrived, or
            is refused when it does, and the others can't wait for it.

    Example:
        >>> async def work(turns, rank, done):
        ...     async with turns.take(rank):
        ...         await asyncio.sleep(0)
        ...         done.append(rank)
        >>> async def main():
        ...     turns, done = Turns(1.0), []
        ...     await asyncio.gather(*(work(turns, rank, done) for rank in (3, 2, 1)))
        ...     return done
        >>> asyncio.run(main())
        [3, 1, 2]
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._whose = -1

    @asynccontextmanager
    async def take(self, rank: int) -> AsyncIterator[None]:
        """Wait for a turn, those of the lowest rank first, and have it."""
        number, loop = next(self._numbers), asyncio.get_running_loop()
        if self._whose >= 0:
            come = loop.create_future()
            heappush(self._waiting, (rank, number, come))
            try:
                await come
            except asyncio.CancelledError:
                self._over(number)
                raise
        self._whose = number
        timer = loop.call_later(self._most_s, self._over, number)
        try:
            yield
        finally:
            timer.cancel()
            self._over(number)

    def _over(self, number: int) -> None:
        if self._whose != number:
            return
        self._whose = -1
        while self._waiting:
            _, self._whose, come = heappop(self._waiting)
            if not come.done():
                come.set_result(None)
                return
            self._whose = -1
