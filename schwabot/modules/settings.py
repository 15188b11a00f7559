"""Settings of the five modules. Kept apart from them so that ``--help`` needs no torch.

Every field's unit is in its name. Ranges are checked by ``check``; the YAML under conf/modules holds the same values.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schwabot.errors import ConfigError


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}={value} is out of range: use {low:g} to {high:g}")


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value} is not a choice: use one of {', '.join(map(str, choices))}")


@dataclass
class TensorHarnessConfig:
    """Alignment, phase, drift and routing.

    Attributes:
        tau_phase_s: decay time of the mean log-price difference between two streams.
        stale_s: a stream whose last quote is older takes no part in the ghost or in phases.
        drift_window_s: window over which the phase's move is measured.
        drifting_at, critical_at: drift at which the status becomes drifting, critical (and routed out).
        k0, k_max: share of the phase's last move that is added ahead when drifting, and its limit when critical.
    """

    tau_phase_s: float = 10.0
    stale_s: float = 2.0
    drift_window_s: float = 10.0
    drifting_at: float = 1.0
    critical_at: float = 4.0
    k0: float = 0.25
    k_max: float = 0.5

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        _in_range("modules.tensor_harness.tau_phase_s", self.tau_phase_s, 1e-3, 1e6)
        _in_range("modules.tensor_harness.stale_s", self.stale_s, 1e-3, 1e6)
        _in_range("modules.tensor_harness.drift_window_s", self.drift_window_s, 1e-2, 1e6)
        _in_range("modules.tensor_harness.drifting_at", self.drifting_at, 1e-9, 1e9)
        _in_range("modules.tensor_harness.critical_at", self.critical_at, self.drifting_at, 1e9)
        _in_range("modules.tensor_harness.k0", self.k0, 0.0, 10.0)
        _in_range("modules.tensor_harness.k_max", self.k_max, 0.0, 10.0)


@dataclass
class GhostBridgeConfig:
    """Fair price, desync and arbitrage.

    Attributes:
        estimator: ``weighted`` or ``kalman``.
        age_decay_per_s: lambda of the weights' exp(-lambda age).
        latency_max_ms: feed delay at which a stream's weight reaches zero.
        tau_depth_s: decay time of the cross-stream mean depth.
        tau_reliability_s: decay time of the error variance behind the reliability.
        reliability_horizon_ms: how much later the first-stage ghost judges a stream's price.
        prior_variance_bp2: error variance of a stream nobody has judged yet, worth ``prior_count`` outcomes.
        prior_count: see above.
        kalman_q_bp2_per_s: process variance of the efficient log price.
        kalman_r_bp2: observation variance of a mid change.
        kalman_r_by_stream_bp2: the same of single streams, by name; it goes before ``kalman_r_bp2``.
        desync_bp: a stream further than this from its fair price is desynchronised.
        off_bp: a ghost further than this from every stream that takes part can't be used; see docs/fallback.md.
        forecast_max_bp: nor can a larger forecast of a head, over the lanes' horizon.
        min_edge_bp: net edge above which an arbitrage window opens.
        asset: what is priced; needed where streams of several assets are given. The others are rates.
        max_legs: most trades of a locked cycle, 2 to 4; 2 = pairs only.
        rate_stale_ms: a rate whose last quote is older converts nothing.
    """

    estimator: str = "weighted"
    age_decay_per_s: float = 0.5
    latency_max_ms: float = 500.0
    tau_depth_s: float = 30.0
    tau_reliability_s: float = 60.0
    reliability_horizon_ms: float = 100.0
    prior_variance_bp2: float = 1.0
    prior_count: float = 10.0
    kalman_q_bp2_per_s: float = 1.0
    kalman_r_bp2: float = 0.05
    kalman_r_by_stream_bp2: dict[str, float] = field(default_factory=dict)
    desync_bp: float = 0.5
    off_bp: float = 50.0
    forecast_max_bp: float = 50.0
    min_edge_bp: float = 0.0
    asset: str | None = None
    max_legs: int = 4
    rate_stale_ms: float = 5000.0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        _one_of("modules.ghost_bridge.estimator", self.estimator, ("weighted", "kalman"))
        _in_range("modules.ghost_bridge.age_decay_per_s", self.age_decay_per_s, 0.0, 1e4)
        _in_range("modules.ghost_bridge.latency_max_ms", self.latency_max_ms, 1e-3, 1e9)
        _in_range("modules.ghost_bridge.tau_depth_s", self.tau_depth_s, 1e-3, 1e6)
        _in_range("modules.ghost_bridge.tau_reliability_s", self.tau_reliability_s, 1e-3, 1e6)
        _in_range("modules.ghost_bridge.reliability_horizon_ms", self.reliability_horizon_ms, 1e-3, 1e6)
        _in_range("modules.ghost_bridge.prior_variance_bp2", self.prior_variance_bp2, 1e-9, 1e9)
        _in_range("modules.ghost_bridge.prior_count", self.prior_count, 1e-9, 1e9)
        _in_range("modules.ghost_bridge.kalman_q_bp2_per_s", self.kalman_q_bp2_per_s, 1e-12, 1e12)
        _in_range("modules.ghost_bridge.kalman_r_bp2", self.kalman_r_bp2, 1e-12, 1e12)
        for stream, r_bp2 in self.kalman_r_by_stream_bp2.items():
            _in_range(f"modules.ghost_bridge.kalman_r_by_stream_bp2[{stream}]", r_bp2, 1e-12, 1e12)
        _in_range("modules.ghost_bridge.desync_bp", self.desync_bp, 0.0, 1e6)
        _in_range("modules.ghost_bridge.off_bp", self.off_bp, 1e-3, 1e6)
        _in_range("modules.ghost_bridge.forecast_max_bp", self.forecast_max_bp, 1e-3, 1e6)
        _in_range("modules.ghost_bridge.min_edge_bp", self.min_edge_bp, 0.0, 1e6)
        _one_of("modules.ghost_bridge.max_legs", self.max_legs, (2, 3, 4))
        _in_range("modules.ghost_bridge.rate_stale_ms", self.rate_stale_ms, 1e-3, 1e9)


@dataclass
class HashRegistryConfig:
    """State hash, outcome tables and echo memory.

    Attributes:
        bits: length b of one code: 4, 8, 16, 32 or 42.
        tables: number of independent codes.
        seed: of the hyperplanes.
        horizon_ms: outcome horizon h.
        half_life_s: of the outcome tables.
        echo_tau_s: decay time of the echo memory.
        momentum_tau_ms: decay time of the mean the momentum is measured against.
        warmup_events: events on which the state vector's scale is learnt, then frozen.
        step_bp: grid on which an outcome is called down, flat or up.
        dead_band_steps: outcomes of at most this many steps are flat.
        min_count: a slot with a smaller decayed count asks its 8-bit, then its 4-bit prefix.
        capacity: slots per table for bits > 16 (a power of two).
    """

    bits: int = 8
    tables: int = 16
    seed: int = 7
    horizon_ms: float = 100.0
    half_life_s: float = 30.0
    echo_tau_s: float = 5.0
    momentum_tau_ms: float = 100.0
    warmup_events: int = 2000
    step_bp: float = 0.05
    dead_band_steps: int = 1
    min_count: float = 3.0
    capacity: int = 16384

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        _one_of("modules.hash_registry.bits", self.bits, (4, 8, 16, 32, 42))
        _in_range("modules.hash_registry.tables", self.tables, 1, 64)
        _in_range("modules.hash_registry.horizon_ms", self.horizon_ms, 1e-3, 1e6)
        _in_range("modules.hash_registry.half_life_s", self.half_life_s, 1e-3, 1e6)
        _in_range("modules.hash_registry.echo_tau_s", self.echo_tau_s, 1e-3, 1e6)
        _in_range("modules.hash_registry.momentum_tau_ms", self.momentum_tau_ms, 1e-3, 1e6)
        _in_range("modules.hash_registry.warmup_events", self.warmup_events, 2, 10**9)
        _in_range("modules.hash_registry.step_bp", self.step_bp, 1e-9, 1e6)
        _in_range("modules.hash_registry.dead_band_steps", self.dead_band_steps, 0, 10**6)
        _in_range("modules.hash_registry.min_count", self.min_count, 0.0, 1e9)
        if self.capacity < 64 or self.capacity & (self.capacity - 1):
            raise ConfigError(f"modules.hash_registry.capacity={self.capacity}: use a power of two, at least 64")


@dataclass
class PhantomLagConfig:
    """What acting late costs.

    Attributes:
        latencies_ms: grid of the lag curve, realised and expected.
        notional_quote: size for which that curve is also given in money, in each stream's quote currency.
        latency_ms: our own latency from decision to exchange, for the expected lag and the lanes' guard.
        tau_range_s: decay time of the recent price range P_max.
        min_range_bp: lower limit of P_max.
        reentry_penalty: penalty above which re-entry is advised against.
        tau_curve_s: decay time of what earlier decisions cost, in the expected lag curve.
        prior_decisions: how many such decisions weigh as much as what the registry expects by itself.
    """

    latencies_ms: list[float] = field(default_factory=lambda: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    notional_quote: float = 25_000.0
    latency_ms: float = 10.0
    tau_range_s: float = 60.0
    min_range_bp: float = 1.0
    reentry_penalty: float = 0.1
    tau_curve_s: float = 300.0
    prior_decisions: float = 10.0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        name = "modules.phantom_lag.latencies_ms"
        if not self.latencies_ms or sorted(set(self.latencies_ms)) != list(self.latencies_ms):
            raise ConfigError(f"{name}={self.latencies_ms}: use increasing, distinct values")
        for value in self.latencies_ms:
            _in_range(name, value, 1e-3, 1e6)
        _in_range("modules.phantom_lag.notional_quote", self.notional_quote, 1e-9, 1e15)
        _in_range("modules.phantom_lag.latency_ms", self.latency_ms, 0.0, 1e6)
        _in_range("modules.phantom_lag.tau_range_s", self.tau_range_s, 1e-3, 1e6)
        _in_range("modules.phantom_lag.min_range_bp", self.min_range_bp, 1e-9, 1e6)
        _in_range("modules.phantom_lag.reentry_penalty", self.reentry_penalty, 0.0, 1.0)
        _in_range("modules.phantom_lag.tau_curve_s", self.tau_curve_s, 1e-3, 1e9)
        _in_range("modules.phantom_lag.prior_decisions", self.prior_decisions, 1e-3, 1e9)


@dataclass
class VoltageLanesConfig:
    """From evidence to a discrete conviction level.

    Attributes:
        horizon_ms: horizon h of the forecast and its memory.
        half_life_s: of the forecast buckets' memory.
        slope_tau_s: decay time of the online slope that turns a deviation into a forecast.
        kappa: bits per octave of evidence.
        count_cap: largest count n in bits = kappa/2 log2(1 + n SNR).
        v0_v, v_max_v: voltage at 0 bits, and its limit.
        medium_v, high_v: lane edges.
        margin_v: a lane is left upward only this far above its edge.
        slew_v_per_s: fastest rise.
        latency_max_ms: latency, our own plus a stream's feed delay as measured, from which no lane is left upward.
        size: size multiplier of LOW, MEDIUM, HIGH.
        style: what each lane does: observe, post or cross.
    """

    horizon_ms: float = 100.0
    half_life_s: float = 120.0
    slope_tau_s: float = 300.0
    kappa: float = 4.0
    count_cap: float = 4.0
    v0_v: float = 0.8
    v_max_v: float = 3.3
    medium_v: float = 1.2
    high_v: float = 2.0
    margin_v: float = 0.02
    slew_v_per_s: float = 60.0
    latency_max_ms: float = 100.0
    size: list[float] = field(default_factory=lambda: [0.0, 1.0, 2.0])
    style: list[str] = field(default_factory=lambda: ["observe", "post", "cross"])

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        name = "modules.voltage_lanes"
        _in_range(f"{name}.horizon_ms", self.horizon_ms, 1e-3, 1e6)
        _in_range(f"{name}.half_life_s", self.half_life_s, 1e-3, 1e6)
        _in_range(f"{name}.slope_tau_s", self.slope_tau_s, 1e-3, 1e6)
        _in_range(f"{name}.kappa", self.kappa, 1e-6, 1e3)
        _in_range(f"{name}.count_cap", self.count_cap, 1e-6, 1e9)
        _in_range(f"{name}.v0_v", self.v0_v, 1e-6, self.medium_v)
        _in_range(f"{name}.medium_v", self.medium_v, self.v0_v, self.high_v)
        _in_range(f"{name}.high_v", self.high_v, self.medium_v, self.v_max_v)
        _in_range(f"{name}.margin_v", self.margin_v, 0.0, self.v_max_v)
        _in_range(f"{name}.slew_v_per_s", self.slew_v_per_s, 1e-6, 1e12)
        _in_range(f"{name}.latency_max_ms", self.latency_max_ms, 0.0, 1e6)
        if len(self.size) != 3 or len(self.style) != 3:
            raise ConfigError(f"{name}.size and {name}.style need three entries: LOW, MEDIUM, HIGH")
        for style in self.style:
            _one_of(f"{name}.style", style, ("observe", "post", "cross"))
        for size in self.size:
            _in_range(f"{name}.size", size, 0.0, 1e9)


@dataclass
class ModulesConfig:
    """The five modules' settings together."""

    tensor_harness: TensorHarnessConfig = field(default_factory=TensorHarnessConfig)
    ghost_bridge: GhostBridgeConfig = field(default_factory=GhostBridgeConfig)
    hash_registry: HashRegistryConfig = field(default_factory=HashRegistryConfig)
    phantom_lag: PhantomLagConfig = field(default_factory=PhantomLagConfig)
    voltage_lanes: VoltageLanesConfig = field(default_factory=VoltageLanesConfig)

    def check(self) -> None:
        """Raise ConfigError when any value is out of range."""
        for part in (self.tensor_harness, self.ghost_bridge, self.hash_registry, self.phantom_lag, self.voltage_lanes):
            part.check()
