"""What a simulated run came to, in the users' units: equity, fills, orders and their shortfall, round trips.

The kernel keeps integers; this is where they become prices, quantities and money.

Axis legend: N rows of the market, L legs, B samples of equity, F fills, O orders.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64, Kind
from schwabot.simulation.accounts import Account
from schwabot.simulation.decimals import in_units
from schwabot_kernels.simulate.records import Market, Rules
from schwabot_kernels.simulate.state import (
    FILL_FEE,
    FILL_LEG,
    FILL_LOTS,
    FILL_ORDER,
    FILL_PRICE,
    FILL_REPORT_NS,
    FILL_ROW,
    FILL_SIDE,
)

MOVE_LEG, MOVE_ROW, MOVE_LOTS, MOVE_PRICE = range(4)
"""Columns of ``Outcome.moves``; the price is in ticks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulated run.

    Attributes:
        market: what was traded on.
        instruments, accounts: of the L legs.
        rules: what trading cost and how long it took; row 0 counts.
        counts, moments: see ``schwabot_kernels.simulate.records``. [L, ...]
        fills: log of fills. [F, columns] int64
        orders: log of orders. [O, columns] int64
        lanes: conviction of each leg at every row. [L, N] int8
        rows: rows that were played.
        moves: what changed a position at a real venue and is no fill: what was held at the start, lots that were taken
            as fees. Columns ``MOVE_...``. [M, 4] int64
    """

    market: Market
    instruments: tuple[Instrument, ...]
    accounts: tuple[Account | None, ...]
    rules: Rules
    counts: Int64
    moments: Float64
    fills: Int64
    orders: Int64
    lanes: np.ndarray[tuple[int, int], np.dtype[np.int8]]
    rows: int
    moves: Int64 = field(default_factory=lambda: np.empty((0, 4), np.int64))

    def booked(self, v: int) -> Int64:
        """Fills and moves of leg v, in the order of rows, with the columns of fills; a move's order is -1."""
        fills: Int64 = self.fills[self.fills[:, FILL_LEG] == v]
        moves = self.moves[self.moves[:, MOVE_LEG] == v]
        if not len(moves):
            return fills
        rows = np.zeros((len(moves), fills.shape[1]), np.int64)
        rows[:, FILL_ORDER], rows[:, FILL_LEG], rows[:, FILL_ROW] = -1, v, moves[:, MOVE_ROW]
        rows[:, FILL_SIDE], rows[:, FILL_LOTS] = np.sign(moves[:, MOVE_LOTS]), np.abs(moves[:, MOVE_LOTS])
        rows[:, FILL_PRICE], rows[:, FILL_REPORT_NS] = moves[:, MOVE_PRICE], self.market.ts_ns[moves[:, MOVE_ROW]]
        both = np.concatenate([fills, rows])
        ordered: Int64 = both[np.argsort(both[:, FILL_ROW], kind="stable")]
        return ordered


@dataclass(frozen=True, slots=True)
class EquityCurve:
    """Equity and position of every leg at the last row of each ``bucket_s``.

    Attributes:
        ts_ns: receive time of that row. [B]
        position_lots: as reported by then. [L, B]
        equity2: twice the equity in account units, exactly as the kernel had it. [L, B]
        mid: mid price then, in quote currency; NaN before the first quote. [L, B]
    """

    ts_ns: Int64
    position_lots: Int64
    equity2: Int64
    mid: Float64

    def money(self, instruments: tuple[Instrument, ...], accounts: tuple[Account | None, ...]) -> Float64:
        """Equity of every leg in its quote currency; an inverse contract's base asset is valued at the mid. [L, B]."""
        out = np.zeros(self.equity2.shape)
        for v, (instrument, account) in enumerate(zip(instruments, accounts, strict=True)):
            if account is not None:
                out[v] = 0.5 * account.unit * self.equity2[v]
                if instrument.inverse:
                    out[v] *= np.where(np.isnan(self.mid[v]), 0.0, self.mid[v])
        return out


def worth(price_ticks: Int64, scale: int, inverse: bool) -> Int64:
    """w(p), see ``Rules.scale``.

    Example:
        >>> worth(np.array([50, 60]), 10, False).tolist(), worth(np.array([50, 60]), 100_000, True).tolist()
        ([500, 600], [-2000, -1666])
    """
    return -(scale // price_ticks) if inverse else price_ticks * scale


def sample_rows(ts_ns: Int64, bucket_ns: int) -> Int64:
    """The last row of every interval of receive time that has rows. [B].

    Example:
        >>> sample_rows(np.array([1, 5, 11, 12, 35]), 10).tolist()
        [1, 3, 4]
    """
    if not len(ts_ns):
        return np.empty(0, np.int64)
    bucket = ts_ns // bucket_ns
    return np.append(np.flatnonzero(bucket[1:] != bucket[:-1]), len(ts_ns) - 1)


def equity_curve(outcome: Outcome, bucket_ns: int | None = None) -> EquityCurve:
    """Equity at samples, from the log of fills; at the kernel's own samples the same integers as the kernel's.

    Args:
        outcome: of the run.
        bucket_ns: another interval than the run's own.
    """
    market = outcome.market
    rows = sample_rows(market.ts_ns[: outcome.rows], bucket_ns or int(outcome.rules.bucket_ns))
    legs = len(outcome.instruments)
    position, equity2 = np.zeros((legs, len(rows)), np.int64), np.zeros((legs, len(rows)), np.int64)
    mid = np.full((legs, len(rows)), np.nan)
    for v in range(legs):
        quotes = np.flatnonzero((market.leg[: outcome.rows] == v) & (market.kind[: outcome.rows] == Kind.QUOTE))
        if not len(quotes):
            continue
        known = quotes[np.maximum(np.searchsorted(quotes, rows, side="right") - 1, 0)]
        seen = rows >= quotes[0]
        at, lots, cash = _booked(outcome, v, quotes)
        done = np.searchsorted(at, rows, side="right")
        position[v] = np.concatenate([[0], np.cumsum(lots)])[done]
        held = np.concatenate([[0], np.cumsum(cash)])[done]
        equity2[v] = np.where(seen, 2 * held + position[v] * market.mark[known], 0)
        tick = outcome.instruments[v].tick_size
        mid[v] = np.where(seen, in_units(market.bid[known] + market.ask[known], tick, over=2), np.nan)
    return EquityCurve(market.ts_ns[rows], position, equity2, mid)


def _booked(outcome: Outcome, v: int, quotes: Int64) -> tuple[Int64, Int64, Int64]:
    """Rows at which the account of leg v changed, and by how many lots and units of cash, in order."""
    rules = outcome.rules
    fills = outcome.booked(v)
    lots = fills[:, FILL_SIDE] * fills[:, FILL_LOTS]
    cash = -lots * worth(fills[:, FILL_PRICE], int(rules.scale[v]), bool(rules.inverse[v])) - fills[:, FILL_FEE]
    at = fills[:, FILL_ROW]
    due = np.flatnonzero(rules.funding_leg == v)
    if not len(due):
        return at, lots, cash
    ts_ns = outcome.market.ts_ns[: outcome.rows]
    paid_at = np.searchsorted(ts_ns, rules.funding_ns[due], side="left")
    paid_at, due = paid_at[paid_at < outcome.rows], due[paid_at < outcome.rows]
    held = np.concatenate([[0], np.cumsum(lots)])[np.searchsorted(at, paid_at, side="right")]
    payments = [
        0 if row < quotes[0] else -_funding(int(position), int(outcome.market.mark[known]), int(rate))
        for row, position, rate, known in zip(
            paid_at,
            held,
            rules.funding_e9[due],
            quotes[np.maximum(np.searchsorted(quotes, paid_at, side="right") - 1, 0)],
            strict=True,
        )
    ]
    at = np.concatenate([at, paid_at])
    order = np.argsort(at, kind="stable")  # fills of a row are booked before what falls due at it
    zero = np.zeros(len(due), np.int64)
    return (
        at[order],
        np.concatenate([lots, zero])[order],
        np.concatenate([cash, np.array(payments, np.int64)])[order],
    )


def _funding(position: int, mark: int, rate_e9: int) -> int:
    """What a position pays, rounded against us; Python's integers do not overflow."""
    return -(-(position * abs(mark) * rate_e9) // (2 * 10**9))
