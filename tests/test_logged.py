"""What a run's log is told beside the run's own lines."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from schwabot.config import RunConfig
from schwabot.modes.logged import logged
from schwabot.sinks.log_file import begin_log


def test_what_fails_on_a_thread_of_a_library_is_a_line_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> dict[str, Any]:
        begin_log(tmp_path)

        def fail() -> None:
            raise OSError(28, "No space left on device")

        thread = threading.Thread(target=fail, name="a writer")
        thread.start()
        thread.join()
        return {"mode": "replay"}

    logged(RunConfig(), run)
    assert "a writer failed: [Errno 28] No space left on device" in (tmp_path / "run.log").read_text()
    assert "Traceback" not in capsys.readouterr().err
