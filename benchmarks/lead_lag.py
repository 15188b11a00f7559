"""How long does the lead-lag of two streams of 60,000 quotes over 400 lags take?

Random walks at random times, every quote another price (the worst case: of repeats between equal prices nothing is
kept), 200 lags of 10 ms on either side of 0 and 0 itself. Ours twice: the contrast alone on one core, and all that
mode=leadlag does with a pair on all cores, which is the contrast split by blocks of time, the correlation of bins
and 500 resamples. The peers are what one writes with numpy (two sorted searches per lag, no loop) and the definition,
every move of X against every move of Y, compiled; that takes so long that it is timed for one lag. Contrasts must agree
at every lag, those of the definition on the first 1,000 quotes, to 1e-9 of the largest. The package lead-lag of PyPI,
which computes the same contrast, is not beside them: its source distribution did not build here.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from benchmarks.measure import Finding, RedError, in_turn, timed, timed_threads
from schwabot.records.market import Float64, Int64
from schwabot.training.leadlag import LagGrid, LeadLagConfig, lead_lag
from schwabot.training.price_series import Series, to_series
from schwabot_kernels.leadlag.cpu import contrast
from schwabot_kernels.scalar import NJIT

TARGET_S = 2.0
GRID = LagGrid.of(max_lag_s=2.0, step_ms=10.0)


def walks(quotes: int) -> tuple[Series, Series]:
    """Y does 0.3 s later what X does, under noise of its own."""
    rng = np.random.default_rng(0)
    spacing_ns = rng.exponential(5e6, (2, quotes)).astype(np.int64) + 1
    time_x, time_y = np.cumsum(spacing_ns, axis=1)
    x = np.cumsum(rng.normal(size=quotes))
    y = np.interp(time_y - 3e8, time_x, x) + 0.1 * np.cumsum(rng.normal(size=quotes))
    return to_series(time_x, x, "x", returns="simple"), to_series(time_y, y, "y", returns="simple")


def by_search(x: Series, y: Series, lags_ns: Int64) -> Float64:
    """The same sums with numpy: for each lag two sorted searches and a product."""
    moves, last = np.diff(x.value), len(y.ts_ns) - 1
    out = np.empty(len(lags_ns))
    for row, lag in enumerate(lags_ns):
        before = np.maximum(np.searchsorted(y.ts_ns, x.ts_ns[:-1] + lag, "right") - 1, 0)
        after = np.minimum(np.searchsorted(y.ts_ns, x.ts_ns[1:] + lag, "left"), last)
        out[row] = moves @ (y.value[after] - y.value[before])
    return out


@njit(**NJIT)
def by_definition(time_x: Int64, x: Float64, time_y: Int64, y: Float64, lags: Int64) -> Float64:
    out = np.zeros(lags.size)
    for row in range(lags.size):
        for i in range(1, time_x.size):
            for j in range(1, time_y.size):
                start = max(time_x[i - 1], time_y[j - 1] - lags[row])
                end = min(time_x[i], time_y[j] - lags[row])
                if start < end:
                    out[row] += (x[i] - x[i - 1]) * (y[j] - y[j - 1])
    return out


def ours(x: Series, y: Series, lags_ns: Int64) -> Float64:
    block = np.zeros(len(x.ts_ns), np.int64)
    return contrast(x.ts_ns, x.value, y.ts_ns, y.value, lags_ns, block, 1)[:, 0]


def head(one: Series, quotes: int) -> Series:
    return Series(one.name, one.ts_ns[:quotes], one.value[:quotes], quotes)


def run(*, quick: bool) -> Finding:
    quotes = 6_000 if quick else 60_000
    x, y = walks(quotes)
    lags_ns = GRID.lags_ns()
    found = lead_lag(x, y, GRID)
    _must_agree(ours(x, y, lags_ns), by_search(x, y, lags_ns), "numpy")
    few = head(x, 1_000), head(y, 1_000)
    arrays = (few[0].ts_ns, few[0].value, few[1].ts_ns, few[1].value)
    _must_agree(ours(*few, lags_ns), by_definition(*arrays, lags_ns), "the definition")
    if (found.leader, abs(found.lag_ms - 300) <= 10) != ("x", True):
        raise RedError(f"{found.leader} leads by {found.lag_ms} ms instead of x by 300 ms")

    whole = (x.ts_ns, x.value, y.ts_ns, y.value)
    names = ("a pair in mode=leadlag, all cores", "contrast alone, one core", "numpy, sorted searches, one core")
    took = in_turn(
        {
            names[0]: lambda: timed_threads(lambda: lead_lag(x, y, GRID, LeadLagConfig())),
            names[1]: lambda: timed(lambda: ours(x, y, lags_ns)),
            names[2]: lambda: timed(lambda: by_search(x, y, lags_ns)),
        },
        3 if quick else 7,
    )
    one_lag = timed(lambda: by_definition(*whole, lags_ns[:1]))
    base = took[names[1]].cpu_s
    rows = [
        {
            "what": name,
            "lags": f"{len(lags_ns)}",
            "wall s": f"{one.wall_s:.3f}",
            "CPU s": f"{one.cpu_s:.3f}",
            "CPU per lag, contrast alone = 1": f"{one.cpu_s / base:.1f}",
        }
        for name, one in took.items()
    ]
    rows.append(
        {
            "what": "definition, compiled, one core",
            "lags": "1",
            "wall s": f"{one_lag.wall_s:.3f}",
            "CPU s": f"{one_lag.cpu_s:.3f}",
            "CPU per lag, contrast alone = 1": f"{one_lag.cpu_s * len(lags_ns) / base:,.0f}",
        }
    )
    wall_s = took[names[0]].wall_s
    target = (
        f"lead-lag of two streams of {quotes:,} quotes over {len(lags_ns)} lags",
        f"{wall_s:.2f} s",
        f"at most {TARGET_S:g} s on two cores",
        None if quick else wall_s <= TARGET_S,
    )
    return Finding(rows, [target])


def _must_agree(given: Float64, wanted: Float64, whose: str) -> None:
    error = float(np.abs(given - wanted).max() / np.abs(wanted).max())
    if not error <= 1e-9:
        raise RedError(f"contrasts differ from those of {whose} by {error:.1e} of the largest")
