"""Write what docs/cli.md, docs/ops.md and docs/http_api.md have from the code: ``python docs/generated_pages.py``.

Commands are every module that can be started and reads options, ops every folder of kernels/schwabot_kernels that has
a page.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels" / "schwabot_kernels"
STARTABLE = 'if __name__ == "__main__":'


def modes() -> list[str]:
    """A row for each mode, with the first line of its module."""
    from schwabot.config import MODES

    rows = ["| mode | |", "|---|---|"]
    for name in MODES:
        said = ast.get_docstring(ast.parse((ROOT / "schwabot" / "modes" / f"{name}.py").read_text(encoding="utf-8")))
        first = (said or "").splitlines()[0].removeprefix(f"mode={name}: ").rstrip(".")
        rows.append(f"| `mode={name}` | {first} |")
    return rows


def startable() -> list[str]:
    """Modules that are started by name and read options."""
    found = []
    for folder in ("schwabot", "benchmarks"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if STARTABLE in text and "ArgumentParser(" in text and "peer" not in file.stem:
                module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
                found.append(module)
    return found


class _FoundError(Exception):
    """The parser that a program would have used."""


def parser_of(module: str) -> argparse.ArgumentParser | None:
    """The parser that a program makes; None where it reads options otherwise."""
    name = f"{module}.__main__" if (ROOT / module.replace(".", "/") / "__main__.py").is_file() else module
    loaded = import_module(name)
    kept = argparse.ArgumentParser.parse_known_args  # by which the other ways go, too

    def stop(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _FoundError(self)

    argparse.ArgumentParser.parse_known_args = stop  # type: ignore[assignment, method-assign]
    try:
        loaded.main(*[[]] * bool(inspect.signature(loaded.main).parameters))
    except _FoundError as found:
        return found.args[0]  # type: ignore[no-any-return]
    finally:
        argparse.ArgumentParser.parse_known_args = kept  # type: ignore[method-assign]
    return None


def command(module: str) -> list[str]:
    """A heading, what it is for, and a table of its options."""
    parser = parser_of(module)
    assert parser is not None, module
    said = " ".join((parser.description or "").split()).replace("``", "`")
    return [f"## python -m {module}", "", f"{said}", "", *options(parser, ""), ""]


def options(parser: argparse.ArgumentParser, under: str) -> list[str]:
    """Rows of a table; those of a command within the program follow in tables of their own."""
    formatter = argparse.HelpFormatter(prog=f"python -m {parser.prog}")
    rows, more = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                helps = {one.dest: one.help for one in action._choices_actions}
                said = helps.get(name) or inner.description or ""
                more += ["", f"`{under}{name}`: {said}", "", *options(inner, f"{under}{name} ")]
        elif action.dest != "help":
            value = "" if action.nargs == 0 or not action.option_strings else " " + _value(action)
            names = ", ".join(f"`{one}{value}`" for one in action.option_strings) or f"`{_value(action)}`"
            rows.append(f"| {names} | {formatter._expand_help(action) if action.help else ''} |".replace("\n", " "))
    table = ["| option | |", "|---|---|", *rows] if rows else []
    return table + more if rows or more else ["No options."]


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def targets() -> list[str]:
    """What ``make help`` says."""
    said = re.findall(r'^\t@echo "make (\S+) +(.*)"$', (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return ["| target | |", "|---|---|", *(f"| `make {name}` | {meaning} |" for name, meaning in said)]


def ops() -> list[str]:
    """All ops: what each computes, its formulas, tolerances and arguments."""
    lines = []
    for page in sorted(KERNELS.glob("*/README.md")):
        lines += [section(page), ""]
        lines += [line for name, said in torch_ops(page.parent) for line in _op(name, said)]
    return lines


def section(page: Path) -> str:
    """A page one level down, its links as seen from docs/."""
    text = page.read_text(encoding="utf-8").rstrip()
    text = re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE)
    name = page.parent.name
    text = re.sub(r"^## (.+)$", rf"## \1 (`{name}`)", text, count=1, flags=re.MULTILINE)
    # Headings such as "On the device" are in many pages: an anchor of their own for each.
    text = re.sub(r"^### (.+)$", rf"### {name}: \1", text, flags=re.MULTILINE)
    return re.sub(r"\]\(\.\./\.\./\.\./docs/", "](", text)


def torch_ops(folder: Path) -> list[tuple[str, str]]:
    """Name and docstring of each op of torch that a folder registers."""
    found = []
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for made in node.decorator_list:
                    if isinstance(made, ast.Call) and ast.unparse(made.func).endswith("custom_op"):
                        name = made.args[0]
                        assert isinstance(name, ast.Constant)
                        found.append((str(name.value), ast.get_docstring(node) or ""))
    return found


def _op(name: str, said: str) -> list[str]:
    lines = [f"`torch.ops.{name.replace('::', '.')}`: {said.splitlines()[0]}", "", "| argument | |", "|---|---|"]
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", said, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^    (\w[\w, \n]*?): (.*?)(?=^    \w|\Z)", section[1] if section else "", re.M | re.S)
    for names, meaning in entries:
        text = " ".join(meaning.split()).replace("``", "`").replace("|", "\\|")
        shown = ", ".join(f"`{one}`" for one in names.replace(",", " ").split())
        lines.append(f"| {shown} | {text} |")
    return [*lines, ""]


def programs() -> list[str]:
    """All programs that read options."""
    return [line for module in startable() for line in command(module)]


def api() -> list[str]:
    """All paths of the HTTP API, by subject."""
    from schwabot.server.app import create_app
    from schwabot.server.docs_page import operations
    from schwabot.server.hub import Hub
    from schwabot.server.settings import ServerConfig

    config = ServerConfig(tokens=str(ROOT / "docs" / "no-tokens.json"))
    lines, last = [], ""
    for tag, path, method, operation in operations(create_app(config, Hub(config)).openapi()):
        if tag != last:
            lines += ["", f"## {tag.capitalize()}", "", "| | role | |", "|---|---|---|"]
            last = tag
        roles = [role for one in operation.get("security", ()) for role in next(iter(one.values()), [])]
        said = " ".join((operation.get("description") or operation.get("summary", "")).split())
        asked = ", ".join(f"`{one['name']}`" for one in operation.get("parameters", ()) if one["in"] == "query")
        said = (said + (f" Parameters: {asked}." if asked else "")).replace("|", "\\|")
        lines.append(f"| `{method.upper()} {path}` | {roles[-1] if roles else ''} | {said} |")
    return lines


PARTS = {"modes": modes, "programs": programs, "targets": targets, "ops": ops, "api": api}
PAGES = {"cli.md": ("modes", "programs", "targets"), "ops.md": ("ops",), "http_api.md": ("api",)}


def renewed(page: str) -> str:
    """The page with its parts made anew."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name in PAGES[page]:
        begin, end = f"<!-- {name}: python docs/generated_pages.py -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        made = "\n".join(PARTS[name]()).strip()
        text = f"{before}{begin}\n{made}\n\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]
    for page in PAGES:
        (ROOT / "docs" / page).write_text(renewed(page), encoding="utf-8")
