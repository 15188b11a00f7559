"""Realised lag on the device: against the CPU's op from the empty and any later state, and in any split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from schwabot.modules.settings import ModulesConfig
from schwabot_kernels.lag import gpu
from schwabot_kernels.lag.cpu import LagParams, LagState
from schwabot_kernels.lag.reference import price_range
from schwabot_kernels.rings import RINGS
from tests.gpu.recording import EDGE, Recorded, captured, cuts_of, recorded, rows_first
from tests.kernels import making
from tests.kernels.making import HABITS, Habits, Market, adversarial, assert_close
from tests.kernels.test_parity_graph import QUIET


def config(desync_bp: float = 0.3, tau_s: float = 2.0, prior: float = 3.0) -> ModulesConfig:
    """Settings under which many decisions are made, and what they cost is soon forgotten."""
    made = making.settings()
    made.ghost_bridge.desync_bp = desync_bp
    made.phantom_lag = replace(made.phantom_lag, tau_curve_s=tau_s, prior_decisions=prior)
    return made


def widths(call: Recorded) -> torch.Tensor:
    """P_max of the call's events, from the state it starts with: one more event, at once, stands for the range."""
    hi, lo = call.state[LagState._fields.index("price_range")].tolist()
    ghost, dt_s = call.ghost, call.dt_s
    if hi == hi:
        # Two ghosts at no time apart leave the range as it was.
        ghost, dt_s = torch.cat((ghost.new_tensor([lo, hi]), ghost)), torch.cat((dt_s.new_zeros(2), dt_s))
    return price_range(dt_s, ghost, call.tau_range_s, call.min_range_bp)[-len(call.ghost) :]


def on_device(call: Recorded, device: str, rows: slice = slice(None), state: LagState | None = None) -> LagState:
    state = LagState(*(part.to(device) for part in call.state)) if state is None else state
    wide = [rows_first(call[name], device)[rows] for name in ("x", "half", "route", "deviation")]
    long = [call[name].to(device)[rows] for name in ("entropy", "mean", "echo", "predicted")]
    return gpu.realised_lag(
        call.ts_ns.to(device)[rows],
        *wide,
        call.quoted.to(device),
        *long,
        widths(call).to(device)[rows],
        call.latencies_ns.to(device),
        LagParams(*(call[name] for name in LagParams._fields)),
        state,
        edge=EDGE,
    )


def live(state: LagState, name: str) -> torch.Tensor:
    """A part of the state; of a ring what is live."""
    values = getattr(state, name).cpu()
    if name not in RINGS["lag"]:
        return values
    oldest, newest = state.head.tolist()
    return values[torch.arange(oldest, newest) & (values.shape[0] - 1)]


def hold(call: Recorded, ours: LagState) -> None:
    kernel = LagState(*call.answer[3:])
    for name in LagState._fields[1:]:  # the range is not this kernel's
        theirs, here = live(kernel, name), live(ours, name)
        if here.is_floating_point():
            tolerance = 1e-8 if name in ("expected", "known_excess", "known_weight") else 1e-9
            assert_close(theirs, here, tolerance * theirs.nan_to_num().abs().clamp(min=1.0), name)
        else:
            assert torch.equal(theirs, here), name


@settings(max_examples=30)
@given(HABITS, st.sampled_from([0.0, 0.3, 3.0]), st.sampled_from([0.05, 2.0, 3600.0]))
@example(Habits(events=600, streams=6, seed=1, **QUIET), 0.3, 2.0)
@example(Habits(events=1, streams=1, seed=0, **QUIET), 0.0, 2.0)
def test_from_any_state_the_device_says_what_the_cpu_says(
    device: str, habits: Habits, desync_bp: float, tau_s: float
) -> None:
    market = adversarial(habits)
    for cut in cuts_of(habits.events):
        call = recorded("lag", market, config(desync_bp, tau_s), cut)
        hold(call, on_device(call, device))


def busy(events: int, cut: int, market: Market | None = None) -> Recorded:
    """A call with many decisions, some of them pending when it starts, and costs known before."""
    call = recorded("lag", market or making.synthetic(events, seed=3, streams=4), config(), cut)
    state = LagState(*call.state)
    assert int(state.head[1]) > int(state.pending.min())
    assert (state.known_weight > 0).any()
    return call


def test_costs_are_learnt_from_across_the_call_and_its_edges(device: str) -> None:
    call = busy(2_000, 700)
    ours = on_device(call, device)
    hold(call, ours)
    state = LagState(*call.state)
    assert int(ours.pending.max()) > int(state.head[1]), "no decision of this call's got a cost"
    decided = int(ours.head[1] - state.head[1])
    assert decided > 100
    assert (live(ours, "cost")[:, 0].isfinite()).sum() > 100


def test_a_full_ring_grows_and_keeps_what_is_live(device: str) -> None:
    call = busy(2_000, 700)
    state = LagState(*call.state)
    oldest, newest = state.head.tolist()
    size = 1
    while size < newest - oldest:
        size *= 2
    numbers = torch.arange(oldest, newest)
    small = {}
    for name in RINGS["lag"]:
        values = getattr(state, name)
        small[name] = values.new_zeros((size, *values.shape[1:]))
        small[name][numbers & (size - 1)] = values[numbers & (values.shape[0] - 1)]
    call["state"] = list(state._replace(**small))
    ours = on_device(call, device)
    assert ours.ts_ns.shape[0] > size
    hold(call, ours)


def test_splits_at_edges_say_the_same_bits(device: str) -> None:
    habits = Habits(events=600, streams=5, seed=3, **QUIET)
    for call in (busy(1_200, 500), recorded("lag", adversarial(habits), config(0.0), 0)):
        whole = on_device(call, device)
        for size in (EDGE, 4 * EDGE):
            state = None
            for first in range(0, call.ts_ns.shape[0], size):
                state = on_device(call, device, slice(first, first + size), state)
            for name in LagState._fields:
                one, other = live(whole, name), live(state, name)
                assert torch.equal(one.double().nan_to_num(7e77), other.double().nan_to_num(7e77)), name


def test_no_event_changes_nothing(device: str) -> None:
    call = busy(900, 500)
    ours = on_device(call, device, slice(0, 0))
    assert all(
        torch.equal(a.cpu().double().nan_to_num(), b.double().nan_to_num())
        for a, b in zip(ours, call.state, strict=True)
    )


def test_recorded_market(device: str, captures: Path) -> None:
    call = recorded("lag", captured(captures, 300_000), config(), 100_000)
    state = LagState(*call.state)
    ours = on_device(call, device)
    assert int(ours.head[1] - state.head[1]) > 500
    hold(call, ours)
