"""What the account made on a day, told when the next one begins."""

from __future__ import annotations

import re
from dataclasses import replace

from schwabot.execution.day_report import DAY_NS, DayReport
from schwabot.live_pipeline import LivePipeline
from schwabot.signals.builtin.threshold import threshold
from schwabot.simulation.totals import leg_totals
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from tests.execution.test_simulated_rows import broker


def test_a_day_is_told_once_and_the_next_begins_at_nothing() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=3_000))
    trader = broker(threshold, feed)
    live, report, told, at_midnight = LivePipeline(feed.instruments, on_row=trader.row), DayReport(trader), [], []
    batches = list(feed.batches(100))
    midnight_ns = (int(batches[0].ts_recv_ns[0]) // DAY_NS + 1) * DAY_NS
    first_ns = midnight_ns - int(batches[len(batches) // 2].ts_recv_ns[0])
    assert report.take() == ()
    for days in (0, 1):
        for ticks in batches:
            live.step(replace(ticks, ts_recv_ns=ticks.ts_recv_ns + first_ns + days * DAY_NS))
            if alerts := report.take():
                told += alerts
                at_midnight.append(leg_totals(trader.outcome())[feed.instruments[2].stream])
    assert [alert.kind for alert in told] == ["daily", "daily"]
    assert [alert.ts_ns // DAY_NS for alert in told] == [midnight_ns // DAY_NS, midnight_ns // DAY_NS + 1]
    before = {"net": 0.0, "orders": 0}
    for alert, after in zip(told, at_midnight, strict=True):
        said = re.match(r"PnL ([+-][\d.,e+-]+) USDT after fees of [\d.,e+-]+ USDT, ([\d,]+) orders", alert.text)
        assert said, alert.text
        assert abs(float(said[1].replace(",", "")) - (after["net"] - before["net"])) < 1e-4 * abs(after["net"]) + 1e-9
        assert int(said[2]) == after["orders"] - before["orders"] > 0
        before = after
