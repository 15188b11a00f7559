"""Each rule of the simulated exchange with numbers worked out by hand.

Latency is 10 ns there and 5 ns back, an account is in tenths of lot x tick, a taker pays 1e-4, if a test does not say
otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schwabot_kernels.simulate.cpu import make_simulator, new_state
from schwabot_kernels.simulate.formulas import drawn
from schwabot_kernels.simulate.records import (
    BUCKETS,
    CASH,
    DATA,
    DRAWDOWN2,
    EQUITY2,
    FEES,
    FUNDING,
    HOLD_NS,
    ORDERS,
    PEAK2,
    POSITION,
    PROPORTIONAL,
    REFUSED,
    REJECTED,
    RISK_AVERSE,
    SLIPPAGE,
    SUM1,
    SUM2,
    TABLE,
    TURNOVER,
)  # fmt: skip
from schwabot_kernels.simulate.state import (
    BUY_LOTS,
    BUY_ORDER,
    CANCELLED,
    DONE,
    FILL_LOTS,
    FILL_MAKER,
    FILL_PRICE,
    FILL_REPORT_NS,
    FILL_ROW,
    FILL_VENUE_NS,
    IN_FLIGHT,
    NO_BOOK,
    NOT_RECORDED,
    OPEN,
    ORDER_ARRIVAL_ASK,
    ORDER_ARRIVAL_BID,
    ORDER_ARRIVAL_NS,
    ORDER_BY,
    ORDER_END,
    ORDER_END_NS,
    ORDER_FILLED,
    OUTSIDE_LIMIT,
    REPLACED,
    REST_CANCELLED,
    TOO_LATE,
    WOULD_CROSS,
)  # fmt: skip
from tests.kernels.making_policies import ACTIONS, Row, make_market, make_rules, quote, script, scripted, trade

FILL = [FILL_LOTS, FILL_PRICE, FILL_MAKER, FILL_VENUE_NS, FILL_REPORT_NS, FILL_ROW]
Say = tuple[str, int, int, int, int]


def _play(rows: list[Row], says: dict[int, Say], *pieces: int, **rules: Any) -> Any:
    """At row i the policy says (action, side, lots, price, order); the state at the end, or after the last piece."""
    told, at = make_rules(1, 1, **rules), script(len(rows))
    for i, (action, *rest) in says.items():
        at[0, :, i] = [ACTIONS[action], *rest]
    market, state = make_market(rows, at, told), new_state(1, 0, 100, 100)
    run = make_simulator(*scripted.compiled)
    for known in pieces:
        state.clock[7] = run(market, told, np.zeros((1, 3)), 0, state, known, False)
    if not pieces:
        run(market, told, np.zeros((1, 3)), 0, state, len(rows), True)
    return state


def _fills(state: Any) -> list[list[int]]:
    return state.fills[: state.logged[0], FILL].tolist()  # type: ignore[no-any-return]


def _ends(state: Any) -> list[int]:
    return state.orders_log[: state.logged[1], ORDER_END].tolist()  # type: ignore[no-any-return]


def _buy(lots: int, price: int = 0) -> Say:
    return ("take", 1, lots, price, -1)


def _sell(lots: int, price: int = 0) -> Say:
    return ("take", -1, lots, price, -1)


def _bid(lots: int, price: int) -> Say:
    return ("post", 1, lots, price, -1)


TAKEN = [quote(100, 100, 102), quote(105, 101, 103, 10, 4), quote(115, 101, 104), quote(120, 101, 104)]


def test_a_take_meets_the_book_of_its_arrival() -> None:
    """Decided at 100, there at 110: the quote of 105 offers 4 at 103; 2 are cancelled; known at 115, the third row."""
    state = _play(TAKEN, {0: _buy(6, 103)})
    assert _fills(state) == [[4, 103, 0, 110, 115, 2]]
    order = state.orders_log[0]
    assert order[[ORDER_ARRIVAL_NS, ORDER_ARRIVAL_BID, ORDER_ARRIVAL_ASK]].tolist() == [110, 101, 103]
    assert order[[ORDER_END_NS, ORDER_FILLED, ORDER_END]].tolist() == [115, 4, REST_CANCELLED]
    counts = state.counts[0]
    assert counts[TURNOVER] == 4 * 1030
    assert counts[FEES] == 1  # 0.412 rounded against us
    assert counts[CASH] == -4 * 1030 - 1
    assert counts[SLIPPAGE] == 4 * (1030 - 1020)
    assert counts[EQUITY2] == 2 * -4121 + 4 * (1010 + 1040)  # -42
    assert (counts[PEAK2], counts[DRAWDOWN2]) == (0, 42)
    assert counts[HOLD_NS] == 120 - 115


def test_protection_is_of_the_touch_known_at_the_decision() -> None:
    """1 % of 102 is 1 tick: 103 at most. The quote of 105 asks 104."""
    rows = [TAKEN[0], quote(105, 101, 104), *TAKEN[2:]]
    state = _play(rows, {0: _buy(6)}, protection_e7=100_000)
    assert (_ends(state), state.counts[0, REJECTED], _fills(state)) == ([OUTSIDE_LIMIT], 1, [])
    assert len(_fills(_play(rows, {0: _buy(6)}, protection_e7=200_000))) == 1  # 2 ticks


def test_a_sell_mirrors_a_buy_and_an_unknown_size_does_not_limit() -> None:
    rows = [quote(100, 100, 102), quote(110, 99, 101, 0, 10), quote(115, 99, 101), quote(120, 99, 101)]
    state = _play(rows, {0: _sell(6, 99)})
    assert _fills(state) == [[6, 99, 0, 110, 115, 2]]  # a quote of the same time comes first
    assert state.counts[0, SLIPPAGE] == -6 * (990 - 1000)
    assert state.counts[0, POSITION] == -6


def test_our_place_in_the_queue() -> None:
    """10 are ahead when we join at 110: the trades take 7 and 5 of them and us, a buyer's trade none, an unknown 1."""
    rows = [
        quote(100, 100, 102),
        trade(110, 100, 99, -1),  # at the time we arrive: before us
        trade(120, 100, 7, -1),  # 3 ahead
        trade(121, 100, 5, -1),  # 3 of them, 2 of us
        trade(122, 100, 50, 1),
        trade(123, 100, 1, 0),
        quote(130, 100, 102),
        trade(140, 99, 1, 1),  # traded below us: all of ours is gone
        quote(150, 100, 102),
    ]
    state = _play(rows, {0: _bid(4, 100)}, maker_e7=np.array([[-2500]]))
    assert _fills(state) == [[2, 100, 1, 121, 126, 6], [1, 100, 1, 123, 128, 6], [1, 100, 1, 140, 145, 8]]
    assert _ends(state) == [DONE]
    assert state.counts[0, FEES] == 0  # rebates of 0.5 and 0.25 are rounded down to nothing
    assert state.counts[0, SLIPPAGE] == 0


@pytest.mark.parametrize(("queue", "filled"), [(RISK_AVERSE, 0), (PROPORTIONAL, 1)])
def test_what_leaves_the_level(queue: int, filled: int) -> None:
    """10 ahead; 10 more join; 8 of 20 leave: none, or 8 x 10 // 20 = 4, of those ahead. 7 trade: none or 1 of ours."""
    rows = [quote(100, 100, 102), quote(120, 100, 102, 20), quote(121, 100, 102, 12), trade(122, 100, 7, -1)]
    state = _play([*rows, quote(200, 100, 102)], {0: _bid(4, 100)}, queue=queue)
    assert sum(one[0] for one in _fills(state)) == filled


def test_what_traded_did_not_leave() -> None:
    """10 ahead of level 20; 6 trade: 4 ahead of 14 left; 14 are shown: nobody left. 4 trade: none of ours; 5: one."""
    rows = [quote(100, 100, 102), quote(120, 100, 102, 20), trade(121, 100, 6, -1), quote(122, 100, 102, 14)]
    for lots, got in ((4, 0), (5, 1)):
        more = [trade(123, 100, lots, -1), quote(200, 100, 102)]
        state = _play([*rows, *more], {0: _bid(4, 100)}, queue=PROPORTIONAL)
        assert sum(one[0] for one in _fills(state)) == got


def test_fewer_are_there_than_were_ahead() -> None:
    """10 ahead, 6 are shown: at most 6 can be ahead; an unknown size says nothing; 7 trade: one of ours."""
    rows = [quote(100, 100, 102), quote(120, 100, 102, 6), quote(121, 100, 102, 0), trade(122, 100, 7, -1)]
    assert _fills(_play([*rows, quote(200, 100, 102)], {0: _bid(4, 100)}))[0][0] == 1


def test_a_level_that_is_gone_leaves_us_first() -> None:
    """The bid falls to 99 below our 100, then 50 join us: all behind."""
    rows = [quote(100, 100, 102), quote(120, 99, 102), quote(121, 100, 102, 50), trade(122, 100, 1, -1)]
    assert _fills(_play([*rows, quote(200, 100, 102)], {0: _bid(4, 100)})) == [[1, 100, 1, 122, 127, 4]]


def test_a_better_bid_hides_our_level() -> None:
    """The bid rises to 101: what is at 100 is not seen. 10 ahead stay."""
    rows = [quote(100, 100, 103), quote(120, 101, 103, 1), quote(121, 100, 103, 10), trade(122, 100, 11, -1)]
    assert _fills(_play([*rows, quote(200, 100, 102)], {0: _bid(4, 100)}))[0][0] == 1


def test_an_ask_at_our_bid_fills_us() -> None:
    rows = [quote(100, 100, 103), quote(120, 99, 101), quote(200, 99, 101)]
    assert _fills(_play(rows, {0: _bid(4, 101)})) == [[4, 101, 1, 120, 125, 2]]


@pytest.mark.parametrize(
    ("book", "price", "end"),
    [
        (quote(105, 98, 100), 100, WOULD_CROSS),
        (quote(105, 98, 101), 100, OPEN),
        (quote(105, 100, 102, 0), 100, NOT_RECORDED),  # how many are ahead is not known
        (quote(105, 101, 102), 100, NOT_RECORDED),  # below the touch
        (quote(105, 100, 102, venue=111), 100, NO_BOOK),
    ],
)
def test_what_a_post_meets(book: Row, price: int, end: int) -> None:
    first = quote(100, 100, 102) if end != NO_BOOK else quote(100, 100, 102, venue=111)
    state = _play([first, book, quote(200, 98, 101), quote(201, 98, 101)], {0: _bid(4, price)})
    assert _ends(state) == [end]
    assert state.counts[0, REJECTED] == (end != OPEN)
    assert state.legs[0, IN_FLIGHT] == 0
    assert state.legs[0, BUY_LOTS] == (4 if end == OPEN else 0)
    assert state.legs[0, BUY_ORDER] == (0 if end == OPEN else -1)


@pytest.mark.parametrize(
    ("crossed", "ends"), [(125, [DONE, TOO_LATE]), (130, [DONE, TOO_LATE]), (131, [CANCELLED] * 2)]
)
def test_a_cancel_can_lose_the_race(crossed: int, ends: list[int]) -> None:
    """Sent at 120, there at 130. At the same nanosecond the market is first."""
    rows = [quote(100, 100, 103), quote(120, 100, 103), quote(crossed, 99, 101), quote(200, 99, 101)]
    state = _play(rows, {0: _bid(2, 101), 1: ("cancel", 0, 0, 0, 0)})
    assert _ends(state) == ends
    assert len(_fills(state)) == (ends[0] == DONE)
    assert state.orders_log[1, ORDER_END_NS] == 135
    assert state.legs[0, IN_FLIGHT] == 0


def test_a_cancel_may_be_sent_before_the_order_is_acknowledged() -> None:
    rows = [quote(100, 100, 103), quote(101, 100, 103), quote(200, 99, 101)]
    state = _play(rows, {0: _bid(2, 101), 1: ("cancel", 0, 0, 0, 0)})
    assert _ends(state) == [CANCELLED, CANCELLED]
    assert state.orders_log[0, [ORDER_END_NS, ORDER_BY]].tolist() == [116, 1]


@pytest.mark.parametrize(("lots", "got"), [(3, 2), (5, 0)])
def test_a_replace_keeps_its_place_only_with_fewer_lots(lots: int, got: int) -> None:
    """8 of 10 ahead trade; the replace of 120 is there at 130; 4 trade: 2 ahead and 2 of ours, or 4 of the 10 ahead."""
    rows = [quote(100, 100, 102), quote(120, 100, 102), trade(125, 100, 8, -1), trade(140, 100, 4, -1)]
    state = _play([*rows, quote(200, 100, 102)], {0: _bid(4, 100), 1: ("replace", 0, lots, 100, 0)})
    assert sum(one[0] for one in _fills(state)) == got
    assert _ends(state) == [REPLACED, OPEN]
    assert state.orders_log[:2, ORDER_FILLED].tolist() == [0, got]
    assert state.legs[0, BUY_LOTS] == lots - got


def test_a_replace_counts_what_was_filled_on_its_way() -> None:
    """12 trade at 125: 2 of our 4. The replace asked for 3 when none was known filled: 1 is left, in its old place."""
    rows = [quote(100, 100, 102), quote(120, 100, 102), trade(125, 100, 12, -1), trade(140, 100, 9, -1)]
    state = _play([*rows, quote(200, 100, 102)], {0: _bid(4, 100), 1: ("replace", 0, 3, 100, 0)})
    assert [one[0] for one in _fills(state)] == [2, 1]
    assert state.counts[0, POSITION] == 3
    assert _ends(state) == [REPLACED, DONE]


def test_an_acknowledgement_is_never_overtaken() -> None:
    """Feed delay of the quote of 108 is 52: acknowledged at 110 + 5 + 52 = 167. The fill's 112 + 5 + 48 = 165 waits."""
    rows = [
        quote(100, 100, 103),
        quote(160, 100, 103, venue=108),
        trade(160, 100, 3, -1, venue=112),
        quote(170, 100, 103, venue=170),
    ]
    state = _play(rows, {0: _bid(4, 101)}, model=DATA)
    assert _fills(state) == [[4, 101, 1, 112, 167, 3]]  # traded at 100, through our 101


def test_data_latency_is_of_the_last_row_received() -> None:
    """Decided at 150 with a row 30 old: there at 150 + 10 + 30."""
    rows = [quote(100, 100, 103), quote(150, 100, 103, venue=120), quote(300, 100, 103)]
    state = _play(rows, {1: _buy(1)}, model=DATA)
    assert state.orders_log[0, ORDER_ARRIVAL_NS] == 190
    assert _fills(state)[0][3:5] == [190, 225]  # of the exchange's last row, that of 120: 5 + 30


def test_table_latency_is_the_published_splitmix64() -> None:
    """The first output of SplitMix64 seeded with 0 is E220A8397B1DCDAF: 0.883 of the way, entry 8 of 10."""
    tables = np.array([range(10), range(10, 20)])
    assert drawn(tables, 0, 1, 0, 0) == 8
    rows = [quote(100, 100, 103), quote(300, 100, 103)]
    assert _play(rows, {0: _buy(1)}, model=TABLE, tables=tables).orders_log[0, ORDER_ARRIVAL_NS] == 118


def test_what_is_refused() -> None:
    """At most 10 lots: 6 held and 5 more are too many, or 17 sold; a bid must not meet our offer."""
    rows = [quote(100 + 100 * i, 100, 103) for i in range(12)]
    says: dict[int, Say] = {
        0: _buy(6, 103),
        1: _buy(5, 103),
        2: _sell(17, 100),
        3: ("post", -1, 2, 102, -1),
        4: _bid(1, 102),
        5: ("cancel", 0, 0, 0, 7),
        6: _bid(0, 101),
        7: _bid(1, 0),
        8: ("replace", 0, 17, 102, 0),
        9: ("take", 0, 1, 0, -1),
    }
    state = _play(rows, says, max_lots=np.array([10]))
    assert state.counts[0, [ORDERS, REFUSED, POSITION]].tolist() == [2, 8, 6]


def test_eight_slots() -> None:
    rows = [quote(100 + i, 100, 103) for i in range(9)] + [quote(200, 100, 103)]
    state = _play(rows, {i: _bid(1, 101) for i in range(9)})
    assert state.counts[0, [ORDERS, REFUSED]].tolist() == [8, 1]
    assert state.legs[0, BUY_ORDER] == 7


def test_equity_peak_fall_and_samples() -> None:
    """One lot bought at 100 without a fee. Twice the equity by row from then on: 0, 100, -40, 120."""
    free = np.array([[0]])
    rows = [
        quote(1000, 99, 100),
        quote(1020, 99, 101),
        quote(1030, 104, 106),
        quote(1035, 97, 99),
        quote(1060, 105, 107),
    ]
    state = _play(rows, {0: _buy(1)}, taker_e7=free, bucket_ns=20)
    assert state.counts[0, [EQUITY2, PEAK2, DRAWDOWN2, HOLD_NS]].tolist() == [120, 120, 140, 40]
    # Last rows of [1000, 1020), [1020, 1040), [1060, ...): 0, -40, 120; nothing came in [1040, 1060).
    assert state.moments[0, [BUCKETS, SUM1, SUM2]].tolist() == [3.0, 120.0, 40.0**2 + 160.0**2]


@pytest.mark.parametrize(("side", "inverse", "paid"), [(1, 0, 31), (-1, 0, -30), (1, 1, 298), (-1, 1, -297)])
def test_funding(side: int, inverse: int, paid: int) -> None:
    """3 lots at 1 %: 3 x 1010 / 100 = 30.3. Inverse: 1e6 // 100 and 1e6 // 102 are 10000 and 9803: 297.045."""
    rows = [quote(100, 100, 102), quote(200, 100, 102), quote(300, 100, 102)]
    one = np.array([1])
    contract = {"inverse": np.array([inverse], np.int8), "scale": one * (10**6 if inverse else 10)}
    due = {"funding_ns": one * 250, "funding_leg": one * 0, "funding_e9": one * 10**7}
    state = _play(rows, {0: ("take", side, 3, 0, -1)}, **contract, **due)
    assert state.counts[0, FUNDING] == paid


def test_an_inverse_contract() -> None:
    """Bought at 100, sold at 110: 2 x (1e6 // 100 - 1e6 // 110) = 2 x (10000 - 9090)."""
    rows = [quote(100, 99, 100), quote(200, 110, 111), quote(300, 110, 111)]
    changes = {"inverse": np.array([1], np.int8), "scale": np.array([10**6]), "taker_e7": np.array([[0]])}
    state = _play(rows, {0: _buy(2), 1: _sell(2)}, **changes)
    assert state.counts[0, [CASH, POSITION, EQUITY2]].tolist() == [1820, 0, 3640]


def test_rows_wait_for_what_an_order_may_meet() -> None:
    """The order of row 0 is under way: a row is played once a later venue time of the leg is known.

    So the order is decided in the first piece, met in the second and told in the third, as if there were one.
    """
    assert _play(TAKEN, {0: _buy(6, 103)}, 1).clock[7] == 1
    assert _play(TAKEN, {0: _buy(6, 103)}, 1, 2).clock[7] == 1  # row 1 at 105, nothing later than 105 is known
    state = _play(TAKEN, {0: _buy(6, 103)}, 1, 2, 3)
    assert state.clock[7] == 2
    assert _fills(state) == []
    assert _play(TAKEN, {}, 1, 2, 3).clock[7] == 3  # nothing under way: nothing to wait for
    whole = _play(TAKEN, {0: _buy(6, 103)}, 1, 2, 3, 4)
    assert _fills(whole) == [[4, 103, 0, 110, 115, 2]]
    assert whole.clock[7] == 4


def test_after_the_last_row_nothing_is_known() -> None:
    """There at 130, the last row is of 125: no answer."""
    state = _play([quote(100, 100, 102), quote(120, 100, 102), quote(125, 100, 102)], {1: _buy(1)})
    assert _ends(state) == [OPEN]
    assert state.legs[0, IN_FLIGHT] == 1
    assert state.orders_log[0, ORDER_ARRIVAL_NS] == -1
