"""What the API answers: the shapes that /docs shows. Times are ns since 1970 UTC; what has no value is null."""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

Item = TypeVar("Item")
MOST_TEXT, MOST_VALUES, MOST_DEEP = 1_000, 1_000, 8
"""Of a setting's value: characters of a text, values in all, lists within lists."""


def settable(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes whose values the run can be told; JSON has others.

    Raises:
        ValueError: says of which setting what is wrong, without the value.

    Example:
        >>> settable({"notify.burst": 10**30})
        Traceback (most recent call last):
        ValueError: notify.burst: a whole number is beyond 64 bits
    """
    waiting: list[tuple[str, Any, int]] = [("", changes, 0)]
    seen = 0
    while waiting:
        name, value, deep = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or deep > MOST_DEEP:
            raise ValueError(f"more than {MOST_VALUES} values, or more than {MOST_DEEP} of them within each other")
        said = f"{name}: " if name else ""
        if isinstance(value, dict):
            for key, one in value.items():  # the last one is looked at first: a name before what it names
                waiting += [(name or key[:100], one, deep + 1), (name, key, deep + 1)]
        elif isinstance(value, list):
            waiting += [(name, one, deep + 1) for one in value]
        elif isinstance(value, str):
            try:
                whole(value)
            except ValueError as error:
                raise ValueError(f"{said}{error}") from None
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{said}a whole number is beyond 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):  # JSON's 1e400 is read as infinity
            raise ValueError(f"{said}a number is too large or not finite: 1.8e308 is the largest")
    return changes


def whole(text: str) -> str:
    """Text that can be written down: JSON's escapes may carry half a character.

    Raises:
        ValueError: it can't, or is too long.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"a text is longer than {MOST_TEXT} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character (a lone surrogate)") from None
    return text


Text = Annotated[str, AfterValidator(whole)]
Reason = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1)]
When = Annotated[int, Field(description="when, ns")]
Number = Annotated[int, Field(description="its number in the list: a later one is larger")]
Stream = Annotated[str, Field(description="`venue:symbol`")]
Side = Annotated[int, Field(description="+1 buys, -1 sells; 0 of a cancel")]


class Page(BaseModel, Generic[Item]):
    """A part of a list, newest first."""

    items: list[Item] = Field(description="newest first, `limit` of them at most")
    next: str | None = Field(None, description="give it as `cursor` for the following items; null at the end")


class Status(BaseModel):
    """The run and the server in a few numbers."""

    run: Literal["none", "starting", "running", "ended"] = Field(description="none: mode=serve")
    version: str = Field(description="of the program")
    mode: str | None = Field(None, description="what runs: paper, live, replay, sweep, …")
    device: str | None = Field(None, description="the graph runs on it: cpu, cuda")
    source: str | None = Field(None, description="where the ticks come from, in words")
    run_dir: str | None = Field(None, description="where the run's files go")
    started_ns: int | None = Field(None, description="when the run began to tell, ns")
    ts_ns: int | None = Field(None, description="receive time of the newest event, ns")
    heard_s: float | None = Field(None, description="time since the run told something, s")
    events: int = Field(0, description="quotes and trades by now")
    quotes: int = Field(0, description="best bids and asks by now")
    trades: int = Field(0, description="trades of the market by now")
    events_per_s: float = Field(0.0, description="over the last 5 s")
    expected_events: int | None = Field(None, description="rows that the source will give; null where nobody knows")
    trading: str | None = Field(None, description="NORMAL, REDUCING or HALTED; null where nobody trades")
    account: str | None = Field(None, description="whose orders these are; null where nobody trades")
    sending: bool | None = Field(None, description="whether orders leave for a venue")
    clients: int = Field(0, description="open live streams")
    seq: int = Field(0, description="frames of the run by now")


class PartNow(BaseModel):
    """A component and the link of its chain of fallbacks that is in use."""

    component: str = Field(description="its name, e.g. device or feed.binance:BTC/USDT")
    now: str = Field(description="the link that is in use, e.g. websocket")
    best: bool = Field(description="whether that is the first choice")
    health: float | None = Field(None, description="of the link in use, 0 to 1")
    since_ns: int | None = Field(None, description="when it took over, ns; null where nothing was switched")
    reason: str | None = Field(None, description="why it was switched, in words")


class TimingNow(BaseModel):
    """How long something takes, since the run began."""

    name: str = Field(description="what is measured")
    n: int = Field(description="how often it was")
    p50_ms: float | None = Field(description="half of them took less, ms")
    p99_ms: float | None = Field(description="99 % of them took less, ms")
    counts: list[int] = Field(description="bin k counts times of 10**(k / 10) us and more")


class Health(BaseModel):
    """How the parts stand."""

    ok: bool = Field(description="every part is on its first choice, and the run was heard of within 10 s")
    parts: list[PartNow] = Field(description="the device and every chain of fallbacks")
    timings: list[TimingNow] = Field(description="since the run began")
    queue_rows: int = Field(description="rows that wait for their answer now")
    queue_most: int = Field(description="the most that ever waited")
    messages: int = Field(description="received from venues by now")
    reconnects: int = Field(description="of all streams by now")
    host: dict[str, Any] = Field(
        description="processor (percent), memory, disk (MiB) and GPU of the machine and of the run"
    )


class StreamNow(BaseModel):
    """A stream and its newest values."""

    stream: Stream
    venue: str = Field(description="ccxt's name of it")
    symbol: str = Field(description="ccxt's unified symbol, e.g. BTC/USDT:USDT")
    base: str = Field(description="the asset that is priced")
    quote: str = Field(description="the currency that it is priced in")
    is_rate: bool = Field(description="whether it converts between currencies and prices nothing else")
    events: int = Field(description="its quotes and trades by now")
    price: float | None = Field(None, description="mid, in quote currency")
    mid_bp: float | None = Field(None, description="log mid, bp relative to the reference price; of a rate, to 1")
    half_spread_bp: float | None = Field(None, description="half the spread over the mid, bp")
    deviation_bp: float | None = Field(None, description="ghost + phase - mid, bp; positive: the stream is cheap")
    phase_bp: float | None = Field(None, description="persistent offset of the stream from the ghost, bp")
    drift: float | None = Field(None, description="|phase change over the window| / max(|phase before|, 1 bp)")
    drift_status: str | None = Field(None, description="STABLE, DRIFTING or CRITICAL")
    route: str | None = Field(
        None, description="OK, or why it does not take part in the ghost: UNSEEN, STALE, CROSSED, DRIFTING, RATE"
    )
    forecast_bp: float | None = Field(None, description="expected move over the lanes' horizon, bp")
    snr: float | None = Field(None, description="max(0, mean net edge)² over its variance, of the forecast's bucket")
    bits: float | None = Field(None, description="of evidence, 0 to 16")
    voltage: float | None = Field(None, description="conviction, 0.8 to 3.3 V")
    lane: str | None = Field(None, description="LOW, MEDIUM or HIGH")
    pays_fees: bool | None = Field(
        None, description="whether the edge less fees and what our latency costs is positive"
    )


class Points(BaseModel):
    """Columns of the live charts: K points, V streams in the order of `streams`."""

    streams: list[str] = Field(description="`venue:symbol` each. [V]")
    reference_price: float | None = Field(
        None, description="0 bp, in quote currency; a price is reference_price * exp(bp / 1e4)"
    )
    ts_ns: list[int] = Field(description="receive time, ns. [K]")
    ghost_bp: list[float | None] = Field(description="fair log price, bp relative to the reference price. [K]")
    mid_bp: list[list[float | None]] = Field(description="log mid, bp relative to the same. [K][V]")
    deviation_bp: list[list[float | None]] = Field(description="bp; positive: the stream is cheap. [K][V]")
    drift: list[list[float | None]] = Field(description="as of a stream. [K][V]")
    voltage: list[list[float | None]] = Field(description="conviction, V. [K][V]")
    lane: list[list[float | None]] = Field(description="0 LOW, 1 MEDIUM, 2 HIGH. [K][V]")


class GhostNow(BaseModel):
    """The fair price, now and lately."""

    ts_ns: int | None = Field(None, description="receive time of the newest event, ns")
    ghost_bp: float | None = Field(None, description="fair log price, bp relative to the reference price")
    ghost_price: float | None = Field(None, description="the same in quote currency")
    entropy: float | None = Field(None, description="of the outcome at that key, nats")
    echo_bp: float | None = Field(None, description="echo memory's readout, bp")
    expected_lag_bp: float | None = Field(None, description="expected cost of acting the measured latency late, bp")
    penalty: float | None = Field(None, description="0 to 1; a large one advises against entering again")
    key: str | None = Field(None, description="state hash, hexadecimal; null in warm-up")
    points: Points = Field(description="of the live charts")


class LagPoint(BaseModel):
    """What it cost to act so much later, over the run's decisions so far."""

    stream: Stream
    latency_ms: float = Field(description="so much later, ms")
    n: int = Field(description="decisions that are counted")
    mean_bp: float | None = Field(description="mean cost, bp")
    ci_bp: float | None = Field(None, description="half a 95 % interval, bp")
    expected_bp: float | None = Field(None, description="as expected at the decision, bp")


class LanesNow(BaseModel):
    """Conviction of a stream."""

    stream: Stream
    voltage: float | None = Field(description="conviction, 0.8 to 3.3 V")
    lane: str | None = Field(description="LOW, MEDIUM or HIGH")
    bits: float | None = Field(description="of evidence, 0 to 16")
    events: dict[str, int] = Field(description="events of the stream in LOW, MEDIUM and HIGH")


class Leg(BaseModel):
    """One trade of an arbitrage."""

    stream: Stream
    side: Side


class Arbitrage(BaseModel):
    """A closed window."""

    seq: Number
    kind: Literal["locked", "basis"] = Field(
        description="locked: what is bought is what is sold; basis: a pair's edge against its usual basis"
    )
    legs: list[Leg] = Field(description="two to four trades that end in what they began with")
    start_ns: int = Field(description="first event with a net edge above the least one, ns")
    end_ns: int = Field(description="first event without, ns")
    lifetime_ms: float = Field(description="from start to end, ms")
    start_edge_bp: float | None = Field(description="net edge at the start, bp")
    edge_bp: float | None = Field(description="largest net edge in the window, bp")
    qty: float | None = Field(
        description="size that passes through all touches at that moment, in base asset of the first leg"
    )
    edge_left_bp: float | None = Field(None, description="that our latency would have left, bp; it looks ahead")


class Order(BaseModel):
    """An order or request."""

    seq: Number
    number: int = Field(description="of the request within the run, from 0")
    client_id: str = Field(description="what the venue knows it by; empty where orders are simulated")
    stream: Stream
    action: str = Field(description="take, post, cancel or replace")
    side: Side
    qty: float = Field(description="asked for, in base asset (contracts of an inverse instrument)")
    price: float = Field(description="limit, in quote currency; 0 = none")
    filled_qty: float = Field(description="of it, so far")
    state: str = Field(
        description="sent, open, filled, rest_cancelled, cancelled, outside_limit, no_book, refused, not_recorded,"
        " replaced or too_late"
    )
    ts_ns: int = Field(description="when it was decided, ns")
    end_ns: int | None = Field(description="when its end was known, ns; null while it goes on")
    reason: str = Field(description="why it was refused, in words; mostly empty")


class Fill(BaseModel):
    """A fill."""

    seq: Number
    order: int = Field(description="number of its order")
    ts_ns: int = Field(description="when it was known, ns")
    stream: Stream
    side: int = Field(description="+1 bought, -1 sold")
    qty: float = Field(description="in base asset (contracts of an inverse instrument)")
    price: float = Field(description="paid or received, in quote currency")
    fee: float = Field(description="in `currency`; rebates negative")
    currency: str = Field(description="of the fee")
    maker: bool = Field(description="whether it added liquidity")


class Position(BaseModel):
    """What is held of a stream and what it came to, in `currency`, what the stream settles in."""

    stream: Stream
    lots: int = Field(description="held, in the instrument's lots; negative = short")
    qty: float = Field(description="the same in base asset (contracts of an inverse instrument)")
    entry_price: float = Field(description="average, in quote currency; 0 = nothing is held")
    currency: str = Field(description="of the money")
    net: float | None = Field(description="profit and loss after fees, at the last bid and ask, in `currency`")
    fees: float | None = Field(description="since the run began, in `currency`")
    max_drawdown: float | None = Field(description="largest fall below its own peak since then, in `currency`")
    turnover: float | None = Field(description="value bought and sold since then, in `currency`")
    orders: int = Field(description="how many since then")
    fills: int = Field(description="how many since then")
    refused: int = Field(description="how many since then")


class Trading(BaseModel):
    """How trading stands."""

    state: str = Field(description="NORMAL, REDUCING or HALTED")
    who: str = Field(description="of its last change; empty before the first")
    why: str = Field(description="of its last change; empty before the first")
    account: str = Field(description="whose orders these are")
    sending: bool = Field(description="whether orders leave for a venue")
    positions: list[Position] = Field(description="of every traded stream")
    refused: dict[str, int] = Field(description="by the risk gate, how many for each reason")


class Alert(BaseModel):
    """What a person should hear of."""

    seq: Number
    ts_ns: When
    level: str = Field(description="INFO, WARNING or ERROR")
    kind: str = Field(description="halt, error, fallback, risk, fill, reload, daily or end")
    text: str = Field(description="for a person, one line or a few")


class LogLine(BaseModel):
    """A line of the run's log."""

    seq: Number
    ts_ns: When
    level: str = Field(description="INFO, WARNING, ERROR, …")
    text: str = Field(description="what was logged, secrets blanked")


class SettingNow(BaseModel):
    """A setting that may change while the run goes on."""

    name: str = Field(description="dotted, as on the command line")
    value: Any = Field(description="what it is now; unit and range are in docs/configuration.md")


class SettingChange(BaseModel):
    """A setting that changed."""

    name: str = Field(description="dotted, as on the command line")
    before: str = Field(description="its value before, as text")
    after: str = Field(description="its value after, as text")


class SettingsChanged(BaseModel):
    """Settings that changed together while the run went on, or were refused."""

    seq: Number
    ts_ns: When
    who: str = Field(description="whose token asked for it, or file: that of `reload`")
    changes: list[SettingChange] = Field(description="empty where they were refused")
    refused: str = Field(description="why nothing was changed; empty when it was")


class Settings(BaseModel):
    """Settings of the run; secrets are blanked."""

    hot: list[SettingNow] = Field(description="these may change while it goes on: PATCH")
    can_change: bool = Field(description="whether this run takes changes")
    config: dict[str, Any] = Field(description="all settings that the run began with")
    changed: list[SettingsChanged] = Field(description="what changed since then, the newest first, at most 100")


class Changes(BaseModel):
    """Settings to change: dotted name → value. What is not named stays as it is."""

    changes: Annotated[dict[str, Any], AfterValidator(settable)] = Field(
        min_length=1, max_length=100, description="dotted name → value, e.g. notify.burst: 6"
    )
    why: Reason = Field(min_length=1, max_length=300, description="for the log")

    model_config = {"extra": "forbid"}


class Action(BaseModel):
    """Something to do to the run."""

    do: Literal["halt", "resume", "reduce", "cancel_all"] = Field(
        description="halt: nothing leaves any more, what is open is cancelled, positions are not closed; reduce: only"
        " what makes positions smaller leaves; resume: all goes on; cancel_all: cancels what is open, then it goes on"
    )
    why: Reason = Field(min_length=1, max_length=300, description="for the journal, the log and the alerts")
    confirm: Text = Field(description="the run's account once more, so that no click meets another run")

    model_config = {"extra": "forbid"}


class Control(BaseModel):
    """What may be done to the run."""

    actions: list[str] = Field(description="what this run can be asked to do")
    account: str | None = Field(description="whose orders these are: `confirm` of an action")
    state: str | None = Field(description="NORMAL, REDUCING or HALTED; null where nobody trades")
    role: str = Field(description="yours")
    name: str = Field(description="yours")


class Done(BaseModel):
    """What came of an action."""

    ok: bool = Field(description="true: what was refused is an error instead")
    said: str = Field(description="what came of it, in words")
