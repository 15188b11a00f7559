"""How much memory does a paper run with the whole graph take?

The loopback exchange in one process, in another the command of the README with the default settings but one:
`mode=paper source=ccxt +experiment=loopback live.keep_rows=10000`, three streams, some 550 quotes and trades a second.
So within two minutes the run has forgotten old rows of the market several times, as one of days does; what it remembers
by default, 200,000 to 400,000 rows, takes some ten minutes to come, and is not in these figures. Resident memory is
read from /proc twice a second, until the run begins to write its results and after.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.live_orders import loopback
from benchmarks.measure import ROOT, Finding, RedError

SECONDS, QUICK_SECONDS = 120.0, 10.0
KEEP_ROWS, QUICK_KEEP_ROWS = 10_000, 1_000
MOST_MIB = 1_024.0


def resident_mib(pid: int) -> float:
    """0 once it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def run(*, quick: bool) -> Finding:
    if not Path("/proc/self/status").exists():
        return Finding([], [("a paper run, resident", "not measured: there is no /proc", "1024 MiB", None)])
    seconds, keep_rows = (QUICK_SECONDS, QUICK_KEEP_ROWS) if quick else (SECONDS, KEEP_ROWS)
    with loopback() as port, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "schwabot.run", "mode=paper", "source=ccxt", "+experiment=loopback",
                   f"live.loopback_port={port}", f"live.seconds={seconds}", f"live.keep_rows={keep_rows}",
                   f"hydra.run.dir={folder}"]  # fmt: skip
        with (Path(folder) / "said").open("w+") as said:
            process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
            began_s, seen = time.monotonic(), []
            while process.poll() is None:
                if mib := resident_mib(process.pid):
                    seen.append((time.monotonic() - began_s, mib))
                time.sleep(0.5)
            said.seek(0)
            if process.returncode:
                raise RedError(f"the run failed: {said.read()[-2000:]}")
        summary = json.loads((Path(folder) / "summary.json").read_text())
    start_s = seen[-1][0] - summary["loop_s"]
    running = [mib for at_s, mib in seen if at_s > start_s]
    half, peak = running[len(running) // 2], max(mib for _, mib in seen)
    return Finding(
        [
            {
                "s": f"{summary['loop_s']:.0f}",
                "events": f"{summary['events']:,}",
                "orders": f"{summary['paper']['orders']:,}",
                "at the first row MiB": f"{running[0]:.0f}",
                "half way MiB": f"{half:.0f}",
                "at the end MiB": f"{running[-1]:.0f}",
                "peak MiB": f"{peak:.0f}",
            }
        ],
        [("a paper run, resident", f"{peak:.0f} MiB", f"{MOST_MIB:.0f} MiB", peak < MOST_MIB)],
        [
            f"With {keep_rows:,} rows more than live.keep_rows={keep_rows}, the market is cut back to the latter.",
            "Arrays for 65,536 rows are there from the start; by default (keep_rows=200000) they grow to 524,288.",
        ],
    )
