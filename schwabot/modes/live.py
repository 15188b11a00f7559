"""mode=live: a policy on live streams, its orders sent to real venues.

without live.confirm   a dry run: the account is looked at, orders are printed, nothing is sent or changed
live.confirm=ACCOUNT   recovery ─▶ a dry run of live.dry_s ─▶ orders leave ─▶ what is open at the end is cancelled
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schwabot.config import RunConfig, either
from schwabot.errors import ConfigError, VenueError
from schwabot.execution.account_lock import AccountLock
from schwabot.execution.account_look import look
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.conversion import conversion
from schwabot.execution.dry_run import DryRun
from schwabot.execution.journal import Journal
from schwabot.execution.kill_signal import KillSignal
from schwabot.execution.live_control import LiveControl
from schwabot.execution.order_desk import ACCEPT
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.trade_alerts import TradeAlerts
from schwabot.execution.trading_view import TradingView
from schwabot.execution.venue import VenueBroker
from schwabot.execution.venue_rules import RULES, new_session
from schwabot.modes.backtest import BacktestEntry, write_results
from schwabot.modes.hot_reload import open_reload
from schwabot.modes.live_rows import check_source, open_live_desk, open_live_feed, run_rows
from schwabot.modes.notifying import tell_now
from schwabot.modes.opening import say, while_compiling
from schwabot.modes.row_watch import RowWatch
from schwabot.modes.serving import served
from schwabot.modes.trading import Desk, open_policy
from schwabot.records.alert import Level
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Row, Ticks
from schwabot.run_folder import account_label, journal_of, venues_of
from schwabot.secrets import revealed, secret, venue_credentials
from schwabot.sinks.log_file import flush_log
from schwabot.sinks.progress import Progress
from schwabot.training.meters import CompileEntry

MOST_TOLD = 40
"""Orders of a dry run that are printed one by one."""
SECOND = 1_000_000_000
REFUSED_HOLD_S, DRY_HOLD_S = 0.25, 1.0
"""How often a policy that insists on an order is answered that it was refused, or only printed."""


def live(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=live: the live streams through the graph, the policy's orders to the venues; see docs/execution.md.

    Returns:
        What summary.json holds.

    Raises:
        ConfigError: a source that is not live, a confirmation of another account, a key that is missing, or a setting
            that can't be used.
        JournalError: another process trades with this journal or on this account, or it can't be used.
        VenueError: an exchange can't be reached, or refuses the account.
    """
    check_source(settings)
    _check_account(settings)
    changes = open_reload(settings)
    policy, policy_s = while_compiling(lambda: open_policy(settings))
    with KillSignal() as stop, ExitStack() as opened:
        server = opened.enter_context(served(settings))
        confirmed = settings.live.confirm is not None
        options = {
            venue: account_options(venue, settings.live.loopback_port) for venue in venues_of(settings.policy.trade)
        }
        for venue, keys in options.items() if confirmed else ():
            opened.enter_context(AccountLock(venue, keys, journal_of(settings)))
        journal = _journal(settings, opened) if confirmed else None  # first: what was sent before can't arrive for long
        feed = opened.enter_context(open_live_feed(settings))
        desk, graph_s = open_live_desk(settings, policy, feed)
        parameters, traded = desk.parameters(settings), _traded(desk)
        conversion(feed.instruments, traded)  # refused before any venue is asked
        recorder, config = desk.recorder(settings), settings.execution.gateway
        gate = RiskGate(settings.execution.risk, traded)
        label = account_label(settings)
        desk.notes += say([f"note: {line}" for line in _plan(settings, desk, parameters, label)])
        if journal is None:
            seen = look(traded, options, config)
            gate.filters(seen.limits)
            desk.notes += say([f"note: {line}" for line in seen.lines])
        progress = Progress(enabled=settings.sinks.progress, label=settings.mode if confirmed else "dry run")
        session = new_session(config.prefix, time.time_ns())
        gateway, dry_s = None, settings.live.dry_s
        if journal is not None:
            if journal.sessions:  # a restart has positions to look after
                dry_s = 0.0
            resume, accept = settings.live.resume, settings.live.accept
            gateway = CcxtGateway(traded, options, journal, gate, session, config, feed.now_ns, resume, accept)
            opened.enter_context(gateway)
            desk.notes += say([f"note: {note}" for note in gateway.notes])
        ending = opened.enter_context(Ending(gateway))
        stop.meets(lambda who, why: _halt(gate, gateway, who, why))
        until_ns = feed.now_ns() + round(dry_s * SECOND)
        tell, by_stream = Few(progress.note, MOST_TOLD), {one.stream: one for one in traded}
        dry = DryRun(gateway, by_stream, until_ns, tell, feed.now_ns, DRY_HOLD_S)
        gated = RiskGateway(dry, gate, feed.instruments, feed.now_ns, REFUSED_HOLD_S)
        desk.notes += say([f"note: {line}" for line in gated.notes])
        if gateway is not None:
            gateway.feed_ns = lambda: gated.feed_ns
        on_our_clock = desk.pipeline.clock.on_our_clock
        broker, broker_s = while_compiling(lambda: VenueBroker(recorder, parameters, gated, session, on_our_clock))
        for stream, (lots, entry_ticks) in (gateway.positions if gateway else {}).items():
            gated.adopt(stream, lots, entry_ticks)
            broker.adopt(stream, lots, entry_ticks)

        def on_row(row: Row, signals: SignalColumns) -> None:
            gated.observe(row, signals)
            broker.row(row, signals)
            broker.rehearse(row, gated.rehearse)

        entry = LiveEntry(label, gate, dry, gateway, ending, gated, desk.legs)
        ending.words = lambda: _last_words(entry, gate, label)
        alerts = TradeAlerts(broker, gated, gateway, progress.note)
        control = LiveControl(gate, gateway)
        server.shows(TradingView(broker, label, control.gated, sending=confirmed, session=session, reasons=gated.said))
        server.controls(control)
        hung = Hung(settings, gate, ending)

        def ends() -> bool:
            return stop.ends.is_set() or feed.progress() >= 1.0

        watched = opened.enter_context(RowWatch(on_row, hung.stuck, ends, hung.leave))
        summary = run_rows(
            settings, run_dir, started_s, desk, broker, watched,
            meters=[
                entry, CompileEntry(policy_s + graph_s + broker_s), BacktestEntry(broker, desk, parameters, "live"),
            ],
            changes=changes,
            progress=progress,
            alerts=alerts.take,
            server=server,
            checks=(lambda changed: gate.check_limits(changed.execution.risk),),
            puts=(lambda changed: gate.limits(changed.execution.risk),),
            at_end=ending.end,
        )  # fmt: skip
    try:
        write_results(settings, run_dir, desk, broker, parameters, summary, "live")
    finally:
        say(ending.words())
    return summary


class Few:
    """Says the first lines and counts the others.

    Args:
        say: told of each line.
        most: lines that are said.
    """

    def __init__(self, say: Callable[[str], None], most: int) -> None:
        self._say, self._most, self._count = say, most, 0

    def __call__(self, line: str) -> None:
        """Say it, if there were few before."""
        self._count += 1
        if self._count <= self._most:
            self._say(line + (" (further ones are only counted)" if self._count == self._most else ""))


class Ending:
    """Cancels what is open when a run ends, however it ends, once; use it in a ``with``.

    Args:
        gateway: to the venues; None = there is nothing to cancel.
    """

    def __init__(self, gateway: CcxtGateway | None) -> None:
        self._gateway = gateway
        self.words: Callable[[], list[str]] = list
        """What is said at last, however the run ends."""
        self.nothing_open: bool | None = None
        """Whether the venues have confirmed that nothing of ours is open; None = nobody asked."""

    def end(self) -> None:
        """Cancel what is open, and wait until that is confirmed."""
        if self._gateway is not None and self.nothing_open is None:
            self.nothing_open = False  # an interrupted wait has confirmed nothing
            self.nothing_open = self._gateway.wind_down()

    def close(self) -> None:
        """Leave the venues and close the journal, where nobody else will."""
        if self._gateway is not None:
            with suppress(VenueError):
                self._gateway.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            if error is not None:  # not in good order, so nobody else says it
                say((["note: nothing of ours is open"] if self.nothing_open else []) + self.words())


class Hung:
    """What is done, on another thread, about a run whose main thread does not answer a row any more.

    Args:
        settings: of the run.
        gate: is halted, upon which the gateway cancels what is open.
        ending: of the run.
    """

    def __init__(self, settings: RunConfig, gate: RiskGate, ending: Ending) -> None:
        self._settings, self._gate, self._ending = settings, gate, ending

    def stuck(self, age_s: float) -> None:
        """A row is not answered for so long: halt, and tell."""
        why = f"a row has not been answered for {age_s:.0f} s: the policy hangs, or the journal's disk does"
        self._gate.escalate(TradingState.HALTED, "watch", why, time.time_ns())
        self._tell(f"trading is halted, and what is open is cancelled: watch: {why}")

    def leave(self) -> None:
        """The run is to end, and can't in good order: cancel what is open, say what is held, end the process."""
        try:
            self._ending.end()
            say(self._ending.words())
            self._tell("the policy does not come back: the run ends without a summary; what was not written is lost")
            self._ending.close()
            sys.stderr.flush()
            flush_log()
        finally:
            os._exit(1)  # nothing else ends a process whose main thread is in compiled code

    def _tell(self, text: str) -> None:
        say([f"error: {text}"])
        if self._settings.notify.to:
            tell_now(self._settings, Level.ERROR, "halt", text)


class LiveEntry:
    """What became of a live run's orders, beside what a backtest tells.

    Args:
        label: of the account.
        gate: that decided what may leave.
        dry: that told of what was not sent.
        gateway: to the venues; None = a dry run.
        ending: of the run.
        gated: knows what is held.
        legs: streams that are traded.
    """

    def __init__(
        self, label: str, gate: RiskGate, dry: DryRun, gateway: CcxtGateway | None, ending: Ending, gated: RiskGateway,
        legs: Sequence[str],
    ) -> None:  # fmt: skip
        self._label, self._gate, self._dry, self._gateway, self._gated = label, gate, dry, gateway, gated
        self.ending, self._legs = ending, legs

    @property
    def dry(self) -> bool:
        """Whether nothing was ever to be sent."""
        return self._gateway is None

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Nothing: all is known at the end."""

    def summary(self) -> Mapping[str, Any]:
        """``trading``: the account, what was refused, the states the risk gate went through, what is held.

        A run that failed, or was told to end twice, has cancelled nothing yet: it is done here, so that this is true.
        """
        with suppress(KeyboardInterrupt):  # nobody waits for the confirmation any more
            self.ending.end()
        self._gated.reports()  # what was told since the last row
        return {
            "trading": {
                "account": self._label,
                "dry": self.dry,
                "dry_orders": self._dry.count,
                "state": self._gate.state.name,
                "changes": [
                    {"ts_ns": one.ts_ns, "state": one.state.name, "who": one.who, "why": one.why}
                    for one in self._gate.changes
                ],
                "refused": {str(reason): count for reason, count in self._gate.refused.items()},
                "not_sent": 0 if self._gateway is None else self._gateway.not_sent,
                "position_lots": self.positions(),
                "nothing_open": self.ending.nothing_open,
                "differs": self.differs(),
                "journal": None if self._gateway is None else str(self._gateway.journal.path.absolute()),
            }
        }

    def differs(self) -> list[str]:
        """What is held otherwise than by our fills, or could not be compared."""
        return [] if self._gateway is None else self._gateway.differs

    @property
    def not_confirmed(self) -> str:
        """See ``CcxtGateway``."""
        return "" if self._gateway is None else self._gateway.not_confirmed

    def positions(self) -> dict[str, int]:
        """Lots held now, by stream."""
        return {leg: self._gated.position(leg) for leg in self._legs}


def account_options(venue: str, loopback_port: int | None) -> dict[str, Any]:
    """What ccxt needs for an account: keys, and the loopback exchange's addresses where that is meant.

    Raises:
        ConfigError: a key that is missing; says which variable.
    """
    if loopback_port is None:
        return revealed(venue_credentials(venue))
    from schwabot.venues.loopback.urls import KEY, SECRET, ccxt_options, credentials

    # Keys of real accounts are not shown to it: it has its own, and its own variables for others.
    own = secret("LOOPBACK_API_KEY"), secret("LOOPBACK_SECRET")
    key, word = (KEY if own[0] is None else own[0].reveal()), (SECRET if own[1] is None else own[1].reveal())
    return ccxt_options(venue, loopback_port) | credentials(venue, key, word)


def _journal(settings: RunConfig, opened: ExitStack) -> Journal:
    journal = Journal(journal_of(settings))
    opened.callback(journal.close)
    return journal


def _check_account(settings: RunConfig) -> None:
    """Refuse, before anything connects, what can't be traded on."""
    source, label, confirm = settings.source, account_label(settings), settings.live.confirm
    for venue in venues_of(settings.policy.trade):
        if venue not in RULES:
            raise ConfigError(
                f"policy.trade: orders at {venue} have not been tried where answers are lost, so mode=live does not"
                f" send any; it trades at {either(list(RULES))}, and watches streams of all others"
            )
    if not settings.policy.trade:
        raise ConfigError(f"mode=live needs to be told what it trades: add 'policy.trade=[{source.streams[0]}]'")
    if confirm is not None and confirm != label:
        raise ConfigError(f"live.confirm={confirm} is not this account: it is {label} (live.account names it)")
    if settings.live.loopback_port is None:
        for venue in venues_of(settings.policy.trade):
            venue_credentials(venue)


def _halt(gate: RiskGate, gateway: CcxtGateway | None, who: str, why: str) -> None:
    if gateway is not None:
        gateway.kill(who, why, 0.0)
    else:
        gate.escalate(TradingState.HALTED, who, why, time.time_ns())


def _traded(desk: Desk) -> list[Instrument]:
    by_stream = {one.stream: one for one in desk.feed.instruments}
    return [by_stream[stream] for stream in desk.legs]


def _plan(settings: RunConfig, desk: Desk, parameters: Mapping[str, float], label: str) -> list[str]:
    """What the run is going to do, in words."""
    risk, kill = settings.execution.risk, settings.execution.gateway.kill_file
    said = ", ".join(f"{name}={value:g}" for name, value in parameters.items())
    what = f"policy {desk.policy.name} ({said}) trades {', '.join(desk.legs)}"
    most = (
        f"at most {risk.max_order_notional:g} an order, {risk.max_notional:g} a stream, {risk.max_total_notional:g} in"
        f" all, {risk.max_orders_per_s:g} orders a second; a loss of {risk.max_daily_loss:g} in a day, or"
        f" {risk.max_drawdown:g} from the best, ends what opens positions"
    )
    how = f"a dry run: nothing is sent; live.confirm={label} trades on account {label}"
    if settings.live.confirm is not None:
        how = (
            f"account {label}, journal {journal_of(settings)}; orders leave after {settings.live.dry_s:g} s of"
            f" watching, at a restart at once; SIGUSR1{f' or the file {kill}' if kill else ''} stops it at once"
        )
    return [what, most, how]


def _last_words(entry: LiveEntry, gate: RiskGate, label: str) -> list[str]:
    if entry.dry:
        return [f"note: this was a dry run, nothing was sent; live.confirm={label} trades on account {label}"]
    held = ", ".join(f"{lots:+,} lots of {stream}" for stream, lots in entry.positions().items() if lots)
    lines = [f"note: still held{', by our books' if entry.differs() else ''}: {held}"] if held else []
    lines += [f"warning: {what}" for what in entry.differs()]
    if not entry.ending.nothing_open:
        lines.append(f"warning: {entry.not_confirmed}")
    if gate.state is not TradingState.NORMAL:
        change = gate.changes[-1]
        until = "" if gate.state is TradingState.HALTED else ", or the next day,"
        again = "" if ACCEPT in change.why else f"; the next start needs live.resume=REASON{until} to trade again"
        lines.append(f"warning: trading is {gate.state.name}, by {change.who}: {change.why}{again}")
    return lines
