# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of renderfarm, run beside Blender: a thread for each job reads what it says, nothing waits.

Nothing here needs Blender, or anything beyond the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HIDDEN = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""of Blender's own environment, from another Python"""
ASK_SECONDS = 30.0


def program(chosen: str = "") -> list[str]:
    """How renderfarm is started: as the user says, else the one that wrote this add-on, else what PATH has."""
    if chosen:
        return shlex.split(chosen)
    with contextlib.suppress(OSError, ValueError):
        return list(json.loads(Path(__file__).with_name("program.json").read_text(encoding="utf-8")))
    return ["renderfarm"]


def start(argv: Sequence[str], folder: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start a command in a folder; raises OSError."""
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return subprocess.Popen(
        list(argv),
        cwd=folder,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def answer(argv: Sequence[str], folder: str) -> Any:
    """The JSON that a command prints; None where it gives none in time."""
    try:
        process = start(argv, folder)
    except OSError:
        return None
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        return json.loads(process.communicate(timeout=ASK_SECONDS)[0])
    process.kill()
    return None


class Pools:
    """The names of the pools that a folder knows, asked for by a thread."""

    def __init__(self, renderfarm: Sequence[str], folder: str) -> None:
        self.names: list[str] = []
        self._thread = threading.Thread(target=self._ask, args=(renderfarm, folder), daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether nothing was said, and nothing will be."""
        return not (self.names or self._thread.is_alive())

    def _ask(self, renderfarm: Sequence[str], folder: str) -> None:
        found = answer([*renderfarm, "pool", "list", "--json"], folder)
        self.names = [pool["name"] for pool in (found or {}).get("pools", ())]


class Page:
    """The page of jobs, served by a process that goes when its standard input ends: with Blender."""

    def __init__(self, renderfarm: Sequence[str], folder: str, job: str) -> None:
        self._address = ""
        self._process = start([*renderfarm, "web", "--beside"], folder, subprocess.PIPE)
        threading.Thread(target=self._serve, args=(job,), daemon=True).start()

    @property
    def there(self) -> bool:
        """Whether it can still be shown."""
        return self._process.poll() is None

    def show(self, job: str) -> None:
        """Open it in the browser, at a job."""
        webbrowser.open(self._address.replace("/?", f"/jobs/{job}?"))

    def close(self) -> None:
        """Serve no longer."""
        self._process.terminate()

    def _serve(self, job: str) -> None:
        """Each address lets one browser in, then the next one is printed."""
        for line in self._process.stderr or ():
            _, http, rest = line.partition("http://")
            first, self._address = not self._address, (http + rest).strip() or self._address
            if first and self._address:
                self.show(job)


class Job:
    """A job as its panel shows it, submitted or found by a thread that then listens until it has ended.

    The thread only sets attributes, each of them whole; the panel only reads them.
    """

    def __init__(
        self, renderfarm: Sequence[str], folder: str, job: str = "", submit: Sequence[str] = ()
    ) -> None:
        self.status: dict[str, Any] = {}
        self.error = ""
        self.note = ""
        self._renderfarm = list(renderfarm)
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._left = False
        self._thread = threading.Thread(target=self._live, args=(job, submit), daemon=True)
        self._thread.start()

    @property
    def id(self) -> str:
        """Its name; empty until it has one."""
        return str(self.status.get("job", ""))

    @property
    def busy(self) -> bool:
        """Whether somebody listens to it."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Cancel it; what is finished is kept."""
        threading.Thread(
            target=answer, args=([*self._renderfarm, "cancel", self.id, "--json"], self._folder)
        ).start()

    def leave(self) -> None:
        """Listen no longer; the job goes on."""
        self._left = True
        if self._process:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Until nobody listens any more, for tests."""
        self._thread.join(seconds)

    def _live(self, job: str, submit: Sequence[str]) -> None:
        if submit:
            self._hear("submit", "--detach", "--quiet", "--json", *submit)
            job = self.id
        if job and not self._left and not self.error:
            self._hear("status", job, "--watch", "--json")

    def _hear(self, *argv: str) -> None:
        """Take each line of JSON as news; without one, what was said to people is the error."""
        try:
            process = self._process = start([*self._renderfarm, *argv], self._folder)
        except OSError as error:
            self.error = f"renderfarm can't be started: {error}"
            return
        said: list[str] = []
        errors = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        errors.start()
        heard = False
        for line in process.stdout or ():
            with contextlib.suppress(ValueError):
                self.status, heard = json.loads(line), True
        process.wait()
        errors.join()
        if not heard and not self._left:
            text = "".join(said).strip()
            self.error = text.partition("Error: ")[2] or text or f"It ended with code {process.returncode}."
