"""Assets to Blob storage: ours against `rclone copy`, both into an Azurite of their own.

`python -m benchmarks.uploading URL PREFIX SCENE` is what is timed: collect, compare and upload all
that lies beside the scene, with a farm that has never seen it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Run, run
from renderfarm.depots.blobs import BlobClient
from renderfarm.job.home import farm_home
from renderfarm.job.store import Store
from renderfarm.queues.azure import uploads
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.storage import Storage
from renderfarm.words.scene import Asset, Scene
from tests.azurite import ACCOUNT, KEY, Azurite

FILES = 2000
FILE_BYTES = 1_000_000
FRAMES = 1500
FRAME_BYTES = 3000
PREFIX = "bench"


@dataclass(frozen=True)
class Uploads:
    """Seconds of each round."""

    ours: list[Run]
    again: list[Run]
    rclone: list[Run]


def compare(folder: Path, files: int, rounds: int) -> Uploads:
    """Upload the same files with both, in turn, each time into storage where nothing is."""
    scene = _project(folder / f"project{files}", files)
    found = [_round(folder, scene) for _ in range(rounds)]
    return Uploads(*(list(column) for column in zip(*found, strict=True)))


def _project(folder: Path, files: int) -> Path:
    """A scene and incompressible textures in twenty folders."""
    for number in range(files):
        path = folder / f"set{number % 20}" / f"texture{number:05d}.exr"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(FILE_BYTES))
    scene = folder / "scene.blend"
    scene.write_bytes(b"BLENDER-v402")
    return scene


def _round(folder: Path, scene: Path) -> tuple[Run, Run, Run]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        with Azurite(place / "ours") as azurite:
            argv = [sys.executable, "-m", "benchmarks.uploading", azurite.url, PREFIX, str(scene)]
            environment = {"RENDERFARM_HOME": str(place / "home"), "PYTHONPATH": str(Path.cwd())}
            ours, again = run(argv, place, environment), run(argv, place, environment)
        with Azurite(place / "theirs") as azurite:
            rclone = run(*_rclone(azurite, scene.parent, place))
    return ours, again, rclone


def _rclone(azurite: Azurite, source: Path, place: Path) -> tuple[list[str], Path, dict[str, str]]:
    """What an expert types; the signature is in the environment."""
    storage = _storage(azurite.url)
    storage.ensure(storage.assets)
    many = str(uploads.CONCURRENCY)
    argv = [
        "rclone",
        "copy",
        str(source),
        f":azureblob:{storage.assets}",
        "--transfers",
        many,
        "--checkers",
        many,
    ]
    url = storage.sas_url(storage.assets, "rlcw", 3600)
    return argv, place, {"RCLONE_AZUREBLOB_SAS_URL": url, "RCLONE_CONFIG": os.devnull}


def _storage(url: str, prefix: str = PREFIX) -> Storage:
    table = CloudSettings("cloud", url, url, ACCOUNT, ACCOUNT, "Standard_D2", prefix)
    return Storage(table, KEY)


def fetched_per_second(folder: Path, rounds: int) -> float:
    """Small frames that one process brings from storage in a second."""
    with tempfile.TemporaryDirectory(dir=folder) as name, Azurite(Path(name) / "azurite") as azurite:
        storage = _storage(azurite.url)
        storage.ensure(storage.assets)
        client = storage.at(storage.assets)
        with ThreadPoolExecutor(uploads.CONCURRENCY) as pool:
            data = os.urandom(FRAME_BYTES)
            list(pool.map(lambda n: client.put(f"frames/{n}", data), range(FRAMES)))
            return statistics.median(_fetch_all(client, Path(name), pool) for _ in range(rounds))


def _fetch_all(client: BlobClient, folder: Path, pool: ThreadPoolExecutor) -> float:
    started = time.monotonic()
    list(pool.map(lambda n: client.get(f"frames/{n}", folder / f"{n}.png"), range(FRAMES)))
    return FRAMES / (time.monotonic() - started)


def _scene(path: Path) -> Scene:
    assets = tuple(Asset(str(p), "image", True, p.stat().st_size, p.name) for p in _files(path.parent))
    return Scene(str(path), "blender", "4.2", "1-10", 24.0, (64, 36), "Camera", assets=assets)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def main() -> None:
    """Collect, compare and upload once."""
    url, prefix, scene = sys.argv[1:]
    storage = _storage(url, prefix)
    farm_home().mkdir(parents=True, exist_ok=True)
    with closing(Store(farm_home())) as store:
        manifest = uploads.collect(_scene(Path(scene)), store)
    storage.ensure(storage.assets)
    missing = uploads.missing(manifest, storage)
    for _ in uploads.send(uploads.uploads(manifest, missing), storage.at(storage.assets)):
        pass
    print(f"{len(missing)} of {len(manifest.files)} files sent")


if __name__ == "__main__":
    main()
