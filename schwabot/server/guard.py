"""What every request passes before the application sees it, outermost first.

log ▸ security headers ▸ shield ▸ border (host, origin, type, size) ▸ CORS ▸ gate (token, limits) ▸ application
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from schwabot.server.auth import Gate
from schwabot.server.border import Border, Hosts
from schwabot.server.docs_page import STYLE, docs_page
from schwabot.server.headers import SecurityHeaders
from schwabot.server.limits import Limiter
from schwabot.server.problems import Shield, install
from schwabot.server.request_log import RequestLog
from schwabot.server.settings import ServerConfig
from schwabot.server.tls import certificate_of
from schwabot.server.tokens import TokenBook

__all__ = ["guard"]


def guard(app: FastAPI, config: ServerConfig) -> None:
    """Put the guards before an application, and its description at /docs.

    Args:
        app: with all its routes.
        config: of the server.

    Raises:
        ConfigError: tokens, certificate or key can't be used.
    """
    certificate = certificate_of(config)
    book = TokenBook(config.tokens_file)
    limiter = Limiter(config.rate_per_s, config.rate_burst, config.failures_per_minute)
    app.state.tokens, app.state.limiter = book, limiter
    install(app)
    _add_docs(app)
    app.add_middleware(Gate, config=config, book=book, limiter=limiter)  # the last one added comes first
    if config.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors,
            allow_methods=["GET", "POST", "PATCH"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "Retry-After"],
        )
    names = () if certificate is None else certificate.names
    app.add_middleware(Border, hosts=Hosts(config, names), cors=config.cors)
    app.add_middleware(Shield)
    app.add_middleware(SecurityHeaders, strict_transport=certificate is not None and not config.is_local)
    app.add_middleware(RequestLog)


def _add_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    def style() -> Response:
        return Response(STYLE, media_type="text/css")
