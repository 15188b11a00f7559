"""The journal: an intent is on disk, ids are used once, one process at a time, nothing is told twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from schwabot.errors import JournalError
from schwabot.execution.journal import VERSION, Fill, Journal, OrderState
from schwabot.records.order import Action, Request

STREAM = "binance:BTC/USDT"


def asked(number: int, session: str = "a", action: Action = Action.POST) -> Request:
    return Request(number, f"{session}-{number}", STREAM, action, 1, 3, 100, -1, 0, 5, 99, 100)


def fill(trade: str, client_id: str = "a-0") -> Fill:
    return Fill(STREAM, trade, client_id, "77", 1, 2, 100, True, Decimal("0.00000010"), "BTC", 5, 6)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "orders" / "journal.db")
    journal.begin("a", 1)
    for number in range(3):
        journal.intend(asked(number), 2)
    journal.move("a-0", OrderState.RESTS, 3, venue_id="77")
    journal.move("a-0", OrderState.PARTIAL, 4, filled_lots=2)
    journal.move("a-1", OrderState.REJECTED, 4, what="no money")
    assert journal.fill(fill("x"))
    assert not journal.fill(fill("x"))
    journal.end(9)
    journal.close()

    journal = Journal(tmp_path / "orders" / "journal.db")
    first, second = journal.open_requests()
    assert (first.request, first.state, first.venue_id, first.filled_lots) == (asked(0), OrderState.PARTIAL, "77", 2)
    assert (second.request.client_id, second.state, second.venue_id) == ("a-2", OrderState.INTENDED, None)
    assert journal.request("a-1") == asked(1)
    assert journal.request("b-1") is None
    assert journal.owner(STREAM, "77") == "a-0"
    assert journal.owner("kraken:BTC/USD", "77") is None
    assert journal.fills(client_id="a-0") == [fill("x")]
    assert journal.states("a-1") == [OrderState.INTENDED, OrderState.REJECTED]
    journal.close()


def test_ids_are_used_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.begin("a", 1)
    with pytest.raises(JournalError, match="has a session a already"):
        journal.begin("a", 1)
    journal.intend(asked(0), 2)
    with pytest.raises(JournalError, match=r"a-0 is in .* already"):
        journal.intend(asked(0), 2)
    with pytest.raises(sqlite3.IntegrityError):
        journal.move("a-5", OrderState.SENT, 3)
    journal.close()


def test_counting_begins_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.begin("a", 1)
    journal.intend(asked(0), 2)
    journal.fill(fill("x"))
    assert journal.baseline("binance", "BTC") is None
    journal.count_from("binance", [("BTC", Decimal("1.50"))], 5, "first seen")
    journal.fill(fill("y"))
    base = journal.baseline("binance", "BTC")
    assert base is not None
    assert (base.amount, [one.trade_id for one in journal.fills(STREAM, after=base.after_fill)]) == (
        Decimal("1.50"),
        ["y"],
    )
    journal.close()


CHILD = """
import os, signal, sys, time
from pathlib import Path
from schwabot.execution.journal import Journal
from tests.execution.test_journal import asked
journal = Journal(Path(sys.argv[1]))
journal.begin("a", 1)
for number in range(10**6):
    journal.intend(asked(number), 2)
    print(number, flush=True)
"""


def test_another_process_is_refused_until_this_one_is_gone_and_no_intent_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    last = 0
    while last < 20:
        last = int(child.stdout.readline())
    with pytest.raises(JournalError, match="in use by another process"):
        Journal(path)
    os.kill(child.pid, signal.SIGKILL)
    last = max([last, *map(int, child.stdout.read().split())])
    child.wait()
    child.stdout.close()
    journal = Journal(path)
    assert len(journal.open_requests()) in (last + 1, last + 2)
    journal.close()


def test_files_that_are_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database, and long enough to be looked at as one" * 100)
    with pytest.raises(JournalError, match="is no journal"):
        Journal(path)
    path = tmp_path / "other.db"
    Journal(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    with pytest.raises(JournalError, match=f"is of version {VERSION + 1}"):
        Journal(path)


def test_what_else_changed_does_not_restart_the_counting(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.begin("a", 1)
    journal.intend(asked(0), 2)
    journal.count_from("binance", [("BTC", Decimal("1.50"))], 5, "first seen")
    journal.fill(fill("x"))
    journal.adjust("binance", "BTC", Decimal("-0.5"), 6, "withdrawn")
    assert journal.baseline("binance", "BTC") == (Decimal("1.00"), 6, 0)
    with pytest.raises(JournalError, match="has not begun"):
        journal.adjust("binance", "ETH", Decimal(1), 6, "paid in")
    journal.close()


def fill_up(journal: Journal) -> None:
    for number in range(200):
        journal.intend(asked(number), 2)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.begin("a", 1)
    journal._full.execute(f"PRAGMA max_page_count = {journal._full.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(JournalError, match=r"can't be written, so nothing was sent: .*full"):
        fill_up(journal)
    journal.close()
