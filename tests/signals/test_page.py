"""The example of docs/policies.md runs as it stands, and the page names everything there is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from schwabot.signals import BUY, load_policy, nothing, take
from schwabot.signals.builtin import NAMES
from schwabot.signals.columns import PER_EVENT, PER_STREAM
from schwabot.signals.compiling import compile_policy
from schwabot.signals.own_features import declare_columns
from schwabot.signals.own_signals import OwnSignals, Past
from schwabot.signals.reading import PAST
from schwabot_kernels.simulate.records import Seen, Standing
from tests.signals.making import event, parameters, standing


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "policies.md").read_text(encoding="utf-8")


def test_the_example_runs(page: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "my_module_of_the_page.py"
    file.write_text(example)
    policy = load_policy(f"{file}:my_policy")
    compiled = compile_policy(policy)
    assert compiled.signals == ("flow_lots", "deviation_bp")
    assert OwnSignals.of(compiled, 1, {"flow_lots": {"tau_ms": 50}}).names == ("flow_lots", "deviation_bp")
    p = parameters(policy, edge_bp=2)
    assert policy(standing(), event(flow_lots=1.0, deviation_bp=2.5), p) == take(BUY, 1)
    assert policy(standing(), event(flow_lots=-1.0, deviation_bp=2.5), p) == nothing()
    assert compiled.row({"edge_bp": 2}).tolist() == [2.0, 1.0, 10.0, 1.0]
    assert np.isfinite(compiled.row()).all()
    (column,) = declare_columns([f"{file}:flow_lots"], {"flow_lots": {"tau_ms": 50}})
    assert column.parameters == {"tau_ms": 50.0}


def test_everything_is_named(page: str) -> None:
    named = set(re.findall(r"\w+", page))
    assert [
        name for name in (*Seen._fields, *Standing._fields, *PER_EVENT, *PER_STREAM, *PAST) if name not in named
    ] == []
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []
    assert Past._fields == PAST
