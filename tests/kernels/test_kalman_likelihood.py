"""The compiled likelihood of the Kalman ghost against torch, against itself, and against the dense normal density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot_kernels.kalman import likelihood_reference
from schwabot_kernels.kalman.cpu import empty_state
from schwabot_kernels.kalman.likelihood import negative_log_likelihood
from schwabot_kernels.kalman.op import kalman
from schwabot_kernels.tree import leaves

SIZES = st.sampled_from([1, 2, 3, 17, 128, 129])
SEEDS = st.integers(0, 2**31)


class Case:
    """Observations of a random walk, with ties, bursts and a night, and q and r that are not the true ones."""

    def __init__(self, size: int, streams: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.dt_s = rng.choice([0.0, 1e-6, 0.01, 1.0, 3e4], size, p=[0.1, 0.3, 0.4, 0.19, 0.01])
        self.stream = rng.integers(0, streams, size).astype(np.int32)
        self.q, self.r = math.exp(rng.normal(0.0, 2.0)), np.exp(rng.normal(-2.0, 2.0, streams))
        price = 1e3 * rng.normal() + (np.sqrt(self.dt_s) * rng.normal(size=size)).cumsum()
        self.y = price + 0.3 * rng.normal(size=size)

    def nll(self, q: float, r: np.ndarray) -> tuple[float, float, np.ndarray]:
        return negative_log_likelihood(self.dt_s, self.y, self.stream, q, r)


@settings(max_examples=40)
@given(SIZES, st.sampled_from([1, 3, 5]), SEEDS)
def test_value_and_gradient_are_those_of_torch(size: int, streams: int, seed: int) -> None:
    case = Case(size, streams, seed)
    q = torch.tensor(case.q, dtype=torch.float64, requires_grad=True)
    r = torch.tensor(case.r, requires_grad=True)
    theirs = likelihood_reference.negative_log_likelihood(
        torch.from_numpy(case.dt_s), torch.from_numpy(case.y), torch.from_numpy(case.stream), q, r
    )
    value, slope_q, slope_r = case.nll(case.q, case.r)
    assert value == pytest.approx(theirs.item(), rel=1e-10, abs=1e-10)
    if size == 1:
        assert (value, slope_q, slope_r.any()) == (0.0, 0.0, False)
        return
    theirs.backward()
    assert q.grad is not None
    assert r.grad is not None
    scale = 1e-9 * (1.0 + abs(value) + size)
    assert slope_q * case.q == pytest.approx(q.grad.item() * case.q, rel=1e-9, abs=scale)
    np.testing.assert_allclose(slope_r * case.r, r.grad.numpy() * case.r, rtol=1e-9, atol=scale)


@settings(max_examples=20)
@given(st.sampled_from([2, 17, 129]), SEEDS)
def test_gradient_is_the_slope_of_the_value(size: int, seed: int) -> None:
    case = Case(size, 3, seed)
    theta, step = np.log([case.q, *case.r]), 1e-5
    _, slope_q, slope_r = case.nll(case.q, case.r)
    for k, slope in enumerate(np.array([slope_q, *slope_r]) * np.exp(theta)):
        up, down = theta.copy(), theta.copy()
        up[k] += step
        down[k] -= step
        high, low = (case.nll(math.exp(at[0]), np.exp(at[1:]))[0] for at in (up, down))
        assert (high - low) / (2.0 * step) == pytest.approx(slope, rel=1e-5, abs=1e-6 * (1.0 + abs(high)))


@settings(max_examples=20)
@given(st.sampled_from([2, 3, 17, 60]), SEEDS)
def test_value_is_the_normal_density_of_the_differences(size: int, seed: int) -> None:
    """Differences have variance q dt + r + r of the one before, and share one observation with each neighbour."""
    case = Case(size, 3, seed)
    noise = case.r[case.stream]
    covariance = np.diag(case.q * case.dt_s[1:] + noise[1:] + noise[:-1])
    covariance -= np.diag(noise[1:-1], 1) + np.diag(noise[1:-1], -1)
    change = np.diff(case.y)
    _, log_determinant = np.linalg.slogdet(covariance)
    quadratic = change @ np.linalg.solve(covariance, change)
    expected = 0.5 * ((size - 1) * math.log(2.0 * math.pi) + log_determinant + quadratic)
    # The noise may be 1e-8 of what a night adds.
    assert case.nll(case.q, case.r)[0] == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_errors_are_those_of_the_filter() -> None:
    """The filter's ghost before an observation is what the likelihood expects of it, each stream with its own noise."""
    case, streams = Case(129, 3, seed=5), 3
    x = np.full((streams, 129), np.nan)
    for i, v in enumerate(case.stream):
        x[v, i:] = case.y[i]
    route = torch.from_numpy(np.isnan(x).astype(np.int8))
    ghost = kalman(
        torch.from_numpy(case.stream), torch.from_numpy(x), torch.from_numpy(case.dt_s), torch.zeros(x.shape).double(),
        route, torch.from_numpy(case.r), case.q, list(leaves(empty_state(streams))),
    )[0].numpy()  # fmt: skip
    noise = case.r[case.stream]
    variance, nll = noise[0], 0.0
    for i in range(1, len(ghost)):
        predicted = variance + case.q * case.dt_s[i]
        total = predicted + noise[i]
        nll += 0.5 * (math.log(2.0 * math.pi * total) + (case.y[i] - ghost[i - 1]) ** 2 / total)
        variance = predicted * noise[i] / total
    assert case.nll(case.q, case.r)[0] == pytest.approx(nll, rel=1e-10)
