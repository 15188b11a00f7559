"""mode=live on the loopback exchange through unmodified ccxt: what leaves, what does not, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schwabot.execution.account_lock import AccountLock
from schwabot.modes.live import account_options
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback.coinbase_keys import named_key
from schwabot.venues.loopback.server import LoopbackExchange

CANARIES = ("canary-key-5f2d9a77e1", "canary-secret-c07be8134d")  # pragma: allowlist secret
SHOWN = (*CANARIES, b64encode(CANARIES[1].encode()).decode(), *named_key(*CANARIES)[1].splitlines()[1:-1])
"""What must not be seen, the secret as Kraken and Coinbase hand it out, too."""
MONEY = {"USDT": "100000", "BTC": "1"}
VENUE, STREAM = "binanceusdm", "binanceusdm:BTC/USDT:USDT"
COMMON = (
    "mode=live", "source=ccxt", "+experiment=loopback", "policy.name=threshold", "policy.enter_bp=0.005",
    "policy.lots=1", "policy.max_lots=3", f"policy.trade=[{STREAM}]", "live.dry_s=0.5", "sinks.figures=false",
    "execution.risk.max_orders_per_s=50",
)  # fmt: skip


def start(folder: Path, exchange: LoopbackExchange, *arguments: str) -> subprocess.Popen[str]:
    given = (*COMMON, f"live.loopback_port={exchange.port}", f"hydra.run.dir={folder}", *arguments)
    return subprocess.Popen(
        [sys.executable, "-m", "schwabot.run", *given], cwd=folder.parent, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **dict(zip(("LOOPBACK_API_KEY", "LOOPBACK_SECRET"), CANARIES, strict=True))},
    )  # fmt: skip


def finished(folder: Path, run: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    said, _ = run.communicate(timeout=120)
    assert run.returncode in (0, 130), said
    for file in folder.parent.rglob("*"):
        text = file.read_bytes() if file.is_file() else b""
        assert not any(one.encode() in text for one in SHOWN), file
    assert not any(one in said for one in SHOWN)
    return json.loads((folder / "summary.json").read_text()), said


def wait_for(what: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while not what():
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)


def account(exchange: LoopbackExchange) -> dict[str, Any]:
    found: dict[str, Any] = exchange.state()["accounts"].get(VENUE, {"orders": [], "fills": []})
    return found


def held(exchange: LoopbackExchange) -> int:
    """Lots by the exchange's own list of fills."""
    by_side = {"BUY": 1, "SELL": -1}
    return sum(int(Decimal(one["qty"]) / Decimal("0.001")) * by_side[one["side"]] for one in account(exchange)["fills"])


@pytest.fixture
def exchange() -> Any:
    with LoopbackExchange(
        SyntheticFeed(SyntheticConfig(events=10**9, streams=4)), 0, speed=4.0, deposits=MONEY, keys=CANARIES
    ) as one:
        yield one


def test_without_confirmation_nothing_leaves(tmp_path: Path, exchange: LoopbackExchange) -> None:
    folder = tmp_path / "dry"
    summary, said = finished(folder, start(folder, exchange, "live.seconds=2"))
    assert f"would buy 0.001 {STREAM} at" in said or f"would sell 0.001 {STREAM} at" in said
    assert said.rstrip().endswith("live.confirm=loopback trades on account loopback")
    trading = summary["trading"]
    assert (trading["dry"], trading["journal"], summary["live"]["fills"]) == (True, None, 0)
    assert trading["dry_orders"] > 0
    assert account(exchange)["orders"] == []
    assert not (tmp_path / "orders").exists()


@pytest.mark.parametrize("stream", ["kraken:BTC/USDT", "coinbase:BTC/USDT"])
def test_orders_at_another_venue(tmp_path: Path, stream: str) -> None:
    market, venue = SyntheticFeed(SyntheticConfig(events=10**9, streams=5)), stream.partition(":")[0]
    with LoopbackExchange(market, 0, speed=4.0, deposits=MONEY, keys=CANARIES) as exchange:
        wanted = f"policy.trade=[{stream}]", "policy.lots=100", "policy.max_lots=300"  # the source does not name it
        run = start(tmp_path / "live", exchange, *wanted, "live.confirm=loopback")
        wait_for(lambda: len(exchange.state()["accounts"][venue]["fills"]) > 3, run)
        run.send_signal(signal.SIGINT)
        summary, said = finished(tmp_path / "live", run)
        trading = summary["trading"]
        assert "the dry run is over: orders leave from now on" in said
        assert (trading["state"], trading["nothing_open"]) == ("NORMAL", True)
        bought = Decimal(exchange.state()["accounts"][venue]["balances"]["BTC"]["free"]) - Decimal(MONEY["BTC"])
        assert trading["position_lots"] == {stream: int(bought / Decimal("0.00001"))}


def test_orders_leave_the_kill_switch_stops_them_and_a_restart_does_not_go_on(
    tmp_path: Path, exchange: LoopbackExchange
) -> None:
    folder = tmp_path / "live"
    run = start(folder, exchange, "live.confirm=loopback")
    wait_for(lambda: len(account(exchange)["fills"]) > 3, run)
    run.send_signal(signal.SIGUSR1)
    journal = tmp_path / "orders" / "loopback.db"

    def halted() -> bool:
        with sqlite3.connect(journal) as database:
            return bool(database.execute("SELECT 1 FROM log WHERE what LIKE '%nothing of ours is open'").fetchall())

    wait_for(halted, run)
    sent = len(account(exchange)["orders"])
    time.sleep(0.5)  # enough for many orders
    run.send_signal(signal.SIGINT)
    summary, said = finished(folder, run)
    trading = summary["trading"]
    assert len(account(exchange)["orders"]) == sent
    assert "the dry run is over: orders leave from now on" in said
    assert "warning: halt: trading is halted, and what is open is cancelled: SIGUSR1: the signal was sent" in said
    assert (trading["state"], trading["nothing_open"], trading["dry"]) == ("HALTED", True, False)
    assert trading["position_lots"] == {STREAM: held(exchange)}
    assert summary["live"]["fills"] == len(account(exchange)["fills"])
    assert all(one["status"] != "NEW" for one in account(exchange)["orders"])

    again, said = finished(tmp_path / "again", start(tmp_path / "again", exchange, "live.confirm=loopback",
                                                     "live.seconds=1.5"))  # fmt: skip
    assert again["trading"]["state"] == "HALTED"
    assert "SIGUSR1: the signal was sent (in an earlier run)" in said
    assert again["trading"]["position_lots"] == {STREAM: held(exchange)}
    assert len(account(exchange)["orders"]) == sent

    resumed = start(tmp_path / "resumed", exchange, "live.confirm=loopback", "live.resume=looked at it")
    wait_for(lambda: len(account(exchange)["orders"]) > sent, resumed)
    resumed.send_signal(signal.SIGINT)
    summary, said = finished(tmp_path / "resumed", resumed)
    assert "HALTED by SIGUSR1 is over: looked at it" in said
    assert summary["trading"]["state"] == "NORMAL"
    assert summary["trading"]["position_lots"] == {STREAM: held(exchange)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["policy.trade=[]"], "mode=live needs to be told what it trades: add 'policy.trade=[binance:BTC/USDT]'"),
        (["live.confirm=other"], "live.confirm=other is not this account: it is loopback (live.account names it)"),
        (["policy.trade=[okx:BTC/USDT]"], "orders at okx have not been tried"),
        (["policy.name=null"], "mode=live trades nothing by default: add policy.name=threshold"),
        (["live.loopback_port=null"], "binanceusdm needs BINANCEUSDM_API_KEY and BINANCEUSDM_SECRET"),
        (["mode=paper", "live.confirm=loopback"], "live.confirm=loopback does nothing in mode=paper: add mode=live"),
    ],
)
def test_what_is_refused_before_anything_connects(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from schwabot.run import main

    for name in ("BINANCE_API_KEY", "BINANCEUSDM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([*COMMON, "live.loopback_port=1", f"hydra.run.dir={tmp_path / 'run'}", *arguments])
    assert stopped.value.code in (1, 2)
    assert said in capsys.readouterr().err


def test_two_runs_on_one_account_whatever_their_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from schwabot.run import main

    monkeypatch.chdir(tmp_path)
    arguments = [*COMMON, "live.loopback_port=1", f"hydra.run.dir={tmp_path / 'run'}", "live.confirm=loopback"]
    with (
        AccountLock(VENUE, account_options(VENUE, 1), Path("first.db")),
        pytest.raises(SystemExit),
    ):
        main([*arguments, "execution.journal=second.db"])
    said = capsys.readouterr().err
    assert f"the account at {VENUE} is traded on by process {os.getpid()} of yours since 20" in said
    assert not (tmp_path / "second.db").exists()
    with pytest.raises(SystemExit):
        main(arguments)
    assert "python -m schwabot.venues.loopback --port 1` running" in capsys.readouterr().err, "nobody holds it now"


def test_a_source_that_is_not_live(capsys: pytest.CaptureFixture[str]) -> None:
    from schwabot.run import main

    with pytest.raises(SystemExit):
        main(["mode=live", "policy.name=threshold"])
    assert "mode=live trades on what is live: add source=ccxt" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"binance:BTC/USDT": 3}', "{binance:BTC/USDT: 3}"])
def test_limits_by_stream_are_written_as_the_stream_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    from schwabot.run import main

    with pytest.raises(SystemExit):
        main([*COMMON, f"execution.risk.max_lots={text.replace('3', '-3')}"])
    assert "execution.risk.max_lots of binance:BTC/USDT is -3: use 0 or more" in capsys.readouterr().err
