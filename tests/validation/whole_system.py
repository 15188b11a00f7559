"""Invariants and known truth in quick runs of the whole system."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from schwabot.records.market import Ticks
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.graph.reference import graph
from tests.invariants.making import Said, assert_same, concat, pieces, rows, run
from tests.kernels.making import run_graph, settings, synthetic
from tests.validation.claim import Line, holds, near

INVARIANTS, TRUTH, COMMAND = "invariants", "synthetic truth", "command"
ROOT = Path(__file__).resolve().parents[2]
SIGNALS = [
    "ts_recv_ns", "ts_event_ns", "stream", "kind", "ghost_bp", "deviation_bp", "phase_bp", "drift", "key", "entropy",
    "echo_bp", "expected_lag_bp", "penalty", "avoid_reentry", "snr", "bits", "voltage", "lane", "pays_fees", "size",
    "style",
]  # fmt: skip


def differs(one: Said, two: Said, *, beginning: bool = False) -> str:
    """What differs bit for bit between two runs; with ``beginning`` only the rows of the first are compared."""
    if beginning:
        two = replace(two, columns={name: values[: len(one.columns[name])] for name, values in two.columns.items()})
        for name, values in one.columns.items():
            if not np.array_equal(values, two.columns[name], equal_nan=values.dtype.kind == "f"):
                return name
        return "nothing"
    try:
        assert_same(one, two)
    except AssertionError as error:
        return str(error).splitlines()[0]
    return "nothing"


def invariants() -> Iterator[Line]:
    config = settings(bits=8, tables=2, warmup_events=500)
    ticks = concat(*SyntheticFeed(SyntheticConfig(events=6_000)).batches())
    whole = run([ticks], config)
    for claim, edges in (("batches of 37 rows", range(0, len(ticks), 37)), ("one row a call", range(1_500))):
        found = differs(whole, run(pieces(ticks, edges), config))
        yield holds(INVARIANTS, f"{claim} change", "nothing", found, found == "nothing")
    half = len(ticks) // 2
    before = run([rows(ticks, np.s_[:half])], config)
    found = differs(before, whole, beginning=True)
    yield holds(INVARIANTS, "cutting the second half changes in the first", "nothing", found, found == "nothing")
    other = run([scrambled(ticks, half)], config)
    found = differs(before, other, beginning=True)
    yield holds(INVARIANTS, "other prices in the second half change in the first", "nothing", found, found == "nothing")
    tripled = replace(
        ticks,
        instruments=tuple(
            replace(i, tick_size=3 * i.tick_size, contract_value=i.contract_value * (3.0 if i.inverse else 1.0))
            for i in ticks.instruments
        ),
    )
    thrice = run([tripled], config)
    apart = float(np.nanmax(np.abs(thrice.columns["deviation_bp"] - whole.columns["deviation_bp"])))
    yield near(INVARIANTS, "all prices times 3: deviations move by", 0.0, apart, 1e-9, " bp")
    scaled = thrice.reference_price / whole.reference_price
    yield near(INVARIANTS, "and the reference price times", 3.0, scaled, 1e-12)

    compiled = run_graph(synthetic(6_000), settings(warmup_events=500))
    plain = graph(compiled.batch, compiled.graph.table, compiled.graph.params, compiled.planes).columns
    for name in ("ghost", "deviation", "phase"):
        worst = float((getattr(plain, name) - getattr(compiled, name)).abs().nan_to_num(0.0).max())
        yield near(INVARIANTS, f"compiled - plain torch, {name}", 0.0, worst, 1e-8, " bp")
    for name in ("key", "lane"):
        share = float((getattr(plain, name) != getattr(compiled, name)).double().mean())
        yield holds(
            INVARIANTS,
            f"compiled and plain torch differ in {name} at",
            "<= 1e-3 of events",
            f"{share:.1e}",
            share <= 1e-3,
        )


def scrambled(ticks: Ticks, since: int) -> Ticks:
    """Other prices and sizes from a row on."""
    bid, ask, lots = ticks.bid_ticks.copy(), ticks.ask_ticks.copy(), ticks.bid_lots.copy()
    bid[since:] += 50
    ask[since:] += 70
    lots[since:] *= 3
    return replace(ticks, bid_ticks=bid, ask_ticks=ask, bid_lots=lots)


def synthetic_truth() -> Iterator[Line]:
    events = 150_000
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "schwabot.run", f"source.events={events}", f"hydra.run.dir={folder}"]
        done = subprocess.run(
            [*command, "sinks.progress=false", "sinks.tensorboard=false"], cwd=ROOT, capture_output=True, text=True
        )
        yield holds(
            COMMAND, "synthetic market of 150,000 events, exit code", "0", done.returncode, done.returncode == 0
        )
        if done.returncode:
            return
        summary = json.loads(Path(folder, "summary.json").read_text())
        columns = pq.read_schema(Path(folder, "signals.parquet")).names
        in_rows = pq.read_metadata(Path(folder, "signals.parquet")).num_rows
    yield holds(
        COMMAND, "events in, events in summary.json", str(events), summary["events"], summary["events"] == events
    )
    yield holds(COMMAND, "rows of signals.parquet", str(events), in_rows, in_rows == events)
    missing = sorted(set(SIGNALS) - set(columns))
    yield holds(COMMAND, "columns missing from signals.parquet", "none", missing or "none", not missing)
    ahead = [name for name in columns if name not in SIGNALS and not name.startswith("realised_")]
    yield holds(COMMAND, "columns that are neither named nor realised_*", "none", ahead or "none", not ahead)
    truth = summary["truth"]
    ghost, best, plain = (truth[f"{name}_rmse_bp"] for name in ("ghost", "best_single", "plain_mean"))
    yield holds(
        TRUTH, "error of the ghost against the best single mid", f"< {best:.3f} bp", f"{ghost:.3f} bp", ghost < best
    )
    yield holds(
        TRUTH, "error of the ghost against the mean of mids", f"< {plain:.3f} bp", f"{ghost:.3f} bp", ghost < plain
    )
    worst = max(truth["basis_error_bp"].values())
    yield holds(TRUTH, "largest error of a basis", "<= 0.5 bp", f"{worst:.3f} bp", worst <= 0.5)
    for what, limit, unit in (("offset_ms", 1.0, "ms"), ("drift_ppm", 1.0, "ppm")):
        errors = [abs(one[what]) for one in truth["clock_error"].values() if one[what] is not None]
        yield holds(
            TRUTH,
            f"largest error of a clock's {what}",
            f"<= {limit:g} {unit}",
            f"{max(errors):.3f} {unit}",
            max(errors) <= limit,
        )
    placebo = max(abs(horizons["100"]["placebo"]) for horizons in summary["skill"].values())
    yield holds(TRUTH, "R² of a forecast 7 s old, 100 ms", "|R²| <= 0.02", f"{placebo:.4f}", placebo <= 0.02)
    locked = summary["arbitrage"]["locked"]
    yield holds(TRUTH, "locked arbitrage while fees exceed every error", "0", locked, locked == 0)


CLAIMS = (invariants, synthetic_truth)
