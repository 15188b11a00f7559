"""Signals of one's own: by hand, in pieces, without a look ahead, and through a policy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from schwabot.errors import ConfigError, PolicyError
from schwabot.signals import load_policy, load_signal
from schwabot.signals.builtin.lead_lag import leader_move_bp
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.signals.own_signals import OwnSignals, compute_signal
from schwabot_kernels.simulate.records import Market
from tests.signals.making import written

MS = 10**6


def market(rows: int, legs: int = 1, seed: int = 5) -> Market:
    """Quotes and trades of ``legs`` traded streams and one that is not traded."""
    draw = np.random.default_rng(seed)
    whole = {name: np.zeros(rows, np.int64) for name in Market._fields[:-2]}
    whole["ts_ns"] = 10**18 + np.cumsum(draw.integers(0, 20 * MS, rows))
    whole["leg"] = draw.integers(-1, legs, rows).astype(np.int8)
    whole["kind"] = (draw.random(rows) < 0.3).astype(np.int8)
    whole["side"] = np.where(whole["kind"] == 1, draw.choice([-1, 1], rows), 0).astype(np.int8)
    quote = (whole["kind"] == 0) & (whole["leg"] >= 0)
    whole["bid"] = np.where(quote, 1000 + draw.integers(-5, 5, rows), 0)
    whole["ask"] = np.where(quote, whole["bid"] + draw.integers(1, 3, rows), 0)
    whole["lots"] = np.where(whole["kind"] == 1, draw.integers(1, 9, rows), 0)
    return Market(**whole, next_row=np.full(rows, -1, np.int32), signals=np.zeros((legs, 0, rows)))


TEXT = """
@signal(memory=1, tau_s=Parameter(0.05, low=0.001, high=100.0, unit="s"))
def flow(s, e, p):
    if s.rows > 0:
        s.memory[0] *= math.exp(-(e.ts_ns - s.last_ns) * 1e-9 / p.tau_s)
    s.memory[0] += e.trade_side * e.trade_lots
    return s.memory[0]

@signal
def push(s, e, p):
    return 2.0 * e.flow + e.deviation_bp

@policy(edge=Parameter(0.0), signals=(push, flow))
def follow(s, e, p):
    return take(BUY, 1) if e.push > p.edge and e.ghost_bp > 0.0 else nothing()
"""


def test_a_decayed_flow_by_hand(tmp_path: Path) -> None:
    flow = load_signal(f"{written(tmp_path, TEXT, 'flow_a.py')}:flow")
    given = market(400)
    got = compute_signal(flow, given, given={"tau_s": 0.1})
    first = int(np.flatnonzero((given.leg == 0) & (given.kind == 0))[0])
    assert np.isnan(got[:first]).all()
    trades = np.where((given.leg == 0) & (given.kind == 1), given.side * given.lots, 0)
    trades[:first] = 0
    for row in (first, first + 1, 57, 399):
        age_s = (given.ts_ns[row] - given.ts_ns[: row + 1]) * 1e-9
        assert got[row] == pytest.approx((trades[: row + 1] * np.exp(-age_s / 0.1)).sum(), abs=1e-9)


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicy:
    return compile_policy(load_policy(f"{written(tmp_path_factory.mktemp('follow'), TEXT, 'flow_b.py')}:follow"))


@pytest.mark.parametrize("pieces", [[], [1, 2, 3], [137], list(range(1, 400))])
def test_pieces_give_the_same(follow: CompiledPolicy, pieces: list[int]) -> None:
    policy = follow
    assert policy.signals == ("push", "ghost_bp")
    assert [one.name for one in policy.own] == ["flow", "push"], "what is read comes first"
    given, deviation = market(400, legs=2), np.random.default_rng(1).normal(size=(2, 400))

    def filled(cuts: list[int]) -> np.ndarray:
        own = OwnSignals.of(policy, 2, {"flow": {"tau_s": 0.2}})
        assert own.names == ("push", "ghost_bp", "flow", "deviation_bp")
        columns = np.zeros((2, 4, 400))
        columns[:, 3] = deviation
        for begin, end in zip([0, *cuts], [*cuts, 400], strict=True):
            own.fill(given._replace(signals=columns), begin, end)
        return columns

    np.testing.assert_array_equal(filled(pieces), filled([]))
    whole = filled([])
    np.testing.assert_allclose(whole[:, 0], 2.0 * whole[:, 2] + deviation, rtol=1e-12)
    assert (whole[0, 2, -1], whole[1, 2, -1]) != (0.0, 0.0)
    assert not np.array_equal(whole[0, 2], whole[1, 2]), "every leg has its own"


def test_what_comes_later_changes_nothing_before(tmp_path: Path) -> None:
    flow = load_signal(f"{written(tmp_path, TEXT, 'flow_c.py')}:flow")
    given = market(300)
    other = market(300, seed=6)
    changed = given._replace(**{
        name: np.concatenate([getattr(given, name)[:200], getattr(other, name)[200:]])
        for name in Market._fields[:-1] if name not in ("ts_ns", "venue_ns")
    })  # fmt: skip
    before, after = compute_signal(flow, given), compute_signal(flow, changed)
    np.testing.assert_array_equal(before[:200], after[:200])
    assert not np.array_equal(before[200:], after[200:])


def test_the_leaders_move() -> None:
    """The leader jumps by 3 bp and the follower goes along 40 ms later; each row fades by half a time constant."""
    ts_ns = 10**18 + np.array([0, 100, 120, 140, 160]) * MS
    given = market(5)._replace(
        ts_ns=ts_ns, leg=np.zeros(5, np.int8), kind=np.zeros(5, np.int8), bid=np.full(5, 10), ask=np.full(5, 11)
    )
    leader, own = np.array([1.0, 4.0, 4.0, 4.0, 4.0]), np.array([7.0, 7.0, 7.0, 10.0, 10.0])
    got = compute_signal(
        leader_move_bp, given, inputs={"mid_bp_of_leader": leader, "mid_bp": own}, given={"tau_ms": 40.0}
    )
    fade = math.exp(-0.5)
    want = [0.0, 3.0, 3.0 * fade, 3.0 * fade**2 - 3.0, 3.0 * fade**3 - 3.0 * fade]
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_mistakes(tmp_path: Path) -> None:
    flow = load_signal(f"{(file := written(tmp_path, TEXT, 'flow_d.py'))}:flow")
    with pytest.raises(ConfigError, match="tau, did you mean tau_s"):
        compute_signal(flow, market(10), given={"tau": 1.0})
    with pytest.raises(ConfigError, match="push reads deviation_bp: give it"):
        compute_signal(load_signal(f"{file}:push"), market(10), own=[flow])
    with pytest.raises(ConfigError, match="no signal flw"):
        OwnSignals.of(compile_policy(load_policy(f"{file}:follow")), 1, {"flw": {}})
    circle = "\n@signal\ndef a(s, e, p):\n    return e.b\n\n@signal\ndef b(s, e, p):\n    return e.a\n"
    circle += "\n@policy(signals=(a, b))\ndef mine(s, e, p):\n    return take(BUY, 1) if e.a > 0 else nothing()\n"
    with pytest.raises(PolicyError, match="in a circle: a → b → a"):
        compile_policy(load_policy(f"{written(tmp_path, circle, 'circle.py')}:mine"))
    taken = "\n@signal\ndef ghost_bp(s, e, p):\n    return 1.0\n"
    taken += (
        "\n@policy(signals=(ghost_bp,))\ndef mine(s, e, p):\n    return take(BUY, 1) if e.ghost_bp > 0 else nothing()\n"
    )
    with pytest.raises(PolicyError, match="give the signal another name"):
        compile_policy(load_policy(f"{written(tmp_path, taken, 'taken.py')}:mine"))
