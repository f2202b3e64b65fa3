"""Which build rendered a job's frames, and so under which fingerprints they are kept and looked up.

On this machine the build is known before. Nodes of a remote pool say with each frame what rendered it: their
frames are kept under that, and looked up with what the same nodes named last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.store import Store
from renderfarm.words.work import Build


@dataclass(frozen=True)
class Builds:
    """Identity and label of what nodes of a remote pool rendered with, named last first."""

    named: tuple[tuple[str, str], ...] = ()


class Origin:
    """What rendered, or would render, the frames of one job."""

    def __init__(self, store: Store, fingerprints: Fingerprints, nodes: str | None = None) -> None:
        """`nodes` stands for a remote pool and what its nodes install; their fingerprints hold no build."""
        self._store = store
        self._fingerprints = fingerprints
        self._nodes = nodes
        self._by: dict[str, Fingerprints] = {}

    @property
    def known(self) -> tuple[str, str] | None:
        """Identity and label of the build that remote nodes named last; None while they have named none."""
        return next(iter(self._builds), None)

    @property
    def _builds(self) -> tuple[tuple[str, str], ...]:
        return (self._store.recall(Builds, self._nodes) or Builds()).named if self._nodes else ()

    @property
    def expected(self) -> Fingerprints | None:
        """What frames are looked up with; None when nobody knows what would render them."""
        if self._nodes is None:
            return self._fingerprints
        return self._rendered_by(self.known[0]) if self.known else None

    def all(self) -> Iterator[Fingerprints]:
        """Everything that frames of this job may have been kept under."""
        if self._nodes is None:
            yield self._fingerprints
            return
        yield from (self._rendered_by(identity) for identity, _ in self._builds)

    def of(self, build: Build | None) -> Fingerprints | None:
        """What a frame is kept under that this build rendered; None for one of nobody knows which."""
        if self._nodes is None:
            return self._fingerprints
        return self._rendered_by(build.identity) if build else None

    def learn(self, build: Build | None) -> bool:
        """Remember which build a frame names; whether another one was expected."""
        if self._nodes is None or build is None or (self.known or ("",))[0] == build.identity:
            return False
        now = build.identity, build.label
        self._store.keep(self._nodes, Builds((now, *(each for each in self._builds if each[0] != now[0]))))
        return True

    def _rendered_by(self, identity: str) -> Fingerprints:
        if identity not in self._by:
            self._by[identity] = self._fingerprints.by(identity)
        return self._by[identity]
