"""How much faster is a sweep than hftbacktest and vectorbt, the same threshold strategy on the best bid and ask?

The market of ``sweep``, receive times made distinct. One lot, at most one lot long or short: in beyond the threshold,
out when the signal turns, one order at a time, no fees; signals lie ready in memory for all. hftbacktest 2.4: a
compiled loop that elapses from row to row, its book in an array around the prices, latency of each set as ours.
vectorbt 1.2: ``from_signals`` by numba, a column per set; it has no latency, so it is checked against ours without
any, every quote known when it is made. Fills and cash of every set of a peer must agree with ours before anything is
timed. A peer goes through its sets at one cost per row, so few sets give its rate; ours shares work between the 1,000
sets and skips quiet rows, so the rate of ours that walks through every row stands beside it. Ours keeps equity,
drawdown and moments, which the peers are not asked for. Rates are parameter rows over CPU time, one process each, in
turn, compilation and reading of the file left out; best of the repeats.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, Finding, RedError
from benchmarks.peers.hftbacktest_events import events_of
from benchmarks.sweep import Sweeps, best, every_tenth
from benchmarks.sweep import must_agree as must_be_same
from benchmarks.sweep_market import FEED_DELAY_NS, SCALE, costs, recorded, thresholds
from schwabot_kernels.simulate.records import CASH, FILLS, Market, Rules

PEERS = Path(os.environ.get("SCHWABOT_PEERS", ROOT / ".venv-peers"))
SETS_OF = {"hftbacktest": 3, "vectorbt": 10}
TARGET = 100.0


class Peer:
    """A peer's process; answers with what it found and what that took."""

    def __init__(self, name: str, folder: Path) -> None:
        command = [PEERS / name / "bin" / "python", ROOT / "benchmarks" / "peers" / f"{name}_peer.py", folder]
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._errors = (folder / f"{name}.err").open("w+")
        self._process = subprocess.Popen(
            command, env=env, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._answer()

    def ask(self, first: int, last: int) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(f"{first} {last}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self._errors.seek(0)
        raise RedError(f"the peer ended: {self._errors.read()[-2000:]}")

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def distinct(market: Market) -> Market:
    """No two rows at one time; venue time the feed delay before."""
    ts = market.ts_ns + np.arange(len(market.ts_ns))
    return market._replace(ts_ns=ts, venue_ns=ts - FEED_DELAY_NS)


def write(folder: Path, market: Market, params: Any, rules: Rules, max_orders: int) -> None:
    """What the peers read: the market as rows with the touch known then, and as events; the sets."""
    quotes = np.where(market.leg == 0, market.kind == 0, False)
    touch = np.maximum.accumulate(np.where(quotes, np.arange(len(quotes)), -1))
    touch[touch < 0] = np.flatnonzero(quotes)[0]  # nothing is decided before
    events, bid, ask = events_of(market, 0, 1.0, 1.0), market.bid[touch] * 1.0, market.ask[touch] * 1.0
    np.savez(folder / "market.npz", ts=market.ts_ns, x=market.signals[0, 0], bid=bid, ask=ask, events=events)
    ways = {"entry_ns": rules.entry_ns[:, 0], "response_ns": rules.response_ns[:, 0]}
    np.savez(folder / "sets.npz", enter=params[:, 0], leave=params[:, 1], max_orders=max_orders, **ways)


def must_agree(name: str, ours: Any, answer: dict[str, Any]) -> None:
    counts = ours[0][: len(answer["fills"]), 0]
    if counts[:, FILLS].tolist() != answer["fills"]:
        raise RedError(f"{name}: {answer['fills']} fills, ours {counts[:, FILLS].tolist()}")
    if not np.allclose(counts[:, CASH] / SCALE, answer["cash"], rtol=1e-9, atol=1e-3):
        raise RedError(f"{name}: cash {answer['cash']}, ours {(counts[:, CASH] / SCALE).tolist()}")


def run(*, quick: bool) -> Finding:
    there = [name for name in SETS_OF if (PEERS / name / "bin" / "python").exists()]
    targets: list[tuple[str, str, str, bool | None]] = [
        (f"per core, ours over {name}'s", "`make peers` builds it", f"at least {TARGET:g}", None)
        for name in SETS_OF
        if name not in there
    ]
    if not there:
        return Finding([], targets)
    rows, sets, repeats = (50_000, 100, 1) if quick else (1_000_000, 1_000, 5)
    market, params, sweeps = distinct(recorded(rows)), thresholds(sets), Sweeps()
    params[:, 2:] = 1.0
    rules = costs(sets, fee_bp=(0.0, 0.0))
    at_once = rules._replace(entry_ns=rules.entry_ns * 0, response_ns=rules.response_ns * 0)
    same_time = market._replace(venue_ns=market.ts_ns)
    few_rules, few_params = every_tenth(rules, params)
    ours = {
        "hftbacktest": sweeps.lean(market, rules, params, (0, sets), True),
        "vectorbt": sweeps.lean(same_time, at_once, params, (0, sets), True),
    }
    work: dict[str, tuple[int, Any, Callable[[], object]]] = {
        "skipping": (sets, ours["hftbacktest"], lambda: sweeps.lean(market, rules, params, (0, sets), True)),
        "skipping, no latency": (
            sets,
            ours["vectorbt"],
            lambda: sweeps.lean(same_time, at_once, params, (0, sets), True),
        ),
        "every row": (
            len(few_params),
            [part[::10] for part in ours["hftbacktest"]],
            lambda: sweeps.lean(market, few_rules, few_params, (0, len(few_params)), False),
        ),
    }
    must_be_same(
        sweeps.lean(market, few_rules, few_params, (0, len(few_params)), False),
        work["every row"][1],
        "skipping and walking",
    )
    ran: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write(folder, market, params, rules, 1 + int(ours["vectorbt"][0][: SETS_OF["vectorbt"], 0, FILLS].sum()))
        peers = {}
        for name in there:
            peers[name] = Peer(name, folder)
            stack.callback(peers[name].stop)
            must_agree(name, ours[name], peers[name].ask(0, SETS_OF[name]))
        for _ in range(repeats):
            for name, once in best({name: one[2] for name, one in work.items()}, 1).items():
                ran.setdefault(name, []).append(once)
            for name, peer in peers.items():
                answer = peer.ask(0, SETS_OF[name])
                ran.setdefault(name, []).append((answer["cpu_s"], answer["wall_s"]))
    took = {name: (min(cpu for cpu, _ in runs), min(wall for _, wall in runs)) for name, runs in ran.items()}
    return Finding(*_table(rows, work, ours, took, there, quick, targets))


def _table(
    rows: int, work: dict[str, Any], ours: dict[str, Any], took: dict[str, Any], there: list[str], quick: bool,
    targets: list[tuple[str, str, str, bool | None]],
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str, bool | None]], list[str]]:  # fmt: skip
    counted = {name: (count, counts) for name, (count, counts, _) in work.items()}
    counted |= {name: (SETS_OF[name], [part[: SETS_OF[name]] for part in ours[name]]) for name in there}
    rate = {name: counted[name][0] * rows / took[name][0] for name in counted}
    beside = {"hftbacktest": ("skipping", "every row"), "vectorbt": ("skipping, no latency", "every row")}
    table = []
    for name, (count, counts) in counted.items():
        ratios = [f"{rate[one] / rate[name]:,.0f}" for one in beside[name]] if name in beside else ["", ""]
        table.append(
            {
                "contender": name if name in beside else f"ours, {name}",
                "sets": f"{count:,}",
                "rows": f"{rows:,}",
                "fills per set, median": f"{np.median(counts[0][:, 0, FILLS]):,.0f}",
                "CPU s": f"{took[name][0]:.3f}",
                "wall s": f"{took[name][1]:.3f}",
                "M parameter rows/s per core": f"{rate[name] / 1e6:,.2f}",
                "ours over it": ratios[0],
                "ours over it, every row": ratios[1],
            }
        )
    for name in there:
        measured = rate[beside[name][0]] / rate[name]
        what = f"{measured:,.0f} times at {counted[beside[name][0]][0]:,} sets"
        met = None if quick else measured >= TARGET
        targets.append((f"per core, ours over {name}'s", what, f"at least {TARGET:g}", met))
    load = f"Load average {os.getloadavg()[0]:.1f} at the end; CPU time leaves out waiting, not what neighbours cost."
    return table, targets, [load]
