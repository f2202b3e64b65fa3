"""Who asks the board: one thread, which a folder that does not answer (a network's, hung) may hold for ever.

Then another takes its place and leaves the job of that folder alone, until the first is free again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

from renderfarm.web.board import Board

T = TypeVar("T")


class Clerk:
    """A thread with a board of its own; a daemon, as nobody may wait for it when the server ends."""

    def __init__(self, home: Path, silent: set[str] | None = None) -> None:
        self._home = home
        self._silent: set[str] = set() if silent is None else silent
        self._board: Board | None = None
        self._asked: SimpleQueue[tuple[Callable[[Board], Any], Future[Any]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="ledgers", daemon=True)
        self.thread.start()

    def ask(self, question: Callable[[Board], T]) -> Future[T]:
        """Its answer, when all that was asked before has one."""
        answer: Future[T] = Future()
        self._asked.put((question, answer))
        return answer

    def left_behind(self) -> Self:
        """Who takes its place, and answers what still waited."""
        if self._board and self._board.at:
            self._silent.add(self._board.at)
        other = type(self)(self._home, self._silent)
        with suppress(Empty):
            while asked := self._asked.get_nowait():
                other._asked.put(asked)
        self.leave()
        return other

    def leave(self) -> None:
        """End when all that was asked is answered."""
        self._asked.put(None)

    def _work(self) -> None:
        while asked := self._asked.get():
            question, answer = asked
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(self._told(question))
                except BaseException as error:  # noqa: BLE001 - told to who asked
                    answer.set_exception(error)
        if self._board:
            self._silent.discard(self._board.at)

    def _told(self, question: Callable[[Board], T]) -> T:
        self._board = self._board or Board(self._home, self._silent)
        self._board.jobs()
        return question(self._board)
