"""Makes the scenes that the benchmark renders: `python benchmarks/scenes.py FOLDER [--quick]`.

Nothing is shipped because the heavy scenes are large. The Blender scenes are saved by the `blender` that is
given, so give the oldest one: what Debian's 3.4.1 saved, every later one opens.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

BLENDER = ("heavy", "heavy-moving", "light", "very-light", "busy", "geometry", "textures")
"""what each is stands in `blender_scenes`"""
QUICK = 0.25
"""size of the scenes of a quick run: enough to see whether the benchmark works"""


def _blend(name: str, folder: Path, size: float = 1.0, blender: str = "blender") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.blend"
    script = Path(__file__).with_name("blender_scenes.py")
    argv = [blender, "-b", "--factory-startup", "-noaudio", "--python-exit-code", "1"]
    argv += ["--python", str(script), "--", name, str(path), str(size)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not path.is_file():
        raise SystemExit(f"{blender} did not make {path}:\n{(done.stdout + done.stderr)[-2000:]}")
    return path


LIGHT_POV = """\
#version 3.7;
global_settings { assumed_gamma 1.0 }
#include "colors.inc"
camera { location <0, 2.4, -6> right x * 16 / 9 look_at <0, 0.6, 0> angle 46 }
light_source { <-6, 9, -7> rgb 1.1 }
background { rgb <0.10, 0.13, 0.22> }
plane { y, 0 pigment { checker rgb 0.85, rgb <0.30, 0.35, 0.45> } finish { reflection 0.15 } }
#declare Turn = 360 * clock;
#for (I, 0, 6)
  sphere {
    <1.9, 0.55 + 0.35 * abs(sin(pi * (2 * clock + I / 7))), 0>, 0.5
    pigment { rgb <0.5 + 0.5 * sin(I), 0.5 + 0.5 * sin(I + 2.1), 0.5 + 0.5 * sin(I + 4.2)> }
    finish { phong 0.8 reflection 0.2 }
    rotate y * (Turn + 360 * I / 7)
  }
#end
torus { 0.9, 0.22 rotate x * Turn translate y * 1.3 pigment { Gold } finish { phong 0.9 reflection 0.3 } }
"""

HEAVY_POV = """\
#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 6 }
#include "colors.inc"
camera { location <0, 5.5, -11> rotate y * 40 * clock right x * 16 / 9 look_at <0, 0.8, 0> angle 48 }
light_source { <-8, 12, -9> rgb 0.9 area_light x * 2, z * 2, 2, 2 jitter }
light_source { <9, 8, -4> rgb <0.25, 0.28, 0.40> shadowless }
sky_sphere { pigment { gradient y color_map { [0 rgb <0.9, 0.75, 0.6>] [1 rgb <0.15, 0.25, 0.5>] } } }
plane { y, 0 pigment { bozo color_map { [0 rgb 0.4] [1 rgb 0.75] } scale 0.4 } normal { bumps 0.2 scale 0.1 } }
#declare Seed = seed(1);
#declare I = 0;
#while (I < @COUNT@)
  #declare R = 0.12 + 6.5 * sqrt(I / @COUNT@);
  #declare A = I * 2.39996;
  #declare H = 0.10 + 0.5 * rand(Seed) + 0.25 * sin(R * 2 - 2 * pi * clock);
  union {
    cone { 0, 0.09, y * H, 0.04 }
    sphere { y * H, 0.055 + 0.04 * rand(Seed) }
    translate <R * cos(A), 0, R * sin(A)>
    pigment { rgb <rand(Seed), 0.3 + 0.5 * rand(Seed), 0.4 + 0.4 * rand(Seed)> }
    finish { phong 0.6 reflection 0.12 }
  }
  #declare I = I + 1;
#end
sphere {
  y * 1.9, 1.1
  pigment { rgbf <0.95, 0.98, 1, 0.9> }
  finish { reflection 0.1 phong 1 }
  interior { ior 1.4 }
}
"""

INI = """\
Input_File_Name={name}.pov
Output_File_Name={name}_
Output_File_Type=N
Width={width}
Height={height}
Antialias=on
Antialias_Threshold={threshold}
Initial_Frame=1
Final_Frame={frames}
Initial_Clock=0
Final_Clock=1
"""


def heavy_ini(folder: Path, size: float = 1.0) -> Path:
    """At least 5 s a frame with all threads, about half a second of it parsing; 8 frames."""
    side = size**0.5
    text = HEAVY_POV.replace("@COUNT@", str(round(26000 * size)))
    return _animation("heavy", folder, text, round(480 * side), round(270 * side), 8, 0.1)


def light_ini(folder: Path, size: float = 1.0) -> Path:
    """0.1 to 0.3 s a frame with all threads; 48 frames."""
    return _animation("light", folder, LIGHT_POV, 240, 135, 48 if size >= 1 else 12, 0.4)


def _animation(
    name: str, folder: Path, text: str, width: int, height: int, frames: int, threshold: float
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.pov").write_text(text, encoding="utf-8")
    path = folder / f"{name}.ini"
    values = {"width": width, "height": height, "frames": frames, "threshold": threshold}
    path.write_text(INI.format(name=name, **values), encoding="utf-8")
    return path


SCENES: Mapping[str, Callable[..., Path]] = {
    **{f"{name}.blend": partial(_blend, name) for name in BLENDER},
    "heavy.ini": heavy_ini,
    "light.ini": light_ini,
}


def main() -> None:
    """Make the scenes that are asked for, all of them by default."""
    options = argparse.ArgumentParser(description="Make the benchmark's scenes.")
    options.add_argument("folder", type=Path)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENES)}; all by default")
    options.add_argument("--quick", action="store_true", help="small scenes for a quick run")
    chosen = options.parse_args()
    for name in chosen.names or SCENES:
        if name not in SCENES:
            options.error(f"no scene is called {name}; there are {', '.join(SCENES)}")
        print(SCENES[name](chosen.folder, QUICK if chosen.quick else 1.0))


if __name__ == "__main__":
    main()
