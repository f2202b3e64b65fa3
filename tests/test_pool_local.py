"""The local pool: the contract of all pools, and what only it does."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_testcard
from farm_runs import kill
from node_work import work_for
from pool_contract import *  # noqa: F403 - the contract's tests become this module's
from pool_contract import PATIENCE_SECONDS, Seen, Subject, card_scene, fault, singles, until, watch

from renderfarm.errors import ConfigError
from renderfarm.node.process import NodeProcess
from renderfarm.queues import Pool, open_pool
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.turns import Turn
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.states import Reason
from renderfarm.words.updates import NodeChange, Rendered, Started, Trouble
from renderfarm.words.work import Task

pytestmark = pytest.mark.usefixtures("nothing_left_running")


class LocalSubject:
    """Local pools, each with a home, a scene and a scratch folder of the test's own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.opened: list[Pool] = []
        self.turns: list[Turn] = []

    def pool(self, *, workers: int = 1, frames: int = 1000, **card: object) -> Pool:
        return self.prepared(self.job(workers=workers, frames=frames, **card))

    def job(
        self, *, workers: int | None, frames: int = 1000, warm: NodeProcess | None = None, **card: object
    ) -> PoolJob:
        path = write_testcard(self.folder / "scene", **card)
        scratch = self.folder / f"scratch{len(self.opened)}"
        scene = card_scene(path, card)
        self.turns.append(Turn(self.home, "job", together=True))
        work = work_for(path, scratch)
        return PoolJob("job", work, scene, self.home, frames, self.turns[-1], workers, warm)

    def prepared(self, job: PoolJob, **options: object) -> Pool:
        pool = open_pool(PoolConfig(options=options))
        self.opened.append(pool)
        pool.prepare(job)
        return pool

    def kill_node(self, name: str) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                argv, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if argv.endswith(b"\0serve\0" + name.encode() + b"\0") and str(self.home).encode() in environment:
                kill(int(folder.name))


@pytest.fixture
def subject(tmp_path: Path, home: Path) -> Iterator[LocalSubject]:
    subject = LocalSubject(tmp_path, home)
    yield subject
    for pool in subject.opened:
        pool.close()
    for turn in subject.turns:
        turn.leave()


def test_the_local_pool_is_a_subject_of_the_contract(subject: LocalSubject) -> None:
    checked: Subject = subject
    assert checked


def test_a_warm_node_is_taken_over_and_renders(subject: LocalSubject) -> None:
    node = NodeProcess("w1")
    job = subject.job(workers=1, warm=node)
    node.look(job.work)
    node.described()
    pool = subject.prepared(job)
    assert node.taken
    pool.submit(singles([1]))
    (receipt,) = watch(pool, until(1)).of(Rendered)
    assert isinstance(receipt, Rendered)
    assert receipt.node == "w1"


@pytest.mark.parametrize(
    ("asked", "configured", "names"), [(3, {}, "w1 w2 w3"), (None, {"workers": 2}, "w1 w2")]
)
def test_as_many_workers_render_as_were_asked_for_or_the_configuration_says(
    subject: LocalSubject, asked: int | None, configured: dict[str, object], names: str
) -> None:
    pool = subject.prepared(subject.job(workers=asked, seconds=0.2), **configured)
    pool.submit(singles(range(1, 10)))
    nodes = {r.node for r in watch(pool, until(9)).of(Rendered) if isinstance(r, Rendered)}
    assert nodes == set(names.split())


def test_sessions_that_did_not_pay_are_not_started_again(subject: LocalSubject) -> None:
    job = subject.job(workers=None, seconds=0.05, cpu_seconds=0.05)
    pool = subject.prepared(replace(job, unpaid=0.05))
    pool.submit(singles(range(1, 7)))
    started = watch(pool, until(6)).of(NodeChange)
    assert {change.node for change in started if isinstance(change, NodeChange)} == {"w1"}


def test_a_session_that_takes_more_memory_than_configured_is_stopped(subject: LocalSubject) -> None:
    job = subject.job(workers=1, faults={"1": {"what": "memory"}})
    pool = subject.prepared(job, memory_gb=0.25)
    pool.submit(singles([1]))
    assert watch(pool, until(1)).outcomes == {1: "out-of-memory"}


@pytest.mark.parametrize(
    "options",
    [
        {"wrokers": 2},
        {"workers": 0},
        {"workers": "2"},
        {"workers": True},
        {"memory_gb": -1},
        {"memory_gb": "8"},
    ],
)
def test_keys_and_values_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        open_pool(PoolConfig(options=options))


# Two jobs at once


def test_two_pools_share_the_machine(subject: LocalSubject, survivors: Callable[[], list[str]]) -> None:
    one = subject.pool(workers=4, seconds=0.1)
    other = subject.pool(workers=4, seconds=0.1)
    other.submit(singles(range(1, 13)))
    nodes = {r.node for r in watch(other, until(12)).of(Rendered) if isinstance(r, Rendered)}
    assert len(nodes) == 2
    one.close()
    other.close()
    assert survivors() == []


# What only a pool of this machine's own processes promises


def test_tasks_are_walked_only_as_they_are_wanted(subject: LocalSubject) -> None:
    walked = itertools.count(1)
    pool = subject.pool(workers=2)
    pool.submit(Task((frame,)) for frame in walked)
    watch(pool, until(5))
    pool.cancel()
    assert next(walked) < 500


def test_later_tasks_go_ahead_of_those_not_walked_yet(subject: LocalSubject) -> None:
    pool = subject.pool()
    pool.submit(singles(itertools.count(1)))
    watch(pool, until(1))
    pool.submit([Task((-7,))])
    seen = watch(pool, lambda seen: -7 in seen.outcomes)
    assert len(seen.outcomes) < 100
    pool.cancel()


def test_a_lost_node_costs_the_frame_in_hand_and_the_rest_is_rendered(subject: LocalSubject) -> None:
    pool = subject.pool(workers=2, faults=fault("hang", 2))
    pool.submit([Task((1, 2, 3, 4)), Task((5,)), Task((6,))])
    seen = watch(pool, lambda seen: any(isinstance(u, Started) and u.frame == 2 for u in seen.updates))
    (victim,) = [u.node for u in seen.updates if isinstance(u, Started) and u.frame == 2]
    subject.kill_node(victim)
    watch(pool, until(6), seen)
    assert seen.outcomes == {1: "", 2: "node-lost", 3: "", 4: "", 5: "", 6: ""}
    assert set(seen.times_decided.values()) == {1}
    gone = [u.node for u in seen.updates if isinstance(u, NodeChange) and u.state == "gone"]
    assert victim in gone


def test_a_node_that_fails_again_and_again_gets_no_more_work_and_is_replaced(subject: LocalSubject) -> None:
    pool = subject.pool(faults=fault("crash", 1, 2, 3))
    pool.submit(singles(range(1, 7)))
    seen = watch(pool, until(6))
    assert seen.outcomes == {1: "crash", 2: "crash", 3: "crash", 4: "", 5: "", 6: ""}
    refused = [u.node for u in seen.updates if isinstance(u, NodeChange) and u.state == "refused"]
    nodes = {u.node for u in seen.updates if isinstance(u, Rendered)}
    assert refused
    assert not nodes & set(refused)


def test_when_node_after_node_dies_that_is_trouble_and_nothing_hangs(subject: LocalSubject) -> None:
    pool = subject.pool(faults=fault("hang", *range(1, 100)))
    pool.submit(singles(range(1, 100)))
    seen, killed = Seen(), set[str]()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen.of(Trouble):
        assert time.monotonic() < deadline
        new = pool.updates(0.2)
        seen.updates += new
        for node in {u.node for u in new if isinstance(u, Started)} - killed:
            subject.kill_node(node)
            killed.add(node)
    (trouble,) = seen.of(Trouble)
    assert isinstance(trouble, Trouble)
    assert trouble.reason is Reason.NODE_LOST
    assert set(seen.outcomes.values()) == {"node-lost"}


def test_cancel_stops_at_once_even_what_hangs(
    subject: LocalSubject, survivors: Callable[[], Sequence[str]]
) -> None:
    pool = subject.pool(workers=2, faults=fault("hang", 1, 2))
    pool.submit([Task((1, 5)), Task((2, 6))])
    seen = watch(pool, lambda seen: len(seen.of(Started)) == 2)
    pool.cancel()
    assert survivors() == []
    watch(pool, until(4), seen)
    assert seen.outcomes == dict.fromkeys((1, 2, 5, 6), "node-lost")


def test_close_leaves_nothing_running_and_may_be_called_twice(
    subject: LocalSubject, survivors: Callable[[], Sequence[str]]
) -> None:
    pool = subject.pool(workers=2, faults=fault("hang", 2))
    pool.submit(singles((1, 2)))
    watch(pool, lambda seen: 1 in seen.outcomes and len(seen.of(Started)) == 2)
    pool.close()
    assert survivors() == []
    pool.close()
