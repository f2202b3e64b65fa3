"""A real Azurite, Microsoft's local Blob storage: installed once, started on a free port, stopped after."""

from __future__ import annotations

import atexit
import contextlib
import functools
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from tests import npm
from tests.farm_runs import PATIENCE_SECONDS

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, published account: no secret."""

STOP_SECONDS = 10


class Azurite:
    """Blob storage at `url` (`http://127.0.0.1:PORT/ACCOUNT`); what it holds survives a `restart`.

    A `kill` may lose the last five seconds: so long Azurite keeps its index in memory.
    """

    account = ACCOUNT
    key = KEY

    def __init__(self, folder: Path | None = None, port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        """With `tls`, a certificate and its key, it takes tokens as well."""
        self._own_folder = None if folder else Path(tempfile.mkdtemp(prefix="azurite-"))
        self.folder = folder or self._own_folder or Path()
        self.port = port or free_ports(1)[0]
        self._tls = ["--cert", str(tls[0]), "--key", str(tls[1]), "--oauth", "basic"] if tls else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/{self.account}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._own_folder:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        home = npm.installed("azurite", f"azurite@{VERSION}")
        main = home / "node_modules/azurite/dist/src/blob/main.js"
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder)]
        flags = ["--skipApiVersionCheck", "--disableTelemetry", "--silent", *self._tls]
        with (self.folder / "azurite.log").open("ab") as log:
            self._process = subprocess.Popen([npm.node(), str(main), *options, *flags], stdout=log, stderr=log)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Let it write what it holds, then end it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """A power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (_listens if self._tls else _answers)(self.port):
            process = self._process
            if process is None or process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(
                    f"Azurite did not start: {(self.folder / 'azurite.log').read_text()[-2000:]}"
                )
            time.sleep(0.05)


@functools.cache
def running_azurite() -> Azurite:
    """Started by the first test that needs it, stopped when Python ends; all have containers of their own."""
    azurite = Azurite()
    azurite.__enter__()
    atexit.register(azurite.__exit__, None, None, None)
    return azurite


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, and that no connection of anybody is given until they are used."""
    found = set[int]()
    while len(found) < count:
        port = 20_000 + secrets.randbelow(12_000)  # Linux gives connections those from 32768 on
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int) -> bool:
    """Whether it speaks HTTP; without a signature it answers 400 or 403."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/{ACCOUNT}?comp=list", timeout=2):
            return True
    except URLError as error:
        return hasattr(error, "code")
    except OSError:
        return False
