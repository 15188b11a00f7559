"""Run benchmarks by name, all without one; ends with code 1 when contenders disagree. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from benchmarks import report
from benchmarks.measure import Finding, RedError, machine

NAMES = (
    "whole_graph", "core_stages", "one_event", "memory", "captures", "lead_lag", "sweep", "sweep_peers", "live_feed",
    "tick_to_intent", "live_orders", "restart", "paper_memory", "server_load",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; default all")
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written to docs/")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    findings: dict[str, Finding] = {}
    red = []
    for name in given.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        here = machine()
        sys.stderr.write(f"{name} (load {os.getloadavg()[0]:.1f}) ...\n")
        try:
            findings[name] = module.run(quick=given.quick)
        except RedError as error:
            red.append(f"{name}: {error}")
            continue
        if not given.quick:
            report.keep(name, module.__doc__, findings[name], here, NAMES)
    report.show(findings, machine())
    for line in red:
        sys.stderr.write(f"red, nothing timed: {line}\n")
    return 1 if red else 0


if __name__ == "__main__":
    raise SystemExit(main())
