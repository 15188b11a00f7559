"""Copies between the host and a device: the next batch on its way up while one is worked on.

    a thread    │ batch 1 ▶ pinned ▶ device │ batch 2 ...      on a stream of its own
    the run     │ batch 0: compute … answers back │ batch 1 ...

Copies pass through pinned memory, which torch keeps and uses again, so that after the first batches none is allocated.
Where there is none to be had they are made without, which is slower and else the same. On the CPU the same code runs,
and nothing is moved.

Every copy is waited for where it is made, the next batch's in a thread. Pinned memory of a copy that nobody waited for
asks the device for an event when it is freed: where the device is lost that fails, and takes the process with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch


class Transfers:
    """Takes tensors to a device and back.

    Args:
        device: which.
        pins: use pinned memory as long as there is some; default on any device but the CPU.

    Example:
        >>> transfers = Transfers(torch.device("cpu"))
        >>> one, two = torch.arange(3), torch.arange(4)
        >>> transfers.begin([one])
        >>> [there.tolist() for there in transfers.up([one, two])]
        [[0, 1, 2], [0, 1, 2, 3]]
        >>> [here.tolist() for here in transfers.down([one])]
        [[0, 1, 2]]
    """

    def __init__(self, device: torch.device, *, pins: bool | None = None) -> None:
        self.device = device
        self.pins = device.type != "cpu" if pins is None else pins
        """Pinned memory is used, and was to be had so far."""
        self._own: Any = None
        self._thread = ThreadPoolExecutor(1, "upload")
        self._begun: Future[list[tuple[torch.Tensor, torch.Tensor]]] | None = None

    def begin(self, tensors: Iterable[torch.Tensor]) -> None:
        """Let copies to the device begin, which ``up`` is asked for next."""
        streams: Any = torch.get_device_module(self.device)
        if self._own is None:
            self._own = streams.Stream(self.device)
        # Memory that these copies get may still be read by what the device was asked for before.
        self._own.wait_stream(streams.current_stream(self.device))
        self._begun = self._thread.submit(self._sent_beside, list(tensors))

    def up(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors on the device. On the CPU they are the tensors themselves.

        What was begun is taken from there; what of it is not among the tensors is forgotten. Copies that failed on
        their way are made again.
        """
        begun, self._begun = self._begun, None
        found = begun.result() if begun is not None and begun.exception() is None else []
        sent = {id(tensor): there for tensor, there in found}
        return [sent[id(tensor)] if id(tensor) in sent else self._sent(tensor) for tensor in tensors]

    def down(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Copies on the host."""
        return [self._room(tensor, torch.empty_like).copy_(tensor) for tensor in tensors]

    def _sent_beside(self, tensors: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        with torch.get_device_module(self.device).stream(self._own):
            return [(tensor, self._sent(tensor)) for tensor in tensors]

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.pins and not tensor.is_pinned():
            tensor = self._room(tensor, _in_order).copy_(tensor)
        return tensor.to(self.device)

    def _room(self, tensor: torch.Tensor, like: Any) -> torch.Tensor:
        """Room for a tensor on the host, pinned where that can be."""
        if self.pins:
            try:
                return like(tensor, device="cpu", pin_memory=True)  # type: ignore[no-any-return]
            except RuntimeError:  # no driver, or a limit of the system
                self.pins = False
        return like(tensor, device="cpu")  # type: ignore[no-any-return]


def _in_order(tensor: torch.Tensor, **where: Any) -> torch.Tensor:
    """Row after row, whatever lies between the tensor's own."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, **where)
