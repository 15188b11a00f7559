"""Folders of runs, as runs leave them, and a server that tells of them behind all its guards."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

from schwabot.server.app import create_app
from schwabot.server.hub import Hub
from schwabot.server.serving import open_socket, url_of
from schwabot.server.settings import ServerConfig

CONFIG = "mode: {mode}\ncheckpoint: null\nsimulation:\n  bucket_s: 1.0\nsinks:\n  console: true\nsweep:\n  folds: 2\n"


def leave(folder: Path, mode: str, summary: dict[str, Any] | str | None = None, started_s: int = 1_700_000_000) -> Path:
    """A run's folder."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG.format(mode=mode))
    os.utime(folder / "config.yaml", (started_s, started_s))
    if summary is not None:
        text = summary if isinstance(summary, str) else json.dumps({"mode": mode, **summary})
        (folder / "summary.json").write_text(text)
    return folder


ODD = (
    "with space", "with%20space", "with%2520space", "a%2Fb", "a/b", "a~b", "a~~2Fb", "# 1", "what?", "100%", "x&y=1+1",
    "naïve 名前 ✓", "semi;colon,comma", "'quotes\"", "back\\slash", "[1]:2@3", "name~", "~/name", "名" * 80,
)  # fmt: skip
"""Folders whose names mean something in an address."""


def odd(root: Path) -> dict[str, int]:
    """A run in each of them: folder → the number of events that it counted."""
    told = {}
    for number, name in enumerate(ODD):
        folder = leave(root / name, "backtest", {"events": number, "backtest": {"net": float(number)}})
        (folder / "report.html").write_text(f"<title>report {number}</title>")
        pq.write_table(fills().slice(0, 1 + number), folder / "fills.parquet")
        told[name] = number
    return told


FILLS = 3_000


def fills() -> pa.Table:
    """Rows in six row groups, some without a price."""
    draw = np.random.default_rng(7)
    price = np.round(draw.normal(60_000, 5, FILLS), 1)
    price[::100] = np.nan
    return pa.table({
        "ts_report_ns": 1_700_000_000_000_000_001 + np.arange(FILLS) * 1_000_000,
        "stream": pa.array(["a:X/Y", "b:X/Y"] * (FILLS // 2)).dictionary_encode(),
        "price": price,
        "qty": pa.array([None if k % 7 == 0 else f"{k}" for k in range(FILLS)]).cast(pa.decimal128(20, 4)),
    })  # fmt: skip


def sweep_rows() -> pa.Table:
    """Two folds that were searched on and one that was held out; 40 sets over two parameters, one stream."""
    draw, sets = np.random.default_rng(3), 40
    number = np.repeat(np.arange(sets), 3)
    rows = len(number)
    zero = np.zeros(rows)
    columns: dict[str, Any] = {
        "set": number, "fold": np.tile([0, 1, 2], sets).astype(np.int16), "market": [""] * rows,
        "leg": np.zeros(rows, np.int16), "stream": ["a:X/Y"] * rows, "graph": np.zeros(rows, np.int32),
        "policy.enter_bp": np.repeat(np.geomspace(0.01, 10, sets), 3), "policy.lots": np.repeat(np.arange(sets) % 4, 3),
        "net": draw.normal(0, 1, rows), "net_bp": zero, "turnover": np.full(rows, 1_000.0), "fees": zero + 0.5,
        "funding": zero, "slippage": zero + 0.1, "slippage_bp": zero, "drawdown": draw.random(rows), "hold_s": zero + 2,
        "trades": np.where(number == 5, 0, 10), "orders": np.full(rows, 11), "refused": zero.astype(int),
        "rejected": zero.astype(int), "lots": np.full(rows, 10), "position": zero.astype(int),
        "least_position": zero.astype(int), "equity2": zero.astype(int), "sharpe": zero, "buckets": np.full(rows, 50.0),
        "sum1": draw.normal(0, 5, rows), "sum2": draw.random(rows) * 50 + 50, "sum3": zero, "sum4": zero,
    }  # fmt: skip
    return pa.table(columns)


def many(root: Path) -> None:
    """Runs of every kind, and what is no run."""
    leave(
        root / "2026-11-20" / "10-00-00", "replay",
        {"device": "cpu", "events": 5_000, "wall_s": 1.5, "fallbacks": 1, "events_per_s": 1e5,
         "skill": {"a": {"100": {"r2": 0.2}}, "b": {"100": {"r2": 0.25}}, "c": {"100": {"r2": None}}}},
    )  # fmt: skip
    traded = leave(
        root / "2026-11-20" / "11-00-00", "backtest",
        {"device": "cpu", "events": 9_000, "wall_s": 3.0,
         "backtest": {"policy": "threshold", "net": -5.5, "currency": "USDT", "fills": FILLS, "sharpe": -12.5}},
    )  # fmt: skip
    pq.write_table(fills(), traded / "fills.parquet", row_group_size=500)
    (traded / "trades.parquet").write_bytes(b"PAR1 cut off")
    (traded / "report.html").write_text("<script>document.title = 'ran'</script>")
    (traded / "lag_curve.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (traded / "run.log").write_text("not handed out")
    os.symlink("/etc/passwd", traded / "equity.parquet")
    swept = leave(
        root / "2026-11-21" / "09-00-00" / "0", "sweep",
        {"sweep": {"sets": 40, "verdict": "luck", "best": {
            "set": 3, "searched": {"net": 2.5, "trades": 20, "sharpe": 1.0}, "held_out": {"net": -1.0},
        }}},
    )  # fmt: skip
    pq.write_table(sweep_rows(), swept / "sweep.parquet", row_group_size=50)
    leave(root / "by hand" / "a~b", "paper", {"events": 3, "interrupted": True, "paper": {"net": 1.25}}, 1_600_000_000)
    leave(root / "failed", "live", {"error": "the venue is gone", "live": {"net": "?"}}, 1_600_000_100)
    leave(root / "goes on", "record", None, 1_600_000_200)
    leave(root / "cut", "fit", '{"mode": "fit", "events": 12', 1_600_000_300)
    leave(root / "list", "fit", "[1, 2]", 1_600_000_400)
    leave(root / "deep", "fit", "[" * 100_000, 1_600_000_500)
    huge = leave(root / "huge", "convert", "{}", 1_600_000_600)
    os.truncate(huge / "summary.json", 1 << 40)
    piped = leave(root / "piped", "fit", None, 1_600_000_700)
    os.mkfifo(piped / "summary.json")
    (root / "theirs").mkdir()
    (root / "theirs" / "config.yaml").write_text("mode: theirs\n")
    (root / "theirs" / "summary.json").write_text("{}")
    outside = leave(root.with_name("outside"), "replay", {"events": 1})
    os.symlink(outside, root / "linked")


@contextmanager
def served(root: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A client of a server of the runs in a folder."""
    given = {
        "port": 0,
        "runs": str(root),
        "tokens": str(root.with_name("tokens.json")),
        "rate_per_s": 1e5,
        "rate_burst": 10**6,
    }
    config = ServerConfig(**given | settings)
    app = create_app(config, Hub(config, None))
    sock = open_socket(config)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        with httpx.Client(base_url=url_of(config, sock), timeout=20.0) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20.0)
        sock.close()
