"""summary.json is written whole and holds only what JSON has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from schwabot.sinks.summary import SummarySink, write_json
from tests.sinks.making import SUMMARY, header, records


def test_summary_is_json_with_stable_names(tmp_path: Path) -> None:
    sink = SummarySink()
    sink.open(header(tmp_path))
    sink.write(records(3)[0])
    sink.close(SUMMARY)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["lag_curve_bp"]["binance:BTC/USDT"] == {"10": 0.4, "100": None}
    assert summary["streams"]["binance:BTC/USDT"]["clock_offset_ms"] == -1272.0
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_numpy_values_and_not_a_number(tmp_path: Path) -> None:
    tree = {"a": np.array([1.0, np.nan]), "b": np.int64(3), 0.5: {"c": -np.inf}, "d": True, "e": None}
    write_json(tmp_path / "x.json", tree)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "a": [1.0, None], "b": 3, "0.5": {"c": None}, "d": True, "e": None,
    }  # fmt: skip


def test_an_old_summary_survives_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
