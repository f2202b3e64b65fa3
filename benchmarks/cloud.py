"""A job of a hundred thousand one-frame tasks, against the local Batch service and Azurite.

What a user types is timed as a whole, from outside. Only the nodes are replaced: so many task processes would
take hours here. `deliver` says and sends what their tasks would, with the node's own code, and ends the tasks
in Batch; `same_as_rendered` holds that against a job that nodes did render. Nodes of the large jobs take for
ever to start.

`python -m benchmarks.cloud deliver|look JOB [COUNT]` runs in processes of their own: what fills storage, and
a client that does nothing but look.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.measure import Run, run
from renderfarm.depots import JOURNALS, frame_name
from renderfarm.depots.blobs import BlobClient
from renderfarm.job.events import Ended, Taken
from renderfarm.job.home import farm_home
from renderfarm.job.record import Record
from renderfarm.node.delivery import Delivery
from renderfarm.queues import open_pool
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.batch import at
from renderfarm.queues.azure.on_node.journal import Journal
from renderfarm.queues.azure.settings import read
from renderfarm.queues.azure.storage import Storage
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote import RemotePool
from renderfarm.renderers.testcard_inside import picture
from renderfarm.settings import config
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.frames import parse
from renderfarm.words.updates import Rendered, Started
from renderfarm.words.work import Build, Task
from tests.azurite import Azurite
from tests.batch_service.client import running_service
from tests.cloud import Cloud
from tests.farm_runs import card

SIZES = ((5_000, 4_500), (100_000, 20_000))
"""tasks of a small and a large job, and how many of their frames are collected"""
QUICK_SIZES = ((500, 400), (5_000, 4_500))
NODES = 3
TRULY_RENDERED = 50
LOOKS = 30
LOOK_PAUSE_SECONDS = 0.1
STANDSTILL = 1e-5
"""speed of a service whose nodes never start"""
BRISK = 200.0
ENDED_AT_ONCE = 8


@dataclass(frozen=True)
class Looks:
    """What a client that only looks found."""

    ready_seconds: float
    """until it knew all tasks of the job"""
    frames_per_second: float
    """brought down by the pool alone"""
    quiet_ms: list[float]
    """of looks with nothing new"""
    peak_bytes: int


@dataclass(frozen=True)
class Costs:
    """Of one job, command by command."""

    tasks: int
    frames: int
    """that were collected"""
    submit: Run
    collect: Run
    status: Run
    jobs: Run
    look: Looks

    @property
    def peaks(self) -> dict[str, int]:
        """MiB of resident memory, at most, of each client."""
        commands = {"submit": self.submit, "collect": self.collect, "status": self.status}
        found = {name: one.peak_bytes for name, one in commands.items()} | {"look": self.look.peak_bytes}
        return {name: peak >> 20 for name, peak in found.items()}


def costs(folder: Path, *sizes: tuple[int, int]) -> list[Costs]:
    """Jobs of so many tasks each, of which so many are collected; raises SystemExit when anything is wrong."""
    with _clouds(folder, STANDSTILL) as cloud:
        found = [_one(cloud, *size) for size in sizes]
        entries = _entries(cloud, cloud.farm(f"tasks{sizes[0][0]}").only_job())
    with _clouds(folder, BRISK) as cloud:
        same_as_rendered(cloud, entries)
    return found


@contextmanager
def _clouds(folder: Path, speed: float) -> Iterator[Cloud]:
    """Both services, and a pool table that names them."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        Azurite(Path(name) / "azurite") as azurite,
        running_service(Path(name) / "nodes", speed=speed) as service,
    ):
        cloud = Cloud(Path(name) / "cloud", service, azurite, films=True, poll_seconds=None)
        with closing(cloud):
            yield cloud


def _one(cloud: Cloud, tasks: int, frames: int) -> Costs:
    farm = cloud.farm(f"tasks{tasks}")
    scene = card(farm.folder / "shot.testcard", f"1-{tasks}", size=[1, 1])

    def command(*argv: str) -> Run:
        return run([sys.executable, "-m", *argv], farm.folder, farm.environment)

    options = ("--detach", "--chunk", "1", "--no-video", "-o", str(farm.folder / "out"))
    submit = command("renderfarm", "submit", *options, str(scene))
    job = farm.only_job()
    command("benchmarks.cloud", "deliver", job, str(frames))
    command("benchmarks.cloud", "look", job)
    look = Looks(**json.loads((farm.folder / "output.txt").read_text()))
    collect = command("renderfarm", "collect", job)
    found = farm.status(job)["frames"]
    if (found["succeeded"], found["total"]) != (frames, tasks):
        raise SystemExit(f"{frames} of {tasks} frames should be here: {found}")
    status, jobs = command("renderfarm", "status", job), command("renderfarm", "jobs")
    return Costs(tasks, frames, submit, collect, status, jobs, look)


# Instead of nodes


def deliver(count: int, record: Record, account: Account) -> None:
    """All that storage and Batch hold once the first tasks are done."""
    access = account.access(record.job)
    numbers = range(1, count + 1)
    with ProcessPoolExecutor(NODES) as nodes:
        work = partial(_node, access.outputs, record.renderer)
        list(nodes.map(work, range(NODES), [numbers[node::NODES] for node in range(NODES)]))
    batch_job = layout.batch_id(record.job)
    with ThreadPoolExecutor(ENDED_AT_ONCE) as threads:
        names = [layout.task_id(Task((number,))) for number in numbers]
        places = [at("jobs", batch_job, "tasks", name, "terminate") for name in names]
        list(threads.map(lambda place: account.batch.order("POST", place, "end a task"), places))


def _node(outputs: str, build: Build, number: int, frames: range) -> None:
    """What one node sends: each task with its own journal lines, receipt and picture."""
    name = f"tvmps_{number:064x}_p"
    node = layout.node_name(name)
    client = BlobClient(outputs)
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(client, name) as journal,
        Delivery(client, journal.add) as delivery,
    ):
        for frame in frames:
            task = Task((frame,))
            journal.add(Taken(layout.task_id(task), node), Started(frame, task.id, 1, node))
            path = Path(folder) / f"{frame}.png"
            path.write_bytes(picture(frame, (1, 1), ""))
            name = frame_name(frame, 1, "png")
            delivery.hand_over([path], Rendered(frame, name, 0.1, task=task.id, node=node, build=build))
            journal.add(Ended(layout.task_id(task), node, 0))


def same_as_rendered(cloud: Cloud, delivered: dict[str, frozenset[str]]) -> None:
    """Raise SystemExit unless nodes that do render say and leave the same things as `deliver`."""
    farm = cloud.farm("rendered")
    scene = card(farm.folder / "shot.testcard", f"1-{TRULY_RENDERED}", size=[1, 1])
    argv = ["submit", "--chunk", "1", "--no-video", "-o", str(farm.folder / "out"), str(scene)]
    run([sys.executable, "-m", "renderfarm", *argv], farm.folder, farm.environment)
    frames = len(list((farm.folder / "out" / "frames").glob("shot.*.png")))
    found = _entries(cloud, farm.only_job())
    if frames != TRULY_RENDERED or found != delivered:
        raise SystemExit(f"{frames} frames were rendered; nodes say {found}, the benchmark {delivered}")


def _entries(cloud: Cloud, job: str) -> dict[str, frozenset[str]]:
    """What kinds of things stand in a job's journals, with the names of their values."""
    settings = read(PoolConfig("cloud", "azure-batch", dict(cloud.settings)))
    with closing(Storage(settings, cloud.azurite.key)) as storage:
        depot = storage.at(layout.container(cloud.prefix, job))
        lines = [line for name, _ in depot.list(JOURNALS) for line in depot.read(name).splitlines()]
        entries = (json.loads(line) for line in lines)
        return {kind: frozenset(value) for kind, value, _ in entries if kind != "Noted"}


# A client that only looks


def look(record: Record) -> Looks:
    """Take the job up, bring its frames down, then look again and again."""
    started = time.monotonic()
    pool = open_pool(config.load().pool("cloud"))
    if not isinstance(pool, RemotePool):
        raise SystemExit("The pool is not one of Azure Batch.")
    with tempfile.TemporaryDirectory() as scratch, closing(pool):
        work = replace(record.work, scratch=scratch, logs=scratch)
        pool.prepare(
            PoolJob(
                record.job, work, record.scene, farm_home(), record.total, record=record, folder=Path(scratch)
            )
        )
        pool.submit(Task((frame,)) for frame in parse(record.frames))
        ready = time.monotonic()
        frames = _frames_of(pool)
        speed = frames / (time.monotonic() - ready)
        quiet = [_look_ms(pool) for _ in range(LOOKS)]
    return Looks(ready - started, speed, quiet, _peak_bytes())


def _frames_of(pool: RemotePool) -> int:
    frames = 0
    while not pool.caught_up():
        frames += sum(isinstance(update, Rendered) for update in pool.updates(0.2))
    return frames


def _look_ms(pool: RemotePool) -> float:
    time.sleep(LOOK_PAUSE_SECONDS)
    started = time.monotonic()
    pool._look()
    return (time.monotonic() - started) * 1000


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Deliver frames, or look."""
    verb, job, *more = sys.argv[1:]
    with closing(Account(read(config.load().pool("cloud")))) as account:
        record = account.record(job)
        if record is None:
            raise SystemExit(f"The cloud has no job {job}.")
        if verb == "deliver":
            deliver(int(more[0]), record, account)
        else:
            print(json.dumps(asdict(look(record))))


if __name__ == "__main__":
    main()
