from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schwabot.errors import ConfigError
from schwabot.records.alert import Alert, Level
from schwabot.records.audit import FallbackEvent, SettingsEvent
from schwabot.secrets import Secret
from schwabot.sinks import log_file
from schwabot.sinks.log_file import JsonLines, RunLog, TextLines, begin_log, flush_log, log_to
from schwabot.sinks.log_settings import LogsConfig
from schwabot.sinks.log_sink import LogSink
from tests.sinks.making import START_NS, header, records

LOG = logging.getLogger("schwabot.run")


def lines(folder: Path, name: str = "run.log") -> list[str]:
    return (folder / name).read_text(encoding="utf-8").splitlines()


@pytest.fixture
def untouched() -> Iterator[None]:
    """Logging is as it was before."""
    logger = logging.getLogger("schwabot")
    before = (logger.level, list(logger.handlers))
    yield
    assert (logger.level, logger.handlers) == before


pytestmark = pytest.mark.usefixtures("untouched")


def test_what_comes_before_the_folder_is_ours_waits_for_it(tmp_path: Path) -> None:
    with RunLog(LogsConfig()) as log:
        LOG.info("%s of %s", 1, "two", extra={"event": "note"})
        assert list(tmp_path.iterdir()) == []
        log.begin(tmp_path)
        LOG.debug("too little")
        logging.getLogger("schwabot.any.part").warning("said too")
    said = lines(tmp_path)
    assert [line.partition("Z ")[2] for line in said] == [
        "INFO    note: 1 of two", "WARNING schwabot.any.part: said too",
    ]  # fmt: skip
    LOG.warning("after its end")
    assert lines(tmp_path) == said


def test_a_run_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    with RunLog(LogsConfig()):
        LOG.error("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_is_not_wanted(tmp_path: Path) -> None:
    with log_to(tmp_path, "run.log", LogsConfig(enabled=False)):
        LOG.error("said to nobody")
        flush_log()
    assert list(tmp_path.iterdir()) == []


def test_files_are_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    with log_to(tmp_path, "run.log", LogsConfig(max_mib=0.001, count=2)):
        for number in range(60):
            LOG.info("line %s %s", number, "x" * 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.log", "run.log.1", "run.log.2"]
    said = [line for name in ("run.log.2", "run.log.1", "run.log") for line in lines(tmp_path, name)]
    assert [int(line.split()[4]) for line in said] == list(range(60 - len(said), 60))
    assert 20 < len(said) < 60
    assert all(path.stat().st_size <= 1_049 for path in tmp_path.iterdir())


def test_half_a_character_can_be_written(tmp_path: Path) -> None:
    record = logging.LogRecord("schwabot.run", logging.INFO, "", 0, "half: \ud800", None, None)
    for form in (TextLines(), JsonLines()):
        assert form.format(record).encode("utf-8")


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_and_no_forged_line(tmp_path: Path, as_json: bool) -> None:
    secret = 'canary"of\u00e9 a key'
    Secret(secret)
    with log_to(tmp_path, "run.log", LogsConfig(json=as_json)):
        LOG.info(f"one\n2026-01-01T00:00:00.000Z ERROR end: forged {secret}\x1b[2J", extra={"event": "note"})
        LOG.info("extra", extra={"given": {"deep": [secret], secret: 1}, "big": 10**30})
        try:
            raise ValueError(f"{secret}\nsecond line")
        except ValueError:
            LOG.exception("failed")
    said = lines(tmp_path)
    assert "canary" not in "\n".join(said)
    assert "\x1b" not in "\n".join(said)
    if as_json:
        first, second, third = map(json.loads, said)
        assert (first["event"], first["level"], first["logger"]) == ("note", "info", "schwabot.run")
        assert first["text"].startswith("one\n2026")
        assert (second["text"], second["given"], second["big"]) == ("extra", {"deep": ["***"], "***": 1}, str(10**30))
        assert third["trace"].endswith("ValueError: ***\nsecond line")
    else:
        assert said[0].count("Z ") == 2
        assert r"one\n2026-01-01" in said[0]
        assert r"***\x1b[2J" in said[0]
        assert said[3] == "    Traceback (most recent call last):"
        assert said[-2:] == ["    ValueError: ***", "    second line"]


def test_what_changes_after_it_was_logged_is_written_as_it_was(tmp_path: Path) -> None:
    told = ["before"]
    with RunLog(LogsConfig()) as log:
        LOG.info("%s", told)
        told[0] = "after"
        log.begin(tmp_path)
    assert lines(tmp_path)[0].endswith("['before']")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "run.log").symlink_to("/dev/full")
    with RunLog(LogsConfig(), said.append) as log:
        log.begin(tmp_path)
        for number in range(3):
            LOG.info("lost %s", number)
        log.flush()
        (tmp_path / "run.log").unlink()
        LOG.info("kept")
    (line,) = said
    assert line.startswith(f"warning: the log {tmp_path / 'run.log'}: No space left on device")
    assert [line.partition("Z ")[2] for line in lines(tmp_path)] == [
        "WARNING log: 3 lines are missing here: they could not be written", "INFO    schwabot.run: kept",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("in the way")
    with RunLog(LogsConfig(file=str(tmp_path / "file" / "run.log")), said.append) as log:
        log.begin(tmp_path)
        LOG.info("lost")
        LOG.info("lost too")
    assert len(said) == 1
    assert "the run goes on" in said[0]


def test_a_file_that_cannot_be_put_aside_grows_on(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "run.log.1").mkdir()
    (tmp_path / "run.log.1" / "held").write_text("so it can't be replaced")
    with RunLog(LogsConfig(max_mib=0.001, count=1), said.append) as log:
        log.begin(tmp_path)
        for number in range(40):
            LOG.info("line %s %s", number, "x" * 50)
    assert len(lines(tmp_path)) == 40
    (line,) = said
    assert "can't be put aside" in line


def test_who_logs_never_waits_and_what_does_not_fit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "WAITING", 10)
    with RunLog(LogsConfig()) as log:
        for number in range(25):
            LOG.info("line %s", number)
        log.begin(tmp_path)
    said = lines(tmp_path)
    assert said[0].endswith("15 lines are missing here: they could not be written")
    assert [line.split()[-1] for line in said[1:]] == [str(number) for number in range(10)]


def test_half_a_line_of_a_run_that_was_killed_stays_alone(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text("half a li")
    with log_to(tmp_path, "run.log", LogsConfig(json=True)):
        LOG.info("whole")
    half, whole = lines(tmp_path)
    assert (half, json.loads(whole)["text"]) == ("half a li", "whole")


def test_one_run_at_a_time_writes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "all.log"
    other = (
        "import logging\nfrom pathlib import Path\nfrom schwabot.sinks.log_file import log_to\n"
        "from schwabot.sinks.log_settings import LogsConfig\n"
        f"with log_to(Path(), 'x', LogsConfig(file={str(file)!r})):\n"
        "    logging.getLogger('schwabot.run').info('of the other')\n"
    )
    with log_to(tmp_path, "run.log", LogsConfig(file=str(file))):
        LOG.info("first")
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, cwd=tmp_path)
    assert refused.stderr.startswith(f"warning: another process writes to {file}")
    with log_to(tmp_path, "run.log", LogsConfig(file=str(file))):
        LOG.info("second")
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["first", "second"]
    assert not (tmp_path / "run.log").exists()


def test_a_file_that_is_taken_is_another_s_and_a_free_name_is_used(tmp_path: Path) -> None:
    other = (
        "import logging\nfrom pathlib import Path\nfrom schwabot.sinks.log_file import begin_log, RunLog\n"
        "from schwabot.sinks.log_settings import LogsConfig\n"
        "with RunLog(LogsConfig(max_mib=0.001)):\n"
        "    begin_log(Path(), 'serve.log', is_shared=True)\n"
        "    for number in range(60): logging.getLogger('schwabot.run').info('of the other %s', number)\n"
    )

    def begun() -> str:
        return subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, cwd=tmp_path).stderr

    with RunLog(LogsConfig()):
        begin_log(tmp_path, "serve.log", is_shared=True)
        LOG.info("first")
        for _ in range(2):  # the name is free again when its process has ended
            assert begun() == "note: another process writes to serve.log: the log of this one is serve-2.log\n"
        LOG.info("last")
    assert [line.split(": ")[-1] for line in lines(tmp_path, "serve.log")] == ["first", "last"]
    assert not list(tmp_path.glob("serve.log.[0-9]")) + list(tmp_path.glob("serve-3*"))
    assert lines(tmp_path, "serve-2.log")[-1].endswith("of the other 59")
    assert begun() == ""
    assert (tmp_path / "serve.log.1").exists()


def test_all_is_written_before_a_process_leaves_at_once(tmp_path: Path) -> None:
    leaves = (
        "import logging, os\nfrom pathlib import Path\nfrom schwabot.sinks.log_file import RunLog, flush_log\n"
        "from schwabot.sinks.log_settings import LogsConfig\n"
        "log = RunLog(LogsConfig()).__enter__()\nlog.begin(Path())\n"
        "for k in range(500): logging.getLogger('schwabot.run').info(k)\nflush_log()\nos._exit(1)\n"
    )
    assert subprocess.run([sys.executable, "-c", leaves], cwd=tmp_path).returncode == 1
    assert len(lines(tmp_path)) == 500


def test_threads_log_whole_lines_in_their_order(tmp_path: Path) -> None:
    def tell(name: str) -> None:
        for number in range(300):
            LOG.info("%s %s", name, number)

    with log_to(tmp_path, "run.log", LogsConfig()):
        threads = [threading.Thread(target=tell, args=(f"t{k}",)) for k in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    told = [line.split()[-2:] for line in lines(tmp_path)]
    for k in range(4):
        assert [int(number) for name, number in told if name == f"t{k}"] == list(range(300))


def test_a_run_in_lines(tmp_path: Path) -> None:
    now = [100.0]
    sink = LogSink(10.0, lambda: now[0])
    first, second, third = records(300, (100, 200))
    happened = replace(
        second,
        fallbacks=(FallbackEvent(START_NS, "ghost_bridge", "none", "ghost", "a stream can be used"),
                   FallbackEvent(START_NS, "feed.x", "websocket", "rest", "closed")),
        alerts=(Alert(START_NS, Level.ERROR, "halt", "it is halted"), Alert(START_NS, Level.INFO, "fill", "bought")),
        settings=(SettingsEvent(START_NS, (("notify.burst", "5", "6"),), who="ann"),
                  SettingsEvent(START_NS, (), "no number")),
    )  # fmt: skip
    with log_to(tmp_path, "run.log", LogsConfig(json=True)):
        sink.open(header(tmp_path))
        sink.write(first)
        sink.write(happened)
        now[0] += 10.0
        sink.write(third)
        sink.close({})
    told = [json.loads(line) for line in lines(tmp_path)]
    assert [(one["level"], one["event"]) for one in told] == [
        ("info", "open"), ("info", "fallback"), ("warning", "fallback"), ("error", "halt"), ("info", "fill"),
        ("info", "reload"), ("warning", "reload"), ("info", "status"),
    ]  # fmt: skip
    assert told[0]["streams"] == ["binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT"]
    assert (told[2]["component"], told[2]["before"], told[2]["after"]) == ("feed.x", "websocket", "rest")
    assert told[5]["text"] == "settings changed by ann: notify.burst: 5 → 6"
    assert (told[5]["who"], told[6]["who"]) == ("ann", "")
    assert (told[-1]["events"], told[-1]["events_per_s"]) == (300, 30.0)
    assert told[-1]["ts_ns"] == int(third.ts_recv_ns[-1])


@pytest.mark.parametrize(
    ("given", "said"),
    [({"level": "loud"}, "logs.level=loud"), ({"count": 0}, "logs.count=0"), ({"max_mib": 0.0}, "logs.max_mib=0"),
     ({"every_s": -1.0}, "logs.every_s=-1"), ({"file": " "}, "logs.file= is empty")],
)  # fmt: skip
def test_settings_that_cannot_be_used(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LogsConfig(**given).check()  # type: ignore[arg-type]
