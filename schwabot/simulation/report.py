"""report.html: one self-contained page of figures and tables; opens without a network.

A section is a title, a text, and a figure of plotly, a table, or both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 380
MOST_ROWS = 200
STYLE = """
:root { --ink: #1c2430; --soft: #5b6775; --line: #dfe4ea; --paper: #ffffff; --ground: #f5f7f9; --accent: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 24px; margin: 8px 0 2px; }
h2 { font-size: 17px; margin: 0 0 6px; }
p { margin: 0 0 10px; color: var(--soft); max-width: 95ch; }
p.said { color: var(--ink); }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; }
section { padding: 16px 18px; margin: 16px 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; margin: 14px 0; }
.fact { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.fact b { display: block; font-size: 18px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.fact span { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 3px 12px 3px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child, th.text { text-align: left; }
td.text { text-align: left; white-space: normal; }
"""


class Section(NamedTuple):
    """One part of a report.

    Attributes:
        title: its heading.
        text: what it shows and how to read it; paragraphs are separated by an empty line.
        figure: a plotly figure.
        table: rows with the same keys.
    """

    title: str
    text: str = ""
    figure: Figure | None = None
    table: Sequence[Mapping[str, Any]] | None = None


def write_report(path: Path, title: str, sections: Sequence[Section], facts: Mapping[str, str], said: str = "") -> None:
    """Write the page, whole or not at all.

    Args:
        path: the file.
        title: of the page.
        sections: in order.
        facts: numbers for the head of the page, name to text.
        said: the outcome in one or two sentences.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_report(Path(folder, "report.html"), "A & B", [Section("Hours", "text")], {"fills": "3"})
        ...     text = Path(folder, "report.html").read_text()
        >>> "<title>A &amp; B</title>" in text, "https://cdn" in text, text.count("<section")
        (True, False, 1)
    """
    script = ""
    if any(section.figure is not None for section in sections):
        from plotly.offline import get_plotlyjs

        script = f"<script>{get_plotlyjs()}</script>"
    cards = "".join(
        f'<div class="fact"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in facts.items()
    )
    body = "".join(_section(section, number) for number, section in enumerate(sections))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{script}</head><body><main><h1>{escape(title)}</h1>"
        f'{_paragraphs(said, "said")}<div class="facts">{cards}</div>{body}</main></body></html>\n'
    )
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _section(section: Section, number: int) -> str:
    inside = f"<h2>{escape(section.title)}</h2>{_paragraphs(section.text)}"
    if section.figure is not None:
        figure = section.figure
        figure.update_layout(
            template="plotly_white",
            height=figure.layout.height or HEIGHT,
            margin={"l": 60, "r": 20, "t": 24, "b": 44},
            font={"size": 13},
        )
        figure.update_xaxes(automargin=True)  # long names make room for themselves
        figure.update_yaxes(automargin=True)
        inside += figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"figure-{number}")
    if section.table is not None:
        inside += _table(section.table)
    return f"<section>{inside}</section>"


def _paragraphs(text: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return "".join(f"<p{mark}>{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>nothing</p>"
    texts = {name for name in rows[0] if any(_is_text(row[name]) for row in rows)}
    head = "".join(f"<th{' class=text' if name in texts else ''}>{_head(str(name))}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows[:MOST_ROWS])
    more = f"<p>and {len(rows) - MOST_ROWS:,} more</p>" if len(rows) > MOST_ROWS else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "<td>–</td>"
    if _is_text(value):
        return f'<td class="text">{escape(str(value))}</td>'
    return f"<td>{value:,}</td>" if isinstance(value, int) else f"<td>{value:,.6g}</td>"


def _head(name: str) -> str:
    """A head that may be broken where a name has a joint."""
    return escape(name).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _is_text(value: Any) -> bool:
    return value is not None and (isinstance(value, bool) or not isinstance(value, int | float))
