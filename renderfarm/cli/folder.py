"""Commands about frames that are there already: assemble them into a video, check their pixels."""

from __future__ import annotations

from typing import Any

import click

from renderfarm.cli import output
from renderfarm.cli.options import CONFIGURED, ConfiguredCommand, JobType, group, json_option
from renderfarm.cli.output import examples
from renderfarm.cli.plain import clean
from renderfarm.settings.options import Group

source_argument = click.argument("source", metavar="DIR_OR_JOB", type=JobType())


@click.command(
    cls=ConfiguredCommand,
    context_settings=CONFIGURED,
    epilog=examples(
        "renderfarm assemble shot-1a2b shot.webm",
        "renderfarm assemble frames/ shot.mp4 --fps 25 --missing hold --audio music.wav",
    ),
)
@source_argument
@click.argument("out", type=click.Path())
@group(Group.VIDEO)
@json_option
def assemble(source: str, out: str, as_json: bool, **options: Any) -> int:
    """Make the video OUT of the frames in a folder, or of a job's."""
    from renderfarm.cli import text
    from renderfarm.cli.live import Counter
    from renderfarm.farm import api

    with Counter("encoding") as progress:
        video = api.assemble(source, out, progress=progress, **options)
    if as_json:
        told = {
            name: value for name, value in vars(video).items() if name != "parts"
        }  # of the farm's own making
        output.emit({**told, "path": str(video.path)})
        return 0
    for note in video.notes:
        output.say(f"note: {clean(note)}", err=True)
    took = text.duration(video.seconds)
    output.say(f"{clean(str(video.path))}: {text.plural(video.frames, 'frame')} in {took}")
    return 0


@click.command(
    context_settings=CONFIGURED,
    epilog=examples("renderfarm check shot-1a2b", "renderfarm check somebody-elses-frames/ --json"),
)
@source_argument
@json_option
def check(source: str, as_json: bool) -> int:
    """Look at the pixels of the frames in a folder, or of a job's.

    Exit code 1 means that something was found.
    """
    from renderfarm.cli import text
    from renderfarm.cli.live import Counter
    from renderfarm.farm import api

    with Counter("checking") as progress:
        report = api.check(source, progress=progress)
    output.show(report, lambda: text.report(report), as_json=as_json)
    return 1 if report.bad else 0


COMMANDS = (assemble, check)
