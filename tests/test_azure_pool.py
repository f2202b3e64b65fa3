"""The cloud pool against the contract of all pools, as far as it holds for one that goes on by itself.

It takes all tasks at once, a lost node's tasks are Batch's to give to another one, and closing it stops
nothing: what the contract says about these is left out here, and said otherwise below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_testcard
from node_work import work_for
from pool_contract import *  # noqa: F403 - the contract's tests become this module's
from pool_contract import Subject, card_scene, fault, singles, until, watch
from queue_contract import *  # noqa: F403 - and that of all queues
from queue_contract import Queues

from renderfarm.job.record import Record
from renderfarm.queues import Pool, Queue, open_pool
from renderfarm.queues.azure import batch
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.cloudjob import CloudJob
from renderfarm.queues.azure.queue import BatchQueue
from renderfarm.queues.azure.settings import read
from renderfarm.queues.pool_job import PoolJob
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.request import Request
from renderfarm.words.updates import Failed, NodeChange, Started, Trouble
from renderfarm.words.work import Task
from tests.batch_service import client
from tests.batch_service.client import KEY, unique
from tests.cloud import Cloud

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]


class CloudSubject:
    """Cloud pools of one cloud, each with a job of its own."""

    def __init__(self, cloud: Cloud, home: Path) -> None:
        self.cloud, self.home = cloud, home
        self.opened: list[Pool | Queue] = []

    def pool(self, *, workers: int = 1, frames: int = 1000, **card: object) -> Pool:
        return self.prepared(self.job(frames, **card))

    def job(self, frames: int = 1000, name: str = "", **card: object) -> PoolJob:
        name = name or unique("job")
        folder = self.cloud.folder / name
        path = write_testcard(folder, **card)
        scene = card_scene(path, card)
        work = work_for(path, folder / f"scratch{len(self.opened)}")
        request = Request(str(path), str(folder / "out"), pool="cloud", retries=0)
        record = Record(name, 0.0, request, "1-8", frames, 24.0, scene, work.build, work, fingerprint="take")
        return PoolJob(name, work, scene, self.home, frames, record=record, folder=folder / "job")

    def prepared(self, job: PoolJob) -> Pool:
        pool = open_pool(PoolConfig("cloud", "azure-batch", dict(self.cloud.settings)))
        self.opened.append(pool)
        pool.prepare(job)
        return pool

    def queue(self, job: PoolJob) -> Queue:
        queue = BatchQueue(read(PoolConfig("cloud", "azure-batch", dict(self.cloud.settings))))
        self.opened.append(queue)
        queue.prepare(job)
        return queue

    def close(self, pool: Pool | Queue) -> None:
        """A machine lets go of its job."""
        self.opened.remove(pool)
        pool.close()

    def kill_node(self, name: str) -> None:
        (node,) = [node for node in self.cloud.nodes() if node.removeprefix("tvmps_").startswith(name[:6])]
        self.cloud.control("preempt", pool=self.cloud.pool, node=node, restore_after=None)


@pytest.fixture
def cloudy(
    new_cloud: Callable[..., Cloud], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., CloudSubject]]:
    made: list[CloudSubject] = []

    def make(**settings: object) -> CloudSubject:
        cloud = new_cloud(**settings)
        monkeypatch.setenv("RENDERFARM_BATCH_KEY", KEY)
        monkeypatch.setenv("RENDERFARM_STORAGE_KEY", cloud.azurite.key)
        made.append(CloudSubject(cloud, home))
        return made[-1]

    yield make
    for subject in made:
        for pool in subject.opened:
            pool.cancel()
            pool.close()


@pytest.fixture
def subject(cloudy: Callable[..., CloudSubject]) -> CloudSubject:
    return cloudy(poll_seconds=0.1)


@pytest.fixture
def queues(subject: CloudSubject) -> Queues:
    return subject


def test_the_cloud_pool_is_a_subject_of_the_contract(subject: CloudSubject) -> None:
    checked: Subject = subject
    assert checked


def test_a_lost_nodes_frames_are_rendered_by_another_and_none_fails(
    cloudy: Callable[..., CloudSubject],
) -> None:
    subject = cloudy(pool_id=None, poll_seconds=0.1, nodes=2)
    pool = subject.pool(seconds=0.3)
    pool.submit([Task(tuple(range(1, 6))), Task(tuple(range(6, 11)))])
    seen = watch(pool, until(1))
    victim = next(u.node for u in seen.updates if isinstance(u, Started))
    subject.kill_node(victim)
    watch(pool, until(10), seen)
    assert not seen.of(Failed)
    assert set(seen.times_decided.values()) == {1}
    assert victim in [u.node for u in seen.updates if isinstance(u, NodeChange) and u.state == "gone"]


def test_close_leaves_the_tasks_to_the_cloud_and_another_pool_brings_them_home(subject: CloudSubject) -> None:
    job = subject.job(seconds=0.2)
    pool = subject.prepared(job)
    pool.submit([Task((1, 2, 3, 4, 5))])
    watch(pool, until(1))
    subject.close(pool)
    other = subject.prepared(subject.job(name=job.id, seconds=0.2))
    other.submit([Task((1, 2)), Task((3, 4, 5))])
    seen = watch(other, until(5))
    assert set(seen.outcomes.values()) == {""}
    assert subject.cloud.submissions(job.id) == {(frame, 1): 1 for frame in range(1, 6)}


def test_a_batch_job_that_ends_while_tasks_are_handed_over_leaves_none_of_them_behind(
    subject: CloudSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_ADDED", 1)
    job = subject.job()
    pool = subject.prepared(job)
    pool.submit(singles([1]))
    seen = watch(pool, until(1))
    client.until(lambda: subject.cloud.get(f"/jobs/{job.id}")["state"] == "completed")
    pool.submit(singles(range(2, 6)))
    watch(pool, until(5), seen)
    assert set(seen.outcomes.values()) == {""}


def test_frames_that_are_here_already_are_not_handed_over_again(subject: CloudSubject) -> None:
    job = subject.job()
    pool = subject.prepared(job)
    pool.submit(singles(range(1, 5)))
    watch(pool, until(4))
    subject.close(pool)
    other = subject.prepared(replace(subject.job(name=job.id), good=frozenset({1, 2, 3})))
    seen = watch(other, until(1))
    seen.updates += other.updates(0.3)
    assert seen.outcomes == {4: ""}


@pytest.mark.slow
def test_what_a_canceled_job_never_rendered_is_rendered_when_it_is_submitted_again(
    subject: CloudSubject,
) -> None:
    job = subject.job(faults=fault("hang", 1, 2, 3))
    pool = subject.prepared(job)
    pool.submit(singles(range(1, 8)))
    watch(pool, lambda seen: len(seen.of(Started)) == 3)
    pool.cancel()
    subject.close(pool)
    other = subject.prepared(subject.job(name=job.id))
    lost = watch(other, until(7)).outcomes
    assert lost == dict.fromkeys(range(1, 8), "node-lost")
    other.submit(Task((frame,), 2) for frame in range(4, 8))
    assert watch(other, until(4)).outcomes == dict.fromkeys(range(4, 8), "")


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1.0, 2.0 / 3600])
def test_what_a_batch_job_or_its_tokens_have_no_time_for_is_rendered_in_the_next_one(
    cloudy: Callable[..., CloudSubject], monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    """Either the job has no time for a frame, or the tokens with which its nodes write have run out."""
    subject = cloudy(poll_seconds=0.1, job_hours=hours)
    job = subject.job(seconds=3.0)
    pool = subject.prepared(job)
    with monkeypatch.context() as patch:
        if hours == 1:
            patch.setattr(
                Account, "outputs", lambda own, job: own.storage.sas_url(own.container(job), "cw", -60)
            )
        pool.submit(singles([1, 2]))
    lost = dict.fromkeys((1, 2), "node-lost")
    assert watch(pool, until(2)).outcomes == lost
    subject.close(pool)
    subject.cloud.settings["job_hours"] = 1
    other = subject.prepared(replace(subject.job(name=job.id), failed=dict.fromkeys(lost, 1)))
    other.submit([Task((1,), 2)])
    assert watch(other, until(1)).outcomes == {1: ""}
    assert len(subject.cloud.batch_jobs(job.id)) == 2


def test_a_batch_job_that_ends_while_its_last_tasks_are_added_is_seen_to_have_ended(
    subject: CloudSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = CloudJob.seal

    def ended_before(cloud: CloudJob) -> None:
        cloud._batch.terminate_job(cloud.id, "by hand")
        seal(cloud)

    monkeypatch.setattr(CloudJob, "seal", ended_before)
    pool = subject.pool(faults=fault("hang", *range(1, 9)))
    pool.submit(singles(range(1, 9)))
    seen = watch(pool, lambda seen: bool(seen.of(Trouble)))
    assert any("by hand" in u.message for u in seen.updates if isinstance(u, Trouble))
