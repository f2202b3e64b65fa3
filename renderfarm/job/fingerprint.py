"""What frames were rendered from: the hashes that tell their pixels apart, and what those are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

SHOWN_NAMES = 3
"""assets that are named one by one; of more, only so many are"""


@dataclass(frozen=True)
class Fingerprints:
    """Those of a job's frames, 64 hex digits each. Same fingerprint, same frame number: same pixels."""

    base: str
    """of everything that all frames need"""
    own: dict[str, str] = field(default_factory=dict)
    """frame number (as text) to its fingerprint, for frames that need files of their own"""
    observed: bool = False
    """what a frame needs is seen when it is rendered: until then it has no fingerprint, but a key"""
    keys: dict[str, str] = field(default_factory=dict)
    """frame number (as text) to its key, for frames that are known to need files of their own"""

    def of(self, frame: int) -> str:
        """One frame's fingerprint; empty while it is not known."""
        return self.own.get(str(frame), "" if self.observed else self.base)

    def key(self, frame: int) -> str:
        """What stands for all that is known of a frame's needs before it is rendered."""
        return self.keys.get(str(frame), self.base)

    def apart(self, frames: Iterable[int]) -> dict[str, list[int]]:
        """The frames of each fingerprint, but those that have none yet."""
        found: dict[str, list[int]] = {}
        for frame in frames:
            if fingerprint := self.of(frame):
                found.setdefault(fingerprint, []).append(frame)
        return found

    def by(self, identity: str) -> Fingerprints:
        """The fingerprints of the same inputs, as a build rendered them that was not known before."""
        own = {frame: hashed(fingerprint, identity) for frame, fingerprint in self.own.items()}
        return Fingerprints(hashed(self.base, identity), own)

    @property
    def whole(self) -> str:
        """One hash over the fingerprints of all frames."""
        known = self.keys if self.observed else self.own
        if not known:
            return self.base
        lines = sorted(f"{frame} {fingerprint}\n" for frame, fingerprint in known.items())
        return hashlib.sha256("".join([self.base, *lines]).encode()).hexdigest()

    def __iter__(self) -> Iterator[str]:
        """Each fingerprint once, the base first."""
        yield self.base
        yield from dict.fromkeys(self.own.values())


@dataclass(frozen=True)
class Ingredients:
    """What fingerprints are made of, kept so that people can be told why frames were rendered again."""

    scheme: int
    scene: str
    """the file's name"""
    sha256: str
    """of the scene file"""
    frames: str
    """the scene's own range"""
    identity: str
    """of the renderer build"""
    label: str
    settings: Mapping[str, object] = field(default_factory=dict)
    """what was asked for differently from the scene"""
    assets: Mapping[str, str] = field(default_factory=dict)
    """path relative to the scene's folder to hash"""
    missing: tuple[str, ...] = ()


def hashed(*texts: str) -> str:
    """One hash over several texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def explain(before: Ingredients, now: Ingredients) -> Iterator[str]:
    """Why frames of `now` are not those of `before`, in words; nothing when nothing differs."""
    if before.scheme != now.scheme:
        yield "renderfarm was upgraded and looks at inputs in another way"
    if before.sha256 != now.sha256:
        yield f"scene {now.scene} changed"
    elif before.scene != now.scene:
        yield f"scene renamed: {before.scene} → {now.scene}"
    elif before.frames != now.frames:
        yield f"frame range changed: {before.frames} → {now.frames}"
    yield from _assets(before, now)
    changes = list(_settings(before.settings, now.settings))
    if changes:
        yield f"settings changed: {', '.join(changes)}"
    if before.identity != now.identity:
        other = (
            f"another build of {now.label}" if before.label == now.label else f"{before.label} → {now.label}"
        )
        yield f"renderer build changed: {other}"


def _assets(before: Ingredients, now: Ingredients) -> Iterator[str]:
    changed = [name for name, known in now.assets.items() if before.assets.get(name, known) != known]
    found = [name for name in before.missing if name in now.assets]
    lost = [name for name in now.missing if name not in before.missing]
    new = [name for name in now.assets if name not in before.assets and name not in found]
    gone = [name for name in before.assets if name not in now.assets and name not in lost]
    verbs = {
        "changed": ("changed", changed),
        "is new": ("are new", new),
        "is there again": ("are there again", found),
    }
    verbs |= {"is missing": ("are missing", lost), "is not needed any more": ("are not needed any more", gone)}
    for one, (many, names) in verbs.items():
        if names:
            yield _told(sorted(names), one, many)


def _told(names: Sequence[str], one: str, many: str) -> str:
    if len(names) == 1:
        return f"asset {names[0]} {one}"
    more = ", …" if len(names) > SHOWN_NAMES else ""
    return f"{len(names)} assets {many}: {', '.join(names[:SHOWN_NAMES])}{more}"


def _settings(before: Mapping[str, object], now: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            yield from _settings(_mapping(old), _mapping(new), f"{name[:-1] if name == 'options' else name} ")
        else:
            yield f"{prefix}{name.replace('_', ' ')} {_value(old)} → {_value(new)}"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return "as in the scene" if value is None else str(value)
