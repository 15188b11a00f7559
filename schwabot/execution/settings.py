"""Settings of risk limits and of how orders travel. Every field's unit is in its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from schwabot.errors import ConfigError
from schwabot.records.audit import Lane

LANES = {"low": Lane.LOW, "medium": Lane.MEDIUM, "high": Lane.HIGH}


@dataclass
class RiskConfig:
    """Limits; amounts of money are in one currency, which that of every stream is converted into or counts 1:1 as.

    Attributes:
        max_lots: largest position by stream, in lots; a stream that is not named has only the limits below.
        short_spot: sell more on spot than our own fills have bought: what the account held before, or what is borrowed.
        max_order_notional: of one order.
        max_notional: largest position of a stream.
        max_total_notional: largest sum of all positions, long and short ones alike.
        max_orders_per_s: new orders and replaces, on average; cancels always pass.
        order_burst: how many may leave at once.
        max_open_orders: of a stream, at most; a venue's own limit counts where it is smaller.
        collar_bp: how far on its bad side an order's price may be from the ghost. A buy above, a sell below.
        quote_age_s: an order needs a quote of its stream that is no older than this.
        feed_age_s: and a row of any stream no older than this.
        min_lane: ``low``, ``medium`` or ``high``: lane of its stream that an order needs, unless it makes a position
            smaller.
        max_daily_loss: since midnight UTC; beyond it only orders that make a position smaller pass.
        max_drawdown: from the highest equity of the run; beyond it the same.
    """

    max_lots: dict[str, int] = field(default_factory=dict)
    short_spot: bool = False
    max_order_notional: float = 1_000.0
    max_notional: float = 5_000.0
    max_total_notional: float = 10_000.0
    max_orders_per_s: float = 5.0
    order_burst: int = 10
    max_open_orders: int = 8
    collar_bp: float = 50.0
    quote_age_s: float = 2.0
    feed_age_s: float = 1.0
    min_lane: str = "low"
    max_daily_loss: float = 200.0
    max_drawdown: float = 300.0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name in (
            "max_order_notional", "max_notional", "max_total_notional", "max_orders_per_s", "collar_bp", "quote_age_s",
            "feed_age_s", "max_daily_loss", "max_drawdown",
        ):  # fmt: skip
            value = getattr(self, name)
            if not (isfinite(value) and 0.0 < value <= 1e15):
                raise ConfigError(f"execution.risk.{name}={value}: use more than 0, and 1e15 at most")
        for name in ("order_burst", "max_open_orders"):
            if getattr(self, name) < 1:
                raise ConfigError(f"execution.risk.{name}={getattr(self, name)}: use 1 or more")
        if self.min_lane not in LANES:
            raise ConfigError(f"execution.risk.min_lane={self.min_lane} is not a choice; use {', '.join(LANES)}")
        for stream, lots in self.max_lots.items():
            if lots < 0:
                raise ConfigError(f"execution.risk.max_lots of {stream} is {lots}: use 0 or more")


@dataclass
class GatewayConfig:
    """How orders travel.

    Attributes:
        recv_window_ms: a request that reaches the venue later than this is void there; a lost order is given up after
            it. Some venues have a window of their own, see docs/execution.md.
        listed_s: at venues that find an order only in lists (Kraken, Coinbase), it may be missing there this long.
        timeout_s: of one request.
        order_ttl_s: an order that did not leave this long after it was decided is not sent.
        poll_s: an open order the venue has not spoken of for this long is asked after, while its stream is down.
        quiet_s: the same while its stream is up.
        reconcile_s: orders, fills and holdings are compared with the venue's this often.
        kill_file: trading is halted and everything cancelled when this file appears.
        cancel_after_s: open orders are cancelled when no stream has moved for this long.
        prefix: our client ids begin with it; three characters at most.
        start_s: longest time that connecting and recovering may take, beside the window of a lost order.
    """

    recv_window_ms: int = 3_000
    listed_s: float = 10.0
    timeout_s: float = 5.0
    order_ttl_s: float = 2.0
    poll_s: float = 1.0
    quiet_s: float = 10.0
    reconcile_s: float = 60.0
    kill_file: str | None = None
    cancel_after_s: float = 5.0
    prefix: str = "sb"
    start_s: float = 60.0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, low in (
            ("recv_window_ms", 100), ("listed_s", 0.0), ("timeout_s", 0.1), ("order_ttl_s", 0.01), ("poll_s", 0.1),
            ("quiet_s", 0.1), ("reconcile_s", 0.1), ("cancel_after_s", 0.5), ("start_s", 1.0),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= 86_400_000:
                raise ConfigError(f"execution.gateway.{name}={getattr(self, name)}: use {low} or more")
        if not (self.prefix.isalnum() and self.prefix.isascii() and len(self.prefix) <= 3):
            raise ConfigError(f"execution.gateway.prefix={self.prefix!r}: use up to three letters and digits")


@dataclass
class ExecutionConfig:
    """Orders to real venues; docs/execution.md says what is done with them.

    Attributes:
        risk: what may leave.
        gateway: how it travels.
        journal: SQLite file of all orders, made where it is missing, one process at a time; absent =
            ``orders/<account>.db``.
    """

    risk: RiskConfig = field(default_factory=RiskConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    journal: str | None = None

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        self.risk.check()
        self.gateway.check()
