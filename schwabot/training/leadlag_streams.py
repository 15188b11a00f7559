"""Lead-lag of every pair of streams of a feed, on receive time and on the venues' time.

Axis legend: N rows of a batch, V streams, n prices kept.

What is kept of a stream is (time, price) on either clock, 32 bytes together, and of a run of equal prices only its two
ends. About nine in ten quotes repeat both prices, so that ten million quotes take some 60 MB.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from schwabot.errors import ConfigError, DataError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int64, Kind, Ticks
from schwabot.ticks.merge import cut
from schwabot.ticks.venue_clock import VenueClock, VenueClockConfig
from schwabot.training.leadlag import LagGrid, LeadLag, LeadLagConfig, lead_lag
from schwabot.training.leadlag_sums import SumsDevice
from schwabot.training.price_series import Series, last_of_stamp, repeats, to_series

CLOCKS = ("receive", "event")
MID, LAST = "mid", "last"
PairProgress = Callable[[int, int, float], None]
"""Told pairs done, pairs in all, and share of the work."""
LEAST_MOVES = 10
"""A price that moved less often says nothing about a lead."""


class _Prices:
    """Prices of one stream on one clock, as they come; what is kept does not depend on the batches."""

    def __init__(self, resolution_ns: int) -> None:
        self._resolution_ns = resolution_ns
        self.stamps = 0
        self._done: list[tuple[Int64, Float64]] = []
        self._open: tuple[Int64, Float64] = np.zeros(0, np.int64), np.zeros(0)
        self._kept = 0

    def add(self, ts_ns: Int64, price: Float64) -> None:
        """Take prices not earlier than those before."""
        if not len(ts_ns):
            return
        time, values = (np.concatenate(both) for both in zip(self._open, (ts_ns, price), strict=True))
        before = len(self._open[0])
        self.stamps += int(np.count_nonzero(np.diff(time[max(0, before - 1) :] // self._resolution_ns)))
        self.stamps += before == 0
        time, values = last_of_stamp(time, values, self._resolution_ns)
        # The last price may yet be replaced by one of the same stamp: nothing is decided that rests on it.
        inner = repeats(values)
        inner[-2:] = False
        time, values = time[~inner], values[~inner]
        # Three stay open, so that the first of them is the neighbour of the first that is not decided.
        if len(time) > 3:
            self._done.append((time[:-3], values[:-3]))
            self._kept += len(time) - 3
            # Each part is at least twice the next: a price takes 16 bytes even where batches hold one event each.
            while len(self._done) > 1 and len(self._done[-2][0]) < 2 * len(self._done[-1][0]):
                last, before_it = self._done.pop(), self._done.pop()
                self._done.append((np.concatenate([before_it[0], last[0]]), np.concatenate([before_it[1], last[1]])))
        self._open = time[-3:], values[-3:]

    def __len__(self) -> int:
        return self._kept + len(self._open[0])

    def take(self) -> tuple[Int64, Float64]:
        """All prices kept, handed over."""
        parts, self._done = [*self._done, self._open], []
        time, values = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        return time, values


class PriceCollector:
    """Collects the prices of every stream, on receive time and on the venue's time on our clock.

    Args:
        instruments: V instruments of the feed.
        config: which price, how many.
        clock: settings of the venue clocks.
        another: what to do where there is one stream only.

    Raises:
        ConfigError: one stream only, or a price that a stream does not have.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=3_000, streams=2))
        >>> prices = PriceCollector(feed.instruments, LeadLagConfig())
        >>> for ticks in feed.batches():
        ...     prices.update(ticks)
        >>> sorted(series.name for series in prices.series("event"))
        ['synthetic_a:BTC/USDT', 'synthetic_b:BTC/USDT:USDT']
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: LeadLagConfig,
        clock: VenueClockConfig | None = None,
        another: str = "add another one of the same asset",
    ) -> None:
        self.instruments, self.config = tuple(instruments), config
        names = [instrument.stream for instrument in self.instruments]
        if len(names) < 2:
            raise ConfigError(f"lead-lag compares streams, and the source has one only ({', '.join(names)}): {another}")
        without = [instrument.stream for instrument in self.instruments if instrument.trades_only]
        if config.price == MID and without:
            raise ConfigError(
                f"leadlag.price=mid: {', '.join(without[:3])} has prices only, no bid and ask: use leadlag.price=last"
            )
        self.price_of = {
            instrument.stream: (LAST if instrument.trades_only else MID) if config.price == "auto" else config.price
            for instrument in self.instruments
        }
        self._clock = VenueClock(self.instruments, clock or VenueClockConfig())
        self._prices = {name: {clock: _Prices(config.resolution_ns) for clock in CLOCKS} for name in names}
        self._other = dict.fromkeys(names, 0)
        self._stamped = dict.fromkeys(names, 0)
        self._rows = dict.fromkeys(names, 0)
        self.left_out: dict[str, dict[str, str]] = {clock: {} for clock in CLOCKS}
        """Clock → stream → why it is in no pair."""

    def update(self, ticks: Ticks) -> None:
        """Take one batch, up to the row at which there is no more room: the same one for any batches."""
        start = 0
        while start < len(ticks) and self.room > 0:
            stop = min(len(ticks), start + self.room)  # a row takes one place at most
            self._take(ticks if stop - start == len(ticks) else cut(ticks, start, stop))
            start = stop

    def _take(self, ticks: Ticks) -> None:
        ts_venue_ns, _ = self._clock.update(ticks)
        for number, instrument in enumerate(self.instruments):
            name = instrument.stream
            kind = Kind.QUOTE if self.price_of[name] == MID else Kind.TRADE
            own = (ticks.stream == number) & (ticks.kind != Kind.DEPTH)
            rows = np.flatnonzero(own & (ticks.kind == kind))
            self._other[name] += int(np.count_nonzero(own)) - len(rows)
            self._rows[name] += len(rows)
            if kind == Kind.QUOTE:
                half_ticks = ticks.bid_ticks[rows] + ticks.ask_ticks[rows]
            else:
                half_ticks = 2 * ticks.price_ticks[rows]
            price: Float64 = np.multiply(half_ticks, 0.5 * instrument.tick_size, dtype=np.float64)
            stamped = (ticks.ts_emit_ns[rows] != MISSING_NS) | (ticks.ts_event_ns[rows] != MISSING_NS)
            self._stamped[name] += int(np.count_nonzero(stamped))
            self._prices[name]["receive"].add(ticks.ts_recv_ns[rows], price)
            known = ts_venue_ns[rows] != MISSING_NS
            self._prices[name]["event"].add(ts_venue_ns[rows][known], price[known])

    @property
    def room(self) -> int:
        """How many more prices can be kept."""
        kept = max(sum(len(clocks[clock]) for clocks in self._prices.values()) for clock in CLOCKS)
        return max(0, self.config.max_prices - kept)

    @property
    def is_full(self) -> bool:
        """There is no room for more prices."""
        return self.room == 0

    def series(self, clock: str) -> list[Series]:
        """Series of the streams that can be compared, handed over: it can be asked once per clock.

        ``left_out`` says why others can't.
        """
        found = []
        for name, clocks in self._prices.items():
            prices = clocks[clock]
            try:
                if not len(prices):
                    raise DataError(self._why_none(name, clock))
                time, values = prices.take()
                one = to_series(time, values, name, returns=self.config.returns, observations=prices.stamps)
                if one.moves < LEAST_MOVES:
                    raise DataError(
                        f"{name} moved {one.moves} time{'s' * (one.moves != 1)}, which is too little: {LEAST_MOVES} at"
                        " least; leave it out, or give more of it"
                    )
            except DataError as error:
                self.left_out[clock][name] = error.what
            else:
                found.append(one)
        return found

    def _why_none(self, name: str, clock: str) -> str:
        if self._rows[name] and clock == "event":
            return f"{name}: its venue gives no time stamps, so there is receive time only"
        if self._other[name]:
            has, lacks, use = ("trades", "quotes", LAST) if self.price_of[name] == MID else ("quotes", "trades", MID)
            return f"{name} has no {lacks}, only {has}: leadlag.price={use} takes those"
        return f"{name} has no prices in the source"

    def stamps(self) -> dict[str, str | None]:
        """Where each stream's time on the event clock comes from."""
        return {name: self._stamps(name) for name in self._prices}

    def _stamps(self, name: str) -> str | None:
        if name in self.left_out["event"] or not self._rows[name]:
            return None
        if not self._stamped[name]:
            return "receive_minus_delay"
        return "venue" if self._stamped[name] == self._rows[name] else "venue_or_receive_minus_delay"


@dataclass(frozen=True)
class LeadLagReport:
    """Lead-lag of all pairs.

    Attributes:
        grid: the lags.
        resolution_ms: stamps were told apart to this.
        pairs: one per pair and clock, receive time first.
        left_out: clock → stream or pair → why.
        streams: stream → price, stamps, and on receive time observations, moves, refresh_ms.
        notes: what a reader has to know.
        complete: every pair was done.
    """

    grid: LagGrid
    resolution_ms: float
    pairs: tuple[LeadLag, ...]
    left_out: dict[str, dict[str, str]]
    streams: dict[str, dict[str, Any]]
    notes: tuple[str, ...]
    complete: bool

    def entries(self) -> dict[str, Any]:
        """What summary.json holds under ``leadlag``."""
        return {
            "pairs": [pair.entry() for pair in self.pairs],
            "step_ms": self.grid.step_ns / 1e6,
            "max_lag_s": self.grid.step_ns * self.grid.side / 1e9,
            "resolution_ms": self.resolution_ms,
            "streams": self.streams,
            "left_out": {clock: why for clock, why in self.left_out.items() if why},
            "complete": self.complete,
        }


def all_pairs(
    prices: PriceCollector, progress: PairProgress | None = None, device: SumsDevice | None = None
) -> LeadLagReport:
    """Lead-lag of every pair of streams on both clocks.

    Args:
        prices: all of the feed; its series are handed over.
        progress: told pairs done, pairs in all, and share of the work; where it raises KeyboardInterrupt, the pairs
            done so far are kept.
        device: where the sums over lags are computed; default the CPU.

    Raises:
        DataError: fewer than two streams that can be compared.
    """
    series = {clock: prices.series(clock) for clock in CLOCKS}
    streams: dict[str, dict[str, Any]] = {
        instrument.stream: {"price": prices.price_of[instrument.stream], "stamps": stamps}
        for instrument, stamps in zip(prices.instruments, prices.stamps().values(), strict=True)
    }
    return compare(series, streams, prices.left_out, prices.config, progress, device)


def compare(
    series: Mapping[str, Sequence[Series]],
    streams: dict[str, dict[str, Any]],
    left_out: dict[str, dict[str, str]],
    config: LeadLagConfig,
    progress: PairProgress | None = None,
    device: SumsDevice | None = None,
) -> LeadLagReport:
    """Lead-lag of every pair of series of one clock.

    Args:
        series: clock → series; ``receive`` is one of the clocks.
        streams: name → what is known about it; gets what its series on receive time say.
        left_out: clock → stream → why it is not among the series; gets the pairs that have nothing in common.
        config: grid, bins and bootstrap.
        progress: as for ``all_pairs``.
        device: as there.

    Raises:
        DataError: fewer than two series, or none with moves in common with another.
    """
    if len(series["receive"]) < 2:
        raise DataError("fewer than two streams can be compared: " + "; ".join(left_out["receive"].values()))
    for one in series["receive"]:
        streams[one.name] |= {"observations": one.observations, "moves": one.moves, "refresh_ms": one.interval_ms}
    grid = config.grid(statistics.median_low(one.interval_ms for one in series["receive"]))
    todo = [(clock, x, y) for clock, found in series.items() for x, y in combinations(found, 2)]
    work = [len(x.ts_ns) + len(y.ts_ns) for _, x, y in todo]
    whole, before, complete = sum(work), 0, True
    done: list[LeadLag] = []
    try:
        for number, ((clock, x, y), size) in enumerate(zip(todo, work, strict=True)):

            def told(share: float, number: int = number, before: int = before, size: int = size) -> None:
                if progress is not None:
                    progress(number, len(todo), (before + share * size) / whole)

            estimated = clock == "event" and any(is_estimated(streams[one.name]) for one in (x, y))
            try:
                found = lead_lag(
                    x, y, grid, config, clock=clock, event_estimated=estimated, progress=told, device=device
                )
                done.append(found)
            except DataError as error:
                left_out[clock][f"{x.name} ~ {y.name}"] = error.what
            before += size
    except KeyboardInterrupt:
        complete = False
    if not done and complete:
        raise DataError("no pair can be compared: " + "; ".join(left_out["receive"].values()))
    notes = tuple(_notes(done, left_out, streams, grid, config))
    return LeadLagReport(grid, config.resolution_ns / 1e6, tuple(done), left_out, streams, notes, complete)


def is_estimated(facts: Mapping[str, Any]) -> bool:
    """Whether a stream's times on the event clock are, in part at least, receive times minus the usual delay."""
    return "receive_minus_delay" in (facts["stamps"] or "")


def _notes(
    pairs: Sequence[LeadLag],
    left_out: Mapping[str, Mapping[str, str]],
    streams: Mapping[str, Mapping[str, Any]],
    grid: LagGrid,
    config: LeadLagConfig,
) -> list[str]:
    """What a reader of the numbers has to know."""
    notes = [f"left out: {why}" for why in left_out["receive"].values()]
    without = [name for name in left_out.get("event", ()) if name not in left_out["receive"]]
    if without:
        notes.append(f"receive time only, for want of exchange time stamps or of enough of them: {', '.join(without)}")
    by_delay = [name for name, facts in streams.items() if is_estimated(facts)]
    if by_delay:
        notes.append(
            f"{', '.join(by_delay)}: quotes or trades without an exchange time stamp, whose event time is an estimate:"
            " the receive time minus the venue's median feed delay; their pairs on that clock are marked as estimated"
        )
    step_ms = grid.step_ns / 1e6
    quick = min((pair.refresh_x_ms + pair.refresh_y_ms for pair in pairs), default=math.inf) / 2
    if quick < step_ms:
        zero = "every pair peaks at lag 0, because " * all(pair.lag_ms == 0 for pair in pairs)
        notes.append(
            f"{zero}steps of {step_ms:g} ms are longer than the {quick:.2g} ms between prices of the quickest pair, so"
            f" that its peak may fall between two lags; try leadlag.step_ms={_rounded(quick / 4):g}"
        )
    edge = [f"{pair.x} ~ {pair.y} ({pair.clock})" for pair in pairs if pair.edge]
    if edge:
        notes.append(
            f"peak at the end of the grid, the true lag may lie beyond: {', '.join(edge[:3])}"
            f"{', ...' * (len(edge) > 3)}; try leadlag.max_lag_s={2 * grid.step_ns * grid.side / 1e9:g}"
        )
    apart = [pair for pair in pairs if pair.disagree]
    if apart:
        said = ", ".join(
            f"{pair.leader} before {pair.follower} ({pair.clock}) by {pair.lag_ms:g} ms against"
            f" {pair.correlation_lag_ms:g} ms"
            for pair in apart[:3]
        )
        notes.append(
            "contrast and correlation of bins peak at different lags, so that no lead is shown:"
            f" {said}{', ...' * (len(apart) > 3)}"
        )
    above = [f"{pair.x} ~ {pair.y} ({pair.clock})" for pair in pairs if pair.contrast > 1]
    if above:
        notes.append(
            f"contrast above 1: {', '.join(above[:3])}{', ...' * (len(above) > 3)}; it is a score, which nothing bounds"
            " where a move of one meets several of the other; the correlation of bins beside it is bounded"
        )
    unsure = config.draws >= 2 and [pair for pair in pairs if pair.confidence is None]
    if unsure:
        notes.append(f"too short for confidence: fewer than 8 blocks of time in {len(unsure)} of {len(pairs)} answers")
    short = [pair for pair in pairs if pair.overlap_s < 2 * grid.step_ns * grid.side / 1e9]
    if short:
        notes.append(
            f"{len(short)} of {len(pairs)} answers rest on less time than the grid is wide"
            f" ({short[0].overlap_s:.3g} s): take a shorter leadlag.max_lag_s"
        )
    return notes


def _rounded(value: float) -> float:
    """One digit, downwards.

    Example:
        >>> _rounded(2.6), _rounded(0.19)
        (2.0, 0.1)
    """
    size = 10.0 ** math.floor(math.log10(max(value, 1e-3)))
    return math.floor(max(value, 1e-3) / size) * size
