"""What a file of funding payments is refused for, with file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.errors import DataError, OverlapError, SchemaError, UnknownStreamError, UnsortedTimeError
from schwabot.simulation.market import MarketBuilder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate.records import Rules

FEED = SyntheticFeed(SyntheticConfig(events=10))
FIRST, SECOND, OTHER = (FEED.instruments[v].stream for v in (1, 3, 0))
NINE, TEN, ELEVEN = (f"2026-03-01 {hour:02}:00:00" for hour in (9, 10, 11))


def rules(file: Path) -> Rules:
    builder = MarketBuilder(FEED.instruments, [FIRST, SECOND], [[None], [None]], 1e5)
    return make_rules(SimulationConfig(funding=str(file)), builder)


def csv(folder: Path, *lines: str) -> Path:
    file = folder / "funding.csv"
    file.write_text("\n".join(["time,stream,rate", *lines]) + "\n")
    return file


def test_streams_may_take_turns_or_follow_one_another(tmp_path: Path) -> None:
    """Each in order of time; those of a stream that is not traded are left out."""
    lines = [f"{NINE},{FIRST},0.0001", f"{TEN},{FIRST},-0.0002", f"{NINE},{SECOND},0.5", f"{ELEVEN},{OTHER},0.01"]
    got = rules(csv(tmp_path, *lines))
    nine = int(np.datetime64(NINE.replace(" ", "T"), "ns").astype(np.int64))
    assert got.funding_ns.tolist() == [nine, nine, nine + 3600 * 10**9]
    assert got.funding_leg.tolist() == [0, 1, 0]
    assert got.funding_e9.tolist() == [100_000, 500_000_000, -200_000]


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        ([f"{TEN},{FIRST},0.1", f"{NINE},{SECOND},0.1", f"{NINE},{FIRST},0.1"], UnsortedTimeError, ":4: 2026-03-01T09"),
        (
            [f"{TEN},{FIRST},0.1", f"{TEN},{SECOND},0.1", f"{TEN},{FIRST},0.2"],
            OverlapError,
            ":4: .* twice at 2026-03-0",
        ),
        ([f"{TEN},{FIRST},0.1", f"{TEN},{FIRST}X,0.1"], UnknownStreamError, f":3: {FIRST}X is not in the source"),
        ([f"{TEN},{FIRST},0.1", f"{ELEVEN},{FIRST},nan"], DataError, ":3: rate nan"),
        ([f"{TEN},{FIRST},inf"], DataError, ":2: rate inf"),
        ([f"{TEN},{FIRST},1.5"], DataError, ":2: rate 1.5: a share of the notional is wanted"),
        ([f"{TEN},{FIRST},-1.0"], DataError, ":2: rate -1.0"),
        ([f"{TEN},{FIRST},0.1", f"{ELEVEN},{FIRST},"], DataError, ":3: rate nan"),
        ([f"{TEN},{FIRST},0.1", f",{FIRST},0.1"], DataError, ":3: time is missing"),
        ([f"{TEN},{FIRST},much"], SchemaError, "no number"),
        ([f"{TEN},{OTHER},0.1"], DataError, f"no payment of {FIRST}"),
        (["12345,{FIRST},0.1"], SchemaError, "ns since 1970"),
    ],
)
def test_what_is_refused(lines: list[str], error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=r"funding\.csv.*" + said):
        rules(csv(tmp_path, *lines))


def test_rows_of_parquet_are_counted_from_1(tmp_path: Path) -> None:
    hour = 3600 * 10**9
    times = pa.array([10**18 + 2 * hour, 10**18], pa.timestamp("ns"))
    pq.write_table(pa.table({"time": times, "stream": [FIRST] * 2, "rate": [0.1, 0.1]}), tmp_path / "funding.parquet")
    with pytest.raises(UnsortedTimeError, match=r"funding\.parquet:2: .*sort the payments by time"):
        rules(tmp_path / "funding.parquet")
