"""What the API says when it can't answer: one shape, stable codes."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - the standard's word for it, RFC 9457
    """An answer that is an error.

    Args:
        status: of HTTP.
        code: stable, for programs.
        message: what and where, for a person.
        do: what to do about it.
    """

    def __init__(self, status: int, code: str, message: str, do: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.do = status, code, message, do
