"""Tables of a simulated run: fills, orders with their shortfall, round trips, equity.

Columns that look ahead start with ``realised_``.

Axis legend: N rows of the market, L legs, F fills, O orders, B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schwabot.modules.shortfall import name_event, regret_bp, shortfall
from schwabot.records.audit import Lane, PhantomEvent
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64, Kind
from schwabot.simulation.decimals import in_units
from schwabot.simulation.outcome import EquityCurve, Outcome, worth
from schwabot_kernels.simulate.intent import POST, REPLACE, TAKE
from schwabot_kernels.simulate.state import (
    FILL_FEE,
    FILL_LEG,
    FILL_LOTS,
    FILL_MAKER,
    FILL_ORDER,
    FILL_PRICE,
    FILL_REPORT_NS,
    FILL_ROW,
    FILL_SIDE,
    FILL_VENUE_NS,
    ORDER_ACTION,
    ORDER_ARRIVAL_ASK,
    ORDER_ARRIVAL_BID,
    ORDER_ARRIVAL_NS,
    ORDER_ASK,
    ORDER_BID,
    ORDER_BY,
    ORDER_END,
    ORDER_END_NS,
    ORDER_ID,
    ORDER_LEG,
    ORDER_LIMIT,
    ORDER_LOTS,
    ORDER_NS,
    ORDER_ROW,
    ORDER_SIDE,
    REPLACED,
    TOO_LATE,
)

ACTIONS = ("nothing", "take", "post", "cancel", "replace")
ENDS = (
    "open", "filled", "rest_cancelled", "cancelled", "rejected_price", "rejected_no_book", "rejected_would_cross",
    "rejected_level_not_recorded", "replaced", "too_late",
)  # fmt: skip
TEXT = pa.dictionary(pa.int32(), pa.string())
PHANTOM_BP = 1.0
"""What being late took is named from here on."""
REGRET_NS = 1_000_000_000
"""How much later an exit is judged."""


def fills_table(outcome: Outcome) -> pa.Table:
    """fills.parquet: every fill, in the order in which it was reported. F rows."""
    fills, columns = outcome.fills, {}
    leg = fills[:, FILL_LEG]
    price, qty = _prices(outcome, leg, fills[:, FILL_PRICE]), _quantities(outcome, leg, fills[:, FILL_LOTS])
    decided = _decision_rows(outcome)[fills[:, FILL_ORDER]] if len(fills) else np.empty(0, np.int64)
    position = np.zeros(len(fills), np.int64)
    for v in range(len(outcome.instruments)):
        booked = outcome.booked(v)
        held = np.cumsum(booked[:, FILL_SIDE] * booked[:, FILL_LOTS])
        position[leg == v] = held[booked[:, FILL_ORDER] >= 0]
    columns["ts_report_ns"] = pa.array(fills[:, FILL_REPORT_NS])
    columns["ts_venue_ns"] = pa.array(fills[:, FILL_VENUE_NS])
    columns["ts_decision_ns"] = pa.array(outcome.market.ts_ns[decided])
    columns["order"] = pa.array(fills[:, FILL_ORDER])
    columns["stream"] = _names(leg, [one.stream for one in outcome.instruments])
    columns["side"] = _names((fills[:, FILL_SIDE] < 0).astype(np.int64), ["buy", "sell"])
    columns["price"] = pa.array(price)
    columns["qty"] = pa.array(qty)
    columns["liquidity"] = _names(fills[:, FILL_MAKER], ["taker", "maker"])
    columns["fee"] = pa.array(_money(outcome, leg, fills[:, FILL_FEE]))
    columns["currency"] = _names(leg, [_currency(outcome, v) for v in range(len(outcome.instruments))])
    columns["position"] = pa.array(_quantities(outcome, leg, position))
    columns["lane"] = _names(_lanes(outcome, leg, decided), [lane.name for lane in Lane])
    return pa.table(columns)


def orders_table(outcome: Outcome, regret_ns: int = REGRET_NS) -> pa.Table:
    """shortfall.parquet: every order that was sent, what became of it and what it lost. O rows.

    Prices of decision, arrival and end are mids: of the touch known at the decision, of the exchange's book when the
    order arrived, and of the touch known when its end was reported.

    Args:
        outcome: of the run.
        regret_ns: how much later an exit is judged.
    """
    orders = outcome.orders
    # A replace is an order of its own from its arrival on; a cancel is the end of one.
    asked = _asked(outcome)
    new = orders[np.isin(orders[:, ORDER_ACTION], [TAKE, POST, REPLACE]) & (orders[:, ORDER_END] != TOO_LATE)]
    new = new[asked[new[:, ORDER_ID]] > 0]
    asked = asked[new[:, ORDER_ID]]
    leg, count = new[:, ORDER_LEG], len(new)
    lots, value, fees = _fill_sums(outcome, new[:, ORDER_ID])
    decision = _prices(outcome, leg, new[:, ORDER_BID] + new[:, ORDER_ASK], over=2)
    arrival = _prices(outcome, leg, new[:, ORDER_ARRIVAL_BID] + new[:, ORDER_ARRIVAL_ASK], over=2)
    arrived = new[:, ORDER_ARRIVAL_BID] > 0
    last_ns = int(outcome.market.ts_ns[outcome.rows - 1]) if outcome.rows else 0
    end_ns = np.where(new[:, ORDER_END_NS] >= 0, new[:, ORDER_END_NS], last_ns)
    # What replaces an order is measured from its own decision on, so the order itself up to there.
    replaced = (new[:, ORDER_END] == REPLACED) & (new[:, ORDER_BY] >= 0)
    end_ns = np.where(replaced, orders[np.maximum(new[:, ORDER_BY], 0), ORDER_NS] if len(orders) else end_ns, end_ns)
    end = _mid_at(outcome, leg, end_ns)
    later = _mid_at(outcome, leg, end_ns + regret_ns)
    held = _positions_at(outcome, leg, new[:, ORDER_ROW])
    opens = held * new[:, ORDER_SIDE] >= 0
    columns: dict[str, Any] = {
        "order": pa.array(new[:, ORDER_ID]),
        "stream": _names(leg, [one.stream for one in outcome.instruments]),
        "style": _names(new[:, ORDER_ACTION], list(ACTIONS)),
        "side": _names((new[:, ORDER_SIDE] < 0).astype(np.int64), ["buy", "sell"]),
        "opens": pa.array(opens),
        "lane": _names(_lanes(outcome, leg, new[:, ORDER_ROW]), [lane.name for lane in Lane]),
        "qty": pa.array(_quantities(outcome, leg, asked)),
        "limit": _or_null(_prices(outcome, leg, new[:, ORDER_LIMIT]), new[:, ORDER_LIMIT] > 0),
        "ts_decision_ns": pa.array(new[:, ORDER_NS]),
        "ts_arrival_ns": _or_null(new[:, ORDER_ARRIVAL_NS], new[:, ORDER_ARRIVAL_NS] >= 0),
        "ts_end_ns": _or_null(new[:, ORDER_END_NS], new[:, ORDER_END_NS] >= 0),
        "decision_mid": pa.array(decision),
        "arrival_mid": _or_null(arrival, arrived),
        "filled_qty": pa.array(_quantities(outcome, leg, lots)),
        "fill_price": _or_null(value, lots > 0),
        "fee": pa.array(_money(outcome, leg, fees)),
        "end": _names(new[:, ORDER_END], list(ENDS)),
    }
    costs = {name: np.full(count, np.nan) for name in ("delay", "realised", "missed", "fees", "total")}
    regret, event = np.full(count, np.nan), np.zeros(count, np.int8)
    for v, instrument in enumerate(outcome.instruments):
        own = np.flatnonzero(leg == v)
        if not len(own):
            continue
        quantity = asked[own] * instrument.lot_size * instrument.contract_value
        done = lots[own] * instrument.lot_size * instrument.contract_value
        paid = _money(outcome, leg[own], fees[own])
        lost = shortfall(
            new[own, ORDER_SIDE].astype(np.float64),
            quantity,
            decision[own],
            np.where(arrived[own], arrival[own], decision[own]),
            np.minimum(done, quantity),
            np.where(lots[own] > 0, value[own], decision[own]),
            end[own],
            paid,
            inverse=instrument.inverse,
        )
        for name, cost in zip(costs, lost, strict=True):
            costs[name][own] = cost
        left = regret_bp(new[own, ORDER_SIDE].astype(np.float64), end[own], later[own], inverse=instrument.inverse)
        regret[own] = np.where(opens[own] | (lots[own] == 0), np.nan, left)
        event[own] = name_event(opens[own], lost, regret[own], threshold_bp=PHANTOM_BP)
    for name, cost in costs.items():
        columns[f"{name}_bp"] = pa.array(cost, from_pandas=True)
    columns["realised_regret_bp"] = pa.array(regret, from_pandas=True)
    columns["realised_phantom"] = _names(event.astype(np.int64), [one.name.lower() for one in PhantomEvent])
    return pa.table(columns)


def trades_table(outcome: Outcome) -> pa.Table:
    """trades.parquet: round trips of each leg, from flat to flat or through zero; the last may be open.

    pnl and fees are in the leg's settlement currency. An open trip is valued at the last mid.
    """
    rows: list[dict[str, Any]] = []
    decided = _decision_rows(outcome)
    for v, (instrument, account) in enumerate(zip(outcome.instruments, outcome.accounts, strict=True)):
        if account is None:
            continue
        fills = outcome.booked(v)
        scale = int(account.scale)
        position = cash = fees = largest = 0
        entry: Any = None
        for fill in fills.tolist():
            left = fill[FILL_LOTS]
            while left:
                closing = position * fill[FILL_SIDE] < 0
                part = min(left, abs(position)) if closing else left
                fee = (
                    -(-fill[FILL_FEE] * part // fill[FILL_LOTS]) if part < left else fill[FILL_FEE] - _spent(fill, left)
                )
                if entry is None:
                    entry, cash, fees, largest = fill, 0, 0, 0
                value = int(worth(np.array(fill[FILL_PRICE]), scale, instrument.inverse))
                cash -= fill[FILL_SIDE] * part * value + fee
                fees += fee
                position += fill[FILL_SIDE] * part
                largest = max(largest, abs(position))
                left -= part
                if position == 0:
                    rows.append(_trip(outcome, v, entry, fill, cash, fees, largest, decided, closed=True))
                    entry = None
        if entry is not None and len(fills):
            mark = _last_mark(outcome, v)
            cash2 = 2 * cash + position * mark
            rows.append(_trip(outcome, v, entry, fills[-1].tolist(), cash2 / 2, fees, largest, decided, closed=False))
    rows.sort(key=lambda row: (row["ts_exit_ns"], row["stream"]))
    return pa.Table.from_pylist(rows, schema=TRADES)


TRADES = pa.schema(
    [
        ("stream", TEXT),
        ("side", TEXT),
        ("qty", pa.float64()),
        ("ts_entry_ns", pa.int64()),
        ("ts_exit_ns", pa.int64()),
        ("entry_price", pa.float64()),
        ("exit_price", pa.float64()),
        ("pnl", pa.float64()),
        ("fees", pa.float64()),
        ("currency", TEXT),
        ("lane", TEXT),
        ("closed", pa.bool_()),
    ]
)


def equity_table(outcome: Outcome, curve: EquityCurve) -> pa.Table:
    """equity.parquet: one row per leg and sample."""
    legs, samples = curve.equity2.shape
    money = curve.money(outcome.instruments, outcome.accounts)
    leg = np.repeat(np.arange(legs), samples)
    return pa.table(
        {
            "ts_ns": pa.array(np.tile(curve.ts_ns, legs)),
            "stream": _names(leg, [one.stream for one in outcome.instruments]),
            "position": pa.array(_quantities(outcome, leg, curve.position_lots.reshape(-1))),
            "mid": pa.array(curve.mid.reshape(-1), from_pandas=True),
            "equity": pa.array(money.reshape(-1)),
            "equity_units2": pa.array(curve.equity2.reshape(-1)),
        }
    )


def _trip(
    outcome: Outcome, v: int, entry: Sequence[int], leave: Sequence[int], cash: float, fees: int, largest: int,
    decided: Int64, *, closed: bool,
) -> dict[str, Any]:  # fmt: skip
    instrument = outcome.instruments[v]
    order = entry[FILL_ORDER]
    lane = int(outcome.lanes[v, decided[order] if order >= 0 else entry[FILL_ROW]])
    return {
        "stream": instrument.stream,
        "side": "long" if entry[FILL_SIDE] > 0 else "short",
        "qty": _quantity(instrument, largest).item(),
        "ts_entry_ns": entry[FILL_REPORT_NS],
        "ts_exit_ns": leave[FILL_REPORT_NS] if closed else int(outcome.market.ts_ns[outcome.rows - 1]),
        "entry_price": in_units(entry[FILL_PRICE], instrument.tick_size).item(),
        "exit_price": in_units(leave[FILL_PRICE], instrument.tick_size).item() if closed else None,
        "pnl": _paid(outcome, v, cash).item(),
        "fees": _paid(outcome, v, fees).item(),
        "currency": _currency(outcome, v),
        "lane": Lane(lane).name,
        "closed": closed,
    }


def _spent(fill: Sequence[int], left: int) -> int:
    """Fee of the part of a fill that is done: through zero it closes one trip and opens the next."""
    done = fill[FILL_LOTS] - left
    return -(-fill[FILL_FEE] * done // fill[FILL_LOTS]) if done else 0


def _last_mark(outcome: Outcome, v: int) -> int:
    market = outcome.market
    own = np.flatnonzero((market.leg[: outcome.rows] == v) & (market.kind[: outcome.rows] == Kind.QUOTE))
    return int(market.mark[own[-1]])


def _decision_rows(outcome: Outcome) -> Int64:
    """Row at which each order was decided, by its number."""
    orders = outcome.orders
    rows = np.zeros(int(orders[:, ORDER_ID].max()) + 1 if len(orders) else 0, np.int64)
    rows[orders[:, ORDER_ID]] = orders[:, ORDER_ROW]
    return rows


def _fill_sums(outcome: Outcome, ids: Int64) -> tuple[Int64, Float64, Int64]:
    """Lots, average price and fees of orders; an inverse contract's average is harmonic, as its worth is."""
    fills = outcome.fills
    size = int(max(ids.max(initial=-1), fills[:, FILL_ORDER].max(initial=-1))) + 1
    lots, fees = np.zeros(size, np.int64), np.zeros(size, np.int64)
    weighed = np.zeros(size)
    inverse = np.array([one.inverse for one in outcome.instruments])[fills[:, FILL_LEG]]
    ticks, leg = fills[:, FILL_PRICE], np.zeros(size, np.int64)
    leg[fills[:, FILL_ORDER]] = fills[:, FILL_LEG]
    least, most = np.full(size, np.iinfo(np.int64).max), np.zeros(size, np.int64)
    np.minimum.at(least, fills[:, FILL_ORDER], ticks)
    np.maximum.at(most, fills[:, FILL_ORDER], ticks)
    np.add.at(lots, fills[:, FILL_ORDER], fills[:, FILL_LOTS])
    np.add.at(fees, fills[:, FILL_ORDER], fills[:, FILL_FEE])
    np.add.at(weighed, fills[:, FILL_ORDER], fills[:, FILL_LOTS] * np.where(inverse, 1.0 / ticks, ticks))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = weighed / lots
        of_inverse = np.zeros(size, np.bool_)
        of_inverse[fills[:, FILL_ORDER]] = inverse
        value = np.where(least == most, most, np.where(of_inverse, 1.0 / mean, mean))  # one price is that price
    return lots[ids], _prices(outcome, leg, value)[ids], fees[ids]


def _asked(outcome: Outcome) -> Int64:
    """Lots of every request; of a replace less what the order it replaces was filled on its way."""
    orders, fills = outcome.orders, outcome.fills
    lots = orders[:, ORDER_LOTS].copy()
    by = orders[fills[:, FILL_ORDER], ORDER_BY]
    own = np.flatnonzero(by >= 0)
    own = own[(orders[by[own], ORDER_ACTION] == REPLACE) & (fills[own, FILL_ROW] > orders[by[own], ORDER_ROW])]
    np.subtract.at(lots, by[own], fills[own, FILL_LOTS])
    return lots


def _mid_at(outcome: Outcome, leg: Int64, ts_ns: Int64) -> Float64:
    """Mid of the touch known at a time on our clock, in quote currency."""
    market, out = outcome.market, np.full(len(leg), np.nan)
    for v, instrument in enumerate(outcome.instruments):
        own = leg == v
        quotes = np.flatnonzero((market.leg[: outcome.rows] == v) & (market.kind[: outcome.rows] == Kind.QUOTE))
        if own.any() and len(quotes):
            at = np.maximum(np.searchsorted(market.ts_ns[quotes], ts_ns[own], side="right") - 1, 0)
            out[own] = in_units(market.bid[quotes[at]] + market.ask[quotes[at]], instrument.tick_size, over=2)
    return out


def _positions_at(outcome: Outcome, leg: Int64, rows: Int64) -> Int64:
    """Position known when each order was decided, in lots."""
    out = np.zeros(len(leg), np.int64)
    for v in range(len(outcome.instruments)):
        fills = outcome.booked(v)
        held = np.concatenate([[0], np.cumsum(fills[:, FILL_SIDE] * fills[:, FILL_LOTS])])
        own = leg == v
        out[own] = held[np.searchsorted(fills[:, FILL_ROW], rows[own], side="right")]
    return out


def _lanes(outcome: Outcome, leg: Int64, rows: Int64) -> Int64:
    return outcome.lanes[leg, rows].astype(np.int64)


def _prices(outcome: Outcome, leg: Int64, ticks: Int64 | Float64, over: int = 1) -> Float64:
    """Ticks over ``over`` as prices."""
    out = np.zeros(len(leg))
    for v, instrument in enumerate(outcome.instruments):
        own = leg == v
        out[own] = in_units(ticks[own], instrument.tick_size, over=over)
    return out


def _quantities(outcome: Outcome, leg: Int64, lots: Int64) -> Float64:
    """Base asset of linear contracts, contracts of inverse ones."""
    out = np.zeros(len(leg))
    for v, instrument in enumerate(outcome.instruments):
        own = leg == v
        out[own] = _quantity(instrument, lots[own])
    return out


def _quantity(instrument: Instrument, lots: int | Int64) -> Float64:
    return in_units(lots, instrument.lot_size, 1.0 if instrument.inverse else instrument.contract_value)


def _money(outcome: Outcome, leg: Int64, units: Int64) -> Float64:
    """Account units in the settlement currency."""
    out = np.zeros(len(leg))
    for v in range(len(outcome.instruments)):
        own = leg == v
        out[own] = _paid(outcome, v, units[own])
    return out


def _paid(outcome: Outcome, v: int, units: float | Int64) -> Float64:
    """The same of one leg; a decimal where the contract is linear."""
    account, one = outcome.accounts[v], outcome.instruments[v]
    if account is None or one.inverse:
        return np.asarray(units) * (0.0 if account is None else account.unit)
    return in_units(units, one.tick_size, one.lot_size, one.contract_value, over=int(account.scale))


def _currency(outcome: Outcome, v: int) -> str:
    instrument = outcome.instruments[v]
    return instrument.base if instrument.inverse else instrument.quote


def _names(codes: Int64, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))


def _or_null(values: Any, there: Any) -> pa.Array:
    return pa.array(values, mask=~np.asarray(there))
