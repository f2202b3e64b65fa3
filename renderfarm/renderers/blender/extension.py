"""How an add-on gets into a Blender: by its own command from 4.2 on, by its preferences before.

Both switch it on and keep that in the user's preferences, as a click in Blender would.
"""

from __future__ import annotations

from renderfarm.words.work import Build

EXTENSIONS_SINCE = (4, 2)
OLDEST = (3, 4)
_INSTALL = (
    "import bpy, sys;"
    "path, name = sys.argv[-2:];"
    "bpy.ops.preferences.addon_install(filepath=path, overwrite=True);"
    "bpy.ops.preferences.addon_enable(module=name);"
    "assert name in bpy.context.preferences.addons;"
    "bpy.ops.wm.save_userpref()"
)


def command(build: Build, archive: str, name: str) -> list[str]:
    """The command line that installs the archive of an add-on of that name."""
    if build.version >= EXTENSIONS_SINCE:
        return [build.path, "--command", "extension", "install-file", "-r", "user_default", "-e", archive]
    background = ("--background", "--python-exit-code", "1", "--python-expr", _INSTALL)
    return [build.path, *background, "--", archive, name]
