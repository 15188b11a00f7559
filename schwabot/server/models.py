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
        ValueError: says what is wrong, without the value.

    Example:
        >>> settable({"notify.burst": 10**30})
        Traceback (most recent call last):
        ValueError: a whole number is beyond 64 bits
    """
    waiting: list[tuple[Any, int]] = [(changes, 0)]
    seen = 0
    while waiting:
        value, deep = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or deep > MOST_DEEP:
            raise ValueError(f"more than {MOST_VALUES} values, or more than {MOST_DEEP} of them within each other")
        if isinstance(value, dict):
            waiting += [(one, deep + 1) for pair in value.items() for one in pair]
        elif isinstance(value, list):
            waiting += [(one, deep + 1) for one in value]
        elif isinstance(value, str):
            whole(value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("a whole number is beyond 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a number is not finite")
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


class Page(BaseModel, Generic[Item]):
    """A part of a list, newest first."""

    items: list[Item]
    next: str | None = Field(None, description="give it as `cursor` for the following items; null at the end")


class Status(BaseModel):
    """The run and the server in a few numbers."""

    run: Literal["none", "starting", "running", "ended"] = Field(description="none: mode=serve")
    version: str
    mode: str | None = None
    device: str | None = None
    source: str | None = None
    run_dir: str | None = None
    started_ns: int | None = None
    ts_ns: int | None = Field(None, description="receive time of the newest event")
    heard_s: float | None = Field(None, description="time since the run told something, s")
    events: int = 0
    quotes: int = 0
    trades: int = 0
    events_per_s: float = Field(0.0, description="over the last 5 s")
    expected_events: int | None = None
    trading: str | None = Field(None, description="NORMAL, REDUCING or HALTED; null where nobody trades")
    account: str | None = None
    sending: bool | None = Field(None, description="whether orders leave for a venue")
    clients: int = Field(0, description="open live streams")
    seq: int = Field(0, description="frames of the run by now")


class PartNow(BaseModel):
    """A component and the link of its chain of fallbacks that is in use."""

    component: str
    now: str
    best: bool
    health: float | None = Field(None, description="0 to 1")
    since_ns: int | None = None
    reason: str | None = None


class TimingNow(BaseModel):
    """How long something takes."""

    name: str
    n: int
    p50_ms: float | None
    p99_ms: float | None
    counts: list[int] = Field(description="bin k counts times of 10**(k / 10) us and more")


class Health(BaseModel):
    """How the parts stand."""

    ok: bool = Field(description="every part is on its first choice, and the run was heard of within 10 s")
    parts: list[PartNow]
    timings: list[TimingNow]
    queue_rows: int
    queue_most: int
    messages: int
    reconnects: int
    host: dict[str, Any] = Field(description="processor, memory, disk and GPU of the machine and of the run")


class StreamNow(BaseModel):
    """A stream and its newest values."""

    stream: str
    venue: str
    symbol: str
    base: str
    quote: str
    is_rate: bool
    events: int
    price: float | None = Field(None, description="mid, in quote currency")
    mid_bp: float | None = None
    half_spread_bp: float | None = None
    deviation_bp: float | None = Field(None, description="positive: the stream is cheap")
    phase_bp: float | None = None
    drift: float | None = None
    drift_status: str | None = None
    route: str | None = None
    forecast_bp: float | None = None
    snr: float | None = None
    bits: float | None = None
    voltage: float | None = None
    lane: str | None = None
    pays_fees: bool | None = None


class Points(BaseModel):
    """Columns of the live charts: K points, V streams in the order of `streams`."""

    streams: list[str]
    reference_price: float | None = Field(None, description="0 bp; a price is reference_price * exp(bp / 1e4)")
    ts_ns: list[int]
    ghost_bp: list[float | None]
    mid_bp: list[list[float | None]] = Field(description="[K][V]")
    deviation_bp: list[list[float | None]]
    drift: list[list[float | None]]
    voltage: list[list[float | None]]
    lane: list[list[float | None]]


class GhostNow(BaseModel):
    """The fair price, now and lately."""

    ts_ns: int | None = None
    ghost_bp: float | None = None
    ghost_price: float | None = None
    entropy: float | None = None
    echo_bp: float | None = None
    expected_lag_bp: float | None = None
    penalty: float | None = None
    key: str | None = None
    points: Points


class LagPoint(BaseModel):
    """What it cost to act so much later, over the run's decisions so far."""

    stream: str
    latency_ms: float
    n: int
    mean_bp: float | None
    ci_bp: float | None = Field(None, description="half a 95 % interval")
    expected_bp: float | None = Field(None, description="as expected at the decision")


class LanesNow(BaseModel):
    """Conviction of a stream."""

    stream: str
    voltage: float | None
    lane: str | None
    bits: float | None
    events: dict[str, int] = Field(description="events of the stream in LOW, MEDIUM and HIGH")


class Leg(BaseModel):
    """One trade of an arbitrage."""

    stream: str
    side: int


class Arbitrage(BaseModel):
    """A closed window."""

    seq: int
    kind: Literal["locked", "basis"]
    legs: list[Leg]
    start_ns: int
    end_ns: int
    lifetime_ms: float
    start_edge_bp: float | None
    edge_bp: float | None
    qty: float | None
    edge_left_bp: float | None = Field(None, description="that our latency would have left; it looks ahead")


class Order(BaseModel):
    """An order or request."""

    seq: int
    number: int
    client_id: str
    stream: str
    action: str
    side: int
    qty: float
    price: float
    filled_qty: float
    state: str
    ts_ns: int
    end_ns: int | None
    reason: str


class Fill(BaseModel):
    """A fill."""

    seq: int
    order: int
    ts_ns: int
    stream: str
    side: int
    qty: float
    price: float
    fee: float
    currency: str
    maker: bool


class Position(BaseModel):
    """What is held of a stream and what it came to, in `currency`."""

    stream: str
    lots: int
    qty: float
    entry_price: float
    currency: str
    net: float | None
    fees: float | None
    max_drawdown: float | None
    turnover: float | None
    orders: int
    fills: int
    refused: int


class Trading(BaseModel):
    """How trading stands."""

    state: str
    who: str
    why: str
    account: str
    sending: bool
    positions: list[Position]
    refused: dict[str, int] = Field(description="by the risk gate, how many for each reason")


class Alert(BaseModel):
    """What a person should hear of."""

    seq: int
    ts_ns: int
    level: str
    kind: str
    text: str


class LogLine(BaseModel):
    """A line of the run's log."""

    seq: int
    ts_ns: int
    level: str
    text: str


class SettingNow(BaseModel):
    """A setting that may change while the run goes on."""

    name: str
    value: Any


class Settings(BaseModel):
    """Settings of the run; secrets are blanked."""

    hot: list[SettingNow] = Field(description="these may change while it goes on: PATCH")
    can_change: bool
    config: dict[str, Any]


class Changes(BaseModel):
    """Settings to change: dotted name → value. What is not named stays as it is."""

    changes: Annotated[dict[str, Any], AfterValidator(settable)] = Field(min_length=1, max_length=100)
    why: Reason = Field(min_length=1, max_length=300, description="for the log")

    model_config = {"extra": "forbid"}


class Action(BaseModel):
    """Something to do to the run."""

    do: Literal["halt", "resume", "reduce", "cancel_all"]
    why: Reason = Field(min_length=1, max_length=300, description="for the journal, the log and the alerts")
    confirm: Text = Field(description="the run's account once more, so that no click meets another run")

    model_config = {"extra": "forbid"}


class Control(BaseModel):
    """What may be done to the run."""

    actions: list[str]
    account: str | None
    state: str | None
    role: str = Field(description="yours")
    name: str = Field(description="yours")


class Done(BaseModel):
    """What came of an action."""

    ok: bool
    said: str
