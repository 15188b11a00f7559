"""Windows of arbitrage worked out by hand: pairs, conversions, triangles, four legs. V streams."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from schwabot.modules.currencies import legs_text
from schwabot.modules.ghost_bridge import GhostBridge
from schwabot.modules.settings import GhostBridgeConfig, TensorHarnessConfig
from schwabot.modules.tensor_harness import TensorHarness
from schwabot.records.audit import ArbitrageEvents, Route
from schwabot.records.instrument import Instrument
from tests.kernels.making import START_NS, quotes

MS = 1_000_000
Row = tuple[float, int, float, float, float, float]

TETHER = Instrument("a:BTC/USDT", 0.01, 0.0001, taker_fee_bp=1.0)
DOLLAR = Instrument("b:BTC/USD", 0.01, 0.0001, taker_fee_bp=2.0)
RATE = Instrument("k:USDT/USD", 0.0001, 0.01, taker_fee_bp=0.5)


class Window(NamedTuple):
    """One row of what was found; times in ms from the start."""

    legs: str
    locked: int
    start_ms: float
    end_ms: float
    start_bp: float
    edge_bp: float
    qty: float
    left_bp: float


def watch(
    instruments: tuple[Instrument, ...],
    rows: list[Row],
    move_bp: list[float] | None = None,
    latency_ms: float = 0.0,
    delay_ms: dict[int, float] | None = None,
    stale_s: float = 1e6,
    **bridge: Any,
) -> list[Window]:
    """All windows of a few quotes, the data ending with the last."""
    batch = quotes(instruments, rows).batch
    if delay_ms:
        delays = torch.tensor([round(delay_ms.get(row[1], 0.0) * MS) for row in rows])
        batch = replace(batch, latency_ns=delays)
    config = GhostBridgeConfig(**bridge)
    traded = GhostBridge(instruments, config, latency_ms=latency_ms)
    harness = TensorHarness(
        instruments, TensorHarnessConfig(stale_s=stale_s, tau_phase_s=1e6, drift_window_s=1e5), rate=traded.rate
    )
    line, state = harness(batch, harness.initial_state())
    move = torch.tensor(move_bp or [0.0] * len(rows), dtype=torch.float64)
    found, after = traded.arbitrage(batch, line, move, traded.initial_state() | state)
    rest = traded.finish(after | state, int(batch.ts_ns[-1]))
    return [window for part in (found, rest) for window in _rows(instruments, part)]


def _rows(instruments: tuple[Instrument, ...], found: ArbitrageEvents) -> list[Window]:
    legs = np.where(found.sides == 0, -1, 2 * found.legs + (found.sides < 0))
    times = ((ns - START_NS) / MS for ns in (found.start_ns, found.end_ns))
    columns = (found.locked, *times, found.start_bp, found.edge_bp, found.qty, found.realised_left_bp)
    said = [legs_text(instruments, row) for row in legs.tolist()]
    return [Window(*row) for row in zip(said, *(column.tolist() for column in columns), strict=True)]


def bp(*factors: float) -> float:
    return 1e4 * math.log(math.prod(factors))


OPEN: list[Row] = [
    (0, 2, 0.9998, 1.0000, 9_000, 7_000), (10, 0, 9_999, 10_000, 2.0, 3.0), (20, 1, 9_999, 10_000, 5.0, 5.0),
]  # fmt: skip
"""A rate, tethers and dollars that agree."""
FORTH, BACK = "buy a:BTC/USDT, sell b:BTC/USD, buy k:USDT/USD", "buy b:BTC/USD, sell a:BTC/USDT, sell k:USDT/USD"


def test_three_legs_by_hand() -> None:
    """Dollars pay 10,010 and then 10,012 for what costs 10,000 tethers: less 3.5 bp of fees."""
    found = watch(
        (TETHER, DOLLAR, RATE),
        [*OPEN, (30, 1, 10_010, 10_011, 0.5, 5.0), (40, 1, 10_012, 10_013, 1.0, 5.0), (50, 1, 9_999, 10_000, 5, 5)],
    )
    assert [(w.legs, w.locked, w.start_ms, w.end_ms) for w in found] == [(FORTH, 1, 30.0, 50.0)]
    assert found[0].start_bp == pytest.approx(bp(10_010, 1 / 10_000, 1 / 1.0) - 3.5, abs=1e-7)
    assert found[0].edge_bp == pytest.approx(bp(10_012, 1 / 10_000, 1 / 1.0) - 3.5, abs=1e-7)
    # One coin is bid for, and its 10,012 dollars buy as many tethers, of which 7,000 are offered.
    assert found[0].qty == pytest.approx(7_000 / 10_012, rel=1e-12)


def test_three_legs_the_other_way_use_the_other_sides() -> None:
    found = watch((TETHER, DOLLAR, RATE), [*OPEN, (30, 0, 10_010, 10_011, 0.25, 3.0), (40, 0, 9_999, 10_000, 2, 3)])
    assert [(w.legs, w.start_ms, w.end_ms) for w in found] == [(BACK, 30.0, 40.0)]
    assert found[0].edge_bp == pytest.approx(bp(10_010, 0.9998, 1 / 10_000) - 3.5, abs=1e-7)
    assert found[0].qty == pytest.approx(0.25)


def test_a_lasting_difference_that_the_rate_explains_is_none() -> None:
    """Tethers are worth 0.99 dollars: 1 % between the venues is no edge, and no basis either."""
    rows: list[Row] = [
        (0, 2, 0.9899, 0.9901, 9_000, 7_000),
        (10, 0, 10_100, 10_101, 2, 3),
        (20, 1, 9_999, 10_000, 5, 5),
    ]
    rows += [
        (20 + 10 * k, k % 2, 10_100 if k % 2 == 0 else 9_999, 10_101 if k % 2 == 0 else 10_000, 2, 3)
        for k in range(1, 50)
    ]
    assert watch((TETHER, DOLLAR, RATE), rows) == []


def test_without_a_rate_the_same_streams_are_a_pair_against_their_basis() -> None:
    rows = [(t - 10, v, *rest) for t, v, *rest in OPEN[1:]]
    rows += [(30, 1, 10_012, 10_013, 1.0, 5.0), (40, 1, 9_999, 10_000, 5, 5)]
    found = watch((TETHER, DOLLAR), rows)  # type: ignore[arg-type]
    assert [(w.legs, w.locked) for w in found] == [("buy a:BTC/USDT, sell b:BTC/USD", 0)]
    assert found[0].edge_bp == pytest.approx(bp(10_012 / 10_000) - 3.0, abs=1e-3)


@pytest.mark.parametrize(("more_bp", "windows"), [(-1e-6, 1), (1e-6, 0)])
def test_fees_that_eat_the_edge_exactly_leave_none(more_bp: float, windows: int) -> None:
    fee = bp(10_010 / 10_000) - 3.0 + more_bp
    rate = replace(RATE, taker_fee_bp=fee)
    rows = [*OPEN, (30, 1, 10_010, 10_011, 0.5, 5.0), (40, 1, 9_999, 10_000, 5, 5)]
    assert len(watch((TETHER, DOLLAR, rate), rows)) == windows  # type: ignore[arg-type]
    pair = (replace(TETHER, taker_fee_bp=0.0), replace(TETHER, stream="b:BTC/USDT", taker_fee_bp=fee + 3.0))
    rows = [(t, v, *rest) for t, v, *rest in rows if v < 2]
    assert len(watch(pair, rows)) == windows  # type: ignore[arg-type]


def test_four_legs_by_hand() -> None:
    """9,200 euros for a coin of 10,000 tethers, sold at 1.10 dollars, for tethers of 1.0005 dollars."""
    streams = (
        TETHER, Instrument("b:BTC/EUR", 0.01, 0.0001, taker_fee_bp=2.0),
        Instrument("k:EUR/USD", 0.0001, 0.01, taker_fee_bp=0.25), RATE,
    )  # fmt: skip
    rows: list[Row] = [
        (0, 0, 9_999, 10_000, 2.0, 2.0), (1, 3, 1.0003, 1.0005, 4_000, 4_000), (2, 2, 1.1000, 1.1002, 5_000, 5_000),
        (3, 1, 9_000, 9_001, 1.5, 1.5), (10, 1, 9_200, 9_201, 1.5, 1.5), (20, 1, 9_090, 9_096, 1.5, 1.5),
    ]  # fmt: skip
    found = [w for w in watch(streams, rows) if w.start_ms == 10.0]
    assert [w.legs for w in found] == ["buy a:BTC/USDT, sell b:BTC/EUR, sell k:EUR/USD, buy k:USDT/USD"]
    assert found[0].end_ms == 20.0
    assert found[0].edge_bp == pytest.approx(bp(9_200, 1.10, 1 / 1.0005, 1 / 10_000) - 3.75, abs=1e-7)
    assert found[0].qty == pytest.approx(4_000 * 1.0005 / (9_200 * 1.10), rel=1e-12)
    assert not [w for w in watch(streams[:2], [row for row in rows if row[1] < 2]) if w.locked]


def test_a_triangle_by_hand() -> None:
    """Ether for tethers at 500, for bitcoin at 0.051, for tethers at 10,000: 2 % round."""
    streams = (TETHER, Instrument("a:ETH/BTC", 0.0001, 0.01, taker_fee_bp=3.0), Instrument("a:ETH/USDT", 0.1, 0.01))
    rows: list[Row] = [
        (0, 0, 10_000, 10_001, 2.0, 2.0), (5, 2, 499.9, 500.0, 100.0, 30.0), (10, 1, 0.0499, 0.0500, 50.0, 50.0),
        (20, 1, 0.0510, 0.0511, 20.0, 50.0), (30, 1, 0.0499, 0.0500, 50.0, 50.0),
    ]  # fmt: skip
    found = watch(streams, rows, asset="BTC")
    assert [(w.legs, w.start_ms, w.end_ms) for w in found] == [
        ("sell a:BTC/USDT, buy a:ETH/USDT, sell a:ETH/BTC", 20.0, 30.0)
    ]
    assert found[0].edge_bp == pytest.approx(bp(10_000, 0.0510, 1 / 500) - 4.0, abs=1e-6)
    # A coin sold is 20 ether, and 20 are bid for; 30 are offered, 2 coins are bid for.
    assert found[0].qty == pytest.approx(1.0, rel=1e-12)


def test_two_rates_by_hand() -> None:
    """The rate at two venues, before the asset has any price."""
    other = replace(RATE, stream="l:USDT/USD", taker_fee_bp=1.0)
    rows: list[Row] = [(0, 2, 0.9998, 1.0000, 900, 700), (5, 3, 1.0010, 1.0012, 300, 50), (9, 3, 0.9999, 1.0, 1, 1)]
    found = watch((TETHER, DOLLAR, RATE, other), rows)
    assert [(w.legs, w.locked, w.start_ms, w.end_ms) for w in found] == [
        ("buy k:USDT/USD, sell l:USDT/USD", 1, 5.0, 9.0)
    ]
    assert found[0].edge_bp == pytest.approx(bp(1.0010) - 1.5, abs=1e-8)
    assert found[0].qty == pytest.approx(300.0)


def test_a_rate_that_goes_stale_closes_its_windows() -> None:
    """Quoted at 0 ms, good for a second: at 1000 ms it still is, at 1001 ms no more; a new quote opens again."""
    tick: list[Row] = [(t, 0, 9_999, 10_000, 2.0, 3.0) for t in (1_000, 1_001, 1_200)]
    rows = [
        *OPEN,
        (500, 1, 10_010, 10_011, 0.5, 5.0),
        *tick,
        (1_500, 2, 0.9998, 1.0, 9, 7),
        (1_600, 1, 9_999, 10_000, 5, 5),
    ]
    found = watch((TETHER, DOLLAR, RATE), rows, rate_stale_ms=1_000.0)  # type: ignore[arg-type]
    assert [(w.start_ms, w.end_ms) for w in found] == [(500.0, 1_001.0), (1_500.0, 1_600.0)]
    assert [w.edge_bp for w in found] == pytest.approx([bp(10_010 / 10_000) - 3.5] * 2, abs=1e-7)


def test_streams_have_their_own_limit() -> None:
    rows = [*OPEN, (500, 1, 10_010, 10_011, 0.5, 5.0), (1_300, 2, 0.9998, 1.0, 9, 7), (1_600, 0, 9_999, 10_000, 2, 3)]
    found = watch((TETHER, DOLLAR, RATE), rows, stale_s=1.0)  # type: ignore[arg-type]
    # At 1300 ms the tethers' quote of 10 ms is too old; at 1600 ms the dollars' of 500 ms is.
    assert [(w.start_ms, w.end_ms) for w in found] == [(500.0, 1_300.0)]


@pytest.mark.parametrize(
    "crossed", [(40, 0, 10_000, 9_990, 2.0, 3.0), (40, 1, 10_030, 10_011, 0.5, 5.0), (40, 2, 1.1, 1.0, 9, 7)]
)
def test_a_crossed_quote_closes(crossed: Row) -> None:
    """On any leg; the others' prices stay as they were."""
    rows = [*OPEN, (30, 1, 10_010, 10_011, 0.5, 5.0), crossed, (50, 1, 10_020, 10_011, 0.5, 5.0)]
    found = watch((TETHER, DOLLAR, RATE), rows)  # type: ignore[arg-type]
    assert [(w.start_ms, w.end_ms) for w in found] == [(30.0, 40.0)]


@pytest.mark.parametrize(("move", "charge"), [(0.0, 0.0), (3.0, 3.0), (-3.0, 3.0), (8.0, None)])
def test_a_conversion_bears_the_expected_move_of_its_pair(move: float, charge: float | None) -> None:
    rows = [*OPEN, (30, 1, 10_010, 10_011, 0.5, 5.0), (40, 1, 9_999, 10_000, 5, 5)]
    found = watch((TETHER, DOLLAR, RATE), rows, [0.0, 0.0, 0.0, move, 0.0])  # type: ignore[arg-type]
    edge = bp(10_010 / 10_000) - 3.5
    assert [w.start_bp for w in found] == ([] if charge is None else pytest.approx([edge - charge], abs=1e-7))


@pytest.mark.parametrize(("move", "charge"), [(3.0, 0.0), (-3.0, 3.0)])
def test_a_triangle_bears_the_move_against_its_one_leg(move: float, charge: float) -> None:
    streams = (TETHER, Instrument("a:ETH/BTC", 0.0001, 0.01), Instrument("a:ETH/USDT", 0.1, 0.01))
    rows: list[Row] = [(0, 0, 10_000, 10_001, 2, 2), (5, 2, 499.9, 500.0, 9, 9), (20, 1, 0.0510, 0.0511, 20, 50)]
    found = watch(streams, rows, [0.0, 0.0, move], asset="BTC")
    assert [w.edge_bp for w in found] == pytest.approx([bp(10_000, 0.0510, 1 / 500) - 1.0 - charge], abs=1e-6)


def test_the_expected_move_opens_and_closes_at_anybodys_event() -> None:
    """The dollars' quote stands; only what is expected changes, at quotes of the tethers that say the same again."""
    same: list[Row] = [(t, 0, 9_999, 10_000, 2.0, 3.0) for t in (40, 50, 60)]
    rows = [*OPEN, (30, 1, 10_010, 10_011, 0.5, 5.0), *same, (70, 1, 9_999, 10_000, 5, 5)]
    found = watch((TETHER, DOLLAR, RATE), rows, [0.0, 0.0, 0.0, 0.0, 9.0, 1.0, 9.0, 0.0])  # type: ignore[arg-type]
    assert [(w.start_ms, w.end_ms) for w in found] == [(30.0, 40.0), (50.0, 60.0)]
    assert [w.start_bp for w in found] == pytest.approx([bp(1.001) - 3.5, bp(1.001) - 4.5], abs=1e-7)


def _edge_left(latency_ms: float, delay_ms: dict[int, float] | None, until_ms: float) -> list[float]:
    bids = [(40, 10_011), (60, 10_006), (75, 10_003)]
    rows = [*OPEN, (30, 1, 10_010, 10_011, 0.5, 5.0), *((t, 1, b, b + 1, 0.5, 5.0) for t, b in bids if t < until_ms)]
    rows += [(until_ms, 1, 9_000, 9_001, 5, 5)]
    found = watch((TETHER, DOLLAR, RATE), rows, [0.0, 0, 0, 2.0, *[0.0] * (len(rows) - 4)], latency_ms, delay_ms)  # type: ignore[arg-type]
    return [w.left_bp for w in found if w.legs == FORTH]


@pytest.mark.parametrize(
    ("latency_ms", "delay_ms", "bid"),
    [
        (0.0, None, 10_010), (9.9, None, 10_010), (10.0, None, 10_011), (20.0, None, 10_011), (30.0, None, 10_006),
        (20.0, {0: 5.0, 1: 10.0, 2: 0.0}, 10_006), (20.0, {2: 25.0}, 10_003), (50.0, None, 9_000),
    ],
)  # fmt: skip
def test_the_edge_left_is_that_after_our_latency_and_the_slowest_feed(
    latency_ms: float, delay_ms: dict[int, float] | None, bid: float
) -> None:
    """Bids of 10,010, 10,011, 10,006 and 10,003 at 30, 40, 60 and 75 ms; the window closes at 80 ms or before."""
    assert _edge_left(latency_ms, delay_ms, 80.0) == pytest.approx([bp(bid / 10_000) - 3.5], abs=1e-6)


def test_the_edge_left_past_the_end_is_unknown() -> None:
    assert np.isnan(_edge_left(51.0, None, 80.0)).tolist() == [True]
    assert np.isnan(_edge_left(50.0, None, 80.0)).tolist() == [False]
    assert np.isnan(_edge_left(50.000001, None, 80.0)).tolist() == [True]


def test_an_edge_left_that_is_due_at_an_event_includes_it_though_others_were_due_before() -> None:
    """B bids 5 bp over A's ask from 10 ms, C from 12 ms; 5 ms of our own and 3 ms of feed are up at 18 and at 20 ms.

    At 20 ms C's bid falls to 3 bp, and B's edge has to be told as it was before.
    """
    venues = tuple(replace(TETHER, stream=f"{name}:BTC/USDT") for name in "abc")
    same: list[Row] = [(0, v, 9_999, 10_000, 1, 1) for v in range(3)]
    rows = [*same, (10, 1, 10_005, 10_006, 1, 1), (12, 2, 10_005, 10_006, 1, 1), (20, 2, 10_003, 10_004, 1, 1)]
    rows += [(30, 1, 9_999, 10_000, 1, 1), (30, 2, 9_999, 10_000, 1, 1)]
    found = watch(venues, rows, latency_ms=5.0, delay_ms={1: 3.0, 2: 3.0})  # type: ignore[arg-type]
    left = {w.legs.split("sell ")[1]: w.left_bp for w in found if w.legs.startswith("buy a")}
    wanted = {"b:BTC/USDT": bp(10_005 / 10_000) - 2.0, "c:BTC/USDT": bp(10_003 / 10_000) - 2.0}
    assert left == pytest.approx(wanted, abs=1e-6)


def test_the_edge_left_of_a_pair() -> None:
    """B bids 5 bp over A's ask at 10 ms, 3 bp at 20 ms, and is gone at 30 ms."""
    pair = (TETHER, replace(TETHER, stream="b:BTC/USDT"))
    rows: list[Row] = [
        (0, 0, 9_999, 10_000, 1, 1), (0, 1, 9_999, 10_000, 1, 1), (10, 1, 10_005, 10_006, 1, 1),
        (20, 1, 10_003, 10_004, 1, 1), (30, 1, 9_999, 10_000, 1, 1),
    ]  # fmt: skip
    for latency_ms, bid in ((5.0, 10_005), (10.0, 10_003), (20.0, 9_999)):
        found = watch(pair, rows, latency_ms=latency_ms)
        assert [w.left_bp for w in found] == pytest.approx([bp(bid / 10_000) - 2.0], abs=1e-6)


def test_size_of_a_pair_is_in_coins_where_a_leg_is_contracts_of_dollars() -> None:
    """300 contracts of 100 dollars are bid for at a mid of 10,015.5: 2.995 coins; 5 coins are offered."""
    spot = Instrument("a:BTC/USD", 0.5, 0.001)
    coin = Instrument("b:BTC/USD:BTC", 0.5, 1.0, contract_value=100.0, inverse=True)
    rows: list[Row] = [
        (0, 0, 9_999, 10_000, 4, 5), (0, 1, 9_999, 10_000, 700, 700), (10, 1, 10_015, 10_016, 300, 900),
        (20, 1, 9_999, 10_000, 700, 700),
    ]  # fmt: skip
    (found,) = watch((spot, coin), rows)
    assert (found.legs, found.locked) == ("buy a:BTC/USD, sell b:BTC/USD:BTC", 0)
    assert found.qty == pytest.approx(300 * 100 / 10_015.5, rel=1e-9)


def test_contracts_of_one_name_are_not_locked() -> None:
    pair = tuple(Instrument(f"{venue}:BTC/USDT:USDT", 0.01, 0.001) for venue in "ab")
    rows: list[Row] = [(0, 0, 9_999, 10_000, 1, 1), (0, 1, 9_999, 10_000, 1, 1), (10, 1, 10_005, 10_006, 1, 1)]
    assert [w.locked for w in watch(pair, rows)] == [0]


def test_a_rate_has_a_route_of_its_own_and_no_phase() -> None:
    traded = GhostBridge((TETHER, DOLLAR, RATE))
    harness = TensorHarness((TETHER, DOLLAR, RATE), rate=traded.rate)
    line, state = harness(quotes((TETHER, DOLLAR, RATE), OPEN).batch, harness.initial_state())
    assert line.route[:, 2].tolist() == [Route.RATE] * 3
    assert line.route[:, 0].tolist() == [Route.UNSEEN, Route.OK, Route.OK]
    assert line.phase[:, 2].isnan().all()
    assert float(state["align.log_ref"][0]) == pytest.approx(math.log(9_999.5), abs=1e-12)
    assert line.aligned.x[0, 2].item() == pytest.approx(bp(0.9999), abs=1e-9)
