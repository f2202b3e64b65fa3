"""Which files a POV-Ray scene seems to need: includes, pictures, fonts, volumes, found in its text.

What stands in a text may never be run, so this is a hint: what is found is hashed and shown to POV-Ray, and
what is not found may not be asked for. Names that the scene computes can't be known before it is rendered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.renderers import wildcards
from renderfarm.renderers.povray.names import GAP, NEVER, Declarations, Moment, name_at, pattern
from renderfarm.renderers.povray.scene import (
    INSTALLED,
    Animation,
    Sheet,
    decoded,
    hinted_inis,
    is_name,
    read_text,
    same_but_case,
)
from renderfarm.renderers.wildcards import spans
from renderfarm.words.model import Asset, Wild

LARGEST_BYTES = 16 * 1024 * 1024
"""longer text is mesh data; reading it would take longer than it tells"""
_SUFFIXES = {"include": ("", ".inc", ".INC", ".pov", ".POV"), "font": ("", ".ttf", ".TTF")}
_STRING = r'"(?:\\.|[^"\\])*"'
_NAME = rf"\s*(?P<name>{_STRING}|[A-Za-z_]\w*)"
_PICTURE = r"(?:(?:bmp|gif|tga|iff|ppm|pgm|png|jpeg|jpg|tiff|tif|sys|exr|hdr|pot)\b)?"
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
    ("text", re.compile(rf"\bfile_exists\s*\({_NAME}")),
)
_WRITES = re.compile(rf"#\s*fopen\s+\w+{_NAME}\s+(?:write|append)\b")
_OPTIONAL = re.compile(rf"\bfile_exists\s*\(\s*({_STRING})")
_LIKELY = {
    "include": ("inc", "pov", "mcr", "txt"),
    "image": (
        "bmp",
        "gif",
        "tga",
        "iff",
        "ppm",
        "pgm",
        "png",
        "jpeg",
        "jpg",
        "tiff",
        "tif",
        "exr",
        "hdr",
        "pot",
    ),
    "font": ("ttf", "otf", "ttc"),
    "volume": ("df3",),
}
"""suffixes of files whose names are not known at all"""
MOST_ROUNDS = 6
"""includes that are found only when other includes are read"""
_COMPUTES = frozenset({"concat", "substr", "str", "vstr", "strlwr", "strupr", "chr", "datetime"})
_NOT_FILES = frozenset({"function", "internal", "pigment", "gamma", "premultiplied"})
_SCANNED = re.compile(rf"(?P<string>{_STRING})|//[^\n]*|(?P<open>/\*)|(?P<rest>\Z)", re.DOTALL)
_NESTED = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Needs:
    """What a scene needs, and what people should know about it."""

    assets: tuple[Asset, ...]
    wild: tuple[Wild, ...]
    notes: tuple[str, ...]
    ordered: bool = False
    """the scene writes a file that it also looks for, so a frame may need what those before it wrote"""


@dataclass
class _Walk:
    sheet: Sheet
    moments: Mapping[int, Moment]
    known: Declarations
    copies: Mapping[str, str] = field(default_factory=dict)
    """what is rendered in place of files of the scene"""
    learned: Declarations = field(default_factory=Declarations)
    found: dict[tuple[str, str], Asset] = field(default_factory=dict)
    frames: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """of the files that only some frames need"""
    wild: dict[Wild, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    """patterns of the names that the scene writes"""
    looked_for: set[str] = field(default_factory=set)
    """and of those that it reads"""
    guesses: int = 0
    """greater than 0 while files are read that may not be the scene's"""

    def assets(self) -> tuple[Asset, ...]:
        """All files that were found, each once, with the frames that need it."""
        merged: dict[str, Asset] = {}
        frames: dict[str, set[int] | None] = {}
        for (kind, path), asset in self.found.items():
            merged.setdefault(path, asset)
            own, before = self.frames.get((kind, path)), frames.get(path, set())
            frames[path] = None if own is None or before is None else own | before
        return tuple(
            asset if needed is None else replace(asset, frames=spans(needed))
            for asset, needed in zip(merged.values(), frames.values())  # noqa: B905 - Python 3.10
        )

    def needed(self) -> tuple[Asset, ...]:
        """All files but those that are not there yet because the scene itself writes them."""

        def is_written(asset: Asset) -> bool:
            return any(fnmatchcase(asset.used_by, name) for name in self.written - {"*"})

        return tuple(asset for asset in self.assets() if asset.exists or not is_written(asset))

    def file(self, path: Path, kind: str, name: str, frames: set[int] | None = None) -> None:
        """Take a file of the project, and what it needs in turn if it is scene text."""
        size, key = path.stat().st_size, (kind, str(path))
        if frames is None:
            self.frames.pop(key, None)
        elif key not in self.found or key in self.frames:
            self.frames.setdefault(key, set()).update(frames)
        self.found.setdefault(key, Asset(str(path), kind, True, size, name, certain=False))
        if kind != "include" or path in self.seen or size > LARGEST_BYTES:
            return
        self.seen.add(path)
        try:
            text = read_text(Path(self.copies.get(str(path), path)))
        except SceneError as error:
            self.notes[error.message] = None
            return
        self.text(path, without_comments(text))

    def is_ordered(self) -> bool:
        """Whether a name that is written may be one that is looked for; one that is all unknown is not."""
        named = [(a, b) for a in self.written - {"*"} for b in self.looked_for - {"*"}]
        return any(fnmatchcase(a, b) or fnmatchcase(b, a) for a, b in named)

    def text(self, path: Path, text: str) -> None:
        """Follow the file names in scene text."""
        self.learned.read(text)
        optional = {decoded(name[1:-1]) for name in _OPTIONAL.findall(text)}
        for match in _WRITES.finditer(text):
            self.written.add(pattern(decoded(name_at(text, match.start("name"), self.known, NEVER))))
        for kind, use in _USES:
            for match in use.finditer(text):
                if match["name"] in _NOT_FILES:
                    continue
                name = decoded(name_at(text, match.start("name"), self.known, NEVER))
                self.looked_for.add(pattern(name))
                if GAP not in name:
                    self._look_for(name, kind, optional=name in optional)
                    continue
                by_frame = self._names(text, match.start("name"))
                if by_frame:
                    self._by_frame(kind, pattern(name), by_frame)
                else:
                    line = text.count("\n", 0, match.start("name")) + 1
                    self._unknown(kind, pattern(name), f"{path.name}, line {line}", match["name"])

    def _names(self, text: str, place: int) -> dict[str, set[int]]:
        """The file names that an expression gives, each with its frames; empty when one is not known."""
        names: dict[str, set[int]] = {}
        for frame, moment in self.moments.items():
            name = name_at(text, place, self.known, moment)
            if GAP in name:
                return {}
            names.setdefault(decoded(name), set()).add(frame)
        return names

    def _by_frame(self, kind: str, wanted: str, names: dict[str, set[int]]) -> None:
        """Each frame has a file of its own. Those that aren't there may not be asked for either."""
        for name, frames in names.items():
            if place := self._place(name, kind):
                self.file(place, kind, name, frames)
        self._watch(self._wilds(wanted, _SUFFIXES.get(kind, ("",)), deep=False))

    def _unknown(self, kind: str, wanted: str, where: str, how: str) -> None:
        """Every file that could be meant is needed by every frame."""
        suffixes = _SUFFIXES.get(kind, ("",))
        if wanted.endswith("*") and kind in _LIKELY:
            suffixes = tuple("." + "".join(f"[{c}{c.upper()}]" for c in end) for end in _LIKELY[kind])
        wilds = [*self._wilds(wanted, suffixes, deep=True)]
        if wanted.startswith("*"):
            wilds += [
                wild for folder in self._elsewhere() for wild in self._wilds(f"{folder}/*", suffixes, deep=True)
            ]
        self.guesses += 1
        for wild in self._watch(wilds):
            for path in sorted(wildcards.files(wild)):
                if path != self.sheet.scene:
                    self.file(path, kind, path.name)
        self.guesses -= 1
        call = f"with {how}()" if how in _COMPUTES else f"in {how}"
        self.notes[
            f"{where}: file names are computed ({call}); "
            "whether those files are there is seen when the frame is rendered."
        ] = None

    def _elsewhere(self) -> Iterator[str]:
        """Folders that texts name and that a walk through the project's would not come to."""
        root = self.sheet.folder.absolute()
        for name in filter(is_name, map(decoded, sorted(self.known.folders))):
            place = Path(_normal(root, name))
            inside = [place, *place.parents][: max(0, len(place.parts) - len(root.parts))]
            if root not in place.parents or any((folder / ".renderfarm").exists() for folder in inside):
                yield re.sub(r"([*?\[])", r"[\1]", name)

    def _wilds(self, wanted: str, suffixes: Iterable[str], *, deep: bool) -> Iterator[Wild]:
        """The pattern in each folder where POV-Ray looks."""
        inside, slash, _ = re.split(r"[*\[]", wanted, maxsplit=1)[0].rpartition("/")
        rest = wanted[len(inside + slash) :]
        for folder in (self.sheet.folder, *self.sheet.library):
            for suffix in suffixes:
                place = _normal(folder, inside + slash)
                yield Wild(place, rest + suffix, deep=deep or "/" in rest, by_frame=True)

    def _watch(self, wilds: Iterable[Wild]) -> list[Wild]:
        """Remember where files may appear; returns the patterns that are new."""
        fresh = [wild for wild in dict.fromkeys(wilds) if wild not in self.wild]
        self.wild |= dict.fromkeys(fresh)
        return fresh

    def _look_for(self, name: str, kind: str, *, optional: bool) -> None:
        """Take a file that every frame names."""
        if not is_name(name):
            return
        place = self._place(name, kind)
        if place:
            self.file(place, kind, name)
        elif not (optional or self.guesses or self._is_installed(name, kind)):
            path = self.sheet.folder / name
            self.found.setdefault((kind, str(path)), Asset(str(path), kind, False, 0, name, certain=False))
            self._hint(name)

    def _place(self, name: str, kind: str) -> Path | None:
        """Where POV-Ray finds a file of the project; one that appears in a place before that would win."""
        if not is_name(name):
            return None
        for folder in (self.sheet.folder, *self.sheet.library):
            for suffix in _SUFFIXES.get(kind, ("",)):
                path = folder / (name + suffix)
                if path.is_file():
                    return path.absolute()
                place = Path(_normal(folder, name + suffix))
                self._watch([Wild(str(place.parent), pattern(place.name))])
        return None

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


def _normal(folder: Path, name: str) -> str:
    return os.path.normpath(folder.absolute() / name)


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


def find_assets(
    sheet: Sheet, animation: Animation | None = None, copies: Mapping[str, str] | None = None
) -> Needs:
    """The files that a scene needs besides the one that was named."""
    animation = animation or sheet.animation()
    known = Declarations(changing=set(_declared(sheet)))
    for _ in range(MOST_ROUNDS):
        learned = Declarations(changing=set(_declared(sheet)))
        walk = _Walk(sheet, moments(animation), known, copies or {}, learned)
        _walk(walk)
        if walk.learned == known:
            break
        known = walk.learned
    return Needs(walk.needed(), tuple(walk.wild), tuple(walk.notes), walk.is_ordered())


def _walk(walk: _Walk) -> None:
    sheet = walk.sheet
    for path in hinted_inis(sheet.scene):
        walk.found["include", str(path)] = _ini(path)
    if sheet.source:
        walk.file(sheet.source.absolute(), "include", sheet.source.name)
    else:
        walk._hint(sheet.options.text("input_file_name"))
    if header := sheet.options.text("include_header"):
        walk._look_for(header, "include", optional=False)
    walk.found.pop(("include", str(sheet.scene)), None)


def _ini(path: Path) -> Asset:
    return Asset(str(path), "include", True, path.stat().st_size, path.name, certain=False)


def _declared(sheet: Sheet) -> Iterator[str]:
    """Names that the options declare: texts may declare them again."""
    return (text.partition("=")[0].strip() for text in sheet.options.all("declare"))


def moments(animation: Animation) -> dict[int, Moment]:
    """What each of the scene's own frames sees; a still has frame number 0, and no clock of the animation's."""
    if animation.still:
        return {1: Moment(0, None)}
    frames = range(animation.start, animation.end + 1, animation.step)
    return {frame: Moment(frame, animation.moment(frame), frame == animation.first) for frame in frames}
