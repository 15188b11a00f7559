from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks.efficient_price import EfficientPrice
from schwabot.ticks.merge import concat
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.ticks.validate import check_ticks

COLUMNS = [f.name for f in fields(Ticks) if f.name not in ("instruments", "levels")]


def everything(config: SyntheticConfig, max_events: int = 65_536) -> Ticks:
    return concat(list(SyntheticFeed(config).batches(max_events)))


def assert_same(a: Ticks, b: Ticks) -> None:
    assert a.instruments == b.instruments
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name, strict=True)


@pytest.fixture(scope="module")
def market() -> tuple[SyntheticFeed, Ticks]:
    feed = SyntheticFeed(SyntheticConfig(events=200_000, seed=5))
    return feed, concat(list(feed.batches()))


def test_rows_keep_the_contract(market: tuple[SyntheticFeed, Ticks]) -> None:
    feed, ticks = market
    check_ticks(ticks)
    assert (ticks.kind != Kind.DEPTH).sum() == 200_000
    assert ticks.kind[-1] != Kind.DEPTH
    assert set(ticks.stream.tolist()) == {0, 1, 2, 3}
    assert feed.progress() == 1.0
    quote, trade = ticks.kind == Kind.QUOTE, ticks.kind == Kind.TRADE
    assert ticks.price_ticks[~trade].max() == 0
    assert np.abs(ticks.side[~trade]).max() == 0
    assert np.abs(ticks.side[trade]).min() == 1
    assert ticks.bid_lots[quote].min() >= 1
    assert ticks.bid_ticks[trade].max() == 0
    same = (ticks.ts_recv_ns[1:] == ticks.ts_recv_ns[:-1]) & (ticks.stream[1:] < ticks.stream[:-1])
    assert not same.any()


@given(max_events=st.integers(1, 3_000), events=st.integers(1, 900))
@settings(max_examples=10)
def test_how_it_is_cut_changes_nothing(max_events: int, events: int) -> None:
    config = SyntheticConfig(events=events, rate_per_s=[2_000.0])
    assert_same(everything(config, max_events), everything(config))


def test_a_short_run_begins_a_long_one() -> None:
    long = everything(SyntheticConfig(events=60_000))  # more than one block
    short = everything(SyntheticConfig(events=40_000))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[: len(short)])


def test_seed_decides() -> None:
    one = SyntheticConfig(events=2_000, seed=1)
    assert_same(everything(one), everything(one))
    other = everything(replace(one, seed=2))
    assert not np.array_equal(other.ts_recv_ns[:1_000], everything(one).ts_recv_ns[:1_000])


def test_looks_like_a_market(market: tuple[SyntheticFeed, Ticks]) -> None:
    _, ticks = market
    for v in range(4):
        rows = np.flatnonzero((ticks.stream == v) & (ticks.kind == Kind.QUOTE))
        repeats = (np.diff(ticks.bid_ticks[rows]) == 0) & (np.diff(ticks.ask_ticks[rows]) == 0)
        assert 0.87 < repeats.mean() < 0.93
        both = (np.diff(ticks.bid_lots[rows]) != 0) & (np.diff(ticks.ask_lots[rows]) != 0) & repeats
        assert both.mean() < 0.05  # a price change that ends where it began
    gaps = np.diff(ticks.ts_recv_ns)
    assert np.percentile(gaps, 90) > 6 * np.median(gaps)  # bursts; 3.3 without


def test_missing_stamps_are_missing(market: tuple[SyntheticFeed, Ticks]) -> None:
    _, ticks = market
    spot_quotes = (ticks.stream == 0) & (ticks.kind == Kind.QUOTE)
    assert (ticks.ts_event_ns[spot_quotes] == MISSING_NS).all()
    assert (ticks.ts_emit_ns[spot_quotes] == MISSING_NS).all()
    assert (ticks.ts_event_ns[~spot_quotes] != MISSING_NS).all()


def test_clock_truth_is_the_lower_envelope(market: tuple[SyntheticFeed, Ticks]) -> None:
    feed, ticks = market
    truth = feed.truth(ticks)
    for v, venue in enumerate(feed.truth_summary()):
        rows = (ticks.stream == v) & (ticks.ts_emit_ns != MISSING_NS)
        late_ms = (ticks.ts_recv_ns[rows] - ticks.ts_emit_ns[rows]) / 1e6 - truth.clock_offset_ms[rows, v]
        assert venue.latency_min_ms <= late_ms.min() < venue.latency_min_ms + 0.2
        early, end = truth.clock_offset_ms[0, v], truth.clock_offset_ms[-1, v]
        span_s = (ticks.ts_recv_ns[-1] - ticks.ts_recv_ns[0]) / 1e9
        assert (end - early) / span_s * 1e3 == pytest.approx(venue.clock_drift_ppm)


def as_of_mids_bp(feed: SyntheticFeed, ticks: Ticks) -> np.ndarray:
    mids = np.full((len(ticks), len(feed.instruments)), np.nan)
    for v, instrument in enumerate(feed.instruments):
        rows = np.flatnonzero((ticks.stream == v) & (ticks.kind == Kind.QUOTE))
        last = np.searchsorted(rows, np.arange(len(ticks)), side="right") - 1
        mid = 0.5 * (ticks.bid_ticks[rows] + ticks.ask_ticks[rows]) * instrument.tick_size
        mids[:, v] = np.where(last >= 0, np.log(mid[last] / feed.config.price) * 1e4, np.nan)
    return mids


def test_several_mids_know_more_than_one(market: tuple[SyntheticFeed, Ticks]) -> None:
    feed, ticks = market
    truth = feed.truth(ticks)
    error = as_of_mids_bp(feed, ticks) - truth.basis_bp - truth.efficient_bp[:, None]
    error = error[~np.isnan(error).any(axis=1)]
    assert np.abs(error.mean(axis=0)).max() < 0.1  # the basis is the truth
    single = np.sqrt((error**2).mean(axis=0))
    assert np.sqrt((error.mean(axis=1) ** 2).mean()) < 0.95 * single.min()


def test_venues_follow_late() -> None:
    quiet = SyntheticConfig(
        events=40_000,
        streams=2,
        delay_ms=[0.0, 200.0],
        noise_bp=[0.0],
        reprice_share=0.99,
        basis_bp=[0.0],
        basis_swing_bp=[0.0],
        tick_size=[0.01],
        spread_bp=[0.1],
        outages_per_hour=[0.0],
        latency_min_ms=[0.0],
        latency_jitter_ms=[0.0],
    )
    feed = SyntheticFeed(quiet)
    ticks = concat(list(feed.batches()))
    mids = as_of_mids_bp(feed, ticks)[1_000:]
    ts_ns = ticks.ts_recv_ns[1_000:]
    late = [np.std(mids[:, 1] - feed.truth_at(ts_ns - ms * 1_000_000).efficient_bp) for ms in (0, 100, 200, 300)]
    assert int(np.argmin(late)) == 2
    assert np.std(mids[:, 0] - feed.truth_at(ts_ns).efficient_bp) < 0.2


def test_outages_are_silent() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=100_000, outages_per_hour=[0.0, 0.0, 200.0, 0.0], outage_s=8.0))
    ticks = concat(list(feed.batches()))
    gap_s = [np.diff(ticks.ts_recv_ns[ticks.stream == v]).max() / 1e9 for v in range(4)]
    assert gap_s[2] > 4.0
    assert max(gap_s[0], gap_s[1], gap_s[3]) < 1.0


def test_nothing_is_lost_between_blocks() -> None:
    ticks = everything(SyntheticConfig(events=150_000, outages_per_hour=[0.0], stamp_ms=0.001, clock_drift_ppm=[0.0]))
    for v in range(4):
        sent_ns = ticks.ts_event_ns[(ticks.stream == v) & (ticks.kind == Kind.DEPTH)]
        assert len(sent_ns) > 2_000
        assert set(np.diff(sent_ns).tolist()) == {100_000_000}


def test_truth_does_not_depend_on_the_way_it_is_asked() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=100_000))
    batches = list(feed.batches(7_000))
    forward = [feed.truth(batch).efficient_bp for batch in batches]
    fresh = SyntheticFeed(feed.config)
    backward = [fresh.truth(batch).efficient_bp for batch in reversed(batches)]
    for a, b in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(a, b)


def test_efficient_price_moves_as_stated() -> None:
    path = EfficientPrice(seed=0, start_ns=0, step_ns=1_000_000, volatility_bp=2.0, jumps_per_hour=0.0)
    seconds = np.arange(2_000, dtype=np.int64) * 1_000_000_000
    moves = np.diff(path.at(seconds))
    assert np.sqrt((moves**2).mean()) == pytest.approx(2.0, rel=0.15)
    calm = EfficientPrice(seed=0, start_ns=0, step_ns=1_000_000, volatility_bp=0.0, jumps_per_hour=3_600.0, jump_bp=3.0)
    assert np.var(np.diff(calm.at(seconds))) == pytest.approx(9.0, rel=0.25)


def test_instruments() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=10, streams=6))
    names = [i.stream for i in feed.instruments]
    assert names == sorted(names)
    assert names[3] == "synthetic_d:BTC/USD:BTC"
    assert feed.instruments[3].inverse
    assert [i.taker_fee_bp for i in feed.instruments[:4]] == [10.0, 5.0, 10.0, 5.0]
    assert len(SyntheticFeed(SyntheticConfig(streams=40)).instruments) == 40


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"events": 0}, "source.events=0: between 1"),
        ({"streams": 0}, "source.streams=0"),
        ({"streams": 257}, "source.streams=257: at most 256, because time per event grows with its square"),
        ({"rate_per_s": [-1.0]}, "source.rate_per_s=-1.0: above 0"),
        ({"noise_bp": [0.1, float("nan")]}, "source.noise_bp=nan: a finite number"),
        ({"clock_wander_ms": [1e15]}, "source.clock_wander_ms=1000000000000000.0: at most 1e.11, which is three years"),
        ({"clock_offset_ms": [-1e15]}, "source.clock_offset_ms=-1000000000000000.0: at most 1e.11"),
        ({"clock_drift_ppm": [1e15]}, "source.clock_drift_ppm=1000000000000000.0: at most 1e6 either way"),
        ({"contract": ["option"]}, "choose from spot, linear, inverse"),
        ({"basis_bp": []}, "source.basis_bp is empty"),
        ({"trade_share": 1.0}, "source.trade_share=1.0"),
        ({"price": 5.0}, "source.price=5.0: at least 1000 ticks of 0.01"),
        (
            {"contract": ["spot", "rate"]},
            r"source.tick_size=0.1 of stream 2, which source.contract makes a rate: .*0.001",
        ),
    ],
)
def test_refuses(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SyntheticFeed(SyntheticConfig(**setting))  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", [f.name for f in fields(SyntheticConfig) if f.type.endswith(("float", "float]"))])
def test_every_range_error_names_the_setting_as_it_is_typed(setting: str) -> None:
    value = [float("nan")] if isinstance(getattr(SyntheticConfig(), setting), list) else float("nan")
    with pytest.raises(ConfigError, match=rf"^source\.{setting}=nan"):
        SyntheticFeed(SyntheticConfig(**{setting: value}))  # type: ignore[arg-type]


def test_depth_rows_can_be_left_out() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=5_000, depth_interval_ms=0.0))
    ticks = concat(list(feed.batches()))
    assert len(ticks) == feed.expected_events == 5_000
    assert not (ticks.kind == Kind.DEPTH).any()
