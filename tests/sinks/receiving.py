"""Servers that messages can be sent to: a web server and a mail server, on this machine, in threads."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """What a server got: path and body of every request, or sender, receivers and text of every mail."""

    port: int = 0
    got: list[tuple[str, Any]] = field(default_factory=list)
    status: int = 200
    pause_s: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, count: int, limit_s: float = 5.0) -> list[tuple[str, Any]]:
        """What was got, once there is so much of it."""
        until(lambda: len(self.got) >= count, limit_s)
        return self.got


def until(done: Callable[[], object], limit_s: float = 5.0) -> None:
    end_s = time.monotonic() + limit_s
    while not done() and time.monotonic() < end_s:
        time.sleep(0.005)
    assert done()


@contextmanager
def web_server() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(received.pause_s)
            received.got.append((self.path, json.loads(body)))
            self.send_response(received.status)
            answer = b'{"ok": true, "result": {}}' if self.path.startswith("/bot") else b"ok"
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *what: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def mail_server() -> Iterator[Received]:
    from aiosmtpd.controller import Controller

    received = Received()

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            mail = message_from_bytes(envelope.content)
            part = next(one for one in mail.walk() if one.get_content_maintype() == "text")
            text = part.get_payload(decode=True)
            assert isinstance(text, bytes)
            subject = str(make_header(decode_header(mail["Subject"])))
            received.got.append((envelope.mail_from, (envelope.rcpt_tos, subject, text.decode())))
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        received.port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=received.port)
    controller.start()
    try:
        yield received
    finally:
        controller.stop()
