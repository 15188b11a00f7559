"""The figures of a backtest's report.html.

Axis legend: L legs, B samples of equity, F fills.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from schwabot.records.audit import Lane
from schwabot.records.market import Float64, Int64
from schwabot.simulation.outcome import EquityCurve
from schwabot.simulation.report import Section

MOST_POINTS = 4_000
MOST_FILLS = 4_000
BLUE, RED, GREEN, GREY = "#1f5fa8", "#c0392b", "#1d8348", "#8795a5"
ASSUMPTIONS = (
    "Our orders leave the recorded market as it was: no impact, and nobody answers to us.",
    (
        "A taking order fills at the touch it meets at the exchange, no more than the size shown there; the rest is"
        " cancelled. Depth behind the touch is not used."
    ),
    (
        "A resting order joins the queue at the back of the shown size. It fills when recorded trades eat through what"
        " is ahead of it, when a trade goes through its price, or when the other side's quote reaches it."
    ),
    (
        "Venue times are the venue's stamps on our clock, as good as the clock estimate; streams without stamps use"
        " their venue's median feed delay."
    ),
    "No interest, no borrowing cost, no liquidation, no rate limits; funding only where a file of it was given.",
)


def times(ts_ns: Int64) -> Any:
    """UTC times for an axis."""
    return np.asarray(ts_ns, dtype="datetime64[ns]").astype("datetime64[us]")


def thinned(count: int, most: int) -> Int64:
    """At most ``most`` + 1 of ``count`` indices, evenly, the last one always.

    Example:
        >>> thinned(5, 10).tolist(), thinned(10, 3).tolist()
        ([0, 1, 2, 3, 4], [0, 4, 8, 9])
    """
    step = -(-count // most) if count else 1
    rows = np.arange(0, count, step)
    return rows if not count or rows[-1] == count - 1 else np.append(rows, count - 1)


def backtest_sections(
    streams: Sequence[str],
    currency: str,
    curve: EquityCurve,
    money: Float64,
    tables: Mapping[str, pa.Table],
    sensitivity: Sequence[Mapping[str, float]],
    parameters: Mapping[str, Any],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> list[Section]:
    """The sections in order.

    Args:
        streams: of the L legs.
        currency: of ``money``.
        curve: equity samples.
        money: equity of every leg in one currency. [L, B]
        tables: fills, shortfall, trades.
        sensitivity: rows of added_ms, net, fees, fills.
        parameters: of the policy.
        settings: of the simulation.
        notes: what the reader has to know.
    """
    sections = [
        _equity(streams, currency, curve, money),
        *(_prices(stream, v, curve, tables["fills"]) for v, stream in enumerate(streams)),
        _by_stream(streams, currency, money, tables["fills"]),
        _by_lane(tables["trades"], tables["shortfall"]),
        _by_hour(currency, curve, money),
        _lag_cost(tables["shortfall"]),
        *([_sensitivity(sensitivity, currency)] if sensitivity else []),
        Section("Parameters of the policy", table=[{"parameter": k, "value": _text(v)} for k, v in parameters.items()]),
        Section(
            "Settings of the simulated exchange", table=[{"setting": k, "value": _text(v)} for k, v in settings.items()]
        ),
        Section("What is assumed", "\n\n".join(ASSUMPTIONS)),
    ]
    if notes:
        sections.insert(0, Section("Notes", "\n\n".join(notes)))
    return sections


def _equity(streams: Sequence[str], currency: str, curve: EquityCurve, money: Float64) -> Section:
    total = money.sum(axis=0)
    fall = total - np.maximum.accumulate(np.maximum(total, 0.0)) if len(total) else total
    rows = thinned(len(total), MOST_POINTS)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.05)
    when = times(curve.ts_ns[rows])
    figure.add_trace(go.Scatter(x=when, y=total[rows], name="total", line={"color": BLUE, "width": 2}), 1, 1)
    if len(streams) > 1:
        for v, stream in enumerate(streams):
            figure.add_trace(go.Scatter(x=when, y=money[v, rows], name=stream, line={"width": 1}), 1, 1)
    figure.add_trace(
        go.Scatter(x=when, y=fall[rows], name="drawdown", fill="tozeroy", line={"color": RED, "width": 1}), 2, 1
    )
    figure.update_yaxes(title_text=f"equity, {currency}", row=1, col=1)
    figure.update_yaxes(title_text="drawdown", row=2, col=1)
    figure.update_layout(height=460, legend={"orientation": "h", "y": 1.08})
    return Section("Equity and drawdown", "Fees included; a position is valued at the mid that was known.", figure)


def _prices(stream: str, v: int, curve: EquityCurve, fills: pa.Table) -> Section:
    rows = thinned(len(curve.ts_ns), MOST_POINTS)
    figure = go.Figure(
        go.Scattergl(x=times(curve.ts_ns[rows]), y=curve.mid[v, rows], name="mid", line={"color": GREY, "width": 1})
    )
    own = fills.filter(pc.equal(fills["stream"], stream))
    shown = own.take(thinned(own.num_rows, MOST_FILLS))
    for side, symbol, colour in (("buy", "triangle-up", GREEN), ("sell", "triangle-down", RED)):
        of_side = shown.filter(pc.equal(shown["side"], side))
        figure.add_trace(
            go.Scattergl(
                x=times(of_side["ts_venue_ns"].to_numpy()),
                y=of_side["price"].to_numpy(),
                mode="markers",
                name=side,
                marker={"symbol": symbol, "color": colour, "size": 8},
                text=[
                    f"{qty:g} {kind}"
                    for qty, kind in zip(of_side["qty"].to_pylist(), of_side["liquidity"].to_pylist(), strict=True)
                ],
            )
        )
    figure.update_yaxes(title_text="price", tickformat=",")
    figure.update_layout(legend={"orientation": "h", "y": 1.1})
    some = f" {shown.num_rows:,} of {own.num_rows:,} fills are drawn." if shown.num_rows < own.num_rows else ""
    return Section(f"Fills of {stream}", f"At the time of the exchange, on our clock.{some}", figure)


def _by_stream(streams: Sequence[str], currency: str, money: Float64, fills: pa.Table) -> Section:
    rows = []
    for v, stream in enumerate(streams):
        own = fills.filter(pc.equal(fills["stream"], stream))
        maker = pc.sum(pc.equal(own["liquidity"], "maker")).as_py() or 0
        rows.append(
            {
                "stream": stream,
                f"net, {currency}": float(money[v, -1]) if money.shape[1] else 0.0,
                "fills": own.num_rows,
                "as maker": maker,
                "fees": float(pc.sum(own["fee"]).as_py() or 0.0),
                "fees in": own["currency"][0].as_py() if own.num_rows else "",
            }
        )
    return Section("By stream", table=rows)


def _by_lane(trades: pa.Table, shortfall: pa.Table) -> Section:
    rows = []
    for lane in Lane:
        trips = trades.filter(pc.equal(trades["lane"], lane.name))
        orders = shortfall.filter(pc.equal(shortfall["lane"], lane.name))
        per_currency = trips.group_by("currency").aggregate([("pnl", "sum")]).to_pylist()
        won = pc.sum(pc.greater(trips["pnl"], 0.0)).as_py() or 0
        rows.append(
            {
                "lane at entry": lane.name,
                "round trips": trips.num_rows,
                "won": f"{100 * won / trips.num_rows:.0f} %" if trips.num_rows else "–",
                "net": ", ".join(f"{one['pnl_sum']:,.6g} {one['currency']}" for one in per_currency) or "–",
                "orders": orders.num_rows,
                "mean shortfall, bp": pc.mean(orders["total_bp"]).as_py(),
            }
        )
    return Section("By lane", "Lane of the stream when the order that opened the position was decided.", table=rows)


def _by_hour(currency: str, curve: EquityCurve, money: Float64) -> Section:
    total = money.sum(axis=0)
    rows, gains = [], np.empty(0)
    if len(total):
        hour = curve.ts_ns // 3_600_000_000_000
        ends = np.append(np.flatnonzero(np.diff(hour)), len(hour) - 1)
        gains = np.diff(total[ends], prepend=0.0)
        rows = [
            {"hour (UTC)": f"{datetime.fromtimestamp(int(hour[end]) * 3600, UTC):%Y-%m-%d %H:00}", "net": float(gain)}
            for end, gain in zip(ends, gains, strict=True)
        ]
    figure = go.Figure(
        go.Bar(
            x=[row["hour (UTC)"] for row in rows],
            y=[row["net"] for row in rows],
            marker_color=[RED if gain < 0 else GREEN for gain in gains],
        )
    )
    figure.update_yaxes(title_text=f"net, {currency}")
    figure.update_xaxes(type="category")
    return Section("By hour", "Change of equity within each hour of receive time.", figure)


def _lag_cost(shortfall: pa.Table) -> Section:
    took = shortfall.filter(pc.greater(shortfall["filled_qty"], 0.0))
    delay = took["delay_bp"].to_numpy(zero_copy_only=False)
    parts = ("delay_bp", "realised_bp", "missed_bp", "fees_bp", "total_bp")
    rows = [
        {
            "part": part.removesuffix("_bp"),
            "mean, bp": float(np.nanmean(values)) if len(values) else None,
            "median, bp": float(np.nanmedian(values)) if len(values) else None,
            "worst, bp": float(np.nanmax(values)) if len(values) else None,
        }
        for part in parts
        for values in [took[part].to_numpy(zero_copy_only=False)]
    ]
    figure = go.Figure(go.Histogram(x=delay, nbinsx=80, marker_color=BLUE))
    figure.update_xaxes(title_text="delay cost, bp")
    figure.update_yaxes(title_text="orders")
    named = {
        one["realised_phantom"]: one["count"]
        for one in _counts(took, "realised_phantom")
        if one["realised_phantom"] != "none"
    }
    events = "; ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in named.items())
    text = (
        "What the price did between an order's decision and its arrival at the exchange, against the order; positive"
        " is a cost. The table splits the whole shortfall against the mid at the decision (Perold 1988): delay, then"
        " spread and waiting at the exchange (realised), what was not filled (missed), fees. Orders that were not"
        f" filled at all are left out: {shortfall.num_rows - took.num_rows:,} of {shortfall.num_rows:,}."
    )
    return Section("Lag cost per order", text + (f"\n\nNamed above 1 bp: {events}." if events else ""), figure, rows)


def _counts(table: pa.Table, column: str) -> list[dict[str, Any]]:
    return [
        {column: one["values"], "count": one["counts"]}
        for one in pc.value_counts(table[column].cast(pa.string())).to_pylist()
    ]


def _sensitivity(rows: Sequence[Mapping[str, float]], currency: str) -> Section:
    figure = go.Figure()
    for name, colour in (("net", BLUE), ("before fees", GREY)):
        figure.add_trace(
            go.Scatter(
                x=[row["added_ms"] for row in rows],
                y=[row[name] for row in rows],
                name=name,
                mode="lines+markers",
                line={"color": colour},
            )
        )
    figure.update_xaxes(title_text="added entry latency, ms")
    figure.update_yaxes(title_text=currency)
    figure.update_layout(legend={"orientation": "h", "y": 1.1})
    text = (
        "The same run with this much added to the way of every order to the exchange; everything else as it was. A"
        " later policy may trade less often, and so pay fewer fees: look at both lines and at the fills."
    )
    return Section("What more latency would do", text, figure, [dict(row) for row in rows])


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
