"""Signals of one's own in a fit: what they know is learnt, what they don't is not, and serving finds them again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schwabot.errors import ConfigError, FitError
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.merge import blank, cut
from schwabot.training.fit import ForecastFit
from schwabot.training.fit_settings import FitConfig
from schwabot.training.forecast_pass import ForecastPass
from schwabot.training.heads import serve
from schwabot.training.skill_settings import SkillConfig
from tests.signals.making import written

A = Instrument("a:BTC/USDT", 0.001, 0.001)
B = Instrument("b:BTC/USDT", 0.001, 0.001)
ROWS, STEP_NS = 60_000, 5_000_000
TAU_MS = 400.0
CONFIG = FitConfig(folds=0, blocks=2, ridge=[0.01, 0.1], missing=False, kalman=False)
SKILL = SkillConfig(horizons_ms=(100.0, 500.0), draws=0)
TEXT = """
@signal(memory=1, tau_ms=Parameter(100.0, low=0.1, high=1e6, unit="ms"))
def flow_lots(s, e, p):
    if s.rows > 0:
        s.memory[0] *= math.exp(-(e.ts_ns - s.last_ns) * 1e-6 / p.tau_ms)
    s.memory[0] += e.trade_side * e.trade_lots
    return s.memory[0]

@signal
def noise(s, e, p):
    x = math.sin(e.ts_ns % 1e9 * 1e-6 + 12.9898 * s.rows) * 43758.5453
    return x - math.floor(x) - 0.5

@signal
def silent(s, e, p):
    return math.nan

@signal
def huge(s, e, p):
    return 1e30 * e.trade_side
"""


def market(seed: int = 1, *, shuffled: bool = False) -> Ticks:
    """Two streams at one price, which drifts with the trades of the last 400 ms, beside noise of 0.3 bp a row.

    Shuffled: the same moves of the price in any order.
    """
    draw = np.random.default_rng(seed)
    kind = (draw.random(ROWS) < 0.1).astype(np.int8)
    stream = draw.integers(0, 2, ROWS).astype(np.int32)
    side = np.where(kind == Kind.TRADE, draw.choice([-1, 1], ROWS), 0).astype(np.int8)
    lots = np.where(kind == Kind.TRADE, draw.integers(1, 4, ROWS), 0)
    flow, keep = 0.0, math.exp(-STEP_NS * 1e-6 / TAU_MS)
    moves = draw.normal(0.0, 0.3, ROWS)
    for row in range(ROWS):
        moves[row] += 0.0016 * flow * STEP_NS * 1e-6
        flow = flow * keep + side[row] * lots[row]
    if shuffled:
        moves = draw.permutation(moves)
    mid = np.round(100_000 * np.exp(1e-4 * np.cumsum(moves))).astype(np.int64)
    quote = kind == Kind.QUOTE
    return replace(
        blank((A, B), ROWS),
        ts_recv_ns=1_700_000_000_000_000_000 + STEP_NS * np.arange(ROWS),
        stream=stream,
        kind=kind,
        bid_ticks=np.where(quote, mid - 5, 0),
        ask_ticks=np.where(quote, mid + 5, 0),
        bid_lots=quote * 10,
        ask_lots=quote * 10,
        price_ticks=np.where(quote, 0, mid + 5 * side),
        qty_lots=lots,
        side=side,
    )


def read(ticks: Ticks, size: int = 7_000) -> Callable[[str], Iterator[Ticks]]:
    return lambda doing: (cut(ticks, k, min(k + size, len(ticks))) for k in range(0, len(ticks), size))


def fitted(ticks: Ticks, *signals: str, config: FitConfig = CONFIG) -> ForecastFit:
    given = {"flow_lots": {"tau_ms": TAU_MS}} if any("flow_lots" in one for one in signals) else {}
    fit = ForecastFit((A, B), replace(config, signals=list(signals), signal_parameters=given), skill=SKILL)
    fit.run(read(ticks))
    return fit


def r2(fit: ForecastFit, horizon: str = "500") -> float:
    """Mean over streams, on the grid."""
    return float(np.mean([cells[horizon]["r2_grid"] for cells in fit.skill_tables("forecast").values()]))


@pytest.fixture(scope="module")
def planted() -> Ticks:
    return market()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("fit_signals"), TEXT, "fit_signals_a.py")


@pytest.fixture(scope="module")
def plain(planted: Ticks) -> ForecastFit:
    return fitted(planted)


@pytest.fixture(scope="module")
def told(planted: Ticks, file: Path) -> ForecastFit:
    return fitted(planted, f"{file}:flow_lots")


def test_what_a_signal_knows_is_learnt(plain: ForecastFit, told: ForecastFit) -> None:
    """A lot of flow is 0.0016 x 400 ms (1 - e^-1.25) = 0.457 bp of the next 500 ms; flows of 30 ms know a part."""
    assert told.head is not None
    assert told.head.features[-1] == "flow_lots"
    assert 0.0 < r2(plain) < 0.2
    assert r2(told) > r2(plain) + 0.1
    of_a_lot = told.head.coefficients[1, :, :, -1] / told.head.scale[:, -1]
    truth = 0.0016 * TAU_MS * (1.0 - math.exp(-500.0 / TAU_MS))
    assert np.all(np.abs(of_a_lot / truth - 1.0) < 0.2)


def test_a_shuffled_future_is_not_foreseen(file: Path) -> None:
    """What is left is not the flow's: a stream that has not quoted for some rows follows the other one."""
    ticks = market(shuffled=True)
    without, told = r2(fitted(ticks)), r2(fitted(ticks, f"{file}:flow_lots"))
    assert without < 0.01
    assert abs(told - without) < 0.003


def test_noise_brings_nothing(planted: Ticks, plain: ForecastFit, file: Path) -> None:
    noisy = fitted(planted, f"{file}:noise")
    assert abs(r2(noisy) - r2(plain)) < 0.002


def test_what_says_nothing_is_told_and_what_is_too_large_refused(
    planted: Ticks, plain: ForecastFit, file: Path
) -> None:
    silent = fitted(planted, f"{file}:silent")
    assert silent.notes[0].startswith("fit.signals: silent is 0 or without an answer wherever it was fitted on")
    assert r2(silent) == pytest.approx(r2(plain), abs=1e-12)
    with pytest.raises(FitError, match=r"huge answers numbers of up to 1e\+30"):
        fitted(planted, f"{file}:huge")


def test_what_is_served_is_what_was_fitted(planted: Ticks, told: ForecastFit, tmp_path: Path) -> None:
    """Features of training, through the head by hand, are the forecasts of the fused graph."""
    assert told.head is not None
    told.head.save(tmp_path / "head.safetensors")
    head = ForecastHead.load(tmp_path / "head.safetensors")
    assert (head.own, head.fingerprint) == (told.head.own, told.head.fingerprint)
    ticks = cut(planted, 0, 9_000)
    trained = ForecastPass((A, B), own=head.own).step(ticks)
    assert np.abs(trained.features[5000:, :, 9]).min(axis=0).max() > 0
    used = np.where(head.scale > 0, head.scale, np.inf)  # no sizes move here, so some features say nothing
    z = np.clip(trained.features / used, -head.clip, head.clip)
    by_hand = np.einsum("nuk,hvuk->nvh", z, head.coefficients)
    assert serve(head, "head", ModulesConfig(), (A, B)) == ModulesConfig()
    served = Pipeline((A, B), head=head).step(ticks).signals.forecasts_bp
    known = np.isfinite(served)
    assert known[100:].all()
    np.testing.assert_allclose(served[known], by_hand[known], rtol=0, atol=1e-12)
    without = replace(head, coefficients=np.where(np.arange(10) == 9, 0.0, head.coefficients))
    other = Pipeline((A, B), head=without).step(ticks).signals.forecasts_bp
    assert np.abs(served - other)[known].max() > 0.5


def test_a_missing_stream_leaves_the_others_signal(planted: Ticks, file: Path) -> None:
    fit = fitted(planted, f"{file}:flow_lots", config=replace(CONFIG, missing=True, mask_share=0.3))
    missing = fit.summary()["missing"]
    assert missing[A.stream][B.stream]["500"]["r2_grid"] > 0.02
    assert fit.summary()["signals"] == {"flow_lots": {"of": f"{file}:flow_lots", "parameters": {"tau_ms": TAU_MS}}}


def test_a_head_is_served_with_the_source_it_was_fitted_with_only(planted: Ticks, tmp_path: Path) -> None:
    file = written(tmp_path, TEXT, "fit_signals_b.py")
    head = fitted(cut(planted, 0, 12_000), f"{file}:flow_lots").head
    assert head is not None

    def moved(name: str, text: str) -> ForecastHead:
        other = written(tmp_path, text, name)
        return replace(head, own=tuple(replace(one, spec=f"{other}:flow_lots") for one in head.own))

    serve(moved("fit_signals_c.py", "# a comment\n" + TEXT), "x", ModulesConfig(), (A, B))
    with pytest.raises(
        ConfigError, match=r"checkpoint=x: .* flow_lots, .*fit_signals_d\.py:flow_lots, whose source is"
    ):
        serve(moved("fit_signals_d.py", TEXT.replace("+= e", "-= e")), "x", ModulesConfig(), (A, B))
    with pytest.raises(ConfigError, match=r"fit again with fit\.signals=\["):
        Pipeline((A, B), head=moved("fit_signals_e.py", TEXT.replace("+= e", "-= e")))
    gone = replace(head, own=tuple(replace(one, spec=f"{tmp_path}/gone.py:flow_lots") for one in head.own))
    with pytest.raises(ConfigError, match=r"there is no file .*gone\.py.*Start from the folder it was fitted in"):
        serve(gone, "x", ModulesConfig(), (A, B))
