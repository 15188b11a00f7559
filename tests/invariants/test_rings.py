"""Bursts that outgrow every ring: the rings grow, nothing is lost, and how the burst was cut changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schwabot.modules.graph import Graph, State
from schwabot.modules.settings import ModulesConfig
from schwabot.records.market import Ticks
from schwabot_kernels import tree
from schwabot_kernels.graph.cpu import empty_state
from tests.invariants.making import as_ticks, assert_same, concat, pieces, rows, run
from tests.kernels.making import Habits, settings

CALM = Habits(
    events=300, streams=3, seed=5, ties=0.1, round_times=False, gaps=0.0, trades=0.2, trades_only=0.0, crossed=0.0,
    no_size=0.0, still=0.0, outages=0.0, late=0.0, coarse=False,
)  # fmt: skip
BURST_EVENTS = 24_000
ROOM = 1 << 17


def burst(span_ns: int) -> Ticks:
    """A calm start, 24,000 rows within ``span_ns``, and what comes after them."""
    before, after = as_ticks(CALM), as_ticks(replace(CALM, events=500, seed=6))
    # The last few rows again and again, so that streams get out of sync and back thousands of times.
    crowd = rows(before, len(before) - 1 - np.arange(BURST_EVENTS) % 20)
    start_ns = int(before.ts_recv_ns[-1]) + 1
    times = np.sort(np.random.default_rng(8).integers(0, span_ns, BURST_EVENTS)) + start_ns
    after_ns = after.ts_recv_ns - after.ts_recv_ns[0] + start_ns + span_ns
    return concat(before, replace(crowd, ts_recv_ns=times), replace(after, ts_recv_ns=after_ns))


def roomy(ticks: Ticks, config: ModulesConfig) -> State:
    """The empty state with rings that need not grow."""
    memory = config.hash_registry
    return Graph(ticks.instruments, config).initial_state() | tree.to_dict(
        empty_state(
            len(ticks.instruments), memory.bits, memory.tables, memory.seed, memory.capacity,
            len(config.phantom_lag.latencies_ms), config.voltage_lanes.v0_v, capacity=ROOM,
        )
    )  # fmt: skip


def ring_sizes(state: State) -> list[int]:
    """Places in the rings of outcomes and decisions."""
    return [len(state[name]) for name in ("consensus.due_ns", "registry.due_ns", "lanes.due_ns", "lag.ts_ns")]


@pytest.mark.parametrize("span_ns", [1, 1_000, 1_000_000], ids=["one ns", "one us", "one ms"])
def test_a_burst_loses_nothing(span_ns: int) -> None:
    ticks = burst(span_ns)
    config = settings(bits=4, tables=1)
    config.ghost_bridge.desync_bp = 1.0
    whole = run([ticks], config)
    assert min(ring_sizes(whole.state)) > 4_096, "the burst was too small to fill the rings"
    for edges in (range(0, len(ticks), 97), [300, 301, 302, 10_000]):
        assert_same(whole, run(pieces(ticks, edges), config))
    unmoved = run([ticks], config, roomy(ticks, config))
    assert ring_sizes(unmoved.state) == [ROOM] * 4
    assert_same(whole, unmoved)
    decided = whole.tables["decisions"]["ts_ns"], whole.finished["decisions"]["ts_ns"]
    assert sum(map(len, decided)) > 4_096
