from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from schwabot.records.alert import Alert, Level
from schwabot.records.trading import TradingRecord
from schwabot.server.app import create_app
from schwabot.server.hub import Hub
from schwabot.server.metrics import RunMetrics, buckets_of
from schwabot.server.request_metrics import RequestCounts, RequestMeter
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Digest, encode, open_frame
from schwabot.ticks.feed_meter import LagHistogram
from tests.server.making import Beside, happened, header, health, records, server, trading

COUNT = len(records())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with server(tmp_path_factory.mktemp("run")) as beside:
        beside.tell()
        beside.until(lambda: beside.get("/api/v1/health").json()["host"].get("run") is not None)
        yield beside


def values(text: str) -> dict[tuple[str, ...], float]:
    """Name and label values in order of the labels' names → value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def full_hub() -> Hub:
    """Of a run of which everything was told."""
    hub, digest = Hub(ServerConfig()), Digest(len(records()[0].instruments))
    hub.take(open_frame(header(Path()), {}, (), "1"))
    for number, record in enumerate(records()):
        digest.add(replace(record, **happened(record, number)))
        hub.take(orjson.loads(encode(digest.take(merged=number))))
    return hub


def families(hub: Hub) -> dict[tuple[str, ...], float]:
    """Values of a hub's metrics."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in RunMetrics(hub).collect()
        for sample in family.samples
    }


def test_metrics_are_those_of_the_records(told: Beside) -> None:
    answer = told.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found, last, streams = values(answer.text), records()[-1], [one.stream for one in records()[0].instruments]
    assert found["schwabot_events_total",] == 5_000
    assert found["schwabot_quotes_total",] + found["schwabot_trades_total",] == 5_000
    assert found["schwabot_depth_rows_total",] == sum(record.depth_rows for record in records())
    for v, stream in enumerate(streams):
        assert found["schwabot_stream_events_total", stream] == sum(int((one.stream == v).sum()) for one in records())
        assert found["schwabot_stream_deviation_ratio", stream] == pytest.approx(
            1e-4 * last.signals.deviation_bp[-1, v]
        )
        assert found["schwabot_stream_voltage_volts", stream] == last.signals.voltage[-1, v]
        assert (
            sum(found["schwabot_stream_lane_events_total", lane, stream] for lane in ("LOW", "MEDIUM", "HIGH"))
            == (found["schwabot_stream_events_total", stream])
        )
    assert found["schwabot_part_first_choice", f"feed.{streams[0]}", "rest"] == 0
    assert found["schwabot_part_first_choice", f"feed.{streams[1]}", "websocket"] == 1
    assert found["schwabot_fallback_switches_total", "feed.x"] == 1
    assert found["schwabot_alerts_total", "risk", "WARNING"] == COUNT
    assert found["schwabot_trading_state",] == 0
    assert found["schwabot_orders_in_state", "filled"] == found["schwabot_fills_total",] == COUNT
    assert found["schwabot_net_pnl", "USDT", streams[0]] == COUNT - 2.5
    assert found["schwabot_queue_most_rows",] == 7
    assert found["schwabot_run_heard_age_seconds",] < 10
    assert found["schwabot_process_resident_memory_bytes", "run"] > 10e6
    assert 0 < found["schwabot_host_disk_free_bytes",] < found["schwabot_host_disk_bytes",]
    assert ("schwabot_build_info",) in {key[:1] for key in found}


def test_a_timing_s_buckets_add_up() -> None:
    times_s = [3e-6, 1e-5, 1.5e-4, 4e-4, 1.2e-3, 1.2e-3, 0.04, 3.0, 500.0]
    lags = LagHistogram()
    lags.add(times_s)
    buckets, total_s = buckets_of(lags.timing("answer").counts)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert buckets[-1] == ("+Inf", len(times_s))
    for edge, count in buckets[:-1]:
        assert count == sum(one < 0.99 * float(edge) for one in times_s), edge
    assert total_s == pytest.approx(sum(times_s), rel=0.15)


def test_requests_are_counted_by_route_template_and_status(told: Beside) -> None:
    before = values(told.get("/metrics").text)
    stream = records()[0].instruments[0].stream
    for path in (f"/api/v1/streams/{stream}", "/api/v1/streams/nobody", "/api/v1/nowhere/x", "/api/v1/nowhere/y"):
        told.get(path)
    found = values(told.get("/metrics").text)
    new = {
        key: count - before.get(key, 0.0) for key, count in found.items() if key[0] == "schwabot_http_requests_total"
    }
    assert {key[1:]: count for key, count in new.items() if count} == {
        ("GET", "/api/v1/streams/{stream}", "200"): 1,
        ("GET", "/api/v1/streams/{stream}", "404"): 1,
        ("GET", "other", "404"): 2,
        ("GET", "/metrics", "200"): 1,
    }
    counted = found["schwabot_http_request_duration_seconds_count", "/api/v1/streams/{stream}"]
    assert counted == found["schwabot_http_request_duration_seconds_bucket", "+Inf", "/api/v1/streams/{stream}"] == 2
    assert 0 < found["schwabot_http_request_duration_seconds_sum", "/api/v1/streams/{stream}"] < 2


def test_a_live_stream_is_counted_when_it_begins(told: Beside) -> None:
    told.events(1)
    key = ("schwabot_http_requests_total", "GET", "/api/v1/events", "200")
    told.until(lambda: values(told.get("/metrics").text).get(key, 0) > 0)


def test_no_path_no_method_and_no_failure_makes_a_series_of_its_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if Request(scope).url.path == "/broken":
            raise RuntimeError
        await PlainTextResponse("x")(scope, receive, send)

    async def nothing() -> Message:
        return {"type": "http.request"}

    async def nowhere(message: Message) -> None:
        pass

    counts = RequestCounts()
    meter = RequestMeter(app, counts)
    for number in range(50):
        scope = {"type": "http", "method": f"GET{number}", "path": f"/{number}", "query_string": b"", "headers": [],
                 "server": ("h", 1), "scheme": "http"}  # fmt: skip
        asyncio.run(meter(scope, nothing, nowhere))
    with pytest.raises(RuntimeError):
        asyncio.run(meter(scope | {"path": "/broken", "method": "GET"}, nothing, nowhere))
    requests = next(iter(counts.collect()))
    assert [(tuple(sample.labels.values()), sample.value) for sample in requests.samples] == [
        (("other", "other", "200"), 50.0),
        (("GET", "other", "500"), 1.0),
    ]


def test_drops_refusals_errors_and_lost_frames_are_told() -> None:
    hub, record = full_hub(), records()[-1]
    digest = Digest(len(record.instruments))
    refused: TradingRecord = replace(trading(99, "HALTED"), refused={"price_collar": 3})
    digest.add(
        replace(
            record,
            trading=refused,
            health=replace(health(), dropped={"crossed": 5}),
            alerts=(Alert(1, Level.ERROR, "halt", "x"),),
        )
    )
    hub.take(orjson.loads(encode(digest.take(merged=17))))
    hub.take(
        {"t": "log", "lines": [{"ts_ns": 1, "level": "ERROR", "text": "x"}, {"ts_ns": 1, "level": "INFO", "text": ""}]}
    )
    hub.take({"t": "sweep", "done": 3, "sets": 9, "best": None, "param_events_per_s": 1e9})
    found = families(hub)
    assert found["schwabot_trading_state",] == 2
    assert found["schwabot_orders_refused_total", "price_collar"] == 3
    assert found["schwabot_dropped_total", "crossed"] == 5
    assert found["schwabot_frames_merged_total",] == 17
    assert (found["schwabot_errors_total", "alert"], found["schwabot_errors_total", "log"]) == (1, 1)
    assert found["schwabot_alerts_total", "halt", "ERROR"] == 1
    assert (found["schwabot_sweep_sets_done",], found["schwabot_sweep_sets",]) == (3, 9)
    assert ("schwabot_sweep_best",) not in found  # null is no number


def test_windows_are_counted_by_kind() -> None:
    kinds = [window["kind"] for window in full_hub().items["arbitrage"]]
    found = families(full_hub())
    for kind in ("locked", "basis"):
        assert found.get(("schwabot_arbitrage_windows_total", kind), 0) == kinds.count(kind)


def test_without_a_run_there_are_no_made_up_values() -> None:
    async def asked() -> str:
        transport = httpx.ASGITransport(create_app(ServerConfig(), Hub(ServerConfig())))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/metrics")).text

    found = values(asyncio.run(asked()))
    assert found["schwabot_run_active",] == 0
    for name in ("schwabot_ghost_price", "schwabot_run_heard_age_seconds", "schwabot_trading_state"):
        assert (name,) not in found


def test_an_ended_run_is_not_active() -> None:
    hub = full_hub()
    assert families(hub)["schwabot_run_active",] == 1
    hub.take({"t": "close", "summary": {"mode": "paper"}})
    assert families(hub)["schwabot_run_active",] == 0


def test_names_follow_the_conventions() -> None:
    for family in RunMetrics(full_hub()).collect():
        assert re.fullmatch(r"schwabot_[a-z][a-z_]*", family.name), family.name
        assert not re.search(r"_(ms|us|ns|bp|bps|mib|percent|total|count|sum|bucket)$", family.name), family.name
        assert family.documentation
        labels = [tuple(sorted(sample.labels)) for sample in family.samples if "le" not in sample.labels]
        assert len(set(labels)) <= 1, family.name


def test_reading_costs_little() -> None:
    hub = full_hub()
    begun_s = time.perf_counter()
    for _ in range(20):
        list(RunMetrics(hub).collect())
    assert (time.perf_counter() - begun_s) / 20 < 0.2
