"""Features of the coming move and a trained head on the device. See cpu.py for the formulas.

N events, V streams, W = V in whole vectors, E columns of the user's own, F = 9 + E features, H horizons.

What an event adds by itself (imbalance, signed deal, usual lots, log price of a deal) comes from the last good quote of
its stream; four scans carry it on, see device_scan.py; one kernel makes the features of all that, another the head.
Triton on CUDA tensors and within ``device_scan.interpreted()``, plain torch otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from schwabot_kernels.align.reference import OK, QUOTE, TRADE
from schwabot_kernels.device_scan import BLOCK, EDGE, affine, by_triton, last_row
from schwabot_kernels.forecast.cpu import (
    DEVIATION_AGE_S,
    FAR_BP,
    FAST_S,
    FEATURES,
    LOTS_S,
    SLOW_S,
    TRADE_AGE_S,
    ForecastState,
    HeadParams,
)
from schwabot_kernels.forecast.reference import Dealt
from schwabot_kernels.outcomes import NS, decay

CELLS = 512
"""Streams times events of one program of the features' kernel."""
TILE = 1024
"""Sums that one program of the head's kernel keeps."""


class Added(NamedTuple):
    """What each event adds by itself: lots of a good quote, 0 = none, imbalance, signed deal, its log price. [N]."""

    lots: torch.Tensor
    flow: torch.Tensor
    deal: torch.Tensor
    deal_x: torch.Tensor


class Columns(NamedTuple):
    """What is given of every event [N] and stream [N, V]."""

    ts_ns: torch.Tensor
    last_ns: torch.Tensor
    x: torch.Tensor
    micro: torch.Tensor
    phase: torch.Tensor
    route: torch.Tensor


class Carried(NamedTuple):
    """What is carried on to every event: usual lots, last deal's log price and time [N, V].

    fast, slow: decayed sums of imbalance and of deals, decayed mean of x, each of V streams. [N, 3 V]
    """

    usual: torch.Tensor
    fast: torch.Tensor
    slow: torch.Tensor
    deal_x: torch.Tensor
    deal_ns: torch.Tensor


def features(
    events: Dealt,
    quoted: torch.Tensor,
    last_ns: torch.Tensor,
    x: torch.Tensor,
    micro: torch.Tensor,
    dt_s: torch.Tensor,
    phase: torch.Tensor,
    route: torch.Tensor,
    own: torch.Tensor,
    state: Any,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[torch.Tensor, ForecastState]:
    """The features of every stream at every event, zeros where it takes no part, and the state after the last.

    Args:
        events: with quantities and sides; times never decrease. [N]
        quoted: 1 where the stream has quotes. int8 [V]
        last_ns: time of the stream's last quote, ns. int64 [N, V]
        x: log mid, bp. float64 [N, V]
        micro: microprice minus mid, bp. float64 [N, V]
        dt_s: time since the event before, s. float64 [N]
        phase: bp. float64 [N, V]
        route: 0 = takes part. int8 [N, V]
        own: columns of the user's own. float64 [E, N, V]
        state: ``ForecastState`` of tensors on the events' device, left alone.
        edge: see device_scan.py; the first event stands at a multiple of it.
        block: as there.

    Shape: features [9 + E, N, V], those of a kind together.
    """
    rows, streams = x.shape
    if rows == 0:
        return x.new_zeros((FEATURES + own.shape[0], 0, streams)), ForecastState(*(part.clone() for part in state))
    quote_row, trade_row, added = _added(events, quoted, x, state, edge, block)
    carried, count = _carried(events, trade_row, added, x, dt_s, state, edge, block)
    found = x.new_empty((FEATURES + own.shape[0], rows, streams))
    columns = Columns(*(column.contiguous() for column in (events.ts_ns, last_ns, x, micro, phase, route)))
    if by_triton(x):
        width = triton.next_power_of_2(streams)
        tile = max(1, CELLS // width)
        features_kernel[(triton.cdiv(rows, tile),)](
            *columns, *carried, found, rows, streams, rows * streams,
            ROWS=tile, WIDTH=width, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
    else:
        _shape(columns, carried, found)
    taking = (route == OK)[None] & own.isfinite()
    found[FEATURES:] = torch.where(taking, own, 0.0)
    return found, _after(events, quote_row, x, carried, count, state)


def _added(
    events: Dealt, quoted: torch.Tensor, x: torch.Tensor, state: Any, edge: int, block: int
) -> tuple[torch.Tensor, torch.Tensor, Added]:
    """Rows of every stream's last good quote and last trade, -1 before any, both [N, V], and what each event adds."""
    streams = x.shape[1]
    own = events.stream.long()
    mine = own[:, None] == torch.arange(streams, device=x.device)
    good = (events.kind == QUOTE) & (events.bid_ticks <= events.ask_ticks) & (events.bid_ticks > 0)
    trade = events.kind == TRADE
    none = torch.full((streams,), -1, dtype=torch.int64, device=x.device)
    quote_row = last_row(mine & good[:, None], none, edge=edge, block=block)
    trade_row = last_row(mine & trade[:, None], none, edge=edge, block=block)

    # The good quote of the event's stream before it.
    before = torch.cat((none[:1], quote_row[:-1].gather(1, own[1:, None])[:, 0]))
    at = before.clamp(min=0)

    def was(column: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return torch.where(before >= 0, column[at], kept[own])

    bid, ask = was(events.bid_ticks, state.bid), was(events.ask_ticks, state.ask)
    bid_lots, ask_lots = was(events.bid_lots, state.bid_lots), was(events.ask_lots, state.ask_lots)
    flow = torch.where(events.bid_ticks >= bid, events.bid_lots, 0) - torch.where(events.bid_ticks <= bid, bid_lots, 0)
    flow = flow - torch.where(events.ask_ticks <= ask, events.ask_lots, 0)
    flow = flow + torch.where(events.ask_ticks >= ask, ask_lots, 0)
    told = trade & (quoted[own] == 1) & (bid > 0) & (events.price_ticks > 0)
    price = torch.where(told, (2 * events.price_ticks).to(x.dtype) / (bid + ask).to(x.dtype), 1.0)
    own_x = x.gather(1, own[:, None])[:, 0]
    return (
        quote_row,
        trade_row,
        Added(
            lots=torch.where(good, 0.5 * (events.bid_lots + events.ask_lots).to(x.dtype), 0.0),
            flow=torch.where(good & (bid > 0), flow, 0).to(x.dtype),
            deal=torch.where(trade, events.side.to(x.dtype) * events.qty_lots.to(x.dtype), 0.0),
            deal_x=torch.where(told, own_x + 1e4 * torch.log(price), torch.nan),
        ),
    )


def _carried(
    events: Dealt,
    trade_row: torch.Tensor,
    added: Added,
    x: torch.Tensor,
    dt_s: torch.Tensor,
    state: Any,
    edge: int,
    block: int,
) -> tuple[Carried, torch.Tensor]:
    """What the scans carry on, and the decayed number of quotes that the usual lots are of, [N, V]."""
    streams = x.shape[1]
    mine = events.stream[:, None] == torch.arange(streams, device=x.device)

    def scanned(a: torch.Tensor, b: torch.Tensor, *start: torch.Tensor) -> torch.Tensor:
        first = torch.cat([part[:streams] for part in start])
        return affine(a, b, first, edge=edge, block=block)

    counts = mine & (added.lots > 0.0)[:, None]
    count = scanned(decay(dt_s, LOTS_S)[:, None], counts.to(x.dtype), state.lots_count)
    share = torch.where(counts, 1.0 / count, 0.0)
    usual = scanned(1.0 - share, share * added.lots[:, None], state.lots_mean)
    sums = [torch.where(mine, column[:, None], 0.0) for column in (added.flow, added.deal)]
    before = torch.cat((state.x[None, :streams], x[:-1]))

    def decayed(tau_s: float, flow: torch.Tensor, deal: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        keep = decay(dt_s, tau_s)[:, None]
        # The first price is its own mean.
        moved = torch.where(before.isnan(), x.nan_to_num(), (1.0 - keep) * before)
        return scanned(keep, torch.cat((*sums, moved), 1), flow, deal, mean.nan_to_num())

    at = trade_row.clamp(min=0)
    carried = Carried(
        usual=usual,
        fast=decayed(FAST_S, state.flow_fast, state.deal_fast, state.mean_fast),
        slow=decayed(SLOW_S, state.flow_slow, state.deal_slow, state.mean_slow),
        deal_x=torch.where(trade_row >= 0, added.deal_x[at], state.deal_x[:streams]),
        deal_ns=torch.where(trade_row >= 0, events.ts_ns[at], state.deal_ns[:streams]),
    )
    return carried, count


def _after(
    events: Dealt,
    quote_row: torch.Tensor,
    x: torch.Tensor,
    carried: Carried,
    count: torch.Tensor,
    state: Any,
) -> ForecastState:
    """The state after the last event; lanes beyond V stay what they are."""
    streams = x.shape[1]
    quote = quote_row[-1]

    def touch(column: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return torch.where(quote >= 0, column[quote.clamp(min=0)], kept[:streams])

    last = {"lots_mean": carried.usual[-1], "lots_count": count[-1], "x": x[-1]}
    last |= {"deal_x": carried.deal_x[-1], "deal_ns": carried.deal_ns[-1]}
    for speed, columns in (("fast", carried.fast), ("slow", carried.slow)):
        last[f"flow_{speed}"], last[f"deal_{speed}"], mean = columns[-1].view(3, streams).unbind()
        last[f"mean_{speed}"] = torch.where(x[-1].isnan(), torch.nan, mean)
    for side in ("bid", "ask"):
        last[side] = touch(getattr(events, f"{side}_ticks"), getattr(state, side))
        last[f"{side}_lots"] = touch(getattr(events, f"{side}_lots"), getattr(state, f"{side}_lots"))
    parts = {}
    for name, kept in state._asdict().items():
        parts[name] = kept.clone()
        parts[name][:streams] = last[name]
    return ForecastState(**parts)


def _shape(columns: Columns, carried: Carried, found: torch.Tensor) -> None:
    """Fill the first nine of ``found`` in plain torch; ``features_kernel`` in Triton."""
    ts_ns, last_ns, x, micro, phase, route = columns
    taking = route == OK
    price = torch.where(taking, x - phase, 0.0)
    total, number = price[:, 0], taking[:, 0].to(x.dtype)
    for v in range(1, x.shape[1]):  # one after the other: a sum's order must not depend on N
        total, number = total + price[:, v], number + taking[:, v].to(x.dtype)
    per_lot = torch.where(carried.usual > 0.0, 1.0 / carried.usual, 0.0)
    age_s = (ts_ns[:, None] - last_ns).to(x.dtype) * NS
    dealt_s = (ts_ns[:, None] - carried.deal_ns).to(x.dtype) * NS
    away = (carried.deal_x - x).clamp(-FAR_BP, FAR_BP).nan_to_num(0.0)
    fast, slow = (column.view(-1, 3, x.shape[1]).unbind(1) for column in (carried.fast, carried.slow))
    parts = (
        ((total / number)[:, None] + phase - x) * torch.exp(-age_s / DEVIATION_AGE_S),
        micro,
        *(_asinh(column * per_lot) for column in (fast[0], slow[0], fast[1], slow[1])),
        x - fast[2],
        x - slow[2],
        away * torch.exp(-dealt_s / TRADE_AGE_S),
    )
    for k, part in enumerate(parts):
        found[k] = torch.where(taking, part, 0.0)


def _asinh(x: torch.Tensor) -> torch.Tensor:
    """As the kernels' source has it; zero keeps its zero."""
    size = x.abs()
    value = torch.log(size + torch.sqrt(size * size + 1.0))
    return torch.where(x < 0.0, -value, value)


@triton.jit
def asinh(x: tl.tensor) -> tl.tensor:
    """asinh of a tile."""
    size = tl.abs(x)
    value = tl.log(size + tl.sqrt(size * size + 1.0))
    return tl.where(x < 0.0, -value, value)


FAST_AGE = tl.constexpr(-1.0 / DEVIATION_AGE_S)
DEAL_AGE = tl.constexpr(-1.0 / TRADE_AGE_S)
FAR = tl.constexpr(FAR_BP)


@triton.jit(do_not_specialize=["N", "size"])
def features_kernel(  # type: ignore[no-untyped-def]
    ts_ns, last_ns, x_at, micro_at, phase_at, route_at, usual_at, fast, slow, deal_x_at, deal_ns, found, N, V, size,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The first nine features of ROWS events."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, WIDTH)[None, :]
    mask = (rows < N) & (columns < V)
    at = rows * V + columns
    t = tl.load(ts_ns + rows, rows < N, other=0)
    x = tl.load(x_at + at, mask, other=0.0)
    phase = tl.load(phase_at + at, mask, other=0.0)
    taking = mask & (tl.load(route_at + at, mask, other=1) == 0)
    total = tl.sum(tl.where(taking, x - phase, 0.0), 1, keep_dims=True)
    number = tl.sum(tl.where(taking, 1.0, 0.0).to(tl.float64), 1, keep_dims=True)
    fair = total / number
    age_s = (t - tl.load(last_ns + at, mask, other=0)).to(tl.float64) * 1e-9
    d = (fair + phase - x) * tl.exp(age_s * FAST_AGE)
    plane = found + at
    tl.store(plane, tl.where(taking, d, 0.0), mask)
    plane += size
    tl.store(plane, tl.where(taking, tl.load(micro_at + at, mask, other=0.0), 0.0), mask)
    three = rows * (3 * V) + columns
    usual = tl.load(usual_at + at, mask, other=0.0)
    per_lot = tl.where(usual > 0.0, 1.0 / usual, 0.0)
    value = asinh(tl.load(fast + three, mask, other=0.0) * per_lot)
    plane += size
    tl.store(plane, tl.where(taking, value, 0.0), mask)
    value = asinh(tl.load(slow + three, mask, other=0.0) * per_lot)
    plane += size
    tl.store(plane, tl.where(taking, value, 0.0), mask)
    value = asinh(tl.load(fast + three + V, mask, other=0.0) * per_lot)
    plane += size
    tl.store(plane, tl.where(taking, value, 0.0), mask)
    value = asinh(tl.load(slow + three + V, mask, other=0.0) * per_lot)
    plane += size
    tl.store(plane, tl.where(taking, value, 0.0), mask)
    value = x - tl.load(fast + three + 2 * V, mask, other=0.0)
    plane += size
    tl.store(plane, tl.where(taking, value, 0.0), mask)
    value = x - tl.load(slow + three + 2 * V, mask, other=0.0)
    plane += size
    tl.store(plane, tl.where(taking, value, 0.0), mask)
    deal_x = tl.load(deal_x_at + at, mask, other=0.0)
    dealt_s = (t - tl.load(deal_ns + at, mask, other=0)).to(tl.float64) * 1e-9
    away = tl.minimum(tl.maximum(deal_x - x, -FAR), FAR) * tl.exp(dealt_s * DEAL_AGE)
    plane += size
    tl.store(plane, tl.where(taking & (deal_x == deal_x), away, 0.0), mask)


def head(found: torch.Tensor, route: torch.Tensor, params: HeadParams) -> tuple[torch.Tensor, torch.Tensor]:
    """Forecasts in bp, NaN where there is none, and the ghost's expected move over the memory's horizon.

    Args:
        found: features. float64 [F, N, V]
        route: 0 = takes part. int8 [N, V]
        params: with tensors on the features' device for its arrays: inverse_scale [F, W], coefficients [V, F, H, W],
            target [W].

    Shape: [H, N, V], [N].

    Raises:
        ValueError: the memory's horizon is none of the head's.
    """
    count, rows, streams = found.shape
    _, _, horizons, width = params.coefficients.shape
    forecasts, predicted = found.new_empty((horizons, rows, streams)), found.new_zeros(rows)
    if not horizons or not rows:
        return forecasts, predicted
    if not 0 <= params.memory_horizon < horizons:
        raise ValueError(f"memory_horizon is {params.memory_horizon}, the head has {horizons} horizons")
    if by_triton(found):
        sums = triton.next_power_of_2(horizons * width)
        tile = max(1, TILE // sums)
        clip = found.new_full((1,), params.clip)
        head_kernel[(triton.cdiv(rows, tile),)](
            found, route.contiguous(), params.inverse_scale, params.coefficients, params.target, clip, forecasts,
            predicted, params.memory_horizon, rows, streams, rows * streams, count, horizons, width,
            ROWS=tile, SUMS=sums, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        return forecasts, predicted
    said = found.new_zeros((rows, horizons, streams))
    for u in range(streams):
        for k in range(count):
            scaled = (found[k, :, u] * params.inverse_scale[k, u]).clamp(-params.clip, params.clip)
            said += params.coefficients[u, k, :, :streams] * scaled[:, None, None]
    answers = (route == OK) & (params.target[:streams] == 1)
    forecasts[:] = torch.where(answers[:, None], said, torch.nan).transpose(0, 1)
    total, number = predicted.clone(), predicted.clone()
    for v in range(streams):
        total = total + torch.where(answers[:, v], said[:, params.memory_horizon, v], 0.0)
        number = number + answers[:, v].to(total)
    return forecasts, torch.where(number > 0.0, total / number, 0.0)


@triton.jit(do_not_specialize=["N", "size"])
def head_kernel(  # type: ignore[no-untyped-def]
    found, route, inverse_scale, coefficients, target, clip, forecasts, predicted, memory_horizon, N, V, size, F, H, W,
    ROWS: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """The head at ROWS events: a sum for every horizon and lane, feature after feature."""
    bound = tl.load(clip)  # a number of a launch, or of the source, has 32 bits here
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    place = tl.arange(0, SUMS)
    h, v = place // W, place % W
    said = tl.zeros((ROWS, SUMS), tl.float64)
    for u in range(V):
        plane = found + rows * V + u
        for k in range(F):
            feature = tl.load(plane, rows < N, other=0.0)
            plane += size
            scaled = tl.minimum(tl.maximum(feature * tl.load(inverse_scale + k * W + u), -bound), bound)
            weight = tl.load(coefficients + (u * F + k) * H * W + place, place < H * W, other=0.0)
            said += scaled[:, None] * weight[None, :]
    known = (v < V) & (h < H)
    mask = (rows < N)[:, None] & known[None, :]
    at = rows[:, None] * V + v[None, :]
    takes_part = tl.load(route + at, mask, other=1) == 0
    answers = takes_part & (tl.load(target + v, known, other=0) == 1)[None, :]
    tl.store(forecasts + h.to(tl.int64)[None, :] * size + at, tl.where(answers, said, float("nan")), mask)
    of_memory = answers & (h == memory_horizon)[None, :]
    total = tl.sum(tl.where(of_memory, said, 0.0), 1)
    number = tl.sum(tl.where(of_memory, 1.0, 0.0).to(tl.float64), 1)
    tl.store(predicted + rows, tl.where(number > 0.0, total / number, 0.0), rows < N)
