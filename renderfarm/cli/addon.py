"""`renderfarm addon`: the panel in Blender's render properties."""

from __future__ import annotations

from pathlib import Path

import click

from renderfarm.cli import output
from renderfarm.cli.options import json_option, of
from renderfarm.cli.output import examples
from renderfarm.cli.plain import clean
from renderfarm.settings.options import OPTIONS


@click.group(**examples("renderfarm addon install"))
def addon() -> None:
    """A panel in Blender that submits the saved file and shows how it goes."""


@addon.command(
    **examples(
        "renderfarm addon install",
        "renderfarm addon install --blender /opt/blender-4.5/blender",
        "renderfarm addon install --zip renderfarm.zip",
    )
)
@click.option("--zip", "file", type=click.Path(path_type=Path), help="Only write the archive, to this file.")
@of(OPTIONS["blender"], "Only into this Blender.")
@json_option
def install(file: Path | None, blender: str | None) -> int:
    """Install the add-on into each Blender on this machine, and switch it on.

    The archive is kept, and can be installed by hand: Preferences, Add-ons, Install from Disk.
    """
    from renderfarm.farm import addon as addons
    from renderfarm.job.home import farm_home

    archive = addons.write((file or farm_home() / f"{addons.NAME}.zip").absolute())
    done = [] if file else list(addons.install(archive, blender))
    lines = [f"{clean(each.blender)}: {'installed' if each.ok else clean(each.detail)}" for each in done]
    lines += ["No Blender with a window was found here."] if not done and not file else []
    output.show({"archive": str(archive), "installed": done}, "\n".join([*lines, f"The archive: {archive}"]))
    return 0 if file or (done and all(each.ok for each in done)) else 1


COMMANDS = (addon,)
