"""What the exchange publishes is what its feed holds, by unmodified ccxt of every venue."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.pro
import numpy as np
import pytest

from schwabot.errors import ConfigError, VenueError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange, ccxt_options
from schwabot.venues.loopback.__main__ import main
from schwabot.venues.loopback.hub import MOST_WAITING
from schwabot.venues.loopback.listing import listings
from schwabot.venues.loopback.player import MS, Player, Row
from tests.venues.making import COINM, SPOT, USDM, Driven, ask, becomes, played, until, with_ccxt

CONTRACTS = ["spot", "linear", "inverse", "spot", "spot"]
CONFIG = SyntheticConfig(events=3_000, streams=5, contract=CONTRACTS, rate_per_s=[100.0], outages_per_hour=[0.0])
SYMBOLS = {
    "binance": "BTC/USDT",
    "binanceusdm": "BTC/USDT:USDT",
    "binancecoinm": "BTC/USD:BTC",
    "coinbase": "BTC/USDT",
    "kraken": "BTC/USDT",
}


def rows_of(config: SyntheticConfig) -> Ticks:
    """All rows of a synthetic market."""
    (ticks,) = SyntheticFeed(config).batches(10**6)
    return ticks


def test_every_trade_and_the_last_touch_arrive_at_every_venue() -> None:
    feed = SyntheticFeed(CONFIG)
    with LoopbackExchange(feed, speed=0, held=True) as exchange:

        async def see() -> dict[str, tuple[list[Any], Any]]:
            clients = {venue: getattr(ccxt.pro, venue)(ccxt_options(venue, exchange.port)) for venue in SYMBOLS}
            try:
                await asyncio.gather(*(client.load_markets() for client in clients.values()))
                watching = [
                    asyncio.create_task(_again(watch, symbol))
                    for venue, symbol in SYMBOLS.items()
                    for watch in (clients[venue].watch_trades, clients[venue].watch_order_book)
                ]
                await becomes(lambda: sum(bool(one.listeners) for one in exchange.hub.channels.values()) == 10)
                await asyncio.sleep(0.2)  # the pace of the slowest book: it must have begun to note
                exchange.play()
                await becomes(lambda: exchange.ended)
                await asyncio.sleep(0.5)  # and its last difference, and trades that wait for others
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
                return {
                    venue: (list(client.trades[SYMBOLS[venue]]), client.orderbooks[SYMBOLS[venue]])
                    for venue, client in clients.items()
                }
            finally:
                await asyncio.gather(*(client.close() for client in clients.values()))

        found = asyncio.run(see())
    assert exchange.error is None
    ticks = rows_of(CONFIG)
    for one in listings(feed.instruments):
        trades, book = found[one.venue]
        own = np.flatnonzero((ticks.stream == one.index) & (ticks.kind == Kind.TRADE))
        # Coinbase names the side of the maker, and ccxt hands it on.
        buy, sell = ("sell", "buy") if one.venue == "coinbase" else ("buy", "sell")
        assert [(Decimal(str(t["price"])), Decimal(str(t["amount"])), t["side"]) for t in trades] == [
            (one.price.size * price, one.qty.size * lots, buy if side > 0 else sell)
            for price, lots, side in zip(
                ticks.price_ticks[own].tolist(), ticks.qty_lots[own].tolist(), ticks.side[own].tolist(), strict=True
            )
        ]
        last = np.flatnonzero((ticks.stream == one.index) & (ticks.kind == Kind.QUOTE))[-1]
        for side, price, lots in (
            ("bids", ticks.bid_ticks[last], ticks.bid_lots[last]),
            ("asks", ticks.ask_ticks[last], ticks.ask_lots[last]),
        ):
            levels = [(Decimal(str(level[0])), Decimal(str(level[1]))) for level in book[side]]
            assert levels == [(one.price.size * int(price), one.qty.size * int(lots))], (one.venue, side)


async def _again(watch: Callable[[str], Any], symbol: str) -> None:
    while True:
        await watch(symbol)


def test_the_touch_as_ccxt_sees_it(exchange: LoopbackExchange, feed: Driven) -> None:
    for venue, symbol, stream in (("binance", "BTC/USDT", 0), ("binanceusdm", "BTC/USDT:USDT", 2)):

        async def work(client: Any, venue: str = venue, symbol: str = symbol, stream: int = stream) -> None:
            await client.load_markets()
            market = client.market(symbol)
            assert (market["precision"]["price"], market["precision"]["amount"]) == (
                (0.01, 1e-5) if stream == 0 else (0.1, 0.001)
            )
            assert market["limits"]["cost"]["min"] == 5.0
            watching = asyncio.create_task(client.watch_bids_asks([symbol]))
            name = market["lowercaseId"]
            await becomes(lambda: exchange.hub.channel(venue, f"{name}@bookTicker").listeners)
            feed.quote(5_999_801, 5_999_807, 12, 34, stream)
            seen = (await asyncio.wait_for(watching, 5))[symbol]
            lot, tick = (1e-5, 0.01) if stream == 0 else (0.001, 0.1)
            assert seen["bid"] == pytest.approx(5_999_801 * tick, rel=1e-15)
            assert (seen["bidVolume"], seen["askVolume"]) == (pytest.approx(12 * lot), pytest.approx(34 * lot))
            # Spot's has no time at all, and ccxt is not told one.
            assert ({"T", "E"} <= set(seen["info"])) == (stream == 2)
            polled = (await client.fetch_bids_asks([symbol]))[symbol]
            assert (polled["bid"], polled["ask"]) == (seen["bid"], seen["ask"])
            assert abs(await client.fetch_time() - time.time() * 1e3) < 2_000

        with_ccxt(exchange, venue, work)


def test_combined_streams_lists_and_what_is_not_spoken(exchange: LoopbackExchange, feed: Driven) -> None:
    async def work() -> None:
        url = f"ws://127.0.0.1:{exchange.port}/spot/stream?streams=btcusdt@bookTicker"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:

            async def heard(asked: Any) -> Any:
                await ws.send_str(json.dumps(asked))
                return await asyncio.wait_for(ws.receive_json(), 5)

            assert await heard({"method": "LIST_SUBSCRIPTIONS", "id": 1}) == {
                "result": ["btcusdt@bookTicker"],
                "id": 1,
            }
            feed.quote(5_999_000, 6_000_000)
            said = await asyncio.wait_for(ws.receive_json(), 5)
            assert (said["stream"], said["data"]["b"]) == ("btcusdt@bookTicker", "59990.00000000")
            error = await heard({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 2})
            assert "btcusdt@kline_1m" in error["error"]["msg"]
            assert "error" in await heard("nonsense")
            assert (await heard({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 3}))["id"] == 3
            assert (await heard({"method": "LIST_SUBSCRIPTIONS", "id": 4}))["result"] == []

    asyncio.run(work())
    assert ask(exchange, "GET", "/api/v3/depth", {"symbol": "NOPE"})[1]["code"] == -1121
    assert ask(exchange, "GET", "/api/v3/depth")[1]["code"] == -1102
    assert ask(exchange, "GET", "/api/v3/klines", {"symbol": "BTCUSDT"})[0] == 404


@pytest.mark.parametrize("speed", [1.0, 50.0, 0.0])
def test_stamps_keep_their_distance(speed: float) -> None:
    config = SyntheticConfig(events=60, streams=2, rate_per_s=[150.0], depth_interval_ms=0, outages_per_hour=[0.0])
    ticks = rows_of(config)
    rows: list[Row] = []

    async def play() -> None:
        async def taken() -> None:
            await asyncio.sleep(0)

        await Player(SyntheticFeed(config), speed, rows.append, taken).run()

    asyncio.run(play())
    assert len(rows) == 60
    for stream in (0, 1):
        own = [(row, n) for n, row in enumerate(rows) if row.stream == stream]
        stamped = [(row, n) for row, n in own if row.emit_ns != MISSING_NS]
        missing = ticks.ts_emit_ns[[n for _, n in own]] == MISSING_NS
        assert [row.emit_ns == MISSING_NS for row, _ in own] == missing.tolist()
        assert all(row.event_ns <= row.emit_ns for row, _ in stamped)
        if speed == 1:
            shifts = {row.emit_ns - int(ticks.ts_emit_ns[n]) for row, n in stamped}
            assert len(shifts) == 1
            assert next(iter(shifts)) % MS == 0
            shift = next(iter(shifts))
            # Never before its time, and soon after.
            late = [row.now_ns - int(ticks.ts_recv_ns[n]) - shift for row, n in own]
            assert min(late) >= 0
            assert sorted(late)[len(late) // 2] < 20 * MS
        elif speed:
            first, at = stamped[0]
            for row, n in stamped:
                real = int(ticks.ts_emit_ns[n] - ticks.ts_emit_ns[at])
                assert row.emit_ns - first.emit_ns == pytest.approx(real / speed, abs=2)
        else:
            emits = [row.emit_ns for row, _ in stamped]
            assert emits == sorted(emits)


def test_a_slow_reader_is_cut_off_and_others_go_on() -> None:
    feed = Driven(SPOT)
    with LoopbackExchange(feed) as exchange:

        async def work() -> None:
            url = f"ws://127.0.0.1:{exchange.port}/spot/stream/ws/btcusdt@bookTicker"
            async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
                await becomes(lambda: exchange.hub.channel("binance", "btcusdt@bookTicker").listeners)
                (connection,) = exchange.hub.connections

                async def flood() -> None:
                    for _ in range(MOST_WAITING + 2):
                        connection.send("x")

                exchange.call(flood())
                await becomes(lambda: not exchange.hub.connections)
                assert (await asyncio.wait_for(ws.receive(), 5)).type != aiohttp.WSMsgType.TEXT

        asyncio.run(work())
        assert ask(exchange, "GET", "/api/v3/ping")[0] == 200
        feed.end()


def test_a_feed_that_breaks_leaves_the_exchange_up() -> None:
    feed = Driven(SPOT)
    with LoopbackExchange(feed, speed=0) as exchange:
        feed.quote(1, 2)
        played(exchange, feed)
        feed._waiting.put("no ticks")  # type: ignore[arg-type]
        until(lambda: exchange.ended)
        assert "AttributeError" in exchange.state()["error"]
        assert ask(exchange, "GET", "/api/v3/ticker/bookTicker", {"symbol": "BTCUSDT"})[1]["bidPrice"] == "0.01000000"
        feed.end()


def test_names() -> None:
    made = [one.instrument.stream for one in listings(SyntheticFeed(SyntheticConfig(streams=5)).instruments)]
    assert made == [
        "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "coinbase:BTC/USDT", "binancecoinm:BTC/USD:BTC",
        "kraken:BTC/USDT",
    ]  # fmt: skip
    assert [one.id for one in listings([SPOT, USDM, COINM])] == ["BTCUSDT", "BTCUSDT", "BTCUSD_PERP"]
    table = Instrument("table:BTC/USD", 0.1, 0.001)
    with pytest.raises(ConfigError, match="--name table:BTC/USD=binance:BTC/USD"):
        listings([table])
    assert listings([table], {"table:BTC/USD": "kraken:BTC/USD"})[0].id == "XXBTZUSD"
    with pytest.raises(ConfigError, match="two streams"):
        listings([SPOT, table], {"table:BTC/USD": "binance:BTC/USDT"})


def test_what_the_command_says(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    with LoopbackExchange(SyntheticFeed(SyntheticConfig(events=10))) as exchange:
        with pytest.raises(VenueError, match=str(exchange.port)):
            LoopbackExchange(SyntheticFeed(SyntheticConfig(events=10)), exchange.port).__enter__()
        assert main(["--port", str(exchange.port)]) == 2
    assert f"port {exchange.port}" in capsys.readouterr().err
    for options in (
        ["--name", "x"],
        ["--faults", "{"],
        ["--faults", "7"],
        ["--deposit", "USDT=much"],
        ["--speed", "-1"],
    ):
        assert main(["--port", "0", *options]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    command = [sys.executable, "-m", "schwabot.venues.loopback", "--port", "0", "--streams", "2"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert line.startswith("loopback exchange on http://127.0.0.1:")
    assert line.endswith(": binance:BTC/USDT, binanceusdm:BTC/USDT:USDT\n")
