"""The server in a thread of the test, so that its log can be read: its real routes on a real socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from schwabot.server import serving
from schwabot.server.settings import ServerConfig
from schwabot.server.tokens import Role, add
from schwabot.server.wire import Frame, encode, open_frame
from schwabot.sinks.base import RunHeader
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

ACTIONS = ("halt", "reduce", "resume", "cancel_all", "settings")


class Guarded:
    """A server, its tokens, and what it asked the run to do."""

    def __init__(self, config: ServerConfig, url: str, tokens: dict[str, str], asked: list[Frame]) -> None:
        self.config, self.url, self.tokens, self.asked = config, url, tokens, asked

    def client(self, role: str | None = None, **options: Any) -> httpx.Client:
        """A client that sends this role's token."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return httpx.Client(base_url=self.url, timeout=20.0, headers=headers, **options)

    def ask(
        self, method: str, path: str, role: str | None = None, verify: Any = True, **options: Any
    ) -> httpx.Response:
        """One request."""
        with self.client(role, verify=verify) as client:
            return client.request(method, path, **options)


@contextmanager
def guarded(folder: Path, **settings: Any) -> Iterator[Guarded]:
    """A server beside a paper run that does whatever it is asked to."""
    given = {"port": 0, "runs": str(folder / "runs"), "tokens": str(folder / "tokens.json")} | settings
    config = ServerConfig(**given)
    assert config.tokens is not None
    (folder / "runs").mkdir(exist_ok=True)
    tokens = {role.value: add(Path(config.tokens), f"the-{role}", role) for role in Role}
    config.check()
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "wb", buffering=0)
    asked: list[Frame] = []

    def act(frame: Frame) -> None:
        asked.append(frame)
        pipe.write(encode({"t": "answer", "id": frame["id"], "ok": True, "said": "done", "hot": {"notify.burst": 5}}))

    sock = serving.open_socket(config)
    ready = threading.Event()
    with os.fdopen(reading, "rb") as frames:
        thread = threading.Thread(target=serving.serve, args=(config, sock, frames, act, ready.set))
        thread.start()
        assert ready.wait(30)
        instruments = SyntheticFeed(SyntheticConfig(events=10)).instruments
        header = RunHeader(folder, "paper", "cpu", "synthetic", instruments, 10, {"mode": "paper"})
        pipe.write(encode(open_frame(header, {"notify.burst": 5}, ACTIONS, "1.2.3")))
        found = Guarded(config, serving.url_of(config, sock), tokens, asked)
        try:
            with found.client("viewer", verify=False) as client:
                while client.get("/api/v1/control").status_code != 200:
                    threading.Event().wait(0.02)
            yield found
        finally:
            pipe.close()
            thread.join(20)
            sock.close()
    assert not thread.is_alive()


@pytest.fixture(autouse=True, scope="package")
def quick_end() -> Iterator[None]:
    """Nobody looks at the end of these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "LINGER_S", 0.0)
        yield
