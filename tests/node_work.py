"""Work for nodes, and a node process that is listened to until something happens."""

from __future__ import annotations

import dataclasses
import selectors
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farm_runs import PATIENCE_SECONDS

from renderfarm.errors import SessionError
from renderfarm.node.process import NodeProcess
from renderfarm.renderers import renderer
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.work import Task, Work


def work_for(scene: Path, scratch: Path, **fields: Any) -> Work:
    """The work of a test card; without a sandbox, which costs a start, unless asked for."""
    work = Work(
        renderer="testcard",
        build=renderer("testcard").builds()[0],
        scene=str(scene),
        settings=Settings(),
        scratch=str(scratch),
        sandbox=Sandbox.OFF,
    )
    return dataclasses.replace(work, **fields)


class Heard:
    """A node process and all that it said."""

    def __init__(self, work: Work, name: str = "w1") -> None:
        self.node = NodeProcess(name)
        self.lines: list[tuple[str, Any]] = []
        self.node.open(work)

    def render(self, *frames: int, attempt: int = 1) -> list[tuple[str, Any]]:
        """Render a task to its end; what was said of its frames."""
        self.lines.clear()
        self.node.render(Task(frames, attempt), 1)
        self.until(lambda kind, value: kind == "Ended")
        return [line for line in self.lines if line[0] in ("Rendered", "Failed")]

    def until(self, enough: Callable[[str, Any], bool]) -> None:
        """Listen until a line is enough; raises SessionError when the node dies first."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.node, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not selector.select(0.5):
                    continue
                lines = list(self.node.read())
                self.lines += lines
                if any(enough(*line) for line in lines):
                    return
        raise AssertionError(f"waited in vain; heard {self.lines}")

    def until_dead(self) -> SessionError:
        """Listen until the node is gone."""
        try:
            self.until(lambda kind, value: False)
        except SessionError as error:
            return error
        raise AssertionError("the node lives")
