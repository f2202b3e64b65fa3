"""`renderfarm inspect`: what a scene contains and needs, said by the renderer itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from renderfarm.cli import output
from renderfarm.cli.options import CONFIGURED, ConfiguredCommand, group, json_option
from renderfarm.cli.output import examples
from renderfarm.settings.options import Group


@click.command(
    cls=ConfiguredCommand,
    context_settings=CONFIGURED,
    epilog=examples("renderfarm inspect shot.blend", "renderfarm inspect anim.ini --json"),
)
@click.argument("scene", type=click.Path(path_type=Path))
@group(Group.SCENE, Group.RENDERER)
@json_option
def inspect(scene: Path, as_json: bool, **options: Any) -> int:
    """Say what SCENE contains and which files it needs."""
    from renderfarm.cli import text
    from renderfarm.farm import api

    found = api.inspect(scene, **options)
    return output.show(text.scene_json(found), lambda: text.scene(found), as_json=as_json)


COMMANDS = (inspect,)
