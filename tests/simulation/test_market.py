"""The market as arrays: rows, chains, marks, signals; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from schwabot.errors import ConfigError, DataError
from schwabot.live_pipeline import LivePipeline
from schwabot.pipeline import Pipeline
from schwabot.records.audit import StepRecord
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.simulation.market import MarketBuilder
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate.records import Market

LEGS = (3, 1)


def built(
    batch: int, capacity: int | None = None, events: int = 3_000
) -> tuple[MarketBuilder, list[Ticks], list[StepRecord]]:
    feed = SyntheticFeed(SyntheticConfig(events=events))
    pipeline = Pipeline(feed.instruments)
    legs = [feed.instruments[v].stream for v in LEGS]
    columns = [[lambda s, v=v: s.deviation_bp[:, v], lambda s: s.ghost_bp] for v in LEGS]
    builder = MarketBuilder(feed.instruments, legs, columns, 1e5, capacity)
    ticks, records = [], []
    for one in feed.batches(batch):
        ticks.append(one)
        records.append(pipeline.step(one))
        builder.append(ticks[-1], records[-1])
    return builder, ticks, records


@pytest.fixture(scope="module")
def whole() -> tuple[MarketBuilder, list[Ticks], list[StepRecord]]:
    return built(10_000)


def test_rows_are_the_quotes_and_trades_of_the_feed(whole: tuple[MarketBuilder, list[Ticks], list[StepRecord]]) -> None:
    builder, batches, records = whole
    market = builder.market
    rows = [
        (ticks, i) for ticks in batches for i in range(len(ticks)) if ticks.kind[i] != Kind.DEPTH
    ]  # one by one, as a person would
    assert builder.rows == len(rows) == 3_000
    for n, (ticks, i) in enumerate(rows):
        leg = LEGS.index(ticks.stream[i]) if ticks.stream[i] in LEGS else -1
        assert market.leg[n] == leg
        assert market.ts_ns[n] == ticks.ts_recv_ns[i]
        if leg >= 0 and ticks.kind[i] == Kind.QUOTE:
            assert (market.bid[n], market.ask_lots[n]) == (ticks.bid_ticks[i], ticks.ask_lots[i])
            scale = builder.accounts[leg].scale
            bid, ask = int(ticks.bid_ticks[i]), int(ticks.ask_ticks[i])
            assert market.mark[n] == (-(scale // bid) - scale // ask if leg == 0 else (bid + ask) * scale)
        elif leg >= 0:
            assert (market.price[n], market.lots[n], market.side[n]) == (
                ticks.price_ticks[i], ticks.qty_lots[i], ticks.side[i],
            )  # fmt: skip
        else:
            assert market.bid[n] == market.price[n] == market.mark[n] == 0
    ghosts = np.concatenate([record.signals.ghost_bp for record in records])
    np.testing.assert_array_equal(market.signals[1, 1], ghosts)
    np.testing.assert_array_equal(
        market.signals[0, 0], np.concatenate([record.signals.deviation_bp[:, 3] for record in records])
    )


def test_every_row_of_a_leg_names_the_next(whole: tuple[MarketBuilder, list[Ticks], list[StepRecord]]) -> None:
    market = whole[0].market
    for leg in range(2):
        own = np.flatnonzero(market.leg == leg)
        assert market.next_row[own].tolist() == [*own[1:], -1]
        assert (np.diff(market.venue_ns[own]) >= 0).all()
        assert (np.abs(market.ts_ns[own] - market.venue_ns[own]) < 1e9).all()  # no stamp is missing


def test_a_venue_time_that_is_not_known_is_the_receive_time_and_counted() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=400, streams=1, contract=["spot"], stamped_quotes=[False]))
    pipeline = Pipeline(feed.instruments)
    builder = MarketBuilder(feed.instruments, [feed.instruments[0].stream], [[]], 1e5)
    unknown, before = 0, -(2**63)
    for ticks in feed.batches(50):
        record = pipeline.step(ticks)
        builder.append(ticks, record)
        for ts_ns, venue_ns in zip(record.ts_recv_ns.tolist(), record.ts_venue_ns.tolist(), strict=True):
            unknown += venue_ns == MISSING_NS
            before = max(before, ts_ns if venue_ns == MISSING_NS else venue_ns)
    assert unknown == builder.unstamped[0] > 0
    assert builder.market.venue_ns[-1] == before


@pytest.mark.parametrize(("batch", "capacity"), [(1, 3), (7, None), (999, 1), (10_000, 3_000)])
def test_batches_and_capacity_change_nothing(batch: int, capacity: int | None) -> None:
    events = 3_000 if batch > 1 else 500
    one, other = built(10_000, None, events)[0], built(batch, capacity, events)[0]
    for name in Market._fields:
        np.testing.assert_array_equal(getattr(one.market, name), getattr(other.market, name), err_msg=name)
    np.testing.assert_array_equal(one.lanes, other.lanes)


def test_rows_one_by_one_are_the_same_market(whole: tuple[MarketBuilder, list[Ticks], list[StepRecord]]) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=3_000))
    legs = [feed.instruments[v].stream for v in LEGS]
    columns = [[lambda s, v=v: s.deviation_bp[:, v], lambda s: s.ghost_bp] for v in LEGS]
    builder = MarketBuilder(feed.instruments, legs, columns, 1e5, 10)
    live = LivePipeline(feed.instruments, on_row=builder.append_row)
    for ticks in feed.batches(500):
        live.step(ticks)
    for name in Market._fields:
        np.testing.assert_array_equal(getattr(builder.market, name), getattr(whole[0].market, name), err_msg=name)
    for name in ("lanes", "accounts", "scale", "max_lots", "size_unknown", "unstamped"):
        np.testing.assert_array_equal(getattr(builder, name), getattr(whole[0], name), err_msg=name)


def test_mistakes_are_refused() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=10))
    streams = [one.stream for one in feed.instruments]
    with pytest.raises(ConfigError, match="nowhere:X/Y is not in the source, which has synthetic_a"):
        MarketBuilder(feed.instruments, ["nowhere:X/Y"], [[]], 1e5)
    with pytest.raises(ConfigError, match="twice"):
        MarketBuilder(feed.instruments, [streams[0], streams[0]], [[], []], 1e5)
    with pytest.raises(ConfigError, match="empty"):
        MarketBuilder(feed.instruments, [], [], 1e5)


def test_a_price_that_runs_away_is_refused_with_its_stream() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=2_000, streams=1))
    pipeline = Pipeline(feed.instruments)
    builder = MarketBuilder(feed.instruments, [feed.instruments[0].stream], [[]], 1e5)
    ticks = next(feed.batches(2_000))
    record = pipeline.step(ticks)
    ticks.ask_ticks[-200:] *= 20
    with pytest.raises(DataError, match=r"synthetic_a:BTC/USDT at .* more than 16 times its first"):
        builder.append(ticks, record)
