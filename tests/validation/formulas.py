"""Formulas against numbers worked out by hand, the compiled graph unless a line says otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from schwabot.modules.settings import GhostBridgeConfig, HashRegistryConfig, ModulesConfig, TensorHarnessConfig
from schwabot.modules.shortfall import shortfall
from schwabot.records.instrument import Instrument
from schwabot.training.latency_cost import follower_edge, latency_cost
from schwabot_kernels.lag.reference import penalty, price_range
from schwabot_kernels.lanes.reference import bits_of, bits_of_voltage, voltage
from schwabot_kernels.registry.reference import entropy
from tests.kernels.making import Run, quotes, run_graph
from tests.validation.claim import Line, holds, near

PART = "formulas"
A = Instrument("a:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)
B = Instrument("b:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)
PERPETUAL = Instrument("c:BTC/USDT:USDT", 0.01, 0.001, taker_fee_bp=1.0)
LN3 = math.log(3.0)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def bp(price: float, reference: float = 100.0) -> float:
    return 1e4 * math.log(price / reference)


def config(**bridge: object) -> ModulesConfig:
    return ModulesConfig(
        tensor_harness=TensorHarnessConfig(tau_phase_s=2.0, stale_s=100.0, drift_window_s=1000.0),
        ghost_bridge=GhostBridgeConfig(**bridge),  # type: ignore[arg-type]
        hash_registry=HashRegistryConfig(bits=4, tables=1, warmup_events=2, echo_tau_s=5.0, half_life_s=30.0),
    )


def closed_forms() -> Iterator[Line]:
    """Equations by themselves; the parity tests hold the compiled graph to these functions."""
    found = penalty(number(1000.0), number(0.3), number(70000.0)).item()
    yield near(PART, "L(1000, 0.3, 70000) = e^-0.3 / 70 (reference)", math.exp(-0.3) / 70, found, 1e-15)
    for bits, volts in ((0.0, 0.8), (8.0, 1.6), (16.0, 3.2)):
        yield near(PART, f"V({bits:g}) (reference)", volts, voltage(number(bits)).item(), 1e-12, " V")
        yield near(PART, f"b({volts:g} V) (reference)", bits, bits_of_voltage(number(volts)).item(), 1e-12)
    yield near(PART, "bits of n SNR = 3, kappa 4: 2 log2 4 (reference)", 4.0, bits_of(number(3.0)).item(), 1e-12)
    yield near(PART, "bits are at most 16 (reference)", 16.0, bits_of(number(1e9)).item(), 0.0)
    nothing = entropy(number(0.0), number(0.0), number(0.0)).item()
    yield near(PART, "entropy of nothing = ln 3 (reference)", LN3, nothing, 1e-12)
    want = 0.5 * math.log(2.0) + math.log(3.0) / 3.0 + math.log(6.0) / 6.0
    yield near(
        PART, "entropy of 2 up, 1 flat (reference)", want, entropy(number(1.0), number(2.0), number(0.0)).item(), 1e-12
    )
    moved = price_range(torch.tensor([0.0, 0.0, 60.0]).double(), torch.tensor([0.0, 10.0, 10.0]).double(), 60.0, 1.0)[
        2
    ].item()
    yield near(PART, "P_max 60 s after a move of 10 bp, tau 60 s: 10/e (reference)", 10.0 / math.e, moved, 1e-12, " bp")


def one_stream() -> Iterator[Line]:
    rows = [(0, 0, 100.0, 100.01, 2, 1), (10, 0, 100.01, 100.02, 1, 2), (20, 0, 100.0, 100.01, 2, 1)]
    run = run_graph(quotes((A,), [*rows, (120, 0, 100.01, 100.02, 2, 1), (130, 0, 100.0, 100.01, 2, 1)]), config())
    yield near(
        PART, "one stream: ghost - its own mid", 0.0, float((run.ghost - run.mid[:, 0]).abs().max()), 1e-9, " bp"
    )
    yield near(PART, "one stream: deviation", 0.0, float(run.deviation.abs().max()), 1e-9, " bp")
    yield near(PART, "entropy of a state never seen = ln 3", LN3, run.entropy[2].item(), 1e-12)
    count = 0.5 ** (0.110 / 30.0)
    shares = [(count + 1) / (count + 3), 1 / (count + 3), 1 / (count + 3)]
    want = -sum(s * math.log(s) for s in shares)
    yield near(PART, "entropy after one outcome, 110 ms old, half-life 30 s", want, run.entropy[4].item(), 1e-12)
    y = run.ghost[3].item() - run.ghost[2].item()
    asked, now = (code(int(run.key[i])) for i in (2, 4))
    fade = math.exp(-0.110 / 5.0)
    want = fade * y * sum(a * b for a, b in zip(asked, now, strict=True)) / (4 * (1 + fade))
    yield near(
        PART, "echo of one outcome y: e^-t/tau y H·H / (b (1 + e^-t/tau))", want, run.echo[4].item(), 1e-12, " bp"
    )


def code(key: int) -> list[int]:
    return [1 if key >> (3 - k) & 1 else -1 for k in range(4)]


def two_streams() -> Iterator[Line]:
    rows = [(0, 0, 100, 100, 1, 1), (0, 1, 101, 101, 1, 1), (1000, 0, 102, 102, 1, 1), (3000, 1, 101, 101, 1, 1)]
    run = run_graph(quotes((A, B), rows), config())
    basis, later = bp(101), bp(102) - bp(101)
    yield near(PART, "a stream that joins 1 % higher: the ghost stays", 0.0, run.ghost[1].item(), 1e-9, " bp")
    yield near(PART, "and all of it is phase", basis, run.phase[1, 1].item(), 1e-9, " bp")
    # It joins with the weight of a hundredth of tau at its first distance.
    first, second = math.exp(-1.0) * (1.0 - math.exp(-0.5) + 0.01 * math.exp(-0.5)), 1.0 - math.exp(-1.0)
    beta = (first * -basis + second * later) / (first + second)
    want = 0.5 * beta + 0.5 * basis
    yield near(
        PART, "phase after 1 s at one distance, 2 s at another, tau 2 s", want, run.phase[3, 0].item(), 1e-8, " bp"
    )

    rows = [(0, 0, 100, 100, 2, 2), (0, 1, 100, 100, 4, 4), (1000, 0, 100.01, 100.01, 2, 2)]
    run = run_graph(quotes((A, B), rows), config(age_decay_per_s=0.5))
    fresh, old = math.log(1.0 + 2.0 / 3.0), math.log(1.0 + 4.0 / 3.0) * math.exp(-0.5)
    want = fresh * bp(100.01) / (fresh + old)
    yield near(PART, "ghost of two: weights ln(1 + depth) e^-age/2s", want, run.ghost[2].item(), 1e-9, " bp")

    kalman = config(estimator="kalman", kalman_q_bp2_per_s=0.5, kalman_r_bp2=0.25)
    rows = [(0, 0, 100, 100, 1, 1), (1000, 0, 100.01, 100.01, 1, 1), (2000, 0, 100.01, 100.01, 1, 1)]
    run = run_graph(quotes((A,), rows), kalman)
    yield near(PART, "Kalman gain 0.75 / (0.75 + 0.25)", 0.75 * bp(100.01), run.ghost[1].item(), 1e-9, " bp")
    yield near(PART, "a repeated mid is no observation", 0.75 * bp(100.01), run.ghost[2].item(), 1e-9, " bp")


def joining() -> Iterator[Line]:
    """B is 10 bp off its usual 100 bp, and A is not, when a third stream joins in the same moment."""
    rows = [(0, 0, 100, 100, 9, 9), (0, 1, 101, 101, 1, 1), (1000, 1, 101.1, 101.1, 1, 1), (1000, 2, 99, 99, 1, 1)]
    run = run_graph(quotes((A, B, PERPETUAL), rows), config())
    moved = float((run.phase[3, :2] - run.phase[2, :2]).abs().max())
    yield near(PART, "a third stream joins: the phases of the others move by", 0.0, moved, 1e-9, " bp")
    fair = 0.5 * (bp(101.1) - bp(101))
    found = run.phase[3, 2].item()
    yield near(PART, "its phase: its price less the others' mean fair price", bp(99) - fair, found, 1e-9, " bp")


def lag_and_arbitrage() -> Iterator[Line]:
    run = desync(B)
    cost = run.decisions["realised_cost_bp"]
    bought = run.decisions["stream"].tolist().index(0)
    yield near(PART, "realised lag: the ask 10 ms later", bp(100.02), cost[bought, 0].item(), 1e-9, " bp")
    penalties = run.decisions["realised_penalty"]
    entropy, width = (run.decisions[name][bought].item() for name in ("entropy", "range_bp"))
    want = math.exp(-entropy) * bp(100.02) / width
    yield near(PART, "realised penalty: e^-entropy cost / range", want, penalties[bought, 0].item(), 1e-9)
    yield holds(
        PART, "realised lag past the end of the data", "null", cost[bought, 2].item(), bool(cost[bought, 2].isnan())
    )
    yield holds(
        PART,
        "spot a below spot b: one window, locked",
        "[1]",
        run.windows["locked"].tolist(),
        run.windows["locked"].tolist() == [1],
    )
    yield near(
        PART,
        "its edge, net of two taker fees of 1 bp",
        bp(100.05) - 2.0,
        float(run.windows["edge_bp"].max()),
        1e-9,
        " bp",
    )
    locked = desync(PERPETUAL).windows["locked"].tolist()
    yield holds(
        PART, "spot and perpetual are never a locked arbitrage", "0 locked", f"{sum(locked)} locked", not any(locked)
    )
    rows = [(10 * i, i % 2, 100.0 if i % 2 == 0 else 99.9, 100.01 if i % 2 == 0 else 99.91, 1, 1) for i in range(400)]
    steady = run_graph(quotes((A, PERPETUAL), rows), config())
    found = len(steady.windows["legs"])
    yield holds(PART, "a steady basis of -10 bp opens no arbitrage window", "0", found, found == 0)


def lateness() -> Iterator[Line]:
    """Costs of being late that have a closed form, or a number in print."""
    market = {"sigma": 1.92 / math.sqrt(23_400), "delta": 0.058, "mu": 0.2005, "horizon_s": 10.0}
    for latency_s, share in ((0.5, 0.2412), (0.1, 0.1285), (0.01, 0.0502), (0.001, 0.0187)):
        found = latency_cost(latency_s, **market).relative
        claim = f"Moallemi, Saglam: share of a limit order's gain lost at {1e3 * latency_s:g} ms"
        yield near(PART, claim, share, found, 0.5e-4)
    cost = shortfall(+1, 1000, 40.00, 40.04, filled=700, fill_price=40.05, end_price=40.08, fees=17.0)
    for name, want in zip(cost._fields, (7.0, 1.75, 6.0, 4.25, 19.0), strict=True):
        yield near(PART, f"shortfall of 1,000 shares, 700 filled: {name}", want, getattr(cost, name), 1e-9, " bp")
    want = 2.0 * math.exp(-0.5) / math.sqrt(2.0 * math.pi) * 0.5 - math.erfc(math.sqrt(0.5))
    found = follower_edge(1.0, 0.5, sigma=1.0, delay_s=1.0)
    yield near(PART, "follower 1 s behind, half of it late: phi(1) - 2 (1 - Phi(1))", want, found, 1e-12)


def desync(other: Instrument) -> Run:
    """The other stream is quoted 5 bp above a for 15 ms."""
    settings = config(desync_bp=0.5, age_decay_per_s=0.0)
    settings.phantom_lag.latencies_ms = [10.0, 20.0, 1000.0]
    rows = [
        (0, 0, 100, 100, 1, 1), (0, 1, 100, 100, 1, 1), (100, 1, 100.05, 100.05, 0.4, 1),
        (110, 0, 100.01, 100.02, 1, 1), (115, 1, 100, 100, 1, 1), (200, 0, 100, 100, 1, 1),
    ]  # fmt: skip
    return run_graph(quotes((A, other), rows), settings)


CLAIMS = (closed_forms, one_stream, two_streams, joining, lag_and_arbitrage, lateness)
