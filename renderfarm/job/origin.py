"""Which build rendered a job's frames, and so under which fingerprints they are kept and looked up.

On this machine the build is known before. Nodes of a remote pool say with each frame what rendered it: their
frames are kept under that, and looked up with what the same nodes named last.
"""

from __future__ import annotations

from collections.abc import Iterator

from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.store import Store
from renderfarm.words.work import Build


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
        return next(iter(self._store.node_builds(self._nodes)), None) if self._nodes else None

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
        yield from (self._rendered_by(identity) for identity, _ in self._store.node_builds(self._nodes))

    def of(self, build: Build | None) -> Fingerprints | None:
        """What a frame is kept under that this build rendered; None for one of nobody knows which."""
        if self._nodes is None:
            return self._fingerprints
        return self._rendered_by(build.identity) if build else None

    def learn(self, build: Build | None) -> bool:
        """Remember which build a frame names; whether another one was expected."""
        if self._nodes is None or build is None or (self.known or ("",))[0] == build.identity:
            return False
        self._store.name_node_build(self._nodes, build.identity, build.label)
        return True

    def _rendered_by(self, identity: str) -> Fingerprints:
        if identity not in self._by:
            self._by[identity] = self._fingerprints.by(identity)
        return self._by[identity]
