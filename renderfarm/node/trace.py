"""Which files a renderer opens, and which it looks for in vain, as strace sees it from outside the sandbox.

What a scene opens is a fact that no reading of its text gives. The trace lies where no sandbox shows it, so a
scene can't write into it; names are taken as the renderer's own processes asked for them.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from renderfarm.renderers.asking import surroundings
from renderfarm.words.temporary import Temporary
from renderfarm.words.updates import Observed

_CALLS = "trace=%file,set_robust_list"
"""strace stops a new thread at every call until the first that is traced: glibc begins threads with this one"""
_STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-y", "-e", _CALLS, "-e", "signal=none", "-o")
_SYSTEM = (
    "/usr/",
    "/bin/",
    "/sbin/",
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/libx32/",
    "/sys/",
    "/etc/",
    "/proc/",
    "/dev/",
    "/run/",
    "/var/cache/",
    "/var/lib/",
)
_STUDIO = ("/opt/", "/usr/local/")
"""what people put beside the system, and a sandbox shows: of this only what was opened counts"""
_DISKS = ("/run/media/", "/run/user/")
_OURS = "/.renderfarm/"
"""in the names of files that the farm made: copies, scratch folders, frames on their way"""
_TEXT = r'"((?:[^"\\]|\\.)*)"'
_CALL = re.compile(rf"(\w+)\((?:(?:AT_FDCWD|\d+)<([^>]*)>, )?{_TEXT}(.*)")
_TARGET = re.compile(rf", (?:(?:AT_FDCWD|\d+)<([^>]*)>, )?{_TEXT}")
_RESULT = re.compile(r"\) += (-?\d+)(?:<([^>]*)>)?(?: (E\w+))?")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_IN_VAIN = ("ENOENT", "ENOTDIR")
_WRITES = ("creat", "mkdir", "mkdirat", "unlink", "unlinkat")
_CHANGES = frozenset({"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"})
"""calls whose second name comes to be"""


@functools.cache
def obstacle() -> str:
    """Why nothing can be traced here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    trial = subprocess.run(
        [*_STRACE, os.devnull, "true"], capture_output=True, text=True, check=False, env=surroundings()
    )
    return "" if trial.returncode == 0 else f"strace does not work here: {trial.stderr.strip()[:200]}"


@dataclass(frozen=True)
class _Scope:
    """Which files count."""

    roots: tuple[str, ...]
    spared: tuple[str, ...]
    confined: bool

    def counts(self, path: str, *, found: bool) -> bool:
        """Whether a file is an input of frames."""
        whole = f"{os.path.normpath(path)}/"
        if _OURS in whole or whole.startswith(self.spared):
            return False
        if whole.startswith(self.roots):
            return True
        if self.confined or whole.startswith(_STUDIO):
            return found and whole.startswith(_STUDIO)
        return not whole.startswith(_SYSTEM) or whole.startswith(_DISKS)

    def hides(self, path: str) -> bool:
        """Whether a file is there that a confined renderer looks for in vain."""
        whole = os.path.normpath(path)
        apart = whole.startswith((*self.spared, *self.roots, *_SYSTEM)) or _OURS in f"{whole}/"
        return self.confined and not apart and Path(whole).is_file()


class Trace:
    """What the renderers of one session did with files, frame after frame."""

    def __init__(self, roots: Sequence[str], spared: Sequence[str], *, confined: bool = False) -> None:
        """All counts but the system's files and what lies below `spared`; below `roots` those do too.

        Where the renderer is `confined`, other names than those are of its own making.
        """
        roots, spared = ([f"{path}/" for path in paths] for paths in (roots, spared))
        self._scope = _Scope(tuple(roots), tuple(spared), confined)
        self._folder = Temporary()
        self._files: list[tuple[Path, str, str]] = []
        self._offset = 0
        self._begun = False
        self._cut: dict[str, str] = {}
        self._found: dict[str, bool | None] = {}
        """what came of the first look at each name; None: it was written first, or is there and hidden"""
        self._written: set[str] = set()
        self._apart = False
        self._last = ((0, 0, 0), Observed(""))
        """how much was known, and what was told then"""

    def around(self, command: Sequence[str], program: str, cwd: Path) -> list[str]:
        """The command, watched from the moment that it becomes the program."""
        file, path = tempfile.mkstemp(dir=self._folder.path)
        os.close(file)
        self._files.append((Path(path), program, str(cwd)))
        return [*_STRACE, path, *command]

    def frame(self, picture: str | None, *, keeps: bool, known: Set[str] = frozenset()) -> Observed | None:
        """What was looked at until the picture was begun (until now for None), since the one before it.

        None when not even the program's start was seen. A session that `keeps` what it opened needs all of that
        for every frame. What is `known` to be needed is left out.
        """
        for path, is_new in self._looks(os.path.realpath(picture) if picture and not keeps else None):
            if is_new and not keeps:
                self._forget()
            if path is None:
                break
        size = len(self._found), len(self._written), len(known)
        if not keeps or size != self._last[0]:
            self._last = size, self._observed(known)
        seen = self._last[1] if self._begun else None
        if not keeps:
            self._forget()
        return seen

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Meanwhile the farm looks around through the renderer's process: only what is opened counts."""
        self._catch_up()
        yield
        self._apart = True
        self._catch_up()
        self._apart = False

    def _catch_up(self) -> None:
        for _ in self._looks(None):
            pass

    def _forget(self) -> None:
        self._found, self._written = {}, set()

    def _observed(self, known: Set[str]) -> Observed:
        plain = ((_plain(name), found) for name, found in self._found.items())
        new = {name: found for name, found in plain if name not in known}
        opened = sorted(name for name, found in new.items() if found and not _is_folder(name))
        absent = sorted(name for name, found in new.items() if found is False)
        written = sorted(map(_plain, self._written))
        facts = "\0".join([*opened, "", *absent, "", *written])
        name = hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()[:16]
        hidden = sorted(name for name, found in new.items() if found is None and name not in written)
        return Observed(name, tuple(opened), tuple(absent), tuple(written), tuple(hidden))

    def _looks(self, picture: str | None) -> Iterator[tuple[str | None, bool]]:
        """Takes in what was traced, up to the picture (then None is yielded); true at each new process."""
        while self._files:
            path, program, cwd = self._files[0]
            if not self._offset:
                self._begun, self._cut = False, {}
                yield "", True
            with path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    if self._take(line.decode("latin-1"), program, cwd, picture):
                        yield None, False
                        return
            if len(self._files) == 1:
                return
            self._files.pop(0)
            path.unlink(missing_ok=True)
            self._offset = 0

    def _take(self, line: str, program: str, cwd: str, picture: str | None) -> bool:
        """One line of the trace; whether it begins the picture."""
        if not self._begun and "execve" not in line:  # sandboxes are built of hundreds of calls
            return False
        process, _, text = line.partition(" ")
        text = text.strip()
        if resumed := _RESUMED.match(text):
            text = self._cut.pop(process, "") + resumed[1]
        elif text.endswith(_UNFINISHED):
            self._cut[process] = text.removesuffix(_UNFINISHED)
            return False
        call = _CALL.match(text)
        result = _RESULT.search(call[4]) if call else None
        if call is None or result is None:
            return False
        name, base, given, rest = call.groups()
        path, real = _path(base, given, cwd), _named(result[2] or "")
        if name == "execve":
            self._begun = self._begun or (int(result[1]) == 0 and program == path)
        if not self._begun or not given:
            return False
        opens = "O_WRONLY" in rest or "O_RDWR" in rest
        if picture in (path, real) and opens and int(result[1]) >= 0:
            return True
        if self._apart and (not name.startswith("open") or "O_DIRECTORY" in rest or int(result[1]) < 0):
            return False
        writes = opens or name in _WRITES
        keeps = "O_TRUNC" not in rest and "O_EXCL" not in rest and name not in _WRITES
        named = real if real and not self._scope.counts(path, found=True) else path
        self._look(f"{named}/" if "O_DIRECTORY" in rest else named, result, writes=writes, keeps=keeps)
        if name in _CHANGES and int(result[1]) == 0 and (target := _TARGET.match(rest)):
            self._look(_path(target[1], target[2], cwd), result, writes=True, keeps=False)
        return False

    def _look(self, path: str, result: re.Match[str], *, writes: bool, keeps: bool) -> None:
        error, found = result[3], int(result[1]) >= 0
        if not self._scope.counts(path, found=found):
            if error in _IN_VAIN and self._scope.hides(path):
                self._found.setdefault(os.path.normpath(path), None)
            return
        if found or error in _IN_VAIN:
            self._found.setdefault(path, None if writes and not keeps else found)
        if writes:
            self._written.add(path)

    def close(self) -> None:
        """Forget all of it."""
        self._folder.remove()


def _is_folder(name: str) -> bool:
    """Whether it is one that was only passed: the name of a listed one ends in a slash."""
    return not name.endswith("/") and os.path.isdir(name)  # noqa: PTH112


def _plain(name: str) -> str:
    """Without ways back, where these lead through no link."""
    plain = os.path.normpath(name) + "/" * name.endswith("/")
    return plain if plain == name or os.path.realpath(plain) == os.path.realpath(name) else name


def _path(base: str | None, name: str, cwd: str) -> str:
    """An absolute path of a name that is taken from a folder, or from the working directory.

    A way back out of a folder is kept, as the folder may be a link.
    """
    path = os.path.join(_named(base or "") or cwd, _named(name))  # noqa: PTH118
    return path if "/../" in path else os.path.normpath(path)


def _named(text: str) -> str:
    """A file's name as strace quotes it (as C does)."""
    return os.fsdecode(ast.literal_eval(f'b"{text}"')) if "\\" in text else os.fsdecode(text.encode("latin-1"))
