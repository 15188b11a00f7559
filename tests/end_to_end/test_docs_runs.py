"""The commands of the pages really run, on less data, in the order of the pages and in a folder as they speak of."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from schwabot.run import main
from tests.documents import BLOCKS, ROOT

pytestmark = pytest.mark.slow

LINES = 12_000
"""Of each recording."""
OWN = {"my_module.py": "docs/policies.md", "follow.py": "docs/tutorial.md"}
"""Files that a page asks to be saved, and the page."""
ENDLESS = {"mode=serve"}
"""Composed elsewhere, and started in tests/server."""
RUNS = list(
    dict.fromkeys(
        tuple(words[3:])
        for block in BLOCKS
        for words in block.commands()
        if words[1:3] == ["-m", "schwabot.run"]
        and not block.needs
        and not block.page.startswith("experiments/")
        and not ENDLESS & set(words)
    )
)


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


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """Of an exchange on this machine, started as the pages say."""
    command = [sys.executable, "-m", "schwabot.venues.loopback", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", exchange.stdout.readline())
        assert found is not None
        yield found[1]
        exchange.terminate()


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_it_runs(
    arguments: tuple[str, ...], desk: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("XDG_STATE_HOME", str(desk / "state"))
    given = [_found(one, arguments) for one in arguments]
    if not {"--help", "--version"} & set(given):
        given += _smaller(arguments)
        if "source=ccxt" in arguments:
            given += [f"live.loopback_port={request.getfixturevalue('port')}", "live.seconds=3"]
    try:
        main(given)
    except SystemExit as ended:
        if ended.code:  # Hydra ends --help with 0
            raise


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
    if not re.search(r"\bsource=(?!synthetic)", text) and "+experiment=loopback" not in arguments:
        less.append("source.events=20000")
    if "mode=convert" in arguments:
        less.append("convert.existing=overwrite")
    if "mode=fit" in arguments:
        less += ["fit.min_rows=100", "fit.folds=0", "fit.blocks=2", "fit.kalman=false"]
    if "mode=sweep" in arguments:
        less += ["sweep.sets=16", "sweep.folds=2", "sweep.batch=16"]
    return less
