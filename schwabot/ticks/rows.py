"""Ticks that come one by one: rows at once, columns when somebody asks for one. Axis legend: N rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Self

import numpy as np

from schwabot.records.instrument import Instrument
from schwabot.records.market import Ticks
from schwabot.ticks.live_queue import Row

COLUMNS = tuple(field.name for field in fields(Ticks) if field.name not in ("instruments", "levels"))
_READ = attrgetter(*COLUMNS)
_TYPES = {"stream": np.int32, "kind": np.int8, "side": np.int8}


class RowTicks(Ticks):
    """``Ticks`` made of rows; of rows and columns each is made from the other when it is first asked for.

    Columns of a row or two take longer to make than it takes to answer them.

    Example:
        >>> ticks = RowTicks.of((Instrument("x:A/B", 0.1, 1.0),), [(5, 4, 4, 0, 0, 10, 11, 1, 2, 0, 0, 0)])
        >>> len(ticks), ticks.ts_recv_ns.tolist(), ticks.ask_ticks.tolist(), ticks.side.dtype.name
        (1, [5], [11], 'int8')
    """

    __slots__ = ("rows",)
    rows: Sequence[Row]

    @classmethod
    def of(cls, instruments: tuple[Instrument, ...], rows: Sequence[Row]) -> Self:
        """Rows of these instruments, in their order."""
        ticks = object.__new__(cls)
        for name, value in (("instruments", instruments), ("levels", None), ("rows", rows)):
            object.__setattr__(ticks, name, value)
        return ticks

    def __len__(self) -> int:
        return len(self.rows)

    def __getattr__(self, name: str) -> Any:
        # Asked only for what is not there yet.
        if name == "rows":
            object.__setattr__(self, name, rows_of(self))
        elif name in COLUMNS:
            numbers = np.array(self.rows, np.int64).reshape(len(self.rows), len(COLUMNS)).T
            for column, values in zip(COLUMNS, np.ascontiguousarray(numbers), strict=True):
                object.__setattr__(self, column, values.astype(_TYPES.get(column, np.int64), copy=False))
        else:
            raise AttributeError(name)
        return object.__getattribute__(self, name)


def rows_of(ticks: Ticks) -> list[Row]:
    """The rows of columns, as plain numbers."""
    return list(zip(*map(np.ndarray.tolist, _READ(ticks)), strict=True))
