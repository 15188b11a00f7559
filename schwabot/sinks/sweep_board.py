"""A sweep in TensorBoard: how it went, the best sets as hparams, heat maps, the latency surface."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from schwabot.sinks.gpu_telemetry import Reading, scalars
from schwabot.sinks.sweep_figure import Heat, heat_figure, surface_figure

FOLDER = "sweep_sets"


class SweepBoard:
    """Writes TensorBoard events of a sweep into the run's folder.

    Steps of scalars are sets that were tried. Each of the best sets has a run of its own below ``sweep_sets/``, so that
    TensorBoard's HPARAMS page compares them.

    Args:
        run_dir: the folder.
    """

    def __init__(self, run_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run_dir = run_dir
        self._throttled: set[str] = set()
        for old in (run_dir / FOLDER).glob("set_*"):  # of an earlier part of the sweep
            for file in old.glob("events.out.tfevents.*"):
                file.unlink()
            with suppress(OSError):  # something else is in it
                old.rmdir()
        self._writer: Any = SummaryWriter(str(run_dir), max_queue=10_000, flush_secs=10)

    def progress(self, sets: int, numbers: Mapping[str, float]) -> None:
        """How far the sweep is, after a block."""
        for name, value in numbers.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"sweep/{name}", value, sets)

    def device(self, sets: int, readings: Iterable[Reading]) -> None:
        """What the GPU was doing since the last block."""
        for reading in readings:
            for tag, value in scalars(reading, self._throttled):
                self._writer.add_scalar(tag, value, sets, walltime=reading.time_s)

    def found(self, numbers: Mapping[str, float | None]) -> None:
        """What the guards say, one number each."""
        for name, value in numbers.items():
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(f"sweep_guards/{name}", value, 0)

    def maps(self, heats: Sequence[Heat], surface: Heat | None) -> None:
        """Heat maps, and the latency × threshold surface where there is one."""
        for heat in heats:
            self._writer.add_figure(f"sweep_maps/{heat.x_name} x {heat.y_name}", heat_figure(heat))
        if surface is not None:
            self._writer.add_figure("latency_threshold/surface", surface_figure(surface))
            self._writer.add_figure("latency_threshold/map", heat_figure(surface))

    def sets(self, rows: Sequence[Mapping[str, Any]], parameters: Sequence[str]) -> None:
        """The best sets as hparams.

        Args:
            rows: a flat mapping per set: its number as ``set``, its parameters, its results.
            parameters: which of the names are parameters.
        """
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard import summary as tensorboard_summary

        hparams: Any = tensorboard_summary.hparams
        for row in rows:
            chosen = {
                name: row[name] if isinstance(row[name], bool | int | float) else str(row[name]) for name in parameters
            }
            results = {
                f"hparam/{name}": float(value)
                for name, value in row.items()
                if name not in parameters and name != "set" and value is not None and math.isfinite(value)
            }
            writer: Any = SummaryWriter(str(self._run_dir / FOLDER / f"set_{row['set']:07d}"))
            for part in hparams(chosen, results):
                writer._get_file_writer().add_summary(part)
            for name, value in results.items():
                writer.add_scalar(name, value)
            writer.close()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()
