"""Asks POV-Ray what a scene's options are: it writes them down before it parses the scene, and is ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from renderfarm.renderers import Launcher, SessionFailure
from renderfarm.renderers.povray.options import Options, read
from renderfarm.renderers.povray.run import Place, new_place, quoted
from renderfarm.renderers.scratch import end, tail
from renderfarm.words.states import Reason

POLL_SECONDS = 0.004
PATIENCE_SECONDS = 60.0
_QUIET = ("+WT1", "-F", "-D", "-P", "-C")


class Asking:
    """Questions to one POV-Ray, each in a folder of its own."""

    def __init__(self, program: str, launch: Launcher, scratch: Path) -> None:
        self._program = program
        self._launch = launch
        self._scratch = scratch

    def scene(self, arguments: Callable[[Place], list[str]], scene: Path) -> Options:
        """What it makes of a scene that the arguments name; raises SessionFailure."""
        with new_place(self._scratch) as place:
            words = [*arguments(place), f"+O{quoted(place.seen('asked_'))}", *_QUIET]
            return self._answer(place, words, scene.parent, scene.name, {}, Reason.SCENE_ERROR)

    def alone(self, options: Mapping[str, str], cwd: Path) -> Options:
        """What it makes of the user's options without any scene or ini; raises SessionFailure."""
        what = " ".join(option_text(key, value) for key, value in options.items())
        with new_place(self._scratch) as place:
            words = [*_QUIET, "+Inone.pov", write_options(place, options)]
            environment = {"POVINI": str(_empty(place))}
            return self._answer(place, words, cwd, repr(what), environment, Reason.BAD_SETTING)

    def _answer(
        self,
        place: Place,
        words: list[str],
        cwd: Path,
        what: str,
        environment: dict[str, str],
        otherwise: Reason,
    ) -> Options:
        answer, log = place.folder / "answer.ini", place.folder / "asked.txt"
        argv = place.argv([self._program, *words, f"+GI{quoted(place.seen(answer.name))}"])
        process = self._launch(argv, cwd=cwd, log=log, environment={"HOME": str(place.folder), **environment})
        try:
            found = _wait(process, answer)
        finally:
            end(process)
        if found is None:
            raise SessionFailure(otherwise, f"POV-Ray does not understand {what}: {_words(log)}.")
        return found


def option_text(key: str, value: str) -> str:
    """One of the user's options as POV-Ray reads it."""
    return key + value if key.startswith(("+", "-")) else f"{key}={value}"


def write_options(place: Place, options: Mapping[str, str]) -> str:
    """Put the user's options into an ini of the place; its name for POV-Ray."""
    lines = (option_text(key, value) for key, value in options.items())
    text = "\n".join([*lines, ""])
    (place.folder / "users.ini").write_text(text, encoding="utf-8", errors="surrogateescape")
    return quoted(place.seen("users.ini"))


def _empty(place: Place) -> Path:
    (place.folder / "empty.ini").touch()
    return place.folder / "empty.ini"


def _wait(process: subprocess.Popen[bytes], answer: Path) -> Options | None:
    """The answer as soon as it is whole; None when POV-Ray ends without one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if answer.exists() and (found := read(answer.read_text(encoding="utf-8", errors="surrogateescape"))):
            return found
        if ended:
            return None
        time.sleep(POLL_SECONDS)
    return None


def _words(log: Path) -> str:
    """POV-Ray's own words; it does not say which of the options it means."""
    lines = [line.strip() for line in tail(log, 0).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it says nothing"
