from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from schwabot.run_folder import RESULTS
from schwabot.server import history_models as models
from schwabot.server.caching import encoded
from schwabot.server.history import FILES, REFRESH_S, History
from schwabot.server.link import ServerLink
from schwabot.server.routes_history import line_of
from schwabot.server.settings import ServerConfig
from schwabot.server.tickets import LASTS_S, MOST, Tickets
from schwabot.server.tokens import Role, add
from schwabot.sinks.log_settings import LogsConfig
from tests.server.making import header
from tests.server.past import FILLS, fills, leave, many, odd, served, sweep_rows

RUNS = "/api/v1/runs"
TRADED, SWEPT = f"{RUNS}/2026-11-20~11-00-00", f"{RUNS}/2026-11-21~09-00-00~0"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("past") / "outputs"
    root.mkdir()
    many(root)
    return root


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[httpx.Client]:
    with served(root) as found:
        yield found


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """What an error says, in its one shape."""
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert error.keys() == {"code", "message", "do"}
    assert error["code"] == code
    return str(error["message"])


def walked(client: httpx.Client, path: str, **query: Any) -> list[Any]:
    """All items of a list, page by page."""
    found: list[Any] = []
    cursor = ""
    for _ in range(1_000):
        page = client.get(path, params=query | ({"cursor": cursor} if cursor else {})).json()
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = page["next"]
    raise AssertionError("the pages do not end")


def test_the_list_tells_of_every_run_and_of_what_is_broken(client: httpx.Client) -> None:
    answer = client.get(RUNS)
    page = models.Runs.model_validate(answer.json())
    assert answer.json() == page.model_dump()
    found = {run.id: run for run in page.items}
    assert [(run.id, run.mode, run.state) for run in page.items] == [
        ("2026-11-21~09-00-00~0", "sweep", "done"),
        ("2026-11-20~11-00-00", "backtest", "done"),
        ("2026-11-20~10-00-00", "replay", "done"),
        ("piped", "fit", "unfinished"),
        ("huge", "convert", "broken"),
        ("deep", "fit", "broken"),
        ("list", "fit", "broken"),
        ("cut", "fit", "broken"),
        ("goes~~20on", "record", "unfinished"),
        ("failed", "live", "failed"),
        ("by~~20hand~a~~7Eb", "paper", "interrupted"),
    ]
    assert found["2026-11-20~10-00-00"].headline == {"fallbacks": 1, "events_per_s": 1e5, "r2": 0.25, "r2_stream": "b"}
    assert found["2026-11-20~11-00-00"].headline["net"] == -5.5
    assert found["2026-11-20~11-00-00"].files.keys() == {
        "fills.parquet",
        "trades.parquet",
        "report.html",
        "lag_curve.png",
    }
    assert found["2026-11-21~09-00-00~0"].headline["held_out_net"] == -1.0
    assert found["failed"].error == "the venue is gone"
    assert found["failed"].headline == {}
    assert "larger than 8 MiB" in str(found["huge"].error)
    assert "not whole JSON" in str(found["cut"].error)
    assert page.total == 11
    assert page.links.tensorboard is None
    assert page.links.tensorboard_command.startswith("tensorboard --logdir ")


@pytest.mark.parametrize("sort", ["started", "-started", "mode", "-mode", "-net", "net", "-events", "r2", "-ended"])
def test_pages_join_to_the_whole_list_in_its_order(client: httpx.Client, sort: str) -> None:
    whole = walked(client, RUNS, sort=sort)
    assert walked(client, RUNS, sort=sort, limit=2) == whole
    assert len({run["id"] for run in whole}) == 11
    name = sort.removeprefix("-")
    at = {"started": "started_ns", "ended": "ended_ns"}.get(name, name)
    values = [run[at] if at in run else run["headline"].get(at) for run in whole]
    known = [one for one in values if one is not None]
    assert values == known + [None] * (len(values) - len(known))
    assert known == sorted(known, reverse=sort.startswith("-"))


def test_a_run_that_comes_while_one_pages_moves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    for number in range(4):
        leave(root / f"run {number}", "replay", {}, 1_600_000_000 + number)
    with served(root) as client:
        first = client.get(RUNS, params={"limit": 2}).json()
        leave(root / "newest", "replay", {}, 1_700_000_000)
        time.sleep(REFRESH_S)
        rest = client.get(RUNS, params={"limit": 2, "cursor": first["next"]}).json()
        assert [run["id"] for run in first["items"] + rest["items"]] == [f"run~~20{number}" for number in (3, 2, 1, 0)]
        assert client.get(RUNS).json()["items"][0]["id"] == "newest"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{RUNS}?limit=0", 422, "unprocessable"),
        (f"{RUNS}?sort=folder", 422, "unprocessable"),
        (f"{RUNS}?mode=../etc", 422, "unprocessable"),
        (f"{RUNS}?cursor=bm9uZQ", 400, "bad_request"),
        (f"{RUNS}?cursor=%F0%9F", 400, "bad_request"),
        (f"{RUNS}/nowhere", 404, "not_found"),
        (f"{RUNS}/linked", 404, "not_found"),
        (f"{RUNS}/theirs", 404, "not_found"),
        (f"{RUNS}/goes~~20on", 404, "not_found"),
        (f"{RUNS}/cut", 422, "unprocessable"),
        (f"{RUNS}/huge", 422, "unprocessable"),
        (f"{RUNS}/compare?ids=cut", 422, "unprocessable"),
        (f"{TRADED}/tables/fills?sort=nothing", 422, "unprocessable"),
        (f"{TRADED}/tables/fills?columns=price,nothing", 422, "unprocessable"),
        (f"{TRADED}/tables/trades", 422, "unprocessable"),
        (f"{TRADED}/tables/equity", 404, "not_found"),
        (f"{TRADED}/tables/..%2Ffills", 404, "not_found"),
        (f"{TRADED}/sweep", 404, "not_found"),
        (f"{SWEPT}/sweep?sort=-nothing", 422, "unprocessable"),
        (f"{SWEPT}/heatmap?x=net&y=policy.lots", 422, "unprocessable"),
        (f"{SWEPT}/heatmap?x=policy.lots&y=policy.enter_bp&value=nothing", 422, "unprocessable"),
        (f"{SWEPT}/heatmap?x=policy.lots&y=policy.enter_bp&reduce=min", 422, "unprocessable"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_says_why(client: httpx.Client, path: str, status: int, code: str) -> None:
    refused(client.get(path), status, code)


def test_a_summary_is_handed_on_as_it_is(client: httpx.Client, root: Path) -> None:
    assert client.get(TRADED).content == (root / "2026-11-20" / "11-00-00" / "summary.json").read_bytes()
    yaml = models.Config.model_validate(client.get(f"{TRADED}/config").json()).yaml
    assert yaml.startswith("mode: backtest\n")
    odd = quote("by~~20hand~a~~7Eb", safe="")
    assert client.get(f"{RUNS}/{odd}").json()["paper"] == {"net": 1.25}


def test_a_folder_s_name_leads_to_its_own_run_whatever_it_is(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    told = odd(root)
    with served(root) as client:
        lines = walked(client, RUNS, limit=2)
        assert sorted(one["events"] for one in lines) == sorted(told.values())
        assert all(re.fullmatch(r"[\w.~-]+", one["id"], re.ASCII) for one in lines)
        for line in lines:
            number = line["events"]
            for given in (line["id"], quote(line["id"], safe="")):  # as it is, or encoded once: the same
                path = f"{RUNS}/{given}"
                assert client.get(path).json()["events"] == number
                assert client.get(f"{path}/tables/fills").json()["total"] == 1 + number
                url = client.post(f"{path}/links", json={"file": "report.html"}).json()["url"]
                assert client.get(url).text == f"<title>report {number}</title>"
        first, second = sorted(lines, key=lambda one: one["events"])[:2]
        beside = client.get(f"{RUNS}/compare?ids={first['id']},{second['id']}").json()["rows"]
        assert next(row["values"] for row in beside if row["name"] == "events") == [0, 1]


def test_runs_beside_each_other(client: httpx.Client) -> None:
    answer = client.get(f"{RUNS}/compare", params={"ids": "2026-11-20~11-00-00,2026-11-21~09-00-00~0"})
    found = models.Comparison.model_validate(answer.json())
    rows = {row.name: row.values for row in found.rows}
    assert rows["mode"] == ["backtest", "sweep"]
    assert rows["net"] == [-5.5, 2.5]
    assert rows["held_out_net"] == [None, -1.0]


@pytest.mark.parametrize(
    "path",
    [RUNS, TRADED, f"{TRADED}/config", f"{TRADED}/files/report.html", f"{TRADED}/tables", f"{TRADED}/tables/fills",
     f"{SWEPT}/sweep", f"{SWEPT}/heatmap?x=policy.lots&y=policy.enter_bp"],
)  # fmt: skip
def test_what_a_client_has_is_not_sent_again(client: httpx.Client, path: str) -> None:
    first = client.get(path)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    again = client.get(path, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": 'W/"other"'}).content == first.content


def test_a_change_is_seen_and_nothing_else_is_read_again(tmp_path: Path) -> None:
    now = [0.0]
    run = leave(tmp_path / "outputs" / "run", "paper", {"paper": {"net": 1.5}})
    history = History(tmp_path / "outputs", lambda: now[0])
    assert history.run("run").headline == {"net": 1.5}
    version, status = history.version, (run / "summary.json").stat()
    with (run / "summary.json").open("r+") as file:  # as long, and as old: as if nothing had happened
        file.write(json.dumps({"mode": "paper", "paper": {"net": 2.5}}))
    os.utime(run / "summary.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    now[0] += REFRESH_S
    assert (history.run("run").headline, history.version) == ({"net": 1.5}, version)
    os.utime(run / "summary.json", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert history.run("run").headline == {"net": 1.5}, "looked at again too soon"
    now[0] += REFRESH_S
    assert history.run("run").headline == {"net": 2.5}
    assert history.version != version


def test_files_are_those_of_a_run_and_no_others(client: httpx.Client) -> None:
    assert set(FILES) == {name for name in RESULTS if name.endswith((".parquet", ".png", ".html"))}
    for name in (
        "run.log",
        "config.yaml",
        "equity.parquet",
        "signals.parquet",
        "%2e%2e%2fconfig.yaml",
        "..%5Cx",
        "%00",
    ):
        assert client.get(f"{TRADED}/files/{name}").status_code == 404, name
    report = client.get(f"{TRADED}/files/report.html")
    policy = report.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert (report.headers["content-type"], report.headers["x-content-type-options"]) == (
        "text/html; charset=utf-8",
        "nosniff",
    )
    table = client.get(f"{TRADED}/files/fills.parquet")
    assert table.headers["content-disposition"] == 'attachment; filename="fills.parquet"'
    assert pq.read_table(pa.BufferReader(table.content)).num_rows == FILLS
    assert client.get(f"{TRADED}/files/lag_curve.png").headers["content-type"] == "image/png"


def test_a_link_opens_one_file_once_without_a_token(root: Path) -> None:
    tokens = root.with_name("tokens.json")
    token = add(tokens, "desk", Role.VIEWER)
    mine = {"Authorization": f"Bearer {token}"}
    with served(root, anonymous="none") as client:
        for path in (RUNS, TRADED, f"{TRADED}/files/report.html", f"{TRADED}/files/report.html?ticket=x"):
            refused(client.get(path), 401, "unauthorized")
        refused(client.get(f"{RUNS}/nowhere/files/report.html"), 401, "unauthorized")
        refused(client.post(f"{TRADED}/links", json={"file": "report.html"}), 401, "unauthorized")
        refused(client.post(f"{TRADED}/links", json={"file": "run.log"}, headers=mine), 404, "not_found")
        refused(
            client.post(f"{TRADED}/links", json={"file": "report.html", "more": 1}, headers=mine), 422, "unprocessable"
        )
        answer = client.post(f"{TRADED}/links", json={"file": "report.html"}, headers=mine)
        assert answer.status_code == 201
        link = models.Link.model_validate(answer.json())
        assert link.seconds == 60.0
        other = link.url.replace("report.html", "fills.parquet")
        refused(client.get(other), 401, "unauthorized")
        assert client.get(link.url).text.startswith("<script>")
        assert "was used" in refused(client.get(link.url), 401, "unauthorized")
        assert client.get(link.url, headers=mine).status_code == 200
    tokens.unlink()


def test_a_ticket_is_over_in_time_and_the_oldest_is_forgotten() -> None:
    now = [0.0]
    tickets = Tickets(lambda: now[0])
    late, timely = tickets.issue("x"), tickets.issue("x")
    now[0] = LASTS_S - 0.001
    assert tickets.redeem(timely, "x")
    now[0] = LASTS_S
    assert not tickets.redeem(late, "x")
    many = [tickets.issue("x") for _ in range(MOST + 1)]
    assert not tickets.redeem(many[0], "x")
    assert tickets.redeem(many[1], "x")
    assert not tickets.redeem("\ud800", "x")


def test_tables_name_their_columns_and_what_is_wrong(client: httpx.Client) -> None:
    found = models.Tables.model_validate(client.get(f"{TRADED}/tables").json())
    table = {one.name: one for one in found.items}
    assert table["fills"].rows == FILLS
    assert [column.type for column in table["fills"].columns] == ["int64", "string", "double", "decimal128(20, 4)"]
    assert "no whole Parquet file" in str(table["trades"].error)


@pytest.mark.parametrize("sort", ["", "price", "-price", "qty", "-qty", "stream", "-stream"])
def test_rows_of_a_table_page_by_page(client: httpx.Client, sort: str) -> None:
    table = fills()
    if sort:
        name, order = sort.removeprefix("-"), "descending" if sort.startswith("-") else "ascending"
        by = table[name].cast(pa.string()) if name == "stream" else table[name]
        by = pc.if_else(pc.is_nan(by), None, by) if name == "price" else by
        keyed = pa.table({"by": by, "row": np.arange(FILLS)})
        table = table.take(pc.sort_indices(keyed, [("by", order), ("row", "ascending")]))
    want = [
        {"ts_report_ns": row["ts_report_ns"], "price": None if np.isnan(row["price"]) else row["price"],
         "qty": None if row["qty"] is None else float(row["qty"])}
        for row in table.to_pylist()
    ]  # fmt: skip
    query = {"columns": "ts_report_ns,price,qty", "limit": 700} | ({"sort": sort} if sort else {})
    assert walked(client, f"{TRADED}/tables/fills", **query) == want
    models.Rows.model_validate(client.get(f"{TRADED}/tables/fills", params=query).json())


def test_a_cursor_is_of_one_order_of_one_version(tmp_path: Path) -> None:
    run = leave(tmp_path / "outputs" / "run", "backtest", {})
    pq.write_table(fills(), run / "fills.parquet")
    with served(tmp_path / "outputs") as client:
        path = f"{RUNS}/run/tables/fills"
        cursor = client.get(path, params={"sort": "price"}).json()["next"]
        assert client.get(path, params={"sort": "price", "cursor": cursor}).status_code == 200
        refused(client.get(path, params={"sort": "-price", "cursor": cursor}), 400, "bad_request")
        pq.write_table(fills().slice(1), run / "fills.parquet")
        said = refused(client.get(path, params={"sort": "price", "cursor": cursor}), 400, "bad_request")
        assert "the list has changed" in said


def pooled(folds: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """What each set came to, worked out in plain Python."""
    found: dict[int, dict[str, float]] = {}
    for row in sweep_rows().to_pylist():
        if row["fold"] in folds:
            one = found.setdefault(
                row["set"], dict.fromkeys(("net", "trades", "n", "s1", "s2", "turnover", "worst"), 0.0)
            )
            for name, of in (("net", "net"), ("trades", "trades"), ("n", "buckets"), ("s1", "sum1"), ("s2", "sum2"),
                             ("turnover", "turnover")):  # fmt: skip
                one[name] += row[of]
            one["worst"] = max(one["worst"], row["drawdown"])
    for one in found.values():
        variance = (one["s2"] - one["s1"] ** 2 / one["n"]) / (one["n"] - 1)
        one["sharpe"] = one["s1"] / one["n"] / variance**0.5 * (365.25 * 86_400) ** 0.5
        one["net_bp"] = 1e4 * one["net"] / one["turnover"]
    return found


def test_sets_of_a_sweep_are_pooled_over_folds(client: httpx.Client) -> None:
    here, there = pooled((0, 1)), pooled((2,))
    rows = walked(client, f"{SWEPT}/sweep", limit=7)
    assert [row["set"] for row in rows] == sorted((one for one in here if one != 5), key=lambda one: -here[one]["net"])
    for row in rows:
        for prefix, want in (("", here[row["set"]]), ("held_out_", there[row["set"]])):
            got = {name: row[prefix + name] for name in ("net", "net_bp", "sharpe", "trades")}
            assert got == pytest.approx({name: want[name] for name in got})
            assert row[f"{prefix}worst_drawdown"] == want["worst"]
    page = models.Sets.model_validate(client.get(f"{SWEPT}/sweep", params={"min_trades": 0}).json())
    assert (page.total, page.parameters) == (40, ["policy.enter_bp", "policy.lots"])
    by_lots = walked(client, f"{SWEPT}/sweep", sort="-policy.lots", min_trades=0, limit=9)
    assert [row["set"] for row in by_lots] == sorted(range(40), key=lambda one: -(one % 4))


@pytest.mark.parametrize("reduce", ["max", "median", "mean", "count"])
def test_a_heat_map_tells_of_the_sets_in_each_cell(client: httpx.Client, reduce: str) -> None:
    query = {"x": "policy.lots", "y": "policy.enter_bp", "reduce": reduce, "bins": 6, "min_trades": 0}
    grid = models.HeatMap.model_validate(client.get(f"{SWEPT}/heatmap", params=query).json())
    assert (grid.x.labels, grid.x.scale) == (["0", "1", "2", "3"], "levels")
    assert (grid.y.labels[0], grid.y.labels[-1], grid.y.scale) == ("0.0178", "5.62", "log")
    here, cells = pooled((0, 1)), dict[tuple[int, int], list[float]]()
    for number in range(40):
        cells.setdefault((min(int(number / 39 * 6), 5), number % 4), []).append(here[number]["net"])
    how = {"max": np.max, "median": np.median, "mean": np.mean, "count": len}[reduce]
    for row in range(6):
        for column in range(4):
            nets = cells.get((row, column), [])
            want = how(nets) if nets or reduce == "count" else None
            assert grid.z[row][column] == (None if want is None else pytest.approx(float(want)))
            assert grid.sets[row][column] == len(nets)


HOSTILE: list[Any] = [
    None, True, "x" * 10_000, -(10**25), 1e308, [], [[1]], {}, {"net": {}}, {"best": 3, "pairs": 4},
    {"best": {"searched": []}}, {"a": {"100": 5}, "b": 7}, {"a": {"100": {"r2": "high"}}}, {"rows": [], "net": "?"},
]  # fmt: skip


def test_whatever_a_summary_holds_has_a_line(tmp_path: Path) -> None:
    modes = ("replay", "backtest", "sweep", "leadlag", "convert", "fit", "paper")
    names = (
        "events",
        "wall_s",
        "device",
        "error",
        "interrupted",
        "skill",
        "store",
        "fallbacks",
        "events_per_s",
        *modes,
    )
    for mode in modes:
        for number, value in enumerate(HOSTILE):
            leave(tmp_path / mode / f"{number}", mode, dict.fromkeys(names, value))
    runs = History(tmp_path).runs()
    assert len(runs) == len(modes) * len(HOSTILE)
    assert max(len(encoded(line_of(run))) for run in runs) < 2_000


def test_a_thousand_runs_are_listed_within_100_ms(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    skill = {f"s{k}": {str(h): {"r2": 0.1, "n": k} for h in (10, 50, 100, 500, 1000)} for k in range(20)}
    text = json.dumps({"mode": "replay", "events": 7, "wall_s": 1.0, "skill": skill})
    for number in range(1_000):
        leave(root / f"{number // 50}" / f"{number}", "replay", text, 1_600_000_000 + number)
    with served(root) as client:
        assert client.get(RUNS).json()["total"] == 1_000
        took = []
        for number in range(150):
            begun_s = time.perf_counter()
            assert client.get(RUNS, params={"sort": ("-started", "-r2", "events")[number % 3]}).status_code == 200
            took.append(time.perf_counter() - begun_s)
    assert np.percentile(took, 99) < 0.1


def test_the_server_writes_a_log_of_its_own_beside_the_run(tmp_path: Path) -> None:
    config = ServerConfig(port=0, runs=str(tmp_path), tokens=str(tmp_path / "tokens.json"))
    with ServerLink(config, "1.2.3", print, LogsConfig(json=True)) as link:
        link.sink.open(header(tmp_path))
        assert httpx.get(f"{link.url}{RUNS}?cursor=secret").status_code == 400
        until_s = time.monotonic() + 10.0
        file = tmp_path / "server.log"
        while not file.exists() or b"/runs?cursor" not in file.read_bytes():
            assert time.monotonic() < until_s
            time.sleep(0.02)
    (line,) = [one for one in map(json.loads, file.read_text().splitlines()) if "request" in one]
    assert line["request"]["status"] == 400
    assert "secret" not in json.dumps(line)


def test_a_folder_whose_name_is_no_text_costs_no_other_run_its_place(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    odd = Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe"))
    for folder in (root / "healthy", root / "compare", odd):
        leave(folder, "replay", {"events": 7})
        with (folder / "fills.parquet").open("wb") as file:
            pq.write_table(pa.table({"price": [1.5]}), file)
    with served(root) as client:
        items = client.get(RUNS).json()["items"]
        assert {one["id"] for one in items} == {"healthy", "~~63ompare", "~~FF~~FE"}
        for one in items:
            assert client.get(f"{RUNS}/{quote(one['id'], safe='~')}").json()["events"] == 7
            tables = client.get(f"{RUNS}/{one['id']}/tables").json()["items"]
            assert [table["rows"] for table in tables] == [1], tables
