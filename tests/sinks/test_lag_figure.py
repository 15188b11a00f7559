"""The picture of the lag curve."""

from __future__ import annotations

from schwabot.sinks.lag_figure import lag_figure


def test_figure_draws_a_line_and_a_band_per_stream() -> None:
    full = {"mean": 0.2, "n": 3, "ci_low": 0.1, "ci_high": 0.3}
    nothing = {"mean": None, "n": 0, "ci_low": None, "ci_high": None}
    summary = {"a:X/Y": {"10": full, "1": full}, "b:X/Y": {"1": nothing, "10": nothing}}
    axes = lag_figure(summary).axes[0]
    lines = [line for line in axes.lines if str(line.get_label()).startswith(("a:", "b:"))]
    assert [list(line.get_xdata()) for line in lines] == [[1.0, 10.0]]  # type: ignore[arg-type]
    assert len(axes.collections) == 1
    assert "(ms)" in axes.get_xlabel()
    assert "(bp)" in axes.get_ylabel()
    assert lag_figure({}).axes[0].get_legend() is None
