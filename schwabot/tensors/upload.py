"""Batches on a device, the next one on its way while one is worked on. N events of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

import torch

from schwabot.tensors.tick_batch import TickBatch


def uploaded(batches: Iterable[TickBatch], device: torch.device) -> Iterator[TickBatch]:
    """Each batch on the device, copied there once.

    On CUDA the copy is made from pinned memory on a stream of its own, and the next batch's is begun before this one is
    handed out; the device's current stream waits for it, the host does not. On the CPU batches are handed on as is.

    Args:
        batches: on the host.
        device: where to.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> there = uploaded(map(TickBatch.from_ticks, feed.batches(100)), torch.device("cpu"))
        >>> sum(len(batch) for batch in there)
        300
    """
    if device.type != "cuda":
        yield from (_mapped(batch, device) for batch in batches)
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call, unused-ignore]
    before: tuple[TickBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            there = _mapped(batch, device)
            arrived = stream.record_event()
        if before is not None:
            yield _taken(*before, device)
        before = there, arrived
    if before is not None:
        yield _taken(*before, device)


def _mapped(batch: TickBatch, device: torch.device) -> TickBatch:
    def copied(column: torch.Tensor) -> torch.Tensor:
        if device.type != "cuda":
            return column.to(device)
        return (column if column.is_pinned() else column.pin_memory()).to(device, non_blocking=True)

    return TickBatch(*(copied(getattr(batch, field.name)) for field in fields(TickBatch)))


def _taken(batch: TickBatch, arrived: torch.cuda.Event, device: torch.device) -> TickBatch:
    """Let the device's current stream wait for the copy, and keep its memory until that stream is done with it."""
    current = torch.cuda.current_stream(device)
    current.wait_event(arrived)
    for field in fields(TickBatch):
        getattr(batch, field.name).record_stream(current)
    return batch
