"""What POV-Ray makes of a scene's options, as it writes it down itself.

Asked with `+GIfile`, it resolves its own ini, those that the scene's names, sections, switches and defaults,
and writes one `Key=value` a line, sorted by name; what may stand more than once (Declare, Library_Path) has a
line for each. Here is how to read that, and which options the farm owns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from renderfarm.words.work import Part

COMMANDS = frozenset(
    f"{when}_{what}"
    for when in ("pre_scene", "pre_frame", "post_frame", "post_scene", "user_abort", "fatal_error")
    for what in ("command", "return")
)
"""Shell commands of an ini, and what to do with their exit codes."""
FRAMES = frozenset({"initial_frame", "final_frame", "subset_start_frame", "subset_end_frame", "frame_step"})
SIZE = frozenset({"width", "height"})
STREAMS = frozenset(
    f"{stream}_{where}"
    for stream in ("all", "debug", "fatal", "render", "statistic", "warning")
    for where in ("console", "file")
)
OWNED = (
    COMMANDS
    | FRAMES
    | SIZE
    | STREAMS
    | {
        "input_file_name",
        "output_file_name",
        "output_to_file",
        "output_file_type",
        "bits_per_color",
        "display",
        "pause_when_done",
        "verbose",
        "work_threads",
        "continue_trace",
        "create_continue_trace_log",
        "create_ini",
        "create_histogram",
        "histogram_name",
        "histogram_type",
        "histogram_grid_size",
        "radiosity_to_file",
    }
)
"""Options that a run never takes from the ini: the farm sets them, or they write where nobody looks."""

HARMLESS = frozenset(
    {
        *("antialias", "antialias_depth", "antialias_gamma", "antialias_threshold"),
        *("bounding", "bounding_method", "bounding_threshold"),
        *("bsp_basicaccesscost", "bsp_childaccesscost", "bsp_isectcost", "bsp_maxdepth", "bsp_misschance"),
        *("clock", "cyclic_animation", "declare", "dither", "dither_method", "field_render", "file_gamma"),
        *("end_column", "end_row", "final_clock", "grayscale_output", "high_reproducibility"),
        *("initial_clock", "jitter", "jitter_amount", "light_buffer", "odd_field", "output_alpha", "quality"),
        *("preview_end_size", "preview_start_size", "remove_bounds", "render_block_size", "render_block_step"),
        *("render_pattern", "sampling_method", "split_unions", "start_column", "start_row", "version"),
        *("vista_buffer", "warning_level"),
    }
)
"""Options that say how a picture is computed; they name no file, no folder and no command (manual, 3.2.1)."""

FORMAT_SWITCHES = {"png": "+FN", "exr": "+FE", "jpeg": "+FJ"}
REGION = ("start_column", "end_column", "start_row", "end_row")
BLOCK = 32
"""pixels along the blocks that POV-Ray renders: anti-aliasing compares pixels inside of one alone"""
PATHS = frozenset({"include_header", "input_file_name", "library_path"})
LOST = "\ufffd"
"""stands where a name was not ASCII"""
LAST = "work_threads"
"""in the order of names nothing comes after it, and it is always asked for: the file is whole when it has it"""


@dataclass(frozen=True)
class Options:
    """Names in lower case, and their values, in POV-Ray's order."""

    pairs: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> tuple[str, ...]:
        """The values of an option that may stand more than once."""
        return tuple(value for known, value in self.pairs if known == name)

    def text(self, name: str) -> str:
        """A value, empty where nothing sets it."""
        return next(iter(reversed(self.all(name))), "")

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.text(name).lower() == "on"

    def number(self, name: str, default: float) -> float:
        """A number among the values."""
        found = re.match(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", self.text(name))
        return float(found[0]) if found else default

    def commands(self) -> tuple[str, ...]:
        """Names of the shell commands."""
        return tuple(name for name in dict(self.pairs) if name in COMMANDS and name.endswith("command"))


def seams(options: Options, picture_format: str) -> str:
    """Why tiles of a picture would not be the whole one, by its options; the scene's own ways a proof shows."""
    if picture_format == "jpeg":
        return "a JPEG is not that of its parts; use --format png"
    if options.flag("dither"):
        return "the dither of a pixel follows from those before it (Dither=on)"
    if any(options.all(name) for name in REGION):
        return "its options render a region only"
    return ""


def region(part: Part | None) -> list[str]:
    """Switches for a tile; POV-Ray's pixels begin at 1, and a 1 as end is everything."""
    if part is None:
        return []
    first, last = (part.left + 1, part.top + 1), (part.right, part.bottom)
    return [f"+SC{first[0]}", f"+SR{first[1]}", f"+EC{last[0]}", f"+ER{last[1]}"]


def read(text: str) -> Options | None:
    """What POV-Ray wrote; None as long as it has not written all of it."""
    lines = [line.partition("=") for line in text.split("\n")]
    pairs = tuple((name.lower(), unquoted(value)) for name, sign, value in lines if sign)
    whole = text.endswith("\n") and bool(pairs) and pairs[-1][0] == LAST
    return Options(pairs) if whole else None


def unquoted(text: str) -> str:
    """A value without the quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def instead(name: str) -> str:
    """How to ask the farm for what it owns."""
    if name in SIZE:
        return "Use --resolution WIDTHxHEIGHT or --scale PERCENT."
    if name in FRAMES:
        return "Use --frames FIRST-LAST."
    if name in ("output_file_type", "bits_per_color"):
        return "Use --format png, exr or jpeg."
    return "Leave it out."
