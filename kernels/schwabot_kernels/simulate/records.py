"""What the simulator is given and what it keeps: arrays and their columns.

Axis legend: N rows of the market in receive order, L legs (the streams that are traded), S signals the policy reads,
P parameter sets, K order slots of a leg, Q entries of a latency table, F funding payments.
"""

from __future__ import annotations

from typing import NamedTuple

from schwabot_kernels.arrays import F64, I8, I32, I64

SLOTS = 8
"""Orders of one leg that may be open at once, K."""
CALLS = 8
"""Times a policy is asked again at one event while it keeps on answering."""
FAR_NS = 2**63 - 1
"""Later than everything."""


class Market(NamedTuple):
    """The recorded market, quotes and trades of all streams in receive order. Rows beyond those known hold anything.

    ts_ns: when we received it. venue_ns: venue time on our clock, non-decreasing per stream. [N]
    leg: which traded stream it is of, -1 of one that is not traded. kind: 0 quote, 1 trade. side: of a trade's
        aggressor, 0 unknown. [N]
    bid, ask, bid_lots, ask_lots: of quotes; 0 in trades. Lots of 0 in a quote are unknown. [N]
    price, lots: of trades; 0 in quotes. [N]
    mark: w(bid) + w(ask) of a traded stream's quote, see ``Rules.scale``; 0 otherwise. [N]
    next_row: next row of the same leg, -1 where there is none (yet). [N]
    signals: what the policy reads, per leg. [L, S, N]
    """

    ts_ns: I64
    venue_ns: I64
    leg: I8
    kind: I8
    side: I8
    bid: I64
    ask: I64
    bid_lots: I64
    ask_lots: I64
    price: I64
    lots: I64
    mark: I64
    next_row: I32
    signals: F64


CONSTANT, TABLE, DATA = 0, 1, 2
"""Latency models: constant; drawn from a table of quantiles; the feed delay of the last row of the leg."""
RISK_AVERSE, PROPORTIONAL = 0, 1
"""Queue models: cancelled quantity leaves behind us; or ahead and behind in proportion to what is there."""


class Rules(NamedTuple):
    """What trading costs and how long it takes; one row per parameter set, all integers.

    entry_ns, response_ns: from decision to exchange, and back; on top of what the model gives. [P, L]
    taker_e7, maker_e7: fees in 1e-7 of the notional; rebates are negative. [P, L]
    model: latency model of entry and response. tables: entry, response; quantiles in ns, evenly spaced. [2, Q]
    seed: of the draws; two runs of one seed give order number n the same latency.
    scale: accounts of a linear contract are in 1/scale of lot x tick: w(p) = p scale. Of an inverse contract
        w(p) = -(scale // p), so that lots * (w(exit) - w(entry)) is the gain of either. [L]
    inverse: 1 = inverse contract. [L]
    max_lots: largest position; an order that could exceed it is refused. While a run goes on on paper it may be turned
        negative, by which only orders that make a position smaller pass, or 0: none. [L]
    protection_e7: how far beyond the known touch a ``take`` without a price may go, in 1e-7 of the price.
    queue: queue model.
    bucket_ns: equity is sampled at the last row of every such interval of receive time (from 0 UTC).
    funding_ns, funding_leg, funding_e9: rate in 1e-9 of the notional that a long position pays at that time; in order
        of time. [F]
    """

    entry_ns: I64
    response_ns: I64
    taker_e7: I64
    maker_e7: I64
    model: int
    tables: I64
    seed: int
    scale: I64
    inverse: I8
    max_lots: I64
    protection_e7: int
    queue: int
    bucket_ns: int
    funding_ns: I64
    funding_leg: I64
    funding_e9: I64


# Columns of Result.counts, per leg. Money is in account units of the leg, see Rules.scale.
CASH = 0  # what was received less what was paid, fees and funding taken off
POSITION = 1  # lots, negative = short
ORDERS = 2  # new orders sent (takes and posts)
FILLS = 3
FEES = 4  # paid; rebates negative
FUNDING = 5  # paid
TURNOVER = 6  # lots |w(price)|
FILLED_LOTS = 7
SLIPPAGE = 8  # side (w(fill) - w(touch at the decision)) lots over taker fills, positive = it cost
REFUSED = 9  # intents that were not sent: too large a position, no free slot, no price, bad order
REJECTED = 10  # orders the exchange sent back or that ended without a fill: crossing post, unknown level, limit
HOLD_NS = 11  # time with a position
EQUITY2 = 12  # twice the equity at the last row: 2 cash + position * mark
PEAK2 = 13  # largest of it so far, at least 0
DRAWDOWN2 = 14  # largest fall from the peak
GROSS = 15  # size of all that was added to sums: of fills value, fee, slippage; of funding what was paid
LEAST = 16  # smallest position, at most 0: how far short it was
COUNTS = 17
MOST_GROSS = 2**61
"""Where GROSS stays once it is there: then a sum may have left 64 bits, and the counts are not to be used."""

# Columns of Result.moments, per leg: over buckets, of the change of twice the equity as a float.
BUCKETS, SUM1, SUM2, SUM3, SUM4 = 0, 1, 2, 3, 4
MOMENTS = 5


class Result(NamedTuple):
    """What one parameter set came to.

    counts [L, COUNTS] int64; moments [L, MOMENTS] float64.
    """

    counts: I64
    moments: F64


class Fills(NamedTuple):
    """Every fill and every order of a run, if asked for; columns in README. [capacity, columns] int64."""

    fills: I64
    orders: I64


class Seen(NamedTuple):
    """What every policy sees of an event of one leg; signals follow it. A generated ``event_of`` makes the event of it.

    ts_ns: receive time. leg: which leg is asked. own: 1 = the row is of this leg. kind: of the row, 0 quote, 1 trade.
    bid_ticks, ask_ticks, bid_lots, ask_lots: last known touch of the leg; mid_ticks: between the prices.
    trade_ticks, trade_lots, trade_side: the row's trade if it is one of this leg, else 0.
    bids, asks: last known touches of all legs, 0 = none yet. [L]
    """

    ts_ns: int
    leg: int
    own: int
    kind: int
    bid_ticks: int
    ask_ticks: int
    bid_lots: int
    ask_lots: int
    mid_ticks: float
    trade_ticks: int
    trade_lots: int
    trade_side: int
    bids: I64
    asks: I64


class Standing(NamedTuple):
    """What a policy knows of itself on one leg: only what was reported to it.

    position: lots, negative = short. in_flight: requests without an answer. buy_lots, sell_lots: open lots, sent or
    resting. buy_order, sell_order: slot of the newest open post of that side, -1 = none; buy_ticks, sell_ticks: its
    price. entry_ticks: average price of the position, 0 = none. equity: of the leg, account units. fills: so far.
    last_fill_ns, last_order_ns: -1 = never. start_ns: first row's time. call: how often it was asked before at this
    event. positions: of all legs [L]. orders: of this leg, see README [K, columns]. memory: its own floats [M].
    """

    position: int
    in_flight: int
    buy_lots: int
    sell_lots: int
    buy_order: int
    sell_order: int
    buy_ticks: int
    sell_ticks: int
    entry_ticks: float
    equity: float
    fills: int
    last_fill_ns: int
    last_order_ns: int
    start_ns: int
    call: int
    positions: I64
    orders: I64
    memory: F64
