"""Arbitrage windows on the device: against the CPU's op from the empty and any later state, and in any split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from schwabot.modules.settings import ModulesConfig
from schwabot_kernels.arbitrage import gpu
from schwabot_kernels.arbitrage.windows import DUE, NUMBER, START, WHICH, ArbitrageState
from tests.gpu.recording import EDGE, Recorded, captured, cuts_of, recorded, rows_first
from tests.kernels import making
from tests.kernels.making import HABITS, RATE_HABITS, Habits, Market, adversarial, assert_close, quotes
from tests.kernels.test_arbitrage import LOOPS, _instruments, _rows
from tests.kernels.test_parity_graph import QUIET

WIDE = ("x", "half", "depth", "imbalance", "latency_weight", "compensated", "route")
MIN_EDGE_BP = 0.0123456789
"""No ratio of prices on the grid is that: nothing depends on rounding."""


def config(asset: str | None = None) -> ModulesConfig:
    made = making.settings()
    made.ghost_bridge = replace(made.ghost_bridge, min_edge_bp=MIN_EDGE_BP, asset=asset)
    return made


def cheap(market: Market, fee_bp: float = 0.0) -> Market:
    """The market with other fees: windows are many where takers pay little or are paid."""
    return replace(market, instruments=tuple(replace(i, taker_fee_bp=fee_bp) for i in market.instruments))


def on_device(
    call: Recorded, device: str, rows: slice = slice(None), state: ArbitrageState | None = None
) -> ArbitrageState:
    state = ArbitrageState(*(part.to(device) for part in call.state)) if state is None else state
    return gpu.arbitrage(
        call.ts_ns.to(device)[rows],
        *(rows_first(call[name], device)[rows] for name in WIDE),
        *(call[name].to(device) for name in ("quoted",)),
        call.move.to(device)[rows],
        *(call[name].to(device) for name in ("fungible", "fee_bp")),
        call.min_edge_bp,
        call.latency_ns,
        call.latency_max_ns,
        state,
        gpu.Cycles(
            rows_first(call.last_ns, device)[rows],
            *(call[name].to(device) for name in ("rate", "leg", "reference_bp")),
            call.rate_stale_ns,
        ),
    )


def told(state: ArbitrageState) -> dict[str, torch.Tensor]:
    """What of a state means something, the list in order of due time, window and number."""
    state = ArbitrageState(*(part.cpu() for part in state))
    oldest, newest, waiting = state.head.tolist()
    ring = torch.arange(oldest, newest) & (state.closed_ns.shape[0] - 1)
    is_open = state.open_ns[START] >= 0
    listed = state.waiting[:waiting]
    for column in (NUMBER, WHICH, DUE):
        listed = listed[torch.sort(listed[:, column], stable=True).indices]
    place = state.open_ns[1]
    named = torch.where(place >= 0, state.waiting[place.clamp(min=0), WHICH], -1)
    mine = torch.arange(len(place))
    assert torch.equal(named[place >= 0], mine[place >= 0]), "a window's place in the list is another's"
    return {
        "open": state.open_ns[START], "waits": place >= 0, "open_bp": state.open_bp[:, is_open], "counts": state.counts,
        "usable": state.usable, "value": state.value, "gross": state.gross, "row": state.row, "head": state.head,
        "waiting": listed, "closed_ns": state.closed_ns[ring], "closed_bp": state.closed_bp[ring],
    }  # fmt: skip


def hold(call: Recorded, ours: ArbitrageState) -> int:
    """Returns how many windows are open or closed."""
    kernel, here = told(ArbitrageState(*call.answer)), told(ours)
    for name, theirs in kernel.items():
        if theirs.is_floating_point():
            assert_close(theirs, here[name], 1e-9 * theirs.nan_to_num().abs().clamp(min=1.0), name)
        else:
            assert torch.equal(theirs, here[name]), name
    return len(kernel["closed_ns"]) + int(kernel["counts"][0])


@settings(max_examples=40)
@given(HABITS, st.sampled_from([0.3, 0.0, -0.5]))
@example(Habits(events=600, streams=6, seed=1, **QUIET), 0.0)
@example(Habits(events=1, streams=2, seed=0, **QUIET), 0.0)
def test_from_any_state_the_device_says_what_the_cpu_says(device: str, habits: Habits, fee_bp: float) -> None:
    market = adversarial(habits)
    for cut in cuts_of(habits.events):
        call = recorded("arbitrage", cheap(market, fee_bp), config(), cut)
        hold(call, on_device(call, device))


def busy(cut: int = 300, end: int = 600) -> Recorded:
    """A call that starts with windows open and told, open and not told, and closed and not told."""
    habits = Habits(events=600, streams=6, seed=1, **QUIET)
    market = cheap(adversarial(habits))
    return recorded("arbitrage", replace(market, batch=market.batch.rows(0, end)), config(), cut)


def test_windows_reach_across_the_call(device: str) -> None:
    seen = set()
    for cut in range(100, 560, 11):
        call = busy(cut, cut + 40)
        state = ArbitrageState(*call.state)
        listed = state.waiting[: int(state.head[2])]
        seen |= {"closed"} if (listed[:, NUMBER] >= 0).any() else set()
        seen |= {"open"} if (listed[:, NUMBER] < 0).any() else set()
        seen |= {"told"} if ((state.open_ns[START] >= 0) & (state.open_ns[1] < 0)).any() else set()
        after = ArbitrageState(*call.answer)
        due = after.waiting[: int(after.head[2]), DUE]
        seen |= {"due at the last event"} if (due == call.ts_ns[-1]).any() else set()
        assert hold(call, on_device(call, device)) > 0
    assert seen == {"closed", "open", "told", "due at the last event"}


def test_a_full_ring_grows_and_keeps_what_is_live(device: str) -> None:
    call = busy()
    state = ArbitrageState(*call.state)
    oldest, newest, waiting = state.head.tolist()
    size = 1
    while size < max(newest - oldest, waiting):
        size *= 2
    ring = torch.arange(oldest, newest)
    small = {"waiting": state.waiting[:size]}
    for name in ("closed_ns", "closed_bp"):
        values = getattr(state, name)
        small[name] = values.new_zeros((size, values.shape[1]))
        small[name][ring & (size - 1)] = values[ring & (values.shape[0] - 1)]
    call["state"] = list(state._replace(**small))
    ours = on_device(call, device)
    assert ours.closed_ns.shape[0] == ours.waiting.shape[0] > size
    hold(call, ours)


def test_splits_say_the_same_bits(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = busy(100)
    whole = told(on_device(call, device))
    monkeypatch.setattr(gpu, "CELLS", 300)  # some rows at a time
    for size in (1, 7, EDGE):
        state = None
        for first in range(0, call.ts_ns.shape[0], size):
            state = on_device(call, device, slice(first, first + size), state)
        assert state is not None
        for name, part in told(state).items():
            assert torch.equal(whole[name].double().nan_to_num(7e77), part.double().nan_to_num(7e77)), name


def test_no_event_changes_nothing(device: str) -> None:
    call = busy()
    ours = on_device(call, device, slice(0, 0))
    for one, other in zip(ours, call.state, strict=True):
        assert torch.equal(one.cpu().double().nan_to_num(), other.double().nan_to_num())


@settings(max_examples=40)
@given(RATE_HABITS, st.sampled_from([0.0, -0.5, -3.0]))
@example(replace(Habits(events=600, streams=6, seed=4, **QUIET), rates=True), -0.5)
@example(replace(Habits(events=257, streams=5, seed=7, **QUIET), rates=True), -3.0)
def test_cycles_from_any_state(device: str, habits: Habits, fee_bp: float) -> None:
    market = cheap(adversarial(habits), fee_bp)
    for cut in cuts_of(habits.events):
        call = recorded("arbitrage", market, config(), cut)
        assert call.leg.shape[0]
        hold(call, on_device(call, device))


@pytest.mark.parametrize("loop", LOOPS)
def test_cycles_through_other_assets(device: str, loop: tuple[str, ...]) -> None:
    """Some trade the asset once only: the expected move is against one leg."""
    symbols = [*loop, loop[0]]
    instruments = _instruments(symbols, [-1.0] * len(symbols))
    market = quotes(instruments, _rows(instruments, 400, 3, 4.0, 0.02))
    for cut in (0, 150, 399):
        call = recorded("arbitrage", market, config("BTC"), cut)
        hold(call, on_device(call, device))
        assert cut or (call.move != 0.0).sum() > 100
        pairs = len(symbols) ** 2
        assert cut or (told(ArbitrageState(*call.answer))["closed_ns"][:, 0] >= pairs).sum() > 20


def test_cycles_open_and_close_in_any_split(device: str) -> None:
    habits = replace(Habits(events=600, streams=6, seed=4, **QUIET), rates=True)
    call = recorded("arbitrage", cheap(adversarial(habits), -0.5), config(), 200)
    whole = on_device(call, device)
    windows = told(whole)["closed_ns"][:, 0]
    assert (windows >= 36).sum() > 20
    assert (windows < 36).sum() > 20
    state = None
    for first in range(0, 400, 7):
        state = on_device(call, device, slice(first, first + 7), state)
    assert state is not None
    for name, part in told(whole).items():
        assert torch.equal(part.double().nan_to_num(7e77), told(state)[name].double().nan_to_num(7e77)), name


def test_cycles_of_the_state_that_are_not_given_are_refused(device: str) -> None:
    habits = replace(Habits(events=128, streams=5, seed=4, **QUIET), rates=True)
    call = recorded("arbitrage", adversarial(habits), config(), 0)
    cycles = call.leg.shape[0]
    call["leg"] = call.leg[:0]
    with pytest.raises(ValueError, match=f"the state has {cycles} cycles, 0 are given"):
        on_device(call, device)


def test_recorded_market(device: str, captures: Path) -> None:
    call = recorded("arbitrage", cheap(captured(captures, 300_000), -0.3), config(), 100_000)
    assert hold(call, on_device(call, device)) > 100
