"""A sweep in report.html: the verdict first, then the sets, then how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schwabot.simulation.report import Section
from schwabot.simulation.sweep.maps import AXES, heat_maps, influence
from schwabot.simulation.sweep.outcome import Outcome, hours
from schwabot.simulation.sweep.ranges import Dimension
from schwabot.simulation.sweep.verdict import Verdict
from schwabot.sinks.narrow import short_number
from schwabot.sinks.sweep_figure import Heat

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#9aa7b4"
MOST_POINTS = 5000
HOW_TO_READ = (
    "All sets were searched on the first {share:.0%} of the time only, cut into {folds} folds that each begin without a"
    " position. The rest was looked at once, after the search. Traded: {streams}. Money is in {currency}; open"
    " positions are valued at mid. Trades are fills. Sharpe ratios are a year's, measured over {searched}."
)


def sweep_sections(
    outcome: Outcome, said: Verdict, surface: Heat | None = None, settings: Mapping[str, Any] | None = None
) -> list[Section]:
    """The parts of the report.

    Args:
        outcome: the sweep.
        said: what ``verdict`` made of it.
        surface: latency × threshold, if there is one.
        settings: assumptions to list at the end, by name.
    """
    config = outcome.config
    currency = outcome.results.legs[0].currency
    read = HOW_TO_READ.format(
        share=config.split,
        folds=config.folds,
        currency=currency,
        streams=", ".join(dict.fromkeys(leg.stream for leg in outcome.results.legs)),
        searched=hours(outcome.guards.searched_s) if outcome.guards else "no time at all",
    )
    lines = "\n\n".join((said.headline, *said.reasons, *said.remarks))
    sections = [Section("Does the best set look like luck?", lines, table=_guard_rows(outcome))]
    if outcome.best is not None:
        sections += [
            Section("The best sets", read, table=_best_rows(outcome)),
            Section(
                f"Searched and held out: {config.objectives[0]}",
                "Every candidate: what it came to where it was searched, and where it was not. Where luck chose, the"
                " cloud is round and the best set falls back into it.",
                _both(outcome),
            ),
            Section(
                "Walk forward",
                "The set that was best on all folds so far, traded in the next one. Blue: what it came to there. The"
                " line: the sum.",
                _forward(outcome),
            ),
        ]
    if len(outcome.front) > 1 and len(config.objectives) > 1:
        sections.append(
            Section(
                f"{config.objectives[0]} against {config.objectives[1]}",
                "Red: sets that no other beats in every objective at once.",
                _front(outcome),
            )
        )
    if outcome.best is not None and outcome.results.space.dimensions:
        sections.append(
            Section(
                "What matters",
                "Share of the variance of the objective that each parameter explains alone (η² over 8 bins of"
                " its range).",
                _influence(outcome),
            )
        )
        sections += [
            Section(heat.title, "Each cell: the median over the sets in it. Blank: no candidate there.", _heat(heat))
            for heat in heat_maps(outcome)
        ]
    if surface is not None and np.isfinite(surface.z).any():
        sections.append(
            Section(
                "Latency and threshold",
                f"{surface.title}. Nothing was chosen from this picture: it shows how fast an edge is gone when orders"
                " arrive later, and whether a higher threshold saves it.",
                _surface(surface),
            )
        )
    if outcome.results.sets:
        sections.append(
            Section(
                "How the search went",
                "Objective of each set in the order they were tried; the line: the best so far.",
                _course(outcome),
            )
        )
    searched = {one.name for one in outcome.results.space.dimensions}
    if searched:
        sections.append(Section("What was searched", table=_searched_rows(outcome)))
    if settings:
        rows = [{"setting": name, "value": str(value)} for name, value in settings.items() if name not in searched]
        sections.append(Section("Assumptions", "What these numbers rest on.", table=rows))
    return sections


def sweep_facts(outcome: Outcome, said: Verdict) -> dict[str, str]:
    """Numbers for the head of the page."""
    facts = {"verdict": said.word, "sets": f"{outcome.results.sets:,}", "candidates": f"{len(outcome.order):,}"}
    if outcome.best is not None and outcome.guards is not None:
        here, there = outcome.one(outcome.best, outcome.searched), outcome.one(outcome.best, outcome.held_out)
        currency = outcome.results.legs[0].currency
        facts |= {
            f"net of the best, {currency}": f"{here['net']:,.6g}",
            f"the same held out, {currency}": f"{there['net']:,.6g}",
            "more than luck": f"{outcome.guards.beyond_luck:.1%}",
            "overfitting": _percent(outcome.guards.overfitting.probability),
            "plateau": f"{outcome.guards.plateau:.2f}",
        }
    return facts


def _best_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """The best sets with heads that a person reads, in four digits."""
    parameters = {one.short for one in outcome.results.space.dimensions}
    heads = AXES | {"held_out_net": "held out: net", "held_out_net_bp": "held out: net, bp"}
    heads |= {"held_out_trades": "held out: fills", "held_out_sharpe": "held out: sharpe"}
    return [
        {name if name in parameters else heads.get(name, name): _four(value) for name, value in row.items()}
        for row in outcome.top()
    ]


def _four(value: Any) -> Any:
    """A float in four digits; what is left of a sum that came to nothing is nothing."""
    if not isinstance(value, float):
        return value
    return 0.0 if abs(value) < 1e-12 else float(f"{value:.4g}")


def _searched_rows(outcome: Outcome) -> list[dict[str, str]]:
    """Every searched setting, the graph's too: its range and what the best set has."""
    best = outcome.results.space.decoded(outcome.results.values[outcome.best]) if outcome.best is not None else {}
    return [
        {"setting": one.name, "searched": _range(one), "in the best set": _text(best.get(one.short, "none"))}
        for one in outcome.results.space.dimensions
    ]


def _text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _axis(name: str) -> str:
    """A name that is longer than a figure is high, in two lines.

    Example:
        >>> _axis("modules.phantom_lag.expected_cost_half_life_s")
        'modules.phantom_lag.<br>expected_cost_half_life_s'
    """
    owner, dot, last = name.rpartition(".")
    return f"{owner}.<br>{last}" if dot and len(name) > 40 else name


def _range(one: Dimension) -> str:
    """A range in words.

    Example:
        >>> _range(Dimension("policy.enter_bp", "float", 0.5, 8.0, log=True))
        '0.5 to 8, on a log scale'
        >>> _range(Dimension("policy.lots", "int", 1, 9, step=2))
        '1 to 9 in steps of 2'
    """
    if one.choices:
        return ", ".join(str(choice) for choice in one.choices)
    steps = f" in steps of {one.step:g}" if one.step else ""
    return f"{one.low:g} to {one.high:g}{steps}{', on a log scale' if one.log else ''}"


def _guard_rows(outcome: Outcome) -> list[dict[str, Any]]:
    guards, config = outcome.guards, outcome.config
    if guards is None:
        return []
    wf = guards.overfitting
    told: Sequence[tuple[str, str, str]] = (
        (
            "Sharpe ratio of the best, a year",
            short_number(guards.sharpe),
            f"from {hours(guards.searched_s)} that were searched",
        ),
        ("the best of as many by luck", short_number(guards.luck), f"of {guards.trials:,} sets that traded"),
        ("more than luck", f"{guards.beyond_luck:.1%}", f"luck below {config.confidence:.0%}"),
        ("deflated Sharpe ratio", f"{guards.deflated:.1%}", "by the variance among all sets; strict"),
        (
            "the same, sets alike counted once",
            f"{guards.deflated_independent:.1%}",
            f"about {guards.independent:,.3g} independent sets",
        ),
        ("probabilistic Sharpe ratio", f"{guards.probabilistic:.1%}", "had it been the only set tried"),
        (
            "least time to tell it from 0",
            hours(guards.least_s),
            f"had it been the only set tried; there were {hours(guards.searched_s)}",
        ),
        ("probability of overfitting", _percent(wf.probability), f"luck from 50 %; {wf.splits} halvings of the folds"),
        ("loss in the other half", _percent(wf.loss), "of what was best in one half"),
        ("walk-forward net", f"{sum(guards.forward):,.6g}", "luck at 0 and below"),
        ("rank in what was held out", _percent(guards.rank), "share of the candidates it beat; luck below 50 %"),
        ("plateau score", f"{guards.plateau:.2f}", "1 = as good all around, 0 = a spike; luck below 0.3"),
        ("net without its best fold", f"{guards.without_best:,.6g}", "luck at 0 and below"),
    )
    return [{"guard": name, "value": value, "how to read it": how} for name, value, how in told]


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{share:.0%}"


def _both(outcome: Outcome) -> Figure:
    import plotly.graph_objects as go

    order = outcome.order[:: max(1, -(-len(outcome.order) // MOST_POINTS))]
    best = outcome.best
    figure = go.Figure(
        [
            go.Scattergl(
                x=outcome.objective[order], y=outcome.looked[order], mode="markers", name="sets",
                marker={"size": 5, "color": GREY}, text=[f"set {number}" for number in order.tolist()],
            ),
            go.Scatter(
                x=[outcome.objective[best]], y=[outcome.looked[best]], mode="markers", name="the best",
                marker={"size": 12, "color": RED, "symbol": "star"}, text=[f"set {best}"],
            ),
        ]
    )  # fmt: skip
    name = AXES.get(outcome.config.objectives[0], outcome.config.objectives[0])
    figure.update_layout(xaxis_title=f"searched: {name}", yaxis_title=f"held out: {name}")
    figure.add_hline(y=0.0, line_width=1, line_color="#5b6775")
    return figure


def _forward(outcome: Outcome) -> Figure:
    import plotly.graph_objects as go

    assert outcome.guards is not None
    names = [f"fold {step.fold + 1}: set {step.chosen}" for step in outcome.guards.steps]
    figure = go.Figure(
        [
            go.Bar(x=names, y=outcome.guards.forward, name="in the next fold", marker_color=BLUE),
            go.Scatter(x=names, y=np.cumsum(outcome.guards.forward), name="sum", line={"color": RED}),
        ]
    )
    figure.update_layout(yaxis_title=f"net, {outcome.results.legs[0].currency}")
    return figure


def _front(outcome: Outcome) -> Figure:
    import plotly.graph_objects as go

    first, second = outcome.config.objectives[:2]
    least = max(outcome.config.min_trades, 1)
    x, y = (outcome.searched.objective(name, outcome.bucket_s, least) for name in (first, second))
    figure = go.Figure(
        [
            go.Scattergl(x=x, y=y, mode="markers", name="sets", marker={"size": 5, "color": GREY}),
            go.Scatter(
                x=x[outcome.front], y=y[outcome.front], mode="markers", name="not beaten",
                marker={"size": 8, "color": RED}, text=[f"set {number}" for number in outcome.front.tolist()],
            ),
        ]
    )  # fmt: skip
    figure.update_layout(
        xaxis_title=f"{AXES.get(first, first)}, more is better",
        yaxis_title=f"{AXES.get(second, second)}, more is better",
    )
    return figure


def _influence(outcome: Outcome) -> Figure:
    import plotly.graph_objects as go

    space = outcome.results.space
    share = influence(space.unit(outcome.results.values), outcome.objective)
    order = np.argsort(share)
    names = [space.dimensions[d].short for d in order.tolist()]
    figure = go.Figure(go.Bar(x=share[order], y=names, orientation="h", marker_color=BLUE))
    figure.update_layout(xaxis_title="share of the variance", height=max(200, 60 + 28 * len(names)))
    return figure


def _heat(heat: Heat) -> Figure:
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Heatmap(z=heat.z, x=list(heat.x), y=list(heat.y), colorscale="Viridis", colorbar={"title": heat.z_name})
    )
    figure.update_layout(
        xaxis={"title": _axis(heat.x_name), "type": "category"},
        yaxis={"title": _axis(heat.y_name), "type": "category"},
        height=420,
    )
    return figure


def _surface(heat: Heat) -> Figure:
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Surface(
            z=heat.z, x=list(range(len(heat.x))), y=list(range(len(heat.y))), colorscale="Viridis",
            colorbar={"title": heat.z_name},
        )
    )  # fmt: skip
    figure.update_layout(
        height=580,
        scene={
            "camera": {"eye": {"x": 1.5, "y": 1.5, "z": 1.0}, "center": {"x": 0, "y": 0, "z": -0.15}},
            "xaxis": {"title": {"text": heat.x_name}, "tickvals": list(range(len(heat.x))), "ticktext": list(heat.x)},
            "yaxis": {
                "title": {"text": heat.y_name},
                "tickvals": list(range(0, len(heat.y), 3)),
                "ticktext": list(heat.y[::3]),
            },
            "zaxis": {"title": {"text": heat.z_name}},
        },
    )
    return figure


def _course(outcome: Outcome) -> Figure:
    import plotly.graph_objects as go

    sets = np.arange(len(outcome.objective))
    every = sets[:: max(1, -(-len(sets) // MOST_POINTS))]
    best = np.fmax.accumulate(outcome.objective) if len(sets) else outcome.objective
    figure = go.Figure(
        [
            go.Scattergl(
                x=every, y=outcome.objective[every], mode="markers", name="sets", marker={"size": 4, "color": GREY}
            ),
            go.Scatter(x=every, y=best[every], name="best so far", line={"color": RED}),
        ]
    )
    figure.update_layout(
        xaxis_title="set", yaxis_title=AXES.get(outcome.config.objectives[0], outcome.config.objectives[0])
    )
    return figure
