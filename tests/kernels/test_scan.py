"""Scans against the recurrence itself."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot_kernels import scan

LENGTHS = st.sampled_from([1, 2, 63, 64, 65, 127, 128, 129, 500, 4097])
SEEDS = st.integers(0, 2**31)


def _decays(events: int, generator: torch.Generator) -> torch.Tensor:
    """Decay factors with ties (1), short gaps and nights (0)."""
    gap = torch.rand(events, generator=generator, dtype=torch.float64) * 0.1
    pick = torch.rand(events, generator=generator)
    return torch.exp(-torch.where(pick < 0.2, 0.0, torch.where(pick > 0.98, 1e4, gap)))


@settings(max_examples=20)
@given(LENGTHS, SEEDS)
def test_affine(events: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = _decays(events, g), torch.randn(events, 2, generator=g, dtype=torch.float64)
    y, want = torch.zeros(2, dtype=torch.float64), []
    for i in range(events):
        y = a[i] * y + b[i]
        want.append(y)
    torch.testing.assert_close(scan.affine(a[:, None], b), torch.stack(want), rtol=1e-12, atol=1e-12)


@settings(max_examples=20)
@given(LENGTHS, SEEDS)
def test_max_affine(events: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x, keep = torch.randn(events, generator=g, dtype=torch.float64).cumsum(0), _decays(events, g)
    keep[0] = 0.0
    high, want = 0.0, []
    for i in range(events):
        high = max(float(x[i]), float(keep[i]) * high + (1.0 - float(keep[i])) * float(x[i]))
        want.append(high)
    torch.testing.assert_close(scan.max_affine(x, keep, (1.0 - keep) * x), torch.tensor(want, dtype=torch.float64))


@settings(max_examples=20)
@given(LENGTHS, SEEDS)
def test_min_plus(events: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    cap, rise = torch.rand(2, events, generator=g, dtype=torch.float64)
    rise = torch.where(rise > 0.98, 1e6, 0.1 * rise)
    y, want = 0.5, []
    for i in range(events):
        y = min(float(cap[i]), y + float(rise[i]))
        want.append(y)
    torch.testing.assert_close(scan.min_plus(cap, rise, 0.5), torch.tensor(want, dtype=torch.float64))


@settings(max_examples=20)
@given(LENGTHS, SEEDS)
def test_clamp(events: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    low, high = torch.randint(0, 4, (2, events), generator=g).sort(0).values
    y, want = 0, []
    for i in range(events):
        y = min(max(y, int(low[i])), int(high[i]))
        want.append(y)
    assert scan.clamp(low, high, 0).tolist() == want


@settings(max_examples=20)
@given(LENGTHS, SEEDS)
def test_moebius(events: int, seed: int) -> None:
    """The variance of a Kalman filter, through a night."""
    g = torch.Generator().manual_seed(seed)
    grown, noise = 10.0 ** (-6.0 + 12.0 * torch.rand(2, events, generator=g, dtype=torch.float64))
    one = torch.ones_like(noise)
    y, want = 0.0, []
    for i in range(events):
        y = (y + float(grown[i])) * float(noise[i]) / (y + float(grown[i]) + float(noise[i]))
        want.append(y)
    got = scan.moebius(noise, noise * grown, one, grown + noise)
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=0.0)


def test_a_scan_of_nothing_is_nothing() -> None:
    assert scan.affine(torch.zeros(0, 1), torch.zeros(0, 3)).shape == (0, 3)


def test_derivatives_pass() -> None:
    a = torch.rand(70, 1, dtype=torch.float64, requires_grad=True)
    b = torch.rand(70, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scan.affine, (a, b))
