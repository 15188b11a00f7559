"""A run's records and a server that is fed with them, as real as a run's own."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from schwabot.pipeline import Pipeline
from schwabot.records.alert import Alert, Level
from schwabot.records.audit import FallbackEvent, SettingsEvent, StepRecord
from schwabot.records.health import TIMING_BINS, HealthRecord, Part, Timing
from schwabot.records.trading import FillRow, OrderRow, PositionRow, TradingRecord
from schwabot.server.link import ServerLink
from schwabot.server.settings import ServerConfig
from schwabot.server.tokens import Role, add
from schwabot.sinks.base import RunHeader
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

_numbers = itertools.count()


@lru_cache
def records() -> tuple[StepRecord, ...]:
    """What the graph says of a synthetic market, in batches of 500."""
    feed = SyntheticFeed(SyntheticConfig(events=5_000))
    pipeline = Pipeline(feed.instruments)
    found = [pipeline.step(ticks) for ticks in feed.batches(500)]
    return tuple(record for record in found if len(record.ts_recv_ns))


def trading(number: int = 0, state: str = "NORMAL") -> TradingRecord:
    """An order that fills, number by number."""
    stream = records()[0].instruments[0].stream
    return TradingRecord(
        state, "", "", "paper", False,
        (PositionRow(stream, 3, 3e-5, 60_000.0, "USDT", -1.5 + number, 0.25, 2.0, 9.0, number + 1, number, 0),),
        (OrderRow(number, "", stream, "take", 1, 1e-5, 60_001.0, 1e-5, "filled", 5 + number, 6 + number),),
        (FillRow(number, number, 6 + number, stream, 1, 1e-5, 60_000.5, 0.01, "USDT", False),),
    )  # fmt: skip


def health() -> HealthRecord:
    """One stream has lost its websocket."""
    streams = [one.stream for one in records()[0].instruments]
    parts = tuple(
        Part(f"feed.{one}", "rest" if at == 0 else "websocket", at > 0, 0.4) for at, one in enumerate(streams)
    )
    counts = [0] * TIMING_BINS
    counts[20] = 90
    counts[40] = 10
    return HealthRecord(parts, (Timing("answer", tuple(counts)),), 2, 7, 1_000, 1)


def happened(record: StepRecord, number: int) -> dict[str, Any]:
    """What happens beside a record."""
    ts_ns = int(record.ts_recv_ns[-1])
    return {
        "trading": trading(number),
        "health": health(),
        "alerts": (Alert(ts_ns, Level.WARNING, "risk", f"alert {number}"),),
        "fallbacks": (FallbackEvent(ts_ns, "feed.x", "websocket", "rest", "closed"),) if number == 3 else (),
        "settings": (SettingsEvent(ts_ns, (("notify.burst", "5", "6"),), who="ann"),) if number == 4 else (),
    }


def header(run_dir: Path) -> RunHeader:
    """Of a paper run."""
    first = records()[0]
    return RunHeader(run_dir, "paper", "cpu", "synthetic", first.instruments, 5_000, {"mode": "paper", "token": "***"})


@contextmanager
def server(folder: Path, acts: dict[str, Callable[[str, str], str]] | None = None, **settings: Any) -> Iterator[Beside]:
    """A server beside a run that has begun."""
    file = folder / f"tokens-{next(_numbers)}.json"
    token = add(file, "tester", Role.ADMIN)
    given = {"port": 0, "runs": str(folder), "tokens": str(file), "rate_per_s": 1e4, "rate_burst": 10_000}
    config = ServerConfig(**given | settings)
    said: list[str] = []
    with ServerLink(config, "1.2.3", said.append) as link:
        link.actions = dict(acts or {})
        link.hot = lambda: {"notify.burst": 5}
        link.sink.open(header(folder))
        yield Beside(link, said, token)


class Beside:
    """The run's side, and a client."""

    def __init__(self, link: ServerLink, said: list[str], token: str) -> None:
        self.link, self.said, self.url = link, said, link.url
        self.authorization = f"Bearer {token}"
        self._numbers = itertools.count()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Of the server that is there now."""
        assert self.link._server is not None
        return self.link._server._process

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=10.0, headers={"Authorization": self.authorization}, **options)

    def get(self, path: str, **options: Any) -> Any:
        with self.client() as client:
            return client.get(path, **options)

    def tell(self, count: int = 1_000) -> None:
        """Some records, and what happens beside them."""
        for record in records()[:count]:
            self.link.sink._due_s = 0.0
            self.link.sink.write(replace(record, **happened(record, next(self._numbers))))
        self.until(lambda: self.get("/api/v1/status").json()["seq"] > min(count, len(records())))

    def until(self, true: Callable[[], bool], most_s: float = 10.0) -> None:
        """Wait for it."""
        pause = threading.Event()
        for _ in range(int(most_s / 0.02)):
            if true():
                return
            pause.wait(0.02)
        raise AssertionError("it did not come to pass")

    def events(self, count: int) -> list[tuple[str, Any]]:
        """The first events of a live stream."""
        found: list[tuple[str, Any]] = []
        with self.client() as client, client.stream("GET", "/api/v1/events") as response:
            event = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    found.append((event, json.loads(line.removeprefix("data: "))))
                    if len(found) == count:
                        return found
        return found
