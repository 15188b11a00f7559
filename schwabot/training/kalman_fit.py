r"""Process variance q and observation variances r_v of the ``kalman`` ghost, by maximum likelihood.

Axis legend: N events, M observations, V streams, F = 1 + V parameters (ln q, then ln r of each stream).

What is observed is what the filter sees: y = x_v - compensated phase at the mid changes of a stream that takes part.
The likelihood is that of the innovations (Harvey 1989). One stream is enough to tell q from r: differences of a random
walk with noise have variance q dt + 2 r and covariance -r with their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from schwabot.errors import ConfigError, FitError, UnsortedTimeError
from schwabot.records.audit import Route, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int8, Int32, Int64, Ticks
from schwabot.training.recent_rows import RecentRows
from schwabot_kernels.kalman.cpu import SAME_BP
from schwabot_kernels.kalman.likelihood import negative_log_likelihood

LEAST, MOST = 1e-9, 1e6
"""Range of q in bp² per second and of r in bp²: from far below any tick to far above any market."""
_STARTS = (0.5, 0.05, 0.95)
"""Share of the observations' noise in the variance of their differences at which the search starts."""
_STEP = 1e-4
"""Of ln q and ln r, between two gradients whose difference is the curvature."""
_ROUNDS = 200
_NEWTON_STEPS = 20
_AT_REST = 1e-6
"""Squared distance to the bottom in standard errors that no longer counts."""
_AS_LIKELY = 1e-3
"""Difference of log-likelihood that tells nothing; one standard error makes 0.5."""
MIN_OBSERVATIONS = 50
"""Mid changes of a stream below which its r is held."""


class Observations(NamedTuple):
    """What the filter sees, in order of time.

    Attributes:
        ts_ns: when. [M]
        y_bp: mid less compensated phase. [M]
        stream: whose mid changed. int32 [M]
    """

    ts_ns: Int64
    y_bp: Float64
    stream: Int32


@dataclass(frozen=True)
class KalmanFit:
    """What the data say about q and r.

    Attributes:
        streams: V names.
        q_bp2_per_s: process variance.
        r_bp2: observation variance. [V]
        q_error: standard error of ln q, from the observed information; NaN where it was held or lies at its bound.
        r_error: of ln r, likewise. [V]
        log_likelihood: at the fit; of every observation but the first, given those before.
        observations: per stream. [V]
        first_ns, last_ns: of the first and the last observation.
        converged: the search came to rest and the likelihood is curved in every direction.
        held: ``q`` or stream → why it was not fitted, or why its error is unknown.
        evaluations: of the likelihood and its gradient.
        forgotten: observations the collector had no room for.
    """

    streams: tuple[str, ...]
    q_bp2_per_s: float
    r_bp2: Float64
    q_error: float
    r_error: Float64
    log_likelihood: float
    observations: Int64
    first_ns: int
    last_ns: int
    converged: bool
    held: Mapping[str, str]
    evaluations: int
    forgotten: int = 0

    def settings(self) -> dict[str, Any]:
        """The fit as settings of ``modules.ghost_bridge``."""
        by_stream = dict(zip(self.streams, self.r_bp2.tolist(), strict=True))
        return {"kalman_q_bp2_per_s": self.q_bp2_per_s, "kalman_r_by_stream_bp2": by_stream}

    def summary(self) -> dict[str, Any]:
        """Entries for summary.json; None where a number is unknown."""
        streams = {
            name: {"r_bp2": float(r), "ln_r_error": _known(error), "observations": int(count)}
            for name, r, error, count in zip(self.streams, self.r_bp2, self.r_error, self.observations, strict=True)
        }
        return {
            "q_bp2_per_s": self.q_bp2_per_s,
            "ln_q_error": _known(self.q_error),
            "streams": streams,
            "log_likelihood": self.log_likelihood,
            "observations": int(self.observations.sum()),
            "span_s": (self.last_ns - self.first_ns) / 1e9,
            "converged": self.converged,
            "held": dict(self.held),
            "evaluations": self.evaluations,
            "forgotten": self.forgotten,
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


class KalmanCollector:
    """Gathers what the Kalman ghost sees of a run, whichever estimator is running, and fits q and r to it.

    Memory: at most 40 bytes per kept observation plus 20 per row of a batch, so some 40 MB by default.

    Args:
        instruments: V instruments of the run.
        until_ns: later observations are not kept; None = all.
        max_observations: past it the oldest are forgotten; the fit is for what comes next.

    Raises:
        ConfigError: room for fewer observations than a fit needs.

    Example:
        >>> from schwabot.pipeline import Pipeline
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=20_000))
        >>> pipeline, collector = Pipeline(feed.instruments), KalmanCollector(feed.instruments)
        >>> for ticks in feed.batches():
        ...     collector.update(ticks, pipeline.step(ticks))
        >>> fit = collector.fit()
        >>> fit.converged, fit.r_bp2.shape, fit.summary()["observations"] == len(collector)
        (True, (4,), True)
    """

    def __init__(
        self, instruments: Sequence[Instrument], *, until_ns: int | None = None, max_observations: int = 1_000_000
    ) -> None:
        least = MIN_OBSERVATIONS * len(instruments)
        if max_observations < least:
            raise ConfigError(f"max_observations={max_observations}: {len(instruments)} streams need {least} or more")
        self.streams = tuple(instrument.stream for instrument in instruments)
        self.until_ns = until_ns
        self.max_observations = max_observations
        self.forgotten = 0
        """Observations there was no room for."""
        self._last_bp = np.full(len(self.streams), np.nan)
        self._rows = RecentRows(((), np.int64), ((), np.float64), ((), np.int32))

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch; ``ticks`` is not used.

        Raises:
            UnsortedTimeError: receive time ran backwards.
        """
        signals = record.signals
        self.take(
            record.ts_recv_ns, record.stream, signals.mid_bp, signals.route, signals.ghost_bp, signals.deviation_bp
        )

    def take(
        self, ts_ns: Int64, stream: Int32, mid_bp: Float64, route: Int8, ghost_bp: Float64, deviation_bp: Float64
    ) -> None:
        """Take one batch that is no step record; columns as in ``SignalColumns``.

        Raises:
            UnsortedTimeError: receive time ran backwards.
        """
        if np.any(np.diff(ts_ns, prepend=self._rows.column(0)[-1:]) < 0):
            raise UnsortedTimeError("receive time runs backwards in the step records; the fit needs them in order")
        rows = np.arange(len(ts_ns))
        own_bp = mid_bp[rows, stream]
        changed = np.zeros(len(rows), np.bool_)
        routed = route[rows, stream] == Route.OK
        for v in range(len(self.streams)):
            own = np.flatnonzero(routed & (stream == v))
            if len(own):
                changed[own] = ~(np.abs(np.diff(own_bp[own], prepend=self._last_bp[v])) <= SAME_BP)
                self._last_bp[v] = own_bp[own[-1]]
        # Deviation = ghost + compensated phase - mid. There is no ghost where every weight is zero, so no observation.
        y_bp = ghost_bp - deviation_bp[rows, stream]
        at = np.flatnonzero(changed & np.isfinite(y_bp))
        if self.until_ns is not None:
            at = at[: np.searchsorted(ts_ns[at], self.until_ns, side="right")]
        self._rows.append(ts_ns[at], y_bp[at], stream[at])
        over = max(0, len(self._rows) - self.max_observations)
        self._rows.forget(over)
        self.forgotten += over

    def observations(self, until_ns: int | None = None) -> Observations:
        """A copy of what is kept, up to and with ``until_ns``."""
        stop = len(self)
        if until_ns is not None:
            stop = int(np.searchsorted(self._rows.column(0), until_ns, side="right"))
        return Observations(*(self._rows.column(k)[:stop].copy() for k in range(3)))

    def fit(self, until_ns: int | None = None, *, prior_r_bp2: float = 0.05) -> KalmanFit:
        """Fit to what is kept, up to and with ``until_ns``; see ``fit_kalman``."""
        return fit_kalman(self.observations(until_ns), self.streams, prior_r_bp2=prior_r_bp2, forgotten=self.forgotten)


class _PerObservation(torch.autograd.Function):
    """Negative log-likelihood over M of ln q and ln r [F], with the compiled gradient."""

    @staticmethod
    def forward(ctx: Any, theta: torch.Tensor, likelihood: _Likelihood) -> torch.Tensor:
        """Value; the gradient comes with it."""
        value, ctx.slope = likelihood(theta.detach().numpy())
        ctx.rows = likelihood.rows
        return torch.tensor(value / ctx.rows, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Chain rule."""
        return grads[0] * torch.from_numpy(ctx.slope / ctx.rows), None


class _Likelihood:
    """Negative log-likelihood of ln q and ln r with its gradient, and how often it was asked for."""

    def __init__(self, dt_s: Float64, y_bp: Float64, stream: Int32) -> None:
        self.rows = len(y_bp)
        self.evaluations = 0
        self._data = dt_s, y_bp, stream

    def __call__(self, theta: Float64) -> tuple[float, Float64]:
        values = np.exp(theta)
        nll, slope_q, slope_r = negative_log_likelihood(*self._data, float(values[0]), values[1:])
        self.evaluations += 1
        return nll, np.concatenate([[slope_q], slope_r]) * values

    def curvature(self, theta: Float64, free: Int64) -> Float64:
        """Second derivatives among the free parameters [n, n], from the gradient a step to both sides."""
        rows = []
        for k in free:
            step = np.zeros_like(theta)
            step[k] = _STEP
            rows.append((self(theta + step)[1] - self(theta - step)[1])[free] / (2.0 * _STEP))
        matrix = np.array(rows)
        return np.asarray(0.5 * (matrix + matrix.T))


def fit_kalman(
    observations: Observations, streams: Sequence[str], *, prior_r_bp2: float = 0.05, forgotten: int = 0
) -> KalmanFit:
    r"""Maximum-likelihood q and r of the Kalman ghost.

    .. math::
        \hat q, \hat r = \arg\min \tfrac12 \sum_{i \ge 1} \left( \ln S_i + \nu_i^2 / S_i \right), \quad
        S_i = P_{i-1} + q\,\Delta t_i + r_{v_i}

    L-BFGS in ln q and ln r from three starts, then Newton steps. A stream with fewer than ``MIN_OBSERVATIONS`` mid
    changes, one that never moves above all, says too little of its r: that stays at the prior. What is as likely at
    ``LEAST`` as anywhere is put there. Both are named in ``held``.

    Args:
        observations: as ``KalmanCollector.observations`` gives them.
        streams: V names.
        prior_r_bp2: r of a stream that says too little.
        forgotten: observations before these, for the record.

    Raises:
        FitError: no stream has enough observations, no time passes between them, or none of them differs.
        ConfigError: the prior is out of range, or the columns do not fit each other.
        UnsortedTimeError: times run backwards.

    Source:
        Harvey (1989), Forecasting, Structural Time Series Models and the Kalman Filter, 3.4 (likelihood by prediction
        errors) and 3.4.6 (observed information).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> price = rng.normal(size=4_000).cumsum()  # q = 1 at one observation a second
        >>> stream = rng.integers(0, 2, 4_000).astype(np.int32)
        >>> y = price + rng.normal(size=4_000) * np.where(stream == 0, 0.5, 2.0)
        >>> fit = fit_kalman(Observations(np.arange(4_000) * 10**9, y, stream), ("a:X/Y", "b:X/Y"))
        >>> abs(math.log(fit.q_bp2_per_s / 1.0)) < 3 * fit.q_error
        True
        >>> np.abs(np.log(fit.r_bp2 / [0.25, 4.0])) < 3 * fit.r_error
        array([ True,  True])
    """
    _check(observations, len(streams), prior_r_bp2)
    ts_ns, y_bp, stream = observations
    count = np.bincount(stream, minlength=len(streams))
    if not len(stream) or count.max() < MIN_OBSERVATIONS:
        most = int(count.max()) if len(stream) else 0
        raise FitError(
            f"q and r can't be told from {len(stream)} mid changes, {most} of the busiest stream: at least"
            f" {MIN_OBSERVATIONS} of one stream are needed; fit on a longer piece"
        )
    dt_s = np.diff(ts_ns, prepend=ts_ns[0]) / 1e9
    spread = float(np.mean(np.diff(y_bp) ** 2))
    if not dt_s.any() or spread == 0.0:
        raise FitError(f"{len(stream)} mid changes, and {'no time' if spread else 'no price'} moves between them")
    likelihood = _Likelihood(dt_s, y_bp, stream)
    held = {
        name: f"{n} mid changes say too little, {MIN_OBSERVATIONS} are needed: kept at the prior {prior_r_bp2:g} bp²"
        for name, n in zip(streams, count, strict=True)
        if n < MIN_OBSERVATIONS
    }
    free = np.flatnonzero(np.concatenate([[True], count >= MIN_OBSERVATIONS]))
    found = []
    for share in _STARTS:
        start = np.full(1 + len(streams), prior_r_bp2)
        start[free] = 0.5 * share * spread
        start[0] = (1.0 - share) * spread / dt_s[1:].mean()
        theta = _search(likelihood, np.log(start.clip(LEAST, MOST)), free)
        found.append((likelihood(theta)[0], theta.tolist()))
    nll, theta = min(found)[0], np.array(min(found)[1])
    names = ("q", *streams)
    for k in free:
        lower = theta.copy()
        lower[k] = math.log(LEAST)
        if likelihood(lower)[0] < nll + _AS_LIKELY:
            theta, nll = lower, likelihood(lower)[0]
            held[names[k]] = f"too small to be told from none: at the lower bound {LEAST:g}"
        elif theta[k] >= math.log(MOST):
            held[names[k]] = f"at the upper bound {MOST:g}"
    free = np.array([k for k in free if names[k] not in held], np.int64)
    theta, error, at_rest = _newton(likelihood, theta, free)
    values = np.exp(theta)
    return KalmanFit(
        streams=tuple(streams),
        q_bp2_per_s=float(values[0]),
        r_bp2=values[1:],
        q_error=float(error[0]),
        r_error=error[1:],
        log_likelihood=-likelihood(theta)[0],
        observations=count.astype(np.int64),
        first_ns=int(ts_ns[0]),
        last_ns=int(ts_ns[-1]),
        converged=at_rest,
        held=held,
        evaluations=likelihood.evaluations,
        forgotten=forgotten,
    )


def _check(observations: Observations, streams: int, prior_r_bp2: float) -> None:
    """Refuse what the compiled likelihood would misread: it checks no bounds."""
    ts_ns, y_bp, stream = observations
    if not LEAST <= prior_r_bp2 <= MOST:
        raise ConfigError(f"prior_r_bp2={prior_r_bp2} is out of range: use {LEAST:g} to {MOST:g}")
    if not ts_ns.shape == y_bp.shape == stream.shape == (len(y_bp),):
        raise ConfigError(f"observations have lengths {ts_ns.shape}, {y_bp.shape} and {stream.shape}: one row each")
    if not np.isfinite(y_bp).all():
        raise ConfigError("observations must be finite")
    if len(stream) and not 0 <= stream.min() <= stream.max() < streams:
        raise ConfigError(f"stream runs from {stream.min()} to {stream.max()}, there are {streams} streams")
    if np.any(np.diff(ts_ns) < 0):
        raise UnsortedTimeError("times of the observations run backwards; the fit needs them in order")


def _search(likelihood: _Likelihood, start: Float64, free: Int64) -> Float64:
    """Where L-BFGS comes to rest, within the range."""
    fixed, at = torch.from_numpy(start), torch.from_numpy(free)
    moving = fixed[at].clone().requires_grad_()
    low, high = math.log(LEAST), math.log(MOST)
    search = torch.optim.LBFGS(
        [moving], max_iter=_ROUNDS, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def ask() -> float:
        search.zero_grad()
        theta = fixed.index_put((at,), moving.clamp(low, high))
        loss = cast(torch.Tensor, _PerObservation.apply(theta, likelihood))  # type: ignore[no-untyped-call]
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    search.step(ask)  # type: ignore[no-untyped-call]
    return fixed.index_put((at,), moving.detach().clamp(low, high)).numpy()


def _newton(likelihood: _Likelihood, theta: Float64, free: Int64) -> tuple[Float64, Float64, bool]:
    """To the very bottom: where it is, the standard errors of all F (NaN where not free), whether it was reached."""
    error = np.full(len(theta), np.nan)
    if not len(free):
        return theta, error, True
    for _ in range(_NEWTON_STEPS):
        nll, slope = likelihood(theta)
        curvature = likelihood.curvature(theta, free)
        if np.linalg.eigvalsh(curvature)[0] <= 0.0:
            return theta, error, False
        step = np.linalg.solve(curvature, slope[free])
        if step @ slope[free] < _AT_REST:
            error[free] = np.sqrt(np.diag(np.linalg.inv(curvature)))
            return theta, error, True
        further = theta.copy()
        further[free] -= step
        further = further.clip(math.log(LEAST), math.log(MOST))
        if not likelihood(further)[0] <= nll:
            return theta, error, False
        theta = further
    return theta, error, False
