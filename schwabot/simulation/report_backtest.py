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
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64
from schwabot.simulation.decimals import in_units
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
LIVE_ASSUMPTIONS = (
    "Fills, their times and their ends are the venue's. Fees are those stated above; what it took is in the journal.",
    (
        "An order arrived when the venue stamped its answer, put on our clock: as good as the clock estimate and the"
        " stamp, mostly whole milliseconds. The price then is that of the venue's last quote by that time."
    ),
    "No interest and no funding is counted.",
)
ENDED = {
    "filled": "all of it",
    "rest_cancelled": "a take that met less than it asked for; the rest is cancelled at once",
    "cancelled": "by the policy",
    "replaced": "by another order, which is counted as a replace",
    "rejected_price": "a take: the price it met was beyond its limit",
    "rejected_no_book": "the exchange had no quote yet",
    "rejected_would_cross": "a post that would have traded at once",
    "refused": "by our own limits or by the venue, or it was only told of, in the dry run",
    "rejected_level_not_recorded": "a post behind the touch: the queue there is not in the record",
    "open": "not told by the end of the data",
}


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


def extremes(values: Float64, most: int) -> Int64:
    """At most about ``most`` of the indices: of each of even pieces where it is lowest and where it is highest.

    Example:
        >>> extremes(np.array([0.0, 5.0, 1.0, 2.0, -3.0, 4.0, 4.0]), 4).tolist(), extremes(np.zeros(3), 4).tolist()
        ([0, 1, 4, 5, 6], [0, 1, 2])
    """
    if len(values) <= most:
        return np.arange(len(values))
    size = -(-2 * len(values) // most)
    firsts = range(0, len(values), size)
    pieces = [values[first : first + size] for first in firsts]
    found = [
        first + int(at) for first, piece in zip(firsts, pieces, strict=True) for at in (piece.argmin(), piece.argmax())
    ]
    return np.unique([0, *found, len(values) - 1])


def position_steps(
    fills: pa.Table, stream: str, first_ns: int, last_ns: int, first: float = 0.0
) -> tuple[Int64, Float64]:
    """When a stream's position changed and what it was from then on: ``first`` at ``first_ns``, up to ``last_ns``."""
    own = fills.filter(pc.equal(fills["stream"], stream))
    position = own["position"].to_numpy()
    held = float(position[-1]) if len(position) else first
    return np.array([first_ns, *own["ts_report_ns"].to_pylist(), last_ns]), np.array([first, *position, held])


def order_ends(shortfall: pa.Table) -> list[dict[str, Any]]:
    """How orders ended, the most frequent end first, and all of them. A replace is no order but a change of one."""
    rows: list[dict[str, Any]] = []
    partly = pc.and_(pc.greater(shortfall["filled_qty"], 0.0), pc.less(shortfall["filled_qty"], shortfall["qty"]))
    for end in (*ENDED, ""):
        own = pc.equal(shortfall["end"], end) if end else pc.is_valid(shortfall["end"])
        styles = shortfall.filter(own)["style"].cast(pa.string()).to_pylist()
        takes, posts, replaces = (styles.count(style) for style in ("take", "post", "replace"))
        row = {"end": end or "in all", "orders": takes + posts, "takes": takes, "posts": posts, "replaces": replaces}
        row |= {"filled in part": shortfall.filter(pc.and_(own, partly)).num_rows, "what that is": ENDED.get(end, "")}
        if styles or not end:
            rows.append(row)
    return [*sorted(rows[:-1], key=lambda row: -(row["orders"] + row["replaces"])), rows[-1]]


def backtest_sections(
    instruments: Sequence[Instrument],
    currency: str,
    curve: EquityCurve,
    money: Float64,
    tables: Mapping[str, pa.Table],
    sensitivity: Sequence[Mapping[str, float]],
    parameters: Mapping[str, Any],
    settings: Mapping[str, Any],
    notes: Sequence[str],
    refused: int = 0,
    *,
    live: bool = False,
) -> list[Section]:
    """The sections in order.

    Args:
        instruments: of the L legs.
        currency: of ``money``.
        curve: equity samples.
        money: equity of every leg in one currency. [L, B]
        tables: fills, shortfall, trades.
        sensitivity: rows of added_ms, net, fees, fills.
        parameters: of the policy.
        settings: of the simulation; of a live run the limits and how orders travel.
        notes: what the reader has to know.
        refused: what the policy asked for and was not sent.
        live: orders met a venue, not the simulator.
    """
    streams = [one.stream for one in instruments]
    sections = [
        _equity(streams, currency, curve, money),
        _position(instruments, curve, tables["fills"]),
        *(_prices(stream, v, curve, tables["fills"]) for v, stream in enumerate(streams)),
        _by_stream(streams, currency, money, tables["fills"]),
        _ends(tables["shortfall"], refused),
        _by_lane(tables["trades"], tables["shortfall"]),
        _by_hour(currency, curve, money),
        _lag_cost(tables["shortfall"]),
        *([_sensitivity(sensitivity, currency)] if sensitivity else []),
        Section("Parameters of the policy", table=[{"parameter": k, "value": _text(v)} for k, v in parameters.items()]),
        Section(
            "Limits, and how orders travel" if live else "Settings of the simulated exchange",
            table=[{"setting": k, "value": _text(v)} for k, v in settings.items()],
        ),
        Section("What is assumed", "\n\n".join(LIVE_ASSUMPTIONS if live else ASSUMPTIONS)),
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


def _position(instruments: Sequence[Instrument], curve: EquityCurve, fills: pa.Table) -> Section:
    figure = make_subplots(rows=len(instruments), cols=1, shared_xaxes=True, vertical_spacing=0.25 / len(instruments))
    lots, drawn, changes = [], 0, 0
    for v, one in enumerate(instruments):
        unit = "contracts" if one.inverse else one.base
        size = in_units(1, one.lot_size, 1.0 if one.inverse else one.contract_value).item()
        lots.append(f"{size:.10g} {'contract' if one.inverse and size == 1 else unit} ({one.stream})")
        if len(curve.ts_ns):
            first = size * float(curve.position_lots[v, 0])
            ts_ns, position = position_steps(fills, one.stream, int(curve.ts_ns[0]), int(curve.ts_ns[-1]), first)
            rows = extremes(position, MOST_POINTS)
            drawn, changes = drawn + len(rows), changes + len(position)
            line, when = {"shape": "hv", "width": 1.5}, times(ts_ns[rows])
            step = go.Scatter(x=when, y=position[rows], name=one.stream, mode="lines", line=line)
            figure.add_trace(step, v + 1, 1)
        figure.update_yaxes(title_text=unit, zeroline=True, zerolinecolor=GREY, row=v + 1, col=1)
    figure.update_layout(
        height=max(240, 60 + 170 * len(instruments)),
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
        showlegend=True,
    )
    some = " Of each stretch the smallest and the largest are drawn." if drawn < changes else ""
    text = f"As reported to us: long above 0, short below. One lot is {', '.join(lots)}.{some}"
    return Section("Position", text, figure)


def _ends(shortfall: pa.Table, refused: int) -> Section:
    text = (
        "Each order once: takes and posts. A replace goes on with an order that was sent before; it is counted beside,"
        " and what it replaces ended as replaced. Filled in part: some of it was traded, whatever the end."
    )
    if refused:
        text += f" Besides, {refused:,} were refused before they were sent (position limit, lots or price)."
    return Section("How orders ended", text, table=order_ends(shortfall))


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
        replaces = pc.sum(pc.equal(orders["style"], "replace")).as_py() or 0
        per_currency = trips.group_by("currency").aggregate([("pnl", "sum")]).to_pylist()
        won = pc.sum(pc.greater(trips["pnl"], 0.0)).as_py() or 0
        rows.append(
            {
                "lane at entry": lane.name,
                "round trips": trips.num_rows,
                "won": f"{100 * won / trips.num_rows:.0f} %" if trips.num_rows else "–",
                "net": ", ".join(f"{one['pnl_sum']:,.6g} {one['currency']}" for one in per_currency) or "–",
                "orders": orders.num_rows - replaces,
                "replaces": replaces,
                "mean shortfall, bp": pc.mean(orders["total_bp"]).as_py(),
            }
        )
    text = (
        "Lane of the stream when the order that opened the position was decided; of orders and replaces, when they were"
        " decided. The shortfall is the mean over both, each measured from its own decision."
    )
    return Section("By lane", text, table=rows)


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
    figure.update_layout(bargap=max(0.1, 1.0 - len(rows) / 8), height=300)
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
