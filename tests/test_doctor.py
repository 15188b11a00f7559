"""The doctor: what it says of a machine and a set-up that are well, and of each thing that is not."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schwabot.doctor import machine, own, packages, venues
from schwabot.doctor.__main__ import _parser, main
from schwabot.doctor.findings import Finding, Level
from schwabot.execution.journal import Journal
from schwabot.sinks.heartbeat import VARIABLE
from schwabot.venues.loopback import LoopbackExchange
from tests.venues.making import COINM, SPOT, USDM, Driven

ROOT = Path(__file__).resolve().parents[1]
CANARY = "c4n4ry-of-the-doctor"
LIVE = ["mode=live", "source=ccxt", "+experiment=loopback", "policy.name=threshold", "policy.lots=1",
        "policy.trade=binance:BTC/USDT"]  # fmt: skip


def doctor(*given: str, folder: Path, **env: str) -> tuple[int, list[dict[str, str]]]:
    """The command as it is typed, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "schwabot", "doctor", "--json", *given], cwd=folder, env=os.environ | env,
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def of(findings: list[dict[str, str]], check: str, level: str) -> str:
    return "\n".join(one["what"] for one in findings if (one["check"], one["level"]) == (check, level))


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    driven = Driven(SPOT, USDM, COINM, replace(SPOT, stream="kraken:BTC/USDT"))
    with LoopbackExchange(driven, speed=0, keep=10) as up:
        yield up
        driven.end()


def said(found: Finding | list[Finding] | Iterator[Finding], level: Level) -> str:
    every = [found] if isinstance(found, Finding) else list(found)
    return "\n".join(one.what for one in every if one.level is level)


def test_a_live_set_up_that_is_well(exchange: LoopbackExchange, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(CANARY)
    key.chmod(0o600)
    env = {"BINANCE_API_KEY_FILE": str(key), "BINANCE_SECRET": f"{CANARY}-2", VARIABLE: str(tmp_path / "heartbeat")}
    code, found = doctor(*LIVE, f"live.loopback_port={exchange.port}", "--venues=kraken", folder=tmp_path, **env)
    assert code == 0, [one for one in found if one["level"] == "problem"]
    for check in ("python", "settings", "packages", "disk", "journal", "secrets", "keys", "heartbeat", "cache",
                  "imports"):  # fmt: skip
        assert of(found, check, "ok"), check
    assert of(found, "keys", "ok").splitlines()[0] == "binance: BINANCE_API_KEY (file), BINANCE_SECRET (environment)"
    assert "kraken: answers in" in of(found, "network", "ok")
    assert "binanceusdm's, to" in of(found, "clock", "ok"), "what the settings watch is asked too"
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert [one["check"] for one in found if f"`{one['check']}`" not in page] == []
    assert not (tmp_path / "outputs").exists(), "it changes nothing"
    assert not (tmp_path / "orders").exists()


def test_what_is_broken_or_missing_is_a_line_and_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise OSError('libnothing.so.6: cannot open shared object file')\n")
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text("raise ImportError('hydra is not there')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    code, found = doctor("mode=live", "--venues", "kraken", "--offline", folder=tmp_path, PYTHONPATH=path)
    assert code == 1
    assert "hydra is not there" in of(found, "settings", "problem")
    assert "numba is there and can't be imported: OSError: libnothing.so.6" in of(found, "imports", "problem")
    assert of(found, "cache", "problem")
    assert of(found, "ports", "ok") or of(found, "ports", "warning"), "the rest is told all the same"
    assert "kraken: not asked" in of(found, "network", "skipped")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["binance"], "binance is no setting"),
        (["--venues", ","], "name one or more"),
        (["--loopback-port", "0"], "is no port"),
        (["--nonsense"], "unrecognized"),
    ],
)
def test_what_can_not_be_asked_for(given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(given)
    assert says in capsys.readouterr().err


def test_commands_in_the_docs_ask_for_what_there_is() -> None:
    typed = {
        line
        for page in (ROOT / "docs").glob("*.md")
        for line in re.findall(r"^    schwabot doctor\b ?(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(typed) >= 3
    for line in typed:
        asked = _parser().parse_intermixed_args(shlex.split(line))
        assert own.compose(asked.settings)[0] is not None, line


def test_settings_are_those_of_a_run() -> None:
    settings, found = own.compose([*LIVE, "device=cpu"])
    assert found.what == "they compose: mode=live, source=ccxt"
    assert own.chosen_venues(settings) == ["binance", "binancecoinm", "binanceusdm"]
    for given, says in (
        ("mode=lve", "mode=lve is not a choice, did you mean live?"),
        ("sorce=ccxt", "sorce"),
        ("device.required=maybe", "use true or false"),
        (f"+binance.api_key={CANARY}", "set BINANCE_API_KEY in the environment"),
        ("policy.parameters={", "can't read"),
    ):
        settings, found = own.compose([given])
        assert settings is None
        assert found.level is Level.PROBLEM
        assert says in found.what
        assert CANARY not in found.what


def test_a_venue_that_does_not_answer_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = list(venues.venues(["kraken", "okx", "binnance"], port, offline=False, window_ms=3000))
    assert {one.level for one in found} == {Level.PROBLEM}
    assert "okx: the loopback exchange does not speak for it" in said(found, Level.PROBLEM)
    assert "did you mean binance?" in said(found, Level.PROBLEM)
    last = found[-1]
    assert "Connect call failed" in last.what
    assert last.do == f"is `python -m schwabot.venues.loopback --port {port}` running?"


def test_a_clock_that_is_off(exchange: LoopbackExchange) -> None:
    levels = []
    for ahead_ms in (0, 2_000, 5_000, -5_000):
        exchange.faults.remove()
        exchange.faults.add({"kind": "clock_skew", "ms": ahead_ms})
        found = list(venues.venues(["binance"], exchange.port, offline=False, window_ms=3000))
        levels += [one.level for one in found if one.check == "clock"]
    assert levels == [Level.OK, Level.WARNING, Level.PROBLEM, Level.PROBLEM]
    assert re.search(r"clock is (4\.[5-9]|5\.[0-4])\d s ahead of binance's", found[-1].what), found


def test_keys_that_a_live_run_needs_are_missed_and_others_are_not() -> None:
    settings, _ = own.compose([*LIVE, "live.loopback_port=null"])
    found = list(own.keys(["binance", "kraken"], settings, {"BINANCE_API_KEY": CANARY}))
    assert "binance needs BINANCE_SECRET" in said(found, Level.PROBLEM)
    assert "kraken: none, and none are needed" in said(found, Level.SKIPPED)
    paper, _ = own.compose(["mode=paper", "source=ccxt", "source.streams=[binance:BTC/USDT]"])
    assert said(own.keys(["binance"], paper, {}), Level.PROBLEM) == ""
    both = {"KRAKEN_SECRET": CANARY, "KRAKEN_SECRET_FILE": "key"}  # pragma: allowlist secret
    assert "both KRAKEN_SECRET and" in said(own.keys(["kraken"], paper, both), Level.PROBLEM)
    alerting, _ = own.compose(["notify.to=[slack]"])
    assert "SLACK_WEBHOOK_URL" in said(own.messengers(alerting, {}), Level.PROBLEM)
    assert own.messengers(alerting, {"SLACK_WEBHOOK_URL": "https://x/y"}).level is Level.OK


@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")
def test_secret_files_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(CANARY)
    for mode, level in ((0o600, Level.OK), (0o640, Level.OK), (0o644, Level.WARNING)):
        file.chmod(mode)
        (found,) = own.secret_files({"TELEGRAM_BOT_TOKEN_FILE": str(file), "PROFILE_FILE": "/no/such/file"})
        assert found.level is level
        assert CANARY not in found.what
    missing = {"KRAKEN_SECRET_FILE": str(tmp_path / "none")}
    assert "No such file" in said(own.secret_files(missing), Level.PROBLEM)


def test_a_dashboard_for_other_machines_needs_a_certificate_and_tokens(tmp_path: Path) -> None:
    given = ["server.enabled=true", f"server.tokens={tmp_path / 'tokens.json'}"]
    settings, _ = own.compose([*given, "server.host=0.0.0.0"])
    (found,) = own.dashboard(settings)
    assert found.level is Level.PROBLEM
    assert "lets other machines in, and that needs TLS and a token" in found.what
    settings, _ = own.compose(given)
    assert "this machine alone reaches it" in said(own.dashboard(settings), Level.OK)


def test_folders_that_can_not_be_written_to(tmp_path: Path) -> None:
    assert machine.folder("disk", "results", tmp_path / "a" / "b").level is not Level.PROBLEM
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    assert "is no folder" in machine.folder("disk", "results", tmp_path / "file" / "b").what
    nowhere = machine.folder("disk", "results", Path("/proc/nowhere"))
    assert (nowhere.level, "can't be written to" in nowhere.what) == (Level.PROBLEM, True)
    assert machine.folder("cache", "kernels", Path("/proc/nowhere"), needed=False).level is Level.WARNING


def test_a_damaged_journal_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    assert "none yet" in own.journal(file).what
    Journal(file).close()
    assert own.journal(file).what.endswith("whole, 0 requests")
    with file.open("r+b") as whole:
        whole.seek(4096)
        whole.write(b"\xff" * 4096)
    assert own.journal(file).level is Level.PROBLEM
    file.write_bytes(b"no database" * 100)
    assert own.journal(file).level is Level.PROBLEM


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert machine.port("dashboard", "127.0.0.1", number, "server.port=N").level is Level.WARNING
    assert machine.port("dashboard", "127.0.0.1", number, "server.port=N").level is Level.OK


def test_packages_that_are_missing_or_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from packaging.requirements import Requirement

    every = [(None, Requirement("numpy<1")), (None, Requirement("no-such-package>=2")), (None, Requirement("pyarrow")),
             ("live", Requirement("no-such-package"))]  # fmt: skip
    monkeypatch.setattr(packages, "needed", lambda: every)
    found = list(packages.packages({}))
    assert "no-such-package>=2 is missing" in said(found, Level.PROBLEM)
    assert "and numpy<1 is needed" in said(found, Level.PROBLEM)
    assert "extra live" in said(found, Level.SKIPPED)
    assert "notify.to=[slack] needs it" in said(packages.packages({"live": "notify.to=[slack]"}), Level.PROBLEM)


def test_what_is_needed_is_known_with_and_without_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> set[tuple[str | None, str]]:
        return {(extra, one.name) for extra, one in packages.needed()}

    def none(name: str) -> Any:
        raise packages.importlib.metadata.PackageNotFoundError(name)

    assert {(None, "torch"), ("cluster", "ray"), ("live", "apprise")} <= names()
    monkeypatch.setattr(packages.importlib.metadata, "requires", none)
    assert {(None, "torch"), ("cluster", "ray"), ("live", "apprise")} <= names()


def test_settings_say_which_extras_they_want() -> None:
    settings, _ = own.compose(["mode=sweep", "cluster=ray", "notify.to=[slack]", "device=cuda"])
    assert packages.wanted_extras(settings) == {"live": "notify.to=[slack]", "cluster": "cluster=ray",
                                                "cuda": "device=cuda"}  # fmt: skip


def test_a_required_gpu_that_is_not_there_is_a_problem() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    required, _ = own.compose(["device=cuda", "device.required=true"])
    assert "required and can't be used" in said(machine.gpu(required), Level.PROBLEM)
    asked, _ = own.compose(["device=cuda"])
    assert said(machine.gpu(asked), Level.WARNING)
    assert "runs are on the CPU" in said(machine.gpu(None), Level.OK)


def test_a_check_that_breaks_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken() -> Any:
        raise RuntimeError("of the check itself")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "clock", broken)
    assert main(["--offline"]) == 1
    out = capsys.readouterr().out
    assert "problem  clock     this could not be looked at: RuntimeError: of the check itself" in out
    assert out.splitlines()[-1].endswith("1 problem")
    assert "gpu" in out


def test_the_command_hands_all_else_to_the_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "schwabot", "mode=nonsense"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "mode=nonsense is not a choice" in done.stderr
