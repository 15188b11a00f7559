"""What is done about orders at one venue: placed, asked after until their fate is known, cancelled, watched.

    sent ─▶ answered
         └▶ answer lost ─▶ asked for by client id ─▶ found │ not there once it can't arrive any more: it never did

Nothing is ever sent twice. Everything here runs on one event loop, except ``Ledger``, which threads share.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from schwabot.errors import VenueError, why
from schwabot.execution.base_fees import BaseFees
from schwabot.execution.ccxt_account import CcxtAccount, Fate, Trouble
from schwabot.execution.journal import Journal, OrderState
from schwabot.execution.order_tracker import OPEN, REJECTED, OrderSeen, OrderTracker, Tracked, TradeSeen
from schwabot.execution.settings import GatewayConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Report, Request, Told

SECOND = 1_000_000_000
_TICK_S = 0.1
_MARGIN_NS = SECOND // 4
SIGNED_NS = SECOND // 4
"""An order is signed so soon after the journal says that it leaves, or not at all."""
_HEARD_NS = SECOND // 2
_LISTED_NS = 10 * SECOND
"""Venues may say of an order that is newer than this that they don't know it, and mean not yet."""
_LOOK_BACK_NS = 60 * SECOND


class Refusal(NamedTuple):
    """An order that the venue did not take, or that was not sent to it after all, and why."""

    ts_ns: int
    client_id: str
    what: str


class Ledger:
    """Orders and their journal, one thread at a time; what is learnt is on disk before it is reported.

    Args:
        journal: where it is kept.
        problem: told of what can't be explained.
        instruments: that are traded; a fee in what is traded is told in lots of theirs.
    """

    def __init__(
        self, journal: Journal, problem: Callable[[str], None], instruments: Iterable[Instrument] = ()
    ) -> None:  # fmt: skip
        self.journal, self._problem = journal, problem
        self.fees = BaseFees(instruments)
        self.tracker = OrderTracker()
        self._lock = threading.RLock()
        self._out: list[Report] = []
        self._refused: deque[Refusal] = deque(maxlen=100)

    @contextmanager
    def change(self, now_ns: int) -> Iterator[OrderTracker]:
        """Tell the tracker something."""
        with self._lock:
            tracker = self.tracker
            yield tracker
            failure = self._write(tracker, now_ns)
            for move in tracker.moves:
                if move.state is OrderState.REJECTED:
                    self._refused.append(Refusal(now_ns, move.client_id, move.what))
            fees = []
            for fill in tracker.fills:
                other, more = self.fees.elsewhere(fill)
                for stream, price, lots in (("", fill.price_ticks, self.fees.lots(fill)), (other, 0, more)):
                    number, at_ns = tracker.orders[fill.client_id].request.number, fill.ts_event_ns
                    if lots:
                        fees.append(Report(Told.FEE, number, now_ns, -1, lots, price, ts_event_ns=at_ns, stream=stream))
            self._out += tracker.reports + fees
            problems = tracker.problems + failure
            tracker.moves, tracker.fills, tracker.reports, tracker.problems = [], [], [], []
        for problem in problems:
            self._problem(problem)

    def _write(self, tracker: OrderTracker, now_ns: int) -> list[str]:
        """Put what is new on disk; what could not be written, which a later start asks the venue for again."""
        try:
            for move in tracker.moves:
                self.journal.move(
                    move.client_id, move.state, now_ns, venue_id=move.venue_id, filled_lots=move.filled_lots,
                    what=move.what,
                )  # fmt: skip
            for fill in tracker.fills:
                self.journal.fill(fill)
        except sqlite3.Error as error:
            return [f"{self.journal.path} can't be written: {error}"]
        return []

    def intend(self, request: Request, now_ns: int) -> None:
        """Put a request on disk, then follow it."""
        with self._lock:
            self.journal.intend(request, now_ns)
            with self.change(now_ns) as tracker:
                tracker.ask(request, now_ns)

    def take(self) -> list[Report]:
        """Reports since the last call."""
        with self._lock:
            out, self._out = self._out, []
        return out

    def take_refused(self) -> list[Refusal]:
        """Orders that were refused, or never arrived, since the last call: the last hundred at most."""
        with self._lock:
            out = list(self._refused)
            self._refused.clear()
        return out


class OrderDesk:
    """Looks after the orders at one venue.

    Args:
        account: at the venue.
        ledger: of all venues.
        config: how orders travel.
        must_not: says why no new order may leave now, None = it may.
        problem: told of what can't be explained, or went wrong.
        now_ns: time now.
    """

    def __init__(
        self, account: CcxtAccount, ledger: Ledger, config: GatewayConfig, must_not: Callable[[], str | None],
        problem: Callable[[str], None], now_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        self.account, self.ledger, self.config = account, ledger, config
        self._must_not, self._problem, self._now_ns = must_not, problem, now_ns
        self._busy: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._short: dict[str, Tracked] = {}
        self._completing: asyncio.Task[None] | None = None
        self._asked_ns = 0
        self._hold_ns = 0
        self._up = False

    def begin(self, request: Request) -> None:
        """Do what a request asks for; called on the loop."""
        if request.action in (Action.TAKE, Action.POST):
            self.spawn(self.place(self.ledger.tracker.orders[request.client_id]))
        elif (order := self.ledger.tracker.changed_by(request)) is not None:
            self.spawn(self.cancel(order))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside; what it fails with is a problem."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def own(self) -> list[Tracked]:
        """Orders at this venue that are not over."""
        return [one for one in self.ledger.tracker.open_orders() if one.request.stream in self.account.instruments]

    async def close(self) -> None:
        """Stop; orders stay as they are."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def place(self, order: Tracked) -> None:
        """Send an order, once; come back when its fate is known."""
        request = order.request
        if (no := self._no(request)) is not None:
            self._learn(lambda tracker, now_ns: tracker.refused(request.client_id, no, now_ns))
            return
        self._busy[request.client_id] = asyncio.Event()
        try:
            leaves_ns = self._now_ns()
            self._learn(lambda tracker, _: tracker.sent(request.client_id))
            if (stood_ns := self._now_ns() - leaves_ns) > SIGNED_NS:
                why_not = f"this machine stood still for {stood_ns / SECOND:.1f} s"
                self._learn(lambda tracker, now_ns: tracker.refused(request.client_id, why_not, now_ns))
                return
            seen, trades = await self.account.place(request, order.lots)
        except Trouble as trouble:
            await self._failed(order, trouble)
        else:
            self.told(seen, trades)
            rests = request.action is not Action.TAKE
            if not self.account.rules.tells and not (rests and order.status):
                await self._learn_of(order, rests=rests)
        finally:
            self._busy.pop(request.client_id).set()

    async def resolve(self, order: Tracked, last_ns: int) -> None:
        """Ask for an order until the venue knows it, or it can't arrive there any more.

        Args:
            order: whose answer was lost.
            last_ns: it left at this time at the latest.
        """
        request, pause = order.request, _pauses(*self.account.rules.pause_s)
        until_ns = last_ns + self.account.window_ms * 1_000_000 + _MARGIN_NS
        while not order.status and not order.over:
            asked_ns = self._now_ns()
            try:
                self.told(await self.account.order(request, order.venue_id))
            except Trouble as trouble:
                if trouble.fate is Fate.ABSENT and asked_ns > until_ns:
                    self._learn(lambda tracker, now_ns: tracker.refused(request.client_id, "never arrived", now_ns))
                    return
            pause_s, left_s = next(pause), (until_ns - self._now_ns()) / SECOND
            await asyncio.sleep(left_s + 0.01 if 0.0 < left_s < pause_s else pause_s)

    async def cancel(self, order: Tracked) -> None:
        """Cancel an order and come back when it is gone."""
        request, pause = order.request, _pauses(*self.account.rules.pause_s)
        began_ns, said = self._now_ns(), False
        while not order.gone:
            if (busy := self._busy.get(request.client_id)) is not None:
                await busy.wait()
                continue
            try:
                self.told(await self.account.cancel(request, order.venue_id))
                if not self.account.rules.tells:
                    await self._learn_of(order)
            except Trouble:
                await self._ask_after(order)
            if order.gone:
                return
            if not said and self._now_ns() - began_ns > 30 * SECOND:
                self._problem(f"{request.client_id} can't be cancelled for 30 s")
                said = True
            await asyncio.sleep(next(pause))

    async def complete(self, order: Tracked) -> None:
        """Ask for the fills that the venue told of and we do not know: one question for all orders that wait."""
        self._short[order.request.client_id] = order
        if self._completing is None or self._completing.done():
            self._completing = asyncio.get_running_loop().create_task(self._complete())
            self._tasks.add(self._completing)
            self._completing.add_done_callback(self._tasks.discard)
        await asyncio.shield(self._completing)

    async def _complete(self) -> None:
        waited: set[str] = set()
        while True:
            for name in [name for name, order in self._short.items() if not order.missing]:
                del self._short[name]
            if not self._short:
                return
            if not self._short.keys() <= waited:
                pause = _pauses(*self.account.rules.pause_s)
            waited, orders = set(self._short), list(self._short.values())
            self._asked_ns = self._now_ns()
            try:
                streams = sorted({order.request.stream for order in orders})
                since_ns = min(order.request.ts_ns for order in orders) - _LOOK_BACK_NS
                ours = {(order.request.stream, order.venue_id) for order in orders}
                found = await self.account.trades_of(streams, since_ns)
                self.told(None, [trade for trade in found if (trade.stream, trade.venue_id) in ours])
            except Trouble:
                pass
            until_ns = self._now_ns() + int(next(pause) * SECOND)
            while self._now_ns() < until_ns and self._short.keys() <= waited:
                if not any(order.missing for order in orders):
                    break
                await asyncio.sleep(0.02)

    async def watch(self) -> None:
        """Listen to the venue, for ever."""
        await self.account.watch(self.told, lambda trade: self.told(None, [trade]), self._line)

    async def sweep(self) -> None:
        """Look after orders that the venue does not speak of, for ever."""
        asked: dict[str, asyncio.Task[None]] = {}
        asked_ns = 0
        while True:
            await asyncio.sleep(_TICK_S)
            asked = {name: task for name, task in asked.items() if not task.done()}
            quiet_s = self.config.quiet_s if self._up else self.config.poll_s
            now_ns = self._now_ns()
            for order in self.own():
                name, silent_s = order.request.client_id, (now_ns - order.seen_ns) / SECOND
                there = order.status or order.venue_id
                if name in self._busy or name in asked:
                    continue
                if order.missing and silent_s > 2 * _TICK_S:
                    if (now_ns - self._asked_ns) / SECOND < self.account.rules.poll_s:
                        continue
                    asked[name] = self.spawn(self.complete(order))
                elif not there and silent_s > self.config.order_ttl_s + self.config.timeout_s:
                    asked[name] = self.spawn(self.resolve(order, now_ns))
                elif there and silent_s > quiet_s and (now_ns - asked_ns) / SECOND >= self.account.rules.poll_s:
                    order.seen_ns = asked_ns = now_ns
                    asked[name] = self.spawn(self._ask_after(order))

    async def cancel_all(self, deadline_ns: int) -> list[str]:
        """Cancel whatever is ours and confirm it.

        Args:
            deadline_ns: give up then.

        Returns:
            What may still be open.
        """
        left: list[str] = []
        while self._now_ns() < deadline_ns:
            left_s = max((deadline_ns - self._now_ns()) / SECOND, 0.1)
            tasks = [asyncio.create_task(self.cancel(order)) for order in self.own()]
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=left_s)
                for task in late:
                    task.cancel()
            try:
                left = [one.client_id for one in await self._ours_open()]
            except Trouble as trouble:
                left = [str(trouble)]
            if not left and not any(not one.gone for one in self.own()):
                return []
            await asyncio.sleep(_TICK_S)
        return left or [one.request.client_id for one in self.own()]

    def told(self, seen: OrderSeen | None, trades: list[TradeSeen] | None = None) -> None:
        """The venue told of an order or fills."""

        def tell(tracker: OrderTracker, now_ns: int) -> None:
            if seen is not None:
                tracker.order(seen, now_ns)
            for trade in trades or []:
                tracker.trade(trade, now_ns)

        self._learn(tell)
        order = None if seen is None else self.ledger.tracker.orders.get(seen.client_id)
        if seen is not None and seen.status == OPEN and order is not None and order.status == REJECTED:
            self.spawn(self._cancel_late(seen))

    async def _ours_open(self) -> list[OrderSeen]:
        """Open orders with our prefix; those we do not follow are cancelled."""
        ours = []
        for stream in self.account.instruments:
            for seen in await self.account.open_orders(stream):
                if not seen.client_id.startswith(self.config.prefix):
                    continue
                ours.append(seen)
                if (order := self.ledger.tracker.orders.get(seen.client_id)) is None or order.over:
                    await self.cancel_stray(seen)
        return ours

    async def cancel_stray(self, seen: OrderSeen) -> None:
        """Cancel an order that is ours by its name and that nobody follows."""
        request = Request(-1, seen.client_id, seen.stream, Action.CANCEL, 0, 0, 0, -1, 0, 0, 0, 0)
        try:
            await self.account.cancel(request, seen.venue_id)
        except Trouble as trouble:
            if trouble.fate is not Fate.ABSENT:
                raise

    async def _cancel_late(self, seen: OrderSeen) -> None:
        """An order that was given up is there after all; trading is halted."""
        with suppress(Trouble):
            await self.cancel_stray(seen)

    def _no(self, request: Request) -> str | None:
        now_ns = self._now_ns()
        if (no := self._must_not()) is not None:
            return no
        if now_ns < self._hold_ns:
            return f"{self.account.venue} wants no orders for {(self._hold_ns - now_ns) / SECOND:.1f} s more"
        if (age_s := (now_ns - request.ts_ns) / SECOND) > self.config.order_ttl_s:
            return f"decided {age_s:.1f} s ago"
        return None

    async def _failed(self, order: Tracked, trouble: Trouble) -> None:
        client_id = order.request.client_id
        if trouble.wait_s:
            self._hold_ns = max(self._hold_ns, self._now_ns() + int(trouble.wait_s * SECOND))
        if trouble.fate is Fate.LOST:
            self._learn(lambda tracker, _: tracker.unknown(client_id, str(trouble)))
            await self.resolve(order, self._now_ns())
            return
        self._learn(lambda tracker, now_ns: tracker.refused(client_id, str(trouble), now_ns))

    async def _learn_of(self, order: Tracked, *, rests: bool = False) -> None:
        """The answer does not say what became of it: wait for the account's stream a little, then ask."""
        until_ns = self._now_ns() + _HEARD_NS

        def known() -> bool:
            return order.gone or (rests and bool(order.status))

        while self._up and not known() and self._now_ns() < until_ns:
            await asyncio.sleep(0.01)
        if not known():
            await self._ask_after(order)

    async def _ask_after(self, order: Tracked) -> None:
        try:
            self.told(await self.account.order(order.request, order.venue_id))
        except Trouble as trouble:
            new = self._now_ns() - order.request.ts_ns < _LISTED_NS
            if trouble.fate is Fate.ABSENT and (order.status or order.venue_id) and not new:
                self._problem(f"{order.request.client_id} was at {self.account.venue}, which does not know it any more")

    def _learn(self, tell: Callable[[OrderTracker, int], None]) -> None:
        now_ns = self._now_ns()
        with self.ledger.change(now_ns) as tracker:
            tell(tracker, now_ns)
            ready, tracker.to_place = tracker.to_place, []
        for order in ready:
            self.spawn(self.place(order))

    def _line(self, up: bool) -> None:
        if up and not self._up:
            for order in self.own():  # something may have been missed
                order.seen_ns = 0
        self._up = up

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._problem(str(error) if isinstance(error, VenueError) else f"{self.account.venue}: {why(error)}")


def _pauses(least_s: float, most_s: float) -> Iterator[float]:
    """Seconds between questions: short at first, not in step with others'."""
    length = least_s
    while True:
        yield length * random.uniform(0.7, 1.0)  # nosec
        length = min(2 * length, most_s)
