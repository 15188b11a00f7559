"""What do 200 requests a second to the dashboard's server cost a paper run, and how soon are they answered?

Four processes on one machine: the loopback exchange, which plays a synthetic market; a paper run on it with the default
settings (`mode=paper source=ccxt +experiment=loopback`); its server; and who asks. One long run is asked in turns: some
seconds nobody asks, some seconds 200 requests a second, for every address of the API that needs no parameter and for
/metrics, one after the other, with one live stream open; the order of the two changes from pair to pair. A pair lies
within seconds, so that what else the machine does changes little between its halves; the ratio is the median over the
pairs, with a 95 % interval of it by order statistics. Beside it stand runs with a server that nobody asks and without a
server, in turns of a whole run each.

A request's time counts from when it was due, so one that waits for another is late. Every answer must be 200. Who asks
stands for other machines: on Linux it gets a processor only where nobody else wants it (SCHED_IDLE), which makes
answers later, not sooner.

The run's own figure is from the receipt of a row until the graph takes it (`feed.lag_p99_ms` of a summary, here of
every row, with its time), which waits for the rows before it and for the records that the server is told of. The first
half second of each turn is left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import comb
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from benchmarks.measure import ROOT, Finding, RedError

PAIRS, QUICK_PAIRS = 40, 2
TURN_S = 4.0
CUT_S = 0.5
REPEATS, SECONDS, QUICK_SECONDS = 5, 20.0, 8.0
REQUESTS_PER_S = 200.0
MESSAGES_PER_S = 2_500.0
P99_MS, SLOWER = 100.0, 0.10
WAYS = ("without a server", "server, nobody asks")
TURNS = ("server, nobody asks, same run", "server, 200 requests/s")
STREAMS = ("binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC")

EXCHANGE = """
import sys, time
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
rate, names = float(sys.argv[1]) / 3, sys.argv[2:]
feed = SyntheticFeed(SyntheticConfig(events=10**12, streams=3, start_ns=time.time_ns(), rate_per_s=[rate],
                                     contract=["spot", "linear", "inverse"]))
with LoopbackExchange(feed, names=dict(zip((one.stream for one in feed.instruments), names))) as exchange:
    print(exchange.port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def exchange() -> Iterator[tuple[int, int]]:
    """A loopback exchange in a process of its own: its port and process."""
    command = [sys.executable, "-c", EXCHANGE, str(MESSAGES_PER_S), *STREAMS]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        process.wait()


def paper_run(*, served: bool, port: int, seconds: float, pairs: int = 0) -> dict[str, Any]:
    """One paper run; what it and the requests came to."""
    import psutil

    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "said").open("w+") as said:
        command = [sys.executable, "-m", "benchmarks.server_load", "run", f"{folder}/lags.npy",
                   "mode=paper", "source=ccxt", "+experiment=loopback",
                   f"live.loopback_port={port}", f"live.seconds={seconds}", f"hydra.run.dir={folder}/run"]  # fmt: skip
        if served:
            command += ["server.enabled=true", "server.port=0", "server.rate_per_s=10000", "server.rate_burst=10000",
                        f"server.runs={folder}", f"server.tokens={folder}/tokens.json"]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        found: dict[str, Any] = {}
        try:
            if served:
                url = begun(Path(said.name), process)
                [server] = psutil.Process(process.pid).children()
                before_s, begun_s = sum(server.cpu_times()[:2]), time.monotonic()
                if pairs:
                    asked = [sys.executable, "-m", "benchmarks.server_load", "ask", url, str(pairs)]
                    done = subprocess.run(asked, cwd=ROOT, stdout=subprocess.PIPE, check=True)
                    found = json.loads(done.stdout)
                else:
                    time.sleep(max(0.0, seconds - 3.0))
                spent_s = time.monotonic() - begun_s
                found["server_cores"] = (sum(server.cpu_times()[:2]) - before_s) / spent_s
                found["server_mib"] = server.memory_info().rss / 2**20
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise RedError(f"the run failed: {Path(said.name).read_text()[-2000:]}")
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
        lags = np.load(f"{folder}/lags.npy")
    return found | {
        "lags": lags[:, lags[0] > lags[0, 0] + CUT_S], "loop": summary["loop_s"], "rows": summary["feed"]["messages"],
        "cpu": usage.ru_utime + usage.ru_stime,
    }  # fmt: skip


def timed_run(file: str, arguments: list[str]) -> None:
    """A run that writes when each row was taken and how long it had waited, both in s."""
    from schwabot.run import main
    from schwabot.ticks.feed_meter import LagHistogram

    seen = array("d")
    count = LagHistogram.add

    def add(self: LagHistogram, lags_s: Iterable[float]) -> None:
        now_s, lags = time.monotonic(), list(lags_s)
        for lag_s in lags:
            seen.extend((now_s, lag_s))
        count(self, lags)

    LagHistogram.add = add  # type: ignore[method-assign]
    sys.argv = ["schwabot.run", *arguments]
    try:
        main()
    finally:
        np.save(file, np.array(seen).reshape(-1, 2).T)


def begun(said: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the server is, once the run has answered rows."""
    url = ""
    for _ in range(1_200):
        if process.poll() is not None:
            raise RedError(f"the run failed: {said.read_text()[-2000:]}")
        if not url and "dashboard at " in (text := said.read_text()):
            url = text.partition("dashboard at ")[2].split()[0]
        if url and json.load(urlopen(f"{url}/api/v1/status"))["events"]:
            return url
        time.sleep(0.1)
    raise RedError(f"the run has not begun within two minutes: {said.read_text()[-2000:]}")


async def ask(url: str, pairs: int) -> dict[str, Any]:
    """Ask so often, whatever the answers take, in every other turn."""
    import aiohttp

    took: dict[str, list[float]] = {}
    statuses: Counter[int] = Counter()
    turns: list[tuple[int, float, float]] = []
    looked = 0
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connections) as session:
        async with session.get("/openapi.json") as answer:
            described = await answer.json()
        paths = [
            path for path, methods in described["paths"].items()
            if "get" in methods and not path.endswith("/events")
            and not any(given["required"] for given in methods["get"].get("parameters", ()))
        ]  # fmt: skip

        async def one(path: str, due_s: float) -> None:
            async with session.get(path) as answer:
                await answer.read()
            statuses[answer.status] += 1
            took.setdefault(path, []).append(time.monotonic() - due_s)

        async def look() -> None:
            nonlocal looked
            async with session.get("/api/v1/events", timeout=aiohttp.ClientTimeout()) as stream:
                async for part in stream.content.iter_any():
                    looked += len(part)

        for turn in [way for pair in range(pairs) for way in ((0, 1), (1, 0))[pair % 2]]:
            begun_s, waiting = time.monotonic(), set()
            if turn:
                looking = asyncio.create_task(look())
                for number in range(int(REQUESTS_PER_S * TURN_S)):
                    due_s = begun_s + number / REQUESTS_PER_S
                    if (early_s := due_s - time.monotonic()) > 0:
                        await asyncio.sleep(early_s)
                    waiting.add(task := asyncio.create_task(one(paths[number % len(paths)], due_s)))
                    task.add_done_callback(waiting.discard)
                await asyncio.gather(*waiting)
                looking.cancel()
            else:
                await asyncio.sleep(TURN_S)
            turns.append((turn, begun_s, time.monotonic()))
    return {
        "statuses": dict(statuses), "looked": looked, "turns": turns,
        "per_s": sum(map(len, took.values())) / sum(end_s - begun_s for turn, begun_s, end_s in turns if turn),
        "took_ms": {path: [1e3 * time_s for time_s in times] for path, times in took.items()},
    }  # fmt: skip


def by_turn(found: Mapping[str, Any]) -> tuple[list[list[float]], list[list[Any]]]:
    """p50 and p99 of the run's lags in each pair, ms: [which][pair]; and all lags of either kind of turn."""
    times_s, lags_s = found["lags"]
    p99: list[list[float]] = [[], []]
    pooled: list[list[Any]] = [[], []]
    for turn, begun_s, end_s in found["turns"]:
        own = 1e3 * lags_s[(times_s > begun_s + CUT_S) & (times_s < end_s)]
        p99[turn].append(float(np.percentile(own, 99)))
        pooled[turn].append(own)
    return p99, pooled


def run(*, quick: bool) -> Finding:
    pairs, repeats, seconds = (QUICK_PAIRS, 1, QUICK_SECONDS) if quick else (PAIRS, REPEATS, SECONDS)
    with exchange() as (port, _pid):
        asked = paper_run(served=True, port=port, seconds=2 * pairs * TURN_S + 6.0, pairs=pairs)
    if set(asked["statuses"]) != {"200"} or not asked["looked"]:
        raise RedError(f"answers by status: {asked['statuses']}; bytes of the live stream: {asked['looked']}")
    p99, pooled = by_turn(asked)
    alone: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for repeat in range(repeats):
        for way in WAYS if repeat % 2 == 0 else WAYS[::-1]:
            with exchange() as (port, _pid):
                alone[way].append(paper_run(served=way == WAYS[1], port=port, seconds=seconds))
    whole = {way: [float(1e3 * np.percentile(one["lags"][1], 99)) for one in runs] for way, runs in alone.items()}
    lines = []
    for way, runs in alone.items():
        lags = [1e3 * one["lags"][1] for one in runs]
        lines.append(line(way, runs[0]["rows"] / runs[0]["loop"], lags, whole[way])
                     | ({"server, MiB": f"{runs[0]['server_mib']:.0f}"} if way == WAYS[1] else {}))  # fmt: skip
    for turn, way in enumerate(TURNS):
        lines.append(line(way, asked["rows"] / asked["loop"], pooled[turn], p99[turn]))
    every = np.concatenate([np.array(times) for times in asked["took_ms"].values()])
    request = [float(np.percentile(every, q)) for q in (50, 99, 100)]
    lines[-1] |= {
        "server, MiB": f"{asked['server_mib']:.0f}", "requests/s": f"{asked['per_s']:.0f}",
        "request p50 ms": f"{request[0]:.1f}", "request p99 ms": f"{request[1]:.1f}", "most ms": f"{request[2]:.0f}",
    }  # fmt: skip
    slowest = sorted(asked["took_ms"].items(), key=lambda item: -float(np.percentile(item[1], 99)))[:3]
    rows = [
        ("200 requests/s beside a paper run, p99", f"{request[1]:.1f} ms", f"{P99_MS:.0f} ms", request[1] <= P99_MS)
    ]
    for name, ratios in (
        ("the run's own p99: a server that nobody asks / without", np.divide(whole[WAYS[1]], whole[WAYS[0]])),
        ("the run's own p99: 200 requests/s / nobody asks", np.divide(p99[1], p99[0])),
    ):
        low, high = interval(ratios)
        middle = float(np.median(ratios)) - 1.0
        said = f"{middle:+.0%} ({low - 1.0:+.0%} to {high - 1.0:+.0%})"
        rows.append((name, said, f"at most +{SLOWER:.0%}", middle <= SLOWER))
    return Finding(
        lines,
        rows,
        [
            (
                f"{pairs} pairs of turns of {TURN_S:.0f} s in one run, {repeats} pairs of runs of {seconds:.0f} s;"
                f" {os.cpu_count()} logical cores for all four processes. Server over all turns:"
                f" {asked['server_cores']:.2f} cores."
            ),
            "Slowest addresses, p99: "
            + ", ".join(f"{path} {np.percentile(times, 99):.1f} ms" for path, times in slowest) + ".",
            "All clients together: 200 requests a second, opened when due, not when the one before was answered.",
        ],
    )  # fmt: skip


def line(way: str, rows_per_s: float, lags_ms: list[Any], p99: list[float]) -> dict[str, str]:
    """Of the table."""
    pooled = np.concatenate(lags_ms)
    blank = dict.fromkeys(("server, MiB", "requests/s", "request p50 ms", "request p99 ms", "most ms"), "")
    return {
        "a paper run": way,
        "messages/s": f"{rows_per_s:,.0f}",
        "row to graph p50 ms": f"{np.percentile(pooled, 50):.2f}",
        "p99 ms, all rows": f"{np.percentile(pooled, 99):.2f}",
        "p99 ms, median turn": f"{np.median(p99):.2f}",
        "least to most": f"{min(p99):.2f} to {max(p99):.2f}",
    } | blank


def interval(values: Any) -> tuple[float, float]:
    """A 95 % interval of the median, from order statistics: the whole range where there are fewer than six."""
    ordered, n = sorted(values), len(values)
    tails = [sum(comb(n, k) for k in range(at + 1)) / 2**n for at in range(n)]
    rank = max(1, sum(tail <= 0.025 for tail in tails))
    return float(ordered[rank - 1]), float(ordered[n - rank])


if __name__ == "__main__":
    if sys.argv[1] == "run":
        timed_run(sys.argv[2], sys.argv[3:])
    else:
        os.nice(10)
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        json.dump(asyncio.run(ask(sys.argv[2], int(sys.argv[3]))), sys.stdout)
