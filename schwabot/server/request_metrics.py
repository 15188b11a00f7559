"""How many requests came, how they ended, and how long they took: by route, so that paths make no series."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EDGES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
METHODS = ("GET", "HEAD", "POST", "PATCH", "OPTIONS")
OTHER = "other"


class RequestCounts:
    """Sums of all requests by now; a collector of prometheus-client."""

    def __init__(self) -> None:
        self._count: Counter[tuple[str, str, str]] = Counter()
        self._times: dict[str, list[float]] = {}

    def add(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one.

        Args:
            method: of HTTP.
            route: its template.
            status: of the answer.
            took_s: until the answer began.

        Example:
            >>> counts = RequestCounts(); counts.add("GET", "/metrics", 200, 0.003)
            >>> [one.samples[0].value for one in counts.collect()]
            [1, 0.0]
        """
        self._count[method if method in METHODS else OTHER, route, str(status)] += 1
        held = self._times.setdefault(route, [0.0] * (len(EDGES_S) + 2))  # the bins, and the sum
        held[bisect_left(EDGES_S, took_s)] += 1
        held[-1] += took_s

    def collect(self) -> Iterator[Metric]:
        """The families."""
        requests = CounterMetricFamily(
            "schwabot_http_requests", "Requests answered, by route template; other = no route took it",
            labels=("method", "route", "status"),
        )  # fmt: skip
        for labels, count in self._count.items():
            requests.add_metric(labels, count)
        yield requests
        times = HistogramMetricFamily(
            "schwabot_http_request_duration_seconds", "From a request to the beginning of its answer", labels=("route",)
        )
        for route, held in self._times.items():
            below: float = 0.0
            buckets: list[tuple[str, float]] = []
            for edge, there in zip((*map(str, EDGES_S), "+Inf"), held, strict=False):
                below += there
                buckets.append((edge, below))
            times.add_metric((route,), buckets, held[-1])
        yield times


class RequestMeter:
    """Counts each request once its answer begins: a live stream ends hours later.

    Args:
        app: what comes behind.
        counts: the sums.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app, self._counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s, is_counted = time.perf_counter(), False

        def count(status: int) -> None:
            nonlocal is_counted
            if not is_counted:
                is_counted = True
                route = getattr(scope.get("route"), "path_format", OTHER)
                self._counts.add(scope["method"], route, status, time.perf_counter() - begun_s)

        async def meter(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, meter)
        except BaseException:
            count(500)
            raise
