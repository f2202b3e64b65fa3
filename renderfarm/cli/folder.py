"""Commands about scenes and frames as they are: inspected, made into a video, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import renderfarm
from renderfarm.cli import output, text
from renderfarm.cli.live import Counter
from renderfarm.cli.options import FileType, JobType, command, group, json_option
from renderfarm.cli.output import clean
from renderfarm.settings.options import RendererOptions, SceneOptions, VideoOptions
from renderfarm.words.durations import duration

source_argument = click.argument("source", metavar="DIR_OR_JOB", type=JobType())


@command("renderfarm inspect shot.blend", "renderfarm inspect anim.ini --json", configured=True)
@click.argument("scene", type=FileType())
@group(SceneOptions, RendererOptions)
@json_option
def inspect(scene: Path, **options: Any) -> int:
    """Say what SCENE contains and which files it needs."""
    found = renderfarm.inspect(scene, **options)
    return output.show(text.scene_json(found), text.scene(found))


@command(
    "renderfarm assemble shot-1a2b shot.webm",
    "renderfarm assemble frames/ shot.mp4 --fps 25 --missing hold --audio music.wav",
    configured=True,
)
@source_argument
@click.argument("out", type=FileType())
@group(VideoOptions)
@json_option
def assemble(source: str, out: Path, **options: Any) -> int:
    """Make the video OUT of the frames in a folder, or of a job's."""
    with Counter("encoding") as progress:
        video = renderfarm.assemble(source, out, progress=progress, **options)
    told = {name: value for name, value in vars(video).items() if name != "parts"}  # of the farm's own making
    for note in () if output.as_json() else video.notes:
        output.say(f"note: {clean(note)}", err=True)
    made = f"{clean(str(video.path))}: {text.plural(video.frames, 'frame')} in {duration(video.seconds)}"
    return output.show({**told, "path": str(video.path)}, made)


@command("renderfarm check shot-1a2b", "renderfarm check somebody-elses-frames/ --json")
@source_argument
@json_option
def check(source: str) -> int:
    """Look at the pixels of the frames in a folder, or of a job's.

    Exit code 1 means that something was found.
    """
    with Counter("checking") as progress:
        report = renderfarm.check(source, progress=progress)
    output.show(report, text.report(report))
    return 1 if report.bad else 0
