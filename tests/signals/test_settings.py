"""What is typed: policy=NAME, its parameters, what it trades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from schwabot.compose import explain, normalise_arguments, to_settings
from schwabot.config import conf_dir, register
from schwabot.errors import ConfigError
from schwabot.signals.compiling import compile_policy
from schwabot.signals.loading import load_policy
from schwabot.signals.settings import PolicyConfig


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def typed(*arguments: str) -> PolicyConfig:
    try:
        return to_settings(compose("config", normalise_arguments(["mode=backtest", *arguments]))).policy
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from error


PERP = "binanceusdm:BTC/USDT:USDT"


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["policy=threshold"], "name", "threshold"),
        (["+policy=threshold"], "name", "threshold"),
        (["++policy=my_module:my_policy"], "name", "my_module:my_policy"),
        (["policy=my folder/my file.py:it's"], "name", "my folder/my file.py:it's"),
        (["policy.name=a:b"], "name", "a:b"),
        (["policy=1"], "name", "1"),
        (["policy=null"], "name", "threshold"),
        (["policy.enter_bp=1.5"], "name", "threshold"),
        (["policy=x", "policy.enter_bp=1.5"], "parameters", {"enter_bp": 1.5}),
        (["policy=x", "+policy.enter_bp=1.5", "policy.lots=2"], "parameters", {"enter_bp": 1.5, "lots": 2}),
        (["policy=x", "policy.parameters.on=true"], "parameters", {"on": True}),
        (["policy=x", "policy.parameters={a: 1, b: 2.5}"], "parameters", {"a": 1, "b": 2.5}),
        (["policy=x", "policy.leader_move_bp.tau_ms=50"], "parameters", {"leader_move_bp": {"tau_ms": 50}}),
        (["policy=x", f"policy.trade=[{PERP}]"], "trade", [PERP]),
        (["policy=x", f"policy.trade={PERP}"], "trade", [PERP]),
        (["policy=x", f"policy.trade=['{PERP}','a:B/C']"], "trade", [PERP, "a:B/C"]),
        (["policy=x", f"policy.trade={PERP},a:B/C"], "trade", [PERP, "a:B/C"]),
        (["policy=x", f"policy.leader={PERP}"], "leader", PERP),
        (["policy=x", "policy.signals=a:b"], "signals", ["a:b"]),
    ],
)
def test_typed(arguments: list[str], name: str, value: Any) -> None:
    assert getattr(typed(*arguments), name) == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["policy="], "policy= is empty"),
        (["policy.enter_bp=1.5", "mode=replay"], "policy.enter_bp=1.5 does nothing without a policy: add policy=NAME"),
        (["policy=x", "policy.trade=[BTC]"], "BTC is not of the form venue:BASE/QUOTE"),
        (["policy=x", f"policy.trade=[{PERP},{PERP}]"], "twice"),
        (["policy=x", "policy.signals=[a]"], "not of the form my_module:my_signal"),
        (["policy=x", "mode=replay"], "does nothing in mode=replay: add mode=backtest"),
    ],
)
def test_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        typed(*arguments)
    assert words in str(caught.value)


def test_a_misspelt_setting_of_the_policy_is_told_the_closest() -> None:
    given = typed("policy=threshold", "policy.trde=[a:B/C]", "policy.enter=1").parameters
    policy = compile_policy(load_policy("threshold"))
    with pytest.raises(ConfigError, match="no parameter trde, did you mean trade"):
        policy.values({"trde": given["trde"]})
    with pytest.raises(ConfigError, match="no parameter enter, did you mean enter_bp"):
        policy.values({"enter": given["enter"]})


def test_several_policies_are_runs_of_their_own() -> None:
    assert normalise_arguments(["policy=threshold,mean_reversion", "policy.enter_bp=1,2", "-m"]) == [
        "-m",
        "policy.name='threshold','mean_reversion'",
        "++policy.parameters.enter_bp=1,2",
    ]
