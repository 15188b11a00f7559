"""Which streams price the asset, which are rates, and by which trades one can come back to what one had.

Axis legend: V streams, C cycles.

Nodes of the currency graph are currencies and assets that can be held. A spot stream joins two: buying leads from its
quote currency to its base asset, selling back. A contract can't be delivered anywhere but where it was bought, so it is
in no cycle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int8, Int32
from schwabot_kernels.arbitrage.windows import LEGS

MOST_CYCLES = 4096
"""Rings hold every cycle of every event of a block: some 70 MB."""
FIAT = frozenset(
    (
        "AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNH", "CNY", "COP", "CZK", "DAI", "DKK", "EUR", "FRAX",
        "GBP", "GHO", "HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KRW", "KZT", "MIM", "MXN", "NGN", "NOK", "NZD", "PHP",
        "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "VND", "ZAR",
    )
)  # fmt: skip
"""Currencies of states, and coins that are pegged to one and whose name does not say so."""

Path = tuple[int, ...]
"""Legs of a cycle, 2 stream + (0 buy, 1 sell)."""


@dataclass(frozen=True)
class Currencies:
    """The currency graph of a set of streams.

    Attributes:
        rate: 1 where a stream prices something else than the asset: it converts, and has no other part. [V] int8
        fungible: 1 where two streams deliver the same thing for the same currency, 0 where not, -1 where cycles convert
            between their currencies. [V, V] int8
        leg: legs of every cycle but the pairs of ``fungible``, 2 stream + (0 buy, 1 sell), -1 beyond the last. The
            first leg buys the asset where one does, else sells it, else buys in the first stream that does.
            [C, 4] int32
    """

    rate: Int8
    fungible: Int8
    leg: Int32

    @property
    def through(self) -> Int32:
        """Cycles through stream v are through[through[v] : through[v + 1]]. Shape: [V + 1 + their number]."""
        streams = self.leg[self.leg >= 0] >> 1
        cycles = np.nonzero(self.leg >= 0)[0][np.argsort(streams, kind="stable")]
        counts = np.bincount(streams, minlength=len(self.rate))
        starts = len(counts) + 1 + np.concatenate([[0], np.cumsum(counts)])
        return np.concatenate([starts, cycles]).astype(np.int32)


def is_money(currency: str) -> bool:
    """Whether a price in it is a price in money: a state's currency, or a coin that is pegged to one.

    Example:
        >>> [is_money(name) for name in ("USD", "FDUSD", "EUR", "BTC")]
        [True, True, True, False]
    """
    return "USD" in currency.upper() or currency.upper() in FIAT


def rates(instruments: Sequence[Instrument], asset: str | None = None) -> Int8:
    """1 where a stream is a rate: of another asset, or the asset's price in another one while others are in money.

    Args:
        instruments: V instruments; a name without BASE/QUOTE says nothing of its asset, and prices it.
        asset: what is priced; None = the one base asset that is no money.

    Raises:
        ConfigError: no or several such assets, or no stream of that asset.

    Example:
        >>> spot = [Instrument(f"a:{s}", 0.01, 1.0) for s in ("BTC/USD", "BTC/USDT", "USDT/USD")]
        >>> rates(spot).tolist()
        [0, 0, 1]
    """
    streams: dict[str, list[str]] = {}
    for one in instruments:
        if "/" in one.symbol:
            streams.setdefault(one.base.upper(), []).append(one.stream)
    if asset is None:
        assets = [base for base in streams if not is_money(base)] or list(streams)
        if len(assets) > 1:
            raise ConfigError(
                f"streams of {len(assets)} assets in one graph, which prices one"
                f" ({_listed({a: streams[a] for a in assets})}): one run per asset; narrow source.glob to its files;"
                " where a file holds several, mode=convert and then source=store with source.symbols (a sweep"
                " takes each by itself with sweep.each=[symbol]); where the others"
                f" are there to convert between currencies, say modules.ghost_bridge.asset={assets[0]}"
            )
        asset = assets[0] if assets else ""
    elif asset.upper() not in streams:
        raise ConfigError(
            f"modules.ghost_bridge.asset={asset} is the base asset of no stream; there are {_listed(streams)}"
        )
    asset = asset.upper()
    own = [one.base.upper() == asset or "/" not in one.symbol for one in instruments]
    in_money = [mine and is_money(one.quote) for one, mine in zip(instruments, own, strict=True)]
    prices = in_money if any(in_money) else own
    named = ["/" in one.symbol for one in instruments]
    return np.array([n and not p for n, p in zip(named, prices, strict=True)], np.int8)


def currencies(
    instruments: Sequence[Instrument], quoted: Int8, asset: str | None = None, max_legs: int = LEGS
) -> Currencies:
    """Roles of the streams and every locked cycle among them, each once.

    Args:
        instruments: V instruments.
        quoted: 1 where a stream has a touch; the others can't be traded. [V]
        asset: see ``rates``.
        max_legs: most trades of a cycle.

    Raises:
        ConfigError: see ``rates``; too many cycles; a rate that is in none.

    Example:
        >>> spot = [Instrument(f"a:{s}", 0.01, 1.0) for s in ("BTC/USD", "BTC/USDT", "USDT/USD")]
        >>> [legs_text(spot, legs) for legs in currencies(spot, np.ones(3, np.int8)).leg.tolist()]
        ['buy a:BTC/USD, sell a:BTC/USDT, sell a:USDT/USD', 'buy a:BTC/USDT, sell a:BTC/USD, buy a:USDT/USD']
    """
    rate = rates(instruments, asset)
    edges: dict[tuple[str, str], list[int]] = {}
    for v, one in enumerate(instruments):
        if one.is_spot and "/" in one.symbol and quoted[v]:
            base, quote = one.base.upper(), one.quote.upper()
            edges.setdefault((quote, base), []).append(2 * v)
            edges.setdefault((base, quote), []).append(2 * v + 1)
    loops = [loop for loop in _loops(edges, max_legs) if _is_ours(loop, edges, rate)]
    _check_number(loops, edges, max_legs)
    paths = sorted({_turned(path, rate) for loop in loops for path in _paths(loop, edges, rate)}, key=_order)
    leg = np.full((len(paths), LEGS), -1, np.int32)
    for c, path in enumerate(paths):
        leg[c, : len(path)] = path
    _check_rates(instruments, quoted, rate, leg, max_legs)
    fungible = np.array(
        [[a.delivers == b.delivers and a.quote.upper() == b.quote.upper() for b in instruments] for a in instruments],
        np.int8,
    )
    for path in paths:
        asset_legs = [code for code in path if not rate[code >> 1]]
        if [code & 1 for code in asset_legs] == [0, 1]:
            fungible[asset_legs[0] >> 1, asset_legs[1] >> 1] = -1
    return Currencies(rate, fungible, leg)


def legs_text(instruments: Sequence[Instrument], legs: Sequence[int]) -> str:
    """``buy a, sell b, ...`` of a row of ``Currencies.leg``."""
    return ", ".join(f"{'sell' if code & 1 else 'buy'} {instruments[code >> 1].stream}" for code in legs if code >= 0)


def _loops(edges: dict[tuple[str, str], list[int]], max_legs: int) -> list[tuple[str, ...]]:
    """Simple cycles of 2 to ``max_legs`` nodes, each once: from its first node by name, both ways round."""
    after: dict[str, list[str]] = {}
    for start, end in sorted(edges):
        after.setdefault(start, []).append(end)
    found: list[tuple[str, ...]] = []
    open_ended: list[tuple[str, ...]] = [(node,) for node in sorted(after)]
    while open_ended:
        path = open_ended.pop()
        for node in after.get(path[-1], ()):
            if node == path[0] and len(path) > 1:
                found.append(path)
            elif node > path[0] and node not in path and len(path) < max_legs:
                open_ended.append((*path, node))
    return found


def _hops(loop: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(loop, (*loop[1:], loop[0]), strict=True))


def _is_ours(loop: tuple[str, ...], edges: dict[tuple[str, str], list[int]], rate: Int8) -> bool:
    """Whether a rate takes part; two streams of the asset in one currency are a pair."""
    return any(rate[code >> 1] for hop in _hops(loop) for code in edges[hop])


def _paths(loop: tuple[str, ...], edges: dict[tuple[str, str], list[int]], rate: Int8) -> Iterator[Path]:
    """Every choice of a stream for each hop; nobody buys and sells in one stream."""
    for path in product(*(edges[hop] for hop in _hops(loop))):
        if len({code >> 1 for code in path}) == len(path) and any(rate[code >> 1] for code in path):
            yield path


def _turned(path: Path, rate: Int8) -> Path:
    """The same cycle, beginning with the leg that buys the asset, else the one that sells it, else the first to buy."""
    start = min(range(len(path)), key=lambda k: (rate[path[k] >> 1], path[k] & 1, path[k]))
    return path[start:] + path[:start]


def _order(path: Path) -> tuple[int, Path]:
    return len(path), path


def _check_number(loops: list[tuple[str, ...]], edges: dict[tuple[str, str], list[int]], max_legs: int) -> None:
    """Refuse more cycles than the kernel should look at, before they are all spelt out."""
    number = dict.fromkeys(range(2, max_legs + 1), 0)
    for loop in loops:
        number[len(loop)] += prod(len(edges[hop]) for hop in _hops(loop))
    total = sum(number.values())
    if total > MOST_CYCLES:
        said = ", ".join(f"{count:,} of {legs}" for legs, count in number.items() if count)
        fits = [most for most in number if sum(number[legs] for legs in number if legs <= most) <= MOST_CYCLES]
        fewer = f"set modules.ghost_bridge.max_legs={fits[-1]}, or " if fits else ""
        raise ConfigError(
            f"{total:,} cycles of trades ({said} legs) through {len(edges) // 2} pairs of currencies, at most"
            f" {MOST_CYCLES:,}: {fewer}give fewer streams"
        )


def _check_rates(instruments: Sequence[Instrument], quoted: Int8, rate: Int8, leg: Int32, max_legs: int) -> None:
    """Refuse streams of another asset that are of no use."""
    idle = sorted(set(np.flatnonzero(rate).tolist()) - set((leg[leg >= 0] >> 1).tolist()))
    if idle:
        names = [instruments[v].stream for v in idle]
        asset = next((one.base for v, one in enumerate(instruments) if not rate[v]), "")
        said = (
            f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}: not a price of {asset}, which the graph prices"
        )
        because, instead = "", ""
        first = instruments[idle[0]]
        spot = [v for v, one in enumerate(instruments) if one.is_spot and quoted[v] and "/" in one.symbol]
        there = {instruments[v].quote.upper() for v in spot if not rate[v]}
        lacks = sorted({first.base.upper(), first.quote.upper()} - there)
        if there and idle[0] in spot and len(lacks) == 1 and is_money(lacks[0]):  # one side of what it converts
            because = f", because spot {asset} is there in {', '.join(sorted(there))} only"
            instead = f"add a spot stream of {asset}/{lacks[0]}, or "
        raise ConfigError(
            f"{said}, and part of no cycle of up to {max_legs} trades{because}: {instead}leave it out;"
            " one run per asset"
        )


def _listed(streams: dict[str, list[str]]) -> str:
    return "; ".join(
        f"{base}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
        for base, names in sorted(streams.items())[:8]
    )
