"""One venue of the synthetic market: what it sends, block by block, and when we receive it.

Axis legend: M rows of the venue in one block, Q quotes among them, C cells of a block of the path.

Rows are two arrays of columns, int64 [9, M] and int8 [2, M], so that a whole block moves at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import inf, log, pi

import numpy as np
import numpy.typing as npt

from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int8, Int64, Kind
from schwabot.ticks.efficient_price import CELLS, EfficientPrice

Bool = npt.NDArray[np.bool_]

RECV, EVENT, EMIT, BID, ASK, BID_LOTS, ASK_LOTS, PRICE, QTY = range(9)
KIND, SIDE = range(2)

GAP_NS = 2_000
"""Least time between two messages of one connection."""
BURST_GAP_NS = 150_000
"""Time between two messages of one cluster."""
SILENT_NS = 1e9
"""A quote after a longer silence always brings new prices."""
NOISE_MEMORY = 0.9
"""Share of the quotes' error that one price change hands to the next."""


@dataclass(frozen=True, slots=True)
class Venue:
    """What is true of one synthetic venue; times on our clock.

    Attributes:
        index: of the stream.
        instrument: what is traded.
        price: reference price that 0 bp stands for.
        rate_per_s: quotes and trades per second, on average.
        spread_bp: mean spread.
        size_lots: typical quantity at the touch.
        basis_bp: offset of the venue's price from the efficient price.
        basis_swing_bp: amplitude of a slow swing of it.
        basis_period_s: period of that swing.
        delay_ms: how late the venue follows the efficient price.
        noise_bp: standard deviation of the quotes' error.
        reprice_share: share of quotes that move a price.
        trade_share: share of events that are trades.
        clustered_share: share of events that follow the one before at once.
        latency_min_ms: least transport time.
        latency_jitter_ms: mean of the exponential part of transport.
        clock_offset_ms: our clock minus the venue's at the start, so that the lower envelope of receive
            minus emission time is ``clock_offset_ms + latency_min_ms``.
        clock_drift_ppm: how fast that offset grows.
        clock_wander_ms: how far it swings besides, from one end to the other.
        clock_wander_period_s: period of that swing.
        stamped_quotes: False = quotes carry no time.
        stamp_ms: resolution of stamps.
        outages_per_hour: mean number of silences.
        outage_s: their mean length.
        depth_interval_ms: time between depth rows; 0 = none.
        depth_phase: where in the interval they fall, 0 to 1.
        follows: share of the efficient price's moves that the venue's price makes; 0 for a rate.
    """

    index: int
    instrument: Instrument
    price: float
    rate_per_s: float
    spread_bp: float
    size_lots: float
    basis_bp: float
    basis_swing_bp: float
    basis_period_s: float
    delay_ms: float
    noise_bp: float
    reprice_share: float
    trade_share: float
    clustered_share: float
    latency_min_ms: float
    latency_jitter_ms: float
    clock_offset_ms: float
    clock_drift_ppm: float
    clock_wander_ms: float
    clock_wander_period_s: float
    stamped_quotes: bool
    stamp_ms: float
    outages_per_hour: float
    outage_s: float
    depth_interval_ms: float
    depth_phase: float
    follows: float = 1.0

    def basis_at(self, since_s: Float64) -> Float64:
        """Basis in bp, seconds after the start."""
        swing: Float64 = np.sin(2.0 * pi / self.basis_period_s * since_s)
        return self.basis_bp + self.basis_swing_bp * swing

    def clock_offset_at(self, since_s: Float64) -> Float64:
        """Our clock minus the venue's in ms, seconds after the start."""
        return self.clock_offset_ms + self.clock_drift_ppm * 1e-3 * since_s + self.clock_wander_at(since_s)

    def clock_wander_at(self, since_s: Float64) -> Float64:
        """What the swing adds to that, ms."""
        swing: Float64 = np.sin(2.0 * pi / self.clock_wander_period_s * since_s)
        return 0.5 * self.clock_wander_ms * swing


class VenueRows:
    """Makes the rows of one venue, one block of the path after the other.

    Args:
        venue: its constants.
        path: the efficient price it follows.
        seed: of its random numbers.
    """

    def __init__(self, venue: Venue, path: EfficientPrice, seed: int) -> None:
        self.venue = venue
        self.path = path
        self.seed = seed
        self._touch = (0, 0, 0, 0)  # bid, ask, bid lots, ask lots; none before the first quote
        self._noise_bp = 0.0
        self._last_quote_ns = -inf
        self._last_recv_ns = 0
        self._silent_until_ns = -inf
        self._pending: tuple[Int64, Int8] = (np.empty((9, 0), dtype=np.int64), np.empty((2, 0), dtype=np.int8))

    def received(self, k: int) -> tuple[Int64, Int8]:
        """Rows that we receive in block ``k``, in order; call with k = 0, 1, 2, …."""
        sent_longs, sent_bytes = self._sent(k)
        longs = np.concatenate([self._pending[0], sent_longs], axis=1)
        bytes_ = np.concatenate([self._pending[1], sent_bytes], axis=1)
        # Transport takes time, so all that this block receives has been sent by its end.
        end_ns = self.path.start_ns + (k + 1) * self.path.block_ns
        cut = int(np.searchsorted(longs[RECV], end_ns))
        self._pending = (longs[:, cut:].copy(), bytes_[:, cut:].copy())
        return longs[:, :cut], bytes_[:, :cut]

    def _sent(self, k: int) -> tuple[Int64, Int8]:
        """Rows that the venue sends in block ``k``."""
        venue = self.venue
        rng = np.random.default_rng([self.seed, 2, k, venue.index])
        begin_ns = self.path.start_ns + k * self.path.block_ns
        since, kind = self._arrivals(k, rng)
        talking = self._talking(since, begin_ns, rng)
        if not talking.all():
            since, kind = since[talking], kind[talking]
        if self._touch[0] == 0:
            # A venue starts with a quote: before it there is no touch to trade at or to show.
            first = int(np.argmax(kind == Kind.QUOTE)) if (kind == Kind.QUOTE).any() else len(kind)
            since, kind = since[first:], kind[first:]
        count = len(kind)
        ts_ns = begin_ns + since
        basis_bp = venue.basis_at((ts_ns - self.path.start_ns) / 1e9)
        fair_bp = venue.follows * self.path.at(ts_ns - round(venue.delay_ms * 1e6)) + basis_bp

        longs = np.zeros((9, count), dtype=np.int64)
        bytes_ = np.zeros((2, count), dtype=np.int8)
        bytes_[KIND] = kind
        quote = kind == Kind.QUOTE
        quotes, trades = np.flatnonzero(quote), np.flatnonzero(kind == Kind.TRADE)
        touch = self._touches(rng, ts_ns[quotes], fair_bp[quotes])
        shown = np.take(touch, np.cumsum(quote), axis=1)
        longs[BID : ASK_LOTS + 1] = shown
        longs[BID : ASK_LOTS + 1, trades] = 0

        # Traders know the price now, the venue's quotes follow late: that is why flow says something.
        mid = 0.5 * (shown[0, trades] + shown[1, trades]) * venue.instrument.tick_size
        ahead_bp = venue.follows * self.path.at(ts_ns[trades]) + basis_bp[trades] - np.log(mid / venue.price) * 1e4
        buys = rng.random(len(trades)) < 0.5 + 0.35 * np.tanh(ahead_bp)
        longs[PRICE, trades] = np.where(buys, shown[1, trades], shown[0, trades])
        longs[QTY, trades] = _lots(0.1 * venue.size_lots, rng.standard_normal(len(trades)))
        bytes_[SIDE, trades] = np.where(buys, 1, -1)

        emitted_ns = ts_ns + rng.exponential(0.2e6, count).astype(np.int64)
        transport_ns = venue.latency_min_ms * 1e6 + rng.exponential(venue.latency_jitter_ms * 1e6, count)
        recv_ns = emitted_ns + transport_ns.astype(np.int64)
        if count:
            # One connection delivers in order: what was sent later arrives later, by at least a gap.
            queue_ns = np.arange(1, count + 1) * GAP_NS
            recv_ns = np.maximum(np.maximum.accumulate(recv_ns - queue_ns), self._last_recv_ns) + queue_ns
            self._last_recv_ns = int(recv_ns[-1])
        longs[RECV] = recv_ns
        longs[EVENT] = self._stamp(ts_ns)
        longs[EMIT] = self._stamp(emitted_ns)
        if not venue.stamped_quotes:
            longs[EVENT : EMIT + 1, quotes] = MISSING_NS
        return longs, bytes_

    def _arrivals(self, k: int, rng: np.random.Generator) -> tuple[Int64, Int8]:
        """When things happen, ns since the start of block ``k``, sorted; and what."""
        venue, block_ns = self.venue, self.path.block_ns
        expected = np.concatenate([[0.0], np.cumsum(self.path.block(k).activity)])
        expected *= venue.rate_per_s * block_ns / 1e9 / CELLS
        count = int(rng.poisson(expected[-1]))
        when = np.interp(np.sort(rng.random(count)) * expected[-1], expected, np.linspace(0.0, block_ns, CELLS + 1))
        follows = rng.random(count) < venue.clustered_share
        follows[:1] = False
        index = np.arange(count)
        leader = np.maximum.accumulate(np.where(follows, 0, index))
        since = (when[leader] + (index - leader) * BURST_GAP_NS).astype(np.int64)
        since = np.sort(np.minimum(since, block_ns - 1))
        kind = np.where(rng.random(count) < venue.trade_share, Kind.TRADE, Kind.QUOTE).astype(np.int8)
        if venue.depth_interval_ms > 0:
            interval_ns = round(venue.depth_interval_ms * 1e6)
            phase_ns = int(interval_ns * venue.depth_phase)
            number = -(-(k * block_ns - phase_ns) // interval_ns)  # of the first one in this block
            depth = np.arange(number * interval_ns + phase_ns - k * block_ns, block_ns, interval_ns, dtype=np.int64)
            at = np.searchsorted(since, depth, side="right")
            since, kind = np.insert(since, at, depth), np.insert(kind, at, np.int8(Kind.DEPTH))
        return since, kind

    def _talking(self, since: Int64, begin_ns: int, rng: np.random.Generator) -> Bool:
        """Mark the rows that fall in no outage."""
        venue, block_ns = self.venue, self.path.block_ns
        talking: Bool = since + begin_ns >= self._silent_until_ns
        count = int(rng.poisson(venue.outages_per_hour / 3600.0 * block_ns / 1e9))
        starts, lengths = rng.random(count) * block_ns, rng.exponential(venue.outage_s * 1e9, count)
        for start, end in zip(starts.tolist(), (starts + lengths).tolist(), strict=True):
            talking &= (since < start) | (since >= end)
            self._silent_until_ns = max(self._silent_until_ns, begin_ns + end)
        return talking

    def _touches(self, rng: np.random.Generator, ts_ns: Int64, fair_bp: Float64) -> Int64:
        """Touch after each quote, with the one from before the block in front. [4, Q + 1]."""
        venue, tick = self.venue, self.venue.instrument.tick_size
        count = len(ts_ns)
        touch = np.empty((4, count + 1), dtype=np.int64)
        touch[:, 0] = self._touch
        if not count:
            return touch
        draws, normals = rng.random((2, count)), rng.standard_normal((2, count))
        moves = draws[0] < venue.reprice_share
        moves |= np.diff(ts_ns.astype(np.float64), prepend=self._last_quote_ns) > SILENT_NS
        rows = np.flatnonzero(moves)
        shocks = venue.noise_bp * (1.0 - NOISE_MEMORY**2) ** 0.5 * rng.standard_normal(len(rows))
        noise_bp = np.array(
            list(accumulate(shocks.tolist(), lambda old, new: NOISE_MEMORY * old + new, initial=self._noise_bp))
        )
        mid_ticks = venue.price / tick * np.exp((fair_bp[rows] + noise_bp[1:]) * 1e-4)
        spread = venue.spread_bp * 1e-4 * venue.price / tick * (0.5 + rng.exponential(0.5, len(rows)))
        spread_ticks = np.maximum(np.rint(spread), 1.0)
        bid = np.rint(mid_ticks - 0.5 * spread_ticks)
        # Quote i shows the prices of the last price change up to it, or those from before the block.
        last_move = np.cumsum(moves)
        touch[0, 1:] = np.concatenate([[self._touch[0]], bid])[last_move]
        touch[1, 1:] = np.concatenate([[self._touch[1]], bid + spread_ticks])[last_move]

        # More is bid than offered where the venue's own price is about to rise, so the microprice says something.
        mid_bp = np.log(0.5 * (touch[0, 1:] + touch[1, 1:]) * tick / venue.price) * 1e4
        tilt = 0.5 * np.tanh((fair_bp - mid_bp) / 0.5)
        index = np.arange(1, count + 1)
        for column, sign, changed in ((2, 1.0, moves | (draws[1] < 0.5)), (3, -1.0, moves | (draws[1] >= 0.5))):
            fresh = np.concatenate([touch[column, :1], _lots(venue.size_lots, normals[column - 2] + sign * tilt)])
            touch[column, 1:] = fresh[np.maximum.accumulate(np.where(changed, index, 0))]

        last = touch[:, -1].tolist()
        self._touch = (last[0], last[1], last[2], last[3])
        self._noise_bp = float(noise_bp[-1])
        self._last_quote_ns = float(ts_ns[-1])
        return touch

    def _stamp(self, ts_ns: Int64) -> Int64:
        """Read the venue's clock at times of ours."""
        venue = self.venue
        drift_ns = ((ts_ns - self.path.start_ns) * (venue.clock_drift_ppm * 1e-6)).astype(np.int64)
        if venue.clock_wander_ms:
            wander_ms = venue.clock_wander_at((ts_ns - self.path.start_ns) / 1e9)
            drift_ns += np.rint(1e6 * wander_ms).astype(np.int64)
        stamp_ns = round(venue.stamp_ms * 1e6)
        stamps: Int64 = (ts_ns - round(venue.clock_offset_ms * 1e6) - drift_ns) // stamp_ns * stamp_ns
        return stamps


def _lots(typical: float, normal: Float64) -> Int64:
    """Draw log-normal quantities of at least one lot."""
    return np.maximum(np.exp(log(max(typical, 1.0)) + 0.8 * normal), 1.0).astype(np.int64)
