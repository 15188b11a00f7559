"""sweep.each: every asset and day of a store a market of its own, read by itself, and pooled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from schwabot.api import _settings
from schwabot.engine import StopRequest
from schwabot.modes.opening import open_feed
from schwabot.modes.sweep_markets import Markets, declared
from schwabot.modes.sweep_slices import slices_of
from schwabot.modes.trading import open_policy
from schwabot.records.instrument import Instrument
from schwabot.records.market import Ticks
from schwabot.run import main
from schwabot.simulation.sweep.ranges import open_space
from schwabot.ticks.store import StoreConfig, StoreFeed, write_store
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

MIDNIGHT = 1_723_161_600_000_000_000  # 2024-08-09
BTC = ["BTC/USDT", "BTC/USDT:USDT"]
RUN = [
    "mode=sweep", "policy=threshold", "source=store", "source.path=store", "sweep.folds=2", "sweep.min_trades=2",
    "sweep.sets=12", "sweep.batch=8", "sweep.over={enter_bp: {low: 0.02, high: 0.3, log: true}}", "sweep.lead_in_s=2",
    "sinks.progress=false", "sinks.tensorboard=false",
]  # fmt: skip


class Renamed:
    """A synthetic market of another asset."""

    def __init__(self, config: SyntheticConfig, asset: str) -> None:
        self._feed = SyntheticFeed(config)
        self.instruments: tuple[Instrument, ...] = tuple(
            replace(one, stream=one.stream.replace("BTC", asset)) for one in self._feed.instruments
        )

    @property
    def dropped(self) -> Mapping[str, int]:
        return {}

    @property
    def expected_events(self) -> int | None:
        return None

    def progress(self) -> float:
        return 0.0

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        for ticks in self._feed.batches(max_events):
            yield replace(ticks, instruments=self.instruments)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds around midnight of two assets."""
    monkeypatch.chdir(tmp_path)
    for seed, asset in enumerate(("BTC", "ETH")):
        start_ns = MIDNIGHT - 5 * 10**9
        config = SyntheticConfig(events=6000, streams=3, seed=seed, start_ns=start_ns, depth_interval_ms=0.0)
        write_store(Renamed(config, asset), "store", mode="append" if seed else "new")


def summary_of(folder: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return summary


def test_every_asset_and_day_by_itself(store: None) -> None:
    main([*RUN, "sweep.each=[symbol,day]", "hydra.run.dir=each"])
    found = summary_of("each")
    table = pq.read_table("each/sweep.parquet")
    markets = ["BTC 2024-08-08", "BTC 2024-08-09", "ETH 2024-08-08", "ETH 2024-08-09"]
    assert sorted(set(table["market"].to_pylist())) == markets
    assert found["sweep"]["markets"] == 4
    # 70 % of ten seconds are searched on in two folds: the first fold ends before midnight, the second after it
    by_market = {
        market: sorted(set(table.filter(pc.field("market") == market)["fold"].to_pylist())) for market in markets
    }
    assert by_market == {markets[0]: [0, 1], markets[1]: [1, 2], markets[2]: [0, 1], markets[3]: [1, 2]}
    assert table.num_rows == 12 * 8
    assert set(table["stream"].to_pylist()) == {"synthetic_b:BTC/USDT:USDT", "synthetic_b:ETH/USDT:USDT"}
    best = found["sweep"]["best"]
    own = table.filter((pc.field("set") == best["set"]) & (pc.field("fold") < 2))
    assert own.num_rows == 6
    assert best["searched"]["trades"] == pc.sum(own["trades"]).as_py() > 0
    assert best["searched"]["net"] == pytest.approx(pc.sum(own["net"]).as_py())
    at_once = {
        (fold, market[4:]): sum(
            row["drawdown"] for row in own.to_pylist() if row["fold"] == fold and row["market"][4:] == market[4:]
        )
        for fold in (0, 1)
        for market in markets[:2]
    }
    ends = [0.0]
    for fold, day in sorted(at_once):
        at = [row["net"] for row in own.to_pylist() if row["fold"] == fold and row["market"][4:] == day]
        ends.append(ends[-1] + sum(at))
    between = max(max(ends[:k]) - ends[k] for k in range(1, len(ends)))
    assert best["searched"]["drawdown"] == pytest.approx(max(*at_once.values(), between))
    assert between > max(at_once.values()), "a policy that loses in every fold falls further over all of them"
    # the two seconds before midnight are read twice and traded in once
    rows = StoreFeed(StoreConfig("store")).expected_events
    assert rows is not None
    assert found["sweep"]["events"] == rows < found["events"]

    main([*RUN, "sweep.each=[symbol,day]", "sweep.threads=1", "sweep.batch=5", "hydra.run.dir=again"])
    assert pq.read_table("again/sweep.parquet").equals(table)
    main([*RUN, "sweep.each=[symbol,day]", "sweep.sets=16", "hydra.run.dir=each"])
    assert (summary_of("each")["sweep"]["recalled"], summary_of("each")["sweep"]["ran"]) == (8, 8)


def test_days_begin_at_midnight(store: None) -> None:
    sweep = {"each": ["day"], "folds": 2, "lead_in_s": 2.0, "over": {"enter_bp": [0.02, 0.3]}}
    tree = {
        "mode": "sweep",
        "policy": {"name": "threshold"},
        "source": {"path": "store", "symbols": BTC},
        "sweep": sweep,
    }
    run = _settings(tree | {"sinks": {"progress": False}}, "store")
    slices = slices_of(run, open_feed(run))
    policy = open_policy(run)
    space = open_space(run.sweep.over, declared(policy.parameters, run.modules))
    markets = Markets(run, policy, space, slices, StopRequest())
    before, after = (markets.get(part.name, 0).facts for part in slices.parts)
    assert before.last_ns < MIDNIGHT <= after.first_ns
    assert after.first_ns - before.last_ns < 10**8
    assert after.counts["span_s"] == pytest.approx((after.last_ns - MIDNIGHT) / 1e9 + 2.0, abs=0.05)  # with the lead in
    assert before.rows + after.rows == 6000


def test_time_without_data_is_in_no_fold(tmp_path: Path) -> None:
    starts = [MIDNIGHT + 3600 * 10**9, MIDNIGHT + (3600 + 2 * 86_400) * 10**9]
    for number, start_ns in enumerate(starts):
        feed = SyntheticFeed(SyntheticConfig(events=600, start_ns=start_ns))
        write_store(feed, str(tmp_path / "st"), mode="append" if number else "new")
    source = {"path": str(tmp_path / "st")}
    run = _settings({"mode": "sweep", "source": source, "sweep": {"each": ["day"], "folds": 4, "split": 0.75}}, "store")
    slices = slices_of(run, open_feed(run))
    assert [part.name for part in slices.parts] == ["2024-08-09", "2024-08-11"]
    # about a second of data on each day: half of it is searched on by the first two folds, a quarter by the others
    assert all(starts[0] <= edge < starts[0] + 2 * 10**9 for edge in slices.edges[:3])
    assert all(starts[1] <= edge < starts[1] + 2 * 10**9 for edge in slices.edges[3:])
    assert len(slices.edges) == 5


def test_an_asset_by_itself_is_what_its_own_sweep_gives(store: None, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["source.symbols=[BTC/USDT,BTC/USDT:USDT]", "policy.trade=[synthetic_a:BTC/USDT]"]
    main([*RUN, *only, "sweep.each=[symbol]", "hydra.run.dir=each"])
    main([*RUN, *only, "hydra.run.dir=whole"])
    each, whole = (pq.read_table(f"{folder}/sweep.parquet") for folder in ("each", "whole"))
    assert set(each["market"].to_pylist()) == {"BTC"}
    assert set(whole["market"].to_pylist()) == {"whole"}
    assert pc.sum(each["trades"]).as_py() > 50
    assert each.drop_columns("market").equals(whole.drop_columns("market"))
    capsys.readouterr()
    main([*RUN, only[1], "sweep.each=[symbol]", "hydra.run.dir=left"])
    assert "note: ETH is left out: policy.trade names none of its streams" in capsys.readouterr().err
    assert set(pq.read_table("left/sweep.parquet")["market"].to_pylist()) == {"BTC"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["sweep.each=[symbols]"], "sweep.each: symbols is not a choice, did you mean symbol?"),
        (["sweep.each=[day]", "source=synthetic", "~source.path"], "needs source=store"),
        (["sweep.each=[symbol]", "policy.trade=[no:BTC/USDT]"], "policy.trade: no:BTC/USDT is not in the source"),
    ],
)
def test_what_is_refused(store: None, wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = [one for one in RUN if one != "source.path=store"] if "~source.path" in wrong else RUN
    with pytest.raises(SystemExit):
        main([*run, *(one for one in wrong if one != "~source.path"), "hydra.run.dir=run"])
    assert said in capsys.readouterr().err
