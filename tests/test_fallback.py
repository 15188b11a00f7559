"""The best link that is well is used, and nothing flaps."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.fallback import FEED, GHOST, Fallback, FallbackConfig, FallbackRouter, Health

S = 1_000_000_000
CONFIG = FallbackConfig(hold_s=5.0)
QUICK = FallbackConfig(hold_s=5.0, half_life_s=2.0, keep=0.1)
"""Well again after one success or a few seconds, so that the hold is what counts."""

# what happens: seconds since the last, link, how it went (0 failure, 1 success, between: slow; -1 down)
HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.5, 2.0, 9.0]), st.sampled_from(GHOST[:3]), st.sampled_from([-1.0, 0.0, 0.3, 1.0])
    ),
    min_size=30,
    max_size=120,
)


def played(happenings: list[tuple[float, str, float]]) -> list[tuple[int, str, str]]:
    """Switches (when, from, to), with the invariants that hold after each decision checked."""
    part, now_ns, switches = Fallback("ghost", GHOST, QUICK), 0, []
    left_ns: dict[str, int] = {}
    for wait_s, link, how in happenings:
        now_ns += int(wait_s * S)
        if how < 0.0:
            part.failed(link, now_ns, "down", down=True)
        elif how == 0.0:
            part.failed(link, now_ns, "failed")
        else:
            part.worked(link, now_ns, QUICK.slow_ms / how)
        if how <= 0.0 and link in left_ns:
            left_ns[link] = now_ns
        before = part.now
        event = part.choose(now_ns)
        assert (event is None) == (part.now == before)
        if event is not None:
            assert (event.before, event.after, event.ts_ns) == (before, part.now, now_ns)
            first, last = GHOST.index(before), GHOST.index(part.now)
            left_ns |= dict.fromkeys(GHOST[first:last], now_ns)  # none, on the way up
            switches.append((now_ns, before, part.now))
        assert part.choose(now_ns) is None, "a decision stands"
        for name in GHOST[: GHOST.index(part.now)]:
            held = now_ns - left_ns[name] < QUICK.hold_s * S
            assert held or part.health(name, now_ns) < QUICK.return_above, "a better one could be used"
        if part.now != GHOST[-1]:
            assert part.health(part.now, now_ns) >= QUICK.leave_below, "it is ill"
    return switches


@given(HAPPENINGS)
def test_the_best_link_that_is_well_is_used_and_nothing_flaps(happenings: list[tuple[float, str, float]]) -> None:
    """However things go: ways up to the same link are at least the hold apart, from each other and from its loss."""
    up_ns: dict[str, int] = {}
    left_ns: dict[str, int] = {}
    for now_ns, before, after in played(happenings):
        first, last = GHOST.index(before), GHOST.index(after)
        if last < first:
            for known in (up_ns, left_ns):
                assert now_ns - known.get(after, -10 * S) >= QUICK.hold_s * S
            up_ns[after] = now_ns
        left_ns |= dict.fromkeys(GHOST[first:last], now_ns)


def test_a_chain_is_gone_down_and_up_again() -> None:
    part = Fallback("binance:BTC/USDT", FEED, CONFIG)
    part.failed("websocket", 0, "silent for 12 s", down=True)
    event = part.choose(0)
    assert event is not None
    assert (event.component, event.before, event.after, event.reason) == (
        "binance:BTC/USDT", "websocket", "rest", "silent for 12 s"
    )  # fmt: skip
    part.failed("rest", S, "503")
    assert part.choose(S) is None, "one failure is none"
    part.failed("rest", 2 * S, "503")
    event = part.choose(2 * S)
    assert event is not None
    assert (event.after, event.reason) == ("dropped", "503")
    seen = [event.after for second in range(3, 90) if (event := part.choose(second * S)) is not None]
    assert seen == ["rest", "websocket"], "each is tried again when its trouble has faded"


def test_a_link_taken_back_that_fails_at_once_is_left_at_once_and_then_held() -> None:
    part = Fallback("device", ("cuda", "cpu"), CONFIG)
    part.failed("cuda", 0, "lost", down=True)
    part.choose(0)
    back_ns = next(second for second in range(90) if part.choose(second * S) is not None) * S
    assert part.now == "cuda"
    part.failed("cuda", back_ns + 1, "lost again", down=True)
    event = part.choose(back_ns + 1)
    assert event is not None
    assert event.after == "cpu"
    for _ in range(50):
        part.worked("cuda", back_ns + 2)
    assert part.health("cuda", back_ns + 2) > CONFIG.return_above
    assert part.choose(back_ns + 2 * S) is None, "held"
    assert part.choose(back_ns + 1 + 5 * S) is not None


def test_a_link_that_comes_and_goes_is_not_trusted() -> None:
    part = Fallback("feed", FEED, FallbackConfig(hold_s=3.0))
    part.failed("websocket", 0, "closed", down=True)
    assert part.choose(0) is not None
    for second in range(1, 40, 2):
        for _ in range(50):
            part.worked("websocket", second * S)
        assert part.choose(second * S) is None
        part.failed("websocket", (second + 1) * S, "closed again", down=True)
    for _ in range(50):
        part.worked("websocket", 41 * S)
    assert part.choose(42 * S) is None
    event = part.choose(43 * S)
    assert event is not None
    assert event.after == "websocket"


def test_a_link_that_was_well_is_there_when_the_better_one_fails_again() -> None:
    part = Fallback("feed", FEED, CONFIG)
    part.failed("websocket", 0, "closed", down=True)
    part.choose(0)
    back_ns = next(second for second in range(90) if part.choose(second * S) is not None) * S
    part.failed("websocket", back_ns + S, "closed", down=True)
    event = part.choose(back_ns + S)
    assert event is not None
    assert event.after == "rest", "and not dropped, for having been left a second ago"


def test_health_moves_with_every_sample_and_fades_with_time() -> None:
    health = Health(FallbackConfig(half_life_s=10.0, keep=0.5))
    values = [health.at(0)]
    for goodness in (0.0, 0.0, 1.0, 0.5, 1.0):
        health.sample(0, goodness)
        values.append(health.at(0))
    assert values == pytest.approx([1.0, 1 / 2, 1 / 3, 1 / 2, 1 / 2.25, 1 / 1.625])
    assert health.at(10 * S) == pytest.approx(1 / (1 + 0.3125))
    for _ in range(1000):
        health.sample(0, 0.0)
    assert health.at(0) == pytest.approx(1 / 9), "bounded"


def test_many_good_messages_do_not_hide_a_failure() -> None:
    health = Health(FallbackConfig())
    for i in range(10_000):
        health.sample(i, 1.0)
    health.sample(10_000, 0.0)
    assert health.at(10_000) == pytest.approx(0.5)


def test_slow_answers_are_trouble() -> None:
    part = Fallback("orders", ("fast", "sure"), FallbackConfig(slow_ms=100.0))
    for i in range(20):
        part.worked("fast", i, 90.0)
    assert part.health("fast", 20) == 1.0
    for i in range(5):
        part.worked("fast", 20 + i, 1000.0)
    event = part.choose(30)
    assert event is not None
    assert event.reason == "slow: 1,000 ms"


def test_decisions_take_microseconds() -> None:
    """The limit is 5 ms; the slowest of a thousand rounds over forty components stays far below."""
    router = FallbackRouter()
    parts = [router.add(f"stream {i}", FEED) for i in range(40)]
    taken_s = []
    for i in range(1000):
        parts[i % 40].failed(parts[i % 40].now, i * 1_000_000, "x")
        before_s = time.perf_counter()
        router.choose(i * 1_000_000)
        taken_s.append(time.perf_counter() - before_s)
    assert sorted(taken_s)[-10] < 5e-3


@pytest.mark.parametrize(
    "values",
    [{"half_life_s": 0.0}, {"leave_below": 0.9}, {"return_above": 0.1}, {"hold_s": -1.0}, {"keep": 2.0}],
)
def test_settings_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"fallback.{next(iter(values))}="):
        Fallback("x", FEED, FallbackConfig(**values))


def test_names_are_taken_once() -> None:
    router = FallbackRouter()
    router.add("a", FEED)
    with pytest.raises(ConfigError, match="there is one already"):
        router.add("a", FEED)
    with pytest.raises(ConfigError, match="links of different names"):
        router.add("b", ("x", "x"))
