"""Settings of mode=sweep. Kept apart from the code so that ``--help`` needs neither torch nor optuna."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schwabot.errors import ConfigError, closest

METHODS = ("random", "grid", "tpe", "cmaes", "nsga2")
OBJECTIVES = {
    "sharpe": "Sharpe ratio of equity changes per `simulation.bucket_s`, a year's worth",
    "net": "net PnL in quote currency",
    "net_bp": "net PnL in bp of the turnover",
    "drawdown": "largest fall of the equity, in quote currency; less is better",
    "fees": "fees paid; less is better",
    "turnover": "what was traded, in quote currency",
    "trades": "number of fills",
    "slippage_bp": "cost of acting late in bp of the turnover; less is better",
}
EACH = ("symbol", "day")
SMALLER_IS_BETTER = ("drawdown", "fees", "slippage_bp")


@dataclass
class SweepConfig:
    """What is searched, how, and how the result is doubted. docs/sweep.md has the guards and their formulas.

    Attributes:
        sets: parameter sets that are tried.
        method: ``random`` (a scrambled Sobol sequence), ``grid``, ``tpe``, ``cmaes`` or ``nsga2`` (Optuna).
        over: name → range: a policy's parameter by its name or ``policy.NAME``, ``simulation.entry_ms``,
            ``response_ms``, ``taker_fee_bp``, ``maker_fee_bp``, or any ``modules.*`` setting. A range is
            ``[low, high]``, ``{low: , high: , log: , step: }`` or ``{choices: [...]}``. Empty = the policy's
            parameters over their declared ranges.
        each: what is a market of its own, read by itself and begun without a position: ``symbol`` (all streams of an
            asset), ``day`` (UTC), or both; needs source=store. Empty = the whole source is one market.
        lead_in_s: with ``day`` in ``each``: time before the day that the graph reads, and nothing is traded in.
        objectives: what is wanted, best first; ``nsga2`` takes several, ``cmaes`` one.
        seed: of the search; one seed, one sweep.
        batch: sets that are run before the search hears of them; a generation of ``cmaes`` and ``nsga2``.
        split: share of the time that is searched on; the rest is looked at once, after the search.
        folds: pieces of equal time that the searched part is cut into, each begun without a position; an even number.
        min_trades: sets with fewer fills in the searched part are no candidates.
        neighbours: nearest sets that the plateau score looks at.
        confidence: deflated Sharpe ratio below which the best set is put down to luck.
        top: sets in the table of the best.
        surface_ms: added entry latencies of the latency × threshold surface; empty = no surface.
        surface_levels: thresholds of it.
        resume: go on with what an interrupted sweep left in the run's folder.
        threads: sets run side by side; 0 = all cores. Changes speed, never a result. On a device one block runs at a
            time, and its sets side by side whatever this is: there a larger ``batch`` changes speed.
    """

    sets: int = 1000
    method: str = "random"
    over: dict[str, Any] = field(default_factory=dict)
    each: list[str] = field(default_factory=list)
    lead_in_s: float = 600.0
    objectives: list[str] = field(default_factory=lambda: ["sharpe"])
    seed: int = 0
    batch: int = 64
    split: float = 0.7
    folds: int = 8
    min_trades: int = 20
    neighbours: int = 16
    confidence: float = 0.95
    top: int = 20
    surface_ms: list[float] = field(default_factory=lambda: [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])
    surface_levels: int = 16
    resume: bool = True
    threads: int = 0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, low, high in (
            ("sets", 1, 10**7),
            ("lead_in_s", 0, 86_400),
            ("seed", 0, 2**31 - 1),
            ("batch", 2, 10**6),
            ("split", 0.1, 0.95),
            ("folds", 2, 20),
            ("min_trades", 0, 10**9),
            ("neighbours", 1, 10**4),
            ("confidence", 0.5, 0.9999),
            ("top", 1, 10**5),
            ("surface_levels", 2, 1000),
            ("threads", 0, 4096),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"sweep.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")
        if self.folds % 2:
            raise ConfigError(
                f"sweep.folds={self.folds}: use an even number, halves of them are set against each other"
            )
        if self.method not in METHODS:
            raise ConfigError(
                f"sweep.method={self.method} is not a choice{closest(self.method, METHODS)}; use {', '.join(METHODS)}"
            )
        for name in self.each:
            if name not in EACH:
                raise ConfigError(f"sweep.each: {name} is not a choice{closest(name, EACH)}; use {' and '.join(EACH)}")
        if len(set(self.each)) < len(self.each):
            raise ConfigError(f"sweep.each=[{','.join(self.each)}] names one twice")
        if not self.objectives:
            raise ConfigError(f"sweep.objectives is empty: name what is wanted, of {', '.join(OBJECTIVES)}")
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise ConfigError(
                    f"sweep.objectives: {name} is not a choice{closest(name, OBJECTIVES)}; use {', '.join(OBJECTIVES)}"
                )
        if len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(f"sweep.objectives={self.objectives} names one twice")
        if self.method == "cmaes" and len(self.objectives) > 1:
            raise ConfigError(
                f"sweep.method=cmaes takes one objective, not {len(self.objectives)}: use nsga2 or tpe for several"
            )
        if self.method == "nsga2" and len(self.objectives) < 2:
            raise ConfigError("sweep.method=nsga2 weighs objectives: name two, e.g. 'sweep.objectives=[net,drawdown]'")
        for value in self.surface_ms:
            if not 0.0 <= value <= 1e6:
                raise ConfigError(f"sweep.surface_ms holds {value}, which is out of range: use 0 to 1e+06")
