"""The cloud on this machine, to try things: `python -m tests.local_cloud FOLDER`, then work in FOLDER.

Starts Azurite and the local Batch service, writes FOLDER/renderfarm.toml with the pool `cloud`, and
FOLDER/environment with the keys of both, which are no secrets. Serves until stopped. Like any table in a
project's file, this one counts when it is trusted.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.azurite import Azurite
from tests.batch_service.__main__ import ACCOUNT, KEY

TABLE = """\
default_pool = "cloud"

[pools.cloud]
type = "azure-batch"
batch_url = "{batch_url}"
batch_account = "{account}"
storage_url = "{storage_url}"
vm_size = "Standard_F8s_v2"
nodes = 2
autoscale = false                  # the service evaluates formulas every five minutes
renderer = "image"                 # nodes take what this machine has
poll_seconds = 0.5
"""
PROJECT = Path(__file__).parents[1]


@contextmanager
def batch_service(folder: Path) -> Iterator[str]:
    """The URL of a Batch service whose nodes live below `folder`."""
    command = [sys.executable, "-m", "tests.batch_service", "--root", str(folder / "nodes"), "--speed", "20"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()


def describe(folder: Path, batch_url: str, azurite: Azurite) -> None:
    """Write what a command line in `folder` needs to know."""
    table = TABLE.format(batch_url=batch_url, account=ACCOUNT, storage_url=azurite.url)
    (folder / "renderfarm.toml").write_text(table)
    keys = {"RENDERFARM_BATCH_KEY": KEY, "RENDERFARM_STORAGE_KEY": azurite.key}
    keys["RENDERFARM_HOME"] = str(folder / "home")
    (folder / "environment").write_text("".join(f"export {name}='{value}'\n" for name, value in keys.items()))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Azurite(folder / "azurite") as azurite, batch_service(folder) as url:
        describe(folder, url, azurite)
        sys.stdout.write(f"ready: cd {folder} && . ./environment && renderfarm trust\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        main(Path(sys.argv[1]).resolve())
