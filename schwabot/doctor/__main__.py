"""The command. Exit code 0 = all goes, maybe with warnings; 1 = something does not; 2 = asked for what there is not."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from schwabot.doctor import machine, own, packages, venues
from schwabot.doctor.findings import Finding, Level, problem, skipped
from schwabot.errors import why
from schwabot.secrets import guard_process, scrub

INTERRUPTED = 130
WINDOW_MS = 3_000
"""How long a signed request is good for, where no settings say it."""
_COLOURS = {Level.OK: "32", Level.SKIPPED: "2", Level.WARNING: "33", Level.PROBLEM: "31"}


def main(given: Sequence[str] | None = None) -> int:
    """Look, say, and return the exit code.

    Args:
        given: what stands after ``python -m schwabot.doctor``; default the process's own.

    Raises:
        SystemExit: 2 for what can't be asked for, 0 for ``--help``.
    """
    parser = _parser()
    asked = parser.parse_intermixed_args(given)
    for one in asked.settings:
        if "=" not in one and not one.startswith("~"):
            parser.error(f"{one} is no setting: write name=value as for a run; venues are named with --venues {one}")
    guard_process()
    told: list[Finding] = []
    try:
        for found in _guarded(asked):
            told.append(found)
            if not asked.json:
                _print(found)
        count = Counter(one.level for one in told)
        if asked.json:
            findings = [{"check": one.check, "level": one.level, "what": scrub(one.what), "do": scrub(one.do)}
                        for one in told]  # fmt: skip
            print(json.dumps({"findings": findings, "count": {level: count[level] for level in Level}}, indent=2))
        else:
            many = {one: "s" * (count[one] != 1 and one in (Level.WARNING, Level.PROBLEM)) for one in Level}
            print(", ".join(f"{count[one]} {one}{many[one]}" for one in Level))
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:  # ``... | head``
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(any(one.level is Level.PROBLEM for one in told))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="schwabot doctor",
        description="What is wrong with this machine or set-up, and what to do about it. Nothing is changed, no order"
        " is sent, no key is shown.",
        epilog="Exit code: 0 all goes, maybe with warnings; 1 something does not go; 2 asked for what there is not.",
    )
    parser.add_argument(
        "settings", nargs="*", help="of a run, as after python -m schwabot.run: what it needs is looked at"
    )
    parser.add_argument("--venues", type=_names, default=[], metavar="A,B", help="ask these too, by ccxt's names")
    parser.add_argument(
        "--loopback-port",
        type=_port,
        metavar="N",
        help="ask the loopback exchange on this port in place of real venues",
    )
    parser.add_argument("--offline", action="store_true", help="ask no venue")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    return parser


def _names(text: str) -> list[str]:
    names = [one.strip().lower() for one in text.split(",") if one.strip()]
    if not names:
        raise argparse.ArgumentTypeError("name one or more, e.g. binance,kraken")
    return names


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port: use 1 to 65535")
    return int(text)


def _guarded(asked: argparse.Namespace) -> Iterator[Finding]:
    """Every finding of every check; one that breaks is a finding, and hides no other."""
    settings: Any = None

    def compose() -> Iterable[Finding]:
        nonlocal settings
        settings, found = own.compose(asked.settings)
        return [found]

    def chosen() -> list[str]:
        return list(dict.fromkeys([*asked.venues, *own.chosen_venues(settings)]))

    def network() -> Iterable[Finding]:
        port = asked.loopback_port
        window_ms = WINDOW_MS
        if settings is not None:
            port = settings.live.loopback_port if port is None else port
            window_ms = settings.execution.gateway.recv_window_ms
        return venues.venues(chosen(), port, offline=asked.offline, window_ms=window_ms)

    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("python", packages.python),
        ("settings", compose),
        ("packages", lambda: packages.packages(packages.wanted_extras(settings))),
        ("disk", lambda: own.folders(settings, asked.settings)),
        ("secrets", own.secret_files),
        ("dashboard", lambda: own.dashboard(settings)),
        ("keys", lambda: own.keys(chosen(), settings) if chosen() else [skipped("keys", "no venue is chosen")]),
        ("alerts", lambda: [own.messengers(settings)]),
        ("heartbeat", lambda: [own.watched()]),
        ("ports", lambda: machine.ports(settings)),
        ("clock", lambda: [machine.clock()]),
        ("network", network),
        ("cache", lambda: [machine.kernel_cache()]),
        ("imports", packages.imports),
        ("gpu", lambda: machine.gpu(settings)),
    ]
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 whatever it is, the others can still be told
            yield problem(name, f"this could not be looked at: {why(error)}", "please report it")


def _print(found: Finding) -> None:
    level = f"{found.level:<9}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        level = f"\x1b[{_COLOURS[found.level]}m{level}\x1b[0m"
    print(f"{level}{found.check:<10}{scrub(found.what)}")
    if found.do:
        print(f"{'':<19}-> {scrub(found.do)}")
    sys.stdout.flush()


def run() -> NoReturn:
    """The command itself."""
    sys.exit(main())


if __name__ == "__main__":
    run()
