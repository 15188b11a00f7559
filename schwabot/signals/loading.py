"""Finding a policy by the name a user typed: built in, ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from schwabot.errors import PolicyError, closest
from schwabot.signals.builtin import NAMES
from schwabot.signals.declaring import Policy, Signal

Kind = TypeVar("Kind", Policy, Signal)
PACKAGE = Path(__file__).resolve().parents[1]


def load_policy(name: str) -> Policy:
    """The policy of that name.

    Args:
        name: of a built-in one, ``module:function`` (found as by ``python -m``, from the current folder on) or
            ``path/to/file.py:function``.

    Raises:
        PolicyError: no such module or name, not a policy, or an error inside the user's module, with its line.

    Example:
        >>> load_policy("threshold").name
        'threshold'
        >>> load_policy("treshold")
        Traceback (most recent call last):
        schwabot.errors.PolicyError: policy=treshold is not built in, did you mean threshold? There are lead_lag,
        mean_reversion, quote_guard, threshold and timed_execution; one of your own is policy=my_module:my_policy
    """
    name = name.strip()
    if ":" not in name:
        if name in NAMES:
            return _named(importlib.import_module(f"schwabot.signals.builtin.{name}"), name, Policy, "policy")
        raise PolicyError(
            f"policy={name} is not built in{closest(name, NAMES) or '.'} There are {', '.join(NAMES[:-1])} and"
            f" {NAMES[-1]}; one of your own is policy={_own_form(name)}"
        )
    return _load(name, Policy, "policy")


def load_signal(name: str) -> Signal:
    """The signal of that name: ``module:function`` or ``path/to/file.py:function``; raises as ``load_policy``."""
    if ":" not in name:
        raise PolicyError(f"policy.signals: {name} is not of the form my_module:my_signal")
    return _load(name.strip(), Signal, "signal")


def _own_form(name: str) -> str:
    if name.endswith(".py"):
        return f"{name}:my_policy"
    head, dot, tail = name.rpartition(".")
    return f"{head}:{tail}" if dot else "my_module:my_policy"


def _load(name: str, kind: type[Kind], what: str) -> Kind:
    where, _, function = name.rpartition(":")
    if not where or not function:
        raise PolicyError(f"{what} {name!r} is not complete: write my_module:my_{what}")
    return _named(_module(where, name, what), function, kind, what)


def _module(where: str, name: str, what: str) -> ModuleType:
    folder = os.getcwd()
    if "" not in sys.path and folder not in sys.path:  # as python -m does; the installed command does not
        sys.path.insert(0, folder)
    if where.endswith(".py") or "/" in where or os.sep in where:
        return _file(Path(where), name, what)
    if not all(part.isidentifier() for part in where.split(".")):
        raise PolicyError(
            f"{what} {name}: {where} is not the name of a module; write my_module:my_{what} or FILE.py:my_{what}"
        )
    importlib.invalidate_caches()
    if where not in sys.modules and (missing := _missing(where)):
        files = sorted(path.stem for path in Path(folder).glob("*.py"))
        near = closest(where, files)
        raise PolicyError(
            f"{what} {name}: there is no module {missing}{near or '.'} Looked in the current folder {folder}"
            f" ({', '.join(f'{one}.py' for one in files[:8]) or 'no .py files'}) and where Python packages are; a file"
            f" elsewhere is path/to/file.py:{name.rpartition(':')[2]}"
        )
    return _run(lambda: importlib.import_module(where), name, what)


def _missing(where: str) -> str:
    """The first part of a dotted name that is not there, without importing the last."""
    parts = where.split(".")
    if PathFinder.find_spec(parts[0]) is None and parts[0] not in sys.builtin_module_names:
        try:
            if importlib.util.find_spec(parts[0]) is None:
                return parts[0]
        except (ImportError, ValueError):
            return parts[0]
    return ""


def _file(path: Path, name: str, what: str) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        beside = sorted(one.name for one in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise PolicyError(f"{what} {name}: there is no file {path.absolute()}{closest(path.name, beside)}")
    path = path.resolve()
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    # Under a name of its own where another module has the file's, as with json.py.
    key = (
        path.stem
        if loaded is None and path.stem.isidentifier() and not _is_there(path.stem)
        else f"schwabot_user_{path.stem}"
    )
    loaded = sys.modules.get(key)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise PolicyError(f"{what} {name}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:  # its neighbours can be imported, as when it is run
        sys.path.insert(0, str(path.parent))
    sys.modules[key] = module
    loader = spec.loader

    def execute() -> ModuleType:
        try:
            loader.exec_module(module)
        except BaseException:
            sys.modules.pop(key, None)
            raise
        return module

    return _run(execute, name, what)


def _is_there(stem: str) -> bool:
    try:
        return importlib.util.find_spec(stem) is not None
    except (ImportError, ValueError):
        return False


def _run(execute: Callable[[], ModuleType], name: str, what: str) -> ModuleType:
    try:
        return execute()
    except PolicyError as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not _is_inside(one.filename)]
        own = [one for one in frames if PACKAGE not in Path(one.filename).parents]
        if error.file is not None or not own:
            raise
        raise PolicyError(error.what, file=own[-1].filename, line=own[-1].lineno) from error
    except SyntaxError as error:
        raise PolicyError(
            f"{error.msg} (while reading {what} {name})", file=error.filename, line=error.lineno
        ) from error
    except (Exception, SystemExit) as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not _is_inside(one.filename)]
        at = frames[-1] if frames else None
        said = f"{type(error).__name__}: {error} (while importing {what} {name})"
        raise PolicyError(said, file=at and at.filename, line=at.lineno if at else None) from error


def _is_inside(file: str) -> bool:
    return file.startswith("<") or file == __file__ or Path(file).parent.name == "importlib"


def _named(module: ModuleType, function: str, kind: type[Kind], what: str) -> Kind:
    found = getattr(module, function, None)
    if isinstance(found, kind):
        return found
    file = getattr(module, "__file__", None)
    there = sorted(name for name, value in vars(module).items() if isinstance(value, kind))
    if found is None:
        has = f"; it has {', '.join(there)}" if there else f"; nothing in it is declared with @{what}(...)"
        raise PolicyError(f"there is no {function} in it{closest(function, there)}{has}", file=file)
    if isinstance(found, Policy | Signal):
        other = (
            "a policy: name it as policy=..."
            if isinstance(found, Policy)
            else "a signal: name it in policy.signals=[...]"
        )
        raise PolicyError(f"{function} is {other}", file=file, line=found.line)
    line = found.__code__.co_firstlineno if callable(found) and hasattr(found, "__code__") else None
    if callable(found) and not isinstance(found, type):
        hint = f"put @{what}(...) above it (from schwabot.signals import {what})"
        raise PolicyError(f"{function} is not declared: {hint}", file=file, line=line)
    raise PolicyError(f"{function} is a {type(found).__name__}, not a function declared with @{what}(...)", file=file)
