"""A whole fit: what it is scored on, what can change it, and what it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from schwabot.errors import ConfigError, FitError
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.training.assets import assets_of
from schwabot.training.fit import ForecastFit
from schwabot.training.fit_settings import FitConfig
from schwabot.training.heads import fitted_spans, serve, spans_note
from schwabot.training.meters import skill_meter
from schwabot.training.skill_settings import SkillConfig

MARKET = SyntheticConfig(events=24_000, streams=3)
CONFIG = FitConfig(folds=2, blocks=2, ridge=[0.3, 1.0])
SKILL = SkillConfig(draws=20)
Change = Callable[[Ticks], Ticks]


def ticks_of(
    market: SyntheticConfig, change: Change | None = None, batch: int = 5_000
) -> Callable[[str], Iterator[Ticks]]:
    def read(doing: str) -> Iterator[Ticks]:
        for ticks in SyntheticFeed(market).batches(batch):
            yield ticks if change is None else change(ticks)

    return read


def fitted(
    change: Change | None = None, batch: int = 5_000, market: SyntheticConfig = MARKET, config: FitConfig = CONFIG
) -> ForecastFit:
    fit = ForecastFit(SyntheticFeed(market).instruments, config, skill=SKILL)
    fit.run(ticks_of(market, change, batch))
    return fit


def digest(head: ForecastHead, folder: Path) -> str:
    head.save(folder / "head.safetensors")
    return hashlib.sha256((folder / "head.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole() -> ForecastFit:
    return fitted()


@pytest.fixture(scope="module")
def longer() -> ForecastFit:
    """Enough data for 27 features; with less of it the one slope of a baseline is the better forecast."""
    return fitted(market=replace(MARKET, events=60_000), config=replace(CONFIG, folds=0, ridge=[1.0, 2.0]))


def later(after_ns: int) -> Change:
    """Prices behind a moment, moved up and down at random; times stay."""

    def change(ticks: Ticks) -> Ticks:
        rng = np.random.default_rng(len(ticks))
        move = np.where(ticks.ts_recv_ns > after_ns, rng.integers(0, 400, len(ticks)), 0)
        priced = ticks.kind == Kind.QUOTE
        up = {name: getattr(ticks, name) + move * priced for name in ("bid_ticks", "ask_ticks")}
        return replace(ticks, **up)

    return change


def test_nothing_behind_the_cut_changes_a_bit_of_the_checkpoint(whole: ForecastFit, tmp_path: Path) -> None:
    assert whole.head is not None
    cut_ns = whole.splits[0].cut_ns
    changed = fitted(later(cut_ns))
    assert changed.head is not None
    assert digest(changed.head, tmp_path) == digest(whole.head, tmp_path)
    assert changed.skill_tables("forecast") != whole.skill_tables("forecast")  # it was another market to score
    before = fitted(later(cut_ns - 10**9))
    assert before.head is not None
    assert digest(before.head, tmp_path) != digest(whole.head, tmp_path)


def test_batches_change_nothing(whole: ForecastFit, tmp_path: Path) -> None:
    other = fitted(batch=777)
    assert other.head is not None
    assert whole.head is not None
    assert digest(other.head, tmp_path) == digest(whole.head, tmp_path)
    assert other.summary() == whole.summary()


def test_the_score_is_what_a_replay_of_the_checkpoint_gives(whole: ForecastFit) -> None:
    """Served by the fused graph instead of module by module, with what was fitted on left out: the same bits."""
    assert whole.head is not None
    instruments = SyntheticFeed(MARKET).instruments
    pipeline = Pipeline(instruments, head=whole.head)
    meter = skill_meter(instruments, SKILL, whole.head)
    for ticks in SyntheticFeed(MARKET).batches(3_000):
        meter.update(pipeline.step(ticks))
    replayed, held_out = meter.summary(), whole.skill_tables("forecast")
    assert replayed == held_out
    ghost = meter.summary("ghost")
    for stream, cells in held_out.items():
        for h, cell in cells.items():
            assert cell["n"] < 0.5 * ghost[stream][h]["n"]


def test_only_rows_behind_cut_and_embargo_score(whole: ForecastFit) -> None:
    (split,) = whole.splits
    ts, kind = (
        np.concatenate([getattr(ticks, name) for ticks in SyntheticFeed(MARKET).batches()])
        for name in ("ts_recv_ns", "kind")
    )
    assert split.score_ns - split.cut_ns == 10**9
    assert split.cut_ns == split.first_ns + int(0.6 * (split.last_ns - split.first_ns))
    for ms, cell in next(iter(whole.skill_tables("forecast").values())).items():
        ends = ts + int(ms) * 1_000_000
        assert cell["n"] == np.count_nonzero((kind == Kind.QUOTE) & (ts > split.score_ns) & (ends <= split.last_ns))


def test_the_forecast_beats_what_needs_no_training_and_goes_stale(longer: ForecastFit) -> None:
    means = longer.summary()["mean_r2"]["BTC"]
    assert means["forecast"]["quotes"] > max(one["quotes"] for name, one in means.items() if name != "forecast") + 0.005
    for cells in longer.skill_tables("forecast").values():
        assert cells["100"]["placebo"] < 0.01
        assert cells["100"]["r2_after_1ms"] > 0.0


def test_a_missing_stream_degrades_and_does_not_explode(longer: ForecastFit) -> None:
    missing = longer.summary()["missing"]
    assert len(missing) == 3
    for gone, table in missing.items():
        assert gone not in table
        for cells in table.values():
            assert all(cells[h]["r2"] > -0.01 for h in ("10", "50", "100", "500"))


def test_everything_fitted_scores_nothing(tmp_path: Path) -> None:
    fit = fitted(config=replace(CONFIG, split=1.0, folds=0))
    assert fit.head is not None
    assert fit.skill_tables("forecast") == {}
    assert "fit.split=1" in fit.notes[-1]
    instruments = SyntheticFeed(MARKET).instruments
    meter = skill_meter(instruments, SKILL, fit.head)
    pipeline = Pipeline(instruments, head=fit.head)
    for ticks in SyntheticFeed(MARKET).batches():
        meter.update(pipeline.step(ticks))
    assert all(cell["n"] == 0 and cell["r2"] is None for cells in meter.summary().values() for cell in cells.values())


def two_assets(
    market: SyntheticConfig, venue: str = "synthetic", eth_ends_ns: int | None = None
) -> tuple[tuple[Instrument, ...], Callable[[str], Iterator[Ticks]]]:
    """The market under two names at the same time; ETH at venues of another name, or for a part of the time."""
    btc = SyntheticFeed(market).instruments
    eth = tuple(replace(one, stream=one.stream.replace("BTC", "ETH").replace("synthetic", venue)) for one in btc)
    both = tuple(sorted(btc + eth, key=lambda one: one.stream))
    place = {one.stream: k for k, one in enumerate(both)}
    numbers = [np.array([place[one.stream] for one in part], np.int32) for part in (btc, eth)]

    def read(doing: str) -> Iterator[Ticks]:
        for ticks in SyntheticFeed(market).batches():
            columns = {}
            for one in fields(ticks):
                column = getattr(ticks, one.name)
                if isinstance(column, np.ndarray):
                    columns[one.name] = np.repeat(column, 2)
            columns["stream"] = np.stack([number[ticks.stream] for number in numbers], axis=1).ravel()
            if eth_ends_ns is not None:
                kept = (columns["ts_recv_ns"] <= eth_ends_ns) | np.isin(columns["stream"], numbers[0])
                columns = {name: column[kept] for name, column in columns.items()}
            yield replace(ticks, **columns, instruments=both, levels=None)

    return both, read


def test_transfer_fits_on_one_asset_and_scores_both(whole: ForecastFit) -> None:
    instruments, read = two_assets(MARKET)
    assert [asset.base for asset in assets_of(instruments)] == ["BTC", "ETH"]
    fit = ForecastFit(instruments, replace(CONFIG, assets=["eth"]), skill=SKILL)
    fit.run(read)
    assert fit.head is not None
    assert whole.head is not None
    np.testing.assert_array_equal(fit.head.coefficients, whole.head.coefficients)  # roles, not names
    assert {stream.partition(":")[2][:3] for stream in fit.head.provenance["streams"]} == {"ETH"}
    scores = fit.skill_tables("forecast")
    assert len(scores) == 6
    for stream, cells in whole.skill_tables("forecast").items():
        assert scores[stream]["100"]["r2"] == scores[stream.replace("BTC", "ETH")]["100"]["r2"] == cells["100"]["r2"]


def test_a_head_knows_only_what_it_was_fitted_on() -> None:
    """ETH at other venues is in the source, but BTC is fitted on: no forecast of 0 bp for those nobody has learnt."""
    instruments, read = two_assets(MARKET, venue="elsewhere")
    fit = ForecastFit(instruments, replace(CONFIG, assets=["BTC"], folds=0), skill=SKILL)
    head = fit.run(read)
    assert all(role.startswith("synthetic_") for role in head.roles)
    assert list(fit.scores) == ["BTC"]
    assert "ETH: nothing like its streams was fitted on, so it is not scored" in fit.notes
    assert set(fit.summary()["mean_r2"]) == {"BTC"}


def test_what_scores_one_asset_is_fitted_on_in_no_other(whole: ForecastFit) -> None:
    """ETH ends at half of BTC's time: the 20 % of it that score ETH, and 1 s either way, are left out of BTC's fit."""
    (btc,) = whole.splits
    ends_ns = btc.first_ns + (btc.last_ns - btc.first_ns) // 2
    instruments, read = two_assets(MARKET, eth_ends_ns=ends_ns)
    fit = ForecastFit(instruments, replace(CONFIG, assets=["BTC"], folds=0), skill=SKILL)
    fit.run(read)
    (eth,) = (split for asset, split in zip(fit.assets, fit.splits, strict=True) if asset.base == "ETH")

    ts, kind = (
        np.concatenate([getattr(ticks, name) for ticks in SyntheticFeed(MARKET).batches()])
        for name in ("ts_recv_ns", "kind")
    )
    reach = ts + 10**9  # the longest horizon
    fitted_on = (kind == Kind.QUOTE) & (ts >= btc.first_ns) & (reach <= btc.cut_ns)
    far = (reach < eth.score_ns - 10**9) | (ts > eth.last_ns + 10**9)
    quotes = [one.summary()["assets"]["BTC"]["rows"]["quotes"] for one in (fit, whole)]
    assert quotes == [np.count_nonzero(fitted_on & far), np.count_nonzero(fitted_on)]
    assert 0.3 < quotes[0] / quotes[1] < 0.8
    seen, all_seen = (one.kalman["BTC"].observations.sum() for one in (fit, whole))
    inside = (ts <= btc.cut_ns) & (ts >= btc.first_ns)
    away = (ts < eth.score_ns - 10**9) | (ts > eth.last_ns + 10**9)
    assert seen / all_seen == pytest.approx(np.count_nonzero(inside & away) / np.count_nonzero(inside), abs=0.03)


def test_two_assets_together(whole: ForecastFit) -> None:
    """Twins tell nothing that one does not, so the joint fit is that of one of them."""
    instruments, read = two_assets(MARKET)
    fit = ForecastFit(instruments, CONFIG, skill=SKILL)
    fit.run(read)
    assert fit.head is not None
    assert whole.head is not None
    np.testing.assert_allclose(fit.head.coefficients, whole.head.coefficients, atol=2e-3)
    assert set(fit.summary()["mean_r2"]) == {"BTC", "ETH"}


def test_one_stream_is_a_stated_degradation() -> None:
    fit = fitted(market=replace(MARKET, streams=1, events=12_000))
    assert "one stream only" in fit.notes[0]
    assert fit.head is not None
    assert fit.head.scale[0, 0] == 0.0
    assert fit.summary()["missing"] == {}


def test_a_still_stream_is_a_stated_degradation() -> None:
    first: dict[int, tuple[int, int]] = {}

    def still(ticks: Ticks) -> Ticks:
        bid, ask = ticks.bid_ticks.copy(), ticks.ask_ticks.copy()
        own = (ticks.stream == 1) & (ticks.kind == Kind.QUOTE)
        if own.any():
            low, high = first.setdefault(1, (int(bid[own][0]), int(ask[own][0])))
            bid[own], ask[own] = low, high
        return replace(ticks, bid_ticks=bid, ask_ticks=ask)

    fit = fitted(still)
    name = SyntheticFeed(MARKET).instruments[1].stream
    assert any(note.startswith(f"{name} never moves") for note in fit.notes)
    cells = fit.skill_tables("forecast")[name]
    assert all(cell["r2"] is None for cell in cells.values())
    assert fit.head is not None
    assert (fit.head.coefficients[:, 1] == 0).all()


def test_too_little_is_refused() -> None:
    few = replace(MARKET, events=1_500)
    with pytest.raises(
        FitError, match=r"quotes in the first 60% of its .* s are too few to fit on, fit.min_rows=1,000"
    ):
        fitted(market=few)
    with pytest.raises(FitError, match="the embargo takes 30 s of it"):
        fitted(config=replace(CONFIG, embargo_s=30.0))
    with pytest.raises(FitError, match="too short for 2 blocks"):
        fitted(config=replace(CONFIG, embargo_s=14.0, split=0.5))


def test_a_stream_without_quotes_is_refused() -> None:
    def mute(ticks: Ticks) -> Ticks:
        kept = ticks.stream != 2
        columns = {one.name: getattr(ticks, one.name) for one in fields(ticks)}
        return replace(ticks, **{name: one[kept] for name, one in columns.items() if isinstance(one, np.ndarray)})

    with pytest.raises(FitError, match="synthetic_c:BTC/USDT has no quotes"):
        fitted(mute)


def test_what_no_run_could_serve_is_refused_before_anything_is_read() -> None:
    instruments = SyntheticFeed(MARKET).instruments
    modules = ModulesConfig()
    modules.voltage_lanes.horizon_ms = 250.0
    with pytest.raises(ConfigError, match=r"modules.voltage_lanes.horizon_ms=250 is none of the horizons"):
        ForecastFit(instruments, CONFIG, modules)
    with pytest.raises(ConfigError, match=r"fit.assets=\['DOGE'\]: DOGE is not in the source"):
        ForecastFit(instruments, replace(CONFIG, assets=["DOGE"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("split", 0.0), ("embargo_s", -1.0), ("blocks", 1), ("ridge", []), ("ridge", [1.0, 0.1]), ("mask_share", 1.0)],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"fit.{name}="):
        replace(CONFIG, **{name: value}).check()  # type: ignore[arg-type]


def test_a_checkpoint_is_served_only_as_it_was_fitted(whole: ForecastFit) -> None:
    head, instruments = whole.head, SyntheticFeed(MARKET).instruments
    assert head is not None
    assert serve(head, "x", ModulesConfig(), instruments) == ModulesConfig()
    modules = ModulesConfig()
    modules.tensor_harness.tau_phase_s = 5.0
    with pytest.raises(ConfigError, match=r"checkpoint=x was fitted .*tau_phase_s is 5.0 here and was 10.0"):
        serve(head, "x", modules, instruments)
    modules = ModulesConfig()
    modules.voltage_lanes.horizon_ms = 250.0
    with pytest.raises(ConfigError, match=r"checkpoint=x: modules.voltage_lanes.horizon_ms=250 is not a horizon"):
        serve(head, "x", modules, instruments)
    with pytest.raises(ConfigError, match=r"checkpoint=x: the forecast head knows .* has none of them"):
        serve(head, "x", ModulesConfig(), [Instrument("elsewhere:BTC/USD", 0.1, 1.0)])


def test_a_kalman_head_brings_its_own_q_and_r() -> None:
    modules = ModulesConfig()
    modules.ghost_bridge.estimator = "kalman"
    market = replace(MARKET, streams=2)
    instruments = SyntheticFeed(market).instruments
    fit = ForecastFit(instruments, replace(CONFIG, folds=0), modules, skill=SKILL)
    head = fit.run(ticks_of(market))
    assert serve(head, "x", ModulesConfig(), instruments) == ModulesConfig()  # features are made with no estimator
    served = serve(head, "x", modules, instruments).ghost_bridge
    kalman = head.provenance["kalman"]
    assert served.kalman_q_bp2_per_s == kalman["q_bp2_per_s"] != modules.ghost_bridge.kalman_q_bp2_per_s
    assert served.kalman_r_by_stream_bp2 == {
        one.stream: kalman["r_bp2"][role] for one, role in zip(instruments, head.roles, strict=True)
    }


def test_notes_say_what_scores_a_checkpoint(whole: ForecastFit) -> None:
    head, instruments = whole.head, SyntheticFeed(MARKET).instruments
    assert head is not None
    (split,) = whole.splits
    assert fitted_spans(head, instruments) == [(split.first_ns - 10**9, split.cut_ns + 10**9)]
    assert "the rest scores it" in spans_note(head, instruments, split.first_ns, split.last_ns)
    assert "nothing is left" in spans_note(head, instruments, split.first_ns, split.cut_ns)
    assert spans_note(head, instruments, split.last_ns + 1, split.last_ns + 10**9) == ""
    others = [Instrument("elsewhere:BTC/USD", 0.1, 1.0)]
    assert "fitted on other streams of these hours" in spans_note(head, others, split.first_ns, split.last_ns)
