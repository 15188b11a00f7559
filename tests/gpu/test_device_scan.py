"""Scans on the device: against plain loops and the reference's scans, and the same bits however rows are cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from schwabot_kernels import device_scan, scan
from schwabot_kernels.outcomes import last_row as reference_last_row

SMALL = {"edge": 32, "block": 8}
ROWS = (1, 7, 8, 9, 31, 32, 33, 64, 100)
Case = tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...], torch.Tensor, Callable[..., torch.Tensor]]


def case(name: str, rows: int, columns: int, device: str, seed: int = 0) -> Case:
    """A scan, its parts, its start, and one step of it in plain torch."""
    make = torch.Generator().manual_seed(seed)

    def random(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(rows, columns, generator=make, dtype=torch.float64)).to(device)

    start = torch.randn(columns, generator=make, dtype=torch.float64).to(device)
    keep = torch.where(random(0, 1) < 0.1, 0.0, torch.where(random(0, 1) < 0.2, 1.0, random(0.3, 1.0)))
    if name == "affine":
        return device_scan.affine, (keep, random(-1, 1)), start, lambda y, a, b: a * y + b
    if name == "last_row":
        update = random(0, 1) < 0.3
        return device_scan.last_row, (update,), -1 - torch.arange(columns, device=device), lambda y, u: y
    if name == "max_affine":
        c = torch.where(random(0, 1) < 0.4, -torch.inf, random(-1, 2))
        return (
            device_scan.max_affine, (c, keep, random(-0.5, 0.5)), start,
            lambda y, c, a, b: torch.maximum(c, a * y + b),
        )  # fmt: skip
    if name == "min_plus":
        cap = torch.where(random(0, 1) < 0.4, torch.inf, random(0, 3))
        return device_scan.min_plus, (cap, random(0, 0.7)), start, lambda y, c, r: torch.minimum(c, y + r)
    if name == "clamp":
        low, high = (random(0, 2.99).floor().long() for _ in range(2))
        return (
            device_scan.clamp, (torch.minimum(low, high), torch.maximum(low, high)), torch.ones_like(low[0]),
            lambda y, lo, hi: torch.minimum(torch.maximum(y, lo), hi),
        )  # fmt: skip
    growth, noise, seen = random(0, 2), random(0.1, 3), random(0, 1) < 0.4
    one, zero = torch.ones_like(growth), torch.zeros_like(growth)
    parts = (
        torch.where(seen, noise, one), torch.where(seen, noise * growth, growth), torch.where(seen, one, zero),
        torch.where(seen, growth + noise, one),
    )  # fmt: skip
    return device_scan.moebius, parts, start.abs(), lambda y, p, q, r, s: (p * y + q) / (r * y + s)


def looped(given: Case) -> torch.Tensor:
    scanned, parts, y, step = given
    rows = []
    for i in range(parts[0].shape[0]):
        is_last = scanned is device_scan.last_row
        y = torch.where(parts[0][i], i, y) if is_last else step(y, *(part[i] for part in parts))
        rows.append(y)
    return torch.stack(rows)


def close(ours: torch.Tensor, theirs: torch.Tensor, relative: float) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    error = (ours.double() - theirs.double()).abs()
    assert bool((error <= relative * (1.0 + theirs.double().abs())).all()), float(error.max())


KINDS = ("affine", "last_row", "max_affine", "min_plus", "clamp", "moebius")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", [1, 3, 6])
def test_says_what_a_loop_says(kind: str, rows: int, columns: int, device: str) -> None:
    scanned, parts, start, _ = given = case(kind, rows, columns, device, seed=rows)
    close(scanned(*parts, start, **SMALL), looped(given), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (33, 3), (75, 5)])
def test_triton_says_what_a_loop_says(kind: str, rows: int, columns: int, device: str, by_triton: None) -> None:
    scanned, parts, start, _ = given = case(kind, rows, columns, device, seed=rows)
    close(scanned(*parts, start, **SMALL), looped(given), 1e-12)


def test_from_nothing_it_says_what_the_reference_says(device: str) -> None:
    scanned, (a, b), _, _ = case("affine", 5_000, 3, device)
    close(scanned(a, b, torch.zeros_like(a[0])), scan.affine(a, b), 1e-12)
    scanned, (update,), start, _ = case("last_row", 5_000, 3, device)
    assert torch.equal(scanned(update, torch.full_like(start, -1)), reference_last_row(update))
    scanned, (c, a, b), _, _ = case("max_affine", 5_000, 3, device)
    a[0] = 0.0
    close(scanned(c, a, b, torch.zeros_like(a[0])), scan.max_affine(c, a, b), 1e-12)
    scanned, (cap, rise), _, _ = case("min_plus", 5_000, 3, device)
    close(scanned(cap, rise, torch.full_like(cap[0], 0.5)), scan.min_plus(cap, rise, 0.5), 1e-12)
    scanned, (low, high), _, _ = case("clamp", 5_000, 3, device)
    assert torch.equal(scanned(low, high, torch.zeros_like(low[0])), scan.clamp(low, high, 0))
    scanned, parts, _, _ = case("moebius", 5_000, 3, device)
    close(scanned(*parts, torch.zeros_like(parts[0][0])), scan.moebius(*parts), 1e-12)


def cut_everywhere(kind: str, device: str, rows: int, cuts: tuple[int, ...], **size: int) -> None:
    """Any first rows alone have the bits they have in the whole, and so have calls split at an edge."""
    scanned, parts, start, _ = case(kind, rows, 3, device)
    whole = scanned(*parts, start, **size)
    for n in cuts:
        assert torch.equal(scanned(*(part[:n] for part in parts), start, **size), whole[:n]), n
    edge = size["edge"]
    state, said = start, []
    for first in range(0, rows, edge):
        piece = scanned(*(part[first : first + edge] for part in parts), state, **size)
        state = piece[-1] if kind != "last_row" else piece[-1] - edge
        said.append(piece + first * (piece >= 0) if kind == "last_row" else piece)
    if kind == "last_row":
        said = [torch.where(piece < 0, whole[k * edge : (k + 1) * edge], piece) for k, piece in enumerate(said)]
    assert torch.equal(torch.cat(said), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_however_it_is_cut(kind: str, device: str) -> None:
    cut_everywhere(kind, device, 133, (1, 5, 8, 17, 32, 33, 63, 96, 100), **SMALL)
    cut_everywhere(kind, device, 3_000, (1, 511, 513, 1_700, 2_048, 2_049), edge=1_024, block=256)


@pytest.mark.parametrize("kind", ["affine", "max_affine", "moebius"])
def test_triton_has_the_same_bits_however_it_is_cut(kind: str, device: str, by_triton: None) -> None:
    cut_everywhere(kind, device, 70, (5, 33, 47), **SMALL)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_full_size_on_the_device(kind: str, by_triton: None) -> None:
    rows = 5 * device_scan.EDGE // 2 + 77
    cut_everywhere(kind, "cuda", rows, (1, 777, device_scan.EDGE + 1), edge=device_scan.EDGE, block=device_scan.BLOCK)
    scanned, parts, start, _ = case(kind, rows, 6, "cuda")
    close(scanned(*parts, start).cpu(), scanned(*(part.cpu() for part in parts), start.cpu()), 1e-12)


def test_a_column_may_stand_for_all(device: str) -> None:
    scanned, (a, b), start, _ = case("affine", 40, 3, device)
    assert torch.equal(scanned(a[:, :1], b, start), scanned(a[:, :1].expand(40, 3).contiguous(), b, start))


@pytest.mark.parametrize(("edge", "block"), [(24, 8), (8, 8), (96, 24)])
def test_edges_that_blocks_do_not_fill_are_refused(edge: int, block: int, device: str) -> None:
    scanned, parts, start, _ = case("affine", 10, 1, device)
    with pytest.raises(ValueError, match="powers of two"):
        scanned(*parts, start, edge=edge, block=block)
