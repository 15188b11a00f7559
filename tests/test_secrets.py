"""Secrets stay where they are: what reads them, what refuses them, what blanks them."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from schwabot.errors import ConfigError
from schwabot.run import main
from schwabot.secrets import (
    ScrubFilter,
    Secret,
    learn_environment,
    need,
    refuse_secret,
    revealed,
    scrub,
    secret,
    venue_credentials,
)

VALUE = "c4n4ry/of+one=test"


def test_nothing_shows_a_secret() -> None:
    one = Secret(VALUE, "KRAKEN_SECRET")
    for shown in (repr(one), str(one), f"{one:>40}", format(one), repr({"a": [one]}), str(copy.deepcopy(one))):
        assert VALUE not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(one)
    assert (one == Secret(VALUE), one == Secret("another one"), one == VALUE) == (True, False, False)
    assert revealed({"secret": one}) == {"secret": VALUE}


@pytest.mark.parametrize("text", [VALUE, "c4n4ry%2Fof%2Bone%3Dtest", "c4n4ry/of%2Bone%3Dtest"])
def test_a_known_secret_is_blanked_as_it_stands_in_text_and_in_addresses(text: str) -> None:
    Secret(VALUE)
    assert scrub(f"GET https://x/?key={text}&n=1: refused") == "GET https://x/?key=***&n=1: refused"


def test_every_line_of_a_key_file_is_blanked() -> None:
    begin, end = (f"-----{one} EC {'PRIVATE'} KEY-----" for one in ("BEGIN", "END"))  # in parts, for the scanners
    pem = f"{begin}\\nMHcCAQEEIOneLine\\nsecondLine8==\\n{end}"
    found = secret("COINBASE_SECRET", {"COINBASE_SECRET": pem})
    assert found is not None
    assert found.reveal().splitlines()[1] == "MHcCAQEEIOneLine"
    assert scrub(f"{found.reveal()} {found.reveal()!r} MHcCAQEEIOneLine").count("OneLine") == 0
    assert "secondLine8" not in scrub(repr(found.reveal()))


@pytest.mark.parametrize("between", [r"\n", "\n", ""])
def test_a_key_in_the_environment_is_blanked_before_it_is_read(between: str) -> None:
    begin, end = (f"-----{one} EC {'PRIVATE'} KEY-----" for one in ("BEGIN", "END"))
    line = f"unread{len(between)}MHcCAQEE"
    learn_environment({"COINBASE_SECRET": between.join((begin, line, end))})
    assert line not in scrub(f"{between.join((begin, line, end))} {line if between else ''}")
    assert scrub(begin) == begin


def test_a_short_word_is_no_secret_to_look_for() -> None:
    Secret("BTC")
    assert scrub("BTC/USDT") == "BTC/USDT"


def test_files_hold_secrets_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "empty").write_text("\n")
    found = secret("K_API_KEY", {"K_API_KEY_FILE": str(tmp_path / "key")})
    assert found is not None
    assert found.reveal() == "from-a-file"
    for environment, said in (
        ({"K_FILE": str(tmp_path / "key"), "K": "also-here"}, "both K and K_FILE are set"),
        ({"K_FILE": str(tmp_path / "none")}, "No such file"),
        ({"K_FILE": str(tmp_path / "empty")}, "is empty"),
    ):
        with pytest.raises(ConfigError, match=said) as refused:
            secret("K", environment)
        assert "also-here" not in str(refused.value)


def test_a_missing_one_is_named_and_no_other_is_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        venue_credentials("binance", environment={"BINANCE_API_KEY": VALUE})
    assert "binance needs BINANCE_SECRET: set it in the environment" in str(refused.value)
    assert VALUE not in str(refused.value)
    with pytest.raises(ConfigError, match="okx needs OKX_API_KEY and OKX_SECRET and OKX_PASSWORD: set them"):
        venue_credentials("okx", ("apiKey", "secret", "password"), {})
    with pytest.raises(ConfigError, match="no keyring is installed here"):
        need({"A": None}, "it")


def test_futures_share_the_account_of_their_venue() -> None:
    spot = {f"BINANCE_{name}": "of the spot account" for name in ("API_KEY", "SECRET")}
    own = {f"BINANCEUSDM_{name}": "of its own" for name in ("API_KEY", "SECRET")}
    for environment, values in ((spot, "of the spot account"), (spot | own, "of its own")):
        found = revealed(venue_credentials("binanceusdm", environment=environment))
        assert list(found.values()) == [values] * 2
    with pytest.raises(ConfigError, match="binancecoinm needs BINANCECOINM_API_KEY"):
        venue_credentials("binancecoinm", environment={})
    with pytest.raises(ConfigError, match="KRAKENFUTURES_API_KEY"):
        venue_credentials("krakenfutures", environment={"KRAKEN_API_KEY": "another venue's"})


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("live.binance.apiKey", "BINANCE_API_KEY"),
        ("venues.coinbase.api_secret", "COINBASE_SECRET"),
        ("source.okx.password", "OKX_PASSWORD"),
        ("api_key", "VENUE_API_KEY"),
        ("notify.slack_webhook_url", "SLACK_WEBHOOK_URL"),
        ("notify.telegram.bot_token", "TELEGRAM_BOT_TOKEN"),
        ("email_password", "EMAIL_PASSWORD"),
    ],
)
def test_settings_that_ask_for_a_secret_say_where_it_belongs(name: str, variable: str) -> None:
    with pytest.raises(ConfigError, match=f"set {variable} in the environment"):
        refuse_secret(name)


@pytest.mark.parametrize("name", ["modules.hash_registry.bits", "policy.key_bits", "source.tokens", "secretary.name"])
def test_other_names_are_settings(name: str) -> None:
    refuse_secret(name)


@pytest.mark.parametrize(
    "given", ["+binance.api_key=", "binance.secret=", "++policy.parameters.api_key=", "slack_webhook_url="]
)
def test_a_secret_on_the_command_line_is_refused(given: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([given + VALUE])
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert "secrets are no settings" in said.err
    assert VALUE not in said.out + said.err


def test_a_secret_in_a_settings_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\npolicy:\n  parameters:\n    api_secret: {VALUE}\n"
    )
    with pytest.raises(SystemExit):
        main([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", f"hydra.run.dir={tmp_path / 'r'}"])
    said = capfd.readouterr()
    assert "policy.parameters.api_secret: secrets are no settings" in said.err
    assert VALUE not in said.out + said.err


def test_log_lines_are_blanked(capfd: pytest.CaptureFixture[str]) -> None:
    Secret(VALUE)
    log, handler = logging.getLogger("schwabot.test_secrets"), logging.StreamHandler()
    handler.addFilter(ScrubFilter())
    log.addHandler(handler)
    try:
        try:
            raise ValueError(f"refused {VALUE}")
        except ValueError:
            log.exception("key %s", VALUE)
    finally:
        log.removeHandler(handler)
    said = capfd.readouterr().err
    assert "key ***" in said
    assert "ValueError: refused ***" in said
    assert VALUE not in said


def test_an_uncaught_error_and_a_line_that_nobody_takes_are_blanked() -> None:
    code = f"""
import logging, os
os.environ["KRAKEN_SECRET"] = {VALUE!r}
from schwabot.secrets import guard_process
guard_process()
logging.getLogger("x").warning("log of %s", {VALUE!r})
raise RuntimeError("refused " + {VALUE!r})
"""
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert "log of ***" in done.stderr
    assert done.stderr.rstrip().endswith("RuntimeError: refused ***")
    assert VALUE not in done.stderr
