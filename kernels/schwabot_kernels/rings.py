"""Rings: queues of what is still to come, in arrays whose length is a power of two. Entry k lies in slot k mod length.

``head`` = [number of the oldest entry, number of the next one]; what lies between them is live.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

Part = TypeVar("Part", bound=tuple[Any, ...])

RINGS: dict[str, tuple[str, ...]] = {
    "consensus": ("due_ns", "due_stream", "due_value"),
    "registry": ("due_ns", "due_ghost", "due_prediction", "due_weight", "due_echo_weight", "due_code"),
    "lag": ("ts_ns", "stream", "side", "touch", "entropy", "range_bp", "outlook", "expected", "cost"),
    "arbitrage": ("closed_ns", "closed_bp"),
    "lanes": (
        "due_ns", "due_stream", "due_bucket", "due_x", "due_deviation", "due_forecast", "due_half", "due_weight",
        "due_slope_weight",
    ),
}  # fmt: skip
"""Fields of each op's state that are rings; all of an op's rings have one length."""
LISTS: dict[str, tuple[str, ...]] = {"arbitrage": ("waiting",)}
"""Fields that are lists beside an op's rings, and as long: places [0, head[2]) are in use."""


def is_ring(name: str) -> bool:
    """Whether a part of the graph's state, such as ``"lag.cost"``, is a ring (or a list), whose length may grow.

    Example:
        >>> is_ring("lag.cost"), is_ring("lag.head")
        (True, False)
    """
    op, _, field = name.partition(".")
    return field in RINGS.get(op, ()) + LISTS.get(op, ())


def grown(op: str, part: Part, need: int) -> Part:
    """The state of ``op`` with at least ``need`` free places in its rings and lists; itself when they have them.

    Example:
        >>> from schwabot_kernels.consensus.cpu import empty_state
        >>> grown("consensus", empty_state(streams=1, capacity=4), need=9).due_ns.shape
        (16,)
    """
    fields = RINGS[op]
    oldest, newest, *listed = part.head.tolist()  # type: ignore[attr-defined]
    size = capacity = getattr(part, fields[0]).shape[0]
    while capacity - max(newest - oldest, *listed, 0) < need:
        capacity *= 2
    if capacity == size:
        return part
    live = np.arange(oldest, newest)
    larger = {}
    for field in fields:
        values = getattr(part, field)
        larger[field] = np.zeros((capacity, *values.shape[1:]), values.dtype)
        larger[field][live & (capacity - 1)] = values[live & (size - 1)]
    for field in LISTS.get(op, ()):
        values = getattr(part, field)
        larger[field] = np.zeros((capacity, *values.shape[1:]), values.dtype)
        larger[field][: listed[0]] = values[: listed[0]]
    return part._replace(**larger)  # type: ignore[attr-defined]


def fake_state(op: str, fields: Sequence[str], state: list[torch.Tensor]) -> list[torch.Tensor]:
    """Shapes and types of an op's state after it ran: the same, but for the length of rings, which only data tells."""
    capacity = torch.library.get_ctx().new_dynamic_size() if op in RINGS else 0
    rings = RINGS.get(op, ()) + LISTS.get(op, ())
    return [
        tensor.new_empty((capacity, *tensor.shape[1:])) if field in rings else torch.empty_like(tensor)
        for field, tensor in zip(fields, state, strict=True)
    ]
