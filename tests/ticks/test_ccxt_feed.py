"""Live feeds: unmodified ccxt against the loopback exchange, whose own list says what was to arrive."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schwabot import engine
from schwabot.clock import LiveClock
from schwabot.errors import ConfigError, VenueError
from schwabot.fallback import FEED
from schwabot.pipeline import Pipeline
from schwabot.records.audit import FallbackEvent, StepRecord
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.sinks.base import RunHeader
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.feed_meter import FeedMeter
from schwabot.ticks.merge import blank, concat
from schwabot.venues.loopback import LoopbackExchange, ccxt_options
from tests.ticks.living import COINM, SPOT, STREAMS, USDM, Received, listeners, live, market


def sent(exchange: LoopbackExchange, stream: str, kind: str) -> list[dict[str, Any]]:
    """The exchange's own list."""
    venue = stream.partition(":")[0]
    names = {SPOT: "btcusdt", USDM: "btcusdt", COINM: "btcusd_perp"}
    kept = exchange.state()["channels"][f"{venue}:{names[stream]}@{kind}"]["kept"]
    return [json.loads(text) for _, text in kept]


def trades_of(received: Received, stream: str) -> list[tuple[int, int, int]]:
    return in_numbers(received.of(stream, Kind.TRADE))


def known_of(received: Received, stream: str) -> list[tuple[int, int, int]]:
    """The trades that were told at last, as rows or too late for that."""
    return trades_of(received, stream) + in_numbers(received.late_of(stream))


def in_numbers(ticks: Ticks) -> list[tuple[int, int, int]]:
    return list(zip(ticks.price_ticks.tolist(), ticks.qty_lots.tolist(), ticks.side.tolist(), strict=True))


def trades_sent(exchange: LoopbackExchange, stream: str, feed: CcxtFeed) -> list[Any]:
    one = next(one for one in feed.instruments if one.stream == stream)
    return [
        (round(float(m["p"]) / one.tick_size), round(float(m["q"]) / one.lot_size), -1 if m["m"] else 1)
        for m in sent(exchange, stream, "trade")
    ]


def test_every_message_is_a_row_with_its_stamps() -> None:
    with market() as exchange, live(exchange, silence_s=30.0) as feed:
        received = Received(exchange, feed)
        ticks = received.ticks
        assert np.all(np.diff(ticks.ts_recv_ns) > 0)
        for stream in STREAMS:
            assert trades_of(received, stream) == trades_sent(exchange, stream, feed)
            quotes, books = received.of(stream, Kind.QUOTE), sent(exchange, stream, "bookTicker")
            one = next(one for one in feed.instruments if one.stream == stream)
            assert [round(float(book["b"]) / one.tick_size) for book in books] == quotes.bid_ticks.tolist()
            assert [round(float(book["a"]) / one.tick_size) for book in books] == quotes.ask_ticks.tolist()
            assert [round(float(book["B"]) / one.lot_size) for book in books] == quotes.bid_lots.tolist()
            assert [round(float(book["A"]) / one.lot_size) for book in books] == quotes.ask_lots.tolist()
            happened = [MISSING_NS if "T" not in book else book["T"] * 1_000_000 for book in books]
            emitted = [MISSING_NS if "E" not in book else book["E"] * 1_000_000 for book in books]
            assert happened == quotes.ts_event_ns.tolist()
            assert emitted == quotes.ts_emit_ns.tolist()
        assert np.all(received.of(SPOT, Kind.QUOTE).ts_event_ns == MISSING_NS)
        assert not feed.dropped
        assert not received.events
        assert not feed.take_events(), "its end is no loss"
        summary = feed.summary()
        assert {summary[stream]["source"] for stream in STREAMS} == {"websocket"}
        assert sum(summary[stream]["received"] for stream in STREAMS) == len(ticks)
        assert summary["lag_p50_ms"] < 100.0


def test_messages_cut_off_doubled_swapped_or_lost_cost_no_trade() -> None:
    with market(events=4_000, speed=4.0) as exchange, live(exchange) as feed:
        for seed, stream in enumerate(("*@trade", "*@bookTicker")):
            exchange.fault("duplicate", stream=stream, count=0, probability=0.03, seed=seed)
            exchange.fault("reorder", stream=stream, count=0, probability=0.03, seed=seed + 10)
        exchange.fault("gap", stream="*@trade", count=0, probability=0.03, seed=20)
        for after in (60, 200, 350):
            exchange.fault("disconnect", stream="*@trade", after=after)
        healed = []

        def heal(rows: int) -> None:
            if rows > 2_500 and not healed:  # the last trade would not be missed by anybody
                healed.append(exchange.state()["faults"]["happened"])
                exchange.heal()

        received = Received(exchange, feed, heal)
        assert healed[0]["disconnect"] == 3
        assert all(healed[0][kind] > 5 for kind in ("duplicate", "reorder", "gap"))
        summary, dropped = feed.summary(), feed.dropped
        books = exchange.state()["books"]
        for stream in STREAMS:
            told = known_of(received, stream)
            # what REST told of the time that nobody listened is more than what was sent
            assert len(told) == books[stream]["trade_id"]
            assert not Counter(trades_sent(exchange, stream, feed)) - Counter(told)
            assert summary[stream]["missing"] == 0
        assert sum(summary[stream]["reconnects"] for stream in STREAMS) >= 2
        assert sum(summary[stream]["backfilled"] for stream in STREAMS) == len(received.late) > 0
        assert dropped["duplicate"] > 10
        assert dropped["reordered"] > 5
        assert set(dropped) == {"duplicate", "reordered"}


def back(events: list[FallbackEvent], stream: str) -> bool:
    return any(one.component == f"feed.{stream}.quotes" and one.after == "websocket" for one in events)


def complete(received: Received, exchange: LoopbackExchange, stream: str) -> bool:
    """No trade of the time until then is missing, and none came twice."""
    told = len(known_of(received, stream))
    return bool(received.truth["books"][stream]["trade_id"] <= told <= exchange.state()["books"][stream]["trade_id"])


def test_a_frozen_websocket_is_polled_for_and_comes_back() -> None:
    with market(events=20_000, speed=1.0) as exchange, live(exchange) as feed:
        frozen: list[int] = []

        def freeze(rows: int) -> None:
            if rows > 300 and not frozen:
                frozen.append(exchange.fault("freeze", venue="binance", count=0, seconds=1.5))

        received = Received(exchange, feed, freeze, lambda events: back(events, SPOT))
        quotes = [one for one in received.events if one.component == f"feed.{SPOT}.quotes"]
        switches = [(one.before, one.after) for one in quotes if one.before in FEED]
        assert switches == [("websocket", "rest"), ("rest", "websocket")]
        assert "nothing heard" in received.events[0].reason
        gaps = [(one.before, one.after) for one in received.events if "apped" in one.before + one.after]
        assert gaps[0] == ("whole", "gapped")
        assert gaps[-1] == ("gapped", "whole")
        assert all(SPOT in one.component for one in received.events)
        summary = feed.summary()
        assert summary[SPOT]["reconnects"] > 0
        assert summary[USDM]["reconnects"] == 0
        for stream in STREAMS:
            assert complete(received, exchange, stream)
            assert summary[stream]["missing"] == 0


def test_a_stream_that_nothing_answers_for_is_dropped_and_taken_back() -> None:
    with market(events=20_000, speed=1.0) as exchange, live(exchange, [SPOT, USDM]) as feed:
        steps: list[str] = []

        def trouble(rows: int) -> None:
            if rows > 300 and not steps:
                steps.append("broken")
                exchange.fault("server_error", venue="binance", path="GET *", count=0)
                exchange.fault("freeze", venue="binance", count=0)
            elif steps == ["broken"] and feed.summary()[SPOT]["source"] == "dropped":
                steps.append("healed")
                exchange.heal()

        received = Received(exchange, feed, trouble, lambda events: back(events, SPOT))
        quotes = [one for one in received.events if one.component == f"feed.{SPOT}.quotes" and one.before in FEED]
        assert [one.after for one in quotes][:2] == ["rest", "dropped"]
        assert "Internal error" in quotes[1].reason
        assert all(SPOT in one.component for one in received.events)
        assert complete(received, exchange, SPOT)
        assert complete(received, exchange, USDM)


def test_a_venue_that_is_not_there_is_named() -> None:
    config = CcxtConfig(streams=[SPOT], connect_s=5.0)
    with pytest.raises(VenueError, match="binance: its markets can't be loaded"):
        CcxtFeed(config, options={"binance": ccxt_options("binance", 1)})
    with pytest.raises(VenueError, match="bynance: ccxt knows no exchange"):
        CcxtFeed(CcxtConfig(streams=["bynance:BTC/USDT"]))
    assert not [one for one in threading.enumerate() if one.name == "exchanges"]


def test_a_market_that_is_not_there_is_named() -> None:
    with market() as exchange, pytest.raises(VenueError, match="binance: no market BTC/USDC, did you mean BTC/USDT"):
        live(exchange, ["binance:BTC/USDC"])


def test_a_venue_that_the_loopback_exchange_does_not_list_is_named() -> None:
    with market() as exchange, pytest.raises(VenueError, match="nothing of kraken: start it with more --streams"):
        live(exchange, ["kraken:BTC/USDT"])


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def open(self, header: RunHeader) -> None:
        pass

    def write(self, record: StepRecord) -> None:
        self.records.append(record)

    def close(self, summary: Any) -> None:
        pass


class Passed:
    """A feed that keeps what it hands on."""

    def __init__(self, exchange: LoopbackExchange, feed: CcxtFeed) -> None:
        self.exchange, self.feed = exchange, feed
        self.instruments, self.expected_events = feed.instruments, None
        self.batches_seen: list[Ticks] = []

    @property
    def dropped(self) -> Any:
        return self.feed.dropped

    def progress(self) -> float:
        return self.feed.progress()

    def take_events(self) -> tuple[FallbackEvent, ...]:
        return self.feed.take_events()

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        for ticks in self.feed.batches(max_events):
            if listeners(self.exchange) == 2 * len(self.instruments):
                self.exchange.play()
            if len(ticks):
                self.batches_seen.append(ticks)
            elif self.exchange.ended:
                return
            yield ticks


def drive(feed: Any, live_feed: CcxtFeed) -> tuple[dict[str, Any], list[StepRecord]]:
    kept = Kept()
    header = RunHeader(Path(), "paper", "cpu", "test", feed.instruments)
    summary = engine.run(
        feed, Pipeline(feed.instruments), header, clock=LiveClock(), sinks=[kept], meters=[FeedMeter(live_feed)]
    )
    return summary, kept.records


def test_the_engine_lives_on_it_and_a_replay_of_what_came_says_the_same_whatever_went_wrong() -> None:
    with market() as exchange, live(exchange) as feed:
        Pipeline(feed.instruments).step(blank(feed.instruments, 1))  # kernels are ready when the market begins
        for kind in ("duplicate", "reorder", "gap"):
            exchange.fault(kind, count=0, probability=0.02)
        exchange.fault("disconnect", after=700)
        passed = Passed(exchange, feed)
        summary, records = drive(passed, feed)
        happened = exchange.state()["faults"]["happened"]
    assert all(happened[kind] for kind in ("duplicate", "reorder", "gap", "disconnect"))
    assert summary["events"] == sum(len(ticks) for ticks in passed.batches_seen) > 1_500
    assert summary["dropped"]["duplicate"] > 10
    assert summary["feed"][SPOT]["received"] == summary["streams"][SPOT]["events"]
    assert len(records) > 20
    again = Pipeline(feed.instruments).step(concat(passed.batches_seen))
    signals = [record.signals for record in records]
    for name in ("ghost_bp", "deviation_bp", "phase_bp", "forecast_bp", "key", "entropy", "bits", "lane"):
        parts = np.concatenate([getattr(one, name) for one in signals])
        assert np.array_equal(parts, getattr(again.signals, name), equal_nan=True), name


def test_a_stop_is_heard_while_nothing_comes() -> None:
    with market() as exchange, live(exchange, silence_s=30.0) as feed:
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        began = time.monotonic()
        summary, _ = drive(feed, feed)
        assert summary["interrupted"]
        assert summary["events"] == 0
        assert time.monotonic() - began < 5.0


def test_a_feed_ends_by_itself_when_it_was_told_to() -> None:
    with market(events=50_000, speed=1.0) as exchange:
        exchange.play()
        options = {"binance": ccxt_options("binance", exchange.port)}
        with CcxtFeed(CcxtConfig(streams=[SPOT]), options=options, events=25) as feed:
            assert sum(len(ticks) for ticks in feed.batches(10)) == 25
            assert feed.progress() == 1.0
            with pytest.raises(ConfigError, match="already read"):
                next(feed.batches())
        with CcxtFeed(CcxtConfig(streams=[SPOT]), options=options, seconds=0.5) as feed:
            began = time.monotonic()
            for _ in feed.batches():
                pass
            assert 0.5 <= time.monotonic() - began < 3.0


def test_a_slow_reader_costs_quotes_before_trades() -> None:
    with market(events=3_000) as exchange, live(exchange, silence_s=30.0, shed_rows=20, queue_rows=2_000) as feed:
        received = Received(exchange, feed, lambda rows: time.sleep(0.05))
        summary = feed.summary()
        for stream in STREAMS:
            assert trades_of(received, stream) == trades_sent(exchange, stream, feed)
            quotes, books = received.of(stream, Kind.QUOTE), sent(exchange, stream, "bookTicker")
            assert summary[stream]["coalesced"] == len(books) - len(quotes.stream) > 0
            assert quotes.bid_ticks[-1] == exchange.state()["books"][stream]["bid_ticks"]
        assert not received.events


def test_a_reader_that_is_far_too_slow_is_told_which_stream_lost_trades() -> None:
    with market(events=3_000) as exchange, live(exchange, silence_s=30.0, shed_rows=5, queue_rows=10) as feed:
        received = Received(exchange, feed, lambda rows: time.sleep(0.3 if rows < 100 else 0.0))
        gapped = [one for one in received.events if (one.before, one.after) == ("whole", "gapped")]
        assert {one.component for one in gapped} <= {f"feed.{stream}.trades" for stream in STREAMS}
        assert gapped
        assert "the engine is too slow" in gapped[0].reason
        whole = [one for one in received.events if (one.before, one.after) == ("gapped", "whole")]
        assert "trades were lost" in whole[0].reason
        told = sum(len(trades_of(received, stream)) for stream in STREAMS)
        assert told + feed.dropped["overflow"] == sum(len(sent(exchange, stream, "trade")) for stream in STREAMS)
