from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from schwabot.errors import ConfigError
from schwabot.records.alert import Alert, Level
from schwabot.records.audit import Lane
from schwabot.secrets import Secret
from schwabot.server import link
from schwabot.server.app import create_app
from schwabot.server.hub import Hub
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Digest, open_frame
from tests.server.making import Beside, header, health, records, server, trading

COUNT = len(records())


def rows(count: int) -> int:
    """Of the first records."""
    return sum(len(record.ts_recv_ns) for record in records()[:count])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with server(tmp_path_factory.mktemp("run")) as beside:
        beside.tell()
        yield beside


def test_the_status_counts_what_was_told(told: Beside) -> None:
    status = told.get("/api/v1/status").json()
    assert (status["run"], status["mode"], status["events"]) == ("running", "paper", 5_000)
    assert status["events"] == status["quotes"] + status["trades"]
    assert (status["trading"], status["account"], status["sending"]) == ("NORMAL", "paper", False)
    assert status["heard_s"] < 10


def test_streams_and_ghost_are_the_last_record_s(told: Beside) -> None:
    last = records()[-1]
    ghost, streams = told.get("/api/v1/ghost").json(), told.get("/api/v1/streams").json()
    assert ghost["ghost_bp"] == last.signals.ghost_bp[-1]
    price = last.reference_price * math.exp(last.signals.ghost_bp[-1] * 1e-4)
    assert ghost["ghost_price"] == pytest.approx(price, rel=1e-12)
    assert [one["stream"] for one in streams] == [one.stream for one in last.instruments]
    for v, one in enumerate(streams):
        assert one["deviation_bp"] == last.signals.deviation_bp[-1, v]
        assert one["lane"] == Lane(last.signals.lane[-1, v]).name
        assert one["events"] == sum(int((record.stream == v).sum()) for record in records())
    one = told.get(f"/api/v1/streams/{streams[1]['stream']}").json()
    assert one == streams[1]


def test_points_are_rows_of_the_records_in_order(told: Beside) -> None:
    points = told.get("/api/v1/ghost", params={"limit": 5_000}).json()["points"]
    assert points["ts_ns"] == sorted(points["ts_ns"])
    times = np.concatenate([record.ts_recv_ns for record in records()])
    known = np.concatenate([record.signals.ghost_bp for record in records()])
    rows = np.searchsorted(times, points["ts_ns"], side="right") - 1
    assert np.array_equal(np.array(points["ghost_bp"], np.float64), known[rows], equal_nan=True)
    later = told.get("/api/v1/ghost", params={"since_ns": points["ts_ns"][-3]}).json()["points"]
    assert later["ts_ns"] == points["ts_ns"][-2:]


def test_lanes_and_lag_are_sums_over_all_records(told: Beside) -> None:
    lanes = told.get("/api/v1/lanes").json()
    assert sum(sum(one["events"].values()) for one in lanes) == 5_000
    lag = told.get("/api/v1/lag").json()
    decisions = [record.decisions for record in records()]
    costs = np.concatenate([one.realised_cost_bp for one in decisions])
    streams = np.concatenate([one.stream for one in decisions])
    for point in lag:
        v = [one.stream for one in records()[0].instruments].index(point["stream"])
        at = records()[0].latencies_ms.index(point["latency_ms"])
        own = costs[streams == v, at]
        own = own[np.isfinite(own)]
        assert point["n"] == len(own)
        assert point["mean_bp"] == pytest.approx(own.mean()) if len(own) else point["mean_bp"] is None
        if len(own) > 1:
            assert point["ci_bp"] == pytest.approx(1.96 * own.std() / len(own) ** 0.5, abs=1e-6)
    assert sum(point["n"] for point in lag)


def test_orders_fills_and_positions(told: Beside) -> None:
    orders = told.get("/api/v1/orders", params={"limit": 4}).json()
    assert [one["number"] for one in orders["items"]] == [COUNT - 1, COUNT - 2, COUNT - 3, COUNT - 4]
    following = told.get("/api/v1/orders", params={"limit": 100, "cursor": orders["next"]}).json()
    assert [one["number"] for one in following["items"]] == list(range(COUNT - 5, -1, -1))
    assert following["next"] is None
    assert told.get("/api/v1/orders", params={"state": "open"}).json()["items"] == []
    assert [one["order"] for one in told.get("/api/v1/fills").json()["items"]] == list(range(COUNT - 1, -1, -1))
    held = told.get("/api/v1/positions").json()
    assert held["positions"][0]["lots"] == 3
    assert held["positions"][0]["net"] == COUNT - 2.5


def test_who_changed_which_settings_is_told(told: Beside) -> None:
    (change,) = told.get("/api/v1/settings").json()["changed"]
    assert (change["who"], change["refused"]) == ("ann", "")
    assert change["changes"] == [{"name": "notify.burst", "before": "5", "after": "6"}]
    assert change["ts_ns"] == int(records()[4].ts_recv_ns[-1])


def test_health_names_what_is_not_on_its_first_choice(told: Beside) -> None:
    health = told.get("/api/v1/health").json()
    now = {part["component"]: part for part in health["parts"]}
    assert health["ok"] is False
    first = f"feed.{records()[0].instruments[0].stream}"
    assert [name for name, part in now.items() if not part["best"]] == ["feed.x", first]
    assert now["feed.x"]["reason"] == "closed"
    assert health["timings"][0]["p50_ms"] == pytest.approx(0.112, rel=0.01)
    assert health["timings"][0]["p99_ms"] == pytest.approx(11.2, rel=0.01)
    told.until(lambda: told.get("/api/v1/health").json()["host"].get("run") is not None)
    assert told.get("/api/v1/health").json()["host"]["run"]["rss_mib"] > 10


def test_a_live_stream_begins_with_all_of_it_and_goes_on(told: Beside) -> None:
    found = told.events(1)
    name, snapshot = found[0]
    assert name == "snapshot"
    assert snapshot["totals"]["events"] == 5_000
    assert len(snapshot["orders"]) == COUNT
    assert snapshot["run"]["streams"][0]["stream"] == records()[0].instruments[0].stream
    again = told.events(1)[0][1]
    for key in ("points", "orders", "lag", "lanes", "trading", "money"):
        assert again[key] == snapshot[key]


def test_a_client_that_comes_back_sees_what_one_that_stayed_saw() -> None:
    hub = Hub(ServerConfig())
    digest = Digest(len(records()[0].instruments))
    hub.take(open_frame(header(Path()), {}, (), "1"))
    stayed = hub.listen()
    for record in records():
        digest.add(record)
        hub.take(digest.take())
    assert [name for name, _ in stayed.waiting] == ["snapshot"] + ["step"] * len(records())
    slow = hub.listen()
    for _ in range(100):
        digest.add(records()[0])
        hub.take(digest.take())
    assert slow.waiting[0][0] == "snapshot"  # begins anew, with all of it
    assert len(slow.waiting) < 100


def test_an_action_reaches_the_run_and_its_answer_comes_back(tmp_path: Path) -> None:
    done: list[tuple[str, str]] = []

    def halt(who: str, why: str) -> str:
        done.append((who, why))
        return "halted"

    def resume(who: str, why: str) -> str:
        raise ConfigError("what is held differs")

    with server(tmp_path, {"halt": halt, "resume": resume}) as beside, beside.client() as client:
        beside.tell(1)
        asked = {"do": "halt", "why": "a test", "confirm": "paper"}
        answer = client.post("/api/v1/control", json=asked)
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "said": "halted"})
        assert done == [("tester", "a test")]
        wrong = client.post("/api/v1/control", json=asked | {"confirm": "another"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "conflict")
        refused = client.post("/api/v1/control", json=asked | {"do": "resume"})
        assert (refused.status_code, refused.json()["error"]["message"]) == (409, "what is held differs")
        missing = client.post("/api/v1/control", json=asked | {"do": "reduce"})
        assert "reduce can't be done" in missing.json()["error"]["message"]
        assert len(done) == 1


def test_a_server_that_dies_is_started_again_and_told_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PAUSES_S", (0.2,))
    done: list[str] = []
    with server(tmp_path, {"halt": lambda who, why: done.append(who) or "halted"}) as beside:
        beside.tell(6)
        paths = ("status", "lag", "lanes", "health")
        before = {path: beside.get(f"/api/v1/{path}").json() for path in paths}
        beside.process.kill()
        beside.until(lambda: any("is back" in line for line in beside.said))
        beside.until(lambda: beside.get("/api/v1/status").json()["events"] == rows(6))  # before another record comes
        assert beside.get("/api/v1/positions").json()["positions"][0]["orders"] == trading(5).positions[0].orders
        beside.link.put({"t": "answer", "id": 1, "ok": True, "said": "of a number that is another's now"})
        beside.link.sink._due_s = 0.0
        beside.link.sink.write(replace(records()[6], trading=trading(6), health=health()))
        beside.until(lambda: beside.get("/api/v1/status").json()["events"] == rows(7))
        after = {path: beside.get(f"/api/v1/{path}").json() for path in paths}
        assert before["status"]["events"] == rows(6)
        assert after["status"]["quotes"] + after["status"]["trades"] == rows(7)
        assert after["status"]["started_ns"] == before["status"]["started_ns"]
        n = {path: sum(row["n"] for row in found["lag"]) for path, found in (("old", before), ("new", after))}
        assert n["new"] >= n["old"] > 0
        assert [part for part in after["health"]["parts"] if part["component"] == "feed.x"] == [
            part for part in before["health"]["parts"] if part["component"] == "feed.x"
        ]
        asked = {"do": "halt", "why": "a test", "confirm": "paper"}
        with beside.client() as client:
            assert client.post("/api/v1/control", json=asked).json() == {"ok": True, "said": "halted"}
        assert done == ["tester"]
        beside.process.kill()  # once more than it is started again
        beside.until(lambda: any("goes on without it" in line for line in beside.said))
        begun_s = time.monotonic()
        for _ in range(50):
            for record in records():
                beside.link.sink.write(record)
        assert time.monotonic() - begun_s < 5.0
    assert sum("goes on without it" in line for line in beside.said) == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_server_that_was_told_to_end_stays_away(tmp_path: Path, how: signal.Signals) -> None:
    with server(tmp_path) as beside:
        beside.process.send_signal(how)
        beside.until(lambda: any("(it was told to end); the run goes on without it" in line for line in beside.said))


def test_what_a_server_that_hangs_does_not_take_is_put_together_and_comes_later(tmp_path: Path) -> None:
    with server(tmp_path) as beside:
        beside.tell(1)
        beside.process.send_signal(signal.SIGSTOP)
        told: list[int] = []
        try:
            begun_s = time.monotonic()
            for number in range(1, 1_200):
                record = records()[1 + number % 8]
                told.append(len(record.ts_recv_ns))
                alert = Alert(number, Level.WARNING, "risk", f"a {number}")
                beside.link.log(number, "INFO", "x" * 500)
                beside.link.sink._due_s = 0.0
                beside.link.sink.write(replace(record, alerts=(alert,), trading=trading(number)))
            assert time.monotonic() - begun_s < 10.0
            assert beside.link.merged > 400
            assert len(beside.link._waiting) <= link.MOST_WAITING
        finally:
            beside.process.send_signal(signal.SIGCONT)
        beside.until(lambda: beside.get("/api/v1/status").json()["events"] == rows(1) + sum(told))
        for path in ("alerts", "fills", "orders", "log"):
            page, found, cursor = {"next": ""}, [], None
            while page["next"] is not None:
                page = beside.get(
                    f"/api/v1/{path}", params={"limit": 1_000} | ({"cursor": cursor} if cursor else {})
                ).json()
                found, cursor = found + page["items"], page["next"]
            texts = [one.get("text", one.get("number", one["seq"])) for one in found]
            assert len(texts) == 1_199 + (path != "log"), path
            assert path == "log" or len(set(texts)) == 1_200


def test_a_server_that_hangs_never_holds_the_end_of_a_run(tmp_path: Path) -> None:
    with server(tmp_path) as beside:
        process = beside.process
        process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(2_000):
                beside.link.put({"t": "log", "lines": [{"ts_ns": 1, "level": "INFO", "text": "x" * 500}]})
            begun_s = time.monotonic()
        except BaseException:
            process.send_signal(signal.SIGCONT)
            raise
    assert time.monotonic() - begun_s < 15.0
    assert process.poll() is not None


def test_what_can_not_be_told_as_it_is_is_told_cleaned_and_without_secrets(tmp_path: Path) -> None:
    Secret("canary-2f7d1c88aa")
    with server(tmp_path) as beside:
        beside.tell(1)
        alert = Alert(7, Level.WARNING, "risk", "half \ud800 of canary-2f7d1c88aa")
        beside.link.sink._due_s = 0.0
        beside.link.sink.write(replace(records()[1], alerts=(alert,), trading=replace(trading(1), why="\ud800")))
        # Straight to the handler: pytest would keep it, and half a character is nothing that its processes can tell.
        beside.link._handler.emit(logging.makeLogRecord({"msg": "canary-2f7d1c88aa \ud800", "levelname": "WARNING"}))
        beside.until(lambda: beside.get("/api/v1/alerts").json()["items"][0]["text"] == r"half \ud800 of ***")
        beside.until(lambda: beside.get("/api/v1/log").json()["items"])
        assert beside.get("/api/v1/log").json()["items"][0]["text"] == r"*** \ud800"
        beside.link.put({"t": "close", "summary": {"error": "canary-2f7d1c88aa", "big": 10**30}})
        assert beside.events(1)[0][1]["summary"] == {"error": "***", "big": str(10**30)}


def test_what_was_asked_long_ago_is_not_done_unless_it_makes_things_safer(tmp_path: Path) -> None:
    done: list[str] = []
    acts = {name: lambda who, why, name=name: done.append(name) or "done" for name in ("halt", "resume")}
    with server(tmp_path, acts) as beside:
        for name in acts:
            beside.link._room.acquire()
            beside.link._do(beside.link._server, {"id": 1, "do": name, "who": "ann", "why": "", "until_ns": 5})
    assert done == ["halt"]


def test_a_port_that_is_taken_is_refused_before_the_run_begins(tmp_path: Path) -> None:
    with server(tmp_path) as beside:
        port = int(beside.url.rpartition(":")[2])
        with (
            pytest.raises(ConfigError, match=rf"server.port={port}.*is another server there"),
            server(tmp_path, port=port),
        ):
            pass


def test_the_end_of_a_run_is_told_and_the_server_ends_with_it(tmp_path: Path) -> None:
    heard: list[str] = []
    with server(tmp_path) as beside:
        beside.tell(1)
        thread = threading.Thread(target=lambda: heard.extend(name for name, _ in beside.events(1000)))
        thread.start()
        beside.until(lambda: beside.get("/api/v1/status").json()["clients"] == 1)
        beside.link.sink.close({"mode": "paper", "events": 500})
    thread.join(10.0)
    assert heard[-2:] == ["close", "end"]
    assert beside.process.returncode == 0


def test_a_run_that_is_killed_within_a_line_takes_its_server_with_it(tmp_path: Path) -> None:
    with server(tmp_path) as beside:
        pipe = beside.process.stdin
        pipe.write(b'\xff\n[1]\nnull\n{"t":"none"}\n{"t":"step"}\n')
        pipe.flush()
        beside.tell(2)
        assert beside.get("/api/v1/status").json()["events"] == sum(len(one.ts_recv_ns) for one in records()[:2])
        pipe.write(b'{"t":"step","ev')
        pipe.close()
        assert beside.process.wait(5.0) == 0


NO_SETTINGS = {
    "an integer beyond 64 bits": '{"notify.burst": 1' + 30 * "0" + "}",
    "half a character": r'{"notify.burst": "\ud800"}',
    "half a character in a name": r'{"\ud800": 1}',
    "half a character within": r'{"a": [{"\ud800": 1}]}',
    "half a character in why": r'{"a": 1}, "why": "\ud800"',
    "no number": '{"notify.burst": NaN}',
    "infinity": '{"notify.burst": [-1e999]}',
    "a long text": '{"a": "' + 1_001 * "x" + '"}',
    "deep": '{"a": ' + 9 * "[" + "1" + 9 * "]" + "}",
    "very deep": '{"a": ' + 500 * "[" + "1" + 500 * "]" + "}",
    "many": '{"a": [1' + 1_000 * ", 1" + "]}",
}


def test_settings_that_can_t_be_told_are_refused_at_the_border(tmp_path: Path) -> None:
    told: list[object] = []

    def change(who: str, changes: object) -> str:
        told.append(changes)
        return "changed"

    with server(tmp_path) as beside, beside.client() as client:
        client.headers["Content-Type"] = "application/json"
        beside.link.change = change
        beside.link.begin(header(tmp_path))
        beside.until(lambda: beside.get("/api/v1/settings").json()["can_change"])
        for what, changes in NO_SETTINGS.items():
            why = "" if '"why"' in changes else ', "why": "w"'
            answer = client.patch("/api/v1/settings", content=f'{{"changes": {changes}{why}}}')
            assert (what, answer.status_code, answer.json()["error"]["code"]) == (what, 422, "unprocessable")
        for part in ("why", "confirm"):
            body = {"do": "halt", "why": "w", "confirm": "paper", part: "X"}
            answer = client.post("/api/v1/control", content=json.dumps(body).replace('"X"', r'"\ud800"'))
            assert (part, answer.status_code) == (part, 422)
        assert told == []
        fine = {"a": 2**63 - 1, "b": -(2**63), "c": [0.5, {"d": None}], "e": "\u20ac" * 1_000, "f": True}
        assert client.patch("/api/v1/settings", json={"changes": fine, "why": "w"}).status_code == 200
        assert told == [fine]


async def _asked(*paths: str) -> list[httpx.Response]:
    transport = httpx.ASGITransport(create_app(ServerConfig(), Hub(ServerConfig())))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return [await client.get(path) for path in paths]


def test_without_a_run_it_says_so() -> None:
    status, missing = asyncio.run(_asked("/api/v1/status", "/api/v1/streams"))
    assert status.json()["run"] == "none"
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_run")
    assert "server.enabled=true" in missing.json()["error"]["do"]
