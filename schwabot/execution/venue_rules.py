"""What differs between the venues that orders go to: a row for each, and nothing of it anywhere else.

A venue without a row gets no orders: what it does when answers are lost was not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schwabot.errors import VenueError

Unified = Mapping[str, Any]
"""An order or a fill as ccxt has it, with the venue's own words in ``info``."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LOCKED_OUT_S = 600.0


def _plainly(takes: bool, void_ms: int) -> dict[str, Any]:
    """ccxt's own words for a take and a post; the time of the request says when it is void."""
    return {"timeInForce": "IOC"} if takes else {"postOnly": True}


def _as_it_is(each: Unified) -> Unified:
    return each


@dataclass(frozen=True)
class VenueRules:
    """How one venue takes orders, and what its answers mean. Patterns are searched for in the error's type and text.

    Attributes:
        stamped: signed requests carry the time by the venue's clock as ccxt knows it, and are void ``window`` later.
        window: of the setting ``recv_window_ms``, how long a request may still arrive after it left, in ms.
        how: parameters of an order, given whether it takes, and the venue's time in ms at which it shall be void.
        id_chars: of a client id, at most.
        lists: ccxt's lists that find an order by its client id, asked in turn; empty = it is asked for by it.
        tells: the answer to an order or a cancel says what became of it; else the account's stream does, or is asked.
        order: puts right what ccxt makes of the venue's word on an order.
        trade: the same of a fill; None = it is none.
        offset: rows of a page of fills, where pages are asked for by their offset; 0 = by time.
        rounds: every booking is rounded to the decimals of its currency, so balances differ from what fills say.
        tries: how often a request is sent that a later one has overtaken, which the venue refuses unread.
        clock: errors after which the venue's clock is compared with ours.
        absent: what a request is about is not there.
        refused: the venue did not carry it out; without one ccxt's own kinds of errors say so.
        throttled: too many requests: pattern, and seconds to leave the venue alone.
        pause_s: between two questions about the same, at first and at most.
        poll_s: least time between two questions about an open order while the account's stream is down.
    """

    stamped: bool = True
    window: Callable[[int], int] = lambda recv_window_ms: recv_window_ms
    how: Callable[[bool, int], dict[str, Any]] = _plainly
    id_chars: int = 36
    lists: tuple[str, ...] = ()
    tells: bool = True
    order: Callable[[Unified], Unified] = _as_it_is
    trade: Callable[[Unified], Unified | None] = _as_it_is
    offset: int = 0
    rounds: bool = False
    tries: int = 1
    clock: str = "^InvalidNonce"
    absent: str = "^OrderNotFound"
    refused: str | None = None
    throttled: tuple[tuple[str, float], ...] = ()
    pause_s: tuple[float, float] = (0.05, 2.0)
    poll_s: float = 0.0


def _kraken_how(takes: bool, void_ms: int) -> dict[str, Any]:
    """The fee in quote currency, which ccxt takes it for; void by Kraken's own parameter for it."""
    void = datetime.fromtimestamp(void_ms / 1e3, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"oflags": "fciq", "deadline": void} | _plainly(takes, void_ms)


def _kraken_order(each: Unified) -> Unified:
    """Our id is not the ``userref`` that ccxt takes for it; of its stream ccxt does not read what was filled."""
    info = each["info"]
    found = {"clientOrderId": info.get("cl_ord_id")}
    if "exec_type" in info:
        found |= {"amount": info.get("order_qty"), "filled": info.get("cum_qty")}
    return {**each, **found}


def _kraken_trade(each: Unified) -> Unified | None:
    """ccxt takes all of a message for fills where the first is one."""
    return each if each["info"].get("exec_type", "trade") == "trade" else None


_BINANCE = VenueRules(absent=r'^OrderNotFound|"code":\s*-2011\b')
RULES: dict[str, VenueRules] = {
    "binance": _BINANCE,
    "binanceusdm": _BINANCE,
    "binancecoinm": _BINANCE,
    "kraken": VenueRules(
        stamped=False,  # its nonces may not go back when the clock is set
        # It wants 2 s at least and 60 s at most; its clock tells whole seconds, so one more may have passed already.
        window=lambda recv_window_ms: min(max(recv_window_ms, 3_000), 58_000) + 1_000,
        how=_kraken_how,
        id_chars=18,
        lists=("fetch_open_orders", "fetch_closed_orders"),
        tells=False,
        order=_kraken_order,
        trade=_kraken_trade,
        offset=50,
        rounds=True,
        tries=3,
        clock="[Dd]eadline",
        absent="^OrderNotFound|EOrder:(Unknown|Invalid) order",
        refused="E(Order|Trade|Query|API|Account|Auth|Session):|EGeneral:(Invalid arguments|Permission denied|Unknown)"
        "|EService:Market in",
        throttled=(
            ("EGeneral:Temporary lockout", _LOCKED_OUT_S),
            (":Rate limit exceeded|:Too many requests|EService:Throttled", 5.0),
        ),
        pause_s=(0.2, 4.0),
        poll_s=3.0,
    ),
}
"""By ccxt's id."""


def rules_of(venue: str) -> VenueRules:
    """The venue's row.

    Raises:
        VenueError: it has none.
    """
    if venue not in RULES:
        raise VenueError(f"orders at {venue} have not been tried where answers are lost: {', '.join(RULES)} have")
    return RULES[venue]


def new_session(prefix: str, now_ns: int) -> str:
    """A session's name, which begins its client ids: short, as some venues take 18 characters.

    Example:
        >>> new_session("sb", 1_700_000_000_000_000_000)
        'sbloyw3v28'
    """
    left, text = now_ns // 1_000_000, ""
    while left:
        left, digit = divmod(left, 36)
        text = _DIGITS[digit] + text
    return prefix + text
