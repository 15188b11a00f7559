"""Graph: one pass, five modules, any split, the same bits; states that fit, and states that don't."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import sys
import threading
import time
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import ConfigError, StateError, UnknownStreamError, UnsortedTimeError
from schwabot.modules.checkpoint import FORMAT, load_state, save_state
from schwabot.modules.graph import Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from tests.kernels import making
from tests.kernels.making import ALL_HABITS, Habits, adversarial
from tests.modules.making import A, B, assert_same_answers, assert_same_state, joined

LIVELY = Habits(
    events=600, streams=3, seed=4, ties=0.2, round_times=True, gaps=0.01, trades=0.3, trades_only=0.0, crossed=0.05,
    no_size=0.1, still=0.0, outages=0.5, late=0.5, coarse=True,
)  # fmt: skip


@settings(max_examples=25)
@given(ALL_HABITS, st.sampled_from(["weighted", "kalman"]), st.lists(st.integers(1, 599), max_size=4))
def test_five_modules_equal_the_fused_pass_however_it_is_cut(habits: Habits, estimator: str, edges: list[int]) -> None:
    market = adversarial(habits)
    graph = Graph(market.instruments, making.settings(estimator))
    whole, after = graph(market.batch, graph.initial_state())
    state, moved, parts, steps = graph.initial_state(), graph.initial_state(), [], []
    n = len(market.batch)
    for a, b in pairwise(sorted({0, n, *(edge for edge in edges if edge < n)})):
        output, state = graph.by_module(market.batch.rows(a, b), state)
        parts.append(output)
        steps.append(graph.advance(market.batch.rows(a, b), moved))
    assert_same_answers(joined([whole]), joined(parts))
    assert_same_answers(joined([whole]), joined(steps))
    assert_same_state(after, state)
    assert_same_state(after, moved)


def test_the_five_are_submodules() -> None:
    names = {name: type(module).__name__ for name, module in Graph((A, B)).named_modules() if name}
    assert names == {
        "tensor_harness": "TensorHarness",
        "ghost_bridge": "GhostBridge",
        "ghost_bridge.forecast": "Forecast",
        "hash_registry": "HashRegistry",
        "phantom_lag": "PhantomLag",
        "voltage_lanes": "VoltageLanes",
    }


@pytest.mark.parametrize("how", ["forward", "by_module"])
def test_functional_calls_leave_the_state_alone(how: str) -> None:
    market = adversarial(LIVELY)
    graph = Graph(market.instruments, making.settings())
    _, state = graph(market.batch.rows(0, 300), graph.initial_state())
    before = {name: tensor.clone() for name, tensor in state.items()}
    _, after = getattr(graph, how)(market.batch.rows(300, 600), state)
    assert_same_state(state, before)
    shared = [name for name in state if state[name].numel() and state[name].data_ptr() == after[name].data_ptr()]
    assert [name for name in shared if not name.endswith(".identity")] == [] or how == "by_module"
    # The estimator that is not in use, and what features remember that no head asks for.
    untouched = {"kalman.moments", "kalman.x", *(name for name in state if name.startswith("forecast."))}
    assert {name for name in shared if not name.endswith(".identity")} <= untouched


def test_rings_grow_in_every_path() -> None:
    """Thousands of events within one horizon."""
    market = making.synthetic(6_000)
    batch = TickBatch(**{name: getattr(market.batch, name) for name in TickBatch.__dataclass_fields__})
    object.__setattr__(batch, "ts_ns", torch.arange(len(batch)) + batch.ts_ns[0])
    graph = Graph(market.instruments, making.settings(warmup_events=100))
    whole, after = graph(batch, graph.initial_state())
    assert len(after["registry.due_ns"]) > 4096
    by_module, other = graph.by_module(batch, graph.initial_state())
    moved = graph.initial_state()
    advanced = graph.advance(batch, moved)
    assert_same_answers(joined([whole]), joined([by_module]))
    assert_same_answers(joined([whole]), joined([advanced]))
    assert_same_state(after, other)
    assert_same_state(after, moved)


def test_an_empty_batch_changes_nothing() -> None:
    market = adversarial(LIVELY)
    graph = Graph(market.instruments, making.settings())
    _, state = graph(market.batch, graph.initial_state())
    for run in (graph.forward, graph.by_module):
        output, after = run(market.batch.rows(0, 0), state)
        assert output.signals.deviation_bp.shape == (0, 3)
        assert_same_state(state, after)


def test_what_the_compiled_pass_would_misread_is_refused() -> None:
    market = adversarial(LIVELY)
    graph = Graph(market.instruments, making.settings())
    _, state = graph(market.batch, graph.initial_state())
    with pytest.raises(UnsortedTimeError, match="before the state's last event"):
        graph(market.batch, state)
    backwards = TickBatch(**{n: getattr(market.batch, n).flip(0) for n in TickBatch.__dataclass_fields__})
    with pytest.raises(UnsortedTimeError, match="backwards within the batch"):
        graph.advance(backwards, graph.initial_state())
    with pytest.raises(UnknownStreamError, match="has 2 streams"):
        Graph(market.instruments[:2], making.settings()).by_module(
            market.batch, Graph(market.instruments[:2], making.settings()).initial_state()
        )


def _config(**registry: object) -> ModulesConfig:
    config = making.settings()
    for name, value in registry.items():
        setattr(config.hash_registry, name, value)
    return config


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (_config(horizon_ms=50.0), "modules.hash_registry.horizon_ms is 50 here and was 100"),
        (_config(seed=8), "modules.hash_registry.seed is 8 here and was 7"),
        (_config(bits=16), "registry.signs|registry.table"),
    ],
)
def test_a_state_of_other_settings_is_refused(config: ModulesConfig, why: str) -> None:
    state = Graph((A, B), _config()).initial_state()
    with pytest.raises(StateError, match=why):
        Graph((A, B), config).check_state(state)


def test_a_state_of_other_streams_or_with_parts_missing_is_refused() -> None:
    graph = Graph((A, B), making.settings())
    with pytest.raises(StateError, match="needs"):
        graph.check_state(Graph((A,), making.settings()).initial_state())
    state = graph.initial_state()
    del state["lag.head"]
    with pytest.raises(StateError, match=r"lag\.head"):
        graph.check_state(state)
    with pytest.raises(StateError, match=r"lacks lag\.head"):
        graph.phantom_lag.check_state(state)


def test_a_module_tells_streams_apart_whose_padded_rows_are_equally_long() -> None:
    state = Graph((A,), making.settings()).initial_state()
    for module in Graph((A, B), making.settings()).children():
        with pytest.raises(StateError, match=r"needs|the number of streams is 2 here and was 1"):
            module.check_state(state)


def test_columns_with_gaps_between_their_numbers_are_taken() -> None:
    market = adversarial(LIVELY)
    batch = market.batch.rows(0, 100)
    gaps = TickBatch(*(torch.stack([getattr(batch, field.name)] * 2, 1)[:, 0] for field in fields(batch)))
    graph = Graph(market.instruments, making.settings())
    assert not gaps.ts_ns.is_contiguous()
    ours, theirs = graph.advance(gaps, graph.initial_state()), graph.advance(batch, graph.initial_state())
    assert_same_answers(joined([ours]), joined([theirs]))


def test_settings_that_give_a_state_no_other_meaning_may_change() -> None:
    config = making.settings()
    config.voltage_lanes.slew_v_per_s *= 2.0
    config.ghost_bridge.min_edge_bp = 3.0
    Graph((A, B), config).check_state(Graph((A, B), making.settings()).initial_state())


def test_a_saved_state_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    market = adversarial(LIVELY)
    graph = Graph(market.instruments, making.settings())
    whole, after = graph(market.batch, graph.initial_state())
    first, state = graph(market.batch.rows(0, 350), graph.initial_state())
    graph.save(state, tmp_path / "state.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    second, resumed = Graph(market.instruments, making.settings()).forward(
        market.batch.rows(350, 600), Graph(market.instruments, making.settings()).load(tmp_path / "state.pt")
    )
    assert_same_answers(joined([whole]), joined([first, second]))
    assert_same_state(after, resumed)


def test_files_that_hold_no_fitting_state_are_refused(tmp_path: Path) -> None:
    graph, file = Graph((A, B), making.settings()), tmp_path / "state.pt"
    with pytest.raises(FileNotFoundError):
        graph.load(file)
    graph.save(graph.initial_state(), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateError, match="no whole state file"):
        graph.load(file)
    file.write_bytes(b"not a state")
    with pytest.raises(StateError, match="no whole state file"):
        graph.load(file)
    torch.save({"weights": torch.ones(1)}, file)
    with pytest.raises(StateError, match="holds no state"):
        graph.load(file)
    torch.save({"schwabot_state": 99, "streams": [], "state": {}}, file)
    with pytest.raises(StateError, match="format 99"):
        graph.load(file)
    file.write_bytes(whole)
    with pytest.raises(StateError, match="belongs to streams a:BTC/USDT, b:BTC/USDT"):
        Graph((B, A), making.settings()).load(file)
    with pytest.raises(StateError, match=r"state\.pt.*horizon_ms"):
        Graph((A, B), _config(horizon_ms=50.0)).load(file)


def test_any_flipped_bit_is_seen(tmp_path: Path) -> None:
    """Bytes that hold nothing (padding of the archive) may change; what is loaded is what was saved, or nothing."""
    state = {"x": torch.arange(9.0, dtype=torch.float64), "n": torch.tensor(7), "b": torch.ones(2, dtype=torch.bool)}
    file = tmp_path / "state.pt"
    save_state(file, ["a:X/Y"], state)
    whole = file.read_bytes()
    at = whole.index(state["x"].numpy().tobytes()) + 20
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(StateError, match=r"state\.pt: is no whole state file.*damaged"):
        load_state(file, ["a:X/Y"])
    for at in range(0, len(whole), 3):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            found = load_state(file, ["a:X/Y"])
        except StateError:
            continue
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            name: tensor.tolist() for name, tensor in state.items()
        }, at


@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"\x80\x02", b"PK\x03\x04" + b"\xff" * 99, bytes(range(256)) * 5])
def test_junk_is_no_state(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(junk)
    with pytest.raises(StateError, match="no whole state file"):
        load_state(tmp_path / "state.pt", ["a:X/Y"])
    with pytest.raises(StateError, match="no whole state file"):
        load_state(tmp_path, ["a:X/Y"])


def test_a_state_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "file").touch()
    for place in ("nowhere/state.pt", "folder.pt", "file/state.pt"):
        with pytest.raises(StateError, match=rf"{place}: can't be written \("):
            save_state(tmp_path / place, ["a:X/Y"], {"x": torch.ones(1)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.pt"]


def test_a_state_file_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)  # type: ignore[return-value]

    torch.save({"schwabot_state": FORMAT, "streams": [], "state": Evil()}, tmp_path / "state.pt")
    with pytest.raises(StateError):
        Graph((A, B), making.settings()).load(tmp_path / "state.pt")
    assert not (tmp_path / "touched").exists()


def test_one_graph_prices_one_asset() -> None:
    ether, table = Instrument("a:ETH/USDT", 0.01, 0.001), Instrument("table:eth", 0.01, 0.001)
    with pytest.raises(ConfigError, match=r"2 assets .*BTC: a:BTC/USDT, b:BTC/USDT; ETH: a:ETH/USDT\).*source\.glob"):
        Graph((A, ether, B))
    assert len(Graph((A, B, table)).instruments) == 3, "a table whose asset nobody named may stand beside others"


def test_a_second_thread_is_refused_and_harms_nothing() -> None:
    market = making.synthetic(60_000)
    graph = Graph(market.instruments, making.settings())
    whole = graph.advance(market.batch, graph.initial_state())
    said, refused = [whole], []
    until = time.monotonic() + 60

    def keep_busy() -> None:
        while not refused and time.monotonic() < until:
            # The other thread may come first, now and then.
            with contextlib.suppress(StateError):
                said.append(graph.advance(market.batch, graph.initial_state()))

    thread = threading.Thread(target=keep_busy)
    thread.start()
    while not refused and time.monotonic() < until:
        try:
            graph.advance(market.batch.rows(0, 5), graph.initial_state())
        except StateError as error:
            refused.append(str(error))
    thread.join()
    assert "one Graph per thread" in refused[0]
    for answer in said:
        assert_same_answers(joined([whole]), joined([answer]))
    assert len(graph.advance(market.batch.rows(0, 5), graph.initial_state()).signals.ghost_bp) == 5


def test_a_batch_that_is_refused_leaves_the_graph_free() -> None:
    market = making.synthetic(100)
    graph = copy.deepcopy(Graph(market.instruments, making.settings()))
    state = graph.initial_state()
    graph.advance(market.batch, state)
    for _ in range(2):
        with pytest.raises(UnsortedTimeError):
            graph.advance(market.batch, state)


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2, dtype=torch.bfloat16), torch.eye(2).to_sparse(), torch.ones(1, device="meta"), 3],
    ids=["bfloat16", "sparse", "meta", "number"],
)
def test_what_no_state_holds_is_damage(tmp_path: Path, tensor: object) -> None:
    torch.save({"schwabot_state": FORMAT, "streams": [], "state": {"x": tensor}, "sha256": ""}, tmp_path / "state.pt")
    with pytest.raises(StateError, match="damaged"):
        load_state(tmp_path / "state.pt", [])


def test_the_checksum_covers_type_shape_and_streams(tmp_path: Path) -> None:
    """The same bytes read as something else are another state."""
    file = tmp_path / "state.pt"
    save_state(file, ["a:X/Y"], {"x": torch.zeros(4, dtype=torch.float64)})
    whole = torch.load(file, weights_only=True)
    for change in (
        {"state": {"x": torch.zeros(4, dtype=torch.int64)}},
        {"state": {"x": torch.zeros((2, 2), dtype=torch.float64)}},
        {"state": {"y": torch.zeros(4, dtype=torch.float64)}},
        {"streams": ["b:X/Y"]},
        {"sha256": None},
    ):
        torch.save(whole | change, file)
        with pytest.raises(StateError, match="damaged"):
            load_state(file, change.get("streams", ["a:X/Y"]))  # type: ignore[arg-type]


def test_a_disk_that_is_full_leaves_the_old_state(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: torch fails while it writes."""
    file = tmp_path / "state.pt"
    save_state(file, ["a:X/Y"], {"x": torch.ones(2)})
    before = file.read_bytes()
    code = (
        "import resource, signal, sys, torch\n"
        "from schwabot.errors import StateError\n"
        "from schwabot.modules.checkpoint import save_state\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))\n"
        "try:\n"
        "    save_state(sys.argv[1], ['a:X/Y'], {'x': torch.ones(100_000)})\n"
        "except StateError as error:\n"
        "    sys.stderr.write(f'told: {error}')\n"
        # What measures coverage writes its file at the end.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "told: " in done.stderr
    assert "can't be written (" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert file.read_bytes() == before


def test_assets_in_one_file_are_told_apart_by_a_store() -> None:
    with pytest.raises(ConfigError, match=r"source\.glob .*mode=convert and then source=store with source\.symbols"):
        Graph((A, Instrument("a:ETH/USDT", 0.01, 0.001)))
    assert len(Graph((A, Instrument("c:btc/EUR", 0.01, 0.001))).instruments) == 2, "however it is written"
