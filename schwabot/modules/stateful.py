"""What the five modules share: state as named tensors, passed in and handed back, and told apart by what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from schwabot.errors import StateError
from schwabot_kernels import tree
from schwabot_kernels.rings import is_ring

State = dict[str, torch.Tensor]
"""Named tensors, e.g. ``"phase.pair_sum"``: everything a module remembers. Save it, load it, pass it on."""

Part = TypeVar("Part", bound=tuple[Any, ...])


class Stateful(torch.nn.Module):
    """A module without hidden memory: ``forward(..., state) -> (outputs, state)``.

    Its part of the state is one kernel tuple per op, and ``"<name>.identity"``: the settings without which the numbers
    mean something else, so that a state can't be given to a module that would misread it.

    Args:
        name: of the module's settings, e.g. ``hash_registry``.
        config: the module's settings.
        identity: names of the settings that the state's meaning depends on.
        empty: per op, the state before the first event.
        streams: V. Rows of streams are padded, so shapes alone don't tell 3 streams from 4.
        beside: more that the meaning depends on, by name.
    """

    def __init__(
        self,
        name: str,
        config: object,
        identity: tuple[str, ...],
        empty: dict[str, tuple[Any, ...]],
        streams: int,
        beside: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.config = config
        values: dict[str, float] = {}
        for setting in identity:
            value = getattr(config, setting)
            several = value if isinstance(value, list) else [value]
            full = f"modules.{name}.{setting}"
            values.update({f"{full}[{k}]" if isinstance(value, list) else full: v for k, v in enumerate(several)})
        values["the number of streams"] = streams
        values |= beside or {}
        self._identity = values
        self._like = empty
        self._expected = {name: (part.dtype, tuple(part.shape)) for name, part in self.initial_state().items()}

    def initial_state(self) -> State:
        """State before the first event."""
        state: State = {}
        for op, part in self._like.items():
            state.update(tree.to_dict(tree.copy(part), f"{op}."))
        state[f"{self.name}.identity"] = torch.tensor(list(self._identity.values()), dtype=torch.float64)
        return state

    def check_state(self, state: State) -> None:
        """Raise StateError when this module's part of ``state`` is missing, misshapen, or means something else."""
        missing = [name for name in self._expected if name not in state]
        if missing:
            raise StateError(f"state lacks {', '.join(missing[:5])}: start from {self.name}'s initial_state()")
        for name, (dtype, shape) in self._expected.items():
            given = state[name]
            fits = given.shape[1:] == shape[1:] if is_ring(name) and given.dim() else given.shape == shape
            if given.dtype != dtype or not fits:
                raise StateError(
                    f"state part {name} is {given.dtype} {tuple(given.shape)}, {self.name} needs {dtype} {shape}: "
                    "it was made with other streams or settings"
                )
        self._check_identity(state)

    def _check_identity(self, state: State) -> None:
        given = state[f"{self.name}.identity"].tolist()
        odd = [
            f"{setting} is {wanted:g} here and was {value:g}"
            for (setting, wanted), value in zip(self._identity.items(), given, strict=True)
            if float(wanted) != value
        ]
        if odd:
            raise StateError(f"state was made with other settings: {'; '.join(odd)}")

    def _leaves(self, op: str, state: State) -> list[torch.Tensor]:
        """State of one op as its torch op takes it."""
        return [state[f"{op}.{field}"] for field in self._like[op]._fields]  # type: ignore[attr-defined]

    def _named(self, op: str, leaves: list[torch.Tensor]) -> State:
        """State of one op as its torch op gives it back, by name."""
        fields = self._like[op]._fields  # type: ignore[attr-defined]
        return {f"{op}.{field}": tensor for field, tensor in zip(fields, leaves, strict=True)}

    def _own(self, state: State) -> State:
        """This module's part of ``state``."""
        return {name: state[name] for name in self._expected}

    def _tuple(self, op: str, like: Part, state: State) -> Part:
        """State of one op as the kernel's tuple, sharing memory."""
        return tree.from_dict(like, state, f"{op}.")
