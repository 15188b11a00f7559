"""Orders to real venues: journal, then the wire; one thread of its own does everything that waits.

    main thread   send(): intent on disk ─▶ handed over                reports(): what was learnt
    IO thread     place, ask, cancel, watch · compare with the venue · kill switch

Put ``RiskGateway`` in front of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from schwabot.errors import StateError, VenueError
from schwabot.execution.ccxt_account import CcxtAccount, Fate, Trouble
from schwabot.execution.journal import Journal
from schwabot.execution.order_desk import SECOND, Ledger, OrderDesk
from schwabot.execution.reconcile import Adopted, Recovered, catch_up, compare, expected, recover
from schwabot.execution.risk import RiskGate, TradingState, VenueLimits
from schwabot.execution.settings import GatewayConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Report, Request

KILL_S = 30.0
GUARD_S = 0.2


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

    Raises:
        ConfigError: a setting that can't be used.
        VenueError: on entering: a venue can't be reached, or refuses.
    """

    def __init__(
        self, instruments: Sequence[Instrument], options: Mapping[str, Mapping[str, Any]], journal: Journal,
        gate: RiskGate, session: str, config: GatewayConfig | None = None, now_ns: Callable[[], int] = time.time_ns,
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
        self._now_ns, self._options = now_ns, options
        self._instruments = list(instruments)
        self._ledger = Ledger(journal, self._halt, self._instruments)
        self._desks: dict[str, OrderDesk] = {}
        self._of: dict[str, OrderDesk] = {}
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)

    def __enter__(self) -> CcxtGateway:
        started_ns = self._now_ns()
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        try:
            self._wait(self._start(started_ns), self.config.start_s)
            self.journal.begin(self.session, self._now_ns())
            self.gate.filters(self.limits)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; what is open at a venue stays open, and is cancelled by the next start."""
        if self._thread.is_alive():
            self._wait(self._stop(), 10.0)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10.0)
            self._loop.close()
            self.journal.end(self._now_ns())

    def send(self, request: Request) -> None:
        """Take a request; it is safe on disk when this returns, and on its way.

        Raises:
            JournalError: it was sent before.
        """
        self._ledger.intend(request, self._now_ns())
        self._loop.call_soon_threadsafe(self._of[request.stream].begin, request)

    def reports(self) -> Sequence[Report]:
        """What was told since the last call, oldest first."""
        return self._ledger.take()

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
        done = asyncio.run_coroutine_threadsafe(self._cancel_all(who, why), self._loop)
        try:
            return wait_s > 0 and done.result(wait_s)
        except concurrent.futures.TimeoutError:
            return False

    def kill_on_signal(self, number: int | None = None) -> None:
        """SIGUSR1, or another signal, is the kill switch; call it on the main thread. Windows has no SIGUSR1."""
        if number is None:
            number = getattr(signal, "SIGUSR1", None)
        if number is not None:
            name = signal.Signals(number).name

            def handle(*_: object) -> None:
                self.kill(name, "the signal was sent", 0.0)

            signal.signal(number, handle)

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

    def _halt(self, what: str) -> None:
        self.gate.escalate(TradingState.HALTED, "gateway", what, self._now_ns())
        self.journal.note(what, self._now_ns())

    def _no_orders(self) -> str | None:
        if self.gate.state is TradingState.HALTED:
            return f"trading is halted: {self.gate.changes[-1].why}"
        return None

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
            for stream, adopted in recovered.positions.items():
                self._ledger.fees.begin(stream, adopted.lots, adopted.spare)
            self.notes += recovered.notes
            for what in recovered.unexplained:
                self._halt(what)
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

    async def _cancel_all(self, who: str, why: str) -> bool:
        self.journal.note(f"kill switch by {who}: {why}", self._now_ns())
        until_ns = self._now_ns() + int(KILL_S * SECOND)
        left = await asyncio.gather(*(desk.cancel_all(until_ns) for desk in self._desks.values()))
        open_still = [name for each in left for name in each]
        what = f"may still be open: {', '.join(open_still)}" if open_still else "nothing of ours is open"
        self.journal.note(f"kill switch: {what}", self._now_ns())
        return not open_still

    async def _guard(self) -> None:
        """Look for the kill file, and cancel everything once trading is halted, whoever did it."""
        file = None if self.config.kill_file is None else Path(self.config.kill_file)
        confirmed = False
        while True:
            if file is not None and file.exists():
                self.gate.escalate(TradingState.HALTED, "kill file", f"{file} is there", self._now_ns())
            halted = self.gate.state is TradingState.HALTED
            if halted and not confirmed and any(desk.own() for desk in self._desks.values()):
                change = self.gate.changes[-1]
                confirmed = await self._cancel_all(change.who, change.why)
            confirmed = confirmed and halted
            await asyncio.sleep(GUARD_S)

    async def _checks(self) -> None:
        while True:
            await asyncio.sleep(self.config.reconcile_s)
            await self._check_all()

    async def _check_all(self) -> list[str]:
        found = []
        for desk in self._desks.values():
            try:
                found += await self._check(desk)
            except Trouble as trouble:
                self.journal.note(f"not compared: {trouble}", self._now_ns())
        for what in found:
            self._halt(what)
        return found

    async def _accept(self, why: str) -> None:
        for desk in self._desks.values():
            account, held = desk.account, await desk.account.holdings()
            for item, amount in expected(self.journal, account.venue, account.instruments).items():
                if (by := held.get(item, Decimal(0)) - amount) != 0:
                    self.journal.adjust(account.venue, item, by, self._now_ns(), why)

    async def _check(self, desk: OrderDesk) -> list[str]:
        """What differs, twice in a row while nothing moved; nothing where orders move all the time."""
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
            last, found = found, compare(desk.account, self.journal, held, self._now_ns())
            if not found or found == last:
                return found
        return []


async def patiently(ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Ask again while a venue is busy or out of reach; what it refuses, it refuses."""
    for pause in (0.2, 0.5, 1.0, 2.0, 4.0):
        try:
            return await ask()
        except Trouble as trouble:
            if trouble.fate not in (Fate.LOST, Fate.THROTTLED):
                raise
            await asyncio.sleep(max(pause, trouble.wait_s))
    return await ask()
