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
from schwabot_kernels.registry.cpu import COUNT, LAST_S, SUM
from tests.modules.making import A, clock, ghost, timeline

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
    scaled["registry.z_scale"][0] = 2.0
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
