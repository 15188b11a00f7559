"""Alerts: what is told of, how often, and that it arrives, at servers that are real."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.records.alert import Alert, Level
from schwabot.records.audit import FallbackEvent, SettingsEvent
from schwabot.run import main
from schwabot.sinks import courier
from schwabot.sinks.notify import DAY_NS, NotifySink
from schwabot.sinks.notify_settings import NotifyConfig
from schwabot.sinks.notify_targets import targets_of
from schwabot.sinks.throttle import Throttle
from tests.sinks.making import header, records
from tests.sinks.receiving import Received, mail_server, until, web_server

SLACK = f"T12345678/B12345678/{'abcdefgh' * 3}"  # of the right form, and found by no scanner
TOKEN = f"123456789:{'ABCDEfg' * 5}"
ODD = "p@/ss:1"
WARNING = Alert(0, Level.WARNING, "fallback", "device: cuda:0 → cpu: it is gone")
LOST = FallbackEvent(0, "device", "cuda:0", "cpu", "it is gone")


@pytest.fixture
def web() -> Iterator[Received]:
    with web_server() as received:
        yield received


def sink_to(received: Received, said: list[str], **settings: object) -> NotifySink:
    targets = targets_of(["urls"], {"NOTIFY_URLS": f"json://127.0.0.1:{received.port}/a"})
    return NotifySink(NotifyConfig(to=["urls"], **settings), targets, said.append, "replay")  # type: ignore[arg-type]


# what is sent


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from("abc"), st.sampled_from(list(Level))), max_size=60))
def test_no_kind_is_sent_faster_than_its_limit(alerts: list[tuple[float, str, Level]]) -> None:
    config = NotifyConfig(per_minute=6.0, burst=2, repeat_s=30.0)
    throttle, now_s, sent, left_out, counted = Throttle(config), 0.0, [], 0, 0
    last_sent: dict[str, float] = {}
    for wait_s, text, level in alerts:
        now_s += wait_s
        if throttle.admit(Alert(0, level, "fill", text), now_s):
            assert now_s - last_sent.get(text, -1e9) >= config.repeat_s, "the same one twice"
            last_sent[text] = now_s
            sent += [now_s] if level < Level.ERROR else []
        else:
            left_out += 1
        counted += sum(int(line.split()[0]) for line in throttle.counts(now_s))
    counted += sum(int(line.split()[0]) for line in throttle.counts(now_s, at_end=True))
    assert counted == left_out, "what was not sent is counted, once"
    for i, first_s in enumerate(sent):
        for n, last_s in enumerate(sent[i:], 1):
            assert n <= config.burst + (last_s - first_s) * config.per_minute / 60.0 + 1e-6


def test_an_error_is_never_held_back_by_others() -> None:
    throttle = Throttle(NotifyConfig(burst=1))
    assert [throttle.admit(Alert(0, Level.ERROR, "halt", f"halted {i}"), 0.0) for i in range(9)] == [True] * 9


def test_only_what_is_wanted_is_sent_or_counted() -> None:
    throttle = Throttle(NotifyConfig(kinds=["halt"], level="warning"))
    assert not throttle.admit(WARNING, 0.0)
    assert not throttle.admit(Alert(0, Level.INFO, "halt", "x"), 0.0)
    assert throttle.counts(1e6, at_end=True) == []
    assert throttle.admit(Alert(0, Level.WARNING, "halt", "x"), 0.0)


# that it arrives


def test_slack_telegram_mail_and_any_other(web: Received, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from apprise.plugins.slack import NotifySlack
    from apprise.plugins.telegram import NotifyTelegram

    monkeypatch.setattr(NotifySlack, "webhook_url", f"{web.url}/services")
    monkeypatch.setattr(NotifyTelegram, "notify_url", f"{web.url}/bot")
    with mail_server() as mail:
        environment = {
            "SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{SLACK}",
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_CHAT_ID": "1234567",
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mail.port),
            "EMAIL_TO": "me@example.com, you@example.com",
            "NOTIFY_URLS": f"json://127.0.0.1:{web.port}/one json://127.0.0.1:{web.port}/two",
        }
        said: list[str] = []
        sink = NotifySink(NotifyConfig(), targets_of(["auto"], environment), said.append, "replay")
        sink.open(header(tmp_path))
        (record,) = records(50)
        sink.write(replace(record, fallbacks=(LOST,)))
        sink.close({})
    assert said == []
    bodies = dict(web.got)
    assert set(bodies) == {f"/services/{SLACK}", f"/bot{TOKEN}/sendMessage", "/one", "/two"}
    for body in bodies.values():
        assert "device: cuda:0 → cpu: it is gone" in json.dumps(body, ensure_ascii=False)
        assert "schwabot replay on " in json.dumps(body)
    to = [(receivers, subject) for _, (receivers, subject, _) in mail.got]
    assert sorted(receivers[0] for receivers, _ in to) == ["me@example.com", "you@example.com"]
    assert {sender for sender, _ in mail.got} == {"me@example.com"}
    assert all(subject.startswith("schwabot replay on ") for _, subject in to)
    assert "cuda:0 → cpu" in mail.got[0][1][2]


def test_the_first_answer_of_a_part_is_no_fallback(web: Received, tmp_path: Path) -> None:
    sink = sink_to(web, [])
    sink.open(header(tmp_path))
    (record,) = records(50)
    first = FallbackEvent(0, "ghost_bridge", "none", "weighted", "enough streams")
    for event in (first, replace(first, before="weighted", after="none"), first):
        sink.write(replace(record, fallbacks=(event,)))
    sink.close({})
    assert [body["message"][:29] for _, body in web.got] == [
        "ghost_bridge: weighted → none",
        "ghost_bridge: none → weighted",
    ]


def test_every_kind_of_a_record(web: Received, tmp_path: Path) -> None:
    said: list[str] = []
    sink = sink_to(web, said)
    sink.open(header(tmp_path))
    (record,) = records(50)
    fill = Alert(1, Level.INFO, "fill", "bought 0.1 BTC")
    changes = (("notify.burst", "5", "9"),)
    by_ann = (SettingsEvent(1, changes, who="ann"), SettingsEvent(1, (), "no such setting", "ann"))
    sink.write(replace(record, alerts=(fill,), settings=(SettingsEvent(1, changes, who="file"), *by_ann)))
    sink.write(replace(record, ts_recv_ns=record.ts_recv_ns + DAY_NS))
    sink.close({})
    assert [body["message"] for _, body in web.got] == [
        "bought 0.1 BTC",
        "settings changed: notify.burst: 5 → 9",
        "settings changed by ann: notify.burst: 5 → 9",
        "new settings of ann were refused: no such setting",
        "2024-08-08 UTC: 50 events, 3 reload, 1 fill",
    ]
    assert said == []


def test_the_day_is_told_in_one_message(web: Received, tmp_path: Path) -> None:
    """What trading came to on it joins the line; said at another time, it is told by itself."""
    sink = sink_to(web, [])
    sink.open(header(tmp_path))
    (record,) = records(50)
    pnl = Alert(1, Level.INFO, "daily", "PnL +1.5 USDT")
    sink.write(record)
    sink.write(replace(record, ts_recv_ns=record.ts_recv_ns + DAY_NS, alerts=(pnl,)))
    sink.write(replace(record, ts_recv_ns=record.ts_recv_ns + DAY_NS, alerts=(replace(pnl, text="PnL +2 USDT"),)))
    sink.close({})
    assert [body["message"] for _, body in web.got] == ["2024-08-08 UTC: 50 events; PnL +1.5 USDT", "PnL +2 USDT"]


def test_a_messenger_that_hangs_holds_up_nothing(web: Received, tmp_path: Path) -> None:
    """Neither the engine, nor the end of the run for longer than was allowed."""
    web.pause_s = 0.5
    said: list[str] = []
    sink = sink_to(web, said, queue=2, burst=100, flush_s=0.1)
    sink.open(header(tmp_path))
    (record,) = records(50)
    before_s = time.perf_counter()
    for i in range(10):
        sink.write(replace(record, fallbacks=(replace(LOST, component=f"part {i}"),)))
    assert time.perf_counter() - before_s < 0.1
    sink.close({})
    assert time.perf_counter() - before_s < 0.4
    assert said[-1].endswith("alerts did not reach url 1 (json)")
    assert 7 <= int(said[-1].split()[1]) <= 10


def test_a_failure_is_tried_again_and_said_once(web: Received, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "PAUSE_S", 0.01)
    said: list[str] = []
    sink = sink_to(web, said)
    sink.open(header(tmp_path))
    web.status = 503
    for i in range(2):
        sink.tell(replace(WARNING, key=str(i)))
    web.wait(4)  # three attempts, and one of a messenger that is known to fail
    until(lambda: len(said) == 1)
    assert "took no alert" in said[0]
    assert "503" in said[0]
    web.status = 200
    sink.tell(replace(WARNING, key="2"))
    web.wait(5)
    sink.close({})
    assert said[1:] == ["warning: 2 alerts did not reach url 1 (json)"]


def test_what_a_messenger_says_shows_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the web library holds the path."""
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(courier, "ATTEMPTS", 1)
    monkeypatch.setattr(NotifySlack, "webhook_url", "http://127.0.0.1:1/services")
    said: list[str] = []
    targets = targets_of(["slack"], {"SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{SLACK}"})
    sink = NotifySink(NotifyConfig(), targets, said.append, "replay")
    sink.tell(WARNING)
    sink.close({})
    assert "took no alert" in said[0]
    assert not [part for part in SLACK.split("/")[2:] if part in " ".join(said)]


# settings


@pytest.mark.parametrize(
    ("environment", "to", "why"),
    [
        ({}, "auto", "none of SLACK_WEBHOOK_URL, TELEGRAM_BOT_TOKEN, EMAIL_HOST, NOTIFY_URLS is set"),
        ({"TELEGRAM_BOT_TOKEN": TOKEN}, "telegram", "notify.to=telegram needs TELEGRAM_CHAT_ID: set it"),
        ({}, "email", "needs EMAIL_HOST and EMAIL_TO: set them"),
        ({"EMAIL_HOST": "h", "EMAIL_TO": "a@b.c", "EMAIL_PORT": "x"}, "email", "EMAIL_PORT=x is no number"),
        ({"EMAIL_HOST": "h", "EMAIL_TO": "a@b.c", "EMAIL_USER": "u-ser-1"}, "email", "go together"),
        ({"EMAIL_HOST": "h", "EMAIL_TO": "a@b.c, nobody"}, "email", "EMAIL_TO: nobody is no address"),
    ],
)
def test_a_missing_variable_is_named(environment: dict[str, str], to: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        targets_of([to], environment)
    assert TOKEN not in str(refused.value)


def test_a_password_goes_over_tls_alone() -> None:
    import apprise

    login = {
        "EMAIL_HOST": "mail.example.com",
        "EMAIL_TO": "a@b.cd",
        "EMAIL_USER": "u@b.cd",
        "EMAIL_PASSWORD": ODD,
    }
    for port, mode in (("465", "ssl"), ("587", "starttls"), ("2525", "starttls")):
        (target,) = targets_of(["email"], login | {"EMAIL_PORT": port})
        plugin = apprise.Apprise.instantiate(target.url.reveal())
        assert (plugin.secure_mode, plugin.port, plugin.smtp_host) == (mode, int(port), "mail.example.com")
        assert (plugin.user, plugin.password) == ("u@b.cd", ODD)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": ["slak"]}, "notify.to: slak is not a choice, did you mean slack?"),
        ({"to": ["auto", "slack"]}, "auto is all whose variables are set, so it stands alone"),
        ({"kinds": ["halts"]}, "did you mean halt?"),
        ({"level": "loud"}, "notify.level: loud is not a choice"),
        ({"burst": 0}, "notify.burst=0 is out of range: use 1 to 10000"),
        ({"test": True}, "add notify.to=\\[auto\\]"),
    ],
)
def test_refusals(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", "\\?")):
        NotifyConfig(**given).check()


def test_a_run_that_can_tell_nobody_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["notify.to=[slack]", f"hydra.run.dir={tmp_path / 'r'}"])
    assert ended.value.code == 2
    assert "notify.to=slack needs SLACK_WEBHOOK_URL" in capfd.readouterr().err
    assert not (tmp_path / "r").exists()


def test_an_address_that_is_none() -> None:
    (target,) = targets_of(["urls"], {"NOTIFY_URLS": "nothing://at-all-here"})
    with pytest.raises(ConfigError, match="can't read the address of url 1 \\(nothing\\), NOTIFY_URLS"):
        courier.sender_of(target)
    (target,) = targets_of(["telegram"], {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "1234567,not a chat"})
    with pytest.raises(ConfigError, match=r"address of telegram, TELEGRAM_BOT_TOKEN: .*(?i:invalid)"):
        courier.sender_of(target)


# the command


def test_a_test_message(
    web: Received, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFY_URLS", f"json://127.0.0.1:{web.port}/a")
    arguments = ["notify.to=[urls]", "notify.test=true", f"hydra.run.dir={tmp_path / 'r'}"]
    main(arguments)
    assert capfd.readouterr().out == "url 1 (json): sent\n"
    assert web.got[0][1]["message"] == "this is a test: alerts will come here"
    assert not (tmp_path / "r").exists()
    web.status = 500
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert capfd.readouterr().err.startswith("error: a test message was not taken: url 1 (json): ")


def test_a_run_tells_how_it_ended(
    web: Received, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_URLS", f"json://127.0.0.1:{web.port}/a")
    quiet = ["notify.to=[urls]", "sinks.console=false", "sinks.tensorboard=false", "sinks.parquet=false"]
    main([*quiet, "source.events=300", f"hydra.run.dir={tmp_path / 'r'}"])
    with pytest.raises(SystemExit):
        main([*quiet, "mode=convert", "convert.out=s", "source=capture", "source.glob=no/*.gz", "hydra.run.dir=r"])
    done, failed = (body for _, body in web.got)
    assert done["message"].startswith("replay is done: 300 events")
    assert done["type"] == "info"
    assert failed["message"].startswith("convert failed: source.glob=no/*.gz: no file matches")
    assert failed["type"] == "failure"
    assert [done["title"].split()[1], failed["title"].split()[1]] == ["replay", "convert"]
