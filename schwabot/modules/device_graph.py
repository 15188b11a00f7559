"""A graph on a device, which goes on on the CPU when the device fails. N events of a batch, V streams.

    host    held ───┐ events since the last edge        snapshot: the state at the last edge
    device          └▶ [edge 0 … edge k) ▶ state at edge k ▶ [edge k … now) ▶ answers for the new events

The device's sums go from edge to edge, every ``edge`` events. What lies behind the last edge is kept and run again with
the next batch, so that no answer depends on how events are cut into batches. Batches of n events, fewer than an edge,
cost (edge / n + 1) / 2 times the work; those of ``batch_events``, which end at edges, nothing more. The state at the
last edge is copied to the host with the answers: when a call on the device fails, the CPU takes that copy, runs what
lies behind it, and answers the batch at hand. Nothing is answered twice, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields

import torch

from schwabot.errors import SchwabotError, why
from schwabot.modules.ghost_bridge import take_windows
from schwabot.modules.graph import TEMPLATE, Graph, GraphOutput, State, signals_of
from schwabot.modules.phantom_lag import take_decisions
from schwabot.records.audit import ArbitrageEvents, LagDecisions
from schwabot.tensors.profiling import span
from schwabot.tensors.tick_batch import TickBatch
from schwabot.tensors.transfers import Transfers
from schwabot_kernels import tree
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.arbitrage.cpu import ArbitrageState
from schwabot_kernels.graph import cpu as kernel
from schwabot_kernels.graph.op import flat_params
from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.lag.cpu import LagState

EDGE = 131_072
"""Events from edge to edge."""
MOST_EDGES = 4
"""In a batch: a larger one is not faster, and Ctrl-C waits for it."""
FREE_SHARE = 0.5
"""Of a device's free memory, that a batch may take."""
BYTES = (2_048, 512, 1_024)
"""That an event takes on the device while its batch is worked on: any, per stream and per table. From above: the plain
torch ops took 16.7 kB at 4 streams, 16 tables and 16 bits, 17.6 kB at 8 streams, 5.6 kB at 4 streams and 4 tables."""

Parts = list[torch.Tensor]
Call = Callable[[Parts, torch.Tensor, Parts, list[float], Parts, Parts], Parts]
"""Events, own columns, table, numbers, arrays and state to columns and state: ``schwabot::graph``."""


class DeviceGraph:
    """Runs a graph's batches on a device.

    Args:
        graph: the graph.
        device: where.
        state: to begin with; its event is the first edge. Left as it is.
        edge: events from edge to edge.
        most_edges: in a batch as ``batch_events`` wants it.
        call: the op that is run with tensors on the device.
        transfers: of the device; default its own.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> graph = Graph(feed.instruments)
        >>> on_device = DeviceGraph(graph, torch.device("cpu"), graph.initial_state(), edge=128)
        >>> ghosts = [on_device.advance(TickBatch.from_ticks(t)).signals.ghost_bp for t in feed.batches(100)]
        >>> [len(ghost) for ghost in ghosts], on_device.failed
        ([95, 93, 95, 17], None)
    """

    def __init__(
        self,
        graph: Graph,
        device: torch.device,
        state: State,
        *,
        edge: int = EDGE,
        most_edges: int = MOST_EDGES,
        call: Call = graph_op,
        transfers: Transfers | None = None,
    ) -> None:
        self.graph = graph
        self.device = device
        self.failed: str | None = None
        """Why the device was given up; None while it answers."""
        self._edge = edge
        self._most_edges = most_edges
        self._call = call
        self._transfers = Transfers(device) if transfers is None else transfers
        per_event = _bytes_per_event(len(graph.instruments), graph.config.hash_registry.tables)
        self.batch_events = edge * _edges_within(_free_bytes(device), edge * per_event, most_edges)
        """Events of a batch that ends at an edge and fits into the device's free memory; at least one edge."""
        names = tree.to_dict(TEMPLATE)
        self._beside: State = {name: value.clone() for name, value in state.items() if name not in names}
        self._snapshot: State = {name: state[name].clone() for name in names}
        self._there: State | None = None  # the snapshot, on the device
        self._held: TickBatch | None = None
        self._held_own: torch.Tensor | None = None
        self._handed = [int(state["lag.head"][0]), int(state["arbitrage.head"][0])]
        self._now: State = self._snapshot
        # What is asked between calls stays on the host, where no device can lose it.
        self._known: State = {name: state[name].clone() for name in _KNOWN}
        self._here: State | None = None  # what the CPU moves on, once the device has failed

    def advance(self, batch: TickBatch, ahead: TickBatch | None = None) -> GraphOutput:
        """Answer N events. The device's first failure makes ``failed`` say why, and the CPU answers from then on.

        Args:
            batch: to be answered.
            ahead: what will be asked next, if it is known: its way to the device begins before this one is worked on.
                Columns of the next batch that are its tensors are not copied again; its latencies may be others.

        Raises:
            UnknownStreamError: as ``Graph.advance``.
            UnsortedTimeError: as ``Graph.advance``.
        """
        if self._here is not None:
            return self.graph.advance(batch, self._here)
        if not len(batch):
            return GraphOutput(self.graph.no_signals(), *self._none)
        self.graph.check_batch(batch, self._known)
        own = self.graph.own_columns(batch, self._beside)
        held = 0
        if self._held is not None and self._held_own is not None and len(self._held):
            held = len(self._held)
            batch, own = _joined(self._held, batch), torch.cat((self._held_own, own), -1)
        try:
            return self._answered(batch, own, held, self._transfers, self._call, ahead)
        except SchwabotError:
            raise
        except Exception as error:  # noqa: BLE001 whatever a driver, compiler or allocator raises, the run goes on
            self._fail(error)
        output = self._answered(batch, own, held, Transfers(torch.device("cpu")), graph_op)
        self._here = self._whole(_on(self._now, torch.device("cpu")))
        return output

    def _fail(self, error: Exception) -> None:
        self.failed = why(error)
        self._there = None
        self._now = {}

    @property
    def state(self) -> State:
        """The graph's state after the last event, on the host. A device that can't give it has failed: the CPU does."""
        if self._here is not None:
            return self._here
        try:
            return self._whole(_on(self._now, torch.device("cpu")))
        except Exception as error:  # noqa: BLE001 as above
            self._fail(error)
        self._here = self._whole(self._again())
        return self._here

    def _whole(self, state: State) -> State:
        for op, handed in zip(("lag", "arbitrage"), self._handed, strict=True):
            state[f"{op}.head"][0] = handed
        return {name: state[name] if name in state else self._beside[name] for name in self.graph.initial_state()}

    def restarted(self, state: State, graph: Graph | None = None) -> DeviceGraph:
        """The same device, going on from another state, with another graph if one is given."""
        return DeviceGraph(
            graph or self.graph,
            self.device,
            state,
            edge=self._edge,
            most_edges=self._most_edges,
            call=self._call,
            transfers=self._transfers,
        )

    @property
    def reference(self) -> State:
        """What of the state says which price 0 bp stands for."""
        return self._known if self._here is None else self._here

    @property
    def _none(self) -> tuple[LagDecisions, ArbitrageEvents]:
        """No decision and no window: an empty batch completes nothing."""
        lag, arbitrage = _rings({name: value.clone() for name, value in self._snapshot.items()})
        lag.head[0], arbitrage.head[0] = lag.head[1], arbitrage.head[1]
        return take_decisions(lag, int(lag.head[1])), take_windows(arbitrage, self.graph.params.arbitrage)

    def _again(self) -> State:
        """The state after the last event, from the last edge's, by the CPU."""
        state = _on(self._snapshot, torch.device("cpu"))
        if self._held is None or self._held_own is None or not len(self._held):
            return state
        return self._run(_columns(self._held), self._held_own, tree.leaves(self.graph.table), state, graph_op)[1]

    def _answered(
        self,
        batch: TickBatch,
        own: torch.Tensor,
        held: int,
        transfers: Transfers,
        call: Call,
        ahead: TickBatch | None = None,
    ) -> GraphOutput:
        """Run from the last edge on; commits nothing unless all of it worked."""
        total = len(batch)
        whole = total - total % self._edge
        with span("upload"):
            there = self._there if self._there is not None else _on(self._snapshot, transfers.device)
            given = transfers.up([*_columns(batch), own, *tree.leaves(self.graph.table)])
            events, own_there, table = given[: len(_EVENTS)], given[len(_EVENTS)], given[len(_EVENTS) + 1 :]
            if ahead is not None:
                _begin(transfers, ahead)
        found: list[Parts] = []
        now = there
        with span("compute"):
            for start, stop in ((0, whole), (whole, total)):
                if start == stop:
                    continue
                part = [column[start:stop] for column in events]
                columns, now = self._run(part, own_there[..., start:stop], table, now, call)
                if held < stop:
                    found.append([column[..., max(held - start, 0) :] for column in columns])
                if stop == whole:
                    there = now
            columns = [torch.cat(column, -1) if len(column) > 1 else column[0] for column in zip(*found, strict=True)]
        asked = {name: value for name, value in now.items() if name in _KNOWN or name.startswith(_RINGS)}
        with span("download"):
            here = transfers.down([*columns, *asked.values(), *(there.values() if whole else ())])
        copies = iter(here[len(columns) :])
        last = dict(zip(asked, copies, strict=False))
        snapshot = self._snapshot
        if whole:
            snapshot = self._without_handed(dict(zip(there, copies, strict=True)))
            there = there | {name: snapshot[name].to(transfers.device, copy=True) for name in _HEADS}
        decisions, windows, handed = self._completed(last)
        signals = signals_of(kernel.GraphColumns._make(column.numpy() for column in here[: len(columns)]))
        known = {name: last[name] for name in _KNOWN}
        # Nothing below can fail, so a call is either answered and kept, or neither.
        self._snapshot, self._there, self._now, self._known, self._handed = snapshot, there, now, known, handed
        self._held, self._held_own = batch.rows(whole, total), own[..., whole:]
        return GraphOutput(signals, decisions, windows)

    def _run(self, events: Parts, own: torch.Tensor, table: Parts, state: State, call: Call) -> tuple[Parts, State]:
        numbers, arrays = flat_params(self.graph.params)
        out = call(events, own, table, numbers, arrays, list(state.values()))
        count = len(kernel.GraphColumns._fields)
        return out[:count], dict(zip(state, out[count:], strict=True))

    def _completed(self, last: State) -> tuple[LagDecisions, ArbitrageEvents, list[int]]:
        """Decisions and windows that were completed and not handed out yet, and how many are handed out with them."""
        lag, arbitrage = _rings(last)
        lag.head[0], arbitrage.head[0] = self._handed
        decisions = take_decisions(lag, int(lag.pending.min()))
        windows = take_windows(arbitrage, self.graph.params.arbitrage)
        return decisions, windows, [int(lag.head[0]), int(arbitrage.head[0])]

    def _without_handed(self, state: State) -> State:
        """Without what nobody waits for any more: decisions and windows that were complete at the edge."""
        lag, arbitrage = _rings(state)
        lag.head[0] = lag.pending.min()
        take_windows(arbitrage, self.graph.params.arbitrage)
        return state


def _bytes_per_event(streams: int, tables: int) -> int:
    any_event, per_stream, per_table = BYTES
    return any_event + per_stream * streams + per_table * tables


def _free_bytes(device: torch.device) -> int | None:
    """What torch keeps for its next use is free too. 0 of a device that does not say: its first batch says why."""
    if device.type != "cuda":
        return None
    try:
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    except Exception:  # noqa: BLE001 whatever a driver raises
        return 0


def _edges_within(free_bytes: int | None, edge_bytes: int, most: int) -> int:
    """How many edges a batch may have, at least one; ``most`` where nobody knows what is free.

    Example:
        >>> edge = EDGE * 20_000
        >>> [_edges_within(free, edge, 4) for free in (None, 80 << 30, 16 << 30, 4 << 30)]
        [4, 4, 3, 1]
    """
    return most if free_bytes is None else min(max(int(FREE_SHARE * free_bytes) // edge_bytes, 1), most)


_EVENTS = Events._fields
_RINGS = ("lag.", "arbitrage.")
_HEADS = ("lag.head", "arbitrage.head")
_KNOWN = ("align.clock", "align.log_ref")


def _rings(state: State) -> tuple[LagState, ArbitrageState]:
    """Decisions and windows, sharing the state's memory."""
    return tree.from_dict(TEMPLATE.lag, state, "lag."), tree.from_dict(TEMPLATE.arbitrage, state, "arbitrage.")


def _on(state: State, device: torch.device) -> State:
    """A copy on a device."""
    return {name: value.to(device, copy=True) for name, value in state.items()}


def _columns(batch: TickBatch) -> Parts:
    return [getattr(batch, name) for name in _EVENTS]


def _begin(transfers: Transfers, ahead: TickBatch) -> None:
    """Send what is known of the next batch. Where that fails nothing is begun, and it is sent when it is asked for."""
    with suppress(Exception):  # a device that is gone says so at the batch at hand
        transfers.begin(getattr(ahead, name) for name in _EVENTS if name != "latency_ns")


def _joined(first: TickBatch, second: TickBatch) -> TickBatch:
    return TickBatch(
        *(torch.cat((getattr(first, field.name), getattr(second, field.name))) for field in fields(TickBatch))
    )
