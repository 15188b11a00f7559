"""The dashboard's API beside runs as a user starts them: a live run that is halted and goes on, a server alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil

from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback.server import LoopbackExchange

STREAM = "binanceusdm:BTC/USDT:USDT"
CANARIES = ("canary-key-77c1a5e20b", "canary-secret-9d04b6f3e8")  # pragma: allowlist secret
LIVE = (
    "mode=live", "source=ccxt", "+experiment=loopback", "policy.name=threshold", "policy.enter_bp=0.005",
    "policy.lots=1", "policy.max_lots=3", f"policy.trade=[{STREAM}]", "live.dry_s=1", "sinks.figures=false",
    "execution.risk.max_orders_per_s=50", "live.confirm=loopback",
)  # fmt: skip


class Served:
    """A process that serves, what it says, and a client."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = os.environ | dict(zip(("LOOPBACK_API_KEY", "LOOPBACK_SECRET"), CANARIES, strict=True))
        given = (*arguments, "server.port=0", f"server.runs={folder}", f"server.tokens={folder / 'tokens.json'}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "schwabot.run", f"hydra.run.dir={folder / 'run'}", *given], cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        self.said: list[str] = []
        self.answers: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.until(lambda: any("dashboard at" in line for line in self.said))
        found = re.search(r"dashboard at (http[^\s;]+)", "".join(self.said))
        assert found
        self.client = httpx.Client(base_url=found[1], timeout=40.0)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def until(self, true: Callable[[], Any]) -> None:
        until_s = time.monotonic() + 120
        while not true():
            assert self.process.poll() is None or true(), "".join(self.said)
            assert time.monotonic() < until_s, "".join(self.said)
            time.sleep(0.05)

    def get(self, path: str, token: str | None = None, **given: Any) -> Any:
        return self.ask("GET", path + (f"?{urlencode(given)}" if given else ""), token).json()

    def ask(self, method: str, path: str, token: str | None = None, **body: Any) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = self.client.request(method, f"/api/v1/{path}", headers=headers, json=body or None)
        self.answers.append(answer.text)
        return answer

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join()
        self.client.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Served]:
    one = Served(folder, *arguments)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()


def known(run: Served, name: str) -> dict[int, Any]:
    """Orders or fills that the dashboard lists, by number."""
    return {one["number" if name == "orders" else "seq"]: one for one in run.get(name, limit=1_000)["items"]}


def _knows(run: Served, name: str, items: dict[int, Any]) -> bool:
    return items.items() <= known(run, name).items()


def token(folder: Path, name: str, role: str) -> str:
    command = [sys.executable, "-m", "schwabot.server.tokens", "add", "--file", str(folder / "tokens.json")]
    made = subprocess.run([*command, name, "--role", role], capture_output=True, text=True, check=True)
    return next(word for word in made.stdout.split() if word.startswith("sw_"))


def test_a_live_run_is_halted_goes_on_and_is_changed_through_the_api(tmp_path: Path) -> None:
    tokens = {role: token(tmp_path, f"ann-{role}", role) for role in ("viewer", "operator", "admin")}
    market = SyntheticFeed(SyntheticConfig(events=10**9, streams=4))
    with (
        LoopbackExchange(market, 0, speed=4.0, deposits={"USDT": "100000", "BTC": "1"}, keys=CANARIES) as exchange,
        served(tmp_path, *LIVE, "server.enabled=true", f"live.loopback_port={exchange.port}") as run,
    ):

        def sent() -> int:
            return len(exchange.state()["accounts"].get("binanceusdm", {"orders": []})["orders"])

        def do(what: str, who: str = "operator") -> httpx.Response:
            return run.ask("POST", "control", tokens[who], do=what, why="a test", confirm="loopback")

        run.until(lambda: sent() > 2)
        run.until(lambda: run.get("fills")["items"])
        assert run.get("status")["sending"] is True
        assert do("halt", "viewer").status_code == 403
        halted = do("halt")
        assert "nothing of ours is open" in halted.json()["said"], halted.text
        before = sent()
        time.sleep(0.7)
        assert sent() == before
        assert run.get("positions")["state"] == "HALTED"
        assert (run.get("positions")["who"], run.get("positions")["why"]) == ("ann-operator", "a test")
        assert do("reduce").json()["error"]["code"] == "refused"
        assert do("resume").json()["ok"] is True
        run.until(lambda: sent() > before)
        assert do("cancel_all").json()["ok"] is True
        listed = {name: run.get(name)["items"] for name in ("orders", "fills")}
        [dashboard] = psutil.Process(run.process.pid).children()
        dashboard.kill()
        run.until(lambda: any("is back" in line for line in run.said))
        for name, items in listed.items():
            over = {one["number" if name == "orders" else "seq"]: one for one in items if one.get("end_ns", 1)}
            assert over
            run.until(partial(_knows, run, name, over))
        assert do("reduce").json()["ok"] is True
        run.until(lambda: run.get("positions")["state"] == "REDUCING")
        name = "execution.risk.max_orders_per_s"
        wanted = {"changes": {name: 7.0}, "why": "a test"}
        assert run.ask("PATCH", "settings", tokens["operator"], **wanted).status_code == 403
        changed = run.ask("PATCH", "settings", tokens["admin"], **wanted)
        assert changed.json()["said"] == f"changed by ann-admin: {name}: 50.0 → 7.0"
        refused = run.ask("PATCH", "settings", tokens["admin"], changes={name: -1}, why="a test")
        assert (refused.status_code, "use more than 0" in refused.text) == (409, True)
        run.until(lambda: {one["name"]: one["value"] for one in run.get("settings")["hot"]}[name] == 7.0)
        for path in ("settings", "log", "alerts", "orders", "health", "streams", "lanes", "lag", "ghost", "runs"):
            run.get(path)
        assert run.end() in (0, 130), "".join(run.said)
    told = "".join(run.said)
    assert "trading is halted, and what is open is cancelled: ann-operator: a test" in told
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [one["state"] for one in summary["trading"]["changes"]] == ["HALTED", "NORMAL", "REDUCING"]
    assert summary["trading"]["nothing_open"] is True
    hidden = (*CANARIES, *tokens.values())
    for text in (
        told,
        *run.answers,
        *(file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()),
    ):
        assert not any(one in text for one in hidden)


def test_a_server_alone_shows_past_runs_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    past = tmp_path / "2026-11-01" / "past"
    past.mkdir(parents=True)
    (past / "summary.json").write_text(json.dumps({"mode": "replay", "events": 7}))
    (past / "config.yaml").write_text("mode: replay\nsource: {}\nmodules: {}\nsinks: {}\n")
    with served(tmp_path, "mode=serve") as server:
        assert server.get("status")["run"] == "none"
        assert [one["mode"] for one in server.get("runs")["items"]] == ["replay"]
        assert server.client.get("/").status_code == 200
        with served(tmp_path, "mode=serve", "logs.max_mib=0.001") as second:  # as large as five lines or so
            for number in range(40):
                for one in (server, second):
                    assert one.ask("GET", f"{number}").status_code == 404
            assert second.end() in (0, 130)
            own = (
                f"another process writes to {tmp_path / 'serve.log'}: the log of this one is {tmp_path / 'serve-2.log'}"
            )
            assert own in "".join(second.said)
        assert server.end() in (0, 130)
    first = (tmp_path / "serve.log").read_text()
    assert re.findall(r"GET /api/v1/(\d+) 404", first) == [f"{number}" for number in range(40)]
    assert not (tmp_path / "serve.log.1").exists()
    assert (tmp_path / "serve-2.log.1").exists()
    assert not (tmp_path / "run").exists()
