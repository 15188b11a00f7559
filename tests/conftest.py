"""What every test can ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# "ci": the same examples on every machine and every run. SCHWABOT_HYPOTHESIS=search looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, max_examples=1_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("SCHWABOT_HYPOTHESIS", "ci"))


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of the tests leave nothing in the user's own state folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of recorded exchange messages that lies beside the repository, ``../shared/ticks``.

    It is too large to be part of it. Tests that need it skip where it is missing, unless
    SCHWABOT_REQUIRE_CAPTURES=1 says that it must be there (as .ci/run does). SCHWABOT_CAPTURES names another folder.
    """
    folder = Path(os.environ.get("SCHWABOT_CAPTURES") or ROOT.parent / "shared" / "ticks")
    if folder.is_dir():
        return folder
    reason = f"no recorded captures in {folder}; they lie beside the repository, not in it"
    if os.environ.get("SCHWABOT_REQUIRE_CAPTURES") == "1":
        pytest.fail(f"{reason} (SCHWABOT_REQUIRE_CAPTURES=1)")
    pytest.skip(reason)
