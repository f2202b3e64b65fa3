"""One command line on a node: started without a shell, in a session of its own, killed as a whole."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.batch_service.state import Body
from tests.batch_service.watchdog import Watchdog, kill_group, started_at

GRACE_SECONDS = 5.0
"""between SIGTERM and SIGKILL, as on Linux nodes"""


@dataclass(eq=False)
class TaskError(Exception):
    """Why a task could not be run or has failed, as `failureInfo` tells it."""

    code: str
    message: str
    category: str = "usererror"
    details: Mapping[str, str] = field(default_factory=dict)

    def info(self) -> Body:
        info: Body = {"category": self.category, "code": self.code, "message": self.message}
        if self.details:
            info["details"] = [{"name": name, "value": value} for name, value in self.details.items()]
        return info


@dataclass(frozen=True, slots=True)
class Group:
    """A command and all that it started; `leader_start` tells its number from a later use of it."""

    leader_start: str
    streams: Path


class Processes:
    """Starts commands and sees to it that none outlives the service."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._watchdog = Watchdog(root)
        self._groups: dict[int, Group] = {}

    async def run(
        self, command_line: str, environment: Mapping[str, str], folder: Path, streams: Path, keep: bool = False
    ) -> int:
        """The exit code; stdout.txt and stderr.txt go to `streams`. A signal counts as 128 plus its number.

        When the caller is cancelled the whole group gets SIGTERM and, after the grace, SIGKILL.
        With `keep`, what the command left running stays (a start task may start daemons).
        """
        argv = _split(command_line)
        with (streams / "stdout.txt").open("wb") as out, (streams / "stderr.txt").open("wb") as err:
            process = await _start(argv, environment, folder, out.fileno(), err.fileno())
        group = Group(started_at(process.pid), streams)
        self._groups[process.pid] = group
        self._watchdog.watch(process.pid, group.leader_start)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await asyncio.shield(self._end(process))
            raise
        if not keep:
            self._forget(process.pid)
        return code if code >= 0 else 128 - code

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._signal(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        except TimeoutError:
            self._signal(process.pid, signal.SIGKILL)
            await process.wait()
        self._forget(process.pid)

    def kill_below(self, folder: Path) -> None:
        """Ends at once whatever was started with its streams below `folder`: a machine is gone."""
        for number, group in list(self._groups.items()):
            if group.streams.is_relative_to(folder):
                self._forget(number)

    def _signal(self, number: int, what: int) -> None:
        if group := self._groups.get(number):
            kill_group(number, group.leader_start, self._root, what)

    def _forget(self, number: int) -> None:
        self._signal(number, signal.SIGKILL)
        self._groups.pop(number, None)
        self._watchdog.forget(number)

    def close(self) -> None:
        """Ends everything that is left."""
        for number in list(self._groups):
            self._forget(number)
        self._watchdog.close()


def _split(command_line: str) -> list[str]:
    try:
        argv = shlex.split(command_line)
    except ValueError as error:
        raise TaskError("CommandLaunchFailed", f"The command line can't be split: {error}") from None
    if not argv:
        raise TaskError("CommandLaunchFailed", "The command line is empty")
    return argv


async def _start(
    argv: list[str], environment: Mapping[str, str], folder: Path, out: int, err: int
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    except FileNotFoundError:
        details = {"Message": f"The system cannot find the file specified: {argv[0]}"}
        raise TaskError(
            "CommandProgramNotFound", "The specified program is not found", details=details
        ) from None
    except (OSError, ValueError) as error:
        details = {"Message": str(error)}
        raise TaskError("CommandLaunchFailed", "The command could not be launched", details=details) from None
