"""Shards on two nodes of a Ray cluster: the same rows, whoever is lost on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.cluster.ray_cluster import RayCluster, _Worker
from schwabot.cluster.settings import ClusterConfig
from schwabot.cluster.worker import Key, Place, Plan, ShardWorker
from schwabot.errors import ClusterError, ConfigError, DataError, PolicyError
from schwabot.run import main
from schwabot.simulation.sweep.shards import Shard, merge, run_shard, shards_of
from tests.cluster.making import SPACE, SmallPlan, resident, workers_below

# Ray looks at these once, when it is imported.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KEY = ("here", 0)
SAID: list[str] = []
"""What workers had to say."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes on this machine, a processor each, which only who has the token may use."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def shards(count: int = 12) -> list[Shard]:
    values = np.linspace(0.0, 1.0, count)[:, None]
    return shards_of("here", SPACE, 0, values, range(2), count)


def expected(some: list[Shard]) -> pa.Table:
    return merge(run_shard(one, resident()) for one in some)


def on(nodes: Any, plan: Plan, **more: Any) -> RayCluster:
    config = ClusterConfig(kind="ray", address=nodes.address, **more)
    return RayCluster(config, plan, [KEY], SAID.append)


def wait_for_all(cluster: RayCluster) -> None:
    """Every worker has answered; one alone would do all the work while the other starts."""
    deadline_s = time.monotonic() + 60.0
    while len(cluster.places) < cluster.slots:
        assert time.monotonic() < deadline_s
        cluster.open([KEY])
        time.sleep(0.01)


def test_two_nodes_give_the_rows_of_one_process(nodes: Any) -> None:
    SAID.clear()
    with on(nodes, SmallPlan(takes_s=0.1)) as cluster:
        assert cluster.slots == 2
        wait_for_all(cluster)
        found = cluster.run(shards())
        assert found.equals(expected(shards()))
        assert found["lots"].to_pylist()[:4] == [0, 1000, 91, 1091]  # by set and fold, see ``Adding``
        assert len({place.pid for place in cluster.places}) == 2
        assert cluster.take_busy_s() >= 24 * 0.1
        told = cluster.summary()
    assert (told["shards"], told["lost_workers"], told["repeated_shards"]) == (24, 0, 0)
    assert (told["address"], told["started"]) == (nodes.address, False)
    (said,) = SAID  # of both workers, and said once
    assert said == f"warning: worker on {socket.gethostname()}: cuda:0 can't sweep"


def test_what_a_killed_worker_held_is_run_again(nodes: Any) -> None:
    with on(nodes, SmallPlan(takes_s=0.2)) as cluster:
        wait_for_all(cluster)
        victim = cluster.places[0].pid
        killer = threading.Timer(0.7, os.kill, (victim, signal.SIGKILL))
        killer.start()
        found = cluster.run(shards())
        killer.join()
        told = cluster.summary()
        wait_for_all(cluster)  # another one took its place
        again = cluster.run(shards(20))
        assert victim not in {place.pid for place in cluster.places}
    assert found.equals(expected(shards()))
    assert again.equals(expected(shards(20)))
    assert told["lost_workers"] == 1
    assert told["repeated_shards"] == 1


@pytest.mark.slow
def test_a_node_that_is_lost(nodes: Any) -> None:
    import ray

    third = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    with on(nodes, SmallPlan(takes_s=0.2)) as cluster:
        assert cluster.slots == 3
        wait_for_all(cluster)
        stopper = threading.Timer(0.5, nodes.remove_node, (third,), {"allow_graceful": False})
        stopper.start()
        found = cluster.run(shards(20))
        stopper.join()
        told = cluster.summary()
        assert cluster.run(shards()).equals(expected(shards()))  # on the two that are left
        deadline_s = time.monotonic() + 60.0
        while sum(node["Alive"] for node in ray.nodes()) > 2:  # the tests that follow count them
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
    assert found.equals(expected(shards(20)))
    assert told["lost_workers"] == 1


@pytest.mark.slow
def test_a_shard_that_ends_every_worker_is_given_up(nodes: Any) -> None:
    said = r"a shard lost its worker 2 times \(cluster.retries=1\)"
    with on(nodes, Ending(), retries=1) as cluster, pytest.raises(ClusterError, match=said):
        cluster.open([KEY])


class Ending(SmallPlan):
    """Ends every process that opens a market."""

    def open(self, market: str, graph: int) -> Any:
        os._exit(1)


def test_markets_are_shared_out() -> None:
    """To open a market takes time and memory: of two markets two workers open one each, of one market both."""
    place = Place("host", 1, {})
    first, second, starting = _Worker(None, place), _Worker(None, place), _Worker(None)
    cluster = RayCluster.__new__(RayCluster)
    cluster._workers = [first, second, starting]
    waiting: dict[Key, Any] = {("a", 0): deque([1]), ("b", 0): deque([1])}
    starting.has.add(("a", 0))  # who has not answered yet holds nobody up
    assert cluster._choose(first, waiting, 1) == ("a", 0)
    first.has.add(("a", 0))
    assert cluster._choose(second, waiting, 1) == ("b", 0)
    second.has.add(("b", 0))
    assert cluster._choose(first, waiting, 1) == ("a", 0)
    del waiting["a", 0]
    assert cluster._choose(first, waiting, 1) is None
    assert cluster._choose(first, waiting, 2) == ("b", 0)
    cluster._workers.remove(second)  # it was lost
    assert cluster._choose(first, waiting, 1) == ("b", 0)


def test_a_users_mistake_is_not_tried_again(nodes: Any) -> None:
    with on(nodes, SmallPlan(wrong="policy")) as cluster:
        with pytest.raises(PolicyError, match=r"mine\.py:7: text can't be used") as caught:
            cluster.open([KEY])
        assert (caught.value.file, caught.value.line) == ("mine.py", 7)
        assert cluster.summary()["repeated_shards"] == 0


def test_data_that_differ_between_workers_are_refused(nodes: Any) -> None:
    with on(nodes, SmallPlan(takes_s=0.1, wrong="data")) as cluster:
        wait_for_all(cluster)
        with pytest.raises(DataError, match="the market differs between machines"):
            cluster.run(shards())


@pytest.mark.slow
def test_no_room(nodes: Any) -> None:
    with pytest.raises(ClusterError, match="has room for a worker of 1 processors and 2 GPUs"):
        on(nodes, SmallPlan(), gpus_per_shard=2.0)
    later = on(nodes, SmallPlan(), gpus_per_shard=2.0, workers=1, wait_s=2.0)
    with later as cluster, pytest.raises(ClusterError, match=r"no worker started within \d+ s"):
        cluster.open([KEY])


def test_a_worker_without_ray() -> None:
    worker = ShardWorker(SmallPlan())
    told = worker.open("here", 0)
    one = shards()[3]
    assert worker.run(one, told).table.equals(run_shard(one, resident()))
    with pytest.raises(DataError, match="the market differs between machines"):
        worker.run(one, replace(told, digest="another"))


RUN = [
    "mode=sweep", "policy=threshold", "source.events=6000", "sweep.folds=4", "sweep.min_trades=2", "sweep.sets=96",
    "sweep.batch=8", "sinks.progress=false", "sinks.tensorboard=false",
    "sweep.over={enter_bp: [0.02, 0.3], modules.tensor_harness.tau_phase_s: {choices: [2.0, 10.0]}}",
]  # fmt: skip


@pytest.mark.slow
def test_a_sweep_as_it_is_typed_with_its_workers_killed_half_way(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main([*RUN, "hydra.run.dir=local"])
    killed: list[int] = []

    def kill() -> None:
        deadline_s = time.monotonic() + 120.0
        while len(list(Path("ray/sweep_parts").glob("sets_*.parquet"))) < 3 and time.monotonic() < deadline_s:
            time.sleep(0.005)
        killed.extend(workers_below(os.getpid()))  # all there are: one may still be starting
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    main([*RUN, "cluster=ray", f"cluster.address={nodes.address}", "hydra.run.dir=ray"])
    killer.join()
    assert killed
    found = _summary("ray")["cluster"]
    assert found["kind"] == "ray"
    assert 1 <= found["lost_workers"] <= len(killed)
    assert found["repeated_shards"] >= 1
    assert _summary("local")["cluster"] == {"kind": "local"}
    table = pq.read_table("ray/sweep.parquet")
    assert table.num_rows == 96 * 5
    assert table.equals(pq.read_table("local/sweep.parquet"))
    assert _summary("ray")["guards"] == _summary("local")["guards"]


@pytest.mark.slow
def test_days_of_a_store_and_going_on_elsewhere(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What threads began a cluster ends, and the other way round, to the rows of one place alone."""
    monkeypatch.chdir(tmp_path)
    convert = ["mode=convert", "convert.out=store", "sinks.console=false", "sinks.progress=false", "source.events=6000"]
    main([*convert, "source.start_ns=1723161595000000000", "hydra.run.dir=convert"])  # 5 s before midnight
    run = [one for one in RUN if not one.startswith(("source.", "sweep.sets", "sweep.folds"))]
    run += ["source=store", "source.path=store", "sweep.each=[symbol,day]", "sweep.folds=2", "sweep.lead_in_s=2"]
    ray = ["cluster=ray", f"cluster.address={nodes.address}"]
    main([*run, "sweep.sets=32", "hydra.run.dir=local"])
    main([*run, "sweep.sets=32", *ray, "hydra.run.dir=ray"])
    whole = pq.read_table("local/sweep.parquet")
    assert set(whole["market"].to_pylist()) == {"BTC 2024-08-08", "BTC 2024-08-09"}
    assert pq.read_table("ray/sweep.parquet").equals(whole)
    assert (_summary("ray")["guards"], _summary("ray")["best"]) == (
        _summary("local")["guards"],
        _summary("local")["best"],
    )
    main([*run, "sweep.sets=32", *ray, "hydra.run.dir=local"])
    main([*run, "sweep.sets=32", "hydra.run.dir=ray"])
    for folder in ("local", "ray"):
        assert (_summary(folder)["recalled"], _summary(folder)["ran"]) == (32, 0)
        assert pq.read_table(f"{folder}/sweep.parquet").equals(whole)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(nodes: Any, tmp_path: Path) -> None:
    run = [*RUN, "sweep.sets=4000", "cluster=ray", f"cluster.address={nodes.address}", "hydra.run.dir=ray"]
    started = subprocess.Popen(
        [sys.executable, "-m", "schwabot.run", *run], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 120.0
    while len(list(tmp_path.glob("ray/sweep_parts/sets_*.parquet"))) < 2:
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 130, said
    done = _summary(tmp_path / "ray")
    assert 16 <= done["sets"] < 4000
    assert pq.read_table(tmp_path / "ray/sweep.parquet").num_rows == done["sets"] * 5


def _summary(folder: str | Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())["sweep"]
    return found


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'schwabot\[cluster\]'"):
        RayCluster(ClusterConfig(kind="ray"), SmallPlan())
