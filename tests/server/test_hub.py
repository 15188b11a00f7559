from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schwabot.records.audit import FallbackEvent
from schwabot.server.__main__ import _begins
from schwabot.server.hub import MOST_CURVE, MOST_ITEMS, Hub
from schwabot.server.series import MINUTE_NS, Series
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import MOST_MERGED, POINT_COLUMNS, Digest, _joined, open_frame
from schwabot.sinks.log_file import RunLog
from schwabot.sinks.log_settings import LogsConfig
from tests.server.making import header, records


def switched(*steps: tuple[str, str]) -> dict[str, Any]:
    """How a part stands after these switches."""
    hub = Hub(ServerConfig())
    digest = Digest(len(records()[0].instruments))
    hub.take(open_frame(header(Path()), {}, (), "1"))
    for before, after in steps:
        digest.add(replace(records()[0], fallbacks=(FallbackEvent(1, "x", before, after, ""),)))
        hub.take(digest.take())
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


def begun() -> tuple[Hub, Digest]:
    """A hub whose run has begun, and what makes its steps."""
    hub = Hub(ServerConfig())
    hub.take(open_frame(header(Path()), {}, (), "1"))
    return hub, Digest(len(records()[0].instruments))


def traded(digest: Digest, ts_ns: int, orders: list[dict[str, Any]] | None = None, **net: float) -> dict[str, Any]:
    """A step of trading: its orders, and net by currency."""
    digest.add(records()[0])
    positions = [{"currency": name, "net": value, "max_drawdown": 0.0} for name, value in net.items()]
    return digest.take() | {
        "ts_ns": ts_ns, "trading": {"state": "NORMAL", "orders": orders or [], "fills": [], "positions": positions}
    }  # fmt: skip


def order(number: int, state: str = "filled") -> dict[str, Any]:
    return {"number": number, "state": state, "end_ns": None if state == "open" else 1}


def test_an_order_that_stays_open_is_counted_once_however_many_pass() -> None:
    hub, digest = begun()
    hub.take(traded(digest, 1, [order(0, "open"), *(order(at) for at in range(1, MOST_ITEMS + 11))]))
    assert len(hub.numbered["orders"]) == MOST_ITEMS
    assert 0 in hub.numbered["orders"]
    hub.take(traded(digest, 2, [order(MOST_ITEMS + 11, "open"), order(0)]))
    assert hub.counts["orders"] == MOST_ITEMS + 12
    assert (hub.counts["orders.open"], hub.counts["orders.filled"]) == (1, MOST_ITEMS + 11)
    numbers = [one["number"] for one in hub.newest("orders", MOST_ITEMS, None, lambda row: True)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] == MOST_ITEMS + 11


def test_orders_come_by_number_whatever_came_first() -> None:
    hub, digest = begun()
    hub.take(traded(digest, 1, [order(at) for at in (3, 1, 4, 2)]))
    first = hub.newest("orders", 2, None, lambda row: True)
    rest = hub.newest("orders", 9, first[-1]["seq"], lambda row: True)
    assert [one["number"] for one in first + rest] == [4, 3, 2, 1]


def test_the_peak_is_the_whole_run_s() -> None:
    hub, digest = begun()
    stayed = hub.listen()
    peak_ns = 10**9
    hub.take(traded(digest, peak_ns, USDT=100.0, BTC=-1.0))
    hub.take(traded(digest, peak_ns + 1, USDT=120.0, BTC=-3.0))  # within the second: no point, but a peak
    for at in range(2, 20):
        hub.take(traded(digest, at * 10**9, USDT=50.0 + at, BTC=-2.0))
    steps = [json.loads(data)["money"] for name, data in stayed.waiting if name == "step"]
    assert steps[:3] == [
        [peak_ns, {"USDT": 100.0, "BTC": -1.0}, {"USDT": 0.0, "BTC": -1.0}], None,
        [2 * 10**9, {"USDT": 52.0, "BTC": -2.0}, {"USDT": -68.0, "BTC": -2.0}],
    ]  # fmt: skip
    for at in range(20, MOST_ITEMS + 30):
        row = {"orders": [], "fills": [], "positions": [{"currency": "USDT", "net": 50.0, "max_drawdown": None}]}
        hub.last["ts_ns"] = at * 10**9
        hub._trade(row)
    assert hub.snapshot()["money"][0][2] == {"USDT": -70.0}  # the point of the peak is no longer kept
    again = json.loads(hub.listen().waiting[0][1])["money"]
    assert again == [list(row) for row in hub.money]


def test_frames_that_are_none_are_logged_once_and_cost_nothing(caplog: pytest.LogCaptureFixture) -> None:
    hub, digest = begun()
    bad: tuple[dict[str, Any], ...] = ({"t": "gone"}, {"t": "begin"}, {}, {"t": []}, {"t": "log"}, {"t": "step"})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            for one in bad:
                hub.take(dict(one))
    assert len(caplog.messages) == 3  # another kind, log, step
    assert not hub.is_gone
    digest.add(records()[0])
    hub.take(digest.take())
    assert hub.totals["events"] == len(records()[0].ts_recv_ns)


def test_a_step_before_the_run_s_own_words_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    hub, digest = Hub(ServerConfig()), Digest(len(records()[0].instruments))
    for begins in (False, True):
        if begins:
            hub.take(open_frame(header(Path()), {}, (), "1"))
        digest.add(records()[0])
        hub.take(digest.take())
    assert hub.totals["events"] == 2 * len(records()[0].ts_recv_ns), "what was by then is told again"
    assert caplog.messages == []


def test_who_falls_behind_at_once_gets_the_same_snapshot() -> None:
    hub, digest = begun()
    slow = [hub.listen(), hub.listen()]
    while slow[0].waiting[0] == slow[1].waiting[0] and hub.seq < 70:
        digest.add(records()[0])
        hub.take(digest.take())
    (_, one), (_, other) = slow[0].waiting[0], slow[1].waiting[0]
    assert one is other
    assert json.loads(one)["seq"] > 1
    hub.host = {"cpu": 7}
    hub.tell("host", hub.host)
    assert json.loads(hub.listen().waiting[0][1])["host"] == {"cpu": 7}


def test_a_long_sweep_s_curve_has_every_point_once() -> None:
    hub = Hub(ServerConfig())
    for at in range(MOST_CURVE + 1):
        hub.take({"t": "sweep", "done": at, "best": 1.0})
    done = [at for at, _ in hub.sweep["curve"]]
    assert done == list(range(0, MOST_CURVE + 1, 2))


def test_the_log_begins_whatever_comes_before_the_folder(tmp_path: Path) -> None:
    lines = [b'{"half', b"[1]", b'{"run_dir":7}', json.dumps({"run_dir": str(tmp_path)}).encode(), b"}"]
    with RunLog(LogsConfig()) as log:
        assert list(_begins(lines, log)) == lines
        logging.getLogger("schwabot.server").warning("a word")
    assert (tmp_path / "server.log").exists()


def test_points_of_an_hour_that_nobody_took_are_spread_over_it() -> None:
    one: dict[str, list[Any]] = {"ghost_bp": [0.0], **{name: [[0.5]] for name in POINT_COLUMNS}}
    waiting: dict[str, list[Any]] = {}
    for at in range(12_000):
        waiting = _joined(waiting, {"ts_ns": [1_700_000_000_000_000_000 + 300_000_000 * at], **one})
    seconds = [(ts_ns - waiting["ts_ns"][0]) / 1e9 for ts_ns in waiting["ts_ns"]]
    assert MOST_MERGED // 2 <= len(seconds) <= 2 * MOST_MERGED
    assert seconds[-1] == 3_599.7
    assert max(np.diff(seconds)) < 60.0
    assert {len(rows) for rows in waiting.values()} == {len(seconds)}
