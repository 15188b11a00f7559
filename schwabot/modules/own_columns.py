"""Columns of the user's own that a forecast is made of, beside the graph's features: what the graph needs of them.

What computes them stands above the modules: ``schwabot.signals.own_features``. Axis legend: N events, V streams, E
columns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from schwabot.modules.stateful import State, Stateful
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.simulate.records import Market


@dataclass(frozen=True, slots=True)
class OwnColumn:
    """What a head's file says of a signal of the user's own.

    Attributes:
        name: of the signal.
        spec: where it is, ``my_module:flow_lots`` or ``file.py:flow_lots``.
        digest: of its source; another one would mean something else.
        parameters: name → value.
    """

    name: str
    spec: str
    digest: str
    parameters: Mapping[str, float] = field(default_factory=dict)


class OwnColumns(Stateful):
    """Computes E columns of every stream from the events alone, causally, moving its state on in place.

    Attributes:
        columns: what is computed.
    """

    columns: tuple[OwnColumn, ...]

    @abstractmethod
    def bind(self, state: State) -> Any:
        """Its part of ``state`` as ``fill`` takes it, sharing memory."""

    @abstractmethod
    def fill(self, market: Market, bound: Any) -> None:
        """Fill ``market.signals`` [V, E, N] from its other columns, and move the bound state on."""

    def advance(self, batch: TickBatch, state: State) -> torch.Tensor:
        """The columns of a batch; their part of ``state`` is moved on in place. Shape: [V, E, N]."""
        events = Events(*(getattr(batch, name).cpu().contiguous().numpy() for name in Events._fields))
        market = market_of(events, self.streams, len(self.columns))
        self.fill(market, self.bind(state))
        return torch.from_numpy(market.signals)

    @property
    def streams(self) -> int:
        """V."""
        return int(self._identity["the number of streams"])


def market_of(events: Events, streams: int, columns: int) -> Market:
    """Events as signals see them, every stream a leg, with room for E columns; shares memory but for ``leg``."""
    return Market(
        ts_ns=events.ts_ns,
        venue_ns=events.ts_ns,
        leg=events.stream.astype(np.int8),
        kind=events.kind,
        side=events.side,
        bid=events.bid_ticks,
        ask=events.ask_ticks,
        bid_lots=events.bid_lots,
        ask_lots=events.ask_lots,
        price=events.price_ticks,
        lots=events.qty_lots,
        mark=events.ts_ns,
        next_row=np.zeros(0, np.int32),
        signals=np.full((streams, columns, len(events.ts_ns)), np.nan),
    )
