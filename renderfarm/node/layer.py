"""A private layer over the scene's folder, for scenes that write beside themselves: what they write goes there.

An overlay in a user namespace of our own, with bubblewrap inside it (Debian 12's can't mount one itself). The
layer may not lie inside the folder that it covers, nor on a network or overlay file system, and it lies where
no renderer can reach it by another name. Where none can be mounted a small folder is copied.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from renderfarm.node.guard import FARMS_OWN
from renderfarm.words import files
from renderfarm.words.temporary import Temporary

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--")
_OPTIONS = "userxattr,lowerdir=lower,upperdir=upper,workdir=work"
_MOUNT = f'cd "$1" && shift && mount -t overlay overlay -o {_OPTIONS} view && cd / && exec "$@"'
MOST_KEPT_BYTES = 1 << 30
MOST_COPIED_BYTES = 64 << 20
"""of a folder, or of what in it is not ours"""


class Layer:
    """One layer over one folder, with what was written so far."""

    def __init__(self, folder: Path, place: Path, *, copied: bool = False) -> None:
        """Raises OSError where nothing can be made in the place."""
        self._temporary = Temporary(place)
        self._root = self._temporary.path
        self._copied, self._upper = copied, self._root / "upper"
        for name in ("upper", "work", "view"):
            (self._root / name).mkdir()
        (self._root / "lower").symlink_to(folder)

    @property
    def view(self) -> Path:
        """What bubblewrap mounts in the folder's place."""
        return self._upper if self._copied else self._root / "view"

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command, started where the view is mounted."""
        if self._copied:
            return [*argv]
        return [*_UNSHARE, "/bin/sh", "-c", _MOUNT, "sh", str(self._root), *argv]

    def works(self) -> bool:
        """Whether anything can be started inside."""
        try:
            return subprocess.run(self.inside(["true"]), capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def clear(self) -> None:
        """Forget what was written; nothing may have it open."""
        for name in ("upper", "work", "view"):
            shutil.rmtree(self._root / name, ignore_errors=True)
            (self._root / name).mkdir(exist_ok=True)
        lower = (self._root / "lower").resolve()
        for path in _below(lower) if self._copied else _strangers(lower):
            _copy(path, self._upper / path.relative_to(lower))

    def keep(self, folder: Path) -> None:
        """Copy what was written, but what would fill a disk; links and the like stay behind.

        Nor are links followed in the folder and the one that it is in, which a stranger may have made.
        """
        left, top = MOST_KEPT_BYTES, folder.parents[1]
        for path in sorted(self._written()):
            left -= path.lstat().st_size
            if left < 0:
                return
            target = folder / path.relative_to(self._upper)
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.parent.resolve() == top.resolve() / target.parent.relative_to(top):
                    with files.draft(target) as made:
                        shutil.copyfile(path, made, follow_symlinks=False)

    def _written(self) -> Iterator[Path]:
        """The files that are not as they were copied."""
        for path in _below(self._upper):
            original = self._root / "lower" / path.relative_to(self._upper)
            if not path.is_symlink() and path.is_file() and _state(path) != _state(original):
                yield path

    def remove(self) -> None:
        """Take it away."""
        self._temporary.remove()


def layer_over(folder: Path, scratch: Path) -> Layer | None:
    """A new layer; None where there can be none."""
    places = list(_places(folder, scratch))
    for copied, parent in itertools.product((False, True), places):
        if copied and not _fits(_below(folder)):
            return None
        layer = Layer(folder, parent, copied=copied)
        if layer.works():
            layer.clear()
            return layer
        layer.remove()
    return None


def _below(folder: Path) -> Iterator[Path]:
    """The files and links in a folder and below, but those of jobs of the farm."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != FARMS_OWN]
        yield from (Path(place, name) for name in names)


@functools.cache
def _strangers(folder: Path) -> list[Path]:
    """Files that an overlay can't be written over, as their owner or group is not known in it (EOVERFLOW).

    Looked for once by each node, as a walk through a project takes its time.
    """
    own = (os.geteuid(), os.getegid())
    found = [path for path in _below(folder) if _owners(path) != own]
    return found if _fits(found) else []


def _owners(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return (found.st_uid, found.st_gid)


def _fits(paths: Iterable[Path]) -> bool:
    left = MOST_COPIED_BYTES
    for path in paths:
        left -= path.lstat().st_size
        if left < 0:
            return False
    return True


def _copy(path: Path, target: Path) -> None:
    """The file with its time, or the link; what can't be read stays away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        shutil.copy2(path, target, follow_symlinks=False)


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file is written; nothing for none."""
    try:
        found = path.lstat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def _places(folder: Path, scratch: Path) -> Iterator[Path]:
    """Where a layer may lie: beside the scratch folder, else among the machine's temporary files."""
    found = (scratch.parent, Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108
    covered = folder.resolve()
    for place in dict.fromkeys(path.resolve() for path in found if os.access(path, os.W_OK)):
        if place != covered and covered not in place.parents:
            yield place
