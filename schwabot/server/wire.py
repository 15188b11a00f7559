"""What a run tells its server, as plain values: frames, one line of JSON each.

open    what the run is: streams, settings, what a person may do
step    numbers by now, and what happened since the last frame
log     lines of the log
sweep   how far a sweep is
answer  what became of an action
close   the summary

Axis legend: N rows of a batch, V streams, L latencies, K points of a frame.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np
import orjson

from schwabot.records.alert import Level
from schwabot.records.audit import DriftStatus, Lane, Route, StepRecord
from schwabot.records.health import HealthRecord
from schwabot.records.market import Float64, Kind
from schwabot.records.trading import TradingRecord
from schwabot.secrets import scrub
from schwabot.sinks.base import RunHeader

Frame = dict[str, Any]
POINT_NS = 50_000_000
MOST_POINTS = 20
"""Points of the live charts in one frame: a replay's batch spans minutes of market."""
MOST_ITEMS = 5_000
"""Orders, fills and so on that a server keeps of each: the newest. The run's own tables have all of them."""
MOST_MERGED = 1_000
"""Points of the live charts in frames that were put together."""
MOST_ROWS = 50_000
"""Orders, fills, alerts and so on in frames that were put together: the newest."""
STREAM_COLUMNS = (
    "mid_bp", "half_spread_bp", "deviation_bp", "phase_bp", "drift", "route", "status", "forecast_bp", "snr", "bits",
    "voltage", "lane", "pays_fees",
)  # fmt: skip
"""Of ``step``'s ``streams``: the newest values, a list of V each."""
POINT_COLUMNS = ("mid_bp", "deviation_bp", "drift", "voltage", "lane")
"""Of ``step``'s ``points``: lists of K lists of V."""
TRADING = tuple(one.name for one in fields(TradingRecord))
ROUTES, STATUSES, LANES = ([one.name for one in kind] for kind in (Route, DriftStatus, Lane))


SCRUBBED = ("open", "answer", "close")
"""Frames whose every word is looked at for secrets; of others the texts that come from elsewhere."""


def encode(frame: Mapping[str, Any]) -> bytes:
    r"""One line; what is not finite becomes null.

    Example:
        >>> encode({"ghost_bp": float("nan"), "n": 1})
        b'{"ghost_bp":null,"n":1}\n'
    """
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    frame = cleaned(frame) if frame.get("t") in SCRUBBED else frame
    try:
        return orjson.dumps(frame, option=options)
    except TypeError:  # half a character, a number beyond 64 bits: what a venue or a file name may hold
        return orjson.dumps(cleaned(frame), option=options)


def cleaned(value: Any) -> Any:
    r"""The same without secrets, and with nothing in it that JSON does not know.

    Example:
        >>> cleaned({"why": "half \ud800", "n": 10**30})
        {'why': 'half \\ud800', 'n': '1000000000000000000000000000000'}
    """
    if isinstance(value, str):
        return scrub(value.encode("utf-8", "backslashreplace").decode())
    if isinstance(value, Mapping):
        return {cleaned(str(name)): cleaned(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(one) for one in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    return cleaned(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value


def open_frame(header: RunHeader, hot: Mapping[str, Any], actions: Sequence[str], version: str) -> Frame:
    """What the run is.

    Args:
        header: of the run.
        hot: settings that may change while it runs, with their values.
        actions: what a person may do.
        version: of the program.
    """
    return {
        "t": "open",
        "version": version,
        "pid": os.getpid(),
        "started_ns": time.time_ns(),
        "mode": header.mode,
        "device": header.device,
        "source": header.source,
        "run_dir": str(header.run_dir),
        "expected_events": header.expected_events,
        "streams": [
            {
                "stream": one.stream, "venue": one.venue, "symbol": one.symbol, "base": one.base, "quote": one.quote,
                "tick_size": one.tick_size, "lot_size": one.lot_size, "inverse": one.inverse, "is_spot": one.is_spot,
                "maker_fee_bp": one.maker_fee_bp, "taker_fee_bp": one.taker_fee_bp,
                "is_rate": one.stream in header.rates,
            }
            for one in header.instruments
        ],
        "horizons_ms": list(header.horizons_ms),
        "config": header.config,
        "notes": list(header.notes),
        "hot": dict(hot),
        "actions": list(actions),
    }  # fmt: skip


HAPPENED = ("arbitrage", "drift_events", "fallbacks", "alerts", "settings")


def merge(waiting: Frame, newer: Mapping[str, Any]) -> None:
    """Put a newer frame of the same kind into one that waits.

    Points of the live charts grow coarser; of what happened the newest ``MOST_ROWS`` of each kind are kept.

    Args:
        waiting: becomes what a server can be told in place of both; ``step``, ``log`` or ``sweep``.
        newer: left as it is.

    Example:
        >>> one = {"t": "log", "lines": ["a"]}
        >>> merge(one, {"t": "log", "lines": ["b"]})
        >>> one["lines"]
        ['a', 'b']
    """
    lists = {"step": HAPPENED, "log": ("lines",), "sweep": ()}[waiting["t"]]
    both: Frame = {name: [*waiting[name], *newer[name]][-MOST_ROWS:] for name in lists}
    if waiting["t"] == "step":
        both["points"] = _joined(waiting["points"], newer["points"])
        both["trading"] = _traded(waiting["trading"], newer["trading"])
        both["health"] = newer["health"] or waiting["health"]
        rows = {tuple(row[:2]): row for row in (*waiting["decisions"], *newer["decisions"])}
        both["decisions"] = list(rows.values())
    waiting.update({**newer, **both})


def _traded(older: Frame | None, newer: Frame | None) -> Frame | None:
    if older is None or newer is None:
        return newer or older
    return newer | {name: [*older[name], *newer[name]][-MOST_ROWS:] for name in ("orders", "fills")}


def _joined(older: Mapping[str, list[Any]], newer: Mapping[str, list[Any]]) -> Frame:
    if not older or not newer:
        return dict(newer or older)
    both = {name: [*older[name], *newer[name]] for name in newer}
    times = np.array(both["ts_ns"])
    if len(times) <= 2 * MOST_MERGED:
        return both
    since = times[0] + np.linspace(0.0, float(times[-1] - times[0]), MOST_MERGED).astype(np.int64)  # evenly in time
    kept = np.unique(np.searchsorted(times, np.minimum(since, times[-1]))).tolist()
    return {name: [rows[at] for at in kept] for name, rows in both.items()}


def as_it_stands(step: Mapping[str, Any], before: Mapping[str, Any]) -> Frame:
    """Of a ``step``, what tells a new server how things stand, without what happened.

    Args:
        step: the newest.
        before: this function's answer to the one before; empty = there was none.
    """
    trading = step["trading"] or before.get("trading")
    lists: Frame = {name: [] for name in (*HAPPENED, "decisions")}
    if trading is not None:
        trading = trading | {"orders": [], "fills": []}
    health = step["health"] or before.get("health")
    return {**before, **step, **lists, "points": {}, "trading": trading, "health": health}


class Digest:
    """Gathers records until the next frame is due.

    Args:
        streams: V.
    """

    def __init__(self, streams: int) -> None:
        self._v = streams
        self._last: StepRecord | None = None  # the newest record that has rows
        self._quotes, self._trades, self._depth = 0, 0, 0
        self._lanes = np.zeros((streams, 3), np.int64)
        self._late: tuple[tuple[float, ...], Float64] | None = None  # latencies, sums [V, L, 5]
        self._settings: deque[Frame] = deque(maxlen=100)
        self._switches: dict[str, Frame] = {}  # component → its last switch
        self._clear()

    def _clear(self) -> None:
        self._points: list[tuple[Any, ...]] = []
        self._changed = np.zeros(self._v, np.bool_)  # streams whose decisions are more than was told
        self._happened: dict[str, list[Any]] = {name: [] for name in HAPPENED}
        self._trading: Frame | None = None
        self._health: HealthRecord | None = None
        self._moved = self._has_depth = False

    def again(self) -> None:
        """The next frame is for a server that knows nothing yet; orders and fills are ``TradingView.again``'s."""
        self._changed[:] = True
        self._moved = self._last is not None
        new = self._happened["fallbacks"]
        self._happened["settings"] = list(self._settings)
        self._happened["fallbacks"] = [*(one for one in self._switches.values() if one not in new), *new]

    def add(self, record: StepRecord) -> None:
        """Take one record."""
        n = len(record.ts_recv_ns)
        self._depth += record.depth_rows
        self._has_depth |= record.depth_rows > 0
        if n:
            self._last, self._moved = record, True
            trades = int(np.count_nonzero(record.kind == Kind.TRADE))
            self._trades += trades
            self._quotes += n - trades
            own = record.signals.lane[np.arange(n), record.stream]
            self._lanes += np.bincount(3 * record.stream + own, minlength=3 * self._v).reshape(-1, 3)
            self._add_points(record, n)
        self._add_decisions(record)
        self._add_happened(record)
        if record.trading is not None:
            new = {name: getattr(record.trading, name) for name in TRADING}
            new["why"] = cleaned(new["why"])
            self._trading = _traded(self._trading, new)
        if record.health is not None:
            self._health = record.health

    def take(self, merged: int = 0) -> Frame:
        """The frame of what was gathered.

        Args:
            merged: frames by now that were put together, as they were not taken in time.
        """
        last, lanes = self._last, self._lanes
        frame: Frame = {
            "t": "step", "sent_ns": time.time_ns(), "events": lanes.sum(axis=1).tolist(), "quotes": self._quotes,
            "trades": self._trades, "depth": self._depth, "lanes": lanes.tolist(), "points": _columns(self._points),
            "trading": self._trading, "health": self._health, "merged": merged,
            "decisions": self._decisions(),
            **self._happened,
        }  # fmt: skip
        if last is not None and self._moved:
            signals = last.signals
            frame |= {
                "ts_ns": int(last.ts_recv_ns[-1]),
                "reference_price": last.reference_price,
                "latencies_ms": last.latencies_ms,
                "lane_styles": last.lane_styles,
                "lane_sizes": last.lane_sizes,
                "key": format(int(signals.key[-1]), "x") if int(signals.key[-1]) >= 0 else None,
                **{
                    name: float(getattr(signals, name)[-1])
                    for name in ("ghost_bp", "entropy", "echo_bp", "expected_lag_bp", "penalty")
                },
                "streams": {name: getattr(signals, name)[-1].tolist() for name in STREAM_COLUMNS},
            }
        self._clear()
        return frame

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return (
            not self._moved
            and not self._has_depth
            and self._trading is None
            and self._health is None
            and not self._changed.any()
            and not any(self._happened.values())
        )

    def _add_points(self, record: StepRecord, n: int) -> None:
        span_ns = int(record.ts_recv_ns[-1] - record.ts_recv_ns[0])
        count = min(MOST_POINTS, max(1, span_ns // POINT_NS), n)
        rows = np.arange(1, count + 1) * n // count - 1
        signals = record.signals
        columns = [getattr(signals, name)[rows].tolist() for name in POINT_COLUMNS]
        self._points += zip(
            record.ts_recv_ns[rows].tolist(), signals.ghost_bp[rows].tolist(), *columns, strict=True
        )  # fmt: skip

    def _add_decisions(self, record: StepRecord) -> None:
        """Sums over decisions, of all streams and latencies at once: every array operation costs microseconds."""
        decisions = record.decisions
        if not len(decisions.ts_ns):
            return
        cost, expected = decisions.realised_cost_bp, decisions.expected_cost_bp
        known, foreseen = np.isfinite(cost), np.isfinite(expected)
        cost = np.where(known, cost, 0.0)
        each = np.stack((known, cost, cost * cost, foreseen, np.where(foreseen, expected, 0.0)), axis=2)
        if self._late is None:
            self._late = record.latencies_ms, np.zeros((self._v, *each.shape[1:]))
        np.add.at(self._late[1], decisions.stream, each)
        self._changed[decisions.stream] = True

    def _decisions(self) -> list[list[float]]:
        """Sums of what acting late cost: [stream, latency, n, sum, sum of squares, expected n, expected sum]."""
        if self._late is None:
            return []
        latencies_ms, sums = self._late
        return [
            [v, latency_ms, *row]
            for v in np.flatnonzero(self._changed).tolist()
            for latency_ms, row in zip(latencies_ms, sums[v].tolist(), strict=True)
            if row[0] or row[3]
        ]

    def _add_happened(self, record: StepRecord) -> None:
        happened, names = self._happened, [one.stream for one in record.instruments]
        arbitrage, drift = record.arbitrage, record.drift_events
        for at in range(len(arbitrage.locked)):
            legs = [
                {"stream": names[leg], "side": int(side)}
                for leg, side in zip(arbitrage.legs[at].tolist(), arbitrage.sides[at].tolist(), strict=True)
                if leg >= 0
            ]
            happened["arbitrage"].append(
                {
                    "kind": "locked" if arbitrage.locked[at] else "basis", "legs": legs,
                    "start_ns": int(arbitrage.start_ns[at]), "end_ns": int(arbitrage.end_ns[at]),
                    "start_edge_bp": float(arbitrage.start_bp[at]), "edge_bp": float(arbitrage.edge_bp[at]),
                    "qty": float(arbitrage.qty[at]), "edge_left_bp": float(arbitrage.realised_left_bp[at]),
                }
            )  # fmt: skip
        for at in range(len(drift.ts_ns)):
            of = ROUTES if drift.what[at] else STATUSES
            happened["drift_events"].append(
                {
                    "ts_ns": int(drift.ts_ns[at]), "stream": names[drift.stream[at]],
                    "what": "route" if drift.what[at] else "drift", "before": of[drift.before[at]],
                    "after": of[drift.after[at]],
                }
            )  # fmt: skip
        for one in record.fallbacks:
            switch = cleaned(asdict(one))
            switch["first"] = self._switches.get(one.component, {"first": switch["before"]})["first"]
            self._switches[one.component] = switch
            happened["fallbacks"].append(switch)
        changes = [cleaned(asdict(one)) for one in record.settings]
        happened["settings"] += changes
        self._settings += changes
        happened["alerts"] += [
            {"ts_ns": one.ts_ns, "level": Level(one.level).name, "kind": one.kind, "text": cleaned(one.text)}
            for one in record.alerts
        ]


def _columns(points: Sequence[tuple[Any, ...]]) -> Frame:
    names = ("ts_ns", "ghost_bp", *POINT_COLUMNS)
    return dict(zip(names, map(list, zip(*points, strict=True)), strict=True)) if points else {}


def finite(value: Any) -> Any:
    """A number, or None where it is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
