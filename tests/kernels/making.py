"""Markets and runs of the compiled graph for the parity tests. N events, V streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st

from schwabot.modules.forecast import ForecastHead, role_of
from schwabot.modules.graph import Graph
from schwabot.modules.settings import (
    GhostBridgeConfig,
    HashRegistryConfig,
    ModulesConfig,
    PhantomLagConfig,
    TensorHarnessConfig,
    VoltageLanesConfig,
)
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.base import Feed
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.align.reference import Aligned, align
from schwabot_kernels.registry.hash import hyperplanes

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
WINDOWS = (
    "locked", "legs", "sides", "start_ns", "end_ns", "start_bp", "edge_bp", "qty", "realised_left_bp",
)  # fmt: skip
DECISIONS = (
    "ts_ns",
    "stream",
    "side",
    "expected_cost_bp",
    "realised_cost_bp",
    "entropy",
    "range_bp",
    "realised_penalty",
)
SIZES = (1, 2, 3, 17, 127, 128, 129, 257, 600)


def settings(
    estimator: str = "weighted",
    bits: int = 8,
    tables: int = 1,
    warmup_events: int = 20,
    capacity: int = 64,
    lanes_tau_s: float = 300.0,
) -> ModulesConfig:
    """Settings under which a few hundred events reach every branch.

    The lanes' memories outlast a gap of hours by default: one that has faded to 1e-308 says nothing worth comparing.
    """
    return ModulesConfig(
        tensor_harness=TensorHarnessConfig(
            tau_phase_s=2.0, stale_s=0.8, drift_window_s=1.0, drifting_at=0.2, critical_at=0.6
        ),
        ghost_bridge=GhostBridgeConfig(estimator=estimator),
        hash_registry=HashRegistryConfig(
            bits=bits, tables=tables, warmup_events=warmup_events, half_life_s=3.3, echo_tau_s=1.0, capacity=capacity
        ),
        phantom_lag=PhantomLagConfig(latency_ms=50.0),
        voltage_lanes=VoltageLanesConfig(
            half_life_s=0.5 * lanes_tau_s,
            slope_tau_s=lanes_tau_s,
            slew_v_per_s=5.0,
            medium_v=1.0,
            high_v=1.5,
            margin_v=0.1,
        ),
    )


@dataclass(frozen=True)
class Market:
    """A batch and what it is traded in."""

    instruments: tuple[Instrument, ...]
    batch: TickBatch


@dataclass(frozen=True)
class Run:
    """What the compiled graph said of a market, as tensors; ``aligned`` is the reference's with its bits of x, half."""

    graph: Graph
    batch: TickBatch
    planes: torch.Tensor
    ours: Aligned
    aligned: Aligned
    ghost: torch.Tensor
    mid: torch.Tensor
    half: torch.Tensor
    deviation: torch.Tensor
    phase: torch.Tensor
    drift: torch.Tensor
    route: torch.Tensor
    status: torch.Tensor
    forecast: torch.Tensor
    key: torch.Tensor
    entropy: torch.Tensor
    echo: torch.Tensor
    expected_lag: torch.Tensor
    penalty: torch.Tensor
    snr: torch.Tensor
    bits: torch.Tensor
    voltage: torch.Tensor
    lane: torch.Tensor
    pays_fees: torch.Tensor
    forecasts: torch.Tensor
    decisions: dict[str, torch.Tensor]
    windows: dict[str, torch.Tensor]

    @property
    def spread_bp(self) -> float:
        """Distance between the highest and the lowest price of the run."""
        known = self.mid[~self.mid.isnan()]
        return float(known.max() - known.min()) if known.numel() else 0.0

    @property
    def bp(self) -> float:
        """1e-9 bp, in proportion more where the price moves by more than 1000 bp."""
        return 1e-9 * max(1.0, 1e-3 * self.spread_bp)


def head(instruments: Sequence[Instrument], seed: int = 0, unknown: int = 0) -> ForecastHead:
    """A head with coefficients of any size over three horizons, that does not know the last ``unknown`` streams."""
    rng = np.random.default_rng(seed)
    roles = sorted(map(role_of, instruments))[: len(instruments) - unknown] or ["nobody:*/USD"]
    return ForecastHead(
        roles=tuple(roles),
        horizons_ms=(10.0, 100.0, 500.0),
        scale=np.where(rng.random((len(roles), 9)) < 0.1, 0.0, rng.uniform(0.1, 3.0, (len(roles), 9))),
        coefficients=rng.normal(0.0, 0.1, (3, len(roles), len(roles), 9)),
        clip=3.0,
    )


def run_graph(market: Market, config: ModulesConfig, head: ForecastHead | None = None) -> Run:
    """The whole batch through the compiled graph from the empty state, the data ending with it."""
    graph = Graph(market.instruments, config, [i.stream for i in market.instruments if i.trades_only], head)
    state = graph.initial_state()
    output = graph.advance(market.batch, state)
    rest = graph.finish(state)
    names = {
        "ghost": "ghost_bp", "mid": "mid_bp", "half": "half_spread_bp", "deviation": "deviation_bp",
        "phase": "phase_bp", "forecast": "forecast_bp", "echo": "echo_bp", "expected_lag": "expected_lag_bp",
        "forecasts": "forecasts_bp",
    }  # fmt: skip
    plain = (
        "drift", "route", "status", "key", "entropy", "penalty", "snr", "bits", "voltage", "lane", "pays_fees",
    )  # fmt: skip
    columns = {
        name: torch.from_numpy(np.array(getattr(output.signals, names.get(name, name)), order="C"))
        for name in (*names, *plain)
    }
    ours = align(market.batch, graph.table, graph.params.latency_max_ns)
    registry = config.hash_registry
    planes = hyperplanes(len(market.instruments), registry.bits, registry.tables, registry.seed)
    return Run(
        graph=graph,
        batch=market.batch,
        planes=torch.from_numpy(planes),
        ours=ours,
        aligned=ours._replace(x=columns["mid"], half=columns["half"]),
        decisions=_joined(output.decisions, rest.decisions, DECISIONS),
        windows=_joined(output.arbitrage, rest.arbitrage, WINDOWS),
        **columns,
    )


def _joined(first: object, second: object, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.concatenate([np.asarray(getattr(part, name)) for part in (first, second)]))
        for name in names
    }


def first_events(feed: Feed, events: int) -> Market:
    """The first quotes and trades of a feed; every stream but the first has a known delay."""
    batches: list[TickBatch] = []
    for ticks in feed.batches(8_192):
        batches.append(TickBatch.from_ticks(ticks))
        if sum(map(len, batches)) >= events:
            break
    joined = TickBatch(
        *(torch.cat([getattr(batch, name) for batch in batches])[:events] for name in TickBatch.__dataclass_fields__)
    )
    latency = torch.where(joined.stream == 0, MISSING_NS, 20 * MS + 5 * MS * joined.stream.long())
    return Market(feed.instruments, replace(joined, latency_ns=latency))


def synthetic(events: int, seed: int = 0, **changes: object) -> Market:
    """The synthetic market's first events."""
    return first_events(SyntheticFeed(SyntheticConfig(events=events, seed=seed, **changes)), events)


def quotes(instruments: tuple[Instrument, ...], rows: list[tuple[float, int, float, float, float, float]]) -> Market:
    """A market of quotes (time in ms, stream, bid, ask, bid size, ask size) in prices and the instruments' units."""
    t, stream, bid, ask, bid_size, ask_size = np.array(rows).T
    stream = stream.astype(np.int64)
    tick = np.array([i.tick_size for i in instruments])[stream]
    lot = np.array([i.lot_size for i in instruments])[stream]
    zero = np.zeros(len(rows))
    columns = {
        "ts_ns": START_NS + np.rint(t * MS).astype(np.int64), "stream": stream, "kind": zero,
        "bid_ticks": np.rint(bid / tick), "ask_ticks": np.rint(ask / tick), "bid_lots": np.rint(bid_size / lot),
        "ask_lots": np.rint(ask_size / lot), "price_ticks": zero, "qty_lots": zero, "side": zero,
        "latency_ns": np.full(len(rows), MISSING_NS),
    }  # fmt: skip
    small = {"stream": np.int32, "kind": np.int8, "side": np.int8}
    return Market(
        instruments,
        TickBatch(**{name: torch.from_numpy(v.astype(small.get(name, np.int64))) for name, v in columns.items()}),
    )


@dataclass(frozen=True)
class Habits:
    """What an adversarial market does; shares are probabilities per event or stream."""

    events: int
    streams: int
    seed: int
    ties: float
    round_times: bool
    gaps: float
    trades: float
    trades_only: float
    crossed: float
    no_size: float
    still: float
    outages: float
    late: float
    coarse: bool
    rates: bool = False


HABITS = st.builds(
    Habits,
    events=st.sampled_from(SIZES),
    streams=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    ties=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    round_times=st.booleans(),
    gaps=st.sampled_from([0.0, 0.02]),
    trades=st.sampled_from([0.0, 0.3, 1.0]),
    trades_only=st.sampled_from([0.0, 0.3, 1.0]),
    crossed=st.sampled_from([0.0, 0.1]),
    no_size=st.sampled_from([0.0, 0.2, 1.0]),
    still=st.sampled_from([0.0, 0.5]),
    outages=st.sampled_from([0.0, 0.5]),
    late=st.sampled_from([0.0, 0.5]),
    coarse=st.booleans(),
)
RATE_HABITS = st.builds(
    lambda habits, streams: replace(
        habits, rates=True, streams=streams, trades_only=0.0, trades=min(habits.trades, 0.3)
    ),
    HABITS,
    st.integers(3, 6),
)
"""Markets in which streams 2 and 4 are USDT/USD, and convert between what 0 and 1 are quoted in."""
ALL_HABITS = st.one_of(HABITS, RATE_HABITS)


def adversarial(habits: Habits) -> Market:
    """A market of ties, gaps of hours, crossed quotes, trades only, zero quantities, late and lost streams."""
    rng = np.random.default_rng(habits.seed)
    n, streams = habits.events, habits.streams
    spot, linear, inverse, dollars, rate = "BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC", "BTC/USD", "USDT/USD"
    kinds = (
        (spot, dollars, rate, inverse, rate, spot) if habits.rates else (spot, linear, inverse, spot, linear, inverse)
    )
    trades_only = rng.random(streams) < habits.trades_only
    instruments = tuple(
        Instrument(
            f"venue{v}:{kinds[v % 6]}",
            tick_size=1e-6 if kinds[v % 6] == rate else float(rng.choice([0.01, 0.1])),
            lot_size=0.001 if kinds[v % 6] not in (inverse, rate) else 1.0,
            contract_value=100.0 if kinds[v % 6] == inverse else 1.0,
            inverse=kinds[v % 6] == inverse,
            maker_fee_bp=0.1,
            taker_fee_bp=0.3,
            trades_only=bool(trades_only[v]),
        )
        for v in range(streams)
    )
    stream = rng.integers(0, streams, n)
    # A stream that is not there yet, or away for a while, is another one's event.
    absent = np.zeros((n, streams), bool)
    for v in range(streams):
        if rng.random() < habits.late:
            absent[: rng.integers(0, n + 1), v] = True
        if rng.random() < habits.outages:
            a, b = sorted(rng.integers(0, n + 1, 2))
            absent[a:b, v] = True
    for v in range(streams):
        stream[absent[np.arange(n), stream] & (stream == v)] = (v + 1) % streams

    if habits.round_times:
        dt = rng.choice([1, 5, 10, 50, 100], n) * MS
    else:
        dt = rng.exponential(20 * MS, n).astype(np.int64) + 1
    dt[rng.random(n) < habits.ties] = 0
    far = rng.random(n) < habits.gaps
    dt[far] = rng.choice([1, 1_000, 900 * MS, 3_000 * MS, 3 * 3_600_000 * MS], n)[far]
    dt[0] = 0

    true_bp = np.cumsum(rng.normal(0, 0.5, n) * (rng.random(n) >= habits.still))
    basis_bp = rng.normal(0, 3, streams) + np.cumsum(rng.normal(0, 0.2, (n, streams)), 0)
    noise_bp = rng.normal(0, 0.2, n)
    follows = np.array([kind != rate for kind in (kinds * 9)[:streams]])[stream]
    price = np.where(follows, 60_000.0, 1.0) * np.exp(
        1e-4 * (true_bp * follows + basis_bp[np.arange(n), stream] + noise_bp)
    )
    tick = np.array([i.tick_size for i in instruments])[stream]
    width = rng.integers(0, 3 if habits.coarse else 200, n)
    bid = np.floor(price / tick).astype(np.int64)
    ask = bid + width
    crossed = rng.random(n) < habits.crossed
    ask[crossed] = bid[crossed] - 1 - width[crossed]
    nothing = rng.random(n) < 0.2 * habits.crossed
    bid[nothing] = 0
    lots = rng.integers(1, 5_000, (2, n))
    lots[:, rng.random(n) < habits.no_size] = 0
    lots[0, rng.random(n) < 0.5 * habits.no_size] = 0
    lots[:, ~follows] *= 10
    trade = rng.random(n) < np.where(trades_only[stream], 0.9, habits.trades)
    latency = rng.choice([MISSING_NS, 0, 10 * MS, 400 * MS, 600 * MS], n, p=[0.4, 0.1, 0.3, 0.15, 0.05])

    def column(values: np.ndarray, dtype: type = np.int64) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype))

    batch = TickBatch(
        ts_ns=column(START_NS + np.cumsum(dt)),
        stream=column(stream, np.int32),
        kind=column(trade, np.int8),
        bid_ticks=column(np.where(trade, 0, bid)),
        ask_ticks=column(np.where(trade, 0, ask)),
        bid_lots=column(np.where(trade, 0, lots[0])),
        ask_lots=column(np.where(trade, 0, lots[1])),
        price_ticks=column(np.where(trade, bid + width // 2, 0)),
        qty_lots=column(np.where(trade, lots[0], 0)),
        side=column(np.random.default_rng(habits.seed + 1).integers(-1, 2, n), np.int8),
        latency_ns=column(latency),
    )
    return Market(instruments, batch)


def assert_close(ours: torch.Tensor, kernel: torch.Tensor, tolerance: float | torch.Tensor, what: str) -> None:
    """Same NaN, and nowhere further apart than the tolerance."""
    assert ours.shape == kernel.shape, what
    assert torch.equal(ours.isnan(), kernel.isnan()), f"{what}: NaN in different places"
    allowed = torch.as_tensor(tolerance, dtype=torch.float64).expand_as(kernel)
    error = (ours - kernel).abs().nan_to_num(0.0, posinf=torch.inf)
    error = torch.where(ours == kernel, 0.0, error)
    wrong = (error > allowed).nonzero()
    assert not len(wrong), (
        f"{what}: {len(wrong)} of {kernel.numel()} differ, first at {wrong[0].tolist()}: "
        f"reference {ours[tuple(wrong[0])]!r}, kernel {kernel[tuple(wrong[0])]!r}, worst {error.max():.3g}"
    )


def assert_same(ours: torch.Tensor, kernel: torch.Tensor, in_doubt: torch.Tensor, what: str) -> None:
    """Equal, except where the deciding float lies within tolerance of its threshold: 1e-4 of events or one."""
    assert ours.shape == kernel.shape, what
    differ = ours.long() != kernel.long()
    wrong = (differ & ~in_doubt).nonzero()
    assert not len(wrong), (
        f"{what}: {len(wrong)} of {kernel.numel()} differ, first at {wrong[0].tolist()}: "
        f"reference {ours[tuple(wrong[0])].item()}, kernel {kernel[tuple(wrong[0])].item()}"
    )
    events = differ.flatten(1).any(1).sum().item() if differ.dim() > 1 else differ.sum().item()
    assert events <= max(1, 1e-4 * len(differ)), f"{what}: {events} of {len(differ)} events differ by rounding"


def assert_few(in_doubt: torch.Tensor, what: str, of: int | None = None) -> None:
    """What may be excused lies within tolerance of its threshold in 1e-4 of cases (``of`` so many), or one."""
    excused, cases = int(in_doubt.sum()), in_doubt.numel() if of is None else of
    assert excused <= max(1, 1e-4 * cases), f"{what}: {excused} of {cases}"
