"""One server: a socket, the application, and, beside a run, the pipe that frames come through."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import orjson
import uvicorn

from schwabot.errors import ConfigError
from schwabot.server.app import create_app
from schwabot.server.host import Host
from schwabot.server.hub import Hub
from schwabot.server.protocol import BoundedProtocol
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Frame

HOST_S = 1.0
MOST_FRAMES = 200
"""That wait for the loop; of more the run hears by a pipe that is full, and puts them together."""
LINGER_S = 1.0
"""Who looks sees the end of the run before the server ends with it."""


def open_socket(config: ServerConfig) -> socket.socket:
    """The socket it listens on.

    Raises:
        ConfigError: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=256)
    except OSError as error:
        raise ConfigError(
            f"server.host={config.host} server.port={config.port}: {error.strerror or error}; is another server there?"
            " server.port=0 takes any port that is free"
        ) from None


def url_of(config: ServerConfig, sock: socket.socket) -> str:
    """Where a browser finds it."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http{'s' if config.tls_cert else ''}://{host}:{sock.getsockname()[1]}"


def serve(
    config: ServerConfig,
    sock: socket.socket,
    frames: Iterable[bytes] | None = None,
    send: Callable[[Frame], None] | None = None,
    ready: Callable[[], object] = lambda: None,
    alive: Callable[[], object] = lambda: None,
) -> None:
    """Serve until it is stopped, or the frames end.

    Args:
        config: of the server.
        sock: see ``open_socket``.
        frames: what the run tells; None = there is no run.
        send: takes actions to the run.
        ready: called once it answers.
        alive: called once a second while it does.
    """
    hub = Hub(config, send)

    @contextlib.asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        work = asyncio.create_task(_measure(hub, Path(config.runs), alive))
        if frames is not None:
            _read(frames, hub, asyncio.get_running_loop(), lambda: setattr(server, "should_exit", True))
        ready()
        gc.collect()
        gc.freeze()  # what there is stays: to look through it again and again took up to 0.15 s, for which all wait
        yield
        work.cancel()

    app = create_app(config, hub)
    app.router.lifespan_context = lifespan
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # below that it tells of every stranger's broken request
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            http=BoundedProtocol,
            proxy_headers=False,  # anyone can send X-Forwarded-For
            timeout_graceful_shutdown=2,  # a live stream would keep it for ever
            timeout_keep_alive=15,
            backlog=256,
            ssl_certfile=config.tls_cert and Path(config.tls_cert).expanduser(),
            ssl_keyfile=config.tls_key and Path(config.tls_key).expanduser(),
        ),
        hub,
    )
    server.run(sockets=[sock])


class _Server(uvicorn.Server):
    """Ends live streams first: it waits for whoever is still there.

    Args:
        config: of uvicorn.
        hub: has the streams.
    """

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._hub.end()
        await super().shutdown(sockets)


def _read(frames: Iterable[bytes], hub: Hub, loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Take the run's frames on a thread of their own, as pipes are not a loop's on every system."""
    room = threading.BoundedSemaphore(MOST_FRAMES)

    def take(frame: Frame) -> None:
        room.release()
        hub.take(frame)

    def read() -> None:
        try:
            for line in frames:
                frame = parsed(line)
                if frame is not None:
                    room.acquire()
                    loop.call_soon_threadsafe(take, frame)
        finally:  # without its run, a server would keep the port for ever
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended before
                loop.call_soon_threadsafe(hub.gone)
                loop.call_soon_threadsafe(loop.call_later, LINGER_S, end)

    threading.Thread(target=read, name="frames", daemon=True).start()


def parsed(line: bytes) -> Frame | None:
    """The frame of a line; None where it is none, as the last line of a run that was killed.

    Example:
        >>> parsed(b'{"t":"close"}'), parsed(b'{"t":"clo'), parsed(b"[1]")
        ({'t': 'close'}, None, None)
    """
    try:
        frame = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return frame if isinstance(frame, dict) else None


async def _measure(hub: Hub, folder: Path, alive: Callable[[], object]) -> None:
    """Look at the machine once a second."""
    host: Host | None = None
    while True:
        alive()
        if host is None or (hub.has_run and host.pid is None):
            host = Host(hub.header.get("pid"), folder)
        hub.host = await asyncio.to_thread(host.read)
        hub.tell("host", hub.host)
        await asyncio.sleep(HOST_S)
