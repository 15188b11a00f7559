"""Shapes of the answers on past runs; what is said of each field is the API's reference."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schwabot.server.history import State

Value = bool | int | float | str | None


class Links(BaseModel):
    """Where to look further."""

    tensorboard: str | None = Field(description="address of a TensorBoard (`server.tensorboard`), if one is set")
    tensorboard_command: str = Field(description="starts one over these runs, on the server's machine")


class RunLine(BaseModel):
    """A past run, or one that goes on, in a line."""

    id: str = Field(
        description="its folder below `server.runs`, with ~ for /, and ~~XX for a byte that an address would encode"
    )
    mode: str | None = Field(description="what ran: replay, fit, backtest, sweep, paper, live, …")
    state: State = Field(
        description="unfinished: no summary yet, so it goes on or was killed; broken: its summary can't be read"
    )
    started_ns: int = Field(description="when it began, ns: by the name of its folder, else by its config.yaml")
    ended_ns: int | None = Field(description="when its summary was written, ns; null before that")
    device: str | None = Field(description="the graph ran on it: cpu, cuda")
    events: int | None = Field(description="quotes and trades")
    wall_s: float | None = Field(description="how long it took, s")
    headline: dict[str, int | float | str] = Field(
        description="its numbers that matter, by mode: net, currency, fills, sharpe, sets, best_set, held_out_net, r2 …"
    )
    files: dict[str, int] = Field(description="name → bytes of what GET /runs/{id}/files/{name} gives")
    error: str | None = Field(description="what ended it, or what is wrong with its files")


class Runs(BaseModel):
    """A page of runs."""

    items: list[RunLine] = Field(description="in the order that was asked for")
    next: str | None = Field(description="`cursor` of the next page; null at the end")
    total: int = Field(description="runs of this mode")
    complete: bool = Field(description="false: there are more folders than are looked through")
    links: Links = Field(description="to TensorBoard")


class Compared(BaseModel):
    """A number of several runs."""

    name: str = Field(description="as in `headline`")
    values: list[int | float | str | None] = Field(description="in the order of `ids`; null = that run has none")


class Comparison(BaseModel):
    """Runs beside each other."""

    ids: list[str] = Field(description="of the runs, as they were asked for")
    rows: list[Compared] = Field(description="a number each")


class Column(BaseModel):
    """A column of a table."""

    name: str = Field(description="*_ns: ns since 1970 UTC, *_bp: bp, *_ms: ms; docs/outputs.md has them all")
    type: str = Field(description="Arrow's name of it, e.g. int64, double, string")


class Table(BaseModel):
    """A table of a run."""

    name: str = Field(description="for GET /runs/{id}/tables/{table}")
    rows: int | None = Field(description="null: the file is not whole")
    columns: list[Column] = Field(description="in the file's order; none where it is not whole")
    error: str | None = Field(default=None, description="what is wrong with the file")


class Tables(BaseModel):
    """The tables of a run."""

    items: list[Table] = Field(description="one for each file that is there")


class Rows(BaseModel):
    """Rows of a table."""

    columns: list[Column] = Field(description="those that were asked for")
    items: list[dict[str, Value]] = Field(description="a mapping each; times in ns, missing = null")
    next: str | None = Field(description="`cursor` of the next page; null at the end")
    total: int = Field(description="rows of the whole table")


class Sets(BaseModel):
    """Parameter sets of a sweep, a row each."""

    parameters: list[str] = Field(description="what was searched, by full name")
    results: list[str] = Field(
        description="summed over the folds that were searched on, markets and streams; `held_out_*` over the fold that"
        " was not. sharpe: a year's, null where several streams were traded; worst_drawdown: the largest of any fold,"
        " market and stream alone"
    )
    items: list[dict[str, Value]] = Field(description="a mapping each: `set`, the parameters, the results")
    next: str | None = Field(description="`cursor` of the next page; null at the end")
    total: int = Field(description="sets with at least `min_trades` fills")


class GridAxis(BaseModel):
    """An axis of a heat map."""

    name: str = Field(description="of the parameter")
    labels: list[str] = Field(description="a bin each: its value, or its middle")
    scale: Literal["levels", "linear", "log"] = Field(description="levels: a bin per value that was tried")


class HeatMap(BaseModel):
    """A result of a sweep over two parameters."""

    x: GridAxis = Field(description="across")
    y: GridAxis = Field(description="up")
    value: str = Field(description="the result that is shown")
    reduce: Literal["max", "median", "mean", "count"] = Field(description="what is told of the sets of a cell")
    z: list[list[float | None]] = Field(description="a row per bin of y; null where no set fell")
    sets: list[list[int]] = Field(description="how many sets each cell stands for")


class LinkWanted(BaseModel):
    """Which file a link is wanted to."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(max_length=100, description="name of it, e.g. report.html", examples=["report.html"])


class Link(BaseModel):
    """A link that works once."""

    url: str = Field(description="path on this server")
    seconds: float = Field(description="how long it may be used")


class Config(BaseModel):
    """Settings of a run."""

    yaml: str = Field(description="its config.yaml, secrets blanked")


Summary = dict[str, Any]
