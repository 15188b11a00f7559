"""Errors of the HTTP API in their one shape: ``{"error": {"code": …, "message": …, "do": …}}``."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schwabot.secrets import scrub

CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    406: "not_acceptable", 408: "timeout", 409: "conflict", 410: "run_gone", 413: "too_large",
    415: "unsupported_media_type", 422: "unprocessable", 429: "rate_limited", 500: "internal", 503: "no_run",
}  # fmt: skip
"""What a status is called where nothing more exact is said."""
_WHERE = {"body": "the body", "query": "the query", "path": "the path", "header": "the headers"}
_log = logging.getLogger("schwabot.server")


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="stable; for programs", examples=["rate_limited"])
    message: str = Field(description="what was wrong, and where")
    do: str = Field(description="what to do about it; may be empty")


class ErrorBody(BaseModel):
    """Every error's body."""

    error: ErrorDetail = Field(description="what went wrong, and what to do")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses=`` of a route: these errors beside those that every route may answer with.

    Example:
        >>> sorted(documented(503))
        [400, 401, 403, 404, 422, 429, 503]
    """
    return {status: {"model": ErrorBody} for status in sorted({400, 401, 403, 404, 422, 429, *statuses})}


class Problem(HTTPException):
    """An answer that says what was wrong and what to do.

    Args:
        status: HTTP's.
        code: stable string, for programs.
        message: what was wrong, and where.
        do: what to do about it.
        headers: to send along.

    Example:
        >>> str(Problem(409, "refused", "the run is halted"))
        '409: the run is halted'
    """

    def __init__(
        self, status: int, code: str, message: str, do: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.code = code
        self.message = message
        self.do = do

    def response(self) -> Response:
        """As HTTP has it."""
        body = {"error": {"code": self.code, "message": scrub(self.message), "do": scrub(self.do)}}
        return Response(_encoded(body), self.status_code, self.headers, "application/json")


def too_many(wait_s: float, who: str) -> Problem:
    """429, with the seconds to wait."""
    seconds = max(1, math.ceil(wait_s))
    return Problem(
        429, "rate_limited", f"too many requests of {who}", f"wait {seconds} s", {"Retry-After": str(seconds)}
    )


def install(app: FastAPI) -> None:
    """Let every error of this application take the shape."""

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return as_problem(error).response()

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return Problem(422, "unprocessable", _said(error), "compare with /docs").response()

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def as_problem(error: HTTPException) -> Problem:
    """What the framework raises, in our words."""
    if isinstance(error, Problem):
        return error
    code = CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    do = {404: "see /docs for what there is", 405: "see /docs for the methods"}.get(error.status_code, "")
    return Problem(error.status_code, code, str(error.detail), do, error.headers)


def _encoded(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # half a character, as JSON's escapes may carry it
        said = {name: text.encode("utf-8", "replace").decode() for name, text in body["error"].items()}
        return orjson.dumps({"error": said})


def _said(error: RequestValidationError) -> str:
    """The first three faults, with their place and without the value: it may be a secret."""
    faults = error.errors()
    told = []
    for one in faults[:3]:
        place, *path = [str(part) for part in one["loc"]]
        inside = ".".join(path)[:100]
        said = one["msg"].removeprefix("Value error, ")[:200]
        told.append(f"{_WHERE.get(place, place)}{f': {inside}' if inside else ''}: {said}")
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(told) + more


class Shield:
    """Answers what nothing else caught with 500 and no detail; the log has it, without secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except HTTPException as error:  # raised before the application: its handlers do not see it
            if begun:
                raise
            await as_problem(error).response()(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the last resort
            _log.error("%s %s failed: %s", scope["method"], scope["path"], scrub(_trace(error)))
            if begun:  # the answer is cut off: the client must see that
                raise ConnectionError("the answer failed on its way") from None
            said = Problem(500, "internal", "the server failed at this request", "its log says more")
            await said.response()(scope, receive, send)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
