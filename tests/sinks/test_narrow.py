"""Tables of a terminal: no cell is ever cut, and what is left out is named."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from schwabot.sinks.narrow import print_narrow, short_number

HEADS = (
    "traded stream",
    "net",
    "fees",
    "in",
    "drawdown",
    "fills",
    "orders",
    "rejected",
    "refused",
    "held s",
    "position",
)
ROW = ("synthetic_b:BTC/USDT:USDT", "-1,534", "5.914", "USDT", "1,540", "493", "2,261", "352", "0", "165.8", "-0.005")


def shown(width: int) -> list[str]:
    out = io.StringIO()
    print_narrow(Console(file=out, width=width, highlight=False), HEADS, [ROW], left=("traded stream", "in"))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [120, 100, 80, 60, 40])
def test_what_fits_is_whole_and_the_rest_is_named(width: int) -> None:
    _, head, row, *rest = shown(width)
    assert max(len(head), len(row)) <= width
    assert "…" not in head + row
    cells = row.split()
    assert tuple(cells) == ROW[: len(cells)]
    left_out = rest[0].removeprefix("no room for: ").split(", ") if rest else []
    assert left_out == list(HEADS[len(cells) :])


def test_a_wide_terminal_has_room_for_all() -> None:
    assert len(shown(120)) == 3  # an empty line, the heads, the row
    assert len(shown(80)) == 4


def test_four_digits_are_enough() -> None:
    assert [short_number(one) for one in (-1634.43, 0.0612112, 4.58957e-05, 5, "post")] == [
        "-1,634", "0.06121", "4.59e-05", "5", "post",
    ]  # fmt: skip
