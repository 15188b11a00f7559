"""Runs the sweep's CUDA kernels in numba-cuda's simulator against the CPU; a process of its own, as all of it is."""

from __future__ import annotations

import os
import sys

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

import numpy as np
import torch
from numba import njit

from schwabot_kernels.simulate import gpu
from schwabot_kernels.simulate.cpu import make_sweep
from schwabot_kernels.simulate.lean import build
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Market, Rules
from schwabot_kernels.simulate.skipping import make_skipping
from tests.kernels import making_policies, making_threshold
from tests.kernels.making_threshold import make_market, make_params, make_rules
from tests.kernels.test_simulate import _market, _rules

SETS = 5


def outputs(legs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return np.full((SETS, legs, COUNTS), -77), np.full((SETS, legs, MOMENTS), np.nan)


def same(got: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> bool:
    return bool((got[0] == wanted[0]).all()) and got[1].tobytes() == wanted[1].tobytes()


def quiet(seed: int) -> tuple[int, int, bool]:
    """Rows played again, segments, and whether all is the same."""
    made = making_threshold
    four = njit(**made.INLINED)(made.policy), njit(**made.INLINED)(made.quiet), made.event_of, made.params_of
    market = make_market(seed, 301, inverse=seed % 2 == 1, late_leg=False, nan=0.1, ties=True)
    rules = make_rules(seed, SETS, market, inverse=seed % 2 == 1, model=0, latency_ns=300, funding=3, bucket_ns=100)
    params = make_params(seed, SETS)
    params[:, 4] = np.minimum(params[:, 4], 1)
    lean = build(market, 0, 0, rules.bucket_ns, block=4, large=16, tile=64)
    alike = True
    for skip in (True, False):
        wanted, got = outputs(), outputs()
        make_skipping(*four)(lean, rules, params, 0, SETS, *wanted, skip, 1)
        device = torch.device("cpu")
        sweep = gpu.SegmentedSweep(*four, 1, device, skip=skip, threads=23, warm_rows=20, least_rows=30)
        sweep._reads = 0  # the policy does read its account, but at no value of its parameters that is tried here
        fold = sweep.put(lean)
        sweep(fold, rules, params, 0, 2, *got)
        sweep(fold, rules, params, 2, SETS, *got)
        alike = alike and same(got, wanted)
    return sweep.used.again, sweep.used.segments, alike


def general(seed: int, legs: int) -> bool:
    draw = np.random.default_rng(seed)
    rules: Rules = _rules(draw, legs)
    per_set = ("entry_ns", "response_ns", "taker_e7", "maker_e7")
    rules = rules._replace(**{name: np.repeat(getattr(rules, name), 3, axis=0)[:SETS] for name in per_set})
    market: Market = _market(draw, rules, 150, legs, busy=1.0)
    params = np.stack([np.array([30.0 * k, 9.0, 3.0]) for k in range(SETS)])
    wanted, got = outputs(legs), outputs(legs)
    policy = making_policies.random_policy
    make_sweep(*policy.compiled)(market, rules, params, 0, SETS, *wanted, policy.memory)
    sweep = gpu.GeneralSweep(*policy.compiled, policy.memory, torch.device("cpu"))
    sweep(sweep.put(market), rules, params, 0, SETS, *got)
    return same(got, wanted) and bool(wanted[0].any())


if __name__ == "__main__":
    assert gpu.SIMULATED
    again = 0
    for seed in range(4):
        rows, segments, alike = quiet(seed)
        assert segments == 10, segments
        assert alike, seed
        again += rows
    assert again > 0
    for seed in range(3):
        assert general(seed, 1 + seed % 2), seed
    sys.stdout.write("same\n")
