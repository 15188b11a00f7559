"""Whether the server may listen where it is told to, and the certificate it shows there."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from schwabot.errors import ConfigError
from schwabot.server.settings import ServerConfig
from schwabot.server.tokens import read_tokens

SOON = timedelta(days=21)


@dataclass(frozen=True)
class Certificate:
    """What a certificate says.

    Args:
        names: hosts it is for.
        expires: UTC.
    """

    names: tuple[str, ...]
    expires: datetime


def check_exposure(config: ServerConfig) -> list[str]:
    """Refuse to be reached from other machines without TLS and a token; what is worth saying beside.

    Args:
        config: of the server.

    Raises:
        ConfigError: it may not listen there, or the tokens, the certificate or its key can't be used; says why and
            which commands mend it.

    Example:
        >>> check_exposure(ServerConfig(host="0.0.0.0", tokens="/nowhere/tokens.json"))
        Traceback (most recent call last):
        schwabot.errors.ConfigError: server.host=0.0.0.0 lets other machines in, and that needs TLS and a token:
        there is no certificate and there is no token. Both, in two commands: ...
    """
    now_s = datetime.now(UTC).timestamp()
    tokens = [one for one in read_tokens(config.tokens_file) if not one.is_over(now_s)]
    notes = []
    certificate = certificate_of(config)
    if certificate is not None and certificate.expires < datetime.now(UTC) + SOON:
        notes.append(f"server.tls_cert={config.tls_cert} expires on {certificate.expires:%Y-%m-%d}: renew it")
    if config.is_local:
        if config.anonymous == "none" and not tokens:
            notes.append(f"server.anonymous=none, and there is no token: nobody can read. {_add(config)}")
        return notes
    missing = [
        said
        for said, is_there in (("no certificate", certificate is not None), ("no token", bool(tokens)))
        if not is_there
    ]
    if missing:
        raise ConfigError(
            f"server.host={config.host} lets other machines in, and that needs TLS and a token: there is"
            f" {' and there is '.join(missing)}. Both, in two commands: {_add(config)}; and: openssl req -x509 -nodes"
            " -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 365 -keyout key.pem -out cert.pem -subj /CN=schwabot"
            " -addext subjectAltName=DNS:$(hostname), then server.tls_cert=cert.pem server.tls_key=key.pem. Or keep"
            " server.host=127.0.0.1 and come through a tunnel: ssh -L 8080:127.0.0.1:8080 USER@HOST"
        )
    return notes


def _add(config: ServerConfig) -> str:
    file = "" if config.tokens is None else f" --file {config.tokens}"
    return f"python -m schwabot.server.tokens add NAME --role operator{file}"


def certificate_of(config: ServerConfig) -> Certificate | None:
    """The certificate the settings name, checked; None where they name none.

    Args:
        config: of the server.

    Raises:
        ConfigError: certificate or key is missing, unreadable, open to others, expired, or of another pair.
    """
    if config.tls_cert is None or config.tls_key is None:
        if config.tls_cert != config.tls_key:
            raise ConfigError("server.tls_cert and server.tls_key belong together: give both, or neither")
        return None
    try:
        from cryptography import x509
    except ImportError:
        raise ConfigError("HTTPS needs cryptography: pip install cryptography") from None
    cert, key = Path(config.tls_cert).expanduser(), Path(config.tls_key).expanduser()
    pem = _read("tls_cert", cert)
    _read("tls_key", key)
    if os.name == "posix" and key.stat().st_mode & 0o027:  # the group may read: Debian's ssl-cert
        raise ConfigError(f"server.tls_key={key} may be read or changed by other users: chmod 600 {key}")
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ConfigError(f"server.tls_cert={cert} is no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None
    _load(cert, key)
    now = datetime.now(UTC)
    begins, expires = first.not_valid_before_utc, first.not_valid_after_utc
    if expires <= now:
        raise ConfigError(f"server.tls_cert={cert} expired on {expires:%Y-%m-%d}: renew it")
    if begins > now:
        raise ConfigError(f"server.tls_cert={cert} is valid from {begins:%Y-%m-%d %H:%M} UTC on: is the clock right?")
    try:
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Certificate((), expires)
    addresses = names.get_values_for_type(x509.IPAddress)
    return Certificate((*names.get_values_for_type(x509.DNSName), *map(str, addresses)), expires)


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"server.{setting}={path}: {error.strerror}") from None


def _load(cert: Path, key: Path) -> None:
    def refuse() -> NoReturn:
        raise ConfigError(
            f"server.tls_key={key} has a passphrase, which nobody is there to type: openssl pkey -in {key} -out new.pem"
        )

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"server.tls_key={key} is not the key of server.tls_cert={cert}") from None
        raise ConfigError(
            f"server.tls_cert={cert} server.tls_key={key}: {error.reason or error}; both are to be PEM"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether an address, such as that of a peer, is of this machine itself.

    Example:
        >>> [is_loopback(one) for one in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.1", "")]
        [True, True, True, False, False]
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
