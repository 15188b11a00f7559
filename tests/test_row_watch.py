"""A row that is not answered: told of once, and left where the run is to end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from schwabot.modes.row_watch import RowWatch

ROW: Any = None


def test_a_row_that_hangs_is_told_of_once_and_left_at_the_end() -> None:
    go_on, is_told, is_left, ends = (threading.Event() for _ in range(4))
    told: list[float] = []

    def stuck(age_s: float) -> None:
        told.append(age_s)
        is_told.set()

    with RowWatch(lambda row, signals: go_on.wait(10.0), stuck, ends.is_set, is_left.set, look_s=0.001) as watch:
        row = threading.Thread(target=watch, args=(ROW, ROW))
        row.start()
        assert is_told.wait(5.0)
        assert not is_left.wait(0.05)
        ends.set()
        assert is_left.wait(5.0)
        go_on.set()
        row.join()
    assert told == [10.0]


def test_rows_that_are_answered_are_not_left_whatever_ends() -> None:
    left: list[bool] = []

    def fail(row: Any, signals: Any) -> None:
        raise ValueError("a bad row")

    answers = iter([lambda row, signals: None] * 300 + [fail])
    with RowWatch(
        lambda row, signals: next(answers)(row, signals), print, lambda: True, lambda: left.append(True), look_s=0.0001
    ) as watch:
        pause = threading.Event()
        for _ in range(300):
            watch(ROW, ROW)
            pause.wait(0.0002)
        with pytest.raises(ValueError, match="a bad row"):
            watch(ROW, ROW)
        pause.wait(0.05)  # it is over, too
    assert not left
