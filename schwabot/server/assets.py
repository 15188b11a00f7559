"""What the page is made of: its own files, and plotly's as the installed package has it."""

from __future__ import annotations

import gzip
import mimetypes
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from schwabot.server.caching import etag_of, has
from schwabot.server.problems import Problem

STATIC = Path(__file__).with_name("static")
WEEK_S = 604_800


def add_page(app: FastAPI) -> None:
    """Let an application serve the page at /.

    Args:
        app: gets the routes.
    """
    mimetypes.add_type("text/javascript", ".js")  # some Windows say text/plain, and browsers then refuse it

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/static/plotly.min.js", include_in_schema=False)
    def plotly(request: Request) -> Response:
        path = plotly_file()
        if path is None:
            raise Problem(404, "not_found", "plotly is not installed here", "pip install plotly")
        status = path.stat()
        packs = "gzip" in request.headers.get("accept-encoding", "")
        headers = {
            "ETag": etag_of("plotly", status.st_mtime_ns, status.st_size, packs),
            "Cache-Control": f"public, max-age={WEEK_S}",
            "Vary": "Accept-Encoding",
        }
        if has(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if not packs:
            return FileResponse(path, headers=headers, media_type="text/javascript")
        packed = _packed(path, status.st_mtime_ns)
        return Response(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type="text/javascript")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def plotly_file() -> Path | None:
    """Plotly's JavaScript, which its Python package ships; None where that is not installed."""
    spec = find_spec("plotly")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    return None


@lru_cache(maxsize=1)  # a third of the size over a slow line, and packed once
def _packed(path: Path, version: int) -> bytes:
    return gzip.compress(path.read_bytes(), 6)
