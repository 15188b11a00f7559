"""Forecast: what every stream is expected to do next.

Axis legend: N events, V streams, R roles, E columns of the user's own, F = 9 + E features, H horizons.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from schwabot.errors import ConfigError, StateError
from schwabot.modules.own_columns import OwnColumn, OwnColumns
from schwabot.modules.stateful import State, Stateful
from schwabot.modules.tensor_harness import Timeline, has_quotes
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.forecast import cpu as kernel
from schwabot_kernels.forecast.cpu import HeadParams, no_head
from schwabot_kernels.forecast.op import forecast as forecast_op
from schwabot_kernels.simd import padded

FEATURES = (
    "deviation", "microprice", "order_flow_5ms", "order_flow_30ms", "trade_flow_5ms", "trade_flow_30ms",
    "momentum_5ms", "momentum_30ms", "last_trade",
)  # fmt: skip
"""Per stream, in the order of the last axis; the user's own come after. Formulas: ``schwabot_kernels.forecast.cpu``."""
FEATURES_VERSION = 2
"""Goes up when a feature changes its meaning, so that no head is served what it was not fitted on."""
FORMAT = 1
MOST_BP = 1e6
"""The largest move that a head may be able to say, whatever its features are."""


def role_of(instrument: Instrument) -> str:
    """The stream with its base asset left open: what a head knows it by, so that one fitted on BTC serves ETH.

    Example:
        >>> role_of(Instrument("binance:BTC/USDT", 0.01, 1e-5)), role_of(Instrument("cm:BTC/USD:BTC", 0.1, 1))
        ('binance:*/USDT', 'cm:*/USD:*')
    """
    base, slash, rest = instrument.symbol.partition("/")
    if not slash:
        return instrument.stream
    quote, colon, settle = rest.partition(":")
    settled, dash, expiry = settle.partition("-")
    return f"{instrument.venue}:*/{quote}{colon}{'*' if settled == base else settled}{dash}{expiry}"


@dataclass(frozen=True, eq=False)
class ForecastHead:
    r"""A trained linear forecast: the expected move of every stream over H horizons.

    .. math::
        \hat m_{hv} = \sum_{u, k} C_{hvuk}\, \mathrm{clip}(f_{uk} / s_{uk}, -c, c)

    Attributes:
        roles: R roles, sorted; see ``role_of``.
        horizons_ms: H horizons, increasing.
        scale: root mean square of each feature in training; 0 = not used. [R, F]
        coefficients: bp per scaled feature: horizon, target, source, feature. [H, R, R, F]
        clip: limit of a scaled feature, either way.
        settings: dotted settings that the features depend on, and their values when it was fitted.
        provenance: what it was fitted on and how; anything JSON can hold.
        own: signals of the user's own among the features, after those of ``FEATURES``.

    Raises:
        ConfigError: shapes or values that are no head.

    Example:
        >>> head = ForecastHead(("a:*/USD",), (100.0,), np.ones((1, 9)), np.zeros((1, 1, 1, 9)))
        >>> head.params([Instrument("a:ETH/USD", 0.01, 1.0)], lanes_ms=100.0, memory_ms=100.0).coefficients.shape
        (1, 9, 1, 4)
    """

    roles: tuple[str, ...]
    horizons_ms: tuple[float, ...]
    scale: Float64
    coefficients: Float64
    clip: float = 12.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    own: tuple[OwnColumn, ...] = ()

    def __post_init__(self) -> None:
        roles, horizons = len(self.roles), len(self.horizons_ms)
        shapes = (self.scale.shape, self.coefficients.shape)
        wanted = ((roles, len(self.features)), (horizons, roles, roles, len(self.features)))
        if shapes != wanted or not roles or not horizons:
            raise ConfigError(f"a head of {roles} roles and {horizons} horizons has shapes {wanted}, got {shapes}")
        if list(self.roles) != sorted(set(self.roles)):
            raise ConfigError(f"a head's roles are sorted and different, got {self.roles}")
        edges = (0.0, *self.horizons_ms, np.inf)
        if not all(a < b for a, b in itertools.pairwise(edges)):  # NaN is not less either
            raise ConfigError(f"a head's horizons are positive and increase, got {self.horizons_ms}")
        finite = np.isfinite(self.scale).all() and np.isfinite(self.coefficients).all() and (self.scale >= 0).all()
        if not finite or not 0.0 < self.clip < np.inf:
            raise ConfigError("a head's numbers must be finite, its scales not negative, its clip positive")
        with np.errstate(over="ignore"):
            most_bp = float(self.clip * np.abs(self.coefficients).sum(axis=(2, 3)).max())
        if most_bp > MOST_BP:  # what the graph remembers would keep an infinite forecast for good
            raise ConfigError(f"a head's numbers add up to moves of {most_bp:.3g} bp; {MOST_BP:g} are the most")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the F features of every stream."""
        return (*FEATURES, *(one.name for one in self.own))

    @property
    def fingerprint(self) -> int:
        """48 bits that tell heads apart which answer differently."""
        said = hashlib.sha256(repr((self.roles, self.horizons_ms, self.clip, FEATURES_VERSION)).encode())
        if self.own:
            said.update(repr([(one.name, one.digest, sorted(one.parameters.items())) for one in self.own]).encode())
        for values in (self.scale, self.coefficients):
            said.update(np.ascontiguousarray(values, np.float64).tobytes())
        return int.from_bytes(said.digest()[:6], "big")

    def params(self, instruments: Sequence[Instrument], lanes_ms: float, memory_ms: float) -> HeadParams:
        """The head for these streams, in the kernel's shapes.

        Args:
            instruments: V instruments; a role that is not among them counts as masked, one the head does not know gets
                no forecast and adds nothing.
            lanes_ms: horizon of the lanes.
            memory_ms: horizon of the registry's outcomes.

        Raises:
            ConfigError: no role in common, or a horizon the head does not have.
        """
        place = [self.roles.index(role) if role in self.roles else -1 for role in map(role_of, instruments)]
        if max(place, default=-1) < 0:
            raise ConfigError(
                f"the forecast head knows {', '.join(self.roles)}, and this source has none of them but"
                f" {', '.join(map(role_of, instruments))}: fit one on such streams with mode=fit"
            )
        for name, ms in (("voltage_lanes.horizon_ms", lanes_ms), ("hash_registry.horizon_ms", memory_ms)):
            if ms not in self.horizons_ms:
                known = ", ".join(f"{h:g}" for h in self.horizons_ms)
                raise ConfigError(f"modules.{name}={ms:g} is not a horizon of the forecast head: use one of {known}")
        streams = len(instruments)
        params = no_head(streams, len(self.own))._replace(
            coefficients=np.zeros((streams, len(self.features), len(self.horizons_ms), padded(streams))),
            clip=float(self.clip),
            lanes_horizon=self.horizons_ms.index(lanes_ms),
            memory_horizon=self.horizons_ms.index(memory_ms),
        )
        for v, r in enumerate(place):
            if r < 0:
                continue
            params.target[v] = 1
            used = self.scale[r] > 0
            params.inverse_scale[used, v] = 1.0 / self.scale[r][used]
            for u, source in enumerate(place):
                if source >= 0:
                    params.coefficients[u, :, :, v] = self.coefficients[:, r, source].T
        return params

    def save(self, file: str | Path) -> None:
        """Write the head as safetensors; a file of the same name is replaced only once the new one is whole.

        Raises:
            StateError: the file can't be written.
        """
        file = Path(file)
        said = {
            "schwabot_head": FORMAT,
            "features_version": FEATURES_VERSION,
            "features": self.features,
            "roles": self.roles,
            "horizons_ms": self.horizons_ms,
            "clip": self.clip,
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
            "fingerprint": self.fingerprint,
        }
        if self.own:
            said["own"] = [asdict(one) for one in self.own]
        arrays = {"scale": self.scale, "coefficients": self.coefficients}
        content = save(
            {name: np.ascontiguousarray(values, np.float64) for name, values in arrays.items()},
            metadata={"schwabot": json.dumps(said, sort_keys=True)},  # one entry: several come in random order
        )
        partial = file.with_name(file.name + ".part")
        try:
            with partial.open("wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            partial.replace(file)
        except OSError as error:
            if partial.is_file():
                partial.unlink()
            raise StateError(f"{file}: can't be written ({error.strerror}); name a file you can write to") from None

    @staticmethod
    def load(file: str | Path) -> ForecastHead:
        """Read a head that ``save`` wrote.

        Raises:
            StateError: there is no such file, or it is no whole head of this version.
        """
        again = "write one with mode=fit"
        if Path(file).is_dir():
            raise StateError(
                f"{file}: is a folder; name the file in it, such as {Path(file) / 'checkpoint.safetensors'}"
            )
        try:
            with safe_open(str(file), framework="np") as opened:
                said = json.loads((opened.metadata() or {}).get("schwabot", "null"))
                if not isinstance(said, dict) or "schwabot_head" not in said:
                    raise StateError(f"{file}: holds no forecast head of Schwabot; {again}")
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        except FileNotFoundError:
            raise StateError(f"{file}: there is no such checkpoint; {again}") from None
        except StateError:
            raise
        except (SafetensorError, OSError, ValueError, TypeError) as error:  # TypeError: bfloat16, unknown to numpy
            raise StateError(f"{file}: is no whole checkpoint ({error}); {again}") from error
        if said["schwabot_head"] != FORMAT or said.get("features_version") != FEATURES_VERSION:
            raise StateError(
                f"{file}: is of format {said['schwabot_head']} with features of version {said.get('features_version')},"
                f" this version of Schwabot reads {FORMAT} and {FEATURES_VERSION}: fit again"
            )
        try:
            own = tuple(OwnColumn(**one) for one in said.get("own", []))
            if said["features"] != [*FEATURES, *(one.name for one in own)]:
                raise ConfigError(f"features {said['features']}")
            if not all(isinstance(said[name], dict) for name in ("settings", "provenance")):
                raise ConfigError("settings and provenance must be names with values")
            if not isinstance(said["roles"], list) or not all(isinstance(role, str) for role in said["roles"]):
                raise ConfigError(f"roles {said['roles']}")
            head = ForecastHead(
                roles=tuple(said["roles"]),
                horizons_ms=tuple(float(h) for h in said["horizons_ms"]),
                scale=arrays["scale"],
                coefficients=arrays["coefficients"],
                clip=float(said["clip"]),
                settings=said["settings"],
                provenance=said["provenance"],
                own=own,
            )
            if said["fingerprint"] != head.fingerprint:
                raise ConfigError("its numbers are not those that were written: it was changed or damaged")
            return head
        except (KeyError, TypeError, ValueError) as error:  # ConfigError is one
            raise StateError(f"{file}: is no whole checkpoint ({error}); {again}") from error


class Forecasts(NamedTuple):
    """What the coming move is made of, and what a head makes of it.

    Attributes:
        features: see ``FEATURES``; plain bp, or units of the usual touch quantity; then the user's own as they are; 0
            where a stream takes no part. [N, V, F]
        forecast_bp: expected move; NaN where a stream takes no part or the head does not know it. [N, V, H]
        ghost_move_bp: mean of the known forecasts over the registry's horizon, 0 without any. [N]
    """

    features: torch.Tensor
    forecast_bp: torch.Tensor
    ghost_move_bp: torch.Tensor


class Forecast(Stateful):
    """Features of the coming move, and a trained head on them: part of the ghost bridge.

    The nine features change sign with the price, so a head has no intercept. A stream that takes no part is all zeros.
    None depends on the ghost's estimator: a head goes with either.

    Args:
        instruments: V instruments, sorted by stream name.
        head: trained numbers; None = features only.
        trades_only: streams without quotes, beside those whose instrument says so.
        lanes_ms: horizon of the lanes.
        memory_ms: horizon of the registry's outcomes.
        own: columns of the user's own: those of the head, or with none those to be fitted.

    Shape:
        batch [N], timeline [N, V]; features [N, V, F], forecasts [N, V, H].

    Raises:
        ConfigError: the head does not know any of the streams, lacks a horizon, or needs other columns of one's own.
        StateError: the state belongs to another forecast.

    Source:
        Order-flow imbalance: Cont, Kukanov & Stoikov (2014). Microprice: Stoikov (2018).

    Example:
        >>> from schwabot.modules.tensor_harness import TensorHarness
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> batch = TickBatch.from_ticks(next(iter(feed.batches())))
        >>> harness, forecast = TensorHarness(feed.instruments), Forecast(feed.instruments)
        >>> timeline, _ = harness(batch, harness.initial_state())
        >>> found, state = forecast(batch, timeline, forecast.initial_state())
        >>> tuple(found.features.shape), tuple(found.forecast_bp.shape)
        ((300, 4, 9), (300, 4, 0))
    """

    _beside: tuple[OwnColumns, ...] = ()  # in a tuple, because as a module of the graph's it would be counted twice

    def __init__(
        self,
        instruments: Sequence[Instrument],
        head: ForecastHead | None = None,
        trades_only: Sequence[str] = (),
        lanes_ms: float = 100.0,
        memory_ms: float = 100.0,
        own: OwnColumns | None = None,
    ) -> None:
        streams = len(instruments)
        given = own.columns if own else ()
        if head is not None and head.own != given:
            raise ConfigError(
                f"the forecast head is made of signals of your own, {[one.name for one in head.own]}, and was given"
                f" {[one.name for one in given]}: use own=OwnFeatures(head.own, instruments), as Pipeline does"
            )
        identity = SimpleNamespace(checkpoint=head.fingerprint if head else 0)
        super().__init__("forecast", identity, ("checkpoint",), {"forecast": kernel.empty_state(streams)}, streams)
        self.head = head
        self._beside = (own,) if own and own.columns else ()
        self.params = head.params(instruments, lanes_ms, memory_ms) if head else no_head(streams, len(given))
        self.horizons_ms = head.horizons_ms if head else ()
        self.quoted = has_quotes(instruments, trades_only)

    @property
    def own(self) -> OwnColumns | None:
        """What computes columns of the user's own, if there are any."""
        return self._beside[0] if self._beside else None

    def initial_state(self) -> State:
        """State before the first event."""
        state = super().initial_state()
        for one in self._beside:
            state |= one.initial_state()
        return state

    def check_state(self, state: State) -> None:
        """Raise StateError when this module's part of ``state`` is missing, misshapen, or means something else."""
        super().check_state(state)
        for one in self._beside:
            one.check_state(state)

    def own_columns(self, batch: TickBatch, state: State) -> torch.Tensor:
        """The user's own columns of a batch; their part of ``state`` is moved on in place. Shape: [V, E, N]."""
        if self.own is None:
            return torch.zeros((len(self.quoted), 0, len(batch)), dtype=torch.float64)
        return self.own.advance(batch, state)

    def forward(self, batch: TickBatch, timeline: Timeline, state: State) -> tuple[Forecasts, State]:
        """Features and forecasts of N events; returns them and the state after, and leaves ``state`` as it was."""
        self.check_state(state)
        foreign = {name: state[name].clone() for one in self._beside for name in one.initial_state()}
        aligned, streams = timeline.aligned, len(self.quoted)
        events = {name: getattr(batch, name) for name in _EVENTS}
        found, forecasts, move, *leaves = forecast_op(
            **events,
            own=self.own_columns(batch, foreign),
            quoted=torch.from_numpy(self.quoted),
            last_ns=aligned.last_ns.T,
            x=aligned.x.T,
            half=aligned.half.T,
            micro=aligned.micro.T,
            dt_s=aligned.dt_s,
            phase=timeline.phase.T,
            route=timeline.route.T,
            inverse_scale=torch.from_numpy(self.params.inverse_scale[:, :streams]),
            coefficients=torch.from_numpy(self.params.coefficients[..., :streams]),
            target=torch.from_numpy(self.params.target[:streams]),
            clip=self.params.clip,
            memory_horizon=self.params.memory_horizon,
            state=self._leaves("forecast", state),
        )
        after = self._own(state) | foreign | self._named("forecast", leaves)
        return Forecasts(found.permute(2, 1, 0), forecasts.permute(2, 1, 0), move), after


_EVENTS = (
    "ts_ns", "stream", "kind", "bid_ticks", "ask_ticks", "bid_lots", "ask_lots", "price_ticks", "qty_lots", "side",
)  # fmt: skip
