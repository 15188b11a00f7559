"""The Python API gives what the command writes, from any source, and says what is wrong with an argument."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import schwabot
from schwabot.errors import ConfigError, SchemaError, UnsortedTimeError
from schwabot.records.audit import StepRecord
from schwabot.run import main
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.merge import concat
from schwabot.ticks.store import StoreFeed, write_store
from schwabot.ticks.synthetic import SyntheticFeed
from schwabot.ticks.table import TableFeed

TABLES = ("signals", "lag_curve", "lag_decisions", "arbitrage", "drift")
MARKET = {"events": 6_000, "seed": 3}
T0_S = 1723161600.0  # 2024-08-09
QUOTES = pa.table({"time": [T0_S + 1.0, T0_S + 1.5, T0_S + 2.0], "bid": [4.1, 4.2, 4.1], "ask": [4.3, 4.4, 4.3]})
SPOT = '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"4","B":"1","a":"5","A":"2"}}'


@pytest.fixture(scope="module")
def result() -> schwabot.Result:
    return schwabot.Graph().run(schwabot.load("synthetic", **MARKET), wide=True)


def test_import_stays_light() -> None:
    heavy = ["hydra", "matplotlib", "numba", "numpy", "pyarrow", "torch"]
    command = f"import sys, schwabot; print([name for name in {heavy!r} if name in sys.modules], dir(schwabot)[:1])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] ['Backtest']"


def test_public_names() -> None:
    assert schwabot.__all__ == [
        "Backtest", "Fit", "Graph", "LeadLagResult", "Result", "Sweep", "backtest", "fit", "leadlag", "load", "sweep",
    ]  # fmt: skip
    assert not hasattr(schwabot, "trade"), "absent until it exists"


def test_same_tables_and_numbers_as_the_command(result: schwabot.Result, tmp_path: Path) -> None:
    main([*(f"source.{name}={value}" for name, value in MARKET.items()), f"hydra.run.dir={tmp_path}",
          "sinks.tensorboard=false", "sinks.console=false", "sinks.progress=false"])  # fmt: skip
    for name in TABLES:
        ours, theirs = getattr(result, name), pq.read_table(tmp_path / f"{name}.parquet")
        assert ours.schema.equals(theirs.schema), name
        assert ours.to_pylist() == theirs.to_pylist(), name
    written = json.loads((tmp_path / "summary.json").read_text())
    same = set(written) - {"wall_s", "loop_s", "compile_s", "events_per_s", "peak_rss_mib"}
    assert {name: result.summary[name] for name in same} == {name: written[name] for name in same}


def test_same_notes_as_the_command(tmp_path: Path) -> None:
    pacsv.write_csv(QUOTES, tmp_path / "btc.csv")
    columns = {name: name for name in QUOTES.column_names}
    with pytest.warns(RuntimeWarning, match="running on the CPU"):
        run = schwabot.Graph(device="cuda").run(schwabot.load(tmp_path / "btc.csv", columns=columns))
    main(["source=table", f"source.glob={tmp_path}/btc.csv", *(f"source.columns.{name}={name}" for name in columns),
          "+device=cuda", f"hydra.run.dir={tmp_path}", "sinks.tensorboard=false", "sinks.console=false"])  # fmt: skip
    notes = run.summary["notes"]
    assert [note.split(":")[0] for note in notes] == ["warning", *["note"] * 4]
    assert notes == json.loads((tmp_path / "summary.json").read_text())["notes"]
    off = schwabot.Graph(skill={"enabled": "off"}).run(schwabot.load("synthetic", events=50))
    assert off.summary["skill_note"] == "skill was not measured: skill.enabled=off"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: schwabot.load(), r"missing a required argument: 'source'; arguments: source, kind, instruments"),
        (lambda: schwabot.load(5), "source is of type int: use 'synthetic', a file"),
        (lambda: schwabot.load(None), "source is of type NoneType"),
        (lambda: schwabot.load([]), "source is of type list"),
        (lambda: schwabot.load({"time": [1.0]}), r"type dict.*or an Arrow table.*pyarrow\.Table\.from_pandas\(frame\)"),
        (lambda: schwabot.load("synthetic", instruments=["x"]), "use names with their settings"),
        (lambda: schwabot.load("synthetic", events="many"), "source.events"),
        (lambda: schwabot.load("synthetic", delay_ms=5), "source.delay_ms: a list is wanted"),
        (lambda: schwabot.Graph("tau_phase_s"), "use a dict by module"),
        (lambda: schwabot.Graph({}, "cpu"), "too many positional arguments; arguments: overrides, device"),
        (lambda: schwabot.Graph().run(), r"missing a required argument: 'source'"),
        (lambda: schwabot.Graph().run("synthetic", wides=True), "there is no argument wides, did you mean wide"),
        (lambda: schwabot.Graph().run("synthetic", wide="mid_bp"), "use True, False or a list"),
        (lambda: schwabot.Graph().run("synthetic", wide=5), "use True, False or a list"),
        (lambda: schwabot.Graph().run("synthetic", signals="some"), "sinks.signals=some is not a choice"),
        (lambda: schwabot.Graph().run("synthetic", signals=5), "sinks.signals=5 is not a choice"),
        (lambda: schwabot.Graph().run("synthetic", batch_events=0), "batch_events=0 is out of range"),
        (lambda: schwabot.Graph().run("synthetic", batch_events="all"), "batch_events=all: use a whole number"),
        (lambda: schwabot.Graph().run("synthetic", predictors=[1]), "use a dict"),
        (lambda: schwabot.Graph().run("synthetic", predictors={"x": 1}), "use a dict"),
        (lambda: schwabot.Graph().run("synthetic", reference=5), "is not in the source"),
        (lambda: schwabot.Graph().run(5), "source is of type int"),
    ],
)
def test_wrong_arguments_are_answered_like_wrong_settings(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        call()


def test_wide_holds_every_streams_answer(result: schwabot.Result) -> None:
    wide, signals = result.wide, result.signals
    assert wide is not None
    assert wide["ts_recv_ns"].equals(signals["ts_recv_ns"])
    streams = signals["stream"].to_pylist()
    own = [wide[f"deviation_bp[{stream}]"][row].as_py() for row, stream in enumerate(streams[:500])]
    assert own == signals["deviation_bp"].slice(0, 500).to_pylist()
    assert len(wide.column_names) == 3 + 5 * len(result.summary["streams"])


def test_wide_takes_names_of_columns() -> None:
    run = schwabot.Graph().run(schwabot.load("synthetic", events=500, streams=2), wide=["lane"], signals="every_50")
    assert run.wide is not None
    assert run.wide.column_names[3:] == ["lane[synthetic_a:BTC/USDT]", "lane[synthetic_b:BTC/USDT:USDT]"]
    assert run.wide["lane[synthetic_a:BTC/USDT]"].type == pa.int8()
    assert (run.wide.num_rows, run.signals.num_rows) == (500, 10)
    with pytest.raises(ConfigError, match="did you mean forecast_bp"):
        schwabot.Graph().run("synthetic", wide=["forcast_bp"])


def test_runs_do_not_see_each_other() -> None:
    graph = schwabot.Graph()
    first, second = (graph.run(schwabot.load("synthetic", events=2_000)) for _ in range(2))
    assert first.signals.equals(second.signals)


def test_batch_size_changes_nothing() -> None:
    graph = schwabot.Graph()
    whole, cut = (graph.run(schwabot.load("synthetic", events=2_000), batch_events=n) for n in (65_536, 137))
    for name in (*TABLES, "skill"):
        assert getattr(whole, name).to_pylist() == getattr(cut, name).to_pylist(), name


def test_own_predictors_are_scored_beside_the_ghost() -> None:
    def nothing(record: StepRecord) -> np.ndarray:
        return np.zeros_like(record.signals.mid_bp)

    def ghost(record: StepRecord) -> np.ndarray:
        return record.signals.deviation_bp

    def flat(record: StepRecord) -> np.ndarray:
        return record.signals.ghost_bp

    feed = schwabot.load("synthetic", **MARKET)
    run = schwabot.Graph().run(feed, predictors={"nothing": nothing, "again": ghost})
    rows = {(row["predictor"], row["stream"], row["horizon_ms"]): row for row in run.skill.to_pylist()}
    stream = feed.instruments[0].stream
    assert rows["nothing", stream, 100.0]["r2"] == 0.0
    assert rows["again", stream, 100.0]["r2"] == rows["ghost", stream, 100.0]["r2"]
    assert rows["ghost", stream, 100.0]["r2"] == run.summary["skill"][stream]["100"]["r2"]
    with pytest.raises(ConfigError, match="'ghost'"):
        schwabot.Graph().run("synthetic", predictors={"ghost": ghost})
    with pytest.raises(ConfigError, match="expected"):
        schwabot.Graph().run(schwabot.load("synthetic", events=500), predictors={"flat": flat})


def test_a_predictor_without_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'half' gave shape \(\) \(a float\), expected"):
        schwabot.Graph().run(schwabot.load("synthetic", events=500), predictors={"half": lambda record: 0.5})


def test_a_feed_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "any.dat").write_text(f"7 {SPOT}\n")
    pacsv.write_csv(QUOTES, tmp_path / "quotes.csv")
    write_store(schwabot.load("synthetic", events=500), tmp_path / "store")
    columns = {"time": "time", "bid": "bid", "ask": "ask"}
    graph = schwabot.Graph()
    for feed in (
        schwabot.load("synthetic", events=500),
        schwabot.load(tmp_path / "any.dat"),
        schwabot.load(tmp_path / "quotes.csv", columns=columns, time_unit="s"),
        schwabot.load(QUOTES, time_unit="s"),
        schwabot.load(tmp_path / "store"),
    ):
        assert graph.run(feed).summary["events"] > 0
        with pytest.raises(ConfigError, match=r"a feed is read once: schwabot\.load again"):
            graph.run(feed)
    other = schwabot.load("synthetic", events=500)
    with pytest.raises(ConfigError, match="reference"):
        graph.run(other, reference="no:A/B")
    assert graph.run(other).summary["events"] == 500, "a refusal reads nothing"


def test_wall_time_counts_getting_ready() -> None:
    """In a process of its own, where the kernels take a second to be read."""
    code = "import schwabot; s = schwabot.Graph(skill={'draws': 0}).run(schwabot.load('synthetic', events=500)).summary"
    command = f"{code}; print(s['wall_s'], s['compile_s'], s['loop_s'])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    wall_s, compile_s, loop_s = map(float, done.stdout.split())
    assert wall_s >= compile_s + loop_s > loop_s > 0


def test_settings_reach_the_graph() -> None:
    by_name = schwabot.Graph(tau_phase_s=5, estimator="kalman")
    by_tree = schwabot.Graph({"tensor_harness": {"tau_phase_s": 5}}, ghost_bridge={"estimator": "kalman"})
    assert by_name.settings == by_tree.settings
    assert by_name.settings.modules.tensor_harness.tau_phase_s == 5.0
    other = schwabot.Graph(latency={"window_s": 30}, skill={"horizons_ms": [20]})
    assert (other.settings.latency.window_s, other.settings.skill.horizons_ms) == (30.0, (20,))
    changed = by_name.run(schwabot.load("synthetic", events=2_000))
    plain = schwabot.Graph().run(schwabot.load("synthetic", events=2_000))
    assert changed.signals["ghost_bp"].to_pylist() != plain.signals["ghost_bp"].to_pylist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tau_fase_s": 5}, "tau_fase_s: there is no such setting, did you mean tau_phase_s"),
        ({"tensor_harnes": {}}, "did you mean tensor_harness"),
        ({"tensor_harness": {"tau_phase": 5}}, "did you mean tau_phase_s"),
        ({"tensor_harness": 5}, "tensor_harness=5: use a dict"),
        ({"horizon_ms": 5}, r"setting of hash_registry and of voltage_lanes: say hash_registry=\{'horizon_ms': 5\} or"),
        ({"tau_phase_s": "long"}, "modules.tensor_harness.tau_phase_s: Value 'long'"),
        ({"tau_phase_s": -1}, "out of range"),
        ({"estimator": "mean"}, "weighted, kalman"),
        ({"skill": {"horizon_ms": [1]}}, "did you mean horizons_ms"),
        ({"device": "gpu"}, "auto, cpu or cuda"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        schwabot.Graph(**given)  # type: ignore[arg-type]


def test_load_tells_the_kind_from_the_content(tmp_path: Path) -> None:
    assert isinstance(schwabot.load("synthetic", events=10), SyntheticFeed)
    (tmp_path / "any.dat").write_text(f"7 {SPOT}\n")
    assert isinstance(schwabot.load(tmp_path / "any.dat"), CaptureFeed)
    pacsv.write_csv(QUOTES, tmp_path / "quotes.csv")
    pq.write_table(QUOTES, tmp_path / "quotes.pq")
    columns = {"time": "time", "bid": "bid", "ask": "ask"}
    both = schwabot.load([tmp_path / "quotes.csv", tmp_path / "quotes.pq"], columns=columns, streams={"*.pq": "a:X/Y"})
    assert isinstance(both, TableFeed)
    assert [one.stream for one in both.instruments] == ["a:X/Y", "table:quotes"]
    write_store(schwabot.load("synthetic", events=500), tmp_path / "store")
    store = schwabot.load(tmp_path / "store", venues=["synthetic_b"])
    assert isinstance(store, StoreFeed)
    assert [one.venue for one in store.instruments] == ["synthetic_b"]


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("nowhere/*.gz", {}, "no file matches"),
        ("any.dat", {"kind": "captures"}, "did you mean capture"),
        ("any.dat", {"depth_level": 5}, "did you mean depth_levels"),
        ("any.dat", {"depth_levels": 9}, "0 to 5"),
        (".", {}, "is a folder but no store"),
        (["any.dat", "quotes.csv"], {}, "different kinds"),
        ("quotes.csv", {}, "source.columns: state time"),
        ("any.dat", {"kind": "synthetic"}, "no files"),
    ],
)
def test_load_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, options: dict[str, object], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("any.dat").write_text(f"7 {SPOT}\n")
    pacsv.write_csv(QUOTES, "quotes.csv")
    with pytest.raises(ConfigError, match=said):
        schwabot.load(source, **options)  # type: ignore[arg-type]


def test_arrow_in() -> None:
    names = {"t": "time", "s": "stream", "b": "bid", "a": "ask"}
    table = pa.table({"t": [1.0, 1.0, 1.5], "s": ["x:A/B", "y:A/B", "x:A/B"], "b": [4.1, 4.2, 4.2], "a": [4.3] * 3})
    x = {"stream": "x:A/B", "tick_size": 0.01, "lot_size": 1.0, "maker_fee_bp": 0, "taker_fee_bp": 0}
    feed = schwabot.load(
        table, time_unit="s", columns={role: name for name, role in names.items()}, instruments={"x": x},
    )  # fmt: skip
    assert [(one.stream, one.tick_size) for one in feed.instruments] == [("x:A/B", 0.01), ("y:A/B", 0.1)]
    ticks = concat(list(feed.batches()))
    assert ticks.ts_recv_ns.tolist() == [1_000_000_000, 1_000_000_000, 1_500_000_000]
    assert ticks.bid_ticks.tolist() == [410, 42, 420]
    run = schwabot.Graph().run(QUOTES.append_column("emit_time", QUOTES["time"]))
    assert list(run.summary["streams"]) == ["table:arrow"]
    assert run.signals["ghost_bp"].null_count < 3


def test_arrow_in_is_checked_like_a_file() -> None:
    feed = schwabot.load(QUOTES.take([1, 0, 2]), time_unit="s")
    with pytest.raises(UnsortedTimeError, match=r"arrow.parquet:2"):
        list(feed.batches())
    with pytest.raises(ConfigError, match="state time"):
        schwabot.load(QUOTES.drop_columns(["time"]))
    with pytest.raises(SchemaError, match="no column 'T'"):
        schwabot.load(QUOTES, columns={"time": "T"})
    with pytest.raises(ConfigError, match="read as kind='table'"):
        schwabot.load(QUOTES, kind="capture")


def test_threads_may_load_and_share_a_graph(result: schwabot.Result) -> None:
    graph = schwabot.Graph()
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(lambda _: graph.run(schwabot.load("synthetic", **MARKET)), range(4)))
    assert [run.signals.equals(result.signals) for run in runs] == [True] * 4


def test_reference_must_be_there() -> None:
    with pytest.raises(ConfigError, match="did you mean synthetic_b:BTC/USDT:USDT"):
        schwabot.Graph().run(schwabot.load("synthetic", events=100), reference="synthetic_b:BTC/USDT:USD")


def test_captures(captures: Path) -> None:
    feed = schwabot.load(captures / "binance" / "*" / "eth*.gz", streams=["binance:ETH/USDT"])
    assert isinstance(feed, CaptureFeed)
    assert [one.venue for one in feed.instruments] == ["binance", "binancecoinm", "binanceusdm"]
