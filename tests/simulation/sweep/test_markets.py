"""The markets of a sweep: what a unit of an account is worth, and that a policy is held to what its quiet says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from schwabot.api import _settings
from schwabot.config import RunConfig
from schwabot.engine import StopRequest
from schwabot.errors import ConfigError, DeviceError, PolicyError
from schwabot.modes.opening import open_feed
from schwabot.modes.sweep_markets import MarketPlan, Markets, declared, legs_of
from schwabot.modes.sweep_slices import WHOLE, Slice, Slices
from schwabot.modes.trading import open_desk, open_policy
from schwabot.modules.device_graph import DeviceGraph
from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Ticks
from schwabot.simulation.market import MarketBuilder
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.sweep.ranges import open_space
from schwabot.simulation.sweep.table import Leg
from schwabot.ticks.base import Feed
from schwabot.ticks.synthetic import SyntheticConfig
from tests.signals.making import written

INVERSE = Instrument("v:BTC/USD:BTC", tick_size=0.5, lot_size=1.0, contract_value=100.0, inverse=True)
LINEAR = Instrument("w:BTC/USDT", tick_size=0.01, lot_size=0.001)
OTHER = Instrument("x:BTC/USDT", tick_size=0.01, lot_size=0.001)


def recorded(rows: Sequence[tuple[int, int, Kind, int, int]], legs: Sequence[str]) -> MarketRecorder:
    """What is kept of a market by hand: time, stream, kind, bid and ask (of a trade its price), in ticks."""
    n = len(rows)
    ts_ns, stream, kind, bid, ask = (np.array([row[k] for row in rows], np.int64) for k in range(5))
    quoted = kind == Kind.QUOTE
    ticks = Ticks(
        (INVERSE, LINEAR, OTHER), ts_ns, ts_ns, ts_ns, stream.astype(np.int32), kind.astype(np.int8),
        np.where(quoted, bid, 0), np.where(quoted, ask, 0), np.full(n, 9), np.full(n, 9),
        np.where(quoted, 0, bid), np.where(quoted, 0, 5), np.zeros(n, np.int8),
    )  # fmt: skip
    builder = MarketBuilder(ticks.instruments, legs, [[] for _ in legs], 1e5)
    lanes = SimpleNamespace(lane=np.zeros((n, 3), np.int8))
    builder.append(ticks, cast(StepRecord, SimpleNamespace(ts_recv_ns=ts_ns, ts_venue_ns=ts_ns, signals=lanes)))
    return cast(MarketRecorder, SimpleNamespace(builder=builder))


ROWS = [
    (10, 0, Kind.QUOTE, 120_000, 120_002),  # 60,000.5 USD
    (15, 1, Kind.QUOTE, 6_000_000, 6_000_001),
    (20, 0, Kind.QUOTE, 122_000, 122_004),  # 61,001
    (25, 0, Kind.TRADE, 100_000, 0),
    (30, 1, Kind.QUOTE, 9_000_000, 9_000_001),
    (40, 0, Kind.QUOTE, 130_000, 130_000),  # 65,000
]


@pytest.mark.parametrize(
    ("until_ns", "mid"),
    [
        (40, 61_001.0),  # what is held out begins with the quote at 40; a trade and another stream's quote are no price
        (21, 61_001.0),
        (20, 60_000.5),
        (41, 65_000.0),
        (10**18, 65_000.0),
        (5, 60_000.5),  # none before: the first
    ],
)
def test_an_inverse_account_is_worth_its_last_price_before_what_is_held_out(until_ns: int, mid: float) -> None:
    recorder = recorded(ROWS, [LINEAR.stream, INVERSE.stream])
    linear, inverse = recorder.builder.accounts
    assert linear is not None
    assert inverse is not None
    # Money x unit is USDT for one, BTC for the other: a unit of the latter costs its price
    assert legs_of(recorder, until_ns) == (
        Leg("w:BTC/USDT", linear.unit, "USDT"),
        Leg("v:BTC/USD:BTC", pytest.approx(inverse.unit * mid, rel=1e-12), "USD"),
    )


def test_a_stream_that_never_quoted_is_named() -> None:
    with pytest.raises(ConfigError, match="x:BTC/USDT never quoted in this source"):
        legs_of(recorded(ROWS, [LINEAR.stream, OTHER.stream]), 40)


LYING = """
def quiet(s, p):
    return (-math.inf, math.inf) if s.in_flight > 0 else (-p.edge_bp, p.edge_bp)

@policy(signal="forecast_bp", quiet=quiet, edge_bp=Parameter(1.0, low=0.0, high=9.0))
def mine(s, e, p):
    if s.in_flight > 0:
        return nothing()
    if e.ask_lots % 7 == 3 and e.bid_ticks > 500_000 and s.position <= 0:
        return take(BUY, 1)
    if e.forecast_bp > p.edge_bp and s.position <= 0:
        return take(BUY, 1)
    if e.forecast_bp < -p.edge_bp and s.position >= 0:
        return take(SELL, 1)
    return nothing()
"""
"""At prices that no made-up event has, so that the trial at compiling passes."""


def markets(folder: Path, parts: Sequence[str], empty: Sequence[str] = ()) -> Markets:
    """Parts of a synthetic source, each the whole of it, or one event where it is to be empty."""
    file = written(folder, LYING)
    tree: dict[str, Any] = {"mode": "sweep", "policy": {"name": f"{file}:mine"}, "sweep": {"folds": 2}}
    tree |= {"source": {"events": 2000}, "sinks": {"progress": False}}
    settings = _settings(tree)
    policy = open_policy(settings)
    space = open_space({"edge_bp": [0.5, 9.0]}, declared(policy.parameters, settings.modules))
    left = [1 if name in empty else 2000 for name in parts]

    def opened(run: RunConfig) -> Feed:
        return open_feed(replace(run, source=replace(run.source, events=left.pop(0))))

    start_ns = SyntheticConfig().start_ns
    edges = () if WHOLE in parts else tuple(start_ns + k * 10**9 // 2 for k in range(3))
    slices = Slices(tuple(Slice(name) for name in parts), edges)
    return Markets(settings, policy, space, slices, StopRequest(), open_feed=opened)


def test_a_policy_that_is_not_quiet_where_it_says_is_refused_before_a_set_is_tried(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        markets(tmp_path, [WHOLE]).get(WHOLE, 0)
    assert "its quiet function promises what the policy does not keep" in str(caught.value)
    assert f"mine ({tmp_path / 'mine.py'}" in str(caught.value)


def test_nor_is_it_forgotten_where_the_first_market_has_nothing_to_check_by(tmp_path: Path) -> None:
    some = markets(tmp_path, ["a", "b"], empty=["a"])
    assert some.get("a", 0).facts.folds == {}
    with pytest.raises(PolicyError, match="promises what the policy does not keep"):
        some.get("b", 0)


def test_a_device_that_fails_while_a_market_is_read_is_told_of(tmp_path: Path) -> None:
    def fails(*given: Any) -> list[torch.Tensor]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    settings = _settings({"mode": "sweep", "source": {"events": 2000}, "sinks": {"progress": False}})
    settings.policy.name, settings.sweep.folds = "threshold", 2
    policy, told = open_policy(settings), list[str]()
    space = open_space({"enter_bp": [0.5, 9.0]}, declared(policy.parameters, settings.modules))
    desk = open_desk(settings, policy, quiet=True)
    desk.pipeline.run_on(
        DeviceGraph(desk.pipeline.graph, torch.device("cpu"), desk.pipeline.graph.initial_state(), call=fails)
    )
    some = Markets(settings, policy, space, Slices((Slice(),)), StopRequest(), desk, warn=told.append)
    assert some.get(WHOLE, 0).facts.rows > 0
    reason = "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert told == [f"warning: cpu failed ({reason}); the run goes on on the CPU"]


def test_workers_take_the_first_device_that_they_have_or_none() -> None:
    settings = _settings({"mode": "sweep"})
    settings.device.kind, settings.device.index, settings.device.required = "cuda", 3, True
    settings.policy.name = "threshold"
    policy = open_policy(settings)
    space = open_space({"enter_bp": [0.5, 9.0]}, declared(policy.parameters, settings.modules))
    plan = MarketPlan.of(settings, "cuda", policy, space, Slices((Slice(),)))
    device = plan.settings.device
    assert (device.kind, device.index, device.required) == ("cuda", 0, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a worker that has a device has nothing to say")
def test_a_worker_without_the_device_says_so_or_refuses() -> None:
    settings = _settings({"mode": "sweep", "source": {"events": 2000}, "sweep": {"folds": 2}})
    settings.policy.name = "threshold"
    policy = open_policy(settings)
    space = open_space({"enter_bp": [0.5, 9.0]}, declared(policy.parameters, settings.modules))
    plan = MarketPlan.of(settings, "cuda", policy, space, Slices((Slice(),)))
    assert plan.notes == []
    assert plan.open(WHOLE, 0).facts.rows > 0
    (note,) = plan.notes
    assert note.startswith("warning: running on the CPU: ")
    settings.device.required, settings.device.kind = True, "cuda"
    with pytest.raises(DeviceError, match="device cuda is required and can't be used"):
        MarketPlan.of(settings, "cuda", policy, space, Slices((Slice(),))).open(WHOLE, 0)
