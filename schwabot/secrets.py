"""Secrets: read from the environment, files or the keyring, wrapped so that nothing shows them, and blanked in text.

NAME in the environment  ▸  the file that NAME_FILE names  ▸  the keyring, service ``schwabot``, user NAME
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import quote, quote_plus, unquote, urlsplit

from schwabot.errors import ConfigError

Found = TypeVar("Found")
MASK = "***"
SERVICE = "schwabot"
SHORTEST = 6
"""A shorter value is not looked for in text: it would blank ordinary words, and it protects nothing."""
_ASKS = re.compile(
    r"(api|secret|private)[_-]?key$|secret$|passw(or)?d$|passphrase$|token$|webhook([_-]?url)?$", re.IGNORECASE
)
"""Names of settings that ask for a secret."""
_MESSENGERS = {
    "slack": "SLACK_WEBHOOK_URL", "telegram": "TELEGRAM_BOT_TOKEN", "webhook": "NOTIFY_URLS",
    "mail": "EMAIL_PASSWORD", "smtp": "EMAIL_PASSWORD",
}  # fmt: skip
_GENERIC = re.compile(
    r"\w*(key|secret|password|passwd|passphrase|token)|api|private|access|bot|venues?|accounts?|live|source|ccxt"
    r"|execution|options|policy|parameters|params"
)
_VARIABLE = re.compile(r"_(API_?KEY|SECRET|PASSWORD|PASSPHRASE|TOKEN|WEBHOOK_URL|PRIVATE_?KEY)$|^NOTIFY_URLS$")
_SIGNED = re.compile(r"\b(signature|apikey|api_key|listenkey|access_token)=[^&\s\"'<>]+", re.IGNORECASE)
_BEARER = re.compile(r"\b(sw_[0-9a-f]{8}_)[\w-]{43}")
"""A token of our own server, known or not."""
_HEADER = re.compile("-----[A-Z ]+-----")
"""Of a key file; every such file has it."""
_FAMILY = {"binanceusdm": "BINANCE", "binancecoinm": "BINANCE"}
"""Venues of one account: their keys are looked for under this name too."""
_CREDENTIALS = dict(zip(("apiKey", "secret", "password"), ("API_KEY", "SECRET", "PASSWORD"), strict=True))
LONG = 12
"""A part of an address that is shorter is a name, not a token."""
_known: set[str] = set()


class Secret:
    """A value that nothing shows: not ``repr``, ``str``, ``format``, nor a copy on disk. ``reveal`` gives it.

    Args:
        value: not empty.
        name: variable it came from.

    Example:
        >>> key = Secret("correct horse", "BINANCE_SECRET")
        >>> f"{key} {key!r} {key:>5}", key.reveal()
        ("*** Secret('BINANCE_SECRET')   ***", 'correct horse')
        >>> scrub("refused: key=correct%20horse")
        'refused: key=***'
    """

    __slots__ = ("_value", "name")

    def __init__(self, value: str, name: str = "") -> None:
        self._value = value
        self.name = name
        learn(value)

    def reveal(self) -> str:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash tells equal ones apart from others

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: it would leave memory; read it again where it is needed")


def learn(value: str) -> None:
    r"""Blank this value in every text from now on: of several lines each, of an address what may be secret in it too.

    Lines may end with ``\n`` in two characters: so a key of several fits into the environment.
    """
    for one in {value, *value.replace(r"\n", "\n").splitlines(), *_parts(value)}:
        text = one.strip()
        if len(text) >= SHORTEST and not _HEADER.fullmatch(text):
            _known.update((text, quote(text, safe=""), quote(text), quote_plus(text), repr(text)[1:-1]))


def _parts(value: str) -> set[str]:
    """Password, path and its longer parts, where it is an address: errors of web libraries show those alone."""
    if "://" not in value:
        return set()
    try:
        address = urlsplit(value)
    except ValueError:
        return set()
    found = {address.path, *address.path.split("/"), *re.split(r"[&=]", address.query)}
    return {one for one in found if len(one) >= LONG} | {unquote(address.password or "")}


def learn_environment(environment: Mapping[str, str] | None = None) -> None:
    """Blank from now on what the environment holds under names that are those of secrets."""
    for name, value in (os.environ if environment is None else environment).items():
        if _VARIABLE.search(name):
            for one in value.split() if name == "NOTIFY_URLS" else [value]:
                learn(one)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process that needs no secret is given of an environment.

    Example:
        >>> without_secrets({"PATH": "/bin", "KRAKEN_API_KEY": "k", "KRAKEN_SECRET": "s"})
        {'PATH': '/bin'}
    """
    return {name: value for name, value in environment.items() if not _VARIABLE.search(name)}


def scrub(text: str) -> str:
    """The text with every known secret blanked, what a signed address carries, and tokens of the server.

    Example:
        >>> scrub("GET https://x/api/v3/order?symbol=BTCUSDT&signature=90ab")
        'GET https://x/api/v3/order?symbol=BTCUSDT&signature=***'
    """
    for value in sorted(_known, key=len, reverse=True):  # the longest first: one may hold another
        text = text.replace(value, MASK)
    return _BEARER.sub(rf"\1{MASK}", _SIGNED.sub(rf"\1={MASK}", text))


class ScrubFilter(logging.Filter):
    """Blanks secrets in what passes a logging handler, its traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through, blanked."""
        record.msg, record.args = scrub(record.getMessage()), None
        if record.exc_info:
            record.exc_text = scrub("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = scrub(record.exc_text)
        return True


def guard_process() -> None:
    """Blank secrets in uncaught errors and in log lines that no handler takes. For a process of our own."""
    learn_environment()
    sys.excepthook = _write_error
    if logging.lastResort is not None and not any(isinstance(one, ScrubFilter) for one in logging.lastResort.filters):
        logging.lastResort.addFilter(ScrubFilter())


def _write_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(scrub("".join(traceback.format_exception(kind, error, trace))))


def secret(name: str, environment: Mapping[str, str] | None = None) -> Secret | None:
    """The secret of a name, or None where nobody has set it; see ``variable``.

    Args:
        name: of the variable, e.g. ``BINANCE_API_KEY``.
        environment: to look in; default the process's.

    Raises:
        ConfigError: both NAME and NAME_FILE are set, or the file can't be read or is empty.
    """
    value = variable(name, environment)
    return Secret(value, name) if value else None


def variable(name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """What is found where secrets are, and may be shown all the same, such as a host; None where nobody has set it.

    Args:
        name: of the variable.
        environment: to look in; default the process's.

    Raises:
        ConfigError: both NAME and NAME_FILE are set, or the file can't be read or is empty.
    """
    given = os.environ if environment is None else environment
    value, file = given.get(name, "").strip(), given.get(f"{name}_FILE", "").strip()
    if value and file:
        raise ConfigError(f"both {name} and {name}_FILE are set: set one of them")
    if file:
        value = _read(name, file)
    value = value or _from_keyring(name)
    if value.startswith("-----BEGIN") and "\\n" in value:  # a PEM key on one line, as env files hold it
        value = value.replace("\\n", "\n")
    return value or None


def _read(name: str, file: str) -> str:
    try:
        value = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{name}_FILE={file}: {said}") from None
    if not value:
        raise ConfigError(f"{name}_FILE={file} is empty")
    return value


def _from_keyring(name: str) -> str:
    """What the system's keyring holds; nothing where there is none, as on a server without a desktop."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return (keyring.get_password(SERVICE, name) or "").strip()
    except KeyringError:
        return ""


def need(names: Mapping[str, Found | None], who: str) -> dict[str, Found]:
    """All of these.

    Args:
        names: variable → what was found.
        who: needs them.

    Raises:
        ConfigError: some are missing; names them and where they may be put, and nothing else.
    """
    missing = [name for name, found in names.items() if found is None]
    if missing:
        first = missing[0]
        raise ConfigError(
            f"{who} needs {' and '.join(missing)}: set {'it' if len(missing) == 1 else 'them'} in the environment, or"
            f" name a file that holds it in {first}_FILE, or put it into the keyring with 'keyring set {SERVICE}"
            f" {first}'{_keyring_note()}"
        )
    return {name: found for name, found in names.items() if found is not None}


def _keyring_note() -> str:
    try:
        import keyring
    except ImportError:
        return " (no keyring is installed here)"
    backend = type(keyring.get_keyring())
    return " (no keyring runs here)" if backend.__module__ == "keyring.backends.fail" else ""


def venue_credentials(
    venue: str, needed: tuple[str, ...] = ("apiKey", "secret"), environment: Mapping[str, str] | None = None
) -> dict[str, Secret]:
    """What a venue's account is opened with, by ccxt's names.

    Args:
        venue: ccxt's name of it: ``binance`` reads BINANCE_API_KEY, BINANCE_SECRET, BINANCE_PASSWORD; Binance's futures
            take those of ``binance`` too.
        needed: of ``apiKey``, ``secret`` and ``password``, those without which nothing goes.
        environment: to look in; default the process's.

    Raises:
        ConfigError: one that is needed is missing; names all that are.

    Example:
        >>> venue_credentials("kraken", environment={"KRAKEN_API_KEY": "abcdef", "KRAKEN_SECRET": "ghijkl"})
        {'apiKey': Secret('KRAKEN_API_KEY'), 'secret': Secret('KRAKEN_SECRET')}
    """
    own = re.sub(r"[^A-Z0-9]", "_", venue.upper())
    found: dict[str, Secret | None] = {}
    for prefix in dict.fromkeys((own, _FAMILY.get(venue.lower(), own))):
        found = {field: secret(f"{prefix}_{last}", environment) for field, last in _CREDENTIALS.items()}
        if any(found.values()):
            break
    else:
        prefix = own
    need({f"{prefix}_{_CREDENTIALS[field]}": found[field] for field in needed}, venue)
    return {field: one for field, one in found.items() if one is not None}


def refuse_secret(name: str) -> None:
    """Refuse a setting that asks for a secret: it would end in config.yaml, and in the shell's history.

    Args:
        name: of the setting, dotted.

    Raises:
        ConfigError: says which variable to set; never shows the value.

    Example:
        >>> refuse_secret("venues.kraken.api_key")
        Traceback (most recent call last):
        schwabot.errors.ConfigError: venues.kraken.api_key: secrets are no settings, they would be written down; set
        KRAKEN_API_KEY in the environment, or KRAKEN_API_KEY_FILE=FILE
    """
    if not asks_for_secret(name):
        return
    variable = _variable_of(name.lower())
    raise ConfigError(
        f"{name}: secrets are no settings, they would be written down; set {variable} in the environment, or"
        f" {variable}_FILE=FILE"
    )


def asks_for_secret(name: str) -> bool:
    """Is this the name of a setting that would hold a secret?

    Example:
        >>> [name for name in ("binance.apiKey", "SLACK_WEBHOOK_URL", "key_bits", "tokens", "secret") if
        ...  asks_for_secret(name)]
        ['binance.apiKey', 'SLACK_WEBHOOK_URL', 'secret']
    """
    return _ASKS.search(name.rpartition(".")[2]) is not None


def _variable_of(name: str) -> str:
    for part, variable in _MESSENGERS.items():
        if part in name:
            return variable
    words = [word for word in re.split(r"[._-]", name) if not _GENERIC.fullmatch(word)]
    last = "PASSWORD" if "pass" in name else "SECRET" if "secret" in name or "private" in name else "API_KEY"
    return f"{words[-1].upper() if words else 'VENUE'}_{last}"


def revealed(found: Mapping[str, Secret]) -> dict[str, Any]:
    """The values, for the one call that needs them; don't keep what it gives."""
    return {name: one.reveal() for name, one in found.items()}
