"""Policies and signals: plain scalar functions of a user, compiled for the simulator, the sweep and the live engine.

Example:
    >>> from schwabot.signals import BUY, Parameter, nothing, policy, take
    >>> @policy(edge_bp=Parameter(1.0, low=0.0, high=20.0, unit="bp"))
    ... def buy_once(s, e, p):
    ...     if s.position == 0 and e.deviation_bp > p.edge_bp:
    ...         return take(BUY, 1)
    ...     return nothing()
    >>> buy_once.signals
    ('deviation_bp',)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schwabot.signals.declaring import Parameter, Policy, Signal, policy, signal
    from schwabot.signals.loading import load_policy, load_signal
    from schwabot_kernels.simulate.intent import (
        BUY,
        CANCEL,
        NOTHING,
        POST,
        REPLACE,
        SELL,
        TAKE,
        Intent,
        cancel,
        nothing,
        post,
        replace,
        take,
    )

__all__ = [
    "BUY", "CANCEL", "NOTHING", "POST", "REPLACE", "SELL", "TAKE", "Intent", "Parameter", "Policy", "Signal", "cancel",
    "load_policy", "load_signal", "nothing", "policy", "post", "replace", "signal", "take",
]  # fmt: skip
_ELSEWHERE = {
    **dict.fromkeys(("Parameter", "Policy", "Signal", "policy", "signal"), "schwabot.signals.declaring"),
    **dict.fromkeys(("load_policy", "load_signal"), "schwabot.signals.loading"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:  # settings are read without numba
        raise AttributeError(f"module 'schwabot.signals' has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "schwabot_kernels.simulate.intent")), name)
