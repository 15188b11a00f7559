from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schwabot.server.hub import Hub
from schwabot.server.series import MINUTE_NS, Series
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import POINT_COLUMNS, Digest, open_frame
from tests.server.making import header, records


def switched(*steps: tuple[str, str]) -> dict[str, Any]:
    """How a part stands after these switches."""
    hub = Hub(ServerConfig())
    digest = Digest(len(records()[0].instruments))
    hub.take(open_frame(header(Path()), {}, (), "1"))
    for before, after in steps:
        frame = digest.take()
        frame["fallbacks"] = [{"ts_ns": 1, "component": "x", "before": before, "after": after, "reason": ""}]
        hub.take(frame)
    parts = {one["component"]: one for one in hub.health_now()["parts"]}
    assert hub.snapshot()["links"]["x"]["best"] == parts["x"]["best"]
    return parts["x"]


@pytest.mark.parametrize(
    ("steps", "is_best"),
    [
        ([("websocket", "rest")], False),
        ([("websocket", "rest"), ("rest", "websocket")], True),
        ([("websocket", "rest"), ("rest", "dropped")], False),
        ([("none", "ghost")], True),
        ([("none", "ghost"), ("ghost", "none")], False),
        ([("gapped", "whole")], True),
        ([("clock", "steady"), ("steady", "clock")], True),
    ],
)
def test_a_part_that_came_back_is_on_its_first_choice(steps: list[tuple[str, str]], is_best: bool) -> None:
    part = switched(*steps)
    assert (part["now"], part["best"]) == (steps[-1][1], is_best)


def test_half_of_a_snapshot_s_points_are_of_the_last_minute() -> None:
    series = Series(10_000, 1)
    one = {name: [[0.5]] for name in POINT_COLUMNS}
    for at in range(6_000):
        series.add({"ts_ns": [at * MINUTE_NS // 600], "ghost_bp": [float(at)], **one})
    times = series.overview(200)["ts_ns"]
    assert times == sorted(set(times))
    assert len(times) == 200
    assert sum(at >= times[-1] - MINUTE_NS for at in times) == 100
    assert (times[0], times[-1]) == (0, 5_999 * MINUTE_NS // 600)
    assert Series(10, 1).overview(200)["ts_ns"] == []
