"""Records that are put together say what one record of all their rows says."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schwabot.records.alert import Alert, Level
from schwabot.records.audit import FallbackEvent, SettingsEvent, StepRecord
from schwabot.sinks.gather import Gathered, joined
from tests.sinks.making import records


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("cuts", [(1,), (100, 101, 400), (200, 200)])
def test_cuts_leave_no_trace(cuts: tuple[int, ...]) -> None:
    (whole,) = records(500)
    parts = records(500, cuts)
    assert len(whole.decisions.ts_ns)  # there is something of each kind to lose
    assert len(whole.arbitrage.locked)
    assert len(whole.drift_events.ts_ns)
    assert whole.memory is not None
    same(joined(parts), whole)


def test_what_happened_keeps_its_order() -> None:
    first, second, third = records(30, (10, 20))
    later = {
        name: replace(group, **{column: getattr(group, column) + 1 for column in columns})
        for name, columns in (("decisions", ("ts_ns",)), ("arbitrage", ("start_ns",)), ("drift_events", ("ts_ns",)))
        for group in (getattr(first, name),)
    }
    both = joined([first, second, replace(third, **later)])
    for name, column in (("decisions", "ts_ns"), ("arbitrage", "start_ns"), ("drift_events", "ts_ns")):
        own = getattr(getattr(first, name), column)
        assert getattr(getattr(both, name), column).tolist() == [*own.tolist(), *(own + 1).tolist()]
    moved, warned, changed = (
        FallbackEvent(1, "device", "cuda", "cpu", "gone"), Alert(2, Level.WARNING, "risk", "near"),
        SettingsEvent(3, (("a", "1", "2"),)),
    )  # fmt: skip
    parts = [
        replace(first, fallbacks=(moved,), depth_rows=4, reference_price=float("nan")),
        replace(second, alerts=(warned,), settings=(changed,), depth_rows=5),
        replace(third, fallbacks=(replace(moved, ts_ns=9),), memory=None),
    ]
    one = joined(parts)
    assert [event.ts_ns for event in one.fallbacks] == [1, 9]
    assert (one.alerts, one.settings, one.depth_rows) == ((warned,), (changed,), 9)
    assert one.reference_price == third.reference_price
    assert one.first_event == first.first_event
    assert one.memory is first.memory


def events(record: StepRecord | None) -> int | None:
    return None if record is None else len(record.ts_recv_ns)


def test_a_record_is_held_until_there_are_enough_rows() -> None:
    gathered = Gathered(rows=50)
    assert [events(gathered.add(one)) for one in records(120, (20, 49, 50, 110))] == [None, None, 50, 60, None]
    assert events(gathered.rest()) == 10
    assert gathered.rest() is None


def test_few_records_are_held() -> None:
    gathered = Gathered(records=3)
    assert [events(gathered.add(one)) for one in records(50, (1, 2, 3, 40))] == [None, None, 3, None, None]


def test_rows_under_other_settings_are_not_put_together() -> None:
    """A lane's size and style, and the threshold of re-entry, are a record's: settings may change between two."""
    first, second, third = records(30, (10, 20))
    for change in ({"lane_sizes": (0.0, 0.1, 0.2)}, {"reentry_penalty": 0.7}, {"lane_styles": ("post",) * 3}):
        gathered = Gathered()
        assert gathered.add(first) is None
        same(gathered.add(replace(second, **change)), first)
        assert gathered.add(replace(third, **change)) is None
        rest = gathered.rest()
        assert rest is not None
        assert (rest.lane_sizes, rest.reentry_penalty) == (
            change.get("lane_sizes", first.lane_sizes), change.get("reentry_penalty", first.reentry_penalty),
        )  # fmt: skip
        assert events(rest) == 20
