"""Every command in the pages can be typed: settings compose, options parse, files and targets are there.

A block that needs what CI has not says so in the line above it. CI runs all others, made smaller: in
tests/end_to_end/test_docs_runs.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from schwabot.compose import normalise_arguments, to_settings
from schwabot.config import conf_dir, register
from schwabot.errors import ConfigError
from tests.documents import (
    BLOCKS,
    BY_ITSELF,
    COMMANDS,
    NEEDS,
    PAGES,
    PROGRAMS,
    ROOT,
    THERE,
    Block,
    Command,
    inline,
    other_blocks,
)

FLAGS = {"--help", "--version", "-m", "--multirun"}
PARSED = {"schwabot.venues.loopback", "schwabot.health", "schwabot.server.tokens", "schwabot.doctor", "benchmarks"}
"""Programs whose options are tried on their own parser."""
HARMLESS = {"export", "mkdir", "source", "cd", "openssl"}
"""Of these only a run says whether they are right."""
RUNS = sorted({one.words[3:] for one in COMMANDS if one.is_run})
OTHERS = [one for one in COMMANDS if not one.is_run]


def test_there_are_commands() -> None:
    assert len(BLOCKS) > 50
    assert len(RUNS) > 60


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_what_a_block_needs_is_one_of_a_few_things(block: Block) -> None:
    assert [one for one in block.needs if one not in NEEDS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_stand_in_blocks_of_their_own(page: Path) -> None:
    typed = re.compile(rf"^(?:\$ )?(?:[A-Z_]+=\S* )*(?:{PROGRAMS}) [^=:]", re.MULTILINE)
    assert [found[0] for text in other_blocks(page) if (found := typed.search(text))] == [], "use ```sh"


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_runs_compose(arguments: tuple[str, ...]) -> None:
    assert composes(arguments) >= 1


def composes(arguments: tuple[str, ...]) -> int:
    """How many jobs a command is; of many values the first and the last have to compose."""
    given = [one for one in normalise_arguments(arguments) if one not in FLAGS]
    sweeps = [one for one in OverridesParser.create().parse_overrides(given) if one.is_sweep_override()]
    plain = [one for one in given if one not in {sweep.input_line for sweep in sweeps}]
    values = []
    for one in sweeps:
        tried = [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        values += [tried[0], tried[-1]]
    variants = [[*plain, value] for value in values] or [plain]
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for variant in variants:
            to_settings(compose("config", overrides=variant))
    return len(variants)


@pytest.mark.parametrize("command", OTHERS, ids=lambda one: " ".join(one.words))
def test_other_commands_are_known(command: Command) -> None:
    assert problem(command.words, marked=bool(command.needs)) is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_sentences_are_known(page: Path) -> None:
    for words in inline(page):
        if words[1:3] == ("-m", "schwabot.run"):
            try:
                composes(words[3:])
            except ConfigError as error:
                if "has no value: add" not in str(error):  # a sentence may leave out what one has to give
                    raise
        else:
            assert problem(words, marked=True) is None, words


def test_every_command_runs_in_ci_or_says_what_it_needs() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "-m slow tests/end_to_end/test_docs_runs.py" in ci
    left = [one for one in COMMANDS if not one.runs_in_ci]
    assert [one for one in left if not {*one.needs} - THERE and not by_itself(one)] == []
    assert len(COMMANDS) - len(left) > 90


def by_itself(command: Command) -> bool:
    """Does CI do what a target of make does?"""
    places = [BY_ITSELF[target] for target in command.words[1:]]
    return all(how in _without_comments((ROOT / file).read_text(encoding="utf-8")) for file, how in places)


def _without_comments(text: str) -> str:
    return re.sub(r"#.*", "", text)


def test_a_command_that_nobody_tries_is_found_out() -> None:
    assert problem(("docker", "run", "x"), marked=False)
    assert problem(("make", "coffee"), marked=True)
    assert problem(("python", "-m", "schwabot.venues.loopback", "--prot", "1"), marked=True)
    assert problem(("python", "docs/not_there.py"), marked=True)


def problem(words: tuple[str, ...], *, marked: bool) -> str | None:
    """What is wrong with a command; None = nothing. Of what is marked only what can be tried is."""
    program, *given = words
    if program == "make":
        targets = [one for one in given if "=" not in one]
        known = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert known is not None
        return None if targets and {*targets} <= {*known[1].split(), "peers"} else f"no target {targets}"
    if program == "python" and given[:1] == ["-m"]:
        return _module(given[1], given[2:])
    if program in ("python", "pytest"):
        files = [one for one in given if one.endswith((".py", "/"))]
        return None if files and all((ROOT / one).exists() for one in files) else f"no such file: {files}"
    if program == "schwabot" and given[:1] == ["doctor"]:
        return _module("schwabot.doctor", given[1:])
    if program == "curl":
        return _curl(given)
    return None if marked or program in HARMLESS else f"{program}: neither tried nor marked"


def _module(module: str, given: list[str]) -> str | None:
    if importlib.util.find_spec(module) is None:
        return f"no module {module}"
    return _parses(module, given) if module in PARSED else None


class _ParsedError(Exception):
    """The options were understood; the program need not begin."""


def _parses(module: str, given: list[str]) -> str | None:
    is_package = (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    program = import_module(f"{module}.__main__" if is_package else module)

    def understanding(parse: Callable[..., object]) -> Callable[..., None]:
        def understood(self: argparse.ArgumentParser, *_: object) -> None:
            parse(self, given)
            raise _ParsedError

        return understood

    with pytest.MonkeyPatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, understanding(getattr(argparse.ArgumentParser, name)))
        try:
            program.main(*[given] * bool(inspect.signature(program.main).parameters))
        except _ParsedError:
            return None
        except SystemExit:
            return f"{module} does not take {given}"
    return f"{module} reads no options"


def _curl(given: list[str]) -> str | None:
    """To this machine alone: the loopback exchange with faults that it knows, the server by a path that it has."""
    from schwabot.venues.loopback.faults import Fault

    if not any(one.startswith(("localhost:", "http://127.0.0.1:")) for one in given):
        return "asks another machine"
    if "-d" in given and any(one.endswith("/loopback/faults") for one in given):
        Fault(**json.loads(given[given.index("-d") + 1]))
        return None
    path = next(one for one in given if "//" in one).split(":8080")[-1].split("?")[0]
    known = (ROOT / "docs" / "http_api.md").read_text(encoding="utf-8") + "`/metrics`"
    return None if f"{path}`" in known else f"the server has no {path}"
