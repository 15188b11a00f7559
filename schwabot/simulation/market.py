"""The recorded market as the simulator reads it: grown batch by batch, from ticks and what the graph said of them.

Axis legend: N rows (quotes and trades in receive order), V streams, L legs (traded streams), S signals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schwabot.errors import ConfigError, DataError
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int64, Kind, Row, Ticks
from schwabot.simulation.accounts import Account, open_account
from schwabot_kernels.simulate.records import Market

Column = Callable[[SignalColumns], Float64]
"""Takes one signal of one leg out of the graph's answers: [N] float64."""
FIRST_CAPACITY = 1 << 16
_DEPTH, _QUOTE = int(Kind.DEPTH), int(Kind.QUOTE)  # looked up once: a member of an enum is a call of Python code


class MarketBuilder:
    """Rows of the market in arrays that grow.

    Where a stream's venue time is not known, as before the first stamp of its venue, its receive time is taken, which
    is later: our orders then meet a book that is too old. ``unstamped`` counts such rows. [L]

    Args:
        instruments: V instruments of the source.
        legs: streams that are traded.
        signals: per leg the signals the policy reads, in its order: how to take each from a record; None = NaN for now.
        max_notional: see ``schwabot.simulation.settings.SimulationConfig``.
        rows: rows to come, if known: then nothing has to be copied.

    Raises:
        ConfigError: a leg is not in the source, twice, or has no quotes.

    Example:
        >>> from schwabot.pipeline import Pipeline
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=3000))
        >>> pipeline, leg = Pipeline(feed.instruments), feed.instruments[1].stream
        >>> builder = MarketBuilder(feed.instruments, [leg], [[lambda signals: signals.deviation_bp[:, 1]]], 1e5)
        >>> for ticks in feed.batches(1000):
        ...     builder.append(ticks, pipeline.step(ticks))
        >>> builder.rows, builder.market.signals.shape, builder.accounts[0].currency
        (3000, (1, 1, 3000), 'USDT')
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        legs: Sequence[str],
        signals: Sequence[Sequence[Column | None]],
        max_notional: float,
        rows: int | None = None,
    ) -> None:
        self.streams = streams = [instrument.stream for instrument in instruments]
        self.known: Sequence[str] = streams
        """Streams that a funding file may name: more than ``streams`` where this is a part of the source."""
        for leg in legs:
            if leg not in streams:
                raise ConfigError(f"policy.trade: {leg} is not in the source, which has {', '.join(streams)}")
        if len(set(legs)) != len(legs):
            raise ConfigError(f"policy.trade names a stream twice: {', '.join(legs)}")
        if not legs:
            raise ConfigError("policy.trade is empty: name the stream to trade")
        self.instruments = tuple(instruments[streams.index(leg)] for leg in legs)
        for instrument in self.instruments:
            if instrument.trades_only:
                raise ConfigError(f"policy.trade: {instrument.stream} has no quotes in this source, only trades")
        self._stream_of = [streams.index(leg) for leg in legs]
        self._leg_of = np.full(len(streams), -1, np.int8)
        self._leg_of[self._stream_of] = np.arange(len(legs))
        self._leg_of_list = self._leg_of.tolist()
        self._columns = signals
        self._max_notional = max_notional
        self.accounts: list[Account | None] = [None] * len(legs)
        self.scale = np.ones(len(legs), np.int64)
        self.inverse = np.array([instrument.inverse for instrument in self.instruments], np.int8)
        self.max_lots = np.zeros(len(legs), np.int64)
        self.rows = 0
        self.size_unknown = np.zeros(len(legs), np.bool_)
        self.unstamped = np.zeros(len(legs), np.int64)
        self._last_venue_ns = np.full(len(legs), MISSING_NS)
        self._last_row = np.full(len(legs), -1, np.int64)
        self._all = _empty(len(legs), len(signals[0]), max(rows or FIRST_CAPACITY, 1))
        self._lanes = np.zeros((len(legs), len(self._all.ts_ns)), np.int8)

    @property
    def market(self) -> Market:
        """The rows known so far, without copying."""
        arrays = {name: getattr(self._all, name)[..., : self.rows] for name in Market._fields if name != "signals"}
        signals = self._all.signals
        if signals.shape[2] != self.rows:  # kernels want one contiguous block
            signals = np.ascontiguousarray(signals[:, :, : self.rows])
        return Market(**arrays, signals=signals)

    @property
    def room(self) -> Market:
        """The arrays with the room behind the known rows, for kernels that are told ``n_known``."""
        return self._all

    @property
    def lanes(self) -> npt.NDArray[np.int8]:
        """Conviction of each leg at every row. [L, N]."""
        return self._lanes[:, : self.rows]

    def append(self, ticks: Ticks, record: StepRecord) -> None:
        """Take one batch.

        Raises:
            ConfigError: a leg's largest position is out of what its account can hold.
            DataError: a price moved so far that the account can't hold it.
        """
        chosen = np.flatnonzero(ticks.kind != Kind.DEPTH)
        count = len(chosen)
        if not count:
            return
        first, end = self.rows, self.rows + count
        self._make_room(end)
        market, rows = self._all, slice(first, end)
        leg = self._leg_of[ticks.stream[chosen]]
        traded = leg >= 0
        market.ts_ns[rows] = record.ts_recv_ns
        market.venue_ns[rows] = record.ts_venue_ns
        market.leg[rows] = leg
        market.kind[rows] = ticks.kind[chosen]
        market.side[rows] = ticks.side[chosen]
        for name, source in (
            ("bid", ticks.bid_ticks),
            ("ask", ticks.ask_ticks),
            ("bid_lots", ticks.bid_lots),
            ("ask_lots", ticks.ask_lots),
            ("price", ticks.price_ticks),
            ("lots", ticks.qty_lots),
        ):
            getattr(market, name)[rows] = np.where(traded, source[chosen], 0)
        for v in range(len(self.instruments)):
            self._mark(v, first + np.flatnonzero(leg == v))
            for s, column in enumerate(self._columns[v]):
                if column is not None:
                    market.signals[v, s, rows] = column(record.signals)
        self._lanes[:, rows] = record.signals.lane[:, self._stream_of].T
        self.rows = end

    def append_row(self, row: Row, signals: SignalColumns) -> None:
        """``append`` of one row and the graph's answer to it [1], without the cost of arrays.

        Raises:
            ConfigError, DataError: as ``append``.
        """
        if row.kind == _DEPTH:
            return
        n = self.rows
        self._make_room(n + 1)
        market, v = self._all, self._leg_of_list[row.stream]
        market.ts_ns[n], market.venue_ns[n] = row.ts_recv_ns, row.ts_venue_ns
        market.leg[n], market.kind[n], market.side[n] = v, row.kind, row.side
        if v >= 0:
            market.bid[n], market.ask[n] = row.bid_ticks, row.ask_ticks
            market.bid_lots[n], market.ask_lots[n] = row.bid_lots, row.ask_lots
            market.price[n], market.lots[n] = row.price_ticks, row.qty_lots
            self._mark_row(v, n, row)
        for leg, columns in enumerate(self._columns):
            for s, column in enumerate(columns):
                if column is not None:
                    market.signals[leg, s, n] = column(signals)[0]
        for leg, stream in enumerate(self._stream_of):
            self._lanes[leg, n] = signals.lane[0, stream]
        self.rows = n + 1

    def _mark_row(self, v: int, n: int, row: Row) -> None:
        """``_mark`` of one row."""
        market, before = self._all, int(self._last_row[v])
        if before >= 0:
            market.next_row[before] = n
        market.next_row[n] = -1
        self._last_row[v] = n
        venue_ns, last_ns = row.ts_venue_ns, int(self._last_venue_ns[v])
        if venue_ns == MISSING_NS:
            self.unstamped[v] += 1
            venue_ns = row.ts_recv_ns
        market.venue_ns[n] = self._last_venue_ns[v] = max(venue_ns, last_ns)
        if row.kind != _QUOTE:
            return
        account = self.accounts[v] or self._open(v, row.ask_ticks)
        self._check_price(v, account, row.bid_ticks, row.ask_ticks)
        if not (row.bid_lots and row.ask_lots):
            self.size_unknown[v] = True
        if self.inverse[v]:
            market.mark[n] = -(account.scale // row.bid_ticks) - account.scale // row.ask_ticks
        else:
            market.mark[n] = (row.bid_ticks + row.ask_ticks) * account.scale

    def _open(self, v: int, ask_ticks: int) -> Account:
        account = open_account(self.instruments[v], ask_ticks, self._max_notional)
        self.accounts[v], self.scale[v], self.max_lots[v] = account, account.scale, account.max_lots
        return account

    def _check_price(self, v: int, account: Account, bid_ticks: int, ask_ticks: int) -> None:
        if ask_ticks > account.max_ticks or bid_ticks < account.max_ticks // (16 * 16):
            instrument = self.instruments[v]
            raise DataError(
                f"{instrument.stream} at {bid_ticks * instrument.tick_size:.8g}: more than 16 times its first"
                " price or less than a 16th; accounts are exact within that: begin the run later, or end it earlier"
            )

    def _mark(self, v: int, own: Int64) -> None:
        """Fill in what rows of leg v are worth in account units, and chain them."""
        if not len(own):
            return
        market = self._all
        chain = own if self._last_row[v] < 0 else np.concatenate([self._last_row[v : v + 1], own])
        market.next_row[chain[:-1]] = chain[1:]
        market.next_row[own[-1]] = -1
        self._last_row[v] = own[-1]
        self._stamp(v, own)
        quotes = own[market.kind[own] == Kind.QUOTE]
        if not len(quotes):
            return
        bid, ask = market.bid[quotes], market.ask[quotes]
        account = self.accounts[v] or self._open(v, int(ask[0]))
        far = int(np.argmax((ask > account.max_ticks) | (bid < account.max_ticks // (16 * 16))))  # the first, if any
        self._check_price(v, account, int(bid[far]), int(ask[far]))
        self.size_unknown[v] |= bool((market.bid_lots[quotes] == 0).any() | (market.ask_lots[quotes] == 0).any())
        if self.inverse[v]:
            market.mark[quotes] = -(account.scale // bid) - account.scale // ask
        else:
            market.mark[quotes] = (bid + ask) * account.scale

    def _stamp(self, v: int, own: Int64) -> None:
        """Where no venue time is known, take the receive time, which is later; never run backwards."""
        market = self._all
        venue_ns = market.venue_ns[own]
        unknown = venue_ns == MISSING_NS
        self.unstamped[v] += unknown.sum()
        venue_ns = np.maximum.accumulate(np.where(unknown, market.ts_ns[own], venue_ns))
        market.venue_ns[own] = np.maximum(venue_ns, self._last_venue_ns[v])
        self._last_venue_ns[v] = market.venue_ns[own[-1]]

    def forget_all_but(self, kept: Int64) -> None:
        """Drop all rows but these, which get the numbers 0, 1, ...; who knows rows by number has to learn the new ones.

        Args:
            kept: numbers of rows, ascending.
        """
        market, count = self._all, len(kept)
        for name in Market._fields:
            values = getattr(market, name)
            values[..., :count] = values[..., kept]
        self._lanes[:, :count] = self._lanes[:, kept]
        self.rows = count
        for v in range(len(self.instruments)):
            own = np.flatnonzero(market.leg[:count] == v)
            market.next_row[own[:-1]] = own[1:]
            market.next_row[own[-1:]] = -1
            self._last_row[v] = own[-1] if len(own) else -1

    def _make_room(self, rows: int) -> None:
        before = self._all
        capacity = len(before.ts_ns)
        if rows <= capacity:
            return
        legs, signals, _ = before.signals.shape
        self._all = _empty(legs, signals, max(rows, 2 * capacity))
        for name in Market._fields:
            getattr(self._all, name)[..., : self.rows] = getattr(before, name)[..., : self.rows]
        lanes = self._lanes
        self._lanes = np.zeros((legs, len(self._all.ts_ns)), np.int8)
        self._lanes[:, : self.rows] = lanes[:, : self.rows]


def _empty(legs: int, signals: int, capacity: int) -> Market:
    sizes: dict[str, Any] = dict.fromkeys(Market._fields[:-2], np.int64) | dict.fromkeys(
        ("leg", "kind", "side"), np.int8
    )
    arrays: dict[str, Any] = {name: np.zeros(capacity, size) for name, size in sizes.items()}
    next_row = np.full(capacity, -1, np.int32)
    return Market(**arrays, next_row=next_row, signals=np.full((legs, signals, capacity), np.nan))
