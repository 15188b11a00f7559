"""TensorBoard: scalars over the run, histograms, the lag curve, the module graph, hparams, GPU telemetry.

Scalars are points of the run, not means: step = number of the event, wall time = its receive time. They are spread
evenly when the number of events is known; else the spacing doubles each time ``points`` have been written.

Axis legend: N rows of a batch, V streams, L latencies, K points kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from schwabot.records.audit import Lane, StepRecord
from schwabot.records.market import Float64, Int32, Int64
from schwabot.sinks.base import RunHeader
from schwabot.sinks.gather import RECORDS, ROWS
from schwabot.sinks.gpu_telemetry import GpuTelemetry, scalars
from schwabot.sinks.graph_picture import GraphNode, nodes
from schwabot.sinks.lag_figure import lag_figure

VOLTS: Float64 = np.linspace(0.8, 3.3, 51)
COST_BP: Float64 = np.linspace(-10.0, 10.0, 201)  # beside them a bin below and one above, as wide as the data
SKILL_HORIZON_MS = "100"


class TensorBoardSink:
    """Writes TensorBoard events into the run's folder.

    Args:
        points: about how many points a scalar gets.
        gpu: read beside the run; drawn as it comes.
    """

    def __init__(self, points: int = 400, gpu: GpuTelemetry | None = None) -> None:
        self._points = points
        self._gpu = gpu
        self._throttled: set[str] = set()
        self._uncounted: list[tuple[Int32, Float64, Float64]] = []  # stream [N], its voltage [N], costs [D, L]
        self._uncounted_rows = 0

    def open(self, header: RunHeader) -> None:
        """Import TensorBoard, start the file, draw the module graph."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import SummaryWriter

        for old in header.run_dir.glob("events.out.tfevents.*"):
            old.unlink()  # two runs in one folder would be drawn as one
        self._writer: Any = SummaryWriter(str(header.run_dir), max_queue=10_000, flush_secs=10)
        self._summary = Summary
        self._header = header
        self._names = [_tag(instrument.stream) for instrument in header.instruments]
        V = len(self._names)
        self._next = 0
        self._stride = max(1, (header.expected_events or 0) // self._points)
        self._left = math.inf if header.expected_events else self._points
        if not header.expected_events:
            self._stride = 64
        self._voltage = np.zeros((V, len(VOLTS) - 1), dtype=np.int64)
        self._costs: Int64 | None = None
        self._step = 0
        streams = tuple(instrument.stream for instrument in header.instruments)
        self._draw_graph(nodes(header.config.get("modules") or {}, streams))

    def write(self, record: StepRecord) -> None:
        """Take one batch."""
        if len(record.ts_recv_ns):
            self._write_scalars(record)
        self._gather(record)
        self._step = record.first_event + len(record.ts_recv_ns)
        self._write_telemetry()

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write histograms, the lag curve and hparams; finish the file."""
        self._write_telemetry()
        self._count()
        for v, name in enumerate(self._names):
            self._histogram(f"voltage/{name}", self._voltage[v], VOLTS)
        if self._costs is not None:
            for column, latency in enumerate(self._latencies_ms):
                low, high = self._cost_ends[column]
                edges = np.concatenate([[min(low, COST_BP[0])], COST_BP, [max(high, COST_BP[-1])]])
                self._histogram(f"realised_lag_bp/{latency:g}ms", self._costs[column], edges)
        lanes = summary.get("lanes") or {}
        if lanes:
            counts = np.array([lanes.get(lane.name, 0) for lane in Lane])
            self._histogram("lanes", counts, np.arange(len(Lane) + 1) - np.float64(0.5))
        if summary.get("lag_curve"):
            self._writer.add_figure("lag_curve", lag_figure(summary["lag_curve"]))
        self._write_hparams(summary)
        self._writer.close()

    def _write_scalars(self, record: StepRecord) -> None:
        rows = np.array(list(self._picks(record.first_event, len(record.ts_recv_ns))), dtype=np.int64)
        if not len(rows):
            return
        steps = (record.first_event + rows).tolist()
        times = (record.ts_recv_ns[rows] / 1e9).tolist()
        signals = record.signals
        columns = {name: getattr(signals, name)[rows].tolist() for name in ("ghost_bp", "entropy", "echo_bp")}
        for name in ("deviation_bp", "phase_bp", "drift", "voltage"):
            by_stream = getattr(signals, name)[rows].T.tolist()
            columns |= {f"{name}/{stream}": values for stream, values in zip(self._names, by_stream, strict=True)}
        writer, value = self._writer._get_file_writer(), self._summary.Value
        for i, (step, time_s) in enumerate(zip(steps, times, strict=True)):
            # One event for all tags: add_scalar would write one for each, at ten times the time.
            values = [value(tag=tag, simple_value=of[i]) for tag, of in columns.items() if of[i] == of[i]]
            if values:
                writer.add_summary(self._summary(value=values), step, time_s)

    def _picks(self, first: int, count: int) -> Iterator[int]:
        """Rows of this batch that are points; which events they are does not depend on the batches."""
        while self._next < first + count:
            yield self._next - first
            self._next += self._stride
            self._left -= 1
            if self._left <= 0:
                self._stride *= 2
                self._left = self._points

    def _gather(self, record: StepRecord) -> None:
        """Count only now and then: it takes as long for a hundred rows as for a thousand."""
        if self._costs is None and len(record.decisions.ts_ns):
            self._latencies_ms, L = record.latencies_ms, len(record.latencies_ms)
            self._costs, self._cost_ends = np.zeros((L, len(COST_BP) + 1), dtype=np.int64), np.zeros((L, 2))
        voltage = record.signals.voltage[np.arange(len(record.stream)), record.stream]
        self._uncounted.append((record.stream, voltage, record.decisions.realised_cost_bp))
        self._uncounted_rows += len(record.stream)
        if self._uncounted_rows >= ROWS or len(self._uncounted) >= RECORDS:
            self._count()

    def _count(self) -> None:
        if not self._uncounted:
            return
        stream, voltage, costs = map(np.concatenate, zip(*self._uncounted, strict=True))
        self._uncounted, self._uncounted_rows = [], 0
        for v in range(len(self._names)):
            own = voltage[stream == v]
            self._voltage[v] += np.histogram(own[np.isfinite(own)], VOLTS)[0]
        if self._costs is not None:
            for column in range(costs.shape[1]):
                known = costs[:, column][np.isfinite(costs[:, column])]
                self._costs[column] += np.bincount(np.digitize(known, COST_BP), minlength=len(COST_BP) + 1)
                low, high = self._cost_ends[column]
                self._cost_ends[column] = known.min(initial=low), known.max(initial=high)

    def _histogram(self, tag: str, counts: Int64, edges: Float64) -> None:
        found = np.flatnonzero(counts)
        if not len(found):
            return
        counts, edges = counts[found[0] : found[-1] + 1], edges[found[0] : found[-1] + 2]
        middle = (edges[1:] + edges[:-1]) / 2
        self._writer.add_histogram_raw(
            tag,
            min=float(edges[0]),
            max=float(edges[-1]),
            num=int(counts.sum()),
            sum=float((counts * middle).sum()),
            sum_squares=float((counts * middle**2).sum()),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
        )

    def _draw_graph(self, graph: tuple[GraphNode, ...]) -> None:
        from tensorboard.compat.proto.config_pb2 import RunMetadata

        self._writer._get_file_writer().add_graph((graph_def(graph), RunMetadata()))

    def _write_hparams(self, summary: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import summary as tensorboard_summary

        hparams: Any = tensorboard_summary.hparams
        config = self._header.config
        settings = dict(_flat({name: config[name] for name in ("source", "device", "modules") if name in config}))
        settings = {name: value for name, value in settings.items() if "policy." not in name}
        found = {"events_per_s": summary.get("events_per_s"), "truth": summary.get("truth") or {}}
        for stream, horizons in (summary.get("skill") or {}).items():
            cell = horizons.get(SKILL_HORIZON_MS) or {}
            found[_tag(stream)] = {name: cell.get(name) for name in ("corr", "r2")}
        results = {
            f"hparam/{name}": float(value)
            for name, value in _flat(found)
            if isinstance(value, float | int) and math.isfinite(value)
        }
        writer = self._writer._get_file_writer()
        for part in hparams(settings, results):
            writer.add_summary(part)
        for name, value in results.items():
            self._writer.add_scalar(name, value)

    def _write_telemetry(self) -> None:
        for reading in self._gpu.take() if self._gpu else ():
            for tag, value in scalars(reading, self._throttled):
                self._writer.add_scalar(tag, value, self._step, walltime=reading.time_s)


def graph_def(graph: tuple[GraphNode, ...]) -> Any:
    """The module graph as TensorBoard's Graphs tab reads it.

    Args:
        graph: boxes; inputs name other boxes.
    """
    from tensorboard.compat.proto.attr_value_pb2 import AttrValue
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef
    from tensorboard.compat.proto.versions_pb2 import VersionDef

    names = {node.name for node in graph}
    for node in graph:
        assert names.issuperset(node.inputs), f"{node.name} reads what is not in the graph"
    return GraphDef(
        node=[
            NodeDef(
                name=node.name,
                op=node.op,
                input=list(node.inputs),
                attr={key: AttrValue(s=value.encode()) for key, value in node.attributes.items()},
            )
            for node in graph
        ],
        versions=VersionDef(producer=22),
    )


def _tag(stream: str) -> str:
    """Stream as part of a tag; ``/`` would open a new group."""
    return stream.replace("/", "-").replace(":", ".")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | int | str | bool]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, str(list(value))
        elif isinstance(value, float | int | str | bool):
            yield name, value
