"""As-of alignment on the device. N events, V streams.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from schwabot_kernels.align.cpu import AlignState
from schwabot_kernels.align.reference import CROSSED, MISSING_NS, OK, QUOTE, RATE, TRADE, UNSEEN, Aligned
from schwabot_kernels.device_scan import BLOCK, EDGE, LAST, by_triton, carry, last_row, then_last
from schwabot_kernels.device_state import OnDevice, constants, on_16_bytes, shifted, with_lanes
from schwabot_kernels.outcomes import NS

TINY = 1e-300


def align(
    events: OnDevice,
    table: OnDevice,
    latency_max_ns: float,
    state: OnDevice,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Aligned, OnDevice]:
    """The last known quote of every stream at every event.

    Args:
        events: at least one.
        table: of the streams, as tensors.
        latency_max_ns: feed delay at which a stream's weight reaches zero.
        state: before the first event.
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        As-of values [N, V], and the state after the last event.
    """
    log_ref = state.log_ref
    if bool(log_ref.isnan()):
        log_ref = _first_price(events, table)
    run = _by_triton if by_triton(state.x) else _in_torch
    events = type(events)._make(on_16_bytes(*events))
    aligned = run(events, table, latency_max_ns, state, log_ref, edge, block)
    kept = {
        name: with_lanes(getattr(aligned, name)[-1], getattr(state, name))
        for name in AlignState._fields
        if name not in ("clock", "log_ref")
    }
    clock = torch.stack((events.ts_ns[-1], state.clock[1] + events.ts_ns.shape[0]))
    return aligned, state._replace(**kept, clock=clock, log_ref=log_ref)


def pricing(events: OnDevice, table: OnDevice) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether an event is its stream's quote, and whether that is a good price. Shape: [N] each."""
    quote = events.kind == QUOTE
    quoting = quote | ((events.kind == TRADE) & (table.trades_only[events.stream] == 1))
    bid = torch.where(quote, events.bid_ticks, events.price_ticks)
    ask = torch.where(quote, events.ask_ticks, events.price_ticks)
    return quoting, quoting & (bid <= ask) & (bid > 0)


def _first_price(events: OnDevice, table: OnDevice) -> torch.Tensor:
    """Log mid of the first good quote that is not a rate's, NaN where there is none. Shape: [1]."""
    good = pricing(events, table)[1] & (table.rate[events.stream] == 0)
    row = good.to(torch.int8).argmax(0, keepdim=True)
    quote = events.kind[row] == QUOTE
    bid = torch.where(quote, events.bid_ticks[row], events.price_ticks[row])
    ask = torch.where(quote, events.ask_ticks[row], events.price_ticks[row])
    mid = 0.5 * (bid.double() + ask.double()) * table.tick[events.stream[row]]
    return torch.where(good[row], torch.log(mid), torch.nan)


def _in_torch(
    events: OnDevice,
    table: OnDevice,
    latency_max_ns: float,
    state: OnDevice,
    log_ref: torch.Tensor,
    edge: int,
    block: int,
) -> Aligned:
    stream, streams, ts_ns = events.stream.long(), table.tick.shape[0], events.ts_ns
    quote = events.kind == QUOTE
    quoting, good = pricing(events, table)
    bid = torch.where(quote, events.bid_ticks, events.price_ticks).double()
    ask = torch.where(quote, events.ask_ticks, events.price_ticks).double()
    both = (bid + ask).clamp(min=TINY)
    half = (ask - bid) / both
    buy = torch.where(quote, events.bid_lots, 0).double()
    sell = torch.where(quote, events.ask_lots, 0).double()
    lots = buy + sell
    imbalance = (buy - sell) / lots.clamp(min=TINY)
    mid = 0.5 * both * table.tick[stream]
    depth = 0.5 * lots * table.unit[stream] / torch.where(table.inverse[stream] == 1, mid, 1.0)
    depth = torch.where(lots > 0.0, depth, torch.nan)
    micro = 1e4 * torch.log((1.0 + half * imbalance).clamp(min=TINY))
    weight = (1.0 - events.latency_ns.double() / latency_max_ns).clamp(0.0, 1.0)
    weight = torch.where(events.latency_ns == MISSING_NS, 1.0, weight)

    log_mid = torch.log(mid)
    of_rate = table.rate[stream] == 1
    x = 1e4 * (log_mid - torch.where(of_rate, 0.0, log_ref))

    own = stream[:, None] == torch.arange(streams, device=ts_ns.device)
    marked = torch.cat((quoting[:, None] & own, good[:, None] & own), 1)
    none = torch.full((2 * streams,), -1, device=ts_ns.device)
    updated, quoted = last_row(marked, none, edge=edge, block=block).chunk(2, 1)

    def as_of(row: torch.Tensor, values: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return torch.where(row >= 0, values[row.clamp(min=0)], before[:streams])

    fine = torch.where(table.rate == 1, RATE, OK).to(torch.int8)
    before = state.bad[:streams]
    stood = torch.where((updated >= 0) & (before != UNSEEN), CROSSED, before)
    return Aligned(
        last_ns=as_of(updated, ts_ns, state.last_ns),
        x=as_of(quoted, x, state.x),
        half=as_of(quoted, 1e4 * half, state.half),
        micro=as_of(quoted, micro, state.micro),
        imbalance=as_of(quoted, imbalance, state.imbalance),
        depth=as_of(quoted, depth, state.depth),
        latency_weight=as_of(updated, weight, state.latency_weight),
        bad=torch.where(quoted < 0, stood, torch.where(updated == quoted, fine, CROSSED)).to(torch.int8),
        dt_s=(ts_ns - shifted(ts_ns, torch.where(state.clock[0] == MISSING_NS, ts_ns[0], state.clock[0]))).double()
        * NS,
    )


@triton.jit(do_not_specialize=["N"])
def mark_kernel(  # type: ignore[no-untyped-def]
    stream, kind, bid_ticks, ask_ticks, price_ticks, trades_only, whole, N, V: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Last row of one block at which each stream quoted, then of those at which it had a good price; -1 for none."""
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    u = tl.arange(0, WIDTH)
    inside = rows < N
    own = tl.load(stream + rows, inside, other=-1)
    quoting, good, _quote, _bid, _ask = priced(rows, inside, own, kind, bid_ticks, ask_ticks, price_ticks, trades_only)
    mine = own[:, None] == u[None, :]
    updated = tl.max(tl.where(mine & quoting[:, None], rows[:, None], -1), 0)
    quoted = tl.max(tl.where(mine & good[:, None], rows[:, None], -1), 0)
    tl.store(whole + block * 2 * V + u, updated, u < V)
    tl.store(whole + block * 2 * V + V + u, quoted, u < V)


@triton.jit
def priced(
    rows: tl.tensor, mask: tl.tensor, own: tl.tensor, kind: tl.tensor, bid_ticks: tl.tensor, ask_ticks: tl.tensor,
    price_ticks: tl.tensor, trades_only: tl.tensor,
) -> Any:  # fmt: skip
    """Whether events quote, whether that is a good price, whether it is a quote, its bid and its ask."""
    what = tl.load(kind + rows, mask, other=2)
    quote = what == 0
    quoting = quote | ((what == 1) & (tl.load(trades_only + own, mask, other=0) == 1))
    price = tl.load(price_ticks + rows, mask & ~quote, other=0)
    bid = tl.where(quote, tl.load(bid_ticks + rows, mask & quote, other=0), price)
    ask = tl.where(quote, tl.load(ask_ticks + rows, mask & quote, other=0), price)
    return quoting, quoting & (bid <= ask) & (bid > 0), quote, bid, ask


@triton.jit(do_not_specialize=["N"])
def align_kernel(  # type: ignore[no-untyped-def]
    ts_ns, stream, kind, bid_ticks, ask_ticks, bid_lots, ask_lots, price_ticks, latency_ns,
    tick, unit, inverse, trades_only, rate,
    s_last_ns, s_x, s_half, s_micro, s_imbalance, s_depth, s_weight, s_bad, clock, log_ref, latency_max, starts,
    last_ns, x, half, micro, imbalance, depth, latency_weight, bad, dt_s, N, V: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """As-of values of one block, worked out at the rows they stem from."""
    missing = tl.load(latency_max + 1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    inside = rows < N
    own = tl.load(stream + rows, inside, other=-1)
    quoting, good, _quote, _bid, _ask = priced(rows, inside, own, kind, bid_ticks, ask_ticks, price_ticks, trades_only)
    t = tl.load(ts_ns + rows, inside, other=0)
    began = tl.load(clock)
    at_first = tl.where(began == missing, t, began)
    before = tl.where(rows > 0, tl.load(ts_ns + rows - 1, inside & (rows > 0), other=0), at_first)
    tl.store(dt_s + rows, (t - before).to(tl.float64) * 1e-9, inside)
    for first_u in range(0, WIDTH, TILE):
        u = first_u + tl.arange(0, TILE)[None, :]
        mask = inside[:, None] & (u < V)
        at = rows[:, None] * V + u
        mine = own[:, None] == u
        updated = tl.associative_scan(tl.where(mine & quoting[:, None], rows[:, None], -1), 0, then_last)
        quoted = tl.associative_scan(tl.where(mine & good[:, None], rows[:, None], -1), 0, then_last)
        updated = tl.maximum(updated, tl.load(starts + block * 2 * V + u, u < V, other=-1))
        quoted = tl.maximum(quoted, tl.load(starts + block * 2 * V + V + u, u < V, other=-1))

        fresh = mask & (updated >= 0)
        stood = tl.load(s_last_ns + u, u < V, other=0)
        tl.store(last_ns + at, tl.where(fresh, tl.load(ts_ns + updated, fresh, other=0), stood), mask)
        delay = tl.load(latency_ns + updated, fresh, other=0)
        share = 1.0 - delay.to(tl.float64) / tl.load(latency_max)
        share = tl.where(share > 0.0, tl.where(share < 1.0, share, 1.0), 0.0)
        share = tl.where(delay == missing, 1.0, share)
        share = tl.where(fresh, share, tl.load(s_weight + u, u < V, other=0.0))
        tl.store(latency_weight + at, share, mask)

        known = mask & (quoted >= 0)
        is_rate = tl.load(rate + u, u < V, other=0) == 1
        state_bad = tl.load(s_bad + u, u < V, other=1).to(tl.int32)
        kept = tl.where(fresh & (state_bad != 1), 3, state_bad)
        now = tl.where(updated == quoted, tl.where(is_rate, 5, 0), 3)
        tl.store(bad + at, tl.where(known, now, kept).to(tl.int8), mask)
        _quoting_then, _good_then, quote, bid, ask = priced(
            quoted, known, u + 0 * rows[:, None], kind, bid_ticks, ask_ticks, price_ticks, trades_only
        )
        both = tl.where(known, bid.to(tl.float64) + ask.to(tl.float64), 2.0)
        spread = (ask.to(tl.float64) - bid.to(tl.float64)) / both
        mid = 0.5 * both * tl.load(tick + u, u < V, other=1.0)
        reference = tl.where(is_rate, 0.0, tl.load(log_ref))
        value = tl.where(known, 1e4 * (tl.log(mid) - reference), tl.load(s_x + u, u < V, other=0.0))
        tl.store(x + at, value, mask)
        tl.store(half + at, tl.where(known, 1e4 * spread, tl.load(s_half + u, u < V, other=0.0)), mask)
        sized = known & quote
        buy = tl.load(bid_lots + quoted, sized, other=0).to(tl.float64)
        sell = tl.load(ask_lots + quoted, sized, other=0).to(tl.float64)
        lots = buy + sell
        tilt = (buy - sell) / tl.where(lots > 0.0, lots, 1.0)
        tl.store(imbalance + at, tl.where(known, tilt, tl.load(s_imbalance + u, u < V, other=0.0)), mask)
        value = 1e4 * tl.log(1.0 + spread * tilt)
        tl.store(micro + at, tl.where(known, value, tl.load(s_micro + u, u < V, other=0.0)), mask)
        turned = tl.load(inverse + u, u < V, other=0) == 1
        value = 0.5 * lots * tl.load(unit + u, u < V, other=1.0) / tl.where(turned, mid, 1.0)
        value = tl.where(lots > 0.0, value, float("nan"))
        tl.store(depth + at, tl.where(known, value, tl.load(s_depth + u, u < V, other=0.0)), mask)


def _by_triton(
    events: OnDevice,
    table: OnDevice,
    latency_max_ns: float,
    state: OnDevice,
    log_ref: torch.Tensor,
    edge: int,
    block: int,
) -> Aligned:
    ts_ns, count, streams = events.ts_ns, events.ts_ns.shape[0], table.tick.shape[0]
    blocks, width = triton.cdiv(count, block), max(4, triton.next_power_of_2(streams))
    whole = ts_ns.new_empty((blocks, 2 * streams))
    mark_kernel[(blocks,)](
        events.stream, events.kind, events.bid_ticks, events.ask_ticks, events.price_ticks, table.trades_only, whole,
        count, streams, BLOCK=block, WIDTH=width, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    starts = carry(LAST.value, (whole,), torch.full_like(whole[0], -1), per_edge=edge // block)
    like = state.x.new_empty((count, streams))
    # Fields in order: times, six floats, a code; then the time since the event before.
    floats = [torch.empty_like(like) for _ in range(6)]
    columns = [ts_ns.new_empty(like.shape), *floats, state.bad.new_empty(like.shape), like.new_empty(count)]
    aligned = Aligned._make(columns)
    settings = constants((latency_max_ns, float(MISSING_NS)), ts_ns.device)
    align_kernel[(blocks,)](
        *events[:8], events.latency_ns, *table, *state[:8], state.clock, log_ref, settings, starts, *aligned,
        count, streams, BLOCK=block, WIDTH=width, TILE=4, num_warps=8, enable_fp_fusion=False,
    )  # fmt: skip
    return aligned
