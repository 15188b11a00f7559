"""mode=backtest: a policy on a recorded market, through the one engine."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schwabot import engine
from schwabot.clock import ReplayClock
from schwabot.config import RunConfig
from schwabot.execution.simulated import SimulatedBroker
from schwabot.execution.trading_view import TradingView
from schwabot.modes.opening import describe, say, trace_of, while_compiling
from schwabot.modes.replay import sinks_of
from schwabot.modes.serving import served
from schwabot.modes.trading import Desk, open_desk, open_policy
from schwabot.records.audit import StepRecord
from schwabot.records.market import Ticks
from schwabot.simulation.details import ENDS, equity_table, fills_table, orders_table, trades_table
from schwabot.simulation.outcome import EquityCurve, Outcome, equity_curve
from schwabot.simulation.report import write_report
from schwabot.simulation.report_backtest import backtest_sections
from schwabot.simulation.totals import account_currency, funding_note, run_totals, short_spot_note
from schwabot.sinks.gpu_telemetry import watch_gpu
from schwabot.sinks.narrow import print_narrow, short_number
from schwabot.sinks.notes import SAID
from schwabot.sinks.progress import Progress
from schwabot.training.heads import fitted_note
from schwabot.training.meters import CompileEntry, meters_of, skill_meter
from schwabot_kernels.simulate.records import EQUITY2, FEES, FILLS, LEAST
from schwabot_kernels.simulate.state import NOT_RECORDED, ORDER_END, OUTSIDE_LIMIT, WOULD_CROSS


class BacktestEntry:
    """The broker's part of the summary.

    Args:
        broker: that trades.
        desk: that it was opened with.
        parameters: of the policy.
        name: of the entry.
    """

    def __init__(
        self, broker: SimulatedBroker, desk: Desk, parameters: Mapping[str, float], name: str = "backtest"
    ) -> None:
        self._broker = broker
        self._name = name
        self._desk = desk
        self._parameters = parameters

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Nothing: the broker was given the batch."""

    def summary(self) -> Mapping[str, Any]:
        """What it came to."""
        outcome = self._broker.outcome()
        currency, _ = account_currency(outcome)
        totals = run_totals(outcome, equity_curve(outcome), currency)
        what = {"policy": self._desk.policy.name, "parameters": dict(self._parameters), "trade": list(self._desk.legs)}
        return {self._name: what | totals}


def backtest(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=backtest: trades, fills, equity and shortfall to Parquet, a summary, report.html.

    Returns:
        What summary.json holds.
    """
    policy, policy_s = while_compiling(lambda: open_policy(settings))
    desk = open_desk(settings, policy)
    graph_s = desk.compile()
    parameters = desk.parameters(settings)
    broker, broker_s = while_compiling(lambda: SimulatedBroker(desk.recorder(settings), parameters))
    header = desk.header(settings, run_dir)
    progress = Progress(enabled=settings.sinks.progress, label=settings.mode)
    skill = skill_meter(desk.feed.instruments, settings.skill, desk.head, rates=desk.pipeline.rates)
    with served(settings) as server, watch_gpu(header.device) as gpu:
        server.shows(TradingView(broker, "simulated"))
        summary = engine.run(
            desk.feed,
            desk.pipeline,
            header,
            clock=ReplayClock(),
            broker=broker,
            sinks=[*sinks_of(settings, progress, gpu), *server.sinks],
            meters=[
                *meters_of(
                    desk.feed,
                    skill,
                    desk.modules.phantom_lag,
                    desk.pipeline.clock_summary,
                    desk.head,
                    desk.pipeline.rates,
                ),
                CompileEntry(policy_s + graph_s + broker_s),
                BacktestEntry(broker, desk, parameters),
                gpu,
            ],
            reference=desk.reference,
            batch_events=settings.batch_events,
            progress=progress,
            started_s=started_s,
            trace=trace_of(settings, run_dir, header.device),
            device_required=settings.device.required,
            watch=server.watch,
        )
    write_results(settings, run_dir, desk, broker, parameters, summary, "backtest")
    return summary


def write_results(
    settings: RunConfig, run_dir: Path, desk: Desk, broker: SimulatedBroker, parameters: Mapping[str, float],
    summary: Mapping[str, Any], entry: str,
) -> None:  # fmt: skip
    """Tables, report.html and what is said at the end of a run that traded.

    Args:
        settings: of the run.
        run_dir: where to.
        desk: that it was opened with.
        broker: that traded.
        parameters: of the policy.
        summary: as ``engine.run`` gave it.
        entry: of the summary: ``backtest``, or ``paper`` or ``live``, which know no latency sensitivity.
    """
    notes = list(summary["notes"])
    outcome = broker.outcome()
    currency, note = account_currency(outcome)
    notes += [note] if note else []
    if outcome.rows:
        first_ns, last_ns = (int(ts_ns) for ts_ns in outcome.market.ts_ns[[0, -1]])
        notes += [f"note: {one}" for one in [fitted_note(desk.head, first_ns, last_ns)] if one]
    notes += _live_notes(summary) if entry == "live" else _notes(outcome, summary[entry]) + _unstamped(broker)
    say([one for one in notes[len(desk.notes) :] if not one.startswith(SAID)])
    curve = equity_curve(outcome)
    tables = {"fills": fills_table(outcome), "shortfall": orders_table(outcome), "trades": trades_table(outcome)}
    if entry == "live":
        tables["shortfall"] = _as_refused(tables["shortfall"])
    if settings.sinks.parquet:
        for name, table in (tables | {"equity": equity_table(outcome, curve)}).items():
            _write(run_dir / f"{name}.parquet", table)
    if settings.sinks.figures:
        sensitivity, stopped = [], summary["interrupted"]
        if not stopped and entry == "backtest":
            with engine.StopRequest() as stop:
                sensitivity = latency_sensitivity(broker, settings.simulation.added_ms, curve, lambda: stop.wanted)
            stopped = stop.wanted
        if stopped and entry == "backtest" and settings.simulation.added_ms:
            notes += say(["note: interrupted: no latency sensitivity"])
        of = summary[entry], notes, currency, desk, parameters, entry
        _report(settings, run_dir, outcome, curve, tables, sensitivity, *of)
    if settings.sinks.console:
        _say(summary[entry], tables["trades"], run_dir)


def latency_sensitivity(
    broker: SimulatedBroker, added_ms: list[float], curve: EquityCurve, is_stopped: Callable[[], bool] = lambda: False
) -> list[dict[str, float]]:
    """The run again with more entry latency.

    Args:
        broker: of the run.
        added_ms: latencies to add, ms.
        curve: of the run.
        is_stopped: asked before each; half a curve is none.

    Returns:
        Per added latency: net in quote currency at the last mid, the same before fees, fees, fills.
    """
    outcome = broker.outcome()
    if not outcome.rows:
        return []
    worth = np.zeros(len(outcome.instruments))
    for v, (instrument, account) in enumerate(zip(outcome.instruments, outcome.accounts, strict=True)):
        if account is not None:
            worth[v] = account.unit * (float(curve.mid[v, -1]) if instrument.inverse else 1.0)
    rows = []
    for added in added_ms:
        if is_stopped():
            return []
        counts = broker.again(added)
        net, fees = float((0.5 * worth * counts[:, EQUITY2]).sum()), float((worth * counts[:, FEES]).sum())
        rows.append(
            {
                "added_ms": float(added),
                "net": net,
                "before fees": net + fees,
                "fees": fees,
                "fills": float(counts[:, FILLS].sum()),
            }
        )
    return rows


def _live_notes(summary: Mapping[str, Any]) -> list[str]:
    trading, totals = summary["trading"], summary["live"]
    refused = ", ".join(f"{count:,} {reason}" for reason, count in trading["refused"].items())
    notes = [f"note: orders that our own limits refused: {refused}"] if refused else []
    if not_sent := trading["not_sent"]:
        notes.append(f"note: {not_sent:,} orders were held back before they left: the journal says why")
    if totals["rejected"] > (ours := sum(trading["refused"].values()) + trading["dry_orders"] + not_sent):
        notes.append(f"note: {totals['rejected'] - ours:,} orders were refused by the venue: the journal says why")
    if not totals["fills"]:
        taken = totals["orders"] - totals["rejected"]
        notes.append(
            f"note: no trades: of {totals['orders']:,} orders {taken:,} were taken by a venue, none was filled"
        )
    return notes


def _notes(outcome: Outcome, totals: Mapping[str, Any]) -> list[str]:
    notes = []
    if not totals["fills"]:
        if totals["orders"]:
            why = f"{totals['orders']:,} orders were sent and none was filled"
        elif totals["refused"]:
            why = (
                f"all {totals['refused']:,} intents were refused before they were sent (position limit, lots or price)"
            )
        else:
            why = "the policy never asked for an order: its thresholds may be out of reach on this market"
        notes.append(f"note: no trades: {why}")
    rejected = totals["rejected"]
    if rejected > 10 and rejected > totals["orders"] / 2:
        ends = outcome.orders[:, ORDER_END]
        reasons = {ENDS[code]: int((ends == code).sum()) for code in range(OUTSIDE_LIMIT, NOT_RECORDED + 1)}
        said = ", ".join(f"{count:,} {name}" for name, count in reasons.items() if count)
        notes.append(
            f"note: {rejected:,} of {totals['orders']:,} orders were rejected ({said}): prices are in ticks, and only"
            " the touch is in the recording, so a resting order behind it is refused (docs/simulation.md)"
        )
    if outcome.rows and (unpaid := funding_note(outcome.rules.funding_ns, *outcome.market.ts_ns[[0, -1]].tolist())):
        notes.append(unpaid)
    short = short_spot_note(outcome.instruments, outcome.counts[:, LEAST].tolist())
    notes += [short] if short else []
    span_ns = int(outcome.market.ts_ns[outcome.rows - 1] - outcome.market.ts_ns[0]) if outcome.rows else 0
    way_ns = int((outcome.rules.entry_ns + outcome.rules.response_ns).max())
    if outcome.rows and span_ns <= way_ns:
        notes.append(
            f"note: the data last {span_ns / 1e6:,.1f} ms, an order's way to the exchange and back takes"
            f" {way_ns / 1e6:,.1f} ms: nothing could come back"
        )
    for v, instrument in enumerate(outcome.instruments):
        own = outcome.market.leg == v
        quotes = own & (outcome.market.kind == 0)
        if quotes.any() and not outcome.market.bid_lots[quotes].any():
            notes.append(
                f"note: {instrument.stream} has no quantities: taking orders are filled whole, resting ones are refused"
            )
    return notes


def _unstamped(broker: SimulatedBroker) -> list[str]:
    """Streams whose venue time is mostly unknown."""
    builder = broker.recorder.builder
    notes = []
    for v, instrument in enumerate(builder.instruments):
        rows = int((builder.market.leg == v).sum())
        if 2 * builder.unstamped[v] > rows:
            notes.append(
                f"note: {instrument.stream} has no venue time in {builder.unstamped[v]:,} of {rows:,} rows: orders meet"
                " its book as of when we received it, which is a feed delay too old"
            )
    return notes


def _write(path: Path, table: pa.Table) -> None:
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def _report(
    settings: RunConfig, run_dir: Path, outcome: Outcome, curve: EquityCurve, tables: Mapping[str, pa.Table],
    sensitivity: list[dict[str, float]], totals: Mapping[str, Any], notes: list[str], currency: str, desk: Desk,
    parameters: Mapping[str, float], entry: str,
) -> None:  # fmt: skip
    sections = backtest_sections(
        outcome.instruments,
        currency,
        curve,
        curve.money(outcome.instruments, outcome.accounts),
        tables,
        sensitivity,
        parameters,
        _assumed(settings, outcome),
        notes,
        totals["refused"],
        live=entry == "live",
    )
    first, last = (outcome.market.ts_ns[[0, -1]] if outcome.rows else np.zeros(2)).astype("datetime64[ns]")
    facts = {
        f"net, {currency}": f"{totals['net']:,.6g}",
        f"largest drawdown, {currency}": f"{totals['max_drawdown']:,.6g}",
        "fills": f"{totals['fills']:,}",
        "orders": f"{totals['orders']:,}",
        "round trips": _round_trips(tables["trades"]),
        "rows of market": f"{outcome.rows:,}",
        f"from, {str(first)[:10]} UTC": str(first)[11:19],
        f"to, {str(last)[:10]} UTC": str(last)[11:19],
    }
    met = {
        "backtest": "what these orders would have met in this recording, under the assumptions at the end of the page",
        "paper": "what these orders would have met while it ran, under the assumptions at the end of the page",
        "live": "what these orders met, as the venue told it",
    }[entry]
    said = f"Policy {desk.policy.name} on {describe(settings)}. Measured is {met}. It says nothing about other days."
    write_report(run_dir / "report.html", f"{_TITLES[entry]} of {desk.policy.name}", sections, facts, said)


def _round_trips(trades: pa.Table) -> str:
    """How many are closed, and how many are not yet."""
    closed = sum(trades["closed"].to_pylist())
    return f"{closed:,}" + (f" (and {trades.num_rows - closed:,} open)" if trades.num_rows > closed else "")


_TITLES = {"backtest": "Backtest", "paper": "Paper run", "live": "Live run"}


def _as_refused(orders: pa.Table) -> pa.Table:
    """Orders that a venue or our limits refused, by that name: the simulator has no reason like it."""
    end = orders["end"].cast(pa.string())
    return orders.set_column(
        orders.column_names.index("end"), "end", pc.if_else(pc.equal(end, ENDS[WOULD_CROSS]), "refused", end)
    )


def _assumed(settings: RunConfig, outcome: Outcome) -> dict[str, Any]:
    """Settings of the simulated exchange as they were in force: latencies may have been measured."""
    if settings.mode == "live":
        parts = settings.execution.risk, settings.execution.gateway
        return {name: value for part in parts for name, value in dataclasses.asdict(part).items()} | _fees(outcome)
    rules, said = outcome.rules, dataclasses.asdict(settings.simulation)
    for name, way_ns in (("entry_ms", rules.entry_ns), ("response_ms", rules.response_ns)):
        said[name] = ", ".join(f"{1e-6 * one:.4g}" for one in way_ns[0])
    return said | _fees(outcome)


def _fees(outcome: Outcome) -> dict[str, str]:
    rules = outcome.rules
    return {
        f"fees of {one.stream}": f"taker {rules.taker_e7[0, v] / 1000:g} bp, maker {rules.maker_e7[0, v] / 1000:g} bp"
        for v, one in enumerate(outcome.instruments)
    }


def _say(totals: Mapping[str, Any], trades: pa.Table, run_dir: Path) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    counts = ("fills", "orders", "rejected", "refused")
    heads = ("traded stream", "net", "fees", "in", "drawdown", *counts, "held s", "position")
    rows = [
        (
            stream,
            short_number(leg["net"]),
            short_number(leg["fees"]),
            leg["currency"],
            short_number(leg["max_drawdown"]),
            *(f"{leg[name]:,}" for name in counts),
            f"{leg['hold_s']:,.1f}",
            f"{leg['position']:g}",
        )
        for stream, leg in totals["legs"].items()
    ]
    print_narrow(console, heads, rows, left=("traded stream", "in"))
    said = ", ".join(f"{name}={value:g}" for name, value in totals["parameters"].items())
    console.print(f"policy {totals['policy']} ({said}): {_round_trips(trades)} round trips", soft_wrap=True)
    console.print(
        f"net {totals['net']:,.6g} {totals['currency']} after fees; report: {run_dir / 'report.html'}", soft_wrap=True
    )
