"""Changing or cutting what comes after a row changes nothing that was said at it or before, bit for bit.

What uses the future by definition, the cost of a decision, is handed out when the future has come.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.modules.settings import ModulesConfig
from schwabot.records.market import Kind, Ticks
from tests.invariants.making import Said, assert_bits, concat, configs, markets_of_one_shape, pieces, rows, run


def assert_beginning(short: Said, long: Said, ticks: Ticks) -> None:
    """All that ``short`` said before its end is what ``long`` said first."""
    events = int((ticks.kind != Kind.DEPTH).sum())
    assert len(short.columns["ghost_bp"]) == events
    for name, values in short.columns.items():
        assert_bits(values, long.columns[name][:events], name)
    for table, columns in short.tables.items():
        for name, values in columns.items():
            assert_bits(values, long.tables[table][name][: len(values)], f"{table}.{name}")
    assert long.fallbacks[: len(short.fallbacks)] == short.fallbacks


@settings(max_examples=30)
@given(markets_of_one_shape(), configs(), st.floats(0.0, 1.0), st.booleans())
def test_cutting_or_changing_the_future(
    markets: tuple[Ticks, Ticks], config: ModulesConfig, share: float, one_call: bool
) -> None:
    ticks, other = markets
    cut = max(1, round(share * len(ticks)))
    before = rows(ticks, np.s_[:cut])
    short = run([before], config)
    # Later rows of another market, from the same moment on: everything about them differs.
    shift_ns = ticks.ts_recv_ns[cut - 1] - other.ts_recv_ns[0]
    changed = concat(before, replace(other, ts_recv_ns=other.ts_recv_ns + shift_ns))
    for whole in (ticks, changed):
        parts = [whole] if one_call else pieces(whole, [cut // 2, cut + 3])
        assert_beginning(short, run(parts, config), before)


@settings(max_examples=20)
@given(markets_of_one_shape(), configs(), st.floats(0.0, 1.0))
def test_decisions_are_made_at_once(markets: tuple[Ticks, Ticks], config: ModulesConfig, share: float) -> None:
    """Who, when, which way and what it is expected to cost is known at once; only what it did cost waits."""
    ticks, _ = markets
    cut = max(1, round(share * len(ticks)))
    short, long = run([rows(ticks, np.s_[:cut])], config), run([ticks], config)
    for name in ("ts_ns", "stream", "side", "expected_cost_bp", "entropy", "range_bp"):
        early = np.concatenate([short.tables["decisions"][name], short.finished["decisions"][name]])
        late = np.concatenate([long.tables["decisions"][name], long.finished["decisions"][name]])
        assert_bits(early, late[: len(early)], name)
