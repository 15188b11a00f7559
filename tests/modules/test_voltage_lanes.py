"""VoltageLanes: bits and volts, slew and hysteresis, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from schwabot.modules.phantom_lag import Lag
from schwabot.modules.settings import VoltageLanesConfig
from schwabot.modules.voltage_lanes import Lanes, VoltageLanes, bits_of_voltage, voltage
from schwabot.records.audit import Lane
from schwabot.records.instrument import Instrument
from tests.modules.making import clock, ghost, memory, timeline

ONE = Instrument("a:BTC/USDT", 0.01, 0.001, maker_fee_bp=0.5, taker_fee_bp=2.0)
CENTRE = 8
COUNT = 4.0


@pytest.mark.parametrize(("bits", "volts"), [(0.0, 0.8), (8.0, 1.6), (16.0, 3.2)])
def test_volts_and_back(bits: float, volts: float) -> None:
    b, v = torch.tensor(bits, dtype=torch.float64), torch.tensor(volts, dtype=torch.float64)
    assert voltage(b).item() == pytest.approx(volts, rel=1e-15)
    assert bits_of_voltage(v).item() == pytest.approx(bits, abs=1e-14)
    assert bits_of_voltage(voltage(b)).item() == pytest.approx(bits, abs=1e-14)


def _snr_for(volts: float) -> float:
    """The SNR whose bits make this voltage: n SNR = 2^(2 b / kappa) - 1."""
    return (2.0 ** (0.5 * 8.0 * math.log2(volts / 0.8)) - 1.0) / COUNT


def _drive(
    volts: Sequence[float],
    times_ms: Sequence[float],
    edge_bp: float = 5.0,
    move_bp: float = 0.0,
    side: int = 1,
    latency_ms: float = 10.0,
    feed_ms: float = 0.0,
    feed_max_ms: float = 500.0,
    trades_only: Sequence[str] = (),
    **config: float,
) -> Lanes:
    """Lanes whose evidence asks for these voltages, one after the other.

    Bucket CENTRE + 2 k holds forecasts of 2^k sigma; each gets the SNR of one voltage, and the deviations visit them.
    """
    lanes = VoltageLanes((ONE,), VoltageLanesConfig(**config), trades_only, latency_ms, feed_max_ms)
    state = lanes.initial_state()
    state["lanes.slope"][0] = 1.0
    state["lanes.energy"][0] = torch.tensor([1e15, 1e15])
    state["lanes.inverse_energy"][0] = 1.0
    levels = sorted(set(volts))
    assert len(levels) <= 4
    for k, level in enumerate(levels):
        state["lanes.bucket_snr"][0, CENTRE + 2 * k] = _snr_for(level)
        state["lanes.bucket_mean"][0, CENTRE + 2 * k] = edge_bp
        state["lanes.buckets"][0, CENTRE + 2 * k, 0] = 1e6
    batch = clock(times_ms)
    n = len(volts)
    move = torch.full((n,), move_bp, dtype=torch.float64)
    seen = timeline(batch, [[0.0]] * n)
    weight = torch.full((n, 1), max(0.0, 1.0 - feed_ms / feed_max_ms), dtype=torch.float64)
    out, _ = lanes(
        batch,
        seen._replace(aligned=seen.aligned._replace(latency_weight=weight)),
        ghost([0.0] * n, [[side * 1.2 * 2.0 ** levels.index(level)] for level in volts]),
        memory(n),
        Lag(move, move, torch.zeros(n), torch.zeros(n, dtype=torch.bool), None),  # type: ignore[arg-type]
        state,
    )
    return out


def test_voltage_rises_by_the_slew_rate_and_falls_at_once() -> None:
    out = _drive([0.8, 2.5, 2.5, 2.5, 0.8, 2.5], [0, 1, 2, 12, 13, 13], slew_v_per_s=60.0)
    assert out.voltage[:, 0].tolist() == pytest.approx([0.8, 0.86, 0.92, 1.52, 0.8, 0.8], rel=1e-12)
    assert out.bits[1, 0].item() == pytest.approx(8.0 * math.log2(2.5 / 0.8), rel=1e-12)


def test_high_is_reached_in_twenty_milliseconds() -> None:
    times = [float(t) for t in range(31)]
    out = _drive([2.5] * 31, times)
    high = [t for t, lane in zip(times, out.lane[:, 0].tolist(), strict=True) if lane == Lane.HIGH]
    assert high[0] == 21.0  # 0.8 + 60 V/s * 20 ms = 2.0 V, and the margin of 0.02 V takes another


def test_a_lane_is_entered_above_its_edge_and_left_below_it() -> None:
    """MEDIUM's edge is 1.2 V, its margin 0.02 V: 1.21 V does not enter, and does not leave."""
    volts = [1.21, 1.23, 1.21, 1.19, 1.21, 1.23]
    out = _drive(volts, [0, 1, 2, 3, 4, 5], slew_v_per_s=1e9)
    # The first event has no time to rise in.
    assert out.voltage[:, 0].tolist() == pytest.approx([0.8, *volts[1:]], rel=1e-9)
    assert out.lane[:, 0].tolist() == [Lane.LOW, Lane.MEDIUM, Lane.MEDIUM, Lane.LOW, Lane.LOW, Lane.MEDIUM]


def test_high_falls_to_medium_and_needs_its_margin_to_return() -> None:
    volts = [2.1, 2.1, 1.5, 2.01, 2.1]
    out = _drive(volts, [0, 1, 2, 3, 4], slew_v_per_s=1e9)
    assert out.lane[:, 0].tolist() == [Lane.LOW, Lane.HIGH, Lane.MEDIUM, Lane.MEDIUM, Lane.HIGH]


@pytest.mark.parametrize(
    ("latency_ms", "feed_ms", "feed_max_ms", "rises"),
    [
        (99.0, 0.0, 500.0, True),
        (100.0, 0.0, 500.0, False),
        (10.0, 89.0, 500.0, True),
        (10.0, 91.0, 500.0, False),
        (0.0, 500.0, 500.0, False),
        (10.0, 49.0, 50.0, True),
        (10.0, 60.0, 50.0, False),
    ],
)
def test_nothing_rises_while_we_are_too_slow(
    latency_ms: float, feed_ms: float, feed_max_ms: float, rises: bool
) -> None:
    """The limit of 100 ms is for our own latency and the feed's together; a delay of feed_max_ms is always too long."""
    out = _drive(
        [3.2] * 3,
        [0, 50, 90],
        latency_ms=latency_ms,
        feed_ms=feed_ms,
        feed_max_ms=feed_max_ms,
        latency_max_ms=100.0,
    )
    assert out.lane[1:].unique().tolist() == [Lane.HIGH if rises else Lane.LOW]
    assert bool(out.pays_fees.any()) == rises


@pytest.mark.parametrize(
    ("volts", "edge_bp", "move_bp", "pays"),
    [(1.5, 0.8, 0.2, 1), (1.5, 0.6, 0.2, 0), (2.5, 2.3, 0.2, 1), (2.5, 2.1, 0.2, 0), (1.0, 9.0, 0.0, 0)],
)
@pytest.mark.parametrize("side", [1, -1])
def test_pays_fees(volts: float, edge_bp: float, move_bp: float, pays: int, side: int) -> None:
    """MEDIUM posts at 0.5 bp, HIGH crosses at 2 bp, LOW does nothing; a move the forecast's way is missed."""
    out = _drive([volts] * 2, [0, 90], edge_bp=edge_bp, move_bp=side * move_bp, side=side)
    assert out.pays_fees[1, 0].item() == pays


def test_a_move_against_the_forecast_costs_nothing() -> None:
    assert _drive([1.5] * 2, [0, 90], edge_bp=0.6, move_bp=-0.2).pays_fees[1, 0].item() == 1


def test_without_quotes_the_lane_stays_low() -> None:
    out = _drive([2.5] * 2, [0, 90], trades_only=[ONE.stream])
    assert out.voltage[1, 0].item() == pytest.approx(2.5, rel=1e-9)
    assert out.lane.unique().tolist() == [Lane.LOW]
    assert not out.pays_fees.any()


def test_sizes() -> None:
    lanes = VoltageLanes((ONE,), VoltageLanesConfig(size=[0.0, 0.5, 3.0]))
    assert lanes.size_of(torch.tensor([[2, 1, 0]], dtype=torch.int8)).tolist() == [[3.0, 0.5, 0.0]]


def test_evidence_of_three_outcomes() -> None:
    """Forecasts of one size, half a spread of 0.1 bp; edges of 1.0, -0.1 and 0.8 bp, the last two overlapping by half.

    So n_eff = 2.5. Mean and variance count all three and one more of zero edge: mean = sum / 4, variance =
    squares / 4 - mean².
    """
    lanes = VoltageLanes((ONE,), VoltageLanesConfig(half_life_s=1e6, slope_tau_s=1e6))
    state = lanes.initial_state()
    for name in ("lanes.products", "lanes.squares", "lanes.slope", "lanes.inverse_energy"):
        state[name][0] = 1.0 if name in ("lanes.slope", "lanes.inverse_energy") else 1e15
    state["lanes.energy"][0] = torch.tensor([1e15, 1e15])
    batch = clock([0.0, 100.0, 150.0, 200.0, 250.0])
    seen = timeline(batch, [[0.0], [1.1], [1.1], [1.1], [2.0]], half=0.1)
    zero = torch.zeros(5, dtype=torch.float64)
    lag = Lag(zero, zero, zero, zero.bool(), None)  # type: ignore[arg-type]
    out, _ = lanes(batch, seen, ghost([0.0] * 5, [[1.2]] * 5), memory(5), lag, state)
    assert out.forecast_bp[:, 0].tolist() == pytest.approx([1.2] * 5, rel=1e-12)
    snr = [0.0, 1.0, 1.0, 0.09 / (1.01 / 3 - 0.09), 0.425**2 / (1.65 / 4 - 0.425**2)]
    assert out.snr[:, 0].tolist() == pytest.approx(snr, rel=1e-5)
    counts = [0.0, 1.0, 1.0, 2.0, 2.5]
    bits = [2.0 * math.log2(1.0 + n * ratio) for n, ratio in zip(counts, snr, strict=True)]
    assert out.bits[:, 0].tolist() == pytest.approx(bits, rel=1e-5)
