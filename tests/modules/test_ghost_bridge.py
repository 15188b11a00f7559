"""GhostBridge: who moves the ghost, and what is an arbitrage, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from schwabot.errors import ConfigError
from schwabot.modules.ghost_bridge import GhostBridge
from schwabot.modules.graph import Graph, GraphOutput
from schwabot.modules.settings import GhostBridgeConfig, HashRegistryConfig, ModulesConfig, TensorHarnessConfig
from schwabot.pipeline import Pipeline
from schwabot.records.audit import Lane, Route
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Ticks
from schwabot.tensors.tick_batch import TickBatch
from tests.kernels.making import START_NS, quotes
from tests.modules.making import MS, PERP, A, B, clock, timeline

Row = tuple[float, int, float, float, float, float]
PRICE = 10_000.0


def _config(
    estimator: str = "weighted", stale_s: float = 1.0, tau_phase_s: float = 5.0, **bridge: Any
) -> ModulesConfig:
    return ModulesConfig(
        tensor_harness=TensorHarnessConfig(tau_phase_s=tau_phase_s, stale_s=stale_s, drift_window_s=1000.0),
        ghost_bridge=GhostBridgeConfig(estimator=estimator, **bridge),
        hash_registry=HashRegistryConfig(bits=4, tables=1, warmup_events=20),
    )


def _price(bp: float) -> float:
    return PRICE * math.exp(1e-4 * bp)


def _row(t_ms: float, stream: int, bp: float, size: float = 1.0) -> Row:
    return (t_ms, stream, _price(bp), _price(bp), size, size)


def _run(
    instruments: tuple[Instrument, ...], rows: list[Row], config: ModulesConfig, closed: bool = True
) -> GraphOutput:
    graph = Graph(instruments, config)
    output, state = graph.by_module(quotes(instruments, rows).batch, graph.initial_state())
    if closed:
        assert len(graph.finish(state).arbitrage.legs) == 0, "a window is still open"
    return output


def test_the_noise_of_single_streams() -> None:
    config = GhostBridgeConfig("kalman", kalman_r_bp2=0.3, kalman_r_by_stream_bp2={B.stream: 0.7})
    assert GhostBridge((A, B, PERP), config).r_bp2.tolist() == [0.3, 0.7, 0.3]
    config = GhostBridgeConfig(
        "kalman", kalman_q_bp2_per_s=0.5, kalman_r_bp2=9.0, kalman_r_by_stream_bp2={A.stream: 0.25}
    )
    signals = _run((A,), [_row(0, 0, 0.0), _row(1000, 0, 1.0)], ModulesConfig(ghost_bridge=config)).signals
    assert signals.ghost_bp[1] == pytest.approx(0.75 * signals.mid_bp[1, 0], rel=1e-9)  # K = 0.75 / (0.75 + 0.25)


def test_the_noise_of_a_stream_that_is_not_there() -> None:
    config = GhostBridgeConfig(kalman_r_by_stream_bp2={"d:BTC/USDT": 0.7})
    with pytest.raises(ConfigError, match="d:BTC/USDT is no stream of this run; streams: a:BTC/USDT, b:BTC/USDT"):
        GhostBridge((A, B), config)


@pytest.mark.parametrize("estimator", ["weighted", "kalman"])
def test_the_ghost_of_a_single_stream(estimator: str) -> None:
    rng = np.random.default_rng(1)
    rows = [_row(10 * k, 0, bp) for k, bp in enumerate(np.cumsum(rng.normal(0, 1, 300)))]
    signals = _run((A,), rows, _config(estimator)).signals
    off = np.abs(signals.ghost_bp - signals.mid_bp[:, 0])
    if estimator == "weighted":
        assert off.max() < 1e-9
        assert np.abs(signals.deviation_bp).max() < 1e-9
    else:
        assert off.max() > 0.1, "the filter has not filtered"


def test_a_dead_stream_stops_moving_the_ghost() -> None:
    """B dies at 1 s while A goes on: once B is stale the ghost follows A alone, whatever B last said."""
    rows = []
    for k in range(100):
        rows += [_row(10 * k, 0, 0.0), _row(10 * k, 1, 4.0)]
    rows += [_row(1000 + 10 * k, 0, 0.05 * k) for k in range(300)]
    dead = _run((A, B), rows, _config()).signals
    rows[199] = _row(990, 1, 4.0 + 3.0)  # its last word is another one
    other = _run((A, B), rows, _config()).signals
    stale = dead.route[:, 1] == Route.STALE
    assert stale[-100:].all()
    moves, moves_other = np.diff(dead.ghost_bp[stale]), np.diff(other.ghost_bp[stale])
    x = np.diff(dead.mid_bp[stale, 0])
    assert moves == pytest.approx(x, abs=1e-9)
    assert moves_other == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize("basis_bp", [-37.0, 5.0, 120.0])
def test_a_stream_that_joins_drops_out_and_returns_does_not_move_the_ghost_by_its_basis(basis_bp: float) -> None:
    """Both stand still, so whatever the ghost does comes from B coming and going."""
    rows = []
    for k in range(1000):
        t = 10.0 * k
        rows.append(_row(t, 0, 0.0))
        if 200 <= k < 500 or k >= 800:
            rows.append(_row(t, 1, basis_bp, size=20.0))
    signals = _run((A, PERP), rows, _config()).signals
    routes = set(signals.route[:, 1].tolist())
    assert routes == {Route.UNSEEN, Route.OK, Route.STALE}
    assert np.ptp(signals.ghost_bp) < 1e-6 * abs(basis_bp) + 0.02  # prices are on a grid of 0.01 in 10,000
    assert np.nanmax(np.abs(signals.deviation_bp)) < 0.02


@pytest.mark.parametrize("estimator", ["weighted", "kalman"])
def test_no_stream_no_ghost_no_signal_and_a_fallback_event(estimator: str) -> None:
    n = 4
    zero = np.zeros(n, np.int64)
    bid = np.array([1_000_000, 1_000_000, 1_000_000, 1_000_000])
    ask = np.array([1_000_002, 1_000_002, 999_999, 1_000_002])  # the third is crossed, and the other stream is stale
    ticks = Ticks(
        instruments=(A, B),
        ts_recv_ns=START_NS + np.array([0, 1, 3_000, 3_100]) * MS,
        ts_event_ns=START_NS + np.array([0, 1, 3_000, 3_100]) * MS,
        ts_emit_ns=START_NS + np.array([0, 1, 3_000, 3_100]) * MS,
        stream=np.array([0, 1, 0, 1], np.int32),
        kind=np.zeros(n, np.int8),
        bid_ticks=bid, ask_ticks=ask, bid_lots=zero + 5, ask_lots=zero + 5, price_ticks=zero, qty_lots=zero,
        side=np.zeros(n, np.int8),
    )  # fmt: skip
    record = Pipeline((A, B), _config(estimator)).step(ticks)
    signals = record.signals
    assert np.isnan(signals.ghost_bp).tolist() == [False, False, True, False]
    assert np.isnan(signals.deviation_bp[2]).all()
    assert (signals.lane[2] == Lane.LOW).all()
    assert (signals.bits[2] == 0).all()
    assert not signals.pays_fees[2].any()
    assert signals.key[2] == -1
    assert [(e.before, e.after) for e in record.fallbacks] == [("none", "ghost"), ("ghost", "none"), ("none", "ghost")]
    assert record.fallbacks[1].reason == "every stream is routed out"
    assert record.fallbacks[1].ts_ns == int(ticks.ts_recv_ns[2])


def _alternating(basis_bp: float, seconds: int = 5) -> list[Row]:
    return [_row(5.0 * k, k % 2, basis_bp * (k % 2)) for k in range(200 * seconds)]


def test_a_persistent_basis_is_no_arbitrage() -> None:
    output = _run((A, PERP), _alternating(30.0), _config())
    assert len(output.arbitrage.legs) == 0


def test_a_jump_of_the_basis_is_one_until_the_phase_has_followed() -> None:
    rows = _alternating(30.0, 10)
    t0 = rows[-1][0]
    rows += [_row(t0 + 5.0 * (k + 1), k % 2, 40.0 * (k % 2)) for k in range(2_000)]
    found = _run((A, PERP), rows, _config(tau_phase_s=2.0, stale_s=1.0)).arbitrage
    assert found.locked.tolist() == [0]
    assert (found.legs.tolist(), found.sides.tolist()) == ([[0, 1, -1, -1]], [[1, -1, 0, 0]])
    # 10 bp of jump less two fees of 1 bp; over once the phase has taken 8 of the 10.
    assert found.edge_bp[0] == pytest.approx(8.0, abs=0.1)
    assert found.start_ns[0] == START_NS + round((t0 + 10.0) * MS)
    over_s = (found.end_ns[0] - found.start_ns[0]) * 1e-9
    assert over_s == pytest.approx(2.0 * math.log(5.0), rel=0.1)


def test_a_locked_crossing_between_fungible_streams_is_one() -> None:
    """B bids 5 bp over A's ask for 30 ms; half of what is there at the best moment can be had."""
    rows: list[Row] = [
        (0, 0, _price(0.0), _price(0.1), 2.0, 3.0),
        (1, 1, _price(0.0), _price(0.1), 2.0, 3.0),
        (100, 1, _price(4.0), _price(4.1), 0.7, 3.0),
        (110, 1, _price(5.0), _price(5.1), 0.4, 3.0),
        (120, 1, _price(4.5), _price(4.6), 0.9, 3.0),
        (130, 1, _price(0.0), _price(0.1), 2.0, 3.0),
    ]
    found = _run((A, B), rows, _config()).arbitrage
    assert found.locked.tolist() == [1]
    assert (found.legs.tolist(), found.sides.tolist()) == ([[0, 1, -1, -1]], [[1, -1, 0, 0]])
    assert found.start_ns.tolist() == [START_NS + 100 * MS]
    assert found.end_ns.tolist() == [START_NS + 130 * MS]
    ticks = [round(_price(bp) * 100) for bp in (0.1, 5.0)]
    assert found.edge_bp[0] == pytest.approx(1e4 * math.log(ticks[1] / ticks[0]) - 2.0, abs=1e-9)
    assert found.qty[0] == pytest.approx(0.4)
    # The same prices between things that are not the same: only the move against the phase counts.
    basis = _run((A, PERP), rows, _config(tau_phase_s=1e5)).arbitrage
    assert basis.locked.tolist() == [0]


@pytest.mark.parametrize(("move_bp", "edge_bp"), [(0.0, 2.8), (0.7, 2.1), (-0.7, 2.1), (2.7, 0.1), (3.0, None)])
def test_arbitrage_is_net_of_the_lag_of_both_legs(move_bp: float, edge_bp: float | None) -> None:
    """B's bid is 4.8 bp over A's ask, fees are 2 bp; a rise is missed by who buys, a fall by who sells."""
    bridge = GhostBridge((A, B), latency_ms=5.0)
    batch = clock([0, 10])
    line = timeline(batch, [[0.0, 5.0], [0.0, 0.0]], half=0.1)
    move = torch.full((2,), move_bp, dtype=torch.float64)
    found, state = bridge.arbitrage(batch, line, move, bridge.initial_state())
    assert found.edge_bp.tolist() == ([] if edge_bp is None else pytest.approx([edge_bp], abs=1e-5))
    assert len(bridge.finish(state, last_ns=10 * MS).legs) == 0


@pytest.mark.parametrize("without", ["a:BTC/USDT", "b:BTC/USDT"])
def test_a_stream_without_quotes_is_no_leg(without: str) -> None:
    bridge = GhostBridge((A, B), trades_only=[without])
    batch = clock([0, 10])
    line = timeline(batch, [[0.0, 50.0], [0.0, 0.0]])
    found, state = bridge.arbitrage(batch, line, torch.zeros(2, dtype=torch.float64), bridge.initial_state())
    assert len(found.legs) == len(bridge.finish(state, last_ns=10 * MS).legs) == 0


def test_a_crossing_smaller_than_fees_is_none() -> None:
    rows: list[Row] = [(0, 0, _price(0.0), _price(0.0), 1, 1), (10, 1, _price(1.9), _price(1.9), 1, 1)]
    assert len(_run((A, B), rows, _config()).arbitrage.legs) == 0


def test_reliability_favours_the_stream_the_ghost_later_agrees_with() -> None:
    """A is right and B adds noise that is gone 20 ms later: the ghost comes to listen to A."""
    rng = np.random.default_rng(3)
    true = np.cumsum(rng.normal(0, 0.2, 4_000))
    rows = [_row(10.0 * k, k % 2, bp + (rng.normal(0, 2.0) if k % 2 else 0.0)) for k, bp in enumerate(true)]
    # The ghost's level is a convention, so what counts is how far it strays around the truth.
    learning, deaf = (
        (_run((A, B), rows, _config(prior_count=count), closed=False).signals.ghost_bp - true)[-1000:].std()
        for count in (5.0, 1e9)
    )
    assert learning < 0.6 * deaf


def test_desync_needs_a_stream_that_takes_part() -> None:
    rows = [_row(0, 0, 0.0), _row(1, 1, 0.0), _row(10, 1, 3.0)]
    graph = Graph((A, B), _config(desync_bp=0.5))
    batch = quotes((A, B), rows).batch
    state = graph.initial_state()
    timeline, _ = graph.tensor_harness(batch, state)
    ghost, _ = graph.ghost_bridge(batch, timeline, state)
    assert ghost.desync.tolist() == [[False, False], [False, False], [True, True]]
    out = torch.tensor([[0, 1], [0, 0], [2, 0]], dtype=torch.int8)
    ghost, _ = graph.ghost_bridge(batch, timeline._replace(route=out), state)
    assert ghost.desync[2].tolist()[0] is False


@pytest.mark.parametrize("said_by", ["instrument", "argument"])
def test_last_trades_are_no_arbitrage_and_no_decision(said_by: str) -> None:
    own = said_by == "instrument"
    known: dict[str, Any] = {"tick_size": 0.01, "lot_size": 1e-3, "trades_only": own}
    names = ["a:BTC/USDT", "b:BTC/USDT"]
    graph = Graph([Instrument(name, **known) for name in names], trades_only=() if own else names)
    prices = np.array([1_000_000, 1_010_000, 1_000_000, 1_010_400] * 25)
    none = torch.zeros(100, dtype=torch.int64)
    batch = TickBatch(
        ts_ns=torch.arange(100) * 1_000_000 + 10**18,
        stream=torch.arange(100, dtype=torch.int32) % 2,
        kind=torch.ones(100, dtype=torch.int8),
        bid_ticks=none,
        ask_ticks=none,
        bid_lots=none,
        ask_lots=none,
        price_ticks=torch.from_numpy(prices),
        qty_lots=none + 1,
        side=torch.zeros(100, dtype=torch.int8),
        latency_ns=torch.full((100,), MISSING_NS),
    )
    state = graph.initial_state()
    output = graph.advance(batch, state)
    rest = graph.finish(state)
    assert np.nanmax(np.abs(output.signals.deviation_bp)) > graph.config.ghost_bridge.desync_bp
    for part in (output, rest):
        assert len(part.arbitrage.legs) == len(part.decisions.stream) == 0
