"""Storage accounts for tests: a real Azurite that all share, and a service that answers as it is told."""

from __future__ import annotations

import atexit
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.storage import Storage
from tests.azurite import ACCOUNT, KEY, running_azurite

Answer = Callable[[BaseHTTPRequestHandler], None]


def new_storage(prefix: str = "") -> Storage:
    """Storage in Azurite; without a prefix, one that nobody else uses."""
    return account(running_azurite().url, prefix or f"t{secrets.token_hex(6)}")


def account(url: str, prefix: str = "renderfarm", key: str = KEY, **more: Any) -> Storage:
    """A storage account by its URL; kept to the end, as a garbage collector closes sockets untidily."""
    table = CloudSettings("cloud", "http://127.0.0.1:1", url, "batch", ACCOUNT, "Standard_D2", prefix)
    made = Storage(table, key or None, **more)
    atexit.register(made.close)
    return made


def asked(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is asked of the service from now on, by method and path."""
    seen: list[str] = []
    ask = storage._wire.ask

    def noted(method: str, target: str, *more: Any) -> Any:
        seen.append(f"{method} {target}")
        return ask(method, target, *more)

    monkeypatch.setattr(storage._wire, "ask", noted)
    return seen


@contextmanager
def scripted(answers: Sequence[Answer]) -> Iterator[Storage]:
    """A storage account whose service gives these answers in turn, the last one for ever."""
    left = list(answers)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                answer = left.pop(0) if len(left) > 1 else left[0]
            answer(self)

        do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/{ACCOUNT}"
        yield account(url, pauses=(0.01, 0.01))
    finally:
        server.shutdown()
        server.server_close()


def whole(body: bytes, status: int = 200, code: str = "") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        if code:
            request.send_header("x-ms-error-code", code)
        request.end_headers()
        request.wfile.write(body)

    return answer


def broken_off(body: bytes) -> Answer:
    """Promises twice as much as it sends."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(2 * len(body)))
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    return answer
