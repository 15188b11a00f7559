"""A synthetic market of several venues whose true price, bases, delays and clocks are known.

Axis legend: N events, V streams.

Every venue follows one efficient price late and noisily, as in Hasbrouck's (1995) one security, many
markets: mid = efficient(t - delay) + basis(t) + noise, rounded to the tick. It is made in blocks of
fixed time, each with its own random numbers, so that a run of any length needs the same memory, a
short run is the beginning of a long one, and how it is cut in batches changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TypeVar

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int8, Int32, Int64, Kind, Ticks
from schwabot.ticks.base import ReadOnce
from schwabot.ticks.efficient_price import EfficientPrice
from schwabot.ticks.synthetic_venue import (
    ASK,
    ASK_LOTS,
    BID,
    BID_LOTS,
    EMIT,
    EVENT,
    KIND,
    PRICE,
    QTY,
    RECV,
    SIDE,
    Venue,
    VenueRows,
)

Value = TypeVar("Value")

MOST_STREAMS = 256
FARTHEST_MS = 1e11
"""Times beyond this do not fit into ns beside the start of the market."""
CONTRACTS = {
    # symbol, lot size, contract value, inverse, maker fee bp, taker fee bp
    "spot": ("BTC/USDT", 1e-5, 1.0, False, 2.0, 10.0),
    "linear": ("BTC/USDT:USDT", 1e-3, 1.0, False, 2.0, 5.0),
    "inverse": ("BTC/USD:BTC", 1.0, 100.0, True, 2.0, 5.0),
    "spot_usd": ("BTC/USD", 1e-5, 1.0, False, 2.0, 10.0),
    "rate": ("USDT/USD", 1.0, 1.0, False, 0.0, 1.0),
}


@dataclass
class SyntheticConfig:
    """Settings of the synthetic market. Lists go by stream and repeat when they are shorter.

    Args:
        events: quotes and trades to make; depth rows come on top.
        streams: number of venues, one instrument each.
        seed: of all random numbers.
        start_ns: first moment, ns since 1970 UTC.
        price: reference price that 0 bp stands for.
        rate_per_s: quotes and trades per second.
        volatility_bp: root mean square move of the efficient price in one second, bp.
        volatility_log_sd: standard deviation of the log of volatility.
        volatility_tau_s: how long volatility remembers.
        jumps_per_hour: mean number of jumps of the efficient price.
        jump_bp: standard deviation of a jump.
        contract: ``spot``, ``linear`` (perpetual), ``inverse`` (perpetual, 100 USD a contract), ``spot_usd`` (the asset
            against USD) or ``rate`` (USDT/USD, at 1 and its basis, whatever the asset does).
        tick_size: price step.
        spread_bp: mean spread, at least one tick.
        size: typical quantity at the touch, in base asset.
        basis_bp: constant offset of the venue's price.
        basis_swing_bp: amplitude of a slow swing of the basis.
        basis_period_s: period of that swing.
        delay_ms: how late the venue follows the efficient price.
        noise_bp: standard deviation of the quotes' error, renewed over about ten price changes.
        reprice_share: share of quotes that move a price; the others repeat both and change a quantity.
        trade_share: share of events that are trades.
        clustered_share: share of events that follow the one before within a fraction of a millisecond.
        latency_min_ms: least transport time from the venue to us.
        latency_jitter_ms: mean of the exponential part of transport.
        clock_offset_ms: our clock minus the venue's at the start.
        clock_drift_ppm: how fast that offset grows.
        clock_wander_ms: how far that offset swings besides, from one end to the other.
        clock_wander_period_s: period of that swing.
        stamped_quotes: False = the venue's quotes carry no time at all, as on Binance spot.
        stamp_ms: resolution of the venues' stamps.
        outages_per_hour: mean number of times the venue goes silent.
        outage_s: mean length of a silence.
        depth_interval_ms: a depth row with the touch per venue this often; 0 = none.
    """

    events: int = 1_000_000
    streams: int = 4
    seed: int = 0
    start_ns: int = 1_700_000_000_000_000_000
    price: float = 60_000.0
    rate_per_s: list[float] = field(default_factory=lambda: [140.0, 220.0, 110.0, 130.0])
    volatility_bp: float = 1.0
    volatility_log_sd: float = 0.5
    volatility_tau_s: float = 60.0
    jumps_per_hour: float = 30.0
    jump_bp: float = 4.0
    contract: list[str] = field(default_factory=lambda: ["spot", "linear", "spot", "inverse"])
    tick_size: list[float] = field(default_factory=lambda: [0.01, 0.1, 0.01, 0.1])
    spread_bp: list[float] = field(default_factory=lambda: [0.2, 0.1, 0.4, 0.3])
    size: list[float] = field(default_factory=lambda: [1.0, 4.0, 0.5, 2.0])
    basis_bp: list[float] = field(default_factory=lambda: [0.0, -3.7, 1.0, -2.7])
    basis_swing_bp: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.5])
    basis_period_s: float = 1800.0
    delay_ms: list[float] = field(default_factory=lambda: [15.0, 5.0, 40.0, 25.0])
    noise_bp: list[float] = field(default_factory=lambda: [0.45, 0.3, 0.7, 0.4])
    reprice_share: float = 0.1
    trade_share: float = 0.22
    clustered_share: float = 0.5
    latency_min_ms: list[float] = field(default_factory=lambda: [2.0, 4.0, 8.0, 5.0])
    latency_jitter_ms: list[float] = field(default_factory=lambda: [1.5, 2.0, 3.0, 2.5])
    clock_offset_ms: list[float] = field(default_factory=lambda: [-1270.0, -1266.0, 35.0, -1268.0])
    clock_drift_ppm: list[float] = field(default_factory=lambda: [-4.9, -4.9, 3.0, -4.9])
    clock_wander_ms: list[float] = field(default_factory=lambda: [0.0])
    clock_wander_period_s: float = 120.0
    stamped_quotes: list[bool] = field(default_factory=lambda: [False, True, True, True])
    stamp_ms: float = 1.0
    outages_per_hour: list[float] = field(default_factory=lambda: [0.0, 0.0, 6.0, 0.0])
    outage_s: float = 5.0
    depth_interval_ms: float = 100.0


@dataclass(frozen=True, slots=True)
class SyntheticTruth:
    """What was true when each row was received.

    Attributes:
        reference_price: price that 0 bp stands for.
        efficient_bp: efficient log price, bp relative to it; a venue without basis, delay and noise quotes it. [N]
        basis_bp: offset of each venue's price from the efficient price. [N, V]
        clock_offset_ms: our clock minus the venue's. [N, V]
    """

    reference_price: float
    efficient_bp: Float64
    basis_bp: Float64
    clock_offset_ms: Float64


class SyntheticFeed:
    """Yields the synthetic market, and tells the truth about it.

    Args:
        config: see ``SyntheticConfig``.

    Raises:
        ConfigError: a setting out of range; the message names it.

    Example:
        >>> feed = SyntheticFeed(SyntheticConfig(events=1_000))
        >>> [i.stream for i in feed.instruments][:2]
        ['synthetic_a:BTC/USDT', 'synthetic_b:BTC/USDT:USDT']
        >>> ticks = next(feed.batches())
        >>> int((ticks.kind != Kind.DEPTH).sum()), feed.truth(ticks).basis_bp.shape == (len(ticks), 4)
        (1000, True)
    """

    def __init__(self, config: SyntheticConfig) -> None:
        _check(config)
        self.config = config
        self.venues = _venues(config)
        # About two steps of the path per event, so that a block has about half as many events as steps.
        step_ns = max(1, round(0.5e9 / sum(v.rate_per_s for v in self.venues)))
        self.path = EfficientPrice(
            seed=config.seed,
            start_ns=config.start_ns,
            step_ns=step_ns,
            volatility_bp=config.volatility_bp,
            volatility_log_sd=config.volatility_log_sd,
            volatility_tau_s=config.volatility_tau_s,
            jumps_per_hour=config.jumps_per_hour,
            jump_bp=config.jump_bp,
        )
        self._done = 0
        self._once = ReadOnce()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        return tuple(venue.instrument for venue in self.venues)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Nothing is ever dropped."""
        return {}

    @property
    def expected_events(self) -> int | None:
        """Rows to come, known only without depth rows."""
        return None if self.config.depth_interval_ms > 0 else self.config.events

    def progress(self) -> float:
        """Share of the quotes and trades made so far."""
        return self._done / self.config.events

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield batches of 1 to ``max_events`` rows, until the last quote or trade that was asked for; once.

        Raises:
            ConfigError: the feed was already read, or ``max_events`` is out of range.
        """
        if max_events < 1:
            raise ConfigError(f"max_events={max_events}: at least 1")
        self._once.begin()
        return self._batches(max_events)

    def _batches(self, max_events: int) -> Iterator[Ticks]:
        instruments = self.instruments
        makers = [VenueRows(venue, self.path, self.config.seed) for venue in self.venues]
        k = 0
        while self._done < self.config.events:
            longs, bytes_, stream = self._block(makers, k)
            counted = np.cumsum(bytes_[KIND] != Kind.DEPTH)
            left = self.config.events - self._done
            rows = int(np.searchsorted(counted, left)) + 1 if len(counted) and counted[-1] >= left else len(counted)
            before = self._done
            for start in range(0, rows, max_events):
                cut = slice(start, min(start + max_events, rows))
                self._done = before + int(counted[cut.stop - 1])
                yield Ticks(
                    instruments=instruments,
                    ts_recv_ns=longs[RECV, cut],
                    ts_event_ns=longs[EVENT, cut],
                    ts_emit_ns=longs[EMIT, cut],
                    stream=stream[cut],
                    kind=bytes_[KIND, cut],
                    bid_ticks=longs[BID, cut],
                    ask_ticks=longs[ASK, cut],
                    bid_lots=longs[BID_LOTS, cut],
                    ask_lots=longs[ASK_LOTS, cut],
                    price_ticks=longs[PRICE, cut],
                    qty_lots=longs[QTY, cut],
                    side=bytes_[SIDE, cut],
                )
            k += 1

    def truth(self, ticks: Ticks) -> SyntheticTruth:
        """What was true at the receive time of every row of any ticks of this market."""
        return self.truth_at(ticks.ts_recv_ns)

    def truth_at(self, ts_ns: Int64) -> SyntheticTruth:
        """What was true at N times on our clock, in any order."""
        since_s = (ts_ns - self.config.start_ns) / 1e9
        return SyntheticTruth(
            reference_price=self.config.price,
            efficient_bp=self.path.at(ts_ns),
            basis_bp=np.stack([venue.basis_at(since_s) for venue in self.venues], axis=1),
            clock_offset_ms=np.stack([venue.clock_offset_at(since_s) for venue in self.venues], axis=1),
        )

    def truth_summary(self) -> tuple[Venue, ...]:
        """The constants of every venue."""
        return self.venues

    def _block(self, makers: list[VenueRows], k: int) -> tuple[Int64, Int8, Int32]:
        """Join what all venues send us in block ``k``, in order."""
        parts = [maker.received(k) for maker in makers]
        longs = np.concatenate([part[0] for part in parts], axis=1)
        bytes_ = np.concatenate([part[1] for part in parts], axis=1)
        stream = np.repeat(np.arange(len(parts), dtype=np.int32), [part[0].shape[1] for part in parts])
        order = np.argsort(longs[RECV], kind="stable")
        return np.take(longs, order, axis=1), np.take(bytes_, order, axis=1), stream[order]


def _venues(config: SyntheticConfig) -> tuple[Venue, ...]:
    venues = []
    for v in range(config.streams):
        letters = chr(97 + v) if config.streams <= 26 else chr(97 + v // 26) + chr(97 + v % 26)
        symbol, lot_size, contract_value, inverse, maker_bp, taker_bp = CONTRACTS[_of(config.contract, v)]
        is_rate = _of(config.contract, v) == "rate"
        price = 1.0 if is_rate else config.price
        units = _of(config.size, v) * (price / contract_value if inverse else 1.0)
        instrument = Instrument(
            stream=f"synthetic_{letters}:{symbol}",
            tick_size=_of(config.tick_size, v),
            lot_size=lot_size,
            contract_value=contract_value,
            inverse=inverse,
            maker_fee_bp=maker_bp,
            taker_fee_bp=taker_bp,
        )
        # Settings and attributes of a venue go by the same names; a list has one entry per stream.
        same = {f.name: getattr(config, f.name) for f in fields(config) if f.name in Venue.__dataclass_fields__}
        per_stream = {name: _of(value, v) if isinstance(value, list) else value for name, value in same.items()}
        venues.append(
            Venue(
                index=v,
                instrument=instrument,
                size_lots=units / lot_size,
                depth_phase=v / config.streams,
                follows=0.0 if is_rate else 1.0,
                **per_stream | {"price": price},
            )
        )
    return tuple(venues)


def _of(values: list[Value], v: int) -> Value:
    return values[v % len(values)]


def _check(config: SyntheticConfig) -> None:
    """Refuse settings out of range."""
    above_zero = (
        "price", "volatility_tau_s", "basis_period_s", "clock_wander_period_s", "stamp_ms", "rate_per_s", "tick_size",
        "size",
    )  # fmt: skip
    not_negative = (
        "volatility_bp", "volatility_log_sd", "jumps_per_hour", "jump_bp", "spread_bp", "delay_ms", "noise_bp",
        "latency_min_ms", "latency_jitter_ms", "clock_wander_ms", "outages_per_hour", "outage_s", "depth_interval_ms",
    )  # fmt: skip
    shares = ("reprice_share", "trade_share", "clustered_share")
    for setting in fields(config):
        name, value = setting.name, getattr(config, setting.name)
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ConfigError(f"source.{name} is empty: give one value, or one per stream")
        for one in values:
            if isinstance(one, str):
                if one not in CONTRACTS:
                    raise ConfigError(f"source.{name}={one!r}: choose from {', '.join(CONTRACTS)}")
            elif not isfinite(one):
                raise ConfigError(f"source.{name}={one}: a finite number")
            elif name in above_zero and one <= 0:
                raise ConfigError(f"source.{name}={one}: above 0")
            elif name in not_negative and one < 0:
                raise ConfigError(f"source.{name}={one}: 0 or more")
            elif name.endswith("_ms") and abs(one) > FARTHEST_MS:
                raise ConfigError(f"source.{name}={one}: at most {FARTHEST_MS:g}, which is three years")
            elif name == "clock_drift_ppm" and abs(one) > 1e6:
                raise ConfigError(f"source.{name}={one}: at most 1e6 either way")
            elif name in shares and not 0 <= one < 1:
                raise ConfigError(f"source.{name}={one}: at least 0 and below 1")
    if config.streams > MOST_STREAMS:
        raise ConfigError(
            f"source.streams={config.streams}: at most {MOST_STREAMS}, because time per event grows with its square and"
            " memory with streams x batch_events"
        )
    for name, least, most in (
        ("events", 1, 10**12),
        ("streams", 1, MOST_STREAMS),
        ("seed", 0, 2**63),
        ("start_ns", 0, 2**62),
    ):
        if not least <= getattr(config, name) <= most:
            raise ConfigError(f"source.{name}={getattr(config, name)}: between {least} and {most}")
    for v in range(config.streams):
        tick = _of(config.tick_size, v)
        if _of(config.contract, v) == "rate" and tick > 0.001:
            raise ConfigError(
                f"source.tick_size={tick} of stream {v + 1}, which source.contract makes a rate: a rate is quoted near"
                " 1 and needs at least 1000 ticks to it; lists go by stream, so give source.tick_size one entry per"
                " stream, this one 0.001 or less, e.g. 0.0001"
            )
        if config.price / tick < 1_000 and _of(config.contract, v) != "rate":
            raise ConfigError(f"source.price={config.price}: at least 1000 ticks of {tick}")
    if sum(_of(config.rate_per_s, v) for v in range(config.streams)) < 1:
        raise ConfigError("source.rate_per_s: at least one event a second over all streams")
