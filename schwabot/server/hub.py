"""What the server knows of the run: built from frames alone, so a page that comes back sees all of it again.

frames ─▶ Hub ─▶ answers of the API
             └─▶ live streams: a snapshot first, then each frame
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from schwabot.records.alert import Level
from schwabot.records.health import TIMING_PER_DECADE
from schwabot.server.series import Series
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import HAPPENED, MOST_ITEMS, Frame, encode

PER_S = 20.0
RATE_S = 5.0
ANSWER_S = 40.0
BEHIND = 60
"""Frames that may wait for one client; one that is slower gets a snapshot in their place."""
SNAPSHOT_POINTS = 1_200
MOST_CURVE = 1_000
ERRORS = ("ERROR", "CRITICAL")
"""Levels of lines of the log."""
NOTHING, WHOLE = "none", "whole"
"""What a part uses that had nothing to use, and one whose data has no gap any more."""
ENDED = "the run has ended"
FRAMES = frozenset({"open", "step", "log", "sweep", "answer", "close"})
NUMBERED = ("orders", "fills")
"""What has a number of the run's own, by which it is told again where that is needed."""
LISTS = (*HAPPENED, "log")

_log = logging.getLogger("schwabot.server")


class Listener:
    """One live stream: what is still to be sent to it."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, str]] = deque()
        self.news = asyncio.Event()
        self.is_behind = self.ends = False

    def put(self, event: str, data: str) -> None:
        """Add a message; one that does not keep up begins anew."""
        if len(self.waiting) >= BEHIND:
            self.waiting.clear()
            self.is_behind = True
        self.waiting.append((event, data))
        self.news.set()


class Hub:
    """State of the run, and who listens.

    Args:
        config: of the server.
        send: takes an action to the run; None = there is no run.
    """

    def __init__(self, config: ServerConfig, send: Callable[[Frame], None] | None = None) -> None:
        self.config, self._send = config, send
        self.header: Frame = {}
        """The frame that opened the run; empty before it."""
        self.last: Frame = {}
        """The newest values."""
        self.health: Frame = {}
        self.trading: Frame = {}
        """How trading stands, without orders and fills."""
        self.sweep: Frame = {}
        self.summary: Frame = {}
        self.host: Frame = {}
        """Processor, memory, disk and GPU, as measured by the server."""
        self.version = ""
        """Of the program."""
        self.seq = 0
        """Number of frames by now."""
        self.heard_s = 0.0
        self.is_gone = False
        """The run's end of the pipe is closed."""
        self.totals: Mapping[str, int] = dict.fromkeys(("events", "quotes", "trades", "depth"), 0)
        self.by_stream: list[int] = []
        self.lanes: list[list[int]] = []
        self.lag: dict[tuple[int, float], list[float]] = {}
        self.links: dict[str, Frame] = {}
        """Component of a chain of fallbacks → its last switch."""
        self.numbered: dict[str, dict[int, Frame]] = {name: {} for name in NUMBERED}
        """Orders and fills by number."""
        self.items: dict[str, deque[Frame]] = {name: deque(maxlen=MOST_ITEMS) for name in LISTS}
        self.counts: Counter[str] = Counter()
        """How many of each kind by now, also of those no longer kept."""
        self.told: Counter[tuple[str, ...]] = Counter()
        """The same in parts: alert, level, kind; fallback, component; arbitrage, kind; error, where from."""
        self.merged = 0
        """Frames that the run put together, as they were not taken in time."""
        self.points = Series(0, 0)
        self.money: deque[tuple[int, dict[str, float], dict[str, float]]] = deque(maxlen=MOST_ITEMS)
        """Once a second: time, and by currency net and how far that is below its peak, <= 0."""
        self._peaks: dict[str, float] = {}
        self._begun: str | None = None
        """The snapshot as text, until something changes."""
        self._refused: set[str] = set()
        self._numbers = itertools.count(1)
        self._rates: deque[tuple[float, int]] = deque()
        self._listeners: set[Listener] = set()
        self._asked: dict[int, asyncio.Future[Frame]] = {}

    # frames

    def take(self, frame: Frame) -> None:
        """Take one frame of the run; to be called on the server's loop. One that is none is logged, and left out."""
        self.seq += 1
        self.heard_s = time.monotonic()
        self._begun = None
        kind = str(frame.pop("t", None))
        try:
            if kind not in FRAMES:
                raise ValueError("no such kind")
            getattr(self, f"_{kind}")(frame)
        except Exception as error:  # noqa: BLE001 - one bad frame must not cost the others
            what = kind if kind in FRAMES else "another"
            if what not in self._refused:
                self._refused.add(what)
                _log.warning(
                    "a frame of kind %.50r can't be taken: %.200s; others like it are not told", kind, repr(error)
                )

    def gone(self) -> None:
        """The run tells no more."""
        self.is_gone = True
        self.tell("end", {"ended": bool(self.summary), "seq": self.seq})
        self.end()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_result({"ok": False, "said": ENDED})

    def _open(self, frame: Frame) -> None:
        self.header = frame
        v = len(frame["streams"])
        self.by_stream, self.lanes = [0] * v, [[0, 0, 0] for _ in range(v)]
        self.points = Series(round(self.config.history_s * PER_S), v)
        self._resync()

    def _step(self, frame: Frame) -> None:
        if not self.header:  # dropped, as the server was slow: nothing says what the numbers are of
            return
        self.totals = {"events": sum(frame["events"])} | {name: frame[name] for name in ("quotes", "trades", "depth")}
        self.by_stream, self.lanes = frame["events"], frame["lanes"]
        for v, latency_ms, *sums in frame["decisions"]:
            self.lag[v, latency_ms] = sums
        if "ts_ns" in frame:
            names = ("ts_ns", "reference_price", "latencies_ms", "lane_styles", "lane_sizes", "key", "ghost_bp",
                     "entropy", "echo_bp", "expected_lag_bp", "penalty", "streams")  # fmt: skip
            self.last = {name: frame[name] for name in names}
            self.last["ghost_price"] = frame["ghost_price"] = self.price(frame["ghost_bp"])
        if frame["points"]:
            self.points.add(frame["points"])
        frame["fallbacks"] = [switch for switch in frame["fallbacks"] if self._switch(switch)]
        for name in HAPPENED:
            self._keep(name, frame[name])
        for alert in frame["alerts"]:
            self.told["alert", alert["level"], alert["kind"]] += 1
            self.told["error", "alert"] += alert["level"] == Level.ERROR.name
        for window in frame["arbitrage"]:
            self.told["arbitrage", window["kind"]] += 1
        self.merged = frame["merged"]
        if frame["health"]:
            self.health = frame["health"]
        money = self._trade(frame["trading"]) if frame["trading"] else None
        self._rates.append((self.heard_s, self.totals["events"]))
        while self._rates[0][0] < self.heard_s - RATE_S:
            self._rates.popleft()
        now = {"seq": self.seq, "totals": self.totals, "counts": dict(self.counts), "money": money}
        now["events_per_s"] = self.events_per_s()
        self.tell("step", frame | now)

    def _switch(self, switch: Frame) -> bool:
        """Take a switch of a chain of fallbacks; whether it is news."""
        name, after, first = switch["component"], switch["after"], switch["first"]  # first: before any switch
        known = self.links.get(name)
        if known is not None and known["ts_ns"] == switch["ts_ns"] and known["after"] == after:
            return False
        switch["best"] = after == WHOLE or (after != NOTHING if first == NOTHING else after == first)
        self.links[name] = switch
        self.told["fallback", name] += 1
        return True

    def _trade(self, trading: Frame) -> tuple[int, dict[str, float], dict[str, float]] | None:
        """Take it; the point of ``money``, where one is due."""
        orders = self.numbered["orders"]
        for order in trading["orders"]:
            known = orders.get(order["number"])
            if known is not None:
                self.counts["orders." + known["state"]] -= 1
            self.counts["orders." + order["state"]] += 1
            orders[order["number"]] = order
        for name, rows in self.numbered.items():
            for row in trading[name]:
                rows[row["number"]] = row | {"seq": row["number"]}
            self.counts[name] = max(self.counts[name], *(row["number"] + 1 for row in trading[name]), 0)  # from 0 on
            extra = len(rows) - MOST_ITEMS
            if extra > 0:  # an order that goes on stays: it comes again, and would be counted twice
                over = (number for number in sorted(rows) if name == "fills" or rows[number]["end_ns"] is not None)
                for number in list(itertools.islice(over, extra)):
                    del rows[number]
        self.trading = {name: value for name, value in trading.items() if name not in NUMBERED}
        net: dict[str, float] = {}
        for row in trading["positions"]:
            if row["net"] is not None:
                net[row["currency"]] = net.get(row["currency"], 0.0) + row["net"]
        below = {}
        for currency, value in net.items():
            self._peaks[currency] = max(self._peaks.get(currency, 0.0), value)  # a run begins at 0
            below[currency] = value - self._peaks[currency]
        now_ns = self.last.get("ts_ns")
        if now_ns is None or (self.money and now_ns - self.money[-1][0] < 1_000_000_000):
            return None
        self.money.append((now_ns, net, below))
        return self.money[-1]

    def _log(self, frame: Frame) -> None:
        self._keep("log", frame["lines"])
        self.told["error", "log"] += sum(line["level"] in ERRORS for line in frame["lines"])
        self.tell("log", frame)

    def _sweep(self, frame: Frame) -> None:
        curve = [*self.sweep.get("curve", ()), [frame["done"], frame["best"]]]
        self.sweep = frame | {"curve": curve if len(curve) <= MOST_CURVE else curve[::2]}
        self.tell("sweep", frame)

    def _answer(self, frame: Frame) -> None:
        if frame.get("hot") and self.header:
            self.header["hot"] = frame["hot"]
        waiting = self._asked.pop(frame["id"], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    def _close(self, frame: Frame) -> None:
        self.summary = frame["summary"]
        self.tell("close", {"summary": self.summary})

    def _keep(self, name: str, rows: list[Frame]) -> None:
        self.counts[name] += len(rows)
        for row in rows:
            row["seq"] = next(self._numbers)
            self.items[name].append(row)

    # what is asked

    @property
    def is_beside(self) -> bool:
        """Whether the server was started by a run."""
        return self._send is not None

    @property
    def has_run(self) -> bool:
        """Whether a run has begun."""
        return bool(self.header)

    def price(self, bp: float | None, is_rate: bool = False) -> float | None:
        """Quote price of a log price in bp; of a rate, whose 0 bp is 1."""
        reference = 1.0 if is_rate else self.last.get("reference_price")
        return None if bp is None or reference is None else float(reference * math.exp(1e-4 * bp))

    def events_per_s(self) -> float:
        """Rows of the last seconds."""
        if len(self._rates) < 2:
            return 0.0
        (first_s, before), (last_s, after) = self._rates[0], self._rates[-1]
        return (after - before) / max(last_s - first_s, 1e-3)

    def age_s(self) -> float | None:
        """Time since the run told something."""
        return time.monotonic() - self.heard_s if self.heard_s else None

    def newest(self, name: str, limit: int, before: int | None, keep: Callable[[Frame], bool]) -> list[Frame]:
        """Items of a kind, newest first.

        Args:
            name: one of ``NUMBERED`` or ``LISTS``.
            limit: at most so many.
            before: only those with a smaller ``seq``.
            keep: which ones.
        """
        known = self.numbered.get(name)
        kept = reversed(self.items[name]) if known is None else (known[at] for at in sorted(known, reverse=True))
        rows = (row for row in kept if (before is None or row["seq"] < before) and keep(row))
        return list(itertools.islice(rows, limit))

    def lag_curve(self) -> list[Frame]:
        """Mean cost of acting late by stream and latency, with a 95 % interval."""
        found = []
        for (v, latency_ms), (n, total, squares, n_expected, expected) in sorted(self.lag.items()):
            mean = total / n if n else None
            spread = math.sqrt(max(squares / n - mean**2, 0.0) / n) if n and mean is not None else None
            found.append(
                {
                    "stream": self.header["streams"][v]["stream"], "latency_ms": latency_ms, "n": int(n),
                    "mean_bp": mean, "ci_bp": None if spread is None else 1.96 * spread,
                    "expected_bp": expected / n_expected if n_expected else None,
                }
            )  # fmt: skip
        return found

    def health_now(self) -> Frame:
        """Parts, timings, queue and machine."""
        parts: dict[str, Frame] = {}
        if self.header:
            device = self.header["device"]
            parts["device"] = {"component": "device", "now": device, "best": True, "health": None}
        for switch in self.links.values():
            name = switch["component"]
            parts[name] = {"component": name, "now": switch["after"], "best": switch["best"]}
        for part in self.health.get("parts", ()):
            parts[part["component"]] = dict(part)
        for name, part in parts.items():
            if switched := self.links.get(name):
                part |= {"since_ns": switched["ts_ns"], "reason": switched["reason"]}
        age_s, health = self.age_s(), self.health
        timings = [timing(one["name"], one["counts"]) for one in health.get("timings", ())]
        ok = all(part["best"] for part in parts.values()) and (age_s is None or age_s < 10.0 or bool(self.summary))
        counts = {name: health.get(name, 0) for name in ("queue_rows", "queue_most", "messages", "reconnects")}
        return {"ok": ok, "parts": list(parts.values()), "timings": timings, "host": self.host, **counts}

    def snapshot(self) -> Frame:
        """Everything a page needs to begin, or to begin again."""
        kept = {name: self.newest(name, 200, None, lambda row: True) for name in (*NUMBERED, *LISTS)}
        return {
            "seq": self.seq, "run": self.header, "last": self.last, "totals": self.totals,
            "counts": dict(self.counts), "events_per_s": self.events_per_s(), "by_stream": self.by_stream,
            "lanes": self.lanes, "lag": [[*key, *sums] for key, sums in self.lag.items()],
            "points": self.points.overview(SNAPSHOT_POINTS),
            "health": self.health, "links": self.links, "trading": self.trading, "host": self.host,
            **kept,
            "money": [list(row) for row in self.money], "sweep": self.sweep, "summary": self.summary,
            "is_gone": self.is_gone, "age_s": self.age_s(),
        }  # fmt: skip

    # who listens

    def listen(self) -> Listener:
        """A live stream begins, with a snapshot."""
        listener = Listener()
        self._begin(listener)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """A live stream ends."""
        self._listeners.discard(listener)

    def end(self) -> None:
        """Every live stream ends, once it has sent what waits."""
        for listener in self._listeners:
            listener.ends = True
            listener.news.set()

    @property
    def listeners(self) -> int:
        """Live streams now."""
        return len(self._listeners)

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Tell whoever listens."""
        self._begun = None
        if not self._listeners:
            return
        text = encode(data).decode().rstrip("\n")
        for listener in self._listeners:
            listener.put(event, text)
            if listener.is_behind:
                self._begin(listener)

    def _begin(self, listener: Listener) -> None:
        listener.waiting.clear()
        listener.is_behind = False
        if self._begun is None:  # the same for all that fall behind at once
            self._begun = encode(self.snapshot()).decode().rstrip("\n")
        listener.put("snapshot", self._begun)

    def _resync(self) -> None:
        for listener in self._listeners:
            self._begin(listener)

    # what is done

    async def ask(self, do: str, who: str, why: str, changes: Mapping[str, Any] | None = None) -> Frame:
        """Have the run do something.

        Args:
            do: one of the run's ``actions``.
            who: asks for it.
            why: for the journal and the messages.
            changes: settings: name → value.

        Returns:
            ``ok`` and ``said``.

        Raises:
            TimeoutError: the run did not answer.
        """
        assert self._send is not None
        number = next(self._numbers)
        self._asked[number] = waiting = asyncio.get_running_loop().create_future()
        try:
            until_ns = time.time_ns() + round(ANSWER_S * 1e9)
            what = {"do": do, "who": who, "why": why, "changes": dict(changes or {})}
            self._send({"id": number, "until_ns": until_ns, **what})
            return await asyncio.wait_for(waiting, ANSWER_S)
        except BrokenPipeError:  # its end is not told yet
            return {"ok": False, "said": ENDED}
        finally:
            self._asked.pop(number, None)


def timing(name: str, counts: list[int]) -> Frame:
    """Quantiles of a ``Timing``: the middle of the bin in which they lie, ms.

    Example:
        >>> round(timing("answer", [0] * 30 + [5])["p50_ms"], 2)
        1.12
    """
    total = sum(counts)
    found: Frame = {"name": name, "n": total, "counts": counts}
    for label, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        left, at = share * total, 0
        while total and at < len(counts) - 1 and counts[at] < left:
            left, at = left - counts[at], at + 1
        found[label] = 1e-3 * 10 ** ((at + 0.5) / TIMING_PER_DECADE) if total else None
    return found
