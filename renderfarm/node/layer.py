"""A private layer over the scene's folder, for scenes that write beside themselves: what they write goes there.

An overlay in a user namespace of our own, with bubblewrap inside it (Debian 12's can't mount one itself). The
layer may not lie inside the folder that it covers, nor on a network or overlay file system, and it lies where
no renderer can reach it by another name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from renderfarm.renderers.scratch import reading

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--")
_OPTIONS = "userxattr,lowerdir=lower,upperdir=upper,workdir=work"
_MOUNT = f'cd "$1" && shift && mount -t overlay overlay -o {_OPTIONS} view && cd / && exec "$@"'
_PREFIX = "renderfarm-layer-"
_SUFFIX = ".layer"
MOST_KEPT_BYTES = 1 << 30


class Layer:
    """One layer over one folder, with what was written so far."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def view(self) -> Path:
        """What bubblewrap mounts in the folder's place."""
        return self._root / "view"

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command, started where the view is mounted."""
        return [*_UNSHARE, "/bin/sh", "-c", _MOUNT, "sh", str(self._root), *argv]

    def clear(self) -> None:
        """Forget what was written; nothing may have it open."""
        for name in ("upper", "work"):
            shutil.rmtree(self._root / name, ignore_errors=True)
            (self._root / name).mkdir(exist_ok=True)

    def keep(self, folder: Path) -> None:
        """Copy what was written, but what would fill a disk; links and the like stay behind."""
        left = MOST_KEPT_BYTES
        for path in sorted(self._written()):
            left -= path.lstat().st_size
            if left < 0:
                return
            target = folder / path.relative_to(self._root / "upper")
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target, follow_symlinks=False)

    def _written(self) -> Iterator[Path]:
        for place, _, names in os.walk(self._root / "upper"):
            paths = (Path(place, name) for name in names)
            yield from (path for path in paths if path.is_file() and not path.is_symlink())

    def remove(self) -> None:
        """Take it away."""
        shutil.rmtree(self._root, ignore_errors=True)


def layer_over(folder: Path, scratch: Path) -> Layer | None:
    """A new layer; None where there can be none."""
    for parent in _places(folder, scratch):
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        for name in ("upper", "work", "view"):
            (root / name).mkdir()
        (root / "lower").symlink_to(folder)
        layer = Layer(root)
        _note(root, scratch)
        if subprocess.run(layer.inside(["true"]), capture_output=True, check=False).returncode == 0:
            return layer
        layer.remove()
    return None


def _note(root: Path, scratch: Path) -> None:
    """Leave beside the scratch folder where the layer is, for a farm of later."""
    with contextlib.suppress(OSError):
        scratch.with_name(scratch.name + _SUFFIX).write_text(str(root))


def remove_left(folder: Path) -> None:
    """Take away the layers of nodes that had their scratch in the folder and died."""
    for note in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError, ValueError), reading(note) as file:
            root = Path(os.fsdecode(file.read(4096)))
            if root.is_absolute() and root.name.startswith(_PREFIX) and not root.is_symlink():
                Layer(root).remove()


def _places(folder: Path, scratch: Path) -> Iterator[Path]:
    """Where a layer may lie: beside the scratch folder, else among the machine's temporary files."""
    found = (scratch.parent, Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108
    covered = folder.resolve()
    for place in dict.fromkeys(path.resolve() for path in found if os.access(path, os.W_OK)):
        if place != covered and covered not in place.parents:
            yield place
