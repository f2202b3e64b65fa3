"""Where frames and jobs stand, and why an attempt failed."""

from __future__ import annotations

import enum


class Word(str, enum.Enum):
    """An enum whose members are their text, in JSON and in f-strings alike."""

    def __str__(self) -> str:
        return str(self.value)


class FrameState(Word):
    """Where one frame stands. A frame nobody touched yet is queued."""

    QUEUED = "queued"
    """waiting for a node"""
    RUNNING = "running"
    """a node is rendering it, or its picture waits to be checked"""
    SUCCEEDED = "succeeded"
    """rendered, looked at, and in the output folder"""
    FAILED = "failed"
    """tried as often as made sense; the last attempt says why"""
    CANCELED = "canceled"
    """given up by the user"""


class JobState(Word):
    """Where a job stands: a function of its frames' states, never stored."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Phase(Word):
    """What a job does just now, or what it waits for."""

    UNTOLD = ""
    STARTING = "starting"
    WAITING = "waiting"
    """for its turn on this machine"""
    RENDERING = "rendering"
    PAUSING = "pausing"
    """frames in hand are finished, no other is begun"""
    ASSEMBLING = "assembling"
    DONE = "done"
    INTERRUPTED = "interrupted"
    """frames are left and nobody works on them"""
    PAUSED = "paused"
    """the same, and somebody asked for that"""
    LEFT = "left to its pool"
    """its pool may go on with it, and nobody was asked"""
    REMOTE = "rendering remotely"
    UNCOLLECTED = "waits to be collected"
    GONE = "gone"
    """with its folder"""


class Reason(Word):
    """Why an attempt failed; decides whether trying again makes sense."""

    CRASH = "crash"
    """the renderer died"""
    OUT_OF_MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    MISSING_FILE = "missing-file"
    """the renderer could not find a file the scene needs"""
    SCENE_ERROR = "scene-error"
    """the scene can't be rendered: syntax error, no camera, unsupported feature"""
    BAD_SETTING = "bad-setting"
    """an override that this renderer or scene can't honour"""
    BAD_PICTURE = "bad-picture"
    """a file came out, but not a good picture"""
    NO_PICTURE = "no-picture"
    """the renderer said it was done and left no file"""
    DISK_FULL = "disk-full"
    NODE_LOST = "node-lost"
    """the node went away; not the frame's fault"""
    INPUT_CHANGED = "input-changed"
    """a file that the frame was rendered from changed meanwhile; resume renders it from what is there then"""
    GIVEN_UP = "given-up"
    """not tried: the frames before it all failed in the same way"""
    UNKNOWN = "unknown"


RETRYABLE = frozenset(
    {
        Reason.CRASH,
        Reason.OUT_OF_MEMORY,
        Reason.TIMEOUT,
        Reason.BAD_PICTURE,
        Reason.NO_PICTURE,
        Reason.NODE_LOST,
        Reason.UNKNOWN,
    }
)
"""Reasons that another try may cure; the others fail the same way again."""


class Finding(Word):
    """What may be wrong with the pixels of a frame."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    WRONG_SIZE = "wrong-size"
    BLANK = "blank"
    MISSING_TEXTURE = "missing-texture"
    NAN = "nan"
    OUTLIER = "outlier"
    GAP = "gap"
