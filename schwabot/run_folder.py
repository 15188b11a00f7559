"""The files of a run, and how a new run takes the place of an earlier one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from schwabot.tensors.profiling import TRACE

if TYPE_CHECKING:
    from schwabot.config import RunConfig

TABLES = (
    "signals", "lag_decisions", "lag_curve", "arbitrage", "drift", "memory", "leadlag", "fit", "fills", "shortfall",
    "trades", "equity", "sweep",
)  # fmt: skip
HEAD = "checkpoint.safetensors"
LOG = "run.log"
RESULTS = (
    "summary.json", "config.yaml", HEAD, *(f"{table}.parquet" for table in TABLES), "leadlag.png", "lag_curve.png",
    "report.html", LOG, TRACE,
)  # fmt: skip
"""Files of a run."""


def remove_results(run_dir: Path) -> None:
    """Remove what an earlier run left in the same folder, so that no result stands beside another run's summary.

    To be called when all is open that may be refused: a run that is refused leaves what is there.

    A trained head stays until a fit has written another: it took long, and ``checkpoint=`` elsewhere may point to it.
    So does config.yaml beside it, which says that the folder is ours should this run end before it writes its own.
    """
    kept = {HEAD, "config.yaml"} if (run_dir / HEAD).exists() else set()
    if kept:
        sys.stderr.write(f"note: {run_dir / HEAD} is of an earlier run, and stays until a fit has written another\n")
    parts = [name for name in (f"{one}.part" for one in RESULTS) if (run_dir / name).is_file()]
    if parts:
        sys.stderr.write(f"note: the run before in {run_dir} was killed: removing what it left, {', '.join(parts)}\n")
    for old in (*run_dir.glob("events.out.tfevents.*"), *run_dir.glob(f"{LOG}.[0-9]*"), *run_dir.glob("server.log*")):
        old.unlink()
    for name in {*RESULTS, *parts} - kept:
        (run_dir / name).unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or something else is in it
        (run_dir / TRACE).parent.rmdir()


def account_label(settings: RunConfig) -> str:
    """What ``live.confirm`` has to say."""
    if settings.live.account is not None:
        return settings.live.account
    if settings.live.loopback_port is not None:
        return "loopback"
    return "-".join(venues_of(settings.policy.trade or settings.source.streams))


def journal_of(settings: RunConfig) -> Path:
    """File of the orders of this account."""
    return Path(settings.execution.journal or f"orders/{account_label(settings)}.db")


def venues_of(streams: Sequence[str]) -> list[str]:
    """Venues of streams, by name.

    Example:
        >>> venues_of(["kraken:BTC/USD", "binance:BTC/USDT", "binance:ETH/USDT"])
        ['binance', 'kraken']
    """
    return sorted({stream.partition(":")[0] for stream in streams})
