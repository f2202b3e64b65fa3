"""What a renderer says about a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from renderfarm.words.states import Word


class Needs(Word):
    """How it is known what a frame needs besides the scene itself; the record says it."""

    DECLARED = "declared"
    """the renderer said so beforehand: the scene's assets"""
    OPENED = "opened"
    """what is opened or looked for while the frame is rendered (strace)"""
    SHOWN = "shown"
    """nobody saw it: every file of the folders that the renderer is shown"""


def pictures(first: str, views: int) -> Iterator[str]:
    """A frame's pictures while they travel, those of other views beside the first: `0001.png`, `0001-1.png`."""
    yield first
    stem, dot, suffix = first.rpartition(".")
    yield from (f"{stem}-{view}{dot}{suffix}" for view in range(1, views))


@dataclass(frozen=True)
class Asset:
    """One file (or folder of cache files) that a scene needs; path is absolute."""

    path: str
    kind: str
    """image, sequence, tiles, movie, sound, library, font, volume, cache, simulation, script, include, text"""
    exists: bool
    bytes: int = 0
    used_by: str = ""
    """the scene's own name for it, for messages"""
    frames: str | None = None
    """range of the scene's own frames that need it, empty for none of them; None: every frame may"""
    withheld: str = ""
    """why it counts as missing though it is there, to go after "it"; empty where it may be shown"""
    certain: bool = True
    """whether frames need it for all that is known; else those that are seen to open it, or to look for it"""


@dataclass(frozen=True)
class Wild:
    """Files of a folder that a scene may need, by a pattern (fnmatch) for their names."""

    folder: str
    """absolute path"""
    pattern: str
    deep: bool = False
    """the pattern is for paths below the folder, and `*` stands for slashes too"""
    by_frame: bool = False
    """which of them a frame needs depends on its number"""


@dataclass(frozen=True)
class Colour:
    """How scene-linear pixels become what the artist sees (OpenColorIO's words)."""

    config: str = ""
    """path of the renderer's config.ocio; empty where there is none"""
    display: str = "sRGB"
    view: str = "Standard"
    look: str = ""
    exposure: float = 0.0
    """stops"""
    gamma: float = 1.0
    working: str = ""
    """the space of scene-linear frames, by its name in the config; empty where the renderer has but one"""
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """the light, in Rec.709's primaries, that is shown as white"""
    curves: bool = False
    """curves come on top, which only the renderer applies"""
    keyed: bool = False
    """… and keys, from frame to frame"""


@dataclass(frozen=True)
class Sound:
    """One strip of a scene's own sound, as its timeline has it."""

    name: str
    path: str
    """absolute; empty when the sound is packed into the scene"""
    start: float
    """frame with which it sets in"""
    end: float
    """frame with which it is over"""
    skipped: float
    """seconds of the file that come before what is heard"""
    volume: float = 1.0
    plain: bool = True
    """nothing but volume changes it: no animation, speed, panning or effect"""


@dataclass(frozen=True)
class Scene:
    """What a renderer says about a scene, with the settings asked for applied."""

    path: str
    renderer: str
    saved_with: str
    """version that saved the file; empty for text formats"""
    frames: str
    """the scene's own range, `1-250` or `1-250x2`"""
    fps: float
    resolution: tuple[int, int]
    """pixels of the finished picture: percentage and overrides applied"""
    camera: str | None
    cameras: tuple[str, ...] = ()
    engine: str = ""
    engines: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    view_layers: tuple[str, ...] = ()
    samples: int | None = None
    outputs: tuple[str, ...] = ()
    """pictures it writes besides the frame: the scene's own output path and format, file output nodes"""
    markers: dict[str, str] = field(default_factory=dict)
    """frame number (as text) to the camera that a marker switches to"""
    assets: tuple[Asset, ...] = ()
    wild: tuple[Wild, ...] = ()
    """where files may appear that change which assets the scene needs"""
    colour: Colour = field(default_factory=Colour)
    sounds: tuple[Sound, ...] = ()
    """of its own timeline, those that are heard"""
    pixel_aspect: float = 1.0
    """width to height of a pixel"""
    views: tuple[str, ...] = ()
    """what names of pictures have behind the stem, one for each view of a frame; the first is shown"""
    views_inside: tuple[str, ...] = ()
    """names of the views that each of its pictures has as layers"""
    layered: bool = False
    """its pictures hold all layers and passes"""
    alpha: bool = False
    """the background is transparent"""
    denoised: bool = False
    """needs a renderer with a denoiser"""
    blocked_scripts: tuple[str, ...] = ()
    """drivers and scripts that did not run, so the pixels may be wrong"""
    notes: tuple[str, ...] = ()
    """things worth a warning: denoiser missing, output overridden, …"""
    obstacle: str = ""
    """why the renderer at hand can render no frame of it, with the remedy; empty when it can"""
    folders: tuple[str, ...] = ()
    """absolute paths of library folders, which the renderer must see whatever it looks for in them"""
    ordered: bool = False
    """frames follow from those before them, so that one worker is best"""
    unbaked: str = ""
    """what makes them, by name, where baking it would end that"""
    newer: str = ""
    """the renderer's own words about files that a newer version of it saved, and what it can't read of them"""
    block: int = 0
    """tiles that begin at multiples of so many pixels are what the whole picture has there; 0: no tiles are"""
    seams: str = ""
    """why not, for people"""
    doubt: str = ""
    """why tiles may differ all the same, as far as texts hint at it; nobody is refused for that"""
    margin: int = 0
    """pixels around a tile that must be rendered with it"""
    uneven: str = "its renderer has no ranges of samples"
    """why means of sample ranges are not the whole picture, for people; empty where they are"""
    tiles: str = ""
    """format of their files, which have their own size; empty: they are like the picture's"""
    device: str = ""
    """the kind of graphics cards that it is rendered on; empty: the processor"""
    cards: tuple[str, ...] = ()
    """those among which sessions may be shared out"""
    needs: Needs = Needs.DECLARED

    @property
    def missing(self) -> tuple[Asset, ...]:
        """Assets that are not there."""
        return tuple(asset for asset in self.assets if not asset.exists)
