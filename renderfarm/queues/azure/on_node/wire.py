"""HTTP as a node needs it: connections that stay open, one per thread, and patience with a busy service."""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from renderfarm.queues.azure.on_node.redaction import redact

WAITS = (0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0)
"""seconds between tries; a third of each is left to chance so that a thousand nodes don't come back at once"""
TIMEOUT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 120.0
BLOCK_BYTES = 1 << 20
BUSY = frozenset({408, 429, 500, 502, 503, 504})

Body = bytes | Path


class LostError(Exception):
    """The connection broke, or no whole answer came."""


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def seconds(self) -> float | None:
        """How long the service asks us to wait."""
        try:
            return min(float(self.headers.get("retry-after", "")), LONGEST_WAIT_SECONDS)
        except ValueError:
            return None


class Wire:
    """One service, named by scheme, host and port of a URL."""

    def __init__(self, url: str, waits: tuple[float, ...] = WAITS) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._waits = waits
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()

    def ask(
        self,
        method: str,
        target: str,
        headers: Callable[[], Mapping[str, str]],
        body: Body = b"",
        into: BinaryIO | None = None,
    ) -> Reply:
        """Send a request until it is answered by something else than `busy`; the last answer if it never is.

        The headers are asked for anew for each try. With `into`, the body of an answer in the 200s is written
        there as it comes. Raises LostError when no try was answered.
        """
        for wait in (*self._waits, None):
            try:
                reply = self._once(method, target, headers(), body, into)
            except LostError:
                if wait is None:
                    raise
                pause: float | None = None
            else:
                if reply.status not in BUSY or wait is None:
                    return reply
                pause = reply.seconds
            time.sleep(_jittered(wait) if pause is None else pause + random.random() * pause / 3)  # noqa: S311
        raise LostError("no try was made")

    def _once(
        self, method: str, target: str, headers: Mapping[str, str], body: Body, into: BinaryIO | None
    ) -> Reply:
        """One request; a connection that the service closed while it was idle is opened again."""
        fresh = getattr(self._local, "connection", None) is None
        try:
            response = self._sent(method, target, headers, body)
        except LostError:
            if fresh:
                raise
            response = self._sent(method, target, headers, body)
        streamed = into is not None and response.status // 100 == 2
        try:
            data = b"" if streamed and into and self._pour(response, into) else self._rest(response)
        finally:
            if not response.isclosed():
                self._forget()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def _sent(
        self, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> http.client.HTTPResponse:
        length = body.stat().st_size if isinstance(body, Path) else len(body)
        all_headers = {**headers, "Content-Length": str(length)} if method == "PUT" else dict(headers)
        if isinstance(body, Path):
            with body.open("rb") as file:
                return self._answer(method, target, all_headers, file)
        return self._answer(method, target, all_headers, body)

    def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes | BinaryIO
    ) -> http.client.HTTPResponse:
        connection = self._connection()
        try:
            try:
                connection.request(method, target, body=body or None, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # a service that refuses a long body answers and closes before it has read it all
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._forget()
            raise LostError(redact(f"{type(error).__name__}: {error}")) from error

    def _rest(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise LostError(redact(f"{type(error).__name__}: {error}")) from error

    def _pour(self, response: http.client.HTTPResponse, into: BinaryIO) -> bool:
        """Copy the body; raises LostError for one that ends early, OSError when it can't be written."""
        expected, got = response.length, 0
        while True:
            try:
                block = response.read(BLOCK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise LostError(redact(f"{type(error).__name__}: {error}")) from error
            if not block:
                break
            into.write(block)
            got += len(block)
        if expected is not None and got != expected:
            raise LostError(f"the connection broke after {got} of {expected} bytes")
        return True

    def _connection(self) -> http.client.HTTPConnection:
        """This thread's connection."""
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is None:
            known = self._new()
            self._local.connection = known
            self._open.add(known)
        return known

    def _new(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(
                self._host, self._port, timeout=TIMEOUT_SECONDS, blocksize=BLOCK_BYTES
            )
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_SECONDS, blocksize=BLOCK_BYTES, context=self._context
        )

    def _forget(self) -> None:
        known = getattr(self._local, "connection", None)
        self._local.connection = None
        if known is not None:
            self._open.discard(known)
            known.close()

    def close(self) -> None:
        """Close the connections of all threads; none of them may be at work."""
        while self._open:
            self._open.pop().close()
        self._local = threading.local()


def _jittered(seconds: float) -> float:
    return seconds * (2 + random.random()) / 3  # noqa: S311 - spreads load, hides nothing
