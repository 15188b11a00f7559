"""How late is a live feed, and what does it cost, at 5,000 messages a second over 12 streams?

The loopback exchange runs in a process of its own and plays a synthetic market at that rate. The feed is unmodified
ccxt; the reader takes each batch and does nothing with it. Lag is from the receive stamp of a row to the moment that
the reader has it. Every message the exchange says it sent must have become a row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.measure import ROOT, Finding, RedError
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.venues.loopback.urls import ccxt_options

SECONDS, QUICK_SECONDS = 600.0, 10.0
RATE = 5_000.0
LAG_P99_MS, GROWTH, CORES = 50.0, 0.05, 1.0
ASKED_RATE = 1.27 * RATE
"""What the synthetic market has to be asked for to make that many quotes and trades."""
QUOTES = {"binance": "USDT", "binanceusdm": "USDT:USDT", "binancecoinm": "USD:{asset}"}
STREAMS = [f"{venue}:{asset}/{quote.format(asset=asset)}" for venue, quote in QUOTES.items()
           for asset in ("BTC", "ETH", "SOL", "XRP")]  # fmt: skip

SERVE = f"""
import sys, time
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
config = SyntheticConfig(events=int(sys.argv[1]), streams=12, start_ns=time.time_ns(), rate_per_s=[{ASKED_RATE} / 12],
                         contract=["spot"] * 4 + ["linear"] * 4 + ["inverse"] * 4)
feed = SyntheticFeed(config)
names = dict(zip((one.stream for one in feed.instruments), sys.argv[2:]))
with LoopbackExchange(feed, names=names, held=True) as exchange:
    print(exchange.port, flush=True)
    sys.stdin.read()
"""


def state(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.load(urlopen(f"http://127.0.0.1:{port}/loopback/state"))
    return found


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(*, quick: bool) -> Finding:
    seconds = QUICK_SECONDS if quick else SECONDS
    command = [sys.executable, "-c", SERVE, str(int(RATE * seconds)), *STREAMS]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        options = {venue: ccxt_options(venue, port) for venue in QUOTES}
        with CcxtFeed(CcxtConfig(streams=STREAMS), options=options) as feed:
            return measured(feed, port, seconds)
    finally:
        server.stdin.close()
        server.wait()


def measured(feed: CcxtFeed, port: int, seconds: float) -> Finding:
    began_s = cpu_s = spent_s = 0.0
    rows, memory = 0, []
    for ticks in feed.batches():
        now_s = time.perf_counter()
        if not began_s:
            channels = state(port)["channels"].values()
            if sum(one["listeners"] for one in channels) == 2 * len(STREAMS):
                began_s, cpu_s = time.perf_counter(), time.process_time()
                urlopen(Request(f"http://127.0.0.1:{port}/loopback/play", method="POST"))
        elif len(ticks):
            rows += len(ticks)
            spent_s, spent_cpu_s = now_s - began_s, time.process_time() - cpu_s
            if spent_s > (len(memory) + 1) * seconds / 20:
                memory.append(resident_mib())
        elif state(port)["ended"]:
            break
    cpu_s = spent_cpu_s
    sent = sum(one["sent"] for one in state(port)["channels"].values())
    summary = feed.summary()
    lost = sent - rows
    if feed.dropped or lost != sum(summary[stream]["coalesced"] for stream in STREAMS):
        raise RedError(f"{rows} rows of {sent} messages; dropped {feed.dropped}; {summary}")
    growth = memory[-1] / memory[4] - 1.0
    cores, ccxt, own = cpu_s / spent_s, summary["ccxt_s"], summary["own_s"]
    line = {
        "messages/s": f"{rows / spent_s:,.0f}",
        "lag p50 ms": f"{summary['lag_p50_ms']:.2f}",
        "lag p99 ms": f"{summary['lag_p99_ms']:.2f}",
        "loop lag p99 ms": f"{summary['loop_lag_p99_ms']:.2f}",
        "cores": f"{cores:.2f}",
        "us per message": f"{1e6 * cpu_s / rows:.0f}",
        "of it ccxt's handler": f"{ccxt / cpu_s:.0%}",
        "of it ours": f"{own / cpu_s:.0%}",
        "resident MiB": f"{memory[-1]:.0f}",
        "longest queue": str(summary["queue_max"]),
    }
    return Finding(
        [line],
        [
            ("messages a second", f"{rows / spent_s:,.0f}", f"{RATE:,.0f}", rows / spent_s >= 0.98 * RATE),
            ("messages lost", str(lost), "0", lost == 0),
            ("lag, p99", f"{summary['lag_p99_ms']:.1f} ms", f"{LAG_P99_MS:.0f} ms",
             summary["lag_p99_ms"] <= LAG_P99_MS),
            ("memory, growth after the first quarter", f"{growth:.1%}", f"{GROWTH:.0%}", growth <= GROWTH),
            ("cores", f"{cores:.2f}", f"{CORES:.0f}", cores <= CORES),
        ],
        [
            f"{spent_s:.0f} s, {len(STREAMS)} streams; the exchange is another process on the same machine.",
            "The rest of the CPU time is aiohttp, the parsing of JSON and the reader.",
            "Lag does not see what waits in a socket; the loop's lag does, and is that of a busy machine here.",
        ],
    )  # fmt: skip
