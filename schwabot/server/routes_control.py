"""What a person may do to the run: halt, reduce, resume, cancel all, change settings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from schwabot.server import models
from schwabot.server.auth import Identity, admin, operator, viewer
from schwabot.server.hub import Hub
from schwabot.server.problems import Problem, documented
from schwabot.server.routes_live import Run

router = APIRouter(prefix="/api/v1")
CHANGES = documented(408, 409, 410, 413, 415, 504)


@router.get("/settings", tags=["run"], dependencies=[Depends(viewer)])
async def settings(hub: Run) -> models.Settings:
    """Settings of the run, and which of them may change while it goes on."""
    header = hub.header
    hot = [models.SettingNow(name=name, value=value) for name, value in sorted(header["hot"].items())]
    changed = [
        row | {"changes": [dict(zip(("name", "before", "after"), one, strict=True)) for one in row["changes"]]}
        for row in hub.newest("settings", 100, None, lambda row: True)
    ]
    can_change, config = "settings" in header["actions"], header["config"]
    return models.Settings.model_validate({"hot": hot, "can_change": can_change, "config": config, "changed": changed})


@router.patch("/settings", tags=["control"], responses=CHANGES)
async def change(asked: models.Changes, hub: Run, who: Annotated[Identity, Depends(admin)]) -> models.Done:
    """Change settings while the run goes on; all of them or none."""
    return await _ask(hub, "settings", who, asked.why, asked.changes)


@router.get("/control", tags=["control"])
async def control(hub: Run, who: Annotated[Identity, Depends(viewer)]) -> models.Control:
    """What may be done to the run, and what you may do."""
    trading = hub.trading
    actions = [name for name in hub.header["actions"] if name != "settings"]
    return models.Control(
        actions=actions, account=trading.get("account"), state=trading.get("state"), role=who.role.name.lower(),
        name=who.name,
    )  # fmt: skip


@router.post("/control", tags=["control"], responses=CHANGES)
async def act(asked: models.Action, hub: Run, who: Annotated[Identity, Depends(operator)]) -> models.Done:
    """Halt, resume, reduce, or cancel all; the answer comes when it is done."""
    account = hub.trading.get("account")
    if account is not None and asked.confirm != account:
        raise Problem(
            409, "conflict", f"confirm={asked.confirm[:80]!r} is not this run's account", f"it is {account}: send that"
        )
    return await _ask(hub, asked.do, who, asked.why)


async def _ask(hub: Hub, do: str, who: Identity, why: str, changes: dict[str, Any] | None = None) -> models.Done:
    if do not in hub.header["actions"]:
        can = ", ".join(hub.header["actions"]) or "nothing"
        raise Problem(409, "conflict", f"{do} can't be done to mode={hub.header['mode']}", f"what can: {can}")
    if hub.is_gone or hub.summary:
        raise Problem(410, "run_gone", "the run has ended", "start another one")
    try:
        answer = await hub.ask(do, who.name, why, changes)
    except TimeoutError:
        raise Problem(
            504, "no_answer", f"the run has not answered to {do}", "look at the run itself; SIGUSR1 halts it at once"
        ) from None
    if not answer["ok"]:
        raise Problem(409, "refused", answer["said"], "nothing was changed")
    return models.Done(ok=True, said=answer["said"])
