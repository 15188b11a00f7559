"""Our books beside the venue's: what the journal's fills make of where counting began, against what is held there.

    held = baseline + Σ fills − fees      per currency on spot, per stream of contracts

The first look at an account is where counting begins. On spot, what was there then is not ours to trade.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from schwabot.errors import JournalError
from schwabot.execution.base_fees import paid, payer, step
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.journal import Fill, Journal, OrderState
from schwabot.execution.order_desk import ACCEPT, SECOND, SIGNED_NS, Ledger, OrderDesk
from schwabot.execution.order_tracker import OrderSeen, TradeSeen
from schwabot.execution.settings import GatewayConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action

_SIDE = {1: "buy", -1: "sell"}
_NOISE = Decimal("1e-7")
"""Venues print balances to eight decimals and round each fee by itself."""


class Adopted(NamedTuple):
    """A position to begin with: lots, and their average price in ticks."""

    lots: int
    entry_ticks: float


def items(instruments: Mapping[str, Instrument]) -> list[str]:
    """What is counted of a venue: currencies of its spot streams, and its contracts."""
    spot = {name for one in instruments.values() if one.is_spot for name in (one.base, one.quote)}
    return sorted(spot) + sorted(stream for stream, one in instruments.items() if not one.is_spot)


def change(one: Instrument, fill: Fill, item: str) -> Decimal:
    """What a fill changes of something that is counted.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        >>> fill = Fill(spot.stream, "x", "a-0", "1", -1, 2, 5_000_000, True, Decimal("0.001"), "USDT", 0, 0)
        >>> str(change(spot, fill, "BTC")), str(change(spot, fill, "USDT"))
        ('-0.00002', '0.9990000')
    """
    amount = fill.side * fill.lots * step(one.lot_size)
    if not one.is_spot:
        return amount if item == fill.stream else Decimal(0)
    total = Decimal(0)
    if item == one.base:
        total += amount
    if item == one.quote:
        total -= amount * fill.price_ticks * step(one.tick_size)
    return total - fill.fee if item == fill.fee_currency else total


def expected(journal: Journal, venue: str, instruments: Mapping[str, Instrument]) -> dict[str, Decimal]:
    """What should be held, of everything whose counting has begun; fills of streams that are not traded now count."""
    found, known = {}, {**journal.instruments(), **instruments}
    for item in items(instruments):
        if (base := journal.baseline(venue, item)) is None:
            continue
        moved = [(one, fill) for fill in journal.fills(after=base.after_fill) if (one := known.get(fill.stream))]
        found[item] = base.amount + sum(
            (change(one, fill, item) for one, fill in moved if one.venue == venue), Decimal(0)
        )
    return found


def rounded(
    journal: Journal, venue: str, instruments: Mapping[str, Instrument], rounding: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """By how much holdings may differ where every booking is rounded: each fill that moved an item, by so much."""
    found, known = {}, {**journal.instruments(), **instruments}
    for item, by in rounding.items():
        if (base := journal.baseline(venue, item)) is None:
            continue
        fills = journal.fills(after=base.after_fill)
        booked = [(one, fill) for fill in fills if (one := known.get(fill.stream)) and one.venue == venue]
        found[item] = by * sum(item in (one.base, one.quote, fill.fee_currency) for one, fill in booked)
    return found


def differences(
    should: Mapping[str, Decimal], held: Mapping[str, Decimal], rounding: Mapping[str, Decimal] | None = None
) -> list[str]:
    """What is held that should not be, and the other way round.

    Args:
        should: be held, by item.
        held: by item.
        rounding: how much of a difference is nobody's, where it is more than what printing costs.

    Example:
        >>> differences({"BTC": Decimal("1.5"), "USDT": Decimal("10")}, {"BTC": Decimal("1.4"), "USDT": Decimal("10")})
        ['BTC: 1.4 is held, by our fills it should be 1.5']
    """
    return [
        f"{item}: {_plain(held.get(item, Decimal(0)))} is held, by our fills it should be {_plain(amount)}"
        for item, amount in should.items()
        if abs(held.get(item, Decimal(0)) - amount) > _NOISE + (rounding or {}).get(item, Decimal(0))
    ]


def position(
    journal: Journal,
    one: Instrument,
    held: Mapping[str, Decimal],
    entry_ticks: float = 0.0,
    traded_too: Iterable[Instrument] = (),
) -> tuple[Adopted, Decimal]:
    """What a policy begins with, and what is held or owed beside its whole lots.

    On spot it is what our fills came to, and no more than is there; of a contract all that is held.

    Args:
        journal: of the fills.
        one: the instrument.
        held: at its venue, see ``CcxtAccount.holdings``.
        entry_ticks: average price by the venue's word; 0 = it says none, and what our fills came to counts.
        traded_too: others that are traded; fees of their fills may be paid in this one's lots.
    """
    item = one.base if one.is_spot else one.stream
    base = journal.baseline(one.venue, item)
    after_fill, together = base.after_fill if base else 0, [one, *traded_too]
    fills, amount = journal.fills(one.stream, after=after_fill), Decimal(0)
    for fill in journal.fills(after=after_fill) if one.is_spot else ():
        if fill.stream == one.stream:
            amount += change(one, fill, item)
        elif payer(together, fill) == one.stream:
            amount -= paid(fill, amount)
    lot, has = step(one.lot_size), held.get(item, Decimal(0))
    if not one.is_spot or amount - max(has, Decimal(0)) >= lot:
        amount = max(has, Decimal(0)) if one.is_spot else has
    lots, entry = 0, 0.0
    for fill in fills:
        after = lots + fill.side * fill.lots
        if lots * after <= 0:
            entry = float(fill.price_ticks)
        elif abs(after) > abs(lots):
            entry = (abs(lots) * entry + fill.lots * fill.price_ticks) / abs(after)
        lots = after
    whole = int(amount // lot)
    known = entry_ticks or (entry if whole == lots or one.is_spot else 0.0)
    return Adopted(whole, known), amount % lot  # both go by the amount rounded towards 0


class Recovered(NamedTuple):
    """What a start found.

    Attributes:
        positions: to begin with, by stream; those with nothing held and nothing traded are left out.
        notes: what a person may want to know.
        unexplained: what differs from the journal; trading must not begin.
        spare: what is held or owed beside the positions' whole lots, by stream.
    """

    positions: dict[str, Adopted]
    notes: list[str]
    unexplained: list[str]
    spare: dict[str, Decimal]


async def recover(
    account: CcxtAccount, journal: Journal, config: GatewayConfig, now_ns: Callable[[], int], started_ns: int
) -> Recovered:  # fmt: skip
    """Bring the journal to where the venue is after whatever happened, and leave no order of ours open there.

    Args:
        account: at the venue.
        journal: of all sessions.
        config: how orders travel.
        now_ns: time now.
        started_ns: every earlier process was gone by then.

    Raises:
        VenueError: the venue can't be asked.
    """
    notes: list[str] = []
    unexplained: list[str] = []
    ledger = Ledger(journal, unexplained.append)
    desk = OrderDesk(account, ledger, config, lambda: "recovering", unexplained.append, now_ns)
    for number, (request, _, venue_id, _, _) in enumerate(journal.open_requests()):
        if request.stream not in account.instruments:
            continue
        if request.action is Action.CANCEL:
            journal.move(request.client_id, OrderState.DONE, now_ns(), what="recovered")
            continue
        as_order = Action.TAKE if request.action is Action.TAKE else Action.POST
        with ledger.change(now_ns()) as tracker:
            tracker.ask(request._replace(action=as_order, of=-1, number=number), now_ns())
            if venue_id is not None:
                tracker.order(OrderSeen(request.stream, request.client_id, venue_id, "", 0, 0, 0), now_ns())
    left = ledger.tracker.open_orders()
    for order in left:
        sent_ns = journal.sent_ns(order.request.client_id)
        await desk.resolve(order, started_ns if sent_ns is None else min(started_ns, sent_ns + SIGNED_NS))
        await desk.cancel(order)
    await asyncio.gather(*(desk.complete(order) for order in left))
    names = [order.request.client_id for order in left]
    notes += [f"{name}: {journal.states(name)[-1]}, left by an earlier run" for name in names]
    for stream in account.instruments:
        for seen in await account.open_orders(stream):
            if not seen.client_id.startswith(config.prefix):
                notes.append(f"{stream}: order {seen.venue_id} is not ours and stays")
                continue
            await desk.cancel_stray(seen)
            known = journal.request(seen.client_id) is not None
            what = "is over by the journal" if known else "is not in the journal"
            unexplained.append(f"{stream}: order {seen.client_id} was open and {what}; cancelled")
        notes += await catch_up(account, journal, stream, now_ns())
    held = await account.holdings()
    notes.append(holdings_text(account.venue, held))
    unexplained += compare(account, journal, held, now_ns())
    found = {
        stream: position(journal, one, held, account.entry_ticks.get(stream, 0.0), account.instruments.values())
        for stream, one in account.instruments.items()
    }
    positions = {stream: one for stream, (one, _) in found.items() if one.lots or one.entry_ticks}
    return Recovered(positions, notes, unexplained, {stream: spare for stream, (_, spare) in found.items()})


def elsewhere(journal: Journal, instruments: Iterable[Instrument]) -> list[str]:
    """What earlier runs held of streams that are not traded now.

    Raises:
        JournalError: orders may be open there, where nobody would look.
    """
    traded = {one.stream for one in instruments}
    asked = [one.request for one in journal.open_requests() if one.request.action is not Action.CANCEL]
    left = [one for one in asked if one.stream not in traded]
    if left:
        orders = ", ".join(
            f"{one.client_id} ({_SIDE.get(one.side, 'move')} {one.lots:,} lots of {one.stream})" for one in left
        )
        streams = ",".join(sorted({f'"{one.stream}"' for one in left}))
        raise JournalError(
            f"{journal.path}: an earlier run ended without knowing what became of {orders}; this one would not look:"
            f" start once with 'policy.trade=[{streams}]', live.seconds=1 is enough, which looks them up and cancels"
            " them"
        )
    return [
        f"{stream}: {lots:+,} lots by the fills of earlier runs, and not traded now: nobody looks after them"
        for stream, lots in journal.lots().items()
        if lots and stream not in traded
    ]


async def catch_up(
    account: CcxtAccount, journal: Journal, stream: str, now_ns: int,
    tell: Callable[[None, list[TradeSeen]], None] | None = None,
) -> list[str]:  # fmt: skip
    """Write fills of a stream that the journal does not have; says which ones.

    Args:
        account: at the venue.
        journal: that may lack some.
        stream: of the fills.
        now_ns: time now.
        tell: told of all first, so that those of orders that are followed go the usual way.
    """
    notes: list[str] = []
    since_ns = journal.last_fill_ns(stream)
    if since_ns is None:
        base = journal.baseline(account.venue, items(account.instruments)[0])
        if base is None:
            return []
        since_ns = base.ts_ns
    trades = await account.trades(stream, since_ns - 60 * SECOND)
    if tell is not None:
        tell(None, trades)
    for trade in trades:
        owner = journal.owner(stream, trade.venue_id)
        request = None if owner is None else journal.request(owner)
        if owner is None or request is None:
            continue
        fill = Fill(
            stream, trade.trade_id, owner, trade.venue_id, request.side, trade.lots, trade.price_ticks, trade.maker,
            trade.fee, trade.fee_currency, trade.ts_event_ns, now_ns,
        )  # fmt: skip
        if journal.fill(fill):
            notes.append(f"{owner}: a fill of {trade.lots} lots was found at the venue")
    return notes


def compare(account: CcxtAccount, journal: Journal, held: Mapping[str, Decimal], now_ns: int) -> list[str]:
    """What differs; where counting has not begun it begins now."""
    should = expected(journal, account.venue, account.instruments)
    fresh = [(item, held.get(item, Decimal(0))) for item in items(account.instruments) if item not in should]
    if fresh:
        journal.count_from(account.venue, fresh, account.at_venue(now_ns), "first look")
    found = differences(should, held, rounded(journal, account.venue, account.instruments, account.rounding))
    journal.checked(account.venue, not found, "; ".join(found), now_ns)
    return [f"{account.venue}: {each} ({ACCEPT})" for each in found]


def holdings_text(venue: str, held: Mapping[str, Decimal]) -> str:
    """What an account holds, in words.

    Example:
        >>> holdings_text("binance", {"BTC": Decimal("0.50"), "USDT": Decimal(0)})
        'binance holds 0.5 BTC'
    """
    has = [f"{_plain(amount)} {item}" for item, amount in held.items() if amount]
    return f"{venue} holds {', '.join(has) or 'nothing of what is traded'}"


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
