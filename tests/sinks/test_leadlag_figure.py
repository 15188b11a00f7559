"""The lead-lag picture says what was seen, and in its own colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schwabot.sinks.leadlag_figure import leadlag_figure

LAGS_MS = np.array([-10.0, 0.0, 10.0])


def _pair(clock: str, leader: str, lag_ms: float, **changes: Any) -> dict[str, Any]:
    curve = np.array([0.1, 0.2, 0.3])
    one = {"x": "a:X/Y", "y": "b:X/Y", "clock": clock, "leader": leader, "lag_ms": lag_ms, "edge": False}
    one |= {"event_estimated": False, "disagree": False, "lead_seen": True}
    one |= {"lags_ms": LAGS_MS, "curve": curve, "correlations": curve}
    return one | changes


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (_pair("receive", "a:X/Y", 10.0), "receive: upper leads by 10 ms"),
        (_pair("receive", "b:X/Y", 10.0, edge=True), "receive: lower leads by 10 ms (edge)"),
        (_pair("event", "b:X/Y", 10.0, lead_seen=False), "event: no lead seen (peak at -10 ms)"),
        (
            _pair("event", "a:X/Y", 10.0, lead_seen=False, disagree=True),
            "event: no lead seen (peak at 10 ms, bins disagree)",
        ),
        (
            _pair("event", "a:X/Y", 0.0, event_estimated=True, lead_seen=False),
            "event (estimated): no lead seen (peak at 0 ms)",
        ),
    ],
)
def test_a_panel_says_who_leads_or_that_nobody_does(pair: dict[str, Any], said: str) -> None:
    (axes,) = leadlag_figure([pair]).axes
    assert axes.get_title(loc="left").splitlines() == ["a:X/Y", "b:X/Y", said]


def test_clocks_and_estimates_have_colours_of_their_own() -> None:
    pairs = [_pair("receive", "a:X/Y", 10.0), _pair("event", "a:X/Y", 10.0)]
    figures = [leadlag_figure(pairs), leadlag_figure([pairs[0], pairs[1] | {"event_estimated": True}])]
    colours = [
        {line.get_label(): line.get_color() for line in figure.axes[0].lines if str(line.get_label()).startswith("con")}
        for figure in figures
    ]
    assert len({*colours[0].values(), *colours[1].values()}) == 3
    assert any("estimated" in str(label) for label in colours[1]) > any(
        "estimated" in str(label) for label in colours[0]
    )
