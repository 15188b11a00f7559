"""Who answers for the ghost while a run is live: forecast ▸ kalman ▸ weighted ▸ best venue.

Every row's answer is looked at before anybody hears of it. Where it can't be used nothing is said, as where every
stream is routed out, and it counts against the link that gave it; a link that is left gives way before the next row.
Links are settings of one compiled step, so that a switch builds and compiles nothing. Axis legend: N rows, V streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from schwabot.fallback import GHOST, Fallback, FallbackConfig
from schwabot.modules.live import LiveSignal, LiveStep
from schwabot.records.audit import FallbackEvent, SignalColumns
from schwabot.records.market import Int32
from schwabot_kernels.graph.cpu import KALMAN, WEIGHTED, GraphParams
from schwabot_kernels.graph.step import SMALL, WIDE

FORECAST, FILTER, MEAN, VENUE = GHOST
WELL = 0.99
"""Health from which a link's successes are not counted any more: they change nothing."""
SURE_BP2, UNSURE_BP2 = 1e-30, 1e30
"""Noise of the stream that answers alone, and of the others, whatever moves they make."""
_DEVIATION, _MID, _PHASE, _FORECAST, _SNR, _BITS, _VOLTAGE = (
    WIDE.index(name) for name in ("deviation", "mid", "phase", "forecast", "snr", "bits", "voltage")
)
_ROUTE, _LANE, _PAYS = (SMALL.index(name) for name in ("route", "lane", "pays_fees"))


class GhostChain:
    """Looks at every answer of a live step, and exchanges what serves when it can't be used.

    The chain is what there is: the head where one was trained, then the estimator that was asked for, ``weighted``
    after ``kalman``, at last the mid of one stream, its phase removed. That one is, of those within ``off_bp`` of the
    median of all that take part, the one whose prices stood the test of time best (see ``GhostBridge``). It answers
    until it is routed out, or off the median of more than two; then one near its last price takes over. It is the
    Kalman filter again, told that this stream is exact and no other is.

    What takes over begins at the median price of the streams that take part; what it remembers of earlier stays.

    Args:
        live: the step that is to be looked at.
        config: when a link is left, and taken back.
        before: goes on where another chain was, whose step was replaced.

    Example:
        >>> from schwabot.modules.graph import Graph
        >>> from schwabot.records.instrument import Instrument
        >>> graph = Graph([Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)])
        >>> live = LiveStep(graph, graph.initial_state())
        >>> chain = GhostChain(live)
        >>> said = live.step(1_000, stream=0, kind=0, bid_ticks=99, ask_ticks=101, bid_lots=5, ask_lots=5)
        >>> chain.links, chain.fine(stream=0), chain.busy
        (('weighted', 'best_venue'), True, False)
    """

    def __init__(self, live: LiveStep, config: FallbackConfig | None = None, before: GhostChain | None = None) -> None:
        graph, answer = live.graph, live.answer
        own = graph.params
        self._live = live
        self._streams = [one.stream for one in graph.instruments]
        self._estimator = FILTER if own.estimator == KALMAN else MEAN
        head = (FORECAST,) if graph.horizons_ms else ()
        self.links: Sequence[str] = tuple(dict.fromkeys((*head, self._estimator, MEAN, VENUE)))
        self._part: Fallback = (
            Fallback("ghost", self.links, config or FallbackConfig()) if before is None else before._part
        )
        bridge = graph.config.ghost_bridge
        self._off_bp, self._far_bp = float(bridge.off_bp), float(bridge.forecast_max_bp)
        self._v0 = float(graph.config.voltage_lanes.v0_v)
        self._mute = own.head._replace(target=np.zeros_like(own.head.target))
        self._answers = [bool(head) and target == 1 for target in own.head.target[: len(self._streams)].tolist()]
        # A number of a memoryview takes a third of the time of one of an array.
        self._mid, self._phase, self._deviation = (memoryview(answer.wide[i]) for i in (_MID, _PHASE, _DEVIATION))
        self._route = memoryview(answer.small[_ROUTE])
        self._horizon = own.head.lanes_horizon
        self._forecast = memoryview(answer.forecasts[self._horizon]) if head else self._mid
        self._best: int = 0 if before is None else before._best
        self._events: list[FallbackEvent] = [] if before is None else before._events
        self.busy: bool = before is not None and before.busy
        """Every row must be told to ``settle``: a link was left, or failed lately."""
        self._serve(self._part.now)

    @property
    def now(self) -> str:
        """The link that answers."""
        return self._part.now

    def take(self) -> tuple[FallbackEvent, ...]:
        """Switches since the last call."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def fine(self, stream: int) -> bool:
        """Whether the step's last answer can be used, as far as that is seen at once: if not, ``settle`` says.

        Args:
            stream: of the event.
        """
        if self._route[stream] != 0:  # a rate, say: the others tell
            return any(
                route == 0 and abs(d) <= self._off_bp for route, d in zip(self._route, self._deviation, strict=True)
            )
        return abs(self._deviation[stream]) <= self._off_bp and (  # a NaN is not
            not self._asked[stream] or abs(self._forecast[stream]) <= self._far_bp
        )

    def fine_throughout(self, stream: Int32, said: SignalColumns) -> bool:
        """Whether ``settle`` would have found nothing to do in any row of a batch, where the chain was not busy before.

        That is where ``fine`` holds, or no stream takes part.

        Args:
            stream: of each event. Shape: [N].
            said: the graph's answers. Shape: [N, V].
        """
        rows, taking = np.arange(len(stream)), said.route == 0
        near = taking & (np.abs(said.deviation_bp) <= self._off_bp)  # a NaN is not
        here = taking[rows, stream]
        fine = np.where(here, near[rows, stream], near.any(axis=1) | ~taking.any(axis=1))
        asked = here & np.array(self._asked)[stream]
        if asked.any():
            fine &= ~asked | (np.abs(said.forecasts_bp[rows, stream, self._horizon]) <= self._far_bp)
        return bool(fine.all())

    def settle(self, ts_ns: int, stream: int, said: LiveSignal) -> LiveSignal:
        """Look at an answer closely, count it, and let another link serve from the next row on where that is due.

        Args:
            ts_ns: time of the event.
            stream: of the event.
            said: the step's answer.

        Returns:
            The same, or with nothing in it where it can't be used.
        """
        part = self._part
        off, wild = self._off(said.ghost_bp), self._wild(stream)
        if off and part.now != VENUE:
            for link in self.links:
                if self._price_of(link) == self._price_of(part.now):
                    part.failed(link, ts_ns, off)
        elif wild:
            part.failed(FORECAST, ts_ns, wild)
        elif off is not None:
            part.worked(part.now, ts_ns)
        event = part.choose(ts_ns)
        moved = self._moved(ts_ns) if event is None and part.now == VENUE else ""
        if event is not None:
            self._enter(event.before, event.after)
            self._events.append(event)
            self._serve(event.after)
        self.busy = part.now != self.links[0] or part.health(part.now, ts_ns) < WELL
        return self._blank(said) if off or wild or moved else said

    def _price_of(self, link: str) -> str:
        """The link whose ghost it is: a forecast stands on the estimator that was asked for."""
        return self._estimator if link == FORECAST else link

    def _taking_part(self) -> list[int]:
        return [v for v, route in enumerate(self._route) if route == 0]

    def _off(self, ghost_bp: float) -> str | None:
        """Why the ghost can't be used; empty where it can, None where no stream takes part, so that nobody can tell."""
        taking = self._taking_part()
        if not taking:
            return None
        if ghost_bp != ghost_bp:
            return "no ghost, though streams take part: none of them has any weight"
        nearest = min(abs(self._deviation[v]) for v in taking)
        return "" if nearest <= self._off_bp else f"the ghost is {nearest:,.0f} bp and more off every stream"

    def _wild(self, stream: int) -> str:
        """Why the forecast of an event's stream can't be used; empty where it can, or where there need be none."""
        if not self._asked[stream] or self._route[stream] != 0 or abs(self._forecast[stream]) <= self._far_bp:
            return ""
        return f"a forecast of {self._forecast[stream]:,.4g} bp for {self._streams[stream]}"

    def _enter(self, before: str, after: str) -> None:
        """Let what takes over begin where the streams are."""
        price, state, fair = self._price_of(after), self._live.state, self._fair()
        if price == self._price_of(before):
            return
        if price == VENUE:
            self._best = self._choose(fair, median(fair.values()))
            self._begin(fair[self._best], SURE_BP2)
        elif price == FILTER:
            self._begin(median(fair.values()) if fair else np.nan, float(self._live.graph.params.r_bp2.max()))
        else:
            # Prices that wait for a ghost 100 ms later would be judged by the one that there was when it was left.
            state["consensus.head"][0] = state["consensus.head"][1]

    def _begin(self, mean_bp: float, variance_bp2: float) -> None:
        """Set the Kalman filter on a price."""
        moments = self._live.state["kalman.moments"]
        moments[0], moments[1] = mean_bp, variance_bp2

    def _serve(self, link: str) -> None:
        """Let a link answer from the next event on."""
        own = self._live.graph.params
        params: GraphParams = own if link == FORECAST else own._replace(head=self._mute)
        if link == MEAN:
            params = params._replace(estimator=WEIGHTED)
        elif link == VENUE:
            noise = np.full(len(self._streams), UNSURE_BP2)
            noise[self._best] = SURE_BP2
            params = params._replace(estimator=KALMAN, q_bp2_per_s=1.0, r_bp2=noise)
        self._live.use(params)
        self._asked = self._answers if link == FORECAST else [False] * len(self._streams)

    def _fair(self) -> dict[int, float]:
        """Stream → its mid, phase removed, of those that take part."""
        return {v: self._mid[v] - self._phase[v] for v in self._taking_part()}

    def _choose(self, fair: dict[int, float], centre_bp: float) -> int:
        """The stream that answers best by itself: of those near a price, if any, the one that was right most."""
        near = [v for v, price in fair.items() if abs(price - centre_bp) <= self._off_bp]
        state, prior = self._live.state, self._live.graph.params.consensus
        errors, counts = state["consensus.error_sum"].tolist(), state["consensus.error_count"].tolist()
        added = prior.prior_count * prior.prior_variance_bp2
        return min(near or fair, key=lambda v: (errors[v] + added) / (counts[v] + prior.prior_count))

    def _moved(self, ts_ns: int) -> str:
        """Let another stream answer where the one that did is no more of use; gives why."""
        fair, best = self._fair(), self._best
        if not fair:
            return ""
        middle = median(fair.values())
        if best not in fair:
            why, centre_bp = "it is routed out", float(self._live.state["kalman.moments"][0])
        elif len(fair) > 2 and abs(fair[best] - middle) > self._off_bp:  # of two, nobody can tell which is wrong
            why, centre_bp = f"it is {abs(fair[best] - middle):,.0f} bp off the median", middle
        else:
            return ""
        self._best = self._choose(fair, centre_bp)
        self._begin(fair[self._best], SURE_BP2)
        self._serve(VENUE)
        if self._best != best:  # none is near the median, and it is still the best of them
            names = self._streams[best], self._streams[self._best]
            self._events.append(FallbackEvent(ts_ns, "ghost.best_venue", *names, why))
        return why

    def _blank(self, said: LiveSignal) -> LiveSignal:
        """The answer as it is where no stream takes part."""
        wide, small = self._live.answer.wide, self._live.answer.small
        wide[_DEVIATION] = np.nan
        wide[_FORECAST] = wide[_SNR] = wide[_BITS] = 0.0
        wide[_VOLTAGE] = self._v0
        small[_LANE] = small[_PAYS] = 0
        self._live.answer.forecasts[:] = np.nan
        return said._replace(ghost_bp=float("nan"))
