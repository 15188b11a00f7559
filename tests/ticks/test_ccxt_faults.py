"""What goes wrong between a venue and a live feed: told from what only looks like it, and never in silence."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from schwabot.config import CcxtSource, LiveConfig, RunConfig
from schwabot.modes.opening import open_feed
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.recorder import RecordConfig, Recorder
from schwabot.ticks.store import StoreConfig, StoreFeed
from schwabot.venues.loopback import LoopbackExchange
from tests.ticks.living import QUICK, SPOT, USDM, Received, Watched, listeners, live, market
from tests.venues.making import Driven, played, until


def test_a_connection_that_is_cut_for_a_moment_is_a_gap_of_the_recording(tmp_path: Path) -> None:
    with (
        market(events=3_000, speed=4.0) as exchange,
        live(exchange, [SPOT, USDM], poll_after_s=20.0, silence_s=30.0) as feed,
    ):
        exchange.fault("disconnect", stream="btcusdt@bookTicker", venue="binance", after=100)
        received = Received(exchange, feed)
        assert feed.summary()[SPOT]["source"] == "websocket"
    name = f"feed.{SPOT}.quotes"
    told = [(one.component, one.before, one.after) for one in received.events]
    assert told == [(name, "whole", "gapped"), (name, "gapped", "whole")]
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))) as recorder:
        recorder.write(received.ticks)
        for event in received.events:
            recorder.tell(event)
    (gap,) = StoreFeed(StoreConfig(path=str(tmp_path))).gaps
    assert gap.stream == SPOT
    stamps = received.of(SPOT, Kind.QUOTE).ts_recv_ns
    assert gap.first_ns in stamps
    assert not np.any((stamps > gap.first_ns) & (stamps < gap.last_ns))
    assert 0 < gap.last_ns - gap.first_ns < 10e9


COINBASE = Instrument("coinbase:BTC/USD", 0.01, 1e-5)
USDM_ONE = Instrument(USDM, 0.1, 0.001)


def test_a_quiet_market_is_told_from_a_websocket_that_stands_still() -> None:
    driven = Driven(COINBASE)
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [COINBASE.stream], silence_s=0.3, idle_s=0.05) as feed:
            watched = Watched(feed)
            watched.until(lambda: watched.quotes)
            watched.for_s(1.5)
            assert not watched.events
            assert feed.summary()[COINBASE.stream]["reconnects"] == 0
            exchange.fault("freeze", venue="coinbase", count=0)
            driven.quote(1_010, 1_011)
            watched.until(lambda: watched.quotes[-1] == 1_010)
            assert "nothing heard for" in watched.events[0].reason
            quotes = [(one.before, one.after) for one in watched.events if one.component.endswith("quotes")]
            assert quotes == [("whole", "gapped"), ("gapped", "whole")], "a new connection tells the whole book"
            exchange.heal()
            driven.end()


def test_messages_that_are_missing_by_their_numbers_make_the_order_book_anew() -> None:
    driven = Driven(COINBASE)
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [COINBASE.stream], silence_s=30.0, poll_after_s=30.0, idle_s=0.05) as feed:
            watched = Watched(feed)
            watched.until(lambda: watched.quotes and listeners(exchange) == 2)
            exchange.fault("gap", venue="coinbase", stream="level2:*")
            driven.quote(1_002, 1_003)
            driven.quote(1_004, 1_005)  # without the one before, 1,001 is still there to be sold at
            watched.until(lambda: watched.quotes[-1] == 1_004)
            watched.until(lambda: any(one.after == "whole" for one in watched.events))
            driven.end()
        quotes = [one for one in watched.events if one.component.endswith("quotes")]
        assert [(one.before, one.after) for one in quotes] == [("whole", "gapped"), ("gapped", "whole")]
        assert "1 numbered message was lost, number " in quotes[0].reason
        assert feed.dropped == {"lost": 1}
        assert feed.summary()[COINBASE.stream]["reconnects"] in (1, 2), "quotes, and trades unless none came yet"


def test_a_connection_that_is_lost_again_and_again_is_opened_less_and_less_often() -> None:
    driven = Driven(COINBASE)
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [COINBASE.stream], silence_s=30.0, poll_after_s=30.0, idle_s=0.01) as feed:
            watched = Watched(feed)
            watched.until(lambda: watched.quotes and listeners(exchange) == 2)
            exchange.fault("gap", venue="coinbase", stream="level2:*", probability=0.5, count=0)
            over_s = time.monotonic() + 1.0
            while time.monotonic() < over_s:
                driven.quote(1_000, 1_001 + driven.rows % 2)
                watched.for_s(0.01)
            assert 1 <= feed.summary()[COINBASE.stream]["reconnects"] <= 12, "0.05 s, 0.1 s, 0.2 s, ... apart"
            exchange.heal()
            driven.quote(1_100, 1_101)
            watched.until(lambda: watched.quotes[-1] == 1_100)
            driven.end()


def test_an_order_book_that_stays_crossed_is_made_anew() -> None:
    driven = Driven(COINBASE)
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [COINBASE.stream], silence_s=30.0, poll_after_s=30.0, idle_s=0.05) as feed:
            watched = Watched(feed)
            watched.until(lambda: watched.quotes and listeners(exchange) == 2)
            driven.quote(1_010, 1_005)
            watched.until(lambda: watched.events)
            assert "its order book stays crossed" in watched.events[0].reason
            driven.quote(1_010, 1_011)
            watched.until(lambda: watched.quotes[-1] == 1_010)
            driven.end()
        assert feed.dropped["crossed"] >= 1


def test_nobody_waits_for_a_request_that_hangs() -> None:
    driven = Driven(Instrument(SPOT, 0.01, 1e-5))
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [SPOT], silence_s=0.3, idle_s=0.05, answer_s=1.2) as feed:
            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            driven.quote(1_002, 1_003)
            watched.until(lambda: watched.quotes)
            exchange.fault("slow_answer", path="GET */trades", count=0, seconds=1.6)
            exchange.fault("freeze", stream="*@bookTicker", count=0)
            exchange.fault("disconnect", stream="*@trade")
            driven.trade(1_003, 1, 1)
            driven.quote(1_010, 1_011)
            watched.until(lambda: watched.quotes[-1] == 1_010)
            began_s = time.monotonic()
            for bid in range(1_011, 1_018):  # each is told by a poll, while the one for trades hangs
                driven.quote(bid, bid + 1)
                watched.until(lambda bid=bid: watched.quotes[-1] == bid)  # type: ignore[misc]
            assert time.monotonic() - began_s < 7 * 0.6
            watched.until(lambda: feed.summary()[SPOT]["trades_source"] == "dropped")
            (dropped,) = (one for one in watched.events if one.after == "dropped")
            assert "no answer within source.answer_s=1.2" in dropped.reason
            assert feed.summary()[SPOT]["source"] == "rest"
            exchange.heal()
            driven.end()


def test_trades_that_are_given_up_while_the_websocket_is_away_do_not_end_its_gap(tmp_path: Path) -> None:
    driven = Driven(Instrument(SPOT, 0.01, 1e-5))
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [SPOT], silence_s=30.0, poll_after_s=30.0, idle_s=0.05, gap_s=0.1) as feed:
            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            exchange.fault("server_error", path="GET */trades", count=0)
            exchange.fault("gap", stream="*@trade", after=1)
            for _ in range(3):
                driven.trade(1_001, 1, 1)
            watched.until(lambda: feed.summary()[SPOT]["received"] == 2)
            exchange.fault("freeze", stream="*@trade", count=0)
            exchange.fault("disconnect", stream="*@trade")
            driven.trade(1_001, 1, 1)
            watched.until(lambda: feed.summary()[SPOT]["missing"])
            watched.for_s(0.2)
            exchange.heal()
            driven.trade(1_001, 1, 1)
            watched.until(lambda: any(one.after == "whole" for one in watched.events))
            driven.end()
    lost, given_up, back = watched.events[:3]
    assert [(one.before, one.after) for one in (lost, given_up, back)] == [
        ("whole", "gapped"), ("gapped", "gapped"), ("gapped", "whole")
    ]  # fmt: skip
    assert given_up.reason == "1 trades were lost, number 2 to 2"
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))) as recorder:
        for event in (lost, given_up, back):
            recorder.tell(event)
    (gap,) = StoreFeed(StoreConfig(path=str(tmp_path))).gaps
    assert (gap.first_ns, gap.last_ns) == (lost.ts_ns, back.ts_ns)


def test_a_connection_that_is_back_does_not_end_the_gap_of_an_engine_that_is_too_slow() -> None:
    driven = Driven(Instrument(SPOT, 0.01, 1e-5))
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [SPOT], silence_s=30.0, poll_after_s=30.0, shed_rows=3, queue_rows=3) as feed:

            def refused(count: int) -> None:
                driven.trade(1_001, 1, 1)
                until(lambda: feed.dropped.get("overflow", 0) == count)

            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            for _ in range(3):
                driven.trade(1_001, 1, 1)
            refused(1)
            exchange.fault("disconnect", stream="*@trade")
            driven.trade(1_001, 1, 1)
            until(lambda: len(feed._told) == 2)
            until(lambda: listeners(exchange) == 2)
            refused(2)
            watched.for_s(0.1)
            driven.trade(1_001, 1, 1)
            watched.until(lambda: any("room again" in one.reason for one in watched.events))
            driven.end()
    told = [(one.before, one.after) for one in watched.events if "too late" not in one.reason]
    assert told == [("whole", "gapped"), ("gapped", "gapped"), ("gapped", "gapped"), ("gapped", "whole")]


def test_late_trades_that_nobody_takes_in_time_are_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schwabot.ticks.ccxt_feed.MOST_LATE", 3)
    driven = Driven(Instrument(SPOT, 0.01, 1e-5))
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [SPOT], silence_s=30.0, idle_s=0.05) as feed:
            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            exchange.fault("gap", stream="*@trade", after=1, count=5)
            for lots in range(1, 8):
                driven.trade(1_001, lots, 1)
            watched.until(lambda: feed.summary()[SPOT]["backfilled"] == 5)
            watched.for_s(0.1)
            assert feed.take_late().qty_lots.tolist() == [4, 5, 6]
            assert not len(feed.take_late())
            watched.for_s(0.3)
            (told,) = (one for one in watched.events if one.component == f"feed.{SPOT}.late")
            assert told.reason == "2 trades that were told too late were lost: 3 waited to be taken"
            assert feed.summary()[SPOT]["late_lost"] == 2
            driven.end()


@pytest.mark.parametrize("recorded", [False, True])
def test_late_trades_are_kept_where_they_are_recorded_alone(recorded: bool, tmp_path: Path) -> None:
    out = str(tmp_path / "store") if recorded else None
    driven = Driven(Instrument(SPOT, 0.01, 1e-5))
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        source = CcxtSource(streams=[SPOT], **(QUICK | {"silence_s": 30.0, "idle_s": 0.05}))
        settings = RunConfig(
            "paper", source=source, live=LiveConfig(loopback_port=exchange.port), record=RecordConfig(out=out)
        )
        feed = open_feed(settings)
        assert isinstance(feed, CcxtFeed)
        with feed:
            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            exchange.fault("gap", stream="*@trade", after=1, count=5)
            for lots in range(1, 8):
                driven.trade(1_001, lots, 1)
            watched.until(lambda: feed.summary()[SPOT]["backfilled"] == 5)
            assert len(feed._late) == (0 if out is None else 5)
            driven.end()


def test_a_venue_whose_clock_is_behind_loses_no_trades() -> None:
    driven = Driven(USDM_ONE)
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        exchange.fault("clock_skew", ms=-90_000, count=0)
        with live(exchange, [USDM], idle_s=0.05) as feed:
            assert [note for note in feed.notes if "clock" in note] == [
                "binanceusdm: this machine's clock is 90 s ahead of the venue's"
            ]
            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            driven.trade(1_001, 5, 1)
            watched.until(lambda: feed.summary()[USDM]["received"] or feed.dropped)
            assert not feed.dropped
        driven.end()


def test_a_clock_that_is_set_back_is_told_and_what_was_dropped_is_read_at_any_time() -> None:
    with market() as exchange, live(exchange, [SPOT], idle_s=0.05) as feed:
        watched = Watched(feed)
        watched.for_s(0.2)
        receipt, clock = feed._receipt, feed._receipt._clock
        receipt._clock = lambda: clock() - 3_600 * 10**9
        watched.until(lambda: watched.events)
        assert (watched.events[0].component, watched.events[0].after) == ("clock", "steady")
        assert "set back: receive stamps go on, 3,600.00" in watched.events[0].reason
        assert abs(watched.events[0].ts_ns - time.time_ns()) < 10e9
        assert feed.summary()["clock_set_back_s"] == pytest.approx(3_600.0, abs=0.1)
        receipt._clock = clock
        watched.until(lambda: len(watched.events) > 1)
        assert watched.events[1].after == "clock"
        assert len(feed.notes) == 2
        counts = next(iter(feed._venues[0].rows.values())).counts
        busy = threading.Thread(target=lambda: [counts.drop(f"reason {n}", "x") for n in range(20_000)])
        busy.start()
        read = 0
        while busy.is_alive():
            assert len(feed.dropped) <= 20_000
            assert len(feed.examples) <= 20
            read += 1
        assert read > 1
        assert len(feed.dropped) == 20_000
