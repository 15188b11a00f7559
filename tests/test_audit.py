"""deploy/audit.py against a database of vulnerabilities on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / "deploy" / "audit.py"
BAD = {("jinja2", "2.4.1"), ("requests", "2.19.0")}


class Osv(BaseHTTPRequestHandler):
    """Speaks https://google.github.io/osv.dev/post-v1-query."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        known = {"id": "PYSEC-1", "summary": "leaks", "affected": [{"package": {"name": name, "ecosystem": "PyPI"}}]}
        body = json.dumps({"vulns": [known]} if (name, asked["version"]) in BAD else {}).encode()
        self.send_response(200 if self.path == "/v1/query" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def audit(tmp_path: Path, lock: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "requirements.txt"
    path.write_text("".join(f"{one} --hash=sha256:{'0' * 64}\n" for one in lock.split()))
    command = [sys.executable, str(AUDIT), "--requirement", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_known_vulnerability_fails_and_a_clean_lock_does_not(osv: str, tmp_path: Path) -> None:
    service = ("--offline-ok", "--service", f"{osv}/v1/query")
    found = audit(tmp_path, "requests==2.19.0 idna==3.10", *service)
    assert found.returncode == 1
    assert "PYSEC-1" in found.stdout
    clean = audit(tmp_path, "idna==3.10", *service)
    assert (clean.returncode, "No known vulnerabilities found" in clean.stderr) == (0, True)
    unreadable = audit(tmp_path, "idna", *service)  # neither pinned nor known: not taken for clean
    assert unreadable.returncode == 1


@pytest.mark.parametrize("path", ["closed", "/v2/nothing"])
def test_nobody_to_ask_is_said_loudly_and_fails_where_it_was_asked_for(osv: str, path: str, tmp_path: Path) -> None:
    service = f"{osv}{path}" if path != "closed" else "http://127.0.0.1:9/v1/query"
    warned = audit(tmp_path, "requests==2.19.0", "--offline-ok", "--service", service)
    assert (warned.returncode, "NOT AUDITED" in warned.stderr) == (0, True)
    assert audit(tmp_path, "requests==2.19.0", "--service", service).returncode == 2
