"""Presets of the table source read what the archives hold."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from schwabot.errors import SchemaError
from schwabot.ticks import table_files
from schwabot.ticks.presets import ColumnMap
from tests.ticks.test_table import T0, feed_of, read, write


def test_binance_trades(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "f").mkdir()
    with zipfile.ZipFile(tmp_path / "s" / "BTCUSDT-trades-2025-01-01.zip", "w") as archive:
        archive.writestr(
            "BTCUSDT-trades-2025-01-01.csv",
            "1,93576.00000000,0.00100000,93.5,1735689600010866,False,True\n"
            "2,93576.01000000,0.00200000,93.5,1735689600010866,True,True\n",
        )
    spot = read(feed_of(tmp_path / "s", preset="binance_trades"))
    assert spot.instruments[0].stream == "table:BTCUSDT-trades-2025-01-01"
    assert (spot.instruments[0].tick_size, spot.instruments[0].lot_size) == (0.01, 0.001)
    assert spot.ts_recv_ns.tolist() == [1_735_689_600_010_866_000] * 2
    assert spot.ts_event_ns.tolist() == spot.ts_recv_ns.tolist()
    assert spot.side.tolist() == [1, -1]
    write(
        tmp_path / "f" / "BTCUSDT-trades.csv",
        "id,price,qty,quote_qty,time,is_buyer_maker\n1,93576.1,0.001,93.5,1735689600010,true\n",
    )
    future = read(feed_of(tmp_path / "f", preset="binance_trades"))
    assert (future.price_ticks.tolist(), future.side.tolist()) == ([935_761], [-1])
    assert future.ts_recv_ns.tolist() == [1_735_689_600_010_000_000]


def test_binance_agg_trades_and_book_ticker(tmp_path: Path) -> None:
    (tmp_path / "agg").mkdir()
    (tmp_path / "book").mkdir()
    write(tmp_path / "agg" / "x.csv", "0,0.20000000,50.00000000,0,0,1735689600010866,False,True\n")
    trade = read(feed_of(tmp_path / "agg", preset="binance_agg_trades"))
    assert (trade.price_ticks.tolist(), trade.qty_lots.tolist(), trade.side.tolist()) == ([2], [50], [1])
    write(
        tmp_path / "book" / "x.csv",
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
        "1,27077.3,19.35,27077.4,8.6,1684237787209,1684237787214\n",
    )
    quote = read(feed_of(tmp_path / "book", preset="binance_book_ticker"))
    assert quote.ts_recv_ns.tolist() == quote.ts_emit_ns.tolist() == [1_684_237_787_214_000_000]
    assert quote.ts_event_ns.tolist() == [1_684_237_787_209_000_000]
    assert (quote.bid_ticks.tolist(), quote.ask_lots.tolist()) == ([270_773], [860])
    write(tmp_path / "book" / "x.csv", "1,2,3,4,5,6,7,8,9\n")
    with pytest.raises(SchemaError, match="9 columns, of which 7 are known"):
        feed_of(tmp_path / "book", preset="binance_book_ticker")


def test_tardis(tmp_path: Path) -> None:
    us = T0 // 1_000
    head = "exchange,symbol,timestamp,local_timestamp,"
    texts = {
        "tardis_quotes": head + f"ask_amount,ask_price,bid_price,bid_amount\nx,BTC,{us},{us + 5},86,6423,6422.9,112\n",
        "tardis_trades": head + f"id,side,price,amount\nx,BTC,{us},{us + 5},d2,buy,6425.5,12\n",
        "tardis_book_snapshot": head
        + "asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price\n"
        + f"x,BTC,{us},{us + 5},6423,86,6422.9,112,6424\n",
    }
    for preset, text in texts.items():
        (tmp_path / preset).mkdir()
        (tmp_path / preset / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
        ticks = read(feed_of(tmp_path / preset, preset=preset))
        assert (ticks.ts_event_ns.tolist(), ticks.ts_recv_ns.tolist()) == ([T0], [T0 + 5_000])
        if preset == "tardis_trades":
            assert (ticks.price_ticks[0], ticks.qty_lots[0], ticks.side[0]) == (64_255, 12, 1)
        else:
            assert (ticks.bid_ticks[0], ticks.ask_ticks[0]) == (64_229, 64_230)
            assert (ticks.bid_lots[0], ticks.ask_lots[0]) == (112, 86)


def test_tardis_with_several_instruments_in_one_file(tmp_path: Path) -> None:
    us = T0 // 1_000
    head = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    rows = [f"x,{symbol},{us + i},{us + i},1,11,10,1\n" for i, symbol in enumerate(("BTC", "BTC", "ETH", "BTC"))]
    write(tmp_path / "x.csv", head + "".join(rows))
    with pytest.raises(SchemaError, match=r"x\.csv:4: column 'symbol' .*\(BTC, ETH\).*source\.columns\.stream=symbol"):
        read(feed_of(tmp_path, preset="tardis_quotes"))
    two = read(feed_of(tmp_path, preset="tardis_quotes", columns=ColumnMap(stream="symbol")))
    assert [i.stream for i in two.instruments] == ["table:BTC", "table:ETH"]
    assert two.stream.tolist() == [0, 0, 1, 0]
    write(tmp_path / "x.csv", head + rows[0] + rows[1].replace("x,", "y,"))
    with pytest.raises(SchemaError, match=r"x\.csv:3: column 'exchange' .*\(x, y\)"):
        read(feed_of(tmp_path, preset="tardis_quotes"))


def test_one_instrument_per_stream_in_every_batch_and_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    us = T0 // 1_000
    head = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
    rows = [f"x,{'BTC' if i < 900 else 'ETH'},{us + i},{us + i},1,buy,10,1\n" for i in range(901)]
    path = write(tmp_path / "x.csv", head + "".join(rows))
    monkeypatch.setattr(table_files, "CSV_BLOCK_BYTES", 4_096)
    said = r"x\.(csv:902|parquet:901): column 'symbol' .*split the file, or state source\.columns\.stream=symbol"
    with pytest.raises(SchemaError, match=said):
        read(feed_of(tmp_path, preset="tardis_trades"))
    pq.write_table(pacsv.read_csv(path), tmp_path / "x.parquet")
    monkeypatch.setattr(table_files, "PARQUET_ROWS", 100)
    with pytest.raises(SchemaError, match=said):
        read(feed_of(tmp_path, "x.parquet", preset="tardis_trades"))
    path.write_text("".join([head, rows[0].replace(",BTC,", ",ETH,"), *rows[:900]]))
    with pytest.raises(SchemaError, match=r"x\.csv:3: "):
        read(feed_of(tmp_path, "x.csv", preset="tardis_trades"))


def test_two_exchanges_can_only_be_read_by_exchange(tmp_path: Path) -> None:
    """What the message names must help: by symbol they would stay mixed."""
    us = T0 // 1_000
    head = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    write(tmp_path / "x.csv", head + "".join(f"{venue},BTC,{us},{us},1,11,10,1\n" for venue in "xy"))
    with pytest.raises(SchemaError, match=r"'exchange' .*or state source\.columns\.stream=exchange to"):
        read(feed_of(tmp_path, preset="tardis_quotes"))
    with pytest.raises(SchemaError, match=r"'exchange' .*one stream is one instrument; split the file$"):
        read(feed_of(tmp_path, preset="tardis_quotes", columns=ColumnMap(stream="symbol")))
    two = read(feed_of(tmp_path, preset="tardis_quotes", columns=ColumnMap(stream="exchange")))
    assert [i.stream for i in two.instruments] == ["table:x", "table:y"]


def test_a_batch_without_a_row_of_the_symbol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    us = T0 // 1_000
    rows = [f"x,{'BTC' if i < 300 else 'ETH'},{us + i},{us + i},1,buy,10,1\n" for i in range(600)]
    write(tmp_path / "x.csv", "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n" + "".join(rows))
    monkeypatch.setattr(table_files, "CSV_BLOCK_BYTES", 4_096)
    two = read(feed_of(tmp_path, preset="tardis_trades", columns=ColumnMap(stream="symbol")))
    assert two.stream.tolist() == [0] * 300 + [1] * 300
