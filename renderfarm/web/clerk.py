"""Who asks the board: one thread, which a folder that does not answer (a network's, hung) may hold for ever.

Then another takes its place and leaves the job of that folder alone, until the first is free again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from renderfarm.errors import StoreError
from renderfarm.web.board import SILENT, Board

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
"""with the folder of a job"""


class Clerk:
    """A thread with a board of its own; a daemon, as nobody may wait for it when the server ends."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._silent: set[str] = set()
        self._asked: SimpleQueue[tuple[Callable[[Board], Any], Future[Any]] | None] = SimpleQueue()
        self._take_over()

    def _take_over(self) -> None:
        """Another thread goes on; the one before ends with what it is at."""
        self._board: Board | None = None
        self.thread = threading.Thread(target=self._work, name="ledgers", daemon=True)
        self.thread.start()

    async def ask(self, question: Callable[[Board], T]) -> T:
        """Ask the board; raises StoreError where a job's folder does not answer."""
        thread, answer = self.thread, Future[T]()
        self._asked.put((question, answer))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), PATIENCE_SECONDS)
        except TimeoutError:
            if answer.done() and not answer.cancelled():  # that is what the question came to
                raise
        if thread is self.thread:
            if self._board and self._board.at:
                self._silent.add(self._board.at)
            self._take_over()
        if answer.cancelled():  # it had not even begun
            return await self.ask(question)
        raise StoreError(SILENT)

    def leave(self) -> None:
        """End when all that was asked is answered."""
        self._asked.put(None)

    def _work(self) -> None:
        board: Board | None = None
        while threading.current_thread() is self.thread and (asked := self._asked.get()):
            question, answer = asked
            if answer.set_running_or_notify_cancel():
                try:
                    if board is None:
                        board = self._board = Board(self._home, self._silent)
                    board.jobs()
                    answer.set_result(question(board))
                except BaseException as error:  # noqa: BLE001 - told to who asked
                    answer.set_exception(error)
        if board:
            self._silent.discard(board.at)
