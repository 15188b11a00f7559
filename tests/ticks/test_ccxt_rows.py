"""Markets and messages of ccxt as instruments and rows: exact, each once, everything else counted."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError, VenueError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind
from schwabot.ticks.ccxt_markets import DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE, instrument_of, market_of
from schwabot.ticks.ccxt_rows import MS, Grid, Receipt, StreamRows
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.live_queue import Row

NOW_NS = time.time_ns()
NONE = (MISSING_NS, MISSING_NS, None)
BID, ASK, BID_LOTS, ASK_LOTS, PRICE, LOTS, SIDE = range(5, 12)


def stream(name: str = "binance:BTC/USDT", late: list[Row] | None = None, receipt: Receipt | None = None) -> StreamRows:
    instrument = Instrument(name, tick_size=0.01, lot_size=1e-5)
    return StreamRows(3, instrument, receipt or Receipt(), NOW_NS, ([] if late is None else late).append)


def told(number: int, **more: Any) -> dict[str, Any]:
    """A trade as ccxt tells it."""
    info = {"E": NOW_NS // MS + 5, "T": NOW_NS // MS + 4} if number else {}
    return {"id": str(number), "timestamp": NOW_NS // MS + 4, "price": 100.01, "amount": 0.5, "side": "sell",
            "info": info} | more  # fmt: skip


@given(st.integers(1, 10**13), st.sampled_from(["0.01", "0.00000001", "0.25", "10", "0.1"]))
def test_every_count_of_steps_comes_back_from_its_float(count: int, step: str) -> None:
    assert Grid(float(step)).count(float(count * Decimal(step))) == count


@given(st.integers(1, 10**11))
def test_what_lies_between_two_steps_is_none(count: int) -> None:
    assert Grid(0.01).count(float(count * Decimal("0.01") + Decimal("0.005"))) is None


@pytest.mark.parametrize("value", [None, "", "abc", float("nan"), float("inf"), 1e300])
def test_no_number_is_no_step(value: Any) -> None:
    assert Grid(0.01).count(value) is None


def test_a_quote_and_its_stamps() -> None:
    row = stream().quote(100.0, 1.5, 100.01, 2.0, (7, 8, None))
    assert row is not None
    assert row[1:5] == (7, 8, 3, Kind.QUOTE)
    assert row[BID:PRICE] == (10_000, 10_001, 150_000, 200_000)


def test_a_trade_without_a_number_is_not_taken_twice() -> None:
    rows = stream()
    assert rows.trade(told(1, id=None), 0.0) is not None
    assert rows.trade(told(1, id=None), 0.0, asked=True) is None
    assert rows.counts.dropped["unnumbered"] == 1


def test_coinbase_names_the_side_that_rested() -> None:
    rows = [stream(name).trade(told(1), 0.0) for name in ("binance:BTC/USDT", "coinbase:BTC/USDT")]
    assert [row[SIDE] for row in rows if row is not None] == [-1, 1]


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        ((None, None, 1.0, 1.0), "one_sided"),
        ((100.0, 1.0, None, None), "one_sided"),
        ((100.001, 1.0, 101.0, 1.0), "bad_price"),
        ((0.0, 1.0, 101.0, 1.0), "bad_price"),
        ((100.0, 1e-6, 101.0, 1.0), "bad_price"),
        ((100.0, None, 101.0, 1.0), "bad_price"),
        ((101.0, 1.0, 100.0, 1.0), "crossed"),
    ],
)
def test_a_bad_quote_is_counted_and_shown(quote: tuple[Any, ...], reason: str) -> None:
    rows = stream()
    assert rows.quote(*quote, NONE) is None
    assert rows.counts.dropped == {reason: 1}
    assert rows.counts.examples[0].startswith("binance:BTC/USDT: ")


def test_quotes_that_come_twice_or_late_are_dropped() -> None:
    rows = stream()
    made = [rows.quote(1.0, 1.0, 2.0, 1.0, (MISSING_NS, MISSING_NS, number)) is not None for number in (5, 9, 9, 7, 10)]
    assert made == [True, True, False, False, True]
    assert rows.counts.dropped == {"duplicate": 1, "reordered": 1}


def test_a_trade_and_its_stamps() -> None:
    row = stream().trade(told(7), 0.0)
    assert row is not None
    assert row[1:5] == ((NOW_NS // MS + 4) * MS, (NOW_NS // MS + 5) * MS, 3, Kind.TRADE)
    assert row[PRICE:] == (10_001, 50_000, -1)


def test_a_venue_we_know_nothing_of_gives_the_time_of_a_trade_and_no_more() -> None:
    row = stream("somewhere:BTC/USDT").trade(told(7), 0.0)
    assert row is not None
    assert row[1:3] == ((NOW_NS // MS + 4) * MS, MISSING_NS)


def test_trades_out_of_order_are_all_taken_once() -> None:
    rows = stream()
    taken = [number for number in (7, 9, 8, 9, 8, 12, 10) if rows.trade(told(number), 0.0) is not None]
    assert taken == [7, 9, 8, 12, 10]
    assert list(rows.trades.missing) == [11]
    assert rows.counts.dropped == {"duplicate": 2}


def test_rest_tells_what_was_missed_and_nothing_else_and_none_of_it_is_a_row() -> None:
    late: list[Row] = []
    receipt = Receipt()
    receipt.arrived()
    rows = stream(late=late, receipt=receipt)
    for number in (7, 8, 12):
        assert rows.trade(told(number, price=number), 0.0) is not None
    assert all(rows.trade(told(number, price=number), 1.0, asked=True) is None for number in range(3, 15))
    assert [row[PRICE] for row in late] == [900, 1000, 1100]
    assert all(row[0] > time.time_ns() - 10**9 for row in late), "stamped when they became known"
    assert not rows.trades.missing
    assert (rows.counts.backfilled, rows.counts.received) == (3, 3)
    assert not rows.counts.dropped
    assert rows.trade(told(13), 2.0) is not None, "what happened since is left to the websocket"


@pytest.mark.parametrize("venue", ["binance:BTC/USDT", "coinbase:BTC/USD"])
def test_trades_from_while_nobody_listened_are_late_whoever_tells_them(venue: str) -> None:
    late: list[Row] = []
    times, started_ms = {"clock": NOW_NS, "steady": 0}, NOW_NS // MS
    receipt = Receipt(lambda: times["clock"], lambda: times["steady"])
    rows = stream(venue, late, receipt)

    def at(ms: int) -> int:
        times.update(clock=NOW_NS + ms * MS, steady=ms * MS)
        receipt.arrived()
        return receipt.now_ns()

    def trade(number: int, ms: int, *, asked: bool = False) -> bool:
        stamp = started_ms + ms
        row = rows.trade(told(number, timestamp=stamp, info={"E": stamp, "T": stamp}), 0.0, asked=asked)
        return row is not None

    at(1_030)
    assert trade(1, 1_000)
    rows.lost()
    at(3_000)
    assert not trade(2, 2_000, asked=True)
    rows.reconnected(at(4_000))
    at(4_050)
    assert not trade(3, 3_900), "the venue sends it along when the connection begins"
    assert trade(4, 4_020)
    rows.heard(at(4_060))
    at(5_000)
    assert not trade(5, 4_990, asked=True)
    at(5_020)
    assert trade(5, 4_990)
    assert len(late) == rows.counts.backfilled == 2
    assert rows.counts.received == 3


def test_trades_of_before_the_start_are_history() -> None:
    rows = stream("coinbase:BTC/USD")
    old = (NOW_NS - 60_000_000_000) // MS
    assert rows.trade(told(3, timestamp=old), 0.0) is None
    assert rows.counts.dropped == {"history": 1}
    assert rows.trade(told(4, timestamp=old), 0.0, asked=True) is None


def test_history_is_told_by_the_venues_clock() -> None:
    instrument = Instrument("coinbase:BTC/USD", tick_size=0.01, lot_size=1e-5)
    rows = StreamRows(3, instrument, Receipt(), NOW_NS, ahead_ns=90_000_000_000)
    assert rows.trade(told(3, timestamp=NOW_NS // MS - 96_000), 0.0) is None
    assert rows.counts.dropped == {"history": 1}
    assert rows.trade(told(4, timestamp=NOW_NS // MS - 89_000), 0.0) is not None
    assert rows.trade(told(5, timestamp=NOW_NS // MS - 90_000), 0.0, asked=True) is None  # before the first


def test_stamps_of_receipt_run_forward() -> None:
    receipt = Receipt()
    receipt.arrived()
    stamps = [receipt.stamp() for _ in range(1000)]
    receipt.arrived()
    stamps.append(receipt.stamp())
    assert stamps == sorted(set(stamps))
    assert abs(stamps[-1] - time.time_ns()) < 1e9


def test_a_clock_that_is_set_back_holds_no_stamp_still() -> None:
    times = {"clock": NOW_NS, "steady": 0}
    receipt = Receipt(lambda: times["clock"], lambda: times["steady"])

    def at(s: float, clock_s: float) -> float:
        times.update(clock=NOW_NS + round(clock_s * 1e9), steady=round(s * 1e9))
        receipt.arrived()
        return (receipt.stamp() - NOW_NS) / 1e9

    assert at(1.0, 1.0) == pytest.approx(1.0)
    assert at(2.0, 1.95) == pytest.approx(1.95), "slewed"
    assert at(3.0, -3_597.05) == pytest.approx(2.95), "by the steady clock"
    assert at(4.0, -3_596.05) == pytest.approx(3.95)
    assert receipt.set_back_ns == pytest.approx(3_600e9)
    assert at(5.0, 5.0) == pytest.approx(5.0), "where it is again"
    assert receipt.set_back_ns == 0
    assert at(6.0, 3_606.0) == pytest.approx(3_606.0), "set forward"


def test_markets_in_both_ways_to_say_precision() -> None:
    market = {"symbol": "A/B", "precision": {"price": 2, "amount": 5}, "taker": 0.001, "maker": 0.0004}
    found = instrument_of("x", market, DECIMAL_PLACES)
    assert found == Instrument("x:A/B", 0.01, 1e-5, maker_fee_bp=4.0, taker_fee_bp=10.0)
    same = instrument_of("x", market | {"precision": {"price": 0.01, "amount": 1e-5}}, TICK_SIZE)
    assert same == found
    for mode, precision in ((SIGNIFICANT_DIGITS, {"price": 5, "amount": 5}), (TICK_SIZE, {"price": None})):
        with pytest.raises(VenueError, match="x: A/B: no grid is known for its price"):
            instrument_of("x", market | {"precision": precision}, mode)


def test_own_fees_count_and_the_venues_grid_does() -> None:
    known = Instrument("x:A/B", 0.1, 1.0, maker_fee_bp=1.0, taker_fee_bp=2.0)
    market = {"symbol": "A/B", "precision": {"price": 0.01, "amount": 1e-5}, "taker": 0.001, "maker": 0.0004}
    assert instrument_of("x", market, TICK_SIZE, known) == Instrument("x:A/B", 0.01, 1e-5, 1.0, False, 1.0, 2.0)


def test_a_market_that_is_not_there_is_named() -> None:
    with pytest.raises(VenueError, match="x: no market BTC/USDC, did you mean BTC/USDT"):
        market_of("x", {"BTC/USDT": {}}, "BTC/USDC")
    with pytest.raises(VenueError, match="listed but not traded"):
        market_of("x", {"A/B": {"active": False}}, "A/B")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"streams": []}, "source.streams is empty"),
        ({"streams": ["binance"]}, "not of the form"),
        ({"streams": ["x:A/B", "x:A/B"]}, "twice"),
        ({"silence_s": 0.0}, "source.silence_s=0.0"),
        ({"shed_rows": 10, "queue_rows": 5}, "source.shed_rows=10"),
        ({"retry_first_s": 9.0, "retry_most_s": 1.0}, "less than retry_first_s"),
        ({"answer_s": 0.0}, "source.answer_s=0.0"),
        ({"poll_after_s": -1.0}, "source.poll_after_s=-1.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CcxtConfig(**({"streams": ["x:A/B"]} | change)).check()
