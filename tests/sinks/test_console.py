"""The table at the end fits 120 columns and says what was measured."""

from __future__ import annotations

import io
from pathlib import Path

from schwabot.sinks.console import ConsoleSink
from tests.sinks.making import SUMMARY, header, records


def show(summary: dict[str, object], folder: Path) -> str:
    out = io.StringIO()
    sink = ConsoleSink(out)
    sink.open(header(folder))
    sink.write(records(3)[0])
    sink.close(summary)
    return out.getvalue()


def test_table(tmp_path: Path) -> None:
    lines = show(SUMMARY, tmp_path).splitlines()
    row = next(line for line in lines if line.startswith("binanceusdm:BTC/USDT:USDT"))
    assert row.split()[1:] == ["50", "-1272.00", "-4.9", "-3.70", "stable", "0.459", "0.250", "-", "-", "90/8/2", "3"]
    spot = next(line for line in lines if line.startswith("binance:BTC/USDT"))
    assert spot.split()[6:10] == ["-", "-", "0.400", "-"]
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("100 events"))]
    assert max(map(len, table)) <= 120
    assert any("dropped: 2 crossed" in line for line in lines)
    assert lines[-1] == f"files: {tmp_path}"


def test_compiling_is_told_apart(tmp_path: Path) -> None:
    assert "in 70.0 s (61 s of it compiling), " in show(SUMMARY | {"wall_s": 70.0, "compile_s": 61.2}, tmp_path)
    assert "of it compiling" not in show(SUMMARY | {"compile_s": 1.2}, tmp_path)


def test_an_interrupted_or_empty_run_is_shown_too(tmp_path: Path) -> None:
    bare = {
        "events": 0, "quotes": 0, "trades": 0, "span_s": 0.0, "wall_s": 0.1, "events_per_s": 0.0, "peak_rss_mib": 1.0,
        "interrupted": True,
    }  # fmt: skip
    assert "interrupted" in show(bare, tmp_path)


def test_a_narrow_terminal_gets_fewer_columns_and_no_cut_ones(tmp_path: Path) -> None:
    out = io.StringIO()
    sink = ConsoleSink(out)
    sink.open(header(tmp_path))
    sink._console.width = 80
    sink.close(SUMMARY)
    lines = out.getvalue().splitlines()
    row = next(line for line in lines if line.startswith("binanceusdm:BTC/USDT:USDT"))
    assert len(row) <= 80
    assert "…" not in out.getvalue()
    assert row.split()[1:5] == ["50", "-1272.00", "-4.9", "-3.70"]
    assert next(line for line in lines if line.startswith("no room for: ")).endswith("lanes % L/M/H, arb. windows")
