"""Rows and columns of the same ticks: each is made from the other, exactly."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest

from schwabot.live_pipeline import LivePipeline
from schwabot.records.audit import SignalColumns
from schwabot.records.market import Row, Ticks
from schwabot.ticks.merge import concat
from schwabot.ticks.rows import COLUMNS, RowTicks, rows_of
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

FEED = SyntheticFeed(SyntheticConfig(events=600))
TICKS = next(iter(FEED.batches()))


def by_rows(ticks: Ticks = TICKS) -> RowTicks:
    return RowTicks.of(ticks.instruments, rows_of(ticks))


def same(found: Ticks, wanted: Ticks) -> None:
    assert found.instruments == wanted.instruments
    for name in COLUMNS:
        column = getattr(found, name)
        assert column.dtype == getattr(wanted, name).dtype, name
        np.testing.assert_array_equal(column, getattr(wanted, name), err_msg=name)


def test_columns_are_those_the_rows_came_from() -> None:
    assert len(by_rows()) == len(TICKS)
    same(by_rows(), TICKS)
    none = {name: getattr(TICKS, name)[:0] for name in COLUMNS}
    same(RowTicks.of(TICKS.instruments, []), replace(TICKS, **none))
    with pytest.raises(AttributeError, match="prize"):
        _ = by_rows().prize


def test_what_is_made_of_them_has_its_own_rows() -> None:
    later = replace(by_rows(), ts_recv_ns=TICKS.ts_recv_ns + 1)
    assert later.rows[0][0] == TICKS.ts_recv_ns[0] + 1
    assert len(later) == len(TICKS)
    same(concat([by_rows(), TICKS]), concat([TICKS, TICKS]))
    same(copy.copy(by_rows()), TICKS)
    same(pickle.loads(pickle.dumps(by_rows())), TICKS)  # nosec
    assert {field.name for field in fields(by_rows())} == {*COLUMNS, "instruments", "levels"}


def test_the_live_pipeline_answers_rows_as_it_answers_columns() -> None:
    def heard(given: list[Ticks]) -> tuple[list[tuple[Row, float]], Ticks]:
        told: list[tuple[Row, float]] = []

        def on_row(row: Row, signals: SignalColumns) -> None:
            told.append((row, float(signals.ghost_bp[0])))

        answered = [ticks for ticks, _ in LivePipeline(FEED.instruments, on_row=on_row).answers(given)]
        return told, concat(answered)

    told, ticks = heard([RowTicks.of(TICKS.instruments, [row]) for row in rows_of(TICKS)])
    wanted, _ = heard([TICKS])
    assert [row for row, _ in told] == [row for row, _ in wanted]
    np.testing.assert_array_equal([ghost for _, ghost in told], [ghost for _, ghost in wanted])
    same(ticks, TICKS)
