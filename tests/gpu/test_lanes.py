"""The lanes on the device against the CPU's kernel, from the empty state and from states in mid-run.

Without a GPU the device is the CPU: plain torch, and the Triton kernels through their interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.modules.settings import ModulesConfig
from schwabot_kernels.lanes.reference import hysteresis, slew
from tests.gpu.memory_making import (
    Piece,
    arrays,
    captured,
    live_ring,
    near,
    on,
    pieces,
    row_major,
    run_cpu_lanes,
    same_bits,
)
from tests.kernels import making
from tests.kernels.making import HABITS, Habits, adversarial, assert_close, assert_same, synthetic

gpu = pytest.importorskip("schwabot_kernels.lanes.gpu")

SMALL = {"edge": 64, "block": 16}
NEVER = torch.tensor(False)


def run_device(
    piece: Piece, device: str, first: int = 0, end: int | None = None, state: Any = None, **edges: int
) -> Any:
    """The device's answers and state after, of a part of the piece."""
    whole = ("quoted", "style_fee_bp")
    given = row_major(piece.lanes_in, device)
    inputs = {name: part if name in whole else part[first:end] for name, part in given.items()}
    if piece.lanes_in["given"].shape[0] == 0:
        inputs["given"] = None
    return gpu.lanes(
        **inputs,
        params=piece.graph.params.lanes,
        state=on(device, piece.lanes_before) if state is None else state,
        **(edges or SMALL),
    )


def hold(piece: Piece, device: str, out: Any, after: Any) -> None:
    """Answers and state after."""
    wanted = {name: part.T for name, part in piece.lanes_out.items()}
    m = wanted["forecast"]
    assert_close(out.forecast.cpu(), m, 1e-9 * (1.0 + m.abs()), "forecast")
    snr = wanted["snr"]
    assert_close(out.snr.cpu(), snr, 1e-9 * (1.0 + snr) + 1e-13 * snr**2, "snr")
    assert_close(out.bits.cpu(), wanted["bits"], 1e-8, "bits")
    assert_close(out.voltage.cpu(), wanted["voltage"], 1e-9, "voltage")
    params = piece.graph.params.lanes
    edges = torch.tensor([params.medium, params.high, params.medium + params.margin, params.high + params.margin])
    close = ((wanted["voltage"][..., None] - edges.double()).abs() < 1e-9).any(-1).cumsum(0) > 0
    assert_same(out.lane.cpu(), wanted["lane"], close, "lane")
    assert_same(out.pays_fees.cpu(), wanted["pays_fees"], close, "pays fees")
    state = piece.lanes_after
    ours, theirs = live_ring("lanes", after), live_ring("lanes", state)
    for name in after._fields:
        expected = torch.as_tensor(getattr(state, name))
        assert getattr(after, name).dtype == expected.dtype, name
        if name in ours:
            near(ours[name], theirs[name], name)
            continue
        assert getattr(after, name).shape == expected.shape, name
        exact = name in ("clock", "head", "last_ns", "x")
        near(getattr(after, name), expected, name, 0.0 if exact else 1e-8 if name == "bucket_snr" else 1e-9)


@settings(max_examples=40)
@given(HABITS, st.floats(0.0, 1.0), st.booleans())
def test_adversarial_markets_from_any_state(device: str, habits: Habits, cut: float, trained: bool) -> None:
    market = adversarial(habits)
    head = making.head(market.instruments, seed=habits.seed, unknown=int(habits.streams > 1)) if trained else None
    for piece in pieces(market, making.settings(), [int(cut * habits.events)], head):
        hold(piece, device, *run_device(piece, device))


def synthetic_pieces(events: int, cuts: list[int], **changes: Any) -> list[Piece]:
    config = ModulesConfig()
    config.hash_registry.warmup_events = 500
    config.hash_registry.tables = 2
    config.voltage_lanes.medium_v = 0.82
    config.voltage_lanes.high_v = 0.9
    config.voltage_lanes.margin_v = 0.005
    config.voltage_lanes.style = ["observe", "observe", "observe"]  # no fee, else nothing here pays one
    for name, value in changes.items():
        setattr(config.voltage_lanes, name, value)
    return pieces(synthetic(events), config, cuts)


def test_synthetic_market_from_states_in_mid_run(device: str) -> None:
    lanes, pays = set(), set()
    for piece in synthetic_pieces(9_001, [300, 1_500, 3_001]):
        out, after = run_device(piece, device, edge=1024, block=128)
        hold(piece, device, out, after)
        lanes |= set(out.lane.unique().tolist())
        pays |= set(out.pays_fees.unique().tolist())
    assert lanes == {0, 1, 2}
    assert pays == {0, 1}


@pytest.mark.slow
def test_recorded_market_over_four_edges(device: str, captures: Path) -> None:
    config = ModulesConfig()
    config.hash_registry.tables = 2
    for piece in pieces(captured(captures, 150_000), config, [9_999]):
        hold(piece, device, *run_device(piece, device, edge=32_768, block=512))


EPOCHS = {"half_life_s": 0.03, "slope_tau_s": 0.02}


def test_reference_times_move_on_within_a_unit_and_between(device: str) -> None:
    """Epochs of a second and of half a second, over ten seconds and units of a fifth of one."""
    for piece in synthetic_pieces(6_001, [1_700, 3_001], **EPOCHS):
        hold(piece, device, *run_device(piece, device, edge=128, block=16))
    assert piece.lanes_after.clock[1] - piece.lanes_before.clock[1] > 2


def test_pending_outcomes_outgrow_the_ring(device: str) -> None:
    first, second = synthetic_pieces(9_001, [700], horizon_ms=12_000.0)
    out, after = run_device(second, device, edge=1024, block=128)
    assert after.due_ns.shape[0] == 8_192 > 4_096 == len(first.lanes_after.due_ns)
    hold(second, device, out, after)


SPLITS = [{}, EPOCHS, {"horizon_ms": 900.0, "half_life_s": 0.1}]


@pytest.mark.parametrize("changes", SPLITS)
def test_a_call_split_at_edges_says_the_same_bit_for_bit(device: str, changes: dict[str, Any]) -> None:
    piece = synthetic_pieces(3_001, [300], **changes)[1]
    edges = {"edge": 256, "block": 32}
    whole, after = run_device(piece, device, **edges)
    state, parts = None, []
    for first, end in ((0, 256), (256, 1_280), (1_280, None)):
        part, state = run_device(piece, device, first, end, state, **edges)
        parts.append(part)
    for name, column in whole._asdict().items():
        assert same_bits(torch.cat([getattr(part, name) for part in parts]), column), name
    ours, theirs = live_ring("lanes", state), live_ring("lanes", after)
    for name in after._fields:
        a, b = (ours[name], theirs[name]) if name in ours else (getattr(state, name), getattr(after, name))
        assert same_bits(a, b), name


@pytest.mark.parametrize("changes", SPLITS)
@pytest.mark.parametrize("rows", [1, 255, 257, 1_111])
def test_rows_do_not_depend_on_those_after_them(device: str, changes: dict[str, Any], rows: int) -> None:
    piece = synthetic_pieces(3_001, [300], **changes)[1]
    edges = {"edge": 256, "block": 32}
    whole, _ = run_device(piece, device, **edges)
    part, _ = run_device(piece, device, 0, rows, **edges)
    for name, column in whole._asdict().items():
        assert same_bits(getattr(part, name), column[:rows]), name


@pytest.mark.parametrize("changes", SPLITS)
def test_the_cpu_goes_on_from_the_devices_state(device: str, changes: dict[str, Any]) -> None:
    first, second = synthetic_pieces(6_001, [3_000], **changes)
    _, after = run_device(first, device, edge=1024, block=128)
    answers, state = run_cpu_lanes(second.graph, second.lanes_in, arrays(after))
    for name in ("forecast", "snr", "bits", "voltage"):
        near(answers[name], second.lanes_out[name], name, 1e-8)
    for name in ("lane", "pays_fees"):
        assert_same(answers[name], second.lanes_out[name], NEVER, name)
    near(torch.from_numpy(state.buckets), second.lanes_after.buckets, "buckets")


def test_volts_and_lanes_are_the_references(device: str) -> None:
    """From the bits shown, by other code than either kernel's."""
    piece = synthetic_pieces(6_001, [])[0]
    out, _ = run_device(piece, device, edge=1024, block=128)
    params, given = piece.graph.params.lanes, piece.lanes_in
    aim = (params.v0 * torch.exp2(out.bits.cpu() / 8.0)).clamp(max=params.v_max)
    volts = slew(given["dt_s"], aim, params.v0, params.slew_per_s)
    assert_close(out.voltage.cpu(), volts, 1e-12, "voltage")
    level = hysteresis(out.voltage.cpu(), given["latency_weight"].T, given["quoted"], params)
    assert_same(out.lane.cpu(), level, NEVER, "lane")


def test_the_state_given_is_left_alone(device: str) -> None:
    piece = synthetic_pieces(1_000, [700])[1]
    state = on(device, piece.lanes_before)
    run_device(piece, device, state=state)
    for name, part in state._asdict().items():
        assert same_bits(part.cpu(), torch.from_numpy(getattr(piece.lanes_before, name))), name


@pytest.mark.usefixtures("by_triton", "poisoned")
@pytest.mark.parametrize("trained", [False, True])
def test_kernels_on_poisoned_memory(device: str, trained: bool) -> None:
    habits = Habits(
        events=150, streams=3, seed=1, ties=0.2, round_times=True, gaps=0.02, trades=0.1, trades_only=0.3,
        crossed=0.1, no_size=0.0, still=0.0, outages=0.5, late=0.5, coarse=False,
    )  # fmt: skip
    market = adversarial(habits)
    head = making.head(market.instruments) if trained else None
    for piece in pieces(market, making.settings(), [67], head):
        hold(piece, device, *run_device(piece, device, edge=32, block=8))


@pytest.mark.usefixtures("by_triton")
def test_kernels_split_at_edges_say_the_same_bit_for_bit(device: str) -> None:
    piece = synthetic_pieces(160, [64], horizon_ms=30.0, half_life_s=0.002, slope_tau_s=0.003)[1]
    edges = {"edge": 16, "block": 8}
    whole, after = run_device(piece, device, **edges)
    first, state = run_device(piece, device, 0, 48, **edges)
    second, state = run_device(piece, device, 48, None, state, **edges)
    for name, column in whole._asdict().items():
        assert same_bits(torch.cat((getattr(first, name), getattr(second, name))), column), name
    for name in ("products", "squares", "energy", "buckets", "slope", "bucket_mean", "voltage", "clock"):
        assert same_bits(getattr(state, name), getattr(after, name)), name
    assert piece.lanes_after.clock[1] > piece.lanes_before.clock[1]
