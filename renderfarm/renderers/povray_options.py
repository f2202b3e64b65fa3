"""POV-Ray's options: `Key=value` and switches such as +KFF20, read as POV-Ray reads them.

The farm must know what an option means only where it owns it (frame numbers, output, display, shell commands)
or reads it (size, clock, library path); all others are handed on untouched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from renderfarm.errors import SceneError

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

_SWITCHES = {
    "kfi": "initial_frame",
    "kff": "final_frame",
    "ki": "initial_clock",
    "kf": "final_clock",
    "kc": "cyclic_animation",
    "k": "clock",
    "sf": "subset_start_frame",
    "ef": "subset_end_frame",
    "stp": "frame_step",
    "wt": "work_threads",
    "w": "width",
    "hi": "include_header",
    "ht": "histogram_type",
    "hn": "histogram_name",
    "hs": "histogram_grid_size",
    "h": "height",
    "i": "input_file_name",
    "o": "output_file_name",
    "l": "library_path",
    "f": "output_file_type",
    "d": "display",
    "p": "pause_when_done",
    "v": "verbose",
    "c": "continue_trace",
    "gi": "create_ini",
    "ga": "all_file",
    "gd": "debug_file",
    "gf": "fatal_file",
    "gr": "render_file",
    "gs": "statistic_file",
    "gw": "warning_file",
    "rfo": "radiosity_to_file",
    "ua": "output_alpha",
}
BLANKS = " \t\r\n\f\v"
"""what separates words; in Latin-1 text Python would take bytes of à and Å for blanks and line ends too"""
_PREFIXES = sorted(_SWITCHES, key=len, reverse=True)
_WORDS = frozenset({"c", "kc", "ua", "ga", "gd", "gf", "gr", "gs", "gw", "v", "p", "d", "f", "rfo"})
"""Switches that read without a value as well."""
_TOKEN = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""", re.ASCII)
_KEYED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL | re.ASCII)


@dataclass(frozen=True)
class Option:
    """One option as POV-Ray reads it; `key` is its ini name in lower case, empty where nobody asks."""

    key: str
    value: str
    text: str

    @property
    def number(self) -> float | None:
        """The value as a number; None when it is none."""
        match = re.match(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", self.value)
        return float(match[0]) if match else None


def parse_options(text: str) -> Iterator[Option]:
    for line in text.split("\n"):
        yield from parse_line(line)


def parse_line(line: str) -> Iterator[Option]:
    """The options on one line: `Key=value`, or switches and file names."""
    line = _uncommented(line).strip(BLANKS)
    keyed = _KEYED.fullmatch(line)
    if keyed:
        yield Option(keyed[1].lower(), unquoted(keyed[2].strip(BLANKS)), line)
        return
    for token in _TOKEN.findall(line):
        yield from _token(token)


def _token(token: str) -> Iterator[Option]:
    if token[0] not in "+-":
        name = unquoted(token)
        key = "input_file_name" if name.lower().endswith(".pov") else "include_ini"
        yield Option(key, name, token)
        return
    match = re.match(r"[+-]w(\d+)(?=[+-]h\d)", token, re.IGNORECASE)
    if match:
        yield Option("width", match[1], match[0])
        token = token[match.end() :]
    key, value = _switch(token[1:])
    on = token[0] == "+"
    if key == "output_file_type" and (bits := re.fullmatch(r"[nN](\d+)", value)):
        yield Option("bits_per_color", bits[1], "")
    yield Option(key, unquoted(value) or ("on" if on else "off"), token)


def _switch(body: str) -> tuple[str, str]:
    lower = body.lower()
    for prefix in _PREFIXES:
        value = body[len(prefix) :]
        if lower.startswith(prefix) and (prefix in _WORDS or value):
            if prefix in ("w", "h", "k", "c") and value and not re.match(r"[-+.\d]", value):
                continue
            return _SWITCHES[prefix], value
    return "", body


def _uncommented(line: str) -> str:
    """The line up to a `;` that is not in quotes."""
    match = re.match(r"""(?:"[^"]*"|'[^']*'|[^;"'])*""", line)
    return line if match is None or line[match.end() : match.end() + 1] != ";" else match[0]


def unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def override(options: Mapping[str, str]) -> list[Option]:
    """The user's own options; raises SceneError for those that the farm must own."""
    parsed = []
    for key, value in options.items():
        text = f"{key}={value}" if not key.startswith(("+", "-")) else key + value
        found = list(parse_line(text))
        for option in found:
            if option.key in OWNED:
                raise SceneError(f"The option {text!r} is the farm's to set.", _instead(option.key))
        if not found or "\n" in text:
            raise SceneError(
                f"{text!r} is not an option of POV-Ray.", "Write --option Antialias=on or Declare=x=1."
            )
        parsed += found
    return parsed


def _instead(key: str) -> str:
    if key in SIZE:
        return "Use --resolution WIDTHxHEIGHT or --scale PERCENT."
    if key in FRAMES:
        return "Use --frames FIRST-LAST."
    if key in ("output_file_type", "bits_per_color"):
        return "Use --format png, exr or jpeg."
    return "Leave it out."
