"""Decayed sums of outcomes per group on the device, from a state and from edge to edge.

N rows, M outcomes, G groups, C columns, U units (the rows between two edges; the last may be short), K outcomes a tile.

Every weight is kept as e^{(t_j - t_ref)/tau}, t_ref on a grid of epochs of 30 tau, as on the CPU. Within a unit the
outcomes of a group are scanned in their own order, in tiles that begin with the group's first: what an outcome's sum
is made of depends on no later row and on no other group. From edge to edge sums go in turn. So a row has the same bits
however many follow it, and two calls split at an edge say what one says.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels.device_groups import TILE, group_scan
from schwabot_kernels.device_scan import last_row
from schwabot_kernels.scalar import MISSING_NS

EPOCHS = 30.0
FEW = 4096
"""Programs without work that cost less than asking the device which have some."""
NS = 1e-9


def faded(epochs: torch.Tensor) -> torch.Tensor:
    """What is left of a weight after so many epochs: e^{-30 epochs}, at least e^{-708}.

    Example:
        >>> faded(torch.tensor([0.0, 1e9], dtype=torch.float64)).tolist()
        [1.0, 3.307553003638408e-308]
    """
    return torch.exp(-(EPOCHS * epochs).clamp(max=708.0))


class Epochs(NamedTuple):
    """Where the reference time stands.

    number: epoch of each row. [N]; scale: e^{-(t - t_ref)/tau}, which turns a weight into its share now. [N]
    edges: epoch of the row before each unit and of the last row. [U + 1]
    """

    number: torch.Tensor
    scale: torch.Tensor
    edges: torch.Tensor


def epochs(ts_ns: torch.Tensor, origin_ns: int, tau_s: float, before: torch.Tensor, edge: int) -> Epochs:
    """Epochs of rows.

    Args:
        ts_ns: event times. [N]
        origin_ns: time of the run's first event, where epoch 0 begins.
        tau_s: decay time.
        before: epoch of the row before. []
        edge: rows of a unit.
    """
    since = (ts_ns - origin_ns).double() * NS
    span = EPOCHS * tau_s
    number = torch.floor(since / span)
    scale = torch.exp((number * span - since) / tau_s)
    rows = ts_ns.shape[0]
    ends = torch.arange(edge, rows + edge, edge, device=ts_ns.device).clamp(max=rows) - 1
    return Epochs(number, scale, torch.cat((before.reshape(1).double(), number[ends])))


def on_the_host(count: torch.Tensor, *times: Epochs) -> tuple[int, list[list[float]]]:
    """A number below 2^53 and the epochs at the edges, for which the host waits once.

    Example:
        >>> of_rows = epochs(torch.tensor([0, 10**9]), 0, 0.01, torch.tensor(0), edge=1)
        >>> on_the_host(torch.tensor(7), of_rows)
        (7, [[0.0, 0.0, 3.0]])
    """
    first, *edges = torch.cat((count.reshape(1).double(), *(t.edges for t in times))).tolist()
    size = len(times[0].edges)
    return int(first), [edges[k * size : (k + 1) * size] for k in range(len(times))]


class Queue(NamedTuple):
    """Outcomes in the order in which they become known: those of the ring, then new ones.

    asked: unit in which they were asked, -1 for the ring's. [M]
    row: the row that writes each, N where none does yet; source: the row that has its value, -1 = before row 0. [M]
    unit: of the row that writes it, U where none does. [M]; until: how many are written at or before each row. [N]
    """

    asked: torch.Tensor
    row: torch.Tensor
    source: torch.Tensor
    unit: torch.Tensor
    until: torch.Tensor


def queued(ts_ns: torch.Tensor, due_ns: torch.Tensor, asks: torch.Tensor, edge: int) -> Queue:
    """When outcomes become known: at the first row at or after they are due.

    Args:
        ts_ns: event times, never decreasing. [N]
        due_ns: never decreasing; the last ones belong to ``asks``. [M]
        asks: rows that ask. [A]
        edge: rows of a unit.

    Example:
        >>> queue = queued(torch.tensor([0, 10, 20]), torch.tensor([5, 10, 15, 25]), torch.tensor([0]), edge=2)
        >>> queue.row.tolist(), queue.source.tolist(), queue.unit.tolist(), queue.until.tolist()
        ([1, 1, 2, 3], [0, 1, 1, 2], [0, 0, 1, 2], [0, 2, 3])
    """
    rows = ts_ns.shape[0]
    row = torch.searchsorted(ts_ns, due_ns)
    on_time = ts_ns[row.clamp(max=rows - 1)] == due_ns
    units = -(-rows // edge)
    pending = due_ns.shape[0] - asks.shape[0]
    return Queue(
        asked=torch.cat((asks.new_full((pending,), -1), asks // edge)),
        row=row,
        source=torch.where(on_time & (row < rows), row, row - 1),
        unit=torch.where(row < rows, row // edge, units),
        until=torch.searchsorted(due_ns, ts_ns, right=True),
    )


def carried_weights(
    weight: torch.Tensor, asked_epoch: torch.Tensor, queue: Queue, times: Epochs, edges: list[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of outcomes once they are written, or, where they are not, after the last row; and the epoch of each.

    Args:
        weight: as of ``asked_epoch``. [M]
        asked_epoch: epoch of the row that asked; of the ring's, the one before row 0. [M]
        queue: of the outcomes.
        times: epochs of the rows.
        edges: ``times.edges``, on the host.

    Shape: [M] each.
    """
    epoch = asked_epoch
    # What is pending at an edge is written down in the epoch that holds there, as it is between two calls.
    for u in range(1, len(edges)):
        if edges[u] != edges[u - 1]:
            waits = (queue.asked < u) & (queue.unit >= u)
            weight = torch.where(waits, weight * faded(edges[u] - epoch), weight)
            epoch = torch.where(waits, edges[u], epoch)
    rows = times.number.shape[0]
    final = torch.where(queue.row < rows, times.number[queue.row.clamp(max=rows - 1)], times.edges[-1])
    return weight * faded(final - epoch), final


class Groups:
    """Outcomes sorted by unit and group, in their own order within each.

    Args:
        group: of each outcome, in [0, G); G for one that belongs to none. [M]
        unit: of each outcome, never decreasing within a group. [M]
        index: number of each outcome, rising within a group. [M]
        groups: G
        units: U
        indices: more than any of ``index``.
        tile: K, a power of two.

    Example:
        >>> zero = torch.zeros(3, dtype=torch.int64)
        >>> groups = Groups(torch.tensor([1, 0, 1]), zero, torch.arange(3), groups=2, units=1, indices=3)
        >>> groups.order.tolist(), groups.find(zero[:1] + 1, zero[:1], torch.tensor([2])).tolist()
        ([1, 0, 2], [1])
    """

    def __init__(
        self,
        group: torch.Tensor,
        unit: torch.Tensor,
        index: torch.Tensor,
        groups: int,
        units: int,
        indices: int,
        tile: int = TILE,
    ) -> None:
        self.groups, self.units, self.indices, self.tile = groups, units, indices, tile
        ids = units * (groups + 1)
        key = unit * (groups + 1) + group
        # A radix sort passes over the bytes of the key.
        narrow = torch.int16 if ids < 2**15 else torch.int32 if ids < 2**31 else torch.int64
        self.order = torch.sort(key.to(narrow), stable=True).indices
        key = key[self.order]
        self.start = torch.searchsorted(key, torch.arange(ids + 1, device=key.device))
        """First place of every unit and group. [U (G + 1) + 1]"""
        every = torch.arange(ids, device=key.device)
        self.filled = every if ids <= FEW else (self.start[1:] > self.start[:-1]).nonzero().squeeze(1)
        """Those of ``start`` that have outcomes; where they are few all of them, which need not wait for the host."""
        self.key = key * indices + index[self.order]

    def find(self, group: torch.Tensor, unit: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        """Place of a group's latest outcome of a unit among those numbered below a limit, -1 for none. Shape: any."""
        if self.key.shape[0] == 0:
            return torch.full_like(limit, -1)
        own = unit * (self.groups + 1) + group
        place = torch.searchsorted(self.key, own * self.indices + limit) - 1
        return torch.where(place >= self.start[own], place, -1)

    def last(self, values: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        """The latest of a group's values, at every edge.

        Args:
            values: in the order of ``order``. [M]
            first: before the first unit. [G]

        Shape: [U + 1, G]
        """
        found = [first]
        for u in range(self.units):
            has, place = self._ends(u)
            found.append(torch.where(has, values[place], found[-1]) if values.shape[0] else found[-1])
        return torch.stack(found)

    def _ends(self, u: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether a unit has outcomes of each group, and the place of the last one. [G] each."""
        first = u * (self.groups + 1)
        start, end = self.start[first : first + self.groups], self.start[first + 1 : first + self.groups + 1]
        return end > start, (end - 1).clamp(min=0)


class Sums:
    """Decayed sums of the outcomes of every group.

    Args:
        groups: the outcomes, sorted.
        epoch: of each outcome's weight. [M]
        values: weight times what is summed. [M, C]
        base: sums before row 0, in the epoch before row 0. [G, C]
        edges: see ``Epochs``. [U + 1]
        bases: sums at every edge, where they are known. [U, G, C]
    """

    def __init__(
        self,
        groups: Groups,
        epoch: torch.Tensor,
        values: torch.Tensor | None,
        base: torch.Tensor,
        edges: torch.Tensor,
        bases: torch.Tensor | None = None,
    ) -> None:
        self.groups, self.edges = groups, edges
        self.epoch = epoch[groups.order]
        keep = torch.ones_like(self.epoch)
        keep[1:] = faded((self.epoch[1:] - self.epoch[:-1]).clamp(min=0.0))
        self.prefix = self._scanned(keep, values)
        """What the unit has added up to each outcome, in the outcome's epoch. [M, C]"""
        self.bases = self._carried(base) if bases is None else bases
        """Sums at every edge, in the epoch that holds there. [U + 1, G, C]"""

    def _scanned(self, keep: torch.Tensor, values: torch.Tensor | None) -> torch.Tensor:
        """``prefix``, from what each outcome keeps of the sum before it, in sorted order."""
        assert values is not None
        groups = self.groups
        return group_scan(keep, values, groups.order, groups.start, groups.filled, tile=groups.tile)

    def _carried(self, base: torch.Tensor) -> torch.Tensor:
        found = [base]
        for u in range(self.groups.units):
            after = base * faded(self.edges[u + 1] - self.edges[u])
            if self.prefix.shape[0]:
                has, place = self.groups._ends(u)
                added = self.prefix[place] * faded(self.edges[u + 1] - self.epoch[place])[:, None]
                after = after + torch.where(has[:, None], added, 0.0)
            found.append(base := after)
        return torch.stack(found)

    def at_outcomes(self, group: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Sums right after each outcome, in its epoch, in the order in which outcomes were given. Shape: [M, C]."""
        order = self.groups.order
        group, unit = group[order].clamp(max=self.groups.groups - 1), unit[order]
        sums = torch.empty_like(self.prefix)
        sums[order] = self._with_base(group, unit, self.prefix, self.epoch)
        return sums

    def read(self, group: torch.Tensor, unit: torch.Tensor, limit: torch.Tensor, epoch: torch.Tensor) -> torch.Tensor:
        """Sums of groups over the outcomes numbered below a limit, in an epoch. Shape: [R]; returns [R, C]."""
        base = self.bases[unit, group]
        at_edge = base * faded(epoch - self.edges[unit])[..., None]
        place = self.groups.find(group, unit, limit)
        if self.prefix.shape[0] == 0:
            return at_edge
        at = place.clamp(min=0)
        known = self._with_base(group, unit, self.prefix[at], self.epoch[at])
        return torch.where((place >= 0)[..., None], known * faded(epoch - self.epoch[at])[..., None], at_edge)

    def _with_base(
        self, group: torch.Tensor, unit: torch.Tensor, prefix: torch.Tensor, epoch: torch.Tensor
    ) -> torch.Tensor:
        return self.bases[unit, group] * faded((epoch - self.edges[unit]).clamp(min=0.0))[..., None] + prefix


def first_ns(ts_ns: torch.Tensor, clock: torch.Tensor) -> torch.Tensor:
    """Time of the run's first event: the clock's, if it has begun. Shape: [1]."""
    return torch.where(clock[:1] == MISSING_NS, ts_ns[:1], clock[:1])


def moved_on(head: torch.Tensor, told: torch.Tensor, asked: int) -> torch.Tensor:
    """A ring's ends after some of its outcomes were told and others asked. Shape: [2]."""
    return torch.stack((head[0] + told, head[1] + asked))


def taken(ring: torch.Tensor, head: tuple[int, int]) -> torch.Tensor:
    """The live entries of a ring, oldest first. Shape: [capacity, ...]; returns [M, ...]."""
    return ring[torch.arange(*head, device=ring.device) & (ring.shape[0] - 1)]


def put_back(ring: torch.Tensor, entries: torch.Tensor, head: tuple[int, int]) -> torch.Tensor:
    """A ring of these live entries, as long as before or longer where they need it. Shape: as ``taken``."""
    capacity = ring.shape[0]
    while capacity < head[1] - head[0]:
        capacity *= 2
    filled = ring.clone() if capacity == ring.shape[0] else ring.new_zeros((capacity, *ring.shape[1:]))
    filled[torch.arange(*head, device=ring.device) & (capacity - 1)] = entries
    return filled


def latest(mark: torch.Tensor, until: torch.Tensor) -> torch.Tensor:
    """Last marked one of the first ``until`` outcomes, -1 for none. Shape: mark [M, V], until [N]; returns [N, V].

    Example:
        >>> latest(torch.tensor([[False], [True], [False]]), torch.tensor([0, 1, 2, 3])).flatten().tolist()
        [-1, -1, 1, 1]
    """
    none = torch.full((1, mark.shape[1]), -1, device=mark.device)
    return torch.cat((none, last_row(mark, none[0])))[until]  # torch's cummax has one thread for a column
