"""What do 200 requests a second to the dashboard's server cost a paper run, and how soon are they answered?

Four processes on one machine: the loopback exchange, which plays a synthetic market; a paper run on it with the default
settings (`mode=paper source=ccxt +experiment=loopback`); its server; and who asks. Three ways in turn, repeated so that
noise is seen: without a server, with a server that nobody asks, and with one that is asked 200 times a second, in turn
for every address of its API that takes no parameter and for /metrics, with one live stream open beside it. A request's
time counts from when it was due, so one that waits for another is late. Every answer must be 200.

The run's own figure is `feed.lag_p99_ms` of its summary: from the receipt of a row until the graph takes it, which
waits for the rows before it and for the records that the server is told of. CPU time is that of each process over its
whole life, start and compiling included, but for the server's: that is over the time of the load.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from benchmarks.measure import ROOT, Finding, RedError

SECONDS, QUICK_SECONDS = 60.0, 12.0
REPEATS = 3
REQUESTS_PER_S = 200.0
MESSAGES_PER_S = 2_500.0
P99_MS, SLOWER = 100.0, 0.10
WAYS = ("without a server", "server, nobody asks", "server, 200 requests/s")
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


def paper_run(way: str, port: int, seconds: float) -> dict[str, Any]:
    """One paper run; what it and the requests came to."""
    import psutil

    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "said").open("w+") as said:
        command = [sys.executable, "-m", "schwabot.run", "mode=paper", "source=ccxt", "+experiment=loopback",
                   f"live.loopback_port={port}", f"live.seconds={seconds}", f"hydra.run.dir={folder}/run"]  # fmt: skip
        if way != WAYS[0]:
            command += ["server.enabled=true", "server.port=0", "server.rate_per_s=10000", "server.rate_burst=10000",
                        f"server.runs={folder}", f"server.tokens={folder}/tokens.json"]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        found: dict[str, Any] = {}
        try:
            if way != WAYS[0]:
                url = begun(Path(said.name), process)
                [server] = psutil.Process(process.pid).children()
                before_s, begun_s = sum(server.cpu_times()[:2]), time.monotonic()
                if way == WAYS[2]:
                    asked = [sys.executable, "-m", "benchmarks.server_load", url, str(seconds - 4.0)]
                    done = subprocess.run(asked, cwd=ROOT, stdout=subprocess.PIPE, check=True)
                    found = json.loads(done.stdout)
                else:
                    time.sleep(seconds - 4.0)
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
    return found | {
        "p50": summary["feed"]["lag_p50_ms"], "p99": summary["feed"]["lag_p99_ms"], "loop": summary["loop_s"],
        "rows": summary["feed"]["messages"], "cpu": usage.ru_utime + usage.ru_stime,
    }  # fmt: skip


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


async def ask(url: str, seconds: float) -> dict[str, Any]:
    """Ask so often, whatever the answers take."""
    import aiohttp

    took: dict[str, list[float]] = {}
    statuses: Counter[int] = Counter()
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connections) as session:
        async with session.get("/openapi.json") as answer:
            described = await answer.json()
        paths = [
            path for path, methods in described["paths"].items()
            if "get" in methods and "{" not in path and not path.endswith("/events")
        ]  # fmt: skip

        async def one(path: str, due_s: float) -> None:
            async with session.get(path) as answer:
                await answer.read()
            statuses[answer.status] += 1
            took.setdefault(path, []).append(time.perf_counter() - due_s)

        async def look() -> None:
            async with session.get("/api/v1/events", timeout=aiohttp.ClientTimeout()) as stream:
                async for _ in stream.content.iter_any():
                    pass

        looking = asyncio.create_task(look())
        begun_s, waiting = time.perf_counter(), set()
        for number in range(int(REQUESTS_PER_S * seconds)):
            due_s = begun_s + number / REQUESTS_PER_S
            if (early_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            waiting.add(task := asyncio.create_task(one(paths[number % len(paths)], due_s)))
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
        spent_s = time.perf_counter() - begun_s
        is_open = not looking.done()
        looking.cancel()
    every = np.concatenate([np.array(times) for times in took.values()])
    return {
        "requests": len(every), "per_s": len(every) / spent_s, "statuses": dict(statuses), "stream_open": is_open,
        "request_p50": 1e3 * float(np.percentile(every, 50)), "request_p99": 1e3 * float(np.percentile(every, 99)),
        "request_most": 1e3 * float(every.max()),
        "by_path": {path: 1e3 * float(np.percentile(times, 99)) for path, times in took.items()},
    }  # fmt: skip


def run(*, quick: bool) -> Finding:
    seconds, repeats = (QUICK_SECONDS, 1) if quick else (SECONDS, REPEATS)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, runs in found.items():
            with exchange() as (port, _pid):
                runs.append(paper_run(way, port, seconds))
            sys.stderr.write(f"  {way}: {runs[-1]}\n")
    asked = found[WAYS[2]]
    for one in asked:
        if set(one["statuses"]) != {"200"} or not one["stream_open"]:
            raise RedError(f"answers by status: {one['statuses']}; the live stream was open: {one['stream_open']}")

    def middle(way: str, name: str) -> float:
        return statistics.median(one[name] for one in found[way])

    lines = []
    for way, runs in found.items():
        line = {
            "a paper run": way,
            "messages/s": f"{statistics.median(one['rows'] / one['loop'] for one in runs):,.0f}",
            "row to graph p50 ms": f"{middle(way, 'p50'):.2f}",
            "p99 ms, median": f"{middle(way, 'p99'):.2f}",
            "p99 ms, each": ", ".join(f"{one['p99']:.2f}" for one in runs),
            "CPU s of the run": f"{middle(way, 'cpu'):.1f}",
            "server, cores": "", "server, MiB": "", "requests/s": "", "request p50 ms": "", "p99 ms": "", "most ms": "",
        }  # fmt: skip
        if way != WAYS[0]:
            line |= {"server, cores": f"{middle(way, 'server_cores'):.2f}",
                     "server, MiB": f"{middle(way, 'server_mib'):.0f}"}  # fmt: skip
        if way == WAYS[2]:
            line |= {
                "requests/s": f"{middle(way, 'per_s'):.0f}",
                "request p50 ms": f"{middle(way, 'request_p50'):.1f}",
                "p99 ms": f"{middle(way, 'request_p99'):.1f}",
                "most ms": f"{middle(way, 'request_most'):.0f}",
            }
        lines.append(line)
    alone, request = middle(WAYS[0], "p99"), middle(WAYS[2], "request_p99")
    slower = {way: middle(way, "p99") / alone - 1.0 for way in WAYS[1:]}
    slowest = sorted(asked[-1]["by_path"].items(), key=lambda item: -item[1])[:3]
    return Finding(
        lines,
        [
            ("200 requests/s beside a paper run, p99", f"{request:.1f} ms", f"{P99_MS:.0f} ms", request <= P99_MS),
            *((f"the run's own p99 with: {way}", f"{slower[way]:+.0%}", f"at most +{SLOWER:.0%}",
               slower[way] <= SLOWER) for way in WAYS[1:]),
        ],
        [
            f"{seconds:.0f} s each, {repeats} times in turn; {os.cpu_count()} logical cores for all four processes.",
            f"Slowest addresses, p99: {', '.join(f'{path} {ms:.1f} ms' for path, ms in slowest)}.",
            "All clients together: 200 requests a second, opened when due, not when the one before was answered.",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    json.dump(asyncio.run(ask(sys.argv[1], float(sys.argv[2]))), sys.stdout)
