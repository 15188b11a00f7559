"""SIGKILL at random moments while orders fly and faults are on; after each restart the books must be the exchange's.

    python -m tests.execution.crash --runs 200 --seed 1

One process is the exchange, one after the other trades and is killed. A run's start recovers from the one before it and
waits, while what it found is compared with the exchange's own list.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import Journal
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.settings import GatewayConfig, RiskConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Request, Told

CONFIG = GatewayConfig(recv_window_ms=500, timeout_s=0.4, poll_s=0.3, quiet_s=1.0, reconcile_s=0.4, listed_s=0.3)


class Place(NamedTuple):
    """A venue that is traded at.

    Attributes:
        stream: that is traded.
        place, cancel, query, trades: requests of these kinds, for faults.
        last: how the journal calls the exchange's last states.
        touch: where bid and ask are asked for, and where they are in the answer.
        rounding: by how much a fill may move the quote currency beside what it says.
        broken: of orders, how many meet a server's error: those are waited for until they can't arrive any more.
    """

    stream: str
    place: str
    cancel: str
    query: str
    trades: str
    last: dict[str, str]
    touch: tuple[str, Callable[[Any], tuple[str, str]]]
    rounding: Decimal = Decimal(0)
    broken: float = 0.08

    @property
    def deposits(self) -> dict[str, str]:
        """Of the account."""
        return {self.quote: "100000000", "BTC": "100"}

    @property
    def quote(self) -> str:
        """What is paid with."""
        return self.stream.rpartition("/")[2]

    def faults(self, seed: int) -> list[dict[str, Any]]:
        """What goes wrong."""
        given: list[dict[str, Any]] = [
            {"kind": "lost_answer", "path": self.place, "probability": 0.12},
            {"kind": "lost_answer", "path": self.cancel, "probability": 0.1},
            {"kind": "server_error", "path": self.place, "probability": self.broken},
            {"kind": "server_error", "path": self.query, "probability": 0.1},
            {"kind": "server_error", "path": self.trades, "probability": 0.1},
            {"kind": "slow_answer", "path": self.place, "probability": 0.1, "seconds": 0.2},
            {"kind": "slow_answer", "path": self.place, "probability": 0.04, "seconds": 0.7},
            {"kind": "rate_limit", "path": self.place, "probability": 0.01, "seconds": 1},
            {"kind": "disconnect", "stream": "user", "probability": 0.03},
            {"kind": "gap", "stream": "user", "probability": 0.05},
            {"kind": "duplicate", "stream": "user", "probability": 0.1},
            {"kind": "reorder", "stream": "user", "probability": 0.1},
            {"kind": "partial_cancel", "probability": 0.08},
        ]
        venue = self.stream.partition(":")[0]
        return [{"count": 0, "seed": seed + number, "venue": venue, **one} for number, one in enumerate(given)]


PLACES = {
    "binance": Place(
        "binance:BTC/USDT", "POST */order", "DELETE */order", "GET */order", "GET */myTrades",
        {"FILLED": "filled", "CANCELED": "cancelled", "EXPIRED": "expired"},
        ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", lambda said: (said["bidPrice"], said["askPrice"])),
    ),
    "kraken": Place(
        "kraken:BTC/USD", "POST */AddOrder", "POST */CancelOrder", "POST */*Orders", "POST */TradesHistory",
        {"closed": "filled", "canceled": "cancelled"},
        ("/kraken/0/public/Depth?pair=XBTUSD",
         lambda said: (said["result"]["XXBTZUSD"]["bids"][0][0], said["result"]["XXBTZUSD"]["asks"][0][0])),
        Decimal("0.0002"), 0.03,
    ),
    "coinbase": Place(
        "coinbase:BTC/USD", "POST */orders", "POST */batch_cancel", "GET */historical/*", "GET */historical/fills",
        {"FILLED": "filled", "CANCELLED": "cancelled"},
        ("/coinbase/api/v3/brokerage/market/product_book?product_id=BTC-USD",
         lambda said: (said["pricebook"]["bids"][0]["price"], said["pricebook"]["asks"][0]["price"])),
        broken=0.03,
    ),
}  # fmt: skip


def serve(venue: str, seed: int) -> None:
    """The exchange, until its input ends."""
    from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
    from schwabot.venues.loopback import LoopbackExchange

    feed, place = SyntheticFeed(SyntheticConfig(events=10**9, streams=1, seed=seed)), PLACES[venue]
    names = {feed.instruments[0].stream: place.stream}
    with LoopbackExchange(feed, names=names, deposits=place.deposits, weight_per_minute=10**9) as exchange:
        told = {"port": exchange.port, "instrument": dataclasses.asdict(exchange.books[0].listing.instrument)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def ask(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=10) as answer:
        return json.load(answer)


def trade(told: dict[str, Any], folder: Path, run: int, seed: int, pipe: Any) -> None:
    """One life: recover, say what was found, wait for the word, send orders until killed."""
    one = Instrument(**told["instrument"])
    path, read = PLACES[one.venue].touch
    requests: dict[int, Request] = {}
    gate = RiskGate(RiskConfig(), [one])
    session = f"sbcrash{run}"
    journal = Journal(folder / "journal.db")
    with CcxtGateway([one], {one.venue: told["options"]}, journal, gate, session, CONFIG) as gateway:
        position = gateway.positions[one.stream].lots if gateway.positions else 0
        pipe.send({"position": position, "state": gate.state.name, "why": [each.why for each in gate.changes]})
        pipe.recv()
        draw, resting, number = random.Random(seed * 1_000 + run), dict[int, int](), 0
        while gate.state is TradingState.NORMAL:
            for report in gateway.reports():
                if report.told is Told.RESTS:
                    resting[report.number] = 0
                elif report.told is Told.FILL and report.number in resting:
                    resting[report.number] += report.lots
                elif report.told is Told.REPLACED:
                    resting[report.request] = resting.get(report.number, 0)
                if report.told is Told.REPLACED or report.ending is not None:
                    resting.pop(report.number, None)
            touch = read(ask(told["port"], path))
            bid, ask_ = (round(Decimal(price) / Decimal(repr(one.tick_size))) for price in touch)
            side = draw.choice([1, -1])
            action = draw.choice([Action.TAKE, Action.POST, Action.POST, Action.CANCEL, Action.REPLACE])
            of, filled = -1, 0
            price = (ask_ + 200 if side > 0 else bid - 200) if action is Action.TAKE else bid if side > 0 else ask_
            if action in (Action.CANCEL, Action.REPLACE):
                if not resting:
                    continue
                of = draw.choice(list(resting))
                filled = resting.pop(of)
                side = requests[of].side
                price = bid if side > 0 else ask_
            lots = 0 if action is Action.CANCEL else draw.randint(1_000, 60_000)
            request = Request(
                number, f"{session}-{number}", one.stream, action, side, lots, 0 if not lots else price, of, filled,
                time.time_ns(), bid, ask_,
            )  # fmt: skip
            requests[number] = request
            number += 1
            gateway.send(request)
            time.sleep(draw.expovariate(40.0))
        pipe.send({"state": gate.state.name, "why": [each.why for each in gate.changes]})
        time.sleep(3600)


def check(told: dict[str, Any], folder: Path, found: dict[str, Any]) -> Counter[str]:
    """Compare a recovered journal with the exchange's own list; what there was, by its last state."""
    one = Instrument(**told["instrument"])
    place = PLACES[one.venue]
    truth = ask(told["port"], "/loopback/state")["accounts"][one.venue]
    assert found["state"] == "NORMAL", found
    with sqlite3.connect(folder / "journal.db") as database:
        rows = database.execute(
            """SELECT r.client_id, r.action, (SELECT state FROM transitions t WHERE t.client_id = r.client_id
            ORDER BY id DESC LIMIT 1) FROM requests r"""
        ).fetchall()
        fills = database.execute("SELECT trade_id, client_id, side, lots, price_ticks FROM fills").fetchall()
    database.close()
    ours = {name: state for name, action, state in rows if action != Action.CANCEL}
    there = Counter(order["clientOrderId"] for order in truth["orders"])
    assert not [name for name, times in there.items() if times > 1], "sent twice"
    assert set(there) <= set(ours), "at the exchange and not in the journal"
    statuses = {order["clientOrderId"]: place.last.get(order["status"], order["status"]) for order in truth["orders"]}
    wrong = {name: (state, statuses.get(name)) for name, state in ours.items()
             if state not in ([statuses[name]] if name in statuses else ["rejected", "done"])}  # fmt: skip
    assert not wrong, wrong
    assert all(state == "done" for _, action, state in rows if action == Action.CANCEL)
    tick, lot = Decimal(repr(one.tick_size)), Decimal(repr(one.lot_size))
    names = {order["orderId"]: order["clientOrderId"] for order in truth["orders"]}
    listed = {
        (
            str(fill["id"]),
            names[fill["orderId"]],
            round(Decimal(fill["qty"]) / lot),
            round(Decimal(fill["price"]) / tick),
        )
        for fill in truth["fills"]
    }
    assert {(trade, name, lots, price) for trade, name, _, lots, price in fills} == listed
    btc = sum((side * lots * lot for _, _, side, lots, _ in fills), Decimal(0))
    usdt = sum((-side * lots * lot * price * tick for _, _, side, lots, price in fills), Decimal(0))
    for name, change in (("BTC", btc), (place.quote, usdt)):
        fees = sum(
            (Decimal(fill["commission"]) for fill in truth["fills"] if fill["commissionAsset"] == name), Decimal(0)
        )
        held = truth["balances"][name]
        differs = Decimal(held["free"]) + Decimal(held["locked"]) - Decimal(place.deposits[name]) - change + fees
        assert abs(differs) <= (place.rounding if name == place.quote else 0) * len(fills)
        assert Decimal(held["locked"]) == 0
        if name == "BTC":
            whole = abs(change - fees) // lot
            assert found["position"] == (whole if change > fees else -whole)
    return Counter(ours.values())


def crash(venue: str, runs: int, seed: int, say: Callable[[str], None]) -> None:
    """Kill as many lives as asked for; fails where a restart finds anything else than the exchange has."""
    import ccxt.pro  # noqa: F401 - once, for all that are forked from here

    from schwabot.venues.loopback.urls import ccxt_options, credentials

    draw = random.Random(seed)
    command = [sys.executable, "-m", "tests.execution.crash", "--serve", "--venue", venue, "--seed", str(seed)]
    pipe = subprocess.PIPE
    exchange = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert exchange.stdin is not None
    assert exchange.stdout is not None
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name, exchange.stdin, exchange.stdout:
        folder = Path(name)
        told = json.loads(exchange.stdout.readline())
        told["options"] = ccxt_options(venue, told["port"]) | credentials(venue)
        ask(told["port"], "/loopback/faults", PLACES[venue].faults(seed))
        seen: Counter[str] = Counter()
        early = 0
        for run in range(runs + 1):
            ours, theirs = context.Pipe()
            life = context.Process(target=trade, args=(told, folder, run, seed, theirs))
            life.start()
            assert life.pid is not None
            try:
                if run < runs and draw.random() < 0.2:
                    early += 1
                    time.sleep(draw.uniform(0.05, 0.8))
                else:
                    assert ours.poll(30), "no recovery within 30 s"
                    seen = check(told, folder, ours.recv())
                    ours.send("go")
                    assert not ours.poll(draw.uniform(0.0, 0.6)), ours.recv()
            finally:
                os.kill(life.pid, signal.SIGKILL)
                life.join()
                ours.close()
        happened = ask(told["port"], "/loopback/faults")["happened"]
        say(f"{venue}: {runs} kills, {early} of them while recovering; orders {dict(seen)}; faults {happened}")
    exchange.wait(30)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venue", choices=PLACES, action="append", help="default: all, one after the other")
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    for venue in given.venue or PLACES:
        if given.serve:
            serve(venue, given.seed)
        else:
            began = time.monotonic()
            crash(venue, given.runs, given.seed, lambda line: print(f"{line}; {time.monotonic() - began:.0f} s"))  # noqa: T201, B023
