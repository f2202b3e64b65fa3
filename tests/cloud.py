"""The cloud on this machine as a user meets it: a pool's table, both services as processes, command lines."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobProperties, BlobServiceClient

from renderfarm.queues.azure import layout
from renderfarm.queues.azure.jobs import task_of
from renderfarm.words.work import Task
from tests.azurite import Azurite
from tests.batch_service.client import ACCOUNT, API, KEY, VM_SIZE, BatchService, until
from tests.farm_runs import Farm

CALM = "calm"
"""a pool that tests share, whose nodes nobody disturbs: they start once"""
TELLTALES = ("sig=", "AccountKey", KEY, Azurite.key)
"""what no log, output, store or JSON may hold"""
Json = dict[str, Any]


class Cloud:
    """A pool table of a test's own, its prefix in storage included, in the user's file of all its machines."""

    def __init__(
        self, folder: Path, service: BatchService, azurite: Azurite, *, films: bool = False, **settings: object
    ) -> None:
        self.folder = folder
        self.films = films
        self.service = service
        self.azurite = azurite
        self.prefix = f"t{secrets.token_hex(5)}"
        self.settings: Json = {
            "batch_url": service.url,
            "batch_account": ACCOUNT,
            "storage_url": azurite.url,
            "vm_size": VM_SIZE,
            "pool_id": CALM,
            "prefix": self.prefix,
            "nodes": 3,
            "dedicated_nodes": 1,
            "autoscale": False,
            "renderer": "image",
            "poll_seconds": 0.2,
        }
        credential = {"account_name": azurite.account, "account_key": azurite.key}
        self.storage = BlobServiceClient(azurite.url, credential=credential)
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(**settings)

    def configure(self, **settings: object) -> None:
        """Change the table; a setting that is None leaves it."""
        changed = self.settings | settings
        self.settings = {key: value for key, value in changed.items() if value is not None}
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.settings.items()]
        top = ['default_pool = "cloud"', f"no_video = {json.dumps(not self.films)}"]
        text = "\n".join([*top, "[pools.cloud]", 'type = "azure-batch"', *lines])
        file = self.folder / "xdg" / "renderfarm" / "renderfarm.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    @property
    def pool(self) -> str:
        return str(self.settings["pool_id"])

    def farm(self, name: str = "desk", folder: Path | None = None) -> Farm:
        """A machine with a farm home of its own that knows the pool."""
        farm = Farm(self.folder / name if folder is None else folder)
        keys = {"RENDERFARM_BATCH_KEY": KEY, "RENDERFARM_STORAGE_KEY": self.azurite.key}
        farm.environment |= keys | {"XDG_CONFIG_HOME": str(self.folder / "xdg")}
        return farm

    def forget(self, farm: Farm) -> None:
        """A machine of which only the output folder is left."""
        shutil.rmtree(farm.home, ignore_errors=True)

    def control(self, action: str, /, **fields: object) -> Json:
        return self.service.control(action, **fields)

    def close(self) -> None:
        """Take away a pool of the test's own."""
        if self.pool != CALM:
            self.delete_pool()
        self.storage.close()

    # what the services hold

    def assets(self) -> dict[str, tuple[str, object]]:
        """Each asset with what changes when it is written again."""
        return {blob.name: (blob.etag, blob.creation_time) for blob in self._blobs(f"{self.prefix}-assets")}

    def blobs(self, job: str, start: str = "") -> list[str]:
        """The names in a job's container."""
        return sorted(blob.name for blob in self._blobs(layout.container(self.prefix, job), start))

    def _blobs(self, container: str, start: str = "") -> Iterator[BlobProperties]:
        client = self.storage.get_container_client(container)
        if client.exists():
            yield from client.list_blobs(name_starts_with=start or None)

    def get(self, path: str) -> Json:
        """What the Batch service answers to a plain GET, further pages included."""
        mark = "&" if "?" in path else "?"
        answer = self.service.send("GET", f"{path}{mark}{API}")
        assert answer.status == 200, (path, answer.status, answer.body)
        body: Json = json.loads(answer.body or b"{}")
        while link := body.pop("odata.nextLink", None):
            more = json.loads(self.service.send("GET", link.removeprefix(self.service.url)).body or b"{}")
            body = {**more, "value": body["value"] + more["value"]}
        return body

    def batch_jobs(self, job: str) -> list[str]:
        """The Batch jobs of a job, oldest first."""
        found = [row for row in self.get("/jobs")["value"] if row.get("displayName") == job]
        return [row["id"] for row in sorted(found, key=lambda row: row["creationTime"])]

    def rows(self, job: str) -> list[Json]:
        """All Batch tasks of a job."""
        return [row for each in self.batch_jobs(job) for row in self.get(f"/jobs/{each}/tasks")["value"]]

    def tasks(self, job: str) -> list[Task]:
        """What was handed to Batch, in all its jobs."""
        return [task for row in self.rows(job) if (task := task_of(row))]

    def submissions(self, job: str) -> Counter[tuple[int, int]]:
        """How often each frame's attempt was handed over."""
        return Counter((frame, task.attempt) for task in self.tasks(job) for frame in task.frames)

    def state(self) -> Json:
        """A look inside the Batch service."""
        answer = self.service.send("GET", "/_control/state", is_signed=False)
        found: Json = json.loads(answer.body or b"{}")
        return found

    def nodes(self) -> dict[str, Json]:
        """The pool's nodes by id."""
        found: dict[str, Json] = self.state()["pools"].get(self.pool, {}).get("nodes", {})
        return found

    def requests(self) -> Counter[str]:
        """How often each route of the Batch service was asked so far."""
        return Counter(self.state()["requests"])

    def delete_pool(self) -> None:
        if self.pool in self.state()["pools"]:
            self.service.send("DELETE", f"/pools/{self.pool}?{API}")
            until(lambda: self.pool not in self.state()["pools"])


def video_frames(path: str | Path) -> int:
    """The frames that a video has, counted by decoding it."""
    argv = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0"]
    argv += ["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", str(path)]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip().strip(","))


def leaks(*places: Path) -> list[str]:
    """Files that hold a secret, with what they hold; our program, which knows the words, is left out."""
    return [
        f"{path}: {word}"
        for place in places
        for path in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if path.is_file() and not path.is_symlink() and path.suffix != ".pyz"
        for word in _telling(path.read_bytes())
    ]


def _telling(data: bytes) -> Iterable[str]:
    return [word for word in TELLTALES if word.encode() in data]


def leaks_in(*texts: str) -> list[str]:
    """Secrets that are in these texts."""
    return [word for text in texts for word in _telling(text.encode())]
