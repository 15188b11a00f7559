"""What a browser, a stranger's page, a broken client or a log may not do: headers, hosts, origins, sizes, errors."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.serve import serve
from schwabot.server import border, protocol, routes_control
from schwabot.server.headers import PAGE_POLICY
from schwabot.server.link import ServerLink
from schwabot.server.settings import ServerConfig
from tests.server.guarded import Guarded, guarded, quick_end
from tests.server.test_tls import pair

__all__ = ["quick_end"]

POST = b"POST /api/v1/control HTTP/1.1\r\nHost: localhost\r\n"
HALT = {"do": "halt", "confirm": "", "why": "test"}
ELSEWHERE = "https://evil.example"
DESK = "https://desk.example.org"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("border")
    with guarded(folder, cors=[DESK], rate_per_s=1e4, rate_burst=10_000) as one:
        yield one


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/v1/status", "/api/v1/nothing", "/static/none"])
def test_every_answer_carries_the_headers(server: Guarded, path: str) -> None:
    headers = server.ask("GET", path).headers
    assert headers["content-security-policy"] == PAGE_POLICY
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert "geolocation=()" in headers["permissions-policy"]
    assert "server" not in headers
    assert "strict-transport-security" not in headers  # it would count for every port of localhost
    assert (headers.get("cache-control") == "no-store") == path.startswith("/api/")


def test_the_policy_allows_no_foreign_code() -> None:
    assert "default-src 'none'" in PAGE_POLICY
    assert "script-src 'self';" in PAGE_POLICY
    assert "frame-ancestors 'none'" in PAGE_POLICY
    assert "://" not in PAGE_POLICY  # no other host


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example", "10.0.0.9", "", "127.0.0.1:99999",
        "[127.0.0.1]", "[127.0.0.1]:8080",
        "127.0.0.1:0", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:+80", "127.0.0.1:8080:8080", "[::1]:65536",
        "[::1]8080", "[::1", "::1]", "::1", "[localhost]", "localhost]:80", "user@localhost",
    ],
)  # fmt: skip
def test_a_name_that_was_pointed_here_is_refused(server: Guarded, host: str) -> None:
    answer = server.ask("GET", "/api/v1/status", headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "server.hosts" in answer.json()["error"]["do"]


def test_a_name_of_a_proxy_is_taken_and_then_nobody_is_anonymous(tmp_path: Path) -> None:
    with guarded(tmp_path, hosts=["Named.example.org"]) as one:
        for host in ("named.example.org.", "127.0.0.1"):
            assert one.ask("GET", "/api/v1/status", headers={"Host": host}).status_code == 401
            assert one.ask("GET", "/api/v1/status", "viewer", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8080", "[::1]", "localhost.:65535"]
)
def test_our_own_names_are_taken_through_any_tunnel(server: Guarded, host: str) -> None:
    assert server.ask("GET", "/api/v1/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ELSEWHERE}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": ""},
        {"Origin": "http://["}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Origin": ELSEWHERE, "Sec-Fetch-Site": "same-origin"},
    ],
)  # fmt: skip
def test_another_page_can_do_nothing_even_with_a_token(server: Guarded, headers: dict[str, str]) -> None:
    server.asked.clear()
    done = server.ask("POST", "/api/v1/control", "operator", json=HALT, headers=headers)
    assert (done.status_code, done.json()["error"]["code"]) == (403, "forbidden")
    read = server.ask("GET", "/api/v1/status", headers=headers)
    assert read.status_code == 403
    assert "access-control-allow-origin" not in read.headers
    assert server.asked == []


def test_our_own_page_can(server: Guarded) -> None:
    for headers in ({"Origin": server.url}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
        assert server.ask("POST", "/api/v1/control", "operator", json=HALT, headers=headers).status_code == 200
        assert server.ask("GET", "/api/v1/status", headers=headers).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert server.ask("GET", "/api/v1/status", headers=link).status_code == 200  # a link on another page, followed


def test_pages_that_were_named_may_ask_and_others_may_not(server: Guarded, tmp_path: Path) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    before = server.ask("OPTIONS", "/api/v1/control", headers={"Origin": DESK, **asks})
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, DESK)
    assert "access-control-allow-credentials" not in before.headers
    done = server.ask("POST", "/api/v1/control", "operator", json=HALT, headers={"Origin": DESK})
    assert (done.status_code, done.headers["access-control-allow-origin"]) == (200, DESK)
    wrong = server.ask("GET", "/api/v1/status", headers={"Origin": DESK, "Authorization": "Bearer x"})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, DESK)
    assert server.ask("OPTIONS", "/api/v1/control", headers={"Origin": ELSEWHERE, **asks}).status_code in (400, 403)
    with guarded(tmp_path) as usual:  # nobody is named by default
        answer = usual.ask("OPTIONS", "/api/v1/control", headers={"Origin": DESK, **asks})
        assert "access-control-allow-origin" not in answer.headers
        assert usual.ask("POST", "/api/v1/control", "operator", json=HALT, headers={"Origin": DESK}).status_code == 403


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_can_send_changes_nothing(server: Guarded, kind: str | None) -> None:
    server.asked.clear()
    headers = {} if kind is None else {"Content-Type": kind}
    answer = server.ask("POST", "/api/v1/control", "operator", content=b'{"do":"halt"}', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert server.asked == []


def test_a_body_is_small_and_comes_soon(server: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"Content-Type": "application/json"}
    for content in (b" " * (border.MOST_BODY + 1), iter([b" " * 40_000] * 3), iter([b" "] * (border.MOST_BODY + 1))):
        answer = server.ask("POST", "/api/v1/control", "operator", content=content, headers=kind)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    monkeypatch.setattr(border, "BODY_S", 0.2)
    head = f"POST /api/v1/control HTTP/1.1\r\nHost: localhost\r\n{_lines(kind)}Content-Length: 9\r\n\r\n".encode()
    assert _raw(server, head + b"{").startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422), (b"{", 422), (b"[]", 422), (b'{"do":"fly"}', 422), (b'{"do":' * 9000, 422), (b"[" * 60_000, 422),
        (b'{"do":"halt","why":"\xff"}', 422), (b'{"do":"\\ud800"}', 422), (b"9" * 60_000, 422), (b"null", 422),
    ],
)  # fmt: skip
def test_bad_input_is_answered_in_one_shape(server: Guarded, content: bytes, status: int) -> None:
    kind = {"Content-Type": "application/json"}
    answer = server.ask("POST", "/api/v1/control", "operator", content=content, headers=kind)
    assert answer.status_code in (400, status)
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "do"}
    assert error["code"] == {400: "bad_request", 422: "unprocessable"}[answer.status_code]
    assert len(answer.content) < 2_000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1e400", "notify.burst: a number is too large or not finite"),
        ('[1, {"a": -1e400}]', "notify.burst: a number is too large or not finite"),
        ("NaN", "notify.burst: a number is too large or not finite"),
        ("9" * 30, "notify.burst: a whole number is beyond 64 bits"),
        ('{"a": "\\ud800"}', "notify.burst: a text holds half a character"),
    ],
)  # fmt: skip
def test_what_is_no_value_is_said_of_the_setting_it_is_meant_for(server: Guarded, value: str, said: str) -> None:
    server.asked.clear()
    body = f'{{"changes": {{"notify.level": "info", "notify.burst": {value}}}, "why": "w"}}'
    headers = {"Content-Type": "application/json"}
    answer = server.ask("PATCH", "/api/v1/settings", "admin", content=body, headers=headers)
    assert answer.status_code == 422
    assert f"the body: changes: {said}" in answer.json()["error"]["message"]
    assert server.asked == []


def test_what_is_not_there_has_the_same_shape(server: Guarded) -> None:
    for method, path, status, code in (
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("DELETE", "/api/v1/status", 405, "method_not_allowed"),
        ("GET", "/static/../app.py", 404, "not_found"),
        ("GET", "/static/%2e%2e/app.py", 404, "not_found"),
        ("GET", "/static/%2e%2e%2fapp.py", 404, "not_found"),
    ):
        answer = server.ask(method, path, json={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path


def test_a_failure_of_ours_says_nothing_and_is_logged_without_secrets(
    server: Guarded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = server.tokens["operator"]

    async def broken(*_: Any) -> None:
        raise RuntimeError(f"lost {token}")

    monkeypatch.setattr(routes_control, "_ask", broken)
    answer = server.ask("POST", "/api/v1/control", "operator", json=HALT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "lost" not in answer.text
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    assert "RuntimeError: lost" in caplog.text
    assert token not in caplog.text


def test_a_request_is_one_line_without_secrets(server: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "schwabot.server.requests")
    ticket = "t1cket-of-a-report"
    server.ask("GET", f"/api/v1/status?ticket={ticket}&limit=5", "viewer")
    server.ask("GET", "/api/v1/%0d%0aforged%1b[31m")
    server.ask("GET", f"/{server.tokens['admin']}", headers={"Authorization": "Bearer sw_00000000_" + "B" * 43})
    lines = [one.getMessage() for one in caplog.records if one.name == "schwabot.server.requests"]
    assert lines[0].startswith("127.0.0.1 the-viewer GET /api/v1/status?ticket&limit 200 ")
    assert lines[1].startswith("127.0.0.1 - GET /api/v1/%0D%0Aforged%1B%5B31m 404 ")
    assert " 401 " in lines[2]
    for secret in (ticket, *server.tokens.values(), "B" * 43):
        assert secret not in caplog.text
    assert all(len(line) < 400 and line.isprintable() for line in lines)


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _raw(server: Guarded, data: bytes, wait_s: float = 5.0) -> bytes:
    """What comes back until the server closes."""
    found = bytearray()
    with socket.create_connection((server.config.host, urlsplit(server.url).port or 0), timeout=wait_s) as sock:
        try:
            sock.sendall(data)
            while piece := sock.recv(65_536):
                found += piece
        except (ConnectionError, TimeoutError):
            pass
    return bytes(found)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 2000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n X: y\r\n\r\n", b"GET / HTTP/1.1\r\nHo st: localhost\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_is_a_400_and_the_server_goes_on(server: Guarded, data: bytes) -> None:
    found = _raw(server, data, 0.5)
    assert found.startswith(b"HTTP/1.1 400") or found == b"", found[:200]
    assert b"Traceback" not in found
    assert server.ask("GET", "/api/v1/status").status_code == 200


def test_headers_have_an_end_and_a_time(server: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    for flood in (begin + b"X: " + b"a" * 3_000_000, begin + b"X: a\r\n" * 500_000, b"GET /" + b"a" * 3_000_000):
        begun_s = time.monotonic()
        assert len(_raw(server, flood, 9.0)) < 1_000
        assert time.monotonic() - begun_s < 8.0  # closed, not waited for
    many = begin + b"".join(b"X-%d: a\r\n" % n for n in range(1_000)) + b"Connection: close\r\n\r\n"
    assert _raw(server, many)[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 404")
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    for slow in (b"", begin, b"\r\n", begin + b"Connection: keep-alive\r\n\r\nGET / HTT"):
        begun_s = time.monotonic()
        _raw(server, slow, 10.0)
        assert time.monotonic() - begun_s < 8.0, slow  # and not for ever
    with socket.create_connection((server.config.host, urlsplit(server.url).port or 0), timeout=8.0) as sock:
        sock.sendall(begin + b"\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 ")
        time.sleep(0.1)
        sock.sendall(b"\r\n")  # an empty line, which is no request yet
        while sock.recv(65_536):
            pass


def test_connections_have_a_number(server: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 8)
    where = (server.config.host, urlsplit(server.url).port or 0)
    held = [socket.create_connection(where, timeout=5.0) for _ in range(12)]
    try:
        time.sleep(0.2)
        closed = 0
        for sock in held:
            sock.settimeout(0.05)
            try:
                closed += sock.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                closed += 1
        assert 4 <= closed <= 6
    finally:
        for sock in held:
            sock.close()


def test_one_who_does_not_read_holds_up_nobody(server: Guarded) -> None:
    where = (server.config.host, urlsplit(server.url).port or 0)
    head = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(where, timeout=5.0) as sock:
        threading.Thread(target=lambda: _send(sock, head * 5_000), daemon=True).start()
        time.sleep(0.2)
        begun_s = time.monotonic()
        assert server.ask("GET", "/api/v1/status").status_code == 200
        assert time.monotonic() - begun_s < 2.0


def _send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


def test_https_with_a_given_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = pair(tmp_path, authority, "localhost", "127.0.0.1", "desk.lan")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with guarded(tmp_path, host="0.0.0.0", tls_cert=cert, tls_key=key) as server:
        server.url = server.url.replace("0.0.0.0", "localhost")
        assert server.url.startswith("https://")
        answer = server.ask("GET", "/api/v1/status", "viewer", verify=context)
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert server.ask("GET", "/api/v1/status", verify=context).status_code == 401  # nobody is local here
        for host, status in (("desk.lan", 200), ("192.0.2.9", 200), ("evil.example", 400)):
            found = server.ask("GET", "/api/v1/status", "viewer", verify=context, headers={"Host": host})
            assert found.status_code == status, host
        with pytest.raises(httpx.HTTPError):
            server.ask("GET", "http" + server.url[5:] + "/api/v1/status")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        where = ("127.0.0.1", urlsplit(server.url).port or 0)
        with socket.create_connection(where) as sock, pytest.raises(ssl.SSLError):
            old.wrap_socket(sock)


def test_a_server_that_would_let_other_machines_in_does_not_start(tmp_path: Path) -> None:
    config = ServerConfig(host="0.0.0.0", port=0, tokens=str(tmp_path / "none.json"))
    said: list[str] = []
    with pytest.raises(ConfigError) as beside, ServerLink(config, "1", said.append):
        pytest.fail("it started")
    with pytest.raises(ConfigError) as alone:
        serve(RunConfig(mode="serve", server=config), tmp_path / "run", 0.0)
    for refused in (beside, alone):
        assert "that needs TLS and a token: there is no certificate and there is no token" in str(refused.value)
        assert "python -m schwabot.server.tokens add NAME --role operator" in str(refused.value)
    assert said == []


def test_the_description_works_without_scripts_and_without_the_internet(server: Guarded) -> None:
    page = server.ask("GET", "/docs").text
    for text in ("/api/v1/status", "/api/v1/control", "role operator", "role admin", "rate_limited"):
        assert text in page, text
    assert "<script" not in page
    assert "https://" not in page
    assert server.ask("GET", "/docs.css").headers["content-type"].startswith("text/css")
