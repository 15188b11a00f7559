"""What one quote says about itself and weighs, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from schwabot.modules.settings import (
    GhostBridgeConfig,
    HashRegistryConfig,
    ModulesConfig,
    TensorHarnessConfig,
)
from schwabot.modules.tensor_harness import TensorHarness
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align.reference import Aligned
from tests.kernels.making import MS, quotes, run_graph

LINEAR = Instrument("a:BTC/USDT", tick_size=0.1, lot_size=0.001)
INVERSE = Instrument("b:BTC/USD:BTC", tick_size=0.1, lot_size=1.0, contract_value=100.0, inverse=True)
A = Instrument("a:BTC/USDT", 0.01, 0.001)
B = Instrument("b:BTC/USDT", 0.01, 0.001)


def _timeline(*rows: tuple[float, int, float, float, float, float], latency_ms: float | None = None) -> Aligned:
    instruments = (LINEAR, INVERSE)
    batch = quotes(instruments, list(rows)).batch
    if latency_ms is not None:
        batch = TickBatch(**{**_columns(batch), "latency_ns": torch.full_like(batch.ts_ns, round(latency_ms * MS))})
    harness = TensorHarness(instruments, latency_max_ms=500.0)
    return harness(batch, harness.initial_state())[0].aligned


def _columns(batch: TickBatch) -> dict[str, torch.Tensor]:
    return {name: getattr(batch, name) for name in TickBatch.__dataclass_fields__}


def test_mid_half_spread_and_microprice() -> None:
    """Bid 99 for 3, ask 101 for 1: the microprice leans to the ask, (101 * 3 + 99 * 1) / 4 = 100.5."""
    seen = _timeline((0, 0, 99.0, 101.0, 3.0, 1.0), (1, 0, 198.0, 202.0, 1.0, 1.0))
    assert seen.x[:, 0].tolist() == pytest.approx([0.0, 1e4 * math.log(2.0)], abs=1e-9)
    assert seen.half[:, 0].tolist() == pytest.approx([100.0, 100.0], rel=1e-12)
    assert seen.micro[:, 0].tolist() == pytest.approx([1e4 * math.log(100.5 / 100.0), 0.0], abs=1e-9)
    assert seen.imbalance[:, 0].tolist() == pytest.approx([0.5, 0.0], abs=1e-15)


def test_depth_in_the_asset() -> None:
    """Linear: mean of 3 and 1 coins. Inverse: mean of 3,000 and 1,000 contracts of 100 USD at a mid of 100 USD."""
    seen = _timeline((0, 0, 99.0, 101.0, 3.0, 1.0), (1, 1, 99.0, 101.0, 3000.0, 1000.0))
    assert seen.depth[1].tolist() == pytest.approx([2.0, 2000.0], rel=1e-12)


@pytest.mark.parametrize(("latency_ms", "weight"), [(None, 1.0), (0.0, 1.0), (125.0, 0.75), (500.0, 0.0), (900.0, 0.0)])
def test_latency_weight(latency_ms: float | None, weight: float) -> None:
    """1 - latency / 500 ms, not below 0; unknown counts as none."""
    seen = _timeline((0, 0, 99.0, 101.0, 1.0, 1.0), latency_ms=latency_ms)
    assert seen.latency_weight[0, 0].item() == pytest.approx(weight, abs=1e-15)


def test_deeper_and_fresher_quotes_weigh_more() -> None:
    """Two streams of depth 3 and 1: relative to their mean 1.5 and 0.5. Weights ln 2.5 and ln 1.5 e^{-0.5 * 0.1 s}.

    Phases are set by the join, so that b's own fair price is its quote: it moves the ghost at its next quote.
    """
    config = ModulesConfig(
        tensor_harness=TensorHarnessConfig(tau_phase_s=1e6, stale_s=100.0, drift_window_s=1000.0),
        ghost_bridge=GhostBridgeConfig(tau_depth_s=1e-3, age_decay_per_s=0.5),
        hash_registry=HashRegistryConfig(bits=4, tables=1, warmup_events=2),
    )
    rows = [(0.0, 0, 99.99, 100.01, 3.0, 3.0), (0.0, 1, 99.99, 100.01, 1.0, 1.0), (100.0, 0, 100.99, 101.01, 3.0, 3.0)]
    run = run_graph(quotes((A, B), rows), config)
    a, b = math.log(2.5), math.log(1.5) * math.exp(-0.05)
    assert run.ghost[2].item() == pytest.approx(a / (a + b) * 1e4 * math.log(1.01), rel=1e-6)
