"""One line of the table that `make validate` shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A claim and what became of it; ``ok`` None = not checked, for the reason in ``found``."""

    part: str
    claim: str
    expected: str
    found: str
    ok: bool | None


Claim = Callable[[], Line]


def near(part: str, claim: str, expected: float, found: float | None, tolerance: float, unit: str = "") -> Line:
    """A number within a tolerance."""
    if found is None or math.isnan(found):
        return Line(part, claim, f"{expected:.10g}{unit}", "nothing", False)
    shown = f"{expected:.10g}{unit}" + (f" ± {tolerance:g}" if tolerance > 1e-6 else "")
    return Line(part, claim, shown, f"{found:.10g}{unit}", abs(found - expected) <= tolerance)


def holds(part: str, claim: str, expected: str, found: object, ok: bool) -> Line:
    """Anything else."""
    return Line(part, claim, expected, str(found), bool(ok))
