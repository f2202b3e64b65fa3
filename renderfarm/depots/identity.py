"""The pool's managed identity: a token for storage from the node's own metadata service."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from urllib.parse import urlencode, urlsplit

from renderfarm.depots.wire import LostError, Wire

METADATA = "http://169.254.169.254/metadata/identity/oauth2/token"
"""Azure's instance metadata service, the same address on every machine"""
STORAGE = "https://storage.azure.com"
EARLY_SECONDS = 300.0
"""a token is renewed this long before it ends"""


class TokenError(Exception):
    """The node got no token."""


class Identity:
    """Tokens of one managed identity, each used until shortly before it ends."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._lock = threading.Lock()
        self._token = ""
        self._ends = 0.0

    def token(self) -> str:
        """A token that is good for some minutes; raises TokenError when there is none to be had."""
        with self._lock:
            if time.time() > self._ends - EARLY_SECONDS:
                self._renew()
            return self._token

    def forget(self) -> None:
        """Storage did not take the token."""
        with self._lock:
            self._ends = 0.0

    def _renew(self) -> None:
        url, version, headers = _service()
        query = urlencode({"api-version": version, "resource": STORAGE, "client_id": self._client_id})
        try:
            with contextlib.closing(Wire(url, direct=True)) as wire:
                reply = wire.ask("GET", f"{urlsplit(url).path}?{query}", lambda: headers)
        except LostError as error:
            raise self._refused(str(error)) from error
        if reply.status != 200:
            raise self._refused(f"it answered {reply.status}")
        answer = json.loads(reply.data)
        self._token, self._ends = str(answer["access_token"]), float(answer["expires_on"])

    def _refused(self, why: str) -> TokenError:
        return TokenError(
            f"The node gets no token for the managed identity {self._client_id} ({why}): "
            "give the pool that identity, by `identity` in renderfarm.toml"
        )


def _service() -> tuple[str, str, dict[str, str]]:
    """Address, API version and headers of the token service, as azure-identity finds it."""
    endpoint, header = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER")
    if endpoint and header:
        return endpoint, "2019-08-01", {"X-IDENTITY-HEADER": header, "Metadata": "true"}
    return METADATA, "2018-02-01", {"Metadata": "true"}
