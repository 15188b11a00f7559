"""GET /metrics: what the hub knows, in Prometheus' text format. docs/metrics.md has the table of all of it.

Values are read when they are asked for; nothing is counted twice. Base units: seconds, bytes, volts, ratios (1 bp is
1e-4). Labels are streams, venues' reasons, parts, states and routes, of which a run has a bounded number.

Axis legend: V streams.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from schwabot.records.health import TIMING_PER_DECADE
from schwabot.server.auth import viewer
from schwabot.server.host import MIB
from schwabot.server.hub import Hub
from schwabot.server.request_metrics import RequestCounts, RequestMeter
from schwabot.server.wire import LANES, Frame

BP = 1e-4
STATES = ("NORMAL", "REDUCING", "HALTED")
EDGE_BINS = tuple(at for decade in range(1, 7) for at in (10 * decade, 10 * decade + 3, 10 * decade + 7))
"""Of a ``Timing``, the bins that a bucket ends before: 10 us, 20 us, 50 us and so on, to the bins' own edges."""
Values = Iterable[tuple[Sequence[Any], float | None]]
"""Label values and the value; None = there is none now."""
router = APIRouter(dependencies=[Depends(viewer)])


_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {CONTENT_TYPE_PLAIN_0_0_4: {"schema": {"type": "string"}}}}}


@router.get("/metrics", tags=["run"], response_class=Response, responses=_TEXT)
async def metrics(request: Request) -> Response:
    """Counters and values for Prometheus, in its text format."""
    registry: CollectorRegistry = request.app.state.metrics
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def measured(app: FastAPI, hub: Hub) -> None:
    """Have an application count its requests and answer /metrics.

    Args:
        app: with all that shall be counted; what is added later comes before it, uncounted.
        hub: what is known of the run.
    """
    counts = RequestCounts()
    app.state.metrics = registry = CollectorRegistry(auto_describe=False)
    for collector in (RunMetrics(hub), counts):
        registry.register(collector)
    app.include_router(router)
    app.add_middleware(RequestMeter, counts=counts)


class RunMetrics:
    """Reads the hub; a collector of prometheus-client.

    Args:
        hub: what is known of the run.

    Example:
        >>> from schwabot.server.settings import ServerConfig
        >>> families = list(RunMetrics(Hub(ServerConfig())).collect())
        >>> families[1].name, families[1].samples[0].value
        ('schwabot_run_active', 0.0)
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """The families; one that has no value now is there without samples."""
        yield from self._run()
        yield from self._market()
        yield from self._streams()
        yield from self._parts()
        yield from self._trading()
        yield from self._told()
        yield from self._sweep()
        yield from self._host()

    def _run(self) -> Iterator[Metric]:
        hub, header = self._hub, self._hub.header
        version = header.get("version") or hub.version
        yield _gauge("build_info", "Always 1", ("version", "python"), [((version, platform.python_version()), 1.0)])
        active = hub.has_run and not hub.summary and not hub.is_gone
        yield _gauge("run_active", "1 while a run goes on, 0 without one or once it has ended", (), [((), active)])
        named = [tuple(header[name] for name in ("mode", "device", "source"))] if header else []
        yield _gauge("run_info", "Always 1", ("mode", "device", "source"), ((labels, 1.0) for labels in named))
        started = [((), header["started_ns"] / 1e9)] if header else []
        yield _gauge("run_start_time_seconds", "When the run began, since 1970", (), started)
        yield _gauge("run_heard_age_seconds", "Time since the run told something", (), [((), hub.age_s())])
        yield _counter("frames", "Frames of the run that came", (), [((), hub.seq)])
        yield _counter("frames_merged", "Frames put together, as they were not taken in time", (), [((), hub.merged)])
        yield _gauge("live_clients", "Open live streams", (), [((), hub.listeners)])

    def _market(self) -> Iterator[Metric]:
        hub = self._hub
        for name, of in (
            ("events", "Quotes and trades answered"), ("quotes", "Quotes answered"), ("trades", "Trades answered"),
        ):  # fmt: skip
            yield _counter(name, of, (), [((), hub.totals[name])])
        yield _counter("depth_rows", "Updates of order books", (), [((), hub.totals["depth"])])
        yield _gauge("events_per_second", "Quotes and trades, over the last 5 s", (), [((), hub.events_per_s())])
        ts_ns = hub.last.get("ts_ns")
        last = [] if ts_ns is None else [((), ts_ns / 1e9)]
        yield _gauge("last_event_timestamp_seconds", "Receive time of the newest event, since 1970", (), last)
        yield _gauge("ghost_price", "Fair price, in quote currency", (), [((), hub.last.get("ghost_price"))])
        windows = ((key[1:], count) for key, count in hub.told.items() if key[0] == "arbitrage")
        yield _counter("arbitrage_windows", "Closed windows: locked, or against the usual basis", ("kind",), windows)
        costs = (
            ((row["stream"], str(row["latency_ms"] / 1e3)), _scaled(row["mean_bp"], BP)) for row in hub.lag_curve()
        )
        yield _gauge(
            "late_cost_ratio", "Mean cost of acting so much later, over the run's decisions", ("stream", "seconds"),
            costs,
        )  # fmt: skip

    def _streams(self) -> Iterator[Metric]:
        hub = self._hub
        streams = hub.header.get("streams", [])
        names, now = [one["stream"] for one in streams], hub.last.get("streams", {})
        events = (((name,), count) for name, count in zip(names, hub.by_stream, strict=True))
        yield _counter("stream_events", "Quotes and trades of a stream", ("stream",), events)
        lanes = (
            ((name, lane), count)
            for name, counts in zip(names, hub.lanes, strict=True)
            for lane, count in zip(LANES, counts, strict=True)
        )
        yield _counter("stream_lane_events", "Events of a stream in each lane", ("stream", "lane"), lanes)
        mids = now.get("mid_bp", [None] * len(names))
        prices = (
            ((one["stream"], one["quote"]), hub.price(mid, one["is_rate"]))
            for one, mid in zip(streams, mids, strict=True)
        )
        yield _gauge("stream_mid_price", "Mid, in quote currency", ("stream", "currency"), prices)
        for name, column, unit, of in (
            ("half_spread_ratio", "half_spread_bp", BP, "Half the spread over the mid"),
            ("deviation_ratio", "deviation_bp", BP, "Ghost and phase less the mid; positive: the stream is cheap"),
            ("phase_ratio", "phase_bp", BP, "Persistent offset from the ghost"),
            ("drift_ratio", "drift", 1.0, "How fast the phase moves, relative to what it was"),
            ("drift_status", "status", 1.0, "0 stable, 1 drifting, 2 critical"),
            ("route", "route", 1.0, "0 takes part in the ghost, 1 unseen, 2 stale, 3 crossed, 4 drifting, 5 a rate"),
            ("forecast_ratio", "forecast_bp", BP, "Expected move over the lanes' horizon"),
            ("voltage_volts", "voltage", 1.0, "Conviction, 0.8 to 3.3"),
            ("lane", "lane", 1.0, "0 LOW, 1 MEDIUM, 2 HIGH"),
        ):
            values = (((one,), _scaled(value, unit)) for one, value in zip(names, now.get(column, []), strict=False))
            yield _gauge(f"stream_{name}", of, ("stream",), values)

    def _parts(self) -> Iterator[Metric]:
        hub = self._hub
        health = hub.health_now()
        parts = health["parts"]
        best = (((part["component"], part["now"]), part["best"]) for part in parts)
        yield _gauge(
            "part_first_choice", "1: the part is on its first choice; 0: a fallback is in use", ("component", "link"),
            best,
        )  # fmt: skip
        well = (((part["component"],), part.get("health")) for part in parts)
        yield _gauge("part_health_ratio", "How well the link in use is, 0 to 1", ("component",), well)
        switches = ((key[1:], count) for key, count in hub.told.items() if key[0] == "fallback")
        yield _counter("fallback_switches", "Changes of the link in use", ("component",), switches)
        times = HistogramMetricFamily(
            "schwabot_timing_seconds",
            "How long things take; answer: from the receipt of a row until it is answered next. The sum is of the"
            " bins' middles",
            labels=("timing",),
        )
        for one in health["timings"]:
            times.add_metric((one["name"],), *buckets_of(one["counts"]))
        yield times
        for name, of, key in (
            ("queue_rows", "Rows that wait for their answer", "queue_rows"),
            ("queue_most_rows", "The most rows that ever waited", "queue_most"),
        ):
            yield _gauge(name, of, (), [((), health[key])])
        yield _counter("messages", "Messages received from venues", (), [((), health["messages"])])
        yield _counter("reconnects", "Connections to venues that began again", (), [((), health["reconnects"])])
        drops = hub.health.get("dropped") or hub.summary.get("dropped") or {}
        dropped = (((reason,), count) for reason, count in drops.items())
        yield _counter("dropped", "Messages or rows that were left out", ("reason",), dropped)

    def _trading(self) -> Iterator[Metric]:
        hub, trading = self._hub, self._hub.trading
        state = [((), STATES.index(trading["state"]))] if trading else []
        yield _gauge("trading_state", "0 NORMAL, 1 REDUCING, 2 HALTED", (), state)
        sending = [((), trading["sending"])] if trading else []
        yield _gauge("trading_sending", "1: orders leave for a venue", (), sending)
        yield _counter("orders", "Orders and requests", (), [((), hub.counts["orders"])])
        states = ((name.removeprefix("orders."), n) for name, n in hub.counts.items() if name.startswith("orders."))
        in_state = (((name,), count) for name, count in states)
        yield _gauge("orders_in_state", "Orders and requests by how they stand", ("state",), in_state)
        yield _counter("fills", "Fills", (), [((), hub.counts["fills"])])
        refused = (((reason,), count) for reason, count in trading.get("refused", {}).items())
        yield _counter("orders_refused", "Requests that the risk gate refused", ("reason",), refused)
        rows: list[Frame] = trading.get("positions", [])
        for name, of, column in (
            ("position_lots", "Held, negative: short", "lots"),
            ("position_quantity", "Held, in base asset; in contracts of an inverse instrument", "qty"),
        ):
            yield _gauge(name, of, ("stream",), (((row["stream"],), row[column]) for row in rows))
        for name, of, column in (
            ("net_pnl", "Profit and loss after fees, at the last bid and ask, in the currency", "net"),
            ("fees", "Fees paid less rebates, in the currency", "fees"),
            ("max_drawdown", "Largest fall of the equity since the run began, in the currency", "max_drawdown"),
            ("turnover", "Bought and sold since the run began, in the currency", "turnover"),
        ):
            money = (((row["stream"], row["currency"]), row[column]) for row in rows)
            yield _gauge(name, of, ("stream", "currency"), money)

    def _told(self) -> Iterator[Metric]:
        hub = self._hub
        alerts = ((key[1:], count) for key, count in hub.told.items() if key[0] == "alert")
        yield _counter("alerts", "What a person should hear of", ("level", "kind"), alerts)
        errors = (((where,), hub.told["error", where]) for where in ("alert", "log"))
        yield _counter("errors", "Alerts and lines of the log that are errors", ("where",), errors)
        changes = [((), hub.counts["settings"])]
        yield _counter("settings_changes", "Changes of settings while running, refused ones too", (), changes)

    def _sweep(self) -> Iterator[Metric]:
        sweep = self._hub.sweep
        for name, of, column in (
            ("sweep_sets", "Parameter sets to try", "sets"),
            ("sweep_sets_done", "Parameter sets tried", "done"),
            ("sweep_best", "Best objective so far", "best"),
            ("sweep_param_events_per_second", "Parameter sets times events per second", "param_events_per_s"),
        ):
            yield _gauge(name, of, (), [((), sweep.get(column))])

    def _host(self) -> Iterator[Metric]:
        host = self._hub.host
        cpus = host.get("cpus")
        yield _gauge("host_processors", "Logical processors", (), [((), cpus)])
        yield _gauge("host_cpu_ratio", "Of all processors, 0 to 1", (), [((), _scaled(host.get("cpu_percent"), 0.01))])
        for name, of, column in (
            ("memory", "Memory of the machine", "memory_mib"),
            ("memory_used", "Memory in use", "memory_used_mib"),
            ("disk", "Disk that runs are written to", "disk_mib"),
            ("disk_free", "Of it free", "disk_free_mib"),
        ):
            yield _gauge(f"host_{name}_bytes", of, (), [((), _scaled(host.get(column), MIB))])
        processes = [(name, host[name]) for name in ("server", "run") if host.get(name)]
        for name, of, column, unit in (
            ("cpu_ratio", "1: one processor is busy with it", "cpu_percent", 0.01),
            ("resident_memory_bytes", "Resident memory", "rss_mib", MIB),
            ("threads", "Threads", "threads", 1.0),
        ):
            values = (((which,), _scaled(one[column], unit)) for which, one in processes)
            yield _gauge(f"process_{name}", of, ("process",), values)
        cards = [((str(at), card["name"]), card) for at, card in enumerate(host.get("gpus", []))]
        for name, of, column, unit in (
            ("busy_ratio", "Share of the time that a kernel runs", "busy_percent", 0.01),
            ("memory_bytes", "Memory of the card", "memory_mib", MIB),
            ("memory_used_bytes", "Of it in use", "memory_used_mib", MIB),
            ("temperature_celsius", "Temperature", "temperature_c", 1.0),
        ):
            read = ((labels, _scaled(card.get(column), unit)) for labels, card in cards)
            yield _gauge(f"gpu_{name}", of, ("gpu", "name"), read)


def buckets_of(counts: Sequence[int]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets of a ``Timing``, and about the sum, s.

    Example:
        >>> buckets, total_s = buckets_of([0] * 31 + [4] + [0] * 58)  # four times of 1.3 to 1.6 ms
        >>> buckets[6:8], buckets[-1], round(total_s, 5)
        ([('0.001', 0), ('0.001995', 4)], ('+Inf', 4), 0.00565)
    """
    edges = (f"{1e-6 * 10 ** (end / TIMING_PER_DECADE):.4g}" for end in EDGE_BINS)
    buckets: list[tuple[str, float]] = [
        (edge, sum(counts[:end])) for edge, end in zip((*edges, "+Inf"), (*EDGE_BINS, len(counts)), strict=True)
    ]
    middles = (1e-6 * 10 ** ((at + 0.5) / TIMING_PER_DECADE) for at in range(len(counts)))
    return buckets, sum(count * middle for count, middle in zip(counts, middles, strict=True))


def _gauge(name: str, of: str, labels: Sequence[str], values: Values) -> Metric:
    return _filled(GaugeMetricFamily(f"schwabot_{name}", of, labels=labels), values)


def _counter(name: str, of: str, labels: Sequence[str], values: Values) -> Metric:
    return _filled(CounterMetricFamily(f"schwabot_{name}", of, labels=labels), values)


def _filled(family: Any, values: Values) -> Metric:
    for labels, value in values:
        if value is not None:
            family.add_metric([str(label) for label in labels], float(value))
    found: Metric = family
    return found


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else unit * value
