"""Past runs: what lies in a folder of them, found again cheaply. What is broken there is an entry, not an error."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import orjson

from schwabot.server.problems import Problem

SUMMARY, CONFIG = "summary.json", "config.yaml"
TABLES = (
    "signals", "lag_decisions", "lag_curve", "arbitrage", "drift", "memory", "leadlag", "fit", "fills", "shortfall",
    "trades", "equity", "sweep",
)  # fmt: skip
FILES = (*(f"{table}.parquet" for table in TABLES), "leadlag.png", "lag_curve.png", "report.html")
"""What is handed out, by name; nothing else that lies in a run's folder is."""
DEPTH = 4
"""Folders between the root and a run: a date, a time, the number of a job, and one of the user's."""
MOST_RUNS, MOST_FOLDERS = 10_000, 50_000
MOST_SUMMARY, MOST_CONFIG = 8 << 20, 1 << 20
"""Bytes; what is larger was not written by a run."""
REFRESH_S, MISSED_S = 1.0, 0.2
"""How long what was found counts; the same where a run is asked for that was not there."""
TEXTS = ("policy", "currency", "method", "verdict", "r2_stream")
"""Headline entries that are words; all others are numbers."""
_MODE = re.compile(rb"^mode: ([a-z]{1,20})\s*$", re.MULTILINE)
_DATED = re.compile(r"(\d{4}-\d\d-\d\d)/(\d\d-\d\d-\d\d)(?:/|$)")
Number = int | float
State = Literal["done", "interrupted", "failed", "unfinished", "broken"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, in a few numbers.

    Attributes:
        id: its path below the root, fit for an address.
        folder: where it is.
        mode: what ran.
        state: done, interrupted, failed, unfinished (it goes on, or was killed) or broken.
        started_ns: when it began, by its folder's name or else by config.yaml.
        ended_ns: when summary.json was written.
        headline: its numbers that matter, by name.
        files: name → bytes, of what may be handed out.
        error: what is wrong with it.
        stamp: changes when anything of this does.
    """

    id: str
    folder: Path
    mode: str | None
    state: State
    started_ns: int
    ended_ns: int | None
    device: str | None = None
    events: int | None = None
    wall_s: float | None = None
    headline: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    stamp: tuple[int, ...] = ()


class History:
    """The runs below a folder.

    Args:
        root: the folder; it need not be there.
        clock_s: never runs backwards.

    Example:
        >>> History(Path("nowhere")).runs()
        []
    """

    def __init__(self, root: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._clock_s = clock_s
        self._scanned_s = float("-inf")
        self._scanning = threading.Lock()
        self._known: dict[Path, Run] = {}
        self._runs: dict[str, Run] = {}
        self.complete = True
        """Whether all runs are told of; there is a limit."""
        self.version = ""
        """Changes when any run does."""

    def runs(self) -> list[Run]:
        """All of them, in no order."""
        self._refresh(REFRESH_S)
        return list(self._runs.values())

    def run(self, run_id: str) -> Run:
        """One of them.

        Raises:
            Problem: there is none of this id.
        """
        self._refresh(REFRESH_S)
        if run_id not in self._runs:
            self._refresh(MISSED_S)
        if run_id not in self._runs:
            raise Problem(404, "not_found", f"there is no run {run_id[:200]!r}", "ids are those of GET /api/v1/runs")
        return self._runs[run_id]

    def read(self, run: Run, name: str, most: int) -> bytes:
        """A small file of a run.

        Raises:
            Problem: it is not there, not a file of its own, or larger than ``most`` bytes.
        """
        try:
            return read_bounded(run.folder / name, most)
        except FileNotFoundError:
            raise Problem(404, "not_found", f"run {run.id} has no {name}") from None
        except (OSError, ValueError) as error:
            raise Problem(422, "unprocessable", f"{name} of run {run.id}: {_why(error)}") from None

    def file(self, run: Run, name: str) -> Path:
        """A file of a run that may be handed out.

        Raises:
            Problem: there is none of this name, or nobody may have it.
        """
        path = run.folder / name
        if name not in FILES or not _is_file(path):
            here = ", ".join(sorted(run.files)) or "none"
            raise Problem(
                404, "not_found", f"run {run.id} has no file {name[:100]!r} to hand out", f"there are: {here}"
            )
        return path

    def _refresh(self, after_s: float) -> None:
        """Look again, if the last look is that old; whoever comes meanwhile takes what was known before it."""
        if self._clock_s() - self._scanned_s < after_s:
            return
        first = self._scanned_s == float("-inf")
        if not self._scanning.acquire(blocking=first):
            return
        try:
            if self._clock_s() - self._scanned_s >= after_s:
                self._scan()
                self._scanned_s = self._clock_s()
        finally:
            self._scanning.release()

    def _scan(self) -> None:
        found: dict[Path, Run] = {}
        waiting = [(self.root, 0)]
        folders = 0
        while waiting and len(found) < MOST_RUNS and folders < MOST_FOLDERS:
            folder, depth = waiting.pop()
            folders += 1
            try:
                run, inside = self._look(folder)
            except OSError:  # gone meanwhile, or not ours to read
                continue
            if run is not None:
                found[folder] = run
            elif depth < DEPTH:
                waiting += [(one, depth + 1) for one in inside]
        self.complete = not waiting
        self._known = found
        self._runs = {run.id: run for run in found.values()}
        told = hashlib.blake2b(digest_size=12)
        for run in sorted(found.values(), key=lambda one: one.id):
            told.update(f"{run.id} {run.stamp}".encode())
        self.version = told.hexdigest()

    def _look(self, folder: Path) -> tuple[Run | None, list[Path]]:
        """The run that a folder is, or the folders in it."""
        config, summary = _status(folder / CONFIG), _status(folder / SUMMARY)
        if config is None:
            if summary is not None:  # of something else
                return None, []
            with os.scandir(folder) as inside:
                return None, [
                    Path(one.path)
                    for one in inside
                    if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")
                ]
        stamp = (
            folder.stat().st_mtime_ns, config.st_mtime_ns,
            *((summary.st_mtime_ns, summary.st_size) if summary is not None else ()),
        )  # fmt: skip
        known = self._known.get(folder)
        if known is not None and known.stamp == stamp:
            return known, []
        mode = _mode_of(folder / CONFIG)
        if mode is None:  # somebody else's config.yaml
            return None, []
        return self._read(folder, mode, config, summary, stamp), []

    def _read(
        self, folder: Path, mode: str, config: os.stat_result, summary: os.stat_result | None, stamp: tuple[int, ...]
    ) -> Run:
        where = folder.relative_to(self.root)
        sizes = {name: status.st_size for name in FILES if (status := _status(folder / name)) is not None}
        begun: dict[str, Any] = {
            "id": id_of(where), "folder": folder, "mode": mode, "files": sizes, "stamp": stamp,
            "started_ns": _dated_ns(where) or config.st_mtime_ns,
            "ended_ns": None if summary is None else summary.st_mtime_ns,
        }  # fmt: skip
        if summary is None:
            return Run(state="unfinished", **begun)
        try:
            tree = orjson.loads(read_bounded(folder / SUMMARY, MOST_SUMMARY))
            if not isinstance(tree, dict):
                raise ValueError("it holds no entries")
        except (OSError, ValueError) as error:
            return Run(state="broken", error=f"{SUMMARY}: {_why(error)}", **begun)
        failed = tree.get("error")
        state: State = "failed" if failed else "interrupted" if tree.get("interrupted") else "done"
        events = number(tree.get("events"))
        return Run(
            state=state,
            device=text(tree.get("device")),
            events=events if isinstance(events, int) else None,
            wall_s=number(tree.get("wall_s")),
            headline=headline(mode, tree),
            error=text(failed) if failed else None,
            **begun,
        )


TAKEN = ("compare",)
"""What an address of the API says in the place of an id."""


def id_of(where: Path) -> str:
    """Id of a run: its path below the root, ~ for /, and ~~ with a byte's number for what an address would read anew.

    So an id means the same whether an address has it as it is or encodes it: a %20 in it would become a space.

    Example:
        >>> id_of(Path("2026-11-20/10-00-00")), id_of(Path("my ~runs/a")), id_of(Path())
        ('2026-11-20~10-00-00', 'my~~20~~7Eruns~a', '~')
    """
    parts = (quote(os.fsencode(part), safe="").replace("~", "%7E").replace("%", "~~") for part in where.parts)
    found = "~".join(parts) or "~"
    return f"~~{ord(found[0]):02X}{found[1:]}" if found in TAKEN else found


def headline(mode: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a run that its line in a list shows.

    Example:
        >>> headline("paper", {"paper": {"net": -1.5, "currency": "USDT", "fills": 7, "legs": {}}, "fallbacks": 1})
        {'fallbacks': 1, 'net': -1.5, 'currency': 'USDT', 'fills': 7}
    """
    found: dict[str, Any] = {"fallbacks": summary.get("fallbacks"), "events_per_s": summary.get("events_per_s")}
    part = summary.get(mode)
    part = part if isinstance(part, Mapping) else {}
    if mode in ("backtest", "paper", "live"):
        found |= {name: part.get(name) for name in ("policy", "net", "currency", "fills", "orders", "max_drawdown")}
        found |= {"sharpe": part.get("sharpe")}
    elif mode == "sweep":
        found |= _of_sweep(part)
    elif mode == "leadlag":
        pairs = part.get("pairs")
        found["pairs"] = len(pairs) if isinstance(pairs, list) else None
    elif mode in ("record", "convert"):
        store = summary.get("store")
        if isinstance(store, Mapping):
            found |= {name: store.get(name) for name in ("rows", "files", "gaps")}
    if mode in ("replay", "fit"):
        found |= _best_skill(summary.get("skill"))
    texts = {name: said for name in TEXTS if (said := text(found.get(name))) is not None}
    numbers = {name: value for name in found if (value := number(found[name])) is not None}
    return {name: texts.get(name, numbers.get(name)) for name in found if name in texts or name in numbers}


def _of_sweep(part: Mapping[str, Any]) -> dict[str, Any]:
    best, guards = (one if isinstance(one := part.get(name), Mapping) else {} for name in ("best", "guards"))
    searched, held_out = (
        one if isinstance(one := best.get(name), Mapping) else {} for name in ("searched", "held_out")
    )
    return {
        "policy": part.get("policy"), "sets": part.get("sets"), "method": part.get("method"),
        "verdict": part.get("verdict"), "best_set": best.get("set"), "net": searched.get("net"),
        "held_out_net": held_out.get("net"), "fills": searched.get("trades"), "sharpe": searched.get("sharpe"),
        "deflated_sharpe": guards.get("deflated_sharpe"),
    }  # fmt: skip


def _best_skill(skill: object) -> dict[str, Any]:
    """Highest R² at 100 ms, and whose."""
    if not isinstance(skill, Mapping):
        return {}
    scores = {}
    for stream, horizons in skill.items():
        at = horizons.get("100") if isinstance(horizons, Mapping) else None
        r2 = number(at.get("r2")) if isinstance(at, Mapping) else None
        if r2 is not None:
            scores[stream] = r2
    if not scores:
        return {}
    best = max(scores, key=lambda stream: scores[stream])
    return {"r2": scores[best], "r2_stream": best}


def number(value: object) -> Number | None:
    """The value if it is a number that JSON can carry, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, float) or abs(value) < 2**63 else float(value)


def text(value: object) -> str | None:
    """The value if it is text, at most 500 characters of it, else None."""
    return value[:500] if isinstance(value, str) else None


def read_bounded(path: Path, most: int) -> bytes:
    """A file that is one: no link to elsewhere, no pipe that never ends, no more than ``most`` bytes.

    Raises:
        OSError: it can't be read.
        ValueError: it is no file of its own, or too large.
    """
    if not _is_file(path) and path.exists():
        raise ValueError("it is a link or no file")
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"it is larger than {most / 2**20:.3g} MiB, so no run wrote it")
    return found


def _is_file(path: Path) -> bool:
    return _status(path) is not None


def _status(path: Path) -> os.stat_result | None:
    """Of a regular file; None of anything else."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _mode_of(config: Path) -> str | None:
    """What a config.yaml of ours says of the mode. Read as text: YAML takes a hundred times as long."""
    try:
        written = read_bounded(config, MOST_CONFIG)
    except (OSError, ValueError):
        return None
    found = _MODE.search(written)
    return found[1].decode() if found and b"\nsinks:" in written else None


def _dated_ns(where: Path) -> int | None:
    """Local time that ``outputs/<date>/<time>`` says."""
    found = _DATED.search(where.as_posix())
    if found is None:
        return None
    try:
        return int(datetime.strptime(f"{found[1]} {found[2]}", "%Y-%m-%d %H-%M-%S").timestamp()) * 1_000_000_000
    except (ValueError, OverflowError, OSError):
        return None


def _why(error: Exception) -> str:
    if isinstance(error, orjson.JSONDecodeError):
        return f"it is not whole JSON: {error.msg} at line {error.lineno}"
    return error.strerror or "it can't be read" if isinstance(error, OSError) else str(error)
