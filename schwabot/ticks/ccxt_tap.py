"""Every message that a ccxt exchange takes in, with nothing in between lost.

ccxt's ``watch_*`` coroutines wake once for many messages. So the exchange's class is extended: after each message its
unified caches say what that message changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

NUMBERS = {"coinbase": "sequence_num", "coinbaseadvanced": "sequence_num"}
"""Venues that number the messages of a connection one by one, over all of its channels, and the field it is in.

Source:
    Coinbase, Advanced Trade API, WebSocket overview.
"""

Found = tuple[str, str, Any]
"""What changed: "quote", "trade" or "book"; ccxt's symbol; the unified structure."""


class NotedDict(dict[str, Any]):
    """A cache of ccxt that notes what is put into it.

    Example:
        >>> found = []
        >>> cache = NotedDict(lambda symbol, value: found.append((symbol, value)))
        >>> cache["A/B"] = 7; found
        [('A/B', 7)]
    """

    def __init__(self, note: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._note = note

    def __setitem__(self, symbol: str, value: Any) -> None:
        super().__setitem__(symbol, value)
        self._note(symbol, value)


class Tap:
    """Reads along.

    Args:
        on_message: told of a message before ccxt reads it.
        on_found: given the connection and what a message changed.
        on_ended: given a connection that ended, and why.
        on_unread: given a connection and the error that ccxt raised on a message.
        on_hole: given a connection of which messages are missing, and the numbers of the first and the last of them;
            ccxt is not given the one after them, as it would make a wrong order book of it.
        on_client: given the connection that the running task subscribes by.
    """

    def __init__(
        self,
        *,
        on_message: Callable[[], None],
        on_found: Callable[[Any, list[Found]], None],
        on_ended: Callable[[Any, str], None],
        on_unread: Callable[[Any, Exception], None],
        on_hole: Callable[[Any, int, int], None],
        on_client: Callable[[Any], None],
    ) -> None:
        self._on_message, self._on_found = on_message, on_found
        self._on_ended, self._on_unread, self._on_hole, self._on_client = on_ended, on_unread, on_hole, on_client
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._found: list[Found] = []
        self._books: dict[str, Any] = {}
        self._renewed: dict[str, tuple[Any, ...]] = {}
        self.book_symbols: tuple[str, ...] = ()
        self.messages = self.ccxt_ns = self.own_ns = 0

    def exchange(self, base: Any, config: dict[str, Any]) -> Any:
        """An exchange of ccxt's class ``base`` that is read along."""
        tap = self

        def handle_message(exchange: Any, client: Any, message: Any) -> None:
            if client.error is not None:
                return  # given up, and still talking: another connection tells the same by now
            tap._on_message()
            tap.messages += 1
            if tap._has_hole(exchange.id, client, message):
                return
            began = time.thread_time_ns()
            try:
                base.handle_message(exchange, client, message)
            # ccxt's reading loop ends for good, without a word, where its handler raises
            except Exception as error:  # noqa: BLE001
                tap._on_unread(client, error)
            read = time.thread_time_ns()
            tap._hand_on(exchange, client)
            tap.ccxt_ns += read - began
            tap.own_ns += time.thread_time_ns() - read

        def on_error(exchange: Any, client: Any, error: Any) -> None:
            base.on_error(exchange, client, error)
            tap._on_ended(client, str(error) or type(error).__name__)

        def on_close(exchange: Any, client: Any, code: Any) -> None:
            base.on_close(exchange, client, code)
            tap._on_ended(client, f"closed by the venue, code {code}")

        def client(exchange: Any, url: str) -> Any:
            found = base.client(exchange, url)
            tap._on_client(found)
            return found

        methods = {"handle_message": handle_message, "on_error": on_error, "on_close": on_close, "client": client}
        exchange = type(f"Tapped{base.__name__}", (base,), methods)(config)
        exchange.bidsasks = NotedDict(self._note_quote)
        exchange.tickers = NotedDict(self._note_quote)
        exchange.trades = NotedDict(self._note_trades)
        return exchange

    def _has_hole(self, venue: str, client: Any, message: Any) -> bool:
        """Whether messages are missing before this one; they are told."""
        number = message.get(NUMBERS.get(venue)) if isinstance(message, dict) else None
        if not isinstance(number, int):
            return False
        after, self._numbers[client] = self._numbers.get(client, number - 1) + 1, number
        if number > after:
            self._on_hole(client, after, number - 1)
        return number > after

    def _note_quote(self, symbol: str, ticker: Any) -> None:
        self._found.append(("quote", symbol, ticker))

    def _note_trades(self, symbol: str, trades: Any) -> None:
        """Follow a list of trades from the moment it is kept: every later trade is appended to it."""
        if "append" in vars(trades):
            return
        self._found.extend(("trade", symbol, trade) for trade in trades)
        append = trades.append

        def noted(trade: Any) -> None:
            append(trade)
            self._found.append(("trade", symbol, trade))

        trades.append = noted

    def _hand_on(self, exchange: Any, client: Any) -> None:
        if self.book_symbols:
            self._found.extend(self._changed_books(exchange))
        if self._found:
            found, self._found = self._found, []
            self._on_found(client, found)

    def renew(self, exchange: Any, symbols: Iterable[str]) -> None:
        """Order books will come by another connection: the next one that comes is told, also where its top is the same.

        What ccxt still keeps of the old one is not.
        """
        for symbol in self._books.keys() & set(symbols):
            self._renewed[symbol] = _stamp(exchange.orderbooks.get(symbol))

    def _changed_books(self, exchange: Any) -> Iterator[Found]:
        """Order books are changed in place, so their tops are compared. One that was never filled says nothing."""
        for symbol in self.book_symbols:
            book = exchange.orderbooks.get(symbol)
            if book is None or (symbol not in self._books and not book["bids"] and not book["asks"]):
                continue
            top = tuple(tuple(book[side][0][:2]) if book[side] else () for side in ("bids", "asks"))
            if symbol in self._renewed:
                if self._renewed[symbol] == _stamp(book):
                    continue
                del self._renewed[symbol]
            elif self._books.get(symbol) == top:
                continue
            self._books[symbol] = top
            yield "book", symbol, book


def _stamp(book: Any) -> tuple[Any, ...]:
    return () if book is None else (id(book), book.get("timestamp"), book.get("nonce"))
