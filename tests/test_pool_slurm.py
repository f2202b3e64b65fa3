"""The Slurm pool against the contract of all pools, and its queue against that of all queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write_testcard
from node_work import work_for
from pool_contract import *  # noqa: F403 - the contract's tests become this module's
from pool_contract import Subject, card_scene, singles, until, watch
from queue_contract import *  # noqa: F403 - and that of all queues
from queue_contract import Queues

from renderfarm.job.record import Record
from renderfarm.queues import Pool, Queue, open_pool
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.slurm import SlurmQueue, SlurmSettings
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.request import Request
from tests.slurm_cluster import Cluster, cluster

TABLE: dict[str, object] = {"type": "slurm", "cpus": 1, "poll_seconds": 0.1, "lost_seconds": 1}


class SlurmSubject:
    """Pools of one cluster, each with a job of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.opened: list[Pool | Queue] = []

    def pool(self, *, workers: int = 1, frames: int = 1000, **card: object) -> Pool:
        return self.prepared(self.job(frames, **card))

    def job(self, frames: int = 1000, **card: object) -> PoolJob:
        name = f"job-{len(self.opened)}"
        path = write_testcard(self.folder / name, **card)
        scene = card_scene(path, card)
        work = work_for(path, self.folder / name / "scratch")
        Path(work.scratch).mkdir()
        request = Request(str(path), str(self.folder / name / "out"), pool="cluster", retries=0)
        record = Record(name, 0.0, request, "1-8", frames, 24.0, scene, work.build, work)
        return PoolJob(name, work, scene, self.home, frames, record=record, folder=self.folder / name / "job")

    def prepared(self, job: PoolJob) -> Pool:
        pool = open_pool(PoolConfig("cluster", "slurm", {k: v for k, v in TABLE.items() if k != "type"}))
        self.opened.append(pool)
        pool.prepare(job)
        return pool

    def close(self, pool: Pool | Queue) -> None:
        """A machine lets go of its job."""
        self.opened.remove(pool)
        pool.close()

    def queue(self, job: PoolJob) -> Queue:
        queue = SlurmQueue(SlurmSettings(cpus=1))
        self.opened.append(queue)
        queue.prepare(job)
        return queue


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster(cpus=16) as made:
        yield made


@pytest.fixture
def subject(
    slurm: Cluster, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmSubject]:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    made = SlurmSubject(tmp_path, home)
    yield made
    for pool in made.opened:
        pool.cancel()
        pool.close()


@pytest.fixture
def queues(subject: SlurmSubject) -> Queues:
    return subject


def test_the_slurm_pool_is_a_subject_of_the_contract(subject: SlurmSubject) -> None:
    checked: Subject = subject
    assert checked


def test_another_client_takes_over_what_the_first_one_submitted(subject: SlurmSubject) -> None:
    job = subject.job()
    first = subject.prepared(job)
    first.submit(singles((1, 2, 3)))
    subject.close(first)
    second = subject.prepared(job)
    second.submit(singles((1, 2, 3)))
    seen = watch(second, until(3))
    seen.updates += second.updates(0.5)
    assert seen.times_decided == {1: 1, 2: 1, 3: 1}
