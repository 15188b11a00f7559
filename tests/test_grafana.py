"""The dashboard and the alert rules ask for metrics that there are, and the dashboard shows all that matter."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from prometheus_client.metrics_core import Metric

from schwabot.server.hub import Hub
from schwabot.server.metrics import RunMetrics
from schwabot.server.request_metrics import RequestCounts
from schwabot.server.settings import ServerConfig

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "schwabot.json").read_text(encoding="utf-8"))
RULES = DEPLOY / "prometheus" / "alerts.yml"
PAGE = DEPLOY.parent / "docs" / "metrics.md"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
NOT_SHOWN = {"schwabot_run_info", "schwabot_run_start_time_seconds", "schwabot_events_per_second",
             "schwabot_last_event_timestamp_seconds", "schwabot_stream_forecast_ratio", "schwabot_stream_lane",
             "schwabot_part_health_ratio", "schwabot_position_quantity", "schwabot_turnover",
             "schwabot_settings_changes", "schwabot_host_processors", "schwabot_process_threads",
             "schwabot_events"}  # fmt: skip
"""On /metrics, but on no panel: another one says the same, or nobody looks at it over time."""


def families() -> list[Metric]:
    """Every metric that /metrics can give."""
    return [*RunMetrics(Hub(ServerConfig())).collect(), *RequestCounts().collect()]


def samples() -> dict[str, str]:
    """Name of a sample → of its family."""
    return {family.name + end: family.name for family in families() for end in SUFFIXES[family.type]}


def named(expression: str) -> set[str]:
    """Metrics that an expression asks for."""
    return set(re.findall(r"\bschwabot_\w+", expression))


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = BOARD["panels"]
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def test_every_query_of_the_dashboard_asks_for_a_metric_that_there_is() -> None:
    asked = set.union(*map(named, expressions()))
    assert all(named(one) for one in expressions())
    assert asked - set(samples()) == set()


def test_every_metric_is_on_the_dashboard_or_left_out_on_purpose() -> None:
    shown = {samples()[name] for expression in expressions() for name in named(expression)}
    assert {family.name for family in families()} - shown == NOT_SHOWN


def test_labels_of_queries_and_legends_are_those_of_the_metrics() -> None:
    labels = {family.name: {*getattr(family, "_labelnames", ()), "instance", "le"} for family in families()}
    for panel in panels():
        for target in panel.get("targets", []):
            known = set.union(*(labels[samples()[name]] for name in named(target["expr"])))
            asked = {*re.findall(r"{{(\w+)}}", target["legendFormat"]), *re.findall(r"[{,]\s*(\w+)=", target["expr"])}
            for group in re.findall(r"by \(([^)]*)\)", target["expr"]):
                asked |= set(group.split(", "))
            assert asked <= known, (panel["title"], asked - known)


def test_the_dashboard_has_the_shape_that_grafana_loads() -> None:
    assert {"title", "uid", "panels", "templating", "time", "schemaVersion", "version"} <= BOARD.keys()
    assert BOARD["id"] is None  # Grafana gives one
    assert BOARD["schemaVersion"] >= 36
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    places = []
    for panel in panels():
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        places.append((at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"]))
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"stat", "timeseries", "heatmap"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for expression in (target["expr"] for target in panel["targets"]):
            assert set(re.findall(r"\$(\w+)", expression)) <= {*variables, "__rate_interval"}
    for (left, top, right, bottom), (x0, y0, x1, y1) in combinations(places, 2):
        assert right <= x0 or x1 <= left or bottom <= y0 or y1 <= top


def test_alert_rules_ask_for_metrics_that_there_are() -> None:
    written: Any = OmegaConf.to_container(OmegaConf.load(RULES))
    rules = [rule for group in written["groups"] for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    for rule in rules:
        assert named(rule["expr"]) <= set(samples()), rule["alert"]
        assert named(rule["expr"]) or rule["alert"] == "SchwabotDown"
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_rules_and_queries(tmp_path: Path) -> None:
    filled = [one.replace("$__rate_interval", "1m").replace("$instance", ".*") for one in expressions()]
    queries = [{"record": f"query:{at}", "expr": expression} for at, expression in enumerate(filled)]
    of_board = tmp_path / "board.yml"
    of_board.write_text(json.dumps({"groups": [{"name": "board", "rules": queries}]}))
    done = subprocess.run(["promtool", "check", "rules", str(RULES), str(of_board)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_say_of_the_metrics() -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunMetrics(Hub(ServerConfig())))
    done = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_every_metric_with_its_kind_labels_and_meaning() -> None:
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type}"
        f" | {', '.join(getattr(family, '_labelnames', ()))} | {family.documentation} |"
        for family in families()
    ]
    page = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line.startswith("| `schwabot_")] == rows


UNKNOWN_TO_TYPES = {"id", "builtIn", "definition", "mode", "showColorScale"}
"""Fields that Grafana's editor writes and its published types leave out."""


def test_grafana_s_own_types_take_the_dashboard_and_leave_nothing_out() -> None:
    """It is read into the types that Grafana publishes for its dashboards, and written again."""
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

    plugins.register_default_plugins()
    read = Dashboard.from_json(BOARD)
    assert read.panels is not None
    assert all(isinstance(panel, Panel) or panel.type_val == "row" for panel in read.panels)
    written = json.loads(json.dumps(read, cls=JSONEncoder))
    assert {place for place in _differences(BOARD, written) if place[-1] not in UNKNOWN_TO_TYPES} == set()


def _differences(given: Any, found: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(given, dict) and isinstance(found, dict):
        for name, value in given.items():
            yield from _differences(value, found[name], (*place, name)) if name in found else [(*place, name)]
    elif isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
        for at, (one, other) in enumerate(zip(given, found, strict=True)):
            yield from _differences(one, other, (*place, str(at)))
    elif given != found:
        yield place
