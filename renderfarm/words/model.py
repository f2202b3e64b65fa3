"""The words of the farm as types: what a scene is, what was asked, what happened to a frame.

Data only, frozen, and plain enough to travel as JSON: the same dataclasses go from the farm to a node
and back. Runs on nodes: Python 3.10, standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


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
    """What the doctor found in the pixels of a frame."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    WRONG_SIZE = "wrong-size"
    BLANK = "blank"
    MISSING_TEXTURE = "missing-texture"
    NAN = "nan"
    OUTLIER = "outlier"
    GAP = "gap"


class Needs(Word):
    """How it is known what a frame needs besides the scene itself; the record says it."""

    DECLARED = "declared"
    """the renderer said so beforehand: the scene's assets"""
    OPENED = "opened"
    """what is opened or looked for while the frame is rendered (strace)"""
    SHOWN = "shown"
    """nobody saw it: every file of the folders that the renderer is shown"""


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
    allow_unbaked: bool = False
    """let frames be rendered without those that they follow from"""
    section: str | None = None
    """of an ini, whose options come after those before the first section"""

    def overridden(self) -> dict[str, object]:
        """The names and values that differ from the defaults."""
        return {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != _default(f)}


def _default(f: dataclasses.Field[Any]) -> object:
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


SUFFIXES = {"png": "png", "exr": "exr", "jpeg": "jpg", "tiff": "tif"}
"""Picture format to file suffix."""


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
    """whether the renderer said so; else its name was read in a text that may never be run"""


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
    margin: int = 0
    """pixels around a tile that must be rendered with it"""
    tiles: str = ""
    """format of their files, which have their own size; empty: they are like the picture's"""
    needs: Needs = Needs.DECLARED

    @property
    def missing(self) -> tuple[Asset, ...]:
        """Assets that are not there."""
        return tuple(asset for asset in self.assets if not asset.exists)


@dataclass(frozen=True)
class Build:
    """One installed renderer."""

    renderer: str
    path: str
    """the executable; for bpy the Python interpreter that can import it"""
    version: tuple[int, ...]
    label: str
    """what people read: `Blender 5.0.1 (bpy)`"""
    identity: str
    """changes whenever the build's pictures may: part of every fingerprint"""


@dataclass(frozen=True)
class Input:
    """A file that frames are rendered from, as it was before any renderer opened it."""

    path: str
    content: str
    """the SHA-256 of its bytes; of folders and simulations, which are too large to read, of their stamps"""
    stamp: tuple[int, ...]
    """see `renderfarm.stamps`; empty: there was no such file"""
    frames: str | None = None
    """frames that need it, as spans; None: every frame may"""
    perhaps: bool = False
    """it counts for the frames that are seen to open it, or to look for it"""


@dataclass(frozen=True)
class Part:
    """A tile of one frame, in pixels from the picture's upper left corner; right and bottom are outside."""

    frame: int
    left: int
    top: int
    right: int
    bottom: int
    margin: int = 0
    """pixels around it that are rendered too, as far as the picture has them"""

    def reach(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is rendered of a picture of that size."""
        return (
            max(0, self.left - self.margin),
            max(0, self.top - self.margin),
            min(size[0], self.right + self.margin),
            min(size[1], self.bottom + self.margin),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def __str__(self) -> str:
        """As people name it."""
        return f"tile {self.left},{self.top} to {self.right},{self.bottom} of frame {self.frame}"


@dataclass(frozen=True)
class Work:
    """All that a node must know to render frames of a job; its task description."""

    renderer: str
    build: Build
    scene: str
    """absolute path of the scene file"""
    settings: Settings
    scratch: str
    """absolute path of the folder that frames, logs and temporary files go to"""
    readable: tuple[str, ...] = ()
    """files and folders outside the scene's own that the scene names, shown where the guard allows it"""
    sandbox: Sandbox = Sandbox.AUTO
    frame_seconds: float | None = None
    """wall-clock limit per frame"""
    memory_bytes: int | None = None
    """resident memory that one session may take; None: nine tenths of the machine's"""
    logs: str = ""
    """absolute path of the folder that the log of a finished task moves to; empty: it stays in scratch"""
    journal: str = ""
    """absolute path of the folder that the node keeps a journal in; empty: it only tells"""
    rebase: tuple[str, str] | None = None
    """the project's folder where the scene was saved, and where it is here; absolute paths in it are moved"""
    named: tuple[str, ...] = ()
    """files and folders that the user named, shown whatever they are"""
    copies: dict[str, str] = field(default_factory=dict)
    """files of the scene itself, and what is rendered in their place, so that they may be saved meanwhile"""
    inputs: tuple[Input, ...] = ()
    """all other files that frames are rendered from: none may change meanwhile"""
    since: float = 0.0
    """when they were listed, in seconds since the epoch"""
    ordered: bool = False
    """frames are rendered in order, each after those before it"""
    watch: bool = False
    """see which files the frames' renderers open"""
    rehearsal: bool = False
    """only what frames open is wanted: the smallest picture will do"""
    parts: tuple[Part, ...] = ()
    """what the numbers of its frames stand for, from 0; empty: for frames"""
    size: tuple[int, int] = (0, 0)
    """of the whole picture that parts are of"""
    merged: dict[str, str] = field(default_factory=dict)
    """frames (as text) whose parts are rendered, and the file that those were merged into"""


@dataclass(frozen=True)
class Task:
    """Frames handed to a node in one go. Same frames, same id: submitting twice never harms."""

    frames: tuple[int, ...]
    attempt: int = 1
    spent: int = 0
    """attempts before it that count against its frames; lost ones and those before a retry don't"""

    @property
    def id(self) -> str:
        """`f0001` or `f0001-0004` (`f0001-0009n5` when frames are missing between)."""
        first, last, count = self.frames[0], self.frames[-1], len(self.frames)
        if count == 1:
            return f"f{first:04d}"
        return f"f{first:04d}-{last:04d}" + ("" if abs(last - first) + 1 == count else f"n{count}")


@dataclass(frozen=True)
class Observed:
    """What a frame's renderer did with files, by their absolute paths."""

    name: str
    """equal lists have equal names; a node tells the lists once, then the name alone"""
    opened: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    """looked for in vain"""
    written: tuple[str, ...] = ()
    """or tried to be"""


@dataclass(frozen=True)
class Rendered:
    """The receipt of one frame: a renderer says it is done and the file has the right structure."""

    frame: int
    path: str
    """of the picture, the first of several `views` (see `pictures`)"""
    seconds: float
    """wall clock"""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """largest resident memory of the session so far"""
    threads: int = 0
    task: str = ""
    attempt: int = 1
    node: str = ""
    log: str = ""
    warnings: tuple[str, ...] = ()
    lacking: bool = False
    """the renderer said that a file was not there"""
    build: Build | None = None
    """what rendered it, where nodes have builds of their own"""
    observed: Observed | None = None
    """what it was rendered from, where that was seen"""
    views: int = 1


@dataclass(frozen=True)
class Failed:
    """One frame's attempt that gave no picture."""

    frame: int
    reason: Reason
    message: str
    """one line: what happened, in the renderer's own words where they help"""
    seconds: float = 0.0
    task: str = ""
    attempt: int = 1
    node: str = ""
    log: str = ""
    final: bool = False
    """the pool has tried it as often as the job allows"""
    lacks: str = ""
    """the file that is missing, as the scene names it"""
    observed: Observed | None = None
    """what was looked at until then, where that was seen"""


@dataclass(frozen=True)
class Started:
    """A node began a frame."""

    frame: int
    task: str
    attempt: int
    node: str


@dataclass(frozen=True)
class NodeChange:
    """A node came, went, or was told to stop taking work; `what` is for people."""

    node: str
    state: str
    """starting, loading, idle, working, gone or refused"""
    what: str = ""


@dataclass(frozen=True)
class Trouble:
    """A node could not start rendering at all, so no frame can be rendered there."""

    reason: Reason
    message: str
    node: str = ""
    log: str = ""


@dataclass(frozen=True)
class Notice:
    """Something that the user should know and that stops nothing."""

    message: str


Update = Started | Rendered | Failed | NodeChange | Notice | Trouble


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
    """what each frame is split into, `tiles=3x2`; None: nothing"""
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
    """what the video does about frames that are not there: fail, hold, slate or skip"""
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


@dataclass(frozen=True)
class Counts:
    """Frames of a job by state; `reused` of the succeeded ones were not rendered for this job."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    queued: int = 0
    running: int = 0
    canceled: int = 0
    reused: int = 0


@dataclass(frozen=True)
class FrameFailure:
    """A frame that failed for good, with its last attempt's reason and log."""

    frame: int
    reason: str
    message: str
    attempts: int
    log: str | None = None


@dataclass(frozen=True)
class Suspect:
    """A delivered frame that the doctor would like somebody to look at."""

    frame: int
    finding: Finding
    detail: str


@dataclass(frozen=True)
class NodeStatus:
    """What one node does now."""

    node: str
    state: str
    frame: int | None = None
    seconds: float = 0.0
    """how long it has been doing it"""


@dataclass(frozen=True)
class Status:
    """One job as people and scripts see it; its JSON is part of the contract."""

    job: str
    state: JobState
    scene: str
    pool: str
    frames: Counts
    failures: tuple[FrameFailure, ...]
    output: str
    frames_dir: str
    video: str | None
    contact_sheet: str | None
    report: str | None
    seconds: float
    """wall clock spent working on it"""
    eta_seconds: float | None
    phase: Phase = Phase.UNTOLD
    doing: str = ""
    """how far a phase is, for people"""
    place: int | None = None
    """in this machine's line: 1 is next"""
    behind: str | None = None
    """the job directly ahead in it"""
    frames_per_minute: float | None = None
    suspects: tuple[Suspect, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    notes: tuple[str, ...] = ()
    """what the user should know: which renderer was taken, assets missing, gaps held, no sandbox, …"""
    problems: tuple[str, ...] = ()
    """what went wrong besides frames: no video, report not written"""
    node_hours: float | None = None
    """of a pool that is paid for"""
    cost: float | None = None
    currency: str | None = None
    submitted: str = ""
    """ISO 8601, UTC"""
    ended: bool = False
    """nobody works on it any more, here or elsewhere; with frames left, `resume` goes on"""
    parts: Counts | None = None
    """of frames that are split, as far as they were begun"""
    last_frame: str | None = None
    """path of the picture that was delivered last"""


def encode(value: object) -> Any:
    """A dataclass (or anything built of them) as JSON-ready values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value


def to_json(value: object) -> str:
    """One line of JSON."""
    return json.dumps(encode(value), separators=(",", ":"))


def decode(kind: type[T], data: Any) -> T:
    """The inverse of `encode`; raises ValueError for a value of another type than its field's.

    Unknown keys are ignored, so a newer writer does no harm, and what is left out has its default.
    """
    try:
        return typing.cast("T", _decode(kind, data))
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


def _decode(kind: Any, data: Any) -> Any:
    if kind in _PLAIN:
        if type(data) not in _PLAIN[kind] or (isinstance(data, int) and not -_WHOLE <= data < _WHOLE):
            raise ValueError(f"{_shown(data)} is no {kind.__name__}")
        return data
    if isinstance(kind, type):
        return _object(kind, data)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _either(arguments, data)
    if origin is tuple:
        return _items(arguments, data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_decode(arguments[0], key): _decode(arguments[1], item) for key, item in data.items()}
    return data


_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), bool: (bool,), float: (float, int)}
"""type of a field to the types that JSON may have for it; a bool is no number"""
_WHOLE = 1 << 63
"""what SQLite and most readers of JSON can hold"""


def _shown(data: object) -> str:
    return "a number beyond 64 bits" if isinstance(data, int) and abs(data) >= _WHOLE else f"{data!r:.80}"


def _object(kind: type, data: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            raise ValueError(f"{data!r:.80} is no object")
        return kind(**{name: _decode(inner, data[name]) for name, inner in _fields(kind) if name in data})
    return kind(data) if issubclass(kind, enum.Enum) else data


def _either(kinds: tuple[Any, ...], data: Any) -> Any:
    """A value that may be null, or of one of several types: the first that fits."""
    if data is None and type(None) in kinds:
        return None
    *others, last = [kind for kind in kinds if kind is not type(None)]
    for kind in others:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return _decode(kind, data)
    return _decode(last, data)


def _items(kinds: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise ValueError(f"{data!r:.80} is no list")
    if kinds[-1] is Ellipsis:
        return tuple(_decode(kinds[0], item) for item in data)
    if len(data) != len(kinds):
        raise ValueError(f"{data!r:.80} has not {len(kinds)} items")
    return tuple(map(_decode, kinds, data))


@functools.cache
def _fields(kind: type) -> list[tuple[str, Any]]:
    """The names and types of a dataclass, worked out once: that takes longer than all the rest of decoding."""
    hints = typing.get_type_hints(kind)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(kind)]
