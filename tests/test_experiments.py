"""Every experiment has its parts, and its commands are ones that run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from schwabot.compose import normalise_arguments, to_settings
from schwabot.config import RunConfig, conf_dir, register

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path for path in (ROOT / "experiments").iterdir() if path.is_dir() and not path.name.startswith("_"))
PAGES = [ROOT / "experiments" / "README.md", *(folder / "README.md" for folder in FOLDERS)]
PARTS = ["Question", "Data", "Commands", "Change", "Result", "Verdict", "Looks"]
KIB = 1 << 10


def page(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def commands(folder: Path) -> list[list[str]]:
    """Every command of the page, as typed."""
    typed = re.findall(r"^((?:python|make) .*)$", page(folder).replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(one, comments=True) for one in typed]


def composed(arguments: list[str]) -> list[RunConfig]:
    """Settings of a command; of one that sweeps, with each value by itself."""
    arguments = [one for one in normalise_arguments(arguments) if one != "-m"]
    sweeps = [one for one in OverridesParser.create().parse_overrides(arguments) if one.is_sweep_override()]
    plain = [one for one in arguments if one not in {sweep.input_line for sweep in sweeps}]
    values = [f"{sweep.get_key_element()}={value}" for sweep in sweeps for value in sweep.sweep_string_iterator()]
    variants = [[*plain, value] for value in values] or [plain]
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return [to_settings(compose("config", overrides=variant)) for variant in variants]


def test_there_are_experiments_and_the_first_page_names_them() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    assert {"lead_lag", "latency_cost"} <= {folder.name for folder in FOLDERS}
    assert [folder.name for folder in FOLDERS if f"]({folder.name}/README.md)" not in text] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_experiment_has_its_parts(folder: Path) -> None:
    text = page(folder)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    result = text.split("## Result")[1].split("## Verdict")[0]
    assert re.search(r"\bcommit `?[0-9a-f]{7,40}\b", text), "which commit the numbers are of"
    assert re.search(r"\bcores?\b|\bGPU\b", text), "which hardware"
    assert "|---" in result.replace(" ", ""), "a table of results"
    assert "](figure.png)" in result
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "figure.png").stat().st_size < 150 * KIB
    assert (conf_dir() / "experiment" / f"{folder.name}.yaml").is_file()
    assert f"experiment={folder.name}" in {one for command in commands(folder) for one in command}
    assert re.search(r"\d", text.split("## Looks")[1]), "how often one looked"
    assert "not show" in text.split("## Verdict")[1], "what it does not show"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_scripts_that_a_page_names_are_there(folder: Path) -> None:
    scripts = [Path(one) for command in commands(folder) for one in command if one.endswith(".py")]
    assert scripts
    assert [str(script) for script in scripts if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_experiment_changes_something_and_says_what(folder: Path) -> None:
    written = (conf_dir() / "experiment" / f"{folder.name}.yaml").read_text(encoding="utf-8")
    assert written.startswith("# @package _global_\n# "), "its first lines ask the question"
    assert "?" in written.splitlines()[1]
    plain, changed = composed([]), composed([f"experiment={folder.name}"])
    assert plain != changed
    change = page(folder).split("## Change")[1].split("## Result")[0]
    values = [line.strip() for line in written.splitlines() if re.match(r"\s*\w+: \S", line)]
    assert [value for value in values if value not in change] == [], "the page shows the file"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_pages_link_to_what_is_there_and_promise_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (path.parent / link).exists()] == []
    assert re.findall(r"(?:^|[\s\"'(=])(/(?:home|root|Users|tmp|mnt|opt|srv|var|work)/\S*)", text) == []
    assert re.findall(r"\b(?:profitable|guarantee[ds]?|risk-free|money machine)\b", text, re.IGNORECASE) == []


def test_scripts_compile() -> None:
    for script in sorted((ROOT / "experiments").glob("*/*.py")):
        compile(script.read_text(encoding="utf-8"), str(script), "exec", dont_inherit=True)
        assert f"experiments/{script.parent.name}/{script.name}" in page(script.parent), (
            f"{script} is used by no command"
        )
