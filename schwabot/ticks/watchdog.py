"""When a stream has gone quiet or falls behind, and how long to wait before the next attempt. No clocks, no network.

All times are seconds of one steady clock, given by the caller.
"""

from __future__ import annotations

import numpy as np

CROSSED_S = 1.0
"""An order book that is crossed for this long did not get all of its changes."""
MOST_CROSSED_S = 60.0
TRUST = 4.0
"""A stream is silent after this many times its own longest recent gap."""
FORGET = 1.0 / 64.0
"""Share by which every message fades the longest gap seen."""


class Backoff:
    """Waits between attempts: twice as long each time, each with a random part so that clients don't come at once.

        wait = min(most_s, first_s * 2^n) * U,  U uniform in [0.5, 1)

    Args:
        first_s: before the second attempt.
        most_s: never longer.
        seed: of the random part; None = another one each time.

    Example:
        >>> waits = Backoff(1.0, 8.0, seed=1)
        >>> [0.5 * 2**n <= waits.next_s() < 2**n for n in range(4)], waits.next_s() < 8.0
        ([True, True, True, True], True)
    """

    def __init__(self, first_s: float, most_s: float, seed: int | None = None) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._draw = np.random.default_rng(seed)
        self.attempts = 0

    def next_s(self) -> float:
        """How long to wait now."""
        wait_s = min(self._most_s, self._first_s * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return wait_s * float(self._draw.uniform(0.5, 1.0))

    def reset(self) -> None:
        """An attempt succeeded."""
        self.attempts = 0


class Silence:
    """Notices that messages stopped: after ``floor_s``, or later where the stream is used to longer gaps.

        limit = max(floor_s, TRUST * longest recent gap) * 2^(silences in vain)

    Args:
        floor_s: no gap shorter than this is silence.
        needed: messages to hear before there can be silence; 0 = the first one is waited for, too.
        now_s: when listening begins.

    Example:
        >>> quiet = Silence(5.0)
        >>> quiet.heard(1.0); quiet.is_silent(5.9), quiet.is_silent(6.1)
        (False, True)
        >>> quiet.heard(3.0); quiet.limit_s
        8.0
    """

    def __init__(self, floor_s: float, needed: int = 0, now_s: float = 0.0) -> None:
        self._floor_s, self._needed = floor_s, needed
        self._last_s = now_s
        self.heard_s = float("-inf")
        self._longest_s = 0.0
        self._heard = self._vain = 0
        self._steady = False

    @property
    def limit_s(self) -> float:
        """A longer gap is silence."""
        return float(max(self._floor_s, TRUST * self._longest_s) * 2.0 ** min(self._vain, 6))

    @property
    def since_s(self) -> float:
        """When the last message came, or listening began."""
        return self._last_s

    def heard(self, now_s: float) -> None:
        """A message came."""
        if self._steady:  # a gap that a lost connection made says nothing of the stream
            self._longest_s = max(now_s - self._last_s, self._longest_s * (1.0 - FORGET))
        self._steady = True
        self._heard += 1
        self._vain = 0
        self._last_s = self.heard_s = now_s

    def is_silent(self, now_s: float) -> bool:
        """Whether messages have stopped."""
        return self._heard >= self._needed and now_s - self._last_s > self.limit_s

    def restarted(self, now_s: float) -> None:
        """The connection begins anew."""
        self._steady = False
        self._last_s = now_s

    def excuse(self, stall_s: float) -> None:
        """We did not listen for so long: that is no silence of the stream."""
        self._last_s += stall_s

    def quiet(self, now_s: float) -> None:
        """The silence was the market's; it says nothing of how long the next one may last."""
        self._steady = False
        self._last_s = now_s

    def doubt(self) -> None:
        """The silence was acted upon; until something is heard, the next one has to last twice as long."""
        self._vain += 1


class Delay:
    """Notices a stream that falls behind: messages keep coming, but ever older ones.

    The least delay seen stands for transport and the difference of the clocks, so only what is beyond it counts.

    Args:
        most_s: more behind than this is too much.

    Example:
        >>> late = Delay(2.0); late.heard(0.1); late.heard(1.9); late.is_behind
        False
        >>> late.heard(2.2); late.is_behind, round(late.behind_s, 6)
        (True, 2.1)
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._least_s = float("inf")
        self.behind_s = 0.0

    def heard(self, delay_s: float) -> None:
        """Take receive time - venue's stamp of a message."""
        self._least_s = min(self._least_s, delay_s)
        self.behind_s = delay_s - self._least_s

    @property
    def is_behind(self) -> bool:
        """Whether the last message was too late."""
        return self.behind_s > self._most_s

    def restarted(self) -> None:
        """The connection begins anew, and so does what is normal: a clock may have been set."""
        self._least_s = float("inf")
        self.behind_s = 0.0


class Crossed:
    """Notices an order book that stays crossed. A venue may mean it, so each time in vain it has to last twice as long.

    Example:
        >>> book = Crossed(); book.heard(True, 5.0); book.heard(True, 5.9)
        >>> book.is_stuck(5.9), book.is_stuck(6.1)
        (False, True)
        >>> book.restarted(); book.heard(True, 7.0); book.is_stuck(8.5)
        False
        >>> book.heard(False, 9.0); book.is_stuck(99.0)
        False
    """

    def __init__(self) -> None:
        self._limit_s = CROSSED_S
        self._since_s: float | None = None

    def heard(self, is_crossed: bool, now_s: float) -> None:
        """The order book changed."""
        if not is_crossed:
            self._limit_s, self._since_s = CROSSED_S, None
        elif self._since_s is None:
            self._since_s = now_s

    def is_stuck(self, now_s: float) -> bool:
        """Whether it has been crossed for too long."""
        return self._since_s is not None and now_s - self._since_s > self._limit_s

    def restarted(self) -> None:
        """It is made anew."""
        self._limit_s, self._since_s = min(2.0 * self._limit_s, MOST_CROSSED_S), None
