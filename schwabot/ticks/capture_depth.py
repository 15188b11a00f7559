"""From sorted Binance messages to columns of ticks: depth messages and the books behind them.

Axis legend: M depth messages of one block of lines, K book levels, V streams.
"""

from __future__ import annotations

from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import replace

import numpy as np

from schwabot.errors import CrossedQuoteError, MalformedLineError, SequenceGapError
from schwabot.records.market import BookLevels, Float64, Int32, Int64, Kind, Ticks
from schwabot.ticks.binance_messages import Depth, Messages, Problem, Quote, native_symbol
from schwabot.ticks.book import DepthChange, OrderBook
from schwabot.ticks.capture_columns import Columns, floats, stamps
from schwabot.ticks.merge import blank
from schwabot.ticks.plausible import odd_times
from schwabot.ticks.validate import Bool, to_steps

_Top = tuple[list[int], list[int], list[int], list[int]]


class DepthColumns:
    """Rebuilds the books of one file's streams; a depth message becomes a row with the top of its book.

    A book left by an earlier file of the same stream is taken over where the first change joins it (a
    recording that was merely rotated); else it waits for this file's snapshot.

    Args:
        columns: file, instruments and step sizes.
        here: streams that this file holds.
        handed_over: books left by earlier files; the books of this file are left there in turn.
        depth_levels: K best levels kept at every row; 0 = none.
    """

    def __init__(
        self,
        columns: Columns,
        here: Collection[int],
        handed_over: MutableMapping[int, OrderBook],
        depth_levels: int,
    ) -> None:
        self._columns = columns
        self._here = here
        self._handed_over = handed_over
        self._books: dict[int, OrderBook] = {}
        self._depth_levels = depth_levels
        self._names = [instrument.stream for instrument in columns.instruments]
        self._markets = [(native_symbol(instrument) or ("", ""))[0] for instrument in columns.instruments]
        self._mids: dict[int, float] = {}

    def hand_over(self) -> None:
        """Leave the books for the next file."""
        self._handed_over.update(self._books)

    def rows(self, messages: Messages) -> tuple[Ticks, Int64, list[Problem]]:
        """Good rows, the line of each, and the bad ones."""
        columns, depths = self._columns, messages.depths
        problems: list[Problem] = []
        sizes = np.array([depth.bids + depth.asks for depth in depths], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        values = floats(messages.levels).reshape(-1, 2)
        owners = self._owners(messages, values[:, 0], starts, problems)
        of_level = np.repeat(np.array(owners, np.int32), sizes)
        prices, ok_price = to_steps(values[:, 0], columns.tick_sizes[of_level])
        lots, good_lots = self._lots(messages, values[:, 1], of_level, starts, problems)
        bad_level = np.flatnonzero(~(ok_price & good_lots & (prices > 0)))
        event_ns, emit_ns, ok_stamp = stamps([depth.event for depth in depths], [depth.emit for depth in depths])
        odd = odd_times(np.array([depth.recv_ns for depth in depths], np.int64), event_ns, emit_ns, "ns")
        ok_stamp[list(odd)] = False
        first_bad = np.searchsorted(bad_level, starts[:-1])
        bad = (first_bad < np.searchsorted(bad_level, starts[1:])) | ~ok_stamp
        all_prices, all_lots = prices.tolist(), lots.tolist()

        kept: list[int] = []
        touches: list[tuple[int, int, int, int]] = []
        tops: list[_Top] = []
        for i, (depth, owner, start, is_bad) in enumerate(
            zip(depths, owners, starts.tolist(), bad.tolist(), strict=False)
        ):
            if owner < 0:
                continue
            middle, stop = start + depth.bids, start + depth.bids + depth.asks
            if is_bad:
                at = slice(*np.searchsorted(bad_level, (start, stop)).tolist())
                problems.append(self._bad_message(messages, depth, owner, bad_level[at].tolist(), odd.get(i)))
                continue
            change = DepthChange(
                depth.before_id,
                depth.final_id,
                all_prices[start:middle],
                all_lots[start:middle],
                all_prices[middle:stop],
                all_lots[middle:stop],
            )
            try:
                book = self._apply(depth, owner, change)
            except SequenceGapError as error:
                gap = SequenceGapError(f"{self._names[owner]}: {error.what}", file=columns.file, line=depth.line)
                problems.append(Problem(depth.line, gap))
                book = self._books[owner]
            if depth.snapshot_of:
                continue
            touch = book.touch()
            if touch[0] > touch[2] > 0:
                what = f"the rebuilt book of {self._names[owner]} is crossed: bid {touch[0]} above ask {touch[2]} ticks"
                problems.append(Problem(depth.line, CrossedQuoteError(what, file=columns.file, line=depth.line)))
                continue
            kept.append(i)
            touches.append(touch)
            if self._depth_levels:
                tops.append(book.top(self._depth_levels))
        rows = np.array(kept, np.int64)
        touch_columns = np.array(touches, np.int64).reshape(-1, 4)
        ticks = replace(
            blank(columns.instruments, len(rows), Kind.DEPTH),
            ts_recv_ns=np.array([depths[i].recv_ns for i in kept], np.int64),
            ts_event_ns=event_ns[rows],
            ts_emit_ns=emit_ns[rows],
            stream=np.array([owners[i] for i in kept], np.int32),
            bid_ticks=touch_columns[:, 0],
            bid_lots=touch_columns[:, 1],
            ask_ticks=touch_columns[:, 2],
            ask_lots=touch_columns[:, 3],
            levels=_levels(tops, self._depth_levels) if self._depth_levels else None,
        )
        return ticks, np.array([depths[i].line for i in kept], np.int64), problems

    def _apply(self, depth: Depth, owner: int, change: DepthChange) -> OrderBook:
        book = self._books.get(owner)
        if book is None:
            earlier = self._handed_over.pop(owner, None)
            book = earlier if earlier is not None and earlier.joins(change) else OrderBook()
            self._books[owner] = book
        if depth.snapshot_of:
            book.snapshot(change.final_id, *change[2:])
        else:
            book.update(change)
        return book

    def _lots(
        self, messages: Messages, quantities: Float64, stream: Int32, starts: Int64, problems: list[Problem]
    ) -> tuple[Int64, Bool]:
        """Lots of every level, and whether it is a quantity at all.

        Levels older than the last change of the lot size hold parts of a lot: real, seen on spot deep
        in the book. What can be traded there is whole lots, so they are rounded down, and counted.
        """
        lot_sizes = self._columns.lot_sizes[stream]
        lots, whole = to_steps(quantities, lot_sizes)
        part = ~whole & (quantities > 0) & (quantities < lot_sizes * 1e14)
        for level in np.flatnonzero(part).tolist():
            depth = messages.depths[int(np.searchsorted(starts, level, side="right")) - 1]
            what = f"{quantities[level]:.12g} at {messages.levels[2 * level]} is not whole lots of {lot_sizes[level]}"
            message = (
                f"{self._columns.file}:{depth.line}: {self._names[stream[level]]} book quantity {what}, rounded down"
            )
            problems.append(Problem(depth.line, "part_lot_level", message))
        lots[part] = np.floor(quantities[part] / lot_sizes[part]).astype(np.int64)
        return lots, (whole | part) & (lots >= 0)

    def _bad_message(
        self, messages: Messages, depth: Depth, owner: int, bad_levels: list[int], odd_time: str | None
    ) -> Problem:
        """What is wrong with the first bad level, or with the stamps if no level is."""
        numbers = [messages.levels[2 * level : 2 * level + 2] for level in bad_levels[:1]]
        prices = [(price, "book price") for price, _ in numbers]
        quantities = [(quantity, "book quantity") for _, quantity in numbers]
        return self._columns.bad_number(depth.line, owner, prices, quantities, odd_time)

    def _owners(self, messages: Messages, prices: Float64, starts: Int64, problems: list[Problem]) -> list[int]:
        """Stream of every depth message, -1 for a snapshot that can't be told."""
        owners = [depth.stream for depth in messages.depths]
        for i, depth in enumerate(messages.depths):
            if depth.stream >= 0:
                continue
            streams = [stream for stream in self._here if self._markets[stream] == depth.snapshot_of]
            if len(streams) > 1 and depth.bids and depth.asks:
                mids = self._mids | _last_mids(messages.quotes, before_line=depth.line)
                mid = float(prices[starts[i]] + prices[starts[i] + depth.bids]) / 2.0
                near = [stream for stream in streams if abs(mids.get(stream, np.inf) / mid - 1.0) < 0.01]
                streams = near or [stream for stream in streams if stream not in mids]
            if len(streams) == 1:
                owners[i] = streams[0]
                continue
            what = (
                f"a {depth.snapshot_of} snapshot that names no symbol fits {len(streams)} streams of this file:"
                " record every instrument to a file of its own"
            )
            problems.append(Problem(depth.line, MalformedLineError(what, file=self._columns.file, line=depth.line)))
        if len(self._here) > 1:
            self._mids |= _last_mids(messages.quotes)
        return owners


def _last_mids(quotes: Sequence[Quote], before_line: int | None = None) -> dict[int, float]:
    """Mid price of the last quote of every stream, where it has one."""
    early = [quote for quote in quotes if before_line is None or quote.line < before_line]
    mids = (floats([quote.bid for quote in early]) + floats([quote.ask for quote in early])) / 2.0
    return {quote.stream: mid for quote, mid in zip(early, mids.tolist(), strict=True) if mid > 0}


def _levels(tops: list[_Top], k: int) -> BookLevels:
    """Levels of M rows, padded with zeros to K."""
    padded = np.zeros((4, len(tops), k), np.int64)
    for row, top in enumerate(tops):
        for column, values in enumerate(top):
            padded[column, row, : len(values)] = values
    bid_ticks, bid_lots, ask_ticks, ask_lots = padded
    return BookLevels(np.arange(len(tops)), bid_ticks, bid_lots, ask_ticks, ask_lots)
