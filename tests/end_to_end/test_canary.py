"""Every secret there can be is set to a canary, everything runs, and nothing that comes out holds one."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from schwabot.errors import VenueError
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import Journal
from schwabot.execution.risk import RiskGate
from schwabot.execution.settings import RiskConfig
from schwabot.records.instrument import Instrument
from schwabot.run import main
from schwabot.secrets import revealed, venue_credentials
from schwabot.venues.loopback.urls import ccxt_options
from tests.sinks.receiving import mail_server, web_server

TOKEN = f"987654321:{'Canary7' * 5}"
HOOK = f"T0CANARY1/B0CANARY2/{'CaNaRySl' * 3}"
CANARIES = {
    **{
        f"{venue}_{last}": f"canary/{venue.lower()}+{last.lower()}=5e1f"
        for venue in ("BINANCE", "COINBASE", "KRAKEN", "OKX")
        for last in ("API_KEY", "SECRET", "PASSWORD")
    },
    "SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{HOOK}",
    "TELEGRAM_BOT_TOKEN": TOKEN,
    "TELEGRAM_CHAT_ID": "66554433221",
    "EMAIL_USER": "canary.user@example.com",
    f"EMAIL_{'PASSWORD'}": "canary-mail-5e1f",  # in parts, as below: the scanners take it for one
}
IN_ADDRESS = "canary-in-an-address"
LOOKED_FOR = [*CANARIES.values(), HOOK, HOOK.rpartition("/")[2], "canary-of-a-file", IN_ADDRESS]


def held(text: str) -> list[str]:
    """The canaries in a text, as they are, as addresses write them, and as mail does."""
    forms = {
        one: (one, quote(one, safe=""), json.dumps(one)[1:-1], base64.b64encode(one.encode()).decode())
        for one in LOOKED_FOR
    }
    return [one for one, written in forms.items() if any(form in text for form in written)]


def texts(folder: Path) -> dict[str, str]:
    """Every file of a folder as text; tables unpacked."""
    found = {}
    for file in folder.rglob("*"):
        if file.suffix == ".parquet":
            found[file.name] = f"{pq.read_schema(file)} {pq.read_table(file).to_pylist()}"
        elif file.is_file():
            found[file.name] = file.read_bytes().decode("utf-8", "replace")
    return found


def test_nothing_that_comes_out_of_a_run_holds_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from apprise.plugins.slack import NotifySlack
    from apprise.plugins.telegram import NotifyTelegram

    monkeypatch.chdir(tmp_path)
    with web_server() as web, mail_server() as mail:
        monkeypatch.setattr(NotifySlack, "webhook_url", f"{web.url}/services")
        monkeypatch.setattr(NotifyTelegram, "notify_url", f"{web.url}/bot")
        (tmp_path / "urls").write_text(f"json://me:{IN_ADDRESS}@127.0.0.1:{web.port}/canary-of-a-file\n")
        for name, value in CANARIES.items():
            monkeypatch.setenv(name, value)
        for name in ("EMAIL_USER", "EMAIL_PASSWORD"):  # the server here knows no TLS, so nothing logs in
            monkeypatch.delenv(name)
        for name, value in {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mail.port),
            "EMAIL_TO": "me@example.com",
            "NOTIFY_URLS_FILE": str(tmp_path / "urls"),
        }.items():
            monkeypatch.setenv(name, value)
        fees = "maker_fee_bp: 1, taker_fee_bp: 1"
        own = f"{{stream: 'kraken:${{oc.env:KRAKEN_SECRET}}/USD', tick_size: 1, lot_size: 1, {fees}}}"
        main(["mode=backtest", "source.events=3000", "notify.to=[auto]", f"+instruments.mine={own}", "hydra.run.dir=r"])
        with pytest.raises(SystemExit):
            main(["notify.to=[auto]", "source=capture", "source.glob=${oc.env:BINANCE_SECRET}*.gz", "hydra.run.dir=x"])
    said = capfd.readouterr()
    assert "error: source.glob=***" in said.err
    out = texts(tmp_path / "r") | {"stdout": said.out, "stderr": said.err}
    assert {"config.yaml", "summary.json", "report.html", "fills.parquet", "signals.parquet"} <= out.keys()
    assert any(name.startswith("events.out.tfevents.") for name in out)
    assert "kraken:***/USD" in out["config.yaml"]
    for _, body in web.got:
        body.pop("chat_id", None)  # Telegram is told of the receiver there
    sent = [json.dumps(body) for _, body in web.got] + [str(mail.got)]
    assert len(web.got) + len(mail.got) >= 8, "two ends to four messengers"
    assert held(" ".join(path for path, _ in web.got)), "where it belongs; so the search finds what there is to find"
    assert {name: found for name, text in out.items() if (found := held(text))} == {}
    assert held(" ".join(sent)) == []


def test_a_traceback_holds_none_either(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schwabot.run",
            "source=capture",
            "source.glob=${oc.env:KRAKEN_SECRET}",
            "hydra.run.dir=x",
        ],
        cwd=tmp_path,
        env=os.environ | CANARIES | {"SCHWABOT_TRACEBACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr
    assert "no file matches" in done.stderr
    assert held(done.stdout + done.stderr) == []


def test_an_account_whose_venue_repeats_what_it_was_sent(tmp_path: Path) -> None:
    repeated: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repeated.append(f"{self.path} by {self.headers.get('X-MBX-APIKEY')}")
            answer = json.dumps({"code": -1100, "msg": f"Illegal: {repeated[-1]}"}).encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *what: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        options = ccxt_options("binance", server.server_port)
        options["options"]["fetchCurrencies"] = True  # the first thing that is asked with a key
        options |= revealed(venue_credentials("binance", environment=CANARIES))
        one = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        journal = Journal(tmp_path / "journal.db")
        gateway = CcxtGateway([one], {"binance": options}, journal, RiskGate(RiskConfig(), [one]), "sbcanary")
        with pytest.raises(VenueError) as error:
            gateway.__enter__()
        server.shutdown()
    journal.note(str(error.value), 1)
    journal.close()
    assert held(repeated[0]) == [CANARIES["BINANCE_API_KEY"]]
    assert "Illegal: " in str(error.value)
    assert "by ***" in str(error.value)
    assert "signature=" not in str(error.value)
    assert held(str(error.value) + repr(error.value) + repr(gateway)) == []
    assert {name: found for name, text in texts(tmp_path).items() if (found := held(text))} == {}
