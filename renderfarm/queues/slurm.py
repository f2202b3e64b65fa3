"""Slurm: tasks are elements of job arrays, and the depot is the job's folder, which nodes share.

Arrays are known by names that nobody else uses, so nothing needs to be written down when `sbatch` answers.
What squeue does not list is over: Slurm forgets ended jobs within minutes, and a task's journal says how it
went. Lost tasks are handed over anew, as Slurm's own requeue waits two minutes (sbatch(1), --no-requeue).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from renderfarm.depots.folder import FolderDepot
from renderfarm.errors import InputError, PoolError, UnreachableError
from renderfarm.node.task import Order
from renderfarm.queues import Over
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote import RemotePool
from renderfarm.queues.remote_side import Check
from renderfarm.queues.shared import FOLDER, Orders, SharedSide, named
from renderfarm.renderers.asking import surroundings
from renderfarm.settings.pool import PoolConfig, read
from renderfarm.words.scene import Scene
from renderfarm.words.work import Build, Task

ANSWER_SECONDS = 30.0
"""sbatch waits two minutes where no more jobs are taken"""
MAX_ARGUMENT = 100_000
"""bytes of one argument; Linux takes 128 KiB"""
OVER = re.compile("BOOT_FAIL|CANCELLED|COMPLETED|DEADLINE|.*FAIL|OUT_OF_MEMORY|PREEMPTED|REVOKED|TIMEOUT")
"""states of squeue(1) after which a task says nothing more"""
PASSING = re.compile("None|JobArrayTaskLimit|Resources|Priority|BeginTime|Prolog|Cleaning")
"""reasons of waiting that pass by themselves"""
NEVER = re.compile(r"Partition(Config|\w+Limit|Inactive)|BadConstraints|(Account|QOS)NotAllowed|Invalid\w+")
"""reasons for which Slurm takes a job and never runs it"""
_ROW = "%j|%K|%T|%N|%r"
_PASSED_ON = ("partition", "account", "qos", "constraint", "time", "gres")
_WHERE = '"$SLURM_ARRAY_TASK_ID" "$SLURMD_NODENAME" "${SLURM_CPUS_ON_NODE:-0}" "${SLURM_MEM_PER_NODE:-0}"'


@dataclass(frozen=True)
class SlurmSettings:
    """A `[pools.NAME]` table of type "slurm"; what is left out is the cluster's own default."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = ""
    """limit of a task, as sbatch takes it"""
    gres: str = ""
    """of a task, such as gpu:1"""
    cpus: int = 0
    """of a task"""
    memory_gb: float = 0
    """of a task"""
    nodes: int = 0
    """tasks at once, at most"""
    python: str = "python3"
    """3.10 or newer, on nodes"""
    setup: str = ""
    """shell command before each task, such as `module load blender`"""
    poll_seconds: float = 5.0
    lost_seconds: float = 60.0
    """how much later than squeue the shared file system may tell how a task ended"""


class SlurmQueue:
    """One job's arrays (see `renderfarm.queues.Queue`)."""

    def __init__(self, settings: SlurmSettings, folder: Path = Path()) -> None:
        self._settings = settings
        self.orders = Orders(folder)
        self._reasons: Counter[str] = Counter()
        """why tasks wait, as of the last look; empty for those that run"""

    @property
    def depot(self) -> FolderDepot:
        """The job's folder."""
        return self.orders.depot

    def prepare(self, job: PoolJob) -> None:
        """Look at what Slurm can't do; raises InputError."""
        self._nice = -((job.record and job.record.request.priority) or 0)
        if self._nice < 0:
            message = "Slurm lets users lower the priority of their jobs, not raise it."
            raise InputError(message, "Give --priority a number below 0, or set qos in the pool's table.")
        self._job, self.orders = job, Orders(job.folder)

    def known(self) -> Iterator[tuple[str, Task]]:
        """The tasks of all arrays."""
        return self.orders.known()

    def submit(self, tasks: Iterable[Task], avoid: Sequence[str]) -> Iterator[tuple[str, Task]]:
        """Arrays as long as the cluster takes them; raises PoolError for one that it refuses."""
        left = iter(tasks)
        while first := next(left, None):
            yield from self._send((first, *islice(left, _longest_array() - 1)), avoid)

    def _send(self, tasks: tuple[Task, ...], avoid: Sequence[str]) -> Iterator[tuple[str, Task]]:
        order = self.orders.write(self._job, tasks)
        command = shlex.join(self.orders.command(order, self._settings.python))
        script = f"#!/bin/sh\n{self._settings.setup}\nexec {command} {_WHERE}\n"
        try:
            _run(["sbatch", *self._arguments(order, avoid)], script)
        except PoolError:
            self.orders.take_back(order)
            raise
        return named(order)

    def _arguments(self, order: Order, avoid: Sequence[str]) -> Iterator[str]:
        settings = self._settings
        yield f"--array=0-{len(order.tasks) - 1}" + (f"%{settings.nodes}" if settings.nodes else "")
        yield from (f"--job-name={order.name}", "--no-requeue", "--open-mode=append", "--export=ALL")
        yield f"--output={str(self.depot.path(FOLDER)).replace('%', '%%')}/%x.%a.out"
        memory = settings.memory_gb and f"{settings.memory_gb * 1024:.0f}M"
        given = {key: getattr(settings, key) for key in _PASSED_ON}
        given |= {"cpus-per-task": settings.cpus, "mem": memory}
        given |= {"nice": self._nice, "exclude": ",".join(avoid)}
        yield from (f"--{key}={value}" for key, value in given.items() if value)

    def look(self) -> Mapping[str, Over]:
        """All tasks that squeue does not call living; where it still knows them, with its word for why."""
        over = {name: Over() for name, _ in self.known()}
        names = "--name=" + ",".join({name.rpartition(".")[0]: "" for name in over})
        asked = ["squeue", "-h", "-r", "-t", "all", f"--user={os.getuid()}", "-o", _ROW]
        asked += [names] if len(names) < MAX_ARGUMENT else []
        listed = _run(asked) if over else ""
        self._reasons.clear()
        for array, number, state, node, reason in (row.split("|", 4) for row in listed.splitlines()):
            name = f"{array}.{number}"
            if name in over and OVER.match(state):
                words = "" if state == "COMPLETED" else self._last_words(name)
                over[name] = Over(f"Slurm: {state}{words}", node if state == "FAILED" else "")
            elif over.pop(name, None):
                self._reasons[reason if state == "PENDING" else ""] += 1
        return over

    def _last_words(self, name: str) -> str:
        """The last line that a task wrote outside its journal: why it did not even begin."""
        with contextlib.suppress(FileNotFoundError):
            lines = self.depot.read(f"{FOLDER}{name}.out").decode(errors="replace").splitlines()
            return next((f": {line}" for line in reversed(lines) if line.strip()), "")
        return ""

    def notices(self) -> Iterator[str]:
        """Reasons of waiting, in squeue's words, that somebody may have to do something about."""
        told = (reason for reason in sorted(self._reasons) if reason and not PASSING.fullmatch(reason))
        return (f"tasks wait in Slurm: {reason}" for reason in told)

    def trouble(self) -> str:
        """Why all tasks that are left wait for ever; empty when one may run."""
        if not self._reasons or not all(map(NEVER.fullmatch, self._reasons)):
            return ""
        return f"Slurm will never run the tasks that it took: {', '.join(sorted(self._reasons))}."

    def living(self) -> int:
        """How many tasks wait or run; raises PoolError."""
        self.look()
        return self._reasons.total()

    def cancel(self) -> None:
        """End all arrays; those that are over don't mind."""
        for order in self.orders:
            _run(["scancel", f"--user={pwd.getpwuid(os.getuid()).pw_name}", f"--name={order.name}"])

    def close(self) -> None:
        """Nothing is open."""


class SlurmSide(SharedSide):
    """What may be asked about jobs and the cluster (see `renderfarm.queues.remote_side.RemoteSide`)."""

    def __init__(self, settings: SlurmSettings) -> None:
        super().__init__(lambda folder: SlurmQueue(settings, folder))
        self._settings = settings

    def equipment(self, scene: Scene, build: Build) -> str:
        """The partition, whose nodes are taken to have the same renderers."""
        settings = self._settings
        return json.dumps(["slurm", settings.partition, settings.constraint, settings.setup, scene.renderer])

    def doctor(self) -> Iterator[Check]:
        """Slurm's commands, its controller, and nodes that are up."""
        wanted = ["-p", self._settings.partition] if self._settings.partition else []
        try:
            rows = set(_run(["sinfo", "-h", "-N", *wanted, "-o", "%N %T"]).splitlines())
        except PoolError as error:
            yield Check("controller", False, error.message, error.hint)
            return
        nodes = Counter(row.split()[1] for row in rows)
        up = any(not re.match("down|drain|fail", state) for state in nodes)
        shown = ", ".join(f"{count} {state}" for state, count in sorted(nodes.items())) or "none"
        yield Check("nodes", up, shown, "" if up else "Ask for them, or name another partition.")


def _run(argv: Sequence[str], text: str = "") -> str:
    """What a command answers; raises PoolError, UnreachableError where the controller is away."""
    own = {key: value for key, value in os.environ.items() if key.startswith(("SLURM_", "SBATCH_"))}
    env, seconds = surroundings("HOME", "USER", "LOGNAME", **own), ANSWER_SECONDS
    try:
        done = subprocess.run(
            argv, input=text, env=env, timeout=seconds, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise PoolError(f"{argv[0]} is not installed here.", "Submit where Slurm's commands are.") from error
    except subprocess.TimeoutExpired as error:
        message = f"{argv[0]} had no answer for {ANSWER_SECONDS:g} s: no controller, or one that takes no more."
        raise UnreachableError(message, "Resume the job later.") from error
    if done.returncode == 0:
        return done.stdout
    message = f"{argv[0]}: {done.stderr.strip() or done.returncode}"
    if argv[0] != "scontrol":
        try:
            _run(["scontrol", "ping"])
        except PoolError as error:
            raise UnreachableError(message, "Resume the job when the controller is back.") from error
    raise PoolError(message, "Mend the pool's table, or ask the cluster's administrators.")


def _longest_array() -> int:
    """As slurm.conf has it; half of all the jobs that the controller takes, so that others find room."""
    limits = dict(re.findall(r"^(\w+)\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.MULTILINE))
    return max(1, min(int(limits.get("MaxArraySize", 1001)), int(limits.get("MaxJobCount", 10000)) // 2))


def open_pool(config: PoolConfig) -> RemotePool:
    """The pool of a `[pools.NAME]` table; raises ConfigError. Nothing is asked of Slurm yet."""
    settings = read(config, SlurmSettings)
    return RemotePool(SlurmQueue(settings), settings.poll_seconds, settings.lost_seconds)


def open_remote_side(config: PoolConfig) -> SlurmSide:
    """What a table offers besides rendering; raises ConfigError."""
    return SlurmSide(read(config, SlurmSettings))


def place(config: PoolConfig) -> str:
    """The cluster that this machine is one of: arrays are found by name in every partition."""
    return 'type = "slurm"'
