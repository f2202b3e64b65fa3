"""A web server before another one that answers some requests itself, or drops them."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is answered instead of passing the request on, or what becomes of the other server's answer."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    """pass the request on and break the connection after this many bytes of the answer's body"""
    short: int = 0
    """bytes that are promised and never come"""


DROPPED = Answer(-1)
"""the connection ends without an answer, and nothing was done"""
DROPPED_AFTER = Answer(cut=0)
"""it was done, but nobody hears of it"""


class Faulty:
    """Serves on a port of its own what `rule` says, and what the server at `behind` says where that is None."""

    def __init__(
        self, behind: int, rule: Callable[[Request], Answer | None], tls: tuple[Path, Path] | None = None
    ) -> None:
        self._behind = behind
        self._rule = rule
        self._tls = tls
        self._lock = threading.Lock()

    def __enter__(self) -> int:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                with contextlib.suppress(ConnectionError):
                    outer.serve(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return int(self._server.server_address[1])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            answer = self._rule(Request(handler.command, handler.path, dict(handler.headers), body))
        if answer is DROPPED:
            self._drop(handler)
        elif answer is None or answer.cut is not None:
            self._pass_on(handler, body, None if answer is None else answer.cut)
        else:
            self._send(handler, answer.status, answer.headers, answer.body, len(answer.body) + answer.short)
            if answer.short:
                self._drop(handler)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes, cut: int | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._behind)
        headers = {**handler.headers, "Content-Length": str(len(body))}
        connection.request(handler.command, handler.path, body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if cut == 0:
            self._drop(handler)
            return
        kept = {k: v for k, v in response.getheaders() if k.lower() not in ("transfer-encoding", "connection")}
        length = int(response.getheader("Content-Length") or len(data))
        self._send(handler, response.status, kept, data[:cut], length)
        if cut is not None:
            self._drop(handler)

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes, length: int
    ) -> None:
        handler.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            if name.lower() != "content-length" or name == "Content-Length":
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()

    def _drop(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(make, check=True, capture_output=True)
    return cert, key


def through(port: int, url: str) -> str:
    """The same address on another port of this machine."""
    return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{port}"))
