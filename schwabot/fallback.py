"""Which of several ways to answer is used: health with decay, chains, hysteresis. Pure: the caller tells the time.

FEED    websocket ▸ rest ▸ dropped        the best link that is well is used;
DEVICE  cuda ▸ cpu                        one that fails is left at once, and taken back only
GHOST   forecast ▸ kalman ▸ weighted ▸ best_venue     when it has been well for a while
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schwabot.errors import ConfigError
from schwabot.records.audit import FallbackEvent

FEED = ("websocket", "rest", "dropped")
DEVICE = ("cuda", "cpu")
GHOST = ("forecast", "kalman", "weighted", "best_venue")
MOST_TROUBLE = 8.0
"""Of a link that failed any number of times: it bounds how long after its last failure it is tried again."""


@dataclass
class FallbackConfig:
    """When a link is left and when it is taken back.

    Attributes:
        half_life_s: time in which trouble fades by half.
        leave_below: a link whose health is below is left; 0.45 is two failures within half a half-life.
        return_above: a link that was left is taken back at this health or above,
        hold_s: and this long after it was left, and after it failed last, at the earliest.
        keep: share of the trouble that a success leaves.
        slow_ms: answers that take longer, where that is measured, are trouble too: twice as long is half a failure.
        replay: answer a recording with the ghost's chain, too, as a live run does; null = if a run that had it recorded
            it.
    """

    half_life_s: float = 10.0
    leave_below: float = 0.45
    return_above: float = 0.8
    hold_s: float = 5.0
    keep: float = 0.7
    slow_ms: float = 1000.0
    replay: bool | None = None

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, low, high in (
            ("half_life_s", 1e-3, 1e6), ("leave_below", 0.0, 0.5), ("return_above", self.leave_below, 0.999),
            ("hold_s", 0.0, 1e6), ("keep", 0.0, 1.0), ("slow_ms", 1e-3, 1e9),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"fallback.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")


@dataclass
class Health:
    r"""Health of one link, 0 to 1: trouble that fades with time and with every success.

    .. math::
        \mathrm{health} = \frac{1}{1 + P}, \quad P \leftarrow \min(8,\; P\,2^{-\Delta t/h}\,(1 - (1 - k) x) + (1 - x))

    with x the goodness of a sample: 1 a success, 0 a failure, ``slow_ms`` / latency of a slow answer. Counts of good
    samples don't pile up, so a link that sends a thousand messages a second is left as soon as one that sends one.

    Args:
        config: h = ``half_life_s``, k = ``keep``.

    Example:
        >>> health = Health(FallbackConfig())
        >>> health.sample(0, 0.0), health.at(0), round(health.at(10_000_000_000), 3)
        (None, 0.5, 0.667)
    """

    config: FallbackConfig
    trouble: float = 0.0
    as_of_ns: int = 0

    def at(self, now_ns: int) -> float:
        """Health at a time, which may not run backwards."""
        return 1.0 / (1.0 + self._faded(now_ns))

    def sample(self, now_ns: int, goodness: float) -> None:
        """Take one sample.

        Args:
            now_ns: when.
            goodness: 0 a failure to 1 a success.
        """
        faded = self._faded(now_ns) * (1.0 - (1.0 - self.config.keep) * goodness)
        self.trouble, self.as_of_ns = min(MOST_TROUBLE, faded + 1.0 - goodness), max(now_ns, self.as_of_ns)

    def down(self, now_ns: int) -> None:
        """It is known not to work: as bad as can be."""
        self.trouble, self.as_of_ns = MOST_TROUBLE, max(now_ns, self.as_of_ns)

    def _faded(self, now_ns: int) -> float:
        age_s = max(0, now_ns - self.as_of_ns) / 1e9
        return self.trouble * float(0.5 ** (age_s / self.config.half_life_s))


@dataclass
class _Link:
    """``left_ns``: when it was left, or failed since."""

    health: Health
    left_ns: int | None = None
    reason: str = ""


@dataclass
class Fallback:
    """The link of one component that is in use.

    A link in use is left as soon as its health is below ``leave_below``, for the best one below it in the chain that is
    not; the last one always is. What was left, or passed over, is taken back, best first, when that and its last
    failure are ``hold_s`` ago and its health is ``return_above`` or more. So two ways up to the same link are
    ``hold_s`` apart at least, whatever happens, and the way down takes no time.

    Args:
        component: for the events.
        chain: names of the links, best first; the last one always answers.
        config: thresholds.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> feed = Fallback("binance:BTC/USDT", FEED)
        >>> feed.failed("websocket", 0, "closed"); feed.failed("websocket", 1, "closed")
        >>> event = feed.choose(2)
        >>> (event.before, event.after, event.reason), feed.choose(3), feed.now
        (('websocket', 'rest', 'closed'), None, 'rest')
        >>> feed.choose(60_000_000_000).after
        'websocket'
    """

    component: str
    chain: Sequence[str]
    config: FallbackConfig = field(default_factory=FallbackConfig)
    now: str = ""

    def __post_init__(self) -> None:
        self.config.check()
        self.chain = tuple(self.chain)
        if not self.chain or len(set(self.chain)) < len(self.chain):
            raise ConfigError(f"fallback of {self.component}: a chain has links of different names: {self.chain}")
        self._links = {name: _Link(Health(self.config)) for name in self.chain}
        self.now = self.now or self.chain[0]

    def worked(self, link: str, now_ns: int, latency_ms: float | None = None) -> None:
        """A link did what it is for.

        Args:
            link: its name.
            now_ns: when.
            latency_ms: how long it took, where that says something.
        """
        slow_ms = self.config.slow_ms
        goodness = 1.0 if latency_ms is None or latency_ms <= slow_ms else slow_ms / latency_ms
        self._links[link].health.sample(now_ns, goodness)
        if goodness < 1.0:
            self._links[link].reason = f"slow: {latency_ms:,.0f} ms"

    def failed(self, link: str, now_ns: int, reason: str, *, down: bool = False) -> None:
        """A link failed.

        Args:
            link: its name.
            now_ns: when.
            reason: why, for a person.
            down: it is known not to work, and is left at once.
        """
        one = self._links[link]
        one.reason = reason
        one.health.down(now_ns) if down else one.health.sample(now_ns, 0.0)
        if one.left_ns is not None:
            one.left_ns = max(one.left_ns, now_ns)

    def health(self, link: str, now_ns: int) -> float:
        """Health of a link, 0 to 1."""
        return self._links[link].health.at(now_ns)

    def choose(self, now_ns: int) -> FallbackEvent | None:
        """Use the best link from now on; an event where that is another than before."""
        best = next((name for name in self.chain[:-1] if self._may_be_used(name, now_ns)), self.chain[-1])
        if best == self.now:
            return None
        before, self.now = self.now, best
        fell = self.chain.index(best) > self.chain.index(before)
        reason = self._links[before].reason if fell else f"well again: health {self.health(best, now_ns):.2f}"
        for name in self.chain[: self.chain.index(best)]:
            link = self._links[name]
            link.left_ns = now_ns if link.left_ns is None else link.left_ns
        for name in self.chain[self.chain.index(best) :]:
            self._links[name].left_ns = None
        return FallbackEvent(now_ns, self.component, before, best, reason)

    def _may_be_used(self, name: str, now_ns: int) -> bool:
        left_ns, health = self._links[name].left_ns, self.health(name, now_ns)
        if left_ns is None:
            return health >= self.config.leave_below
        return now_ns - left_ns >= self.config.hold_s * 1e9 and health >= self.config.return_above


class FallbackRouter:
    """The fallbacks of all components.

    Args:
        config: thresholds of all of them.

    Example:
        >>> router = FallbackRouter()
        >>> router.add("device", DEVICE).failed("cuda", 5, "out of memory", down=True)
        >>> [(event.component, event.after) for event in router.choose(6)], router["device"].now
        ([('device', 'cpu')], 'cpu')
    """

    def __init__(self, config: FallbackConfig | None = None) -> None:
        self.config = config or FallbackConfig()
        self._parts: dict[str, Fallback] = {}

    def add(self, component: str, chain: Sequence[str]) -> Fallback:
        """Watch a component; gives its fallback, to be told of successes and failures.

        Raises:
            ConfigError: there is one of this name already, or the chain can't be used.
        """
        if component in self._parts:
            raise ConfigError(f"fallback of {component}: there is one already")
        self._parts[component] = Fallback(component, chain, self.config)
        return self._parts[component]

    def __getitem__(self, component: str) -> Fallback:
        return self._parts[component]

    def choose(self, now_ns: int) -> tuple[FallbackEvent, ...]:
        """Every switch that is due."""
        return tuple(event for part in self._parts.values() if (event := part.choose(now_ns)) is not None)
