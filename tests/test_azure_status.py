"""What `status` of a cloud job adds up: kept from one look to the next, and made again when that is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cloud import Cloud
from tests.farm_runs import Farm, card

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]


def kept(farm: Farm) -> Path:
    """The one file that holds what a look added up."""
    (found,) = (farm.home / "tallies").glob("*.json")
    return found


def hours(farm: Farm, job: str) -> Any:
    return farm.status(job)["node_hours"]


def test_what_a_look_added_up_is_kept_and_may_be_thrown_away(cloud: Cloud) -> None:
    farm = cloud.farm()
    job = farm.submit(card(cloud.folder / "shot.testcard", "1-6", seconds=0.2)).json["job"]
    first = hours(farm, job)
    assert first is not None
    file = kept(farm)
    told = json.loads(file.read_text())
    assert told["rendered"] == "1-6", "what it holds does not grow with the frames"
    assert hours(farm, job) == first
    later = {node: [kind, begin, end + 3600] for node, (kind, begin, end) in told["nodes"].items()}
    file.write_text(json.dumps({**told, "nodes": later}))
    assert hours(farm, job) > 0.9, "journals are not read again"
    for broken in (json.dumps({**told, "edition": 0}), json.dumps({**told, "rendered": "x"}), "{"):
        file.write_text(broken)
        assert hours(farm, job) == first
    file.write_text(json.dumps({**told, "read": {name: size + 1 for name, size in told["read"].items()}}))
    assert hours(farm, job) == first, "a journal that was longer is another one"
    file.unlink()
    assert hours(farm, job) == first
