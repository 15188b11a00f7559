"""The numbers of a simulated run under stable names, for summary.json and the console.

Axis legend: L legs, B samples of equity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64
from schwabot.simulation.outcome import EquityCurve, Outcome
from schwabot_kernels.simulate.records import (
    BUCKETS,
    CASH,
    DRAWDOWN2,
    EQUITY2,
    FEES,
    FILLED_LOTS,
    FILLS,
    FUNDING,
    HOLD_NS,
    ORDERS,
    POSITION,
    REFUSED,
    REJECTED,
    SLIPPAGE,
    SUM1,
    SUM2,
    TURNOVER,
)

YEAR_S = 365.25 * 86_400.0
"""These markets never close."""


def leg_totals(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Per traded stream what it came to, money in the currency it settles in.

    ``sharpe`` is the mean over the standard deviation of the changes of equity between samples, of which there are
    ``samples`` one ``bucket_s`` apart where the market moved at all, times the root of the buckets in a year. Over
    minutes or hours it is a ratio and no promise of anything.
    """
    found = {}
    bucket_s = outcome.rules.bucket_ns * 1e-9
    for v, (instrument, account) in enumerate(zip(outcome.instruments, outcome.accounts, strict=True)):
        counts, moments = outcome.counts[v], outcome.moments[v]
        unit = 0.0 if account is None else account.unit
        size = instrument.lot_size * (1.0 if instrument.inverse else instrument.contract_value)
        found[instrument.stream] = {
            "currency": instrument.base if instrument.inverse else instrument.quote,
            "net": 0.5 * unit * int(counts[EQUITY2]),
            "cash": unit * int(counts[CASH]),
            "fees": unit * int(counts[FEES]),
            "funding": unit * int(counts[FUNDING]),
            "slippage": unit * int(counts[SLIPPAGE]),
            "turnover": unit * int(counts[TURNOVER]),
            "max_drawdown": 0.5 * unit * int(counts[DRAWDOWN2]),
            "position": size * int(counts[POSITION]),
            "traded": size * int(counts[FILLED_LOTS]),
            "orders": int(counts[ORDERS]),
            "fills": int(counts[FILLS]),
            "refused": int(counts[REFUSED]),
            "rejected": int(counts[REJECTED]),
            "hold_s": int(counts[HOLD_NS]) * 1e-9,
            "samples": int(moments[BUCKETS]),
            "sharpe": sharpe_of(moments, bucket_s),
        }
    return found


def sharpe_of(moments: Float64, bucket_s: float) -> float:
    """Annualised Sharpe ratio from the sums of the changes of equity; NaN where nothing changed.

    Example:
        >>> round(sharpe_of(np.array([4.0, 4.0, 10.0, 0.0, 0.0]), YEAR_S), 6)  # changes 0, 0, 1, 3
        0.707107
    """
    n = moments[BUCKETS]
    if n < 2:
        return float("nan")
    mean = moments[SUM1] / n
    variance = (moments[SUM2] - n * mean * mean) / (n - 1)
    return float(mean / variance**0.5 * (YEAR_S / bucket_s) ** 0.5) if variance > 0 else float("nan")


def funding_note(funding_ns: Int64, first_ns: int, last_ns: int) -> str:
    """A note where no payment of a funding file fell into the run; "" where some did, or there is no file.

    Args:
        funding_ns: times of the payments. [F]
        first_ns: first row.
        last_ns: last row.

    Example:
        >>> funding_note(np.array([10, 90]), 20, 80)
        'note: none of the 2 payments of the funding file falls into the run'
    """
    inside = (funding_ns >= first_ns) & (funding_ns <= last_ns)
    if not len(funding_ns) or inside.any():
        return ""
    return f"note: none of the {len(funding_ns):,} payments of the funding file falls into the run"


def short_spot_note(instruments: Sequence[Instrument], least_lots: Sequence[int]) -> str:
    """A note where spot was sold that nobody held, which needs a loan; "" where none was.

    Args:
        instruments: of the L legs.
        least_lots: smallest position of each, in lots: ``counts[v, LEAST]``, over sets the smallest of them.

    Example:
        >>> perpetual = Instrument("x:BTC/USDT:USDT", 0.1, 1e-3)
        >>> short_spot_note([Instrument("x:BTC/USDT", 0.01, 1e-3), perpetual], [-20, -5])
        'note: spot sold short: assumed borrowed at no cost (x:BTC/USDT down to -0.02 BTC)'
    """
    short = [
        f"{one.stream} down to {int(least) * one.lot_size * one.contract_value:.6g} {one.base}"
        for one, least in zip(instruments, least_lots, strict=True)
        if one.is_spot and least < 0
    ]
    return f"note: spot sold short: assumed borrowed at no cost ({', '.join(short)})" if short else ""


def run_totals(outcome: Outcome, curve: EquityCurve, currency: str) -> dict[str, Any]:
    """The run as a whole, in one currency, and every leg."""
    money = curve.money(outcome.instruments, outcome.accounts)
    total = money.sum(axis=0)
    legs = leg_totals(outcome)
    peak = np.maximum.accumulate(np.maximum(total, 0.0)) if len(total) else total
    changes = np.diff(total, prepend=0.0)
    sums = np.array([len(changes), *(float((changes**k).sum()) for k in (1, 2, 3, 4))])
    return {
        "currency": currency,
        "net": float(total[-1]) if len(total) else 0.0,
        "max_drawdown": float((peak - total).max(initial=0.0)),
        "sharpe": sharpe_of(sums, outcome.rules.bucket_ns * 1e-9),
        "samples": len(changes),
        "orders": sum(leg["orders"] for leg in legs.values()),
        "fills": sum(leg["fills"] for leg in legs.values()),
        "refused": sum(leg["refused"] for leg in legs.values()),
        "rejected": sum(leg["rejected"] for leg in legs.values()),
        "legs": legs,
    }


def account_currency(outcome: Outcome) -> tuple[str, str]:
    """The currency the run is summed in, and a note where that takes an assumption.

    Legs are summed in their quote currencies. Where these differ they are taken one for one, and the note says so.
    """
    quotes = list(dict.fromkeys(one.quote for one in outcome.instruments))
    if len(quotes) == 1:
        return quotes[0], ""
    return quotes[0], f"note: {' and '.join(quotes)} are added up one for one; each stream's own numbers are exact"
