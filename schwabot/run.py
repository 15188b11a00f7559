"""``python -m schwabot.run``: compose the settings, build the parts, hand over to the engine.

Heavy libraries are imported where they are needed, so that ``--help`` answers at once.
"""
# ruff: noqa: E402 - a hook comes before what takes long to import

from __future__ import annotations

import sys
from types import TracebackType

INTERRUPTED = 130


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while the rest is imported: nothing began, and nothing is wrong."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write("interrupted\n")
    raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    sys.excepthook = _hook

import errno
import os
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from schwabot.compose import explain, normalise_arguments, to_settings
from schwabot.config import conf_dir, register
from schwabot.errors import ConfigError, SchwabotError
from schwabot.modes.logged import logged
from schwabot.modes.notifying import check_notify, send_test, told
from schwabot.run_folder import RESULTS
from schwabot.secrets import guard_process, learn_environment, refuse_secret, scrub
from schwabot.sinks.heartbeat import beat

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
_started_s: list[float] = []
register()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with the given command line, or the process's own.

    Args:
        arguments: Hydra overrides and flags, as after ``python -m schwabot.run``.

    Raises:
        SystemExit: code 2 for a setting that can't be used, 1 for bad input or a missing device, 130 for Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    _started_s[:] = [time.perf_counter()]
    learn_environment()
    if arguments is None:
        guard_process()
    beat()
    try:
        if "--version" in given:
            # By name: the package's own module names the API, which stands above this one.
            print(f"schwabot {import_module('schwabot').__version__}")  # noqa: T201
        else:
            _check_names(given)
            with _command_line(normalise_arguments(given)):
                _compose()
        sys.stdout.flush()  # here, not at exit, where a reader that is gone can't be caught
    except BrokenPipeError:  # ``... | head``: who reads has seen enough
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (HydraException, OmegaConfBaseException) as error:
        _fail(explain(error), error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before the first event\n")
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:  # before the run's folder is there
        if error.filename is None:
            raise
        _fail(ConfigError(f"{error.filename}: {error.strerror}; is hydra.run.dir a folder you can write to?"), error)


def _check_names(arguments: Sequence[str]) -> None:
    """Refuse a secret, and a folder without a name: Hydra takes it for the working directory and writes there."""
    for argument in arguments:
        name, is_set, value = argument.partition("=")
        name = name.lstrip("+~")
        try:
            refuse_secret(name)
        except ConfigError as refused:
            _fail(refused, refused)
        if is_set and name in ("hydra.run.dir", "hydra.sweep.dir") and not value.strip(" \"'"):
            _fail(
                error := ConfigError(f"{name} is empty; say {name}=DIR, or leave it out for outputs/<date>/<time>"),
                error,
            )


@contextmanager
def _command_line(arguments: list[str]) -> Iterator[None]:
    """Let Hydra read these arguments, and let its errors come to us instead of being printed."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def _compose(config: DictConfig) -> None:
    started_s = _started_s.pop() if _started_s else time.perf_counter()  # the first job pays for composing
    run_dir = Path(HydraConfig.get().runtime.output_dir).absolute()
    try:
        settings = to_settings(config)
        _check_folder(run_dir)
        check_notify(settings)
        if settings.notify.test:
            with suppress(OSError):
                run_dir.rmdir()  # as it writes no files
            send_test(settings)
            return
        mode = getattr(import_module(f"schwabot.modes.{settings.mode}"), settings.mode)
        summary = logged(settings, lambda: told(settings, lambda: mode(settings, run_dir, started_s)))
    except SchwabotError as error:
        with suppress(OSError):
            run_dir.rmdir()  # goes only if it is empty
        _fail(error, error)
    except BrokenPipeError:
        raise
    except OSError as error:  # caught here, because Hydra reports exceptions that leave a job
        if error.filename is None and error.errno not in _DISK:
            raise
        file = Path(os.fsdecode(error.filename or run_dir))  # what does not know its file is written there
        inside = error.errno not in _DISK and run_dir in file.absolute().parents
        gone = not run_dir.is_dir()  # Hydra had made it
        hint = "; is hydra.run.dir a folder you can write to?" if inside else ""
        if error.errno in _FULL:
            hint = "; make room and start it again: tables that were not finished are left as .part"
        what = os.strerror(error.errno) if error.errno in _DISK else error.strerror
        is_setting = not gone and error.errno not in {*_FULL, errno.EIO}  # else a service is started again
        kind = ConfigError if is_setting else SchwabotError
        _fail(kind(f"{file}: {what}{hint}"), error)
    if summary.get("interrupted"):
        raise SystemExit(INTERRUPTED)


def _check_folder(run_dir: Path) -> None:
    """A run may replace what an earlier run left, and nothing else.

    Raises:
        ConfigError: it holds files of a run's names without the config.yaml of a run.
    """
    taken = [one for name in RESULTS for one in (name, f"{name}.part") if (run_dir / one).exists()]
    taken += sorted(path.name for path in run_dir.glob("events.out.tfevents.*"))
    if taken and not _is_ours(run_dir / "config.yaml"):
        raise ConfigError(
            f"{run_dir} holds {', '.join(taken[:3])}, but no config.yaml of a run of Schwabot beside it, so it is"
            f" somebody else's and would be overwritten; say {_folder_setting()}=NEW, a folder of its own"
        )


def _folder_setting() -> str:
    return "hydra.sweep.dir" if HydraConfig.get().mode == RunMode.MULTIRUN else "hydra.run.dir"


def _is_ours(file: Path) -> bool:
    """Is this the config.yaml that a run writes, of this version or another?"""
    try:
        tree = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):  # unreadable, not text, not YAML, not settings
        return False
    return isinstance(tree, dict) and {"mode", "source", "modules", "sinks"} <= tree.keys()


def _fail(said: SchwabotError, error: Exception) -> NoReturn:
    """End with one line instead of a traceback. An exit, because Hydra reports exceptions that leave a job."""
    if os.environ.get("SCHWABOT_TRACEBACK") == "1":
        raise error
    sys.stderr.write(f"error: {scrub(str(said))}\n")
    raise SystemExit(2 if isinstance(said, ConfigError) else 1)


if __name__ == "__main__":
    main()
