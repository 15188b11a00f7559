r"""Ridge regression of what followed on scaled features, jointly over assets, from sums alone.

Axis legend: n rows, R roles, V streams of an asset, F features of a stream, D = R F, H horizons, P penalties.

A role is what a stream is, whatever the asset: ``binance:*/USDT``. Streams of the same role share coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from schwabot.records.market import Float64, Int64
from schwabot.training.device_rows import DeviceRows
from schwabot.training.forecast_rows import Bool, Rows

SILENT = 1e-9
"""A feature whose RMS is no larger is rounding: it is not used."""
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class RidgeConfig:
    """What a fit takes beside its penalties; see ``FitConfig``."""

    clip: float = 12.0
    grid_share: float = 0.5
    mask_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one asset that count.

    Attributes:
        rows: all rows of the asset.
        counts: which of them. bool [n]
        roles: place of each of its streams among the R roles. [V]
        there: the same rows on a device, which does the sums while it can; None = the CPU does.
    """

    rows: Rows
    counts: Bool
    roles: tuple[int, ...]
    there: DeviceRows | None = None


@dataclass(frozen=True, slots=True)
class Moments:
    """Weighted mean products of one asset's rows, and of what they lead to.

    Attributes:
        gram: of scaled features with themselves. [D, D]
        cross: of scaled features with outcomes. [D, R, H]
        energy: mean squared outcomes, 0 for roles that are not there. [R, H]
        target: roles that are there. bool [R]
    """

    gram: Float64
    cross: Float64
    energy: Float64
    target: Bool


def weights(part: Part, grid_share: float) -> Float64:
    """Weight of every row that counts; quotes and grid points each have their share, and all sum to 1: [n]."""
    weight = np.zeros(len(part.rows))
    kinds = [(part.counts & part.rows.quote, 1.0 - grid_share), (part.counts & ~part.rows.quote, grid_share)]
    shares = [(rows, share) for rows, share in kinds if share > 0 and rows.any()]
    whole = sum(share for _, share in shares)
    for rows, share in shares:
        weight[rows] = share / whole / np.count_nonzero(rows)
    return weight


def feature_scale(parts: Sequence[Part], roles: int, grid_share: float) -> Float64:
    """Root mean square of each feature over the assets that have the role; 0 where it says nothing: [R, F]."""
    features = parts[0].rows.features.shape[2]
    square, assets = np.zeros((roles, features)), np.zeros((roles, 1))
    for part in parts:
        found = part.there.squares(*_weighed(part, grid_share)) if part.there else None
        if found is None:
            found = np.zeros((len(part.roles), features))
            for weight, feature, _ in _chunks(part, grid_share):
                found += np.einsum("n,nvf->vf", weight, feature * feature)
        np.add.at(square, list(part.roles), found)
        np.add.at(assets, list(part.roles), 1.0)
    scale = np.sqrt(square / np.maximum(assets, 1.0))
    scale[scale <= SILENT] = 0.0
    return scale


def scaled(features: Float64, scale: Float64, clip: float) -> Float64:
    """clip(f / scale, -clip, clip), 0 where the scale is 0. Shapes [n, V, F] and [V, F]."""
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.clip(features * inverse, -clip, clip)


def moments(part: Part, scale: Float64, config: RidgeConfig) -> Moments:
    """Weighted means over the rows of one asset. ``scale`` is [R, F]."""
    roles, features = scale.shape
    at = list(part.roles)
    horizons = part.rows.outcome_bp.shape[2]
    wide = len(at) * features
    summed = part.there.products(*_weighed(part, config.grid_share), scale[at], config.clip) if part.there else None
    gram, cross, energy = summed or _products(part, scale[at], config)
    place = (np.array(at)[:, None] * features + np.arange(features)).ravel()
    all_gram, all_cross = np.zeros((roles * features,) * 2), np.zeros((roles * features, roles, horizons))
    all_gram[np.ix_(place, place)] = gram
    all_cross[np.ix_(place, at)] = cross.reshape(wide, len(at), horizons)
    all_energy, target = np.zeros((roles, horizons)), np.zeros(roles, np.bool_)
    all_energy[at], target[at] = energy, True
    return Moments(all_gram, all_cross, all_energy, target)


def _products(part: Part, scale: Float64, config: RidgeConfig) -> tuple[Float64, Float64, Float64]:
    """As ``DeviceRows.products``, on the CPU."""
    wide, (streams, horizons) = scale.size, part.rows.outcome_bp.shape[1:]
    gram, cross, energy = np.zeros((wide, wide)), np.zeros((wide, streams * horizons)), np.zeros((streams, horizons))
    for weight, feature, outcome in _chunks(part, config.grid_share):
        z = scaled(feature, scale, config.clip).reshape(len(weight), -1)
        weighted = z * weight[:, None]
        gram += weighted.T @ z
        cross += weighted.T @ outcome.reshape(len(weight), -1)
        energy += np.einsum("n,nvh->vh", weight, outcome * outcome)
    return gram, cross, energy


def with_missing(found: Moments, features: int, share: float) -> Moments:
    r"""Moments of the rows together with copies in which one stream's features are 0.

    .. math::
        (1 - s)\, G + \frac{s}{R} \sum_r P_r G P_r, \quad P_r \text{ without the rows and columns of role } r

    Args:
        found: of the rows themselves.
        features: F.
        share: s, weight of the copies.
    """
    present = np.flatnonzero(found.target)
    if share == 0.0 or len(present) < 2:
        return found
    own = np.repeat(np.arange(len(found.target)), features)
    # A product of two features survives in every copy but those without the stream of either.
    kept = (len(present) - 1.0 - (own[:, None] != own)) / len(present)
    once = (len(present) - 1.0) / len(present)
    return Moments(
        found.gram * (1.0 - share + share * kept),
        found.cross * (1.0 - share + share * once),
        found.energy,
        found.target,
    )


def solve(assets: Sequence[Moments], penalties: Sequence[float]) -> Float64:
    r"""Coefficients for every penalty; assets weigh the same, and each counts for the roles that it has.

    .. math::
        c_{rh} = \left( \bar G_r + \lambda I \right)^{-1} \bar g_{rh}

    Shape: [P, H, R, D].
    """
    wide, roles, horizons = assets[0].cross.shape
    answer = np.zeros((len(penalties), horizons, roles, wide))
    for r in range(roles):
        mine = [found for found in assets if found.target[r]]
        if not mine:
            continue
        gram = sum(found.gram for found in mine) / len(mine)
        cross = sum(found.cross[:, r] for found in mine) / len(mine)
        values, vectors = np.linalg.eigh(np.asarray(gram))
        turned = vectors.T @ np.asarray(cross)
        for p, penalty in enumerate(penalties):
            answer[p, :, r] = (vectors @ (turned / (values[:, None].clip(0.0) + penalty))).T
    return answer


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit for one or several penalties.

    Attributes:
        scale: [R, F]
        coefficients: [P, H, R, D]
        clip: limit of a scaled feature.
    """

    scale: Float64
    coefficients: Float64
    clip: float


def fit_ridge(parts: Sequence[Part], roles: int, penalties: Sequence[float], config: RidgeConfig) -> Fitted:
    r"""Fit every penalty to the rows that count.

    .. math::
        \min_c \sum_i w_i \left( y_i - c \cdot z_i \right)^2 + \lambda |c|^2, \quad
        z_i = \mathrm{clip}(f_i / s), \quad \sum_i w_i = 1

    No intercept: a flip of the price flips features and outcomes alike.

    Args:
        parts: one per asset, each with at least one row that counts.
        roles: R.
        penalties: P values of lambda.
        config: clip, weights of the rows, and of copies without one stream (see ``with_missing``).

    Source:
        Hoerl & Kennard (1970). Several tasks with shared coefficients: Caruana (1997).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> f = rng.normal(size=(5000, 1, 1)).astype(np.float32)
        >>> rows = Rows(np.arange(5000), np.ones(5000, bool), f, 0.5 * f, reach_ns=1)
        >>> fitted = fit_ridge([Part(rows, rows.quote, (0,))], 1, [1e-6], RidgeConfig())
        >>> (fitted.coefficients[0, 0, 0] / fitted.scale[0]).round(3)
        array([0.5])
    """
    scale = feature_scale(parts, roles, config.grid_share)
    found = [with_missing(moments(part, scale, config), scale.shape[1], config.mask_share) for part in parts]
    return Fitted(scale, solve(found, penalties), config.clip)


class Sums(NamedTuple):
    """Over the rows that count, quotes and grid points apart.

    Attributes:
        energy: of squared outcomes. [2, V, H]
        error: of squared errors of the forecasts. [P, 2, V, H]
    """

    energy: Float64
    error: Float64


def score(fitted: Fitted, part: Part) -> Sums:
    """How a fit does on rows of one asset."""
    at = list(part.roles)
    features = fitted.scale.shape[1]
    place = (np.array(at)[:, None] * features + np.arange(features)).ravel()
    weight = fitted.coefficients[:, :, at][..., place]
    energy = np.zeros((2, *part.rows.outcome_bp.shape[1:]))
    error = np.zeros((len(weight), *energy.shape))
    for kind, counts in enumerate((part.counts & part.rows.quote, part.counts & ~part.rows.quote)):
        rows = np.flatnonzero(counts)
        found = part.there.errors(rows, weight, fitted.scale[at], fitted.clip) if part.there else None
        if found is not None:
            energy[kind], error[:, kind] = found
            continue
        for _, feature, outcome in _chunks(Part(part.rows, counts, part.roles), 0.5):
            z = scaled(feature, fitted.scale[at], fitted.clip).reshape(len(feature), -1)
            energy[kind] += (outcome * outcome).sum(axis=0)
            for p in range(len(weight)):
                miss = outcome - np.tensordot(z, weight[p], axes=(1, 2)).transpose(0, 2, 1)
                error[p, kind] += (miss * miss).sum(axis=0)
    return Sums(energy, error)


def _weighed(part: Part, grid_share: float) -> tuple[Float64, Int64]:
    """Weight and place of the rows that count."""
    at = np.flatnonzero(part.counts)
    return weights(part, grid_share)[at], at


def _chunks(part: Part, grid_share: float) -> Iterator[tuple[Float64, Float64, Float64]]:
    """Weights, features and outcomes of the rows that count, some at a time, in double precision."""
    weight, at = weights(part, grid_share), np.flatnonzero(part.counts)
    for start in range(0, len(at), _CHUNK):
        rows = at[start : start + _CHUNK]
        yield (
            weight[rows],
            part.rows.features[rows].astype(np.float64),
            part.rows.outcome_bp[rows].astype(np.float64),
        )
