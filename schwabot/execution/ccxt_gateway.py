"""Orders to real venues: journal, then the wire; one thread of its own does everything that waits.

    main thread   send(): intent on disk ─▶ handed over                reports(): what was learnt
    IO thread     place, ask, cancel, watch · compare with the venue · kill switch

Put ``RiskGateway`` in front of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from schwabot.errors import StateError, VenueError, why
from schwabot.execution import order_desk
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.dry_run import order_text
from schwabot.execution.journal import Journal, OrderState, RiskNote
from schwabot.execution.order_desk import SECOND, Ledger, OrderDesk, Refusal
from schwabot.execution.reconcile import Adopted, Recovered, catch_up, compare, elsewhere, expected, recover
from schwabot.execution.risk import RiskGate, TradingState, VenueLimits
from schwabot.execution.settings import GatewayConfig
from schwabot.execution.trouble import Fate, Trouble, patiently
from schwabot.execution.venue_rules import rules_of
from schwabot.records.alert import Alert, Level
from schwabot.records.instrument import Instrument
from schwabot.records.order import Report, Request
from schwabot.secrets import scrub

KILL_S = 30.0
GUARD_S = 0.2
HUNG_S = 45.0
"""Cancelling everything takes ``KILL_S`` at most, in which the guard says nothing."""
AGAIN_NS = 60_000_000_000
"""That a venue wants to be left alone is said so often."""
NOTE_NS = 10_000_000_000
"""What the day has lost is noted this often, and whenever orders moved."""
MOST_UNCOMPARED = 5
"""A person hears of it when what is held could not be compared so many times in a row."""
EARLIER = " (in an earlier run)"
DAY_NS = 86_400_000_000_000


class CcxtGateway:
    """A ``Gateway`` of ``schwabot.execution.venue`` to real venues; use it in a ``with``, which recovers first.

    Args:
        instruments: that are traded.
        options: for ccxt's constructors, by venue: keys, addresses.
        journal: of orders; stays open.
        gate: whose state says whether orders may leave; halted by what can't be explained.
        session: begins every client id, see ``VenueBroker``; itself begins with the configured prefix.
        config: how orders travel.
        now_ns: time now.
        resume: why to trade although an earlier run was halted, or lost its limit of the day; None = such a run's
            state goes on.
        accept: why what is held on entering is right, whatever our fills say, and to trade; None = what differs halts.

    Raises:
        ConfigError: a setting that can't be used.
        JournalError: on entering: orders may be open where nobody would look, or fills can't be read any more.
        VenueError: on entering: a venue can't be reached, or refuses.
    """

    def __init__(
        self, instruments: Sequence[Instrument], options: Mapping[str, Mapping[str, Any]], journal: Journal,
        gate: RiskGate, session: str, config: GatewayConfig | None = None, now_ns: Callable[[], int] = time.time_ns,
        resume: str | None = None, accept: str | None = None,
    ) -> None:  # fmt: skip
        self.config = config or GatewayConfig()
        self.config.check()
        if not session.startswith(self.config.prefix):
            raise StateError(
                f"session {session} does not begin with {self.config.prefix}: its orders would not be ours"
            )
        self.journal, self.gate, self.session = journal, gate, session
        self.limits: dict[str, VenueLimits] = {}
        """The venues' filters by stream, once entered."""
        self.positions: dict[str, Adopted] = {}
        """What was held, to be adopted by broker and risk gateway, once entered."""
        self.notes: list[str] = []
        """What was found on entering."""
        self.said: deque[Alert] = deque(maxlen=100)
        """What happened since that a person should hear of."""
        self._now_ns, self._options, self._resume, self._accepts = now_ns, options, resume or accept, accept
        self._ends = self._wound_down = False
        self._beat_ns: int | None = None
        self._blind: set[str] = set()
        self._uncompared: dict[str, int] = {}
        self._differs: dict[str, list[str]] = {}
        self._left_alone: dict[str, int] = {}
        self._noted = 0
        self.hold: str | None = None
        """Why no order leaves for now, in words."""
        self.feed_ns: Callable[[], int | None] = lambda: None
        """Receive time of the last row of any stream, where somebody knows; without it nothing is cancelled for age."""
        self._instruments = list(instruments)
        self._ledger = Ledger(journal, self._halt, self._instruments)
        self._desks: dict[str, OrderDesk] = {}
        self._of: dict[str, OrderDesk] = {}
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)

    def __enter__(self) -> CcxtGateway:
        # Whatever an earlier process sent left before the journal was ours, and arrives within the window after that.
        self.notes += elsewhere(self.journal, self._instruments)
        self.journal.reads(self._instruments)
        started_ns = self._now_ns() if self.journal.has_begun else min(self._now_ns(), self.journal.alone_ns)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._noted_only)
        self._thread.start()
        try:
            windows_ms = [rules_of(one.venue).window(self.config.recv_window_ms) for one in self._instruments]
            lost_s = max(windows_ms, default=0) / 1e3 + self.config.listed_s
            self._wait(self._start(started_ns), self.config.start_s + lost_s)
            self.journal.begin(self.session, self._now_ns())
            self.gate.filters(self.limits)
            self._note_risk()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; what is open at a venue stays open, and is cancelled by the next start."""
        if not self._thread.is_alive():
            return
        self._note_risk()
        try:
            self._wait(self._stop(), 10.0)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10.0)
            if not self._thread.is_alive():
                self._loop.close()
            self._note_risk()
            self.journal.end(self._now_ns())

    def send(self, request: Request) -> None:
        """Take a request; it is safe on disk when this returns, and on its way.

        Raises:
            JournalError: it was sent before.
        """
        self._look_at_thread()
        self._ledger.intend(request, self._now_ns())
        self._loop.call_soon_threadsafe(self._of[request.stream].begin, request)

    def _look_at_thread(self) -> None:
        """Halt where nobody would send what is asked for; what was asked for is too old by the time somebody does."""
        late_s = 0.0 if self._beat_ns is None else (self._now_ns() - self._beat_ns) / SECOND
        if late_s > HUNG_S or not self._thread.is_alive():
            what = f"the thread that sends orders has not answered for {late_s:.0f} s"
            self.gate.escalate(TradingState.HALTED, "gateway", what, self._now_ns())

    def reports(self) -> Sequence[Report]:
        """What was told since the last call, oldest first."""
        return self._ledger.take()

    def take_refused(self) -> Sequence[Refusal]:
        """Orders that a venue refused, or that were not sent after all, since the last call."""
        return self._ledger.take_refused()

    def kill(self, who: str, why: str, wait_s: float = KILL_S) -> bool:
        """Halt, cancel everything that is ours, and confirm it.

        Args:
            who: asks for it.
            why: for the journal and the messages.
            wait_s: how long to wait for the confirmation; 0 = do not.

        Returns:
            Whether every venue has confirmed that nothing of ours is open.
        """
        self.gate.escalate(TradingState.HALTED, who, why, self._now_ns())
        return self.cancel_all(f"{who}: {why}", wait_s)

    def cancel_all(self, why: str, wait_s: float = KILL_S) -> bool:
        """Cancel everything that is ours, and confirm it; see ``kill``."""
        done = asyncio.run_coroutine_threadsafe(self._cancel_all(why), self._loop)
        try:
            return wait_s > 0 and done.result(wait_s)
        except concurrent.futures.TimeoutError:
            return False

    def wind_down(self, wait_s: float = KILL_S) -> bool:
        """The run ends: nothing leaves any more, all of ours is cancelled and confirmed; what is held is compared.

        Args:
            wait_s: how long to wait for the confirmation.

        Returns:
            Whether every venue has confirmed that nothing of ours is open; once they have, nobody is asked again.
        """
        self._ends = True
        if self._wound_down:
            return True
        with suppress(VenueError):
            self._wound_down = bool(self._wait(self._cancel_all("the end of the run"), wait_s))
        if not self._wound_down:
            self._say(self.not_confirmed, Level.ERROR)
            return False
        with suppress(VenueError):  # what is owed by then was told
            self._wait(self._settle(), order_desk.OWED_S + 5.0)
            self._wait(self._check_all(), wait_s)
        return True

    @property
    def differs(self) -> list[str]:
        """What was not as it should be, or could not be seen, when what is held was compared last."""
        return [what for each in self._differs.values() for what in each]

    @property
    def nothing_open(self) -> bool:
        """Whether ``wind_down`` had every venue's confirmation."""
        return self._wound_down

    @property
    def not_confirmed(self) -> str:
        """What to say where the venues have not confirmed it: which orders to look for there."""
        ours = [one for desk in self._desks.values() for one in desk.own() if not one.gone]
        by_stream = {one.stream: one for one in self._instruments}
        said = [f"{one.request.client_id}, {order_text(by_stream[one.request.stream], one.request)}" for one in ours]
        which = f" for {'; '.join(said)}" if said else ", though all that we know of is over"
        return f"the venues have not confirmed that nothing of ours is open: look there{which}"

    @property
    def not_sent(self) -> int:
        """Orders that were refused before they left: too old by then, or their venue wanted none, or a halt came."""
        return self._ledger.not_sent

    def check(self, wait_s: float = KILL_S) -> list[str]:
        """Compare with the venues now; what differs halts trading and is returned."""
        found: list[str] = self._wait(self._check_all(), wait_s)
        return found

    def accept(self, who: str, why: str, wait_s: float = KILL_S) -> None:
        """What is held is right, whatever our fills say, e.g. after a deposit; trading goes on.

        Raises:
            VenueError: a venue can't be asked.
        """
        self._wait(self._accept(why), wait_s)
        self.gate.resume(who, why, self._now_ns())
        self.journal.note(f"{who} accepted what is held: {why}", self._now_ns())

    def _say(self, what: str, level: Level = Level.WARNING) -> None:
        self.journal.note(what, self._now_ns())
        self.said.append(Alert(self._now_ns(), level, "halt" if level is Level.ERROR else "risk", what))

    def _halt(self, what: str) -> None:
        self.gate.escalate(TradingState.HALTED, "gateway", what, self._now_ns())
        self.journal.note(what, self._now_ns())

    def _no_orders(self) -> str | None:
        if self.gate.state is TradingState.HALTED:
            return f"trading is halted: {self.gate.changes[-1].why}"
        return "the run ends" if self._ends else self.hold

    def _take_up_risk(self) -> None:
        """Go on with the state that the last run ended in, and with what it lost today."""
        now_ns, last = self._now_ns(), self.journal.last_risk()
        if self.kill_file_is_there():
            return
        if last is None:
            return
        state, is_today = TradingState[last.state], last.day == now_ns // DAY_NS
        if self._resume is not None:
            self.journal.note(f"resumed: {self._resume}", now_ns)
            if state is not TradingState.NORMAL:
                self.notes.append(f"{last.state} by {last.who} is over: {self._resume}")
        if self._resume is None or state is not TradingState.REDUCING:  # who ends that ends what it counted
            self.gate.carry(last.day, last.lost)
        if self._resume is None and (
            state is TradingState.HALTED or (state is TradingState.REDUCING and is_today)
        ):  # fmt: skip
            self.gate.escalate(state, last.who, f"{last.why.removesuffix(EARLIER)}{EARLIER}", now_ns)

    def kill_file_is_there(self) -> bool:
        """Halt if somebody has put it there."""
        file = None if self.config.kill_file is None else Path(self.config.kill_file)
        if file is None or not file.exists():
            return False
        self.gate.escalate(TradingState.HALTED, "kill file", f"{file} is there", self._now_ns())
        return True

    def _note_risk(self) -> None:
        """Put how the gate stands on disk."""
        gate, now_ns = self.gate, self._now_ns()
        self._noted, (day, lost) = len(gate.changes), gate.day
        last = gate.changes[-1] if gate.changes else None
        who, why = (last.who, last.why) if last else ("", "")
        self.journal.risk(RiskNote(now_ns, gate.state.name, who, why, day, lost))

    def _noted_only(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody waited for, such as ccxt's own answers after a connection was cut."""
        self.journal.note(scrub(f"{context.get('message')}: {context.get('exception')}"), self._now_ns())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _wait(self, work: Coroutine[Any, Any, Any], wait_s: float) -> Any:
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result(wait_s)
        except concurrent.futures.TimeoutError:
            done.cancel()
            raise VenueError(f"no answer from {', '.join(self._options)} for {wait_s:g} s") from None

    async def _start(self, started_ns: int) -> None:
        self._take_up_risk()
        venues = sorted({one.venue for one in self._instruments})
        for venue in venues:
            own = [one for one in self._instruments if one.venue == venue]
            account = CcxtAccount(
                venue, own, self._options.get(venue, {}), self.config.recv_window_ms, self.config.timeout_s
            )
            desk = OrderDesk(account, self._ledger, self.config, self._no_orders, self._halt, self._now_ns)
            self._desks[venue] = desk
            self._of |= {one.stream: desk for one in own}
        found = await asyncio.gather(*(self._enter(desk, started_ns) for desk in self._desks.values()))
        for recovered in found:
            self.positions |= recovered.positions
            for stream, spare in recovered.spare.items():
                self._ledger.fees.begin(stream, self.positions[stream].lots if stream in self.positions else 0, spare)
            self.notes += recovered.notes
            self.notes += recovered.unexplained
            for what in recovered.unexplained if self._accepts is None else ():
                self._halt(what)
        if self._accepts is not None:
            await self._accept_start(self._accepts)
        run = [self._checks(), self._guard()]
        for desk in self._desks.values():
            run += [desk.watch(), desk.sweep()]
        for work in run:
            self._desks[venues[0]].spawn(work)

    async def _enter(self, desk: OrderDesk, started_ns: int) -> Recovered:
        self.limits |= await patiently(desk.account.connect)
        found: Recovered = await patiently(
            lambda: recover(desk.account, self.journal, self.config, self._now_ns, started_ns)
        )
        return found

    async def _stop(self) -> None:
        for desk in self._desks.values():
            await desk.close()
            await desk.account.close()

    async def _cancel_all(self, why: str) -> bool:
        self.journal.note(f"everything is cancelled, by {why}", self._now_ns())
        until_ns = self._now_ns() + int(KILL_S * SECOND)
        left = await asyncio.gather(*(desk.cancel_all(until_ns) for desk in self._desks.values()))
        open_still = [name for each in left for name in each]
        what = f"may still be open: {', '.join(open_still)}" if open_still else "nothing of ours is open"
        self.journal.note(f"everything is cancelled: {what}", self._now_ns())
        return not open_still

    async def _settle(self) -> None:
        await asyncio.gather(*(desk.settle() for desk in self._desks.values()))

    async def _guard(self) -> None:
        """Look for the kill file, and cancel everything once trading is halted, whoever did it."""
        confirmed, noted_ns, version = False, 0, 0
        while True:
            self._beat_ns = now_ns = self._now_ns()
            try:
                self.kill_file_is_there()
                halted = self.gate.state is TradingState.HALTED
                if halted and not confirmed and any(desk.own() for desk in self._desks.values()):
                    change = self.gate.changes[-1]
                    confirmed = await self._cancel_all(f"{change.who}: {change.why}")
                confirmed = confirmed and halted
                self._cancel_if_blind()
                self._say_if_left_alone()
                moved = self._ledger.tracker.version != version or now_ns - noted_ns > NOTE_NS
                if moved or len(self.gate.changes) != self._noted:
                    self._note_risk()
                    noted_ns, version = now_ns, self._ledger.tracker.version
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round looks again
                self._halt(f"what looks after open orders failed: {why(error)}")
            await asyncio.sleep(GUARD_S)

    def _cancel_if_blind(self) -> None:
        """Nobody looks after open orders while no stream moves: cancel them."""
        feed_ns = self.feed_ns()
        age_s = 0.0 if feed_ns is None else (self._now_ns() - feed_ns) / SECOND
        if age_s <= self.config.cancel_after_s:
            self._blind.clear()
            return
        orders = [(desk, order) for desk in self._desks.values() for order in desk.own()]
        new = [(desk, order) for desk, order in orders if order.request.client_id not in self._blind]
        if new:
            self._say(f"no stream has moved for {age_s:.1f} s: {len(new)} open orders are cancelled")
        for desk, order in new:
            self._blind.add(order.request.client_id)
            desk.spawn(desk.cancel(order))

    def _say_if_left_alone(self) -> None:
        """Venues that want no requests, once a minute."""
        for venue, desk in self._desks.items():
            now_ns, wait_s = self._now_ns(), desk.account.wait_s
            if wait_s and now_ns - self._left_alone.get(venue, -AGAIN_NS) >= AGAIN_NS:
                self._left_alone[venue] = now_ns
                self._say(
                    f"{venue} wants no requests for {wait_s:.0f} s: until then no order leaves, nothing is compared,"
                    " and a cancel is tried once"
                )

    async def _checks(self) -> None:
        while True:
            await asyncio.sleep(self.config.reconcile_s)
            await self._check_all()

    async def _check_all(self) -> list[str]:
        found = []
        for venue, desk in self._desks.items():
            try:
                self._differs[venue] = await self._check(desk)
                found += self._differs[venue]
                self._uncompared[venue] = 0
            except Trouble as trouble:
                self._differs[venue] = [f"what is held at {venue} could not be compared: {trouble}"]
                self._uncompared[venue] = count = self._uncompared.get(venue, 0) + 1
                self.journal.note(f"not compared: {trouble}", self._now_ns())
                if count % MOST_UNCOMPARED == 0:
                    self._say(f"what is held at {venue} was not compared {count} times in a row: {trouble}")
            except sqlite3.Error as error:
                found.append(f"{self.journal.path} can't be used: {error}")
        for what in found:
            self._halt(what)
        return found

    async def _accept(self, why: str) -> None:
        for desk in self._desks.values():
            account = desk.account
            for stream in account.instruments:
                await catch_up(account, self.journal, stream, self._now_ns(), desk.told)
            held = await account.holdings()
            for item, amount in expected(self.journal, account.venue, account.instruments).items():
                if (by := held.get(item, Decimal(0)) - amount) != 0:
                    self.journal.adjust(account.venue, item, by, self._now_ns(), why)

    async def _accept_start(self, why: str) -> None:
        """What is held is right, and so is how the orders of earlier runs ended: none of them is open any more."""
        await self._accept(why)
        what = f"what is held was accepted: {why}"
        for one in self.journal.open_requests():
            self.journal.move(
                one.request.client_id, OrderState.DONE, self._now_ns(), filled_lots=one.filled_lots, what=what
            )
        self.journal.note(what, self._now_ns())
        self.notes.append(what)

    async def _check(self, desk: OrderDesk) -> list[str]:
        """What differs, twice in a row while nothing moved.

        Raises:
            Trouble: nothing could be compared.
        """
        found: list[str] = []
        for again in range(6):
            if again:
                await asyncio.sleep(0.5)
            if any(not one.status or one.missing or one.gone for one in desk.own()):
                continue
            before = self._ledger.tracker.version
            for stream in desk.account.instruments:
                for note in await catch_up(desk.account, self.journal, stream, self._now_ns(), desk.told):
                    self._halt(f"{note}, of an order too old to be told of; a restart counts it")
            held = await desk.account.holdings()
            if self._ledger.tracker.version != before:
                continue
            last = found  # beside: with many fills it takes long, and orders do not wait for it
            found = await asyncio.to_thread(compare, desk.account, self.journal, held, self._now_ns())
            if self._ledger.tracker.version != before:
                continue
            if not found or found == last:
                return found
        raise Trouble(Fate.LOST, f"{desk.account.venue}: orders moved, or lacked an answer or fills, all the time")
