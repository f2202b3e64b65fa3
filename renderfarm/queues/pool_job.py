"""What a pool is told about a job before tasks come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.job.record import Record
from renderfarm.node.process import NodeProcess
from renderfarm.queues.turns import Turn
from renderfarm.words.scene import Scene
from renderfarm.words.work import Work


@dataclass(frozen=True)
class PoolJob:
    """What a pool must know about a job before tasks come."""

    id: str
    work: Work
    scene: Scene
    home: Path
    """the farm home, for what pools of several jobs must agree on"""
    frame_count: int
    """frames still to render, for sizing"""
    turn: Turn | None = None
    """on this machine, where the pool is that"""
    workers: int | None = None
    """sessions that the user asked for; None: chosen by the pool"""
    warm: NodeProcess | None = None
    """a node on this machine that has the scene open already; a pool that takes it over says so"""
    record: Record | None = None
    """for remote pools"""
    folder: Path = Path()
    """the job's own: record, journals, what is shared with nodes"""
    retries: int = 0
    """tries after a frame's first one"""
    seconds: float | None = None
    """of a frame, where one of this scene was rendered before"""
    unpaid: float | None = None
    """CPU seconds of a frame with which more sessions on this machine than one were no faster"""
    learn_unpaid: Callable[[float], None] = lambda _: None
    """told when that is found out"""
    progress: Callable[[str], None] | None = None
    """told in a few words how far `prepare` is, by the thread that called it"""
    good: frozenset[int] = frozenset()
    """frames that are here already: a pool that has them too need not hand them over again"""
    failed: Mapping[int, int] = field(default_factory=dict)
    """frames that are known to have failed, and in which attempt"""
