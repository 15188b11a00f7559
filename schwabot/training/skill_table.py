"""Skill as an Arrow table."""

from __future__ import annotations

import pyarrow as pa

from schwabot.training.skill import SkillMeter

SKILL = pa.schema(
    [
        ("predictor", pa.string()),
        ("stream", pa.string()),
        ("horizon_ms", pa.float64()),
        ("corr", pa.float64()),
        ("r2", pa.float64()),
        ("r2_ci_low", pa.float64()),
        ("r2_ci_high", pa.float64()),
        ("r2_grid", pa.float64()),
        ("r2_after_1ms", pa.float64()),
        ("r2_without_top3", pa.float64()),
        ("placebo", pa.float64()),
        ("n", pa.int64()),
        ("excluded", pa.int64()),
    ]
)
"""Columns of ``Result.skill``; see ``SkillMeter.summary``."""


def skill_table(meter: SkillMeter) -> pa.Table:
    """One row per predictor, stream and horizon."""
    rows = []
    for predictor in meter.predictors:
        for stream, horizons in meter.summary(predictor).items():
            for horizon, cell in horizons.items():
                low, high = cell["r2_ci"]
                numbers = {name: value for name, value in cell.items() if name != "r2_ci"}
                where = {"predictor": predictor, "stream": stream, "horizon_ms": float(horizon)}
                rows.append(where | numbers | {"r2_ci_low": low, "r2_ci_high": high})
    return pa.Table.from_pylist(rows, schema=SKILL)
