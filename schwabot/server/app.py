"""The server's application: routes, pages, and what every request passes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request

from schwabot.server import routes_control, routes_events, routes_live
from schwabot.server.hub import Hub
from schwabot.server.problems import Problem
from schwabot.server.settings import ServerConfig

STATIC = Path(__file__).with_name("static")


def create_app(config: ServerConfig, hub: Hub) -> FastAPI:
    """The application.

    Args:
        config: of the server.
        hub: what is known of the run.
    """
    app = FastAPI(
        title="Schwabot",
        version=own_version(),
        description="The run that goes on, past runs, and what may be done to them. Reading needs the role viewer,"
        " actions the role operator, settings the role admin.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.config, app.state.hub = config, hub
    hub.version = own_version()

    @app.exception_handler(Problem)
    async def told(request: Request, problem: Problem) -> JSONResponse:
        error = {"code": problem.code, "message": problem.message, "do": problem.do}
        return JSONResponse({"error": error}, problem.status)

    for part in (routes_live, routes_control, routes_events):
        app.include_router(part.router)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def own_version() -> str:
    """Of the program."""
    try:
        return version("schwabot")
    except PackageNotFoundError:
        return "unknown"
