"""What a policy promises a skipping sweep is checked on the market itself, and sums that no longer fit are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from schwabot.errors import ConfigError, PolicyError
from schwabot.signals import BUY, SELL, Parameter, nothing, policy, take
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.sweep.kernels import SweepKernel
from schwabot_kernels.simulate.records import COUNTS, MOMENTS
from tests.kernels.making_policies import make_market, make_rules, quote

PRICE = 60_123  # no made-up event that a promise is tried on has it


def quiet(s: Any, p: Any) -> Any:
    if s.in_flight > 0:
        return -math.inf, math.inf
    return -p.edge_bp, p.edge_bp


@policy(signal="forecast_bp", quiet=quiet, edge_bp=Parameter(1.0, low=0.0, high=9.0))
def honest(s: Any, e: Any, p: Any) -> Any:
    if s.in_flight > 0:
        return nothing()
    if e.forecast_bp > p.edge_bp and s.position <= 0:
        return take(BUY, 1)
    if e.forecast_bp < -p.edge_bp and s.position >= 0:
        return take(SELL, 1)
    return nothing()


@policy(signal="forecast_bp", quiet=quiet, edge_bp=Parameter(1.0, low=0.0, high=9.0))
def lying(s: Any, e: Any, p: Any) -> Any:
    """Buys at one price whatever the forecast says, if the edge is large."""
    if s.in_flight > 0:
        return nothing()
    if e.bid_ticks == 60_123 and p.edge_bp > 5.0 and s.position <= 0:
        return take(BUY, 1)
    if e.forecast_bp > p.edge_bp and s.position <= 0:
        return take(BUY, 1)
    if e.forecast_bp < -p.edge_bp and s.position >= 0:
        return take(SELL, 1)
    return nothing()


def prepared(kernel: SweepKernel, sets: int, *, at: int) -> tuple[Any, Any]:
    rules = make_rules(1, sets)
    rows = [quote(1000 + 7 * i, PRICE - 1 + (i == at), PRICE + 1 + (i == at)) for i in range(300)]
    signals = 3.0 * np.sin(np.arange(300) / 20.0)[None, None]
    return kernel.prepare(make_market(rows, signals, rules), int(rules.bucket_ns)), rules


def test_a_promise_that_is_kept() -> None:
    kernel = SweepKernel(compile_policy(honest), 1)
    fold, rules = prepared(kernel, 9, at=150)
    kernel.check(fold, rules, np.linspace(0.5, 9.0, 9)[:, None])
    assert kernel.take_busy_s() == 0.0  # it is no part of any rate


def test_a_promise_that_is_broken_at_some_parameters_is_named() -> None:
    """Where nothing was made up that shows it: the trial at compiling passes."""
    kernel = SweepKernel(compile_policy(lying), 1)
    fold, rules = prepared(kernel, 9, at=150)
    kernel.check(fold, rules, np.full((9, 1), 2.0))
    with pytest.raises(PolicyError) as caught:
        kernel.check(fold, rules, np.linspace(1.0, 9.0, 9)[:, None], "fold 3")
    said = str(caught.value)
    assert "lying (" in said
    assert "set 5 of fold 3 (edge_bp=6)" in said  # sets 0, 2, 5, 8 are run; 5 is the first with an edge above 5
    # bought at 60124, ten units a tick, for ceil(601240 / 10^4) of fee
    assert "cash is 0 with skipping and -601301 by looking at every event" in said
    assert "its quiet function promises what the policy does not keep; leave signal= and quiet= out" in said


def test_sums_that_may_not_fit_are_refused() -> None:
    """One lot is worth 2^53 units, so 256 trades of it are as much as is believed."""
    kernel = SweepKernel(compile_policy(honest), 1, ["venue:BTC/USDT"])
    rows = [quote(1000 + 50 * i, 2**40, 2**40 + 1) for i in range(300)]
    rules = make_rules(1, 1, scale=np.array([2**13]), protection_e7=0, taker_e7=np.zeros((1, 1), np.int64))
    signals = np.where(np.arange(300) % 2, 5.0, -5.0)[None, None]
    out = np.zeros((1, 1, COUNTS), np.int64), np.zeros((1, 1, MOMENTS))
    for count, full in ((250, False), (300, True)):
        fold = kernel.prepare(make_market(rows[:count], signals[:, :, :count].copy(), rules), int(rules.bucket_ns))
        if full:
            with pytest.raises(ConfigError, match=r"venue:BTC/USDT traded so much, 29\d fills.* trade fewer lots"):
                kernel(fold, rules, np.array([[1.0]]), 0, 1, *out)
        else:
            kernel(fold, rules, np.array([[1.0]]), 0, 1, *out)
