"""Which files a POV-Ray scene needs: includes, pictures, fonts, volumes, found in its text.

POV-Ray has no mode that lists them, so the text is read the way POV-Ray's scanner reads it: comments out,
strings whole. Names that the scene computes can't be known before it is rendered; they are noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.model import Asset
from renderfarm.renderers.povray_scene import Sheet, decoded, read_text, same_but_case

LARGEST_BYTES = 16 * 1024 * 1024
"""longer text is mesh data; reading it would take longer than it tells"""
INSTALLED = (
    Path("/usr/share/povray-3.7"),
    Path("/usr/local/share/povray-3.7"),
    Path("/usr/share/povray-3.8"),
    Path("/usr/local/share/povray-3.8"),
    Path("/usr/share/povray"),
)
_SUFFIXES = {"include": ("", ".inc", ".INC", ".pov", ".POV"), "font": ("", ".ttf", ".TTF")}
_STRING = r'"(?:\\.|[^"\\])*"'
_NAME = rf"\s*(?P<name>{_STRING}|[A-Za-z_]\w*)"
_PICTURE = r"(?:(?:gif|tga|iff|ppm|pgm|png|jpeg|jpg|tiff|tif|sys|exr|hdr|pot)\b)?"
_USES = (
    ("include", re.compile(rf"#\s*include\b{_NAME}")),
    (
        "image",
        re.compile(
            rf"\b(?:image_map|bump_map|material_map|height_field|image_pattern)\s*\{{\s*{_PICTURE}{_NAME}"
        ),
    ),
    ("font", re.compile(rf"\bttf\b{_NAME}")),
    ("volume", re.compile(rf"\bdf3\b{_NAME}")),
    ("text", re.compile(rf"#\s*fopen\s+\w+{_NAME}\s+read\b")),
    ("text", re.compile(rf"\bload_file\b{_NAME}")),
)
_CONSTANT = re.compile(rf"#\s*(?:declare|local)\s+(\w+)\s*=\s*({_STRING})")
_OPTIONAL = re.compile(rf"\bfile_exists\s*\(\s*({_STRING})")
_COMPUTES = frozenset({"concat", "substr", "str", "vstr", "strlwr", "strupr", "chr", "datetime"})
_NOT_FILES = frozenset({"function", "internal", "pigment", "gamma", "premultiplied"})
_SCANNED = re.compile(rf"(?P<string>{_STRING})|//[^\n]*|(?P<open>/\*)|(?P<rest>\Z)", re.DOTALL)
_NESTED = re.compile(r"/\*|\*/")


@dataclass
class _Walk:
    sheet: Sheet
    found: dict[tuple[str, str], Asset] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    constants: dict[str, set[str]] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)

    def file(self, path: Path, kind: str, name: str) -> None:
        """Take a file of the project, and what it needs in turn if it is scene text."""
        size = path.stat().st_size
        self.found.setdefault((kind, str(path)), Asset(str(path), kind, True, size, name))
        if kind != "include" or path in self.seen or size > LARGEST_BYTES:
            return
        self.seen.add(path)
        try:
            text = read_text(path)
        except SceneError as error:
            self.notes[error.message] = None
            return
        self.text(path, without_comments(text))

    def text(self, path: Path, text: str) -> None:
        """Follow the file names in scene text."""
        for name, value in _CONSTANT.findall(text):
            self.constants.setdefault(name, set()).add(value)
        optional = set(_OPTIONAL.findall(text))
        for kind, use in _USES:
            for match in use.finditer(text):
                literal = self._literal(match["name"])
                if literal is None:
                    line = text.count("\n", 0, match.start("name")) + 1
                    self._computed(path, line, match["name"])
                elif literal:
                    self._look_for(decoded(literal[1:-1]), kind, literal in optional)

    def _literal(self, name: str) -> str | None:
        """The quoted file name; empty when it is none at all, None when the scene computes it."""
        if name.startswith('"') or name in _NOT_FILES:
            return name if name.startswith('"') else ""
        values = self.constants.get(name, set())
        return next(iter(values)) if len(values) == 1 else None

    def _computed(self, path: Path, line: int, name: str) -> None:
        how = f"with {name}()" if name in _COMPUTES else f"in {name}"
        self.notes[
            f"{path.name}, line {line}: file names are computed ({how}); "
            "whether those files are there is seen when the frame is rendered."
        ] = None

    def _look_for(self, name: str, kind: str, optional: bool) -> None:
        for folder in (self.sheet.folder, *self.sheet.library):
            for suffix in _SUFFIXES.get(kind, ("",)):
                path = folder / (name + suffix)
                if path.is_file():
                    self.file(path.absolute(), kind, name)
                    return
        if optional or self._is_installed(name, kind):
            return
        path = self.sheet.folder / name
        self.found.setdefault((kind, str(path)), Asset(str(path), kind, False, 0, name))
        self._hint(name)

    def _is_installed(self, name: str, kind: str) -> bool:
        """Whether the file comes with POV-Ray: then it is no asset of the project."""
        folders = [*self.sheet.system_library]
        folders += [base / part for base in INSTALLED for part in ("include", ".")]
        suffixes = _SUFFIXES.get(kind, ("",))
        return any((folder / (name + suffix)).is_file() for folder in folders for suffix in suffixes)

    def _hint(self, name: str) -> None:
        for folder in (self.sheet.folder, *self.sheet.library):
            other = same_but_case(folder / name)
            if other:
                self.notes[
                    f"The scene asks for {name!r}; there is {other.name!r}, which is not the same here."
                ] = None
                return


def without_comments(text: str) -> str:
    """Scene text with its comments blanked out: every line keeps its number, and strings are left alone."""
    parts, place = [], 0
    while place < len(text):
        match = _SCANNED.search(text, place)
        if match is None or match["rest"] is not None:
            break
        end = _comment_end(text, match.end()) if match["open"] else match.end()
        parts.append(text[place : match.start()])
        parts.append(match[0] if match["string"] else "\n" * text.count("\n", match.start(), end) or " ")
        place = end
    return "".join(parts) + text[place:]


def _comment_end(text: str, place: int) -> int:
    depth = 1
    for match in _NESTED.finditer(text, place):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def find_assets(sheet: Sheet) -> tuple[tuple[Asset, ...], tuple[str, ...]]:
    """The files that a scene needs besides the one that was named, and what people should know about them."""
    walk = _Walk(sheet)
    for path in sheet.files:
        walk.found["include", str(path)] = Asset(str(path), "include", True, path.stat().st_size, path.name)
    headers = [option.value for option in sheet.options if option.key == "include_header"]
    walk.file(sheet.source.absolute(), "include", sheet.source.name)
    for name in headers:
        walk._look_for(decoded(name), "include", optional=False)
    walk.found.pop(("include", str(sheet.scene)), None)
    return tuple(walk.found.values()), tuple(walk.notes)


def outside_paths(sheet: Sheet, assets: tuple[Asset, ...]) -> Iterator[str]:
    """Files and library folders outside the scene's own folder, which a sandbox must be told about."""
    places = [*(Path(asset.path) for asset in assets if asset.exists), *sheet.library]
    for place in dict.fromkeys(path.resolve() for path in places):
        if place.exists() and not place.is_relative_to(sheet.folder.resolve()):
            yield str(place)
