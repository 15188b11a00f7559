"""How often one caller may ask, and how often it may be wrong.

allowed while  n ≤ burst + rate · t  over any span t: a token bucket, as the generic cell rate algorithm keeps it

A caller is a token or an address. The address is the socket's peer; headers of proxies are not believed, anyone can
send them. IPv6 counts by /64: one machine has all of it.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache

MOST_KEYS = 20_000


class Rate:
    """A token bucket for each key, in one float.

    Args:
        per_s: requests a second, on average.
        burst: requests at once.
        now_s: a clock that never runs backwards.

    Source: ITU-T I.371, generic cell rate algorithm.

    Example:
        >>> rate = Rate(per_s=2.0, burst=2, now_s=lambda: 0.0)
        >>> [rate.wait_s("desk") for _ in range(3)]
        [0.0, 0.0, 0.5]
    """

    def __init__(self, per_s: float, burst: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._step_s = 1.0 / per_s
        self._span_s = self._step_s * burst
        self._full_s: dict[str, float] = {}
        """When the bucket of a key will be full again."""
        self._now_s = now_s
        self._swept_s = 0.0

    def wait_s(self, key: str) -> float:
        """0 where the request is allowed, which counts it; else the seconds until the next one will be."""
        now_s = self._now_s()
        full_s = self._full_s.get(key, 0.0)
        if full_s == 0.0 and len(self._full_s) >= MOST_KEYS and not self._sweep(now_s):
            return 1.0  # so many callers at once is an attack: new ones wait, known ones go on
        next_s = max(full_s, now_s) + self._step_s
        over_s = next_s - now_s - self._span_s
        if over_s > 1e-9:
            return over_s
        self._full_s[key] = next_s
        return 0.0

    def _sweep(self, now_s: float) -> bool:
        if now_s - self._swept_s < 1.0:
            return False
        self._swept_s = now_s
        self._full_s = {key: full_s for key, full_s in self._full_s.items() if full_s > now_s}
        return len(self._full_s) < MOST_KEYS


@lru_cache(4096)
def address_key(host: str) -> str:
    """What an address is counted under.

    Example:
        >>> address_key("192.0.2.7"), address_key("2001:db8::1:2"), address_key("::ffff:192.0.2.7")
        ('192.0.2.7', '2001:db8::/64', '192.0.2.7')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class Limiter:
    """The server's limits.

    Args:
        per_s: requests a second of one token, and of one address, on average.
        burst: of them at once.
        failures_per_minute: tokens an address may try that this process has not seen to be right.
    """

    def __init__(self, per_s: float, burst: int, failures_per_minute: float) -> None:
        self._requests = Rate(per_s, burst)
        self._tries = Rate(failures_per_minute / 60, failures_per_minute)

    def request_s(self, key: str) -> float:
        """0, or the seconds this caller has to wait."""
        return self._requests.wait_s(key)

    def try_s(self, host: str) -> float:
        """0, or the seconds until this address may try another token."""
        return self._tries.wait_s(address_key(host))
