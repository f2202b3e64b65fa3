"""Tiny POV-Ray scenes for tests; each function writes one and returns the file to submit."""

from __future__ import annotations

import base64
from pathlib import Path

SCENE = """#version 3.7;
global_settings {{ assumed_gamma 1.0 }}
camera {{ location <0, 1, -4> look_at 0 right x*image_width/image_height }}
light_source {{ <2, 4, -3> 1 }}
background {{ rgb <0.1, 0.2, 0.4> }}
{extra}
sphere {{ <2*clock - 1, 0, 0>, 0.8 pigment {{ rgb <1, clock, frame_number/20> }} }}
plane {{ y, -1 pigment {{ checker rgb 0.2 rgb 0.9 }} }}
"""
CHECKER_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFElEQVR4nGP4z8DAAMIM////ZwAAHu8E/KPItPcAAAAASUVORK5CYII="
)


def make_scene(
    folder: Path,
    *,
    frames: int = 8,
    size: tuple[int, int] = (32, 24),
    name: str = "tiny",
    first: int = 1,
    cyclic: bool = False,
    extra: str = "",
    options: tuple[str, ...] = (),
) -> Path:
    """An animation: a ball moves and changes colour. Returns the .ini."""
    pov = make_still(folder, name=name, extra=extra)
    lines = [
        f'Input_File_Name="{pov.name}"',
        f"Width={size[0]}",
        f"Height={size[1]}",
        f"Initial_Frame={first}",
        f"Final_Frame={first + frames - 1}",
        f"Cyclic_Animation={'on' if cyclic else 'off'}",
        *options,
    ]
    ini = folder / f"{name}.ini"
    ini.write_text("\n".join(lines) + "\n")
    return ini


def make_still(folder: Path, *, name: str = "tiny", extra: str = "") -> Path:
    """A .pov without an ini."""
    folder.mkdir(parents=True, exist_ok=True)
    pov = folder / f"{name}.pov"
    pov.write_text(SCENE.format(extra=extra))
    return pov


def make_textured_scene(folder: Path, *, frames: int = 4, size: tuple[int, int] = (32, 24)) -> Path:
    """An animation with an include and an image map."""
    extra = '#include "parts/box.inc"\nobject { Box }'
    ini = make_scene(folder, frames=frames, size=size, name="textured", extra=extra)
    (folder / "parts").mkdir(exist_ok=True)
    include = (
        '#declare Box = box { 0, 1 pigment { image_map { png "checker.png" } } translate <-0.5, -1, 1.5> };\n'
    )
    (folder / "parts" / "box.inc").write_text(include)
    (folder / "checker.png").write_bytes(CHECKER_PNG)
    return ini


def make_broken_scene(folder: Path, *, frames: int = 4) -> Path:
    """An animation with a syntax error in line 7, column 15 of broken.pov."""
    return make_scene(folder, frames=frames, name="broken", extra="\nsphere { 0, 1 pigmnt { rgb 1 } }")


def make_slow_scene(folder: Path, *, frames: int = 4) -> Path:
    """An animation that never finishes a frame."""
    return make_scene(folder, frames=frames, name="slow", extra="#while (1) #end")
