"""How fast is it on a CUDA device?

Tests, parity with the CPU and speed in one call, under 8 minutes. Needs torch, numba, numba-cuda, triton, numpy,
pytest, hypothesis, safetensors and pyarrow, for captures orjson, for --keep rich, and no network. Parity first: what
does not agree with the CPU is not timed. Times are of device events, the median of repeats after two that don't count,
on inputs larger than the card's cache; beside them stand what this card's memory and bus gave in the same minutes, and
the same work on the host's processor. The sweep's time is that of the call, stitching and the way back included; its
rate is with skipping, as on the CPU, beside every row's.
Axis legend: N events, V streams, P parameter sets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

NEEDED = ("torch", "numba", "numba_cuda", "triton", "numpy", "pytest", "hypothesis", "safetensors", "pyarrow")


def lacking(*more: str) -> list[str]:
    """Packages that are needed and not there."""
    return [name for name in (*NEEDED, *more) if find_spec(name) is None]


if __name__ == "__main__" and lacking():  # before they are imported
    sys.stderr.write(f"error: not installed here: {', '.join(lacking())}; make gpu-check needs {', '.join(NEEDED)}\n")
    raise SystemExit(2)

import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
WANTED = (
    ("alignment, phases, ghost, expected lag; resident", "at least 4 G events/s"),
    ("whole graph, b = 8, 16 tables; resident", "at least 0.2 G events/s"),
    ("whole graph, b = 16, 16 tables; resident", "at least 0.2 G events/s"),
    ("host to result, of the pinned bandwidth", "at least 70 %"),
    ("threshold, skipping, 1,000 sets x 10,000,000", "at least 0.3 T param-events/s"),
    ("1,000 sets x 10,000,000 events, exact", "at most 0.15 s"),
    ("a user's policy, general simulator", "at least 50 G param-events/s"),
    ("lead-lag, 28 pairs of 1,000,000 quotes, 1,000 lags", "at most 1 s"),
)
"""What was asked for, of one H100."""
TESTS_S = 300.0
"""Time the tests may take."""
REPEATS = 5


@dataclass(frozen=True)
class Row:
    """A line of the table; ``target`` is the least that was asked for, or the most where ``less`` is better."""

    what: str
    value: float
    unit: str
    target: float | None = None
    less: bool = False
    ratio: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if (self.value <= self.target if self.less else self.value >= self.target) else "MISSED"


# tests


def test_files() -> list[Path]:
    return sorted((ROOT / "tests" / "gpu").glob("test_*.py"))


def run_tests(captures: str | None) -> tuple[bool, list[str]]:
    """Every file of tests/gpu in a process of its own, as many at a time as processors allow."""
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}", "PYTHONUNBUFFERED": "1"}
    if captures:
        env["SCHWABOT_CAPTURES"] = captures
    waiting, said = test_files(), []
    running: dict[Path, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
    most, deadline = max(1, min(6, (os.cpu_count() or 2) // 2)), time.monotonic() + TESTS_S
    good = True
    while waiting or running:
        while waiting and len(running) < most:
            file = waiting.pop(0)
            command = [sys.executable, "-m", "pytest", str(file), "-q", "-m", "not bench", "-p", "no:cacheprovider"]
            log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 a full pipe would stop the tests
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
            running[file] = process, log
        time.sleep(0.2)
        for file, (process, log) in list(running.items()):
            if time.monotonic() > deadline:
                process.kill()
            elif process.poll() is None:
                continue
            ended = process.wait() == 0
            log.seek(0)
            out = log.read().decode(errors="replace").strip().splitlines()
            log.close()
            good = good and ended
            said.append(f"{file.name}: {out[-1] if out else 'nothing said'}{'' if ended else '  <- RED'}")
            if not ended:
                said += [f"    {line[:160]}" for line in out if line.startswith(("E  ", "FAILED", "ERROR"))][:12]
            del running[file]
    return good, said


# timing


def device_s(work: Callable[[int], object], repeats: int = REPEATS) -> float:
    """Median time between device events; ``work`` is given the number of the repeat, to rotate its inputs by."""
    taken = []
    for k in range(repeats + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work(k)
        end.record()
        end.synchronize()
        if k >= 2:
            taken.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def host_s(work: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time on the host; the first does not count."""
    taken = []
    for k in range(repeats + 1):
        began = time.perf_counter()
        work()
        if k:
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def ceilings() -> list[Row]:
    size = 2**30
    there, other = (torch.randint(0, 255, (size,), dtype=torch.uint8, device="cuda") for _ in range(2))
    here = torch.empty(size, dtype=torch.uint8).pin_memory()
    copy = 2 * size / device_s(lambda k: (there if k % 2 else other).copy_(other if k % 2 else there))
    up = size / device_s(lambda k: there.copy_(here, non_blocking=True))
    down = size / device_s(lambda k: here.copy_(there, non_blocking=True))
    return [
        Row("copy on the device, read and written", copy / 1e12, "TB/s"),
        Row("pinned host to device", up / 1e9, "GB/s"),
        Row("device to pinned host", down / 1e9, "GB/s"),
    ]


# the graph


def long_market(events: int) -> Any:
    """The default synthetic market, repeated in time. [N]"""
    from benchmarks.market import market
    from schwabot.tensors.tick_batch import TickBatch

    instruments, batch = market(min(events, 1_000_000))
    repeats = -(-events // len(batch))
    length = int(batch.ts_ns[-1] - batch.ts_ns[0]) + 1_000_000
    columns = {}
    for field in fields(TickBatch):
        column = getattr(batch, field.name).repeat(repeats)[:events]
        if field.name == "ts_ns":
            column = column + torch.arange(repeats).repeat_interleave(len(batch))[:events] * length
        columns[field.name] = column
    return instruments, TickBatch(**columns)


def graph_of(instruments: Any, bits: int) -> Any:
    from schwabot.modules.graph import Graph
    from schwabot.modules.settings import HashRegistryConfig, ModulesConfig

    return Graph(instruments, ModulesConfig(hash_registry=HashRegistryConfig(bits=bits)))


def arguments(graph: Any, batch: Any, state: dict[str, torch.Tensor], device: str) -> tuple[Any, ...]:
    """What ``schwabot_kernels.graph.gpu.graph`` takes."""
    from schwabot.modules.graph import TEMPLATE
    from schwabot_kernels import tree
    from schwabot_kernels.align.cpu import Events
    from schwabot_kernels.device_state import on_device

    there = batch_on(batch, device)
    own = torch.zeros((len(graph.instruments), 0, len(batch)), dtype=torch.float64, device=device)
    parts = tree.from_dict(TEMPLATE, {name: value.clone() for name, value in state.items()})
    table, params, kept = (on_device(value, device) for value in (graph.table, graph.params, parts))
    return Events(*(getattr(there, name) for name in Events._fields)), own, table, params, kept


def batch_on(batch: Any, device: str) -> Any:
    return replace(batch, **{field.name: getattr(batch, field.name).to(device) for field in fields(batch)})


def core(events: Any, table: Any, params: Any, state: Any) -> torch.Tensor:
    """Alignment, phases, ghost, deviations and expected lag, without what the memory says."""
    from schwabot_kernels.align.gpu import align
    from schwabot_kernels.consensus.gpu import consensus
    from schwabot_kernels.lag.gpu_expected import expected_lag
    from schwabot_kernels.phase.gpu import phase

    quoted = 1 - table.trades_only
    aligned, _ = align(events, table, params.latency_max_ns, state.align)
    drifted, _ = phase(events.ts_ns, aligned, params.phase, state.phase)
    (ghost, deviation), _ = consensus(
        events.ts_ns, events.stream, events.kind, aligned, drifted.phase, drifted.compensated, drifted.route, quoted,
        params.consensus, state.consensus,
    )  # fmt: skip
    nothing = torch.zeros_like(ghost)
    lag, _ = expected_lag(
        events.stream, aligned.dt_s, ghost, deviation, nothing, nothing, nothing, nothing, params.lag,
        state.lag.price_range,
    )  # fmt: skip
    return lag.expected


def graphs_must_agree(graph: Any, batch: Any, device: str, call: Callable[..., Any]) -> None:
    """The graph on the device beside the CPU's; keys may differ where a sum is 0 to rounding, and what hangs on them.

    Raises:
        SystemExit: they differ.
    """
    from schwabot.modules.graph import signals_of
    from schwabot_kernels.graph.cpu import GraphColumns

    columns, _ = call(*arguments(graph, batch, graph.initial_state(), device))
    found = signals_of(GraphColumns._make(column.cpu().numpy() for column in columns))
    wanted = graph.advance(batch, graph.initial_state()).signals
    for name, odd in (
        ("ghost_bp", 0.0), ("mid_bp", 0.0), ("deviation_bp", 0.0), ("phase_bp", 0.0), ("route", 0.001), ("key", 0.02),
        ("echo_bp", 0.02), ("expected_lag_bp", 0.02),
    ):  # fmt: skip
        one, two = getattr(wanted, name).astype(np.float64), getattr(found, name).astype(np.float64)
        share = float(np.mean(~np.isclose(one, two, rtol=0.0, atol=1e-6, equal_nan=True)))
        if share > odd:
            raise SystemExit(f"red, nothing timed: graph: {name} differs from the CPU's in {share:.2%} of all places")


def graph_rows(events: int) -> list[Row]:
    from schwabot_kernels.graph.gpu import graph as on_any

    instruments, batch = long_market(events)
    one, whole = batch.rows(0, min(events, 1_000_000)), min(events, 2_097_152)  # some 17 kB an event where it is most
    rows = []
    for bits in (8, 16):
        graph = graph_of(instruments, bits)
        graphs_must_agree(graph, batch.rows(0, min(events, 20_000)), "cuda", on_any)
        state = graph.initial_state()
        if bits == 8:
            given = arguments(graph, batch, state, "cuda")
            there = [given[0], given[0]._replace(**{n: c.clone() for n, c in given[0]._asdict().items()})]
            took = device_s(lambda k, given=given, there=there: core(there[k % 2], given[2], given[3], given[4]))
            rows.append(Row("alignment, phases, ghost, expected lag; resident", events / took / 1e9, "G events/s", 4.0))
        given = arguments(graph, batch.rows(0, whole), state, "cuda")
        took = device_s(lambda k, given=given: on_any(*given), repeats=3)
        cpu = host_s(lambda graph=graph: graph.advance(one, graph.initial_state()), repeats=1)
        rate, host = whole / took, len(one) / cpu
        label = f"whole graph, b = {bits}, 16 tables; resident"
        rows.append(Row(label, rate / 1e9, "G events/s", 0.2, ratio=rate / host, note=f"CPU {host / 1e6:.1f} M"))
        torch.cuda.empty_cache()
    return rows


def transfer_row(events: int, up_bytes_per_s: float) -> Row:
    """Host to result: columns in pinned memory to the expected lag on the host, batch after batch."""
    from schwabot.tensors.transfers import Transfers
    from schwabot_kernels.align.cpu import Events

    instruments, batch = long_market(min(events, 4_194_304))
    graph = graph_of(instruments, 8)
    pinned = replace(batch, **{f.name: getattr(batch, f.name).pin_memory() for f in fields(batch)})
    given = arguments(graph, batch, graph.initial_state(), "cuda")
    count = max(1, events // len(batch))
    bytes_in = count * sum(getattr(batch, f.name).nbytes for f in fields(batch))
    back = torch.empty(len(batch), dtype=torch.float64).pin_memory()
    transfers, columns = Transfers(torch.device("cuda")), [getattr(pinned, n) for n in Events._fields]

    def work() -> None:
        for k in range(count):
            there = transfers.up(columns)
            if k + 1 < count:
                transfers.begin(columns)
            back.copy_(core(Events(*there), given[2], given[3], given[4]), non_blocking=True)
        torch.cuda.synchronize()

    took = host_s(work, repeats=3)
    note = f"{count * len(batch) / took / 1e9:.2f} G events/s, {count * len(batch):,} events"
    return Row("host to result, of the pinned bandwidth", 100 * bytes_in / took / up_bytes_per_s, "%", 70.0, note=note)


# the sweep


def sweep_rows() -> list[Row]:
    from benchmarks.sweep_market import costs, recorded, thresholds
    from schwabot.signals.builtin.threshold import threshold
    from schwabot.signals.compiling import compile_policy
    from schwabot_kernels.simulate.cpu import make_sweep
    from schwabot_kernels.simulate.gpu import GeneralSweep, SegmentedSweep
    from schwabot_kernels.simulate.records import COUNTS, FILLS, MOMENTS
    from schwabot_kernels.simulate.skipping import build, make_skipping

    made, device = compile_policy(threshold), torch.device("cuda", 0)
    four = (made.policy, made.quiet, made.event_of, made.params_of)
    skipping = make_skipping(*four, made.key)
    rows = []

    def out(sets: int) -> tuple[Any, Any]:
        return np.zeros((sets, 1, COUNTS), np.int64), np.zeros((sets, 1, MOMENTS))

    def must_agree(one: Any, other: Any, what: str) -> None:
        if not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)):
            raise SystemExit(f"red, nothing timed: {what}: device and CPU differ")

    small, rules, params = recorded(200_000), costs(1_000), thresholds(1_000)
    lean = build(small, 0, 0, rules.bucket_ns)
    cpu = out(1_000)
    cpu_s = host_s(lambda: skipping(lean, rules, params, 0, 1_000, *cpu, True, 0), repeats=2)
    for sets, events, skip, target in ((1_000, 10_000_000, True, 0.3), (1_000, 10_000_000, False, None)):
        sweep = SegmentedSweep(*four, made.memory, device, skip=skip)
        there = out(sets)
        sweep(sweep.put(lean), rules, params, 0, sets, *there)
        must_agree(cpu, there, "threshold")
        market = recorded(events)
        fold = sweep.put(build(market, 0, 0, rules.bucket_ns))
        took = host_s(lambda s=sweep, f=fold, n=sets, t=there: s(f, rules, params, 0, n, *t), repeats=3)
        rate, host = sets * events / took, 1_000 * 200_000 / cpu_s
        trades = float(np.median(there[0][:, 0, FILLS]))
        note = f"{sweep.used.segments} segments, median {trades:,.0f} trades, {took:.3f} s"
        label = f"threshold, {'skipping' if skip else 'every row'}, {sets:,} sets x {events:,}"
        rows.append(Row(label, rate / 1e12, "T param-events/s", target, ratio=rate / host, note=note))
        if skip:
            rows.append(Row("1,000 sets x 10,000,000 events, exact", took, "s", 0.15, less=True))
    sets, events = 65_536, 100_000
    general = GeneralSweep(made.policy, made.event_of, made.params_of, made.memory, device)
    part = recorded(events)
    many_rules, many = costs(sets), thresholds(sets)
    few, found = out(64), out(sets)
    every = make_sweep(made.policy, made.event_of, made.params_of, made.key)
    cpu_s = host_s(lambda: every(part, many_rules, many, 0, 64, *few, 0), repeats=1)
    fold = general.put(part)
    took = host_s(lambda: general(fold, many_rules, many, 0, sets, *found), repeats=2)
    must_agree(few, tuple(one[:64] for one in found), "the general simulator")
    rate, host = sets * events / took, 64 * events / cpu_s
    rows.append(Row("a user's policy, general simulator", rate / 1e9, "G param-events/s", 50.0, ratio=rate / host))
    return rows


def leadlag_rows(streams: int = 8, quotes: int = 1_000_000, lags: int = 1_000) -> list[Row]:
    from schwabot_kernels.leadlag import cpu, gpu

    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(5e6, (streams, quotes)).astype(np.int64) + 1, axis=1)
    prices = np.cumsum(rng.normal(size=(streams, quotes)), axis=1)
    lags_ns = np.linspace(-2e9, 2e9, lags).astype(np.int64)
    block = np.zeros(quotes, np.int64)
    there = [(torch.from_numpy(t).cuda(), torch.from_numpy(p).cuda()) for t, p in zip(times, prices, strict=True)]
    lags_there, block_there = torch.from_numpy(lags_ns).cuda(), torch.from_numpy(block).cuda()
    few = 20_000
    ours = gpu.contrast(
        *(c[:few] for c in there[0]), *(c[:few] for c in there[1]), lags_there[::100].contiguous(), block_there[:few], 1
    )
    theirs = cpu.contrast(
        times[0][:few], prices[0][:few], times[1][:few], prices[1][:few], lags_ns[::100], block[:few], 1
    )
    if not np.allclose(np.asarray(ours.cpu()), theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max()):
        raise SystemExit("red, nothing timed: lead-lag: device and CPU differ")

    def work(k: int) -> None:
        for a in range(streams):
            for b in range(a + 1, streams):
                gpu.contrast(*there[a], *there[b], lags_there, block_there, 1)

    took = device_s(work, repeats=3)
    host = host_s(lambda: cpu.contrast(times[0], prices[0], times[1], prices[1], lags_ns[::50], block, 1), repeats=1)
    pairs = streams * (streams - 1) // 2
    return [
        Row(
            f"lead-lag, {pairs} pairs of {quotes:,} quotes, {lags:,} lags", took, "s", 1.0, less=True,
            ratio=host * 50 * pairs / took, note="ratio: to one core, from one pair and every 50th lag",
        )
    ]  # fmt: skip


# the whole


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--captures", default=os.environ.get("CAPTURES"), help="folder of recordings, for the tests")
    parser.add_argument("--no-tests", action="store_true", help="speed only")
    parser.add_argument("--out", help="write the numbers to this JSON file")
    parser.add_argument(
        "--keep", action="store_true", help="write them to docs/benchmarks.md, also that there are none"
    )
    given = parser.parse_args()
    if missing := lacking(*["orjson"] * bool(given.captures), *["rich"] * given.keep):
        parser.error(f"not installed here: {', '.join(missing)}")
    if given.keep and not torch.cuda.is_available():
        keep(None)
        return 0
    if not torch.cuda.is_available():
        sys.stderr.write(
            f"error: torch {torch.__version__} finds no CUDA device, so there is nothing to check here; on a machine"
            " with an NVIDIA GPU: make gpu-check PY=python3 [CAPTURES=DIR]\n"
        )
        return 2
    began = time.perf_counter()
    good, said = (True, ["tests: left out"]) if given.no_tests else run_tests(given.captures)
    rows = ceilings()
    parts: list[tuple[str, Callable[[], list[Row]]]] = [
        ("graph", lambda: graph_rows(8_388_608)),
        ("transfer", lambda: [transfer_row(100_000_000, rows[1].value * 1e9)]),
        ("sweep", sweep_rows),
        ("lead-lag", leadlag_rows),
    ]
    for name, part in parts:
        try:
            rows += part()
        except (Exception, SystemExit) as error:  # noqa: BLE001 what fails is named, and the rest still measured
            good = False
            said.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}  <- RED")
        torch.cuda.empty_cache()
    show(rows, said, good, time.perf_counter() - began)
    if given.keep:
        keep(rows)
    if given.out:
        Path(given.out).write_text(json.dumps({"device": describe(), "rows": [asdict(row) for row in rows]}, indent=1))
    return 0 if good else 1


def keep(rows: list[Row] | None) -> None:
    """Into docs/benchmarks.md; None = there was no device."""
    from benchmarks import report
    from benchmarks.__main__ import NAMES
    from benchmarks.measure import Finding

    order = (*NAMES, "gpu_check")
    if rows is None:
        targets = [(what, "not measured", wanted, None) for what, wanted in WANTED]
        note = "No CUDA device was there: the kernels are compiled and compared with the CPU's, and were never timed."
        report.keep("gpu_check", str(__doc__), Finding([], list(targets), [note]), {"device": "none"}, order)
        return
    found = {row.what: row for row in rows}
    told = []
    for what, wanted in WANTED:
        row = found.get(what)
        measured = "not measured" if row is None else f"{row.value:.3g} {row.unit}"
        told.append((what, measured, wanted, None if row is None else row.verdict == "met"))
    table = [
        {"what": r.what, "measured": f"{r.value:.3g} {r.unit}", "times the CPU": f"{r.ratio:,.0f}" if r.ratio else "",
         "": r.note}
        for r in rows
    ]  # fmt: skip
    report.keep("gpu_check", str(__doc__), Finding(table, told, []), describe(), order)


def describe() -> dict[str, str]:
    import numba
    import triton

    from benchmarks.measure import _commit

    found = torch.cuda.get_device_properties(0)
    return {
        "device": f"{found.name}, {found.multi_processor_count} multiprocessors, {found.total_memory / 2**30:.0f} GiB",
        "versions": f"Python {sys.version.split()[0]}, torch {torch.__version__}, triton {triton.__version__},"
        f" numba {numba.__version__}",
        "commit": _commit(),
    }


def show(rows: list[Row], said: list[str], good: bool, seconds: float) -> None:
    """The table, last."""
    lines = ["", *said, "", *(f"{name}: {value}" for name, value in describe().items()), ""]
    for row in rows:
        wanted = "" if row.target is None else f"{'<=' if row.less else '>='} {row.target:g}"
        ratio = "" if row.ratio is None else f"{row.ratio:,.0f}x CPU"
        lines.append(
            f"{row.what:<62} {row.value:>10.3f} {row.unit:<17} {wanted:<8} {row.verdict:<7} {ratio:<12} {row.note}"
        )
    lines.append(f"{'all green' if good else 'RED, see above'}, {seconds:.0f} s")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
