"""Where alerts go: the messengers' addresses, made of secrets.

::

    slack     SLACK_WEBHOOK_URL
    telegram  TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID (several with commas)
    email     EMAIL_HOST, EMAIL_TO (several with commas); EMAIL_FROM, EMAIL_PORT, EMAIL_USER, EMAIL_PASSWORD
    urls      NOTIFY_URLS: any addresses that apprise knows, with blanks between them
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from schwabot.errors import ConfigError
from schwabot.secrets import Secret, need, secret, variable
from schwabot.sinks.courier import Target
from schwabot.sinks.notify_settings import TARGETS

Environment = Mapping[str, str] | None
PORT_TLS = "465"
"""TLS from the first byte; on any other port it begins with STARTTLS."""


def targets_of(wanted: Sequence[str], environment: Environment = None) -> list[Target]:
    """The messengers that ``notify.to`` names.

    Args:
        wanted: as ``NotifyConfig.to``.
        environment: to look in; default the process's.

    Raises:
        ConfigError: a variable is missing, or none at all for ``auto``.
    """
    if list(wanted) != ["auto"]:
        return [target for name in dict.fromkeys(wanted) for target in _MAKE[name](environment)]
    names = [name for name in TARGETS if secret(_FIRST[name], environment) is not None]
    if not names:
        raise ConfigError(f"notify.to=[auto]: none of {', '.join(_FIRST.values())} is set")
    return targets_of(names, environment)


_FIRST = {"slack": "SLACK_WEBHOOK_URL", "telegram": "TELEGRAM_BOT_TOKEN", "email": "EMAIL_HOST", "urls": "NOTIFY_URLS"}


def _slack(environment: Environment) -> list[Target]:
    found = need({"SLACK_WEBHOOK_URL": secret("SLACK_WEBHOOK_URL", environment)}, "notify.to=slack")
    return [Target("slack", found["SLACK_WEBHOOK_URL"])]


def _telegram(environment: Environment) -> list[Target]:
    names = ("TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID")
    found = need({name: secret(name, environment) for name in names}, "notify.to=telegram")
    token, chats = (found[name].reveal() for name in names)
    path = "/".join(quote(chat.strip(), safe="@:") for chat in chats.split(","))
    return [Target("telegram", Secret(f"tgram://{token}/{path}", "TELEGRAM_BOT_TOKEN"))]


def _email(environment: Environment) -> list[Target]:
    names = ("EMAIL_HOST", "EMAIL_TO")
    host, to = need({name: variable(name, environment) for name in names}, "notify.to=email").values()
    port = variable("EMAIL_PORT", environment) or ""
    if port and not port.isdecimal():
        raise ConfigError(f"EMAIL_PORT={port} is no number: {PORT_TLS} is TLS, 587 and others begin with STARTTLS")
    user, password = secret("EMAIL_USER", environment), secret("EMAIL_PASSWORD", environment)
    if (user is None) != (password is None):
        raise ConfigError("EMAIL_USER and EMAIL_PASSWORD go together: set both, or none for a server that wants none")
    sender = variable("EMAIL_FROM", environment) or (user.reveal() if user else to.partition(",")[0].strip())
    receivers = [one.strip() for one in to.split(",")]
    for variable_name, address in (("EMAIL_FROM", sender), *(("EMAIL_TO", one) for one in receivers)):
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):  # apprise would leave it out, or guess
            raise ConfigError(f"{variable_name}: {address or 'nothing'} is no address, such as me@example.com")
    asked = {"from": sender, "to": ",".join(receivers), "smtp": host}
    login = ""
    if user and password:  # a password goes over TLS alone; without one the server is a relay of one's own
        login = f"{quote(user.reveal(), safe='')}:{quote(password.reveal(), safe='')}@"
        asked["mode"] = "ssl" if port == PORT_TLS else "starttls"
    scheme, colon = "mailtos" if login else "mailto", f":{port}" if port else ""
    return [
        Target("email", Secret(f"{scheme}://{login}{host}{colon}?{urlencode(asked, quote_via=quote)}", "EMAIL_HOST"))
    ]


def _urls(environment: Environment) -> list[Target]:
    found = need({"NOTIFY_URLS": secret("NOTIFY_URLS", environment)}, "notify.to=urls")["NOTIFY_URLS"].reveal()
    return [
        Target(f"url {i} ({url.partition(':')[0]})", Secret(url, "NOTIFY_URLS"))
        for i, url in enumerate(found.split(), 1)
    ]


_MAKE: dict[str, Callable[[Environment], list[Target]]] = {
    "slack": _slack, "telegram": _telegram, "email": _email, "urls": _urls,
}  # fmt: skip
