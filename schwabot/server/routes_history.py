"""Past runs: their list, summaries, settings, files, tables and sweeps. Everything comes from the folder of runs."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from starlette.responses import FileResponse, Response

from schwabot.secrets import scrub
from schwabot.server import history_models as models
from schwabot.server.auth import identity_of, viewer
from schwabot.server.caching import cursor_of, etag_of, etagged, parts_of
from schwabot.server.headers import REPORT_POLICY
from schwabot.server.history import CONFIG, MOST_CONFIG, MOST_SUMMARY, SUMMARY, TABLES, History, Run
from schwabot.server.problems import Problem, documented
from schwabot.server.sweep_table import MOST_BINS, Sweep, heatmap, read_sweep
from schwabot.server.tables import columns_of, opened, page
from schwabot.server.tickets import LASTS_S, Tickets

PREFIX = "/api/v1/runs"
router = APIRouter(tags=["history"])
_read = APIRouter(prefix=PREFIX, dependencies=[Depends(viewer)])
_files = APIRouter(prefix=PREFIX)
"""What a ticket opens too."""
KINDS = {".html": "text/html; charset=utf-8", ".png": "image/png", ".parquet": "application/vnd.apache.parquet"}
SORTS = ("started", "ended", "mode", "events", "wall_s", "net", "fills", "sharpe", "r2")
HEAVY, WAIT_S = threading.BoundedSemaphore(2), 5.0
"""So many tables are worked on at once: each takes memory."""

MOST_ID = 5_000
"""Four folders with names as long as a disk takes them, every byte of them encoded."""
RunId = Annotated[
    str, InPath(max_length=MOST_ID, description="as GET /api/v1/runs gives it", examples=["2026-11-20~10-00-00"])
]
Limit = Annotated[int, Query(ge=1, le=1000, description="items at most")]
Cursor = Annotated[str, Query(max_length=2 * MOST_ID, description="`next` of the page before")]
Parameter = Annotated[str, Query(min_length=1, max_length=200, description="one of the sweep's `parameters`")]
FileName = Annotated[str, InPath(max_length=100, description="one of the run's `files`")]
LeastTrades = Annotated[int, Query(ge=0, le=10**9, description="only sets with so many fills where they were searched")]
_cached: dict[int | str, dict[str, Any]] = {304: {"description": "you have it, as `If-None-Match` says"}}
_kinds: dict[int | str, dict[str, Any]] = {200: {"content": {kind.partition(";")[0]: {} for kind in KINDS.values()}}}


def _history(request: Request) -> History:
    found: History = request.app.state.history
    return found


Past = Annotated[History, Depends(_history)]


def _run(run_id: RunId, past: Past) -> Run:
    return past.run(run_id)


Chosen = Annotated[Run, Depends(_run)]


@_read.get("", response_model=models.Runs, responses=documented(400) | _cached)
def runs(
    request: Request,
    past: Past,
    mode: Annotated[str, Query(pattern="^[a-z]{0,20}$", description="only those of this mode")] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
    sort: Annotated[
        str, Query(pattern=f"^-?({'|'.join(SORTS)})$", description="- before it: the largest first; missing comes last")
    ] = "-started",
) -> Response:
    """Past runs, newest first; those that go on are among them."""
    found = [run for run in past.runs() if not mode or run.mode == mode]
    etag = etag_of("runs", past.version, mode, limit, cursor, sort)

    def answer() -> models.Runs:
        rows, following = _runs_page(found, sort, limit, cursor)
        return models.Runs(
            items=[line_of(run) for run in rows],
            next=following,
            total=len(found),
            complete=past.complete,
            links=_links(request, past.root),
        )

    return etagged(request, etag, answer)


@_read.get("/compare", response_model=models.Comparison, responses=documented(404) | _cached)
def compare(
    request: Request,
    past: Past,
    ids: Annotated[
        str, Query(min_length=1, max_length=10 * MOST_ID, description="two to twenty ids, with commas between")
    ],
) -> Response:
    """The headline numbers of some runs beside each other."""
    wanted = list(dict.fromkeys(one for one in ids.split(",") if one))
    if not 2 <= len(wanted) <= 20:
        raise Problem(422, "unprocessable", f"ids: {len(wanted)} runs can't be compared", "give 2 to 20 of them")
    some = [past.run(one) for one in wanted]

    def answer() -> models.Comparison:
        told = [
            {"mode": run.mode, "state": run.state, "device": run.device, "events": run.events, "wall_s": run.wall_s}
            | dict(run.headline)
            for run in some
        ]
        names = dict.fromkeys(name for one in told for name in one)
        return models.Comparison(
            ids=wanted,
            rows=[models.Compared(name=name, values=[one.get(name) for one in told]) for name in names],
        )

    return etagged(request, etag_of("compare", *((run.id, run.stamp) for run in some)), answer)


@_read.get("/{run_id}", response_model=models.Summary, responses=documented(404) | _cached)
def summary(request: Request, run: Chosen, past: Past) -> Response:
    """A run's summary.json as it is; docs/outputs.md says what its names mean."""

    def answer() -> bytes:
        found = past.read(run, SUMMARY, MOST_SUMMARY)
        try:
            orjson.loads(found)
        except orjson.JSONDecodeError:
            raise Problem(422, "unprocessable", f"{SUMMARY} of run {run.id} is not whole JSON") from None
        return found

    return etagged(request, etag_of("summary", run.id, run.stamp), answer)


@_read.get("/{run_id}/config", response_model=models.Config, responses=documented(404) | _cached)
def config(request: Request, run: Chosen, past: Past) -> Response:
    """A run's settings."""

    def answer() -> models.Config:
        return models.Config(yaml=scrub(past.read(run, CONFIG, MOST_CONFIG).decode("utf-8", "replace")))

    return etagged(request, etag_of("config", run.id, run.stamp), answer)


async def _may_have(
    request: Request,
    run_id: RunId,
    name: FileName,
    ticket: Annotated[str, Query(max_length=100, description="as POST …/links gives it; works once")] = "",
) -> None:
    """Who has a ticket for this file, or may read anyway."""
    tickets: Tickets = request.app.state.tickets
    if ticket and tickets.redeem(ticket, f"{run_id}/{name}"):
        return
    if ticket and identity_of(request) is None:
        raise Problem(401, "unauthorized", "this link was used, or is over a minute old", "open it from the page again")
    await viewer(request, None)


@_files.get(
    "/{run_id}/files/{name}",
    response_class=FileResponse,
    dependencies=[Depends(_may_have)],
    responses=documented(404) | _cached | _kinds,
)
def file(request: Request, past: Past, run: Chosen, name: FileName) -> Response:
    """A file of a run: its report, a picture, or a table to download. For who may read, and for who has a ticket."""
    path = past.file(run, name)
    status = path.stat()

    def answer() -> Response:
        kind = KINDS[path.suffix]
        headers = {"Content-Security-Policy": REPORT_POLICY} if path.suffix == ".html" else {}
        how = "attachment" if path.suffix == ".parquet" else "inline"
        return FileResponse(path, 200, headers, kind, filename=name, stat_result=status, content_disposition_type=how)

    return etagged(request, etag_of("file", run.id, name, status.st_mtime_ns, status.st_size), answer)


@_read.post("/{run_id}/links", status_code=201, responses=documented(404, 415))
def link(request: Request, past: Past, run: Chosen, wanted: models.LinkWanted) -> models.Link:
    """A link to a file of a run that works once, within a minute: a browser sends no token when it follows one."""
    past.file(run, wanted.file)
    tickets: Tickets = request.app.state.tickets
    ticket = tickets.issue(f"{run.id}/{wanted.file}")
    url = f"{PREFIX}/{run.id}/files/{quote(wanted.file)}?ticket={ticket}"
    return models.Link(url=url, seconds=LASTS_S)


@_read.get("/{run_id}/tables", response_model=models.Tables, responses=documented(404) | _cached)
def tables(request: Request, run: Chosen) -> Response:
    """The tables of a run, with their columns."""

    def answer() -> models.Tables:
        return models.Tables(items=[_table(run, name) for name in TABLES if f"{name}.parquet" in run.files])

    return etagged(request, etag_of("tables", run.id, run.stamp), answer)


@_read.get("/{run_id}/tables/{table}", response_model=models.Rows, responses=documented(400, 404) | _cached)
def rows(
    request: Request,
    past: Past,
    run: Chosen,
    table: Annotated[str, InPath(max_length=50, description="name of it, e.g. fills")],
    columns: Annotated[str, Query(max_length=5000, description="names with commas between; none = all")] = "",
    sort: Annotated[
        str, Query(max_length=200, description="a column, with - before it for the largest first; missing comes last")
    ] = "",
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Rows of a table of a run."""
    path, version = _versioned(past, run, f"{table}.parquet")
    first = _first(cursor, "rows", version, sort)

    def answer() -> models.Rows:
        with _heavy():
            found = page(path, [one for one in columns.split(",") if one], sort, first, limit)
        return models.Rows(
            columns=[models.Column(name=name, type=kind) for name, kind in found.columns.items()],
            items=found.rows,
            next=None if found.next_row is None else cursor_of("rows", version, sort, found.next_row),
            total=found.total,
        )

    return etagged(request, etag_of("rows", run.id, table, version, columns, sort, limit, first), answer)


@_read.get("/{run_id}/sweep", response_model=models.Sets, responses=documented(400, 404) | _cached)
def sets(
    request: Request,
    past: Past,
    run: Chosen,
    sort: Annotated[
        str, Query(min_length=1, max_length=200, description="a parameter or result, with - for the largest first")
    ] = "-net",
    min_trades: LeastTrades = 1,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> Response:
    """Parameter sets of a sweep, the best first: what they came to where they were searched, and held out."""
    path, version = _versioned(past, run, "sweep.parquet")
    first = _first(cursor, "sets", version, sort, min_trades)

    def answer() -> models.Sets:
        found = _swept(past, run, path, version)
        some = found.traded(min_trades)
        more = first + limit < len(some)
        return models.Sets(
            parameters=list(found.parameters),
            results=list(found.results),
            items=found.rows(sort, first, limit, some),
            next=cursor_of("sets", version, sort, min_trades, first + limit) if more else None,
            total=len(some),
        )

    return etagged(request, etag_of("sets", run.id, version, sort, min_trades, limit, first), answer)


@_read.get("/{run_id}/heatmap", response_model=models.HeatMap, responses=documented(404) | _cached)
def heat_map(
    request: Request,
    past: Past,
    run: Chosen,
    x: Parameter,
    y: Parameter,
    value: Annotated[str, Query(min_length=1, max_length=200, description="one of the sweep's `results`")] = "net",
    reduce: Annotated[
        Literal["max", "median", "mean", "count"], Query(description="what is told of the sets of a cell")
    ] = "median",
    bins: Annotated[int, Query(ge=0, le=MOST_BINS, description="per axis at most; 0 = as many as the sets fill")] = 0,
    min_trades: LeastTrades = 1,
) -> Response:
    """A result of a sweep over two of its parameters."""
    path, version = _versioned(past, run, "sweep.parquet")

    def answer() -> models.HeatMap:
        found = _swept(past, run, path, version)
        grid = heatmap(found, x, y, value, reduce, bins, found.traded(min_trades))
        return models.HeatMap.model_validate(grid)

    return etagged(request, etag_of("heatmap", run.id, version, x, y, value, reduce, bins, min_trades), answer)


router.include_router(_read)
router.include_router(_files)


def add_history(app: FastAPI, root: Path) -> None:
    """Let an application tell of past runs.

    Args:
        app: its ``state.config`` is the server's settings.
        root: folder of the runs.
    """
    app.state.history, app.state.tickets = History(root), Tickets()
    app.include_router(router)


def line_of(run: Run) -> models.RunLine:
    """A run's line of the list."""
    return models.RunLine(
        id=run.id, mode=run.mode, state=run.state, started_ns=run.started_ns, ended_ns=run.ended_ns,
        device=run.device, events=run.events, wall_s=run.wall_s, headline=dict(run.headline), files=dict(run.files),
        error=None if run.error is None else scrub(run.error),
    )  # fmt: skip


def _links(request: Request, root: Path) -> models.Links:
    command = f"tensorboard --logdir {shlex.quote(str(root))}"
    return models.Links(tensorboard=request.app.state.config.tensorboard, tensorboard_command=command)


def _runs_page(found: Sequence[Run], sort: str, limit: int, cursor: str) -> tuple[list[Run], str | None]:
    """Runs in an order that stays the same while others come and go: the place of a page is a value and an id."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")

    def key(run: Run) -> tuple[bool, Any, str]:
        value = _sorted_by(run, name)
        return (value is None) is not descending, 0 if value is None else value, run.id

    ordered = sorted(found, key=key, reverse=descending)
    if cursor:
        try:
            missing, value, last = parts_of(cursor, "runs", sort)
            at = (bool(missing), value, str(last))
            ordered = [run for run in ordered if (key(run) < at if descending else key(run) > at)]
        except (TypeError, ValueError):
            raise Problem(400, "bad_request", "cursor: it is not of this list", "begin again without one") from None
    some = ordered[:limit]
    return some, cursor_of("runs", sort, *key(some[-1])) if len(ordered) > limit else None


def _sorted_by(run: Run, name: str) -> Any:
    fixed = {"started": run.started_ns, "ended": run.ended_ns, "mode": run.mode or ""}
    if name in fixed:
        return fixed[name]
    value = {"events": run.events, "wall_s": run.wall_s}.get(name, run.headline.get(name))
    return value if isinstance(value, int | float) else None


def _versioned(past: History, run: Run, name: str) -> tuple[Path, list[int]]:
    """A file of a run, and what changes when it does."""
    path = past.file(run, name)
    status = path.stat()
    return path, [status.st_mtime_ns, status.st_size]


def _first(cursor: str, *heads: Any) -> int:
    """The row that a cursor stands at; 0 without one."""
    if not cursor:
        return 0
    parts = parts_of(cursor, *heads)
    if len(parts) != 1 or not isinstance(parts[0], int) or not 0 <= parts[0] < 2**53:
        raise Problem(400, "bad_request", "cursor: it is not of this list", "begin again without one")
    return int(parts[0])


@contextmanager
def _heavy() -> Iterator[None]:
    """Wait for a turn, so that many who ask at once do not fill the memory."""
    if not HEAVY.acquire(timeout=WAIT_S):
        raise Problem(429, "rate_limited", "large tables are being read for others", "try again in a few seconds")
    try:
        yield
    finally:
        HEAVY.release()


def _swept(past: History, run: Run, path: Path, version: list[int]) -> Sweep:
    with _heavy():
        return _pooled(path, tuple(version), past.read(run, CONFIG, MOST_CONFIG))


@lru_cache(maxsize=2)  # as a page of sets, the next one and a heat map follow each other
def _pooled(path: Path, version: tuple[int, ...], config: bytes) -> Sweep:
    return read_sweep(path, config)


def _table(run: Run, name: str) -> models.Table:
    try:
        with opened(run.folder / f"{name}.parquet") as found:
            kinds = columns_of(found)
            columns = [models.Column(name=one, type=kind) for one, kind in kinds.items()]
            return models.Table(name=name, rows=found.metadata.num_rows, columns=columns)
    except Problem as problem:
        return models.Table(name=name, rows=None, columns=[], error=problem.message)
