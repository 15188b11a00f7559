"""Fills, orders and round trips in users' units, from logs written down by hand."""

from __future__ import annotations

import numpy as np
import pytest

from schwabot.records.instrument import Instrument
from schwabot.simulation.accounts import Account
from schwabot.simulation.details import fills_table, orders_table, trades_table
from schwabot.simulation.outcome import Outcome
from schwabot_kernels.simulate.intent import POST, REPLACE, TAKE
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Market, Rules
from schwabot_kernels.simulate.state import DONE, REPLACED

LINEAR = Instrument("x:BTC/USDT:USDT", tick_size=0.5, lot_size=0.01)
BIDS = [100, 100, 104, 108, 108, 110]  # ticks; the ask is 2 above; a quote each second
S = 1_000_000_000


def outcome(orders: list[list[int]], fills: list[list[int]]) -> Outcome:
    n = len(BIDS)
    bid = np.array(BIDS, np.int64)
    zero, byte = np.zeros(n, np.int64), np.zeros(n, np.int8)
    ts_ns = np.arange(n) * S
    market = Market(
        ts_ns, ts_ns, byte, byte, byte, bid, bid + 2, zero + 9, zero + 9, zero, zero, 2 * bid + 2,
        np.append(np.arange(1, n), -1).astype(np.int32), np.zeros((1, 0, n)),
    )  # fmt: skip
    one, none = np.ones((1, 1), np.int64), np.zeros(0, np.int64)
    rules = Rules(
        one, one, one, one, 0, np.zeros((2, 1), np.int64), 0, one[0], byte[:1], one[0], 0, 0, S, none, none, none
    )
    return Outcome(
        market=market,
        instruments=(LINEAR,),
        accounts=(Account(scale=1, unit=0.005, currency="USDT", max_lots=100, max_ticks=10_000),),
        rules=rules,
        counts=np.zeros((1, COUNTS), np.int64),
        moments=np.zeros((1, MOMENTS)),
        fills=np.array(fills, np.int64).reshape(-1, 11),
        orders=np.array(orders, np.int64).reshape(-1, 19),
        lanes=np.array([[0, 1, 2, 0, 0, 0]], np.int8),
        rows=n,
    )


def order(number: int, action: int, side: int, lots: int, row: int, end_s: int, end: int, by: int = -1) -> list[int]:
    """Decided at a row, at the exchange one row later."""
    bid, there = BIDS[row], BIDS[row + 1]
    sent = [number, 0, action, side, lots, 0, row, row * S, bid, bid + 2, (row + 1) * S, there, there + 2]
    return [*sent, end_s * S, 0, end, 0, -1, by]


def fill(number: int, side: int, lots: int, price: int, fee: int, row: int, maker: int = 0) -> list[int]:
    return [number, 0, 0, side, lots, price, maker, fee, row * S - S // 2, row * S, row]


def test_a_fill_through_zero_ends_one_trip_and_begins_the_next() -> None:
    run = outcome(
        [order(0, TAKE, 1, 2, 0, 1, DONE), order(1, TAKE, -1, 5, 1, 3, DONE)],
        [fill(0, 1, 2, 102, 3, 1), fill(1, -1, 5, 104, 5, 3)],
    )
    long, short = trades_table(run).to_pylist()
    # 2 lots from 102 to 104 ticks are 4 units; the sale's fee of 5 for 5 lots is 2 for the 2 that close, 3 for the rest
    assert (long["side"], long["qty"], long["closed"], long["lane"]) == ("long", 0.02, True, "LOW")
    assert (long["pnl"], long["fees"]) == (pytest.approx((4 - 3 - 2) * 0.005), pytest.approx(5 * 0.005))
    # 3 lots short from 104, the last mid is 111: 21 units lost, and the fee
    assert (short["side"], short["qty"], short["closed"], short["lane"]) == ("short", 0.03, False, "MEDIUM")
    assert (short["pnl"], short["fees"]) == (pytest.approx((-21 - 3) * 0.005), pytest.approx(3 * 0.005))
    assert fills_table(run)["position"].to_pylist() == [pytest.approx(0.02), pytest.approx(-0.03)]


def test_a_fee_that_does_not_divide_is_shared_without_a_rest() -> None:
    run = outcome(
        [order(0, TAKE, 1, 1, 0, 1, DONE), order(1, TAKE, -1, 3, 1, 3, DONE)],
        [fill(0, 1, 1, 102, 0, 1), fill(1, -1, 3, 104, 7, 3)],
    )
    fees = [round(trip["fees"] / 0.005) for trip in trades_table(run).to_pylist()]
    assert fees == [3, 4]  # ceil(7/3), and what is left


def test_a_replaced_order_ends_where_its_successor_is_decided() -> None:
    """Bid for 3 at row 0; at row 2 replaced asking for 3, while 2 are filled on the way: 1 is left, and is filled."""
    run = outcome(
        [order(0, POST, 1, 3, 0, 4, REPLACED, by=1), order(1, REPLACE, 1, 3, 2, 5, DONE)],
        [fill(0, 1, 2, 100, 1, 3, maker=1), fill(1, 1, 1, 106, 1, 5, maker=1)],
    )
    first, second = orders_table(run).to_pylist()
    assert (first["style"], first["end"], first["qty"], first["filled_qty"]) == ("post", "replaced", 0.03, 0.02)
    # mid 101 at the decision, 105 when the replace was decided: a third of the order missed 4/101
    assert first["missed_bp"] == pytest.approx(1e4 * (1 / 3) * 4 / 101)
    assert first["realised_bp"] + first["delay_bp"] == pytest.approx(1e4 * (2 / 3) * -1 / 101)
    assert (second["style"], second["end"]) == ("replace", "filled")
    assert second["qty"] == second["filled_qty"] == pytest.approx(0.01)
    assert second["missed_bp"] == 0.0
    assert second["lane"] == "HIGH"


def test_a_replace_that_found_nothing_left_is_no_order() -> None:
    run = outcome(
        [order(0, POST, 1, 3, 0, 3, REPLACED, by=1), order(1, REPLACE, 1, 3, 2, 4, 3)],
        [fill(0, 1, 3, 100, 1, 3, maker=1)],
    )
    assert orders_table(run)["order"].to_pylist() == [0]


def test_nothing_at_all() -> None:
    run = outcome([], [])
    assert fills_table(run).num_rows == orders_table(run).num_rows == trades_table(run).num_rows == 0
