"""HashRegistry: what is remembered, when it is seen, and memories of two machines as one, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from schwabot.errors import StateError
from schwabot.modules.hash_registry import HashRegistry, Memory
from schwabot.modules.settings import HashRegistryConfig
from schwabot.modules.stateful import State
from schwabot_kernels.registry.slots import COUNT, LAST_S, SUM
from tests.modules.making import A, B, clock, ghost, timeline

LN3 = math.log(3.0)
TAU_S = 30.0 / math.log(2.0)


def _registry(**config: Any) -> HashRegistry:
    return HashRegistry((A,), HashRegistryConfig(**{"bits": 4, "tables": 1, "half_life_s": 30.0} | config))


def _warm(registry: HashRegistry) -> State:
    """An empty memory whose scale is learnt: z as it is."""
    state = registry.initial_state()
    state["registry.warm"][:] = torch.tensor([registry.params.warmup_events, 1])
    state["registry.z_shift"][3] = 0.1  # the half spread that ``timeline`` gives
    return state


def _ask(
    registry: HashRegistry,
    state: State,
    times_ms: Sequence[float],
    prices: Sequence[float],
    deviations: Sequence[float],
) -> tuple[Memory, State]:
    """Events of a stream that stands still, so that z is its deviation alone."""
    batch = clock(times_ms)
    known = ghost(prices, [[d] for d in deviations])
    return registry(batch, timeline(batch, [[0.0]] * len(times_ms)), known, state)


def _code(key: int) -> np.ndarray[Any, Any]:
    return np.array([1 if key >> (3 - k) & 1 else -1 for k in range(4)])


def test_an_unseen_key_is_maximally_uncertain() -> None:
    registry = _registry()
    said, _ = _ask(registry, _warm(registry), [0, 1, 2], [0.0] * 3, [1.0, -1.0, 0.3])
    assert said.entropy.tolist() == pytest.approx([LN3] * 3, rel=1e-14)
    assert said.mean_bp.tolist() == said.echo_bp.tolist() == [0.0] * 3


def test_warm_up_says_nothing() -> None:
    registry = _registry(warmup_events=3)
    said, _ = _ask(registry, registry.initial_state(), [0, 1, 2, 3], [0.0] * 4, [1.0, -2.0, 2.0, 1.0])
    assert said.key[:3].tolist() == [-1] * 3
    assert said.key[3].item() >= 0


@pytest.mark.parametrize(("present", "scale"), [(0, 0.5), (2, (1272 / 302) ** -0.5), (3, 1 / 6)])
def test_a_stream_away_in_the_warm_up_borrows_a_scale(present: int, scale: float) -> None:
    """A deviates by 2 at 300 events, B by 6 where it takes part; at less than 1 % of them B's scale is that of both."""
    registry = HashRegistry((A, B), HashRegistryConfig(bits=4, tables=1, warmup_events=300))
    batch = clock([float(k) for k in range(301)])
    sign = [1.0 if k % 2 else -1.0 for k in range(301)]
    seen = timeline(batch, [[0.0, 0.0]] * 301)
    route = torch.zeros(301, 2, dtype=torch.int8)
    route[present:, 1] = 2
    known = ghost([0.0] * 301, [[2.0 * s, 6.0 * s] for s in sign])
    _, state = registry(batch, seen._replace(route=route), known, registry.initial_state())
    assert state["registry.z_scale"][0, :2].tolist() == pytest.approx([0.5, scale], rel=1e-12)


def test_antipodal_tying() -> None:
    """What followed a state follows, turned over, its mirror image."""
    registry = _registry(min_count=0.5)
    times = [0, 100, 101, 102]
    said, state = _ask(registry, _warm(registry), times, [0.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, -1.0])
    key, mirrored = int(said.key[2]), int(said.key[3])
    assert mirrored == 15 - key
    count = [math.exp(-0.101 / TAU_S), math.exp(-0.102 / TAU_S)]
    assert said.mean_bp[2].item() == pytest.approx(2.0 * count[0] / (count[0] + 20.0), rel=1e-12)
    assert said.mean_bp[3].item() == pytest.approx(-2.0 * count[1] / (count[1] + 20.0), rel=1e-12)
    assert said.echo_bp[2].item() > 0 > said.echo_bp[3].item()
    # One slot serves both keys.
    assert (state["registry.table"][..., COUNT] > 0).sum().item() == 1


def test_echo_readout_by_hand() -> None:
    """Two outcomes, at the key and at another, faded by exp(-age / tau) from when they were asked."""
    registry = _registry(echo_tau_s=0.5)
    times, prices, deviations = [0, 40, 100, 140, 200], [0.0, 1.0, 2.0, 4.0, 4.0], [1.0, -1.0, 1.0, 1.0, 1.0]
    said, _ = _ask(registry, _warm(registry), times, prices, deviations)
    code = [_code(int(key)) for key in said.key]
    outcomes = [(0, 2.0), (1, 3.0), (2, 2.0)]  # asked at event, came to: known at 100, 140 and 200 ms
    for i, known in ((2, 1), (3, 2), (4, 3)):
        fades = [math.exp(-1e-3 * (times[i] - times[j]) / 0.5) for j, _ in outcomes[:known]]
        top = sum(f * y * (code[j] @ code[i]) for f, (j, y) in zip(fades, outcomes, strict=False))
        assert said.echo_bp[i].item() == pytest.approx(top / (4 * (1 + sum(fades))), rel=1e-12)


def test_an_outcome_is_not_seen_before_its_horizon_has_passed() -> None:
    registry = _registry()
    times, deviations = [0, 50, 99.999999, 100, 101], [1.0] * 5
    moved, _ = _ask(registry, _warm(registry), times, [0.0, 0.0, 0.0, 3.0, 3.0], deviations)
    assert moved.entropy[:3].tolist() == pytest.approx([LN3] * 3, rel=1e-14)
    assert moved.mean_bp[:3].tolist() == moved.echo_bp[:3].tolist() == [0.0] * 3
    assert moved.entropy[3].item() < LN3
    assert moved.mean_bp[3].item() > 0.0


def test_another_future_changes_nothing_before_it() -> None:
    registry, rng = _registry(), np.random.default_rng(2)
    times = np.cumsum(rng.integers(1, 30, 400)).tolist()
    prices, deviations = np.cumsum(rng.normal(0, 1, 400)), rng.normal(0, 1, 400).tolist()
    ours, _ = _ask(registry, _warm(registry), times, prices.tolist(), deviations)
    prices[200:] += rng.normal(0, 5, 200)
    theirs, _ = _ask(registry, _warm(registry), times, prices.tolist(), deviations)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a[:200], b[:200])
    assert not torch.equal(ours.mean_bp[200:], theirs.mean_bp[200:])


def _lived(registry: HashRegistry, state: State, start_ms: int, seed: int, events: int = 300) -> State:
    """The state after some random life from ``start_ms`` on."""
    rng = np.random.default_rng(seed)
    times = (start_ms + np.cumsum(rng.integers(1, 200, events))).tolist()
    batch = clock(times)
    known = ghost(np.cumsum(rng.normal(0, 1, events)).tolist(), rng.normal(0, 1, (events, 1)).tolist())
    line = timeline(batch, [[0.0]] * events)
    noise = {name: torch.from_numpy(rng.normal(0, 1, (events, 1))) for name in ("micro", "imbalance", "half", "x")}
    line = line._replace(aligned=line.aligned._replace(**noise))
    return registry(batch, line, known, state)[1]


def _last_seen(table: torch.Tensor) -> torch.Tensor:
    return torch.where(table[..., COUNT] > 0, table[..., LAST_S], -torch.inf)


SLOT_TABLES = [{}, {"bits": 8, "tables": 3}, {"bits": 16, "tables": 2}, {"bits": 32, "tables": 2, "capacity": 64}]


@pytest.mark.parametrize("config", SLOT_TABLES)
@pytest.mark.parametrize("later_s", [0, 7, 2_000])
def test_merged_memories_read_as_the_sum(config: dict[str, Any], later_s: int) -> None:
    """At one later time, counts, sums and echoes of the merged memory are those of both added."""
    registry = _registry(**config)
    ours = _lived(registry, _warm(registry), 0, seed=1)
    theirs = _lived(registry, _warm(registry), 1_000 * later_s, seed=2)
    at_ms = 1_000 * later_s + 100_000
    merged = registry.merge(ours, theirs)

    def read(state: State) -> dict[str, Any]:
        clock_s = state["registry.clock"].tolist()
        found = {}
        for place, tau_s, names in (
            (1, registry.params.tau_s, ("table", "prefix", "skill")),
            (2, 5.0, ("echo", "echo_weight")),
        ):
            since_s = 1e-3 * at_ms - 1e-9 * clock_s[0] - 30.0 * tau_s * clock_s[place]
            for name in names:
                values = state[f"registry.{name}"]
                values = values[..., :LAST_S] if values.dim() == 3 else values
                found[name] = values * math.exp(-since_s / tau_s)
        return found

    a, b, c = read(ours), read(theirs), read(merged)
    bounded = config.get("bits", 4) > 16
    for name in c:
        if bounded and name == "table":
            for table in range(2):
                sums: dict[int, torch.Tensor] = {}
                for state, values in ((ours, a), (theirs, b)):
                    for key, slot in zip(
                        state["registry.table_key"][table].tolist(), values["table"][table], strict=True
                    ):
                        if key >= 0:
                            sums[key] = sums.get(key, 0.0) + slot
                kept = {
                    k: s
                    for k, s in zip(merged["registry.table_key"][table].tolist(), c["table"][table], strict=True)
                    if k >= 0
                }
                assert len(kept) > 30
                assert kept.keys() <= sums.keys()
                for key, slot in kept.items():
                    torch.testing.assert_close(slot, sums[key], rtol=1e-9, atol=1e-300)
        else:
            torch.testing.assert_close(c[name], a[name] + b[name], rtol=1e-9, atol=1e-12)
    if not bounded:
        origins = [1e-9 * s["registry.clock"][0].item() for s in (ours, theirs)]
        both = torch.maximum(
            _last_seen(ours["registry.table"]), _last_seen(theirs["registry.table"]) + (origins[1] - origins[0])
        )
        seen = merged["registry.table"][..., COUNT] > 0
        torch.testing.assert_close(merged["registry.table"][..., LAST_S][seen], both[seen])


def test_merging_is_fair_and_leaves_both_alone() -> None:
    registry = _registry()
    ours, theirs = (_lived(registry, _warm(registry), 0, seed=seed) for seed in (1, 2))
    copies = [{name: tensor.clone() for name, tensor in state.items()} for state in (ours, theirs)]
    one, other = registry.merge(ours, theirs), registry.merge(theirs, ours)
    for state, copy in zip((ours, theirs), copies, strict=True):
        assert all(torch.equal(state[name].nan_to_num(), copy[name].nan_to_num()) for name in state)
    for state in (one, other):
        state["registry.head"][0] = state["registry.head"][1]  # each has pending outcomes of its own
    asked = [_ask(registry, state, [100_000], [0.0], [1.0])[0] for state in (one, other)]
    assert asked[0].mean_bp.item() == pytest.approx(asked[1].mean_bp.item(), rel=1e-9)
    assert asked[0].mean_bp.item() != pytest.approx(_ask(registry, ours, [100_000], [0.0], [1.0])[0].mean_bp.item())


def test_a_merged_memory_goes_on() -> None:
    """Pending outcomes of the one that goes on come in with their own weight."""
    registry = _registry()
    ours, theirs = (
        _lived(registry, _warm(registry), 5_000_000, seed=1),
        _lived(registry, _warm(registry), 4_990_000, seed=2),
    )
    merged = registry.merge(ours, theirs)
    _, after = _ask(registry, merged, [5_100_000], [0.0], [1.0])
    pending = after["registry.head"][1] - after["registry.head"][0]
    assert pending == 1, "what was pending has not been answered"
    assert torch.isfinite(after["registry.table"]).all()
    assert (after["registry.table"][..., SUM] != 0.0).any()


def test_memories_of_other_identity_are_refused() -> None:
    registry = _registry()
    ours = _lived(registry, _warm(registry), 0, seed=1)
    with pytest.raises(StateError, match="warm-up"):
        registry.merge(ours, registry.initial_state())
    scaled = _warm(registry)
    scaled["registry.z_scale"][0, 0] = 2.0
    with pytest.raises(StateError, match="z_scale"):
        registry.merge(ours, scaled)
    for name, value in (("horizon_ms", 50.0), ("seed", 8), ("bits", 8), ("half_life_s", 60.0)):
        other = _registry(**{name: value})
        with pytest.raises(StateError):
            registry.merge(ours, _warm(other))
    with pytest.raises(StateError, match="other way round"):
        registry.merge(ours, _lived(registry, _warm(registry), 40_000_000_000, seed=2))
    behind = registry.merge(_lived(registry, _warm(registry), 40_000_000_000, seed=2), ours)
    assert torch.isfinite(behind["registry.table"]).all()


def test_forget_keeps_the_identity_only() -> None:
    registry = _registry(warmup_events=50)
    lived = _lived(registry, registry.initial_state(), 0, seed=1)
    fresh = registry.forget(lived)
    assert torch.equal(fresh["registry.z_scale"], lived["registry.z_scale"])
    said, _ = _ask(registry, fresh, [10_000_000], [0.0], [1.0])
    assert said.key.item() >= 0
    assert said.entropy.item() == pytest.approx(LN3, rel=1e-14)
    merged = registry.merge(_lived(registry, fresh, 10_000_000, seed=3), lived)
    assert (merged["registry.table"][..., COUNT] > 0).any()


def test_two_outcomes_at_one_key_by_hand() -> None:
    """1 bp and 3 bp, both up: mean 2, variance 1; at the complement both down."""
    registry = _registry(half_life_s=1e6)
    said, state = _ask(registry, _warm(registry), [0, 100, 200], [0.0, 1.0, 4.0], [1.0] * 3)
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = registry.memory(state, now_ns=2_200_000_000)
    key = int(said.key[0])
    assert found.table.tolist() == [0, 0]
    assert found.key.tolist() == sorted((key, 15 - key))
    at, mirrored = found.key.tolist().index(key), found.key.tolist().index(15 - key)
    assert found.mean_bp[[at, mirrored]].tolist() == pytest.approx([2.0, -2.0], rel=1e-6)
    assert found.variance_bp2.tolist() == pytest.approx([1.0, 1.0], rel=1e-6)
    assert found.count.tolist() == pytest.approx([2.0, 2.0], rel=1e-5)
    shares = (1 / 5, 1 / 5, 3 / 5)  # one pseudo-count each
    assert found.entropy.tolist() == pytest.approx([-sum(p * math.log(p) for p in shares)] * 2, rel=1e-5)
    assert found.age_s.tolist() == pytest.approx([2.0, 2.0], rel=1e-12)
    assert all(torch.equal(state[name].nan_to_num(), before[name].nan_to_num()) for name in state)


def test_what_is_remembered_fades() -> None:
    """A half-life later half is left; what an old outcome weighs in mean and variance falls with its age."""
    registry = _registry(half_life_s=0.1)
    _, state = _ask(registry, _warm(registry), [0, 100, 200], [0.0, 1.0, 4.0], [1.0] * 3)
    # 1 bp was asked for 300 ms ago and 3 bp 200 ms ago: weights 1/8 and 1/4.
    found = registry.memory(state, now_ns=300_000_000)
    assert found.count.tolist() == pytest.approx([3 / 8] * 2, rel=1e-12)
    assert np.abs(found.mean_bp).tolist() == pytest.approx([7 / 3] * 2, rel=1e-12)
    assert found.variance_bp2.tolist() == pytest.approx([(1 + 2 * 9) / 3 - 49 / 9] * 2, rel=1e-12)
    later = registry.memory(state, now_ns=400_000_000)
    assert later.count.tolist() == pytest.approx([3 / 16] * 2, rel=1e-12)
    assert len(registry.memory(state, now_ns=3_600_000_000_000).key) == 0  # an hour of half-lives of 0.1 s


@pytest.mark.parametrize("bits", [4, 8, 16, 32])
def test_memory_is_the_decayed_statistics_of_what_followed_each_key(bits: int) -> None:
    """Of the first table, whose keys are told, against a dictionary; over several epochs of the decay."""
    registry, events = _registry(bits=bits, tables=2, half_life_s=0.5), 500
    rng = np.random.default_rng(bits)
    times_ms = np.cumsum(rng.integers(1, 400, events))
    prices = np.cumsum(rng.normal(0, 0.1, events))
    batch = clock(times_ms.tolist())
    line = timeline(batch, [[0.0]] * events)
    noise = {name: torch.from_numpy(rng.normal(0, 1, (events, 1))) for name in ("micro", "imbalance", "x")}
    line = line._replace(aligned=line.aligned._replace(**noise))
    known = ghost(prices.tolist(), rng.normal(0, 1, (events, 1)).tolist())
    said, state = registry(batch, line, known, _warm(registry))
    assert times_ms[-1] > 2 * 30.0 * 1e3 * 0.5 / math.log(2.0), "less than two epochs"

    written: dict[int, list[tuple[float, float, float]]] = {}  # key → weight, outcome, when it was written
    now_ms = int(times_ms[-1]) + 50
    for j in range(events):
        due_ms = times_ms[j] + 100
        if due_ms > times_ms[-1]:
            break
        y = prices[np.searchsorted(times_ms, due_ms, side="right") - 1] - prices[j]
        seen_ms = times_ms[np.searchsorted(times_ms, due_ms, side="left")]
        weight = 0.5 ** ((now_ms - times_ms[j]) / 500.0)
        key = int(said.key[j])
        written.setdefault(key, []).append((weight, y, seen_ms))
        written.setdefault(2**bits - 1 - key, []).append((weight, -y, seen_ms))

    found = registry.memory(state, now_ns=now_ms * 1_000_000)
    first = found.table == 0
    assert (np.diff(found.table) >= 0).all()
    assert found.key[first].tolist() == sorted(written)
    assert (~first).any()
    for k, key in enumerate(sorted(written)):
        weight, y, seen_ms = (np.array(column) for column in zip(*written[key], strict=True))
        total, mean = weight.sum(), np.average(y, weights=weight)
        steps = np.rint(y / 0.05)
        counts = [weight[steps < -1].sum(), weight[abs(steps) <= 1].sum(), weight[steps > 1].sum()]
        shares = (np.array(counts) + 1.0) / (total + 3.0)
        assert found.count[k] == pytest.approx(total, rel=1e-9)
        assert found.mean_bp[k] == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert found.variance_bp2[k] == pytest.approx(np.average((y - mean) ** 2, weights=weight), rel=1e-6, abs=1e-12)
        assert found.entropy[k] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-9)
        assert found.age_s[k] == pytest.approx(1e-3 * (now_ms - seen_ms.max()), abs=1e-9)


def test_nothing_is_remembered_before_the_first_outcome() -> None:
    registry = _registry()
    assert len(registry.memory(registry.initial_state(), now_ns=-(2**63)).key) == 0
    with pytest.raises(StateError):
        registry.memory(_registry(bits=8).initial_state(), now_ns=0)
