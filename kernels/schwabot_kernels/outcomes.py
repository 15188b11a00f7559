"""Values as of a time, and sums of outcomes that become known later, in plain torch. N events, M outcomes, C columns.

An outcome due at time u is known at the first event at or after u. It takes the value at that event when the event
comes exactly at u, else the value of the event before: what stood at u.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels import scan

NS = 1e-9


class Due(NamedTuple):
    """When each outcome is known: ``row`` writes it, ``source`` has its value, ``known`` = within the N events. [M]."""

    row: torch.Tensor
    source: torch.Tensor
    known: torch.Tensor


def when_due(ts_ns: torch.Tensor, due_ns: torch.Tensor) -> Due:
    """Rows at which outcomes become known.

    Args:
        ts_ns: event times, never decreasing. [N]
        due_ns: in any order. [M]

    Example:
        >>> due = when_due(torch.tensor([0, 10, 20]), torch.tensor([10, 15, 25]))
        >>> due.row[due.known].tolist(), due.source[due.known].tolist()
        ([1, 2], [1, 1])
    """
    row = torch.searchsorted(ts_ns, due_ns)
    known = row < ts_ns.shape[0]
    row = torch.where(known, row, ts_ns.shape[0] - 1)
    source = torch.where(ts_ns[row] == due_ns, row, row - 1)
    return Due(row, source, known)


def last_row(update: torch.Tensor) -> torch.Tensor:
    """Row of the latest True at or before each row, -1 before the first. Shape: [N, ...], the same back."""
    rows = torch.arange(update.shape[0], device=update.device).view(-1, *[1] * (update.dim() - 1))
    return torch.where(update, rows, -1).cummax(0).values


def decay(dt_s: torch.Tensor, tau_s: float) -> torch.Tensor:
    """exp(-dt / tau)."""
    return torch.exp(-dt_s / tau_s)


class GroupSums:
    """Decayed sums per group: sum of e^{-(t - t_j)/tau} values_j over the outcomes known so far.

    Args:
        group: which sum each outcome belongs to, >= 0. [M]
        row: event that writes it, never decreasing. [M]
        ts_ns: t_j, from which it decays; never decreasing. [M]
        values: [M, C]
        tau_s: decay time.
        rows: N.

    Example:
        >>> at, group, row = torch.zeros(4, dtype=torch.int64), torch.tensor([5, 5, 5, 6]), torch.arange(4)
        >>> known = GroupSums(group[:2], row[1:3], at[:2], torch.ones(2, 1), tau_s=1.0, rows=4)
        >>> known.read(group, row, at)[:, 0].tolist()
        [0.0, 1.0, 2.0, 0.0]
    """

    def __init__(
        self, group: torch.Tensor, row: torch.Tensor, ts_ns: torch.Tensor, values: torch.Tensor, tau_s: float, rows: int
    ) -> None:
        self.tau_s = tau_s
        self.stride = rows + 1
        self.order = torch.sort(group, stable=True).indices
        self.group = group[self.order]
        self.ts_ns = ts_ns[self.order]
        self.key = self.group * self.stride + row[self.order]
        same = self.group[1:] == self.group[:-1]
        keep = torch.zeros_like(values[:, 0])
        keep[1:] = torch.where(same, decay((self.ts_ns[1:] - self.ts_ns[:-1]).to(values) * NS, tau_s), 0.0)
        self.sums = scan.affine(keep[:, None], values[self.order])
        """Sum right after each outcome, as of its t_j, in the order of ``self.order``. [M, C]"""

    def find(self, group: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """Place in ``sums`` of the group's latest outcome known at ``row``, -1 if none. Shape: any, the same back."""
        if self.key.shape[0] == 0:
            return torch.full_like(group, -1)
        place = torch.searchsorted(self.key, group * self.stride + row, right=True) - 1
        found = (place >= 0) & (self.group[place.clamp(min=0)] == group)
        return torch.where(found, place, -1)

    def read(self, group: torch.Tensor, row: torch.Tensor, ts_ns: torch.Tensor) -> torch.Tensor:
        """The groups' sums at ``row``, decayed to ``ts_ns``; 0 where nothing is known. Shape: [R]; returns [R, C]."""
        place = self.find(group, row)
        if self.key.shape[0] == 0:
            return self.sums.new_zeros((*place.shape, self.sums.shape[1]))
        at = place.clamp(min=0)
        keep = decay((ts_ns - self.ts_ns[at]).to(self.sums) * NS, self.tau_s)
        return torch.where(place >= 0, keep, 0.0)[..., None] * self.sums[at]
