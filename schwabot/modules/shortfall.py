"""What an order lost between the decision and its end, split by cause, and what to call it. Pure functions.

Axis legend: ... orders (any shape, none for a single order), F fills.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from schwabot.errors import BadPriceError, DataError
from schwabot.records.audit import PhantomEvent

_WHOLE = 1e-12  # of the quantity: what sums of fills may be off by rounding


class Shortfall(NamedTuple):
    """What an order lost, in bp of its size at the decision price; positive = it cost money.

    Each is a float, or an array of the orders' shape.

    Attributes:
        delay_bp: of what was filled, the price's move from the decision until the order was at the venue.
        realised_bp: of what was filled, the move from then until the fills: spread, impact, waiting.
        missed_bp: of what was not filled, the move from the decision until the order ended.
        fees_bp: fees paid, rebates negative.
        total_bp: paper portfolio minus real one: the sum of the four.
    """

    delay_bp: Any
    realised_bp: Any
    missed_bp: Any
    fees_bp: Any
    total_bp: Any


def shortfall(
    side: Any,
    quantity: Any,
    decision_price: Any,
    arrival_price: Any,
    filled: Any,
    fill_price: Any,
    end_price: Any,
    fees: Any = 0.0,
    *,
    inverse: bool = False,
) -> Shortfall:
    r"""Split the implementation shortfall of orders into delay, realised, missed and fees.

    .. math::
        \mathrm{delay} = s f\,r(p_a), \quad
        \mathrm{realised} = s \sum_k f_k (r(p_k) - r(p_a)), \quad
        \mathrm{missed} = s (1 - f)\,r(p_e), \quad
        f = \sum_k f_k = \sum_k q_k / Q

    with r(p) = (p - p_d)/p_d, times 10,000. The total is computed apart from them, as the money by which a paper
    portfolio that trades all of Q at the decision price without fees beats the real one, both valued at the end:
    s (sum of q_k (p_k - p_d) + (Q - sum of q_k) (p_e - p_d)) + fees, over Q p_d.

    An *inverse* contract of quantity Q in quote currency is worth Q/p of the base asset, in which it settles. Gains are
    Q (1/p_d - 1/p), so r(p) = 1 - p_d/p, and size and fees are in base asset: Q/p_d.

    All arguments broadcast; floats give floats, arrays give arrays, tensors give tensors of their device, all float64.

    Args:
        side: +1 buys, -1 sells.
        quantity: Q, ordered: base asset, or quote currency (contracts times their value) of inverse contracts. Above 0.
        decision_price: mid or touch when it was decided to trade.
        arrival_price: the same when the order reached the venue, the re-benchmark; without fills it does not matter.
        filled: quantity of every fill; 0 = no fill, whose price does not matter. [...] one fill an order, or [..., F]
        fill_price: price of every fill, like ``filled``.
        end_price: when the order was done, cancelled or expired; of a fully filled order it does not matter.
        fees: paid for the order: quote currency, or base asset of inverse contracts; rebates negative.
        inverse: the contracts are inverse.

    Shape:
        [...], that of the orders.

    Raises:
        BadPriceError: a price or quantity that is not positive and finite, or fills beyond the order.
        DataError: a side that is neither +1 nor -1.

    Source:
        Perold (1988), "The implementation shortfall: paper versus reality", J. Portfolio Management 14(3); the split of
        the filled part at the arrival: Wagner, Edwards (1993), "Best execution", Financial Analysts Journal 49(1).

    Example:
        >>> cost = shortfall(+1, 1000, 40.00, 40.04, filled=700, fill_price=40.05, end_price=40.08, fees=17.0)
        >>> [round(part, 6) for part in cost]
        [7.0, 1.75, 6.0, 4.25, 19.0]
        >>> sold = shortfall(-1, 2.0, 100.0, 100.0, filled=[0.5, 1.5], fill_price=[99.9, 99.8], end_price=99.0)
        >>> round(sold.realised_bp, 9)
        17.5
    """
    given = (side, quantity, decision_price, arrival_price, end_price, fees)
    s, size, decision, arrival, end, paid = _together(*given, like=(filled, fill_price))
    part, price = _together(filled, fill_price, like=given)
    if part.dim() <= s.dim():
        part, price = part[..., None], price[..., None]
    _check(s, size, decision, part)
    done = part.sum(-1)
    open_ = size - done
    left = torch.where(open_ > _WHOLE * size, open_, 0.0)
    # what does not matter may be NaN
    arrival = _needed("arrival_price", arrival, done > 0, decision)
    end = _needed("end_price", end, left > 0, decision)
    price = _needed("fill_price", price, part > 0, decision[..., None])

    def gone(p: torch.Tensor, since: torch.Tensor) -> torch.Tensor:
        """Move to p, as a share of the decision price."""
        return (p - since) / p if inverse else (p - since) / since

    own = decision[..., None]
    notional = size / decision if inverse else size * decision
    delay = s * (done / size) * gone(arrival, decision)
    realised = s * (part / size[..., None] * (gone(price, own) - gone(arrival, decision)[..., None])).sum(-1)
    missed = s * (left / size) * gone(end, decision)
    per_unit = (1.0 / decision - 1.0 / end, 1.0 / own - 1.0 / price) if inverse else (end - decision, price - own)
    lost = s * ((part * per_unit[1]).sum(-1) + left * per_unit[0]) + paid
    parts = (1e4 * delay, 1e4 * realised, 1e4 * missed, 1e4 * paid / notional, 1e4 * lost / notional)
    return Shortfall(*_as_given(parts, (*given, filled, fill_price)))


def regret_bp(side: Any, exit_price: Any, later_price: Any, *, inverse: bool = False) -> Any:
    """What a position would have gained had its exit waited: -s (later - exit)/exit in bp, s the side of the exit.

    Args:
        side: of the exit: -1 sells a long position, +1 buys a short one back.
        exit_price: it was closed at.
        later_price: as much later as one would have waited. Looks ahead.
        inverse: the contract is inverse, and the gain in base asset.

    Shape: [...]

    Example:
        >>> round(regret_bp(-1, 40.0, 40.1), 9), round(regret_bp(+1, 40.0, 40.1), 9)
        (25.0, -25.0)
    """
    given = (side, exit_price, later_price)
    s, now, later = _together(*given)
    return _as_given((-1e4 * s * (later - now) / (later if inverse else now),), given)[0]


def name_event(opens: Any, cost: Shortfall, regret_bp: Any = 0.0, *, threshold_bp: float = 1.0) -> Any:
    """Name what the phantom took from an order, if it took more than ``threshold_bp``.

    - ``MISSED_ENTRY``: the order was to open or enlarge a position, a part of it was not filled, and the price ran away
      from that part: missed_bp above the threshold.
    - ``EARLY_EXIT``: the order closed or reduced a position, and after it the price went on the position's way:
      ``regret_bp`` above the threshold.
    - ``DELAYED_ACTION``: the price ran away before the order was at the venue: delay_bp above the threshold. An exit
      that was not filled is an action still to be taken, so there missed_bp counts with delay_bp.

    Of several the one that cost most is named, of equal ones the first of these; NaN never counts. Spread and fees
    (realised_bp, fees_bp) are costs of trading, not of being late, and make no event.

    Args:
        opens: whether the order opens or enlarges a position.
        cost: of the order, as by ``shortfall``.
        regret_bp: as by ``regret_bp``; looks ahead. Of orders that open it does not matter.
        threshold_bp: below it nothing is named; at least 0.

    Returns:
        A ``PhantomEvent`` of floats; codes as int8 of arrays and tensors.

    Raises:
        DataError: a negative threshold.

    Example:
        >>> cost = shortfall(+1, 1000, 40.00, 40.04, filled=700, fill_price=40.05, end_price=40.08)
        >>> name_event(True, cost).name, name_event(True, cost, threshold_bp=10.0).name
        ('DELAYED_ACTION', 'NONE')
        >>> name_event(False, shortfall(-1, 1.0, 40.0, 40.0, 1.0, 40.0, 40.0), regret_bp=2.5).name
        'EARLY_EXIT'
    """
    if not threshold_bp >= 0:
        raise DataError(f"threshold_bp={threshold_bp}: use 0 or more")
    given = (opens, cost.delay_bp, cost.missed_bp, regret_bp)
    entry, delay, missed, regret = _together(*given)
    is_entry, none = entry != 0, torch.full_like(delay, -torch.inf)
    costs = torch.stack(
        [
            torch.where(is_entry, missed, none),
            torch.where(is_entry, none, regret),
            torch.where(is_entry, delay, delay + missed),
        ]
    )
    costs = torch.where(costs > threshold_bp, costs, -torch.inf)
    most = costs.amax(dim=0)
    code = torch.full_like(most, PhantomEvent.NONE, dtype=torch.int8)
    for named in (PhantomEvent.DELAYED_ACTION, PhantomEvent.EARLY_EXIT, PhantomEvent.MISSED_ENTRY):  # the first stays
        code[(costs[named - 1] == most) & (most > -torch.inf)] = named
    (answer,) = _as_given((code,), given)
    return PhantomEvent(int(answer)) if isinstance(answer, float) else answer


def _together(*values: Any, like: tuple[Any, ...] = ()) -> tuple[torch.Tensor, ...]:
    """Values as float64 tensors of one shape, on the device of those that are tensors."""
    device = next((value.device for value in (*values, *like) if isinstance(value, torch.Tensor)), None)
    tensors = [torch.as_tensor(value, dtype=torch.float64, device=device) for value in values]
    shape = np.broadcast_shapes(*(tuple(tensor.shape) for tensor in tensors))
    return tuple(tensor.expand(shape) for tensor in tensors)


def _as_given(found: tuple[torch.Tensor, ...], given: tuple[Any, ...]) -> list[Any]:
    """Answers in the kind of what was given: tensors, else arrays, else floats."""
    if any(isinstance(value, torch.Tensor) for value in given):
        return list(found)
    if any(isinstance(value, np.ndarray) for value in given) or found[0].dim():
        return [value.numpy() for value in found]
    return [float(value) for value in found]


def _check(side: torch.Tensor, size: torch.Tensor, decision: torch.Tensor, part: torch.Tensor) -> None:
    if not bool((side.abs() == 1).all()):
        raise DataError("side is neither +1 (buy) nor -1 (sell)")
    for name, values in (("quantity", size), ("decision_price", decision)):
        if not bool((values.isfinite() & (values > 0)).all()):
            raise BadPriceError(f"{name} is not positive and finite in some order")
    if not bool((part >= 0).all()):
        raise BadPriceError("filled is negative or NaN in some order; use 0 for no fill")
    if bool((part.sum(-1) > size * (1.0 + _WHOLE)).any()):
        raise BadPriceError("more was filled than ordered: a fill is counted twice, or belongs to another order")


def _needed(name: str, price: torch.Tensor, needed: torch.Tensor, instead: torch.Tensor) -> torch.Tensor:
    """A price where it is needed, some other one elsewhere."""
    if not bool((~needed | (price.isfinite() & (price > 0))).all()):
        raise BadPriceError(f"{name} is not positive and finite where it is needed")
    return torch.where(needed, price, instead)
