"""A batch of quotes and trades as tensors. Axis legend: N events, V streams."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from schwabot.records.market import MISSING_NS, Int64, Kind, Ticks


@dataclass(frozen=True, slots=True)
class TickBatch:
    """Columns of N quotes and trades, in event order; see ``records.market.Ticks`` for their meaning.

    ``latency_ns`` is the stream's usual feed delay as known at the event, MISSING_NS when unknown.

    Shape: every column [N]; int64 but for stream (int32), kind and side (int8).
    """

    ts_ns: torch.Tensor
    stream: torch.Tensor
    kind: torch.Tensor
    bid_ticks: torch.Tensor
    ask_ticks: torch.Tensor
    bid_lots: torch.Tensor
    ask_lots: torch.Tensor
    price_ticks: torch.Tensor
    qty_lots: torch.Tensor
    side: torch.Tensor
    latency_ns: torch.Tensor

    @staticmethod
    def from_ticks(ticks: Ticks, latency_ns: Int64 | None = None, device: torch.device | str = "cpu") -> TickBatch:
        """The quotes and trades of ``ticks``; DEPTH rows are left out.

        Args:
            ticks: a batch from a feed.
            latency_ns: per row of ``ticks``; None = unknown.
            device: where the tensors go.
        """
        rows = np.flatnonzero(ticks.kind != Kind.DEPTH)
        everything = len(rows) == len(ticks)
        if latency_ns is None:
            latency_ns = np.full(len(ticks), MISSING_NS, np.int64)

        def column(values: np.ndarray) -> torch.Tensor:
            part = np.ascontiguousarray(values) if everything else values[rows]
            if not part.flags.writeable:
                part = part.copy()
            return torch.from_numpy(part).to(device)

        return TickBatch(
            ts_ns=column(ticks.ts_recv_ns),
            stream=column(ticks.stream),
            kind=column(ticks.kind),
            bid_ticks=column(ticks.bid_ticks),
            ask_ticks=column(ticks.ask_ticks),
            bid_lots=column(ticks.bid_lots),
            ask_lots=column(ticks.ask_lots),
            price_ticks=column(ticks.price_ticks),
            qty_lots=column(ticks.qty_lots),
            side=column(ticks.side),
            latency_ns=column(latency_ns),
        )

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def rows(self, start: int, stop: int) -> TickBatch:
        """Rows [start, stop), sharing memory."""
        return TickBatch(*(getattr(self, field.name)[start:stop] for field in fields(self)))
