"""The module graph as boxes and arrows, for TensorBoard's Graphs tab.

The modules carry their state explicitly and call compiled kernels, so tracing them would show kernels, not the way
of a tick. These are the modules, what each part reads, and the settings it runs with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One box.

    Attributes:
        name: ``group/part``; TensorBoard folds the parts of a group into one box.
        op: what the box is.
        inputs: names of the boxes it reads.
        attributes: what is shown when it is clicked.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


ALIGN, COMPENSATED, ROUTING = "TensorHarness/align", "TensorHarness/compensation", "TensorHarness/routing"
GHOST, DEVIATION = "GhostBridge/ghost", "GhostBridge/deviation"
OUTCOMES, ECHO, EXPECTED_LAG = "HashRegistry/outcomes", "HashRegistry/echo_memory", "PhantomLag/expected_lag"
# group, part, what it gives, what it reads
PARTS = (
    ("TensorHarness", "venue_clock", "venue time and feed delay on our clock", ("Feed",)),
    ("TensorHarness", "align", "last quotes, ages, weight by delay [N, V]", ("Feed", "TensorHarness/venue_clock")),
    ("TensorHarness", "phase", "phase_bp [N, V]", (ALIGN,)),
    ("TensorHarness", "drift", "drift, status [N, V]", ("TensorHarness/phase",)),
    ("TensorHarness", "compensation", "phase moved ahead, bp [N, V]", ("TensorHarness/phase", "TensorHarness/drift")),
    ("TensorHarness", "routing", "route [N, V]", (ALIGN, "TensorHarness/drift")),
    ("GhostBridge", "ghost", "ghost_bp [N]", (ALIGN, COMPENSATED, ROUTING)),
    ("GhostBridge", "deviation", "deviation_bp [N, V]", (GHOST, ALIGN, COMPENSATED)),
    ("GhostBridge", "arbitrage", "windows", (ALIGN, COMPENSATED, ROUTING, EXPECTED_LAG)),
    ("HashRegistry", "state_hash", "key [N]", (DEVIATION, ALIGN, ROUTING)),
    ("HashRegistry", "outcomes", "entropy, remembered move [N]", ("HashRegistry/state_hash", GHOST)),
    ("HashRegistry", "echo_memory", "echo_bp [N]", ("HashRegistry/state_hash", GHOST)),
    ("PhantomLag", "expected_lag", "expected_lag_bp [N]", (DEVIATION, OUTCOMES, ECHO)),
    ("PhantomLag", "penalty", "penalty, re-entry advice [N]", (EXPECTED_LAG, OUTCOMES, GHOST)),
    ("PhantomLag", "lag_curve", "expected, realised cost_bp [D, L]", (DEVIATION, ALIGN, ROUTING, OUTCOMES, ECHO)),
    ("VoltageLanes", "forecast", "forecast_bp [N, V]", (DEVIATION, ALIGN, ROUTING, OUTCOMES)),
    ("VoltageLanes", "bits", "snr, bits [N, V]", ("VoltageLanes/forecast", ALIGN)),
    ("VoltageLanes", "voltage", "voltage, lane [N, V]", ("VoltageLanes/bits",)),
    ("VoltageLanes", "pays_fees", "pays_fees [N, V]", ("VoltageLanes/bits", "VoltageLanes/voltage", EXPECTED_LAG)),
)
SETTINGS = {
    "TensorHarness": "tensor_harness",
    "GhostBridge": "ghost_bridge",
    "HashRegistry": "hash_registry",
    "PhantomLag": "phantom_lag",
    "VoltageLanes": "voltage_lanes",
}


def nodes(modules: Mapping[str, Mapping[str, Any]], streams: tuple[str, ...] = ()) -> tuple[GraphNode, ...]:
    """The boxes of the graph.

    Args:
        modules: settings of the modules, as under ``modules`` in config.yaml.
        streams: names of the V streams.

    Example:
        >>> picture = nodes({"ghost_bridge": {"estimator": "weighted"}}, ("a:X/Y",))
        >>> next(node for node in picture if node.name == GHOST).attributes["estimator"]
        'weighted'
    """
    picture = [GraphNode("Feed", "ticks", (), {"streams": ", ".join(streams)})]
    for group, part, gives, reads in PARTS:
        settings = modules.get(SETTINGS[group]) or {}
        shown = {"gives": gives} | {key: str(value) for key, value in settings.items()}
        picture.append(GraphNode(f"{group}/{part}", part, reads, shown))
    read = {name for _, _, _, reads in PARTS for name in reads}
    ends = tuple(node.name for node in picture if node.name not in read)
    picture.append(GraphNode("Signal", "StepRecord", ends))
    return tuple(picture)
