"""Which streams price the asset, which are rates, and the cycles through them, by hand and by brute force."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.modules.currencies import MOST_CYCLES, Currencies, currencies, legs_text, rates
from schwabot.modules.graph import Graph
from schwabot.modules.settings import GhostBridgeConfig, ModulesConfig
from schwabot.records.instrument import Instrument


def spot(*streams: str) -> list[Instrument]:
    return [Instrument(stream, 0.01, 0.001) for stream in streams]


def graph_of(instruments: list[Instrument], asset: str | None = None, max_legs: int = 4) -> Currencies:
    return currencies(instruments, np.ones(len(instruments), np.int8), asset, max_legs)


def texts(instruments: list[Instrument], found: Currencies) -> list[str]:
    return [legs_text(instruments, legs) for legs in found.leg.tolist()]


def test_one_asset_in_several_currencies_has_no_rates_and_no_cycles() -> None:
    found = graph_of(spot("a:BTC/USDT", "b:BTC/USD", "c:BTC/EUR", "d:BTC/USDT:USDT"))
    assert found.rate.tolist() == [0, 0, 0, 0]
    assert len(found.leg) == 0
    assert found.fungible.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_contracts_of_one_name_at_two_venues_are_two_things() -> None:
    found = graph_of(spot("a:BTC/USDT:USDT", "b:BTC/USDT:USDT", "a:BTC/USDT", "b:BTC/USDT", "c:BTC/USD:BTC-261225"))
    assert found.fungible.tolist() == [
        [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1],
    ]  # fmt: skip


def test_a_rate_converts_and_takes_the_place_of_the_basis() -> None:
    streams = spot("a:BTC/USD", "b:BTC/USDT", "c:BTC/USDT:USDT", "k:USDT/USD")
    found = graph_of(streams)
    assert found.rate.tolist() == [0, 0, 0, 1]
    assert texts(streams, found) == [
        "buy a:BTC/USD, sell b:BTC/USDT, sell k:USDT/USD",
        "buy b:BTC/USDT, sell a:BTC/USD, buy k:USDT/USD",
    ]
    assert found.fungible.tolist() == [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert found.through.tolist() == [5, 7, 9, 9, 11, 0, 1, 0, 1, 0, 1]


def test_four_legs_go_over_a_third_currency() -> None:
    streams = spot("a:BTC/USDT", "b:BTC/EUR", "k:USDT/USD", "k:EUR/USD")
    assert texts(streams, graph_of(streams)) == [
        "buy a:BTC/USDT, sell b:BTC/EUR, sell k:EUR/USD, buy k:USDT/USD",
        "buy b:BTC/EUR, sell a:BTC/USDT, sell k:USDT/USD, buy k:EUR/USD",
    ]
    with pytest.raises(ConfigError, match=r"k:USDT/USD, k:EUR/USD: not a price of BTC.*no cycle of up to 3 trades"):
        graph_of(streams, max_legs=3)


def test_a_triangle_of_assets_begins_with_the_one_that_is_priced() -> None:
    streams = spot("a:BTC/USDT", "a:ETH/BTC", "a:ETH/USDT")
    with pytest.raises(ConfigError, match=r"2 assets .*BTC: a:BTC/USDT; ETH: a:ETH/BTC, a:ETH/USDT.*asset=BTC"):
        graph_of(streams)
    by_bitcoin, by_ether = graph_of(streams, "BTC"), graph_of(streams, "eth")
    assert by_bitcoin.rate.tolist() == [0, 1, 1]
    assert texts(streams, by_bitcoin) == [
        "buy a:BTC/USDT, buy a:ETH/BTC, sell a:ETH/USDT",
        "sell a:BTC/USDT, buy a:ETH/USDT, sell a:ETH/BTC",
    ]
    # A price of ether in bitcoin is no price in money, beside one that is.
    assert by_ether.rate.tolist() == [1, 1, 0]
    assert texts(streams, by_ether)[0] == "buy a:ETH/USDT, sell a:ETH/BTC, sell a:BTC/USDT"


def test_an_asset_priced_in_another_alone_is_priced() -> None:
    assert rates(spot("a:ETH/BTC", "b:ETH/BTC")).tolist() == [0, 0]
    assert rates(spot("a:USDT/USD", "b:USDT/USD")).tolist() == [0, 0]
    assert rates(spot("table:x", "a:BTC/USDT")).tolist() == [0, 0]
    assert rates(spot("table:x")).tolist() == [0]


def test_two_venues_of_a_rate_are_a_cycle_of_their_own() -> None:
    streams = spot("a:BTC/USDT", "j:USDT/USD", "k:USDT/USD")
    assert texts(streams, graph_of(streams, max_legs=2)) == [
        "buy j:USDT/USD, sell k:USDT/USD",
        "buy k:USDT/USD, sell j:USDT/USD",
    ]


@pytest.mark.parametrize(
    ("streams", "config", "why"),
    [
        (("a:BTC/USDT", "a:ETH/USDT"), {}, r"2 assets in one graph.*source\.glob.*modules\.ghost_bridge\.asset=BTC"),
        (("a:BTC/USDT", "a:ETH/USDT"), {"asset": "BTC"}, r"a:ETH/USDT: not a price of BTC.*leave it out"),
        (("a:BTC/USDT", "a:USDT/USD:USD"), {}, "a:USDT/USD:USD: not a price of BTC"),
        (
            ("a:BTC/USDT", "a:USDT/USD"),
            {},
            "a:USDT/USD: not a price of BTC.* because spot BTC is there in USDT only: add a spot stream of BTC/USD, or",
        ),
        (("a:BTC/USDT",), {"asset": "SOL"}, r"asset=SOL is the base asset of no stream; there are BTC: a:BTC/USDT"),
        (("a:BTC/USDT",), {"max_legs": 5}, r"max_legs=5 is not a choice: use one of 2, 3, 4"),
        (("a:BTC/USDT",), {"rate_stale_ms": 0.0}, "rate_stale_ms=0.0 is out of range"),
    ],
)
def test_refusals(streams: tuple[str, ...], config: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Graph(spot(*streams), ModulesConfig(ghost_bridge=GhostBridgeConfig(**config)))  # type: ignore[arg-type]


def test_a_rate_that_shows_no_quotes_is_refused() -> None:
    streams = [*spot("a:BTC/USDT", "b:BTC/USD"), Instrument("k:USDT/USD", 1e-4, 1.0, trades_only=True)]
    with pytest.raises(ConfigError, match="k:USDT/USD: not a price of BTC"):
        Graph(streams)


def test_too_many_cycles_are_counted_not_made() -> None:
    streams = spot(
        *(f"v{k}:BTC/{quote}" for k in range(20) for quote in ("USD", "USDT")), *(f"v{k}:USDT/USD" for k in range(20))
    )
    # 20 * 20 * 20 ways each way round over the rate, and 20 * 20 between two rates, a rate with itself included.
    with pytest.raises(
        ConfigError, match=rf"16,400 cycles .*400 of 2, 16,000 of 3 legs.*{MOST_CYCLES:,}: .*max_legs=2,"
    ):
        graph_of(streams)
    assert len(graph_of(streams, max_legs=2).leg) == 20 * 19


NAMES = st.sampled_from(["BTC/USD", "BTC/USDT", "BTC/EUR", "USDT/USD", "EUR/USD", "EUR/USDT", "ETH/BTC", "ETH/USD"])


@settings(max_examples=60)
@given(st.lists(NAMES, min_size=1, max_size=7), st.sampled_from([2, 3, 4]))
def test_every_cycle_is_found_once(symbols: list[str], max_legs: int) -> None:
    """Against trying every sequence of trades."""
    streams = spot(*(f"v{k}:{symbol}" for k, symbol in enumerate(symbols)))
    try:
        found = graph_of(streams, "BTC", max_legs)
    except ConfigError:
        assert not any(symbol.startswith("BTC") for symbol in symbols) or len(symbols) > 1
        return
    wanted = set()
    for length in range(2, max_legs + 1):
        for order in permutations(range(len(streams)), length):
            for sides in product((0, 1), repeat=length):
                hops = [
                    (streams[v].base, streams[v].quote) if side else (streams[v].quote, streams[v].base)
                    for v, side in zip(order, sides, strict=True)
                ]
                held = [start for start, _ in hops]
                closed = all(hops[k][1] == held[(k + 1) % length] for k in range(length))
                if closed and len(set(held)) == length and any(found.rate[v] for v in order):
                    codes = [2 * v + side for v, side in zip(order, sides, strict=True)]
                    wanted.add(min(tuple(codes[k:] + codes[:k]) for k in range(length)))
    told = [[code for code in legs if code >= 0] for legs in found.leg.tolist()]
    assert len({tuple(legs) for legs in told}) == len(told)
    assert {min(tuple(legs[k:] + legs[:k]) for k in range(len(legs))) for legs in told} == wanted
    for v in range(len(streams)):
        through = found.through[found.through[v] : found.through[v + 1]].tolist()
        assert through == [c for c, legs in enumerate(told) if any(code >> 1 == v for code in legs)]
