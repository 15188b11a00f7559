"""Progress: plain lines without a terminal, a bar with one."""

from __future__ import annotations

import io

from schwabot.sinks.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_now_and_then() -> None:
    out = io.StringIO()
    with Progress(stream=out, every_s=0.0) as progress:
        progress.update(1_000, 0.25)
        progress.note("a note")
    first, second = out.getvalue().splitlines()
    assert first.startswith("replay: 25 %, 1,000 events, ")
    assert first.endswith(" s left")
    assert second == "a note"


def test_quick_runs_stay_silent() -> None:
    out = io.StringIO()
    with Progress(stream=out, every_s=60.0) as progress:
        progress.update(1_000, 0.25)
    assert out.getvalue() == ""


def test_bar_on_a_terminal() -> None:
    out = Terminal()
    with Progress(stream=out) as progress:
        progress.update(1_000, 0.5)
        progress.note("a note")
    assert "50 %" in out.getvalue()
    assert "1,000 events" in out.getvalue()
    assert "a note" in out.getvalue()
