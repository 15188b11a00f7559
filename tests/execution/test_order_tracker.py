"""Whatever order a venue's words come in, and however often: the same fills, one answer to each request, one end."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import StateError
from schwabot.execution.base_fees import BaseFees
from schwabot.execution.journal import Fill, Journal, OrderState
from schwabot.execution.order_desk import Ledger
from schwabot.execution.order_tracker import OrderSeen, OrderTracker, TradeSeen
from schwabot.execution.reconcile import position
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Ending, Report, Request, Told

STREAM = "binance:BTC/USDT"


def asked(number: int, action: Action, lots: int = 0, of: int = -1, filled: int = 0, price: int = 100) -> Request:
    return Request(number, f"a-{number}", STREAM, action, 1, lots, price, of, filled, 5, 99, 100)


def trade(venue_id: str, trade_id: str, lots: int, maker: bool = True) -> TradeSeen:
    return TradeSeen(STREAM, venue_id, trade_id, lots, 100, maker, Decimal(0), "USDT", 6)


def seen(number: int, venue_id: str, status: str, lots: int, filled: int) -> OrderSeen:
    return OrderSeen(STREAM, f"a-{number}", venue_id, status, lots, filled, 6)


@dataclass
class Books:
    """Keeps accounts of reports as ``VenueBroker`` and the simulator do, and fails where those would go wrong."""

    open: dict[int, int] = field(default_factory=dict)
    takes: set[int] = field(default_factory=set)
    resting: set[int] = field(default_factory=set)
    in_flight: int = 0
    filled: int = 0

    def send(self, request: Request) -> None:
        self.open[request.number] = request.lots
        self.in_flight += 1
        if request.action is Action.TAKE:
            self.takes.add(request.number)

    def book(self, report: Report) -> None:
        assert report.number in self.open, report
        if report.request >= 0 and (report.told is not Told.FILL or not report.maker):
            self.in_flight -= 1
        if report.told is Told.RESTS:
            assert report.number not in self.resting | self.takes
            self.resting.add(report.number)
        elif report.told is Told.FILL:
            assert report.number in self.resting | self.takes
            self.open[report.number] -= report.lots
            self.filled += report.lots
            assert (report.ending is Ending.FILLED) == (self.open[report.number] == 0)
        elif report.told is Told.REPLACED:
            assert report.number in self.resting
            self.open[report.request] = report.lots
            self.resting.add(report.request)
        if report.told in (Told.TOO_LATE, Told.REPLACED) or report.ending is not None:
            del self.open[report.number]
            if report.ending is not None and report.request not in (-1, report.number):
                self.open.pop(report.request, None)

    def all(self, tracker: OrderTracker) -> None:
        for report in tracker.reports:
            self.book(report)
        tracker.reports.clear()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_order_any_number_of_times(data: st.DataObject) -> None:
    takes, lots = data.draw(st.booleans()), data.draw(st.integers(1, 5))
    parts = data.draw(st.lists(st.integers(1, 3), max_size=4))
    while sum(parts) > lots:
        parts.pop()
    filled = sum(parts)
    change = data.draw(st.sampled_from(["", "cancel", "replace"])) if not takes else ""
    over = takes or filled == lots or bool(change) or data.draw(st.booleans())
    status = "closed" if filled == lots else data.draw(st.sampled_from(["canceled", "expired"])) if over else "open"
    words: list[OrderSeen | TradeSeen] = [seen(0, "77", "open", lots, 0), seen(0, "77", status, lots, filled)]
    so_far = 0
    for i, part in enumerate(parts):
        so_far += part
        words += [
            trade("77", f"t{i}", part, not takes),
            seen(0, "77", "open" if so_far < lots else status, lots, so_far),
        ]
    words = data.draw(st.permutations(words + data.draw(st.lists(st.sampled_from(words), max_size=4))))

    tracker, books = OrderTracker(), Books()

    def ask(request: Request) -> None:
        tracker.ask(request, 5)
        books.send(request)

    ask(asked(0, Action.TAKE if takes else Action.POST, lots))
    at = data.draw(st.integers(0, len(words)))
    for i, word in enumerate([*words, None]):
        if i == at and change and 0 in books.open:
            ask(asked(1, Action[change.upper()], 4 if change == "replace" else 0, 0, books.filled))
        if isinstance(word, OrderSeen):
            tracker.order(word, 7)
        elif word is not None:
            tracker.trade(word, 7)
        books.all(tracker)
    assert books.filled == filled
    assert {fill.trade_id: fill.lots for fill in tracker.fills} == {f"t{i}": part for i, part in enumerate(parts)}
    assert len(tracker.fills) == len(parts)
    assert not tracker.problems
    if tracker.to_place:
        (new,) = tracker.to_place
        assert (new.request.number, books.in_flight) == (1, 1)
        tracker.order(seen(1, "78", "canceled", new.lots, 0), 8)
        books.all(tracker)
    if over:
        assert (books.open, books.in_flight) == ({}, 0)
    else:
        assert (list(books.open), books.in_flight) == ([0], 0)


def told(tracker: OrderTracker) -> list[tuple[str, int, int, int, str]]:
    found = [
        (one.told.name, one.number, one.request, one.lots, one.ending.name if one.ending else "")
        for one in tracker.reports
    ]
    tracker.reports.clear()
    return found


def test_takes() -> None:
    for status, filled, wanted in (
        ("expired", 0, [("ENDED", 0, 0, 0, "OUTSIDE_LIMIT")]),
        ("rejected", 0, [("ENDED", 0, 0, 0, "REFUSED")]),
        ("canceled", 1, [("FILL", 0, -1, 1, ""), ("ENDED", 0, 0, 0, "REST_CANCELLED")]),
        ("closed", 3, [("FILL", 0, -1, 1, ""), ("FILL", 0, 0, 2, "FILLED")]),
    ):
        tracker = OrderTracker()
        tracker.ask(asked(0, Action.TAKE, 3), 5)
        tracker.order(seen(0, "77", status, 3, filled), 6)
        for i, lots in enumerate([1, 2][: (filled + 1) // 2]):
            tracker.trade(trade("77", str(i), lots, False), 7)
        assert told(tracker) == wanted


def test_a_replace_counts_fills_over_its_whole_chain() -> None:
    tracker = OrderTracker()
    tracker.ask(asked(0, Action.POST, 5), 5)
    tracker.order(seen(0, "70", "open", 5, 0), 5)
    tracker.trade(trade("70", "a", 1), 5)
    tracker.ask(asked(1, Action.REPLACE, 4, 0, filled=1, price=101), 6)
    tracker.trade(trade("70", "b", 1), 6)
    tracker.order(seen(0, "70", "canceled", 5, 2), 6)
    assert told(tracker) == [("RESTS", 0, 0, 0, ""), ("FILL", 0, -1, 1, ""), ("FILL", 0, -1, 1, "")]
    assert [(new.request.number, new.lots) for new in tracker.to_place] == [(1, 3)]
    tracker.trade(trade("71", "c", 1), 7)  # before the answer
    tracker.order(seen(1, "71", "open", 3, 1), 7)
    assert told(tracker) == [("REPLACED", 0, 1, 3, ""), ("FILL", 1, -1, 1, "")]
    tracker.ask(asked(2, Action.REPLACE, 2, 1, filled=3), 8)
    tracker.trade(trade("71", "d", 2), 8)
    tracker.order(seen(1, "71", "canceled", 3, 3), 8)
    assert told(tracker) == [("FILL", 1, -1, 2, "FILLED"), ("TOO_LATE", 2, 2, 0, "")]


def test_a_replace_with_nothing_left_and_one_whose_second_half_is_refused() -> None:
    tracker = OrderTracker()
    tracker.ask(asked(0, Action.POST, 5), 5)
    tracker.ask(asked(1, Action.REPLACE, 2, 0), 6)
    tracker.order(seen(0, "70", "canceled", 5, 2), 6)
    assert told(tracker) == []  # the fill that goes with it is not known
    assert tracker.open_orders()[0].missing
    tracker.trade(trade("70", "a", 2), 6)
    assert told(tracker) == [("RESTS", 0, 0, 0, ""), ("FILL", 0, -1, 2, ""), ("ENDED", 0, 1, 0, "CANCELLED")]
    tracker.ask(asked(2, Action.POST, 5), 7)
    tracker.ask(asked(3, Action.REPLACE, 5, 2), 7)
    tracker.order(seen(2, "71", "canceled", 5, 0), 7)
    tracker.refused("a-3", "no money", 8)
    assert told(tracker) == [("RESTS", 2, 2, 0, ""), ("ENDED", 2, 3, 0, "REFUSED")]
    assert [move.state for move in tracker.moves if move.client_id == "a-3"] == [OrderState.REJECTED]


def test_refused_before_it_rests_and_gone_by_itself() -> None:
    tracker = OrderTracker()
    tracker.ask(asked(0, Action.POST, 5), 5)
    tracker.ask(asked(1, Action.CANCEL, 0, 0), 5)
    tracker.refused("a-0", "would cross", 6)
    assert told(tracker) == [("ENDED", 0, 0, 0, "REFUSED"), ("TOO_LATE", 1, 1, 0, "")]
    tracker.refused("a-0", "again", 6)
    tracker.ask(asked(2, Action.CANCEL, 0, 0), 7)
    assert told(tracker) == [("TOO_LATE", 2, 2, 0, "")]
    tracker.ask(asked(3, Action.POST, 5), 8)
    tracker.order(seen(3, "70", "open", 5, 0), 8)
    tracker.refused("a-3", "never arrived", 9)  # it did
    tracker.order(seen(3, "70", "expired", 5, 0), 9)
    assert told(tracker) == [("RESTS", 3, 3, 0, ""), ("ENDED", 3, -1, 0, "CANCELLED")]
    with pytest.raises(StateError, match="a-3 was asked already"):
        tracker.ask(asked(3, Action.POST, 5), 9)


def test_an_answer_that_is_lost_after_the_stream_told_of_the_order() -> None:
    tracker = OrderTracker()
    tracker.ask(asked(0, Action.TAKE, 5), 5)
    tracker.ask(asked(1, Action.POST, 5), 5)
    tracker.ask(asked(2, Action.POST, 5), 5)
    tracker.order(seen(0, "70", "", 5, 0), 6)
    tracker.trade(trade("70", "a", 5), 6)
    tracker.order(seen(1, "71", "open", 5, 0), 6)
    for number in range(3):
        tracker.unknown(f"a-{number}", "timeout")
    assert [move.client_id for move in tracker.moves if move.state is OrderState.UNKNOWN] == ["a-2"]


def test_what_can_not_be_explained() -> None:
    tracker = OrderTracker()
    tracker.ask(asked(0, Action.POST, 5), 5)
    tracker.order(seen(0, "70", "canceled", 5, 0), 6)
    tracker.trade(trade("70", "a", 1), 7)
    tracker.order(seen(0, "70", "canceled", 5, 2), 8)
    assert tracker.problems == [
        "a-0: a fill of 1 lots came after its end was told",
        "a-0: 2 lots filled, 1 were told",
    ]
    assert len(tracker.fills) == 1
    assert told(tracker)[-2:] == [("ENDED", 0, -1, 0, "CANCELLED"), ("FILL", 0, -1, 1, "")]
    tracker.trade(trade("70", "a", 1), 8)
    assert told(tracker) == []
    tracker.order(seen(9, "99", "open", 5, 0), 8)  # not ours
    tracker.trade(trade("99", "z", 1), 8)
    assert (len(tracker.orders), len(tracker.fills)) == (1, 1)


def test_a_fee_in_another_coin_that_is_traded_is_paid_by_its_position(tmp_path: Path) -> None:
    """As far as that goes: what the account held before pays the rest."""
    coin = Instrument("binance:BNB/USDT", tick_size=0.01, lot_size=0.001)
    traded = [Instrument(STREAM, 0.01, 0.01), coin, Instrument("kraken:BNB/USDT", 0.01, 0.001)]
    journal, problems = Journal(tmp_path / "j.db"), list[str]()
    journal.begin("a", 1)
    ledger = Ledger(journal, problems.append, traded)
    ledger.intend(asked(0, Action.TAKE, 9), 5)
    ledger.intend(asked(1, Action.TAKE, 9)._replace(stream=coin.stream), 5)

    def hear(number: int, trade_id: str, lots: int, fee: str, currency: str = "BNB") -> list[tuple[str, int, int, str]]:
        with ledger.change(6) as tracker:
            stream, venue_id = (STREAM, coin.stream)[number], str(70 + number)
            tracker.order(seen(number, venue_id, "open", 9, 0)._replace(stream=stream), 6)
            said = trade(venue_id, trade_id, lots)._replace(stream=stream, fee=Decimal(fee), fee_currency=currency)
            tracker.trade(said, 6)
        return [(one.told.name, one.number, one.lots, one.stream) for one in ledger.take()]

    def after_a_restart() -> tuple[int, Decimal]:
        found, spare = position(journal, coin, {"BNB": Decimal(1)}, 0.0, traded)
        return found.lots, spare

    assert hear(0, "a", 1, "0.0015") == [("FILL", 0, 1, "")], "nothing is held: what was there before paid"
    assert hear(1, "b", 5, "0.0002") == [("FILL", 1, 5, ""), ("FEE", 1, 1, "")]
    assert hear(0, "c", 1, "0.0011") == [("FILL", 0, 1, ""), ("FEE", 0, 1, coin.stream)]
    assert after_a_restart() == (3, Decimal("0.0007"))
    assert hear(0, "d", 1, "0.0006") == [("FILL", 0, 1, "")]
    assert after_a_restart() == (3, Decimal("0.0001"))
    assert hear(0, "e", 1, "7", "USDT") == [("FILL", 0, 1, "")]
    assert hear(0, "f", 1, "0.01") == [("FILL", 0, 1, ""), ("FEE", 0, 3, coin.stream)]
    assert after_a_restart() == (0, Decimal(0))
    assert hear(1, "g", 1, "0.0005") == [("FILL", 1, 1, ""), ("FEE", 1, 1, "")]
    assert after_a_restart() == (0, Decimal("0.0005"))
    assert not problems
    journal.close()


def test_a_fee_in_what_is_traded_takes_whole_lots(tmp_path: Path) -> None:
    spot = Instrument(STREAM, tick_size=0.01, lot_size=0.01)
    journal, problems = Journal(tmp_path / "j.db"), list[str]()
    journal.begin("a", 1)
    ledger = Ledger(journal, problems.append, [spot, Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001)])
    ledger.intend(asked(0, Action.TAKE, 9), 5)

    def hear(trade_id: str, lots: int, fee: str, currency: str = "BTC") -> list[tuple[str, int, int]]:
        with ledger.change(6) as tracker:
            tracker.order(seen(0, "77", "open", 9, 0), 6)
            tracker.trade(trade("77", trade_id, lots)._replace(fee=Decimal(fee), fee_currency=currency), 6)
        return [(one.told.name, one.number, one.lots) for one in ledger.take()]

    assert hear("a", 3, "0.003") == [("FILL", 0, 3), ("FEE", 0, 1)]  # 2.7 lots are there
    assert hear("a", 3, "0.003") == []
    assert hear("b", 3, "0.003") == [("FILL", 0, 3)]  # 5.4
    assert hear("c", 2, "5", "BNB") == [("FILL", 0, 2)]
    assert hear("d", 1, "-0.02") == [("FILL", 0, 1), ("FEE", 0, -2)]  # a rebate
    assert hear("late", 1, "0.05") == [("FILL", 0, 1), ("FEE", 0, 5)]
    assert problems == ["a-0: a fill of 1 lots came after its end was told"]
    found, spare = position(journal, spot, {"BTC": Decimal(1)})
    assert (found.lots, spare) == (9 + 1 - 1 + 2 - 5, Decimal("0.004"))
    journal.close()


def test_what_is_owed_is_rounded_towards_nothing_too() -> None:
    spot = Instrument(STREAM, tick_size=0.01, lot_size=0.01)
    fees = BaseFees([spot])

    def lots(side: int, lots: int, fee: str, currency: str = "BTC") -> int:
        return fees.lots(Fill(STREAM, "1", "a-0", "7", side, lots, 100, True, Decimal(fee), currency, 0, 0))

    assert lots(-1, 5, "1", "USDT") == 0
    assert lots(1, 5, "0.004") == 0  # flat, and 0.4 lots are owed
    assert lots(1, 5, "0.001") == 1  # 4.5
    assert lots(-1, 9, "1", "USDT") == -1  # -4.5, and the policy believes -5
