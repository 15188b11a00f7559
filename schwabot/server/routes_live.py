"""The run that goes on: everything here reads the hub, on the loop that frames come on, so none comes in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from schwabot.server import models
from schwabot.server.auth import viewer
from schwabot.server.hub import Hub
from schwabot.server.problems import Problem
from schwabot.server.wire import LANES, ROUTES, STATUSES, Frame

router = APIRouter(prefix="/api/v1", dependencies=[Depends(viewer)])
Limit = Annotated[int, Query(ge=1, le=1000, description="items at most")]
Cursor = Annotated[str | None, Query(pattern=r"^\d{1,18}$", description="`next` of the page before")]
StreamName = Annotated[str | None, Query(max_length=100, description="`venue:symbol`")]
HEARD_S = 10.0


async def hub_of(request: Request) -> Hub:
    """The hub."""
    hub: Hub = request.app.state.hub
    return hub


async def run_of(request: Request) -> Hub:
    """The hub, where a run has begun.

    Raises:
        Problem: there is none.
    """
    hub = await hub_of(request)
    if not hub.has_run:
        if hub.is_beside:
            raise Problem(404, "no_run", "the run has not begun: it compiles, or connects", "ask again in a while")
        raise Problem(
            404, "no_run", "no run is going on here", "start one with server.enabled=true; /api/v1/runs has past ones"
        )
    return hub


AnyHub = Annotated[Hub, Depends(hub_of)]
Run = Annotated[Hub, Depends(run_of)]


@router.get("/status", tags=["run"])
async def status(hub: AnyHub) -> models.Status:
    """The run and the server in a few numbers."""
    header, trading = hub.header, hub.trading
    before = "starting" if hub.is_beside else "none"
    state = before if not hub.has_run else "ended" if hub.summary or hub.is_gone else "running"
    names = ("mode", "device", "source", "run_dir", "started_ns", "expected_events")
    named = {name: header.get(name) for name in names}
    return models.Status.model_validate(
        named
        | {name: hub.totals[name] for name in ("events", "quotes", "trades")}
        | {
            "run": state, "version": header.get("version") or hub.version, "ts_ns": hub.last.get("ts_ns"),
            "heard_s": hub.age_s(), "events_per_s": hub.events_per_s(), "trading": trading.get("state"),
            "account": trading.get("account"), "sending": trading.get("sending"), "clients": hub.listeners,
            "seq": hub.seq,
        }
    )  # fmt: skip


@router.get("/health", tags=["run"])
async def health(hub: AnyHub) -> models.Health:
    """Components, fallbacks, how long answers take, the machine."""
    return models.Health.model_validate(hub.health_now())


@router.get("/streams", tags=["market"])
async def streams(hub: Run) -> list[models.StreamNow]:
    """Every stream with its newest values."""
    return [stream_now(hub, v) for v in range(len(hub.header["streams"]))]


@router.get("/streams/{stream:path}", tags=["market"])
async def stream(stream: Annotated[str, Path(description="`venue:symbol`")], hub: Run) -> models.StreamNow:
    """One stream, `venue:symbol`."""
    return stream_now(hub, _index(hub, stream))


def stream_now(hub: Hub, v: int) -> models.StreamNow:
    """A stream's newest values."""
    one, now = hub.header["streams"][v], {name: row[v] for name, row in hub.last.get("streams", {}).items()}
    found: Frame = {name: one[name] for name in ("stream", "venue", "symbol", "base", "quote", "is_rate")}
    found["events"] = hub.by_stream[v]
    if now:
        found |= now
        found["price"] = hub.price(now["mid_bp"], one["is_rate"])
        found["drift_status"], found["route"] = STATUSES[now["status"]], ROUTES[now["route"]]
        found["lane"], found["pays_fees"] = LANES[now["lane"]], bool(now["pays_fees"])
    return models.StreamNow.model_validate(found)


@router.get("/ghost", tags=["market"])
async def ghost(
    hub: Run,
    since_ns: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="only later points, ns")] = None,
    limit: Annotated[int, Query(ge=1, le=5000, description="points at most, evenly thinned")] = 600,
) -> models.GhostNow:
    """The fair price, and the points of the live charts."""
    points = hub.points.columns(limit, since_ns) | {
        "streams": [one["stream"] for one in hub.header["streams"]],
        "reference_price": hub.last.get("reference_price"),
    }
    names = ("ts_ns", "ghost_bp", "ghost_price", "entropy", "echo_bp", "expected_lag_bp", "penalty", "key")
    return models.GhostNow.model_validate({name: hub.last.get(name) for name in names} | {"points": nulls(points)})


@router.get("/lag", tags=["market"])
async def lag(hub: Run) -> list[models.LagPoint]:
    """What acting late cost by now: mean, interval, and what was expected."""
    return [models.LagPoint.model_validate(row) for row in hub.lag_curve()]


@router.get("/lanes", tags=["market"])
async def lanes(hub: Run) -> list[models.LanesNow]:
    """Voltage and lane of every stream, and how its events are spread over the lanes."""
    found = []
    for v, counts in enumerate(hub.lanes):
        now = stream_now(hub, v)
        named = {name: getattr(now, name) for name in ("stream", "voltage", "lane", "bits")}
        found.append(models.LanesNow(**named, events=dict(zip(LANES, counts, strict=True))))
    return found


@router.get("/arbitrage", tags=["market"])
async def arbitrage(
    hub: Run,
    limit: Limit = 100,
    cursor: Cursor = None,
    kind: Annotated[str | None, Query(pattern="^(locked|basis)$", description="locked or basis; none = both")] = None,
) -> models.Page[models.Arbitrage]:
    """Closed windows, newest first."""
    page = _page(hub, "arbitrage", limit, cursor, lambda row: kind is None or row["kind"] == kind)
    for row in page["items"]:
        row["lifetime_ms"] = (row["end_ns"] - row["start_ns"]) / 1e6
    return models.Page[models.Arbitrage].model_validate(page)


@router.get("/orders", tags=["trading"])
async def orders(
    hub: Run,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Annotated[str | None, Query(max_length=40, description="e.g. open")] = None,
    stream: StreamName = None,
) -> models.Page[models.Order]:
    """Orders and requests, newest first."""
    keep = _matching(state=state, stream=stream)
    return models.Page[models.Order].model_validate(_page(hub, "orders", limit, cursor, keep))


@router.get("/fills", tags=["trading"])
async def fills(
    hub: Run, limit: Limit = 100, cursor: Cursor = None, stream: StreamName = None
) -> models.Page[models.Fill]:
    """Fills, newest first."""
    return models.Page[models.Fill].model_validate(_page(hub, "fills", limit, cursor, _matching(stream=stream)))


@router.get("/positions", tags=["trading"])
async def positions(hub: Run) -> models.Trading:
    """What is held, what it came to, and what may leave."""
    if not hub.trading:
        raise Problem(404, "no_run", f"nobody trades in mode={hub.header['mode']}", "mode=paper and mode=live trade")
    return models.Trading.model_validate(hub.trading)


@router.get("/alerts", tags=["run"])
async def alerts(hub: Run, limit: Limit = 100, cursor: Cursor = None) -> models.Page[models.Alert]:
    """What a person should hear of, newest first."""
    return models.Page[models.Alert].model_validate(_page(hub, "alerts", limit, cursor, lambda row: True))


@router.get("/log", tags=["run"])
async def log(hub: Run, limit: Limit = 100, cursor: Cursor = None) -> models.Page[models.LogLine]:
    """The log's newest lines, newest first."""
    return models.Page[models.LogLine].model_validate(_page(hub, "log", limit, cursor, lambda row: True))


def _page(hub: Hub, name: str, limit: int, cursor: str | None, keep: Callable[[Frame], bool]) -> Frame:
    rows = hub.newest(name, limit + 1, None if cursor is None else int(cursor), keep)
    more = len(rows) > limit
    rows = [dict(row) for row in rows[:limit]]
    return {"items": rows, "next": str(rows[-1]["seq"]) if more else None}


def _matching(**wanted: str | None) -> Callable[[Frame], bool]:
    named = {name: value for name, value in wanted.items() if value is not None}
    return lambda row: all(row[name] == value for name, value in named.items())


def _index(hub: Hub, stream: str) -> int:
    for v, one in enumerate(hub.header["streams"]):
        if one["stream"] == stream:
            return v
    known = ", ".join(one["stream"] for one in hub.header["streams"])
    raise Problem(404, "not_found", f"the run has no stream {stream[:100]}", f"it has {known}")


def nulls(value: Any) -> Any:
    """The same with None in place of NaN."""
    if isinstance(value, dict):
        return {name: nulls(one) for name, one in value.items()}
    if isinstance(value, list):
        return [nulls(one) for one in value]
    return None if isinstance(value, float) and value != value else value
