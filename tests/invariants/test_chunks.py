"""How the data is cut into batches changes no bit of the answers or of the memory, down to one row a call."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.modules.settings import ModulesConfig
from schwabot.records.market import Ticks
from tests.invariants.making import MARKETS, assert_same, configs, pieces, run


@settings(max_examples=30)
@given(MARKETS, configs(), st.lists(st.floats(0.0, 1.0), max_size=6))
def test_any_split(ticks: Ticks, config: ModulesConfig, shares: list[float]) -> None:
    edges = [round(share * len(ticks)) for share in shares]
    assert_same(run([ticks], config), run(pieces(ticks, edges), config))


@settings(max_examples=8)
@given(MARKETS, configs())
def test_one_row_a_call(ticks: Ticks, config: ModulesConfig) -> None:
    assert_same(run([ticks], config), run(pieces(ticks, range(len(ticks))), config))
