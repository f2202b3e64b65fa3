"""Nights on a remote pool: this machine hands over and leaves; the report of the morning collects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cloud import Cloud, video_frames
from tests.farm_runs import Farm, names, wait_for
from tests.nights import Project

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]


class CloudProject(Project):
    """A project below the folder whose table names the pool."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud.folder / "work")
        self.films = True
        self.farm: Farm = cloud.farm("desk", self.farm.folder)

    def report(self) -> dict[str, str]:
        """The states after collecting."""
        self.nightly("report", self.list, "--quiet")
        return {name: shot["state"] for name, shot in self.shots().items()}


@pytest.fixture
def project(new_cloud: Callable[..., Cloud]) -> CloudProject:
    return CloudProject(new_cloud(films=True, price_per_node_hour=0.25))


@pytest.mark.slow
def test_a_night_hands_over_and_the_report_of_the_morning_collects(project: CloudProject) -> None:
    for name in "ab":
        project.card(name, "1-6", seconds=0.3)
    project.write(
        a={"scene": "a.testcard"}, b={"scene": "b.testcard"}, here={"scene": "a.testcard", "pool": "local"}
    )
    done = project.run()
    assert done.code == 0, done.err
    assert {name: shot["state"] for name, shot in project.shots().items()} == {
        "a": "running",
        "b": "running",
        "here": "succeeded",
    }
    wait_for(lambda: project.report() == dict.fromkeys(("a", "b", "here"), "succeeded"), "both shots", 60)
    for name in "ab":
        assert project.frames(name) == names(name, range(1, 7))
        assert project.shots()[name]["video"]
        assert project.shots()[name]["cost"] is not None
    again = project.farm.submit(project.folder / "a.testcard", "--pool", "cloud")
    assert again.json["frames"]["reused"] == 6  # a later night's clock would spoil what storage is signed with


@pytest.mark.slow
def test_a_report_that_could_not_ask_the_pool_leaves_the_shot_to_the_next_one(project: CloudProject) -> None:
    project.card("a", "1-4")
    project.write(a={"scene": "a.testcard", "pool": "cloud"})
    assert project.run().code == 0
    project.nightly("report", project.list, "--quiet", RENDERFARM_BATCH_KEY="d3Jvbmcga2V5")
    shot = project.shots()["a"]
    assert (shot["state"], "could not be collected" in shot["error"]) == ("running", True)
    wait_for(lambda: project.report() == {"a": "succeeded"}, "the shot", 60)
    assert project.shots()["a"]["error"] is None


@pytest.mark.slow
def test_a_budget_hands_over_only_what_it_pays_for(project: CloudProject) -> None:
    project.card("a", "1-40", seconds=0.4)
    project.write(a={"scene": "a.testcard", "pool": "cloud"})
    done = project.run("--budget", "0.0005")
    assert done.code in (0, 4), done.err
    assert "frames that are left fit until 0.0005 USD" in done.err
    wait_for(lambda: project.report() == {"a": "limited"}, "what was paid for", 60)
    shot = project.shots()["a"]
    assert 3 < shot["frames"]["rendered"] < 40
    assert video_frames(Path(project.nights[-1], shot["video"])) == 40, "gaps are held"
    assert project.record()["exit_code"] == 4
