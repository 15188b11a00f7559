"""Live feeds: unmodified ccxt against the loopback exchange, whose own list says what was to arrive."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schwabot import engine
from schwabot.clock import LiveClock
from schwabot.errors import ConfigError, VenueError
from schwabot.fallback import FEED, FallbackConfig
from schwabot.pipeline import Pipeline
from schwabot.records.audit import FallbackEvent, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.sinks.base import RunHeader
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.feed_meter import FeedMeter
from schwabot.ticks.merge import blank, concat, take
from schwabot.ticks.recorder import RecordConfig, Recorder
from schwabot.ticks.store import StoreConfig, StoreFeed
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange, ccxt_options
from tests.venues.making import Driven, played

SPOT, USDM, COINM = "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"
STREAMS = [SPOT, USDM, COINM]
QUICK = {"silence_s": 0.6, "poll_after_s": 0.3, "poll_s": 0.1, "retry_first_s": 0.05, "gap_s": 2.0}
SOON = FallbackConfig(hold_s=0.5, keep=0.3)
DEADLINE_S = 60.0
SETTLE_S, PATIENCE_S = 0.8, 10.0
"""After the market's end: missed trades are asked for a little later; a busy machine takes longer."""


@contextmanager
def market(events: int = 3_000, speed: float = 8.0, **options: Any) -> Iterator[LoopbackExchange]:
    """An exchange that waits for ``play``."""
    feed = SyntheticFeed(SyntheticConfig(events=events, start_ns=time.time_ns()))
    with LoopbackExchange(feed, held=True, keep=events, speed=speed, **options) as exchange:
        yield exchange


def live(exchange: LoopbackExchange, streams: list[str] = STREAMS, **settings: Any) -> CcxtFeed:
    venues = {stream.partition(":")[0] for stream in streams}
    config = CcxtConfig(streams=streams, **(QUICK | settings))
    return CcxtFeed(config, None, {venue: ccxt_options(venue, exchange.port) for venue in venues}, SOON)


def listeners(exchange: LoopbackExchange) -> int:
    return sum(one["listeners"] for one in exchange.state()["channels"].values())


class Received:
    """What a feed said until the market ended, or something else came true, and a little longer.

    Attributes:
        events: told until then.
        truth: the exchange's state at that moment.
    """

    def __init__(
        self,
        exchange: LoopbackExchange,
        feed: CcxtFeed,
        act: Callable[[int], None] = lambda rows: None,
        until: Callable[[list[FallbackEvent]], bool] | None = None,
    ) -> None:
        batches: list[Ticks] = []
        late: list[Ticks] = [feed.take_late()]
        self.events: list[FallbackEvent] = []
        self.truth: dict[str, Any] = {}
        begun, rows, over_s, deadline = False, 0, 0.0, time.monotonic() + DEADLINE_S
        for ticks in feed.batches():
            if not begun and listeners(exchange) == 2 * len(feed.instruments):
                begun = True
                exchange.play()
            rows += len(ticks)
            late.append(feed.take_late())
            if len(ticks):
                batches.append(ticks)
            if not over_s:
                self.events += feed.take_events()
                act(rows)
                if until(self.events) if until else exchange.ended:
                    over_s, self.truth = time.monotonic(), exchange.state()
            elif self.is_settled(feed, [*batches, *late], time.monotonic() - over_s):
                break
            assert time.monotonic() < deadline, self.events
        self.ticks, self.late = concat(batches), concat(late)
        self.instruments = [one.stream for one in feed.instruments]

    def is_settled(self, feed: CcxtFeed, batches: list[Ticks], since_s: float) -> bool:
        """All trades of the time until then are here, or long enough was waited for them."""
        if since_s < SETTLE_S:
            return False
        rows = concat(batches)
        trades = np.bincount(rows.stream[rows.kind == Kind.TRADE], minlength=len(feed.instruments))
        wanted = [self.truth["books"][one.stream]["trade_id"] for one in feed.instruments]
        lost = feed.dropped.get("overflow", 0)
        return bool(lost or np.all(trades >= wanted) or since_s > PATIENCE_S)

    def of(self, stream: str, kind: Kind) -> Ticks:
        return self._of(self.ticks, stream, kind)

    def late_of(self, stream: str) -> Ticks:
        return self._of(self.late, stream, Kind.TRADE)

    def _of(self, ticks: Ticks, stream: str, kind: Kind) -> Ticks:
        v = self.instruments.index(stream)
        return take(ticks, np.flatnonzero((ticks.stream == v) & (ticks.kind == kind)))


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


def test_a_connection_that_is_cut_for_a_moment_is_a_gap_of_the_recording(tmp_path: Path) -> None:
    with market(events=3_000, speed=4.0) as exchange, live(exchange, [SPOT, USDM], poll_after_s=20.0) as feed:
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


class Watched:
    """The rows and events of a feed, as they come."""

    def __init__(self, feed: CcxtFeed) -> None:
        self.quotes: list[int] = []
        self.events: list[FallbackEvent] = []
        self._feed, self._batches = feed, feed.batches()

    def until(self, said: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not said():
            assert time.monotonic() < deadline, self.events
            ticks = next(self._batches)
            self.quotes += ticks.bid_ticks[ticks.kind == Kind.QUOTE].tolist()
            self.events += self._feed.take_events()

    def for_s(self, seconds: float) -> None:
        over_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > over_s)


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


def test_nobody_waits_for_a_request_that_hangs() -> None:
    driven = Driven(Instrument(SPOT, 0.01, 1e-5))
    driven.quote(1_000, 1_001)
    with LoopbackExchange(driven, speed=0) as exchange:
        played(exchange, driven)
        with live(exchange, [SPOT], silence_s=0.3, idle_s=0.05, answer_s=0.6) as feed:
            watched = Watched(feed)
            watched.until(lambda: listeners(exchange) == 2)
            driven.quote(1_002, 1_003)
            watched.until(lambda: watched.quotes)
            exchange.fault("slow_answer", path="GET */trades", count=0, seconds=1.2)
            exchange.fault("freeze", stream="*@bookTicker", count=0)
            exchange.fault("disconnect", stream="*@trade")
            driven.trade(1_003, 1, 1)
            for bid in range(1_010, 1_018):  # each is told by a poll, while the one for trades hangs
                driven.quote(bid, bid + 1)
                began_s = time.monotonic()
                watched.until(lambda bid=bid: watched.quotes[-1] == bid)  # type: ignore[misc]
                if bid > 1_010:
                    assert time.monotonic() - began_s < 0.5
            watched.until(lambda: feed.summary()[SPOT]["trades_source"] == "dropped")
            (dropped,) = (one for one in watched.events if one.after == "dropped")
            assert "no answer within source.answer_s=0.6" in dropped.reason
            assert feed.summary()[SPOT]["source"] == "rest"
            exchange.heal()
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
