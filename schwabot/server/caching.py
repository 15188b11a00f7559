"""Answers that are not sent twice: an ETag on what is heavy, 304 for who has it, and opaque cursors for pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from schwabot.server.problems import Problem

FRESH = "private, no-cache"
"""May be kept by the browser alone, and is asked for again every time."""


def etag_of(*parts: object) -> str:
    """Changes when any of the parts does.

    Example:
        >>> etag_of("run", 1) == etag_of("run", 1), etag_of("run", 1) == etag_of("run", 2)
        (True, False)
    """
    return f'W/"{hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=12).hexdigest()}"'


def has(request: Request, etag: str) -> bool:
    """Whether the client has said that it has this version."""
    given = request.headers.get("if-none-match", "")
    known = {one.strip().removeprefix("W/") for one in given.split(",")}
    return "*" in known or etag.removeprefix("W/") in known


def etagged(request: Request, etag: str, answer: Callable[[], Any]) -> Response:
    """304 for who has it, else the answer; which is worked out only then.

    Args:
        request: what is answered.
        etag: of ``etag_of``.
        answer: gives a model, bytes of JSON, plain values, or a response.
    """
    headers = {"ETag": etag, "Cache-Control": FRESH}
    if has(request, etag):
        return Response(status_code=304, headers=headers)
    found = answer()
    if isinstance(found, Response):
        found.headers.update(headers)
        return found
    return Response(encoded(found), headers=headers, media_type="application/json")


def encoded(found: Any) -> bytes:
    """As JSON: a model, plain values, or bytes that are JSON already."""
    if isinstance(found, bytes):
        return found
    return orjson.dumps(found.model_dump() if isinstance(found, BaseModel) else found, default=str)


def cursor_of(*parts: Any) -> str:
    """An opaque place in a list.

    Example:
        >>> parts_of(cursor_of("-net", 3), "-net")
        [3]
    """
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def parts_of(cursor: str, *heads: Any) -> list[Any]:
    """What ``cursor_of`` was given, less the parts that say which list it is of.

    Args:
        cursor: as a client sent it.
        heads: of the list at hand.

    Raises:
        Problem: it is not one of ours, or is one of another list, or of other contents.
    """
    try:
        parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError):
        parts = None
    if not isinstance(parts, list) or parts[: len(heads)] != list(heads):
        raise Problem(
            400, "bad_request", "cursor: it is not of this list, or the list has changed", "begin again without one"
        )
    return parts[len(heads) :]
