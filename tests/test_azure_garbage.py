"""What a sweep takes from a real Azurite, and what it must never take."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from renderfarm.depots.blobs import BlobClient
from renderfarm.depots.listing import Blob
from renderfarm.errors import PoolError
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.garbage import sweep
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile
from renderfarm.queues.azure.storage import Storage
from renderfarm.queues.azure.uploads import missing
from renderfarm.queues.remote_side import Swept
from renderfarm.words.as_json import to_json
from tests.azure_storage import new_storage

AT_ONCE = timedelta(seconds=-30)
"""everything is older than that"""
DAY = timedelta(days=1)
NOTHING = Swept((), 0, 0)


@pytest.fixture
def storage() -> Storage:
    made = new_storage()
    made.ensure(made.assets, made.packages)
    return made


def asset(storage: Storage, data: bytes) -> ManifestFile:
    """Something that was uploaded."""
    name = hashlib.sha256(data).hexdigest()
    storage.at(storage.assets).put(name, data)
    return ManifestFile(data.decode(), name, len(data))


def job(storage: Storage, name: str, *files: ManifestFile, whole: bool = True) -> str:
    """A job's container, with a frame and a manifest that names some assets."""
    container = layout.container(storage.prefix, name)
    storage.ensure(container)
    manifest = Manifest("/p", files[0].path, files)
    storage.at(container).put(layout.MANIFEST, to_json(manifest).encode())
    storage.at(container).put("frames/0001.1.png", b"picture")
    if whole:
        storage.at(container).put(layout.RECORD, b"{}")
    return container


def swept(
    storage: Storage,
    *living: str,
    older_than: timedelta = AT_ONCE,
    grace: timedelta = AT_ONCE,
    dry_run: bool = False,
) -> Swept:
    return sweep(storage, living=living.__contains__, older_than=older_than, grace=grace, dry_run=dry_run)


def assets(storage: Storage) -> set[str]:
    return {blob.name for blob in storage.at(storage.assets).blobs()}


def test_an_old_job_that_ended_goes_with_its_assets(storage: Storage) -> None:
    container = job(storage, "old-1a2b", asset(storage, b"wood"))
    size = sum(blob.size for blob in storage.at(container).blobs())
    assert swept(storage) == Swept((container,), 1, size + 4)
    assert container not in storage.containers()
    assert assets(storage) == set()


def test_what_a_living_job_needs_stays(storage: Storage) -> None:
    wood, iron = asset(storage, b"wood"), asset(storage, b"iron")
    living, _ = job(storage, "living-1a2b", wood), job(storage, "old-3c4d", wood, iron)
    assert swept(storage, living).assets == 1
    assert living in storage.containers()
    assert assets(storage) == {wood.sha256}
    assert storage.at(living).read("frames/0001.1.png") == b"picture"


def test_a_young_job_keeps_its_frames_and_assets(storage: Storage) -> None:
    container = job(storage, "young-1a2b", asset(storage, b"wood"))
    assert swept(storage, older_than=DAY) == NOTHING
    assert container in storage.containers()


def test_a_dry_run_tells_the_same_and_takes_nothing(storage: Storage) -> None:
    wood = asset(storage, b"wood")
    container = job(storage, "old-1a2b", wood)
    told = swept(storage, dry_run=True)
    assert container in storage.containers()
    assert assets(storage) == {wood.sha256}
    assert swept(storage) == told
    assert told.assets == 1


def test_an_asset_that_no_job_names_stays_for_the_grace(storage: Storage) -> None:
    wood = asset(storage, b"wood")
    assert swept(storage, grace=DAY).assets == 0
    assert assets(storage) == {wood.sha256}
    assert swept(storage).assets == 1


def test_a_job_that_is_being_submitted_stays_for_the_grace(storage: Storage) -> None:
    container = job(storage, "begun-1a2b", asset(storage, b"wood"), whole=False)
    assert swept(storage, grace=DAY) == NOTHING
    assert swept(storage).jobs == (container,)


def test_what_is_no_job_and_what_is_another_farms_is_left_alone(storage: Storage) -> None:
    assert swept(new_storage()) == NOTHING, "a farm that was never used has no garbage"
    container = f"{storage.prefix}-holiday"
    storage.ensure(container)
    assert swept(storage) == NOTHING
    storage.at(container).put("beach.jpg", b"sun")
    storage.at(storage.packages).put("blender/package.json", b"{}")
    other = new_storage(f"{storage.prefix}-b")
    other.ensure(other.assets, other.packages)
    theirs = job(other, "old-1a2b", asset(other, b"wood"))
    assert swept(storage) == NOTHING
    assert {container, theirs} <= {*storage.containers(), *other.containers()}
    assert len(assets(other)) == 1
    assert storage.at(storage.packages).read("blender/package.json") == b"{}"


def test_a_manifest_that_can_not_be_read_keeps_every_asset(storage: Storage) -> None:
    wood = asset(storage, b"wood")
    container = job(storage, "living-1a2b", wood)
    storage.at(container).put(layout.MANIFEST, b"half a mani")
    with pytest.raises(PoolError, match=f"{container}/in/manifest.json can't be read"):
        swept(storage, container)
    assert assets(storage) == {wood.sha256}


def test_an_asset_that_a_submit_counts_on_in_the_meantime_stays(storage: Storage) -> None:
    wood, iron = asset(storage, b"wood"), asset(storage, b"iron")
    job(storage, "old-1a2b", iron)
    second = timedelta(seconds=1)
    time.sleep(2.5)

    def somebody_submits(container: str) -> bool:
        """Asked after the sweep has begun."""
        assert missing(Manifest("/p", "wood", (wood,)), storage, grace=second) == ()
        return False

    sweep(storage, living=somebody_submits, older_than=second, grace=second, dry_run=False)
    assert assets(storage) == {wood.sha256}


class RenewedWhenListed(BlobClient):
    """A container in which somebody counts on every blob right after it was listed."""

    def blobs(self, prefix: str = "") -> Iterator[Blob]:
        for blob in super().blobs(prefix):
            self.touch(blob.name)
            yield blob


def test_an_asset_that_is_renewed_after_it_was_listed_stays(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    wood = asset(storage, b"wood")
    busy = RenewedWhenListed(storage.sas_url(storage.assets, "rlwd", 600))
    monkeypatch.setattr(storage, "at", lambda name, at=storage.at: busy if name == storage.assets else at(name))
    assert swept(storage).assets == 0
    monkeypatch.undo()
    assert assets(storage) == {wood.sha256}


def test_a_job_that_is_resumed_in_the_meantime_stays(storage: Storage) -> None:
    wood = asset(storage, b"wood")
    container = job(storage, "old-1a2b", wood)
    answers = iter([False, True])
    done = sweep(storage, living=lambda _: next(answers), older_than=AT_ONCE, grace=AT_ONCE, dry_run=False)
    assert done == NOTHING
    assert container in storage.containers()
    assert assets(storage) == {wood.sha256}
