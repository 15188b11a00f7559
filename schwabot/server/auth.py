"""Who asks, and whether they may: bearer tokens with roles, counted against their limits.

viewer   reads
operator halts, reduces, cancels, resumes
admin    changes settings too
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from schwabot.server.limits import Limiter, address_key
from schwabot.server.problems import Problem, too_many
from schwabot.server.settings import ServerConfig
from schwabot.server.tls import is_loopback
from schwabot.server.tokens import Entry, Role, TokenBook

__all__ = [
    "Admin", "Gate", "Identity", "Operator", "Role", "Viewer", "admin", "identity_of", "operator", "still_allowed",
    "viewer",
]  # fmt: skip

MOST_WAITING = 8
"""Unseen tokens that wait for argon2 at once; more are sent away. It works on one at a time."""
_FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
_ANONYMOUS = "-"
"""No token may be called that."""


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Args:
        name: of the token.
        role: what it may do.
    """

    name: str
    role: Role


class Gate:
    """Finds out who asks and holds everyone to the limits, before the application is troubled.

    A token is looked up in memory; one that was not seen before costs a try of its address and then argon2 in a
    thread, one at a time. A token that is wrong is 401 everywhere, even where none is needed.

    Args:
        app: what comes behind.
        config: of the server.
        book: the tokens.
        limiter: the limits.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig, book: TokenBook, limiter: Limiter) -> None:
        self._app = app
        self._book = book
        self._limiter = limiter
        self._open = config.is_local and config.anonymous == "viewer" and not config.hosts
        self._desk = anyio.CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = scope["client"][0] if scope.get("client") else ""
        found = await self._who(scope["headers"], host)
        if not isinstance(found, Problem):
            key = f"token {found.id}" if found is not None else f"address {address_key(host)}"
            wait_s = self._limiter.request_s(key)
            if not wait_s:
                self._remember(scope, found, host)
                await self._app(scope, receive, send)
                return
            found = too_many(wait_s, "this token" if found is not None else f"{host or 'this address'}")
        await found.response()(scope, receive, send)

    async def _who(self, headers: Iterable[tuple[bytes, bytes]], host: str) -> Entry | Problem | None:
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return None
        scheme, _, rest = given[0].decode("latin-1").partition(" ")
        text = rest.strip()
        entry = self._book.recall(text)
        if entry is not None and len(given) == 1 and scheme.lower() == "bearer":
            return entry
        wait_s = self._limiter.try_s(host)
        if wait_s:
            return too_many(wait_s, f"tokens tried by {host or 'this address'}")
        if len(given) > 1 or scheme.lower() != "bearer":
            return _unauthorized("Authorization is not one 'Bearer TOKEN'")
        if self._desk.statistics().tasks_waiting >= MOST_WAITING:
            return too_many(1.0, "tokens that were not seen before")
        async with self._desk:
            entry = await to_thread.run_sync(self._book.verify, text)
        return entry or _unauthorized("this token is not known, or has expired")

    def _remember(self, scope: Scope, entry: Entry | None, host: str) -> None:
        state = scope.setdefault("state", {})
        if entry is not None:
            state["identity"] = Identity(entry.name, entry.role)
            token = entry.id
            state["still"] = lambda: self._book.holds(token)
        elif self._open and is_loopback(host) and not any(name in _FORWARDED for name, _ in scope["headers"]):
            state["identity"] = Identity(_ANONYMOUS, Role.VIEWER)


def _unauthorized(message: str, error: str = ', error="invalid_token"', role: Role | str = "viewer") -> Problem:
    return Problem(
        401, "unauthorized", message,
        "send 'Authorization: Bearer TOKEN'; make one with: python -m schwabot.server.tokens add NAME"
        f" --role {role}",
        {"WWW-Authenticate": f'Bearer realm="schwabot"{error}'},
    )  # fmt: skip


def identity_of(request: Request) -> Identity | None:
    """Who asks, or None for somebody unknown."""
    found = getattr(request.state, "identity", None)
    return found if isinstance(found, Identity) else None


def still_allowed(request: Request) -> bool:
    """Whether the token of a long answer is neither removed nor expired meanwhile; to be asked now and then."""
    still: Callable[[], bool] | None = getattr(request.state, "still", None)
    return still is None or still()


_bearer = HTTPBearer(
    scheme_name="token", description="python -m schwabot.server.tokens add NAME --role ROLE", auto_error=False
)


def _needs(role: Role) -> Callable[..., Awaitable[Identity]]:
    described = Security(_bearer, scopes=[role.value])  # for /docs; the gate has read it

    async def check(request: Request, _: HTTPAuthorizationCredentials | None = described) -> Identity:
        who = identity_of(request)
        if who is None or (who.name == _ANONYMOUS and not who.role.covers(role)):
            raise _unauthorized(f"this needs a token with the role {role}", "", role)
        if not who.role.covers(role):
            raise Problem(
                403, "forbidden", f"{who.name} is {who.role}; this needs the role {role}",
                f"make a token that may: python -m schwabot.server.tokens add NAME --role {role}",
            )  # fmt: skip
        return who

    return check


viewer = _needs(Role.VIEWER)
operator = _needs(Role.OPERATOR)
admin = _needs(Role.ADMIN)
Viewer = Annotated[Identity, Depends(viewer)]
Operator = Annotated[Identity, Depends(operator)]
Admin = Annotated[Identity, Depends(admin)]
