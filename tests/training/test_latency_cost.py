"""What latency costs, against published numbers, brute force and a simulated market measured by our own module."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from schwabot.errors import ConfigError
from schwabot.modules.ghost_bridge import Ghost
from schwabot.modules.phantom_lag import PhantomLag
from schwabot.modules.settings import PhantomLagConfig
from schwabot.modules.tensor_harness import Timeline
from schwabot.training.latency_cost import follower_edge, latency_cost
from schwabot_kernels.align.reference import Aligned
from tests.modules.making import MS, A, B, clock, memory

MARKET = {"sigma": 1.92 / math.sqrt(23_400), "delta": 0.058, "mu": 0.2005, "horizon_s": 10.0}


@pytest.mark.parametrize(("latency_s", "share"), [(0.5, 0.2412), (0.1, 0.1285), (0.01, 0.0502), (0.001, 0.0187)])
def test_published_numbers(latency_s: float, share: float) -> None:
    found = latency_cost(latency_s, **MARKET)
    best = MARKET["delta"] * (1.0 - math.exp(-MARKET["mu"] * MARKET["horizon_s"]))
    assert round(found.relative, 4) == share
    assert found.lost == pytest.approx(found.relative * best, rel=1e-12)
    assert found.earned == pytest.approx(best - found.lost, rel=1e-12)


def by_brute_force(latency_s: float, sigma: float, delta: float, mu: float, horizon_s: float) -> float:
    """h_0 by trying 40,001 premiums at every stage; each one's worth is an integral over Z, done by Simpson's rule."""
    s = sigma * math.sqrt(latency_s)
    u = np.linspace(-6.0 * s, delta + 6.0 * s, 40_001)
    z = np.linspace(-9.0, 9.0, 200_001)
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    def below(values: np.ndarray) -> np.ndarray:
        """Integral of ``values`` from -9, at every z."""
        step = 0.5 * (values[1:] + values[:-1]) * (z[1] - z[0])
        return np.concatenate([[0.0], np.cumsum(step)])

    mass, moment = below(density), below(z * density)
    at_b, at_a = ([np.interp(edge, z, table) for table in (mass, moment)] for edge in (u / s, (u - delta) / s))
    filled = u * (at_b[0] - at_a[0]) - s * (at_b[1] - at_a[1])
    chance, h = mu * latency_s, 0.0
    for _ in range(round(horizon_s / latency_s) - 1):
        h = float((chance * filled + h * ((1.0 - chance) * at_b[0] + chance * at_a[0])).max())
    return h


@pytest.mark.parametrize(
    ("latency_s", "sigma", "delta", "mu", "horizon_s"),
    [
        (0.5, 0.01255, 0.058, 0.2005, 10.0),
        (0.1, 1.0, 0.01, 5.0, 3.0),  # the price outruns the spread within one latency
        (0.1, 1.0, 0.3, 9.0, 3.0),  # ... is as fast as it, and nearly every stage has a buyer
        (0.05, 0.2, 2.0, 0.01, 2.0),
        (1.0, 0.001, 5.0, 0.9, 12.0),
    ],
)
def test_the_maximum_is_one(latency_s: float, sigma: float, delta: float, mu: float, horizon_s: float) -> None:
    found = latency_cost(latency_s, sigma=sigma, delta=delta, mu=mu, horizon_s=horizon_s)
    assert found.earned == pytest.approx(by_brute_force(latency_s, sigma, delta, mu, horizon_s), rel=2e-5)


def test_the_share_tends_to_its_asymptote_and_grows_with_latency() -> None:
    found = [latency_cost(latency_s, **MARKET) for latency_s in (1e-3, 1e-2, 1e-1)]
    shares = [cost.relative for cost in found]
    assert shares == sorted(shares)
    # s / delta sqrt(log(delta^2 / (2 pi s^2))), s = sigma sqrt(dt), at 10 ms
    s = MARKET["sigma"] * 0.1
    assert found[1].asymptote == pytest.approx(s / 0.058 * math.sqrt(math.log(0.058**2 / (2 * math.pi * s**2))))
    # What is left is o(sqrt(dt)), though by a logarithm only.
    assert [cost.relative / cost.asymptote for cost in found] == pytest.approx([1.0, 1.0, 1.0], abs=0.05)
    # neither unit matters
    scaled = latency_cost(0.01, sigma=10 * MARKET["sigma"], delta=0.58, mu=MARKET["mu"], horizon_s=10.0)
    assert scaled.relative == pytest.approx(found[1].relative, rel=1e-9)
    assert math.isnan(latency_cost(0.1, sigma=1.0, delta=0.01, mu=1.0, horizon_s=1.0).asymptote)


def test_an_order_that_comes_at_the_end_earns_nothing() -> None:
    assert latency_cost(2.0, sigma=1.0, delta=1.0, mu=0.1, horizon_s=2.0).relative == 1.0


@pytest.mark.parametrize(
    "change",
    [{"latency_s": 0.0}, {"sigma": math.nan}, {"delta": -1.0}, {"mu": math.inf}, {"latency_s": 11.0}, {"mu": 11.0}],
)
def test_what_the_model_has_no_room_for_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        latency_cost(**{"latency_s": 0.1} | MARKET | change)


SHARES = (0.0, 0.5, 1.0)
TAU_MS, STEP_MS, PER_LOOK = 20, 10, 8


def looks(d: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains of trading, net of cost, at every look [count, len(SHARES)], as our module measures them; and its sides.

    Leader and follower in steps of 10 ms, sigma sqrt(tau) = 1 bp; every 80 ms one look, so that no two of them share
    anything. In between the deviation is given as 0: nobody looks, and the next desync is a new decision.
    """
    rng = np.random.default_rng(seed)
    events = count * PER_LOOK
    leader = np.cumsum(rng.normal(0.0, math.sqrt(STEP_MS / TAU_MS), events + TAU_MS // STEP_MS))
    leader, follower = leader[TAU_MS // STEP_MS :], leader[: -(TAU_MS // STEP_MS)]
    looking = np.arange(events) % PER_LOOK == 0
    deviation = np.zeros((events, 2))
    deviation[looking, 1] = (leader - follower)[looking]
    config = PhantomLagConfig(latencies_ms=[max(share * TAU_MS, 0.001) for share in SHARES])
    module = PhantomLag((A, B), config, desync_bp=d)
    batch = clock(STEP_MS * np.arange(events), np.arange(events) % 2)  # type: ignore[arg-type]
    mid = torch.from_numpy(np.stack([leader, follower], axis=1))
    zero, flag = torch.zeros_like(mid), torch.zeros(mid.shape, dtype=torch.int8)
    dt_s = torch.full((events,), 1e-3 * STEP_MS, dtype=torch.float64)
    # both quote at every event, with a half spread of 0.3 bp
    now_ns = batch.ts_ns[:, None].expand(mid.shape)
    aligned = Aligned(now_ns, mid, zero + 0.3, zero, zero, zero + 1.0, zero + 1.0, flag, dt_s)
    line = Timeline(aligned, zero, zero, zero, flag, flag)
    fair = Ghost(mid[:, 0], torch.from_numpy(deviation), torch.zeros(mid.shape, dtype=torch.bool))
    out, state = module(batch, line, fair, memory(events), module.initial_state())
    rest = module.finish(state, last_ns=int(batch.ts_ns[-1]))
    ts_ns, stream, cost = (
        np.concatenate([getattr(part, name) for part in (out.decisions, rest)])
        for name in ("ts_ns", "stream", "realised_cost_bp")
    )
    assert (stream == 1).all()
    # in at the touch a latency later, out where the leader was at the look, which the follower reaches after tau
    gain = np.zeros((count, len(SHARES)))
    gain[ts_ns // (MS * STEP_MS * PER_LOOK)] = cost[:, -1:] - cost - d
    return gain, cost


@pytest.mark.parametrize("d", [0.5, 1.0, 2.0])
def test_a_delayed_follower_costs_what_the_closed_form_says(d: float) -> None:
    count = 60_000
    gain, cost = looks(d, count, seed=int(10 * d))
    for k, share in enumerate(SHARES):
        want = follower_edge(d, share * TAU_MS / 1e3, sigma=1.0 / math.sqrt(TAU_MS / 1e3), delay_s=TAU_MS / 1e3)
        error = gain[:, k].std() / math.sqrt(count)
        assert abs(gain[:, k].mean() - want) < 4.0 * error
        assert error < 0.005
        # so much is gone per look when one acts l later: 2 sigma sqrt(tau) phi(d) l / tau
        gone = 2.0 * math.exp(-0.5 * d * d) / math.sqrt(2.0 * math.pi) * share
        assert cost[:, k].sum() / count == pytest.approx(gone, abs=4.0 * max(cost[:, k].std(), 1e-9) / math.sqrt(count))
    # twice the chance of a normal beyond d
    assert len(cost) / count == pytest.approx(math.erfc(d / math.sqrt(2.0)), abs=4.0 / math.sqrt(count))


def test_follower_edge_by_hand() -> None:
    # sigma sqrt(tau) = 2, c = 2, so d = 1: 4 phi(1) (1 - 1/4) - 4 (1 - Phi(1))
    want = 4.0 * 0.24197072451914337 * 0.75 - 4.0 * 0.15865525393145707
    assert follower_edge(2.0, 1.0, sigma=1.0, delay_s=4.0) == pytest.approx(want, rel=1e-12)
    assert follower_edge(0.0, 0.0, sigma=1.0, delay_s=1.0) == pytest.approx(math.sqrt(2.0 / math.pi))
    for wrong in ({"latency_s": 4.1}, {"latency_s": -0.1}, {"cost": -1.0}, {"sigma": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            follower_edge(**{"cost": 1.0, "latency_s": 1.0, "sigma": 1.0, "delay_s": 4.0} | wrong)  # type: ignore[arg-type]
