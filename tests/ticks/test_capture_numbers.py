"""Numbers of a recording are what Python's float makes of them, and reading leaves the collector as it was."""

from __future__ import annotations

import gc
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.records.instrument import Instrument
from schwabot.ticks.binance_messages import Sorter
from schwabot.ticks.capture_columns import floats

SPOT = Instrument("binance:BTC/USDT", 0.01, 1e-5)
LINE = b'7 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"4","B":"1","a":"5","A":"2"}}'
DECIMALS = st.decimals(0, 10**12, places=8).map(lambda number: f"{number:.8f}")
ODD = st.sampled_from(
    [
        "",
        " 1",
        "1 ",
        "+1",
        "1_0",
        "1e5",
        "1E-400",
        "1e400",
        "-0",
        "nan",
        "inf",
        "-Infinity",
        "nan(1)",
        "0x10",
        "1,5",
        "x",
    ]
) | st.floats().map(repr)


def bits(value: float) -> bytes:
    return b"nan" if value != value else struct.pack("d", value)


def by_python(text: object) -> float:
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


@given(st.lists(DECIMALS | ODD))
def test_text_is_read_to_the_bits_of_float(texts: list[str]) -> None:
    assert [*map(bits, floats(texts).tolist())] == [bits(by_python(text)) for text in texts]
    assert [*map(bits, floats(tuple(texts)).tolist())] == [bits(by_python(text)) for text in texts]


@pytest.mark.parametrize("odd", [None, 3, 2.5, True, [], {}, 2**63])
def test_what_is_no_text_is_read_as_python_would(odd: object) -> None:
    assert [*map(bits, floats(["0.1", odd]).tolist())] == [bits(0.1), bits(by_python(odd))]  # type: ignore[list-item]


@pytest.mark.parametrize("collecting", [True, False])
def test_sorting_leaves_the_collector_as_it_was(collecting: bool) -> None:
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        assert len(Sorter("a", (SPOT,)).sort([LINE, b"half a line"], 1).quotes) == 1
        assert gc.isenabled() == collecting
        with pytest.raises(ZeroDivisionError):
            Sorter("a", (SPOT,)).sort((LINE if i else b"%d" % (1 // i) for i in range(2)), 1)
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()
