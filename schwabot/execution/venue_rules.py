"""What differs between the venues that orders go to: a row for each, and nothing of it anywhere else.

A venue without a row gets no orders: what it does when answers are lost was not tried.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schwabot.errors import VenueError
from schwabot.execution.turns import Turns

Unified = Mapping[str, Any]
"""An order or a fill as ccxt has it, with the venue's own words in ``info``."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LOCKED_OUT_S = 600.0
_TURN_S = 1.0
_WOULD_TAKE = "Post only order"
_RANKS = {"CancelOrder": 0, "AddOrder": 1}
_AROUND_MS = 600_000
_COINBASE_STATES = {
    "PENDING": "open", "QUEUED": "open", "CANCEL_QUEUED": "open", "EDIT_QUEUED": "open", "EXPIRED": "expired",
    "FAILED": "rejected",
}  # fmt: skip


def _plainly(takes: bool, void_ms: int) -> dict[str, Any]:
    """ccxt's own words for a take and a post; the time of the request says when it is void."""
    return {"timeInForce": "IOC"} if takes else {"postOnly": True}


def _as_it_is(each: Unified) -> Unified:
    return each


def _by_name(client_id: str, decided_ms: int) -> tuple[int | None, dict[str, Any]]:
    return None, {"clientOrderId": client_id}


@dataclass(frozen=True)
class VenueRules:
    """How one venue takes orders, and what its answers mean. Patterns are searched for in the error's type and text.

    Attributes:
        stamped: signed requests carry the time by the venue's clock as ccxt knows it, and are void ``window`` later.
        window: of the setting ``recv_window_ms``, how long a request may still arrive after it left, in ms.
        how: parameters of an order, given whether it takes, and the venue's time in ms at which it shall be void.
        client_id: the parameter of an order that ccxt hands on as its client id.
        id_chars: of a client id, at most.
        prepare: readies ccxt's client, given ``recv_window_ms``.
        lists: ccxt's lists that find an order by its client id, asked in turn; empty = it is asked for by it.
        sought: where it is looked for in them: since when, and other parameters, given the id and when it was decided,
            by the venue's clock.
        tells: the answer to an order or a cancel says what became of it; else the account's stream does, or is asked.
        accepts: the answer to an order that names no state says that it was accepted; else it may be refused yet.
        order: puts right what ccxt makes of the venue's word on an order.
        trade: the same of a fill; None = it is none.
        offset: rows of a page of fills, where pages are asked for by their offset; 0 = by time.
        cursor: rows of a page of any list, where the parameter ``next`` is a list that the next page's cursor is put
            into; 0 = lists have no such pages.
        rounds: every booking is rounded to the decimals of its currency, so balances differ from what fills say.
        tries: how often a question or a cancel is sent that a later request has overtaken, which the venue refuses
            unread; an order is sent once.
        clock: errors after which the venue's clock is compared with ours.
        absent: what a request is about is not there.
        refused: the venue did not carry it out; without one ccxt's own kinds of errors say so.
        throttled: too many requests: pattern, and seconds to leave the venue alone.
        pause_s: between two questions about the same, at first and at most.
        poll_s: least time between two questions about open orders that the venue does not speak of, and before one for
            fills of another order.
    """

    stamped: bool = True
    window: Callable[[int], int] = lambda recv_window_ms: recv_window_ms
    how: Callable[[bool, int], dict[str, Any]] = _plainly
    client_id: str = "clientOrderId"
    id_chars: int = 36
    prepare: Callable[[Any, int], None] = lambda client, recv_window_ms: None
    lists: tuple[str, ...] = ()
    sought: Callable[[str, int], tuple[int | None, dict[str, Any]]] = _by_name
    tells: bool = True
    accepts: bool = True
    order: Callable[[Unified], Unified] = _as_it_is
    trade: Callable[[Unified], Unified | None] = _as_it_is
    offset: int = 0
    cursor: int = 0
    rounds: bool = False
    tries: int = 1
    clock: str = "^InvalidNonce"
    absent: str = "^OrderNotFound"
    refused: str | None = None
    throttled: tuple[tuple[str, float], ...] = ()
    pause_s: tuple[float, float] = (0.05, 2.0)
    poll_s: float = 0.0


def _kraken_prepare(client: Any, recv_window_ms: int) -> None:
    """One signed request at a time, cancels first: connections overtake each other, and nonces must not.

    The secret signs only as it is shown by Kraken.

    Raises:
        VenueError: it is no base64 text.
    """
    try:
        b64decode(client.secret or "", validate=True)
    except ValueError:
        raise VenueError("kraken: KRAKEN_SECRET is the private key as Kraken shows it, all of it: base64") from None
    from ccxt import ExchangeError

    turns, fetch = Turns(_TURN_S), client.fetch2

    async def in_turn(path: str, api: Any = "public", *how: Any) -> Any:
        if "private" not in api:
            return await fetch(path, api, *how)
        async with turns.take(_RANKS.get(path, 2)):
            return await fetch(path, api, *how)

    refused = client.handle_error_message

    def told(line: Any, message: dict[str, Any]) -> Any:
        fine = refused(line, message)
        if not fine and message.get("method") == "subscribe":  # ccxt tells nobody who waits for what it brings
            line.subscriptions.pop("executions", None)
            client.client(client.urls["api"]["ws"]["private"]).subscriptions.pop("authenticated", None)
            line.reject(ExchangeError(message.get("error")))
        return fine

    client.fetch2, client.handle_error_message = in_turn, told


def _kraken_how(takes: bool, void_ms: int) -> dict[str, Any]:
    """The fee in quote currency, which ccxt takes it for; void by Kraken's own parameter for it."""
    void = datetime.fromtimestamp(void_ms / 1e3, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"oflags": "fciq", "deadline": void} | _plainly(takes, void_ms)


def _kraken_order(each: Unified) -> Unified:
    """Our id is not the ``userref`` that ccxt takes for it; of its stream ccxt does not read what was filled.

    What is pending may be refused yet, and a post-only order that would take is: Kraken cancels it.
    """
    info = each["info"]
    found = {"clientOrderId": info.get("cl_ord_id")}
    if "pending" in (info.get("status"), info.get("exec_type", "").removesuffix("_new")):
        found["status"] = None
    elif each.get("status") == "canceled" and info.get("reason") == _WOULD_TAKE:
        found |= {"status": "rejected", "why": _WOULD_TAKE}
    if "exec_type" in info:
        found |= {"amount": info.get("order_qty"), "filled": info.get("cum_qty")}
    return {**each, **found}


def _kraken_trade(each: Unified) -> Unified | None:
    """ccxt takes all of a message for fills where the first is one."""
    return each if each["info"].get("exec_type", "trade") == "trade" else None


def _coinbase_life_s(recv_window_ms: int) -> int:
    """Of a token: whole seconds, and two more, as it is dated in them by a clock that tells whole seconds too."""
    return -(-recv_window_ms // 1_000) + 2


def _coinbase_window(recv_window_ms: int) -> int:
    """Tokens are checked at the door; what was let in is given as long again."""
    return _coinbase_life_s(recv_window_ms) * 1_000 + recv_window_ms


def _coinbase_page(call: Callable[[dict[str, Any]], Awaitable[Any]]) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    """A page of a list, asked for by the names of Coinbase's reference, which ccxt's are not.

    The next one's cursor is taken from the answer as it came. ccxt puts it into the first row: it fails where there is
    none, and drops both where that row is of another product.
    """

    async def ask(given: dict[str, Any]) -> Any:
        following = given.pop("next", [])
        if "product_id" in given:
            given["product_ids"] = given.pop("product_id")
        said = await call(given)
        cursor = said.pop("cursor", "")
        if said.get("orders") or said.get("fills"):  # whatever an empty page says, it is the last
            following.append(cursor)
        return said

    return ask


def _coinbase_prepare(client: Any, recv_window_ms: int) -> None:
    """Tokens by the venue's clock that end with the window, where ccxt's live for two minutes.

    Raises:
        VenueError: the key is of another kind.
    """
    sign, subscribe = client.jwt, client.create_ws_auth

    def dated(said: dict[str, Any], *how: Any) -> Any:
        begin = int(client.nonce() // 1_000)
        life_s = _coinbase_life_s(recv_window_ms) if "uri" in said else said["exp"] - said["nbf"]
        return sign({**said, "nbf": begin, "iat": begin, "exp": begin + life_s}, *how)

    def afresh(*what: Any) -> Any:
        client.options["wsToken"] = None  # each subscription needs one of its own
        return subscribe(*what)

    client.jwt, client.create_ws_auth = dated, afresh
    for name in ("v3PrivateGetBrokerageOrdersHistoricalBatch", "v3PrivateGetBrokerageOrdersHistoricalFills"):
        setattr(client, name, _coinbase_page(getattr(client, name)))
    client.options["fetchBalance"] = "v3PrivateGetBrokerageAccounts"
    try:
        if "organizations/" not in client.apiKey:
            raise ValueError("another kind of key")
        client.create_auth_token(0, "GET", "")
    except Exception:  # noqa: BLE001 - ccxt and what it signs with fail in any way; nothing of the key may be shown
        raise VenueError(
            "coinbase: orders need an ECDSA key: COINBASE_API_KEY=organizations/…/apiKeys/… and its private key, which"
            " begins with -----BEGIN EC, as COINBASE_SECRET"
        ) from None


def _coinbase_sought(client_id: str, decided_ms: int) -> tuple[int | None, dict[str, Any]]:
    """Around when it was decided: its lists know no client ids."""
    return decided_ms - _AROUND_MS, {"until": decided_ms + _AROUND_MS}


def _coinbase_order(each: Unified) -> Unified:
    """ccxt does not know all states; in its stream the size is what was filled. Sizes in quote are no lots."""
    info = each["info"]
    found = {"status": _COINBASE_STATES.get(info.get("status"), each.get("status"))}
    if "cumulative_quantity" in info:
        found["amount"] = None
    if info.get("size_in_quote"):
        found |= {"amount": None, "filled": None}
    return {**each, **found}


def _coinbase_trade(each: Unified) -> Unified | None:
    """Fills of orders that were sized in quote are not ours, and not whole lots; reversals and corrections are none."""
    info = each["info"]
    return None if info.get("size_in_quote") or info.get("trade_type", "FILL") != "FILL" else each


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
        prepare=_kraken_prepare,
        id_chars=18,
        lists=("fetch_open_orders", "fetch_closed_orders"),
        tells=False,
        accepts=False,
        order=_kraken_order,
        trade=_kraken_trade,
        offset=50,
        rounds=True,
        tries=2,
        clock="[Dd]eadline",
        absent="^OrderNotFound|EOrder:(Unknown|Invalid) order",
        refused="E(Order|Trade|Query|API|Account|Auth|Session):|EGeneral:(Invalid arguments|Permission denied|Unknown)"
        "|EService:Market in",
        throttled=(
            ("EGeneral:Temporary lockout", _LOCKED_OUT_S),
            (":Rate limit exceeded|:Too many requests|EService:Throttled", 5.0),
        ),
        pause_s=(0.5, 4.0),
        poll_s=3.0,
    ),
    "coinbase": VenueRules(
        window=_coinbase_window,
        client_id="client_order_id",
        prepare=_coinbase_prepare,
        lists=("fetch_orders",),
        sought=_coinbase_sought,
        tells=False,
        order=_coinbase_order,
        trade=_coinbase_trade,
        cursor=250,
        clock="^AuthenticationError",
        absent='^OrderNotFound|order with this orderID was not found|"error":\\s*"NOT_FOUND"',
        # It names a reason; where it says that it knows none, nobody knows.
        refused='"success":\\s*false.*"(error|(preview|new_order)_failure_reason)":\\s*"(?!UNKNOWN|")',
        throttled=(
            ("Too many errors", 30.0),
            ("^ExchangeError.*(RESOURCE_EXHAUSTED|[Rr]ate.?limit|[Tt]oo many)", 5.0),
        ),
        pause_s=(0.1, 2.0),
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
