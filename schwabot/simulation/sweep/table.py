"""sweep.parquet: one row per set, fold, market and leg; and the same numbers pooled over folds.

Axis legend: P sets, R rows of a set (fold x market x leg), L streams, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schwabot.records.market import Float64, Int64
from schwabot.simulation.sweep.ranges import Space
from schwabot.simulation.sweep.settings import SMALLER_IS_BETTER
from schwabot.simulation.sweep.statistics import Shape, annualised, shape_of
from schwabot_kernels.simulate import records as r

MONEY = {  # column → its count; in quote currency, account units beside it in `equity2`
    "turnover": r.TURNOVER,
    "fees": r.FEES,
    "funding": r.FUNDING,
    "slippage": r.SLIPPAGE,
}
NUMBERS = {
    "trades": r.FILLS,
    "orders": r.ORDERS,
    "refused": r.REFUSED,
    "rejected": r.REJECTED,
    "lots": r.FILLED_LOTS,
    "position": r.POSITION,
    "least_position": r.LEAST,
    "equity2": r.EQUITY2,
}
SUMS = ("buckets", "sum1", "sum2", "sum3", "sum4")


@dataclass(frozen=True, slots=True)
class Leg:
    """A traded stream.

    Attributes:
        stream: its name.
        worth: what one unit of its account is worth in ``currency``.
        currency: its quote currency. Results of several legs are told in the first one's.
    """

    stream: str
    worth: float
    currency: str


class Row(NamedTuple):
    """One of the rows that every set has.

    fold: number of the fold. market: name of the market. leg: what is traded there. time: which rows of a fold lie at
    the same time, e.g. the day; their drawdowns add up.
    """

    fold: int
    market: str
    leg: Leg
    time: str = ""


def schema(space: Space) -> pa.Schema:
    """Columns: set, fold, market, leg, stream, graph, the searched parameters by full name, results.

    net: equity at the end, open positions at mid. net_bp, slippage_bp: of the turnover, null without one. sharpe: per
    ``simulation.bucket_s``. sum1 to sum4: power sums of changes of twice the equity in account units. equity2: twice
    the equity in account units. hold_s: time with a position. position, least_position: at the end and the smallest,
    lots.
    """
    head = [
        pa.field("set", pa.int64()), pa.field("fold", pa.int16()), pa.field("market", pa.string()),
        pa.field("leg", pa.int16()), pa.field("stream", pa.string()), pa.field("graph", pa.int32()),
    ]  # fmt: skip
    searched = []
    for one in space.dimensions:
        kind = pa.int64() if one.kind == "int" else pa.float64()
        if one.choices:
            kinds = {type(choice) for choice in one.choices}
            kind = (
                {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(kinds.pop(), pa.string())
                if (len(kinds) == 1)
                else (pa.float64() if kinds == {int, float} else pa.string())
            )
        searched.append(pa.field(one.name, kind))
    results = [
        *(pa.field(name, pa.float64()) for name in ("net", "net_bp", *MONEY, "slippage_bp", "drawdown", "hold_s")),
        *(pa.field(name, pa.int64()) for name in NUMBERS),
        *(pa.field(name, pa.float64()) for name in ("sharpe", *SUMS)),
    ]
    return pa.schema([*head, *searched, *results])


def rows_of(
    space: Space,
    legs: Sequence[Leg],
    first: int,
    fold: int,
    market: str,
    graph: int,
    values: Float64,
    counts: Int64,
    moments: Float64,
) -> pa.Table:
    """What the kernel gave as rows, by set and leg.

    Shape:
        values: [P, D]; counts: [P, L, COUNTS]; moments: [P, L, MOMENTS]
    """
    sets, every = len(values), len(legs)
    flat, sums = counts.reshape(-1, r.COUNTS), moments.reshape(-1, r.MOMENTS)
    worth = np.tile([leg.worth for leg in legs], sets)
    net = flat[:, r.EQUITY2] * 0.5 * worth
    money = {name: flat[:, column] * worth for name, column in MONEY.items()}
    traded = money["turnover"] > 0
    turnover = np.where(traded, money["turnover"], 1.0)
    columns: dict[str, Any] = {
        "set": np.repeat(np.arange(first, first + sets), every),
        "fold": np.full(sets * every, fold),
        "market": [market] * (sets * every),
        "leg": np.tile(np.arange(every), sets),
        "stream": [leg.stream for leg in legs] * sets,
        "graph": np.full(sets * every, graph),
    }
    wanted = schema(space)
    for d, one in enumerate(space.dimensions):
        decoded = one.decoded(values[:, d])
        text = wanted.field(one.name).type == pa.string()
        columns[one.name] = [str(value) if text else value for value in decoded for _ in range(every)]
    columns |= {
        "net": net,
        "net_bp": pa.array(1e4 * net / turnover, mask=~traded),
        **money,
        "slippage_bp": pa.array(1e4 * money["slippage"] / turnover, mask=~traded),
        "drawdown": flat[:, r.DRAWDOWN2] * 0.5 * worth,
        "hold_s": flat[:, r.HOLD_NS] / 1e9,
        **{name: flat[:, column] for name, column in NUMBERS.items()},
        "sharpe": shape_of(sums).sharpe,
        **{name: sums[:, k] for k, name in enumerate(SUMS)},
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in wanted], schema=wanted)


@dataclass(frozen=True, slots=True)
class Pooled:
    """What every set came to over some folds, all markets and all legs. All [P].

    Every row begins without a position, so sums are sums. The drawdown is the largest fall within a fold (and day), or
    from one's end to another's when they are strung together. Of several streams at one time drawdowns are added, and
    so are standard deviations, as if the streams fell together: what is told is the worst that could be.
    """

    net: Float64
    turnover: Float64
    fees: Float64
    funding: Float64
    slippage: Float64
    drawdown: Float64
    hold_s: Float64
    trades: Float64
    orders: Float64
    refused: Float64
    rejected: Float64
    shape: Shape

    @property
    def net_bp(self) -> Float64:
        """Net PnL in bp of the turnover, NaN without one."""
        return _share(self.net, self.turnover)

    @property
    def slippage_bp(self) -> Float64:
        """Cost of acting late in bp of the turnover, NaN without one."""
        return _share(self.slippage, self.turnover)

    def objective(self, name: str, bucket_s: float, min_trades: float) -> Float64:
        """An objective, more is better; NaN for sets with fewer trades, 0 for those that did not trade."""
        if name == "sharpe":
            value = annualised(self.shape.sharpe, bucket_s)
        else:
            value = np.asarray(getattr(self, name), np.float64)
        value = np.where(np.isfinite(value), -value if name in SMALLER_IS_BETTER else value, 0.0)
        return np.where(self.trades >= min_trades, value, np.nan)


class Results:
    """All rows so far, as arrays.

    Args:
        space: what is searched.
        rows: the R rows that every set has, in the order of the table.
    """

    def __init__(self, space: Space, rows: Sequence[Row]) -> None:
        self.space = space
        self.rows = tuple(rows)
        self.legs = tuple({row.leg.stream: row.leg for row in rows}.values())
        streams = [leg.stream for leg in self.legs]
        self._fold = np.array([row.fold for row in rows])
        self._stream = np.array([streams.index(row.leg.stream) for row in rows])
        times = [(row.fold, row.time) for row in rows]
        self._time = np.array([sorted(set(times)).index(time) for time in times])
        self._worth = np.array([row.leg.worth for row in rows])
        self._tables: list[pa.Table] = []
        self._values: list[Float64] = []
        self._dense: dict[str, Float64] | None = None

    def append(self, values: Float64, table: pa.Table) -> None:
        """Take a block, its rows by set, fold, market and leg."""
        assert table.num_rows == len(values) * len(self.rows), "a block with rows missing"
        self._values.append(values)
        self._tables.append(table)
        self._dense = None

    @property
    def sets(self) -> int:
        """How many there are."""
        return sum(map(len, self._values))

    @property
    def values(self) -> Float64:
        """The sets. [P, D]."""
        return np.concatenate(self._values) if self._values else np.zeros((0, len(self.space.dimensions)))

    @property
    def table(self) -> pa.Table:
        """Every row."""
        return pa.concat_tables(self._tables) if self._tables else schema(self.space).empty_table()

    def rows_of(self, sets: Int64, market: str) -> pa.Table:
        """Rows of some sets on one market, in the order of the table."""
        own = np.array([k for k, row in enumerate(self.rows) if row.market == market])
        return self.table.take((np.asarray(sets)[:, None] * len(self.rows) + own).ravel())

    def last(self, folds: Sequence[int]) -> Pooled:
        """The block that was appended last, pooled."""
        return self._pooled(self._arrays(self._tables[-1]), folds)

    def pooled(self, folds: Sequence[int]) -> Pooled:
        """All sets, pooled over folds."""
        if self._dense is None:
            self._dense = self._arrays(self.table)
        return self._pooled(self._dense, folds)

    def _arrays(self, table: pa.Table) -> dict[str, Float64]:
        """Columns as [P, R]; power sums in money, as a unit of account is worth something else in each market."""
        found = {
            name: table[name].to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, len(self.rows))
            for name in POOLED
        }
        for power, name in enumerate(SUMS):
            found[name] *= self._worth**power
        return found

    def _pooled(self, dense: dict[str, Float64], folds: Sequence[int]) -> Pooled:
        some = np.flatnonzero(np.isin(self._fold, list(folds)))
        summed = {name: dense[name][:, some].sum(axis=1) for name in POOLED if name not in ("drawdown", *SUMS)}
        times = [some[self._time[some] == time] for time in np.unique(self._time[some])]
        within = np.max([dense["drawdown"][:, rows].sum(axis=1) for rows in times], axis=0)
        ends = np.cumsum([np.zeros(len(dense["net"])), *(dense["net"][:, rows].sum(axis=1) for rows in times)], axis=0)
        between = np.max(np.maximum.accumulate(ends, axis=0) - ends, axis=0)
        moments = np.zeros((len(dense["net"]), len(self.legs), len(SUMS)))
        for v in range(len(self.legs)):
            own = some[self._stream[some] == v]
            moments[:, v] = np.stack([dense[name][:, own].sum(axis=1) for name in SUMS], axis=-1)
        return Pooled(**summed, drawdown=np.maximum(within, between), shape=_together(moments))


POOLED = ("net", *MONEY, "drawdown", "hold_s", "trades", "orders", "refused", "rejected", *SUMS)


def _together(moments: Float64) -> Shape:
    """Shape over streams, moments [P, L, 5]: exact for one; of several the means and the standard deviations add up.

    A stream that was there for fewer buckets than another did not move in the rest of them.
    """
    if moments.shape[1] > 1:
        moments = moments.copy()
        moments[..., r.BUCKETS] = moments[..., r.BUCKETS].max(axis=1, keepdims=True)
    each = shape_of(moments)
    if moments.shape[1] == 1:
        return Shape(*(part[:, 0] for part in each))
    n = np.maximum(moments[..., r.BUCKETS], 2.0)
    mean = moments[..., r.SUM1] / n
    variance = np.maximum(moments[..., r.SUM2] - moments[..., r.SUM1] ** 2 / n, 0.0) / (n - 1)
    total = np.sqrt(variance).sum(axis=1)
    return Shape(
        each.n[:, 0],
        np.where(total > 0, mean.sum(axis=1) / np.where(total > 0, total, 1.0), 0.0),
        each.skew.min(axis=1),
        each.kurtosis.max(axis=1),
    )


def _share(part: Float64, whole: Float64) -> Float64:
    return np.where(whole > 0, 1e4 * part / np.where(whole > 0, whole, 1.0), np.nan)
