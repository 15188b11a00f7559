"""The polars side of core_stages.py, in a process of its own. V streams, P pairs, L latencies.

Reads events.npz from a folder; answers each line on stdin with wall and CPU time as JSON. ``check`` also writes
answer.npz.
"""

from __future__ import annotations

import json
import math
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl

from schwabot.modules.settings import ModulesConfig

CONFIG = ModulesConfig()
HARNESS, BRIDGE, LAG = CONFIG.tensor_harness, CONFIG.ghost_bridge, CONFIG.phantom_lag
MISSING_NS = -(2**63)
S = 1_000_000_000


def half_life(tau_s: float) -> str:
    """Decay by 1/e in tau as polars wants it; ``i`` counts the integers of the time column, ns."""
    return f"{round(tau_s * math.log(2) * S)}i"


def load(folder: Path) -> tuple[pl.DataFrame, int]:
    """Events as they lie in memory before the clock starts: integer ticks and lots, and what turns them into units."""
    with np.load(folder / "events.npz") as file:
        arrays = {name: file[name] for name in file.files}
    constants = pl.DataFrame({name: arrays.pop(name) for name in ("tick", "unit", "inverse")})
    frame = pl.DataFrame(arrays)
    return frame.with_columns(constants[frame["stream"].to_numpy()]), len(constants)


def own_values(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Log mid, half spread, depth in base asset, latency weight of each quote itself."""
    bid, ask, tick = pl.col("bid_ticks"), pl.col("ask_ticks"), pl.col("tick")
    mid = 0.5 * (bid + ask) * tick
    lots = pl.col("bid_lots") + pl.col("ask_lots")
    depth = 0.5 * lots * pl.col("unit") / pl.when(pl.col("inverse") == 1).then(mid).otherwise(1.0)
    late = 1.0 - pl.col("latency_ns") / (BRIDGE.latency_max_ms * 1e6)
    return frame.with_columns(
        quote=pl.col("kind") == 0,
        log_mid=1e4 * mid.log(),
        half=1e4 * (ask - bid) / (ask + bid),
        depth=depth,
        latency_weight=pl.when(pl.col("latency_ns") == MISSING_NS).then(1.0).otherwise(late.clip(0.0, 1.0)),
    ).with_columns(x=pl.col("log_mid") - pl.col("log_mid").filter(pl.col("quote")).first())


def aligned(frame: pl.LazyFrame, streams: int) -> pl.LazyFrame:
    """The last known values of every stream at every event."""
    columns = {"x": "x", "half": "half", "depth": "depth", "latency_weight": "late", "ts_ns": "last"}
    return frame.with_columns(
        **{
            f"{short}{v}": pl.when(pl.col("quote") & (pl.col("stream") == v)).then(pl.col(name)).forward_fill()
            for name, short in columns.items()
            for v in range(streams)
        }
    )


def phases(frame: pl.LazyFrame, streams: int) -> pl.LazyFrame:
    """Decayed means of the differences of log mids as they stood over each gap, and their mean per stream."""
    pairs = list(combinations(range(streams), 2))
    frame = frame.with_columns(
        **{
            # What stood before the event held for the whole gap; the first difference known stands until then.
            f"beta{v}{u}": (pl.col(f"x{v}") - pl.col(f"x{u}"))
            .shift(1)
            .fill_null(strategy="backward", limit=1)
            .ewm_mean_by("ts_ns", half_life=half_life(HARNESS.tau_phase_s))
            for v, u in pairs
        }
    )
    mean = {
        v: pl.sum_horizontal(
            pl.col(f"beta{a}{b}") if a == v else -pl.col(f"beta{a}{b}") for a, b in pairs if v in (a, b)
        )
        for v in range(streams)
    }
    frame = frame.with_columns(**{f"phi{v}": mean[v] / streams for v in range(streams)})
    past = frame.select("ts_ns", *(pl.col(f"phi{v}").alias(f"past{v}") for v in range(streams)))
    grid = round(HARNESS.drift_window_s * S) // 64
    then = (pl.col("ts_ns") // grid - 64) * grid - 1
    frame = frame.with_columns(then=then).join_asof(past, left_on="then", right_on="ts_ns", strategy="backward")
    strong = min(2.0 * HARNESS.k0, HARNESS.k_max)
    moved = {v: (pl.col(f"phi{v}") - pl.col(f"past{v}")).fill_null(0.0) for v in range(streams)}
    frame = frame.with_columns(
        **{f"drift{v}": moved[v].abs() / pl.col(f"past{v}").abs().fill_null(0.0).clip(1.0) for v in range(streams)}
    )
    k = {
        v: pl.when(pl.col(f"drift{v}") >= HARNESS.critical_at)
        .then(strong)
        .when(pl.col(f"drift{v}") >= HARNESS.drifting_at)
        .then(HARNESS.k0)
        .otherwise(0.0)
        for v in range(streams)
    }
    return frame.with_columns(
        **{f"ahead{v}": pl.col(f"phi{v}") + k[v] * moved[v] for v in range(streams)},
        **{
            f"ok{v}": (pl.col("ts_ns") - pl.col(f"last{v}") <= round(HARNESS.stale_s * S))
            & (pl.col(f"drift{v}") < HARNESS.critical_at)
            for v in range(streams)
        },
    )


def mean_price(streams: int, weight: str) -> pl.Expr:
    """Weighted mean of x - phi over the streams."""
    top = pl.sum_horizontal(pl.col(f"{weight}{v}") * (pl.col(f"x{v}") - pl.col(f"ahead{v}")) for v in range(streams))
    return top / pl.sum_horizontal(pl.col(f"{weight}{v}") for v in range(streams))


def consensus(frame: pl.LazyFrame, streams: int) -> pl.LazyFrame:
    """Both stages of the weighted ghost, and every stream's deviation from it."""
    depth = (
        pl.mean_horizontal(pl.col(f"depth{v}") for v in range(streams)).shift(1).fill_null(strategy="backward", limit=1)
    )
    frame = frame.with_columns(typical=depth.ewm_mean_by("ts_ns", half_life=half_life(BRIDGE.tau_depth_s)))
    weight = {
        v: (1.0 + (pl.col(f"depth{v}") / pl.col("typical"))).log()
        * (-BRIDGE.age_decay_per_s * 1e-9 * (pl.col("ts_ns") - pl.col(f"last{v}"))).exp()
        * pl.col(f"late{v}")
        for v in range(streams)
    }
    frame = frame.with_columns(
        **{f"w{v}": pl.when(pl.col(f"ok{v}")).then(weight[v]).otherwise(0.0).fill_null(0.0) for v in range(streams)}
    )
    # Read four times below; polars would work it out anew each time.
    first = frame.with_columns(first=mean_price(streams, "w")).collect().lazy()
    horizon = round(BRIDGE.reliability_horizon_ms * 1e6)
    later = first.select("ts_ns", then=pl.col("first"))
    # Decayed sums over quotes: ewm_mean_by would weight by time. e^{t/tau} overflows after 700 tau, far from here.
    since = (pl.col("ts_ns") - pl.col("ts_ns").first()) / (BRIDGE.tau_reliability_s * S)
    first = first.with_columns(fade=(-since).exp())
    for v in range(streams):
        due = (
            first.filter(pl.col("quote") & (pl.col("stream") == v) & pl.col(f"ok{v}"))
            .select(
                ts_ns=pl.col("ts_ns") + horizon, said=pl.col(f"x{v}") - pl.col(f"phi{v}"), grow=1.0 / pl.col("fade")
            )
            .join_asof(later, on="ts_ns", strategy="backward")
            .select(
                "ts_ns",
                ((pl.col("said") - pl.col("then")) ** 2 * pl.col("grow")).cum_sum().alias(f"errors{v}"),
                pl.col("grow").cum_sum().alias(f"count{v}"),
            )
        )
        first = first.join_asof(due, on="ts_ns", strategy="backward")
    late = math.exp(-BRIDGE.reliability_horizon_ms * 1e-3 / BRIDGE.tau_reliability_s)
    sums = {
        name: [pl.col(f"{name}{v}").fill_null(0.0) * pl.col("fade") / late for v in range(streams)]
        for name in ("errors", "count")
    }
    frame = first.with_columns(
        **{
            f"r{v}": pl.col(f"w{v}")
            * (sums["count"][v] + BRIDGE.prior_count)
            / (sums["errors"][v] + BRIDGE.prior_count * BRIDGE.prior_variance_bp2)
            for v in range(streams)
        }
    ).with_columns(ghost=mean_price(streams, "r"))
    return frame.with_columns(
        **{f"d{v}": pl.col("ghost") + pl.col(f"ahead{v}") - pl.col(f"x{v}") for v in range(streams)}
    )


def touch(side: int) -> pl.Expr:
    """Log price of the side that is paid."""
    return pl.col("x") + 1e4 * (side * 1e-4 * pl.col("half")).log1p()


def realised_lag(frame: pl.DataFrame, streams: int) -> pl.DataFrame:
    """Cost per decision and latency: one as-of join per side over all decisions and latencies."""
    made = []
    for v in range(streams):
        out = ((pl.col(f"d{v}").abs() > BRIDGE.desync_bp) & pl.col(f"ok{v}")).fill_null(value=False)
        made.append(
            frame.lazy()
            .filter(out & ~out.shift(1, fill_value=False))
            .select(
                "ts_ns",
                buy=pl.col(f"d{v}") > 0,
                x=pl.col(f"x{v}"),
                half=pl.col(f"half{v}"),
                stream=pl.lit(v, pl.Int32),
            )
        )
    quotes = frame.lazy().filter("quote")
    last_ns = frame["ts_ns"][-1]
    latencies = pl.LazyFrame({"latency_ns": [round(ms * 1e6) for ms in LAG.latencies_ms]})
    costs = []
    for side in (1, -1):
        decisions = pl.concat(made).filter(pl.col("buy") == (side == 1)).with_columns(now=touch(side))
        due = decisions.join(latencies, how="cross").with_columns(due_ns=pl.col("ts_ns") + pl.col("latency_ns"))
        costs.append(
            due.filter(pl.col("due_ns") <= last_ns)
            .sort("due_ns")
            .join_asof(
                quotes.select("stream", "ts_ns", then=touch(side)),
                left_on="due_ns",
                right_on="ts_ns",
                by="stream",
                strategy="backward",
                check_sortedness=False,
            )
            .select("ts_ns", "stream", "latency_ns", cost=side * (pl.col("then") - pl.col("now")))
        )
    return pl.concat(costs).collect()


def chain(frame: pl.DataFrame, streams: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All of it: (columns per event, costs per decision and latency)."""
    lazy = consensus(phases(aligned(own_values(frame.lazy()), streams), streams), streams)
    deep = [f"{name}{v}" for name in ("x", "half", "ok", "d") for v in range(streams)]
    columns = lazy.select("ts_ns", "stream", "quote", "x", "half", "ghost", *deep).collect()
    return columns, realised_lag(columns, streams)


def main() -> None:
    folder = Path(sys.argv[1])
    frame, streams = load(folder)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        columns, costs = chain(frame, streams)
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        if line.strip() == "check":
            curve = costs.group_by("latency_ns").agg(pl.col("cost").mean()).sort("latency_ns")["cost"]
            np.savez(
                folder / "answer.npz",
                deviation=np.stack([columns[f"d{v}"].to_numpy() for v in range(streams)]),
                decisions=len(costs.filter(pl.col("latency_ns") == costs["latency_ns"].max())),
                curve=curve.to_numpy(),
            )
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
