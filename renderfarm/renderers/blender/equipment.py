"""What Blender needs installed, on this machine and on nodes."""

from __future__ import annotations

from renderfarm.renderers import Equipment, Published

PROJECT = ".blender_project"
"""in a folder above a scene it may choose all colours, since 5.3"""
_VERSION = r"(\d+\.\d+(?:\.\d+)?)"

EQUIPMENT = Equipment(
    remedy="pip install bpy  (or: apt-get install -y blender, or --blender PATH)",
    distribution=("blender",),
    published=(
        Published(
            "tarball",
            rf"blender-{_VERSION}\S*linux\S*\.tar\.(?:xz|gz|bz2)",
            "blender-4.5.3-linux-x64.tar.xz",
            "*/blender",
        ),
        Published(
            "wheel",
            rf"bpy-{_VERSION}-cp\d+-cp\d+-\S*linux\S*\.whl",
            "bpy-5.0.1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "bin/python",
        ),
        Published("deb", rf"blender_(?:\d+:)?{_VERSION}\S*\.deb", "blender_4.3.2+dfsg-2_amd64.deb"),
    ),
    # found by trial in bare systems
    libraries=(
        *("libegl1", "libgl1", "libgl1-mesa-dri", "libice6", "libsm6", "libx11-6", "libxext6"),
        *("libxfixes3", "libxi6", "libxkbcommon0", "libxrender1", "libxxf86vm1"),
    ),
    source="https://download.blender.org/release/Blender{series}/blender-{version}-linux-x64.tar.xz",
    hidden=(PROJECT,),
    variables=("OCIO",),
)
