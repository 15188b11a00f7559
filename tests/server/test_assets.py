from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx

from schwabot.server.app import create_app
from schwabot.server.assets import STATIC, plotly_file
from schwabot.server.hub import Hub
from schwabot.server.settings import ServerConfig


def asked(folder: Path, path: str, **headers: str) -> httpx.Response:
    config = ServerConfig(tokens=str(folder / "tokens.json"), runs=str(folder))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(config, Hub(config)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_plotly_comes_from_its_package_packed_and_is_not_sent_twice(tmp_path: Path) -> None:
    found = asked(tmp_path, "/static/plotly.min.js")
    path = plotly_file()
    assert path is not None
    assert found.content == path.read_bytes()
    assert found.headers["content-encoding"] == "gzip"
    assert found.headers["content-type"].startswith("text/javascript")
    assert int(found.headers["content-length"]) < len(found.content) / 2
    assert "max-age" in found.headers["cache-control"]
    again = asked(tmp_path, "/static/plotly.min.js", **{"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_asks_nobody_else_and_holds_no_script_of_its_own(tmp_path: Path) -> None:
    page = asked(tmp_path, "/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=|\sstyle=", page.text) == []
    for path in (STATIC / "index.html", *STATIC.glob("*.js"), *STATIC.glob("*.css")):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.]+", text) == [], path.name
        assert "innerHTML" not in text, path.name
        assert len(text.splitlines()) <= 500, path.name


def test_modules_are_served_as_scripts(tmp_path: Path) -> None:
    assert asked(tmp_path, "/static/app.js").headers["content-type"].startswith("text/javascript")
