"""The registry on the device against the CPU's kernel, from the empty state and from states in mid-run.

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
from schwabot_kernels.registry.hash import hyperplanes, random_signs
from schwabot_kernels.registry.reference import hash_keys
from schwabot_kernels.simd import padded
from tests.gpu.memory_making import (
    Piece,
    arrays,
    captured,
    live_ring,
    near,
    on,
    pieces,
    row_major,
    run_cpu_registry,
    same_bits,
)
from tests.kernels import making
from tests.kernels.making import HABITS, Habits, adversarial, assert_close, assert_few, assert_same, synthetic

gpu = pytest.importorskip("schwabot_kernels.registry.gpu")
device_hash = pytest.importorskip("schwabot_kernels.registry.device_hash")

SMALL = {"edge": 64, "block": 16}
CODES = [(4, 1), (8, 1), (8, 3), (16, 1), (16, 2)]
SCALE = ("z_count", "z_sum", "z_squares", "z_shift", "z_scale")
SUMS = ("table", "prefix", "echo", "echo_weight", "skill")


def codes_in_rows(piece: Piece) -> torch.Tensor:
    """The CPU's codes at their rows, 0 where none was asked. [T, N]"""
    asked = piece.registry_out["key"] >= 0
    codes = torch.zeros((piece.codes.shape[0], piece.events), dtype=torch.int32)
    codes[:, asked] = piece.codes.int()
    return codes


def run_device(
    piece: Piece, device: str, first: int = 0, end: int | None = None, state: Any = None, **edges: int
) -> Any:
    """The device's answers and state after, of a part of the piece, from the CPU's codes."""
    inputs = {name: part[first:end] for name, part in row_major(piece.registry_in, device).items()}
    return gpu.remember(
        **inputs,
        params=piece.graph.params.registry,
        state=on(device, piece.registry_before) if state is None else state,
        codes=codes_in_rows(piece)[:, first:end].to(device),
        **(edges or SMALL),
    )


def bp(piece: Piece) -> float:
    """1e-9 bp, in proportion more where the price moves by more than 1000 bp."""
    known = piece.registry_in["x"][~piece.registry_in["x"].isnan()]
    return 1e-9 * max(1.0, 1e-3 * float(known.max() - known.min())) if known.numel() else 1e-9


def hold_codes(piece: Piece, device: str, **edges: int) -> torch.Tensor:
    """The device's own codes are the CPU's, unless a projection lies within rounding of 0. Where one does: bool [N]."""
    inputs = row_major(piece.registry_in, device)
    params = piece.graph.params.registry
    state = on(device, piece.registry_before)
    del inputs["ts_ns"], inputs["predicted"]
    look = gpu.looked(**inputs, params=params, state=state, **(edges or SMALL))
    asked = piece.registry_out["key"] >= 0
    assert int((~asked[look.start :] & ~piece.registry_in["ghost"][look.start :].isnan()).sum()) == 0
    given = piece.registry_in
    learnt = [look.learnt.get(name, getattr(state, name)).cpu() for name in ("z_shift", "z_scale")]
    streams = given["x"].shape[0]
    z = torch.stack(
        (*(given[n].T for n in ("deviation", "micro", "imbalance", "half")), given["x"].T - look.mean_x.cpu()), 1
    )
    use = (given["route"] == 0).T[:, None]
    scaled = torch.where(use, (z - learnt[0][:, :streams]) * learnt[1][:, :streams], 0.0).flatten(1)[asked]
    config = piece.graph.config.hash_registry
    planes = torch.from_numpy(hyperplanes(streams, config.bits, config.tables, config.seed))
    projected = torch.einsum("nd,dbt->nbt", scaled, planes)
    large = torch.where(use, learnt[1][:, :streams], 0.0).flatten(1)[asked].sum(1)
    noise = 2e-6 * scaled.abs().sum(1) + 1e-10 * large
    tied = (projected.abs() <= noise[:, None, None]).any(1)
    ours = look.codes.cpu()[:, asked].T
    assert_same(ours, piece.codes.T, tied, "code")
    # Most ties are decided the same way too: the device adds as the CPU does.
    assert_few((ours != piece.codes.T).any(1), "code in doubt")
    in_doubt = torch.zeros(piece.events, dtype=torch.bool)
    in_doubt[asked] = tied.any(1)
    return in_doubt


def hold(piece: Piece, device: str, out: Any, after: Any) -> None:
    """Answers and state after."""
    wanted, state = piece.registry_out, piece.registry_after
    faded = (piece.registry_in["dt_s"] > 100 * piece.graph.params.registry.tau_s).cumsum(0) > 0
    assert_same(out.key.cpu(), wanted["key"], torch.tensor(False), "key")
    assert_close(out.entropy.cpu(), wanted["entropy"], 1e-9, "entropy")
    assert_close(out.mean.cpu(), wanted["mean"], bp(piece), "mean")
    assert_close(out.echo.cpu(), wanted["echo"], bp(piece), "echo")
    assert torch.equal(out.trusted.cpu()[~faded], wanted["trusted"][~faded]), "trusted"
    assert type(after) is type(state)
    ours, theirs = live_ring("registry", after), live_ring("registry", state)
    for name in after._fields:
        given = torch.as_tensor(getattr(state, name))
        if name in ours:
            near(ours[name], theirs[name], name)
            assert ours[name].dtype == given.dtype
            continue
        assert getattr(after, name).shape == given.shape, name
        assert getattr(after, name).dtype == given.dtype, name
        exact = name in ("signs", "warm", "clock", "head", "ghost", "x", "table_key")
        room = 0.0 if exact else 1e-6 if name in SCALE else bp(piece)
        near(getattr(after, name), given, name, room)


@settings(max_examples=40)
@given(HABITS, st.sampled_from(CODES), st.floats(0.0, 1.0))
def test_adversarial_markets_from_any_state(device: str, habits: Habits, code: tuple[int, int], cut: float) -> None:
    bits, tables = code
    config = making.settings(bits=bits, tables=tables)
    config.hash_registry.min_count = 1.5
    for piece in pieces(adversarial(habits), config, [int(cut * habits.events)]):
        hold_codes(piece, device)
        hold(piece, device, *run_device(piece, device))


def synthetic_pieces(events: int, cuts: list[int], **changes: Any) -> list[Piece]:
    config = making.settings(warmup_events=500)
    for name, value in changes.items():
        setattr(config.hash_registry, name, value)
    return pieces(synthetic(events), config, cuts)


@pytest.mark.parametrize(("bits", "tables"), [(4, 3), (8, 16), (16, 2)])
def test_synthetic_market_from_states_in_mid_run(device: str, bits: int, tables: int) -> None:
    for piece in synthetic_pieces(6_001, [300, 1_500, 3_001], bits=bits, tables=tables):
        hold_codes(piece, device)
        hold(piece, device, *run_device(piece, device, edge=1024, block=128))


def test_what_is_compared_occurs(device: str) -> None:
    """Slots that are thick and thin, outcomes that are flat and not, skill that is trusted and not."""
    piece = synthetic_pieces(6_001, [600], bits=16, tables=2)[1]
    out, _ = run_device(piece, device, edge=1024, block=128)
    assert out.entropy.min() < 1.0 < out.entropy.max()
    assert out.echo.abs().max() > 1e-3 < out.mean.abs().max()
    assert len(set(out.key.tolist())) > 100
    assert 0.01 < out.trusted.double().mean() < 0.99


def test_reference_times_move_on_within_a_unit_and_between(device: str) -> None:
    """Epochs of a second and of half a second, over ten seconds and units of a fifth of one."""
    for piece in synthetic_pieces(6_001, [1_700, 3_001], half_life_s=0.03, echo_tau_s=0.02, tables=2):
        hold(piece, device, *run_device(piece, device, edge=128, block=16))
    assert piece.registry_after.clock[1] - piece.registry_before.clock[1] > 2


def test_pending_outcomes_outgrow_the_ring(device: str) -> None:
    first, second = synthetic_pieces(9_001, [700], horizon_ms=12_000.0, tables=1)
    out, after = run_device(second, device, edge=1024, block=128)
    assert after.due_ns.shape[0] == 8_192 > 4_096 == len(first.registry_after.due_ns)
    hold(second, device, out, after)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "tables"), [(8, 4), (16, 2)])
def test_recorded_market_over_four_edges(device: str, captures: Path, bits: int, tables: int) -> None:
    config = ModulesConfig()
    config.hash_registry.bits, config.hash_registry.tables = bits, tables
    for piece in pieces(captured(captures, 150_000), config, [9_999]):
        hold_codes(piece, device)
        hold(piece, device, *run_device(piece, device, edge=32_768, block=512))


SPLITS = [
    {},
    {"half_life_s": 0.03, "echo_tau_s": 0.02},
    {"bits": 16, "tables": 2, "min_count": 4.0},
    {"warmup_events": 1_000},
    {"horizon_ms": 900.0, "half_life_s": 0.003, "echo_tau_s": 0.004},  # several epochs while outcomes are pending
]


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
    ours, theirs = live_ring("registry", state), live_ring("registry", after)
    for name in after._fields:
        a, b = (ours[name], theirs[name]) if name in ours else (getattr(state, name), getattr(after, name))
        assert same_bits(a, b), name


@pytest.mark.parametrize("changes", [SPLITS[2], SPLITS[3]])
def test_little_memory_changes_no_bit(device: str, changes: dict[str, Any]) -> None:
    piece = synthetic_pieces(3_001, [300], **changes)[1]
    edges = {"edge": 256, "block": 32}
    whole, after = run_device(piece, device, **edges)
    tables = piece.registry_before.table.shape[0]
    for edges_at_once in (0, 3):
        at_once = edges_at_once * 256 * tables * gpu.ROW_BYTES
        parts, state = run_device(piece, device, at_once=at_once, **edges)
        for name, column in whole._asdict().items():
            assert same_bits(getattr(parts, name), column), name
        ours, theirs = live_ring("registry", state), live_ring("registry", after)
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
    answers, state, codes = run_cpu_registry(second.graph, second.registry_in, arrays(after))
    assert_few((codes != second.codes).any(0), "code")
    for name in ("entropy", "mean", "echo"):
        assert_close(answers[name], second.registry_out[name], bp(second), name)
    assert_same(answers["trusted"], second.registry_out["trusted"], torch.tensor(False), "trusted")
    near(torch.from_numpy(state.table), second.registry_after.table, "table")


def test_the_state_given_is_left_alone(device: str) -> None:
    piece = synthetic_pieces(1_000, [700])[1]
    state = on(device, piece.registry_before)
    run_device(piece, device, state=state)
    for name, part in state._asdict().items():
        assert same_bits(part.cpu(), torch.from_numpy(getattr(piece.registry_before, name))), name


def test_more_than_sixteen_bits_run_on_the_cpu(device: str) -> None:
    piece = synthetic_pieces(100, [50])[1]
    params = piece.graph.params.registry._replace(bits=32)
    with pytest.raises(ValueError, match=r"32 bits: .* run on the CPU only"):
        gpu.remember(**row_major(piece.registry_in, device), params=params, state=on(device, piece.registry_before))


@pytest.mark.usefixtures("by_triton", "poisoned")
@pytest.mark.parametrize("code", [(8, 2), (16, 1)])
def test_kernels_on_poisoned_memory(device: str, code: tuple[int, int]) -> None:
    habits = Habits(
        events=77, streams=3, seed=1, ties=0.2, round_times=True, gaps=0.02, trades=0.1, trades_only=0.0,
        crossed=0.1, no_size=0.0, still=0.0, outages=0.5, late=0.5, coarse=False,
    )  # fmt: skip
    config = making.settings(bits=code[0], tables=code[1], warmup_events=5)
    config.hash_registry.min_count = 1.5
    first, second = pieces(adversarial(habits), config, [38])
    assert (second.registry_out["key"] >= 0).sum() > 20
    for piece in (first, second):
        hold_codes(piece, device)
        hold(piece, device, *run_device(piece, device, edge=32, block=8))


@pytest.mark.usefixtures("by_triton")
def test_kernels_split_at_edges_say_the_same_bit_for_bit(device: str) -> None:
    piece = synthetic_pieces(180, [100], bits=8, tables=1, warmup_events=40, horizon_ms=30.0, half_life_s=0.002)[1]
    edges = {"edge": 16, "block": 8}
    whole, after = run_device(piece, device, **edges)
    first, state = run_device(piece, device, 0, 48, **edges)
    second, state = run_device(piece, device, 48, None, state, **edges)
    for name, column in whole._asdict().items():
        assert same_bits(torch.cat((getattr(first, name), getattr(second, name))), column), name
    for name in ("table", "echo", "echo_weight", "skill", "clock"):
        assert same_bits(getattr(state, name), getattr(after, name)), name
    assert piece.registry_after.clock[1] > piece.registry_before.clock[1]
    assert piece.registry_after.head[0] > piece.registry_before.head[0]


@pytest.mark.usefixtures("by_triton")
@pytest.mark.parametrize(("streams", "bits", "tables"), [(1, 4, 3), (1, 8, 1), (3, 16, 2), (4, 8, 16), (9, 16, 3)])
def test_hash_kernel_adds_as_plain_torch(device: str, streams: int, bits: int, tables: int) -> None:
    draw = torch.Generator().manual_seed(bits)
    parts = tuple(torch.randn(131, streams, generator=draw, dtype=torch.float64) for _ in range(6))
    use = torch.rand(131, streams, generator=draw) < 0.8
    shift, factor = torch.randn(2, 5, padded(streams), generator=draw, dtype=torch.float64).unbind(0)
    signs = torch.from_numpy(random_signs(streams, bits, tables, seed=3))
    kernel = device_hash.codes_of(
        tuple(part.to(device) for part in parts),
        *(part.to(device) for part in (use, shift, factor, signs)),
        bits,
        tables,
    )
    z = torch.stack((*parts[:4], parts[4] - parts[5]), 1)
    scaled = torch.where(use[:, None], (z - shift[:, :streams]) * factor[:, :streams], 0.0).float()
    plain = device_hash.plain_codes(scaled.flatten(1), signs, bits, tables)
    assert torch.equal(kernel.cpu(), plain)
    planes = torch.from_numpy(hyperplanes(streams, bits, tables, seed=3))
    assert torch.equal(plain.T & (2**bits - 1), hash_keys(scaled.flatten(1).double(), planes).int())
