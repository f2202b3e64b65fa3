"""What Python programs submit and ask, typed; `verbs` has the rest. Both are fetched when they are used.

Paths may be text or Path, relative to the working directory. Errors are those of `renderfarm.errors`;
nothing is printed, nothing exits. The configuration files count here only for pools: options left out
have the defaults that `renderfarm submit --help` shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from renderfarm import request
from renderfarm.errors import InputError, StoreError
from renderfarm.farm import background, inspector, verbs
from renderfarm.farm.terms import Observer
from renderfarm.farm.verbs import Plan
from renderfarm.pictures import sequences
from renderfarm.request import Options
from renderfarm.settings.checks import absolute, user_path
from renderfarm.settings.options import checked
from renderfarm.words.request import Sandbox
from renderfarm.words.scene import Scene
from renderfarm.words.status import Status

if TYPE_CHECKING:
    from renderfarm.pictures.check import Report
    from renderfarm.pictures.film import Video

PathLike = str | os.PathLike[str]


def submit(
    scene: PathLike,
    frames: str | None = None,
    output: PathLike | None = None,
    *,
    observer: Observer | None = None,
    **options: Unpack[Options],
) -> Status:
    """Render a scene, check every frame, make the video; returns when the job has ended.

    `frames` reads like "1-500" or "1-500x5"; left out, the scene's own range. `output` defaults to
    `renders/<scene stem>` in the working directory. `observer` is called a few times per second with the
    job's status. The options are those of `renderfarm submit`, each described in `renderfarm.request.Options`.

    A frame that fails does not raise: look at `status.state` and `status.failures`. Raises InputError for
    what can't be done, PoolError when nothing can render, Interrupted on Ctrl-C (frames so far are kept).
    """
    return verbs.submit(request.build(scene, frames, output, **options), observer)


def detach(
    scene: PathLike, frames: str | None = None, output: PathLike | None = None, **options: Unpack[Options]
) -> Status:
    """Start what `submit` does in the background and return at once; raises what `submit` raises at first."""
    return background.detach(request.build(scene, frames, output, **options))


def plan(
    scene: PathLike, frames: str | None = None, output: PathLike | None = None, **options: Unpack[Options]
) -> Plan:
    """What `submit` would do: scene, renderer, frames, how many are reused, tasks, workers, seconds."""
    return verbs.plan(request.build(scene, frames, output, **options))


def inspect(scene: PathLike, **options: Unpack[Options]) -> Scene:
    """What a scene contains and needs, as its renderer says; `scene.missing` are the files that aren't there.

    Settings among the options (resolution, camera, engine, …) are applied first. Raises SceneError for a file
    that is no scene, RendererMissingError when nothing here can open it.
    """
    path, section = request.scene_and_section(scene)
    given = checked(options)
    return inspector.inspect(
        path,
        request.settings(given, section),
        sandbox=given.get("sandbox", Sandbox.AUTO),
        programs=request.programs(given),
    )


def assemble(
    source: PathLike,
    out: PathLike,
    *,
    fps: float | None = None,
    codec: str | None = None,
    crf: int | None = None,
    audio: PathLike | None = None,
    missing: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Video:
    """Make a video (.mp4, .mov, .webm, .mkv or .gif) of a folder of frames, or of a job's.

    `fps` defaults to what the job says, else all EXR frames, else 24; `missing` is fail, hold, slate or skip;
    `progress` is called with the number of frames that are encoded. Raises InputError, AssemblyError.
    """
    from renderfarm.pictures import film, shots, soundtrack

    folder = folder_of(source)
    wanted = {"fps": fps, "codec": codec, "crf": crf, "audio": audio, "missing": missing}
    given = checked(wanted)
    job = sequences.submitted(folder)
    rate = given.get("fps") or (job.fps if job else None)
    options = film.VideoOptions(
        fps=rate,
        codec=given.get("codec"),
        crf=given.get("crf"),
        missing=given.get("missing", "fail"),
        colour=job.scene.colour if job else None,
        pixel_aspect=job.scene.pixel_aspect if job else None,
    )
    if "audio" in given:
        late = job.late / rate if job and rate else 0.0
        options = replace(options, soundtrack=soundtrack.Soundtrack(Path(given["audio"]), late))
    elif job and job.frames:
        own = job.scene.fps or 0.0
        heard = soundtrack.of_scene(job.scene.sounds, job.frames, rate or own, own)
        options = replace(options, soundtrack=heard)
    found = shots.pictures_in(folder, options.missing)
    video = film.assemble(found.pictures, Path(absolute(out)), options, progress=progress)
    return replace(video, notes=(*found.notes, *video.notes))


def check(source: PathLike, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Look at the pixels of a folder of frames, or of a job's: what is damaged, suspicious or not there.

    `progress` is called with the number of frames looked at and their total. Raises InputError when there are
    no pictures.
    """
    from renderfarm.pictures import check

    return check.check_folder(folder_of(source), progress=progress)


def folder_of(source: PathLike) -> Path:
    """A folder as it is, or the output folder of the job with that id; raises InputError for neither."""
    path = user_path(source)
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise InputError(f"{path} is a file; a folder of frames or a job is needed.", f"Try {path.parent}.")
    try:
        return Path(verbs.status(str(source)).output)
    except StoreError as error:
        message = f"{source} is neither a folder nor a job."
        raise InputError(message, "See them with: renderfarm jobs") from error
