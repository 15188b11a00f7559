"""Settings of the dashboard and the HTTP API."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from schwabot.errors import ConfigError

ANONYMOUS = ("viewer", "none")


@dataclass
class ServerConfig:
    """The dashboard and its API: where it listens, who may do what, what it shows.

    Attributes:
        enabled: serve beside the run, in a process of its own; mode=serve does so without a run.
        host: address it listens on. Beyond this machine it needs TLS and a token.
        port: of it; 0 = any that is free, which is said.
        tls_cert: certificate with its chain, PEM.
        tls_key: its key, PEM, that nobody else may read.
        tokens: file of the hashed tokens; absent = schwabot/tokens.json in the user's folder of settings. ``python -m
            schwabot.server.tokens add NAME --role operator`` makes one.
        anonymous: what a request without a token may do on this machine: ``viewer`` reads, ``none`` nothing, which is
            so too where ``hosts`` names a proxy.
        rate_per_s: requests a second of one token or address, on average.
        rate_burst: how many may come at once.
        failures_per_minute: wrong tokens of an address, after which it is not listened to for a while.
        cors: origins of other pages whose requests are answered; none by default.
        hosts: names of this server beside its address, e.g. of a proxy before it.
        history_s: how long the live charts reach back.
        runs: folder of past runs.
        tensorboard: address of a TensorBoard to link to.
        max_clients: open live streams at most.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: str | None = None
    tls_key: str | None = None
    tokens: str | None = None
    anonymous: str = "viewer"
    rate_per_s: float = 50.0
    rate_burst: int = 200
    failures_per_minute: int = 10
    cors: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    history_s: float = 900.0
    runs: str = "outputs"
    tensorboard: str | None = None
    max_clients: int = 64

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, low, high in (
            ("port", 0, 65_535), ("rate_per_s", 0.1, 1e6), ("rate_burst", 1, 1_000_000),
            ("failures_per_minute", 1, 1e6), ("history_s", 10.0, 86_400.0), ("max_clients", 1, 10_000),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"server.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")
        if self.anonymous not in ANONYMOUS:
            raise ConfigError(f"server.anonymous={self.anonymous} is not a choice; use {' or '.join(ANONYMOUS)}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("server.tls_cert and server.tls_key belong together: give both, or neither")
        for name in ("cors", "hosts"):
            for value in getattr(self, name):
                if name == "cors" and not re.fullmatch(r"https?://[\w.:\[\]-]+", value):
                    raise ConfigError(f"server.cors: {value!r} is no origin such as https://desk.example.org")
        if self.tensorboard is not None and not re.fullmatch(r"https?://\S+", self.tensorboard):
            raise ConfigError(f"server.tensorboard={self.tensorboard!r}: use an address such as http://127.0.0.1:6006")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it.

        Example:
            >>> [ServerConfig(host=host).is_local for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0")]
            [True, True, True, False]
        """
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def tokens_file(self) -> Path:
        """Where the hashed tokens are."""
        if self.tokens is not None:
            return Path(self.tokens).expanduser()
        base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return Path(base).expanduser() / "schwabot" / "tokens.json"
