"""ccxt's unified structures as rows: exact integers, the venue's own stamps, no message twice.

A price or size is turned into ticks or lots in decimals: what does not lie on the grid is a counted drop.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind
from schwabot.ticks.live_queue import Row
from schwabot.ticks.validate import MOST_STEPS

MS = 1_000_000
HISTORY_NS = 5_000_000_000
"""A trade this much older than the first subscription is history that the venue sent along."""
REMEMBERED = 5_000
"""Trades whose ids are remembered where they are no numbers; no venue hands out more at once."""
MOST_MISSING = 100_000
JUMP_NS = 100_000_000
"""The machine's clock moves by this much against the steady one: it was set."""

MAKER_SIDED = ("coinbase", "coinbaseadvanced")
"""Venues whose trades name the side of the order that rested, which ccxt hands on: the aggressor was the other one.

Coinbase, Advanced Trade API, market trades channel.
"""


class Receipt:
    """When a message was received: the machine's clock, forced to run forward, one stamp for every row of the process.

        stamp = max(arrival, last + 1 ns),  arrival = clock + set_back

    A clock that is set back would hold every stamp still until it is there again. So it is compared with the steady
    clock: by what it jumps back the stamps go on ahead of it, and fall in with it where it jumps forward again. What it
    is slewed by is no jump.

    Args:
        clock: the machine's, ns.
        steady: the one that nobody sets, ns.

    Example:
        >>> times = {"clock": 10**18, "steady": 0}
        >>> receipt = Receipt(lambda: times["clock"], lambda: times["steady"])
        >>> first = receipt.now_ns()
        >>> times |= {"clock": 10**18 - 3600 * 10**9, "steady": 10**9}
        >>> (receipt.now_ns() - first) / 1e9, receipt.set_back_ns / 1e9
        (1.0, 3601.0)
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock, self._steady = clock, steady
        self._apart_ns = clock() - steady()
        self._last_ns = 0
        self.arrived_ns = 0
        self.set_back_ns = 0

    def now_ns(self) -> int:
        """The time now, by the stamps' clock."""
        steady_ns, now_ns = self._steady(), self._clock()
        jump_ns = now_ns - steady_ns - self._apart_ns
        if abs(jump_ns) > JUMP_NS:  # or this thread had to wait between the two readings: then another one is closer
            for _ in range(3):
                steady_ns, again_ns = self._steady(), self._clock()
                if abs(again := again_ns - steady_ns - self._apart_ns) < abs(jump_ns):
                    jump_ns, now_ns = again, again_ns
        self._apart_ns += jump_ns
        if abs(jump_ns) > JUMP_NS:
            left_ns = self.set_back_ns - jump_ns
            self.set_back_ns = left_ns if left_ns > JUMP_NS else 0
        return now_ns + self.set_back_ns

    def arrived(self) -> None:
        """A message is here; its rows are stamped with this moment, however long it takes to read it."""
        self.arrived_ns = self.now_ns()

    def stamp(self) -> int:
        """The stamp of the next row of that message."""
        self._last_ns = max(self.arrived_ns, self._last_ns + 1)
        return self._last_ns


@dataclass
class StreamCounts:
    """What happened on a stream so far; written by the exchanges' thread, read by any.

    Attributes:
        received: rows handed on.
        dropped: messages that made no row, by reason.
        reconnects: how often its connection began anew.
        backfilled: trades that were told too late to be rows.
        missing: trades that were lost, by the numbers before and after them.
        refetches_failed: times that REST could not be asked for missed trades.
        examples: the first message of each reason.
    """

    received: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    backfilled: int = 0
    missing: int = 0
    refetches_failed: int = 0
    examples: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def drop(self, reason: str, message: str) -> None:
        """Count a message that makes no row."""
        with self._lock:
            if not self.dropped[reason]:
                self.examples.append(message)
            self.dropped[reason] += 1

    def drops(self) -> tuple[Counter[str], list[str]]:
        """``dropped`` and ``examples`` as they are at one moment."""
        with self._lock:
            return Counter(self.dropped), list(self.examples)


class Grid:
    """The multiples of a step, which is a decimal: n * up / down.

    A price comes as the float64 next to its decimal, and Python divides whole numbers to the float64 next to the
    quotient. So a price lies on the grid where the two floats are the same one; nothing is rounded.

    Args:
        step: tick or lot size.

    Example:
        >>> grid = Grid(0.01)
        >>> grid.count(61837.63), grid.count(61837.635), grid.count(None)
        (6183763, None, None)
    """

    def __init__(self, step: float) -> None:
        exact = Decimal(str(step))
        places = max(0, -int(exact.as_tuple().exponent))
        self._up, self._down = int(exact.scaleb(places)), 10**places
        self._per_unit = self._down / self._up

    def count(self, value: Any) -> int | None:
        """How many steps a price or size is; None when it is no number, or lies between two."""
        try:
            number = float(value)
            steps = round(number * self._per_unit)
        except (TypeError, ValueError, OverflowError):
            return None
        return steps if steps * self._up / self._down == number and abs(steps) < MOST_STEPS else None


def stamps_of(venue: str, info: Any) -> tuple[int, int, int | None]:
    """The venue's stamps of a message, T where given, else E, and E; and the number of a quote.

    Only what is known of a venue's own fields is read: ccxt fills in its own clock where a venue gives no stamp.

    Example:
        >>> stamps_of("binanceusdm", {"u": 7, "E": 1700000000002, "T": 1700000000001})
        (1700000000001000000, 1700000000002000000, 7)
        >>> stamps_of("binance", {"u": 8}) == (MISSING_NS, MISSING_NS, 8)
        True
    """
    if not venue.startswith("binance") or not isinstance(info, Mapping):
        return MISSING_NS, MISSING_NS, None
    emitted, happened, number = info.get("E"), info.get("T"), info.get("u")
    emit_ns = MISSING_NS if emitted is None else int(emitted) * MS
    event_ns = emit_ns if happened is None else int(happened) * MS
    return event_ns, emit_ns, None if number is None else int(number)


def consecutive(venue: str) -> bool:
    """Whether a venue numbers the trades of a market without gaps."""
    return venue.startswith("binance") or venue == "kraken"


class TradeNumbers:
    """Which trades were seen: no trade twice, and none missing unnoticed where the venue numbers them.

    Args:
        numbered: ids are whole numbers without gaps.

    Example:
        >>> seen = TradeNumbers(numbered=True)
        >>> [seen.is_new(number, now_s=0.0) for number in ("7", "9", "9", "8", "12")]
        [True, True, False, True, True]
        >>> sorted(seen.missing), seen.give_up(before_s=1.0), sorted(seen.missing)
        ([10, 11], [10, 11], [])
    """

    def __init__(self, numbered: bool) -> None:
        self._numbered = numbered
        self._ids: set[str] = set()
        self._order: deque[str] = deque()
        self._last: int | None = None
        self.missing: dict[int, float] = {}
        self.too_many = 0

    def is_new(self, trade_id: str | None, now_s: float) -> bool:
        """Take a trade; False when it was taken before, or is older than the first one."""
        if trade_id is None:
            return True
        if self._numbered and trade_id.isdigit():
            return self._is_next(int(trade_id), now_s)
        if trade_id in self._ids:
            return False
        self._ids.add(trade_id)
        self._order.append(trade_id)
        if len(self._order) > REMEMBERED:
            self._ids.discard(self._order.popleft())
        return True

    def is_missing(self, trade_id: str | None) -> bool:
        """Whether it is one of those whose absence was noticed."""
        return self._numbered and trade_id is not None and trade_id.isdigit() and int(trade_id) in self.missing

    def is_known(self, trade_id: str | None) -> bool:
        """Whether it was taken before, or is older than the first one; one without a number is not told from others."""
        if trade_id is None:
            return True
        if self._numbered and trade_id.isdigit():
            return self._last is not None and int(trade_id) <= self._last and int(trade_id) not in self.missing
        return trade_id in self._ids

    def _is_next(self, number: int, now_s: float) -> bool:
        if self._last is not None and number <= self._last:
            # seen, before the first, or given up and reported
            return self.missing.pop(number, None) is not None
        skipped = range(number if self._last is None else self._last + 1, number)
        if len(skipped) <= MOST_MISSING - len(self.missing):
            self.missing.update(dict.fromkeys(skipped, now_s))
        else:
            self.too_many += len(skipped)
        self._last = number
        return True

    def give_up(self, before_s: float) -> list[int]:
        """The numbers that have been missing since before a time; they are forgotten."""
        lost = [number for number, since_s in self.missing.items() if since_s <= before_s]
        for number in lost:
            del self.missing[number]
        return lost


class StreamRows:
    """Makes the rows of one stream.

    A trade that is told long after it happened is no row: the graph would take it for news, and it would fill simulated
    orders that were not there yet. It goes to ``on_late``. These are the trades that REST tells, and those from before
    a connection that a venue sends along when it begins.

    Args:
        v: its index.
        instrument: what its prices and sizes are counted in.
        receipt: stamps every row.
        began_ns: when the stream was subscribed first; ``history`` is older.
        on_late: takes a trade that is known late, as a row that carries when it became known.
        ahead_ns: of the venue's clock ours was at the start, as far as it matters.
    """

    def __init__(
        self,
        v: int,
        instrument: Instrument,
        receipt: Receipt,
        began_ns: int,
        on_late: Callable[[Row], None] = lambda row: None,
        ahead_ns: int = 0,
    ) -> None:
        self.v = v
        self.instrument = instrument
        self.counts = StreamCounts()
        self.trades = TradeNumbers(consecutive(instrument.venue))
        self._receipt = receipt
        self._since_began_ns = began_ns - ahead_ns  # by the venue's clock
        self._on_late = on_late
        self._tick, self._lot = Grid(instrument.tick_size), Grid(instrument.lot_size)
        self._quote_number: int | None = None
        self._first_trade_ns: int | None = None
        self._transport_ns: int | None = None
        self._connected_ns: int | None = None
        self._heard_ns: int | None = began_ns
        self.event_ns = MISSING_NS

    def lost(self) -> None:
        """Trades don't come by a websocket any more."""
        self._heard_ns = None

    def reconnected(self, at_ns: int) -> None:
        """Trades will come by another connection, which began at a time on the stamps' clock."""
        self._connected_ns = at_ns

    def heard(self, at_ns: int) -> None:
        """The first message came by it."""
        self._heard_ns = at_ns

    def quote(self, bid: Any, bid_qty: Any, ask: Any, ask_qty: Any, stamps: tuple[int, int, int | None]) -> Row | None:
        """The row of a touch; None when it makes none, which is counted.

        Args:
            bid: price, as ccxt gives it.
            bid_qty: size there.
            ask: price.
            ask_qty: size there.
            stamps: when it happened and when it was sent, ns, and its number, as ``stamps_of`` gives them.
        """
        event_ns, emit_ns, number = stamps
        if number is not None:
            if self._quote_number is not None and number <= self._quote_number:
                reason = "duplicate" if number == self._quote_number else "reordered"
                return self._drop(reason, f"quote {number} came after quote {self._quote_number}")
            self._quote_number = number
        if bid is None or ask is None:
            return self._drop("one_sided", f"bid {bid}, ask {ask}: a side is empty")
        bid_ticks, ask_ticks = self._tick.count(bid), self._tick.count(ask)
        bid_lots, ask_lots = self._lot.count(bid_qty), self._lot.count(ask_qty)
        if bid_ticks is None or ask_ticks is None or bid_ticks <= 0 or ask_ticks <= 0:
            return self._drop(
                "bad_price", f"bid {bid}, ask {ask}: not above 0, or no multiple of {self.instrument.tick_size}"
            )
        if bid_lots is None or ask_lots is None or bid_lots < 0 or ask_lots < 0:
            return self._drop(
                "bad_price", f"sizes {bid_qty} and {ask_qty}: below 0, or no multiple of {self.instrument.lot_size}"
            )
        if bid_ticks > ask_ticks:
            return self._drop("crossed", f"bid {bid} above ask {ask}")
        return self._row(Kind.QUOTE, event_ns, emit_ns, bid_ticks, ask_ticks, bid_lots, ask_lots, 0, 0, 0)

    def trade(self, trade: Mapping[str, Any], now_s: float, *, asked: bool = False) -> Row | None:
        """The row of ccxt's unified trade; None when it makes none, which is counted, or when it is late.

        Args:
            trade: ccxt's unified trade.
            now_s: steady clock.
            asked: it was asked for by REST, which tells again what is known and what was before the start.
        """
        event_ns, emit_ns, _ = stamps_of(self.instrument.venue, trade.get("info"))
        stamp_ms = trade.get("timestamp")
        if event_ns == MISSING_NS and stamp_ms is not None:
            event_ns = int(stamp_ms) * MS
        trade_id = trade.get("id")
        if asked and trade_id is None:
            return self._drop("unnumbered", "a trade without a number, asked for by REST, may be one that came before")
        if event_ns != MISSING_NS and event_ns < self._since_ns(asked):
            return None if asked else self._drop("history", f"trade {trade_id} is older than the subscription")
        number = None if trade_id is None else str(trade_id)
        if asked and self._is_for_websocket(number, event_ns):
            return None
        late = asked or (self._transport_ns is not None and self._is_before(event_ns, self._connected_ns))
        if not self.trades.is_new(number, now_s):
            return None if asked else self._drop("duplicate", f"trade {trade_id} came twice")
        price = self._tick.count(trade.get("price"))
        lots = self._lot.count(trade.get("amount"))
        if price is None or price <= 0 or lots is None or lots < 0:
            told = f"trade {trade_id}: {trade.get('amount')} at {trade.get('price')}"
            return self._drop("bad_price", f"{told}: not above 0, or off the grid of {self.instrument}")
        if self._first_trade_ns is None:
            self._first_trade_ns = 0 if event_ns == MISSING_NS else event_ns
        side = {"buy": 1, "sell": -1}.get(trade.get("side") or "", 0)
        if self.instrument.venue in MAKER_SIDED:
            side = -side
        if late:
            self.counts.backfilled += 1
            numbers = (0, 0, 0, 0, price, lots, side)
            self._on_late((self._receipt.stamp(), event_ns, emit_ns, self.v, int(Kind.TRADE), *numbers))
            return None
        row = self._row(Kind.TRADE, event_ns, emit_ns, 0, 0, 0, 0, price, lots, side)
        if event_ns != MISSING_NS:
            took_ns = row[0] - event_ns
            self._transport_ns = took_ns if self._transport_ns is None else min(self._transport_ns, took_ns)
        return row

    def _since_ns(self, asked: bool) -> int:
        """No trade is older: what REST tells begins with the first trade that was told, or with the subscription."""
        if not asked:
            return self._since_began_ns - HISTORY_NS
        return self._since_began_ns if self._first_trade_ns is None else self._first_trade_ns

    def _is_for_websocket(self, number: str | None, event_ns: int) -> bool:
        """May the websocket be about to tell a trade that REST tells? Not what it is known to have lost."""
        if self._heard_ns is None or self.trades.is_missing(number):
            return False
        return not self._is_before(event_ns, self._heard_ns)

    def _is_before(self, event_ns: int, at_ns: int | None) -> bool:
        """Did it happen before a time on the stamps' clock? The least way seen brings the venue's clock to that."""
        return at_ns is not None and event_ns != MISSING_NS and event_ns + (self._transport_ns or 0) < at_ns

    def _row(self, kind: Kind, event_ns: int, emit_ns: int, *rest: int) -> Row:
        self.counts.received += 1
        self.event_ns = emit_ns if emit_ns != MISSING_NS else event_ns
        return (self._receipt.stamp(), event_ns, emit_ns, self.v, int(kind), *rest)

    def _drop(self, reason: str, message: str) -> Row | None:
        self.counts.drop(reason, f"{self.instrument.stream}: {message}")
        return None
