"""Storms over the cloud pool: whatever happens to nodes, clients and services, every frame comes home right."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import blender_scenes, povray_scenes
from tests.cloud import CALM, Cloud, leaks, leaks_in, video_frames
from tests.farm_runs import Done, Farm, card, ended, frames_there, pixels, wait_for

pytestmark = pytest.mark.slow  # a cloud, nodes and a farm for each: with `make test-cloud`

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

NewCloud = Callable[..., Cloud]
LONG_SECONDS = 1500.0
needs_renderers = pytest.mark.skipif(
    not (shutil.which("povray") and shutil.which("blender")), reason="needs povray and blender on PATH"
)


def local(folder: Path, scene: Path, *more: object) -> dict[str, bytes]:
    """The pictures of a scene as this machine renders them."""
    farm = Farm(folder)
    done = ended(
        farm.start("submit", "--pool", "local", "--no-video", "-o", folder / "out", *more, "--", scene),
        LONG_SECONDS,
    )
    assert done.code == 0, done.err
    return pixels(folder / "out/frames")


def submitted(farm: Farm, scene: Path, *more: object) -> Done:
    """A submit that may take long."""
    argv = ["submit", "--json", "-o", farm.folder / "out", *more, "--", scene]
    return ended(farm.start(*argv), LONG_SECONDS)


# Whole films


@needs_renderers
@pytest.mark.parametrize(
    ("povray", "blender"), [(12, 2), pytest.param(500, 48, marks=pytest.mark.timeout(3600))]
)
def test_a_film_from_three_nodes_is_equal_to_one_from_this_machine(
    new_cloud: NewCloud, povray: int, blender: int
) -> None:
    cloud = new_cloud(films=True, nodes=3, dedicated_nodes=1)
    pov = povray_scenes.make_textured_scene(cloud.folder / "pov", frames=povray)
    blend = blender_scenes.make_scene(cloud.folder / "blend" / "cube.blend", frames=(1, blender))
    executable = ("--blender", shutil.which("blender"))
    for scene, frames, more in ((pov, povray, ()), (blend, blender, executable)):
        farm = cloud.farm(scene.stem)
        done = submitted(farm, scene, *more)
        assert done.code == 0, done.err
        assert pixels(farm.folder / "out/frames") == local(cloud.folder / f"local-{scene.stem}", scene, *more)
        assert video_frames(done.json["video"]) == frames
        assert set(cloud.submissions(done.json["job"]).values()) == {1}
        assert len(cloud.nodes()) == 3


# Storms

BURSTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("throttle", {"match": "GET /jobs/.*/tasks", "count": 1}),
    ("throttle", {"match": "addtaskcollection", "count": 1, "retry_after": 1}),
    ("server_error", {"match": "addtaskcollection", "apply": "half", "count": 1}),
    ("server_error", {"match": "POST /jobs$", "apply": "all", "status": 500, "count": 1}),
    ("server_error", {"match": "GET /jobs/[^/]+$", "status": 503, "retry_after": 0, "count": 1}),
    ("drop", {"match": "PATCH|POST /pools$|addtaskcollection", "after_commit": True, "count": 2}),
    ("drop", {"match": "GET /pools", "count": 1}),
    ("slow", {"match": "^(GET|POST) /(jobs|pools)", "seconds": 0.3, "count": 3}),
)
"""troubles that come again with every client"""
ALWAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("page_size", {"size": 3}),
    ("enum_case", {}),
    ("partial_content", {}),
    ("stale_counts", {}),
)


class Storm:
    """One job whose machines, nodes and services are disturbed again and again."""

    def __init__(self, cloud: Cloud, scene: Path, seed: int) -> None:
        self.cloud = cloud
        self.scene = scene
        self.dice = random.Random(seed)
        self.said: list[str] = []
        self.machines: list[Farm] = []
        self.preempted: set[str] = set()

    def machine(self) -> Farm:
        """Another machine, whose farm home is empty."""
        self.machines.append(self.cloud.farm(f"machine{len(self.machines)}"))
        return self.machines[-1]

    def begin(self, *more: object) -> str:
        """Submit, and die as soon as the job is whole in the cloud; its id."""
        self.gust()
        farm = self.machine()
        process = farm.start("submit", "-o", farm.folder / "out", *more, "--", self.scene)
        wait_for(self._record, "the job's record in storage", 60)
        job = str(self._record())
        time.sleep(self.dice.uniform(0.0, 0.5))
        self._kill(process)
        shutil.rmtree(farm.folder)
        return job

    def _record(self) -> str | None:
        for container in self.cloud.storage.list_containers(name_starts_with=f"{self.cloud.prefix}-shot"):
            name = container.name.removeprefix(f"{self.cloud.prefix}-")
            if "in/job.json" in self.cloud.blobs(name):
                return name
        return None

    def gust(self) -> None:
        self.cloud.control("reset")
        for name, options in (*ALWAYS, *BURSTS):
            self.cloud.control(name, **options)

    def follow_and_die(self, job: str) -> bool:
        """Take the job up on another machine and kill that; whether it was still at work."""
        self.gust()
        farm = self.machine()
        process = farm.start("resume", job)
        for _ in range(self.dice.randrange(1, 3)):
            time.sleep(self.dice.uniform(0.1, 0.6))
            self.preempt()
        wanted = self.dice.randrange(1, 5)
        here = farm.folder / "renders/shot"
        wait_for(lambda: frames_there(here) >= wanted or process.poll() is not None, "frames on a machine", 60)
        self.preempt()
        return self._kill(process)

    def preempt(self) -> None:
        """Take a node away, one that was not taken before while there is any; it comes back empty."""
        alive = [name for name, node in self.cloud.nodes().items() if node["state"] in ("idle", "running")]
        fresh = [name for name in alive if name not in self.preempted]
        if alive:
            victim = self.dice.choice(fresh or alive)
            self.preempted.add(victim)
            self.cloud.control("preempt", pool=self.cloud.pool, node=victim, restore_after=0.3)

    def _kill(self, process: subprocess.Popen[str]) -> bool:
        at_work = process.poll() is None
        process.kill()
        out, err = process.communicate()
        self.said += [out, err]
        return at_work

    def finish(self, job: str, seconds: float = 120.0) -> Done:
        """The last machine stays until the end."""
        self.gust()
        done = ended(self.machine().start("resume", job, "--json"), seconds)
        self.said += [done.out, done.err]
        return done


def assert_nothing_is_lost_wrong_or_told(
    storm: Storm, job: str, done: Done, pictures: dict[str, bytes]
) -> None:
    assert done.code == 0, done.err
    assert pixels(Path(done.json["frames_dir"])) == pictures
    assert video_frames(done.json["video"]) == len(pictures)
    assert leaks_in(*storm.said) == []
    assert leaks(storm.cloud.folder) == []
    nodes = storm.cloud.nodes().values()
    assert leaks(*(Path(node["folder"]) for node in nodes)) == []


@pytest.mark.parametrize(
    ("frames", "deaths", "seed"), [(40, 3, 1), pytest.param(300, 5, 2, marks=pytest.mark.timeout(1200))]
)
def test_nodes_vanish_clients_die_and_services_stumble_and_every_frame_comes_home(
    new_cloud: NewCloud, tmp_path: Path, frames: int, deaths: int, seed: int
) -> None:
    cloud = new_cloud(films=True, pool_id=None)
    scene = card(tmp_path / "shot.testcard", f"1-{frames}", seconds=0.15)
    storm = Storm(cloud, scene, seed)
    job = storm.begin("--chunk", 2)
    assets, killed = cloud.assets(), 1
    for number in range(deaths - 1):
        killed += storm.follow_and_die(job)
        if number == 0:
            cloud.azurite.restart()
            cloud.control("disk_full", pool=cloud.pool)
    while len(storm.preempted) < 3:
        storm.preempt()
        time.sleep(0.1)
    done = storm.finish(job)
    cloud.control("reset")
    assert killed == deaths
    assert_nothing_is_lost_wrong_or_told(storm, job, done, local(tmp_path / "local", scene))
    assert cloud.assets() == assets
    assert set(cloud.submissions(job).values()) == {1}


def test_output_files_that_storage_refuses_cost_a_log_and_no_frame(cloud: Cloud) -> None:
    cloud.control("expired_sas", direction="upload", count=1)
    done = cloud.farm().submit(card(cloud.folder / "shot.testcard", "1-6"))
    assert done.code == 0, done.err


def test_tokens_that_have_run_out_are_renewed_by_the_next_submit(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None)
    cloud.control("expired_sas", direction="download", match="in/")
    farm = cloud.farm()
    scene = card(cloud.folder / "shot.testcard", "1-6")
    done = farm.submit(scene)
    assert done.code == 3
    assert "files can't be brought" in done.err
    cloud.control("reset")
    again = farm.run("resume", farm.only_job(), "--json")
    assert again.code == 0, again.err
    assert again.json["frames"]["succeeded"] == 6


def test_azurite_may_be_away_for_a_while(cloud: Cloud) -> None:
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-12", seconds=0.2)
    process = farm.start("submit", "--json", "--chunk", 2, "-o", farm.folder / "out", "--", scene)
    wait_for(lambda: cloud.state()["pools"].get(CALM, {}).get("nodes"), "the pool", 30)
    time.sleep(1.0)
    cloud.azurite.stop()
    time.sleep(2.0)
    cloud.azurite.start()
    done = ended(process)
    assert done.code == 0, done.err
