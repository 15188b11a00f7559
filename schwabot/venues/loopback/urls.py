"""What to tell ccxt so that it talks to the loopback exchange; ccxt itself is imported at the first call."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from typing import Any

KEY, SECRET = "key-of-the-loopback", "secret-of-the-loopback"  # pragma: allowlist secret
"""What the exchange takes unless it was told others. They open nothing else."""
VENUES = ("binance", "binanceusdm", "binancecoinm", "coinbase", "kraken")

_TYPES = {"binance": "spot", "binanceusdm": "linear", "binancecoinm": "inverse"}


def ccxt_options(venue: str, port: int) -> dict[str, Any]:
    """Constructor arguments of ccxt's exchange of that name; who wants to trade adds ``credentials``.

    Args:
        venue: ccxt's id: one of ``VENUES``.
        port: of the loopback exchange on 127.0.0.1.

    Raises:
        KeyError: the loopback exchange does not speak for that venue.

    Example:
        >>> ccxt_options("binanceusdm", 18090)["urls"]["api"]["fapiPublic"]
        'http://127.0.0.1:18090/fapi/v1'
    """
    http, ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    rest: dict[str, Any]
    if venue == "coinbase":
        return {"urls": {"api": {"rest": f"{http}/coinbase", "ws": f"{ws}/coinbase/ws"}}}
    if venue == "kraken":
        sockets = dict.fromkeys(("public", "publicV2", "beta"), f"{ws}/kraken/ws/v2")
        sockets |= {"private": f"{ws}/kraken/ws-auth", "privateV2": f"{ws}/kraken/ws-auth/v2"}
        rest = dict.fromkeys(("public", "private", "zendesk"), f"{http}/kraken")
        return {"urls": {"api": rest | {"ws": sockets}}}
    rest = {
        "public": f"{http}/api/v3",
        "private": f"{http}/api/v3",
        "v1": f"{http}/api/v1",
        **{f"{name}{suffix}": f"{http}/{name}/v{version}"
           for name in ("fapi", "dapi")
           for suffix, version in (("Public", 1), ("Private", 1), ("PublicV2", 2), ("PrivateV2", 2), ("PublicV3", 3),
                                   ("PrivateV3", 3))},
        # What is not there answers with Binance's error for it instead of being asked of the real one.
        **{name: f"{http}/{name}/v1" for name in ("sapi", "sapiV2", "sapiV3", "sapiV4", "papi", "eapiPublic",
                                                   "eapiPrivate")},
    }  # fmt: skip
    binance: dict[str, Any] = {
        # ccxt takes a socket for one of spot where its address has /stream in it.
        "spot": f"{ws}/spot/stream/ws",
        "margin": f"{ws}/spot/stream/ws",
        "linear": f"{ws}/usdm/ws",
        "inverse": f"{ws}/coinm/ws",
        "ws-api": {"spot": f"{ws}/ws-api/v3", "linear": f"{ws}/ws-fapi/v1", "inverse": f"{ws}/ws-dapi/v1"},
    }
    options = {"fetchMarkets": {"types": [_TYPES[venue]]}, "fetchCurrencies": False, "fetchMargins": False}
    return {
        "urls": {"api": rest | {"ws": binance}},
        "options": options,
        "exceptions": {"exact": _errors(_TYPES[venue])},
    }


def credentials(venue: str, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """The account's key and secret in the form in which the venue hands them out.

    Example:
        >>> list(credentials("kraken", "key", "correct horse").values())
        ['key', 'Y29ycmVjdCBob3JzZQ==']
    """
    if venue == "kraken":
        secret = b64encode(secret.encode()).decode()
    if venue == "coinbase":
        from schwabot.venues.loopback.coinbase_keys import named_key

        key, secret = named_key(key, secret)
    return {"apiKey": key, "secret": secret}


@cache
def _errors(market: str) -> dict[str, Any]:
    """Binance's codes on one market: ccxt tells them apart by the real addresses, so here it has to be told."""
    from ccxt.async_support import binance

    found: dict[str, Any] = binance().exceptions[market]["exact"]
    return found
