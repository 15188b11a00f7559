"""Alignment, phase, ghost and expected lag on the device: what the CPU's ops say, from any state they left.

Tolerances are those of kernels/schwabot_kernels/<op>/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schwabot.modules.graph import Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.ticks.capture import CaptureFeed
from schwabot_kernels.align.gpu import align
from schwabot_kernels.consensus.gpu import WIDEST, consensus
from schwabot_kernels.kalman.gpu import kalman
from schwabot_kernels.lag.gpu_expected import expected_lag
from schwabot_kernels.phase.gpu import phase
from tests.gpu.running import (
    Said,
    States,
    assert_states,
    by_cpu,
    depth_seen,
    empty,
    events_of,
    graph_of,
    hold_align,
    hold_consensus,
    hold_kalman,
    hold_phase,
    price_bp,
    quoted_of,
    said_unsure,
    state_on,
    to,
)
from tests.kernels import making
from tests.kernels.making import ALL_HABITS, Habits, Market, adversarial, assert_close, synthetic

SMALL = {"edge": 32, "block": 8}
LOUD = Habits(
    events=600, streams=5, seed=5, ties=0.2, round_times=True, gaps=0.01, trades=0.3, trades_only=0.2, crossed=0.05,
    no_size=0.2, still=0.0, outages=0.5, late=0.5, coarse=True,
)  # fmt: skip


def prepared(market: Market, share: float, config: ModulesConfig | None = None) -> tuple[Graph, Said, States, States]:
    """The CPU's answer to what comes after a share of the events, with the states before and after it."""
    graph = graph_of(market, config or making.settings())
    first = int(share * len(market.batch))
    states = empty(graph)
    if first:
        _, states = by_cpu(graph, market.batch.rows(0, first), states)
    said, after = by_cpu(graph, market.batch.rows(first, len(market.batch)), states)
    return graph, said, states, after


def ops(graph: Graph, said: Said, device: str, **size: int) -> dict[str, Callable[[int, int, Any], Any]]:
    """Every op on rows [first, stop) of what the CPU said, from a state on the device; answers and the state after."""
    params = graph.params
    batch, aligned, drifted, quoted = (
        events_of(said.batch, device),
        *to((said.aligned, said.drifted, quoted_of(graph)), device),
    )
    table = to(type(graph.table)(*map(torch.as_tensor, graph.table)), device)
    weighted, deviation, remembered, r_bp2 = to(
        (said.weighted, said.deviation, said.remembered, torch.as_tensor(params.r_bp2)), device
    )

    def rows(values: Any, a: int, b: int) -> Any:
        return type(values)(*(part[a:b] for part in values))

    return {
        "align": lambda a, b, state: align(rows(batch, a, b), table, params.latency_max_ns, state, **size),
        "phase": lambda a, b, state: phase(batch.ts_ns[a:b], rows(aligned, a, b), params.phase, state, **size),
        "consensus": lambda a, b, state: consensus(
            batch.ts_ns[a:b], batch.stream[a:b], batch.kind[a:b], rows(aligned, a, b), drifted.phase[a:b],
            drifted.compensated[a:b], drifted.route[a:b], quoted, params.consensus, state, **size,
        ),
        "kalman": lambda a, b, state: kalman(
            batch.stream[a:b], rows(aligned, a, b), drifted.compensated[a:b], drifted.route[a:b], params.q_bp2_per_s,
            r_bp2, state, **size,
        ),
        "lag": lambda a, b, state: expected_lag(
            batch.stream[a:b], aligned.dt_s[a:b], weighted[a:b], deviation[a:b], *(part[a:b] for part in remembered),
            params.lag, state.price_range if hasattr(state, "price_range") else state, **size,
        ),
    }  # fmt: skip


def hold(market: Market, share: float, device: str, config: ModulesConfig | None = None, **size: int) -> None:
    """Every op of the device, fed with the CPU's own bits, says what the CPU's op says, and leaves its state."""
    graph, said, before, after = prepared(market, share, config)
    events = len(said.batch)
    if not events:
        return
    state = state_on(before, device)
    run = ops(graph, said, device, **size)
    bp = price_bp(said.aligned.x)

    ours, left = run["align"](0, events, state.align)
    hold_align(said.aligned, ours, after.align, left)
    ours, left = run["phase"](0, events, state.phase)
    hold_phase(graph, said.drifted, ours, after.phase, left, bp)
    ours, left = run["consensus"](0, events, state.consensus)
    aligned, tau_s = said.aligned, graph.params.consensus.tau_depth_s
    seen = depth_seen(before.consensus, aligned.dt_s, aligned.depth, said.drifted.route, tau_s)
    hold_consensus(said.weighted, ours.ghost, after.consensus, left, aligned.x, seen)
    assert_close(said.deviation, ours.deviation.cpu(), 2.0 * bp + said_unsure(seen, aligned.x)[:, None], "deviation")
    ours, left = run["kalman"](0, events, state.kalman)
    hold_kalman(said.filtered, ours, after.kalman, left, bp)

    ours, left = run["lag"](0, events, state.lag)
    for wanted, found, name in zip(said.lag, ours, ours._fields, strict=False):
        assert_close(wanted, found.cpu(), bp, name)
    assert_close(torch.as_tensor(after.lag.price_range), left.cpu(), bp, "price range")


@settings(max_examples=60)
@given(ALL_HABITS, st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@example(LOUD, 0.0)
@example(LOUD, 0.37)
def test_adversarial_markets(habits: Habits, share: float) -> None:
    hold(adversarial(habits), share, "cuda" if torch.cuda.is_available() else "cpu", **SMALL)


@pytest.mark.parametrize("share", [0.0, 0.31])
@pytest.mark.parametrize("streams", [1, 2, 5, 9])
def test_synthetic_markets(streams: int, share: float, device: str) -> None:
    hold(synthetic(3_001, seed=streams, streams=streams), share, device)
    hold(synthetic(3_001, seed=streams, streams=streams), share, device, ModulesConfig())


SMALL_HABITS = replace(LOUD, events=120, streams=3, gaps=0.02)


@pytest.mark.parametrize(
    ("habits", "share"),
    [
        (SMALL_HABITS, 0.0),
        (replace(SMALL_HABITS, seed=8, streams=4, events=75), 0.4),
        (replace(SMALL_HABITS, seed=9, streams=1, events=41), 0.0),
        # A stream whose only quotes from the state on are crossed; moments without a ghost.
        (replace(SMALL_HABITS, seed=36, events=110, crossed=0.1, trades=0.6, trades_only=0.0, gaps=0.05), 0.4),
        (replace(SMALL_HABITS, seed=11, streams=5, trades_only=0.0, rates=True), 0.3),
    ],
)
def test_triton_on_adversarial_markets(
    habits: Habits, share: float, device: str, by_triton: None, poisoned: None
) -> None:
    hold(adversarial(habits), share, device, **SMALL)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_triton_where_events_come_at_times_of_the_grid(share: float, device: str, by_triton: None) -> None:
    """One window is 64 times of 15.625 ms, of which every eighth is an event's."""
    market = synthetic(40, streams=2)
    rows = [(125.0 * (k // 2), k % 2, 100.0 + 0.1 * k, 100.1 + 0.1 * k, 1.0, 2.0) for k in range(40)]
    hold(making.quotes(market.instruments, rows), share, device, **SMALL)


def test_triton_of_more_streams_than_a_program_holds(device: str, by_triton: None, poisoned: None) -> None:
    market = adversarial(replace(LOUD, events=60, streams=WIDEST + 1, gaps=0.02, late=0.1))
    assert len(market.instruments) > WIDEST
    hold(market, 0.8, device, **SMALL)


@pytest.mark.parametrize(("habits", "share"), [(replace(LOUD, events=90, streams=4, gaps=0.02), 0.2)])
def test_triton_has_the_same_bits_however_it_is_cut(
    habits: Habits, share: float, device: str, by_triton: None, poisoned: None
) -> None:
    hold_cuts(adversarial(habits), share, device, (5, 33, 47), **SMALL)


def test_triton_has_the_same_bits_where_streams_join_late(device: str, by_triton: None, poisoned: None) -> None:
    """Two streams join past the first edge of a call, in one block, the second with the first's seed in its phase."""
    market = synthetic(90, seed=4, streams=4)
    rows = []
    for k in range(46):
        stream = (k % 2) if k < 34 else k % 4
        bid = 100.0 + 0.013 * (7 * k % 11) + 0.3 * stream
        rows.append((37.0 * k, stream, bid, bid + 0.02 + 0.01 * (k % 3), 1.0 + k % 5, 2.0))
    late = making.quotes(market.instruments, rows)
    hold(late, 0.0, device, **SMALL)
    hold_cuts(late, 0.0, device, (35, 36, 41), only="phase", **SMALL)


def recorded(captures: Path, events: int) -> Market:
    known = {
        i.stream: i
        for i in (
            Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=10.0),
            Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001, taker_fee_bp=5.0),
            Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, inverse=True, taker_fee_bp=5.0),
        )
    }
    return making.first_events(CaptureFeed(sorted((captures / "binance").glob("*/btc*.gz")), known), events)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_recorded_market(captures: Path, share: float, device: str, poisoned: None) -> None:
    hold(recorded(captures, 12_000), share, device, ModulesConfig())


def equal(ours: Any, theirs: Any, what: str) -> None:
    """The same bits, NaN included."""
    for k, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        name = f"{what}.{getattr(ours, '_fields', range(99))[k]}"
        assert one.shape == other.shape, name
        same = (one == other) | (one.isnan() & other.isnan()) if one.is_floating_point() else one == other
        assert bool(same.all()), f"{name}: {(~same).sum()} differ, first at {(~same).nonzero()[0].tolist()}"


def parts(answer: Any) -> Any:
    return answer if isinstance(answer, tuple) else (answer,)


def hold_cuts(market: Market, share: float, device: str, cuts: tuple[int, ...], *, only: str = "", **size: int) -> None:
    """The same bits for the first n rows whatever n, and for two calls split at an edge and one."""
    graph, said, before, _ = prepared(market, share)
    run = ops(graph, said, device, **size)
    state, events = state_on(before, device), len(said.batch)
    for name, op in run.items():
        if only not in name:
            continue
        start = getattr(state, name)
        whole, after = op(0, events, start)
        for n in cuts:
            some, _ = op(0, n, start)
            cut = [part[:n] for part in parts(whole)]
            equal(parts(some), cut, f"{name}, first {n}")
        pieces, left = [], start
        for first in range(0, events, size["edge"]):
            piece, left = op(first, min(first + size["edge"], events), left)
            pieces.append(parts(piece))
        joined = [torch.cat(column) for column in zip(*pieces, strict=True)]
        equal(joined, parts(whole), f"{name}, in pieces")
        if name == "consensus":
            assert_states(name, type(after)(*(part.cpu() for part in after)), left, 0.0)
        else:
            equal(parts(left), parts(after), f"{name}, state")


@pytest.mark.gpu
@pytest.mark.parametrize("streams", [2, 4, 7, 16, 17])
def test_full_size_on_the_device(streams: int, by_triton: None, poisoned: None) -> None:
    market = synthetic(300_000, seed=streams, streams=streams)
    hold(market, 0.0, "cuda", ModulesConfig())
    hold_cuts(market, 0.0, "cuda", (1, 131_072, 131_073, 200_001), edge=131_072, block=512)


@settings(max_examples=20)
@given(ALL_HABITS, st.sampled_from([0.0, 0.5]))
@example(LOUD, 0.0)
@example(LOUD, 0.37)
def test_same_bits_however_it_is_cut(habits: Habits, share: float) -> None:
    events = habits.events - int(share * habits.events)
    cuts = tuple(n for n in (1, 7, 8, 31, 32, 33, 100, 257) if n < events)
    hold_cuts(adversarial(habits), share, "cuda" if torch.cuda.is_available() else "cpu", cuts, **SMALL)
