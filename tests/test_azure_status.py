"""What `status` of a cloud job says without following it: from journals that were mirrored into its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderfarm.job import snapshots
from tests.cloud import Cloud
from tests.farm_runs import card

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]


def test_what_nodes_said_is_mirrored_comes_again_when_it_is_lost_and_is_read_on_where_a_look_ended(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = cloud.farm()
    said = farm.submit(card(cloud.folder / "shot.testcard", "1-6", seconds=0.2)).json
    first = farm.status(said["job"])["node_hours"]
    assert first > 0
    journals = Path(said["output"]) / ".renderfarm" / said["job"] / "journal"
    mirrored = {path: path.read_bytes() for path in journals.glob("*.jsonl") if path.stem != "farm"}
    assert sorted(f"journal/{path.name}" for path in mirrored) == cloud.blobs(said["job"], "journal/")
    for path, data in mirrored.items():
        path.write_bytes(data[: len(data) // 2])
    assert farm.status(said["job"])["node_hours"] == first
    assert {path: path.read_bytes() for path in mirrored} == mirrored
    monkeypatch.setattr(snapshots, "SNAPSHOT_EVENTS", 0)
    assert farm.status(said["job"])["node_hours"] == first
    for path in journals.glob("*.jsonl"):
        path.write_bytes(b"\n" * path.stat().st_size)  # nothing, for who begins anew
    assert [farm.status(said["job"])["node_hours"] for _ in range(2)] == [first] * 2
