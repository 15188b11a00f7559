"""What ends a live run, or its orders, on the loopback exchange: Ctrl-C, an error, silent streams, new limits."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, suppress
from pathlib import Path
from typing import Any

import pytest

from schwabot.run import main
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback.server import LoopbackExchange

SPOT, PERP = "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT"
POLICY = '''"""A policy that rests one bid far below the touch, and leaves it there."""
from schwabot.signals import BUY, Parameter, nothing, policy, post, take


@policy(lots=Parameter(1, low=1), takes=Parameter(0, low=0), spins=Parameter(0, low=0, high=1))
def rest(s, e, p):
    """Post, once nothing of ours is open or under way; then take, and loop for ever, if that is wanted."""
    if s.in_flight > 0:
        return nothing()
    if s.buy_lots > 0:
        if s.fills < p.takes:
            return take(BUY, p.lots)
        n = p.spins
        while n > 0:
            n = (n * 7 + 1) % 1000003 + 1
        return nothing()
    return post(BUY, p.lots, e.bid_ticks - 4000)
'''
COMPILED_S = 300.0
"""A run may have to compile first."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[LoopbackExchange]:
    market = SyntheticFeed(SyntheticConfig(events=10**9, streams=4))
    with LoopbackExchange(market, 0, speed=4.0, deposits={"USDT": "100000", "BTC": "1"}) as one:
        yield one


class Meanwhile(threading.Thread):
    """What is done to a run beside it; the run is interrupted once that is over, or has failed.

    Args:
        act: what is done; its error is raised at the end of the ``with``.
        interrupt: whether the run has to be interrupted after it.
    """

    def __init__(self, act: Callable[[], None], *, interrupt: bool) -> None:
        super().__init__(daemon=True)
        self._act, self._interrupt = act, interrupt
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._act()
        except BaseException as error:  # noqa: BLE001 - raised where the run is
            self._failure = error
        if self._interrupt or self._failure is not None:
            os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.join(COMPILED_S)
        if self._failure is not None:
            raise self._failure


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: LoopbackExchange) -> Iterator[list[str]]:
    """Settings of a run that would trade; its folder is ``run``, its files are below the test's."""
    for name in ("LOOPBACK_API_KEY", "LOOPBACK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resting.py").write_text(POLICY)
    before = signal.getsignal(signal.SIGUSR1)
    yield [
        "mode=live", "source=ccxt", "+experiment=loopback", "policy.name=resting.py:rest", "live.dry_s=0",
        f"live.loopback_port={exchange.port}", f"policy.trade=[{PERP}]", "execution.gateway.timeout_s=1",
        "execution.gateway.recv_window_ms=600", "execution.gateway.cancel_after_s=1", "sinks.figures=false",
        "sinks.progress=false", f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    signal.signal(signal.SIGUSR1, before)


def until(true: Callable[[], object], wait_s: float = 20.0) -> None:
    deadline = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def statuses(exchange: LoopbackExchange, venue: str = "binanceusdm") -> list[str]:
    """Of all orders at a venue, oldest first."""
    found = exchange.state()["accounts"].get(venue, {"orders": []})
    return [one["status"] for one in found["orders"]]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text())
    return found


def test_a_dry_run_knows_the_venues_filters(exchange: LoopbackExchange, settings: list[str], tmp_path: Path) -> None:
    main([*settings, f"policy.trade=[{SPOT}]", "policy.lots=1", "live.seconds=1.5"])
    trading = summary(tmp_path)["trading"]
    assert (trading["dry"], trading["dry_orders"]) == (True, 0)
    assert trading["refused"]["min_notional"] > 0, "a lot of spot is worth less than the venue takes"
    assert statuses(exchange, "binance") == []


def test_silent_streams_and_new_limits_and_ctrl_c(
    exchange: LoopbackExchange, settings: list[str], tmp_path: Path
) -> None:
    limits, said, before = tmp_path / "limits.yaml", tmp_path / "said.txt", len(statuses(exchange))
    limits.write_text("execution.risk.max_order_notional: 1000\n")

    def act() -> None:
        until(lambda: statuses(exchange)[before:] == ["NEW"], COMPILED_S)
        exchange.fault("freeze", stream="*@*", count=0)
        until(lambda: statuses(exchange)[before:] == ["CANCELED"])
        limits.write_text("execution.risk.max_order_notional: 0.5\n")
        until(lambda: "max_order_notional: 1000.0 → 0.5" in said.read_text())
        exchange.heal()
        until(lambda: "order_notional: an order of" in said.read_text() or len(statuses(exchange)) > before + 1)
        assert statuses(exchange)[before:] == ["CANCELED"], "an order above the new limit left"
        limits.write_text("execution.risk.max_order_notional: 1000\n")
        until(lambda: statuses(exchange)[before:] == ["CANCELED", "NEW"])

    with (
        said.open("w", buffering=1) as err, redirect_stderr(err), Meanwhile(act, interrupt=True),
        pytest.raises(SystemExit) as stopped,
    ):  # fmt: skip
        main([*settings, "live.confirm=loopback", f"reload={limits}"])
    assert stopped.value.code == 130
    found = summary(tmp_path)
    assert statuses(exchange)[before:] == ["CANCELED", "CANCELED"]
    assert (found["trading"]["nothing_open"], found["trading"]["state"]) == (True, "NORMAL")
    assert found["trading"]["refused"]["order_notional"] > 0
    notes = "\n".join(found["notes"])
    assert "settings changed: execution.risk.max_order_notional: 1000.0 → 0.5" in notes
    assert "no stream has moved for 1." in notes
    assert "1 open orders are cancelled" in notes


def test_a_run_that_ends_by_an_error_leaves_nothing_open(
    exchange: LoopbackExchange, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, before = tmp_path / "store", len(statuses(exchange))

    def act() -> None:
        until(lambda: "FILLED" in statuses(exchange)[before:] and (store / "_store.json").exists(), COMPILED_S)
        number = 0
        while not store.is_file():  # from then on no file can be written there
            number += 1
            with suppress(OSError):  # the recorder may be writing
                store.rename(tmp_path / f"moved{number}")
            store.touch()

    given = [*settings, "live.confirm=loopback", "policy.takes=1", f"record.out={store}", "record.rotate_s=0.2"]
    with Meanwhile(act, interrupt=False), pytest.raises(SystemExit) as stopped:
        main([*given, "live.seconds=30"])
    assert stopped.value.code not in (0, 130)
    said, found = capsys.readouterr().err, summary(tmp_path)
    assert f"error: {store}" in said
    assert "note: nothing of ours is open" in said
    assert re.search(f"note: still held: .[0-9]+ lots of {PERP}", said)
    assert "error" in found
    assert found["trading"]["nothing_open"] is True
    assert found["trading"]["position_lots"][PERP] != 0
    assert statuses(exchange)[before:] == ["CANCELED", "FILLED"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk that any Linux has")
def test_a_run_whose_folder_is_full_says_what_is_held(
    exchange: LoopbackExchange, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = tmp_path / "run", len(statuses(exchange))

    def act() -> None:
        until(lambda: "FILLED" in statuses(exchange)[before:], COMPILED_S)
        (folder / "summary.json.part").symlink_to("/dev/full")  # which refuses what is written as a full disk does

    with Meanwhile(act, interrupt=True), pytest.raises(SystemExit) as stopped:
        main([*settings, "live.confirm=loopback", "policy.takes=1"])
    said = capsys.readouterr().err
    assert stopped.value.code == 1, "a service is started again"
    assert f"error: {folder}: No space left on device; make room" in said
    assert "note: nothing of ours is open" in said
    assert re.search(f"note: still held: .[0-9]+ lots of {PERP}", said)
    assert "Traceback" not in said


def halted_by(journal: Path) -> str:
    """Who changed the state of trading last."""
    with closing(sqlite3.connect(journal)) as other:
        found: str = other.execute("SELECT who FROM risk ORDER BY rowid DESC LIMIT 1").fetchone()[0]
    return found


def test_a_policy_that_loops_for_ever_stops_neither_the_kill_switch_nor_the_end(
    exchange: LoopbackExchange, settings: list[str], tmp_path: Path
) -> None:
    before, journal = len(statuses(exchange)), tmp_path / "orders" / "loopback.db"
    run = subprocess.Popen(
        [sys.executable, "-m", "schwabot.run", *settings, "live.confirm=loopback", "policy.takes=1", "policy.spins=1",
         "execution.gateway.cancel_after_s=600"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: statuses(exchange)[before:] == ["NEW", "FILLED"], COMPILED_S)
        time.sleep(0.5)  # it hears of the fill, and loops
        run.send_signal(signal.SIGUSR1)
        until(lambda: statuses(exchange)[before:] == ["CANCELED", "FILLED"], 3.0)
        until(lambda: halted_by(journal) == "SIGUSR1", 3.0)
        run.send_signal(signal.SIGTERM)
        until(lambda: run.poll() is not None)
    finally:
        run.kill()
        _, said = run.communicate()
    assert run.returncode == 1, said
    assert "error: the policy does not come back: the run ends without a summary" in said
    assert re.search(f"note: still held: .[0-9]+ lots of {PERP}", said)
