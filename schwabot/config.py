"""Settings of a run: the dataclasses of all parts joined to one tree.

The dataclasses of the parts sit beside the parts; here they are joined and registered with Hydra, so that every value
under conf/ and on the command line is checked against its type. YAML holds values only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from schwabot.cluster.settings import ClusterConfig
from schwabot.errors import ConfigError, closest
from schwabot.execution.settings import ExecutionConfig
from schwabot.fallback import FallbackConfig
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.server.settings import ServerConfig
from schwabot.signals.settings import PolicyConfig
from schwabot.simulation.settings import SimulationConfig
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.sinks.log_settings import LogsConfig
from schwabot.sinks.notify_settings import NotifyConfig
from schwabot.sinks.settings import SinksConfig
from schwabot.tensors.device import DeviceConfig
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.recorder import RecordConfig
from schwabot.ticks.store import StoreConfig
from schwabot.ticks.synthetic import SyntheticConfig
from schwabot.ticks.table import TableConfig
from schwabot.ticks.validate import BadInputPolicy
from schwabot.ticks.venue_clock import VenueClockConfig
from schwabot.training.fit_settings import FitConfig
from schwabot.training.leadlag import LeadLagConfig
from schwabot.training.skill_settings import SkillConfig

MODES = ("replay", "convert", "leadlag", "fit", "backtest", "sweep", "record", "paper", "live", "serve")
TRADING = ("backtest", "sweep", "paper", "live")
RELOADING = ("replay", "paper", "live")
SERVED = ("replay", "backtest", "sweep", "paper", "live", "serve")
PROFILED = ("replay", "backtest", "sweep")
LIVE = ("record", "paper", "live")
DEFAULT_POLICY = "threshold"
GROUPS = (
    "source", "instruments", "sinks", "logs", "notify", "server", "leadlag", "fit", "policy", "simulation", "execution",
    "sweep", "cluster", "fallback", "experiment",
    "modules/tensor_harness", "modules/ghost_bridge", "modules/hash_registry", "modules/phantom_lag",
    "modules/voltage_lanes",
)  # fmt: skip
FEES = ("maker_fee_bp", "taker_fee_bp")


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
class CcxtSource(CcxtConfig):
    """Live streams of exchanges; ``reference`` as in ``CaptureSource``."""

    reference: str | None = None


@dataclass
class LiveConfig:
    """How long a live run lasts, and which exchanges it meets.

    Attributes:
        seconds: end after so long; absent = when it is stopped.
        events: end after so many quotes and trades; absent = when it is stopped.
        loopback_port: talk to the loopback exchange on this port of 127.0.0.1 in place of the real ones.
        measure_latency: mode=paper: simulated orders take half a measured round trip to each venue and half back, in
            place of ``simulation.entry_ms`` and ``response_ms``.
        keep_rows: rows of the market that a policy's broker remembers at least.
        account: mode=live: name of the account; absent = the names of the venues that are traded, or ``loopback``.
        confirm: mode=live: the account's name once more, by which orders really leave. Absent = a dry run.
        dry_s: mode=live: so long at the first start of an account orders are only printed, and the graph gets to know
            the market meanwhile; a restart goes on at once.
        resume: mode=live: why to trade again after an earlier run was halted, or lost its limit of the day.
        accept: mode=live: why what is held now is right, whatever our fills say, e.g. after a deposit or a trade by
            hand; trades again after a halt, too. For one start: the next difference may be another one.
    """

    seconds: float | None = None
    events: int | None = None
    loopback_port: int | None = None
    measure_latency: bool = True
    keep_rows: int = 200_000
    account: str | None = None
    confirm: str | None = None
    dry_s: float = 10.0
    resume: str | None = None
    accept: str | None = None

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name in ("seconds", "events"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"live.{name}={value} is out of range: use more than 0, or leave it out")
        if not 0.0 <= self.dry_s <= 86_400.0:
            raise ConfigError(f"live.dry_s={self.dry_s} is out of range: use 0 to 86400")
        if self.account is not None and not re.fullmatch(r"[\w-]{1,64}", self.account):
            raise ConfigError(f"live.account={self.account!r}: use letters, digits, - and _")
        for name in ("resume", "accept"):
            if (reason := getattr(self, name)) is not None and not reason.strip():
                raise ConfigError(f"live.{name}= is empty: say why trading may go on")
        if self.keep_rows < 1_000:
            raise ConfigError(f"live.keep_rows={self.keep_rows} is out of range: use 1000 or more")
        if self.loopback_port is not None and not 1 <= self.loopback_port <= 65_535:
            raise ConfigError(f"live.loopback_port={self.loopback_port} is out of range: use 1 to 65535")


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
                raise ConfigError(f"convert.{name}={value} is not a choice; use {either(choices)}")
        if not 1 <= self.rows_per_group <= 1 << 24:
            raise ConfigError(f"convert.rows_per_group={self.rows_per_group} is out of range: use 1 to {1 << 24}")


@dataclass
class RunConfig:
    """Everything a run can be told.

    Attributes:
        mode: what to do.
        batch_events: events per batch, joined to larger ones on a GPU; changes memory and speed, never a result.
        profile: write a trace of a few batches to ``profile/``: where the time goes.
        source: where ticks come from; its type depends on ``source=...``.
        latency: venue clocks and feed delays.
        instruments: what is known about each stream: any name → ``InstrumentConfig``.
        skill: how forecasts are scored.
        leadlag: mode=leadlag: grid of lags, price, bootstrap.
        policy: what decides on orders: mode=backtest, mode=sweep, mode=paper, mode=live.
        simulation: the simulated exchange of mode=backtest and mode=sweep.
        execution: mode=live: what orders may leave, and how they travel.
        sweep: what mode=sweep searches, how, and how the result is doubted.
        cluster: where mode=sweep runs.
        record: mode=record: where to.
        live: how long a live run lasts, and which exchanges it meets.
        fallback: when the next-best way to an answer is taken, and the better one taken back.
        server: the dashboard and the HTTP API.
        checkpoint: a forecast that mode=fit trained, as a file; every mode that runs the graph serves it.
        reload: a file of settings that is taken again whenever it changes while the run goes on.
    """

    mode: str = "replay"
    checkpoint: str | None = None
    batch_events: int = 65_536
    profile: bool = False
    reload: str | None = None
    source: Any = MISSING
    device: DeviceConfig = field(default_factory=DeviceConfig)
    modules: ModulesConfig = field(default_factory=ModulesConfig)
    latency: VenueClockConfig = field(default_factory=VenueClockConfig)
    instruments: dict[str, Any] = field(default_factory=dict)
    skill: SkillConfig = field(default_factory=SkillConfig)
    leadlag: LeadLagConfig = field(default_factory=LeadLagConfig)
    sinks: SinksConfig = field(default_factory=SinksConfig)
    logs: LogsConfig = field(default_factory=LogsConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)
    convert: ConvertConfig = field(default_factory=ConvertConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    fallback: FallbackConfig = field(default_factory=FallbackConfig)
    server: ServerConfig = field(default_factory=ServerConfig)

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if self.mode not in MODES:
            raise ConfigError(f"mode={self.mode} is not a choice{closest(self.mode, MODES)}; use {either(MODES)}")
        if self.mode == "live" and self.policy.name is None:
            raise ConfigError(
                f"mode=live trades nothing by default: add policy.name={DEFAULT_POLICY}, or another policy"
            )
        for name in ("confirm", "account", "resume", "accept"):
            if self.mode != "live" and (given := getattr(self.live, name)):
                raise ConfigError(f"live.{name}={given} does nothing in mode={self.mode}: add mode=live")
        if self.mode != "live" and self.execution != ExecutionConfig():
            raise ConfigError(f"execution.* does nothing in mode={self.mode}: its limits are those of mode=live")
        if self.mode in TRADING and self.policy.name is None:
            self.policy = replace(self.policy, name=DEFAULT_POLICY)
        if not 1 <= self.batch_events <= 1 << 24:
            raise ConfigError(f"batch_events={self.batch_events} is out of range: use 1 to {1 << 24}")
        if self.mode == "convert" and not self.convert.out:
            raise ConfigError("mode=convert needs a folder to write to: add convert.out=DIR")
        if self.mode == "record" and not self.record.out:
            raise ConfigError("mode=record needs a folder to write to: add record.out=DIR")
        for name in ("convert", "fit", "record"):
            if (
                self.mode != name
                and (name, self.mode) not in (("record", "paper"), ("record", "live"))
                and (out := getattr(self, name).out)
            ):
                raise ConfigError(f"{name}.out={out} does nothing in mode={self.mode}: add mode={name}")
        if self.policy.name and self.mode in ("replay", "convert", "leadlag", "fit", "record"):
            raise ConfigError(f"policy={self.policy.name} does nothing in mode={self.mode}: add mode=backtest")
        if self.cluster.kind == "ray" and self.mode != "sweep":
            raise ConfigError(f"cluster={self.cluster.kind} does nothing in mode={self.mode}: add mode=sweep")
        if self.profile and self.mode not in PROFILED:
            raise ConfigError(f"profile=true does nothing in mode={self.mode}: it traces mode={either(PROFILED)}")
        if self.mode in ("convert", "record") and self.device.kind == "cuda" and self.device.required:
            raise ConfigError(
                f"device.required=true: nothing of mode={self.mode} runs on a GPU, leave +device=cuda out"
            )
        if self.profile and self.cluster.kind == "ray":
            raise ConfigError(f"profile=true sees this process alone: leave cluster={self.cluster.kind} out")
        if self.server.enabled and self.mode not in SERVED:
            raise ConfigError(f"server.enabled=true does nothing in mode={self.mode}: it is for mode={either(SERVED)}")
        if self.reload is not None and self.mode not in RELOADING:
            raise ConfigError(
                f"reload={self.reload} does nothing in mode={self.mode}: it is for mode={either(RELOADING)}"
            )
        if self.checkpoint is not None and not self.checkpoint.strip():
            raise ConfigError("checkpoint= is empty: name a file that mode=fit wrote, or leave it out")
        if self.checkpoint and self.mode in ("convert", "fit", "leadlag", "record"):
            raise ConfigError(
                f"checkpoint={self.checkpoint} does nothing in mode={self.mode}: it is served by mode=replay"
            )


SOURCES: dict[str, type] = {
    "synthetic": SyntheticSource,
    "capture": CaptureSource,
    "table": TableSource,
    "store": StoreSource,
    "ccxt": CcxtSource,
}


def conf_dir() -> Path:
    """Folder of the YAML files: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def register() -> None:
    """Make the dataclasses known to Hydra as ``schema`` and ``source_<name>``."""
    store = ConfigStore.instance()
    # Hydra copies what it reads from, this store included, once per group that --help lists: seconds for nothing, as
    # what is loaded from the store is a copy anyway.
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
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


def without_reference(source: SyntheticSource | TableSource | StoreSource | CcxtSource) -> Any:
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


def either(names: Sequence[str]) -> str:
    """``a, b or c``.

    Example:
        >>> either(["capture", "store", "table"])
        'capture, store or table'
    """
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
