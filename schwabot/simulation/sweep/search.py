"""Which sets are tried next. Every method is a function of its seed and of what it was told, so it can be replayed.

Axis legend: P sets of a block, D dimensions, O objectives.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.market import Float64
from schwabot.simulation.sweep.ranges import Dimension, Space
from schwabot.simulation.sweep.settings import SweepConfig

MOST_SOBOL = 21_201
"""Dimensions of torch's Sobol sequence."""


class Search(Protocol):
    """Asked for blocks of sets until there are none; told of each block before the next is asked for."""

    notes: tuple[str, ...]
    sets: int

    def ask(self) -> Float64:
        """The next block; empty = done. [P, D]."""
        ...

    def tell(self, objectives: Float64) -> None:
        """What the block came to, more is better, all finite. [P, O]."""
        ...


class Listed:
    """Sets that are known before the first is run: grid and random.

    Args:
        values: all of them. [sets, D]
        batch: sets of a block.
        notes: said to the user.
    """

    def __init__(self, values: Float64, batch: int, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        self.sets = len(values)
        self._values = values
        self._batch = batch
        self._next = 0

    def ask(self) -> Float64:
        """The next block; empty = done."""
        block = self._values[self._next : self._next + self._batch]
        self._next += len(block)
        return block

    def tell(self, objectives: Float64) -> None:
        """Nothing is learnt."""


def grid(space: Space, sets: int) -> tuple[Float64, tuple[str, ...]]:
    """The full product of all values; a continuum gets as many evenly spaced values as fit into ``sets``.

    Args:
        space: ranges.
        sets: most sets.

    Returns:
        Sets [P, D], those of one setting of the graph together, and what to tell the user.

    Raises:
        ConfigError: the product is larger than ``sets``.

    Example:
        >>> two = Dimension("policy.a", "int", 1, 3), Dimension("policy.b", "float", 0.0, 1.0)
        >>> values, notes = grid(Space(two), 10)
        >>> values.shape, notes
        ((9, 2), ('grid: 3 values of b, which has no step',))
    """
    counted = {d: one.size for d, one in enumerate(space.dimensions) if _is_counted(one, sets)}
    free = [d for d in range(len(space.dimensions)) if d not in counted]
    fixed = math.prod(size or 1 for size in counted.values())
    most = int((sets / fixed + 1e-9) ** (1 / len(free)) + 1e-9) if free and fixed <= sets else 0
    if fixed > sets or (free and most < 2):
        each = " x ".join(
            f"{size:,}" if (size := counted.get(d)) else "at least 2" for d in range(len(space.dimensions))
        )
        least = fixed * 2 ** len(free)
        raise ConfigError(
            f"sweep.method=grid: the ranges make {each} = {least:,} sets{' at least' if free else ''}, and"
            f" sweep.sets={sets:,}: use more sets, larger steps or sweep.method=random"
        )
    levels = [one.levels(sets if d in counted else most) for d, one in enumerate(space.dimensions)]
    notes = tuple(f"grid: {len(levels[d])} values of {space.dimensions[d].short}, which has no step" for d in free)
    meshed = np.meshgrid(*levels, indexing="ij")
    return np.stack([one.ravel() for one in meshed], axis=1), notes


def _is_counted(one: Dimension, sets: int) -> bool:
    """Whether its values are a list of the user's making."""
    if one.kind == "int" and not one.step and not one.choices:
        return (one.size or 0) <= max(2, round(math.sqrt(sets)))
    return one.size is not None


def random(space: Space, sets: int, seed: int) -> Float64:
    """A scrambled Sobol sequence over the ranges: random, and more even than independent draws.

    The first n sets do not depend on how many follow, unless settings of the graph are searched: then the sets are
    ordered by them.

    Source:
        Owen (1998), Scrambling Sobol' and Niederreiter-Xing points; torch's ``SobolEngine``.

    Example:
        >>> space = Space((Dimension("policy.a", "float", 1.0, 2.0), Dimension("policy.b", "int", 1, 4)))
        >>> values = random(space, 64, seed=1)
        >>> np.bincount(values[:, 1].astype(int)).tolist(), bool((values[:8] == random(space, 8, seed=1)).all())
        ([0, 16, 16, 16, 16], True)
    """
    from torch import float64
    from torch.quasirandom import SobolEngine

    dimensions = len(space.dimensions)
    if dimensions > MOST_SOBOL:
        raise ConfigError(f"sweep.over has {dimensions:,} dimensions: use at most {MOST_SOBOL:,}")
    engine: Any = SobolEngine
    unit = engine(dimensions, scramble=True, seed=seed).draw(sets, dtype=float64).numpy()
    unit = np.minimum(unit, 1.0 - 2.0**-53)
    values = np.stack([one.at(unit[:, d]) for d, one in enumerate(space.dimensions)], axis=1)
    return values[np.argsort(space.graph_of(values), kind="stable")] if space.graph else values


class Learning:
    """Optuna's samplers, asked for whole blocks, so that a block is one call of the kernel.

    Args:
        space: ranges.
        config: method, objectives, seed, batch, sets.
    """

    def __init__(self, space: Space, config: SweepConfig) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.notes: tuple[str, ...] = ()
        self.sets = config.sets
        self._space = space
        self._batch = config.batch
        self._asked = 0
        self._trials: list[Any] = []
        self._ordered = config.method == "cmaes"  # knows no choices: their places are numbers to it
        samplers = optuna.samplers
        sampler: Any
        if config.method == "tpe":
            # `constant_liar` would make a block of n cost n models of growing size; a block is drawn of one model
            sampler = samplers.TPESampler(seed=config.seed, n_startup_trials=max(10, config.batch), constant_liar=False)
        elif config.method == "cmaes":
            sampler = samplers.CmaEsSampler(seed=config.seed, popsize=config.batch, warn_independent_sampling=False)
            self._refuse_disorder()
        else:
            sampler = samplers.NSGAIISampler(seed=config.seed, population_size=config.batch)
        self._study = optuna.create_study(directions=["maximize"] * len(config.objectives), sampler=sampler)
        self._ranges = {one.name: self._range(one) for one in space.dimensions}

    def ask(self) -> Float64:
        """The next block; empty = done."""
        count = min(self._batch, self.sets - self._asked)
        self._trials = [self._study.ask(self._ranges) for _ in range(count)]
        self._asked += count
        block = [[float(trial.params[name]) for name in self._ranges] for trial in self._trials]
        values = np.array(block, np.float64).reshape(count, len(self._ranges))
        for d, one in enumerate(self._space.dimensions):
            if one.quantum and one.kind == "float" and count:
                values[:, d] = np.clip(np.round(values[:, d] / one.quantum) * one.quantum, one.low, one.high)
        return values

    def tell(self, objectives: Float64) -> None:
        """What the block came to."""
        for trial, row in zip(self._trials, objectives.tolist(), strict=True):
            self._study.tell(trial, row)

    def _range(self, one: Dimension) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if one.choices and not self._ordered:
            return CategoricalDistribution(tuple(range(len(one.choices))))
        if one.choices:
            return IntDistribution(0, len(one.choices) - 1)
        if one.kind == "int":
            return IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step) or 1)
        return FloatDistribution(one.low, one.high, log=one.log, step=one.step or None)

    def _refuse_disorder(self) -> None:
        for one in self._space.dimensions:
            if any(isinstance(choice, str) or choice is None for choice in one.choices):
                raise ConfigError(
                    f"sweep.method=cmaes needs numbers, and {one.name} has names: use tpe, random or grid"
                )


def open_search(space: Space, config: SweepConfig) -> Search:
    """The search that ``sweep.method`` names.

    Raises:
        ConfigError: the method can't search these ranges.
    """
    size = space.size
    if config.method == "grid":
        values, notes = grid(space, config.sets)
        return Listed(values, config.batch, notes)
    if config.method == "random":
        if size is not None and size <= config.sets:
            values, _ = grid(space, config.sets)
            return Listed(values, config.batch, (f"the ranges hold {size:,} different sets: all of them are tried",))
        return Listed(random(space, config.sets, config.seed), config.batch)
    return Learning(space, config)
