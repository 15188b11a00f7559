"""Tests of what runs on the device. Without a GPU the Triton kernels run in their interpreter, on CPU tensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import of a kernel


@pytest.fixture(scope="session")
def device() -> str:
    """Where device tensors live: the GPU, or the CPU where there is none."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def by_triton(device: str) -> Iterator[None]:
    """Triton's kernels whatever the device: through the interpreter on the CPU."""
    pytest.importorskip("triton")
    from schwabot_kernels.device_scan import interpreted

    if device == "cuda":
        yield
    else:
        with interpreted():
            yield


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Memory that is not written yet holds NaN and the largest numbers."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            assert bool(torch.empty(3).isnan().all())
            yield
    finally:
        torch.use_deterministic_algorithms(False)
