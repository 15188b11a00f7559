"""The simulator's kernels as a sweep calls them: one that jumps where the policy is quiet, one for every policy."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from schwabot.errors import PolicyError
from schwabot.records.market import Float64, Int64
from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.accounts import check_sums
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.sweep.shards import cut_market
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Market, Rules

CHECKED = 4
"""Sets that are run every way there is before a skipping sweep is believed."""
COUNTED = (
    "cash", "position", "orders", "fills", "fees", "funding", "turnover", "filled lots", "slippage", "refused",
    "rejected", "time held", "equity", "peak", "drawdown", "gross",
    "least position",
)  # fmt: skip
SUMMED = ("buckets", "sum of changes", "sum of squares", "sum of cubes", "sum of fourth powers")


class SweepKernel:
    """Runs parameter sets of one policy, and keeps the time.

    Args:
        policy: compiled. One that says where it is quiet is swept with skipping, on one leg.
        legs: number of traded streams.
        streams: their names, for errors.
    """

    def __init__(self, policy: CompiledPolicy, legs: int, streams: Sequence[str] = ()) -> None:
        self._policy = policy
        self._streams = tuple(streams) or tuple(f"traded stream {v + 1}" for v in range(legs))
        self.skips = policy.quiet is not None and policy.skip_signal is not None and legs == 1
        self._memory, self._source = policy.memory, policy.source
        self._signal = policy.signals.index(policy.skip_signal) if policy.skip_signal in policy.signals else 0
        self._lock = threading.Lock()
        self.busy_s = self.device_s = 0.0
        self._sweep: Any
        if self.skips:
            from schwabot_kernels.simulate.skipping import make_skipping

            self._sweep = make_skipping(policy.policy, policy.quiet, policy.event_of, policy.params_of, policy.key)
        else:
            from schwabot_kernels.simulate.cpu import make_sweep

            self._sweep = make_sweep(policy.policy, policy.event_of, policy.params_of, policy.key)

    @property
    def on_device(self) -> bool:
        """Do sets run on a device?"""
        return False

    def warm_up(self, recorder: MarketRecorder) -> None:
        """Get everything compiled that a sweep of this recorder's market calls, or read from disk; plays no row of it.

        To be called before the market is read, so that neither reading nor sweeping counts the time this takes.
        """
        recorder.warm_up()
        rules = make_rules(recorder.config, recorder.builder)
        legs = len(recorder.builder.instruments)
        nothing = self.prepare(cut_market(recorder.builder.market, 0, 0), rules.bucket_ns)
        params = recorder.policy.row()[None, :]
        for run in (self, self.unskipped) if self.skips else (self,):  # on a device these are two kernels
            run(nothing, rules, params, 0, 1, np.zeros((1, legs, COUNTS), np.int64), np.zeros((1, legs, MOMENTS)))
        self.take_busy_s()

    def prepare(self, market: Market, bucket_ns: int) -> Any:
        """A fold as the kernel reads it; made once, and kept."""
        if not self.skips:
            return market
        from schwabot_kernels.simulate.skipping import build

        return build(market, 0, self._signal, bucket_ns)

    def __call__(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Int64, moments: Float64
    ) -> None:
        """Run sets ``first`` to ``last`` - 1."""
        self._timed(fold, rules, params, first, last, counts, moments, skip=True)

    def unskipped(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Int64, moments: Float64
    ) -> None:
        """The same through every row: what the rate of a skipping sweep has to stand beside."""
        self._timed(fold, rules, params, first, last, counts, moments, skip=False)

    def check(self, fold: Any, rules: Rules, params: Float64, name: str = "the first fold") -> None:
        """Hold the policy to what its quiet function promises: a few sets with and without skipping, and in general.

        Without skipping there is nothing to check. Compiles the general simulator of the policy (seconds).

        Args:
            fold: as prepared.
            rules: one row per set.
            params: of P sets; ``CHECKED`` of them are run, spread evenly.
            name: of the fold, for the error.

        Raises:
            PolicyError: a number differs: policy, set, fold, the first such number.

        Shape:
            params: [P, K]
        """
        if not self.skips or not len(params):
            return
        from schwabot_kernels.simulate.cpu import make_sweep

        policy = self._policy
        general = make_sweep(policy.policy, policy.event_of, policy.params_of, policy.key)
        rules, params, chosen = self._few(rules, params)
        sets = len(chosen)
        ways = {}
        for way in ("skipping", "looking at every event", "the general simulator"):
            counts, moments = np.zeros((sets, 1, COUNTS), np.int64), np.zeros((sets, 1, MOMENTS))
            if way == "the general simulator":
                general(fold.market, rules, params, 0, sets, counts, moments, self._memory)
            else:
                self._on_cpu(fold, rules, params, 0, sets, counts, moments, skip=way == "skipping")
            ways[way] = np.concatenate([counts[:, 0].astype(object), moments[:, 0].astype(object)], axis=1)
        skipping = ways.pop("skipping")
        for way, found in ways.items():
            for k, column in np.argwhere(skipping != found)[:1].tolist():
                told = zip(self._policy.parameters, params[k], strict=True)
                raise PolicyError(
                    f"{self._policy.name} ({self._source}), set {chosen[k]} of {name}"
                    f" ({', '.join(f'{one.name}={value:g}' for one, value in told)}): {(*COUNTED, *SUMMED)[column]} is"
                    f" {skipping[k, column]} with skipping and {found[k, column]} by {way}: its quiet function promises"
                    " what the policy does not keep; leave signal= and quiet= out"
                )

    def take_busy_s(self, threads: int = 1) -> float:
        """Time spent in the kernel since the last call, over all threads.

        Args:
            threads: that there are; a device serves them one by one, and its time counts for each of them.
        """
        with self._lock:
            busy_s, self.busy_s = self.busy_s + threads * self.device_s, 0.0
            self.device_s = 0.0
        return busy_s

    def _timed(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Any, moments: Any, *, skip: bool
    ) -> None:
        started_s = time.perf_counter()
        self._on_cpu(fold, rules, params, first, last, counts, moments, skip=skip)
        spent_s = time.perf_counter() - started_s
        with self._lock:
            self.busy_s += spent_s

    @staticmethod
    def _few(rules: Rules, params: Float64) -> tuple[Rules, Float64, Int64]:
        """Some sets of all, spread evenly, and which."""
        chosen = np.unique(np.linspace(0, len(params) - 1, min(CHECKED, len(params))).astype(np.int64))
        per_set = ("entry_ns", "response_ns", "taker_e7", "maker_e7")
        rules = rules._replace(**{field: getattr(rules, field)[chosen] for field in per_set})
        return rules, np.ascontiguousarray(params[chosen]), chosen

    def _on_cpu(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Any, moments: Any, *, skip: bool
    ) -> None:
        if self.skips:
            try:
                self._sweep(fold, rules, params, first, last, counts, moments, skip, self._memory)
            except ValueError as error:
                raise PolicyError(f"{self._source}: {error}; leave signal= and quiet= out") from error
        else:
            self._sweep(fold, rules, params, first, last, counts, moments, self._memory)
        self._check(counts[first:last])

    def _check(self, counts: Int64) -> None:
        """See that no sum of these sets left 64 bits."""
        check_sums(counts, self._streams)
