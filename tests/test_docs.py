"""What README and docs say is so: links resolve, commands compose, names and tables are those of the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schwabot.run import main
from schwabot.sinks.tables import ARBITRAGE, DRIFT, LAG_CURVE, SIGNALS, decisions_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_tables_of_settings_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import settings_tables

    page = settings_tables.PAGE.read_text(encoding="utf-8")
    assert page == settings_tables.with_tables(page), "run python docs/settings_tables.py"
    assert page.count("| `") > 100


def test_every_column_is_described() -> None:
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    for schema in (SIGNALS, ARBITRAGE, DRIFT, LAG_CURVE, decisions_schema([1.0])):
        assert [name for name in schema.names if f"`{name}`" not in page] == []


def test_every_name_of_the_summary_is_described(tmp_path: Path) -> None:
    main(["source.events=3000", f"hydra.run.dir={tmp_path}", "sinks.tensorboard=false", "sinks.progress=false",
          "sinks.console=false", "sinks.parquet=false"])  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    described = set(re.split(r"[^\w]+", " ".join(re.findall(r"`([^`\n]+)`", page))))
    assert sorted(names_in(summary) - described) == []


def names_in(tree: dict[str, Any]) -> set[str]:
    """Names at any depth, but for streams, horizons and latencies."""
    found = {name for name in tree if ":" not in name and not name.isdigit()}
    return found.union(*(names_in(value) for value in tree.values() if isinstance(value, dict)))


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_readme_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    policy, first, *more = examples(PAGES[0])
    names: dict[str, Any] = {}
    assert "def my_policy(s, e, p):" in policy  # of the commands above it, which are tried elsewhere
    exec(compile(first, "README.md", "exec"), names)
    assert names["result"].signals.num_rows == 20_000
    resume, fit, backtest = more
    exec(compile(resume, "README.md", "exec"), names)
    assert names["record"].first_event + len(names["record"].ts_recv_ns) == 20_000
    ghost_bp = names["result"].signals["ghost_bp"].to_numpy()
    assert names["record"].signals.ghost_bp[-1] == ghost_bp[-1], "went on as if it had never stopped"
    exec(compile(fit, "README.md", "exec"), names)
    assert set(names["served"].skill["predictor"].to_pylist()) == {"forecast", "ghost"}
    (tmp_path / "my_module.py").write_text(policy, encoding="utf-8")
    exec(compile(backtest, "README.md", "exec"), names)
    assert names["traded"].fills.num_rows == names["traded"].summary["fills"] > 0


def test_example_of_outputs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = examples(ROOT / "docs" / "outputs.md")
    names: dict[str, Any] = {}
    exec(compile(example, "outputs.md", "exec"), names)
    first, second = (int(names[name].state["pipeline.events"]) for name in ("before", "after"))
    assert 0 < first < second == 20_000


def test_pages_name_no_place_of_one_machine() -> None:
    for page in [*PAGES, NOTEBOOK]:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"(?:^|[\s\"'(=])(/(?:home|root|Users|tmp|mnt|opt|srv|var)/\S*)", text)
        assert found == [], page


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.delenv("SCHWABOT_CAPTURES", raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'kernels'}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert NOTEBOOK.stat().st_size < 1 << 20
    assert all(cell.outputs for cell in notebook.cells if "result." in cell.source), "save it with its outputs"
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()


@pytest.mark.slow
def test_the_pages_of_make_docs_say_what_the_docstrings_say(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "api_pages.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first = (tmp_path / "schwabot.html").read_text(encoding="utf-8")
    for name in ("Graph.run", "Result.signals", "load"):
        assert f'id="{name}"' in first
    for page in ("schwabot/modules/graph", "schwabot/ticks/capture", "schwabot_kernels/simd"):
        assert (tmp_path / f"{page}.html").is_file()
