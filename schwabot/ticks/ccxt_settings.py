"""Settings of ``source=ccxt``."""

from __future__ import annotations

from dataclasses import dataclass, field

from schwabot.errors import ConfigError


@dataclass
class CcxtConfig:
    """Live streams of any exchanges that ccxt knows.

    Attributes:
        streams: which, as ``venue:symbol`` with ccxt's names, e.g. ``binance:BTC/USDT``.
        trades: whether trades are wanted beside quotes.
        connect_s: a venue that does not answer for this long at the start is an error.
        silence_s: where a stream says nothing for this long, or longer where it is used to longer gaps, REST is asked
            whether its market is quiet; if not, it is connected anew.
        behind_s: a stream whose messages are this much later than its fastest ones is connected anew.
        poll_after_s: a websocket that was lost for this long is stood in for by REST polling.
        poll_s: time between polls.
        answer_s: a REST request that has no answer after so long has failed.
        retry_first_s, retry_most_s: shortest and longest wait between attempts to connect; it doubles, with jitter.
        gap_s: a trade that is missing for this long, by the numbers before and after it, is reported as lost.
        queue_rows: rows that may wait for the engine; beyond it trades are lost, and reported.
        shed_rows: from this many waiting rows on, only the newest waiting quote of each stream is kept.
        idle_s: an engine that waits for rows gets an empty batch this often, to look after other things.
    """

    streams: list[str] = field(default_factory=list)
    trades: bool = True
    connect_s: float = 20.0
    silence_s: float = 5.0
    behind_s: float = 5.0
    poll_after_s: float = 3.0
    poll_s: float = 1.0
    answer_s: float = 5.0
    retry_first_s: float = 0.25
    retry_most_s: float = 30.0
    gap_s: float = 5.0
    queue_rows: int = 200_000
    shed_rows: int = 20_000
    idle_s: float = 0.2

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if not self.streams:
            raise ConfigError("source.streams is empty: name some, e.g. 'source.streams=[\"binance:BTC/USDT\"]'")
        for stream in self.streams:
            venue, colon, symbol = stream.partition(":")
            if not (venue and colon and "/" in symbol):
                raise ConfigError(f"source.streams: {stream} is not of the form venue:BASE/QUOTE with ccxt's names")
        if doubled := sorted({stream for stream in self.streams if self.streams.count(stream) > 1}):
            raise ConfigError(f"source.streams names {', '.join(doubled)} twice")
        for name in (
            "connect_s", "silence_s", "behind_s", "poll_s", "answer_s", "retry_first_s", "retry_most_s", "gap_s",
            "idle_s",
        ):  # fmt: skip
            if not 0.0 < getattr(self, name) <= 86_400.0:
                raise ConfigError(f"source.{name}={getattr(self, name)} is out of range: use more than 0 to 86400")
        if not 0.0 <= self.poll_after_s <= 86_400.0:
            raise ConfigError(f"source.poll_after_s={self.poll_after_s} is out of range: use 0 to 86400")
        if not 1 <= self.shed_rows <= self.queue_rows <= 1 << 24:
            raise ConfigError(
                f"source.shed_rows={self.shed_rows}, source.queue_rows={self.queue_rows}:"
                f" use 1 or more, the second no less than the first and at most {1 << 24}"
            )
        if self.retry_most_s < self.retry_first_s:
            raise ConfigError(
                f"source.retry_most_s={self.retry_most_s} is less than retry_first_s={self.retry_first_s}"
            )
