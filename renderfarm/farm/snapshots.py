"""The scene's own files as they were when its job was submitted: copies are rendered, and people go on saving.

Copies lie in the output folder, as `<sha256>/<name>`, for as long as frames of their job are left.
"""

from __future__ import annotations

import glob
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.farm import copies
from renderfarm.job.hashing import file_hashes
from renderfarm.job.store import Store


@dataclass(frozen=True)
class Keep:
    """Where a job's copies are, and the hashes of those that an earlier run of it made."""

    folder: Path
    wanted: Container[str] = ()


@dataclass(frozen=True)
class Sources:
    """The scene's own files: what they hold, and the copies that were made so far."""

    hashes: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def copied(self) -> dict[str, str]:
        """A copy of each file; raises InputError for one that was saved since it was hashed, OSError."""
        made = {
            path: _copy(Path(path), sha256, self.folder)
            for path, sha256 in self.hashes.items()
            if path not in self.copies
        }
        return {**self.copies, **made}


def sources(paths: Iterable[str], keep: Keep, store: Store) -> Sources:
    """What the files hold; what an earlier run of the job kept stands for what was saved since."""
    found = {path: copy for path in paths if (copy := _earlier(Path(path).name, keep, store))}
    fresh = file_hashes([Path(path) for path in paths if path not in found], store)
    hashes = {
        **{path: copy.parent.name for path, copy in found.items()},
        **{str(p): h for p, h in fresh.items()},
    }
    return Sources(hashes, {path: str(copy) for path, copy in found.items()}, keep.folder)


def _earlier(name: str, keep: Keep, store: Store) -> Path | None:
    """The copy of an earlier run, if nobody changed it."""
    for path in keep.folder.glob(f"*/{glob.escape(name)}"):
        if path.parent.name in keep.wanted and file_hashes([path], store)[path] == path.parent.name:
            return path
    return None


def _copy(path: Path, sha256: str, folder: Path) -> str:
    """Copy the file, as long as it holds what is wanted."""
    target = folder / sha256 / path.name
    draft = target.with_name(f".{path.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        found = copies.hashed(path, draft)
        draft.chmod(0o444)
        draft.replace(target)
    except OSError as error:
        message = f"{path.name}, which jobs render a copy of, can't be copied to {folder}: {error.strerror}."
        raise InputError(message, "Make room there, or choose another --output.") from error
    if found != sha256:
        target.unlink()
        raise InputError(f"{path} was saved while its job was being submitted.", "Submit it again.")
    return str(target)
