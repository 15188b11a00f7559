"""The journal: what was asked of venues and what they told, on disk before it matters.

    intent ─▶ committed, on the platter ─▶ sent ─▶ states and fills, as they are told

SQLite in WAL mode. An intent is there after power loss (``synchronous=FULL``); what a venue told may be lost then
and is asked for again. States are only ever added. Never a key or a signature in it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from schwabot.errors import JournalError
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Request

VERSION = 2
_SCHEMA = """
CREATE TABLE sessions (name TEXT PRIMARY KEY, began_ns INTEGER NOT NULL, ended_ns INTEGER);
CREATE TABLE requests (
    client_id TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions (name), number INTEGER NOT NULL,
    stream TEXT NOT NULL, action INTEGER NOT NULL, side INTEGER NOT NULL, lots INTEGER NOT NULL,
    price_ticks INTEGER NOT NULL, of INTEGER NOT NULL, filled_lots INTEGER NOT NULL, ts_ns INTEGER NOT NULL,
    bid_ticks INTEGER NOT NULL, ask_ticks INTEGER NOT NULL, written_ns INTEGER NOT NULL, UNIQUE (session, number)
) WITHOUT ROWID;
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY, client_id TEXT NOT NULL REFERENCES requests (client_id), state TEXT NOT NULL,
    ts_ns INTEGER NOT NULL, venue_id TEXT, filled_lots INTEGER NOT NULL, what TEXT NOT NULL
);
CREATE INDEX transitions_of ON transitions (client_id, id);
CREATE TABLE fills (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, trade_id TEXT NOT NULL,
    client_id TEXT NOT NULL REFERENCES requests (client_id),
    venue_id TEXT NOT NULL, side INTEGER NOT NULL, lots INTEGER NOT NULL, price_ticks INTEGER NOT NULL,
    maker INTEGER NOT NULL, fee TEXT NOT NULL, fee_currency TEXT NOT NULL, ts_event_ns INTEGER NOT NULL,
    ts_ns INTEGER NOT NULL, UNIQUE (stream, trade_id)
);
CREATE TABLE baselines (
    venue TEXT NOT NULL, item TEXT NOT NULL, amount TEXT NOT NULL, ts_ns INTEGER NOT NULL, after_fill INTEGER NOT NULL,
    why TEXT NOT NULL
);
CREATE TABLE checks (ts_ns INTEGER NOT NULL, venue TEXT NOT NULL, fine INTEGER NOT NULL, what TEXT NOT NULL);
CREATE TABLE log (ts_ns INTEGER NOT NULL, what TEXT NOT NULL);
CREATE TABLE grids (stream TEXT PRIMARY KEY, tick_size TEXT NOT NULL, lot_size TEXT NOT NULL);
CREATE TABLE risk (
    ts_ns INTEGER NOT NULL, state TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, day INTEGER NOT NULL,
    lost REAL NOT NULL
);
"""


class OrderState(StrEnum):
    """How far an order has come."""

    INTENDED = "intended"
    """On disk; it may or may not have left."""
    SENT = "sent"
    UNKNOWN = "unknown"
    """Sent, and its answer was lost: the venue is asked until it is known."""
    RESTS = "rests"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DONE = "done"
    """Of a cancel, or of a replace whose order was gone: it has its answer."""


OVER = (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED, OrderState.DONE)
_OPEN = """SELECT r.*, t.state, t.filled_lots,
(SELECT venue_id FROM transitions v WHERE v.client_id = r.client_id AND venue_id IS NOT NULL ORDER BY id DESC LIMIT 1)
FROM requests r LEFT JOIN transitions t ON t.id = (SELECT max(id) FROM transitions WHERE client_id = r.client_id)
WHERE t.state IS NULL OR t.state NOT IN (?, ?, ?, ?, ?) ORDER BY r.written_ns, r.number"""
_REQUEST = "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FILL = "INSERT OR IGNORE INTO fills VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill as the venue tells of it; fees exactly as it prints them."""

    stream: str
    trade_id: str
    client_id: str
    venue_id: str
    side: int
    lots: int
    price_ticks: int
    maker: bool
    fee: Decimal
    fee_currency: str
    ts_event_ns: int
    ts_ns: int


class OpenRequest(NamedTuple):
    """A request without an end, as found in the journal."""

    request: Request
    state: OrderState
    venue_id: str | None
    filled_lots: int
    written_ns: int


class Baseline(NamedTuple):
    """What a venue held of something when counting began, by its clock."""

    amount: Decimal
    ts_ns: int
    after_fill: int


class RiskNote(NamedTuple):
    """How the risk gate stood.

    Attributes:
        ts_ns: when.
        state: NORMAL, REDUCING or HALTED.
        who, why: of the last change to it.
        day: since 1970, UTC.
        lost: in that day so far, quote currency; negative = won.
    """

    ts_ns: int
    state: str
    who: str
    why: str
    day: int
    lost: float


class Journal:
    """One process's journal; another one on the same file is refused as long as this one lives.

    All methods may be called from any thread.

    Args:
        path: of the database; it and its folder are made where they are missing.

    Raises:
        JournalError: in use by another process, not a journal, or of another version.

    Example:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "journal.db")
        >>> journal.begin("a", 5)
        >>> request = Request(0, "a-0", "binance:BTC/USDT", Action.TAKE, 1, 3, 100, -1, 0, 5, 99, 100)
        >>> journal.intend(request, 6)
        >>> [(open.request.client_id, open.state.value) for open in journal.open_requests()]
        [('a-0', 'intended')]
        >>> journal.close()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._reading = threading.Lock()  # long answers are read beside what is written
        self._session = ""
        self._own = _locked(path)
        self.alone_ns = time.time_ns()
        """Since when no other process can have sent anything."""
        try:
            self._full, self._normal = _connected(path, "FULL"), _connected(path, "NORMAL")
            self._read = _connected(path, "NORMAL")
            self._make()
        except sqlite3.DatabaseError as error:
            self._own.close()
            raise JournalError(f"{path} is no journal: {error}; name another file") from error
        except JournalError:
            self._own.close()
            raise

    def close(self) -> None:
        """Close the files; another process may have them."""
        with self._lock, self._reading:
            for connection in (self._full, self._normal, self._read, self._own):
                connection.close()

    @property
    def has_begun(self) -> bool:
        """Whether a session of this process has begun."""
        return bool(self._session)

    @property
    def sessions(self) -> int:
        """How many sessions there were, this one included once it has begun."""
        with self._reading:
            return int(self._read.execute("SELECT count(*) FROM sessions").fetchone()[0])

    def begin(self, session: str, ts_ns: int) -> None:
        """Start a session; its name begins the client ids of its orders and was never used before."""
        with self._lock:
            try:
                self._full.execute("INSERT INTO sessions VALUES (?, ?, NULL)", (session, ts_ns))
            except sqlite3.IntegrityError as error:
                raise JournalError(f"{self.path} has a session {session} already: client ids are used once") from error
        self._session = session

    def end(self, ts_ns: int) -> None:
        """The session ended as it should."""
        with self._lock, suppress(sqlite3.Error):
            self._full.execute("UPDATE sessions SET ended_ns = ? WHERE name = ?", (ts_ns, self._session))

    def intend(self, request: Request, ts_ns: int) -> None:
        """Write a request; on the platter when this returns.

        Raises:
            JournalError: its client id is there already, or the disk is full or gone.
        """
        values = (
            request.client_id, self._session, request.number, request.stream, int(request.action), request.side,
            request.lots, request.price_ticks, request.of, request.filled_lots, request.ts_ns, request.bid_ticks,
            request.ask_ticks, ts_ns,
        )  # fmt: skip
        with self._lock:
            try:
                self._full.execute(_REQUEST, values)
            except sqlite3.IntegrityError as error:
                raise JournalError(f"{request.client_id} is in {self.path} already: {error}") from error
            except sqlite3.OperationalError as error:
                raise JournalError(f"{self.path} can't be written, so nothing was sent: {error}") from error

    def move(
        self, client_id: str, state: OrderState, ts_ns: int, *, venue_id: str | None = None, filled_lots: int = 0,
        what: str = "",
    ) -> None:  # fmt: skip
        """A request reached a state."""
        with self._lock:
            self._normal.execute(
                "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (client_id, str(state), ts_ns, venue_id, filled_lots, what),
            )

    def fill(self, fill: Fill) -> bool:
        """Write a fill; False = it was there already."""
        values = astuple(fill)
        as_text = [str(value) if isinstance(value, Decimal) else value for value in values]
        with self._lock:
            done = self._normal.execute(_FILL, as_text)
            return done.rowcount == 1

    def note(self, what: str, ts_ns: int) -> None:
        """Something a person may want to know later; where it can't be written, nobody fails for it."""
        with self._lock, suppress(sqlite3.Error):
            self._normal.execute("INSERT INTO log VALUES (?, ?)", (ts_ns, what))

    def risk(self, note: RiskNote) -> None:
        """How the risk gate stands; a later run goes on from the last of these. Nobody fails for it either."""
        with self._lock, suppress(sqlite3.Error):
            self._normal.execute("INSERT INTO risk VALUES (?, ?, ?, ?, ?, ?)", note)

    def last_risk(self) -> RiskNote | None:
        """How the risk gate stood last, None = never."""
        with self._reading:
            row = self._read.execute("SELECT * FROM risk ORDER BY rowid DESC LIMIT 1").fetchone()
        return None if row is None else RiskNote(*row)

    def checked(self, venue: str, fine: bool, what: str, ts_ns: int) -> None:
        """The venue's word was compared with ours."""
        with self._lock:
            self._normal.execute("INSERT INTO checks VALUES (?, ?, ?, ?)", (ts_ns, venue, int(fine), what))

    def count_from(self, venue: str, amounts: Iterable[tuple[str, Decimal]], ts_ns: int, why: str) -> None:
        """From here on holdings are these and what the fills after it make of them."""
        with self._lock, self._whole(self._full) as full:
            after = full.execute("SELECT coalesce(max(id), 0) FROM fills").fetchone()[0]
            for item, amount in amounts:
                full.execute(
                    "INSERT INTO baselines VALUES (?, ?, ?, ?, ?, ?)", (venue, item, str(amount), ts_ns, after, why)
                )

    def reads(self, instruments: Iterable[Instrument]) -> None:
        """Keep what ticks and lots of these are.

        Raises:
            JournalError: they were others when fills were written.
        """
        known = self.instruments()
        for one in instruments:
            before = known.get(one.stream, one)
            if (before.tick_size, before.lot_size) != (one.tick_size, one.lot_size) and self.fills(one.stream):
                raise JournalError(
                    f"{self.path} has fills of {one.stream} in ticks of {before.tick_size:g} and lots of"
                    f" {before.lot_size:g}, which are {one.tick_size:g} and {one.lot_size:g} now: name another"
                    " execution.journal, which begins with what is held"
                )
            with self._lock:
                values = one.stream, repr(float(one.tick_size)), repr(float(one.lot_size))
                self._full.execute("INSERT OR REPLACE INTO grids VALUES (?, ?, ?)", values)

    def instruments(self) -> dict[str, Instrument]:
        """All that were ever traded, by stream: what their ticks and lots are, and no more."""
        with self._reading:
            rows = self._read.execute("SELECT * FROM grids").fetchall()
        return {stream: Instrument(stream, float(tick), float(lot)) for stream, tick, lot in rows}

    def lots(self) -> dict[str, int]:
        """What the fills of all sessions came to, by stream; fees that were taken in lots aside."""
        with self._reading:
            return dict(self._read.execute("SELECT stream, sum(side * lots) FROM fills GROUP BY stream").fetchall())

    def open_requests(self) -> list[OpenRequest]:
        """Requests of all sessions that have no end, oldest first."""
        with self._reading:
            rows = self._read.execute(_OPEN, [str(state) for state in OVER]).fetchall()
        return [
            OpenRequest(_request(row), OrderState(row[14] or OrderState.INTENDED), row[16], row[15] or 0, row[13])
            for row in rows
        ]

    def adjust(self, venue: str, item: str, by: Decimal, ts_ns: int, why: str) -> None:
        """Something else than our fills changed what is held, e.g. a deposit; counting goes on from where it was."""
        base = self.baseline(venue, item)
        if base is None:
            raise JournalError(f"counting of {item} at {venue} has not begun")
        values = (venue, item, str(base.amount + by), ts_ns, base.after_fill, why)
        with self._lock:
            self._full.execute("INSERT INTO baselines VALUES (?, ?, ?, ?, ?, ?)", values)

    def request(self, client_id: str) -> Request | None:
        """The request of a client id, of any session."""
        with self._reading:
            row = self._read.execute("SELECT * FROM requests WHERE client_id = ?", (client_id,)).fetchone()
        return None if row is None else _request(row)

    def owner(self, stream: str, venue_id: str) -> str | None:
        """Client id of the venue's order number, if it is ours."""
        with self._reading:
            row = self._read.execute(
                """SELECT t.client_id FROM transitions t JOIN requests r ON r.client_id = t.client_id
                WHERE t.venue_id = ? AND r.stream = ? LIMIT 1""",
                (venue_id, stream),
            ).fetchone()
        return None if row is None else str(row[0])

    def states(self, client_id: str) -> list[OrderState]:
        """Every state a request went through."""
        with self._reading:
            rows = self._read.execute("SELECT state FROM transitions WHERE client_id = ? ORDER BY id", (client_id,))
            return [OrderState.INTENDED, *(OrderState(row[0]) for row in rows)]

    def sent_ns(self, client_id: str) -> int | None:
        """When an order left, as far as that is known: a power cut may take the last of it."""
        with self._reading:
            row = self._read.execute(
                "SELECT min(ts_ns) FROM transitions WHERE client_id = ? AND state = ?",
                (client_id, str(OrderState.SENT)),
            ).fetchone()
        return None if row[0] is None else int(row[0])

    def fills(self, stream: str | None = None, client_id: str | None = None, after: int = 0) -> list[Fill]:
        """Fills as they were learnt of; of a stream or of one order, and after a baseline, where that is given."""
        with self._reading:
            rows = self._read.execute(
                """SELECT * FROM fills
                WHERE (?1 IS NULL OR stream = ?1) AND (?2 IS NULL OR client_id = ?2) AND id > ?3 ORDER BY id""",
                (stream, client_id, after),
            ).fetchall()
        return [_fill(row) for row in rows]

    def last_fill_ns(self, stream: str) -> int | None:
        """The venue's time of a stream's last fill, None = there is none."""
        with self._reading:
            row = self._read.execute("SELECT max(ts_event_ns) FROM fills WHERE stream = ?", (stream,)).fetchone()
        return None if row[0] is None else int(row[0])

    def baseline(self, venue: str, item: str) -> Baseline | None:
        """Where counting began, or None if it never did."""
        with self._reading:
            row = self._read.execute(
                """SELECT amount, ts_ns, after_fill FROM baselines
                WHERE venue = ? AND item = ? ORDER BY rowid DESC LIMIT 1""",
                (venue, item),
            ).fetchone()
        return None if row is None else Baseline(Decimal(row[0]), *row[1:])

    def _make(self) -> None:
        (version,) = self._full.execute("PRAGMA user_version").fetchone()
        if version == 0 and not self._full.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            with self._whole(self._full) as full:
                for statement in _SCHEMA.split(";\n"):
                    full.execute(statement)
                full.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise JournalError(f"{self.path} is of version {version}, this one reads {VERSION}; name another file")

    @contextmanager
    def _whole(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _locked(path: Path) -> sqlite3.Connection:
    """Hold a lock that the system drops with the process, whatever ends it."""
    lock = sqlite3.connect(
        path.with_name(path.name + ".lock"), timeout=0.0, isolation_level=None, check_same_thread=False
    )
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise JournalError(f"{path} is in use by another process; stop it first, or name another file") from error
    return lock


def _connected(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _request(row: tuple[Any, ...]) -> Request:
    client_id, _, number, stream, action, *rest = row[:13]
    return Request(number, client_id, stream, Action(action), *rest)


def _fill(row: tuple[Any, ...]) -> Fill:
    _, stream, trade_id, client_id, venue_id, side, lots, price_ticks, maker, fee, *rest = row
    return Fill(stream, trade_id, client_id, venue_id, side, lots, price_ticks, bool(maker), Decimal(fee), *rest)
