"""What latency costs in two models that have an answer: a limit order that is pegged late, and a follower that is slow.

Both are yardsticks for the measured lag curve; neither knows fees, queues or jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from schwabot.errors import ConfigError

_ROOT_2 = math.sqrt(2.0)
_ROOT_2_PI = math.sqrt(2.0 * math.pi)
_SETTLED = 1e-15  # of delta: an hour of stages adds less than 1e-8 of it from here on
_GRID = 400


@dataclass(frozen=True, slots=True)
class LatencyCost:
    """What a latency takes from a limit order.

    Attributes:
        relative: share of what the order earns without latency, 0 to 1.
        lost: relative times that; unit of ``delta``.
        earned: what the order still earns above the bid, h_0; unit of ``delta``.
        asymptote: the share as the latency goes to zero; above 1 or NaN where the latency is far from small.
    """

    relative: float
    lost: float
    earned: float
    asymptote: float


def latency_cost(latency_s: float, *, sigma: float, delta: float, mu: float, horizon_s: float) -> LatencyCost:
    r"""Share of a limit order's gain that is lost because it is placed ``latency_s`` late.

    One share is to be sold by a limit order within the horizon T, at the bid at its end if need be. The bid is a
    Brownian motion; buyers who pay up to delta above the bid arrive at rate mu. Every dt the order can be moved, and
    reaches the market dt later, when the bid has moved by s Z, Z standard normal. u is its premium over the bid at the
    decision, and h_i the best expected premium from the decision at i dt on. An order decided at T - dt would reach the
    market at T only, so with T = n dt there are n - 1 decisions, and h_{n-1} = 0:

    .. math::
        h_i = \max_u \Big\{ \mu\,dt \big[u (\Phi(b) - \Phi(a)) + s (\varphi(b) - \varphi(a))\big]
            + h_{i+1} \big[(1 - \mu\,dt) \Phi(b) + \mu\,dt\,\Phi(a)\big] \Big\}, \quad
        s = \sigma \sqrt{dt},\ b = u / s,\ a = (u - \delta) / s

    Z above b: the bid has run over the order, which is filled at the bid; between a and b: filled by a buyer, at
    u - s Z above the bid; below a: too dear for the buyer. Without latency the order earns
    :math:`\delta (1 - e^{-\mu T})`; the cost is what is missing to that. As dt goes to zero its share tends to
    :math:`\frac{s}{\delta} \sqrt{\log \frac{\delta^2}{2 \pi s^2}}` (their theorem 3), off by less than the order of
    s / delta, and closer by a logarithm only: 4 % at 1 and 10 ms in the example.

    Args:
        latency_s: dt, s; the horizon is rounded to a whole number of them.
        sigma: volatility of the price, per square root of a second.
        delta: what a buyer pays above the bid, such as the spread; unit of the price, any.
        mu: rate of such buyers, 1/s.
        horizon_s: T, s.

    Raises:
        ConfigError: a value that is not positive and finite, a latency beyond the horizon, or mu dt above 1.

    Source:
        Moallemi, Sağlam (2013), "The cost of latency in high-frequency trading", Operations Research 61(5).

    Example:
        >>> market = dict(sigma=1.92 / 23400**0.5, delta=0.058, mu=0.2005, horizon_s=10.0)
        >>> [round(latency_cost(dt, **market).relative, 4) for dt in (0.5, 0.1, 0.01)]
        [0.2412, 0.1285, 0.0502]
        >>> round(latency_cost(0.01, **market).asymptote, 4)
        0.0522
    """
    given = {"latency_s": latency_s, "sigma": sigma, "delta": delta, "mu": mu, "horizon_s": horizon_s}
    for name, value in given.items():
        if not 0.0 < value < math.inf:
            raise ConfigError(f"{name}={value}: use a positive number")
    if latency_s > horizon_s:
        raise ConfigError(f"latency_s={latency_s} is longer than horizon_s={horizon_s}: the order would come too late")
    if mu * latency_s > 1.0:
        raise ConfigError(f"mu={mu} buyers/s within latency_s={latency_s}: the model has room for one, so mu dt <= 1")
    # in units of s, so that the programme has two numbers: delta / s and mu dt
    s = sigma * math.sqrt(latency_s)
    stages = round(horizon_s / latency_s)
    earned = s * _programme(delta / s, mu * latency_s, stages - 1)
    best = delta * -math.expm1(-mu * latency_s * stages)
    relative = min(1.0, max(0.0, 1.0 - earned / best))
    inside = 2.0 * math.log(delta / (_ROOT_2_PI * s))
    asymptote = s / delta * math.sqrt(inside) if inside >= 0.0 else math.nan
    return LatencyCost(relative, relative * best, earned, asymptote)


def _programme(delta: float, chance: float, stages: int) -> float:
    """h_0 in units of s, for delta in units of s and the chance mu dt of a buyer per stage."""
    h = 0.0
    u = _best_on_grid(delta, chance, h)
    for _ in range(stages):
        u = _climb(u, delta, chance, h)
        after = _value(u, delta, chance, h)
        if after < h:  # never worse than not to offer: climbed off the peak
            u = _best_on_grid(delta, chance, h)
            after = max(h, _value(u, delta, chance, h))
        if after - h <= _SETTLED * delta:
            return after
        h = after
    return h


def _value(u: float, delta: float, chance: float, h: float) -> float:
    """What is maximised: expected premium of an order at u, h being what is expected one stage later."""
    a = u - delta
    below_b, below_a = _cdf(u), _cdf(a)
    filled = u * _between(a, u) + _pdf(u) - _pdf(a)
    return chance * filled + h * ((1.0 - chance) * below_b + chance * below_a)


def _climb(u: float, delta: float, chance: float, h: float) -> float:
    """The peak near u, by Newton's method on the derivative; from a grid where that does not lead to a peak."""
    for _ in range(30):
        a = u - delta
        at_b, at_a = _pdf(u), _pdf(a)
        slope = chance * (_between(a, u) - delta * at_a) + h * ((1.0 - chance) * at_b + chance * at_a)
        bend = chance * (at_b - at_a + delta * a * at_a) - h * ((1.0 - chance) * u * at_b + chance * a * at_a)
        if not bend < 0.0:
            break
        step = max(-1.0, min(1.0, -slope / bend))
        u += step
        if abs(step) < 1e-9:
            return u
    return _best_on_grid(delta, chance, h)


def _best_on_grid(delta: float, chance: float, h: float) -> float:
    """The best premium anywhere it can be, to about 1e-8 s: the peak is flat."""
    low, high = -8.0, delta + 8.0
    step = (high - low) / _GRID
    best = max((low + step * k for k in range(_GRID + 1)), key=lambda u: _value(u, delta, chance, h))
    low, high = best - step, best + step
    ratio = 0.5 * (math.sqrt(5.0) - 1.0)
    while high - low > 1e-8:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _value(left, delta, chance, h) < _value(right, delta, chance, h):
            low = left
        else:
            high = right
    return 0.5 * (low + high)


def _pdf(x: float) -> float:
    return math.exp(-0.5 * x * x) / _ROOT_2_PI


def _cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / _ROOT_2)


def _between(a: float, b: float) -> float:
    """Chance of a standard normal between a < b; from the tails where both lie in one."""
    return _cdf(-a) - _cdf(-b) if a > 0.0 else _cdf(b) - _cdf(a)


def follower_edge(cost: float, latency_s: float, *, sigma: float, delay_s: float) -> float:
    r"""Net gain per look at a follower that is its leader some time ago, for one who is late himself.

    .. math::
        2 \sigma \sqrt{\tau}\,\varphi(d) (1 - \ell / \tau) - 2 c\,(1 - \Phi(d)), \quad d = c / (\sigma \sqrt{\tau})

    The leader is a Brownian motion W of volatility sigma, the follower F(t) = W(t - tau). An *observation* is one look
    at a time t that does not depend on them: the deviation D = W(t) - F(t) is normal with variance sigma² tau. Where
    \|D\| > c one trades the follower towards the leader, is filled l later at F(t + l), and is out when it has arrived,
    F(t + tau) = W(t). Given D, F goes from F(t) to W(t) as a Brownian bridge, so \|D\| l / tau is gone on average when
    the order arrives (the realised lag), and \|D\| (1 - l / tau) - c is left. The mean over all observations, traded or
    not, with E[\|D\|; \|D\| > c] = 2 sigma sqrt(tau) phi(d) and P(\|D\| > c) = 2 (1 - Phi(d)), is the formula. First
    events of a desync under *continuous* looking are no such observations: there \|D\| is c, and the gain is less.

    Args:
        cost: c, of trading in and out; unit of the price, any.
        latency_s: l, from the look to the fill, s; from 0 to the delay.
        sigma: volatility of the leader, per square root of a second.
        delay_s: tau, how far the follower is behind, s.

    Raises:
        ConfigError: a value out of range.

    Example:
        >>> [round(follower_edge(1.0, late_s, sigma=1.0, delay_s=1.0), 4) for late_s in (0.0, 0.5, 1.0)]
        [0.1666, -0.0753, -0.3173]
    """
    if not (0.0 < sigma < math.inf and 0.0 < delay_s < math.inf and 0.0 <= cost < math.inf):
        raise ConfigError(f"sigma={sigma}, delay_s={delay_s}, cost={cost}: use positive numbers")
    if not 0.0 <= latency_s <= delay_s:
        raise ConfigError(f"latency_s={latency_s}: use 0 to delay_s={delay_s}; later there is nothing left to follow")
    scale = sigma * math.sqrt(delay_s)
    d = cost / scale
    return 2.0 * scale * _pdf(d) * (1.0 - latency_s / delay_s) - 2.0 * cost * _cdf(-d)
