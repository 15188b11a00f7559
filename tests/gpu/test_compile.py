"""Every Triton kernel compiles for the card it is meant for, without the card, and keeps its values in registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


@pytest.mark.slow
def test_every_kernel_compiles_and_none_spills(root: Path) -> None:
    script = root / "tests" / "gpu" / "compile_kernels.py"
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = os.pathsep.join([str(root / "kernels"), str(root)])
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=clean | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    usages = [json.loads(line) for line in done.stdout.splitlines()]
    assert usages
    spilled = [usage for usage in usages if usage["stack"] > usage["most"]]
    assert not spilled, spilled
    too_large = [usage for usage in usages if usage["shared"] > 227 * 1024]
    assert not too_large, too_large
