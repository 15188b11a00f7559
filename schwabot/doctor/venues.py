"""The venues: whether they answer, and how far this machine's clock is from theirs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from schwabot.doctor.findings import Finding, ok, problem, skipped, warning
from schwabot.errors import closest, why
from schwabot.secrets import scrub

ASKED = 3
"""Times that a venue's clock is asked; the fastest answer counts."""
ANSWER_S = 10.0
APART_S = 1.0
"""Clocks that are further apart than this deserve a word."""
LONGEST = 300
_PLACE = re.compile(r"\b(451|403)\b|restricted location|forbidden", re.IGNORECASE)


def venues(names: Sequence[str], loopback_port: int | None, *, offline: bool, window_ms: int) -> Iterator[Finding]:
    """Ask each venue for its time.

    Args:
        names: ccxt's names.
        loopback_port: ask the loopback exchange on this port of 127.0.0.1 in place of the real ones.
        offline: ask nobody.
        window_ms: how long a signed request is good for.
    """
    if not names:
        yield skipped("network", "no venue is chosen", "name some: --venues binance,kraken, or the settings of a run")
        return
    if offline:
        yield skipped("network", f"{', '.join(names)}: not asked (--offline)")
        return
    try:
        import ccxt.pro
    except Exception as error:  # noqa: BLE001 it is there and broken
        yield problem("network", f"ccxt can't be imported: {why(error)}", "pip install ccxt")
        return
    known: list[str] = []
    for name in names:
        if name in ccxt.pro.exchanges:
            known.append(name)
        else:
            hint = closest(name, ccxt.pro.exchanges)
            yield problem("network", f"{name}: ccxt knows no exchange of this name that has a websocket{hint}",
                          "use ccxt's names of venues")  # fmt: skip
    if loopback_port is not None:
        from schwabot.venues.loopback.urls import VENUES

        for name in [one for one in known if one not in VENUES]:
            known.remove(name)
            yield problem("network", f"{name}: the loopback exchange does not speak for it",
                          f"leave it out, or use {', '.join(VENUES)}")  # fmt: skip
    yield from asyncio.run(_all(known, loopback_port, window_ms))


async def _all(names: Sequence[str], port: int | None, window_ms: int) -> list[Finding]:
    return [one for few in await asyncio.gather(*(_one(name, port, window_ms) for name in names)) for one in few]


async def _one(name: str, port: int | None, window_ms: int) -> list[Finding]:
    import ccxt.pro

    options: dict[str, Any] = {"timeout": int(1e3 * ANSWER_S)}
    if port is not None:
        from schwabot.venues.loopback.urls import ccxt_options

        options |= ccxt_options(name, port)
    exchange = getattr(ccxt.pro, name)(options)
    try:
        if not exchange.has["fetchTime"]:
            async with asyncio.timeout(ANSWER_S):
                await (exchange.fetch_status() if exchange.has["fetchStatus"] else exchange.load_markets())
            return [ok("network", f"{name}: answers; it does not tell its time")]
        return await _clock(name, exchange, window_ms)
    except Exception as error:  # noqa: BLE001 of ccxt and of the network, in any way
        said = _said(error)
        return [problem("network", f"{name}: {said}", _do(said, port))]
    finally:
        await exchange.close()


async def _clock(name: str, exchange: Any, window_ms: int) -> list[Finding]:
    """Its answer's time, and the offset of its clock by the fastest of a few answers."""
    answers = []
    for _ in range(ASKED):
        began_ns = time.time_ns()
        async with asyncio.timeout(ANSWER_S):
            said_ms = int(await exchange.fetch_time())
        ended_ns = time.time_ns()
        answers.append((ended_ns - began_ns, (began_ns + ended_ns) / 2e9 - said_ms / 1e3, said_ms))
    trip_ns, ahead_s, _ = min(answers)
    # Some venues tell whole seconds, cut off: then half a second in the middle, and as much either way.
    whole = all(said_ms % 1000 == 0 for _, _, said_ms in answers)
    ahead_s, doubt_s = (ahead_s - 0.5, 0.5) if whole else (ahead_s, 0.0)
    doubt_s += trip_ns / 2e9
    found = [ok("network", f"{name}: answers in {trip_ns / 1e6:,.0f} ms")]
    way = "ahead of" if ahead_s > 0 else "behind"
    how = f"this machine's clock is {abs(ahead_s):.2f} s {way} {name}'s, to {doubt_s:.2f} s"
    if abs(ahead_s) - doubt_s > window_ms / 1e3:
        found.append(problem("clock", f"{how}: further than signed requests are good for ({window_ms} ms)",
                             "set the clock: timedatectl set-ntp true"))  # fmt: skip
    elif abs(ahead_s) - doubt_s > APART_S:
        found.append(warning("clock", how, "set the clock: timedatectl set-ntp true"))
    else:
        found.append(ok("clock", how))
    return found


def _said(error: Exception) -> str:
    """What went wrong, in one line; where ccxt says which address it asked, its cause says why that failed."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_S:g} s"
    causes = [str(one) or type(one).__name__ for one in (error, error.__cause__) if one is not None]
    return scrub(" ".join(": ".join(causes).split()))[:LONGEST]


def _do(said: str, port: int | None) -> str:
    if port is not None:
        return f"is `python -m schwabot.venues.loopback --port {port}` running?"
    if _PLACE.search(said):
        return "the venue refuses this address: some serve no data centres, or not this country"
    return "is there a network, and do names resolve? A proxy or a firewall may be in the way, or the venue is down"
