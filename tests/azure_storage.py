"""Storage accounts for tests: a real Azurite that all share, and a service that answers as it is told."""

from __future__ import annotations

import atexit
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.storage import Storage
from tests.azurite import ACCOUNT, KEY, running_azurite
from tests.faulty_http import Answer, Faulty


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
    with Faulty(0, lambda _: left.pop(0) if len(left) > 1 else left[0]) as port:
        yield account(f"http://127.0.0.1:{port}/{ACCOUNT}", pauses=(0.01, 0.01))


def whole(body: bytes, status: int = 200, code: str = "") -> Answer:
    return Answer(status, {"x-ms-error-code": code} if code else {}, body)
