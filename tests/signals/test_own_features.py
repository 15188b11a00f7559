"""Signals of one's own as features: the columns of a backtest, the same bits on every path, and what is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import schwabot.modules.forecast
from schwabot.errors import ConfigError, PolicyError, StateError
from schwabot.modules.forecast import FEATURES, Forecast, ForecastHead, role_of
from schwabot.modules.graph import Graph
from schwabot.modules.live import LiveStep
from schwabot.modules.own_columns import OwnColumn, market_of
from schwabot.records.instrument import Instrument
from schwabot.signals import load_signal
from schwabot.signals.own_features import OwnFeatures, declare_columns, find_signals
from schwabot.signals.own_signals import compute_signal
from schwabot.signals.source_text import digest_of
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.forecast.reference import features, head
from tests.kernels import making
from tests.kernels.making import Habits, Market, adversarial
from tests.kernels.test_ops import Recorder
from tests.modules.making import assert_same_answers, assert_same_state, joined
from tests.modules.test_live import walk
from tests.signals.making import written

TEXT = """
HALF = 0.5

def signed(e):
    return e.trade_side * e.trade_lots * HALF

@signal(memory=2, tau_s=Parameter(0.05, low=0.001, high=100.0, unit="s"))
def flow(s, e, p):
    if s.rows > 0:
        s.memory[1] *= math.exp(-(e.ts_ns - s.last_ns) * 1e-9 / p.tau_s)
    s.memory[1] += signed(e)
    return s.memory[1]

@signal(every=Parameter(5, low=2, high=9), said=Parameter(False))
def odd(s, e, p):
    if s.rows % 7 == 3 or p.said:
        return math.nan
    return 1.0 / ((s.rows % p.every) * e.flow) + (e.ts_ns - s.start_ns) * 1e-9

@signal
def looks(s, e, p):
    return e.flow + e.deviation_bp

@signal
def asks_all(s, e, p):
    return 1.0 * e.asks[0]

@signal
def lost(s, e, p):
    return e.flwo
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("features"), TEXT, "own_features_a.py")


@pytest.fixture(scope="module")
def columns(file: Path) -> tuple[OwnColumn, ...]:
    return declare_columns([f"{file}:odd", f"{file}:flow"], {"flow": {"tau_s": 0.1}})


@pytest.fixture(scope="module")
def market() -> Market:
    return adversarial(
        Habits(
            events=600, streams=5, seed=3, ties=0.2, round_times=False, gaps=0.01, trades=0.4, trades_only=0.2,
            crossed=0.05, no_size=0.1, still=0.1, outages=0.02, late=0.1, coarse=False, rates=False,
        )
    )  # fmt: skip


def a_head(market: Market, columns: tuple[OwnColumn, ...], unknown: int = 1) -> ForecastHead:
    """A head of any size over nine and the own features."""
    plain, rng = making.head(market.instruments, 4, unknown), np.random.default_rng(8)
    roles, wide = len(plain.roles), len(FEATURES) + len(columns)
    return replace(
        plain,
        scale=rng.uniform(0.5, 3.0, (roles, wide)),
        coefficients=rng.normal(0.0, 0.1, (3, roles, roles, wide)),
        own=columns,
    )


def a_graph(market: Market, columns: tuple[OwnColumn, ...], unknown: int = 1) -> Graph:
    trades_only = [one.stream for one in market.instruments if one.trades_only]
    own = OwnFeatures(columns, market.instruments)
    return Graph(market.instruments, making.settings(), trades_only, a_head(market, columns, unknown), own)


def test_the_columns_are_those_of_a_backtest(market: Market, columns: tuple[OwnColumn, ...], file: Path) -> None:
    assert [one.name for one in columns] == ["flow", "odd"], "what is read comes first"
    assert columns[0].parameters == {"tau_s": 0.1}
    own = OwnFeatures(columns, market.instruments)
    found = own.advance(market.batch, own.initial_state()).numpy()
    flow, odd = load_signal(f"{file}:flow"), load_signal(f"{file}:odd")
    seen = market_of(Events(*(getattr(market.batch, name).numpy() for name in Events._fields)), 5, 0)
    for v in range(5):
        alone = compute_signal(flow, seen, leg=v, given={"tau_s": 0.1})
        assert found[v, 0].tobytes() == alone.tobytes()
        if not market.instruments[v].trades_only:
            assert np.isfinite(alone[-100:]).all()
    assert odd.name == "odd"
    assert not np.isfinite(found[:, 1]).all()


def test_the_forecast_is_its_reference(market: Market, columns: tuple[OwnColumn, ...]) -> None:
    graph = a_graph(market, columns)
    own = OwnFeatures(columns, market.instruments)
    found = own.advance(market.batch, own.initial_state())
    assert found.isnan().any()
    assert found.isinf().any()
    answered, _ = graph(market.batch, graph.initial_state())
    timeline, _ = graph.tensor_harness(market.batch, graph.initial_state())
    ours = features(market.batch, graph.table, timeline.aligned, timeline.phase, timeline.route, found)
    assert (ours[..., 9:] != 0).any(dim=(0, 1)).all()
    assert ours.isfinite().all()
    forecasts = head(ours, timeline.route == 0, graph.params.head).numpy()
    np.testing.assert_allclose(answered.signals.forecasts_bp, forecasts, rtol=0, atol=1e-7)
    part = Forecast(market.instruments, trades_only=[], own=own)
    made, _ = part(market.batch, timeline, part.initial_state())
    assert made.features.shape == (600, 5, 11)
    assert torch.equal(made.features[..., 9:], ours[..., 9:])


def test_opcheck(columns: tuple[OwnColumn, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The op with columns of one's own, 700 events into a market."""
    market = making.synthetic(1_000, streams=3)
    graph = a_graph(market, columns, unknown=0)  # opcheck takes no NaN for equal
    op = schwabot.modules.forecast.forecast_op
    recorder = Recorder(op, [argument.name for argument in op._opoverload._schema.arguments])
    monkeypatch.setattr(schwabot.modules.forecast, "forecast_op", recorder)
    _, state = graph.by_module(market.batch.rows(0, 700), graph.initial_state())
    graph.by_module(market.batch.rows(700, 1_000), state)
    args = tuple(one.nan_to_num(0.0, 0.0, 0.0) if torch.is_tensor(one) else one for one in recorder.args[:-1])
    own = args[10]
    assert own.shape == (3, 2, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        results = torch.library.opcheck(op, (*args, [part.nan_to_num() for part in recorder.args[-1]]))
    assert set(results.values()) == {"SUCCESS"}
    with pytest.raises(ValueError, match="own"):
        op(*args[:10], own[:, :, :-1].contiguous(), *args[11:], recorder.args[-1])


def test_every_path_and_any_split_gives_the_same_bits(market: Market, columns: tuple[OwnColumn, ...]) -> None:
    graph = a_graph(market, columns)
    whole, after = graph(market.batch, graph.initial_state())
    assert any(name.startswith("own.") for name in after)
    apart, after_apart = graph.by_module(market.batch, graph.initial_state())
    assert_same_answers(joined([whole]), joined([apart]))
    assert_same_state(after, after_apart)
    live = LiveStep(graph, graph.initial_state())
    assert_same_answers(joined([whole]), joined([walk(live, market.batch)]))
    assert_same_state(after, live.state)
    state = graph.initial_state()
    edges = [0, 1, 2, 130, 131, 400, 600]
    parts = [graph.advance(market.batch.rows(a, b), state) for a, b in pairwise(edges)]
    assert_same_answers(joined([whole]), joined(parts))
    assert_same_state(after, state)


def test_a_saved_state_goes_on(market: Market, columns: tuple[OwnColumn, ...], tmp_path: Path) -> None:
    graph = a_graph(market, columns)
    whole, _ = graph(market.batch, graph.initial_state())
    first, state = graph(market.batch.rows(0, 333), graph.initial_state())
    graph.save(state, tmp_path / "state")
    again = a_graph(market, columns)
    second, _ = again(market.batch.rows(333, 600), again.load(tmp_path / "state"))
    assert_same_answers(joined([whole]), joined([first, second]))
    slower = (replace(columns[0], parameters={"tau_s": 0.2}), columns[1])
    with pytest.raises(StateError, match="made with other settings"):
        a_graph(market, slower).load(tmp_path / "state")


def test_the_future_changes_no_column(market: Market, columns: tuple[OwnColumn, ...]) -> None:
    own, graph = OwnFeatures(columns, market.instruments), a_graph(market, columns)
    later = {name: getattr(market.batch, name).clone() for name in ("bid_ticks", "ask_ticks", "qty_lots", "side")}
    for values in later.values():
        values[400:] = values[400:].flip(0)
    other = replace(market.batch, **later)
    one, two = (own.advance(batch, own.initial_state())[..., :400] for batch in (market.batch, other))
    assert one.numpy().tobytes() == two.numpy().tobytes()
    said = [graph(batch, graph.initial_state())[0].signals.forecasts_bp for batch in (market.batch, other)]
    assert said[0][:400].tobytes() == said[1][:400].tobytes()
    assert said[0][400:].tobytes() != said[1][400:].tobytes()


def test_a_head_keeps_what_it_was_told(market: Market, columns: tuple[OwnColumn, ...], tmp_path: Path) -> None:
    told = a_head(market, columns)
    told.save(tmp_path / "head")
    again = ForecastHead.load(tmp_path / "head")
    assert again.own == columns
    assert again.own[1].parameters == {"every": 5, "said": False}
    assert [one.name for one in find_signals(again.own, "x")] == ["flow", "odd"]
    assert again.features == (*FEATURES, "flow", "odd")
    assert again.fingerprint == told.fingerprint
    slower = replace(told, own=(replace(columns[0], parameters={"tau_s": 0.2}), columns[1]))
    assert slower.fingerprint != told.fingerprint
    with pytest.raises(ConfigError, match=r"made of signals of your own, \['flow', 'odd'\], and was given \[\]"):
        Graph(market.instruments, making.settings(), head=told)


def line_of(file: Path, text: str) -> str:
    return f"{file.name}:{file.read_text().splitlines().index(text) + 1}: "


@pytest.mark.parametrize(
    ("signals", "line", "said"),
    [
        (["flow", "looks"], "    return e.flow + e.deviation_bp", "looks reads deviation_bp, which the graph answers"),
        (["asks_all"], "    return 1.0 * e.asks[0]", "asks_all reads e.asks, which depends on what other streams"),
        (
            ["flow", "lost"],
            "    return e.flwo",
            "lost reads flwo, which is no signal of fit.signals, did you mean flow?",
        ),
        (
            ["odd"],
            "    return 1.0 / ((s.rows % p.every) * e.flow) + (e.ts_ns - s.start_ns) * 1e-9",
            "odd reads flow, which is",
        ),
    ],
)
def test_what_is_not_known_before_the_graph_is_refused(file: Path, signals: list[str], line: str, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        declare_columns([f"{file}:{name}" for name in signals])
    assert str(refused.value).partition(file.name)[2].startswith(f"{line_of(file, line)}{said}".partition(".py")[2])


def test_names_and_parameters_that_are_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"fit\.flwo: fit\.signals has no signal flwo, did you mean flow\?"):
        declare_columns([f"{file}:flow"], {"flwo": {"tau_s": 1}})
    with pytest.raises(ConfigError, match="did you mean tau_s"):
        declare_columns([f"{file}:flow"], {"flow": {"tau": 1}})
    with pytest.raises(ConfigError, match="has the name of another one"):
        declare_columns([f"{file}:flow", f"{file}:flow"])
    with pytest.raises(ConfigError, match="up to 127 streams, here are 128"):
        OwnFeatures((), [Instrument(f"a:X{k}/Y", 1.0, 1.0) for k in range(128)])
    assert role_of(Instrument("a:X/Y", 1.0, 1.0)) == "a:*/Y"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("HALF = 0.5", "HALF = 0.5  # of a trade"), True),
        (("def signed(e):\n", 'def signed(e):\n    """Half."""\n'), True),
        (("Parameter(0.05,", "Parameter(0.5,"), True),
        (("HALF = 0.5", "HALF = 0.25"), False),
        (("e.trade_lots * HALF", "e.trade_lots / HALF"), False),
        (("s.memory[1] += signed(e)", "s.memory[1] -= signed(e)"), False),
        (("memory=2", "memory=3"), False),
    ],
)
def test_a_source_is_another_when_it_computes_something_else(
    tmp_path: Path, file: Path, columns: tuple[OwnColumn, ...], change: tuple[str, str], same: bool
) -> None:
    name = f"own_features_{abs(hash(change))}.py"
    assert TEXT.count(change[0]) == 1
    other = written(tmp_path, TEXT.replace(*change), name)
    assert (digest_of(load_signal(f"{other}:flow")) == columns[0].digest) is same
    assert find_signals(columns, "x")[0] is load_signal(f"{file}:flow")
