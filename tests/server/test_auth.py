"""Who may do what: roles, wrong tokens, requests without one, limits."""

from __future__ import annotations

import concurrent.futures
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from schwabot.server import tokens
from schwabot.server.tokens import Role, add, remove
from tests.server.guarded import Guarded, guarded, quick_end

__all__ = ["quick_end"]

HALT = {"do": "halt", "confirm": "", "why": "test"}
WRONG = "sw_00000000_" + "A" * 43


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Nobody may do anything without a token."""
    with guarded(tmp_path_factory.mktemp("closed"), anonymous="none", failures_per_minute=1000) as one:
        yield one


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """As it comes: whoever is on this machine may look."""
    with guarded(tmp_path_factory.mktemp("local"), failures_per_minute=1000) as one:
        yield one


def test_each_role_may_do_what_it_may(closed: Guarded) -> None:
    change = {"changes": {"notify.burst": 6}, "why": "test"}
    for role, statuses in (
        (None, (401, 401, 401)), ("viewer", (200, 403, 403)), ("operator", (200, 200, 403)), ("admin", (200, 200, 200)),
    ):  # fmt: skip
        closed.asked.clear()
        found = (
            closed.ask("GET", "/api/v1/status", role).status_code,
            closed.ask("POST", "/api/v1/control", role, json=HALT).status_code,
            closed.ask("PATCH", "/api/v1/settings", role, json=change).status_code,
        )
        assert found == statuses, role
        assert len(closed.asked) == statuses[1:].count(200)  # what was refused did not reach the run
        assert {one["who"] for one in closed.asked} <= {f"the-{role}"}


def test_every_route_of_the_api_asks_who_it_is(closed: Guarded) -> None:
    paths = closed.ask("GET", "/openapi.json").json()["paths"]
    assert len(paths) > 10
    for path, item in paths.items():
        for method, operation in item.items():
            url = path.replace("{", "").replace("}", "")
            answer = closed.ask(method.upper(), url, json={} if method != "get" else None)
            assert answer.status_code == 401, (method, path)
            if path.endswith("/files/{name}"):  # a ticket opens it too
                continue
            assert operation["security"], (method, path)
            if method != "get":  # no role that only reads changes anything
                assert operation["security"] != [{"token": ["viewer"]}] or path.endswith("/links"), (method, path)
    for open_to_all in ("/", "/docs", "/openapi.json", "/healthz"):
        assert closed.ask("GET", open_to_all).status_code in (200, 404)


def test_a_refusal_says_what_is_needed_and_what_makes_it(closed: Guarded) -> None:
    nobody = closed.ask("GET", "/api/v1/status")
    assert nobody.headers["www-authenticate"] == 'Bearer realm="schwabot"'
    assert nobody.json()["error"]["code"] == "unauthorized"
    assert "schwabot.server.tokens add" in nobody.json()["error"]["do"]
    known = closed.ask("POST", "/api/v1/control", "viewer", json=HALT)
    assert known.json()["error"] == {
        "code": "forbidden",
        "message": "the-viewer is viewer; this needs the role operator",
        "do": "make a token that may: python -m schwabot.server.tokens add NAME --role operator",
    }


@pytest.mark.parametrize(
    "given",
    [f"Bearer {WRONG}", "Bearer", "bearer x", "Basic YTpi", f"Bearer {'x' * 8000}", "Bearer sw_\xe9", WRONG],
)
def test_a_wrong_token_is_refused_everywhere(local: Guarded, closed: Guarded, given: str) -> None:
    headers = {"Authorization": given.encode("latin-1")}
    for server in (local, closed):
        for path in ("/api/v1/status", "/", "/docs"):
            answer = server.ask("GET", path, headers=headers)
            assert answer.status_code == 401, path
            assert "Bearer" in answer.headers["www-authenticate"]


def test_two_tokens_in_one_request_are_refused(closed: Guarded) -> None:
    values = [("Authorization", f"Bearer {closed.tokens[role]}") for role in ("viewer", "admin")]
    with httpx.Client(base_url=closed.url) as client:
        assert client.get("/api/v1/status", headers=values).status_code == 401


def test_somebody_on_this_machine_may_look_and_no_more(local: Guarded) -> None:
    assert local.ask("GET", "/api/v1/status").status_code == 200
    assert local.ask("GET", "/api/v1/control").json()["role"] == "viewer"
    local.asked.clear()
    assert local.ask("POST", "/api/v1/control", json=HALT).status_code == 401
    assert local.asked == []


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_what_a_proxy_passes_on_is_nobody_on_this_machine(local: Guarded, name: str) -> None:
    headers = {name: "127.0.0.1"}
    assert local.ask("GET", "/api/v1/status", headers=headers).status_code == 401
    assert local.ask("GET", "/api/v1/status", "viewer", headers=headers).status_code == 200


def test_a_token_works_until_it_is_removed(closed: Guarded) -> None:
    path = Path(str(closed.config.tokens))
    text = add(path, "leaver", Role.VIEWER)
    closed.tokens["leaver"] = text
    until_s = time.monotonic() + 3 * tokens.LOOK_EVERY_S
    while closed.ask("GET", "/api/v1/status", "leaver").status_code != 200:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    remove(path, "leaver")
    removed_s = time.monotonic()
    while closed.ask("GET", "/api/v1/status", "leaver").status_code != 401:
        assert time.monotonic() - removed_s < 2.0
        time.sleep(0.05)


def test_a_caller_is_held_to_its_rate_and_told_when_to_come_back(tmp_path: Path) -> None:
    with guarded(tmp_path, rate_per_s=0.5, rate_burst=8) as server:
        with server.client("admin") as client:
            answers = [client.get("/api/v1/status") for _ in range(10)]
            assert [one.status_code for one in answers] == [200] * 8 + [429] * 2
            assert answers[-1].headers["retry-after"] == "2"
            assert answers[-1].json()["error"]["code"] == "rate_limited"
        assert server.ask("GET", "/api/v1/status", "operator").status_code == 200  # another token is another caller
        with server.client() as client:  # and who has none counts by the address, whatever it says it is
            found = [client.get("/docs", headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(10)]
        assert found == [200] * 8 + [429] * 2


def test_tokens_can_not_be_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    real = tokens.TokenBook.verify

    def counted(book: tokens.TokenBook, text: str) -> tokens.Entry | None:
        verified.append(text)
        return real(book, text)

    monkeypatch.setattr(tokens.TokenBook, "verify", counted)
    with guarded(tmp_path, failures_per_minute=5) as server:
        id_ = server.tokens["viewer"][:12]
        verified.clear()

        def attempt(n: int) -> int:
            headers = {"Authorization": f"Bearer {id_}{n:043d}"}
            return server.ask("GET", "/api/v1/status", headers=headers).status_code

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            found = sorted(pool.map(attempt, range(24)))
        assert found == [401] * 4 + [429] * 20  # the viewer's own first request was a try too
        assert len(verified) == 4  # no more work than that, however many come at once
        assert server.ask("GET", "/api/v1/status", "viewer").status_code == 200  # seen before: goes on
        refused = server.ask("GET", "/api/v1/status", "admin")  # not seen before: has to wait
        assert (refused.status_code, int(refused.headers["retry-after"]) <= 13) == (429, True)


def test_live_streams_have_a_number(tmp_path: Path) -> None:
    path = "/api/v1/events"
    with guarded(tmp_path, max_clients=1) as server, server.client() as client, client.stream("GET", path) as first:
        assert first.status_code == 200
        second = server.ask("GET", path)
        assert (second.status_code, second.json()["error"]["code"]) == (503, "too_many")


def test_a_live_stream_ends_when_its_token_is_removed(closed: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    from schwabot.server import routes_events

    monkeypatch.setattr(routes_events, "QUIET_S", 0.2)
    path = Path(str(closed.config.tokens))
    text = add(path, "watcher", Role.VIEWER)
    time.sleep(1.5 * tokens.LOOK_EVERY_S)
    headers = {"Authorization": f"Bearer {text}"}
    with closed.client() as client, client.stream("GET", "/api/v1/events", headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("event: snapshot")
        remove(path, "watcher")
        begun_s = time.monotonic()
        for _ in lines:
            assert time.monotonic() - begun_s < 5.0
    assert time.monotonic() - begun_s < 5.0


def test_no_other_address_of_this_machine_answers(closed: Guarded) -> None:
    port = int(closed.url.rpartition(":")[2])
    for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock, pytest.raises(OSError, match=r"refused|unreachable|assign"):
            sock.connect((address, port))
