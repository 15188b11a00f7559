"""What the engine says about every batch of events. Sinks and the dashboard read nothing else.

Axis legend: N events of the batch that are quotes or trades, V streams, L latencies, K remembered keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from schwabot.records.alert import Alert
from schwabot.records.health import HealthRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int8, Int32, Int64
from schwabot.records.trading import TradingRecord


class Route(IntEnum):
    """Why a stream does or does not take part in the ghost price."""

    OK = 0
    UNSEEN = 1
    STALE = 2
    CROSSED = 3
    DRIFTING = 4
    RATE = 5


class DriftStatus(IntEnum):
    """How fast a stream's phase moves."""

    STABLE = 0
    DRIFTING = 1
    CRITICAL = 2


class Lane(IntEnum):
    """Voltage lane: conviction level."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2


class PhantomEvent(IntEnum):
    """What being late took from an order; ``schwabot.modules.shortfall.name_event`` says which."""

    NONE = 0
    MISSED_ENTRY = 1
    EARLY_EXIT = 2
    DELAYED_ACTION = 3


@dataclass(frozen=True, slots=True)
class SignalColumns:
    """The graph's answer per event. NaN = no answer (no ghost, warm-up, unseen stream).

    Attributes:
        ghost_bp: fair log price, bp relative to ``reference_price``. [N]
        mid_bp: log mid as of each event, same reference; of a rate (``Route.RATE``) relative to 1. [N, V]
        half_spread_bp: half the spread over the mid. [N, V]
        deviation_bp: ghost + phase - mid; positive = the stream is cheap. [N, V]
        phase_bp: persistent offset of the stream from the ghost. [N, V]
        drift: |phase change over the window| / max(|phase before|, 1 bp). [N, V]
        route: ``Route``. [N, V] int8
        status: ``DriftStatus``. [N, V] int8
        forecast_bp: expected move of the stream over the lanes' horizon. [N, V]
        key: packed bits of the state hash, -1 in warm-up. [N] int64
        entropy: of the outcome at that key, nats. [N]
        echo_bp: echo memory's readout. [N]
        expected_lag_bp: expected cost of acting the measured latency late, for the event's stream. [N]
        penalty: L(expected_lag, entropy, P_max), 0 to 1. [N]
        snr, bits, voltage: of every stream. [N, V]
        lane: ``Lane``. [N, V] int8
        pays_fees: edge less the move expected the forecast's way within our latency, less the style's fee, is positive.
            [N, V] int8
        forecasts_bp: expected move of every stream over each horizon of a trained head, NaN where it has no answer;
            no horizons without a head. [N, V, H]
    """

    ghost_bp: Float64
    mid_bp: Float64
    half_spread_bp: Float64
    deviation_bp: Float64
    phase_bp: Float64
    drift: Float64
    route: Int8
    status: Int8
    forecast_bp: Float64
    key: Int64
    entropy: Float64
    echo_bp: Float64
    expected_lag_bp: Float64
    penalty: Float64
    snr: Float64
    bits: Float64
    voltage: Float64
    lane: Int8
    pays_fees: Int8
    forecasts_bp: Float64


@dataclass(frozen=True, slots=True)
class LagDecisions:
    """First events of each desync, what acting later was expected to cost, and what it would have cost.

    A batch carries the decisions whose last latency has passed (and, at the end of the run, the rest).

    Attributes:
        ts_ns: decision time. [D]
        stream: index. [D]
        side: +1 buy (stream cheap), -1 sell. [D] int8
        expected_cost_bp: of acting a latency later, as known at the decision. [D, L]
        realised_cost_bp: s * (touch(t+l) - touch(t)) per latency; NaN past the end. [D, L]
        entropy: of the outcome, as remembered at the decision, nats. [D]
        range_bp: recent range of the ghost at the decision, P_max. [D]
        realised_penalty: L(realised_cost_bp, entropy, range_bp), 0 to 1; NaN past the end. [D, L]
    """

    ts_ns: Int64
    stream: Int32
    side: Int8
    expected_cost_bp: Float64
    realised_cost_bp: Float64
    entropy: Float64
    range_bp: Float64
    realised_penalty: Float64


@dataclass(frozen=True, slots=True)
class ArbitrageEvents:
    """Closed arbitrage windows: pairs, and cycles of up to four trades that end in what they began with.

    A batch carries the windows that have closed and whose edge left is known (and, at the end of the run, the rest), in
    the order in which they closed.

    Attributes:
        locked: 1 = what is bought is what is sold; 0 = a pair's edge against its usual basis. [A] int8
        legs: streams traded, -1 beyond the last. [A, 4] int32
        sides: +1 buy, -1 sell, 0 beyond the last. [A, 4] int8
        start_ns, end_ns: first event with a net edge above the least one, first without. [A]
        start_bp: net edge at the start. [A]
        edge_bp: largest net edge in the window. [A]
        qty: size that passes through all touches at that moment, in base asset of the first leg. [A]
        realised_left_bp: edge left, as last known start + our latency + the largest feed delay of the legs after the
            start; net of fees, without a forecast's charge; NaN past the end. It looks ahead. [A]
    """

    locked: Int8
    legs: Int32
    sides: Int8
    start_ns: Int64
    end_ns: Int64
    start_bp: Float64
    edge_bp: Float64
    qty: Float64
    realised_left_bp: Float64


@dataclass(frozen=True, slots=True)
class DriftEvents:
    """Changes of drift status or route.

    Attributes:
        ts_ns: when. [E]
        stream: index. [E]
        what: 0 = drift status, 1 = route. [E] int8
        before, after: ``DriftStatus`` or ``Route``. [E] int8
        drift: its value at that moment. [E]
    """

    ts_ns: Int64
    stream: Int32
    what: Int8
    before: Int8
    after: Int8
    drift: Float64


@dataclass(frozen=True, slots=True)
class MemoryColumns:
    """What the registry remembers at each key of each table, in order of both. Keys with nothing left are absent.

    An outcome y at a key is also -y at its complement, so both keys are here, with means of opposite sign.

    Attributes:
        table: number of the hash table. [K]
        key: packed bits; those of table 0 are the ``key`` of ``SignalColumns``. [K]
        count: outcomes, each faded by its age. [K]
        mean_bp: mean outcome: how far the ghost went over the horizon. [K]
        variance_bp2: of the outcomes about their mean. [K]
        entropy: of down, flat and up at this key alone, one pseudo-count each, nats. [K]
        age_s: since the last outcome was written here. [K]
    """

    table: Int32
    key: Int64
    count: Float64
    mean_bp: Float64
    variance_bp2: Float64
    entropy: Float64
    age_s: Float64


@dataclass(frozen=True, slots=True)
class FallbackEvent:
    """A part stopped answering and the next-best one took over, or came back."""

    ts_ns: int
    component: str
    before: str
    after: str
    reason: str


FILE = "file"
"""``who`` of settings that changed in the file of ``reload=``."""


@dataclass(frozen=True, slots=True)
class SettingsEvent:
    """Settings changed while running, or a change was refused.

    Attributes:
        ts_ns: when, on the run's clock: in a replay the receive time of the last event that the old values were for, 0
            before the first.
        changes: name, value before, value after.
        refused: why nothing was changed; empty when it was.
        who: whose token asked for it, or ``FILE``; empty where it is not known.
    """

    ts_ns: int
    changes: tuple[tuple[str, str, str], ...]
    refused: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One batch through the graph.

    Attributes:
        batch: number of the batch, from 0.
        first_event: number of quote and trade rows before this batch.
        instruments: V instruments; ``stream`` indexes it.
        reference_price: quote price that 0 bp stands for; NaN before the first quote.
        latencies_ms: the L latencies of ``decisions``.
        horizons_ms: the H horizons of ``signals.forecasts_bp``.
        key_bits: bits of a ``key``.
        reentry_penalty: a larger ``penalty`` advises against entering again.
        lane_sizes, lane_styles: size multiplier and style (observe, post or cross) of LOW, MEDIUM, HIGH.
        ts_recv_ns, ts_event_ns: see ``Ticks``. [N]
        ts_venue_ns: venue time on our clock. [N]
        stream, kind: see ``Ticks``. [N]
        signals: the graph's answer. [N]
        decisions, arbitrage, drift_events, fallbacks: what happened in this batch.
        depth_rows: order book updates in this batch (they make no row).
        memory: what the registry remembers as of the last event; only in the record that ends a run.
        alerts: what a person should hear of, beside ``fallbacks`` and ``settings``.
        settings: changes of settings before this batch.
        trading: how orders and positions stand; only where somebody trades and somebody watches.
        health: how the parts stand; only where somebody watches.
    """

    batch: int
    first_event: int
    instruments: tuple[Instrument, ...]
    reference_price: float
    latencies_ms: tuple[float, ...]
    key_bits: int
    reentry_penalty: float
    lane_sizes: tuple[float, ...]
    lane_styles: tuple[str, ...]
    ts_recv_ns: Int64
    ts_event_ns: Int64
    ts_venue_ns: Int64
    stream: Int32
    kind: Int8
    signals: SignalColumns
    decisions: LagDecisions
    arbitrage: ArbitrageEvents
    drift_events: DriftEvents
    fallbacks: tuple[FallbackEvent, ...] = ()
    depth_rows: int = 0
    memory: MemoryColumns | None = None
    horizons_ms: tuple[float, ...] = ()
    alerts: tuple[Alert, ...] = ()
    settings: tuple[SettingsEvent, ...] = ()
    trading: TradingRecord | None = None
    health: HealthRecord | None = None
