"""Settings of the cluster. Kept apart from the code so that ``--help`` needs no Ray."""

from __future__ import annotations

from dataclasses import dataclass

from schwabot.errors import ConfigError

KINDS = ("local", "ray")


@dataclass
class ClusterConfig:
    """Where mode=sweep runs its shards. Changes speed, never a result.

    Attributes:
        kind: ``local`` = threads of this process (``sweep.threads``), ``ray`` = workers of a Ray cluster.
        address: of a running cluster, e.g. ``10.0.0.1:6379`` or ``auto``; absent = ``RAY_ADDRESS``, or else a cluster
            on this machine, started and ended by the run.
        namespace: of the workers within the cluster.
        num_cpus: processors that a cluster started by the run offers; 0 = all.
        workers: worker processes; 0 = as many as the cluster has room for. Each holds the markets it works on.
        shards_per_worker: shards that a worker runs side by side on one copy of the market, a processor each.
        gpus_per_shard: share of a GPU that Ray keeps for each shard.
        retries: how often a shard whose worker was lost is run again.
        wait_s: how long to wait for a first worker.
    """

    kind: str = "local"
    address: str | None = None
    namespace: str = "schwabot"
    num_cpus: int = 0
    workers: int = 0
    shards_per_worker: int = 1
    gpus_per_shard: float = 0.0
    retries: int = 3
    wait_s: float = 120.0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if self.kind not in KINDS:
            raise ConfigError(f"cluster.kind={self.kind} is not a choice; use {' or '.join(KINDS)}")
        for name, low, high in (
            ("num_cpus", 0, 4096),
            ("workers", 0, 100_000),
            ("shards_per_worker", 1, 1024),
            ("gpus_per_shard", 0.0, 64.0),
            ("retries", 0, 1000),
            ("wait_s", 1.0, 86_400.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"cluster.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")
        if not self.namespace.strip():
            raise ConfigError("cluster.namespace is empty: leave it out for schwabot")
        if self.address is not None and self.num_cpus:
            raise ConfigError(
                f"cluster.num_cpus={self.num_cpus} is of a cluster that the run starts, and cluster.address="
                f"{self.address} is running: leave one of them out"
            )
