"""Settings that change while running: what is let through, when it counts, and what stays."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from schwabot import engine
from schwabot.clock import ReplayClock
from schwabot.config import RunConfig
from schwabot.errors import ConfigError, StateError
from schwabot.live_pipeline import LivePipeline
from schwabot.modes.hot_reload import (
    EVERY_S,
    RELOADABLE,
    Applied,
    HotReload,
    Rejected,
    SettingsFile,
    put_into_alerts,
    reloaded,
)
from schwabot.modules.device_graph import DeviceGraph
from schwabot.modules.settings import ModulesConfig, VoltageLanesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.market import Ticks
from schwabot.run import main
from schwabot.sinks.base import RunHeader
from schwabot.sinks.notify import NotifySink
from schwabot.sinks.notify_settings import NotifyConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

START = RunConfig(source=SyntheticConfig(), mode="live")
HIGH = "modules.voltage_lanes.high_v"
LOOSE = ModulesConfig(voltage_lanes=VoltageLanesConfig(medium_v=0.81, high_v=0.9, kappa=40.0, count_cap=40.0))


def applied(text: str, current: RunConfig = START) -> Applied:
    found = reloaded(START, current, text)
    assert isinstance(found, Applied), found
    return found


# what a file means


def test_every_name_is_a_setting() -> None:
    tree = OmegaConf.structured(START)
    assert [name for name in RELOADABLE if OmegaConf.select(tree, name) is None] == []


def test_differences_are_told_and_what_is_taken_out_goes_back() -> None:
    first = applied(f"{HIGH}: 1.9\nnotify: {{burst: 9, kinds: [halt]}}\nmodules:\n  ghost_bridge:\n")
    assert first.changes == (
        (HIGH, "2.0", "1.9"),
        ("notify.kinds", "[halt, error, fallback, risk, fill, reload, daily, end]", "[halt]"),
        ("notify.burst", "5", "9"),
    )
    assert first.settings.modules.voltage_lanes.high_v == 1.9
    assert START.modules.voltage_lanes.high_v == 2.0, "the settings before are left alone"
    second = applied("notify.burst: 9", first.settings)
    assert second.changes == ((HIGH, "1.9", "2.0"), ("notify.kinds", "[halt]", first.changes[1][1]))
    assert applied("", START).changes == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("modules.voltage_lanes.high_v: 99", "high_v=99.0 is out of range: use 1.2 to 3.3"),
        ("modules.voltage_lanes.high_v: .nan", "is out of range"),
        ("modules.voltage_lanes.high_v: much", "modules.voltage_lanes.high_v: "),
        ("modules.voltage_lanes.high_v: null", "modules.voltage_lanes.high_v: "),
        ("modules.voltage_lanes: {medium_v: 1.9, high_v: 1.5}", "is out of range"),
        ("modules.voltage_lanes.hi_v: 1", "hi_v can't change while running, did you mean"),
        ("modules.hash_registry.bits: 4", "modules.hash_registry.bits can't change while running"),
        ("mode: live", "mode can't change while running"),
        ("notify.kinds: [halts]", "notify.kinds: halts is not a choice, did you mean halt?"),
        ("notify.burst: [1, 2]", "notify.burst: "),
        ("notify.slack_webhook_url: https://hooks.slack.com/x", "secrets are no settings"),
        ("- a\n- b", "it holds no settings"),
        ("notify: {burst: 1", "it is no YAML"),
        ("notify.burst: 1\nnotify.burst: 2", "it is no YAML"),
        (
            "execution.risk.max_lots: null",
            "max_lots: null is no value, write one such as {a: 1, b: 2}, or",
        ),
        ("execution.risk.max_lots: 5", "execution.risk.max_lots: write one such as {a: 1, b: 2}"),
        ("notify.kinds: null", "notify.kinds: null is no value, write one such as [a, b], or take the line out"),
        ("notify.kinds: halt", "notify.kinds: write one such as [a, b]"),
    ],
)
def test_what_can_not_be_used_is_refused_whole_and_says_why(text: str, why: str) -> None:
    found = reloaded(START, START, text)
    assert isinstance(found, Rejected)
    assert why in found.why
    assert "hooks.slack.com" not in found.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty, which would set back execution.risk.max_notional: write {} if that is what you want"),
        ("# execution.risk.max_notional: 9", "it is empty, which would set back execution.risk.max_notional"),
        ("null", "it is empty, which would set back execution.risk.max_notional"),
        ("execution.risk: null", "execution.risk is empty, which would set back execution.risk.max_notional: write"),
        ("notify.burst: 7\nexecution:\n  risk:\n    # max_notional: 9\n", "execution.risk is empty, which would set"),
    ],
)
def test_what_may_be_half_a_file_does_not_set_limits_back(text: str, why: str) -> None:
    tight = applied("execution.risk.max_notional: 9").settings
    found = reloaded(START, tight, text)
    assert isinstance(found, Rejected)
    assert why in found.why
    back = (("execution.risk.max_notional", "9.0", "5000.0"),)
    for said in ("{}", "execution.risk: {}", "execution.risk.max_orders_per_s: 5", "notify:\n"):
        assert applied(said, tight).changes == back
    assert applied(text).changes in ((), (("notify.burst", "5", "7"),)), "where it sets nothing back it is in order"


# the file


def test_a_file_is_read_when_it_has_changed_and_stands(tmp_path: Path) -> None:
    now_s, path = [0.0], tmp_path / "live.yaml"
    path.write_text("one")
    file = SettingsFile(path, lambda: now_s[0])

    def looked() -> str | None:
        now_s[0] += EVERY_S
        return file.changed()

    assert file.changed() == "one", "what it holds at first"
    assert [looked(), looked()] == [None, None]
    path.write_text("two")
    assert [looked(), looked(), looked()] == [None, "two", None]
    path.write_text("half")
    first = looked()
    path.write_text("half and half")  # still being written
    assert [first, looked(), looked()] == [None, None, "half and half"]
    new = tmp_path / "new"
    new.write_text("replaced")
    os.replace(new, path)  # as editors do
    assert [looked(), looked()] == [None, "replaced"]
    path.unlink()
    assert [looked(), looked()] == [None, None]
    path.write_text("back")
    assert [looked(), looked()] == [None, "back"]
    os.utime(path, (1, 1))
    assert [looked(), looked(), looked()] == [None, None, None], "touched, not changed"
    path.write_text("soon")
    now_s[0] += EVERY_S / 2
    assert [file.changed(), file.changed()] == [None, None], "not looked at more often than that"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x00\xff", "it is not text in UTF-8"),
        ("notify.burst: 7".encode("utf-16"), "it is not text in UTF-8"),
        ("folder", "Is a directory"),
    ],
)
def test_a_file_that_can_not_be_read_is_told_once(content: Any, why: str, tmp_path: Path) -> None:
    now_s, path = [0.0], tmp_path / "live.yaml"
    path.write_text("notify.burst: 7")
    settings = replace(START, reload=str(path))
    changes = HotReload(settings, SettingsFile(path, lambda: now_s.__setitem__(0, now_s[0] + 1.0) or now_s[0]))
    assert [(one.changes, one.who) for one in changes.take(0)] == [((("notify.burst", "5", "7"),), "file")]
    if content == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)
    told = [event for _ in range(4) for event in changes.take(1)]
    assert [(event.refused, event.who) for event in told] == [(f"it can't be read: {why}", "file")]
    if path.is_dir():
        path.rmdir()
    path.write_text("notify.burst: 8")
    assert [event.changes for _ in range(4) for event in changes.take(2)] == [(("notify.burst", "7", "8"),)]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        SettingsFile(tmp_path / "none.yaml")


# the graph


def test_a_graph_retuned_answers_as_one_that_began_again_from_there() -> None:
    """And what it said before is what it says untouched: of every kind of pipeline."""
    config = SyntheticConfig(events=9_000, streams=2)
    instruments = SyntheticFeed(config).instruments
    batches = list(SyntheticFeed(config).batches(3_000))
    untouched = Pipeline(instruments)
    plain = [untouched.step(ticks).signals.lane for ticks in batches]
    for kind in (Pipeline, LivePipeline, on_device):
        pipeline = kind(instruments)
        before = [pipeline.step(batches[0])]
        state = {name: value.clone() for name, value in pipeline.state.items()}
        pipeline.retune(LOOSE)
        after = [pipeline.step(ticks) for ticks in batches[1:]]
        again = Pipeline(instruments, LOOSE, state=state)
        if kind is on_device:
            again.run_on(DeviceGraph(again.graph, torch.device("cpu"), state))
        for one, other in zip(after, [again.step(ticks) for ticks in batches[1:]], strict=True):
            assert (one.signals.lane == other.signals.lane).all()
            assert (one.signals.voltage == other.signals.voltage).all()
            assert one.first_event == other.first_event
        assert (before[0].signals.lane == plain[0]).all()
        assert any((one.signals.lane > other).any() for one, other in zip(after, plain[1:], strict=True)), (
            "lanes of lower volts are reached"
        )


def on_device(instruments: Any) -> Pipeline:
    """The device's way of running a graph, on the CPU."""
    pipeline = Pipeline(instruments)
    pipeline.run_on(DeviceGraph(pipeline.graph, torch.device("cpu"), pipeline.graph.initial_state()))
    return pipeline


def test_what_gives_a_meaning_to_the_memory_can_not_change() -> None:
    pipeline = Pipeline(SyntheticFeed(SyntheticConfig(streams=2)).instruments)
    graph = pipeline.graph
    with pytest.raises(StateError, match=r"modules\.voltage_lanes\.half_life_s is 7 here and was 120"):
        pipeline.retune(ModulesConfig(voltage_lanes=VoltageLanesConfig(half_life_s=7.0)))
    assert pipeline.graph is graph


# a run


class EditedFeed:
    """A synthetic market during which somebody edits a file."""

    def __init__(self, config: SyntheticConfig, edits: dict[int, Any]) -> None:
        self._feed = SyntheticFeed(config)
        self._edits = edits
        self.instruments = self._feed.instruments
        self.dropped = self._feed.dropped
        self.expected_events = self._feed.expected_events
        self.progress = self._feed.progress

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        for i, ticks in enumerate(self._feed.batches(max_events)):
            self._edits.get(i, lambda: None)()
            yield ticks


class Kept:
    def __init__(self) -> None:
        self.records: list[Any] = []

    def open(self, header: RunHeader) -> None: ...

    def write(self, record: Any) -> None:
        self.records.append(record)

    def close(self, summary: Any) -> None: ...


def test_a_run_takes_settings_between_batches_and_records_them(tmp_path: Path) -> None:
    now_s, path = [0.0], tmp_path / "live.yaml"
    path.write_text("notify.burst: 7\n")
    config = SyntheticConfig(events=8_000, streams=2)
    settings = replace(START, source=config, reload=str(path))
    changes = HotReload(settings, SettingsFile(path, lambda: now_s.__setitem__(0, now_s[0] + 1.0) or now_s[0]))
    good = f"{HIGH}: 1.25\nnotify.level: warning\n"
    edits = {2: lambda: path.write_text(good), 5: lambda: path.write_text("notify.level: loud")}
    feed = EditedFeed(config, edits)
    pipeline, kept, alerts = Pipeline(feed.instruments), Kept(), NotifySink(NotifyConfig(), [], print, "replay")
    sinks = [kept, alerts]
    changes.put_into(lambda new: pipeline.retune(new.modules), lambda new: put_into_alerts(sinks, new))
    header = RunHeader(tmp_path, "replay", "cpu", "by hand", feed.instruments)
    summary = engine.run(
        feed, pipeline, header, clock=ReplayClock(), sinks=sinks, changes=changes.take, batch_events=1_000
    )
    found = [(record.batch, event) for record in kept.records for event in record.settings]
    assert [(batch, event.changes) for batch, event in found] == [
        (0, (("notify.burst", "5", "7"),)),
        (4, ((HIGH, "2.0", "1.25"), ("notify.level", "info", "warning"), ("notify.burst", "7", "5"))),
        (7, ()),
    ]
    assert "notify.level: loud is not a choice" in found[-1][1].refused
    last_ns = {record.batch: int(record.ts_recv_ns[-1]) for record in kept.records if len(record.ts_recv_ns)}
    assert [event.ts_ns for _, event in found] == [0, last_ns[3], last_ns[6]], "the last event of the old values"
    assert pipeline.graph.config.voltage_lanes.high_v == 1.25, "what was refused changed nothing"
    assert (alerts.config.level, alerts.config.burst) == ("warning", 5)
    notes = [note for note in summary["notes"] if "settings" in note]
    assert [note.partition(":")[0] for note in notes] == ["note", "note", "warning"]
    assert f"{HIGH}: 2.0 → 1.25" in notes[1]


def test_another_thread_asks_and_hears_what_came_of_it() -> None:
    changes, taken = HotReload(START, None), []
    changes.put_into(lambda settings: taken.append(settings.modules.voltage_lanes.high_v))

    def asked(**wanted: Any) -> str:
        said: list[str] = []

        def ask() -> None:
            try:
                said.append(changes.ask("ann", {name.replace("__", "."): value for name, value in wanted.items()}))
            except ConfigError as error:
                said.append(f"refused: {error}")

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            events.extend(changes.take(7))
            thread.join(0.001)
        return said[0]

    events: list[Any] = []
    assert asked(modules__voltage_lanes__high_v=1.9) == f"changed by ann: {HIGH}: 2.0 → 1.9"
    assert asked(modules__voltage_lanes__kappa=3.0).endswith("kappa: 4.0 → 3.0")  # what was asked before stays
    assert "out of range" in asked(modules__voltage_lanes__high_v=99)
    assert "can't change while running" in asked(mode="live")
    paper = HotReload(replace(START, mode="paper"), None)
    assert not [name for name in paper.values() if name.startswith("execution.")], "they would do nothing"
    assert isinstance(said := reloaded(paper._start, paper._start, "execution.risk.max_notional: 9"), Rejected)
    assert "does nothing in mode=paper" in said.why
    assert {one.who for one in events} == {"ann"}
    assert (taken, [bool(one.refused) for one in events]) == ([1.9, 1.9], [False, False, True, True])
    assert changes.values()[HIGH] == 1.9


def test_who_asks_for_what_is_so_already_does_not_hear_of_another_one_s_refusal() -> None:
    changes, said = HotReload(START, None), {}

    def ask(name: str, value: float) -> None:
        try:
            said[name] = changes.ask(name, {HIGH: value})
        except ConfigError as error:
            said[name] = f"refused: {error}"

    threads = []
    for name, value in (("first", 99.0), ("second", 2.0)):
        threads.append(threading.Thread(target=ask, args=(name, value)))
        threads[-1].start()
        while len(changes._asked) < len(threads):
            time.sleep(0.001)
    assert [bool(one.refused) for one in changes.take(7)] == [True]
    for thread in threads:
        thread.join()
    assert said["first"].startswith("refused: ")
    assert said["second"] == f"changed by second: {HIGH}: 2.0 → 2.0"


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("live.yaml").write_text(f"{HIGH}: 1.5\n")
    quiet = ["source.events=500", "sinks.console=false", "sinks.tensorboard=false", "sinks.parquet=false"]
    main([*quiet, "reload=live.yaml", "hydra.run.dir=r"])
    assert f"note: settings changed: {HIGH}: 2.0 → 1.5" in json.loads(Path("r/summary.json").read_text())["notes"]
    assert capfd.readouterr().err.count("settings changed") == 1
    for arguments, said in (
        (["reload=none.yaml"], "error: reload=none.yaml: No such file"),
        (["reload=live.yaml", "mode=convert", "convert.out=s"], "does nothing in mode=convert"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*quiet, *arguments, "hydra.run.dir=x"])
        assert ended.value.code == 2
        assert said in capfd.readouterr().err
    Path("live.yaml").write_text("mode: live\n")
    with pytest.raises(SystemExit):
        main([*quiet, "reload=live.yaml", "hydra.run.dir=x"])
    assert "error: reload=live.yaml: mode can't change while running" in capfd.readouterr().err
