"""Features and head on the device: against the CPU's op from the empty and any later state, and in any split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from schwabot_kernels.align.cpu import Events
from schwabot_kernels.forecast import gpu
from schwabot_kernels.forecast.cpu import FEATURES, ForecastState, HeadParams
from tests.gpu.recording import EDGE, SMALL, Recorded, captured, cuts_of, poisoned, recorded, rows_first, triton_on
from tests.kernels import making
from tests.kernels.making import HABITS, Habits, Market, adversarial, assert_close
from tests.kernels.test_parity_graph import QUIET

Answer = tuple[torch.Tensor, torch.Tensor, torch.Tensor, ForecastState]


def state_of(call: Recorded, device: str) -> ForecastState:
    return ForecastState(*(part.to(device) for part in call.state))


def on_device(
    call: Recorded,
    device: str,
    rows: slice = slice(None),
    state: ForecastState | None = None,
    own: torch.Tensor | None = None,
    **scans: int,
) -> Answer:
    """Features, forecasts, expected move and state after, of some of the call's events."""
    state = state_of(call, device) if state is None else state
    columns = {name: rows_first(call[name], device)[rows] for name in ("last_ns", "x", "micro", "phase", "route")}
    names = [name for name in Events._fields if name in call]
    events = Events(**{name: call[name].to(device)[rows] for name in names}, latency_ns=None)
    own = call.own if own is None else own
    found, after = gpu.features(
        events,
        call.quoted.to(device),
        columns["last_ns"],
        columns["x"],
        columns["micro"],
        call.dt_s.to(device)[rows],
        columns["phase"],
        columns["route"],
        own.permute(1, 2, 0).to(device)[:, rows],
        state,
        **scans,
    )
    return *gpu_head(call, found, columns["route"]), after


def gpu_head(call: Recorded, found: torch.Tensor, route: torch.Tensor) -> tuple[torch.Tensor, ...]:
    own, streams = found.shape[0] - call.inverse_scale.shape[0], found.shape[2]
    lanes = -(-streams // 4) * 4 - streams

    def padded(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, lanes)).to(found.device)

    params = HeadParams(
        padded(torch.cat((call.inverse_scale, torch.full((own, streams), 0.7)))),
        padded(torch.cat((call.coefficients, torch.full((streams, own, *call.coefficients.shape[2:]), 0.2)), 1)),
        padded(call.target),
        call.clip,
        0,
        call.memory_horizon,
    )
    return found, *gpu.head(found, route, params)


def hold(call: Recorded, answer: Answer) -> None:
    """Within what the README says, where a price within 1e7 bp of the first keeps its rounding."""
    found, forecasts, predicted, after = (
        ForecastState(*(p.cpu() for p in part)) if isinstance(part, tuple) else part.cpu() for part in answer
    )
    kernel = call.answer[0].permute(0, 2, 1)
    price = 1e-13 * call.x.nan_to_num().abs().max()
    assert_close(kernel, found, 1e-9 * kernel.abs().clamp(min=1.0) + price, "features")
    if forecasts.numel():
        kernel = call.answer[1].permute(0, 2, 1)
        size = 1e-9 * (1.0 + call.coefficients.abs().sum())
        assert_close(kernel, forecasts, size * (1.0 + price), "forecasts")
        assert_close(call.answer[2], predicted, size * (1.0 + price), "predicted")
    for name, kept, ours in zip(ForecastState._fields, call.answer[3:], after, strict=True):
        if ours.dtype == torch.int64:
            assert torch.equal(kept, ours), name
        else:
            assert_close(kept, ours, 1e-9 * kept.nan_to_num().abs().clamp(min=1.0), f"state {name}")


def with_head(market: Market, cut: int, unknown: int = 0) -> Recorded:
    known = len(market.instruments) > unknown
    head = making.head(market.instruments, 0, unknown if known else 0)
    return recorded("forecast", market, making.settings(), cut, head)


@settings(max_examples=25)
@given(HABITS, st.integers(0, 2))
@example(Habits(events=600, streams=6, seed=1, **QUIET), 1)
@example(Habits(events=1, streams=1, seed=0, **QUIET), 0)
def test_from_any_state_the_device_says_what_the_cpu_says(device: str, habits: Habits, unknown: int) -> None:
    market = adversarial(habits)
    for cut in cuts_of(habits.events):
        call = with_head(market, cut, unknown)
        hold(call, on_device(call, device))
        hold(call, on_device(call, device, **SMALL))


@pytest.mark.parametrize(("events", "cut"), [(31, 0), (100, 150)])
def test_triton_says_what_plain_torch_says(device: str, events: int, cut: int) -> None:
    """Odd sizes, five streams, before the first trade of some and after; every answer is written over poison."""
    market = making.synthetic(cut + events, streams=5)
    call = with_head(market, cut)
    own = 10.0 * torch.randn(5, 2, events, dtype=torch.float64)
    own[2, 1, ::3] = torch.inf
    plain = on_device(call, "cpu", own=own, **SMALL)
    with triton_on(device), poisoned():
        ours = on_device(call, device, own=own, **SMALL)
    ours = (*(part.cpu() for part in ours[:3]), ForecastState(*(part.cpu() for part in ours[3])))
    assert_close(plain[0], ours[0], 1e-11, "features")
    assert ours[0][FEATURES + 1, ::3, 2].abs().max() == 0.0
    assert_close(plain[1], ours[1], 1e-11, "forecasts")
    assert_close(plain[2], ours[2], 1e-11, "predicted")
    for name, one, other in zip(ForecastState._fields, plain[3], ours[3], strict=True):
        assert_close(one.double(), other.double(), 1e-9, name)


def test_triton_clips_at_the_limit_in_full(device: str) -> None:
    """2.7 is no number of 32 bits, and every feature here is beyond it."""
    call = with_head(making.synthetic(40, streams=2), 8)
    call["clip"] = 2.7
    found = torch.full((FEATURES, 32, 2), 1e6, dtype=torch.float64)
    found[::2] *= -1.0
    route = torch.zeros((32, 2), dtype=torch.int8)
    call["inverse_scale"] = torch.ones_like(call.inverse_scale)
    plain = gpu_head(call, found, route)
    with triton_on(device), poisoned():
        ours = gpu_head(call, found.to(device), route.to(device))
    for one, other, name in zip(plain[1:], ours[1:], ("forecasts", "predicted"), strict=True):
        assert_close(one, other.cpu(), 1e-13, name)


def calls() -> Iterator[Recorded]:
    yield with_head(making.synthetic(500, streams=4), 150)
    yield with_head(adversarial(Habits(events=257, streams=5, seed=3, **QUIET)), 0)


def test_splits_at_edges_say_the_same_bits(device: str) -> None:
    for call in calls():
        whole = on_device(call, device, **SMALL)
        events = call.ts_ns.shape[0]
        for size in (EDGE, 3 * EDGE):
            state, parts = None, []
            for first in range(0, events, size):
                part = on_device(call, device, slice(first, first + size), state, **SMALL)
                parts.append(part)
                state = part[3]
            for k in range(3):
                joined = torch.cat([part[k] for part in parts], 1 if k < 2 else 0)
                assert torch.equal(joined.nan_to_num(7e77), whole[k].nan_to_num(7e77))
            for one, other in zip(whole[3], state, strict=True):
                assert torch.equal(one.nan_to_num(7e77), other.nan_to_num(7e77))


def test_what_comes_later_changes_no_bit(device: str) -> None:
    call = with_head(making.synthetic(400, streams=3), 100)
    whole = on_device(call, device, **SMALL)
    part = on_device(call, device, slice(0, 77), **SMALL)
    assert torch.equal(whole[0][:, :77], part[0])
    assert torch.equal(whole[1][:, :77].nan_to_num(7e77), part[1].nan_to_num(7e77))


def test_no_event_changes_nothing(device: str) -> None:
    call = with_head(making.synthetic(200), 100)
    answer = on_device(call, device, slice(0, 0))
    assert answer[0].shape[1] == answer[1].shape[1] == answer[2].shape[0] == 0
    assert all(
        torch.equal(a.nan_to_num(), b.nan_to_num().to(device)) for a, b in zip(answer[3], call.state, strict=True)
    )


def test_a_memory_horizon_that_the_head_lacks_is_refused(device: str) -> None:
    call = with_head(making.synthetic(200), 100)
    call["memory_horizon"] = 3
    with pytest.raises(ValueError, match="memory_horizon is 3, the head has 3 horizons"):
        on_device(call, device)


def test_recorded_market(device: str, captures: Path) -> None:
    market = captured(captures, 300_000)
    call = recorded(
        "forecast", market, replace(making.settings(capacity=4096)), 100_000, making.head(market.instruments)
    )
    hold(call, on_device(call, device))
