"""The sweep in segments: the numbers of one run after the other, whatever is guessed; and the device's kernels.

Axis legend: N rows, P parameter sets, G segments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from schwabot.records.instrument import Instrument
from schwabot.signals import nothing, take
from schwabot.signals.builtin.lead_lag import lead_lag
from schwabot.signals.builtin.mean_reversion import mean_reversion
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.sweep.device_kernel import DeviceSweepKernel
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.capture import CaptureFeed
from schwabot_kernels.simulate import cutting
from schwabot_kernels.simulate import records as r
from schwabot_kernels.simulate.cpu import make_sweep
from schwabot_kernels.simulate.cutting import DeviceUnfitError, Plan, Work, segments_for, shapes
from schwabot_kernels.simulate.lean import Lean, build
from schwabot_kernels.simulate.reads import ACCOUNT, NO_TIMES, TIMES, reads_of
from schwabot_kernels.simulate.records import FILLS, Market, Rules
from schwabot_kernels.simulate.segments import make_segmented
from schwabot_kernels.simulate.skipping import make_skipping
from tests.kernels import making_policies
from tests.kernels import making_threshold as made
from tests.kernels.making_threshold import make_market, make_params, make_rules
from tests.kernels.test_simulate import _market as random_market
from tests.kernels.test_simulate import _rules as random_rules
from tests.simulation.sweep.test_kernels import honest  # compiled once for both

SETS = 5
FOUR = (njit(**made.INLINED)(made.policy), njit(**made.INLINED)(made.quiet), made.event_of, made.params_of)
WHOLE = make_skipping(*FOUR)
SEGMENTED = make_segmented(*FOUR)
COLUMNS = (
    "ts_ns", "stream", "kind", "side", "bid_ticks", "ask_ticks", "bid_lots", "ask_lots", "price_ticks", "qty_lots"
)  # fmt: skip
PERPETUAL = "binanceusdm:BTC/USDT:USDT"


def outputs(sets: int) -> tuple[Any, Any]:
    """Poisoned."""
    return np.full((sets, 1, r.COUNTS), -77), np.full((sets, 1, r.MOMENTS), np.nan)


def work_for(plan: Plan, lean: Lean, memory: int) -> Work:
    """Poisoned, but for what is only read."""
    work = Work(
        **{name: np.full(shape, -77, kind) for name, (shape, kind) in shapes(plan, lean.ends.size, memory).items()}
    )
    work.orders[:] = 0
    return work


def segmented(sweep: Any, lean: Lean, rules: Rules, params: Any, segments: int, reads: int, **cut: int) -> Any:
    """Counts, moments, work, rounds and the plan."""
    plan = cutting.plan(lean, rules, len(params), segments, reads, **cut)
    work, got = work_for(plan, lean, 1), outputs(len(params))
    rounds = sweep(lean, rules, params, plan, work, *got)
    return *got, work, rounds, plan


def assert_same(got: Any, wanted: Any) -> None:
    np.testing.assert_array_equal(got[0], wanted[0])
    assert got[1].tobytes() == wanted[1].tobytes()


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.one_of(st.integers(0, 12), st.integers(13, 300)),
    segments=st.integers(1, 12),
    warm_rows=st.sampled_from([0, 1, 7, 40]),
    shifts=st.sampled_from([(0, 0, 1), (0, 1, 3), (2, 4, 4), (2, 3, 9), (6, 10, 14)]),
    inverse=st.booleans(),
    late_leg=st.booleans(),
    nan=st.sampled_from([0.0, 0.3, 1.0]),
    model=st.sampled_from([r.CONSTANT, r.TABLE, r.DATA]),
    latency_ns=st.sampled_from([0, 30, 400, 10**6]),
    funding=st.sampled_from([0, 1, 6]),
    bucket_ns=st.sampled_from([7, 100, 1_000, 10**9]),
    calm=st.booleans(),
    own=st.booleans(),
)
def test_segments_give_what_one_run_gives(
    seed: int, rows: int, segments: int, warm_rows: int, shifts: tuple[int, int, int], inverse: bool, late_leg: bool,
    nan: float, model: int, latency_ns: int, funding: int, bucket_ns: int, calm: bool, own: bool,
) -> None:  # fmt: skip
    market = make_market(seed, rows, inverse=inverse, late_leg=late_leg, nan=nan, ties=seed % 2 == 0)
    if calm:  # positions that are held over whole segments
        market.signals[:, :, (np.arange(rows) // 60) % 3 > 0] *= 0.1
    rules = make_rules(
        seed, SETS, market, inverse=inverse, model=model, latency_ns=latency_ns, funding=funding, bucket_ns=bucket_ns
    )
    params = make_params(seed, SETS)
    if not own:  # else it reads all that it can of itself, and writes its memory
        params[:, 4] = np.minimum(params[:, 4], 1)
    block, large, tile = (1 << shift for shift in shifts)
    lean = build(market, 0, 0, rules.bucket_ns, block=block, large=large, tile=tile)
    wanted = outputs(SETS)
    WHOLE(lean, rules, params, 0, SETS, *wanted, True, 1)
    reads = ACCOUNT if own else (NO_TIMES, TIMES)[seed % 2]
    counts, moments, work, rounds, plan = segmented(
        SEGMENTED, lean, rules, params, segments, reads, warm_rows=warm_rows
    )
    assert_same((counts, moments), wanted)
    assert len(plan.bounds) == 2 if own or model == r.TABLE else segments + 1
    assert rounds < len(plan.bounds)
    assert (work.again.sum() > 0) == (rounds > 0)
    assert not work.failed.any()


def test_a_quiet_band_of_nan_ends() -> None:
    market = make_market(3, 200, inverse=False, late_leg=False, nan=0.0, ties=False)
    rules = make_rules(3, SETS, market, inverse=False, model=0, latency_ns=30, funding=1, bucket_ns=100)
    params = make_params(3, SETS)
    params[:, 4], params[::2, :2] = 0.0, np.nan
    lean, wanted = build(market, 0, 0, 100, block=4, large=16, tile=64), outputs(SETS)
    WHOLE(lean, rules, params, 0, SETS, *wanted, True, 1)
    found = segmented(SEGMENTED, lean, rules, params, 6, NO_TIMES, warm_rows=1)
    assert_same(found, wanted)
    assert np.isnan(found[2].begun_floats).any()
    assert found[3] < 6


@pytest.mark.slow
def test_walking_in_segments_gives_the_same() -> None:
    walking = make_segmented(*FOUR, skip=False)
    for seed in range(20):
        market = make_market(seed, 250, inverse=False, late_leg=False, nan=0.1, ties=True)
        rules = make_rules(seed, SETS, market, inverse=False, model=0, latency_ns=90, funding=2, bucket_ns=100)
        params = make_params(seed, SETS)
        params[:, 4] = np.minimum(params[:, 4], 1)
        lean, wanted = build(market, 0, 0, rules.bucket_ns, block=4, large=16, tile=64), outputs(SETS)
        WHOLE(lean, rules, params, 0, SETS, *wanted, False, 1)
        assert_same(segmented(walking, lean, rules, params, 7, NO_TIMES, warm_rows=10), wanted)


@pytest.mark.slow
def test_memory_and_times_are_part_of_the_beginning() -> None:
    """A policy that counts in its memory, and waits after a fill: no guess from flat is right, every number is."""

    def counting(s: Any, e: Any, p: Any) -> Any:
        if s.in_flight > 0:
            return nothing()
        s.memory[0] += 1.0
        if e.ts_ns < s.last_fill_ns + 300 or e.ts_ns < s.last_order_ns + 200:
            return nothing()
        if e.x > p.enter and s.position <= 0:
            return take(1, 1 + int(s.memory[0]) % 2)
        if e.x < -p.enter and s.position >= 0 and e.bid_ticks > s.entry_ticks - 50.0:
            return take(-1, 1)
        return nothing()

    def quiet(s: Any, p: Any) -> Any:
        if s.in_flight > 0:
            return -np.inf, np.inf
        return -p.enter, p.enter

    four = (njit(**made.INLINED)(counting), njit(**made.INLINED)(quiet), made.event_of, made.params_of)
    whole, parts = make_skipping(*four), make_segmented(*four)
    for seed in range(30):
        market = make_market(seed, 280, inverse=False, late_leg=False, nan=0.1, ties=False)
        rules = make_rules(seed, SETS, market, inverse=False, model=0, latency_ns=60, funding=1, bucket_ns=500)
        params, lean, wanted = make_params(seed, SETS), build(market, 0, 0, 500, block=4, large=16), outputs(SETS)
        whole(lean, rules, params, 0, SETS, *wanted, True, 1)
        found = segmented(parts, lean, rules, params, 6, TIMES, warm_rows=30)
        assert_same(found, wanted)
        assert found[3] >= 4  # every segment but the first began with another memory
    assert wanted[0][:, 0, FILLS].min() > 0
    assert reads_of(*four, lean, params, 1) == TIMES


def test_what_a_policy_reads_of_itself() -> None:
    lean = build(make_market(1, 50, inverse=False, late_leg=False, nan=0.0, ties=False), 0, 0, 100)
    assert reads_of(*FOUR, lean, make_params(1, 1), 1) == ACCOUNT
    for one in (threshold, lead_lag, mean_reversion):
        compiled = compile_policy(one)
        four = (compiled.policy, compiled.quiet, compiled.event_of, compiled.params_of)
        assert reads_of(*four, lean, compiled.row()[None, :], compiled.memory) == NO_TIMES, one.name


def test_how_many_segments() -> None:
    assert segments_for(1_000, 10_000_000, 131_072) * 1_000 >= 131_072
    assert segments_for(200_000, 10_000_000, 131_072) == 1
    assert segments_for(1, 100, 131_072) == 1


# on recorded markets


def recorded(captures: Path, rows: int) -> Market:
    """The first rows of the recorded BTC streams; the perpetual is traded on how far it is from all of them."""
    known = {
        one.stream: one
        for one in (
            Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=10.0),
            Instrument(PERPETUAL, 0.1, 0.001, taker_fee_bp=5.0),
            Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, inverse=True, taker_fee_bp=5.0),
        )
    }
    feed = CaptureFeed(sorted((captures / "binance").glob("*/btc*.gz")), known)
    parts: list[TickBatch] = []
    for part in feed.batches(65_536):
        parts.append(TickBatch.from_ticks(part))
        if sum(map(len, parts)) >= rows:
            break
    columns = {name: torch.cat([getattr(part, name) for part in parts]).numpy()[:rows] for name in COLUMNS}
    stream, kind = columns["stream"], columns["kind"]
    leg = [one.stream for one in feed.instruments].index(PERPETUAL)
    own = stream == leg
    bid, ask = columns["bid_ticks"], columns["ask_ticks"]
    signal = np.zeros(rows)
    for v in range(len(feed.instruments)):
        quotes = (stream == v) & (kind == 0)
        at = np.maximum.accumulate(np.where(quotes, np.arange(rows), 0))
        x = np.log(np.maximum(0.5 * (bid[at] + ask[at]), 1.0))
        signal += (x - np.median(x)) * (1 / 3 - (v == leg))
    signal = 1e4 * (signal - np.median(signal))
    following, chain = np.full(rows, -1, np.int32), np.flatnonzero(own)
    following[chain[:-1]] = chain[1:]
    mine = {
        name: np.where(own, columns[of], 0)
        for name, of in (("bid", "bid_ticks"), ("ask", "ask_ticks"), ("bid_lots", "bid_lots"), ("ask_lots", "ask_lots"),
                         ("price", "price_ticks"), ("lots", "qty_lots"))
    }  # fmt: skip
    mine = {name: one.astype(np.int64) for name, one in mine.items()}
    ts_ns = columns["ts_ns"].astype(np.int64)
    return Market(
        ts_ns=ts_ns, venue_ns=ts_ns - 3_000_000, leg=np.where(own, 0, -1).astype(np.int8), kind=kind.astype(np.int8),
        side=np.where(own, columns["side"], 0).astype(np.int8), mark=(mine["bid"] + mine["ask"]) * 10,
        next_row=following, signals=signal[None, None].copy(), **mine,
    )  # fmt: skip


def thousand(market: Market, sets: int = 1_000) -> tuple[Rules, Any]:
    """Random costs and parameters of ``threshold``, of all activities."""
    draw = np.random.default_rng(7)
    rules = make_rules(7, sets, market, inverse=False, model=0, latency_ns=50_000_000, funding=3, bucket_ns=10**9)
    rules = rules._replace(scale=np.array([10]), max_lots=np.array([1_000]), protection_e7=500_000)
    rules = rules._replace(funding_e9=rules.funding_e9 // 1_000)
    enter = np.quantile(np.abs(market.signals), draw.uniform(0.3, 0.9999, sets))
    leave, most = enter * draw.uniform(-0.5, 0.9, sets), draw.integers(1, 4, sets)
    return rules, np.stack([enter, leave, np.ones(sets), most.astype(np.float64)], axis=1)


@pytest.mark.slow
def test_a_thousand_sets_on_a_recorded_market(captures: Path) -> None:
    market = recorded(captures, 60_000)
    rules, params = thousand(market)
    made_of = compile_policy(threshold)
    four = (made_of.policy, made_of.quiet, made_of.event_of, made_of.params_of)
    lean, wanted = build(market, 0, 0, rules.bucket_ns), outputs(1_000)
    make_skipping(*four, made_of.key)(lean, rules, params, 0, 1_000, *wanted)
    assert np.quantile(wanted[0][:, 0, FILLS], [0.1, 0.9]).tolist() != [0.0, 0.0]
    plan = cutting.plan(lean, rules, 1_000, 14, NO_TIMES, 2_048)
    work, got = work_for(plan, lean, 0), outputs(1_000)
    rounds = make_segmented(*four)(lean, rules, params, plan, work, *got)
    assert_same(got, wanted)
    again = work.again.sum() / (1_000 * 60_000)
    assert rounds <= 13
    assert again < 0.5, again  # most guesses are right


# the kernel of a run


@cache
def segments_of(policy: Any, quiet: Any, event_of: Any, params_of: Any) -> Any:
    return make_segmented(policy, quiet, event_of, params_of)


class BySegments:
    """The segments on the CPU in the place of a device, which may fail or lie."""

    def __init__(self, fails_at: int = 99, lies: int = 0) -> None:
        self.calls, self.fails_at, self.lies = 0, fails_at, lies

    def make(self, policy: Any, device: torch.device, skips: bool, skip: bool) -> BySegments:
        assert skips
        self.sweep = segments_of(policy.policy, policy.quiet, policy.event_of, policy.params_of)
        return self

    def room(self) -> int:
        return 2**40

    def put(self, lean: Lean) -> Lean:
        return lean

    def __call__(self, lean: Lean, rules: Rules, params: Any, first: int, last: int, counts: Any, moments: Any) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("CUDA error: out of memory\nmore")
        part = rules._replace(**{
            name: getattr(rules, name)[first:last] for name in ("entry_ns", "response_ns", "taker_e7", "maker_e7")
        })  # fmt: skip
        found = segmented(self.sweep, lean, part, params[first:last], 5, NO_TIMES, warm_rows=30)
        counts[first:last], moments[first:last] = found[:2]
        counts[first:last, 0, FILLS if self.lies < 2 else r.GROSS] += self.lies


@pytest.mark.parametrize(
    ("fails_at", "lies"),
    [(3, 0), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(99, 0), (1, 0), (99, 1), (99, 2**62)])],
)
def test_the_cpu_takes_over(fails_at: int, lies: int) -> None:
    market = make_market(5, 300, inverse=False, late_leg=False, nan=0.1, ties=False)
    rules = make_rules(5, 9, market, inverse=False, model=0, latency_ns=60, funding=1, bucket_ns=500)
    params, told = np.linspace(0.2, 2.5, 9)[:, None], list[str]()
    compiled, device = compile_policy(honest), BySegments(fails_at, lies)
    kernel = DeviceSweepKernel(compiled, 1, device=torch.device("cuda", 0), warn=told.append, make=device.make)
    fold = kernel.prepare(market, rules.bucket_ns)
    wanted = outputs(9)
    kernel._on_cpu(fold, rules, params, 0, 9, *wanted, skip=True)
    assert wanted[0][:, 0, FILLS].max() > 3
    kernel.check(fold, rules, params)
    got = outputs(9)
    for first in (0, 3, 6):
        kernel(fold, rules, params, first, first + 3, *got)
    assert_same(got, wanted)
    lost = fails_at < 99 or lies > 0
    assert (kernel.device_s > 0) == (fails_at > 1)
    assert len(told) == lost
    assert (kernel.failed is not None) == lost
    if lost:
        reason = "fills of set 0 of the first fold is" if lies else "RuntimeError: CUDA error: out of memory"
        reason = "not so on the CPU: traded stream 1 traded so much" if lies > 1 else reason
        assert told[0].startswith(f"warning: cuda:0 can't sweep honest ({reason}")
        assert told[0].endswith("; the sweep runs on the CPU, with the same results")
        assert "\n" not in told[0]
        assert device.calls == (1 if lies else fails_at)
    else:
        assert device.calls == 4


# without a GPU


def _python(root: Path, module: str, *given: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(root / "kernels"), str(root)])
    done = subprocess.run(
        [sys.executable, "-m", module, *given],
        capture_output=True,
        text=True,
        cwd=root,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


def test_a_small_launch_is_no_mistake_and_what_torch_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba_cuda")
    from numba.core import config

    from schwabot_kernels.simulate import gpu

    monkeypatch.setattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS", 1)
    gpu.spread(gpu._note, 1)  # every warning is an error here
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert gpu.free_bytes(torch.device("cuda", 0)) == 150


@pytest.mark.slow
def test_kernels_in_the_simulator_of_cuda(root: Path) -> None:
    pytest.importorskip("numba_cuda")
    assert _python(root, "tests.gpu.simulate_sweep") == "same\n"


@pytest.mark.slow
def test_kernels_compile_and_round_as_the_cpu_does(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba_cuda")
    pytest.importorskip("triton")
    found = {
        one["name"]: one
        for one in map(json.loads, _python(root, "tests.gpu.compile_sweep", str(tmp_path)).splitlines())
    }
    refused = {name: one.pop("refused") for name, one in found.items()}
    assert "exp, log or pow" in refused.pop("curved.skipping")
    assert "an index that its source does not tell" in refused.pop("quote_guard.general")
    assert set(refused.values()) == {""}
    assert {"threshold.skipping", "lead_lag.skipping", "mean_reversion.skipping", "own.general"} <= set(refused)
    for name, one in found.items():
        assert one.get("kept", True), name  # what a second process would read is the same code
    for name in refused:
        one = found[name]
        assert one["fused"] == one["other_order_of_nan"] == one["local"] == 0, one
        assert one["products"] > 0, one  # so that there was something to fuse
        assert one["constant"] <= 4_096 + 528, one  # parameters that every driver takes
        if name.endswith(".skipping"):
            assert one["stack"] == 0, one  # nothing is spilled


# with one


@pytest.mark.gpu
@pytest.mark.parametrize("skip", [True, False])
def test_a_thousand_sets_on_a_device(captures: Path, device: str, *, skip: bool) -> None:
    from schwabot_kernels.simulate.gpu import SegmentedSweep

    market = recorded(captures, 1_000_000)
    rules, params = thousand(market)
    made_of = compile_policy(threshold)
    four = (made_of.policy, made_of.quiet, made_of.event_of, made_of.params_of)
    lean, wanted = build(market, 0, 0, rules.bucket_ns), outputs(1_000)
    make_skipping(*four, made_of.key)(lean, rules, params, 0, 1_000, *wanted)
    for _ in range(2):  # the second reads from disk what the first compiled
        sweep = SegmentedSweep(*four, made_of.memory, torch.device(device), skip=skip, key=made_of.key)
        fold, got = sweep.put(lean), outputs(1_000)
        for first, last in ((0, 1), (1, 334), (334, 1_000)):
            sweep(fold, rules, params, first, last, *got)
        assert_same(got, wanted)
        assert sweep.used.segments > 1


@pytest.mark.gpu
def test_segments_on_a_device(device: str) -> None:
    from schwabot_kernels.simulate.gpu import SegmentedSweep

    sweep = SegmentedSweep(*FOUR, 1, torch.device(device), threads=60, warm_rows=20, least_rows=30)
    for seed in range(60):
        market = make_market(seed, 301, inverse=seed % 2 == 1, late_leg=seed % 3 == 0, nan=0.1, ties=True)
        rules = make_rules(
            seed, SETS, market, inverse=seed % 2 == 1, model=seed % 3, latency_ns=300, funding=3, bucket_ns=100
        )
        params, lean = make_params(seed, SETS), build(market, 0, 0, 100, block=4, large=16, tile=64)
        sweep._reads = ACCOUNT
        if seed % 4:
            params[:, 4], sweep._reads = np.minimum(params[:, 4], 1), NO_TIMES
        wanted, got = outputs(SETS), outputs(SETS)
        WHOLE(lean, rules, params, 0, SETS, *wanted, True, 1)
        sweep(sweep.put(lean), rules, params, 0, SETS, *got)
        assert_same(got, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("legs", [1, 2])
def test_any_policy_on_a_device(device: str, legs: int) -> None:
    from schwabot_kernels.simulate.gpu import GeneralSweep

    sets, anything = 200, making_policies.random_policy
    sweep = GeneralSweep(*anything.compiled, anything.memory, torch.device(device))
    for seed in range(10):
        draw = np.random.default_rng(seed)
        rules = random_rules(draw, legs)
        per_set = ("entry_ns", "response_ns", "taker_e7", "maker_e7")
        more: Any = {name: np.repeat(getattr(rules, name), sets // 2, axis=0) for name in per_set}
        rules = rules._replace(**more)
        market = random_market(draw, rules, 2_000, legs, busy=1.0)
        params = np.stack([draw.uniform(0, 256, sets), draw.integers(2, 20, sets), draw.integers(2, 5, sets)], axis=1)
        wanted = np.zeros((sets, legs, r.COUNTS), np.int64), np.zeros((sets, legs, r.MOMENTS))
        got = np.full_like(wanted[0], -77), np.full_like(wanted[1], np.nan)
        make_sweep(*anything.compiled)(market, rules, params, 0, sets, *wanted, anything.memory)
        try:
            sweep(sweep.put(market), rules, params, 0, sets, *got)
        except DeviceUnfitError as error:
            assert "more reports are under way" in str(error)  # noqa: PT017 the CPU has room for more
            continue
        assert_same(got, wanted)
