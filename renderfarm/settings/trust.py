"""What a project's files may say beyond how to render: nothing, until their user has looked and said so.

A `renderfarm.toml` or a list of shots may have come with a stranger's scene. What it says that names a program,
an address, a pool or a folder elsewhere counts only after `renderfarm trust`, which remembers the bytes of the
file and of every file that it names, in the user's own configuration folder; what has changed is asked again.
"""

from __future__ import annotations

import enum
import hashlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderfarm.errors import ConfigError, StoreError
from renderfarm.job.home import user_folder
from renderfarm.words import files, stamps
from renderfarm.words.as_json import read_json, to_json

SHOWN_KEYS = 8

Seen = dict[str, dict[str, Any]]
"""files by path, each with its `sha256` and its `state`"""


@dataclass(frozen=True)
class _Note:
    """What is written down of a file that somebody trusts."""

    path: str
    files: Seen


class Trust(enum.Enum):
    """How a file of a project stands."""

    HARMLESS = "harmless"
    """it only says how to render"""
    TRUSTED = "trusted"
    CHANGED = "changed"
    """it, or a file that it names, is not what was trusted"""
    UNTRUSTED = "untrusted"


@dataclass(frozen=True)
class Power:
    """One thing that a file says and that is for its user to say."""

    key: str
    """as `pools.cloud.batch_url`"""
    value: str
    files: tuple[Path, ...] = ()
    """that the farm would read or run"""


@dataclass(frozen=True)
class Wish:
    """A file as it was read, with all that it says beyond how to render."""

    path: Path
    """absolute; a link at its end is not followed, as what a file names lies beside the link"""
    digest: str
    """of the bytes that were parsed"""
    powers: tuple[Power, ...] = ()

    @property
    def named(self) -> list[Path]:
        """The files that it names beyond how to render."""
        return sorted({path for power in self.powers for path in power.files})


def require(wish: Wish) -> None:
    """Go on if the file says nothing that its user didn't allow; raises ConfigError."""
    found = standing(wish)
    if found in (Trust.HARMLESS, Trust.TRUSTED):
        return
    keys = [power.key for power in wish.powers]
    shown = ", ".join(keys[:SHOWN_KEYS]) + (", …" if len(keys) > SHOWN_KEYS else "")
    then = " It has changed since you trusted it." if found is Trust.CHANGED else ""
    message = f"{wish.path} says more than how to render: {shown}. That is for you to allow.{then}"
    command = shlex.join(["renderfarm", "trust", str(wish.path)])
    raise ConfigError(message, f"Look at it, and allow it with: {command}")


def standing(wish: Wish) -> Trust:
    """How a file stands with its user."""
    if not wish.powers:
        return Trust.HARMLESS
    known = _recalled(_note(wish.path))
    if known is None:
        return Trust.UNTRUSTED
    same = known.get(str(wish.path), {}).get("sha256") == wish.digest
    names = {str(path) for path in wish.named} == known.keys() - {str(wish.path)}
    return Trust.TRUSTED if same and names and all(_same(path, known) for path in wish.named) else Trust.CHANGED


def look(wish: Wish) -> Seen:
    """The files that trust would be about, as they are now."""
    named: Seen = {str(path): {"sha256": digest(path), "state": [*stamps.stamp(path)]} for path in wish.named}
    return {str(wish.path): {"sha256": wish.digest}, **named}


def remember(wish: Wish, seen: Seen) -> None:
    """Trust a file as it was seen; raises StoreError where that can't be written down."""
    note = _note(wish.path)
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(note, to_json(_Note(str(wish.path), seen)))
    except OSError as error:
        message = f"What you trust can't be written to {note.parent}: {error.strerror}."
        raise StoreError(message, "Nothing is trusted that was not before.") from error


def revoke(path: Path) -> bool:
    """Trust a file no more; False when it was not trusted."""
    try:
        _note(path).unlink()
    except FileNotFoundError:
        return False
    return True


def trusted() -> Iterator[Path]:
    """The files that were trusted, whether or not they have changed since."""
    for note in sorted(_folder().glob("*.json")):
        try:
            yield Path(read_json(_Note, files.whole(note)).path)
        except (OSError, ValueError):
            continue


def digest(path: Path) -> str | None:
    """SHA-256 of a file; None where there is no regular file that can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if path.is_file() else None
    except (OSError, ValueError):
        return None


def _same(path: Path, known: Seen) -> bool:
    """Whether a named file is what it was; only one that was touched is read again."""
    noted = known[str(path)]
    state = [*stamps.stamp(path)]
    return (bool(state) and state == noted.get("state")) or digest(path) == noted.get("sha256")


def _folder() -> Path:
    return user_folder() / "trusted"


def _note(path: Path) -> Path:
    return _folder() / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _recalled(note: Path) -> Seen | None:
    """The files of a note by path; None where there is no note, or one that can't be read."""
    try:
        return read_json(_Note, files.whole(note)).files
    except (OSError, ValueError):
        return None
