"""What README and docs say is so: links resolve, examples run, names and tables are those of the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from schwabot.config import conf_dir, register
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


def test_every_setting_has_a_row() -> None:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config"))
    assert isinstance(tree, dict)
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    names = [name for name in leaves(tree) if not name.startswith("instruments.")]
    assert len(names) > 200
    assert [name for name in names if f"| `{name}` |" not in page] == []


def leaves(tree: dict[Any, Any], where: str = "") -> list[str]:
    """Dotted names of all settings."""
    found = []
    for name, value in tree.items():
        found += leaves(value, f"{where}{name}.") if isinstance(value, dict) and value else [f"{where}{name}"]
    return found


def test_pages_of_commands_and_ops_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generated_pages

    for page in generated_pages.PAGES:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert text == generated_pages.renewed(page), "run python docs/generated_pages.py"


def test_example_of_own_venue_runs() -> None:
    (example,) = examples(ROOT / "docs" / "own_venue.md")
    names: dict[str, Any] = {}
    exec(compile(example, "own_venue.md", "exec"), names)
    assert names["found"].summary["quotes"] == 2_000


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


def test_examples_in_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, resume, fit, policy, backtest = examples(ROOT / "docs" / "python.md")
    names: dict[str, Any] = {}
    assert "def my_policy(s, e, p):" in policy  # of the commands above it, which are tried elsewhere
    exec(compile(first, "python.md", "exec"), names)
    assert names["result"].signals.num_rows == 20_000
    exec(compile(resume, "python.md", "exec"), names)
    assert names["record"].first_event + len(names["record"].ts_recv_ns) == 20_000
    ghost_bp = names["result"].signals["ghost_bp"].to_numpy()
    assert names["record"].signals.ghost_bp[-1] == ghost_bp[-1], "went on as if it had never stopped"
    exec(compile(fit, "python.md", "exec"), names)
    assert set(names["served"].skill["predictor"].to_pylist()) == {"forecast", "ghost"}
    (tmp_path / "my_module.py").write_text(policy, encoding="utf-8")
    exec(compile(backtest, "python.md", "exec"), names)
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
        installed = re.compile(r"/(opt|var/lib|var/cache)/schwabot\b")  # by deploy/, at the same place everywhere
        assert [place for place in found if not installed.match(place)] == [], page


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make docs`` makes."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # --quiet would keep it from counting warnings
    return folder


def test_make_docs_stops_at_broken_links_and_lost_pages() -> None:
    settings = OmegaConf.to_container(OmegaConf.load(ROOT / "mkdocs.yml"))
    assert isinstance(settings, dict)
    assert settings["strict"] is True
    found = {name for part in settings["validation"].values() for name, level in part.items() if level == "warn"}
    assert {"omitted_files", "not_found", "anchors", "unrecognized_links"} <= found
    assert "--quiet" not in (ROOT / "Makefile").read_text(encoding="utf-8").split("mkdocs build")[1].splitlines()[0]


@pytest.mark.slow
def test_the_pages_of_make_docs_say_what_the_docstrings_say(site: Path) -> None:
    first = (site / "api" / "schwabot.html").read_text(encoding="utf-8")
    for name in ("Graph.run", "Result.signals", "load"):
        assert f'id="{name}"' in first
    for page in ("schwabot/modules/graph", "schwabot/ticks/capture", "schwabot_kernels/simd"):
        assert (site / "api" / f"{page}.html").is_file()
        assert f"api/{page}.html" in (site / "api.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_pages_of_make_docs_load_nothing_from_elsewhere(site: Path) -> None:
    pages = [page for page in site.rglob("*.html") if page.parent.name != "api" and "api" not in page.parts[-3:]]
    assert len(pages) > 40
    loading = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")
    found = {page.name: one for page in pages if (one := loading.findall(page.read_text(encoding="utf-8")))}
    assert {name: [tag for tag in tags if "canonical" not in tag] for name, tags in found.items()} == {}
    assert "](" not in re.sub(r"<(?:code|pre).*?</(?:code|pre)>", "", (site / "manual.html").read_text(), flags=re.S)


@pytest.mark.slow
def test_the_pages_of_make_docs_link_to_pages_and_name_files(site: Path) -> None:
    policies = (site / "policies.html").read_text(encoding="utf-8")
    assert 'href="experiments/quote_guard/index.html"' in policies, "a page outside of docs/ is one of the site"
    lanes = (site / "experiments" / "lanes" / "index.html").read_text(encoding="utf-8")
    assert "<code>experiments/playing.py</code>" in lanes, "a file that is no page is named"
    assert 'href="../../data.html"' in lanes
