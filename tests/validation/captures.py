"""What is known about the recorded BTC captures, reproduced by the main command. N rows, V streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.merge import concat
from tests.validation.claim import Line, holds, near

PART = "captures"
ROOT = Path(__file__).resolve().parents[2]
TICKS = ROOT.parent / "shared" / "ticks"
SPOT, USDM, COINM = "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"
KNOWN = (Instrument(SPOT, 0.01, 1e-5), Instrument(USDM, 0.1, 0.001), Instrument(COINM, 0.1, 1.0, 100.0, True))


def available() -> bool:
    return len(list(TICKS.glob("binance/*/btc*.gz"))) == 3


@cache
def summary() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "schwabot.run", "source=capture", f"source.glob={TICKS}/binance/*/btc*.gz"]
        quiet = [f"hydra.run.dir={folder}", "sinks.tensorboard=false", "sinks.progress=false"]
        subprocess.run([*command, *quiet], cwd=ROOT, check=True, capture_output=True)
        read: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
        return read


def facts() -> Iterator[Line]:
    """The facts of the data and of the ghost, or one line that says why they are not checked."""
    if not available():
        ok = False if os.environ.get("SCHWABOT_REQUIRE_CAPTURES") == "1" else None
        found = "captures not available: no btc*.gz under ../shared/ticks"
        yield Line(PART, "facts of the BTC captures (counts, clocks, bases, book, skill)", "reproduced", found, ok)
        return
    yield from of_summary(summary())
    corr = microprice_corr()
    yield near(PART, "corr of cm's own microprice with its next 100 ms", 0.26, corr, 0.02)
    yield book_top()


def of_summary(said: dict[str, Any]) -> Iterator[Line]:
    """Facts that summary.json shows."""
    for name, expected in (("quotes", 113_265), ("trades", 33_356)):
        yield holds(PART, f"{name} events", f"{expected:,}", f"{said[name]:,}", said[name] == expected)
    streams = said["streams"]
    for stream, median in ((SPOT, -1272.0), (USDM, -1270.1), (COINM, -1269.2)):
        one = streams[stream]
        found = one["feed_delay_median_ms"]
        yield near(PART, f"{stream}: median receive - E of depth", median, found, 0.1, " ms")
        below = found - one["clock_offset_ms"]
        yield holds(
            PART, f"{stream}: lower envelope below the median", "2 to 4 ms", f"{below:.2f} ms", 2.0 <= below <= 4.0
        )
        yield near(PART, f"{stream}: drift of the clock", -4.9, one["clock_drift_ppm"], 1.0, " ppm")
    for stream, basis in ((USDM, -3.7), (COINM, -2.7)):
        yield near(PART, f"{stream}: mean basis to spot", basis, streams[stream]["basis_bp"], 0.1, " bp")
    cell = said["skill"][COINM]["100"]
    yield holds(
        PART,
        "corr of the ghost's deviation with cm's next 100 ms",
        ">= 0.45",
        f"{cell['corr']:.3f}",
        cell["corr"] >= 0.45,
    )
    yield holds(
        PART,
        "R² of it out of sample, 7 s stale",
        "|R²| <= 0.02",
        f"{cell['placebo']:.4f}",
        abs(cell["placebo"]) <= 0.02,
    )
    locked = said["arbitrage"]["locked"]
    yield holds(PART, "locked arbitrage at taker fees", "0", locked, locked == 0)


def microprice_corr() -> float:
    """Over all quotes once every stream is there: cm's microprice offset against its log mid 100 ms later."""
    feed = CaptureFeed(sorted(TICKS.glob("binance/*/btc*.gz")), {i.stream: i for i in KNOWN})
    ticks = concat(list(feed.batches()))
    quotes = ticks.kind == Kind.QUOTE
    ts_ns, stream = ticks.ts_recv_ns[quotes], ticks.stream[quotes]
    v = [i.stream for i in feed.instruments].index(COINM)
    bid, ask, buy, sell = (
        getattr(ticks, name)[quotes].astype(np.float64) for name in ("bid_ticks", "ask_ticks", "bid_lots", "ask_lots")
    )
    mid = 0.5 * (bid + ask)
    own = np.flatnonzero(stream == v)
    start = max(int(np.flatnonzero(stream == u)[0]) for u in range(len(feed.instruments)))
    at = own[np.searchsorted(own, np.arange(start, len(ts_ns)), side="right") - 1]
    now_ns = ts_ns[start:]
    late = own[np.searchsorted(ts_ns[own], now_ns + 100_000_000, side="right") - 1]
    inside = now_ns + 100_000_000 <= ticks.ts_recv_ns[-1]
    micro = 0.5 * (ask - bid) * (buy - sell) / (buy + sell) / mid
    move = np.log(mid[late] / mid[at])
    return float(np.corrcoef(micro[at][inside], move[inside])[0, 1])


def book_top() -> Line:
    """The test that compares 36,820 rebuilt books with the last quote, as it stands."""
    test = "tests/ticks/test_capture.py::test_btc_book_top_equals_the_last_quote"
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", test], cwd=ROOT, capture_output=True, text=True)
    found = "36,820 of 36,820" if done.returncode == 0 else done.stdout.strip().splitlines()[-1]
    return holds(
        PART, "top of the rebuilt book equals the last bookTicker", "36,820 of 36,820", found, done.returncode == 0
    )


CLAIMS = (facts,)
