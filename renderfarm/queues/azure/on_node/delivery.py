"""Hands frames over while the next ones are rendered: picture to storage, then a line in the journal.

At most a few frames are on their way; a renderer that is faster than the line waits here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from renderfarm.depots.blobs import BlobClient

UNDER_WAY = 6
THREADS = 4
RECEIPT = "receipt"
"""name of the blob's metadata"""
LARGEST_RECEIPT_BYTES = 4096
"""storage takes 8 KB of metadata in all"""

Receipt = dict[str, Any]


class Delivery:
    """Frames on their way to storage."""

    def __init__(self, client: BlobClient) -> None:
        self._client = client
        self._room = threading.BoundedSemaphore(UNDER_WAY)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="delivery")
        self._futures: set[Future[None]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is up; raises BlobError for what is not."""
        self._threads.shutdown(wait=True)
        self._settle()

    def hand_over(self, path: Path, receipt: Receipt, blob: str, then: Callable[[Receipt], None]) -> None:
        """Send a frame, remove its file and call `then` with the receipt, hash and size included.

        Raises BlobError when an earlier frame could not be sent.
        """
        self._room.acquire()
        try:
            self._settle()
            with self._lock:
                self._futures.add(self._threads.submit(self._send, path, receipt, blob, then))
        except BaseException:
            self._room.release()
            raise

    def _send(self, path: Path, receipt: Receipt, blob: str, then: Callable[[Receipt], None]) -> None:
        try:
            sha256, size = _digest(path)
            full = {**receipt, "blob": blob, "sha256": sha256, "bytes": size}
            self._client.put(blob, path, {RECEIPT: packed(full)})
            path.unlink()
            then(full)
        finally:
            self._room.release()

    def _settle(self) -> None:
        """Forget what is done; what failed is kept, so that everybody hears of it."""
        with self._lock:
            for future in [future for future in self._futures if future.done()]:
                future.result()
                self._futures.discard(future)


def packed(receipt: Receipt) -> str:
    """A receipt as metadata; long warnings stay out of it."""
    text = json.dumps(receipt, separators=(",", ":"))
    if len(text) * 4 // 3 > LARGEST_RECEIPT_BYTES:
        text = json.dumps({**receipt, "warnings": []}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def delivered_before(client: BlobClient, blob: str) -> Receipt | None:
    """The receipt of a frame that is in storage; None when it isn't, or nobody can read its receipt."""
    found = client.stat(blob)
    if found is None or RECEIPT not in found.metadata:
        return None
    try:
        receipt: Receipt = json.loads(base64.b64decode(found.metadata[RECEIPT]))
    except ValueError:
        return None
    return receipt


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
