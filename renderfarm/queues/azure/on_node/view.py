"""A task's own view of the project: the files at their paths, read-only, gone when the task ends."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from renderfarm.queues.azure.on_node.assets import Store
from renderfarm.queues.azure.on_node.exits import FAILED, Exit, of_error
from renderfarm.queues.azure.on_node.manifest import Manifest

_FOLDER_OPEN, _FOLDER_CLOSED = 0o755, 0o555
_TRIES = 5


@contextlib.contextmanager
def view(manifest: Manifest, store: Store, folder: Path, bring: Callable[[], object]) -> Iterator[Path]:
    """The project below `folder`. `bring` is called when a file has left the store. Raises Exit."""
    remove(folder)
    try:
        for attempt in range(_TRIES):
            try:
                _link(manifest, store, folder)
                break
            except FileNotFoundError as error:
                if attempt == _TRIES - 1:
                    raise Exit(FAILED, f"Files leave the node's store while they are used: {error}.") from error
                bring()
            except OSError as error:
                message = f"The project can't be laid out on this node: {error}."
                raise Exit(of_error(error), message) from error
        _close(folder)
        yield folder
    finally:
        remove(folder)


def _link(manifest: Manifest, store: Store, folder: Path) -> None:
    """Put every file at its path, those that are there already left alone."""
    made = {folder}
    folder.mkdir(parents=True, exist_ok=True)
    for file in manifest.files:
        target = folder / file.path
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        with contextlib.suppress(FileExistsError):
            _place(store.path(file.sha256), target)


def _place(source: Path, target: Path) -> None:
    """A hard link; a copy where there can be none: on another disk, or of another user's file."""
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        if not target.exists():
            draft = target.with_name(f".{target.name}.draft")
            shutil.copyfile(source, draft)
            draft.chmod(source.stat().st_mode & 0o777)
            draft.replace(target)


def _close(folder: Path) -> None:
    for name, _, _ in os.walk(folder):
        Path(name).chmod(_FOLDER_CLOSED)


def remove(folder: Path) -> None:
    """Take a view away, whatever is left of it."""
    if not folder.exists():
        return
    for name, _, _ in os.walk(folder):
        Path(name).chmod(_FOLDER_OPEN)
    shutil.rmtree(folder, ignore_errors=True)
