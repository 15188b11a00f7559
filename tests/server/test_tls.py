"""Where the server may listen, and which certificates it takes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from schwabot.errors import ConfigError
from schwabot.server.settings import ServerConfig
from schwabot.server.tls import certificate_of, check_exposure
from schwabot.server.tokens import Role, add

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def pair(folder: Path, authority: trustme.CA, *names: str, expires: datetime | None = None) -> tuple[str, str]:
    made = authority.issue_cert(*(names or ("desk.lan", "192.0.2.7")), not_after=expires)
    cert, key = folder / "cert.pem", folder / "key.pem"
    made.private_key_pem.write_to_path(key)
    for at, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(cert, append=at > 0)
    key.chmod(0o600)
    return str(cert), str(key)


@pytest.fixture
def config(tmp_path: Path, authority: trustme.CA) -> ServerConfig:
    cert, key = pair(tmp_path, authority)
    add(tmp_path / "tokens.json", "desk", Role.VIEWER)
    tokens = str(tmp_path / "tokens.json")
    return ServerConfig(host="0.0.0.0", tokens=tokens, tls_cert=cert, tls_key=key)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "fe80::1", "desk.lan", "0", "127.1.evil.example"])
def test_other_machines_need_tls_and_a_token(config: ServerConfig, host: str) -> None:
    assert check_exposure(replace(config, host=host)) == []
    nothing = str(Path(config.tokens or "").with_name("none.json"))
    for change, missing in (
        ({"tls_cert": None, "tls_key": None}, "there is no certificate. "),
        ({"tokens": nothing}, "there is no token. "),
        ({"tls_cert": None, "tls_key": None, "tokens": nothing}, "there is no certificate and there is no token. "),
    ):
        with pytest.raises(ConfigError) as refused:
            check_exposure(replace(config, host=host, **change))
        said = str(refused.value)
        assert said.startswith(f"server.host={host} lets other machines in, and that needs TLS and a token: ")
        assert missing in said
        assert "python -m schwabot.server.tokens add NAME" in said
        assert "openssl req -x509" in said


def test_an_expired_token_is_none(config: ServerConfig, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    add(path, "desk", Role.ADMIN, days=1e-9)
    with pytest.raises(ConfigError, match="there is no token"):
        check_exposure(replace(config, tokens=str(path)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "::1"])
def test_this_machine_needs_neither(host: str, tmp_path: Path) -> None:
    tokens = str(tmp_path / "none.json")
    assert check_exposure(ServerConfig(host=host, tokens=tokens)) == []
    (note,) = check_exposure(ServerConfig(host=host, tokens=tokens, anonymous="none"))
    assert "nobody can read" in note


def test_the_commands_that_mend_it_do(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    with pytest.raises(ConfigError) as refused:
        check_exposure(ServerConfig(host="0.0.0.0", tokens=str(tokens)))
    command = str(refused.value).partition("openssl ")[2].partition(", then")[0]
    subprocess.run(f"openssl {command}", shell=True, cwd=tmp_path, check=True, capture_output=True)
    add(tokens, "desk", Role.OPERATOR)
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    assert check_exposure(ServerConfig(host="0.0.0.0", tokens=str(tokens), tls_cert=cert, tls_key=key)) == []


def test_the_names_of_a_certificate_are_known(config: ServerConfig) -> None:
    found = certificate_of(config)
    assert found is not None
    assert found.names == ("desk.lan", "192.0.2.7")
    assert found.expires > datetime.now(UTC)


def test_a_certificate_that_ends_soon_is_said_and_one_that_ended_is_refused(
    config: ServerConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    for days, expected in ((10, "expires on"), (-10, "expired on")):
        cert, key = pair(tmp_path, authority, expires=datetime.now(UTC) + timedelta(days=days))
        own = replace(config, tls_cert=cert, tls_key=key)
        if days > 0:
            (note,) = check_exposure(own)
            assert expected in note
        else:
            with pytest.raises(ConfigError, match=expected):
                check_exposure(own)


@posix
def test_a_key_that_others_may_read_is_refused(config: ServerConfig) -> None:
    key = Path(str(config.tls_key))
    for mode in (0o604, 0o620, 0o602):
        key.chmod(mode)
        with pytest.raises(ConfigError, match=f"other users: chmod 600 {key}"):
            certificate_of(config)
    key.chmod(0o640)  # as Debian's ssl-cert has it
    assert certificate_of(config) is not None


def test_what_is_no_pair_is_refused(config: ServerConfig, tmp_path: Path, authority: trustme.CA) -> None:
    cert, key = Path(str(config.tls_cert)), Path(str(config.tls_key))
    good_cert, good_key = cert.read_bytes(), key.read_bytes()
    (tmp_path / "other").mkdir()
    other = Path(pair(tmp_path / "other", authority)[1]).read_bytes()
    sealed = subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:abcdef"], capture_output=True, check=True
    ).stdout
    for new_cert, new_key, said in (
        (good_cert, other, "is not the key of"),
        (good_cert, b"nothing", "both are to be PEM"),
        (good_cert, sealed, "has a passphrase"),
        (b"nothing", good_key, "is no certificate in PEM"),
        (good_key, good_key, "is no certificate in PEM"),
    ):
        cert.write_bytes(new_cert)
        key.write_bytes(new_key)
        with pytest.raises(ConfigError, match=said):
            certificate_of(config)
    key.unlink()
    with pytest.raises(ConfigError, match=f"server.tls_key={key}: No such file"):
        certificate_of(config)
    with pytest.raises(ConfigError, match="belong together"):
        certificate_of(replace(config, tls_key=None))
