"""The commands of the pages really run, on less data, in the order of the pages and in a folder as they speak of.

A page is one test, since its commands need what those above them made. Several processes may share the pages: each has
a folder of its own, and what is the same on two pages but for what is made smaller is run by one of them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import httpx
import pytest

from schwabot.run import main
from tests.documents import COMMANDS, ROOT, Command

pytestmark = pytest.mark.slow

LINES = 6_000
"""Of each recording."""
EVENTS = 10_000
"""Of a synthetic market."""
OWN = {"my_module.py": "docs/policies.md", "follow.py": "docs/tutorial.md"}
"""Files that a page asks to be saved, and the page."""
TYPED = [one for one in COMMANDS if one.runs_in_ci]
PER_PAGE = {page: [one for one in TYPED if one.page == page] for page in dict.fromkeys(one.page for one in TYPED)}
READY = {
    "schwabot.venues.loopback": r"127\.0\.0\.1:(\d+)",
    "schwabot.run": r"dashboard at https?://[\d.]+:(\d+)",
    "tensorboard.main": r"http://localhost:(\d+)",
    "http.server": r"port (\d+)",
}
"""Programs that wait for requests until they are stopped, and what they say once they do."""
MAKE = f'make() {{ command make --file {ROOT}/Makefile --old-file .venv/.installed PY=python "$@"; }}'
"""Targets run in the desk, with the Python that runs the tests."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, captures: Path) -> Path:
    """A folder with recordings, tables and own files, and the first lines of the captures beside it."""
    folder = tmp_path_factory.mktemp("desk") / "repository"
    for name in ("captures", "table", "dates", "tardis", "outputs"):
        (folder / name).mkdir(parents=True)
    for file in sorted(captures.glob("binance/*/*.gz")):
        part = folder.parent / "shared" / "ticks" / file.relative_to(captures)
        part.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(file, "rt") as whole, gzip.open(part, "wt") as few:
            few.writelines(islice(whole, LINES))
        if file.name.startswith("btc"):
            shutil.copy(part, folder / "captures" / f"{file.parent.name}.gz")
    for name, venue in (("a", "spot"), ("b", "usdm")):
        shutil.copy(folder / "captures" / f"{venue}.gz", folder / f"{name}.gz")
    _tables(folder)
    for name, page in OWN.items():
        code = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
        (folder / name).write_text(next(one for one in code if "@policy(" in one))
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build", "images"))
    (folder / "docs" / "_build").mkdir()
    for name in ("schwabot", "kernels", "conf", "Makefile"):  # of which the generated pages tell
        (folder / name).symlink_to(ROOT / name)
    (folder / "live.yaml").write_text("modules:\n  voltage_lanes: {medium_v: 1.1, high_v: 1.8}\n")
    return folder


def _tables(folder: Path) -> None:
    rows = [(1_700_000_000_000 + 250 * row, 60_000 + row * row // 7 % 5) for row in range(4_000)]
    quotes = [f"{t},{p},{p + 0.5}" for t, p in rows]
    (folder / "table" / "btc.csv").write_text("\n".join(["t,b,a", *quotes]))
    for name, late_ms in (("a", 0), ("b", 20)):
        prices = [f"{t + late_ms},{p}" for t, p in rows]
        (folder / "dates" / f"{name}.csv").write_text("\n".join(["date,last", *prices]))
    head = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"
    tardis = [f"deribit,BTC,{t * 1000},{t * 1000 + 500},1,{p + 0.5},{p},2" for t, p in rows]
    with gzip.open(folder / "tardis" / "btc.csv.gz", "wt") as file:
        file.write("\n".join([head, *tardis]))


class Shell:
    """Where commands are typed: a desk, and what waits for requests.

    Attributes:
        desk: the current folder.
    """

    def __init__(self, desk: Path, claims: Path, started: ExitStack) -> None:
        self.desk = desk
        self._claims = claims
        self._stack = started
        self._ports: dict[tuple[str, ...], str] = {}
        paths = [str(ROOT), str(ROOT / "kernels")]
        self.env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "XDG_CONFIG_HOME": str(desk / "config"),
            "XDG_STATE_HOME": str(desk / "state"),
            "ARGS": f"source.events={EVENTS}",
            "MAKEFLAGS": "",  # of the make that runs the tests, if one does
        }

    def port(self, *words: str) -> str:
        """Of a program that waits for requests and is started once."""
        if words not in self._ports:
            self._ports[words] = self._stack.enter_context(self.started(words))
        return self._ports[words]

    def is_first(self, settings: list[str]) -> bool:
        """Has no page had this before? What others on its page read is made by every process."""
        if any(re.match(r"\w+\.out=", one) for one in settings):
            settings = [str(self.desk), *settings]
        try:
            (self._claims / hashlib.sha256("\n".join(sorted(settings)).encode()).hexdigest()).mkdir(parents=True)
        except FileExistsError:
            return False
        return True

    @contextmanager
    def started(self, words: tuple[str, ...]) -> Iterator[str]:
        """A program that waits for requests, and the port that it takes."""
        ready = READY[words[2]]
        command = [sys.executable, *words[1:]]
        with subprocess.Popen(
            command, cwd=self.desk, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            late = threading.Timer(60, process.kill)
            late.start()
            found, said = None, ""
            while not found and (line := process.stdout.readline()):
                said += line
                found = re.search(ready, line)
            late.cancel()
            reader = threading.Thread(target=process.stdout.read)
            try:
                assert found, said
                reader.start()  # what nobody reads would hold it up
                yield found[1]
            finally:
                process.terminate()
                late = threading.Timer(60, process.kill)
                late.start()
                process.wait()
                late.cancel()

    def type(self, text: str) -> str:
        """What a command says; it has to end well."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{MAKE}\n{text}"],
            cwd=self.desk, env=self.env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        findings = "schwabot doctor" in text and done.returncode == 1  # there may be something wrong with a machine
        assert done.returncode == 0 or findings, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def shell(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """What a page starts goes on until its end."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with ExitStack() as started:
        yield Shell(desk, shared / "claims", started)


@pytest.mark.parametrize("page", sorted(PER_PAGE, key=lambda page: -len(PER_PAGE[page])))
def test_they_run(page: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.desk)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, shell.env[name])
    failed = []
    for command in PER_PAGE[page]:
        try:
            if command.is_run and "mode=serve" not in command.words:
                _run(command, shell)
            else:
                _other(command, shell)
        except Exception as error:  # noqa: BLE001  # the others on the page are tried too
            error.add_note(f"{page}:{command.line}: {command.text}")
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"commands of {page} that fail", failed)


def _run(command: Command, shell: Shell) -> None:
    """In this process."""
    arguments = command.words[3:]
    given = [_found(one, arguments) for one in arguments]
    if not {"--help", "--version"} & {*given}:
        given += _smaller(arguments)
    live = "source=ccxt" in arguments
    if "source.path=DIR" in arguments:
        convert = ["mode=convert", "source=capture", "source.glob=captures/*.gz", "convert.out=outputs/ticks"]
        main([*convert, "convert.existing=overwrite", "sinks.progress=false"])
    counting = {one.partition("=")[0]: one for one in given}  # the last of a name
    exchange = _exchange_of(command)
    if shell.is_first([*counting.values(), *exchange * live]):
        try:
            main([*given, *[f"live.loopback_port={shell.port(*exchange)}"] * live])
        except SystemExit as ended:
            if ended.code:  # Hydra ends --help with 0
                raise AssertionError(f"exit code {ended.code}") from ended


def _exchange_of(command: Command) -> tuple[str, ...]:
    """The exchange that the page asks to be started before."""
    loopback = ("python", "-m", "schwabot.venues.loopback")
    above = [one.words for one in TYPED if one.page == command.page and one.line < command.line]
    return _any_port(next((words for words in reversed(above) if words[:3] == loopback), loopback))


def _any_port(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command that waits for requests, on a port that is free."""
    fixed = tuple("0" if one in ("8000", "18090") else one for one in words)
    if "0" in fixed:
        return fixed
    return (*fixed, "server.port=0") if "schwabot.run" in fixed else (*fixed, "--port", "0")


def _other(command: Command, shell: Shell) -> None:
    """In a shell. What waits for requests is asked once; an exchange is there for the rest of the page."""
    words, text = command.words, command.text
    if words[2:3] == ("schwabot.venues.loopback",):
        shell.port(*_any_port(words))
    elif words[1:2] == ("-m",) and words[2] in READY:
        scheme = "https" if any(one.startswith("server.tls_cert=") for one in words) else "http"
        if shell.is_first([*words]):
            with shell.started(_any_port(words)) as port:
                found = httpx.get(f"{scheme}://127.0.0.1:{port}/", verify=False, follow_redirects=True)
                assert found.status_code == 200, found.text
    else:
        if re.search("^schwabot doctor|18090", text):
            port = shell.port(*_exchange_of(command))
            text = re.sub("^schwabot doctor", f"schwabot doctor --loopback-port {port}", text).replace("18090", port)
        if "127.0.0.1:8080" in text:
            text = text.replace("127.0.0.1:8080", f"127.0.0.1:{_served(shell)}")
        shell.type(re.sub(r"\bcurl\b", "curl --fail --silent --show-error", text))  # else it is content with a refusal


def _served(shell: Shell) -> str:
    """The port of a run that serves; its token is in TOKEN."""
    is_new = "TOKEN" not in shell.env
    if is_new:
        said = shell.type("python -m schwabot.server.tokens add curl-$RANDOM --role operator")
        shell.env["TOKEN"] = said.split()[-1]
    exchange = shell.port("python", "-m", "schwabot.venues.loopback", "--port", "0")
    run = f"python -m schwabot.run mode=paper source=ccxt +experiment=loopback live.loopback_port={exchange}"
    port = shell.port(*run.split(), "server.enabled=true", "server.port=0", "sinks.progress=false")
    until = time.monotonic() + 60
    while is_new and not httpx.get(f"http://127.0.0.1:{port}/api/v1/positions").is_success:
        assert time.monotonic() < until
        time.sleep(0.2)
    return port


def _found(one: str, arguments: tuple[str, ...]) -> str:
    """A place of the desk for one that stands for any."""
    table = "dates" if "source.columns.time=date" in arguments else "table"
    kind = "tardis" if "source.preset=tardis_quotes" in arguments else table
    folder = kind if "source=table" in arguments else "captures"
    if one == "source.path=DIR":
        return "source.path=outputs/ticks"
    if one.startswith("source.start=2024-08-08T"):
        return "source.start=2024-08-08T23:54:30"  # the recordings are cut short
    if "source.seed" in " ".join(arguments):  # a page offers it in place of recordings
        one = one.replace("outputs/tutorial/", "outputs/made/")
    return re.sub(r"\b(?:DIR|OTHER)/", f"{folder}/", one)


def _smaller(arguments: tuple[str, ...]) -> list[str]:
    """Settings that make a run short."""
    text = " ".join(arguments)
    less = ["sinks.progress=false"]
    if "hydra.run.dir" not in text and "sinks." not in text:
        less.append("sinks.tensorboard=false")  # its pictures are half of a short run; where files are named they stay
    if not re.search(r"\bsource=(?!synthetic)", text) and "+experiment=loopback" not in arguments:
        less.append(f"source.events={EVENTS}")
    if "server.enabled=true" in arguments:
        less.append("server.port=0")
    if "source=ccxt" in arguments:
        less.append("live.seconds=2")
    if "mode=convert" in arguments:
        less.append("convert.existing=overwrite")
    if "mode=fit" in arguments:
        less += ["fit.min_rows=100", "fit.folds=0", "fit.blocks=2", "fit.kalman=false"]
    if "mode=sweep" in arguments:
        less += ["sweep.sets=16", "sweep.folds=2", "sweep.batch=16"]
    return less
