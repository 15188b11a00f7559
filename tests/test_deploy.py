"""deploy/: units, services, rules and lists are well-formed, safe, and start what they say they start."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hydra import compose, initialize_config_dir

from deploy import backup_journals
from schwabot.compose import normalise_arguments, to_settings
from schwabot.config import RunConfig, conf_dir, register
from schwabot.execution.journal import Journal
from schwabot.execution.venue_rules import RULES

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
RUNS = sorted((DEPLOY / "systemd").glob("*.env"))
MOST_EXPOSED = 20
"""Of systemd's 0 (safe) to 100."""


def composed(arguments: list[str]) -> RunConfig:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_settings(compose("config", overrides=normalise_arguments(arguments)))


def lines_of(file: Path) -> list[tuple[str, str, str]]:
    """Section, name and value of a unit; names repeat."""
    found, section = [], ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            name, _, value = line.partition("=")
            found.append((section, name, value))
    return found


def values(file: Path, name: str) -> list[str]:
    return [value for _, one, value in lines_of(file) if one == name]


def environment_file(file: Path) -> dict[str, str]:
    """As systemd reads it: comments are lines, a line that ends with a backslash goes on."""
    text = re.sub(r"^[#;].*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", "")
    return dict(line.split("=", 1) for line in text.splitlines() if line.strip())


def example() -> set[str]:
    text = (DEPLOY / "schwabot.env.example").read_text(encoding="utf-8")
    return set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))


def compose_file() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


# systemd


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.stem)
def test_each_unit_starts_a_run_that_composes(file: Path) -> None:
    (start,) = values(DEPLOY / "systemd" / "schwabot@.service", "ExecStart")
    environment = environment_file(file)
    assert list(environment) == ["SCHWABOT_SETTINGS"], "no secret stands here"
    python, *words = start.split()
    assert words == ["-m", "schwabot.run", "$SCHWABOT_SETTINGS"]
    assert python == "/opt/schwabot/bin/python"
    settings = composed(shlex.split(environment["SCHWABOT_SETTINGS"]))
    assert settings.mode == file.stem
    assert settings.live.confirm is None, "no order leaves unless somebody says so"
    assert settings.server.is_local


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


def unit_here(unit: Path, folder: Path) -> Path:
    """The unit with this interpreter in place of the one that an installation makes."""
    copy = folder / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/schwabot/bin/python", sys.executable))
    for timer in unit.parent.glob(f"{unit.stem}.timer"):
        shutil.copy(timer, folder)
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_taken_by_systemd_and_are_hardened(unit: Path, tmp_path: Path) -> None:
    copy = unit_here(unit, tmp_path)
    done = systemd_analyze("verify", "--man=no", str(copy))
    assert (done.returncode, unit.stem.partition("@")[0] in done.stderr) == (0, False), done.stderr
    done = systemd_analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(copy))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("timer", TIMERS, ids=lambda timer: timer.name)
def test_timers_are_taken_by_systemd(timer: Path, tmp_path: Path) -> None:
    unit_here(timer.with_suffix(".service"), tmp_path)
    done = systemd_analyze("verify", "--man=no", str(tmp_path / timer.name))
    assert (done.returncode, "schwabot" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("name", ["keys.conf", "gpu.conf"])
def test_additions_to_a_unit_are_taken_by_systemd(name: str, tmp_path: Path) -> None:
    copy = unit_here(DEPLOY / "systemd" / "schwabot@.service", tmp_path)
    copy.write_text(copy.read_text() + (DEPLOY / "systemd" / name).read_text(encoding="utf-8"))
    done = systemd_analyze("verify", "--man=no", str(copy))
    assert (done.returncode, "schwabot" in done.stderr) == (0, False), done.stderr


def test_the_unit_leaves_a_run_what_it_needs() -> None:
    unit = DEPLOY / "systemd" / "schwabot@.service"
    assert values(unit, "MemoryDenyWriteExecute") == ["no"], "numba writes code and runs it"
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "KillSignal") == ["SIGINT"]
    assert "130" in values(unit, "SuccessExitStatus"), "what a run that was stopped ends with"
    assert "2" in values(unit, "RestartPreventExitStatus"), "what a setting that can't be used ends with"
    names = {one.partition("=")[0] for one in values(unit, "Environment")}
    assert {"NUMBA_CACHE_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"} <= names <= example() | {"HOME", "PYTHONUNBUFFERED"}


def test_keys_come_as_files_that_systemd_hands_over() -> None:
    file = DEPLOY / "systemd" / "keys.conf"
    loaded = [one.partition(":")[0] for one in values(file, "LoadCredential")]
    assert loaded == ["BINANCE_API_KEY", "BINANCE_SECRET"]
    assert values(file, "Environment") == [f"{name}_FILE=%d/{name}" for name in loaded]


@pytest.mark.skipif(os.name != "posix", reason="a shell's script")
def test_installing_puts_every_file_in_its_place_and_keeps_settings(tmp_path: Path) -> None:
    command = ["sh", str(DEPLOY / "systemd" / "install.sh")]
    for _ in range(2):
        subprocess.run(command, env=os.environ | {"DESTDIR": str(tmp_path)}, check=True)
        (tmp_path / "etc/schwabot/paper.env").write_text("mine")
    assert (tmp_path / "etc/schwabot/paper.env").read_text() == "mine"
    assert {one.name for one in (tmp_path / "etc/systemd/system").iterdir()} == {unit.name for unit in UNITS + TIMERS}
    assert {one.name for one in (tmp_path / "etc/schwabot").glob("*.env")} == {file.name for file in RUNS}
    assert (tmp_path / "usr/lib/sysusers.d/schwabot.conf").is_file()
    assert (tmp_path / "etc/schwabot/keys").stat().st_mode & 0o777 == 0o700


# copies of journals


def test_a_journal_in_use_is_copied_whole_and_old_copies_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = tmp_path / "copies"
    (tmp_path / "orders").mkdir()
    with closing(Journal(tmp_path / "orders" / "binance.db")) as journal:
        journal.begin("one", 1)
        assert journal.path.with_name("binance.db-wal").stat().st_size > 0, "what copying the file alone would lose"
        for day in (1, 2):
            copies.mkdir(exist_ok=True)
            (copies / f"binance-2020010{day}T000000.db").touch()
        assert backup_journals.main([str(tmp_path / "orders"), str(copies), "--keep", "2"]) == 0
    kept = sorted(one.name for one in copies.iterdir())
    assert len(kept) == 2, kept
    assert kept[0] == "binance-20200102T000000.db"
    with closing(Journal(copies / kept[1])) as copy:
        assert copy.sessions == 1
    (tmp_path / "orders" / "kraken.db").write_bytes(b"no database" * 100)
    assert backup_journals.main([str(tmp_path / "orders"), str(copies)]) == 1
    assert "kraken.db: file is not a database" in capsys.readouterr().err
    assert backup_journals.main([str(copies / "nothing"), str(copies)]) == 1


# Windows


def test_the_windows_service_is_well_formed_and_starts_a_run_that_composes() -> None:
    service = ElementTree.parse(DEPLOY / "windows" / "schwabot.xml").getroot()
    assert service.tag == "service"
    known = {"id", "name", "description", "executable", "arguments", "workingdirectory", "env", "stoptimeout",
             "onfailure", "resetfailure", "startmode", "delayedAutoStart", "depend", "serviceaccount", "logpath",
             "log"}  # fmt: skip
    assert {one.tag for one in service} <= known, "elements that WinSW knows"
    arguments = service.findtext("arguments") or ""
    assert '"' not in arguments
    module, name, *settings = arguments.split()
    assert (module, name) == ("-m", "schwabot.run")
    assert composed(settings).mode == "paper"
    names = {one.attrib["name"] for one in service.iter("env")}
    assert names <= example() | {"PYTHONUTF8", "PYTHONUNBUFFERED"}
    assert [one.attrib["action"] for one in service.iter("onfailure")][-1] == "none", "it is not tried for ever"
    assert int((service.findtext("stoptimeout") or "").split()[0]) >= 60, "orders are cancelled first"


# firewalls


def test_nftables_takes_the_rules() -> None:
    nft = shutil.which("nft") or shutil.which("nft", path="/usr/sbin")
    if nft is None:
        pytest.skip("no nft here: apt-get install nftables")
    done = subprocess.run([nft, "--check", "--file", str(DEPLOY / "firewall" / "schwabot.nft")],
                          capture_output=True, text=True)  # fmt: skip
    if "Operation not permitted" in done.stderr or "Protocol not supported" in done.stderr:
        pytest.skip(f"rules can't be checked as this user: {done.stderr.splitlines()[0]}")
    assert (done.returncode, done.stderr) == (0, "")


def test_rules_open_the_dashboard_to_one_net_and_nothing_else() -> None:
    nft = (DEPLOY / "firewall" / "schwabot.nft").read_text(encoding="utf-8")
    rules = [line.strip() for line in nft.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert any("hook input" in line and "policy drop" in line for line in rules)
    opened = [line for line in rules if "dport" in line]
    assert opened
    assert all(re.match(r"ip6? saddr \$lan6? tcp dport (22|\$dashboard) accept$", line) for line in opened)
    ufw = (DEPLOY / "firewall" / "ufw.sh").read_text(encoding="utf-8")
    allowed = re.findall(r"^ufw allow (.*)$", ufw, re.MULTILINE)
    ports = [line for line in allowed if "port" in line]
    assert [re.search(r'from "\$LAN" to any port (\d+)', line)[1] for line in ports] == ["22", "8080", "8443"]  # type: ignore[index]
    windows = (DEPLOY / "firewall" / "windows.ps1").read_text(encoding="utf-8")
    assert re.findall(r"-LocalPort ([\d, ]+)", windows) == ["8080, 8443 "]
    assert "-RemoteAddress $Lan" in windows


def test_the_script_for_ufw_asks_for_a_net() -> None:
    env = {name: value for name, value in os.environ.items() if name != "LAN"}
    done = subprocess.run(["sh", str(DEPLOY / "firewall" / "ufw.sh")], env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "say which net may reach the dashboard" in done.stderr


# containers


def test_the_compose_file_starts_a_run_that_composes() -> None:
    service = compose_file()["services"]["schwabot"]
    settings = composed(service["command"])
    assert settings.mode == "paper"
    assert settings.server.enabled
    assert settings.server.tls_cert, "beyond its own machine it needs a certificate and tokens"
    assert settings.server.tokens
    (port,) = service["ports"]
    assert port == f"127.0.0.1:{settings.server.port}:{settings.server.port}"
    assert service["build"]["dockerfile"] == "Dockerfile.cuda"
    assert (ROOT / "Dockerfile.cuda").is_file()
    made = (ROOT / "Dockerfile.cuda").read_text(encoding="utf-8")
    for volume in service["volumes"]:
        place = volume.split(":")[1]
        assert re.search(rf"--mode=1777 .*{place}\b", made), f"{place} belongs to root in a new volume"


def test_containers_are_confined() -> None:
    every = compose_file()
    for name, one in every["services"].items():
        assert one["read_only"], name
        assert one["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in one["security_opt"], name
        assert all(port.startswith("127.0.0.1:") for port in one["ports"]), f"{name} is open to every net"
        assert re.search(r":[\w.]+$", one["image"]), f"{name}: which version?"
        assert not one["image"].endswith(":latest")
        assert "privileged" not in one
        for secret in one.get("secrets", []):
            assert secret in every["secrets"], name
        for volume in one["volumes"]:
            source = volume.split(":")[0]
            assert source in every["volumes"] or (DEPLOY / source).exists(), f"{name}: {source}"
    assert set(every["services"]) == {"schwabot", "tensorboard", "prometheus", "grafana"}
    assert every["services"]["grafana"]["profiles"] == ["grafana"]


def test_files_with_secrets_are_not_for_git() -> None:
    kept = [f"deploy/{one['file']}" for one in compose_file()["secrets"].values()] + ["deploy/schwabot.env"]
    done = subprocess.run(["git", "check-ignore", *kept], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.split() == kept


def test_prometheus_asks_the_run_with_a_token() -> None:
    every = compose_file()
    asked = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [one for one in asked["scrape_configs"] if one["job_name"] == "schwabot"]
    assert job["static_configs"] == [{"targets": ["schwabot:8080"]}]
    assert (job["metrics_path"], job["scheme"]) == ("/metrics", "https")
    token = Path(job["authorization"]["credentials_file"])
    assert token.parent == Path("/run/secrets")
    assert {token.name, Path(job["tls_config"]["ca_file"]).name} == set(every["services"]["prometheus"]["secrets"])


def test_grafana_finds_prometheus() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards" / "schwabot.yaml").read_text())["providers"]
    places = [volume.split(":")[1] for volume in compose_file()["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in places


# the environment

READS = re.compile(r"\benviron\b|\bgetenv\b|import .*\b(secret|variable)\b")
NO_VARIABLES = {"AF_UNIX", "SC_CLK_TCK", "API_KEY"}
"""Names of that form in files that read the environment, which are something else."""


def test_every_variable_that_the_code_reads_is_in_the_example() -> None:
    found: set[str] = set()
    for folder in ("schwabot", "kernels"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if READS.search(text):
                texts = (one.value for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Constant))
                found |= {one for one in texts if isinstance(one, str)
                          and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", one)}  # fmt: skip
    assert {"SCHWABOT_HEARTBEAT", "SLACK_WEBHOOK_URL", "NUMBA_CACHE_DIR"} <= found
    assert sorted(found - NO_VARIABLES - example()) == []
    assert found >= NO_VARIABLES, "take away what is gone"
    for venue in RULES:
        assert {f"{venue.upper()}_API_KEY", f"{venue.upper()}_SECRET"} <= example(), venue


def test_the_example_holds_no_values() -> None:
    text = (DEPLOY / "schwabot.env.example").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    assert [line for line in re.findall(r"^# [A-Z][A-Z0-9_]+=(.+)$", text, re.MULTILINE) if line] == []


def test_the_command_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts["schwabot"] == "schwabot.__main__:main"
