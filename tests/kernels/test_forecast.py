"""Features of the coming move by hand, the head against plain torch, and the same bits on every path."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schwabot.modules.forecast import FEATURES, Forecast, ForecastHead, role_of
from schwabot.modules.graph import Graph
from schwabot.modules.live import LiveStep
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.forecast.reference import features as reference_features
from tests.kernels import making
from tests.kernels.holding import hold, hold_forecast
from tests.kernels.making import HABITS, START_NS, Habits, adversarial, assert_close, quotes, run_graph
from tests.kernels.test_parity_graph import QUIET
from tests.modules.making import assert_same_answers, assert_same_state, joined, timeline
from tests.modules.test_live import walk

A = Instrument("a:BTC/USDT", 0.01, 0.001)
B = Instrument("b:BTC/USDT", 0.01, 0.001)


@settings(max_examples=25)
@given(HABITS, st.sampled_from(["weighted", "kalman"]), st.integers(0, 2))
@example(Habits(events=600, streams=6, seed=1, **QUIET), "weighted", 1)
def test_the_graph_with_a_head_is_its_reference(habits: Habits, estimator: str, unknown: int) -> None:
    market = adversarial(habits)
    if len(market.instruments) > unknown:
        hold(run_graph(market, making.settings(estimator), making.head(market.instruments, habits.seed, unknown)))


@pytest.mark.parametrize("streams", [1, 4, 5])
def test_a_head_on_the_synthetic_market(streams: int) -> None:
    market = making.synthetic(3_001, seed=streams, streams=streams)
    run = run_graph(market, making.settings(), making.head(market.instruments))
    hold_forecast(run)
    assert run.forecasts.shape == (3_001, streams, 3)
    assert run.forecasts[-1].abs().min() > 0


@settings(max_examples=15)
@given(HABITS)
def test_features_are_their_reference(habits: Habits) -> None:
    market = adversarial(habits)
    trades_only = [i.stream for i in market.instruments if i.trades_only]
    graph = Graph(market.instruments, making.settings(), trades_only)
    state = graph.initial_state()
    seen, _ = graph.tensor_harness(market.batch, state)
    part = Forecast(market.instruments, trades_only=trades_only)
    theirs, _ = part(market.batch, seen, part.initial_state())
    ours = reference_features(market.batch, graph.table, seen.aligned, seen.phase, seen.route)
    for k, name in enumerate(FEATURES):
        # A decayed mean of prices that jump by thousands of bp keeps their rounding.
        assert_close(ours[..., k], theirs.features[..., k], 1e-9 * (1.0 + ours[..., k].abs()) + 1e-7, name)


@settings(max_examples=10)
@given(HABITS)
def test_module_by_module_live_and_in_any_split_the_bits_are_the_same(habits: Habits) -> None:
    market = adversarial(habits)
    trades_only = [i.stream for i in market.instruments if i.trades_only]
    graph = Graph(market.instruments, making.settings(), trades_only, making.head(market.instruments))
    whole, after = graph(market.batch, graph.initial_state())
    assert whole.signals.forecasts_bp.shape == (len(market.batch), len(market.instruments), 3)
    apart, after_apart = graph.by_module(market.batch, graph.initial_state())
    assert_same_answers(joined([whole]), joined([apart]))
    assert_same_state(after, after_apart)
    live = LiveStep(graph, graph.initial_state())
    assert_same_answers(joined([whole]), joined([walk(live, market.batch)]))
    assert_same_state(after, live.state)
    cut = len(market.batch) // 3
    state = graph.initial_state()
    parts = [graph.advance(rows, state) for rows in (market.batch.rows(0, cut), market.batch.rows(cut, 10**9))]
    assert_same_answers(joined([whole]), joined(parts))
    assert_same_state(after, state)


def _features(batch: TickBatch, x: list[list[float]], deviation: list[list[float]]) -> torch.Tensor:
    """Features of given mids and deviations [N, V], which add up to 0, all streams quoted at every event."""
    part, seen = Forecast([A, B]), timeline(batch, x)
    phase = seen.aligned.x + torch.tensor(deviation).double()
    return part(batch, seen._replace(phase=phase), part.initial_state())[0].features


def _trade(batch: TickBatch, row: int, price: float, qty: float, side: int) -> TickBatch:
    """The batch with a trade in the place of a row."""
    changes = {"kind": 1, "bid_ticks": 0, "ask_ticks": 0, "bid_lots": 0, "ask_lots": 0}
    changes |= {"price_ticks": round(price / 0.01), "qty_lots": round(qty / 0.001), "side": side}
    columns = {name: getattr(batch, name).clone() for name in changes}
    for name, value in changes.items():
        columns[name][row] = value
    return replace(batch, **columns)


def test_order_flow_by_hand() -> None:
    """Bid stands and grows from 2 to 3: +1. Ask falls onto a new level of 4: -4. L = (2+2)/2, then means of 2 and 2.5.

    L decays with 30 s: weights e^{-1/3000} and 1.
    """
    batch = quotes((A, B), [(0, 0, 100.0, 100.05, 2, 2), (10, 0, 100.0, 100.04, 3, 4), (10, 1, 99.0, 99.1, 1, 1)]).batch
    found = _features(batch, [[0, 0]] * 3, [[0.0, 0.0]] * 3)
    keep = math.exp(-0.01 / 30.0)
    usual = (2 * keep + 3.5) / (keep + 1)
    assert found[0, 0, 2].item() == 0.0  # the first quote changes nothing
    assert found[1, 0, 2].item() == pytest.approx(math.asinh((1 - 4) / usual), rel=1e-12)
    assert found[1, 0, 3].item() == pytest.approx(math.asinh((1 - 4) / usual), rel=1e-12)
    assert found[2, 0, 2].item() == found[1, 0, 2].item()  # at the same time nothing has decayed
    assert found[2, 1, 2].item() == 0.0


def test_order_flow_of_prices_that_move() -> None:
    """Bid up onto 5: +5. Ask up from 2 that are gone: +2. Then bid down: -5, ask stands at 7, grown by 1: -8 + 7."""
    batch = quotes((A, B), [(0, 0, 10.0, 10.1, 1, 2), (0, 0, 10.05, 10.2, 5, 7), (0, 0, 10.0, 10.2, 9, 8)]).batch
    found = _features(batch, [[0, 0]] * 3, [[0.0, 0.0]] * 3)
    means = [1.5, 6.0, 8.5]
    assert found[1, 0, 2].item() == pytest.approx(math.asinh(7 / (sum(means[:2]) / 2)), rel=1e-12)
    assert found[2, 0, 2].item() == pytest.approx(math.asinh((7 - 5 - 1) / (sum(means) / 3)), rel=1e-12)


def test_trades_by_hand() -> None:
    """A sale of 3 at 99.90 against a mid of 100: ln(99.9/100) = -10.005 bp; L = 2.

    10 ms later the mid has moved 2 bp towards it, and e^{-1/5} of what is left shows; the flow has e^{-2} and e^{-1/3}.
    """
    rows = [(0, 0, 99.99, 100.01, 2, 2), (0, 0, 1, 1, 1, 1), (10, 1, 99.0, 99.1, 1, 1)]
    batch = _trade(quotes((A, B), rows).batch, 1, 99.90, 3, -1)
    found = _features(batch, [[0, 0], [0, 0], [-2, 0]], [[0.0, 0.0]] * 3)
    away = 1e4 * math.log(99.9 / 100.0)
    assert found[0, 0, 8].item() == 0.0
    assert found[1, 0, [4, 5]].tolist() == pytest.approx([math.asinh(-1.5)] * 2, rel=1e-12)
    assert found[1, 0, 8].item() == pytest.approx(away, rel=1e-9)
    faded = [math.asinh(-1.5 * math.exp(-2)), math.asinh(-1.5 * math.exp(-1 / 3)), (away + 2) * math.exp(-0.2)]
    assert found[2, 0, [4, 5, 8]].tolist() == pytest.approx(faded, rel=1e-9)
    assert found[2, 1].abs().max().item() == 0.0


@pytest.mark.parametrize(("price", "side", "away"), [(100.0, 1, 0.0), (120.0, 1, 20.0), (80.0, -1, -20.0)])
def test_a_trade_far_from_the_mid_is_cut_at_20_bp(price: float, side: int, away: float) -> None:
    batch = _trade(quotes((A, B), [(0, 0, 99.99, 100.01, 2, 2), (0, 0, 1, 1, 1, 1)]).batch, 1, price, 1, side)
    found = _features(batch, [[0, 0]] * 2, [[0.0, 0.0]] * 2)
    assert found[1, 0, 8].item() == pytest.approx(away, abs=1e-9)


def test_the_side_of_a_trade_says_nothing_to_its_price_and_an_unknown_one_nothing_to_the_flow() -> None:
    batch = _trade(quotes((A, B), [(0, 0, 99.99, 100.01, 2, 2), (0, 0, 1, 1, 1, 1)]).batch, 1, 100.1, 5, 0)
    found = _features(batch, [[0, 0]] * 2, [[0.0, 0.0]] * 2)[1]
    assert found[0, 8].item() == pytest.approx(1e4 * math.log(100.1 / 100.0), rel=1e-9)
    assert found[:, :8].abs().max().item() == found[1].abs().max().item() == 0.0


def test_a_trade_before_the_first_quote_has_no_price_to_compare() -> None:
    rows = [(0, 0, 1, 1, 1, 1), (0, 0, 99.99, 100.01, 2, 2)]
    early = _features(_trade(quotes((A, B), rows).batch, 0, 99.9, 1, -1), [[0, 0]] * 2, [[0.0, 0.0]] * 2)
    assert early[..., 8].abs().max().item() == 0.0


def test_momentum_and_deviation_by_hand() -> None:
    """The price stood at 0 for 50 ms and jumps to 4: the mean has not moved. It stands for 15 ms: 4 e^{-3} are left."""
    batch = quotes((A, B), [(t, 0, 10.0, 10.1, 1, 1) for t in (0, 50, 65)]).batch
    found = _features(batch, [[0, 7], [4, 7], [4, 7]], [[0, 0], [-2, 2], [-2, 2]])
    assert found[1, 0, [6, 7]].tolist() == pytest.approx([4.0, 4.0], rel=1e-12)
    assert found[2, 0, [6, 7]].tolist() == pytest.approx([4 * math.exp(-3), 4 * math.exp(-0.5)], rel=1e-12)
    assert found[:, 1, 6:8].abs().max().item() == 0.0
    assert found[2, :, 0].tolist() == pytest.approx([-2.0, 2.0], rel=1e-12)  # quoted at this event: no age


def test_deviation_fades_with_the_age_of_the_quote() -> None:
    batch = quotes((A, B), [(0, 0, 10.0, 10.1, 1, 1), (50, 1, 10.0, 10.1, 1, 1)]).batch
    seen = timeline(batch, [[-3, 3]] * 2)
    aged = seen._replace(aligned=seen.aligned._replace(last_ns=torch.full_like(seen.aligned.last_ns, START_NS)))
    part = Forecast([A, B])
    found = part(batch, aged, part.initial_state())[0].features
    assert found[1, :, 0].tolist() == pytest.approx([3 * math.exp(-0.5), -3 * math.exp(-0.5)], rel=1e-12)


def test_a_stream_that_takes_no_part_is_in_no_mean_and_gives_zeros() -> None:
    """Prices without phases: 1, 5 and 30; the third is routed out. The others are 2 from their mean of 3."""
    three = (A, B, replace(A, stream="c:BTC/USDT"))
    batch = quotes(three, [(0, 0, 10.0, 10.1, 1, 1)]).batch
    seen = timeline(batch, [[11, 105, 30]])
    route = torch.tensor([[0, 0, 2]], dtype=torch.int8)
    phase = torch.tensor([[10.0, 100.0, 0.0]]).double()
    part = Forecast(three)
    found = part(batch, seen._replace(phase=phase, route=route), part.initial_state())[0].features
    assert found[0, :, 0].tolist() == pytest.approx([2.0, -2.0, 0.0], abs=1e-12)
    nobody = part(batch, seen._replace(route=route * 0 + 2), part.initial_state())[0].features
    assert nobody.abs().max().item() == 0.0


def test_all_features_change_sign_with_the_price() -> None:
    """Prices p -> 1/p: bid and ask swap their places and sizes, buyers become sellers."""
    rng = np.random.default_rng(0)
    bid = 1.0 + 1e-4 * np.cumsum(rng.normal(0, 1, 400))
    rows = [(float(i), i % 2, bid[i], bid[i] + 1e-4, *rng.integers(1, 9, 2).astype(float)) for i in range(400)]
    fine = tuple(replace(i, tick_size=1e-12, lot_size=1.0) for i in (A, B))
    up = quotes(fine, rows).batch
    down = quotes(fine, [(t, v, 1 / a, 1 / b, qa, qb) for t, v, b, a, qb, qa in rows]).batch
    found = []
    for batch, sign in ((up, 1), (down, -1)):
        for k in range(20, 400, 10):
            price = float(bid[k]) + 3e-4
            batch = replace(
                batch, **{name: getattr(batch, name).clone() for name in ("kind", "price_ticks", "qty_lots", "side")}
            )
            batch.kind[k], batch.qty_lots[k], batch.side[k] = 1, 5, sign
            batch.price_ticks[k] = round((price if sign == 1 else 1 / price) * 1e12)
        graph = Graph(fine, making.settings())
        seen, _ = graph.tensor_harness(batch, graph.initial_state())
        part = Forecast(fine)
        found.append(part(batch, seen, part.initial_state())[0].features)
    assert found[0].abs().amax((0, 1)).min() > 1e-3  # every feature occurs
    assert_close(found[0], -found[1], 1e-4, "flipped")  # mids of p and 1/p differ in the second order


def test_the_head_by_hand() -> None:
    """Features 5 and -4 of scale 2, clipped at 2: 2 and -2. m = 0.5 * 2 + 0.25 * (-2)."""
    scale, coefficients = np.zeros((2, 9)), np.zeros((1, 2, 2, 9))
    scale[:, 7] = 2.0
    coefficients[0, 0, 0, 7], coefficients[0, 0, 1, 7] = 0.5, 0.25
    coefficients[0, 1, 0, 7] = 9.0
    head = ForecastHead((role_of(A), role_of(B)), (100.0,), scale, coefficients, clip=2.0)
    batch = quotes((A, B), [(0, 0, 10.0, 10.1, 1, 1), (0, 1, 10.0, 10.1, 1, 1)]).batch
    part = Forecast([A, B], head)
    answer, _ = part(batch, timeline(batch, [[0, 0], [5, -4]]), part.initial_state())
    assert answer.forecast_bp[1, :, 0].tolist() == pytest.approx([0.5, 18.0], rel=1e-15)
    assert answer.ghost_move_bp.tolist() == pytest.approx([0.0, 9.25], rel=1e-15)


def test_what_is_remembered_with_a_head_is_what_came_beyond_its_forecast() -> None:
    """A head that says nothing changes nothing; one that says much moves the outcomes by what it said."""
    market = making.synthetic(4_000)
    config = making.settings(warmup_events=100)
    silent = making.head(market.instruments)
    silent.coefficients[:] = 0.0
    plain, with_silent = run_graph(market, config), run_graph(market, config, silent)
    assert torch.equal(plain.entropy, with_silent.entropy)
    loud = run_graph(market, config, making.head(market.instruments))
    assert not torch.equal(plain.entropy, loud.entropy)
    hold(loud)


def test_no_head_costs_no_memory() -> None:
    market = making.synthetic(300)
    assert run_graph(market, making.settings()).forecasts.shape == (300, 4, 0)
