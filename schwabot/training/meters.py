"""What a run measures beside its signals: skill, lag curve and, on a synthetic market, distance from the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import PhantomLagConfig
from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Ticks
from schwabot.ticks.base import Feed
from schwabot.ticks.synthetic import SyntheticFeed
from schwabot.training.heads import fitted_spans, missing_note, spans_note
from schwabot.training.lag_curve import LagCurve
from schwabot.training.latency_meter import LatencyCostMeter
from schwabot.training.skill import Predictor, SkillMeter, ghost_deviation
from schwabot.training.skill_settings import SkillConfig
from schwabot.training.truth import TruthMeter, clock_errors

GHOST, FORECAST = "ghost", "forecast"
Clocks = Callable[[], Mapping[str, Mapping[str, Any]]]


class SkillEntry:
    """The skill meter's part of the summary.

    Args:
        meter: made by ``skill_meter``.
        head: the trained forecast that is served, if any.
    """

    def __init__(self, meter: SkillMeter, head: ForecastHead | None = None) -> None:
        self._meter = meter
        self._head = head
        self._span: tuple[int, int] | None = None
        self._instruments: tuple[Instrument, ...] = ()

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch."""
        self._meter.update(record)
        if len(record.ts_recv_ns):
            first = int(record.ts_recv_ns[0]) if self._span is None else self._span[0]
            self._span = (first, int(record.ts_recv_ns[-1]))
            self._instruments = record.instruments

    def summary(self) -> Mapping[str, Any]:
        """``skill``, and ``skill_note`` where it does not cover the whole run.

        With a trained forecast ``skill`` is the forecast's, empty where nothing is left to score it, and
        ``skill_ghost`` the deviation's.
        """
        notes = [self._meter.note]
        skill: dict[str, Any] = {"skill": self._meter.summary()}
        if self._head is not None:
            scored = any(cell["n"] for cells in skill["skill"].values() for cell in cells.values())
            skill = {"skill": skill["skill"] if scored else {}, "skill_ghost": self._meter.summary(GHOST)}
            notes.append("skill is that of the checkpoint's forecast, skill_ghost that of the deviation")
            if self._span is not None:
                notes.append(spans_note(self._head, self._instruments, *self._span))
                notes.append(missing_note(self._head, self._instruments))
        note = "; ".join(one for one in notes if one)
        return skill | ({"skill_note": note} if note else {})


def skill_meter(
    instruments: tuple[Instrument, ...],
    config: SkillConfig,
    head: ForecastHead | None = None,
    predictors: Mapping[str, Predictor] | None = None,
    rates: Sequence[str] = (),
) -> SkillMeter:
    """The skill meter of a run: the ghost's deviation, before it a trained forecast, behind it predictors of one's own.

    Time in which the forecast was fitted on streams of the run does not score it, embargo included.

    Args:
        instruments: V instruments of the run.
        config: see ``SkillConfig``.
        head: the trained forecast that is served, if any.
        predictors: more predictors to score.
        rates: streams that price something else, as ``Pipeline.rates``.
    """
    known: dict[str, Predictor] = {GHOST: ghost_deviation, **(predictors or {})}
    if head is None:
        return SkillMeter(instruments, config, predictors=known, rates=rates)
    place = [head.horizons_ms.index(h) if h in head.horizons_ms else None for h in config.horizons_ms]

    def forecast(record: StepRecord) -> Float64:
        given = record.signals.forecasts_bp
        missing = np.full(given.shape[:2], np.nan)
        return np.stack([missing if k is None else given[..., k] for k in place], axis=-1)

    return SkillMeter(
        instruments,
        config,
        predictors={FORECAST: forecast, **known},
        moves=(FORECAST,),
        left_out={FORECAST: fitted_spans(head, instruments)},
        rates=rates,
    )


class LagEntry:
    """The lag curve's part of the summary."""

    def __init__(self, curve: LagCurve) -> None:
        self._curve = curve

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch."""
        self._curve.update(record)

    def summary(self) -> Mapping[str, Any]:
        """Means as ``lag_curve_bp``, ``expected_lag_curve_bp`` and in money; ``lag_curve`` with intervals; the size."""
        curve = self._curve.summary()

        def column(name: str) -> dict[str, dict[str, float | None]]:
            return {stream: {ms: cell[name] for ms, cell in cells.items()} for stream, cells in curve.items()}

        return {
            "lag_curve_bp": column("mean"),
            "lag_curve_quote": column("mean_quote"),
            "expected_lag_curve_bp": column("expected"),
            "expected_lag_curve_quote": column("expected_quote"),
            "lag_notional_quote": self._curve.notional_quote,
            "lag_curve": curve,
        }


class CompileEntry:
    """How long the kernels took to get ready before the run, which no rate counts."""

    def __init__(self, compile_s: float) -> None:
        self._compile_s = compile_s

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Nothing per batch."""

    def summary(self) -> Mapping[str, Any]:
        """``compile_s``."""
        return {"compile_s": self._compile_s}


class TruthEntry:
    """How far the answers are from what is true on a synthetic market."""

    def __init__(self, feed: SyntheticFeed, clocks: Clocks, rates: Sequence[str] = ()) -> None:
        self._feed = feed
        self._clocks = clocks
        self._meter = TruthMeter(feed.instruments, rates)
        self._last_ns = {instrument.stream: feed.config.start_ns for instrument in feed.instruments}

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch."""
        if len(record.ts_recv_ns):
            self._meter.update(record, self._feed.truth_at(record.ts_recv_ns))
        if ticks is not None:
            stamped = (ticks.ts_emit_ns != MISSING_NS) | (ticks.ts_event_ns != MISSING_NS)
            for v, stream in enumerate(self._last_ns):
                rows = np.flatnonzero(stamped & (ticks.stream == v))[-1:]
                if len(rows):
                    self._last_ns[stream] = int(ticks.ts_recv_ns[rows[0]])

    def summary(self) -> Mapping[str, Any]:
        """``truth``."""
        since_s = {stream: (at - self._feed.config.start_ns) / 1e9 for stream, at in self._last_ns.items()}
        clocks = clock_errors(self._clocks(), self._feed.truth_summary(), since_s)
        return {"truth": self._meter.summary() | {"clock_error": clocks}}


def meters_of(
    feed: Feed,
    skill: SkillMeter,
    lag: PhantomLagConfig,
    clocks: Clocks,
    head: ForecastHead | None = None,
    rates: Sequence[str] = (),
) -> list[SkillEntry | LagEntry | LatencyCostMeter | TruthEntry]:
    """The meters of a run over this feed.

    Args:
        feed: what is run.
        skill: the skill meter.
        lag: latencies of the lag curve, our own, and the size their costs are given in money for.
        clocks: tells the clock summary, as ``Pipeline.clock_summary``.
        head: the trained forecast that is served, if any.
        rates: streams that price something else, as ``Pipeline.rates``.
    """
    meters: list[SkillEntry | LagEntry | LatencyCostMeter | TruthEntry] = [
        SkillEntry(skill, head),
        LagEntry(LagCurve(lag.latencies_ms, feed.instruments, notional_quote=lag.notional_quote)),
        LatencyCostMeter(feed.instruments, lag.latency_ms, lag.notional_quote),
    ]
    if isinstance(feed, SyntheticFeed):
        meters.append(TruthEntry(feed, clocks, rates))
    return meters
