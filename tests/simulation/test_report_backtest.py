"""What a backtest's report draws and counts, from logs written down by hand."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from schwabot.records.instrument import Instrument
from schwabot.simulation.decimals import in_units
from schwabot.simulation.details import ENDS, equity_table, fills_table, orders_table, trades_table
from schwabot.simulation.outcome import equity_curve
from schwabot.simulation.report_backtest import ENDED, backtest_sections, extremes, order_ends, position_steps
from schwabot_kernels.simulate.intent import CANCEL, POST, REPLACE, TAKE
from schwabot_kernels.simulate.state import (
    CANCELLED,
    DONE,
    NOT_RECORDED,
    OPEN,
    REPLACED,
    REST_CANCELLED,
    TOO_LATE,
)
from tests.simulation.test_details import S, fill, order, outcome

STREAM = "x:BTC/USDT:USDT"


def busy() -> list[list[int]]:
    """Six orders, two replaces, a cancel that is no order, and one that came too late."""
    return [
        order(0, TAKE, 1, 4, 0, 1, REST_CANCELLED),
        order(1, POST, -1, 3, 0, 3, REPLACED, by=2),
        order(2, REPLACE, -1, 3, 1, 3, CANCELLED),
        order(3, CANCEL, -1, 0, 2, 3, DONE),
        order(4, TAKE, -1, 2, 2, 3, DONE),
        order(5, POST, 1, 1, 2, 3, NOT_RECORDED),
        order(6, POST, 1, 1, 3, 4, REPLACED, by=7),
        order(7, REPLACE, 1, 1, 3, 4, OPEN),
        order(8, TAKE, 1, 1, 4, 5, DONE),
        order(9, REPLACE, 1, 1, 4, 5, TOO_LATE),
    ]


def test_every_order_is_counted_once() -> None:
    run = outcome(busy(), [fill(0, 1, 3, 102, 0, 1), fill(4, -1, 2, 104, 0, 3), fill(8, 1, 1, 110, 0, 5)])
    *ends, total = order_ends(orders_table(run))
    assert {row["end"]: (row["orders"], row["takes"], row["posts"], row["replaces"]) for row in ends} == {
        "filled": (2, 2, 0, 0),
        "rest_cancelled": (1, 1, 0, 0),
        "replaced": (2, 0, 2, 0),
        "cancelled": (0, 0, 0, 1),
        "rejected_level_not_recorded": (1, 0, 1, 0),
        "open": (0, 0, 0, 1),
    }
    assert [row["filled in part"] for row in ends if row["end"] == "rest_cancelled"] == [1]
    sent = sum(one[2] in (TAKE, POST) for one in busy())  # what summary.json calls orders
    assert total["orders"] == sum(row["orders"] for row in ends) == sent == 6
    assert total["replaces"] == sum(row["replaces"] for row in ends) == 2
    assert total["filled in part"] == 1


def test_every_end_has_words() -> None:
    assert set(ENDED) - {"refused"} == set(ENDS) - {"too_late"}  # what came too late changed nothing and is no order


def test_no_orders_at_all() -> None:
    assert [row["orders"] for row in order_ends(orders_table(outcome([], [])))] == [0]


def test_the_position_steps_at_the_reports() -> None:
    run = outcome(busy(), [fill(0, 1, 3, 102, 0, 1), fill(4, -1, 5, 104, 0, 3), fill(8, 1, 1, 110, 0, 4)])
    ts_ns, position = position_steps(fills_table(run), STREAM, 0, 5 * S)
    assert ts_ns.tolist() == [0, 1 * S, 3 * S, 4 * S, 5 * S]
    assert position.tolist() == [0.0, 0.03, -0.02, -0.01, -0.01]  # lots of 0.01
    ts_ns, position = position_steps(fills_table(run), "another", 0, 5 * S)
    assert (ts_ns.tolist(), position.tolist()) == ([0, 5 * S], [0.0, 0.0])


def test_thinning_keeps_the_ends_and_the_extremes() -> None:
    rng = np.random.default_rng(0)
    position = np.cumsum(rng.integers(-1, 2, 10_000)).astype(np.float64)
    rows = extremes(position, 500)
    assert len(rows) <= 502
    assert (rows[0], rows[-1]) == (0, 9_999)
    assert (position[rows].min(), position[rows].max()) == (position.min(), position.max())


def test_the_report_draws_positions_under_the_equity() -> None:
    run = outcome(busy(), [fill(0, 1, 3, 102, 0, 1), fill(4, -1, 5, 104, 0, 3)])
    curve = equity_curve(run)
    tables = {"fills": fills_table(run), "shortfall": orders_table(run), "trades": trades_table(run)}
    money = curve.money(run.instruments, run.accounts)
    sections = backtest_sections(run.instruments, "USDT", curve, money, tables, [], {}, {}, [], refused=7)
    assert [one.title for one in sections[:2]] == ["Equity and drawdown", "Position"]
    steps = sections[1].figure.data[0]
    assert steps.line.shape == "hv"
    assert list(steps.y) == [0.0, 0.03, -0.02, -0.02]
    assert "One lot is 0.01 BTC (x:BTC/USDT:USDT)" in sections[1].text
    ends = next(one for one in sections if one.title == "How orders ended")
    assert "7 were refused before they were sent" in ends.text
    lanes = next(one for one in sections if one.title == "By lane").table
    assert (sum(row["orders"] for row in lanes), sum(row["replaces"] for row in lanes)) == (6, 2)


def test_prices_are_the_decimals_a_venue_prints() -> None:
    fine = Instrument("x:BTC/USDT", tick_size=0.01, lot_size=1e-5)
    run = outcome([order(0, TAKE, 1, 3, 0, 1, DONE)], [fill(0, 1, 1, 6183763, 0, 1), fill(0, 1, 2, 6183763, 0, 1)])
    market = run.market._replace(bid=np.full(6, 6183762), ask=np.full(6, 6183763))
    run = dataclasses.replace(run, instruments=(fine,), market=market)
    assert 6183763 * 0.01 != 61837.63  # what is to be avoided
    assert fills_table(run)["price"].to_pylist() == [61837.63, 61837.63]
    assert fills_table(run)["position"].to_pylist() == [0.00001, 0.00003]
    sent = orders_table(run).to_pylist()[0]
    assert (sent["fill_price"], sent["decision_mid"], sent["filled_qty"]) == (
        61837.63,
        1.01,
        0.00003,
    )  # decided at 100 and 102
    assert trades_table(run)["entry_price"].to_pylist() == [61837.63]
    assert set(equity_table(run, equity_curve(run))["mid"].to_pylist()) == {61837.625}
    told = io.BytesIO()
    pa.csv.write_csv(fills_table(run).select(["price"]), told)
    assert told.getvalue().split() == [b'"price"', b"61837.63", b"61837.63"]


@pytest.mark.parametrize(("tick", "digits"), [(0.01, 2), (0.1, 1), (1e-8, 8), (0.5, 1), (5.0, 0), (1e-5, 5), (0.25, 2)])
def test_no_count_of_ticks_has_noise(tick: float, digits: int) -> None:
    counts = np.random.default_rng(1).integers(1, 10**10, 2_000)
    assert in_units(counts, tick).tolist() == [float(f"{count * tick:.{digits}f}") for count in counts.tolist()]
