"""The events that every benchmark of the graph uses. N events, V streams."""

from __future__ import annotations

from functools import cache

import torch

from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.ticks.venue_clock import VenueClock


@cache
def market(events: int) -> tuple[tuple[Instrument, ...], TickBatch]:
    """The default synthetic market of four venues, with the feed latencies that the venue clocks say."""
    feed = SyntheticFeed(SyntheticConfig(events=events))
    clock = VenueClock(feed.instruments)
    parts = []
    for ticks in feed.batches():
        _, latency_ns = clock.update(ticks)
        parts.append(TickBatch.from_ticks(ticks, latency_ns))
    names = TickBatch.__dataclass_fields__
    return feed.instruments, TickBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def chunks(batch: TickBatch, size: int = 65_536) -> list[TickBatch]:
    """The batch as the engine hands it on."""
    return [batch.rows(start, min(start + size, len(batch))) for start in range(0, len(batch), size)]
