"""What the texts of a POV-Ray scene hint at: words in them that are names of files.

What stands in a text may never be run, and names that a scene computes are not seen. So this only shows files
to the sandbox before POV-Ray asks for them, and says when to look closer; it refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.renderers.povray.scene import Sheet, decoded, is_name, read_text
from renderfarm.renderers.wildcards import kind

LARGEST_BYTES = 16 << 20
"""of a text; longer ones are mesh data"""
_STRING = re.compile(r'"([^"\n]{1,1000})"')
_WRITES = re.compile(r"#\s*fopen\s+\w+\s+([^#]*?)\b(?:write|append)\b")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BY_CHANCE = re.compile(r"\b(radiosity|jitter|crand|subsurface|method\s+[12])\b")
"""what follows from the pixels that the same run computed before"""
_ENDS = ("", ".inc", ".INC", ".pov", ".POV", ".ttf", ".TTF")
"""that POV-Ray adds to names"""


@dataclass(frozen=True)
class Hints:
    """What was found."""

    files: Mapping[Path, str]
    """each with the name that the scene has for it"""
    ordered: bool = False
    """the scene writes files, and may look for them too: a frame may need what those before it wrote"""
    chance: str = ""
    """a word for what differs where other pixels are computed before"""


def hints(sheet: Sheet, copies: Mapping[str, str]) -> Hints:
    """What the scene's texts name that is there, and in them what those name."""
    header = sheet.options.text("include_header")
    left = [*_places(sheet, header), *([(sheet.source.absolute(), "")] if sheet.source else [])]
    found: dict[Path, str] = {}
    texts: list[str] = []
    while left:
        path, name = left.pop()
        if path not in found:
            found[path] = name
            texts.append(_text(Path(copies.get(str(path), path))))
            names = {decoded(word) for word in _STRING.findall(texts[-1])}
            left += [place for word in sorted(names) for place in _places(sheet, word)]
    named = {path: name for path, name in found.items() if name}
    chance = next(filter(None, (_BY_CHANCE.search(_COMMENT.sub(" ", text)) for text in texts)), None)
    return Hints(named, _reads_what_it_writes(texts), " ".join(chance[1].split()) if chance else "")


def _places(sheet: Sheet, name: str) -> Iterator[tuple[Path, str]]:
    """Where a file of that name is."""
    if is_name(name):
        places = (folder / (name + end) for folder in (sheet.folder, *sheet.library) for end in _ENDS)
        yield from ((place.absolute(), name) for place in places if place.is_file())


def _text(path: Path) -> str:
    """A scene text; empty for any other file."""
    if kind(path.name) not in ("include", "text"):
        return ""
    try:
        return read_text(path) if path.stat().st_size <= LARGEST_BYTES else ""
    except (SceneError, OSError):
        return ""


def _reads_what_it_writes(texts: list[str]) -> bool:
    written = [name.strip() for text in texts for name in _WRITES.findall(text)]
    strings = [name for text in texts for name in _STRING.findall(text)]
    plain = [name[1:-1] for name in written if _STRING.fullmatch(name)]
    return len(plain) < len(written) or any(strings.count(name) > plain.count(name) for name in plain)
