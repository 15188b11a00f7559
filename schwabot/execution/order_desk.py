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
from dataclasses import dataclass
from typing import Any, NamedTuple

from schwabot.errors import VenueError, why
from schwabot.execution.base_fees import BaseFees
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.journal import Journal, OrderState
from schwabot.execution.order_tracker import OPEN, REJECTED, OrderSeen, OrderTracker, Tracked, TradeSeen
from schwabot.execution.settings import GatewayConfig
from schwabot.execution.trouble import Fate, Trouble
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Report, Request, Told

SECOND = 1_000_000_000
ACCEPT = "if what is held is right, start with live.accept=REASON"
_TICK_S = 0.1
_MARGIN_NS = SECOND // 4
SIGNED_NS = SECOND // 4
"""An order is signed so soon after the journal says that it leaves, or not at all."""
_HEARD_NS = SECOND // 2
MOST_PAUSE_S = 5.0
"""All that is open is to be cancelled: a venue that wants to be left alone for longer is asked this often."""
_LOOK_BACK_NS = 60 * SECOND
OWED_S = 15.0
"""Fills the venue told of and does not list for this long are a problem."""


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
        self.not_sent = 0
        """Orders that were refused before they left."""

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


@dataclass(slots=True)
class _Short:
    """An order some of whose fills are not known; since when they are asked for, and how far back."""

    order: Tracked
    began_ns: int
    back_ns: int = _LOOK_BACK_NS


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
        self._owed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._short: dict[str, _Short] = {}
        self._completing: asyncio.Task[None] | None = None
        self._asked_ns = 0
        # A venue may say of a new order that it does not know it, and mean not yet.
        self._listed_ns = int(config.listed_s * SECOND) if account.rules.lists else 0
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
            self._hold_back(order, no)
            return
        self._busy[request.client_id] = asyncio.Event()
        try:
            leaves_ns = self._now_ns()
            self._learn(lambda tracker, _: tracker.sent(request.client_id))
            if (stood_ns := self._now_ns() - leaves_ns) > SIGNED_NS:
                self._hold_back(order, f"this machine stood still for {stood_ns / SECOND:.1f} s")
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
        until_ns = last_ns + self.account.window_ms * 1_000_000 + _MARGIN_NS + self._listed_ns
        while not order.status and not order.over:
            asked_ns = self._now_ns()
            try:
                self.told(await self.account.order(request, order.venue_id))
            except Trouble as trouble:
                if trouble.fate is Fate.ABSENT and asked_ns > until_ns:
                    if order.venue_id is not None or order.filled:  # it was there
                        self._problem(self._forgotten(order))
                    self._learn(lambda tracker, now_ns: tracker.refused(request.client_id, "never arrived", now_ns))
                    return
            pause_s, left_s = next(pause), (until_ns - self._now_ns()) / SECOND
            await asyncio.sleep(left_s + 0.01 if 0.0 < left_s < pause_s else pause_s)

    async def cancel(self, order: Tracked, most_pause_s: float = float("inf")) -> None:
        """Cancel an order and come back when it is gone; a venue that wants to be left alone is tried once, then it is.

        Args:
            order: that is open.
            most_pause_s: it is left alone for so long at most.
        """
        request, pause = order.request, _pauses(*self.account.rules.pause_s)
        began_ns, said = self._now_ns(), False
        while not order.gone:
            if (busy := self._busy.get(request.client_id)) is not None:
                await busy.wait()
                continue
            wait_s = next(pause)
            try:
                self.told(await self.account.cancel(request, order.venue_id))
                if not self.account.rules.tells:
                    await self._learn_of(order)
            except Trouble as trouble:
                wait_s = max(wait_s, min(trouble.wait_s, most_pause_s))
                await self._ask_after(order)
            if order.gone:
                return
            if not said and self._now_ns() - began_ns > 30 * SECOND:
                self._problem(f"{request.client_id} can't be cancelled for 30 s")
                said = True
            await asyncio.sleep(wait_s)

    async def complete(self, order: Tracked) -> None:
        """Ask for the fills that the venue told of and we do not know; what it does not list is a problem, told once.

        One question is for all orders that wait. Each time it goes twice as far back: the clock that the order was
        decided by may have been set.
        """
        self._short.setdefault(order.request.client_id, _Short(order, self._now_ns()))
        if self._completing is None or self._completing.done():
            self._completing = self.spawn(self._complete())
        await asyncio.shield(self._completing)

    async def _complete(self) -> None:
        asked: set[str] = set()
        while self._short:
            if not self._short.keys() <= asked:
                pause = _pauses(*self.account.rules.pause_s)
            asked, waiting = set(self._short), list(self._short.values())
            pause_s, trouble_is, self._asked_ns = next(pause), "", self._now_ns()
            ours = {(short.order.request.stream, short.order.venue_id) for short in waiting}
            since_ns = min(self.account.at_venue(short.order.request.ts_ns) - short.back_ns for short in waiting)
            try:
                found = await self.account.trades_of(sorted({stream for stream, _ in ours}), max(since_ns, 0))
                self.told(None, [trade for trade in found if (trade.stream, trade.venue_id) in ours])
            except Trouble as trouble:
                trouble_is, pause_s = f": {trouble}", max(pause_s, trouble.wait_s)  # a ban says nothing of fills
            now_ns = self._now_ns()
            for short in waiting:
                name = short.order.request.client_id
                if not trouble_is:
                    short.back_ns *= 2
                if not short.order.missing:
                    self._owed.discard(name)
                    del self._short[name]
                elif now_ns - short.began_ns > OWED_S * SECOND:
                    self._tell_owed(short.order, trouble_is)
                    del self._short[name]
            until_ns = now_ns + int(pause_s * SECOND)
            while self._now_ns() < until_ns and self._short and self._short.keys() <= asked:
                if not any(short.order.missing for short in self._short.values()):
                    break
                await asyncio.sleep(0.02)

    def _tell_owed(self, order: Tracked, trouble: str) -> None:
        client_id = order.request.client_id
        if not order.missing or client_id in self._owed:
            return
        self._owed.add(client_id)
        self._problem(
            f"{client_id}: {self.account.venue} told of {order.promised} lots filled, and lists {order.filled} of them"
            f" after {OWED_S:g} s{trouble} ({ACCEPT})"
        )

    async def settle(self) -> None:
        """Wait for fills of orders that are gone, until they are known or it was told that they are not."""
        while any(one.missing and one.request.client_id not in self._owed for one in self.own()):
            await asyncio.sleep(_TICK_S)

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
            pause_s = _TICK_S
            left_s = max((deadline_ns - self._now_ns()) / SECOND, 0.1)
            tasks = [asyncio.create_task(self.cancel(order, MOST_PAUSE_S)) for order in self.own()]
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=left_s)
                for task in late:
                    task.cancel()
            try:
                left = [one.client_id for one in await self._ours_open()]
            except Trouble as trouble:
                left, pause_s = [str(trouble)], max(pause_s, min(trouble.wait_s, MOST_PAUSE_S))
            if not left and not any(not one.gone for one in self.own()):
                return []
            await asyncio.sleep(pause_s)
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
            for seen in await self.account.open_orders(stream, at_once=True):
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

    def _hold_back(self, order: Tracked, why_not: str) -> None:
        self.ledger.not_sent += 1
        self._learn(lambda tracker, now_ns: tracker.refused(order.request.client_id, why_not, now_ns))

    def _no(self, request: Request) -> str | None:
        now_ns = self._now_ns()
        if (no := self._must_not()) is not None:
            return no
        if wait_s := self.account.wait_s:
            return f"{self.account.venue} wants no requests for {wait_s:.1f} s more"
        if (age_s := (now_ns - request.ts_ns) / SECOND) > self.config.order_ttl_s:
            return f"decided {age_s:.1f} s ago"
        return None

    async def _failed(self, order: Tracked, trouble: Trouble) -> None:
        client_id = order.request.client_id
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
            new = self._now_ns() - order.request.ts_ns < self._listed_ns
            known = order.status or order.venue_id
            if trouble.fate is Fate.ABSENT and known and not (new or order.forgotten):
                order.forgotten = True  # said once
                self._problem(self._forgotten(order))

    def _forgotten(self, order: Tracked) -> str:
        return f"{order.request.client_id} was at {self.account.venue}, which does not know it any more"

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
