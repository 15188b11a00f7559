"""Policies in files, as a user writes them, and events made by hand."""

from __future__ import annotations

import math
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np

from schwabot.signals.declaring import Policy
from schwabot_kernels.simulate.records import SLOTS, Seen, Standing
from schwabot_kernels.simulate.state import ORDER_COLUMNS

HEAD = """import math
import numpy as np
from schwabot.signals import BUY, SELL, Parameter, cancel, nothing, policy, post, replace, signal, take
"""
"""Three lines, so that what follows begins at line 4."""


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(HEAD + text)
    return file


def standing(**given: Any) -> Standing:
    memory = np.zeros(given.pop("memory_size", 4))
    plain = Standing(0, 0, 0, 0, -1, -1, 0, 0, 0.0, 0.0, 0, -1, -1, 10**18, 0, np.zeros(1, np.int64),
                     np.zeros((SLOTS, ORDER_COLUMNS), np.int64), memory)  # fmt: skip
    return plain._replace(**given)


def event(**given: Any) -> Any:
    """An event of a 100 at 102 market; what is no field of ``Seen`` is a signal."""
    seen = Seen(10**18, 0, 1, 0, 100, 102, 5, 6, 101.0, 0, 0, 0, np.array([100]), np.array([102]))
    signals = {name: value for name, value in given.items() if name not in Seen._fields}
    seen = seen._replace(**{name: value for name, value in given.items() if name in Seen._fields})
    return namedtuple("Event", (*Seen._fields, *signals))(*seen, *signals.values())


def parameters(policy: Policy, **given: Any) -> Any:
    values = policy.values(given)
    return namedtuple("Params", tuple(values) or ("none",))(*(values.values() or (math.nan,)))
