"""Lead-lag on the device: against the definition and the CPU's kernels. n + 1 prices, L lags, B blocks of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from schwabot.errors import DeviceError
from schwabot.training.leadlag import LagGrid, lead_lag
from schwabot.training.leadlag_sums import STEPS_PER_CALL, LagSums, SumsDevice
from schwabot.training.price_series import to_series
from schwabot_kernels.leadlag import cpu, gpu, reference
from tests.gpu.recording import poisoned, triton_on
from tests.kernels.test_leadlag import Float64, Int64, series

Path = tuple[Int64, Float64]


def on_device(one: Path, other: Path, device: str) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(device) for array in (*one, *other)]


def walk(prices: int, seed: int, step_ns: int = 1_000_000, gaps: bool = True) -> Path:
    """A random walk in whole ticks with still stretches, bursts and gaps."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 9, prices) * step_ns
    if gaps:
        steps[rng.random(prices) < 0.01] *= 5_000
        steps[rng.random(prices) < 0.3] = 1
    return np.cumsum(steps), np.cumsum(rng.integers(-2, 3, prices) * (rng.random(prices) < 0.6)).astype(np.float64)


@settings(max_examples=60)
@given(series(), series(), st.integers(1, 20), st.integers(1, 9))
def test_the_device_agrees_with_the_definition(device: str, one: Path, other: Path, width: int, step: int) -> None:
    lags, block = torch.arange(-60, 61, step), torch.arange(len(one[0])) % 3
    expected = reference.contrast(*on_device(one, other, "cpu"), lags, block, 3)
    given_here = on_device(one, other, device)
    found = gpu.contrast(*given_here, lags.to(device), block.to(device), 3)
    assert torch.equal(found.cpu(), expected)  # prices are whole numbers, so sums in any order are exact
    expected = reference.bin_correlation(*on_device(one, other, "cpu"), lags, width, -100)
    found = gpu.bin_correlation(*given_here, lags.to(device), width, -100)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-12, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize(("prices", "lags", "blocks"), [(2, 1, 1), (300, 3, 1), (700, 9, 4)])
def test_triton_agrees_with_the_cpu(device: str, prices: int, lags: int, blocks: int) -> None:
    """Odd sizes over many tiles, blocks that end within a tile, one without a move; lags in no order."""
    one, other = walk(prices, 1), walk(prices + 17, 2)
    grid = (np.random.default_rng(3).permutation(lags) - lags // 2) * 3_000_000
    block = np.minimum(np.arange(prices) * (blocks + 1) // prices, blocks - 1)
    block[block == 1] = 0
    expected = cpu.contrast(*one, *other, grid, block, blocks)
    with triton_on(device), poisoned():
        tensors = on_device(one, other, device)
        grid_here, block_here = (torch.from_numpy(array).to(device) for array in (grid, block))
        found = gpu.contrast(*tensors, grid_here, block_here, blocks)
        bins = gpu.bin_correlation(*tensors, grid_here, 7_000_000, -(10**11))
    assert found.cpu().tolist() == expected.tolist()
    expected = cpu.bin_correlation(*one, *other, grid, 7_000_000, -(10**11))
    np.testing.assert_allclose(bins.cpu().numpy(), expected, rtol=1e-12, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize("gaps", [False, True])
def test_long_paths_of_log_prices(device: str, gaps: bool) -> None:
    rng = np.random.default_rng(5)
    paths = []
    for seed, prices in ((6, 20_011), (7, 9_007)):
        time, ticks = walk(prices, seed, gaps=gaps)
        paths.append((time, np.log(60_000.0 + 0.01 * ticks) + 1e-9 * rng.normal(size=prices)))
    grid = np.arange(-10, 11) * 10_000_000
    block = np.arange(20_011) // 1_000
    tensors, lags = on_device(*paths, device), torch.from_numpy(grid).to(device)
    found = gpu.contrast(*tensors, lags, torch.from_numpy(block).to(device), 21).cpu().numpy()
    expected = cpu.contrast(*paths[0], *paths[1], grid, block, 21)
    size = np.abs(np.diff(paths[0][1])).sum() * np.abs(np.diff(paths[1][1])).max()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * size)
    found = gpu.bin_correlation(*tensors, lags, 40_000_000, -(10**12)).cpu().numpy()
    expected = cpu.bin_correlation(*paths[0], *paths[1], grid, 40_000_000, -(10**12))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_many_lags_are_taken_in_turn(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = walk(900, 8), walk(500, 9)
    lags, block = torch.arange(-20, 21) * 5_000_000, torch.zeros(900, dtype=torch.int64)
    given_here = (*on_device(one, other, device), lags.to(device), block.to(device), 1)
    whole = gpu.contrast(*given_here)
    monkeypatch.setattr(gpu, "PARTIALS", 30)
    monkeypatch.setattr(gpu, "CELLS", 4_000)
    assert torch.equal(gpu.contrast(*given_here), whole)


def test_a_path_that_does_not_move(device: str) -> None:
    one, (time, _) = walk(50, 10), walk(40, 11)
    still = (time, np.zeros(40))
    lags, block = torch.tensor([0, 10]).to(device), torch.zeros(50, dtype=torch.int64).to(device)
    for pair in ((one, still), (still, one)):
        tensors = on_device(*pair, device)
        assert gpu.contrast(*tensors, lags, block[: len(pair[0][0])], 2).tolist() == [[0.0, 0.0], [0.0, 0.0]]
        assert gpu.bin_correlation(*tensors, lags, 10, -50).isnan().all()


def test_a_pair_on_the_device_is_the_pair_on_the_cpu(device: str) -> None:
    """The sums of ``lead_lag`` through the device's kernels, which take tensors of any device."""
    arrays = (*walk(600, 12), *walk(500, 13))
    lags, block = np.arange(-30, 31) * 2_000_000, np.arange(600) // 60
    here, there = LagSums(arrays, SumsDevice()), LagSums(arrays, SumsDevice(f"{device}:0", required=True))
    assert there.contrast(lags, block).tolist() == here.contrast(lags, block).tolist()
    expected = here.bin_correlation(lags, 9_000_000, -(10**10))
    np.testing.assert_allclose(there.bin_correlation(lags, 9_000_000, -(10**10)), expected, rtol=1e-12, atol=1e-15)


def test_a_device_that_fails_is_left_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without memory to read from; the answer is the CPU's, and why is kept."""
    x, y = (to_series(*walk(600, seed), f"s{seed}", returns="simple") for seed in (14, 15))
    lost = SumsDevice("meta")
    monkeypatch.setitem(STEPS_PER_CALL, True, 2_200)  # two lags of such paths
    shares: list[float] = []
    found = lead_lag(x, y, LagGrid.of(0.5, 10.0), progress=shares.append, device=lost)
    assert lost.failed is not None
    assert lost.said == "meta, then cpu"
    alone = lead_lag(x, y, LagGrid.of(0.5, 10.0))
    assert found.entry() == alone.entry()
    assert found.curve.tolist() == alone.curve.tolist()
    assert len(shares) > 2 * 20  # the rest in pieces of the CPU's size, each of which is told
    assert shares == sorted(shares)
    with pytest.raises(DeviceError, match="device meta is required and failed"):
        lead_lag(x, y, LagGrid.of(0.5, 10.0), device=SumsDevice("meta", required=True))
