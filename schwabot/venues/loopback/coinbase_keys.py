"""Coinbase's keys: tokens signed with ECDSA that name one request each and end soon.

Source: Coinbase, API key authentication; RFC 7519.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

LONGEST_S = 120
"""A token that would live longer is refused."""


def named_key(key: str, secret: str) -> tuple[str, str]:
    """The names of a key and its private half as Coinbase gives them out, made of any two texts.

    Example:
        >>> name, pem = named_key("me", "a word")
        >>> name, pem[:13]
        ('organizations/loopback/apiKeys/me', '-----BEGIN EC')
    """
    if key.startswith("organizations/"):
        return key, secret
    number = int.from_bytes(hashlib.sha256(secret.encode()).digest()) >> 1  # below the order of the curve
    private = ec.derive_private_key(number, ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return f"organizations/loopback/apiKeys/{key}", pem.decode()


class Tokens:
    """Checks tokens.

    Args:
        keys: of the account, see ``named_key``.
        now_ms: the venue's clock.
    """

    def __init__(self, keys: tuple[str, str], now_ms: Callable[[], int]) -> None:
        self._name, pem = named_key(*keys)
        private = serialization.load_pem_private_key(pem.encode(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey), "Coinbase takes ECDSA keys"
        self._public = private.public_key()
        self._now_ms = now_ms

    def fit(self, token: str, uri: str | None) -> bool:
        """Whether a token is the account's, is not over, and is for this request.

        Args:
            token: as it came.
            uri: method, host and path of the request; None = of a websocket.
        """
        try:
            signed, _, signature = token.rpartition(".")
            head, body = (json.loads(_decoded(part)) for part in signed.split("."))
            raw = _decoded(signature)
            der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
            self._public.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature):
            return False
        return self._says(head, body, uri)

    def _says(self, head: Any, body: Any, uri: str | None) -> bool:
        try:
            begins, ends, now = int(body["nbf"]), int(body["exp"]), self._now_ms()
            named = body.get("uri")
            return (
                head["alg"] == "ES256"
                and head["kid"] == body["sub"] == self._name
                and 0 < ends - begins <= LONGEST_S
                and begins * 1_000 <= now < ends * 1_000
                and (named is None if uri is None else str(named).replace("http://", "") == uri)
            )
        except (KeyError, TypeError, AttributeError, ValueError):
            return False


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
