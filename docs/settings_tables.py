"""Write the tables of docs/configuration.md from the dataclasses and conf/: ``python docs/settings_tables.py``."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from schwabot.config import SOURCES, InstrumentConfig, RunConfig, conf_dir, register
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.tensors.device import DeviceConfig
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.store import StoreConfig
from schwabot.ticks.synthetic import SyntheticConfig
from schwabot.ticks.table import TableConfig
from schwabot.ticks.validate import BadInputPolicy

PAGE = Path(__file__).with_name("configuration.md")
BEGIN, END = "<!-- tables: python docs/settings_tables.py -->", "<!-- end of tables -->"
WHERE_DESCRIBED = {
    SOURCES["synthetic"]: SyntheticConfig,
    SOURCES["table"]: TableConfig,
    SOURCES["store"]: StoreConfig,
    SOURCES["ccxt"]: CcxtConfig,
    InstrumentConfig: Instrument,
}
REFERENCE = "stream that `basis_bp` is measured against; absent = first spot stream by name, else first"


def meanings(schema: type) -> dict[str, str]:
    """What the docstring says about each field."""
    text = inspect.getdoc(WHERE_DESCRIBED.get(schema, schema)) or ""
    section = re.search(r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {"reference": REFERENCE}
    for names, said in re.findall(r"^    (\w[\w, ]*): (.*?)(?=^    \w|\Z)", section[1] if section else "", re.M | re.S):
        group = names.split(", ")
        for name in group:
            text = " ".join(said.split()).replace("``", "`")
            found[name] = text if len(group) == 1 else f"({', '.join(group)}) {text}"
    return found


def rows(schema: type, values: dict[str, Any], prefix: str) -> list[str]:
    """Lines of a table; nested dataclasses are left to tables of their own."""
    said = meanings(schema)
    lines = []
    for one in fields(schema):
        value = values.get(one.name)
        if isinstance(value, dict) and value:
            continue
        assert said.get(one.name), f"{schema.__name__}.{one.name} is not described"
        lines.append(f"| `{prefix}{one.name}` | {shown(value)} | {said[one.name]} |")
    return lines


def shown(value: Any) -> str:
    """A default as one would type it."""
    if value == "???":
        return "must be given"
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, list):
        return f"`[{', '.join(shown(one).strip('`') for one in value)}]`"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def table(title: str, schema: type, values: dict[str, Any], prefix: str) -> list[str]:
    """A heading and a table."""
    return [f"### {title}", "", "| setting | default | meaning |", "|---|---|---|", *rows(schema, values, prefix), ""]


def tables() -> str:
    """All tables."""
    register()
    config = {}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for name in SOURCES:
            config[name] = OmegaConf.to_container(compose("config", overrides=[f"source={name}"]))
    base: Any = config["synthetic"]
    top = {name: base[name] for name in ("mode", "checkpoint", "batch_events", "profile", "reload")}
    said = meanings(RunConfig)
    lines = ["### The run", "", "| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {shown(value)} | {said[name]} |" for name, value in top.items()] + [""]
    lines += table("Device", DeviceConfig, base["device"] | {"index": 0}, "device.")
    for name, schema in SOURCES.items():
        source: Any = config[name]["source"]  # type: ignore[index, call-overload]
        lines += table(f"source={name}", schema, source, "source.")
        if name == "table":
            lines += table("Columns of a table", ColumnMap, source["columns"], "source.columns.")
    policy: Any = config["capture"]["source"]["policy"]  # type: ignore[index, call-overload]
    lines += table("Bad input (capture and table)", BadInputPolicy, policy, "source.policy.")
    for part in fields(ModulesConfig):
        schema = type(getattr(ModulesConfig(), part.name))
        title = schema.__name__.removesuffix("Config")
        lines += table(title, schema, base["modules"][part.name], f"modules.{part.name}.")
    for name, title in (
        ("latency", "Venue clocks"),
        ("skill", "Skill"),
        ("sinks", "Sinks"),
        ("logs", "Log"),
        ("notify", "Alerts"),
        ("server", "Dashboard and HTTP API"),
        ("convert", "Convert"),
        ("leadlag", "Lead-lag"),
        ("fit", "Fit"),
        ("policy", "Policy"),
        ("simulation", "Simulated exchange"),
        ("sweep", "Sweep"),
        ("cluster", "Cluster"),
        ("record", "Record"),
        ("live", "Live runs"),
        ("fallback", "Fallbacks"),
        ("execution", "Orders to venues"),
        ("execution.risk", "Risk limits"),
        ("execution.gateway", "How orders travel"),
    ):
        schema, values = RunConfig, base
        for part in name.split("."):
            schema, values = type(getattr(schema(), part)), values[part]
        assert is_dataclass(schema)
        lines += table(title, schema, values, f"{name}.")
    required = dict.fromkeys(("stream", "tick_size", "lot_size", "maker_fee_bp", "taker_fee_bp"), "???")
    known = {one.name: one.default for one in fields(InstrumentConfig)}
    lines += table("Instruments", InstrumentConfig, known | required, "instruments.NAME.")
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """The page with its tables renewed."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
