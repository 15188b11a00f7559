"""The ridge against plain numpy, and a market whose true relation is known.

Axis legend: n rows, V streams, F features.
"""

from __future__ import annotations

import numpy as np
import pytest

from schwabot.training.forecast_rows import Rows
from schwabot.training.ridge import Part, RidgeConfig, fit_ridge, score

F = 9
CLIP = 3.0


def rows(rng: np.random.Generator, n: int, streams: int, horizons: int = 2) -> Rows:
    features = rng.standard_t(3, size=(n, streams, F)).astype(np.float32) * (1 + np.arange(F, dtype=np.float32))
    outcome = rng.normal(size=(n, streams, horizons)).astype(np.float32) + 0.2 * features[:, :, :1]
    return Rows(np.arange(n) * 1_000_000, rng.random(n) < 0.7, features, outcome.astype(np.float32), reach_ns=1000)


def plain(parts: list[Part], roles: int, penalty: float, grid_share: float, mask_share: float) -> np.ndarray:
    """The same by stacking every weighted row and every masked copy, one target role at a time: [H, R, R*F]."""
    square = np.zeros((roles, F))
    seen = np.zeros((roles, 1))
    stacked = []
    for part in parts:
        feature = np.zeros((len(part.rows), roles, F))
        feature[:, list(part.roles)] = part.rows.features
        outcome = np.full((len(part.rows), roles, 2), np.nan)
        outcome[:, list(part.roles)] = part.rows.outcome_bp
        weight = np.zeros(len(part.rows))
        for kind, share in ((part.rows.quote, 1 - grid_share), (~part.rows.quote, grid_share)):
            weight[part.counts & kind] = share / (part.counts & kind).sum()
        stacked.append((feature, outcome, weight, part.roles))
        for r in part.roles:
            square[r] += (weight[:, None] * feature[:, r] ** 2).sum(axis=0)
            seen[r] += 1
    scale = np.sqrt(square / seen)
    answer = np.zeros((2, roles, roles * F))
    for r in range(roles):
        x, y, w = [], [], []
        for feature, outcome, weight, own in stacked:
            if r not in own:
                continue
            z = np.clip(feature / scale, -CLIP, CLIP)
            copies = [(z, 1 - mask_share if len(own) > 1 else 1.0)]
            for gone in own if len(own) > 1 else ():
                masked = z.copy()
                masked[:, gone] = 0
                copies.append((masked, mask_share / len(own)))
            for copy, share in copies:
                x.append(copy.reshape(len(copy), -1))
                y.append(outcome[:, r])
                w.append(weight * share)
        x_all, y_all, w_all = np.concatenate(x), np.concatenate(y), np.concatenate(w)
        assets = sum(r in own for *_, own in stacked)
        gram = (x_all * w_all[:, None]).T @ x_all / assets + penalty * np.eye(roles * F)
        answer[:, r] = np.linalg.solve(gram, (x_all * w_all[:, None]).T @ np.nan_to_num(y_all) / assets).T
    return answer


@pytest.mark.parametrize("mask_share", [0.0, 0.3])
def test_equals_stacked_rows(mask_share: float) -> None:
    """Two assets of two and three streams that share two roles; rows that don't count are not looked at."""
    rng = np.random.default_rng(0)
    first, second = rows(rng, 400, 2), rows(rng, 300, 3)
    parts = [Part(first, rng.random(400) < 0.7, (0, 2)), Part(second, rng.random(300) < 0.8, (0, 1, 2))]
    first.features[~parts[0].counts] = 1e3
    found = fit_ridge(parts, 3, [0.1, 5.0], RidgeConfig(CLIP, 0.4, mask_share))
    for p, penalty in enumerate((0.1, 5.0)):
        expected = plain(parts, 3, penalty, 0.4, mask_share)
        np.testing.assert_allclose(found.coefficients[p], expected, rtol=1e-9, atol=1e-12)


def test_errors_are_those_of_the_forecasts() -> None:
    rng = np.random.default_rng(1)
    data = rows(rng, 500, 2)
    part = Part(data, rng.random(500) < 0.5, (1, 0))
    fitted = fit_ridge([part], 2, [0.3], RidgeConfig(CLIP))
    sums = score(fitted, part)
    energy, error = sums.energy, sums.error
    z = np.clip(data.features[:, [1, 0]] / fitted.scale, -CLIP, CLIP).reshape(500, -1)
    for v, role in enumerate(part.roles):
        for h in range(2):
            miss = data.outcome_bp[:, v, h] - z @ fitted.coefficients[0, h, role]
            for kind, of_kind in enumerate((data.quote, ~data.quote)):
                counts = part.counts & of_kind
                assert energy[kind, v, h] == pytest.approx((data.outcome_bp[counts, v, h].astype(float) ** 2).sum())
                assert error[0, kind, v, h] == pytest.approx((miss[counts] ** 2).sum())


def test_a_known_relation_is_found() -> None:
    """A follower that closes 40 % of its deviation, seen through noise: R² comes to what theory allows.

    y = 0.4 d + e with var(d) = 1 and var(e) = s²: R² = 0.16 / (0.16 + s²), the noise features notwithstanding.
    """
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60_000, 2, F)).astype(np.float32)
    noise = 0.8
    outcome = 0.4 * features[:, :, :1] + noise * rng.normal(size=(60_000, 2, 1))
    data = Rows(np.arange(60_000), rng.random(60_000) < 0.5, features, outcome.astype(np.float32), reach_ns=1)
    first = np.arange(60_000) < 30_000
    fitted = fit_ridge([Part(data, first, (0, 1))], 2, [1e-4], RidgeConfig())
    assert fitted.coefficients[0, 0, 0, 0] / fitted.scale[0, 0] == pytest.approx(0.4, abs=0.02)
    sums = score(fitted, Part(data, ~first, (0, 1)))
    np.testing.assert_allclose(1 - sums.error[0] / sums.energy, 0.16 / (0.16 + noise**2), atol=0.015)


def test_what_says_nothing_is_not_used() -> None:
    """Rounding, as the deviation of a lone stream is, must not be blown up to unit size."""
    rng = np.random.default_rng(3)
    data = rows(rng, 300, 1)
    data.features[:, 0, 0] = 1e-13 * rng.normal(size=300)
    fitted = fit_ridge([Part(data, np.ones(300, bool), (0,))], 1, [0.1], RidgeConfig(CLIP, mask_share=0.3))
    assert fitted.scale[0, 0] == 0
    assert (fitted.coefficients[..., 0] == 0).all()
    assert (fitted.scale[0, 1:] > 0).all()


def test_a_still_stream_gets_the_forecast_zero() -> None:
    rng = np.random.default_rng(4)
    data = rows(rng, 300, 2)
    data.outcome_bp[:, 1] = 0
    fitted = fit_ridge([Part(data, np.ones(300, bool), (0, 1))], 2, [0.1], RidgeConfig(CLIP, mask_share=0.3))
    assert (fitted.coefficients[:, :, 1] == 0).all()
    assert (fitted.coefficients[:, :, 0] != 0).any()
