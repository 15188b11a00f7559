"""HashRegistry: memory of what followed. Axis legend: N events, V streams, T tables, b bits, K remembered keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from schwabot.errors import StateError
from schwabot.modules.ghost_bridge import Ghost
from schwabot.modules.settings import HashRegistryConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import Timeline
from schwabot.records.audit import MemoryColumns
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels import tree
from schwabot_kernels.registry import cpu as kernel
from schwabot_kernels.registry import slots
from schwabot_kernels.registry.cpu import RegistryParams, RegistryState
from schwabot_kernels.registry.merge import EpochsApart, merge
from schwabot_kernels.registry.op import COLUMNS, remember
from schwabot_kernels.registry.reference import entropy
from schwabot_kernels.scalar import MISSING_NS

__all__ = ["HashRegistry", "Memory", "entropy"]

_SCALE = ("signs", "z_shift", "z_scale")
"""What a key means, beside the settings."""


class Memory(NamedTuple):
    """What the memory says of the state at each of N events.

    Attributes:
        key: packed bits of the first table's hash, -1 in warm-up and without a ghost. int64
        entropy: of the outcome at that key, nats; ln 3 where nothing is known.
        mean_bp: mean remembered move of the ghost, shrunk by n / (n + 20).
        echo_bp: readout of the echo memory.
        trusted: 1 where the memory's own causal skill is positive. int8
    """

    key: torch.Tensor
    entropy: torch.Tensor
    mean_bp: torch.Tensor
    echo_bp: torch.Tensor
    trusted: torch.Tensor


class HashRegistry(Stateful):
    r"""Locality-sensitive hash of the market state, decayed tables of what followed each hash, and an echo memory.

    .. math::
        H = \mathrm{sign}(W z), \quad
        y_j = g(t_j + h) - g(t_j), \quad
        \Psi_i = \sum_{t_j + h \le t_i} e^{-(t_i - t_j)/\tau} H_j y_j, \quad
        \mathrm{echo}_i = \frac{\Psi_i^\top H_i}{b\,(1 + \sum_{t_j + h \le t_i} e^{-(t_i - t_j)/\tau})}

    z holds deviation, microprice offset, imbalance, half spread and momentum of every stream, over a scale learnt in
    the first ``warmup_events`` events and then frozen. Every table keeps per key the decayed count, mean and variance
    of y and how often it was down, flat or up, whose entropy has one pseudo-count per class. Antipodal tying: an
    outcome y at key is also -y at ~key. An outcome is written at the first event at or after t_j + h, never earlier.
    A slot whose count is below ``min_count`` asks its 8-bit, then its 4-bit prefix. It is memory, not skill:
    ``trusted`` says where it has been better than saying nothing.

    Args:
        instruments: V instruments, sorted by stream name.
        config: settings; see ``HashRegistryConfig`` for units and defaults.

    Shape:
        batch [N], timeline [N, V]; outputs [N].

    Raises:
        ConfigError: a setting is out of range.
        StateError: the state belongs to another registry.

    Source:
        SimHash: Charikar (2002); projections of +1 and -1: Achlioptas (2003), fast by a Hadamard transform: Ailon &
        Chazelle (2006). The echo is linear attention (Katharopoulos et al. 2020) with the decay of RetNet (Sun et al.
        2023) in physical time.

    Example:
        >>> from schwabot.modules.settings import ModulesConfig
        >>> from schwabot.modules.graph import Graph
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=500))
        >>> batch = TickBatch.from_ticks(next(iter(feed.batches())))
        >>> graph = Graph(feed.instruments, ModulesConfig(hash_registry=HashRegistryConfig(warmup_events=100)))
        >>> state = graph.initial_state()
        >>> timeline, _ = graph.tensor_harness(batch, state)
        >>> ghost, _ = graph.ghost_bridge(batch, timeline, state)
        >>> memory, _ = graph.hash_registry(batch, timeline, ghost, state)
        >>> memory.key[:100].unique().tolist(), int(memory.key[100:].min()) >= 0
        ([-1], True)
    """

    def __init__(self, instruments: Sequence[Instrument], config: HashRegistryConfig | None = None) -> None:
        config = config or HashRegistryConfig()
        config.check()
        empty = kernel.empty_state(
            len(instruments), config.bits, config.tables, config.seed, slots=config.capacity, capacity=4096
        )
        identity = (
            "bits", "tables", "seed", "horizon_ms", "half_life_s", "echo_tau_s", "momentum_tau_ms", "step_bp",
            "dead_band_steps",
        )  # fmt: skip
        super().__init__("hash_registry", config, identity, {"registry": empty}, len(instruments))
        self.params = RegistryParams(
            bits=config.bits,
            horizon_ns=round(config.horizon_ms * 1e6),
            tau_s=config.half_life_s / math.log(2.0),
            echo_tau_s=float(config.echo_tau_s),
            momentum_tau_s=config.momentum_tau_ms * 1e-3,
            warmup_events=config.warmup_events,
            step_bp=float(config.step_bp),
            dead_band_steps=config.dead_band_steps,
            min_count=float(config.min_count),
        )

    def forward(
        self,
        batch: TickBatch,
        timeline: Timeline,
        ghost: Ghost,
        state: State,
        predicted_bp: torch.Tensor | None = None,
    ) -> tuple[Memory, State]:
        """Ask and write the memory at N events; returns what it says and the state after them.

        ``predicted_bp`` [N] is the ghost's move over the horizon that a trained head expects: then what is remembered
        is what came beyond it.
        """
        self.check_state(state)
        aligned = timeline.aligned
        out = remember(
            batch.ts_ns,
            aligned.x.T,
            aligned.micro.T,
            aligned.imbalance.T,
            aligned.half.T,
            aligned.dt_s,
            timeline.route.T,
            ghost.price_bp,
            ghost.deviation_bp.T,
            torch.zeros_like(ghost.price_bp) if predicted_bp is None else predicted_bp,
            **self.params._asdict(),
            state=self._leaves("registry", state),
        )
        columns, leaves = out[: len(COLUMNS)], out[len(COLUMNS) :]
        return Memory(*columns), self._own(state) | self._named("registry", leaves)

    def merge(self, state: State, other: State) -> State:
        """The memory of two machines as one: decayed counts at a common reference time, added.

        The result goes on where ``state`` stands, with its prices and pending outcomes; what was pending in ``other``
        is judged by ``other``'s prices and stays there. What both inherited from one checkpoint counts twice: give
        the second machine ``forget(checkpoint)`` instead.

        Args:
            state: of the machine that goes on.
            other: what is added.

        Raises:
            StateError: the identities differ (settings, hyperplanes, learnt scale), one is still in warm-up, or
                ``other`` is far ahead of ``state`` in time.
        """
        ours, theirs = self._checked(state), self._checked(other)
        for name, part in (("state", ours), ("other", theirs)):
            if part.warm[1] != 1:
                raise StateError(f"{name} is still in warm-up, so its keys mean nothing yet: merge after the warm-up")
        odd = [name for name in _SCALE if not torch.equal(state[f"registry.{name}"], other[f"registry.{name}"])]
        if odd:
            raise StateError(
                f"identities differ in {', '.join(odd)}, so equal keys mean different states: start both machines from "
                "forget() of one state that has learnt its scale"
            )
        merged = tree.copy(ours)
        try:
            merge(merged, theirs, self.params)
        except EpochsApart as error:
            raise StateError(f"{error}: merge the other way round, into the later one") from None
        return self._own(state) | tree.to_dict(merged, "registry.")

    def forget(self, state: State) -> State:
        """An empty memory that shares the identity of ``state``: the same hash, with the scale it has learnt."""
        learnt = self._checked(state)
        empty = tree.copy(self._like["registry"])
        assert isinstance(empty, RegistryState)
        kept = ("z_count", "z_sum", "z_squares", "warm", *_SCALE)
        fresh = empty._replace(**{name: getattr(learnt, name).copy() for name in kept})
        return self._own(state) | tree.to_dict(fresh, "registry.")

    def memory(self, state: State, now_ns: int) -> MemoryColumns:
        """What is remembered at every key, as of a time.

        Args:
            state: of this registry; left as it is.
            now_ns: to which counts have faded and since when ages count, at or after the state's last event.

        Shape:
            [K]; two rows per slot in use, one for the key and one for its complement.

        Raises:
            StateError: the state belongs to another registry.

        Example:
            >>> registry = HashRegistry([Instrument("binance:BTC/USDT", 0.01, 1e-5)])
            >>> len(registry.memory(registry.initial_state(), now_ns=0).key)
            0
        """
        part = self._checked(state)
        since_s = 0.0 if part.clock[0] == MISSING_NS else float(now_ns - part.clock[0]) * 1e-9
        faded = math.exp(kernel.EPOCHS * float(part.clock[1]) - since_s / self.params.tau_s)
        table, at = np.nonzero(part.table[..., slots.COUNT] * faded > 0.0)
        slot = part.table[table, at]
        key = at if self.params.bits <= 16 else part.table_key[table, at]
        count = slot[:, slots.COUNT]
        mean = slot[:, slots.SUM] / count
        moved, up_down = count - slot[:, slots.FLAT], slot[:, slots.UP_DOWN]
        classes = (slot[:, slots.FLAT], 0.5 * (moved + up_down), 0.5 * (moved - up_down))
        # Down is what is left of the others; rounding may leave less than nothing.
        flat, up, down = (torch.from_numpy(np.maximum(counted, 0.0) * faded) for counted in classes)

        def twice(column: Float64, sign: float = 1.0) -> Float64:
            return np.concatenate([column, sign * column])[order]

        tables, keys = np.tile(table, 2), np.concatenate([key, ((1 << self.params.bits) - 1) ^ key])
        order = np.lexsort((keys, tables))
        return MemoryColumns(
            table=tables[order].astype(np.int32),
            key=keys[order].astype(np.int64),
            count=twice(count * faded),
            mean_bp=twice(mean, -1.0),
            variance_bp2=twice(np.maximum(slot[:, slots.SQUARES] / count - mean * mean, 0.0)),
            entropy=twice(entropy(flat, up, down).numpy()),
            age_s=twice(since_s - slot[:, slots.LAST_S]),
        )

    def _checked(self, state: State) -> RegistryState:
        self.check_state(state)
        like = self._like["registry"]
        assert isinstance(like, RegistryState)
        return self._tuple("registry", like, state)
