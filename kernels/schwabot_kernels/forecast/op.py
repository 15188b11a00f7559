"""``schwabot::forecast``: features of the coming move and a trained head on them.

N events, V streams, E columns of the user's own, F = 9 + E features, H horizons.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned, Events
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.blocks import load, load_all, store, store_all, wide
from schwabot_kernels.checking import array, own_copy, stream_numbers, times
from schwabot_kernels.forecast.cpu import (
    FEATURES,
    ForecastState,
    Foreseen,
    HeadParams,
    empty_state,
    head,
    own_features,
    scratch,
)
from schwabot_kernels.forecast.cpu import features as features_block
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.rings import fake_state
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.tree import leaves


@njit(**NJIT)
def _pass(
    events: Events,
    own: F64,
    last_ns: I64,
    x: F64,
    half: F64,
    micro: F64,
    dt_s: F64,
    phase: F64,
    route: I8,
    quoted: I8,
    params: HeadParams,
    state: ForecastState,
    aligned: Aligned,
    phased: Phased,
    work: Foreseen,
    found: F64,
    forecasts: F64,
    predicted: F64,
) -> None:
    total = events.ts_ns.size
    for first in range(0, total, BLOCK):
        n = min(BLOCK, total - first)
        for j in range(n):
            i = first + j
            v = events.stream[i]
            aligned.stream[j] = v
            good = events.kind[i] == 0 and events.bid_ticks[i] <= events.ask_ticks[i] and events.bid_ticks[i] > 0
            aligned.pricing[j] = v if good else -1
        load_all(last_ns, first, n, aligned.last_ns)
        load_all(x, first, n, aligned.x)
        load_all(half, first, n, aligned.half)
        load_all(micro, first, n, aligned.micro)
        load(dt_s, first, n, aligned.dt_s)
        load_all(route, first, n, phased.route)
        load_all(phase, first, n, phased.phase)
        features_block(first, n, events, aligned, phased, quoted, state, work)
        own_features(first, n, own, phased, work)
        for k in range(found.shape[0]):
            store_all(work.features[k], first, n, found[k])
        if params.coefficients.size > 0:
            head(n, phased, params, work)
            for h in range(forecasts.shape[0]):
                store_all(work.forecasts[h], first, n, forecasts[h])
        store(work.predicted, first, n, predicted)


@torch.library.custom_op("schwabot::forecast", mutates_args=())
def forecast(
    ts_ns: torch.Tensor,
    stream: torch.Tensor,
    kind: torch.Tensor,
    bid_ticks: torch.Tensor,
    ask_ticks: torch.Tensor,
    bid_lots: torch.Tensor,
    ask_lots: torch.Tensor,
    price_ticks: torch.Tensor,
    qty_lots: torch.Tensor,
    side: torch.Tensor,
    own: torch.Tensor,
    quoted: torch.Tensor,
    last_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    micro: torch.Tensor,
    dt_s: torch.Tensor,
    phase: torch.Tensor,
    route: torch.Tensor,
    inverse_scale: torch.Tensor,
    coefficients: torch.Tensor,
    target: torch.Tensor,
    clip: float,
    memory_horizon: int,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Features of the coming move, and what a trained head makes of them.

    Args:
        ts_ns, stream, kind, bid_ticks, ask_ticks, bid_lots, ask_lots, price_ticks, qty_lots, side: events, see
            ``align.cpu.Events``. int64, ``stream`` int32, ``kind`` and ``side`` int8. [N]
        own: columns of the user's own. float64 [V, E, N]
        quoted: 1 where the stream has quotes. int8 [V]
        last_ns, x, half, micro: see the align op. [V, N]; dt_s [N]
        phase: bp. float64 [V, N]
        route: 0 = takes part. int8 [V, N]
        inverse_scale [F, V], coefficients [V, F, H, V], target [V], clip, memory_horizon: see
            ``forecast.cpu.HeadParams``; H = 0 is no head.
        state: ``forecast.cpu.ForecastState``, as by ``tree.leaves``.

    Returns:
        Features [F, V, N], forecasts in bp [H, V, N], the ghost's expected move over the memory's horizon [N], then the
        state after the last event.

    Raises:
        ValueError: wrong device, shape, stream number or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    count = FEATURES + (own.shape[1] if own.dim() == 3 else 0)
    horizons = coefficients.shape[2] if coefficients.dim() == 4 else 0
    parts = own_copy("forecast", empty_state(streams), state)
    columns = {
        "bid_ticks": bid_ticks, "ask_ticks": ask_ticks, "bid_lots": bid_lots, "ask_lots": ask_lots,
        "price_ticks": price_ticks, "qty_lots": qty_lots,
    }  # fmt: skip
    batch = Events(
        ts_ns=times(ts_ns),
        stream=stream_numbers(stream, events, streams),
        kind=array("kind", kind, torch.int8, (events,)),
        **{name: array(name, column, torch.int64, (events,)) for name, column in columns.items()},
        side=array("side", side, torch.int8, (events,)),
        latency_ns=np.zeros(events, np.int64),
    )
    params = HeadParams(
        wide(array("inverse_scale", inverse_scale, torch.float64, (count, streams))),
        wide(array("coefficients", coefficients, torch.float64, (streams, count, horizons, streams))),
        wide(array("target", target, torch.int8, (streams,))),
        clip,
        0,
        memory_horizon,
    )
    if horizons and not 0 <= memory_horizon < horizons:
        raise ValueError(f"memory_horizon is {memory_horizon}, the head has {horizons} horizons")
    found = x.new_empty((count, streams, events))
    forecasts = x.new_empty((horizons, streams, events))
    predicted = x.new_empty(events)
    _pass(
        batch,
        array("own", own, torch.float64, (streams, count - FEATURES, events)),
        array("last_ns", last_ns, torch.int64, x.shape),
        array("x", x, torch.float64, x.shape),
        array("half", half, torch.float64, x.shape),
        array("micro", micro, torch.float64, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        array("phase", phase, torch.float64, x.shape),
        array("route", route, torch.int8, x.shape),
        wide(array("quoted", quoted, torch.int8, (streams,))),
        params,
        parts,
        align_scratch(streams),
        phase_scratch(streams),
        scratch(streams, horizons, count - FEATURES),
        found.numpy(),
        forecasts.numpy(),
        predicted.numpy(),
    )
    return [found, forecasts, predicted, *leaves(parts)]


@forecast.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, stream, kind, bid_ticks, ask_ticks, bid_lots, ask_lots, price_ticks, qty_lots, side, own, quoted, last_ns, x,
    half, micro, dt_s, phase, route, inverse_scale, coefficients, target, clip, memory_horizon, state,
):  # fmt: skip
    streams, events = x.shape
    return [
        x.new_empty((FEATURES + own.shape[1], streams, events)),
        x.new_empty((coefficients.shape[2], streams, events)),
        x.new_empty(events),
        *fake_state("forecast", ForecastState._fields, state),
    ]
