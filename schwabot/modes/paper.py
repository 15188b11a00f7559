"""mode=paper: a policy on live streams, its orders filled by the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schwabot.config import RunConfig
from schwabot.execution.paper_control import PaperControl
from schwabot.execution.simulated import SimulatedBroker
from schwabot.execution.trade_alerts import TradeAlerts
from schwabot.execution.trading_view import TradingView
from schwabot.modes.backtest import BacktestEntry, write_results
from schwabot.modes.hot_reload import open_reload
from schwabot.modes.live_rows import check_source, open_live_desk, open_live_feed, run_rows
from schwabot.modes.opening import say, while_compiling
from schwabot.modes.serving import served
from schwabot.modes.trading import Desk, open_policy
from schwabot.sinks.progress import Progress
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.training.meters import CompileEntry


def paper(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=paper: the live streams through the graph, the policy's orders through the simulated exchange.

    Returns:
        What summary.json holds.

    Raises:
        ConfigError: a source that is not live, or a setting that can't be used.
        VenueError: an exchange can't be reached.
    """
    check_source(settings)
    changes = open_reload(settings)
    policy, policy_s = while_compiling(lambda: open_policy(settings))
    with served(settings) as server, open_live_feed(settings) as feed:
        desk, graph_s = open_live_desk(settings, policy, feed)
        parameters = desk.parameters(settings)
        broker, broker_s = while_compiling(lambda: SimulatedBroker(desk.recorder(settings), parameters))
        if settings.live.measure_latency:
            desk.notes += say(_as_measured(desk, broker, feed))
        control = PaperControl(broker)
        server.shows(TradingView(broker, "paper", control.gated))
        server.controls(control)
        summary = run_rows(
            settings, run_dir, started_s, desk, broker, broker.row,
            meters=[CompileEntry(policy_s + graph_s + broker_s), BacktestEntry(broker, desk, parameters, "paper")],
            changes=changes,
            progress=Progress(enabled=settings.sinks.progress, label=settings.mode),
            alerts=TradeAlerts(broker, changes=control.changes).take,
            server=server,
            at_end=control.finish,
            between=control.step,
        )  # fmt: skip
    write_results(settings, run_dir, desk, broker, parameters, summary, "paper")
    return summary


def _as_measured(desk: Desk, broker: SimulatedBroker, feed: CcxtFeed) -> list[str]:
    """Let orders travel as long as requests do: half of a round trip there, half back."""
    took_s = feed.round_trips_s()
    for leg, stream in enumerate(desk.legs):
        half_ns = round(0.5e9 * took_s[stream.partition(":")[0]])
        broker.rules.entry_ns[0, leg] = broker.rules.response_ns[0, leg] = half_ns
    said = ", ".join(f"{venue} {1e3 * took:.3g} ms" for venue, took in took_s.items())
    return [f"note: simulated orders travel as long as a request does, half of it each way: {said}"]
