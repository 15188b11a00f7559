"""The picture of the lag curve."""

from __future__ import annotations

from pathlib import Path

from matplotlib.image import imread

from schwabot.sinks.lag_figure import LagFigureSink, lag_figure
from tests.sinks.making import header

FULL = {
    "n": 3, "mean": 0.2, "ci_low": 0.1, "ci_high": 0.3,
    "expected": 0.15, "expected_ci_low": 0.12, "expected_ci_high": 0.18,
}  # fmt: skip
NOTHING = dict.fromkeys(FULL) | {"n": 0}


def test_figure_draws_two_lines_with_bands_per_stream() -> None:
    summary = {"a:X/Y": {"10": FULL, "1": FULL}, "b:X/Y": {"1": NOTHING, "10": NOTHING}, "c:X/Y": {"1": FULL}}
    figure = lag_figure(summary)
    assert [axes.get_title() for axes in figure.axes] == ["a:X/Y (n = 3)", "c:X/Y (n = 3)"]
    axes = figure.axes[0]
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines[1:]}
    assert {label: xy.tolist() for label, xy in drawn.items()} == {  # type: ignore[union-attr]
        "realised": [[1.0, 0.2], [10.0, 0.2]],
        "expected at the decision": [[1.0, 0.15], [10.0, 0.15]],
    }
    bands = [band.get_paths()[0].vertices for band in axes.collections]  # type: ignore[attr-defined]
    assert [(ends[:, 1].min(), ends[:, 1].max()) for ends in bands] == [(0.1, 0.3), (0.12, 0.18)]
    assert "(ms)" in axes.get_xlabel()
    assert "(bp)" in axes.get_ylabel()


def test_nothing_and_too_much_to_draw() -> None:
    assert lag_figure({}).axes[0].get_legend() is None
    assert lag_figure({"b:X/Y": {"1": NOTHING}}).axes[0].get_legend() is None
    many = {f"{k:02}:X/Y": {"1": FULL | {"n": k}} for k in range(30)}
    titles = [axes.get_title() for axes in lag_figure(many).axes]
    assert titles == [f"{k}:X/Y (n = {k})" for k in range(18, 30)]


def test_the_picture_is_a_file_of_the_run(tmp_path: Path) -> None:
    sink = LagFigureSink()
    sink.open(header(tmp_path))
    sink.close({"lag_curve": {"a:X/Y": {"1": NOTHING}}})
    sink.close({})
    assert list(tmp_path.iterdir()) == [], "no decision, no picture"
    sink.close({"lag_curve": {"a:X/Y": {"1": FULL, "10": FULL}}})
    (file,) = tmp_path.iterdir()
    assert file.name == "lag_curve.png"
    image = imread(file)
    assert image.std() > 0.05, "something is drawn"
    assert image.shape[1] > 500
