"""Names of signals: what each means in a record of the graph."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from schwabot.errors import ConfigError
from schwabot.pipeline import Pipeline
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.signals.columns import PER_EVENT, PER_STREAM, column_of, known_names, takers
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed


@pytest.fixture(scope="module")
def record() -> StepRecord:
    feed = SyntheticFeed(SyntheticConfig(events=3000))
    pipeline = Pipeline(feed.instruments)
    (record,) = [pipeline.step(ticks) for ticks in feed.batches(4000)]
    return record


def test_every_column_has_a_name() -> None:
    assert {*PER_EVENT, *PER_STREAM} == {one.name for one in fields(SignalColumns)} - {"forecasts_bp"}
    assert len(known_names()) == len(set(known_names()))


def test_columns_are_those_of_the_stream(record: StepRecord) -> None:
    streams = [one.stream for one in record.instruments]
    names = [*known_names()]
    (leg,) = takers(names, [streams[1]], streams, (), streams[2])
    taken = {name: take(record.signals) for name, take in zip(names, leg, strict=True) if take is not None}
    assert set(taken) == set(names)
    assert all(values.dtype == np.float64 and values.shape == record.ts_recv_ns.shape for values in taken.values())
    signals = record.signals
    np.testing.assert_array_equal(taken["deviation_bp"], signals.deviation_bp[:, 1])
    np.testing.assert_array_equal(taken["mid_bp_of_leader"], signals.mid_bp[:, 2])
    np.testing.assert_array_equal(taken["ghost_bp"], signals.ghost_bp)
    np.testing.assert_array_equal(taken["lane"], signals.lane[:, 1])
    warm = signals.key >= 0
    assert np.isnan(taken["key"][~warm]).all()
    np.testing.assert_array_equal(taken["key"][warm], signals.key[warm])


def test_horizons_of_a_head(record: StepRecord) -> None:
    streams = [one.stream for one in record.instruments]
    rows = len(record.ts_recv_ns)
    with_head = np.random.default_rng(0).normal(size=(rows, len(streams), 2))
    signals = SignalColumns(**{
        one.name: with_head if one.name == "forecasts_bp" else getattr(record.signals, one.name)
        for one in fields(SignalColumns)
    })  # fmt: skip
    names = ["forecast_100ms_bp", "forecast_0_5ms_bp_of_leader"]
    ((first, second),) = takers(names, [streams[0]], streams, (0.5, 100.0), streams[1])
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first(signals), with_head[:, 0, 1])
    np.testing.assert_array_equal(second(signals), with_head[:, 1, 0])


def test_what_can_not_be_had() -> None:
    streams = ["a:B/C", "d:B/C"]
    assert column_of("my_own") is None
    assert takers(["my_own"], ["a:B/C"], streams, (), None) == [[None]]
    with pytest.raises(ConfigError, match=r"policy\.leader=STREAM; there are a:B/C, d:B/C"):
        takers(["mid_bp_of_leader"], ["a:B/C"], streams, (), None)
    with pytest.raises(ConfigError, match="did you mean d:B/C"):
        takers(["mid_bp_of_leader"], ["a:B/C"], streams, (), "e:B/C")
    with pytest.raises(ConfigError, match=r"policy\.trade: a:B/X is not in the source, did you mean a:B/C"):
        takers(["mid_bp"], ["a:B/X"], streams, (), None)
    with pytest.raises(ConfigError, match="checkpoint=FILE"):
        takers(["forecast_100ms_bp"], ["a:B/C"], streams, (), None)
    with pytest.raises(ConfigError, match="has forecast_0_5ms_bp, forecast_50ms_bp"):
        takers(["forecast_100ms_bp"], ["a:B/C"], streams, (0.5, 50.0), None)
