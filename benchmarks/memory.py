"""How much memory do 50 million events from the Parquet store take?

`mode=convert` streams the synthetic market into a store in a temporary folder; then `mode=replay source=store` runs
over it as a user would, with every table but signals.parquet (off by itself above 5 million events) and TensorBoard.
Resident memory is read from /proc ten times a second. What is above import is the peak minus the resident memory of a
process that has imported everything the run imports and has done nothing. A quarter of the events is run as well:
memory that grows with the number of events shows as a difference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import ROOT, Finding, RedError

TARGET_MIB = 1024.0
IMPORTED = """
import sys
sys.argv = ["schwabot"]
import schwabot.run, schwabot.engine, schwabot.pipeline, schwabot.ticks.store, schwabot.training.skill
import schwabot.training.lag_curve, schwabot.sinks.console, schwabot.sinks.parquet, schwabot.sinks.summary
import schwabot.sinks.tensorboard, pyarrow.parquet, matplotlib.figure, torch.utils.tensorboard
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def imported_mib() -> float:
    """Resident memory of a process that has only imported."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def command(*settings: str) -> list[str]:
    return [sys.executable, "-m", "schwabot.run", *settings, "sinks.progress=false", "sinks.console=false"]


def peak_mib(arguments: list[str]) -> tuple[float, list[float]]:
    """Run to the end; returns the peak and the course of resident memory."""
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    status = Path(f"/proc/{process.pid}/status")
    peak, course = 0.0, []
    while process.poll() is None:
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            now = int(fields["VmRSS"].split()[0]) / 1024
            peak = max(peak, int(fields["VmHWM"].split()[0]) / 1024)
            course.append(now)
        except (OSError, KeyError, ValueError):
            break  # it has just ended
        time.sleep(0.1)
    assert process.stderr is not None
    said = process.stderr.read()
    if process.wait():
        raise RedError(f"the run failed: {said[-2000:]}")
    return peak, course


def run(*, quick: bool) -> Finding:
    if not Path("/proc/self/status").exists():
        return Finding([], [("memory above import", "not measured: no /proc here", "1 GiB", None)])
    events = 2_000_000 if quick else 50_000_000
    # Kernels that have to be compiled first would cost memory too.
    with tempfile.TemporaryDirectory() as folder:
        peak_mib(command("source.events=10000", f"hydra.run.dir={folder}/warm"))
    base = imported_mib()
    rows, above = [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for label, count in (("a quarter", events // 4), ("all", events)):
            store = folder / label.replace(" ", "_")
            began = time.perf_counter()
            subprocess.run(
                command("mode=convert", f"source.events={count}", f"convert.out={store}", f"hydra.run.dir={folder}/c"),
                cwd=ROOT,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            built_s = time.perf_counter() - began
            size = sum(path.stat().st_size for path in store.rglob("*.parquet"))
            out = folder / f"run_{count}"
            peak, course = peak_mib(command("source=store", f"source.path={store}", f"hydra.run.dir={out}"))
            summary = json.loads((out / "summary.json").read_text())
            if summary["events"] != count:
                raise RedError(f"{summary['events']:,} of {count:,} events came back")
            above[label] = peak - base
            half = course[len(course) // 2] if course else float("nan")
            rows.append(
                {
                    "events": f"{count:,}",
                    "store MiB": f"{size / 2**20:.0f}",
                    "bytes a row": f"{size / count:.1f}",
                    "built in s": f"{built_s:.0f}",
                    "replayed in s": f"{summary['wall_s']:.0f}",
                    "imported MiB": f"{base:.0f}",
                    "half way MiB": f"{half:.0f}",
                    "peak MiB": f"{peak:.0f}",
                    "above import MiB": f"{peak - base:.0f}",
                }
            )
    grown = above["all"] - above["a quarter"]
    met = None if quick else above["all"] <= TARGET_MIB
    return Finding(
        rows,
        [(f"{events / 1e6:g} M events, memory above import", f"{above['all']:.0f} MiB", "1024 MiB", met)],
        [f"Four times the events take {grown:+.0f} MiB."],
    )
