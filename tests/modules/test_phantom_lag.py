"""PhantomLag: the penalty, the expected cost of our latency, and what decisions cost, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from schwabot.modules.phantom_lag import Lag, PhantomLag, penalty, touch_bp
from schwabot.modules.settings import PhantomLagConfig
from schwabot_kernels.lag.cpu import touch_bp as compiled_touch_bp
from tests.modules.making import MS, A, B, clock, ghost, memory, timeline


def _float(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_penalty_by_hand() -> None:
    value = penalty(_float(1000.0), _float(0.3), _float(70_000.0))
    assert value.item() == pytest.approx(math.exp(-0.3) / 70.0, rel=1e-15)


def _lag(
    deviation: float, mean: float, echo: float, entropy: float = 0.3, prices: tuple[float, ...] = (0.0, 8.0)
) -> Lag:
    """Two events 1 s apart, the ghost at ``prices``."""
    module = PhantomLag(
        (A,),
        PhantomLagConfig(latency_ms=25.0, tau_range_s=4.0, min_range_bp=1.0, reentry_penalty=0.05),
        horizon_ms=100.0,
    )
    batch = clock([0, 1000])
    out, _ = module(
        batch,
        timeline(batch, [[p] for p in prices]),
        ghost(prices, [[deviation]] * 2),
        memory(2, entropy, mean, echo),
        module.initial_state(),
    )
    return out


def test_expected_lag_is_the_remembered_move_that_is_gone_within_our_latency() -> None:
    # Half of 3 + 1 is remembered, a quarter of the horizon is our latency.
    assert _lag(deviation=1.0, mean=3.0, echo=1.0).expected_bp.tolist() == pytest.approx([0.5, 0.5], rel=1e-15)
    assert _lag(deviation=-1.0, mean=3.0, echo=1.0).expected_bp.tolist() == [0.0, 0.0]
    assert _lag(deviation=-1.0, mean=-3.0, echo=-1.0).expected_bp.tolist() == pytest.approx([0.5, 0.5], rel=1e-15)


def test_the_move_is_signed_and_says_nothing_without_a_ghost() -> None:
    assert _lag(deviation=1.0, mean=3.0, echo=1.0).move_bp.tolist() == pytest.approx([0.5, 0.5], rel=1e-15)
    assert _lag(deviation=1.0, mean=-3.0, echo=-1.0).move_bp.tolist() == pytest.approx([-0.5, -0.5], rel=1e-15)
    lost = _lag(deviation=math.nan, mean=3.0, echo=1.0, prices=(0.0, math.nan))
    assert lost.move_bp.tolist() == pytest.approx([0.5, 0.0], rel=1e-15)
    assert lost.expected_bp.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mean", [4.0, -4.0])
@pytest.mark.parametrize("off", [0.0, 1e-6, -1e-6])
def test_a_stream_that_is_at_its_fair_price_misses_nothing(mean: float, off: float) -> None:
    assert _lag(deviation=off, mean=mean, echo=0.0).expected_bp.tolist() == [0.0, 0.0]
    assert _lag(deviation=math.copysign(2e-6, mean), mean=mean, echo=0.0).expected_bp.tolist() == [0.5, 0.5]


def test_penalty_and_advice() -> None:
    out = _lag(deviation=1.0, mean=3.0, echo=1.0)
    # The range is its floor of 1 bp, then 8 bp high over a low of 0 that has sunk towards 8 for a quarter of tau.
    want = [0.5 * math.exp(-0.3), 0.5 * math.exp(-0.3) / (8.0 * math.exp(-0.25))]
    assert out.penalty.tolist() == pytest.approx(want, rel=1e-12)
    assert out.avoid_reentry.tolist() == [True, True]
    sure, unsure = _lag(1.0, 3.0, 1.0, entropy=1.0), _lag(1.0, 3.0, 1.0, entropy=1.05)
    assert sure.penalty[1].item() == pytest.approx(0.5 * math.exp(-1.0) / (8.0 * math.exp(-0.25)), rel=1e-12)
    assert (sure.penalty[1].item() > 0.029, bool(sure.avoid_reentry[1])) == (True, False)
    assert unsure.penalty[1] < sure.penalty[1]
    assert _lag(1.0, 1e6, 1e6, entropy=0.0).penalty.tolist() == [1.0, 1.0]


def test_decisions_are_handed_out_when_their_last_latency_has_passed() -> None:
    """Two streams; B is dear from 10 ms on, and A is not: one decision, sold at B's bid."""
    module = PhantomLag((A, B), PhantomLagConfig(latencies_ms=[5.0, 20.0]), desync_bp=0.5)
    batch = clock([0, 10, 14, 15, 31], [0, 1, 1, 1, 1])
    x = [[0.0, 0.0], [0.0, 2.0], [0.0, 1.5], [0.0, 1.2], [0.0, 0.5]]
    deviation = [[0.0, 0.0], [0.0, -2.0], [0.0, -1.5], [0.0, -0.2], [0.0, -2.0]]
    known = ghost([0.0] * 5, deviation)
    line = timeline(batch, x, half=0.0)
    out, state = module(batch, line, known, memory(5), module.initial_state())
    assert out.decisions.ts_ns.tolist() == [10 * MS]
    assert (out.decisions.stream.tolist(), out.decisions.side.tolist()) == ([1], [-1])
    # -1 times the move of the bid from 2.0: to 1.2 exactly 5 ms later, to 1.2 as of 30 ms.
    assert out.decisions.realised_cost_bp[0].tolist() == pytest.approx([0.8, 0.8], rel=1e-12)
    rest = module.finish(state, last_ns=31 * MS)
    assert rest.ts_ns.tolist() == [31 * MS]
    assert np.isnan(rest.realised_cost_bp).all()
    # Until its last latency has passed, a decision stays.
    first, state = module(
        batch.rows(0, 4), _part(line, 4), ghost([0.0] * 4, deviation[:4]), memory(4), module.initial_state()
    )
    assert len(first.decisions.ts_ns) == 0
    early = module.finish(state, last_ns=15 * MS)
    assert early.realised_cost_bp[0].tolist() == pytest.approx([0.8, math.nan], nan_ok=True)


def test_realised_penalty_by_hand() -> None:
    """A has risen by 2 bp 10 ms after it was bought, 20 ms after it has fallen, 30 ms after it has soared."""
    module = PhantomLag((A,), PhantomLagConfig(latencies_ms=[10.0, 20.0, 30.0, 99.0], tau_range_s=1e5), desync_bp=0.5)
    batch = clock([0, 10, 20, 30, 40])
    prices, x = [0.0, 4.0, 9.0, 9.0, 9.0], [[0.0], [0.0], [2.0], [-3.0], [60.0]]
    known = memory(5)._replace(entropy=torch.tensor([0.1, 0.3, 0.9, 0.9, 0.9], dtype=torch.float64))
    deviation = [[0.0], [4.0], [4.0], [4.0], [4.0]]
    _, state = module(batch, timeline(batch, x, half=0.0), ghost(prices, deviation), known, module.initial_state())
    found = module.finish(state, last_ns=40 * MS)
    # The ghost had been at 0 and 4; what entropy and range became later does not matter.
    assert (found.entropy.tolist(), found.range_bp.tolist()) == ([0.3], pytest.approx([4.0], rel=1e-6))
    assert found.realised_cost_bp[0].tolist() == pytest.approx([2.0, -3.0, 60.0, math.nan], nan_ok=True)
    want = [math.exp(-0.3) / 2.0, 0.0, 1.0, math.nan]
    assert found.realised_penalty[0].tolist() == pytest.approx(want, rel=1e-6, nan_ok=True)


def all_decisions(
    module: PhantomLag, x: list[list[float]], deviation: list[list[float]], times_ms: list[int], *memory_of: float
) -> dict[str, np.ndarray]:
    """Those handed out as their costs become known, then the rest."""
    batch, n = clock(times_ms), len(times_ms)
    known = memory(n, 0.0, *memory_of)
    out, state = module(batch, timeline(batch, x, half=0.0), ghost([0.0] * n, deviation), known, module.initial_state())
    rest = module.finish(state, last_ns=times_ms[-1] * MS)
    names = ("ts_ns", "stream", "side", "expected_cost_bp", "realised_cost_bp")
    return {name: np.concatenate([getattr(part, name) for part in (out.decisions, rest)]) for name in names}


def test_expected_cost_of_a_decision_by_hand() -> None:
    """A buy at 10 ms, a sell at 20, a buy at 60: what the first cost 10 ms later is known after 20 ms, not at it."""
    config = PhantomLagConfig(latencies_ms=[10.0, 30.0], tau_curve_s=0.1, prior_decisions=2.0)
    module = PhantomLag((A,), config, desync_bp=0.5, horizon_ms=20.0)
    x = [[0.0], [0.0], [2.0], [2.0], [3.0], [3.0], [9.0]]
    deviation = [[0.0], [4.0], [0.0], [-4.0], [0.0], [4.0], [4.0]]
    # Remembered mean and echo expect 0.8 bp over the horizon, half of it within 10 ms.
    found = all_decisions(module, x, deviation, [0, 10, 15, 20, 30, 60, 70], 1.0, 0.6)
    assert found["realised_cost_bp"][:2].ravel().tolist() == pytest.approx([2.0, 3.0, -1.0, -1.0])
    expected = found["expected_cost_bp"]
    assert expected[0].tolist() == pytest.approx([0.4, 0.8], rel=1e-15)
    assert expected[1].tolist() == pytest.approx([-0.4, -0.8], rel=1e-15)
    w = {age_ms: math.exp(-age_ms / 100.0) for age_ms in (10, 20, 30, 40)}
    ten = 0.4 + ((2.0 - 0.4) * w[40] + (-1.0 + 0.4) * w[30]) / (2.0 + w[40] + w[30])
    thirty = 0.8 + ((3.0 - 0.8) * w[20] + (-1.0 + 0.8) * w[10]) / (2.0 + w[20] + w[10])
    assert expected[2].tolist() == pytest.approx([ten, thirty], rel=1e-12)


def test_what_one_stream_cost_says_nothing_of_another() -> None:
    module = PhantomLag((A, B), PhantomLagConfig(latencies_ms=[10.0]), desync_bp=0.5)
    x = [[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [5.0, 0.0], [5.0, 0.0]]
    deviation = [[0.0, 0.0], [4.0, 0.0], [0.0, 0.0], [0.0, 4.0], [4.0, 4.0]]
    found = all_decisions(module, x, deviation, [0, 10, 20, 40, 60], 0.0, 0.0)
    assert found["stream"].tolist() == [0, 1, 0]
    weight = math.exp(-0.04 / 300.0)
    assert found["expected_cost_bp"][:, 0].tolist() == pytest.approx([0.0, 0.0, 5.0 * weight / (weight + 10.0)])


def test_what_a_head_expects_is_expected_too() -> None:
    """The head expects 0.5 bp, registry and echo 0.8 more, over 20 ms; 10 ms are half of it."""
    module = PhantomLag((A,), PhantomLagConfig(latencies_ms=[10.0]), desync_bp=0.5, horizon_ms=20.0)
    batch, head = clock([0, 10]), torch.full((2,), 0.5, dtype=torch.float64)
    line, fair = timeline(batch, [[0.0], [0.0]]), ghost([0.0] * 2, [[0.0], [4.0]])
    _, state = module(batch, line, fair, memory(2, 0.0, 1.0, 0.6), module.initial_state(), head)
    assert module.finish(state, last_ns=10 * MS).expected_cost_bp.tolist() == [[0.65]]


@pytest.mark.parametrize("said_by", ["instrument", "argument"])
def test_a_stream_without_quotes_decides_nothing(said_by: str) -> None:
    """Both are out of sync from 10 ms on; only A has a touch."""
    b = replace(B, trades_only=True) if said_by == "instrument" else B
    module = PhantomLag(
        (A, b), PhantomLagConfig(latencies_ms=[5.0]), desync_bp=0.5, trades_only=() if b.trades_only else (b.stream,)
    )
    batch = clock([0, 10, 20])
    known = ghost([0.0] * 3, [[0.0, 0.0], [2.0, -2.0], [2.0, -2.0]])
    out, state = module(batch, timeline(batch, [[0.0, 0.0]] * 3), known, memory(3), module.initial_state())
    assert out.decisions.stream.tolist() == [0]
    assert len(module.finish(state, last_ns=20 * MS).stream) == 0


def test_touch_by_hand() -> None:
    """Mid 100, half spread 100 bp of it: 101 and 99."""
    half = torch.tensor([100.0, 100.0], dtype=torch.float64)
    want = [1e4 * math.log(1.01), 1e4 * math.log(0.99)]
    assert touch_bp(0.0 * half, half, torch.tensor([1, -1])).tolist() == pytest.approx(want, rel=1e-14)
    assert [compiled_touch_bp(0.0, 100.0, side) for side in (1, -1)] == pytest.approx(want, rel=1e-14)
    assert compiled_touch_bp(7.5, 0.0, 1) == compiled_touch_bp(7.5, 0.0, -1) == 7.5


def _part(line, n):  # type: ignore[no-untyped-def]
    cut = type(line.aligned)(*(column[:n] for column in line.aligned))
    return type(line)(cut, *(column[:n] for column in line[1:]))
