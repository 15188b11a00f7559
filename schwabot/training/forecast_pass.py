"""Ticks of one asset to what a forecast is made of and compared with. Axis legend: N events, V streams, H horizons.

The first modules of the graph, run one after the other: nothing behind the forecast is needed to train or score it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from schwabot.modules.forecast import FEATURES, Forecast, ForecastHead
from schwabot.modules.ghost_bridge import Ghost, GhostBridge
from schwabot.modules.own_columns import OwnColumn
from schwabot.modules.settings import ModulesConfig
from schwabot.modules.tensor_harness import TensorHarness, Timeline
from schwabot.records.audit import Route
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int8, Int32, Int64, Kind, Ticks
from schwabot.signals.own_features import own_features
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.venue_clock import VenueClock, VenueClockConfig

MICROPRICE = FEATURES.index("microprice")
BASELINES = ("microprice", "mean", "weighted", "kalman")


@dataclass(frozen=True, slots=True)
class PassColumns:
    """What a batch gave.

    Attributes:
        ts_ns: receive time. [N]
        stream: whose event. [N]
        quote: is a quote, not a trade. bool [N]
        mid_bp: log mid as of each event. [N, V]
        route: ``Route``. [N, V]
        features: plain, before scaling. [N, V, 9 + E], E signals of the user's own
        forecasts_bp: expected moves; no horizons without a head. [N, V, H]
        ghosts: ``weighted`` and ``kalman`` → fair price. [N]
        baselines: name of ``BASELINES`` → what the online slope is fitted to, bp. [N, V]
    """

    ts_ns: Int64
    stream: Int32
    quote: npt.NDArray[np.bool_]
    mid_bp: Float64
    route: Int8
    features: Float64
    forecasts_bp: Float64
    ghosts: Mapping[str, Float64]
    baselines: Mapping[str, Float64]


class ForecastPass:
    """Runs an asset's ticks through clock, harness, both ghosts and the forecast's features.

    Args:
        instruments: V instruments of one asset, sorted by stream name.
        modules: settings.
        clock: settings of the venue clocks.
        head: a trained head, whose forecasts are given too.
        own: signals of the user's own to compute, where there is no head; else those of the head are.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=1000))
        >>> run = ForecastPass(feed.instruments)
        >>> columns = run.step(next(iter(feed.batches())))
        >>> columns.features.shape[1:], sorted(columns.baselines), columns.forecasts_bp.shape[2]
        ((4, 9), ['kalman', 'mean', 'microprice', 'weighted'], 0)
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        modules: ModulesConfig | None = None,
        clock: VenueClockConfig | None = None,
        head: ForecastHead | None = None,
        own: Sequence[OwnColumn] = (),
    ) -> None:
        modules = modules or ModulesConfig()
        trades_only = [i.stream for i in instruments if i.trades_only]
        bridge = modules.ghost_bridge
        self.instruments = tuple(instruments)
        self._clock = VenueClock(self.instruments, clock or VenueClockConfig())
        self._harness = TensorHarness(self.instruments, modules.tensor_harness, trades_only, bridge.latency_max_ms)
        self._bridges = {
            name: GhostBridge(self.instruments, replace(bridge, estimator=name), trades_only)
            for name in ("weighted", "kalman")
        }
        self._forecast = Forecast(
            self.instruments,
            head,
            trades_only,
            modules.voltage_lanes.horizon_ms,
            modules.hash_registry.horizon_ms,
            own_features(head.own if head else own, self.instruments),
        )
        self._state = self._harness.initial_state()
        self._bridge_state = {name: bridge.initial_state() for name, bridge in self._bridges.items()}
        self._forecast_state = self._forecast.initial_state()

    def step(self, ticks: Ticks) -> PassColumns:
        """Take one batch."""
        _, latency_ns = self._clock.update(ticks)
        batch = TickBatch.from_ticks(ticks, latency_ns)
        timeline, self._state = self._harness(batch, self._state)
        ghosts: dict[str, Ghost] = {}
        for name, bridge in self._bridges.items():
            ghosts[name], self._bridge_state[name] = bridge(batch, timeline, self._bridge_state[name])
        made, self._forecast_state = self._forecast(batch, timeline, self._forecast_state)
        found = made.features.numpy()
        return PassColumns(
            ts_ns=batch.ts_ns.numpy(),
            stream=batch.stream.numpy(),
            quote=batch.kind.numpy() == Kind.QUOTE,
            mid_bp=timeline.aligned.x.numpy(),
            route=timeline.route.numpy(),
            features=found,
            forecasts_bp=made.forecast_bp.numpy(),
            ghosts={name: ghost.price_bp.numpy() for name, ghost in ghosts.items()},
            baselines={
                "microprice": found[:, :, MICROPRICE],
                "mean": mean_deviation(timeline),
                **{name: ghost.deviation_bp.numpy() for name, ghost in ghosts.items()},
            },
        )


def mean_deviation(timeline: Timeline) -> Float64:
    """Deviation from the plain mean of mids, phases removed, of the streams that take part, NaN without one: [N, V]."""
    own = timeline.aligned.x.numpy() - timeline.phase.numpy()
    taking = timeline.route.numpy() == Route.OK
    count = taking.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(taking, own, 0.0).sum(axis=1) / count
    return np.asarray(mean[:, None] - own)
