"""Schwabot: what is the asset worth right now, what does acting late cost, is this moment good enough to trade?

``load`` opens ticks, ``Graph`` runs them through the modules and gives Arrow tables back, ``leadlag`` says who leads
whom, ``fit`` trains a forecast, ``backtest`` trades on what was recorded, ``sweep`` tries many parameter sets. All are
imported on first use, so that ``import schwabot`` alone needs nothing but Python.

Example:
    >>> import schwabot
    >>> graph = schwabot.Graph(tau_phase_s=5)
    >>> result = graph.run(schwabot.load("synthetic", events=5_000))
    >>> result.signals.num_rows
    5000
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schwabot.api import Graph, Result, load
    from schwabot.api_backtest import Backtest, backtest
    from schwabot.api_fit import Fit, fit
    from schwabot.api_leadlag import LeadLagResult, leadlag
    from schwabot.api_sweep import Sweep, sweep

try:
    __version__ = version("schwabot")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Backtest",
    "Fit",
    "Graph",
    "LeadLagResult",
    "Result",
    "Sweep",
    "backtest",
    "fit",
    "leadlag",
    "load",
    "sweep",
]
_ELSEWHERE = {
    "Backtest": "schwabot.api_backtest",
    "backtest": "schwabot.api_backtest",
    "Fit": "schwabot.api_fit",
    "LeadLagResult": "schwabot.api_leadlag",
    "fit": "schwabot.api_fit",
    "leadlag": "schwabot.api_leadlag",
    "Sweep": "schwabot.api_sweep",
    "sweep": "schwabot.api_sweep",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'schwabot' has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "schwabot.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING", "PackageNotFoundError", "import_module", "version"})
