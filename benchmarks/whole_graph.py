"""How many events per second does the whole module graph answer on one core?

Four synthetic streams, b = 8, 16 tables, the default settings. Ours: `Graph.advance` on batches of 65,536 events, as
the engine calls it, all columns written. The peer: the vectorised plain-torch reference of the same graph in float64
(as-of alignment by cummax, recurrences as blocked associative scans, no Python loop over events), over the whole run
at once, with one thread and with two. The ticks are made beforehand. Both must say the same before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.market import chunks, market
from benchmarks.measure import Finding, RedError, Took, in_turn, timed, timed_threads
from schwabot.modules.graph import Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.graph.reference import Answer, graph
from schwabot_kernels.registry.hash import hyperplanes

BITS, TABLES = 8, 16
TARGET_EVENTS_PER_S, TARGET_RATIO = 4e6, 6.0


def settings() -> ModulesConfig:
    config = ModulesConfig()
    config.hash_registry.bits, config.hash_registry.tables = BITS, TABLES
    return config


def reference(instruments: tuple[Instrument, ...], batch: TickBatch) -> Answer:
    """The plain-torch chain over the whole batch."""
    ours = Graph(instruments, settings())
    planes = hyperplanes(len(instruments), BITS, TABLES, ours.config.hash_registry.seed)
    with torch.inference_mode():
        return graph(batch, ours.table, ours.params, torch.from_numpy(planes))


def check(instruments: tuple[Instrument, ...], batch: TickBatch) -> str:
    """Raise RedError unless graph and reference agree; says how far they do."""
    ours = Graph(instruments, settings())
    said = ours.advance(batch, ours.initial_state()).signals
    theirs = reference(instruments, batch).columns
    worst = 0.0
    for name in ("ghost", "deviation", "phase"):
        mine, peer = torch.from_numpy(np.array(getattr(said, f"{name}_bp"))), getattr(theirs, name)
        if not torch.equal(mine.isnan(), peer.isnan()):
            raise RedError(f"{name}: NaN in different places")
        worst = max(worst, float((mine - peer).abs().nan_to_num(0.0).max()))
    differ = {
        name: float((torch.from_numpy(np.array(getattr(said, name))) != getattr(theirs, name)).double().mean())
        for name in ("route", "status", "key", "lane")
    }
    if worst > 1e-6 or max(differ.values()) > 1e-3:
        raise RedError(f"graph and reference disagree: {worst:.3g} bp, shares that differ {differ}")
    return (
        f"Checked on the first {len(batch):,} events: ghost, deviation and phase within {worst:.1g} bp, keys equal on "
        f"{1 - differ['key']:.4%}, lanes on {1 - differ['lane']:.4%} of them."
    )


def run(*, quick: bool) -> Finding:
    events = 100_000 if quick else 1_000_000
    repeats = 2 if quick else 3
    instruments, batch = market(events)
    agreed = check(instruments, batch.rows(0, 30_000))
    parts = chunks(batch)

    def compiled() -> Took:
        ours = Graph(instruments, settings())
        state = ours.initial_state()
        return timed(lambda: [ours.advance(part, state) for part in parts])

    def torch_on(threads: int, clock: Callable[[Callable[[], object]], Took]) -> Took:
        torch.set_num_threads(threads)
        return clock(lambda: reference(instruments, batch))

    before = torch.get_num_threads()
    compiled()
    contenders = {
        "Schwabot, compiled, 1 thread": compiled,
        "plain torch, 1 thread": lambda: torch_on(1, timed),
        "plain torch, 2 threads": lambda: torch_on(2, timed_threads),
    }
    took = in_turn(contenders, repeats)
    torch.set_num_threads(before)
    ours, one, two = took.values()
    rows = [
        {
            "contender": name,
            "wall s": f"{t.wall_s:.3f}",
            "CPU s": f"{t.cpu_s:.3f}",
            "M events/s, wall": f"{events / t.wall_s / 1e6:.2f}",
            "M events/s per core": f"{events / t.cpu_s / 1e6:.2f}",
            "times slower, CPU": f"{t.cpu_s / ours.cpu_s:.1f}",
            "times slower, wall": f"{t.wall_s / ours.wall_s:.1f}",
        }
        for name, t in took.items()
    ]
    rate, ratio = events / ours.cpu_s, one.cpu_s / ours.cpu_s
    ratio_two = two.wall_s / ours.wall_s
    return Finding(
        rows,
        [
            ("whole graph per core", f"{rate / 1e6:.2f} M events/s", "4 M events/s", rate >= TARGET_EVENTS_PER_S),
            ("beside plain torch, 1 thread", f"{ratio:.1f}×", "6×", ratio >= TARGET_RATIO),
            ("beside plain torch, 2 threads (wall)", f"{ratio_two:.1f}×", "6×", ratio_two >= TARGET_RATIO),
        ],
        [agreed, f"{events:,} events, median of {repeats} interleaved repeats."],
    )
