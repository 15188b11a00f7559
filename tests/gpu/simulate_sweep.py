"""Runs the sweep's CUDA kernels in numba-cuda's simulator against the CPU; a process of its own, as all of it is."""

from __future__ import annotations

import os
import sys

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

from typing import Any

import numpy as np
import torch
from numba import njit

from schwabot_kernels.simulate import gpu
from schwabot_kernels.simulate.lean import build
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Market, Rules
from schwabot_kernels.simulate.skipping import make_skipping
from tests.kernels import making_policies, making_threshold
from tests.kernels.making_threshold import make_market, make_params, make_rules
from tests.kernels.plainly import simulate
from tests.kernels.test_simulate import _market, _rules

SETS = 5


def outputs(legs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return np.full((SETS, legs, COUNTS), -77), np.full((SETS, legs, MOMENTS), np.nan)


def same(got: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> bool:
    return bool((got[0] == wanted[0]).all()) and got[1].tobytes() == wanted[1].tobytes()


HERE = torch.device("cpu")


class Quiet:
    """The policy that says where it is quiet, by the kernels and by the CPU."""

    def __init__(self) -> None:
        made = making_threshold
        four = njit(**made.INLINED)(made.policy), njit(**made.INLINED)(made.quiet), made.event_of, made.params_of
        self.cpu = make_skipping(*four)
        self.sweep = gpu.SegmentedSweep(*four, 1, HERE, threads=23, warm_rows=20, least_rows=30)
        self.sweep._reads = 0  # the policy does read its account, but at no value of its parameters that is tried here

    def agrees(self, seed: int) -> bool:
        inverse = seed % 2 == 1
        market = make_market(seed, 301, inverse=inverse, late_leg=False, nan=0.1, ties=True)
        rules = make_rules(seed, SETS, market, inverse=inverse, model=0, latency_ns=300, funding=3, bucket_ns=100)
        params = make_params(seed, SETS)
        params[:, 4] = np.minimum(params[:, 4], 1)
        lean = build(market, 0, 0, rules.bucket_ns, block=4, large=16, tile=64)
        wanted, got = outputs(), outputs()
        self.cpu(lean, rules, params, 0, SETS, *wanted, True, 1)
        fold = self.sweep.put(lean)
        self.sweep(fold, rules, params, 0, 2, *got)
        self.sweep(fold, rules, params, 2, SETS, *got)
        return same(got, wanted)


class General:
    """The policy that does anything at all."""

    def __init__(self) -> None:
        policy = making_policies.random_policy
        self.plain, self.memory = policy.plain, policy.memory
        self.sweep = gpu.GeneralSweep(*policy.compiled, policy.memory, HERE)

    def agrees(self, seed: int, legs: int = 2) -> bool:
        """On two legs; one leg would be compiled anew, its arrays lie otherwise."""
        draw = np.random.default_rng(seed)
        rules: Rules = _rules(draw, legs)
        per_set = ("entry_ns", "response_ns", "taker_e7", "maker_e7")
        more: Any = {name: np.repeat(getattr(rules, name), 3, axis=0)[:SETS] for name in per_set}
        rules = rules._replace(**more)
        market: Market = _market(draw, rules, 150, legs, busy=1.0)
        params = np.stack([np.array([30.0 * k, 9.0, 3.0]) for k in range(SETS)])
        wanted, got = outputs(legs), outputs(legs)
        for p in range(SETS):
            wanted[0][p], wanted[1][p] = simulate(market, rules, params, p, *self.plain, self.memory)[:2]
        self.sweep(self.sweep.put(market), rules, params, 0, SETS, *got)
        return same(got, wanted) and bool(wanted[0].any())


def main() -> None:
    """Raise where a number differs."""
    assert gpu.SIMULATED
    one = Quiet()
    for seed in range(3):
        assert one.agrees(seed), seed
    assert one.sweep.used.segments == 10, one.sweep.used
    assert one.sweep.used.again > 0
    every = General()
    for seed in range(3):
        assert every.agrees(seed), seed
    sys.stdout.write("same\n")


if __name__ == "__main__":
    main()
