"""A table for a terminal of any width: what does not fit is left out from the right, and named, never cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def columns_that_fit(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, gap: int = 2) -> int:
    """How many columns, ``gap`` spaces apart, fit; at least one.

    Example:
        >>> [columns_that_fit(["set", "net"], [["1", "-0.25"]], width) for width in (10, 9, 1)]
        [2, 1, 1]
    """
    used = -gap
    for place, head in enumerate(heads):
        used += gap + max(len(cell) for cell in (*head.split("\n"), *(row[place] for row in rows)))
        if used > width:
            return max(1, place)
    return len(heads)


def print_narrow(
    console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str], gap: int = 2
) -> None:
    """Print the columns that fit and name those that do not.

    Args:
        console: where to; its width counts.
        heads: of the columns, the most telling first.
        rows: a cell per head.
        left: heads of columns that are text.
        gap: spaces between columns, 1 or 2.
    """
    from rich.table import Table
    from rich.text import Text

    count = columns_that_fit(heads, rows, console.width, gap)
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=gap == 1, header_style="bold")
    for head in heads[:count]:
        table.add_column(head, justify="left" if head in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row[:count]))
    console.print("")
    console.print(table)
    if count < len(heads):
        console.print(f"no room for: {', '.join(heads[count:])}".replace("\n", " "), soft_wrap=True, markup=False)


def short_number(value: object) -> str:
    """A value in four digits.

    Example:
        >>> [short_number(one) for one in (-1634.4, 4.58957e-05, 0.2348712, 27, True, float("nan"), 1234567)]
        ['-1,634', '4.59e-05', '0.2349', '27', 'True', '-', '1,234,567']
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != value:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.3g}"
    return f"{value:.3g}" if abs(value) < 1e-3 else f"{value:.4g}"
