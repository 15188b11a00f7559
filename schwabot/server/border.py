"""What a request must look like before anyone reads it: its host, the page it comes from, its type and its size."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schwabot.server.problems import Problem
from schwabot.server.settings import ServerConfig

MOST_BODY = 64 * 1024
BODY_S = 10.0
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]@/]+)(?::([0-9]{1,5}))?")
"""A name or address, an IPv6 one in brackets, and perhaps a port."""


class Hosts:
    """Names this server goes by.

    A page on the internet may let its own name point to this machine (DNS rebinding), and then is of one origin with
    the server, for the browser. Its requests still say that name. The port is not compared, as tunnels change it, but
    it must be one.

    Args:
        config: of the server.
        names: those in its certificate.

    Example:
        >>> known = Hosts(ServerConfig(hosts=["desk.example.org"]))
        >>> [known.has(one) for one in ("localhost:8080", "[::1]", "desk.example.org", "evil.example", "[::1]:0")]
        [True, True, True, False, False]
    """

    def __init__(self, config: ServerConfig, names: Iterable[str] = ()) -> None:
        own = {config.host, "localhost", "127.0.0.1", "::1", *config.hosts, *names}
        if not config.is_local:
            own |= {socket.gethostname(), f"{socket.gethostname().partition('.')[0]}.local"}
        self._known = {_name(one) for one in own} - {""}
        self._any_address = not config.is_local

    def has(self, host: str) -> bool:
        """Whether this is one of them; where other machines may come, any plain address, for no name points there."""
        found = _HOST.fullmatch(host.strip().lower())
        if found is None or not 0 < int(found[2] or 80) < 65_536:
            return False
        name = _name(found[1])
        if found[1].startswith("[") and ":" not in name:
            return False
        if name in self._known:
            return True
        if not self._any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name(host: str) -> str:
    text = host.strip().lower()
    if text.count(":") == 1 or "]:" in text:
        text = text.rpartition(":")[0]
    return text.strip("[]").rstrip(".")


class Border:
    """Refuses what no client of ours sends.

    - a Host that is not ours, or none: 400
    - what changes something, from another page's script (Origin, Sec-Fetch-Site): 403; not as JSON: 415
    - the API at all, from another page's script: 403, but for the pages in ``server.cors``
    - a body of more than 64 KiB: 413; one that takes longer than 10 s: 408

    Args:
        app: what comes behind.
        hosts: names of this server.
        cors: origins of other pages that may ask.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, cors: Sequence[str] = ()) -> None:
        self._app = app
        self._hosts = hosts
        self._cors = frozenset(cors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._refusal(scope, headers)
        if problem is None and ("content-length" in headers or "transfer-encoding" in headers):
            try:
                receive = await _whole(headers, receive)
            except Problem as found:
                problem = found
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.has(hosts[0]):
            return Problem(
                400, "bad_request", f"Host {', '.join(hosts)[:100]!r} is no name of this server",
                "use its address, or put the name into server.hosts",
            )  # fmt: skip
        origins, site = headers.getlist("origin"), headers.get("sec-fetch-site", "none")
        foreign = [one for one in origins if one not in self._cors and not _is_own(one, scope["scheme"], hosts[0])]
        if scope["method"] not in CHANGES:
            is_asked_by_page = not origins and site not in ("same-origin", "none")
            is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            if scope["path"].startswith("/api/") and (foreign or (is_asked_by_page and not is_link)):
                return _foreign(foreign)
            return None
        if foreign or len(origins) > 1 or (not origins and site not in ("same-origin", "none")):
            return _foreign(foreign)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Problem(
                415, "unsupported_media_type", f"{scope['method']} with Content-Type {kind[:100]!r}",
                "send Content-Type: application/json",
            )  # fmt: skip
        return None


def _is_own(origin: str, scheme: str, host: str) -> bool:
    """Whether a page of this server sent it, by the name it was asked for."""
    try:
        found = urlsplit(origin)
    except ValueError:
        return False
    return (found.scheme, found.netloc.lower()) == (scheme, host.strip().lower())


def _foreign(origins: Sequence[str]) -> Problem:
    who = repr(origins[0][:100]) if origins else "another page"
    return Problem(403, "forbidden", f"asked by {who}, which is not of this server", "name its origin in server.cors")


async def _whole(headers: Headers, receive: Receive) -> Receive:
    """The body, read whole, for the application to receive.

    Raises:
        Problem: it is too large or too slow.
    """
    told = headers.get("content-length", "0")
    if not told.isdecimal() or int(told[:20]) > MOST_BODY:
        raise _too_large()
    body, last = bytearray(), None
    try:
        async with asyncio.timeout(BODY_S):
            while last is None:
                message = await receive()
                if message["type"] != "http.request":
                    last = message
                    break
                body += message.get("body", b"")
                if len(body) > MOST_BODY:
                    raise _too_large()
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Problem(408, "timeout", f"the body took longer than {BODY_S:g} s", "", _CLOSE) from None
    ready: list[Message] = [last or {"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replayed() -> Message:
        return ready.pop() if ready else await receive()

    return replayed


_CLOSE = {"Connection": "close"}
"""Else the rest of the body would still be read."""


def _too_large() -> Problem:
    return Problem(413, "too_large", f"the body is larger than {MOST_BODY // 1024} KiB", "send less", _CLOSE)
