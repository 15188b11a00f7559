"""The server's application: routes, pages, and what every request passes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI

from schwabot.server import routes_control, routes_events, routes_live
from schwabot.server.assets import add_page
from schwabot.server.guard import guard
from schwabot.server.hub import Hub
from schwabot.server.metrics import measured
from schwabot.server.problems import documented
from schwabot.server.routes_history import add_history
from schwabot.server.settings import ServerConfig


def create_app(config: ServerConfig, hub: Hub) -> FastAPI:
    """The application.

    Args:
        config: of the server.
        hub: what is known of the run.

    Raises:
        ConfigError: tokens, certificate or key can't be used.
    """
    app = FastAPI(
        title="Schwabot",
        version=own_version(),
        description="The run that goes on, past runs, and what may be done to them. Reading needs the role viewer,"
        " actions the role operator, settings the role admin.",
        docs_url=None,
        redoc_url=None,
        responses=documented(),
    )
    app.state.config, app.state.hub = config, hub
    hub.version = own_version()

    for part in (routes_live, routes_control, routes_events):
        app.include_router(part.router)
    add_history(app, Path(config.runs))

    @app.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    def healthz() -> dict[str, bool]:
        return {"ok": True}

    add_page(app)
    guard(app, config)
    measured(app, hub)
    return app


def own_version() -> str:
    """Of the program."""
    try:
        return version("schwabot")
    except PackageNotFoundError:
        return "unknown"
