"""Copies of journals of orders, while runs write to them: ``python backup_journals.py orders COPIES [--keep 30]``.

A file that is copied by hand lacks what is still in the log beside it. Each copy is whole as of one moment, is read
back, and takes its name only then.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path


def back_up(journal: Path, folder: Path) -> Path:
    """One copy of one journal, and its name.

    Args:
        journal: may be in use.
        folder: for copies; is made.

    Raises:
        sqlite3.Error: it can't be read, or the copy is not whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{journal.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S}.db"
    part = target.with_suffix(".part")
    where = f"{journal.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(where, uri=True)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        (said,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise sqlite3.DatabaseError(f"the copy is not whole: {said}")
    part.chmod(0o600)
    return part.replace(target)


def main(given: list[str] | None = None) -> int:
    """Copy them all, and forget the oldest copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journals", type=Path, help="folder of the journals, e.g. orders")
    parser.add_argument("copies", type=Path, help="folder for the copies, best on another disk")
    parser.add_argument("--keep", type=int, default=30, help="copies of each that are kept (default: 30)")
    asked = parser.parse_args(given)
    if asked.keep < 1:
        parser.error("--keep: 1 or more")
    failed = 0
    journals = sorted(asked.journals.glob("*.db"))
    for journal in journals:
        try:
            print(f"{journal} -> {back_up(journal, asked.copies)}")  # noqa: T201
        except (sqlite3.Error, OSError) as error:
            failed += 1
            sys.stderr.write(f"error: {journal}: {error}\n")
            continue
        for old in sorted(asked.copies.glob(f"{journal.stem}-*T*.db"))[: -asked.keep]:
            old.unlink()
    if not journals:
        sys.stderr.write(f"error: {asked.journals}: no journal there\n")
    return int(failed > 0 or not journals)


if __name__ == "__main__":
    sys.exit(main())
