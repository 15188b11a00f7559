"""TensorHarness: phase drift, its status and compensation, and routes, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from schwabot.modules.settings import TensorHarnessConfig
from schwabot.modules.tensor_harness import TensorHarness, Timeline
from schwabot.records.audit import DriftStatus, Route
from tests.kernels.making import quotes
from tests.modules.making import A, B

Row = tuple[float, int, float, float, float, float]


def _run(rows: list[Row], **config: float) -> Timeline:
    harness = TensorHarness((A, B), TensorHarnessConfig(**config))
    timeline, _ = harness(quotes((A, B), rows).batch, harness.initial_state())
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
