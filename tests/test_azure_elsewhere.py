"""Cloud jobs asked about where their pool is unknown, another, closed to us or away: nothing ends by itself."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.batch_service.client import BatchService, running_service
from tests.cloud import Cloud
from tests.farm_runs import Done, Farm, card, fault, one_sentence_with_a_next_step, wait_for

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

WRONG_KEY = "d3Jvbmcga2V5IHdyb25nIGtleQ=="
VERBS = ("cancel", "logs", "resume", "retry", "collect")


@dataclass(frozen=True)
class Open:
    """A job whose frames never end, and the machine that left it to its pool."""

    cloud: Cloud
    farm: Farm
    job: str

    def elsewhere(self, table: str = "") -> Farm:
        """The same machine with another configuration, or none."""
        folder = self.cloud.folder.parent / f"elsewhere-{secrets.token_hex(4)}"
        farm = Farm(folder, self.farm.home)
        farm.environment |= {
            name: value for name, value in self.farm.environment.items() if name.endswith("_KEY")
        }
        own = folder / "xdg/renderfarm/renderfarm.toml"
        own.parent.mkdir(parents=True)
        own.write_text(table)
        return farm

    def table(self, **settings: object) -> str:
        """The job's table with other settings."""
        text = (self.cloud.folder / "xdg/renderfarm/renderfarm.toml").read_text()
        for key, value in settings.items():
            text = text.replace(f'{key} = "{self.cloud.settings.get(key)}"', f'{key} = "{value}"')
        return text

    def still_runs(self) -> bool:
        (only,) = self.cloud.batch_jobs(self.job)
        said = self.farm.status(self.job)
        goes_on = self.cloud.get(f"/jobs/{only}")["state"] == "active"
        return bool(goes_on and said["state"] == "running" and said["frames"]["canceled"] == 0)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, service: BatchService, azurite: Azurite) -> Iterator[Open]:
    service.control("reset")
    cloud = Cloud(tmp_path_factory.mktemp("left"), service, azurite)
    scene = card(cloud.folder / "shot.testcard", "1-3", faults=fault("hang", 1, 2, 3))
    farm = cloud.farm()
    done = farm.submit(scene, "--detach", "--timeout", "500s")
    assert done.code == 0, done.err
    opened = Open(cloud, farm, done.json["job"])
    yield opened
    assert opened.still_runs()
    done = farm.run("cancel", opened.job, "--json")
    assert (done.code, done.json["state"]) == (0, "canceled")
    cloud.close()


def refused(done: Done) -> bool:
    """A command that could not ask the pool says so, and what to do."""
    assert done.code == 3, (done.code, done.out, done.err)
    return "cloud" in done.err and one_sentence_with_a_next_step(done.err)


def said_to_go_on(farm: Farm, job: str) -> bool:
    """Both lists say that the pool may go on, and name it."""
    (row,) = farm.look("jobs")["jobs"]
    said = farm.status(job)
    for each in (row, said):
        assert (each["state"], each["phase"], each["pool"]) == ("running", "left to its pool", "cloud")
        assert each["frames"]["canceled"] == each["frames"]["failed"] == 0
    people = farm.run("status", job)
    assert people.code == 0
    assert "pool cloud" in farm.run("jobs").out
    return "[pools.cloud]" in people.out and "billed" in people.out


def test_without_its_pool_s_table_a_job_is_neither_asked_nor_watched_nor_ended(left: Open) -> None:
    elsewhere = left.elsewhere()
    for verb in VERBS:
        assert refused(elsewhere.run(verb, left.job)), verb
    assert refused(elsewhere.run("status", "--watch", left.job))
    assert said_to_go_on(elsewhere, left.job)
    assert left.still_runs()


def test_another_pool_of_the_same_name_is_not_asked(left: Open) -> None:
    elsewhere = left.elsewhere(left.table(prefix="another-farm"))
    for verb in VERBS:
        done = elsewhere.run(verb, left.job)
        assert refused(done), verb
        assert "another-farm" in done.err
    assert said_to_go_on(elsewhere, left.job)
    local = left.elsewhere('[pools.cloud]\ntype = "local"\n')
    for verb in ("cancel", "resume"):
        assert refused(local.run(verb, left.job)), "one of another type"
    assert left.still_runs()


def test_a_table_that_differs_in_the_size_of_the_pool_only_finds_the_job(left: Open) -> None:
    elsewhere = left.elsewhere(left.table(vm_size="Standard_D4s_v3"))
    seen = elsewhere.status(left.job)
    assert (seen["phase"], seen["ended"]) == ("rendering remotely", False)


@pytest.mark.parametrize(
    ("key", "verbs"), [("RENDERFARM_BATCH_KEY", VERBS), ("RENDERFARM_STORAGE_KEY", VERBS[1:])]
)
def test_with_a_wrong_key_nothing_ends(left: Open, key: str, verbs: tuple[str, ...]) -> None:
    for verb in verbs:
        done = left.farm.run(verb, left.job, **{key: WRONG_KEY})
        assert done.code == 3, (verb, done.out, done.err)
    assert left.still_runs()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["cancel", "collect"])
def test_while_the_service_is_away_nothing_ends(left: Open, verb: str) -> None:
    left.cloud.control("drop", match=".*", count=1000)
    try:
        done = left.farm.run(verb, left.job)
        (row,) = left.farm.look("jobs")["jobs"]
    finally:
        left.cloud.control("reset")
    assert done.code == 3, (done.out, done.err)
    assert (row["state"], row["frames"]["canceled"]) == ("running", 0)
    assert left.still_runs()


def test_another_batch_account_with_the_same_storage_neither_ends_nor_sweeps_the_job(
    left: Open, tmp_path: Path
) -> None:
    with running_service(tmp_path / "other") as other:
        table = left.table(batch_url=other.url)
        stranger = left.elsewhere(table)
        stranger.home = tmp_path / "home"
        stranger.environment["RENDERFARM_HOME"] = str(stranger.home)
        assert refused(stranger.run("cancel", left.job))
        swept = stranger.run("gc", "--older-than", 0, "--json")
    assert swept.code == 0, swept.err
    assert swept.json["jobs"] == []
    assert left.still_runs()


def test_a_cancel_lets_go_of_the_nodes_as_the_table_says(new_cloud: Callable[..., Cloud]) -> None:
    cloud = new_cloud(pool_id=None, after="delete-pool")
    farm = cloud.farm()
    scene = card(cloud.folder / "shot.testcard", "1-3", faults=fault("hang", 1, 2, 3))
    job = farm.submit(scene, "--detach").json["job"]
    assert farm.run("cancel", job).code == 0
    wait_for(lambda: cloud.pool not in cloud.state()["pools"], "the end of the pool")
