"""Settings: every file composes, every mistake is refused with the valid choices, secrets stay out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from schwabot.cluster.settings import ClusterConfig
from schwabot.compose import explain, mask_secrets, normalise_arguments, to_settings
from schwabot.config import (
    SOURCES,
    ConvertConfig,
    InstrumentConfig,
    RunConfig,
    conf_dir,
    register,
    to_instruments,
)
from schwabot.errors import ConfigError
from schwabot.modules.settings import ModulesConfig
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.sinks.settings import SinksConfig
from schwabot.ticks.files import find_files
from schwabot.ticks.venue_clock import VenueClockConfig
from schwabot.training.fit_settings import FitConfig
from schwabot.training.skill import SkillConfig

FILES = sorted(path.relative_to(conf_dir()) for path in conf_dir().rglob("*.yaml"))
NEEDED = {"capture": ["source.glob=x"], "ccxt": ["source.streams=['x:A/B']"]}
GROUP_FILES = [path for path in FILES if path.parent != Path()]


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def settings(*overrides: str) -> RunConfig:
    try:
        return to_settings(compose("config", normalise_arguments(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from error


def test_defaults_are_the_dataclasses_defaults() -> None:
    default = settings()
    assert default.mode == "replay"
    assert default.modules == ModulesConfig()
    assert default.sinks == SinksConfig()
    assert default.skill == SkillConfig()
    assert default.latency == VenueClockConfig()
    assert default.convert == ConvertConfig()
    assert default.fit == FitConfig()
    assert default.source == SOURCES["synthetic"]()


@pytest.mark.parametrize("path", GROUP_FILES, ids=str)
def test_every_file_composes(path: Path) -> None:
    group, option = str(path.parent), path.stem
    more = NEEDED.get(option, []) if group == "source" else []
    more += ["mode=sweep"] if group == "cluster" else []
    composed = settings(f"{group}={option}", *more)
    if group == "experiment":
        assert composed != settings()
    if group.startswith("modules/"):
        part = getattr(composed.modules, group.removeprefix("modules/"))
        written = OmegaConf.load(conf_dir() / path)
        inherited = set() if "defaults" not in written else {one.name for one in fields(part)}
        # a file shows every setting there is, so that it can be read instead of the code
        assert (set(map(str, written)) | inherited) - {"defaults"} == {one.name for one in fields(part)}


@pytest.mark.parametrize("name", SOURCES)
def test_source_files_show_every_setting(name: str) -> None:
    schema = SOURCES[name]
    assert is_dataclass(schema)
    written = OmegaConf.load(conf_dir() / "source" / f"{name}.yaml")
    assert set(map(str, written)) - {"defaults"} == {one.name for one in fields(schema)}
    given = {"capture": {"glob": "x"}, "ccxt": {"streams": ["x:A/B"]}}.get(name, {})
    assert settings(f"source={name}", *NEEDED.get(name, [])).source == schema(**given)


@pytest.mark.parametrize("spelling", ["+device=cuda", "device=cuda", "++device=cuda"])
def test_device_spellings(spelling: str) -> None:
    assert settings(spelling).device.kind == "cuda"
    assert settings(spelling, "device.required=true").device.required
    assert settings(spelling.replace("cuda", "cpu")).device.kind == "cpu"
    assert settings().device.kind == "auto"


def test_multirun_flag_may_stand_anywhere() -> None:
    assert normalise_arguments(["source.events=1", "-m", "device=cpu,cuda"]) == [
        "-m", "source.events=1", "+device=cpu,cuda",
    ]  # fmt: skip


REFUSED = {
    "modules.tensor_harness.tau_phas_s=3": "did you mean tau_phase_s?",
    "+modules.tensor_harness.foo=3": "settings of modules.tensor_harness: critical_at",
    "+modules.tensor_harness.tau_phas_s=3": "did you mean tau_phase_s?",
    "+surce=synthetic": "surce",
    "events=5": "events: there is no such setting, did you mean source.events or live.events?",
    "+events=5": "did you mean source.events or live.events?",
    "latency_ms=5": "did you mean modules.phantom_lag.latency_ms?",
    "modules.tau_phase_s=5": "did you mean modules.tensor_harness.tau_phase_s?",
    "tick_size=1": "did you mean source.tick_size or instruments.NAME.tick_size?",
    "source.glob=x": "source.glob is a setting of source=capture or table: add that",
    "tick=1": "source.tick is a setting of source=table: add that",
    "source.delay_ms=5": "source.delay_ms: a list is wanted, e.g. 'source.delay_ms=[15.0,5.0,40.0,25.0]'",
    "source.stamped_quotes=true": "e.g. 'source.stamped_quotes=[false,true,true,true]'",
    "instruments.binance_spot_btc=[1]": "instruments.binance_spot_btc: holds several settings, set one of them: instr",
    "instruments.sol={stream: a:B/C}": "add a new one with '+instruments.sol=...'; settings of instruments: binance",
    "latency=5": "latency: holds several settings, set one of them: latency.min_transport_ns=..., latency.window_s=",
    "source.events=1e6": "of type 'float' could not be converted to Integer, write 1000000",
    "source=5": "source=5 is not a choice; use capture",
    "modules=5": "modules is no group to choose from; groups: source",
    "convert.out=x": "convert.out=x does nothing in mode=replay: add mode=convert",
    "latency.window_s=nan": "latency.window_s=nan is out of range",
    "latency.window_s=0.1": "latency.window_s=0.1: must hold two buckets",
    "latency.min_transport_ns=-5": "latency.min_transport_ns=-5 is out of range",
    "events": "write name=value",
    "sorce=capture": "did you mean source?",
    "source=captur": "did you mean capture?; use capture, ccxt, store, synthetic or table",
    "device=gpu": "use auto, cpu or cuda",
    "modules/ghost_bridge=kalmann": "did you mean kalman?",
    "source.events=abc": "source.events: Value 'abc' of type 'str' could not be converted to Integer",
    "device.required=perhaps": "device.required",
    "modules.tensor_harness.tau_phase_s=-1": "out of range: use 0.001 to",
    "modules.tensor_harness.tau_phase_s=nan": "out of range",
    "modules.hash_registry.bits=5": "use one of 4, 8, 16, 32, 42",
    "batch_events=0": "use 1 to",
    "mode=replya": "did you mean replay?; use replay, convert",
    "mode=live": "mode=live trades nothing by default: add policy.name=threshold",
    "mode=convert": "convert.out=DIR",
    "+device=cuda:1": "did you mean cuda and device.index=1?",
    "device.index=one": "device.index: Value 'one' of type 'str' could not be converted to Integer; use a whole number",
    "device.required=maybe": "use true or false",
    "convert.existing=maybe": "use new, overwrite or append",
    "sinks.signals=every_0": "use auto, all, off, every_n",
    "sinks.tensorboard_points=1": "use 10 to",
    "source=capture": "source.glob has no value: add source.glob=",
    "instruments.binance_spot_btc.tick_size=0": "instruments.binance_spot_btc.tick_size=0.0 of binance:BTC/USDT",
    "instruments.binance_spot_btc.tick_siz=1": "did you mean tick_size?",
    "instruments.binance_spot_btc.tick_size=tiny": "instruments.binance_spot_btc.tick_size",
    "+instruments.mine=3": "use {stream: VENUE:BASE/QUOTE",
    "+instruments.mine={stream: nocolon, tick_size: 1, lot_size: 1, maker_fee_bp: 1, taker_fee_bp: 2}": (
        "venue:BASE/QUOTE"
    ),
    "+instruments.mine={stream: 'a:B/C', lot_size: 1}": "tick_size has no value",
    "+instruments.mine={stream: 'a:B/C', tick_size: 1, lot_size: 1, maker_fee_bp: 2}": (
        "instruments.mine.taker_fee_bp has no value: add taker_fee_bp=...; state maker_fee_bp and taker_fee_bp in bp"
    ),
    "+instruments.mine={stream: 'a:B/C', tick_size: 1, lot_size: 1}": (
        "instruments.mine.maker_fee_bp has no value: add maker_fee_bp=...; state maker_fee_bp and taker_fee_bp in bp"
    ),
    "+instruments.mine={stream: 'a:B/C', tick_size: 1, lot_size: 1, maker_fee_bp: 2, taker_fee_bp: null}": (
        "instruments.mine.taker_fee_bp"
    ),
    "modules.ghost_bridge.kalman_r_by_stream_bp2={a\\:B/C: 1}": "add a new one with '+modules",
    "+modules.ghost_bridge.kalman_r_by_stream_bp2={a\\:B/C: -1}": "kalman_r_by_stream_bp2[a:B/C]=-1.0 is out of range",
    "+modules.ghost_bridge.kalman_r_by_stream_bp2={a\\:B/C: abc}": "bp2.a:B/C: Value 'abc' of type 'str' could not be",
    "+modules.ghost_bridge.kalman_r_by_stream_bp2={a\\:B/C: null}": "kalman_r_by_stream_bp2.a:B/C",
    "+modules.ghost_bridge.kalman_r_by_stream_bp2={a:B/C: 1}": "a colon that belongs to a name is written \\:",
    "+modules.ghost_bridge.kalman_r_by_stream_bp2={1: 1}": "Key 1 (int) is incompatible with (str)",
    "live.seconds=0": "live.seconds=0.0 is out of range: use more than 0, or leave it out",
    "live.loopback_port=0": "use 1 to 65535",
    "source.events=[1": "input '[1'",
    "source.glob=venue=binance/*.csv": "can't read input '=': put a value with",
    "source.glob=(a)": "can't read source.glob=(a): put a value with = ; | ( {",
    "source.latency={'h*': 1}": "names within braces stand without quotes",
}


@pytest.mark.parametrize("override", REFUSED)
def test_mistakes_are_refused_with_the_choices(override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(override)
    assert REFUSED[override] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_ranges_of_a_sweep_on_the_command_line() -> None:
    whole = settings("mode=sweep", "sweep.over={enter_bp: [0.1, 2], simulation.entry_ms: {choices: [1, 5]}}").sweep.over
    assert whole == {"enter_bp": [0.1, 2], "simulation.entry_ms": {"choices": [1, 5]}}
    parts = settings("mode=sweep", "sweep.over.enter_bp=[0.1,2]", "+sweep.over.simulation.entry_ms=[0,5]").sweep.over
    assert parts == {"enter_bp": [0.1, 2], "simulation": {"entry_ms": [0, 5]}}
    assert settings().sweep == SweepConfig()


def test_converting_needs_no_gpu() -> None:
    asked = ("mode=convert", "convert.out=x", "+device=cuda")
    assert settings(*asked).device.kind == "cuda"
    with pytest.raises(ConfigError, match="nothing of mode=convert runs on a GPU"):
        settings(*asked, "device.required=true")


def test_clusters() -> None:
    assert settings().cluster == ClusterConfig()
    assert settings("mode=sweep", "cluster=local").cluster == ClusterConfig()
    assert settings("mode=sweep", "+cluster=ray").cluster == ClusterConfig(kind="ray")
    address = settings("mode=sweep", "cluster=ray", "cluster.address=10.0.0.1:6379").cluster.address
    assert address == "10.0.0.1:6379"
    for wrong, said in {
        "cluster=ray": "cluster=ray does nothing in mode=replay: add mode=sweep",
        "cluster=rays": "cluster=rays is not a choice, did you mean ray?",
        "cluster.kind=slurm": "cluster.kind=slurm is not a choice; use local or ray",
        "cluster.shards_per_worker=0": "cluster.shards_per_worker=0 is out of range: use 1 to 1024",
        "cluster.namespace=''": "cluster.namespace is empty",
    }.items():
        with pytest.raises(ConfigError, match=said):
            settings(wrong)
    with pytest.raises(ConfigError, match=r"cluster\.num_cpus=2 is of a cluster that the run starts"):
        settings("mode=sweep", "cluster=ray", "cluster.address=auto", "cluster.num_cpus=2")


def test_profile_is_refused_where_it_would_trace_nothing() -> None:
    for mode in ("replay", "backtest", "sweep"):
        assert settings(f"mode={mode}", "profile=true").profile
    for mode in ("leadlag", "fit"):
        with pytest.raises(ConfigError, match=f"profile=true does nothing in mode={mode}: it traces mode=replay, "):
            settings(f"mode={mode}", "profile=true")
    with pytest.raises(ConfigError, match=r"profile=true sees this process alone: leave cluster=ray out"):
        settings("mode=sweep", "cluster=ray", "profile=true")


def test_policy_of_bad_input() -> None:
    policy = settings("source=capture", "source.glob=x", "source.policy.gap=drop").source.policy
    assert (policy.gap, policy.malformed) == ("drop", "error")
    with pytest.raises(ConfigError, match=r"source\.policy\.gap=ignore: use error or drop"):
        settings("source=capture", "source.glob=x", "source.policy.gap=ignore")
    with pytest.raises(ConfigError, match="did you mean gap"):
        settings("source=capture", "source.glob=x", "source.policy.gaps=drop")


def test_known_instruments() -> None:
    known = to_instruments(settings().instruments)
    facts = {stream: (i.tick_size, i.lot_size, i.contract_value, i.inverse, i.delivers) for stream, i in known.items()}
    assert facts == {
        "binance:BTC/USDT": (0.01, 1e-5, 1.0, False, "BTC"),
        "binance:ETH/USDT": (0.01, 1e-4, 1.0, False, "ETH"),
        "binanceusdm:BTC/USDT:USDT": (0.1, 1e-3, 1.0, False, "binanceusdm:BTC/USDT:USDT"),
        "binanceusdm:ETH/USDT:USDT": (0.01, 1e-3, 1.0, False, "binanceusdm:ETH/USDT:USDT"),
        "binancecoinm:BTC/USD:BTC": (0.1, 1.0, 100.0, True, "binancecoinm:BTC/USD:BTC"),
        "binancecoinm:ETH/USD:ETH": (0.01, 1.0, 10.0, True, "binancecoinm:ETH/USD:ETH"),
    }


def test_own_instrument_from_the_command_line() -> None:
    facts = "tick_size: 0.1, lot_size: 2, maker_fee_bp: 0, taker_fee_bp: 4"
    mine = settings(f"+instruments.mine={{stream: 'x:Y/Z', {facts}}}").instruments["mine"]
    assert mine == InstrumentConfig("x:Y/Z", tick_size=0.1, lot_size=2.0, maker_fee_bp=0.0, taker_fee_bp=4.0)
    table = settings(f"+instruments.mine={{stream: 'table:btc', {facts}}}").instruments["mine"]
    assert table.stream == "table:btc"
    with pytest.raises(ConfigError, match="both describe binance:BTC/USDT"):
        to_instruments({**settings().instruments, "b": InstrumentConfig("binance:BTC/USDT", 1.0, 1.0)})


def test_files_of_patterns(tmp_path: Path) -> None:
    for name in ("b.gz", "a.gz", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(f"{tmp_path}/*.gz")] == ["a.gz", "b.gz"]
    assert [path.name for path in find_files([f"{tmp_path}/*", f"{tmp_path}/a.gz"])] == ["a.gz", "b.gz", "c.txt"]
    with pytest.raises(ConfigError, match=r"no file matches, seen from"):
        find_files(f"{tmp_path}/*.csv")
    with pytest.raises(ConfigError, match=r"is a folder: name its files, e\.g\. 'source\.glob="):
        find_files(str(tmp_path))
    for nonsense in (3, [], [3], "", None):
        with pytest.raises(ConfigError, match="file pattern or a list"):
            find_files(nonsense)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.gz").touch(mode=0)
    with pytest.raises(ConfigError, match=r"a\.gz: permission denied"):
        find_files(f"{tmp_path}/*.gz")


@pytest.mark.parametrize("name", ["apiKey", "API_SECRET", "password", "bot-token", "private_key"])
def test_secrets_are_masked(name: str) -> None:
    tree: dict[str, Any] = {"venues": [{"name": "x", name: "hunter2"}], name: {"inner": "hunter2"}, "other": None}
    assert mask_secrets(tree) == {"venues": [{"name": "x", name: "***"}], name: "***", "other": None}
    assert "hunter2" in str(tree)  # the original is left alone
