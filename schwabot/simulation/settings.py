"""Settings of the simulated exchange. Every field's unit is in its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from schwabot.errors import ConfigError

LATENCIES = ("constant", "table", "data")
QUEUES = ("risk_averse", "proportional")


@dataclass
class SimulationConfig:
    """The simulated exchange: how long orders travel, what they cost, how they fill. docs/simulation.md has the rules.

    Attributes:
        entry_ms: time from a decision to the exchange, on top of what ``latency`` gives.
        response_ms: time from the exchange to the report of it, on top of what ``latency`` gives.
        latency: what is added: ``constant`` = nothing; ``table`` = a draw from the quantiles below; ``data`` = the feed
            delay of the stream's last message, both ways.
        entry_quantiles_ms, response_quantiles_ms: latencies of ``table``, at least one each, evenly spaced quantiles.
        seed: of the draws. Order number n has the same luck in every run and parameter set of one seed.
        taker_fee_bp, maker_fee_bp: instead of the instruments' own; rebates are negative.
        protection_bp: how far beyond the touch it was decided on a taking order without a price may fill.
        max_notional: largest position of a stream, in its quote currency at the stream's first price.
        queue: ``risk_averse`` = only trades move us forward, and a level shrunk below our place; ``proportional`` =
            what was cancelled was ahead of us in proportion to what is ahead.
        bucket_s: equity is sampled this often for Sharpe ratio and figures.
        funding: CSV or Parquet file of funding payments: ``time``, ``stream``, ``rate`` (of the notional, paid by long
            positions to short ones; 0.0001 is one bp).
        added_ms: added entry latencies of the sensitivity in the report.
    """

    entry_ms: float = 5.0
    response_ms: float = 5.0
    latency: str = "constant"
    entry_quantiles_ms: list[float] = field(default_factory=list)
    response_quantiles_ms: list[float] = field(default_factory=list)
    seed: int = 0
    taker_fee_bp: float | None = None
    maker_fee_bp: float | None = None
    protection_bp: float = 5.0
    max_notional: float = 1_000_000.0
    queue: str = "risk_averse"
    bucket_s: float = 1.0
    funding: str | None = None
    added_ms: list[float] = field(default_factory=lambda: [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, low, high in (
            ("entry_ms", 0.0, 1e6),
            ("response_ms", 0.0, 1e6),
            ("protection_bp", 0.0, 1e4),
            ("max_notional", 1e-9, 1e15),
            ("bucket_s", 1e-3, 1e6),
        ):
            _between(name, getattr(self, name), low, high)
        for name in ("taker_fee_bp", "maker_fee_bp"):
            if (fee := getattr(self, name)) is not None:
                _between(name, fee, -100.0, 1000.0)
        for name, choices in (("latency", LATENCIES), ("queue", QUEUES)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"simulation.{name}={getattr(self, name)} is not a choice; use {', '.join(choices)}")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"simulation.seed={self.seed} is out of range: use 0 to {2**31 - 1}")
        for name in ("entry_quantiles_ms", "response_quantiles_ms", "added_ms"):
            values = getattr(self, name)
            for value in values:
                _between(name, value, 0.0, 1e6)
            if name != "added_ms" and list(values) != sorted(values):
                raise ConfigError(f"simulation.{name}={list(values)}: quantiles grow from the smallest to the largest")
            if name != "added_ms" and bool(values) != (self.latency == "table"):
                raise ConfigError(
                    f"simulation.{name} and simulation.latency=table belong together, but latency={self.latency} and"
                    f" there are {len(values)} quantiles"
                )


def _between(name: str, value: float, low: float, high: float) -> None:
    if not (isfinite(value) and low <= value <= high):
        raise ConfigError(f"simulation.{name}={value} is out of range: use {low:g} to {high:g}")
