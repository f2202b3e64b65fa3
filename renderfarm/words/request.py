"""What was asked: settings for the renderer, and all else that `submit` takes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from renderfarm.words.states import Word


class Sandbox(Word):
    """Whether renderers run inside bubblewrap."""

    REQUIRE = "require"
    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True)
class Settings:
    """What the user asked the renderer to do differently from the scene; None means as the scene has it."""

    resolution: tuple[int, int] | None = None
    """width and height in pixels of the whole picture, before `scale`"""
    scale: int | None = None
    """percent"""
    samples: int | None = None
    camera: str | None = None
    scene: str | None = None
    view_layer: str | None = None
    engine: str | None = None
    format: str = "png"
    """png, exr, jpeg or tiff"""
    options: dict[str, str] = field(default_factory=dict)
    """handed to the renderer as they are"""
    frames: str | None = None
    """the animation's whole range where it is not the scene's own (POV-Ray's clock runs over it)"""
    trust_scripts: bool = False
    device: str | None = None
    """cpu, gpu, or numbers of graphics cards"""
    allow_unbaked: bool = False
    """let frames be rendered without those that they follow from"""
    section: str | None = None
    """of an ini, whose options come after those before the first section"""

    @property
    def on(self) -> str:
        """What to render on: auto, cpu, gpu, or numbers of graphics cards."""
        return self.device or self.options.get("device", "auto")

    def size(self, own: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture, where the scene has its own."""
        width, height = (max(1, side * (self.scale or 100) // 100) for side in self.resolution or own)
        return width, height

    def overridden(self) -> dict[str, object]:
        """The names and values that differ from the defaults."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != _default(f)}


def _default(f: dataclasses.Field[Any]) -> object:
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


SUFFIXES = {"png": "png", "exr": "exr", "jpeg": "jpg", "tiff": "tif"}
"""Picture format to file suffix."""
MISSING = ("fail", "hold", "slate", "skip")
"""What a video can do about frames that are not there."""


@dataclass(frozen=True)
class Request:
    """What `submit` was asked, with every default filled in; stored with the job, so it can be asked again."""

    scene: str
    """absolute path"""
    output: str
    """absolute path of the output folder"""
    frames: str | None = None
    """None: the scene's own range"""
    pool: str = "local"
    settings: Settings = field(default_factory=Settings)
    chunk: int | None = None
    """frames per task; None: chosen from measured frame times"""
    order: str = "sequential"
    split: str | None = None
    """what each frame is split into, `tiles=3x2`, `samples=4` or `auto`; None: nothing"""
    workers: int | None = None
    fps: float | None = None
    """of the video; None: the scene's own"""
    video: str | None = None
    """absolute path; None: `<stem>.mp4` in the output folder when there is more than one frame, or
    `<stem>.1-600.mp4` where that is the film of another range"""
    no_video: bool = False
    audio: str | None = None
    codec: str | None = None
    crf: int | None = None
    missing: str = "fail"
    """what the video does about frames that are not there"""
    retries: int = 2
    """tries after the first one"""
    timeout: float | None = None
    """seconds of wall clock per frame"""
    after: str | None = None
    """what becomes of a cloud pool when the job has ended; None: as its table says"""
    priority: int | None = None
    """among the jobs of this machine, or of a cloud pool, -1000 to 1000; None: 0"""
    together: bool = False
    """render on this machine beside other jobs, without waiting for its turn"""
    allow_missing: bool = False
    """render although assets are missing"""
    allow_older: bool = False
    """render although a newer version of the renderer saved the scene"""
    sandbox: Sandbox = Sandbox.AUTO
    reuse: bool = True
    programs: dict[str, str] = field(default_factory=dict)
    """renderer to the program that the user named"""
