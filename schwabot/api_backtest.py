"""A policy on a recorded market from Python, as mode=backtest does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from schwabot import engine
from schwabot.api import Graph, Place, _checked_names, _feed, _no_text, _settings
from schwabot.api_device import refuse_device, warn_of
from schwabot.clock import ReplayClock
from schwabot.execution.simulated import SimulatedBroker
from schwabot.modes.opened_graph import open_pipeline
from schwabot.modes.opening import compile_kernels, notes_of, while_compiling
from schwabot.modes.trading import legs_of
from schwabot.signals.compiling import compile_policy
from schwabot.signals.declaring import Policy, Signal
from schwabot.signals.loading import load_policy, load_signal
from schwabot.signals.own_signals import split_parameters
from schwabot.simulation.details import equity_table, fills_table, orders_table, trades_table
from schwabot.simulation.outcome import Outcome, equity_curve
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.totals import account_currency, run_totals
from schwabot.sinks.base import RunHeader
from schwabot.sinks.progress import Progress
from schwabot.ticks.base import Feed
from schwabot.training.heads import serve


@dataclass(frozen=True)
class Backtest:
    """What a policy's orders came to.

    Attributes:
        fills, shortfall, trades, equity: as the files of mode=backtest.
        summary: ``backtest`` of summary.json, with the run's ``device`` and ``notes``.
        outcome: the same as whole numbers, with the market it was played on.
        notes: what to know of them: why it ran on the CPU, what the source had to assume.
    """

    fills: pa.Table = field(repr=False)
    shortfall: pa.Table = field(repr=False)
    trades: pa.Table = field(repr=False)
    equity: pa.Table = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    outcome: Outcome = field(repr=False)
    notes: list[str] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        parts = ", ".join(f"{one.name}: {getattr(self, one.name).num_rows:,} rows" for one in fields(self)[:4])
        return f"Backtest({self.summary['policy']}: net {self.summary['net']:.6g} {self.summary['currency']}; {parts})"


@_checked_names
def backtest(
    source: Feed | Place | Sequence[Place] | pa.Table,
    policy: str | Policy,
    *,
    trade: Sequence[str] = (),
    leader: str | None = None,
    signals: Sequence[str | Signal] = (),
    simulation: Mapping[str, Any] | None = None,
    graph: Graph | None = None,
    batch_events: int = 65_536,
    progress: bool = False,
    **parameters: Any,
) -> Backtest:
    """Run a policy over a source and fill its orders by the rules of docs/simulation.md.

    Args:
        source: a feed, or what ``load`` takes.
        policy: a built-in one by name, ``my_module:my_policy``, or a function declared with ``@policy``.
        trade: streams to trade; default one stream, as ``policy.trade`` in the configuration.
        leader: stream of the policy's ``..._of_leader`` signals.
        signals: signals of one's own that it reads.
        simulation: as under ``simulation.`` in the configuration, e.g. ``{"entry_ms": 20}``.
        graph: whose settings and forecast give the signals; default those of ``Graph()``.
        batch_events: events per batch; changes memory and speed, never a result.
        progress: show a progress bar.
        parameters: of the policy, ``enter_bp=1.5``; of a signal as a dict under its name.

    Raises:
        ConfigError: a name or value that can't be used, or a feed that was already read.
        PolicyError: a policy that can't be compiled; says the line.
        DataError: bad input.

    Example:
        >>> result = backtest("synthetic", "threshold", enter_bp=0.2)
        >>> result.summary["fills"] == result.fills.num_rows
        True
    """
    _no_text(trade=trade, signals=signals)
    graph = graph or Graph()
    run = _settings({"simulation": dict(simulation or {})})
    declared = policy if isinstance(policy, Policy) else load_policy(policy)
    own = [one if isinstance(one, Signal) else load_signal(one) for one in signals]
    compiled = compile_policy(declared, own, max(len(trade), 1))
    of_policy, of_signals = split_parameters(parameters)
    refuse_device("backtest", of_policy, [one.name for one in compiled.parameters])
    values = compiled.values(of_policy)
    feed = _feed(source)
    modules = graph.settings.modules
    if graph.head is not None:
        modules = serve(graph.head, graph._checkpoint, modules, feed.instruments)
    pipeline, of_device = open_pipeline(graph.settings, feed, modules, graph.head, quiet=not progress)
    warn_of(of_device)
    legs = legs_of(trade, feed.instruments, pipeline.rates)
    compile_kernels(feed.instruments, modules, say=progress)
    rows = getattr(feed, "expected_events", None)
    recorder = MarketRecorder(
        compiled, feed.instruments, legs, run.simulation, pipeline.graph.horizons_ms, leader, rows, of_signals
    )
    broker, _ = while_compiling(lambda: SimulatedBroker(recorder, values), say=progress)
    header = RunHeader(
        run_dir=Path(), mode="backtest", device=str(pipeline.device), source=type(feed).__name__,
        instruments=feed.instruments, expected_events=rows, notes=tuple(notes_of(feed, of_device)),
        rates=pipeline.rates,
    )  # fmt: skip
    bar = Progress(enabled=progress, label="backtest")
    ran = engine.run(
        feed, pipeline, header, clock=ReplayClock(), broker=broker, batch_events=batch_events, progress=bar,
        device_required=graph.settings.device.required,
    )  # fmt: skip
    outcome = broker.outcome()
    curve = equity_curve(outcome)
    currency, _ = account_currency(outcome)
    what = {"policy": compiled.name, "parameters": values, "trade": list(legs)}
    return Backtest(
        fills=fills_table(outcome),
        shortfall=orders_table(outcome),
        trades=trades_table(outcome),
        equity=equity_table(outcome, curve),
        summary=what | run_totals(outcome, curve, currency) | {name: ran[name] for name in ("device", "notes")},
        outcome=outcome,
        notes=ran["notes"],
    )
