"""The description at /openapi.json against the server: thousands of requests, none of which it may fail at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.making import Beside, server
from tests.server.past import many

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    acts = {name: lambda who, why: f"{who}: {why}" for name in ("halt", "reduce", "resume", "cancel_all")}
    runs = tmp_path_factory.mktemp("told") / "outputs"
    runs.mkdir()
    many(runs)
    free = {"failures_per_minute": 1e6, "rate_per_s": 1e6, "rate_burst": 1_000_000}
    with server(runs.parent, acts, anonymous="none", runs=str(runs), **free) as beside:
        beside.tell()
        yield beside


def ask(told: Beside, folder: Path, examples: int, *more: str) -> str:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{told.url}/openapi.json", "--no-color",
        "-H", f"Authorization: {told.authorization}", "--checks", CHECKS, "--max-examples", str(examples),
        "--exclude-path", "/api/v1/events",  # never ends
        "--suppress-health-check", "all", *more,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-6_000:]
    assert told.get("/api/v1/status").status_code == 200
    return done.stdout


def test_nothing_that_the_description_allows_breaks_the_server(told: Beside, tmp_path: Path) -> None:
    assert "✅ Fuzzing" in ask(told, tmp_path, 3, "--phases", "fuzzing")


@pytest.mark.slow
def test_nothing_that_the_description_allows_breaks_the_server_for_long(told: Beside, tmp_path: Path) -> None:
    ask(told, tmp_path, 200)
