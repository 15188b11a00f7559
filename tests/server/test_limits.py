"""The token bucket: no span of time lets more through than burst + rate · span."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.server import limits
from schwabot.server.limits import Limiter, Rate, address_key


@given(st.floats(0.5, 100.0), st.integers(1, 50), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200))
def test_it_is_a_token_bucket(per_s: float, burst: int, gaps_s: list[float]) -> None:
    now_s = 0.0
    rate = Rate(per_s, burst, lambda: now_s)
    level, last_s = float(burst), 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        level = min(burst, level + (now_s - last_s) * per_s)
        last_s = now_s
        wait_s = rate.wait_s("a")
        if level >= 1.0 + 1e-6:
            assert wait_s == 0.0
        elif level < 1.0 - 1e-6:
            assert abs(wait_s - (1.0 - level) / per_s) < 1e-6
        level -= wait_s == 0.0


def test_what_is_refused_does_not_lengthen_the_wait() -> None:
    now_s = 0.0
    rate = Rate(1.0, 1, lambda: now_s)
    assert rate.wait_s("a") == 0.0
    assert [rate.wait_s("a") for _ in range(5)] == [1.0] * 5
    now_s = 1.0
    assert rate.wait_s("a") == 0.0


def test_a_flood_of_addresses_neither_fills_memory_nor_frees_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_KEYS", 100)
    now_s = 10.0
    rate = Rate(1.0, 1, lambda: now_s)
    waits = [rate.wait_s(str(n)) for n in range(500)]
    assert (waits.count(0.0), waits[0], waits[-1]) == (100, 0.0, 1.0)
    assert rate.wait_s("0") == 1.0  # still held
    now_s = 12.0
    assert rate.wait_s("500") == 0.0  # those that were full again made room


def test_an_ipv6_network_is_one_caller_and_tries_are_counted_apart() -> None:
    limiter = Limiter(50.0, 200, 3)
    assert [limiter.try_s(f"2001:db8::{n}") > 0 for n in range(1, 6)] == [False, False, False, True, True]
    assert limiter.try_s("2001:db8:0:1::1") == 0.0
    assert limiter.request_s(f"address {address_key('2001:db8::1')}") == 0.0


def test_a_request_costs_microseconds() -> None:
    rate = Rate(1e6, 1_000_000)
    begun_s = time.perf_counter()
    for n in range(10_000):
        rate.wait_s(str(n % 100))
    assert (time.perf_counter() - begun_s) / 10_000 < 50e-6
