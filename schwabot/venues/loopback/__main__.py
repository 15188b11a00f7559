"""``python -m schwabot.venues.loopback``: an exchange on this machine to try a bot against."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from schwabot.errors import ConfigError, SchwabotError
from schwabot.records.instrument import Instrument
from schwabot.ticks.base import Feed
from schwabot.venues.loopback.server import HOST, LoopbackExchange

DEPOSITS = {"USDT": "100000", "USD": "100000", "BTC": "2"}
LONG = 10**12
"""Events of a synthetic market that goes on for longer than anybody will watch it."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m schwabot.venues.loopback", description=__doc__)
    parser.add_argument("--port", type=int, default=18090, help="on 127.0.0.1; 0 = a free one (default: 18090)")
    parser.add_argument("--speed", type=float, default=1.0, help="1 = as it was (default), 0 = as fast as possible")
    parser.add_argument("--source", default="synthetic", help="synthetic (default), a store folder, or captures: GLOB")
    parser.add_argument("--streams", type=int, default=5, help="of the synthetic market (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic market (default: 0)")
    parser.add_argument(
        "--name", action="append", default=[], metavar="STREAM=STREAM",
        help="a stream of the source goes by another name here, e.g. table:X=binance:BTC/USDT",
    )  # fmt: skip
    parser.add_argument(
        "--deposit", action="append", default=[], metavar="ASSET=AMOUNT",
        help="what the account of each venue begins with (default: 100000 USDT, 100000 USD and 2 BTC)",
    )  # fmt: skip
    parser.add_argument(
        "--faults", default="[]", metavar="JSON",
        help='what goes wrong, e.g. \'[{"kind": "disconnect", "stream": "*@trade", "probability": 0.001}]\'',
    )  # fmt: skip
    given = parser.parse_args(arguments)
    try:
        with LoopbackExchange(
            _feed(given),
            given.port,
            speed=given.speed,
            names=_pairs(given.name, "--name"),
            deposits=_pairs(given.deposit, "--deposit") or DEPOSITS,
            faults=_faults(given.faults),
        ) as exchange:
            sys.stdout.write(f"loopback exchange on http://{HOST}:{exchange.port}: {', '.join(exchange.streams)}\n")
            sys.stdout.flush()
            _wait(exchange)
    except SchwabotError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _pairs(given: list[str], option: str) -> dict[str, str]:
    if bad := next((one for one in given if "=" not in one), None):
        raise ConfigError(f"{option} {bad}: two names with = between them")
    return dict(one.split("=", 1) for one in given)


def _faults(text: str) -> list[dict[str, Any]]:
    try:
        asked = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--faults is no JSON: {error}") from None
    faults = asked if isinstance(asked, list) else [asked]
    if not all(isinstance(one, dict) for one in faults):
        raise ConfigError("--faults: one fault, or a list of them, as docs/loopback.md has them")
    return faults


def _wait(exchange: LoopbackExchange) -> None:
    while not exchange.ended:
        time.sleep(0.2)
    if exchange.error is not None:
        sys.stderr.write(f"the market broke off: {exchange.error}; the last book stays\n")
    else:
        sys.stderr.write("the market is at its end; the last book stays\n")
    while True:
        time.sleep(3600)


def _feed(given: argparse.Namespace) -> Feed:
    if given.source == "synthetic":
        from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

        config = SyntheticConfig(events=LONG, streams=given.streams, seed=given.seed, start_ns=time.time_ns())
        return SyntheticFeed(config)
    if Path(given.source).is_dir():
        from schwabot.ticks.store import StoreConfig, StoreFeed

        return StoreFeed(StoreConfig(path=given.source))
    from schwabot.ticks.capture import CaptureFeed
    from schwabot.ticks.files import find_files

    return CaptureFeed(find_files(given.source), _instruments())


def _instruments() -> dict[str, Instrument]:
    """Those of conf/instruments, beside or inside the package."""
    from omegaconf import OmegaConf

    package = Path(__file__).parents[2]
    conf = next(one for one in (package / "conf", package.parent / "conf") if one.is_dir())
    known: dict[str, Instrument] = {}
    for file in sorted((conf / "instruments").glob("*.yaml")):
        loaded = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(loaded, dict)
        known |= {entry["stream"]: Instrument(**entry) for entry in loaded.values()}
    return known


if __name__ == "__main__":
    raise SystemExit(main())
