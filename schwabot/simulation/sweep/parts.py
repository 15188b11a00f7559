"""What an interrupted sweep leaves, so that it goes on where it was: a file per block of sets.

A search is a function of its seed and of what it was told. So to go on is to ask again from the start and to take the
blocks that are there from their files instead of running them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schwabot.errors import ConfigError
from schwabot.records.market import Float64
from schwabot.simulation.sweep.ranges import Space
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot_kernels.simulate.records import Market

FOLDER = "sweep_parts"
IDENTITY = "identity.json"
NO_MATTER = ("top", "resume", "threads", "surface_ms", "surface_levels", "neighbours", "confidence")
"""Settings that change no row."""
DIGEST = b"schwabot_sets"


def fingerprint(market: Market) -> dict[str, Any]:
    """What tells one market from another: rows, time, and a digest of every column, the policy's signals among them."""
    digest = blake2b(digest_size=16)
    for name, column in market._asdict().items():
        if name == "signals":
            for leg in column:
                for signal in leg:
                    digest.update(memoryview(signal).cast("B"))
        elif name != "next_row":  # follows from the legs
            digest.update(memoryview(column).cast("B"))
    rows = len(market.ts_ns)
    return {
        "rows": rows,
        "first_ns": int(market.ts_ns[0]) if rows else 0,
        "last_ns": int(market.ts_ns[-1]) if rows else 0,
        "digest": digest.hexdigest(),
    }


def identity_of(
    config: SweepConfig, space: Space, policy: str, settings: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything a row depends on, by name.

    Args:
        config: the sweep.
        space: the ranges.
        policy: the policy's source.
        settings: what else the rows depend on: the simulator's settings, the policy's parameters, the graph's.
        data: ``fingerprint`` of the market by name.
    """
    sweep = {name: value for name, value in vars(config).items() if name not in NO_MATTER and name != "over"}
    if config.method != "grid" and not space.graph and (space.size is None or config.method != "random"):
        del sweep["sets"]  # more of them go on where fewer ended
    tree: dict[str, Any] = {
        "sweep": sweep,
        "over": {one.name: [one.kind, one.low, one.high, one.log, one.step, *one.choices] for one in space.dimensions},
        "policy": blake2b(policy.encode(), digest_size=16).hexdigest(),
        "settings": settings,
        "data": data,
    }
    if config.method in ("tpe", "cmaes", "nsga2"):
        tree["versions"] = {name: version(name) for name in ("optuna", "cmaes")}
    return json.loads(json.dumps(tree, default=str))  # type: ignore[no-any-return]


class Parts:
    """Blocks of a sweep in the run's folder.

    Args:
        run_dir: the folder.
        identity: what the rows depend on.
        resume: go on with what is there; otherwise it is thrown away.

    Raises:
        ConfigError: what is there is of another sweep.
    """

    def __init__(self, run_dir: Path, identity: Mapping[str, Any], resume: bool) -> None:
        self._folder = run_dir / FOLDER
        self.reused = 0
        self.torn = 0
        file = self._folder / IDENTITY
        if not resume or not file.is_file():
            self._clear()  # blocks without an identity could be of anything
        else:
            before = _read(file)
            if before is None or before != identity:
                told = "its identity.json can't be read" if before is None else _difference(before, identity)
                raise ConfigError(
                    f"{self._folder} holds part of another sweep: {told}. Use the same settings to go on with it,"
                    " another hydra.run.dir for a new one, or sweep.resume=false to throw it away"
                )
        self._folder.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
        part.replace(file)

    def load(self, first: int, values: Float64) -> pa.Table | None:
        """The rows of a block, None if they are not there (or of fewer sets, or not whole).

        Raises:
            ConfigError: the file holds other sets than the search asks for now.
        """
        file = self._file(first)
        if not file.is_file():
            return None
        try:
            table = pq.read_table(file)
        except (pa.ArrowInvalid, OSError):
            self.torn += 1
            return None
        count, digest = ((table.schema.metadata or {}).get(DIGEST, b"0:").decode()).split(":")
        if int(count) != len(values):
            return None
        if digest != _digest(values):
            raise ConfigError(
                f"{file} holds other sets than the search asks for now, so the sweep can't go on: was it begun on"
                " another machine or with other libraries? Use another hydra.run.dir, or sweep.resume=false to begin"
                " anew"
            )
        self.reused += len(values)
        return table.replace_schema_metadata(None)

    def save(self, first: int, values: Float64, table: pa.Table) -> None:
        """Keep a block: the whole file or none."""
        file = self._file(first)
        part = file.with_name(file.name + ".part")
        told = {DIGEST: f"{len(values)}:{_digest(values)}".encode()}
        pq.write_table(table.replace_schema_metadata(told), part, compression="zstd")
        part.replace(file)

    def _file(self, first: int) -> Path:
        return self._folder / f"sets_{first:09d}.parquet"

    def _clear(self) -> None:
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            if file.name.startswith("sets_") or file.name.startswith(IDENTITY):
                file.unlink()


def _digest(values: Float64) -> str:
    return blake2b(values.tobytes(), digest_size=16).hexdigest()


def _read(file: Path) -> dict[str, Any] | None:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return tree if isinstance(tree, dict) else None


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, by name."""
    old, new = dict(_flat(before)), dict(_flat(now))
    told = []
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name) or (name in old) != (name in new):
            if name.endswith("digest") or name == "policy":
                told.append("the policy's source" if name == "policy" else f"{name.rpartition('.')[0]} (other rows)")
            else:
                told.append(f"{name} was {old.get(name, 'not there')}, is {new.get(name, 'not there')}")
    return "; ".join(told[:6]) + (f"; and {len(told) - 6} more" if len(told) > 6 else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Any:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
