"""A Ray cluster as a place to run shards: who is idle gets the next one, what a lost worker held is run again.

Ray finds the room, keeps processors and GPUs, starts processes and tells when one is gone. Which shard goes where is
decided here, because a market is costly to open: a worker gets shards of the markets that it has as long as there
are any.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from schwabot.cluster.settings import ClusterConfig
from schwabot.cluster.worker import Key, Place, Plan, ShardWorker, versions
from schwabot.errors import ClusterError, ConfigError, SchwabotError
from schwabot.simulation.sweep.shards import MarketFacts, Shard, merge

POLL_S = 1.0
"""How long to wait for an answer before looking at the clock."""
SLOW_START_S = 20.0
"""Waiting longer than this for a worker is worth a word."""


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker as it is seen from here; ``place`` is None until it answered for the first time."""

    actor: Any
    place: Place | None = None
    running: int = 0
    has: set[Key] = field(default_factory=set)


@dataclass(slots=True)
class _Job:
    """One call: ``number`` in the order asked for."""

    number: int
    key: Key
    method: str
    arguments: tuple[Any, ...]
    losses: int = 0


class RayCluster:
    """Workers of a running cluster, or of one on this machine that lasts as long as this object.

    Args:
        config: see ``ClusterConfig``.
        plan: how a worker opens a market; it is sent to each.
        keys: markets there will be; workers open them from the start, while the caller reads for itself.
        warn: is told once what a worker has to say, such as that its device was given up.

    Raises:
        ConfigError: Ray is not installed, or versions differ between machines.
        ClusterError: no such cluster, no room in it, or too many workers were lost.
    """

    on_device = False
    """Shards run side by side, so a block is cut into as many as there are slots."""

    def __init__(
        self,
        config: ClusterConfig,
        plan: Plan,
        keys: Sequence[Key] = (),
        warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),  # noqa: T201
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("cluster=ray needs Ray: pip install 'schwabot[cluster]'")
        self._config = config
        self._plan = plan
        self._keys = tuple(keys)
        self._warn, self._notes = warn, set[str]()
        self._begun = 0
        self._facts: dict[Key, MarketFacts] = {}
        self._workers: list[_Worker] = []
        self._jobs: dict[Any, tuple[_Worker, _Job | None]] = {}
        self._made_s = time.perf_counter()
        self._busy_s = self._all_busy_s = self._run_s = self._first_s = self._late_s = 0.0
        self._lost = self._repeated = self._shards = self._failed_starts = 0
        self._hosts: set[str] = set()
        self._alone_s: float | None = None
        self._told = False
        self._connect()
        try:
            self._wanted = config.workers or self._room()
            for _ in range(self._wanted):
                self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def slots(self) -> int:
        """Shards that run side by side when every worker is there."""
        return self._wanted * self._config.shards_per_worker

    @property
    def places(self) -> list[Place]:
        """Where the workers are that have answered."""
        return [worker.place for worker in self._workers if worker.place is not None]

    def open(self, keys: Sequence[Key], stop: Callable[[], bool] = lambda: False) -> list[MarketFacts]:
        """Open markets, each on one worker at least.

        Args:
            keys: which.
            stop: asked all the time; half of them are none.

        Raises:
            KeyboardInterrupt: it was stopped.

        Returns:
            Their facts; from now on every worker has to find the same.
        """
        jobs = [_Job(number, key, "open", key) for number, key in enumerate(keys)]
        found: list[MarketFacts] = self._all(jobs, stop)
        self._facts |= zip(keys, found, strict=True)
        return found

    def run(self, shards: Sequence[Shard]) -> pa.Table:
        """Run shards of markets that are open; the rows are those of ``sweep.shards.run_here``."""
        begun_s = time.perf_counter()
        jobs = []
        for number, shard in enumerate(shards):
            key = (shard.market, shard.graph)
            jobs.append(_Job(number, key, "run", (shard, self._facts[key])))
        answers = self._all(jobs)
        self._shards += len(shards)
        for note in (note for one in answers for note in one.notes):
            if note not in self._notes:
                self._notes.add(note)
                self._warn(note)
        busy_s = sum(one.busy_s for one in answers)
        self._busy_s += busy_s
        self._all_busy_s += busy_s
        self._run_s += time.perf_counter() - begun_s
        if self._shards == len(shards):
            self._late_s = max(0.0, self._first_s - begun_s)
        return merge(one.table for one in answers)

    def take_busy_s(self) -> float:
        """Time the workers spent on shards since the last call, all of them together."""
        busy_s, self._busy_s = self._busy_s, 0.0
        return busy_s

    def summary(self) -> dict[str, Any]:
        """Entries for summary.json.

        waited_s: until the first shard began, for Ray and the workers to start and to read the markets. idle_s: time
        after that in which a slot had nothing to do or waited for Ray, the mean of all slots.
        """
        return {
            "kind": "ray",
            "address": self._address,
            "started": self._ours and self._own,
            "hosts": sorted(self._hosts),
            "workers": self._wanted,
            "slots": self.slots,
            "shards": self._shards,
            "lost_workers": self._lost,
            "repeated_shards": self._repeated,
            "waited_s": max(0.0, self._first_s - self._made_s),
            "idle_s": self._run_s - self._late_s - self._all_busy_s / self.slots,
        }

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        import ray

        for worker in self._workers:
            with suppress(ray.exceptions.RayError):
                ray.kill(worker.actor)
        self._workers.clear()
        self._jobs.clear()
        if self._ours:
            ray.shutdown()

    # connecting

    def _connect(self) -> None:
        address = self._config.address or os.environ.get("RAY_ADDRESS") or None
        self._own = address is None or address == "local"
        if self._own:
            # Ray would listen on all addresses and let in whoever asks; a token of this run's keeps others out.
            if "ray" not in sys.modules:  # it looks once, when it is imported
                os.environ.setdefault("RAY_AUTH_MODE", "token")
            if os.environ.get("RAY_AUTH_MODE") == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            given: dict[str, Any] = {"num_cpus": self._config.num_cpus or None, "include_dashboard": False}
        else:
            given = {}
        import ray

        self._ours = not ray.is_initialized()
        if self._ours:
            terminate = signal.getsignal(signal.SIGTERM)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # Ray's tips about its next versions
                    ray.init(
                        address=address or "local",
                        namespace=self._config.namespace,
                        log_to_driver=False,
                        logging_level=logging.WARNING,
                        **given,
                    )
            except (ConnectionError, ray.exceptions.RayError, RuntimeError, ValueError, TimeoutError) as error:
                where = "a cluster on this machine" if self._own else f"cluster.address={address}"
                raise ClusterError(
                    f"{where} can't be used: {_first_line(error)}. Is it running, does a firewall let its ports"
                    " through, and is RAY_AUTH_MODE (and the token) the same here as there?"
                ) from error
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, terminate)  # Ray takes it, and would end without a word
        self._address = ray.get_runtime_context().gcs_address

    def _room(self) -> int:
        """Workers that fit into the nodes that are there now."""
        import ray

        cpus = self._config.shards_per_worker
        gpus = self._config.gpus_per_shard * cpus
        fit = 0
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if node["Alive"]:
                has = node["Resources"]
                here = int(has.get("CPU", 0) // cpus)
                fit += min(here, int(has.get("GPU", 0) / gpus + 1e-9)) if gpus else here
        if not fit:
            raise ClusterError(
                f"no node of {self._address} has room for a worker of {cpus} processors and {gpus:g} GPUs: use smaller"
                " cluster.shards_per_worker or cluster.gpus_per_shard, or set cluster.workers if nodes are yet to come"
            )
        return fit

    def _start(self) -> None:
        import ray

        count = self._config.shards_per_worker
        made = ray.remote(ShardWorker).options(
            num_cpus=count,
            num_gpus=self._config.gpus_per_shard * count,
            max_concurrency=count,
            max_restarts=0,  # a new worker takes its place, wherever there is room
            max_task_retries=0,
        )
        worker = _Worker(made.remote(self._plan))
        self._workers.append(worker)
        self._jobs[worker.actor.place.remote()] = (worker, None)
        if self._keys:
            key = self._keys[self._begun % len(self._keys)]
            worker.actor.open.remote(*key)  # nobody waits for it: if it fails, so does the first shard
            worker.has.add(key)
            self._begun += 1

    # giving out and taking in

    def _all(self, jobs: Sequence[_Job], stop: Callable[[], bool] = lambda: False) -> list[Any]:
        """Answers in the order of the jobs."""
        import ray

        answers: list[Any] = [None] * len(jobs)
        waiting: dict[Key, deque[_Job]] = {}
        for job in jobs:
            waiting.setdefault(job.key, deque()).append(job)
        holders = max(1, -(-self._wanted // max(len(waiting), 1)))
        missing = len(jobs)
        self._forget()
        while missing:
            if stop():
                raise KeyboardInterrupt
            self._give(waiting, holders)
            ready, _ = ray.wait(list(self._jobs), num_returns=1, timeout=POLL_S) if self._jobs else ([], [])
            for ref in ready:
                if ref not in self._jobs:  # of a worker that was given up meanwhile
                    continue
                worker, done = self._jobs.pop(ref)
                try:
                    answer = ray.get(ref)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, SchwabotError):
                        raise error.cause from None  # of the policy, the data or the settings: the same again elsewhere
                    raise ClusterError(f"a worker failed: {_last_line(error)}") from error
                except ray.exceptions.RayError as error:
                    self._gone(worker, [] if done is None else [done], waiting, error)
                    continue
                if done is None:
                    self._arrived(worker, answer)
                else:
                    worker.running -= 1
                    worker.has.add(done.key)
                    answers[done.number] = answer
                    if self._first_s == 0.0 and done.method == "run":
                        self._first_s = time.perf_counter() - answer.busy_s
                    missing -= 1
            self._check_alone()
        return answers

    def _forget(self) -> None:
        """Drop what was given out and is not wanted any more: an error or Ctrl-C ended the call that it was of."""
        for ref, (worker, job) in list(self._jobs.items()):
            if job is not None:
                del self._jobs[ref]
                worker.running -= 1

    def _give(self, waiting: dict[Key, deque[_Job]], holders: int) -> None:
        """Let every worker that has room begin a job."""
        able = [worker for worker in self._workers if worker.place is not None]
        for _ in range(self._config.shards_per_worker):
            for worker in able:
                if worker.running < self._config.shards_per_worker:
                    key = self._choose(worker, waiting, holders)
                    if key is None:
                        continue
                    job = waiting[key].popleft()
                    if not waiting[key]:
                        del waiting[key]
                    worker.running += 1
                    worker.has.add(key)
                    ref = getattr(worker.actor, job.method).remote(*job.arguments)
                    self._jobs[ref] = (worker, job)

    def _choose(self, worker: _Worker, waiting: Mapping[Key, deque[_Job]], holders: int) -> Key | None:
        """A market that the worker has, else the one that the fewest have, if those are fewer than ``holders``.

        To open one more market takes time and memory: where there are as many markets as workers, each stays with the
        ones it has.
        """
        for key in waiting:
            if key in worker.has:
                return key
        held = {key: sum(key in one.has for one in self._workers if one.place is not None) for key in waiting}
        least = min(held, key=held.__getitem__, default=None)
        return least if least is not None and held[least] < holders else None

    def _arrived(self, worker: _Worker, place: Place) -> None:
        mine = versions()
        if differing := [name for name, here in mine.items() if place.versions.get(name) != here]:
            told = ", ".join(f"{name} {place.versions.get(name)} there, {mine[name]} here" for name in differing)
            raise ConfigError(f"cluster: {place.host} has other libraries, so bits of results could differ: {told}")
        worker.place = place
        self._hosts.add(place.host)

    def _gone(
        self, worker: _Worker, jobs: Iterable[_Job], waiting: dict[Key, deque[_Job]], error: BaseException
    ) -> None:
        """Take a lost worker's jobs back and start another in its place."""
        import ray

        if worker in self._workers:
            self._workers.remove(worker)
            if worker.place is None:
                self._failed_starts += 1
                if self._failed_starts > self._config.retries:
                    raise ClusterError(
                        f"workers do not start: {_last_line(error)}. Is Schwabot installed on every node, in the same"
                        " version?"
                    ) from error
            else:
                self._lost += 1
                self._say(f"a worker on {worker.place.host} was lost; what it held is run again")
            with suppress(ray.exceptions.RayError):
                ray.kill(worker.actor)  # should it only be out of reach
            others = [ref for ref, (one, _) in self._jobs.items() if one is worker]
            jobs = [*jobs, *(job for job in (self._jobs.pop(ref)[1] for ref in others) if job is not None)]
            self._start()
        for job in jobs:
            job.losses += 1
            self._repeated += 1
            if job.losses > self._config.retries:
                raise ClusterError(
                    f"a shard lost its worker {job.losses} times (cluster.retries={self._config.retries}):"
                    f" {_last_line(error)}. Out of memory? Each worker holds its own copy of the market;"
                    " cluster.shards_per_worker lets several shards share one"
                ) from error
            waiting.setdefault(job.key, deque()).appendleft(job)

    def _check_alone(self) -> None:
        """Say so, and in the end give up, when no worker is there."""
        if self.places:
            self._alone_s = None
            return
        now_s = time.monotonic()
        self._alone_s = self._alone_s or now_s
        alone_s = now_s - self._alone_s
        if alone_s > SLOW_START_S and not self._told:
            self._told = True
            self._say("waiting for a worker to start")
        if alone_s > self._config.wait_s:
            raise ClusterError(
                f"no worker started within {alone_s:.0f} s (cluster.wait_s): is there room for one on {self._address}?"
            )

    def _say(self, what: str) -> None:
        sys.stderr.write(f"\nnote: cluster: {what}\n")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__
