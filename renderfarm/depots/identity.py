"""Tokens for storage, and where a node gets them: from its own metadata service, for the pool's identity."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.parse import urlencode, urlsplit

from renderfarm.depots.wire import LostError, Wire

T = TypeVar("T")
METADATA = "http://169.254.169.254/metadata/identity/oauth2/token"
"""Azure's instance metadata service, the same address on every machine"""
STORAGE = "https://storage.azure.com"
EARLY_SECONDS = 300.0
"""a token is renewed this long before it ends"""


class TokenError(Exception):
    """There is no token to be had."""


class Kept(Generic[T]):
    """What is asked for once, and again when its time is over; any number of threads may want it."""

    def __init__(self, ask: Callable[[], tuple[T, float]]) -> None:
        """`ask` says until when what it brings is good, in seconds since the epoch."""
        self._ask = ask
        self._lock = threading.Lock()
        self._found: tuple[T, float] | None = None

    def get(self) -> T:
        """It; raises what asking raises, but while a token that was asked for early is still good."""
        with self._lock:
            if self._found is None or time.time() > self._found[1]:
                try:
                    self._found = self._ask()
                except TokenError:
                    if self._found is None or time.time() > self._found[1] + EARLY_SECONDS:
                        raise
            return self._found[0]

    def forget(self) -> None:
        """It is no good any more."""
        with self._lock:
            self._found = None


Tokens = Kept[str]


def managed_identity(client_id: str) -> Tokens:
    """Tokens of one managed identity, each used until shortly before it ends; they raise TokenError."""
    return Kept(functools.partial(_token, client_id))


def _token(client_id: str) -> tuple[str, float]:
    url, version, headers = _service()
    query = urlencode({"api-version": version, "resource": STORAGE, "client_id": client_id})
    try:
        with contextlib.closing(Wire(url, direct=True)) as wire:
            reply = wire.ask("GET", f"{urlsplit(url).path}?{query}", lambda: headers)
    except LostError as error:
        raise _refused(client_id, str(error)) from error
    if reply.status != 200:
        raise _refused(client_id, f"it answered {reply.status}")
    answer = json.loads(reply.data)
    return str(answer["access_token"]), float(answer["expires_on"]) - EARLY_SECONDS


def _refused(client_id: str, why: str) -> TokenError:
    return TokenError(
        f"The node gets no token for the managed identity {client_id} ({why}): "
        "give the pool that identity, by `identity` in renderfarm.toml"
    )


def _service() -> tuple[str, str, dict[str, str]]:
    """Address, API version and headers of the token service, as azure-identity finds it."""
    endpoint, header = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER")
    if endpoint and header:
        return endpoint, "2019-08-01", {"X-IDENTITY-HEADER": header, "Metadata": "true"}
    return METADATA, "2018-02-01", {"Metadata": "true"}
