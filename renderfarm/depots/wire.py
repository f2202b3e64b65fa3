"""HTTP as storage needs it: connections that stay open, the environment's proxy, patience with the busy."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from renderfarm.depots.redaction import redact

WAITS = (0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0)
"""seconds between tries; a third of each is left to chance so that a thousand nodes don't come back at once"""
TIMEOUT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 120.0
BLOCK_BYTES = 1 << 20
BUSY = frozenset({408, 429, 500, 502, 503, 504})

Body = bytes | Path
_CODE = re.compile(rb"<Code>(\w+)</Code>")


class LostError(Exception):
    """The connection broke, or no whole answer came."""


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def good(self) -> bool:
        """Whether what was asked for was done."""
        return self.status // 100 == 2

    @property
    def code(self) -> str:
        """Storage's own word for a refusal; empty when it gave none."""
        found = _CODE.search(self.data)
        return self.headers.get("x-ms-error-code", "") or (found[1].decode() if found else "")

    @property
    def seconds(self) -> float | None:
        """How long the service asks us to wait."""
        try:
            return min(float(self.headers.get("retry-after", "")), LONGEST_WAIT_SECONDS)
        except ValueError:
            return None


class Wire:
    """One service, named by scheme, host and port of a URL. Any number of threads may use it at once."""

    def __init__(
        self,
        url: str,
        waits: tuple[float, ...] = WAITS,
        *,
        certificates: str | None = None,
        direct: bool = False,
    ) -> None:
        """`certificates` is a file of those to trust instead of the system's; `direct` knows no proxy."""
        parts = urlsplit(url)
        self._scheme, self._netloc = parts.scheme, parts.netloc
        self._context = ssl.create_default_context(cafile=certificates) if parts.scheme == "https" else None
        proxy = None if direct or proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
        self._proxy = urlsplit(proxy if "//" in proxy else f"http://{proxy}") if proxy else None
        self._waits = waits
        self._idle: list[http.client.HTTPConnection] = []

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
        """One request; where the service closed a connection that was idle, over another one."""
        while True:
            idle = self._idle.pop() if self._idle else None
            connection = idle or self._new()
            try:
                with _losses():
                    response = self._sent(connection, method, target, headers, body)
            except LostError:
                connection.close()
                if idle is None:
                    raise
                continue
            return self._answered(connection, response, into)

    def _answered(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        into: BinaryIO | None,
    ) -> Reply:
        try:
            if into is not None and response.status // 100 == 2:
                data = _poured(response, into)
            else:
                with _losses():
                    data = response.read()
        except BaseException:
            connection.close()
            raise
        if response.isclosed() and connection.sock is not None:
            self._idle.append(connection)
        else:
            connection.close()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def _sent(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
    ) -> http.client.HTTPResponse:
        length = body.stat().st_size if isinstance(body, Path) else len(body)
        all_headers = {**headers, "Content-Length": str(length)} if method == "PUT" else dict(headers)
        if self._proxy and self._scheme == "http":
            target = f"http://{self._netloc}{target}"
        with body.open("rb") if isinstance(body, Path) else contextlib.nullcontext(body) as opened:
            try:
                connection.request(method, target, body=opened or None, headers=all_headers)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # a service that refuses a long body answers and closes before it has read it all
            return connection.getresponse()

    def _new(self) -> http.client.HTTPConnection:
        own = urlsplit(f"//{self._netloc}")
        via = self._proxy or own
        host, port = via.hostname or "", via.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS, blocksize=BLOCK_BYTES)
        made = http.client.HTTPSConnection(
            host, port, context=self._context, timeout=TIMEOUT_SECONDS, blocksize=BLOCK_BYTES
        )
        if self._proxy:
            made.set_tunnel(own.hostname or "", own.port)
        return made

    def close(self) -> None:
        """Close the connections; no thread may be at work."""
        while self._idle:
            self._idle.pop().close()

    __del__ = close


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise LostError(redact(f"{type(error).__name__}: {error}")) from error


def _poured(response: http.client.HTTPResponse, into: BinaryIO) -> bytes:
    """Copy the body; raises LostError for one that ends early, OSError when it can't be written."""
    expected, got = response.length, 0
    if response.status == 200:  # all of it, whatever came before
        into.seek(0)
        into.truncate()
    while True:
        with _losses():
            block = response.read(BLOCK_BYTES)
        if not block:
            break
        into.write(block)
        got += len(block)
    if expected is not None and got != expected:
        raise LostError(f"the connection broke after {got} of {expected} bytes")
    return b""


def _jittered(seconds: float) -> float:
    return seconds * (2 + random.random()) / 3  # noqa: S311 - spreads load, hides nothing
