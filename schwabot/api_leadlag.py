"""The Python API of mode=leadlag: ticks or plain arrays in, Arrow tables out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy.typing as npt
import pyarrow as pa

from schwabot.api import Place, _checked_names, _feed, _settings
from schwabot.errors import ConfigError, DataError
from schwabot.modes.leadlag import close, measure
from schwabot.sinks.leadlag import curves_table
from schwabot.sinks.leadlag_figure import leadlag_figure
from schwabot.sinks.progress import Progress
from schwabot.sinks.summary import plain
from schwabot.ticks.base import Feed
from schwabot.ticks.overlap import utc
from schwabot.ticks.plausible import FROM_NS, likely_unit
from schwabot.training.leadlag import LeadLag, LeadLagConfig
from schwabot.training.leadlag_streams import LeadLagReport, compare
from schwabot.training.leadlag_sums import SumsDevice, sums_device
from schwabot.training.price_series import Series, to_series, whole_ns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = pa.schema(
    [
        *((name, pa.string()) for name in ("leader", "follower", "clock")),
        *((name, pa.float64()) for name in ("lag_ms", "contrast", "ratio", "ratio_sq")),
        *((f"{name}_{end}", pa.float64()) for name in ("lag_ms", "contrast", "ratio") for end in ("ci_low", "ci_high")),
        *((name, pa.float64()) for name in ("confidence", "reverse_confidence")),
        *((name, pa.float64()) for name in ("correlation", "correlation_lag_ms", "bin_ms")),
        *((name, pa.bool_()) for name in ("event_estimated", "lead_seen", "disagree", "edge")),
        *((name, pa.int64()) for name in ("n_leader", "n_follower", "blocks")),
        *((name, pa.float64()) for name in ("refresh_leader_ms", "refresh_follower_ms", "overlap_s")),
    ]
)
"""Columns of ``LeadLagResult.pairs``; see ``schwabot.training.leadlag.LeadLag``."""


@dataclass(frozen=True)
class LeadLagResult:
    """Who leads whom.

    Attributes:
        pairs: one row per pair and clock: leader, follower, lag_ms, contrast, ratio, intervals ...
        curves: one row per pair, clock and lag, as leadlag.parquet.
        summary: what summary.json holds.
    """

    pairs: pa.Table = field(repr=False)
    curves: pa.Table = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    _found: tuple[LeadLag, ...] = field(repr=False)

    def figure(self) -> Figure:
        """The curves as leadlag.png shows them."""
        return leadlag_figure([vars(pair) for pair in self._found])

    def __repr__(self) -> str:
        said = [
            f"no lead seen between {one.leader} and {one.follower} ({one.clock})"
            if one.lead_seen is False
            else f"{one.leader} leads {one.follower} by {one.lag_ms:g} ms ({one.clock})"
            for one in self._found[:3]
        ]
        return f"LeadLagResult({'; '.join(said)}{'; ...' * (len(self._found) > 3)})"


@_checked_names
def leadlag(
    source: Feed | Place | Sequence[Place] | pa.Table | Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    max_lag_s: float | None = None,
    step_ms: float | None = None,
    price: str = "auto",
    returns: str = "log",
    device: str = "auto",
    progress: bool = False,
    **settings: Any,
) -> LeadLagResult:
    """Lead-lag of every pair of streams by the Hayashi-Yoshida contrast.

    Args:
        source: a feed, what ``load`` takes, or plain series: name → (times, prices), on one clock, ``receive``; times
            are whole ns since 1970 or since a start of one's own, or datetime64.
        max_lag_s: lags from minus to plus this, s; default 1, or 30 where prices come every 100 ms or slower.
        step_ms: step between lags, ms; default 10, or 100 where prices come every 100 ms or slower.
        price: ``mid``, ``last``, or ``auto`` = mid where a stream has quotes; not for plain series.
        returns: ``log`` or ``simple`` (differences of prices).
        device: where sums over lags are computed: ``auto``, ``cpu`` or ``cuda``.
        progress: show progress bars.
        settings: the others under ``leadlag.`` in the configuration: ``resolution_ms``, ``bin_ms``, ``block_s``,
            ``draws``, ``seed``, ``max_prices``.

    Raises:
        ConfigError: one stream only, or a setting that can't be used.
        DataError: bad input, or too little of it; times that are no dates as ns, and are in another unit.

    Source: Hayashi, Yoshida (2005); Hoffmann, Rosenbaum, Yoshida (2013); Huth, Abergel (2014).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> path = 100.0 + np.cumsum(rng.normal(size=5_000)) / 100.0
        >>> now, later = np.sort(rng.permutation(4_000)[:1_000]), np.sort(rng.permutation(4_000)[:1_500])
        >>> s = 1_000_000_000
        >>> found = leadlag({"fast": (now * s, path[now + 20]), "slow": (later * s, path[later])}, step_ms=1_000)
        >>> found
        LeadLagResult(fast leads slow by 20000 ms (receive))
        >>> found.pairs.column("confidence").to_pylist(), found.curves.num_rows
        ([1.0], 61)
    """
    started_s = time.perf_counter()
    given = {"max_lag_s": max_lag_s, "step_ms": step_ms, "price": price, "returns": returns} | settings
    config = _settings({"leadlag": given, "device": {"kind": device}})
    place, reason = sums_device(config.device)
    if reason is not None:
        warn(f"running on the CPU: {reason}", RuntimeWarning, stacklevel=3)
    summary: dict[str, Any] = {"mode": "leadlag", "device": place.name}
    bars = Progress(enabled=progress, label="reading"), Progress(enabled=progress, label="pairs", unit="pairs")
    if isinstance(source, Mapping):
        if price != "auto":
            raise ConfigError(f"price={price!r}: plain series have one price each, leave it out")
        report = _of_arrays(source, config.leadlag, summary, place)
    else:
        feed = _feed(source)
        report = measure(
            feed, config.leadlag, config.latency, summary, batch_events=config.batch_events, bars=bars, device=place
        )
    summary["device"] = place.said
    if place.warning is not None:
        warn(place.warning.removeprefix("warning: "), RuntimeWarning, stacklevel=3)
    if reason is not None:
        summary["notes"].append(f"warning: running on the CPU: {reason}")
    close(summary, started_s)
    return LeadLagResult(
        pairs=pa.Table.from_pylist([_row(pair) for pair in report.pairs], schema=PAIRS),
        curves=curves_table([vars(pair) for pair in report.pairs]),
        summary=plain(summary),
        _found=report.pairs,
    )


def _of_arrays(
    given: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    config: LeadLagConfig,
    summary: dict[str, Any],
    device: SumsDevice,
) -> LeadLagReport:
    if len(given) < 2:
        raise ConfigError(
            f"lead-lag compares series, and there is one only ({', '.join(map(str, given))}): give two or more"
        )
    series = []
    unchecked: Mapping[Any, Any] = given
    for name, pair in unchecked.items():
        if not isinstance(name, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ConfigError(f"series {name!r}: use a name as text: (times in ns, prices)")
        time = whole_ns(pair[0], name)
        if time.size and (unit := likely_unit(int(time.min()), int(time.max()))):
            raise DataError(
                f"series {name!r}: read as ns its times go from {utc(time.min())} to {utc(time.max())}, but from 2000"
                f" to 2100 if they are {unit.name}: give int64 ns (times * {unit.ns:,}) or datetime64"
            )
        series.append(to_series(time, pair[1], name, returns=config.returns, resolution_ns=config.resolution_ns))
    streams: dict[str, dict[str, Any]] = {name: {"price": "given", "stamps": None} for name in given}
    report = compare({"receive": series}, streams, {"receive": {}}, config, device=device)
    notes = [f"note: {note}" for note in (*_own_clock(series), *report.notes)]
    if device.warning is not None:
        notes.append(device.warning)
    summary |= {"interrupted": False, "notes": notes}
    summary["leadlag"] = report.entries()
    return report


def _own_clock(series: Sequence[Series]) -> list[str]:
    """How long the series are where no date says that their times are ns."""
    if all(one.ts_ns[0] >= FROM_NS for one in series):
        return []
    span_s = float(max(one.ts_ns[-1] for one in series) - min(one.ts_ns[0] for one in series)) / 1e9
    return [f"times are read as ns on a clock of their own: the series span {span_s:.4g} s"]


def _row(pair: LeadLag) -> dict[str, Any]:
    """One row of ``PAIRS``."""
    entry = pair.entry()
    for name in ("lag_ms", "contrast", "ratio"):
        ends = entry["lag_ci_ms" if name == "lag_ms" else f"{name}_ci"] or (None, None)
        entry[f"{name}_ci_low"], entry[f"{name}_ci_high"] = ends
    x, y = ("leader", "follower") if pair.leader == pair.x else ("follower", "leader")
    entry |= {f"n_{x}": pair.n_x, f"n_{y}": pair.n_y}
    entry |= {f"refresh_{x}_ms": pair.refresh_x_ms, f"refresh_{y}_ms": pair.refresh_y_ms}
    return {name: entry[name] for name in PAIRS.names}
