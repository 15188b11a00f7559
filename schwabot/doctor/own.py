"""What is this set-up's own: settings, keys, files and what watches over a run."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from schwabot.doctor.findings import Finding, ok, problem, skipped, warning
from schwabot.doctor.machine import folder
from schwabot.errors import ConfigError, SchwabotError, why
from schwabot.secrets import asks_for_secret, refuse_secret, secret, venue_credentials
from schwabot.sinks.heartbeat import SOCKET, VARIABLE

_FILE = "_FILE"


def compose(overrides: Sequence[str]) -> tuple[Any, Finding]:
    """The settings of a run, as ``python -m schwabot.run`` would take them; None where it would refuse.

    Args:
        overrides: as they would be typed.
    """
    try:
        for one in overrides:
            refuse_secret(one.partition("=")[0].lstrip("+~"))
    except ConfigError as error:
        return None, problem("settings", str(error), "see docs/alerts.md, secrets")
    try:
        from hydra import compose as composed
        from hydra import initialize_config_dir
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        from schwabot.compose import explain, normalise_arguments, to_settings
        from schwabot.config import conf_dir, register
    except Exception as error:  # noqa: BLE001 a library that is broken raises anything
        return None, problem("settings", f"they can't be read: {why(error)}", "put the packages right first")
    try:
        register()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            settings = to_settings(composed("config", overrides=normalise_arguments(overrides)))
    except SchwabotError as error:
        return None, problem("settings", str(error), "python -m schwabot.run --help lists what there is")
    except (HydraException, OmegaConfBaseException) as error:
        return None, problem("settings", str(explain(error)), "python -m schwabot.run --help lists what there is")
    source = type(settings.source).__name__.removesuffix("Source").lower()
    return settings, ok("settings", f"they compose: mode={settings.mode}, source={source}")


def chosen_venues(settings: Any) -> list[str]:
    """Venues that live settings name.

    Args:
        settings: a RunConfig, or None where there is none.
    """
    if settings is None or not hasattr(settings.source, "connect_s"):
        return []
    return sorted({stream.partition(":")[0] for stream in (*settings.source.streams, *settings.policy.trade)})


def keys(venues: Sequence[str], settings: Any, environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Whether each venue's keys are there, by the names of their variables; never what they are.

    Args:
        venues: ccxt's names.
        settings: a RunConfig, or None where there is none.
        environment: to look in; default the process's.
    """
    given = os.environ if environment is None else environment
    trades = settings is not None and settings.mode == "live" and settings.live.loopback_port is None
    traded = {stream.partition(":")[0] for stream in settings.policy.trade} if trades else set()
    for venue in venues:
        try:
            found = venue_credentials(venue, environment=given)
        except ConfigError as error:
            if venue in traded or "needs" not in str(error):
                yield problem("keys", str(error), "mode=live needs them; they must not be able to withdraw")
            else:
                yield skipped("keys", f"{venue}: none, and none are needed to watch or to trade on paper")
        else:
            where = {name: _where(name, given) for name in (one.name for one in found.values())}
            yield ok("keys", f"{venue}: " + ", ".join(f"{name} ({place})" for name, place in where.items()))


def _where(name: str, given: Mapping[str, str]) -> str:
    return (
        "environment" if given.get(name, "").strip() else "file" if given.get(name + _FILE, "").strip() else "keyring"
    )


def messengers(settings: Any, environment: Mapping[str, str] | None = None) -> Finding:
    """Whether alerts can be addressed."""
    if settings is None or not settings.notify.to:
        return skipped("alerts", "nobody is told of anything", "notify.to=[auto] tells those whose variables are set")
    from schwabot.sinks.notify_targets import targets_of

    try:
        names = [one.name for one in targets_of(settings.notify.to, environment)]
    except ConfigError as error:
        return problem("alerts", str(error), "docs/alerts.md lists the variables")
    return ok("alerts", f"{', '.join(names)}; notify.test=true sends one message to each")


def secret_files(environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Whether files that hold secrets can be read, and only by who may."""
    given = os.environ if environment is None else environment
    names = sorted(name for name in given if name.endswith(_FILE) and _is_secret(name.removesuffix(_FILE)))
    files: dict[str, Path] = {}
    for name in names:
        try:
            secret(name.removesuffix(_FILE), given)
        except ConfigError as error:
            yield problem("secrets", str(error), "put it right, or take the variable away")
        else:
            files[name] = Path(given[name].strip())
    for name, file in files.items():
        yield _rights(name, file)
    if not files and not names:
        yield skipped("secrets", "no file of secrets is named")


def _is_secret(name: str) -> bool:
    return asks_for_secret(name) or name == "NOTIFY_URLS"


def _rights(name: str, file: Path) -> Finding:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        return problem("secrets", f"{name}={file}: {error.strerror}", "name a file that is there")
    if os.name == "posix" and mode & (stat.S_IROTH | stat.S_IWOTH):
        return warning(
            "secrets",
            f"{name}={file} can be read or written by every user ({stat.filemode(mode)})",
            f"chmod 600 {file}",
        )
    return ok("secrets", f"{name}={file}" + (f" ({stat.filemode(mode)})" if os.name == "posix" else ""))


def dashboard(settings: Any) -> Iterator[Finding]:
    """Whether the dashboard may listen where it is told to: certificate, key, tokens.

    Args:
        settings: a RunConfig, or None where there is none.
    """
    if settings is None or not (settings.server.enabled or settings.mode == "serve"):
        yield skipped("dashboard", "none is asked for", "server.enabled=true, or mode=serve")
        return
    try:
        from schwabot.server.tls import check_exposure

        notes = check_exposure(settings.server)
    except ImportError as error:
        yield problem("dashboard", f"it can't be looked at: {why(error)}", "pip install 'schwabot[server]'")
    except ConfigError as error:
        yield problem("dashboard", str(error), "docs/deployment.md shows the ways to reach it from elsewhere")
    else:
        for note in notes:
            yield warning("dashboard", note, "see docs/deployment.md")
        who = "this machine alone reaches it" if settings.server.is_local else "TLS and tokens are there"
        yield ok("dashboard", f"{settings.server.host}:{settings.server.port}: {who}")


def folders(settings: Any, overrides: Sequence[str]) -> Iterator[Finding]:
    """The places that a run writes to.

    Args:
        settings: a RunConfig, or None where there is none.
        overrides: as they would be typed.
    """
    typed = [one.partition("=")[2].strip(" \"'") for one in overrides if one.startswith("hydra.run.dir=")]
    yield folder("disk", "results", Path(typed[-1]) if typed else Path("outputs"))
    if settings is None:
        return
    for name in ("record", "convert"):
        if (out := getattr(settings, name).out) and "://" not in out:
            yield folder("disk", f"{name}.out", Path(out))
    if settings.mode == "live":
        from schwabot.execution.account_lock import state_folder
        from schwabot.run_folder import journal_of

        file = journal_of(settings)
        yield folder("disk", "journal", file.parent)
        yield journal(file)
        try:
            yield folder("disk", "locks of accounts", state_folder() / "accounts")
        except SchwabotError as error:
            yield problem("disk", str(error), "set XDG_STATE_HOME")


def journal(file: Path) -> Finding:
    """Whether the journal of orders is whole.

    Args:
        file: may not exist.
    """
    if not file.exists():
        return ok("journal", f"{file}: none yet, the first start makes it")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as opened:
            (said,) = opened.execute("PRAGMA quick_check(1)").fetchone()
            (orders,) = opened.execute("SELECT count(*) FROM requests").fetchone()
    except sqlite3.Error as error:
        return problem("journal", f"{file}: {error}", "put the last copy in its place (docs/deployment.md), and start "
                       "once with live.accept=REASON after you have compared with the venue")  # fmt: skip
    if said != "ok":
        return problem("journal", f"{file} is damaged: {said}", "put the last copy in its place (docs/deployment.md)")
    return ok("journal", f"{file}: whole, {orders:,} requests")


def watched(environment: Mapping[str, str] | None = None) -> Finding:
    """Whether somebody sees from outside that a run moves on."""
    given = os.environ if environment is None else environment
    if file := given.get(VARIABLE):
        return folder("heartbeat", VARIABLE, Path(file).absolute().parent, needed=False)
    if given.get(SOCKET):
        return ok("heartbeat", f"systemd is told ({SOCKET})")
    return skipped("heartbeat", f"nobody watches from outside: {VARIABLE} is not set", "docs/deployment.md")
