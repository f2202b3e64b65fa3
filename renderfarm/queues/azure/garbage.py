"""Throws away what nobody needs: containers of old finished jobs, and assets that no job names any more.

Somebody may submit at the same moment, from another machine. Three things keep a sweep from robbing them: no
asset younger than the grace goes, `uploads.missing` renews older ones that it counts on, and an asset is
deleted only as it was seen, so one that was renewed in between stays. Every time is the service's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from renderfarm.depots.blobs import BlobClient, BlobMissingError
from renderfarm.depots.listing import Blob
from renderfarm.errors import PoolError
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.at_once import at_once
from renderfarm.queues.azure.on_node.manifest import from_json
from renderfarm.queues.azure.storage import Storage
from renderfarm.queues.azure.uploads import CONCURRENCY, GRACE
from renderfarm.queues.remote_side import Swept


def sweep(
    storage: Storage,
    *,
    living: Callable[[str], bool],
    older_than: timedelta,
    dry_run: bool,
    grace: timedelta = GRACE,
) -> Swept:
    """Delete what is older than `older_than` and what nothing needs; with `dry_run` only say what that is.

    `living` says of a job's container whether its job is queued or running. What was begun and not submitted
    to its end, and assets, are kept for the grace at least. A job that ended and is younger keeps its assets.
    """
    begin = storage.at(storage.assets).now()
    old, kept, size = list[str](), list[str](), 0
    for name in _job_containers(storage):
        blobs = [] if living(name) else _blobs(storage, name)
        goes = _is_old(blobs, begin, older_than, grace)
        # Asked once more: somebody may have resumed the job while it was looked at.
        if goes and (dry_run or (not living(name) and storage.delete_container(name))):
            old.append(name)
            size += sum(blob.size for blob in blobs)
        else:
            kept.append(name)
    needed, limit = _needed(storage, kept), begin - max(older_than, grace)
    there, assets = _blobs(storage, storage.assets), storage.at(storage.assets)
    gone = [blob for blob in there if blob.name not in needed and blob.modified < limit]
    if not dry_run:
        deletions = (partial(_deleted, assets, blob) for blob in gone)
        gone = [blob for blob in at_once(deletions, CONCURRENCY) if blob]
    return Swept(tuple(old), len(gone), size + sum(blob.size for blob in gone))


def _job_containers(storage: Storage) -> list[str]:
    """All with our prefix that may be a job's. Another farm's prefix may begin with ours: `farm`, `farm-b`."""
    names = list(storage.containers())
    end = storage.assets.removeprefix(storage.prefix)
    others = tuple(
        f"{name.removesuffix(end)}-" for name in names if name.endswith(end) and name != storage.assets
    )
    return [n for n in names if n not in (storage.assets, storage.packages) and not n.startswith(others)]


def _blobs(storage: Storage, container: str) -> list[Blob]:
    """What is in a container; nothing when it is gone."""
    try:
        return list(storage.at(container).blobs())
    except BlobMissingError:
        return []


def _is_old(blobs: list[Blob], now: datetime, older_than: timedelta, grace: timedelta) -> bool:
    """Whether these are all of a job, and old; a job that has no record was not submitted to its end."""
    names = {blob.name for blob in blobs}
    if not any(name.startswith(layout.INPUTS) for name in names):
        return False
    least = older_than if layout.RECORD in names else max(older_than, grace)
    return now - max(blob.modified for blob in blobs) >= least


def _needed(storage: Storage, containers: Iterable[str]) -> set[str]:
    """Hashes that the manifests of these jobs name; raises PoolError for one that can't be read."""
    needed: set[str] = set()
    for container in containers:
        try:
            text = storage.at(container).read(layout.MANIFEST)
        except BlobMissingError:
            continue
        try:
            needed.update(file.sha256 for file in from_json(text).files)
        except ValueError as error:
            message = f"{container}/{layout.MANIFEST} can't be read ({error}), so nobody knows what it needs."
            raise PoolError(
                message, "No asset was deleted. Delete that container if its job is of no use."
            ) from error
    return needed


def _deleted(assets: BlobClient, blob: Blob) -> Blob | None:
    """The blob, if it could be deleted as it was seen."""
    return blob if assets.delete(blob.name, etag=blob.etag) else None
