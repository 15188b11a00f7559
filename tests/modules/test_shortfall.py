"""Shortfall and event names: a worked example, Perold's identity, and what must not matter. D orders, F fills."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import BadPriceError, DataError
from schwabot.modules.shortfall import Shortfall, name_event, regret_bp, shortfall
from schwabot.records.audit import PhantomEvent

EXAMPLE: dict[str, Any] = {
    "quantity": 1000, "decision_price": 40.00, "arrival_price": 40.04,
    "filled": 700, "fill_price": 40.05, "end_price": 40.08, "fees": 17.0,
}  # fmt: skip


def test_worked_example() -> None:
    assert shortfall(+1, **EXAMPLE) == pytest.approx((7.0, 1.75, 6.0, 4.25, 19.0), rel=1e-11)
    in_cents = dict(EXAMPLE, decision_price=4000, arrival_price=4004, fill_price=4005, end_price=4008, fees=1700)
    assert shortfall(+1, **in_cents) == pytest.approx((7.0, 1.75, 6.0, 4.25, 19.0), rel=1e-15)


def test_a_sell_by_hand() -> None:
    """Sold 3 of 4 in two fills at 198 and 197, decided at 200, arrived at 199, ended at 190, rebate of 1.6."""
    cost = shortfall(-1, 4.0, 200.0, 199.0, [1.0, 2.0], [198.0, 197.0], 190.0, -1.6)
    # of 800: 3 lost 1 each; 1 and 2 a unit more; one unit 10; fees
    want = (3 / 800, (1 + 4) / 800, 10 / 800, -1.6 / 800, (3 + 5 + 10 - 1.6) / 800)
    assert cost == pytest.approx([1e4 * share for share in want], rel=1e-12)


def test_nothing_and_everything_filled() -> None:
    nan = math.nan
    missed = shortfall(+1, 10.0, 100.0, nan, filled=0.0, fill_price=nan, end_price=101.0)
    assert missed == pytest.approx((0.0, 0.0, 100.0, 0.0, 100.0))
    done = shortfall(+1, 10.0, 100.0, 100.5, filled=[4.0, 6.0, 0.0], fill_price=[101.0, 101.0, nan], end_price=nan)
    assert done == pytest.approx((50.0, 50.0, 0.0, 0.0, 100.0))
    rounding = shortfall(+1, 0.3, 100.0, 100.0, filled=[0.1] * 3, fill_price=[100.0] * 3, end_price=nan)
    assert rounding == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_inverse_by_hand() -> None:
    """10,000 USD of contracts bought at 50,000 and worth 0.2 BTC; half of them filled at 62,500; then 40,000."""
    cost = shortfall(+1, 10_000.0, 50_000.0, 50_000.0, 5_000.0, 62_500.0, 40_000.0, fees=0.0004, inverse=True)
    # 5,000 USD are 0.1 BTC at the decision and 0.08 at the fill; the other 5,000 would now be 0.125: cheaper to buy
    want = (0.0, (0.1 - 0.08) / 0.2, (0.1 - 0.125) / 0.2, 0.0004 / 0.2, (0.02 - 0.025 + 0.0004) / 0.2)
    assert cost == pytest.approx([1e4 * share for share in want], rel=1e-12)


PRICE = st.floats(50.0, 200.0)


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    shares = draw(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
    of_all = draw(st.sampled_from([0.0, 0.5, 1.0])) / max(sum(shares), 1e-300)
    quantity = draw(st.floats(1e-3, 1e6))
    return {
        "quantity": quantity,
        "decision_price": draw(PRICE),
        "arrival_price": draw(PRICE),
        "filled": [quantity * share * of_all for share in shares],
        "fill_price": [draw(PRICE) for _ in shares],
        "end_price": draw(PRICE),
        "fees": draw(st.floats(-1.0, 1.0)) * quantity,
    }


def close(one: Shortfall, two: Any) -> None:
    assert list(one) == pytest.approx(list(two), rel=1e-9, abs=1e-8)


@given(orders(), st.sampled_from([-1, 1]), st.booleans())
def test_the_parts_sum_to_paper_minus_real(order: dict[str, Any], side: int, inverse: bool) -> None:
    """Perold: a portfolio that traded all at the decision price, less the real one, both valued at the end."""
    cost = shortfall(side, **order, inverse=inverse)

    def worth(price: float) -> float:
        return -1.0 / price if inverse else price

    size, decided, end = order["quantity"], order["decision_price"], worth(order["end_price"])
    paper = side * size * (end - worth(decided))
    fills = zip(order["filled"], order["fill_price"], strict=True)
    real = sum(side * part * (end - worth(price)) for part, price in fills) - order["fees"]
    of = size / decided if inverse else size * decided
    close(cost, (*cost[:4], 1e4 * (paper - real) / of))
    assert sum(cost[:4]) == pytest.approx(cost.total_bp, rel=1e-9, abs=1e-8)


@given(orders(), st.sampled_from([-1, 1]))
def test_buying_and_selling_mirror_each_other(order: dict[str, Any], side: int) -> None:
    cost, other = shortfall(side, **order), shortfall(-side, **order)
    close(other, [-part for part in cost[:3]] + [cost.fees_bp, cost.fees_bp - sum(cost[:3])])
    # An inverse contract is the other side's trade in what is priced at 1/p
    prices = ("decision_price", "arrival_price", "end_price")
    turned = order | {name: 1.0 / order[name] for name in prices}
    turned["fill_price"] = [1.0 / price for price in order["fill_price"]]
    close(shortfall(side, **order, inverse=True), shortfall(-side, **turned))


@given(orders(), st.sampled_from([-1, 1]), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_neither_currency_nor_size_matters(
    order: dict[str, Any], side: int, price: float, size: float, inverse: bool
) -> None:
    scaled = {
        "quantity": size * order["quantity"],
        "filled": [size * part for part in order["filled"]],
        "fees": order["fees"] * (size / price if inverse else size * price),
        "fill_price": [price * value for value in order["fill_price"]],
    } | {name: price * order[name] for name in ("decision_price", "arrival_price", "end_price")}
    close(shortfall(side, **scaled, inverse=inverse), shortfall(side, **order, inverse=inverse))


@given(st.lists(orders(), min_size=1, max_size=5), st.sampled_from([-1, 1]), st.booleans())
def test_many_orders_at_once(several: list[dict[str, Any]], side: int, as_tensors: bool) -> None:
    fills = max(len(order["filled"]) for order in several)
    columns = {name: np.array([order[name] for order in several]) for name in several[0] if "fill" not in name}
    for name, beyond in (("filled", 0.0), ("fill_price", math.nan)):
        columns[name] = np.array([order[name] + [beyond] * (fills - len(order[name])) for order in several])
    kind: Any = torch.from_numpy if as_tensors else np.asarray
    together = shortfall(side, **{name: kind(values) for name, values in columns.items()})
    assert all(isinstance(part, torch.Tensor if as_tensors else np.ndarray) for part in together)
    for row, order in enumerate(several):
        close(shortfall(side, **order), [float(part[row]) for part in together])


def test_one_fill_for_each_of_several_orders() -> None:
    cost = shortfall(np.array([1, -1]), 10.0, 100.0, 100.0, np.array([10.0, 5.0]), np.array([101.0, 98.0]), 97.0)
    assert cost.realised_bp.tolist() == pytest.approx([100.0, 100.0])
    assert cost.missed_bp.tolist() == pytest.approx([0.0, 150.0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantity": 0.0}, "quantity"),
        ({"decision_price": math.nan}, "decision_price"),
        ({"arrival_price": -1.0}, "arrival_price"),
        ({"end_price": math.inf}, "end_price"),
        ({"fill_price": 0.0}, "fill_price"),
        ({"filled": 1001.0}, "more was filled"),
        ({"filled": -1.0}, "filled is negative"),
        ({"filled": math.nan}, "filled is negative or NaN"),
    ],
)
def test_impossible_orders_are_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(BadPriceError, match=said):
        shortfall(+1, **EXAMPLE | change)


def test_a_side_is_one_of_two() -> None:
    with pytest.raises(DataError, match="side"):
        shortfall(0, **EXAMPLE)


def costs(delay: float = 0.0, realised: float = 0.0, missed: float = 0.0, fees: float = 0.0) -> Shortfall:
    return Shortfall(delay, realised, missed, fees, delay + realised + missed + fees)


@pytest.mark.parametrize(
    ("opens", "cost", "regret", "name"),
    [
        (True, costs(missed=2.0), 0.0, PhantomEvent.MISSED_ENTRY),
        (True, costs(delay=2.0), 0.0, PhantomEvent.DELAYED_ACTION),
        (True, costs(delay=2.0, missed=1.9), 0.0, PhantomEvent.DELAYED_ACTION),
        (True, costs(delay=2.0, missed=2.0), 0.0, PhantomEvent.MISSED_ENTRY),
        (True, costs(delay=1.0, missed=1.0), 0.0, PhantomEvent.NONE),  # at the threshold is not above it
        (True, costs(realised=9.0, fees=9.0), 9.0, PhantomEvent.NONE),  # not of being late; no exit, no regret
        (True, costs(delay=-9.0, missed=-9.0), 0.0, PhantomEvent.NONE),
        (False, costs(), 1.5, PhantomEvent.EARLY_EXIT),
        (False, costs(delay=0.75, missed=0.75), 0.0, PhantomEvent.DELAYED_ACTION),
        (False, costs(delay=3.0, missed=-2.5), 1.5, PhantomEvent.EARLY_EXIT),
        (False, costs(missed=5.0), 5.0, PhantomEvent.EARLY_EXIT),
        (False, costs(delay=2.0), math.nan, PhantomEvent.DELAYED_ACTION),
        (False, costs(), math.nan, PhantomEvent.NONE),
    ],
)
def test_names(opens: bool, cost: Shortfall, regret: float, name: PhantomEvent) -> None:
    assert name_event(opens, cost, regret) is name
    rows = Shortfall(*(np.array([part, 0.0]) for part in cost))
    assert name_event(np.array([opens, opens]), rows, np.array([regret, 0.0])).tolist() == [name, PhantomEvent.NONE]
    tensors = Shortfall(*(torch.tensor([part], dtype=torch.float64) for part in cost))
    found = name_event(opens, tensors, regret)
    assert (found.dtype, found.tolist()) == (torch.int8, [name])


def test_the_threshold() -> None:
    assert name_event(True, costs(delay=0.5), threshold_bp=0.0) is PhantomEvent.DELAYED_ACTION
    assert name_event(True, costs(), threshold_bp=0.0) is PhantomEvent.NONE
    with pytest.raises(DataError, match="threshold"):
        name_event(True, costs(), threshold_bp=-1.0)


def test_regret_by_hand() -> None:
    assert regret_bp(-1, 200.0, 202.0) == pytest.approx(100.0)
    assert regret_bp(+1, 200.0, 202.0) == pytest.approx(-100.0)
    # 1 USD of inverse contracts sold at 200: 1/200 - 1/250 BTC more at 250, of 1/200
    assert regret_bp(-1, 200.0, 250.0, inverse=True) == pytest.approx(2000.0)
    assert regret_bp(np.array([-1, 1]), 200.0, np.array([202.0, 198.0])).tolist() == pytest.approx([100.0, 100.0])
