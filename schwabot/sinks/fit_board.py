"""A fit in TensorBoard: loss per fold and penalty, skill per stream and horizon, hparams, a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schwabot.sinks.fit_figure import fit_figure

NUMBERS = ("r2", "r2_grid", "corr", "r2_after_1ms", "r2_without_top3", "placebo")


class FitBoard:
    """Writes TensorBoard events of a fit into the run's folder.

    Steps: of a loss over penalties the penalty in thousandths, of a loss over folds the fold, of a skill the horizon in
    ms.

    Args:
        run_dir: the folder.
    """

    def __init__(self, run_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_dir), max_queue=10_000, flush_secs=10)

    def losses(self, fit: Mapping[str, Any]) -> None:
        """1 - R² of the validation blocks, of every fold and of the fit itself.

        Args:
            fit: ``fit`` of summary.json.
        """
        for k, fold in enumerate(fit.get("folds", ())):
            self._penalties(f"loss/fold_{k}", fold["loss"])
            for base, part in fold["assets"].items():
                for name in ("r2", "r2_grid"):
                    values = [value for cells in part[name].values() for value in cells.values() if value is not None]
                    if values:
                        self._writer.add_scalar(f"walk_forward/{name}/{base}", sum(values) / len(values), k)
                        self._writer.add_scalar(f"loss/walk_forward_{name}/{base}", 1 - sum(values) / len(values), k)
        self._penalties("loss/validation", fit.get("loss", {}))

    def _penalties(self, tag: str, losses: Mapping[str, Mapping[str, float]]) -> None:
        for penalty, by_horizon in losses.items():
            known = [loss for loss in by_horizon.values() if math.isfinite(loss)]
            if known:
                self._writer.add_scalar(tag, sum(known) / len(known), round(1000 * float(penalty)))

    def skill(self, tables: Mapping[str, Any]) -> None:
        """Held-out skill.

        Args:
            tables: predictor → stream → horizon in ms → numbers.
        """
        for predictor, table in tables.items():
            for stream, cells in table.items():
                for h, cell in cells.items():
                    for name in NUMBERS:
                        if cell[name] is not None:
                            tag = f"{name}/{predictor}/{stream.replace('/', '-').replace(':', '.')}"
                            self._writer.add_scalar(tag, cell[name], round(float(h)))
        if any(tables.values()):
            self._writer.add_figure("held_out_r2", fit_figure(tables))

    def close(self, settings: Mapping[str, Any], fit: Mapping[str, Any]) -> None:
        """Hparams with the mean R² by asset, and the end of the file."""
        from torch.utils.tensorboard import summary as tensorboard_summary

        hparams: Any = tensorboard_summary.hparams
        chosen = {"lambda": fit["lambda"]} if "lambda" in fit else {}
        found = {
            f"hparam/{base}/{predictor}_{rows}": value
            for base, means in (fit.get("mean_r2") or {}).items()
            for predictor, by_rows in means.items()
            for rows, value in by_rows.items()
            if value is not None
        }
        writer = self._writer._get_file_writer()
        for part in hparams(dict(_flat(settings)) | chosen, found):
            writer.add_summary(part)
        for name, value in found.items():
            self._writer.add_scalar(name, value)
        self._writer.close()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | int | str | bool]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", str(list(value))
        elif isinstance(value, float | int | str | bool):
            yield f"{prefix}{key}", value
