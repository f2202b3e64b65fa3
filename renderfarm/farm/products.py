"""What a job leaves besides frames: the video, the contact sheet, the report and its record.

Each is made anew only when something that it shows has changed, so asking for a finished job again costs next
to nothing. What fails here never spoils frames: it is a problem of the job, told in its status.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.errors import RenderfarmError, StoreError
from renderfarm.farm.cache import is_as_recorded, place
from renderfarm.farm.experience import encoding_measure
from renderfarm.farm.preparation import Ready
from renderfarm.job import events
from renderfarm.job.job import Job
from renderfarm.job.ledger import Frame
from renderfarm.job.record import RECORD, SCRATCH, folder_of, read
from renderfarm.job.store import Store
from renderfarm.renderers import renderer
from renderfarm.words import files, stamps
from renderfarm.words import frames as frame_ranges
from renderfarm.words.as_json import encode, read_json, to_json
from renderfarm.words.failures import advice, alike
from renderfarm.words.frames import FrameRange
from renderfarm.words.states import FrameState

if TYPE_CHECKING:
    from renderfarm.pictures.contact_sheet import Thumb
    from renderfarm.pictures.film import VideoOptions
    from renderfarm.pictures.segments import Part

FILM = "film"
"""folder of its parts, in the hidden folder of the output"""
SMALL = "small"
"""… and of the same for the report, until that is there"""
EXCERPT = "film.mp4"
MADE = "made.json"
"""what was made from what, in the scratch folder"""
CHOSEN_FRAMES = 500
"""frames from which a contact sheet of very many chooses"""
MOST_CHARACTERS = 60
"""of a range in a film's name"""
SHOWN_FAILURES = 25
"""failures whose logs the report quotes"""
LOG_BYTES = 1 << 17
"""of a long log, at each end, in which lines that matter are looked for"""


@dataclass(frozen=True)
class Frames:
    """A job's frames with what is known of each, ascending by frame number."""

    job: Job
    ready: Ready
    rows: dict[int, Frame]
    """what is known of frames, ascending"""

    def path(self, frame: int) -> Path | None:
        """The delivered picture, None where there is none."""
        row = self.rows.get(frame)
        if row is None or row.state is not FrameState.SUCCEEDED:
            return None
        return self.job.record.pictures(frame)[0]

    def key(self, *more: object) -> str:
        """Changes whenever a picture, its place or `more` does."""
        key = hashlib.sha256(json.dumps([self.ready.frames.text, encode(more)], sort_keys=True).encode())
        for row in self.rows.values():
            if row.state is FrameState.SUCCEEDED:
                key.update(f"{row.frame} {row.size} {row.mtime}\n".encode())
        return key.hexdigest()


def choice(frames: FrameRange, notable: Iterable[int] = ()) -> list[int]:
    """All frames, or of very many an even choice and what is notable."""
    apart = max(1, len(frames) // CHOSEN_FRAMES)
    return sorted({*itertools.islice(frames.ascending(), 0, None, apart), *notable})


def make(store: Store, job: Job, ready: Ready, thumbs: Mapping[int, Thumb]) -> None:
    """Make everything that follows from a job's frames, `thumbs` being some of them made smaller; problems are
    kept with the job."""
    output = Path(job.request.output)
    frames = Frames(job, ready, {frame.frame: frame for frame in job.ledger.of(*FrameState)})
    made = _Made(output / SCRATCH / MADE, store, job.id)
    problems: list[str] = []

    def attempt(what: str, step: Callable[[], Path | None]) -> str | None:
        try:
            path = step()
        except (RenderfarmError, OSError) as error:
            problems.append(" ".join(f"no {what}: {error}".splitlines()))
            return None
        return None if path is None else str(path.relative_to(output) if path.is_relative_to(output) else path)

    attempt(RECORD, lambda: copy_record(job))
    with ThreadPoolExecutor(1, "sheet") as beside:
        drawn = _contact_sheet(frames, made, thumbs, beside)
        video = attempt("video", lambda: _video(store, frames, made))
        sheet = attempt("contact sheet", drawn)
    job.tell(events.Made(video, sheet, None, tuple(problems)))
    # The clock of the job stops here, so that its report tells the same time as everybody else.
    if begun := job.ledger.run.begun:
        job.tell(events.Left(time.time() - begun))
    report = attempt("report", lambda: _report(frames, made))
    job.tell(events.Made(video, sheet, report, tuple(problems)))
    made.write()


@dataclass(frozen=True)
class Product:
    """A file that was made, as it was then: what from, where, and by which job."""

    key: str
    size: int
    mtime: int
    job: str = ""
    path: str = ""

    def is_at(self, path: Path) -> bool:
        """Whether it is there, as it was."""
        return is_as_recorded([path], self.size, self.mtime)


class _Made:
    """Which file was made from what, here and in other output folders."""

    def __init__(self, path: Path, store: Store, job: str) -> None:
        self._path = path
        self._store = store
        self._job = job
        self.parts: tuple[Part, ...] = ()
        """what a film was joined from just now"""
        try:
            self._products = read_json(dict[str, Product], files.whole(path))
        except (OSError, ValueError):
            self._products = {}

    def stands(self, path: Path, key: str) -> bool:
        """Whether the file is still the one that was made from the same things."""
        before = self._products.get(path.name)
        if before and before.key == key and before.is_at(path):
            return True
        known = self._store.recall(Product, f"{key}{path.suffix}")
        if known is None or not known.is_at(Path(known.path)):
            return False
        if Path(known.path) != path:
            try:
                path.unlink(missing_ok=True)
                place(Path(known.path), path)
            except OSError:
                return False
        self.remember(path, key)
        return True

    def remember(self, path: Path, key: str) -> None:
        """The file was made just now."""
        status = path.stat()
        made = Product(key, status.st_size, status.st_mtime_ns, self._job, str(path))
        self._products[path.name] = made
        self._store.keep(f"{key}{path.suffix}", made)

    def job(self, path: Path) -> str | None:
        """The job that made a file that is there."""
        made = self._products.get(path.name)
        return made.job or None if made and path.exists() else None

    def write(self) -> None:
        """Keep it for the next time."""
        with contextlib.suppress(OSError):  # then all is made anew
            files.write(self._path, to_json(self._products))


def copy_record(job: Job) -> Path:
    """job.json for people: enough to submit the newest job again, and to read its frames."""
    target = Path(job.request.output) / RECORD
    files.write(target, (job.folder / RECORD).read_bytes())
    return target


def has_film(job: Job) -> bool:
    """Whether a job is to have a film."""
    return bool(job.request.video or (job.total > 1 and not job.request.no_video))


def film_folder(job: Job) -> Path:
    """Where the parts of an output folder's film are."""
    return job.record.output / SCRATCH / FILM


def small_folder(job: Job) -> Path:
    """Where parts of the film are that were made small."""
    return job.record.output / SCRATCH / SMALL


def film_seconds(job: Job) -> float:
    """How long a film of all frames plays."""
    return job.total / job.record.fps


def film_place(job: Job) -> Path:
    """Where the film of a job is that names no other place."""
    return Path(job.request.output) / f"{Path(job.request.scene).stem}.mp4"


def so_far(job: Job) -> Path:
    """Where the film is up to the first part that is not there, for those who can't wait; without sound."""
    return film_folder(job) / f"so-far{Path(job.request.video or film_place(job)).suffix}"


def film_options(job: Job, ready: Ready) -> VideoOptions:
    """What was asked, and what the scene says."""
    from renderfarm.pictures.film import VideoOptions
    from renderfarm.pictures.soundtrack import Soundtrack, of_scene

    request, fps, scene = job.request, job.record.fps, ready.scene
    # A sound track belongs to the whole animation: a later first frame starts later in it.
    offset = (ready.frames.first - frame_ranges.parse(scene.frames).first) / fps
    given = Soundtrack(Path(request.audio), offset) if request.audio else None
    return VideoOptions(
        fps=fps,
        codec=request.codec,
        crf=request.crf,
        soundtrack=given or of_scene(scene.sounds, ready.frames, fps, scene.fps),
        missing=request.missing,
        colour=scene.colour,
        pixel_aspect=scene.pixel_aspect,
    )


def _video(store: Store, frames: Frames, made: _Made) -> Path | None:
    job, scene = frames.job, frames.ready.scene
    request, fps = job.request, job.record.fps
    if not has_film(job) or not any(row.state is FrameState.SUCCEEDED for row in frames.rows.values()):
        return None
    out = Path(request.video) if request.video else _film(frames, made)
    heard = [stamps.stamp(path) for path in (request.audio, *(sound.path for sound in scene.sounds)) if path]
    heard_and_shown = (scene.colour, scene.pixel_aspect, scene.sounds, heard)
    key = frames.key(fps, request.codec, request.crf, request.audio, request.missing, *heard_and_shown)
    if made.stands(out, key):
        return out
    from renderfarm.pictures.film import assemble
    from renderfarm.pictures.shots import Picture

    pictures = [Picture(frame, frames.path(frame)) for frame in frames.ready.frames.ascending()]
    video = assemble(pictures, out, film_options(job, frames.ready), folder=film_folder(job))
    made.parts = video.parts
    job.tell(*map(events.Noted, video.notes))
    if video.encoded * 2 > video.frames:
        pixels = scene.resolution[0] * scene.resolution[1] * video.encoded
        store.set_measure(encoding_measure(request), pixels / max(video.seconds, 1e-3))
    made.remember(out, key)
    return out


def _film(frames: Frames, made: _Made) -> Path:
    """`<stem>.mp4`, or another name where that is the film of another range that a job made here."""
    job, own = frames.job, frames.ready.frames
    out = film_place(job)
    try:
        other = read(folder_of(job.record.output, made.job(out) or job.id)).frames
    except StoreError:  # it was brought here from elsewhere
        return out
    if own.same(frame_ranges.parse(other)):
        return out
    mine = own.text if len(own.text) <= MOST_CHARACTERS else hashlib.sha256(own.text.encode()).hexdigest()[:8]
    named = out.with_name(f"{out.stem}.{mine}{out.suffix}")
    job.tell(events.Noted(f"{out.name} is the film of frames {other}, so this one is {named.name}"))
    return named


def _contact_sheet(
    frames: Frames, made: _Made, thumbs: Mapping[int, Thumb], beside: ThreadPoolExecutor
) -> Callable[[], Path]:
    """Begin to draw it beside the film; what is returned waits for it."""
    from renderfarm.pictures.shots import Picture

    job, scene = frames.job, frames.ready.scene
    out = Path(job.request.output) / "contact-sheet.jpg"
    told = [each for each in job.ledger.failures() if each.attempts or job.total <= CHOSEN_FRAMES]
    bad = {failure.frame: failure.reason for failure in told}
    suspects = {suspect.frame: suspect.finding.value for suspect in job.ledger.suspects()}
    key = frames.key(bad, suspects, scene.colour)
    if made.stands(out, key):
        return lambda: out
    from renderfarm.pictures.contact_sheet import contact_sheet

    title = Path(job.request.scene).name
    subtitle = f"{frames.ready.frames.text} · {scene.resolution[0]} × {scene.resolution[1]}"
    pictures = [Picture(frame, frames.path(frame)) for frame in choice(frames.ready.frames, {*bad, *suspects})]
    drawing = beside.submit(
        contact_sheet,
        pictures,
        out,
        title=title,
        subtitle=subtitle,
        bad=bad,
        suspects=suspects,
        colour=scene.colour,
        total=job.total,
        thumbs=thumbs,
    )

    def drawn() -> Path:
        drawing.result()
        made.remember(out, key)
        return out

    return drawn


def _excerpt(frames: Frames, made: _Made, video: str | None) -> Path | None:
    """The film made small, kept for the pages of nights; None where there is none."""
    if not video:
        return None
    job, small = frames.job, small_folder(frames.job)
    out, key = excerpt_of(job.request.output), frames.key("excerpt", job.record.fps)
    if not made.stands(out, key):
        from renderfarm.pictures.excerpt import excerpt

        files.write(out, excerpt(Path(video), film_seconds(job), parts=made.parts, folder=small))
        made.remember(out, key)
    files.remove(small)
    return out


def excerpt_of(output: str) -> Path:
    """Where the small film of an output folder is."""
    return Path(output) / SCRATCH / EXCERPT


def _report(frames: Frames, made: _Made) -> Path:
    from renderfarm.reports.report import FailureLine, ReportData, report

    job = frames.job
    status = job.status(alive=False)
    scene = replace(frames.ready.scene, fps=job.record.fps)
    data = ReportData(
        status=status,
        scene=scene,
        build=rendered_with(job),
        frames=list(frames.rows.values()),
        thumbnails={each.frame: path for each in status.suspects if (path := frames.path(each.frame))},
        failures=[
            FailureLine(group, signs(job, group[0].log) if number < SHOWN_FAILURES else ())
            for number, group in enumerate(alike(status.failures))
        ],
        contact_sheet=Path(status.contact_sheet) if status.contact_sheet else None,
        film=_excerpt(frames, made, status.video),
        workers=len({row.node for row in frames.rows.values() if row.node}) or None,
        sandbox=job.record.sandbox,
        settings=job.request.settings.overridden(),
        advice=advice(status),
    )
    out = Path(job.request.output) / "report.html"
    report(data, out)
    return out


def rendered_with(job: Job) -> str:
    """The renderers that made the pictures: nodes elsewhere may have others than this machine."""
    return ", ".join(job.ledger.remarks.builds) or job.record.renderer.label


def signs(job: Job, log: str | None) -> tuple[str, ...]:
    """The lines of a log that tell why a frame failed."""
    return renderer(job.record.scene.renderer).signs(log_text(str(job.record.log(log)) if log else None))


def log_text(log: str | None) -> str:
    """What a log says, of a long one beginning and end; empty where it can't be read."""
    try:
        head, _, size = files.piece(Path(log), 0, LOG_BYTES) if log else (b"", 0, 0)
        rest = files.piece(Path(log), max(LOG_BYTES, size - LOG_BYTES), LOG_BYTES)[0] if log else b""
    except OSError:
        return ""
    return (head + rest).decode(errors="replace")
