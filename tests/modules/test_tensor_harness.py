"""TensorHarness: phase drift, its status and compensation, and routes, by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from schwabot.modules.settings import TensorHarnessConfig
from schwabot.modules.tensor_harness import TensorHarness, Timeline
from schwabot.records.audit import DriftStatus, Route
from schwabot.records.instrument import Instrument
from schwabot_kernels.phase.reference import phases
from tests.kernels.making import quotes
from tests.modules.making import PERP, A, B, same_bits

Row = tuple[float, int, float, float, float, float]


def _run(rows: list[Row], instruments: tuple[Instrument, ...] = (A, B), **config: float) -> Timeline:
    harness = TensorHarness(instruments, TensorHarnessConfig(**config))
    timeline, _ = harness(quotes(instruments, rows).batch, harness.initial_state())
    return timeline


def _row(t_ms: float, stream: int, bp: float) -> Row:
    price = 10_000.0 * math.exp(1e-4 * bp)
    return (t_ms, stream, price, price, 1, 1)


def _stepping(bp: float) -> list[Row]:
    """Two streams every 10 ms for 4 s; the second moves away by ``bp`` at 2 s."""
    rows = []
    for k in range(400):
        rows += [_row(10 * k, 0, 0.0), _row(10 * k, 1, 0.0 if k < 200 else bp)]
    return rows


@pytest.mark.parametrize(
    ("moved_bp", "status", "share"),
    [(0.5, DriftStatus.STABLE, 0.0), (3.0, DriftStatus.DRIFTING, 0.25), (30.0, DriftStatus.CRITICAL, 0.4)],
)
def test_drift_status_and_compensation(moved_bp: float, status: DriftStatus, share: float) -> None:
    """A phase that was 0 moves by half the step: below 1, between 1 and 4, above 4 over the floor of 1 bp."""
    timeline = _run(
        _stepping(moved_bp), tau_phase_s=0.05, drift_window_s=1.28, drifting_at=1.0, critical_at=4.0, k0=0.25, k_max=0.4
    )
    at = 2 * 250  # half a second after the step: ten decay times
    phase = timeline.phase[at, 1].item()
    assert phase == pytest.approx(0.5 * moved_bp, rel=0.02, abs=0.01)
    assert timeline.drift[at, 1].item() == pytest.approx(abs(phase) / 1.0, rel=1e-3)
    assert timeline.status[at].tolist() == [status, status]
    assert timeline.compensated[at, 1].item() == pytest.approx(phase * (1.0 + share), rel=1e-3)
    assert timeline.route[at, 0].item() == (Route.DRIFTING if status == DriftStatus.CRITICAL else Route.OK)
    # A window after the step the phase is what it was a window before, and all is calm again.
    later = 2 * 390
    assert timeline.status[later].tolist() == [DriftStatus.STABLE] * 2
    assert timeline.compensated[later].tolist() == pytest.approx(timeline.phase[later].tolist(), abs=1e-6)


def test_drift_is_relative_to_a_phase_above_one_bp() -> None:
    rows = []
    for k in range(400):
        rows += [_row(10 * k, 0, 0.0), _row(10 * k, 1, 20.0 if k < 200 else 26.0)]
    timeline = _run(rows, tau_phase_s=0.05, drift_window_s=1.28)
    # The first stream joined alone, so its phase is 0 and the whole distance is the second's: 20, then 23.
    before, now = timeline.phase[2 * 200 - 2, 1].item(), timeline.phase[2 * 250, 1].item()
    assert (before, now) == pytest.approx((20.0, 23.0), abs=0.05)
    assert timeline.drift[2 * 250, 1].item() == pytest.approx(3.0 / 20.0, rel=0.02)


def test_routes() -> None:
    rows = [
        _row(0, 0, 0.0),
        _row(900, 1, 1.0),
        (1900, 1, 10_000.0, 9_999.0, 1, 1),
        _row(2000, 1, 1.0),
    ]
    timeline = _run(rows, stale_s=1.5)
    assert timeline.route.tolist() == [
        [Route.OK, Route.UNSEEN],
        [Route.OK, Route.OK],
        [Route.STALE, Route.CROSSED],
        [Route.STALE, Route.OK],
    ]
    assert timeline.phase[0].isnan().tolist() == [False, True]
    # A crossed quote leaves the last good price standing.
    assert torch.equal(timeline.aligned.x[2], timeline.aligned.x[1])


JOIN: list[Row] = [_row(0, 0, 0.0), _row(0, 1, 10.0), _row(1000, 1, 16.0), _row(1000, 0, 1.0), _row(1000, 2, 50.0)]
"""B is 6 bp and A 1 bp off where they usually are when C joins, in the same moment, so that nothing decays."""


def test_a_stream_that_joins_leaves_the_phases_of_the_others_alone() -> None:
    timeline = _run(JOIN, (A, B, PERP), tau_phase_s=2.0, stale_s=100.0, drift_window_s=1000.0)
    x, phase = timeline.aligned.x, timeline.phase
    usual = x[1, 1].item()
    assert phase[3, :2].tolist() == pytest.approx([0.0, usual], abs=1e-9)
    assert phase[4, :2].tolist() == pytest.approx([0.0, usual], abs=1e-9)
    # Whatever the weights of the others, the ghost they make does not move.
    weights = torch.tensor([3.0, 1.0], dtype=torch.float64)
    before, after = (weights @ (x[row, :2] - phase[row, :2]) / 4.0 for row in (3, 4))
    assert before.item() == pytest.approx(0.25 * (3.0 * x[3, 0].item() + x[3, 1].item() - usual), abs=1e-9)
    assert after.item() == pytest.approx(before.item(), abs=1e-9)
    # The newcomer says what the others say in the plain mean: 3.5 bp.
    fair = 0.5 * (x[4, 0] + x[4, 1] - usual).item()
    assert fair == pytest.approx(3.5, abs=0.01)
    assert phase[4, 2].item() == pytest.approx(x[4, 2].item() - fair, abs=1e-9)
    reference = phases(quotes((A, B, PERP), JOIN).batch.ts_ns, timeline.aligned, 2.0, 100 * 10**9)
    assert torch.allclose(reference, phase, rtol=0.0, atol=1e-9, equal_nan=True)


def test_the_phase_of_a_stream_that_joined_comes_to_what_it_is() -> None:
    """One second after the join, and fifteen decay times after it; nobody quotes in between."""
    rows = [*JOIN, _row(2000, 0, 1.0), _row(31_000, 0, 1.0)]
    timeline = _run(rows, (A, B, PERP), tau_phase_s=2.0, stale_s=100.0, drift_window_s=1000.0)
    x, phase = timeline.aligned.x, timeline.phase
    keep = math.exp(-0.5)
    joined = phase[4].tolist()
    apart = {(v, u): (x[4, v] - x[4, u]).item() for v, u in ((2, 0), (2, 1), (0, 1))}

    def mean(pair: tuple[int, int], weight: float) -> float:
        """A pair that stood at its phases with a weight, after one second at its prices."""
        v, u = pair
        return (weight * keep * (joined[v] - joined[u]) + (1.0 - keep) * apart[pair]) / (weight * keep + 1.0 - keep)

    old = 0.01 * keep + 1.0 - keep  # A and B have been together for a second
    beta = {(2, 0): mean((2, 0), 0.01), (2, 1): mean((2, 1), 0.01), (0, 1): mean((0, 1), old)}
    want = (2.0 * beta[2, 0] + beta[2, 1] - beta[0, 1]) / 3.0
    assert (phase[5, 2] - phase[5, 0]).item() == pytest.approx(want, abs=1e-9)
    assert 47.5 < want < 48.6  # 46.5 at the join, 49 is right
    assert (phase[6, 2] - phase[6, 0]).item() == pytest.approx(apart[2, 0], abs=1e-4)
    assert (phase[6, 2] - phase[6, 1]).item() == pytest.approx(apart[2, 1], abs=1e-4)


def test_only_valid_streams_say_what_is_fair_when_one_joins() -> None:
    """A is 5 s old when C joins; with B fresh only B counts, with B as old both last known prices do."""
    for b_at_ms, fair in ((5000, (6.0,)), (4, (1.0, 6.0))):
        rows = [_row(0, 0, 0.0), _row(0, 1, 10.0), _row(3, 0, 1.0), _row(b_at_ms, 1, 16.0), _row(5000, 2, 50.0)]
        timeline = _run(rows, (A, B, PERP), tau_phase_s=1e6, stale_s=1.0, drift_window_s=1000.0)
        assert timeline.phase[4].tolist() == pytest.approx([0.0, 10.0, 50.0 - sum(fair) / len(fair)], abs=0.03)
        reference = phases(quotes((A, B, PERP), rows).batch.ts_ns, timeline.aligned, 1e6, 10**9)
        assert torch.allclose(reference, timeline.phase, rtol=0.0, atol=1e-9, equal_nan=True)


def test_joins_within_a_block_do_not_depend_on_its_edges() -> None:
    """Five streams join within 300 events, two of them at once; every edge around a join is tried."""
    streams = tuple(Instrument(f"{name}:BTC/USDT", 0.01, 0.001) for name in "abcde")
    start = {0: 0, 1: 1, 2: 7, 3: 7, 4: 200}
    rows = []
    for k in range(300):
        here = [v for v, since in start.items() if since <= k]
        rows.append(_row(3.0 * (k // 2), here[-1 - k % len(here)], 7.0 * here[-1 - k % len(here)] + 0.1 * (k % 9)))
    batch = quotes(streams, rows).batch
    harness = TensorHarness(streams, TensorHarnessConfig(tau_phase_s=0.1, drift_window_s=0.5))
    whole, after = harness(batch, harness.initial_state())
    assert whole.aligned.bad[-1].tolist() == [0] * 5
    for edges in (range(300), (1, 2), (7, 8, 9), (199, 200, 201), (256,)):
        state, parts = harness.initial_state(), []
        for low, high in pairwise(sorted({0, *edges, 300})):
            part, state = harness(batch.rows(low, high), state)
            parts.append(part)
        for name in ("phase", "compensated", "drift", "status", "route"):
            assert same_bits(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
        assert all(same_bits(state[name], after[name]) for name in after)
