"""Settings of a run: dataclasses for Hydra, and errors a person can act on.

The dataclasses of the parts sit beside the parts; here they are joined to one tree and registered with Hydra,
so that every value under conf/ and on the command line is checked against its type. YAML holds values only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ReadonlyConfigError,
    ValidationError,
)

from schwabot.errors import ConfigError
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.sinks.settings import SinksConfig
from schwabot.tensors.device import DeviceConfig
from schwabot.ticks.store import StoreConfig
from schwabot.ticks.synthetic import SyntheticConfig
from schwabot.ticks.table import TableConfig
from schwabot.ticks.validate import BadInputPolicy
from schwabot.ticks.venue_clock import VenueClockConfig
from schwabot.training.skill import SkillConfig

MODES = ("replay", "convert")
PLANNED_MODES = ("leadlag", "fit", "backtest", "sweep", "record", "paper", "live", "serve")
GROUPS = (
    "source", "instruments", "sinks", "experiment", "modules/tensor_harness", "modules/ghost_bridge",
    "modules/hash_registry", "modules/phantom_lag", "modules/voltage_lanes",
)  # fmt: skip
SECRET = re.compile(r"key|secret|passw|token", re.IGNORECASE)
MASK = "***"
FEES = ("maker_fee_bp", "taker_fee_bp")
STATE_FEES = f"; state {' and '.join(FEES)} in bp of the notional (10 is 0.1 %), 0 only where the venue charges nothing"
_UNREADABLE = re.compile("LexerNoViableAlt|token recognition error|no viable alternative|(extraneous|mismatched) input")


@dataclass
class InstrumentConfig:
    """One entry of conf/instruments; see ``schwabot.records.instrument.Instrument``."""

    stream: str = MISSING
    tick_size: float = MISSING
    lot_size: float = MISSING
    contract_value: float = 1.0
    inverse: bool = False
    maker_fee_bp: float = MISSING  # no default: a fee of 0 that nobody stated makes every trade look cheaper than it is
    taker_fee_bp: float = MISSING

    def check(self, where: str = "instruments.NAME") -> None:
        """Raise ConfigError when a value is out of range."""
        venue, colon, symbol = self.stream.partition(":")
        if not (venue and colon and ("/" in symbol or (venue == "table" and symbol))):
            raise ConfigError(
                f"{where}.stream={self.stream} is not of the form venue:BASE/QUOTE (or table:FILE, for a table's file)"
            )
        for name in ("tick_size", "lot_size", "contract_value"):
            if not 0.0 < getattr(self, name) < 1e12:
                raise ConfigError(f"{where}.{name}={getattr(self, name)} of {self.stream}: use more than 0")
        for name in FEES:
            if not -100.0 <= getattr(self, name) <= 1000.0:
                raise ConfigError(f"{where}.{name}={getattr(self, name)} of {self.stream}: use -100 to 1000")


@dataclass
class CaptureSource:
    """Raw exchange recordings.

    Attributes:
        glob: which files; one pattern or a list of them, relative to the current folder.
        depth_levels: levels of the rebuilt book to keep at each depth update, 0 to 5.
        streams: streams to expect; empty = those in the first ``scan_lines`` lines of each file.
        scan_lines: how far to look for streams.
        policy: what to do with bad input.
        reference: stream that ``basis_bp`` is measured against; absent = first spot stream by name, else first.
    """

    glob: Any = MISSING
    depth_levels: int = 0
    streams: list[str] = field(default_factory=list)
    scan_lines: int = 5_000
    policy: BadInputPolicy = field(default_factory=BadInputPolicy)
    reference: str | None = None

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if not 0 <= self.depth_levels <= 5:
            raise ConfigError(f"source.depth_levels={self.depth_levels} is out of range: use 0 to 5")
        if self.scan_lines < 1:
            raise ConfigError(f"source.scan_lines={self.scan_lines} is out of range: use 1 or more")


@dataclass
class SyntheticSource(SyntheticConfig):
    """A market with known ground truth; ``reference`` as in ``CaptureSource``."""

    reference: str | None = None


@dataclass
class TableSource(TableConfig):
    """CSV or Parquet with a column mapping; ``reference`` as in ``CaptureSource``."""

    reference: str | None = None


@dataclass
class StoreSource(StoreConfig):
    """A partitioned Parquet store; ``reference`` as in ``CaptureSource``."""

    reference: str | None = None


@dataclass
class ConvertConfig:
    """mode=convert: any source to a partitioned Parquet store.

    Attributes:
        out: folder of the store.
        existing: what to do with a store that is there: new (refuse), overwrite or append.
        compression: zstd, lz4, snappy or none.
        rows_per_group: rows of a Parquet row group, which is what each stream holds in memory.
    """

    out: str | None = None
    existing: str = "new"
    compression: str = "zstd"
    rows_per_group: int = 131_072

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, choices in (
            ("existing", ("new", "overwrite", "append")),
            ("compression", ("zstd", "lz4", "snappy", "none")),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"convert.{name}={value} is not a choice; use {_either(choices)}")
        if not 1 <= self.rows_per_group <= 1 << 24:
            raise ConfigError(f"convert.rows_per_group={self.rows_per_group} is out of range: use 1 to {1 << 24}")


@dataclass
class RunConfig:
    """Everything a run can be told.

    Attributes:
        mode: what to do.
        batch_events: events per batch; changes memory and speed, never a result.
        source: where ticks come from; its type depends on ``source=...``.
        latency: venue clocks and feed delays.
        instruments: what is known about each stream: any name → ``InstrumentConfig``.
        skill: how the ghost price is scored.
    """

    mode: str = "replay"
    batch_events: int = 65_536
    source: Any = MISSING
    device: DeviceConfig = field(default_factory=DeviceConfig)
    modules: ModulesConfig = field(default_factory=ModulesConfig)
    latency: VenueClockConfig = field(default_factory=VenueClockConfig)
    instruments: dict[str, Any] = field(default_factory=dict)
    skill: SkillConfig = field(default_factory=SkillConfig)
    sinks: SinksConfig = field(default_factory=SinksConfig)
    convert: ConvertConfig = field(default_factory=ConvertConfig)

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if self.mode in PLANNED_MODES:
            raise ConfigError(f"mode={self.mode} is not built yet; what exists today: {', '.join(MODES)}")
        if self.mode not in MODES:
            raise ConfigError(f"mode={self.mode} is not a choice{closest(self.mode, MODES)}; use {_either(MODES)}")
        if not 1 <= self.batch_events <= 1 << 24:
            raise ConfigError(f"batch_events={self.batch_events} is out of range: use 1 to {1 << 24}")
        if self.mode == "convert" and not self.convert.out:
            raise ConfigError("mode=convert needs a folder to write to: add convert.out=DIR")
        if self.mode != "convert" and self.convert.out:
            raise ConfigError(f"convert.out={self.convert.out} does nothing in mode={self.mode}: add mode=convert")


SOURCES: dict[str, type] = {
    "synthetic": SyntheticSource,
    "capture": CaptureSource,
    "table": TableSource,
    "store": StoreSource,
}


def conf_dir() -> Path:
    """Folder of the YAML files: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def register() -> None:
    """Make the dataclasses known to Hydra as ``schema`` and ``source_<name>``."""
    store = ConfigStore.instance()
    store.store(name="schema", node=_writable(RunConfig))
    for name, schema in SOURCES.items():
        store.store(name=f"source_{name}", node=_writable(schema))


def _writable(schema: type) -> DictConfig:
    """Structured config of a dataclass; frozen ones too may be filled in from YAML."""
    node = OmegaConf.structured(schema)
    assert isinstance(node, DictConfig)
    _unlock(node)
    return node


def _unlock(node: DictConfig | ListConfig) -> None:
    node._set_flag("readonly", None)
    children = node._content
    for child in children.values() if isinstance(children, dict) else children or ():
        if isinstance(child, DictConfig | ListConfig) and not child._is_none() and not child._is_missing():
            _unlock(child)


def to_settings(config: DictConfig) -> RunConfig:
    """Turn the composed configuration into dataclasses and check every range.

    Raises:
        ConfigError: a value that can't be used, with the valid choices.
    """
    _refuse_extra(config)
    try:
        settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise explain(error) from error
    assert isinstance(settings, RunConfig)
    settings.skill = replace(settings.skill, horizons_ms=tuple(settings.skill.horizons_ms))  # YAML knows lists only
    settings.instruments = {name: _instrument(name, entry) for name, entry in settings.instruments.items()}
    _check(settings)
    return settings


def _instrument(name: str, entry: object) -> InstrumentConfig:
    """One typed entry. Typed here because Hydra can't add ``+instruments.mine={...}`` to a typed dict."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(InstrumentConfig), entry)
        typed = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        hint = STATE_FEES if isinstance(error, MissingMandatoryValue) and error.key in FEES else ""
        raise ConfigError(f"instruments.{name}.{explain(error)}{hint}") from error
    except ValueError as error:
        raise ConfigError(f"instruments.{name}={entry!r}: use {{stream: VENUE:BASE/QUOTE, tick_size: ...}}") from error
    assert isinstance(typed, InstrumentConfig)
    typed.check(f"instruments.{name}")
    return typed


def _refuse_extra(node: DictConfig, where: str = "") -> None:
    """Hydra lets ``+name=value`` add what a dataclass does not have."""
    schema = OmegaConf.get_type(node)
    known = [one.name for one in fields(schema)] if schema is not None and is_dataclass(schema) else None
    for key in map(str, node):
        name = f"{where}{key}"
        if known is not None and key not in known:
            raise _no_such_setting(name, key, known, node._get_root())
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _refuse_extra(child, f"{name}.")


def _check(node: object) -> None:
    if isinstance(node, dict):
        for value in node.values():
            _check(value)
    elif is_dataclass(node):
        check: Callable[[], None] | None = getattr(node, "check", None)
        if check is not None:
            check()
        for name in node.__dataclass_fields__:
            _check(getattr(node, name))


def without_reference(source: SyntheticSource | TableSource | StoreSource) -> Any:
    """The component's own settings in a source's, for its constructor."""
    component = type(source).__mro__[1]
    return component(**{one.name: getattr(source, one.name) for one in fields(component)})


def to_instruments(entries: Mapping[str, InstrumentConfig]) -> dict[str, Instrument]:
    """The instruments of conf/instruments by stream.

    Raises:
        ConfigError: a stream that is described twice.
    """
    found: dict[str, str] = {}
    for name, entry in entries.items():
        if entry.stream in found:
            raise ConfigError(f"instruments.{name} and instruments.{found[entry.stream]} both describe {entry.stream}")
        found[entry.stream] = name
    return {
        entry.stream: Instrument(
            entry.stream,
            tick_size=entry.tick_size,
            lot_size=entry.lot_size,
            contract_value=entry.contract_value,
            inverse=entry.inverse,
            maker_fee_bp=entry.maker_fee_bp,
            taker_fee_bp=entry.taker_fee_bp,
        )
        for entry in entries.values()
    }


def mask_secrets(tree: Any) -> Any:
    """Copy of nested dicts and lists in which what sits under a secret's name is hidden.

    Example:
        >>> mask_secrets({"api_key": "k", "venue": {"Password": "p", "name": "x"}, "token": None})
        {'api_key': '***', 'venue': {'Password': '***', 'name': 'x'}, 'token': None}
    """
    if isinstance(tree, Mapping):
        return {
            key: MASK if SECRET.search(str(key)) and value is not None else mask_secrets(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [mask_secrets(value) for value in tree]
    return tree


def normalise_arguments(arguments: Iterable[str]) -> list[str]:
    """Let ``device=x``, ``+device=x`` and ``++device=x`` mean the same, and so for every group.

    Hydra wants ``+device`` (the default is a plain entry so that this spelling works) and the others bare.

    Example:
        >>> normalise_arguments(["device=cuda", "++device=cpu", "+source=capture", "+source.glob=x"])
        ['+device=cuda', '+device=cpu', 'source=capture', '+source.glob=x']
    """
    out: list[str] = []
    for argument in arguments:
        if argument in ("-m", "--multirun"):
            out.insert(0, argument)  # Hydra's parser wants it before the settings
            continue
        name, equals, value = argument.partition("=")
        bare = name.lstrip("+")
        if equals and bare == "device":
            argument = f"+device={value}"
        elif equals and bare in GROUPS:
            argument = f"{bare}={value}"
        if (
            equals
            and bare in (*GROUPS, "device", "modules")
            and re.fullmatch(r"[-+.\d]+|true|false|null", value, re.IGNORECASE)
        ):
            argument = f"{argument.partition('=')[0]}='{value}'"  # Hydra wants the name of an option to be text
        out.append(argument)
    return out


def explain(error: Exception) -> ConfigError:
    """Say in one paragraph what is wrong with a setting, and what would be right."""
    cause = error.__cause__
    inner = error if isinstance(error, OmegaConfBaseException) else cause
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _explain_option(error)
    if isinstance(inner, ConfigKeyError | ConfigAttributeError):
        return _explain_key(inner)
    if isinstance(inner, MissingMandatoryValue):
        return ConfigError(f"{_dotted(inner.full_key)} has no value: add {_dotted(inner.full_key)}=...")
    if isinstance(inner, ValidationError | ConfigTypeError):
        return _explain_type(inner)
    if isinstance(inner, ReadonlyConfigError):
        return ConfigError(f"{_dotted(inner.full_key)} can't be changed")
    if isinstance(error, HydraException):
        said = " ".join(str(error).split()).partition(" See https://")[0]
        if group := re.match(r"Could not override '(.+?)'\. No match in the defaults list", said):
            return ConfigError(f"{group[1]} is no group to choose from; groups: {', '.join((*GROUPS, 'device'))}")
        said += "; write name=value, see --help" * ("missing EQUAL" in said)
        return _explain_grammar(said) if _UNREADABLE.search(said) else ConfigError(said)
    return ConfigError(_first_line(error))


def _explain_grammar(said: str) -> ConfigError:
    """What Hydra could not take apart; it does not always say which setting that is in."""
    whole = re.search(r"LexerNoViableAltException: (.+?)(?: \^)?$|Error parsing override '(.+)' \w+ input ", said)
    where = (whole[1] or whole[2]) if whole else re.sub(r"^.*?((?:input|at:) '.*?')(?: expecting.*)?$", r"\1", said)
    names = "; names within braces stand without quotes: '+source.streams={h*: \"a:B/C\"}'" * ("{" in where)
    quotes = f"into quotes, within those of the shell, e.g. \"source.delimiter=';'\"{names}"
    return ConfigError(f"can't read {where}: put a value with = ; | ( {{ , or other special characters {quotes}")


def _explain_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or ())
    return ConfigError(f"{group}={option} is not a choice{closest(option, options)}; use {_either(options)}")


def _explain_key(error: OmegaConfBaseException) -> ConfigError:
    parent = error.parent_node
    known = parent if isinstance(parent, DictConfig) else OmegaConf.create()
    names = [str(name) for name in known if name != "hydra"]
    return _no_such_setting(_dotted(error.full_key) or str(error.key), str(error.key), names, known._get_root())


def _explain_type(error: OmegaConfBaseException) -> ConfigError:
    """A value of the wrong type, with one of the right type."""
    name, said = _dotted(error.full_key), _first_line(error)
    parent = error.parent_node
    # A merge that fails names no key: then the setting itself is given.
    of_key = isinstance(parent, DictConfig) and error.key is not None
    node = parent._get_node(error.key) if of_key else parent
    if isinstance(node, ListConfig):
        now = OmegaConf.to_container(node)
        shown = ",".join(str(one).lower() for one in now) if isinstance(now, list) and now else "a,b"
        return ConfigError(f"{name}: a list is wanted, e.g. '{name}=[{shown}]'")
    if isinstance(node, DictConfig):
        names = [f"{name}.{one}=..." for one in map(str, node)] or [f"'+{name}={{a: b}}'"]
        return ConfigError(f"{name}: holds several settings, set one of them: {', '.join(names[:12])}")
    whole = re.search(r"Value '(\S+)' of type 'float' could not be converted to Integer", said)
    hint = f", write {float(whole[1]):.0f}" if whole and float(whole[1]).is_integer() else ""
    return ConfigError(f"{name}: {said}{hint}")


def _no_such_setting(full: str, key: str, names: Iterable[str], root: object) -> ConfigError:
    where = full.removesuffix(key).rstrip(".")
    place = f"settings of {where}" if where else "settings"
    known = sorted(names)
    homes = [name for name in _homes(key, root) if name != full]
    of = [name for name, schema in SOURCES.items() if key in (one.name for one in fields(schema))]
    near = closest(key, known)
    hint = f", did you mean {_either(homes)}?" if homes and not (where and near) else near
    if where in ("", "source") and of and not homes:
        hint = f", source.{key} is a setting of source={_either(of)}: add that"
    if where == "instruments":  # names of one's own
        hint += f", add a new one with '+{full}=...'"
    elif not known:
        return ConfigError(f"{full}: there is no such setting, add a new one with '+{where}={{{key}: \"...\"}}'")
    return ConfigError(f"{full}: there is no such setting{hint}; {place}: {', '.join(known)}")


def _homes(key: str, root: object) -> list[str]:
    """Every setting whose last part is ``key``, in full."""
    found: list[str] = []

    def walk(node: object, where: str) -> None:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return
        for name in map(str, node):
            if name == key:
                found.append(where + name)
            if name == "instruments":
                found.extend(
                    ["instruments.NAME." + key] if key in (one.name for one in fields(InstrumentConfig)) else []
                )
            elif name != "hydra":
                walk(node._get_node(name), f"{where}{name}.")

    walk(root, "")
    return found


def _dotted(full_key: object) -> str:
    return "" if full_key is None else str(full_key)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def closest(given: str, names: Iterable[str]) -> str:
    """``, did you mean ...?`` for the name that is closest, or nothing.

    Example:
        >>> closest("capturee", ["capture", "store"])
        ', did you mean capture?'
    """
    known = list(names)
    begun = [name for name in known if given and name.startswith(given)]
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6) or begun
    return f", did you mean {close[0]}?" if close else ""


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
