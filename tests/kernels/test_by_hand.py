"""Numbers worked out by hand, against the references and the compiled graph."""

from __future__ import annotations

import math

import pytest
import torch

from schwabot.modules.settings import GhostBridgeConfig, HashRegistryConfig, ModulesConfig, TensorHarnessConfig
from schwabot.records.instrument import Instrument
from schwabot_kernels.lag.reference import Decisions, expected_costs, penalty
from schwabot_kernels.lanes.reference import bits_of, bits_of_voltage, voltage
from schwabot_kernels.phase.reference import phases
from schwabot_kernels.registry.reference import entropy
from tests.kernels.making import Run, quotes, run_graph

A = Instrument("a:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)
B = Instrument("b:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)
LN3 = math.log(3.0)


def _float(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _config(**bridge: object) -> ModulesConfig:
    return ModulesConfig(
        tensor_harness=TensorHarnessConfig(tau_phase_s=2.0, stale_s=100.0, drift_window_s=1000.0),
        ghost_bridge=GhostBridgeConfig(**bridge),  # type: ignore[arg-type]
        hash_registry=HashRegistryConfig(bits=4, tables=1, warmup_events=2, echo_tau_s=5.0, half_life_s=30.0),
    )


def _bp(price: float, reference: float = 100.0) -> float:
    return 1e4 * math.log(price / reference)


def test_penalty() -> None:
    assert penalty(_float(1000.0), _float(0.3), _float(70000.0)).item() == pytest.approx(math.exp(-0.3) / 70, rel=1e-15)
    assert penalty(_float(-5.0), _float(0.3), _float(10.0)).item() == 0.0
    assert penalty(_float(50.0), _float(0.3), _float(10.0)).item() == 1.0


@pytest.mark.parametrize(("bits", "volts"), [(0.0, 0.8), (8.0, 1.6), (16.0, 3.2)])
def test_voltage_and_its_inverse(bits: float, volts: float) -> None:
    assert voltage(_float(bits)).item() == pytest.approx(volts, rel=1e-15)
    assert bits_of_voltage(_float(volts)).item() == pytest.approx(bits, abs=1e-13)


def test_bits() -> None:
    """Kappa / 2 log2(1 + 3) = 4 bits; capped at 16."""
    assert bits_of(_float(3.0), kappa=4.0).item() == pytest.approx(4.0, rel=1e-15)
    assert bits_of(_float(1e9), kappa=4.0).item() == 16.0


def test_entropy() -> None:
    assert entropy(_float(0.0), _float(0.0), _float(0.0)).item() == pytest.approx(LN3, rel=1e-15)
    # Two ups and one flat: shares 3/6, 2/6, 1/6.
    want = 0.5 * math.log(2.0) + math.log(3.0) / 3.0 + math.log(6.0) / 6.0
    assert entropy(_float(1.0), _float(2.0), _float(0.0)).item() == pytest.approx(want, rel=1e-15)


def test_phase_of_two_streams() -> None:
    run = run_graph(
        quotes(
            (A, B),
            [(0, 0, 100, 100, 1, 1), (0, 1, 101, 101, 1, 1), (1000, 0, 102, 102, 1, 1), (3000, 1, 101, 101, 1, 1)],
        ),
        _config(),
    )
    basis, later = _bp(101), _bp(102) - _bp(101)
    # The newcomer is where it is: the ghost stays at 0 and its whole distance is phase.
    assert run.phase[1].tolist() == pytest.approx([0.0, basis], abs=1e-9)
    # A tenth of tau at -basis to begin with, one second more of it, then two at `later`, forgotten with tau = 2 s.
    first, second = math.exp(-1.0) * (1.0 - math.exp(-0.5) + 0.01 * math.exp(-0.5)), 1.0 - math.exp(-1.0)
    beta = (first * -basis + second * later) / (first + second)
    want = [0.5 * beta + 0.5 * basis, -0.5 * beta + 0.5 * basis]
    assert run.phase[3].tolist() == pytest.approx(want, abs=1e-9)
    assert phases(run.batch.ts_ns, run.aligned, 2.0, 100 * 10**9)[3].tolist() == pytest.approx(want, abs=1e-9)


def test_weighted_ghost_of_two_streams() -> None:
    rows = [(0, 0, 100, 100, 2, 2), (0, 1, 100, 100, 4, 4), (1000, 0, 100.01, 100.01, 2, 2)]
    run = run_graph(quotes((A, B), rows), _config(age_decay_per_s=0.5))
    # Both were right 100 ms later, so reliability cancels; mean depth 3; b is one second old.
    fresh, old = math.log(1.0 + 2.0 / 3.0), math.log(1.0 + 4.0 / 3.0) * math.exp(-0.5)
    want = fresh * _bp(100.01) / (fresh + old)
    assert run.ghost[:2].tolist() == [0.0, 0.0]
    assert run.ghost[2].item() == pytest.approx(want, abs=1e-9)
    assert run.deviation[2].tolist() == pytest.approx([want - _bp(100.01), want], abs=1e-9)


def test_reliability_weighs_the_stream_that_was_right() -> None:
    """A strays by 1 bp and is back 50 ms later, so that the ghost another 50 ms on judges it wrong."""
    stray = 100.01
    rows = [
        (0, 0, 100, 100, 1, 1), (0, 1, 100, 100, 1, 1), (1000, 0, stray, stray, 1, 1), (1050, 0, 100, 100, 1, 1),
        (1100, 1, 100, 100, 1, 1), (1150, 1, 100.01, 100.01, 1, 1),
    ]  # fmt: skip
    config = _config(age_decay_per_s=0.0, tau_reliability_s=1e6, prior_count=1.0, prior_variance_bp2=1.0)
    config.tensor_harness.tau_phase_s = 1e6
    run = run_graph(quotes((A, B), rows), config)
    # The phase is the 0 they joined with: 1.15 s are nothing beside a tenth of tau.
    s = _bp(stray)
    # Known at 1150 ms: both right at 0; a off by s at 1000, as of 1100; a at 1050, as of 1150 itself, against s / 2.
    a_errors, b_errors = [0.0, s, -0.5 * s], [0.0]
    a, b = ((len(e) + 1.0) / (sum(x * x for x in e) + 1.0) for e in (a_errors, b_errors))
    assert run.ghost[5].item() == pytest.approx(b * s / (a + b), abs=1e-5)


def test_kalman_ghost() -> None:
    run = run_graph(
        quotes((A,), [(0, 0, 100, 100, 1, 1), (1000, 0, 100.01, 100.01, 1, 1), (2000, 0, 100.01, 100.01, 1, 1)]),
        _config(estimator="kalman", kalman_q_bp2_per_s=0.5, kalman_r_bp2=0.25),
    )
    # P = 0.25, then 0.75: gain 0.75 / (0.75 + 0.25). A repeated mid is no observation.
    assert run.ghost.tolist() == pytest.approx([0.0, 0.75 * _bp(100.01), 0.75 * _bp(100.01)], abs=1e-9)


def test_kalman_ghost_after_a_night() -> None:
    """Three hours let P grow to 10,800; what the first price after them leaves of it decides over the next one."""
    run = run_graph(
        quotes(
            (A,), [(0, 0, 100, 100, 1, 1), (10_800_000, 0, 0.01, 0.01, 1, 1), (10_800_000, 0, 100.01, 100.01, 1, 1)]
        ),
        _config(estimator="kalman", kalman_q_bp2_per_s=1.0, kalman_r_bp2=0.05),
    )
    before = 0.05 + 10_800.0
    first = before / (before + 0.05) * _bp(0.01)
    left = 0.05 * before / (before + 0.05)
    gain = left / (left + 0.05)
    wanted = [0.0, first, first + gain * (_bp(100.01) - first)]
    assert run.ghost.tolist() == pytest.approx(wanted, abs=1e-9)


def test_cost_expected_of_a_share_of_the_horizon() -> None:
    """20 of 100 ms of an outlook of 10,000 bp: 2,000 bp to the last digit, which float32 has not."""
    none = torch.zeros(1, 1, dtype=torch.float64)
    index = torch.zeros(1, dtype=torch.int64)
    found = Decisions(index, index, torch.ones(1, dtype=torch.int64), none[0], none[0], none * torch.nan, none)
    outlook = [torch.full((1,), bp, dtype=torch.float64) for bp in (12_000.0, 0.0, 4_000.0)]
    latencies = torch.tensor([20_000_000])
    cost = expected_costs(index, found, *outlook, latencies, horizon_ns=1e8, tau_s=1.0, prior_decisions=1.0)
    assert cost.item() == pytest.approx(2_000.0, rel=1e-14)


@pytest.fixture(scope="module")
def remembering() -> Run:
    """One stream, its ghost its own mid: warm-up of two, a question at 20 ms, answered exactly 100 ms later."""
    rows = [
        (0, 0, 100, 100.01, 2, 1), (10, 0, 100.01, 100.02, 1, 2), (20, 0, 100, 100.01, 2, 1),
        (120, 0, 100.01, 100.02, 2, 1), (130, 0, 100, 100.01, 2, 1),
    ]  # fmt: skip
    return run_graph(quotes((A,), rows), _config())


def _code(key: int) -> list[int]:
    return [1 if key >> (3 - k) & 1 else -1 for k in range(4)]


def test_echo_memory_of_one_outcome(remembering: Run) -> None:
    run = remembering
    assert run.key[:2].tolist() == [-1, -1]
    assert run.echo[:3].tolist() == [0.0, 0.0, 0.0]
    y = run.ghost[3].item() - run.ghost[2].item()
    assert y == pytest.approx(_bp(100.015, 100.005), abs=1e-9)
    for i, age_s in ((3, 0.100), (4, 0.110)):
        overlap = sum(a * b for a, b in zip(_code(int(run.key[2])), _code(int(run.key[i])), strict=True))
        fade = math.exp(-age_s / 5.0)
        assert run.echo[i].item() == pytest.approx(fade * y * overlap / (4 * (1 + fade)), abs=1e-12)


def test_entropy_of_one_outcome(remembering: Run) -> None:
    run = remembering
    assert run.entropy[:3].tolist() == pytest.approx([LN3] * 3, abs=1e-12)
    asked = int(run.key[2])
    assert asked in (int(run.key[4]), 15 - int(run.key[4]))  # the same slot, as it is or turned over
    count = 0.5 ** (0.110 / 30.0)
    shares = [(count + 1) / (count + 3), 1 / (count + 3), 1 / (count + 3)]
    assert run.entropy[4].item() == pytest.approx(-sum(s * math.log(s) for s in shares), abs=1e-12)


def test_realised_lag_and_arbitrage() -> None:
    """B is quoted 5 bp above a, both spot: a desync of both, and buying a to sell b pays until b is back."""
    config = _config(desync_bp=0.5, age_decay_per_s=0.0)
    config.phantom_lag.latencies_ms = [10.0, 20.0, 1000.0]
    dear, same = 100.05, 100.0
    rows = [
        (0, 0, 100, 100, 1, 1), (0, 1, same, same, 1, 1), (100, 1, dear, dear, 0.4, 1), (110, 0, 100.01, 100.02, 1, 1),
        (115, 1, same, same, 1, 1), (200, 0, 100, 100, 1, 1),
    ]  # fmt: skip
    run = run_graph(quotes((A, B), rows), config)
    a, b = (run.decisions["stream"].tolist().index(v) for v in (0, 1))
    assert [run.decisions["side"][row].item() for row in (a, b)] == [1, -1]
    # Bought at the ask of a as of 10 and 20 ms later, exactly then included; sold at the bid of b; null past the end.
    cost = run.decisions["realised_cost_bp"]
    assert cost[a, :2].tolist() == pytest.approx([_bp(100.02), _bp(100.02)], abs=1e-9)
    assert cost[b, :2].tolist() == pytest.approx([0.0, _bp(dear)], abs=1e-9)
    assert cost[a, 2].isnan()
    assert run.windows["locked"].tolist() == [1]
    assert run.windows["legs"].tolist() == [[0, 1, -1, -1]]
    assert run.windows["sides"].tolist() == [[1, -1, 0, 0]]
    assert run.windows["edge_bp"].item() == pytest.approx(_bp(dear) - 2.0, abs=1e-9)  # two taker fees of 1 bp
    assert run.windows["qty"].item() == pytest.approx(0.4)
    assert run.windows["start_ns"].item() == run.batch.ts_ns[2].item()
    assert run.windows["end_ns"].item() == run.batch.ts_ns[4].item()
