"""The list of shots, `shots.toml`: read and checked as a whole before anything renders.

What it says beyond how to render (a command to notify with, a renderer, a pool, a folder elsewhere) must have
been allowed, as in `renderfarm.toml`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from renderfarm.errors import ConfigError, InputError
from renderfarm.nightly.model import KEEP_NIGHTS, Shot, ShotList
from renderfarm.pictures import codecs
from renderfarm.settings import checks, config, trust
from renderfarm.settings.config import line_of
from renderfarm.settings.options import OPTIONS, Option, Place, nearest, options_of
from renderfarm.settings.trust import Power, Wish

Table = Mapping[str, Any]

NIGHTS = "nights"
"""default name of the folder beside the list"""
OVERRIDES = {option.name: option for option in options_of(Place.LIST)} | {"option": OPTIONS["options"]}
"""submit's options as a list has them; there `scene` is a file"""
_TOP_BEYOND = {"output": OPTIONS["output"], "together": OPTIONS["workers"]}
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_STRANGE = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED = frozenset({"index.html", "report.json", "junit.xml", "night.json"})


def _scene_inside(value: object, folder: Path) -> bool:
    """A scene or a pattern for scenes below the folder; after a `*` a `..` could lead anywhere."""
    return checks.inside(value, folder) and ".." not in Path(str(value)).parts


_BEYOND = OVERRIDES | {"scene": Option("FILE", "", harmless=_scene_inside)}
"""what a shot can say, with the verdict on it"""


def read(path: Path) -> ShotList:
    """The shots of a list, most important first; raises ConfigError with all mistakes and their lines.

    A scene that is not there is no mistake of the list: that shot fails, the others render.
    """
    found = _document(path)
    trust.require(_wish(found))
    path = found.path
    reader = _Reader(found)
    shots = reader.shots()
    listed = ShotList(
        path=path,
        output=path.parent / reader.top.get("output", NIGHTS),
        shots=tuple(sorted(shots, key=lambda shot: -shot.priority)),
        together=reader.top.get("together"),
        notify=reader.top.get("notify"),
        notify_url=reader.top.get("notify_url"),
        price_per_hour=reader.defaults.get("price_per_hour"),
        currency=reader.defaults.get("currency", "USD"),
    )
    if reader.mistakes:
        raise _refusal(path, reader.mistakes)
    return listed


def wish(path: Path) -> Wish:
    """What a list says beyond how to render; raises ConfigError."""
    return _wish(_document(path))


def _wish(found: config.Document) -> Wish:
    folder = found.path.parent
    # The default folder counts as well: it could be a link.
    tables = [("", {"output": NIGHTS, **found.data}), ("defaults.", found.data.get("defaults"))]
    shots = found.data.get("shots")
    tables += [(f"shots.{name}.", table) for name, table in shots.items()] if isinstance(shots, dict) else []
    powers = list(_notifications(found.data, folder))
    for where, table in tables:
        if isinstance(table, dict):
            powers += config.beyond_rendering(table, _BEYOND if where else _TOP_BEYOND, folder, where)
    return Wish(found.path, found.digest, tuple(powers))


def _notifications(data: Table, folder: Path) -> Iterator[Power]:
    """Who is told; a command runs in the list's folder, so its words may be files there."""
    for key, value in data.items():
        name = key.replace("-", "_")
        if name in ("notify", "notify_url"):
            words = _words(value) if name == "notify" else []
            files = tuple(folder / word for word in words if checks.is_file(folder / word))
            yield Power(key, config.as_written(value), files)


def _words(value: object) -> list[str]:
    try:
        return shlex.split(str(value))
    except ValueError:
        return []


def _refusal(path: Path, mistakes: Iterable[tuple[int, str]]) -> ConfigError:
    ordered = sorted(set(mistakes))
    lines = "".join(f"\n  line {line}: {text}" for line, text in ordered)
    count = "a mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
    return ConfigError(f"{path} has {count}:{lines}", "Nothing was rendered. Mend the list, then run it again.")


def _document(path: Path) -> config.Document:
    path = Path(checks.absolute(path))
    if not os.path.lexists(path):
        raise ConfigError(f"There is no list {path}.", "docs/nightly.md shows how to write one.")
    return config.document(path)


def _price(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        raise InputError(f"{value!r} is not a price per hour.")
    return float(value)


def _path_of(value: Any) -> str:
    return str(checks.user_path(checks.text(value)))


_TOP: dict[str, Callable[[Any], Any]] = {
    "output": _path_of,
    "keep": checks.at_least(1, "keep"),
    "together": checks.at_least(1, "together"),
    "notify": checks.text,
    "notify_url": checks.to_url,
}
_SHOT: dict[str, Callable[[Any], Any]] = {
    "scene": _path_of,
    "frames": checks.frame_range,
    "priority": checks.at_least(-checks.LARGEST, "priority"),
    "keep": checks.at_least(1, "keep"),
    "video": checks.switch,
}
_DEFAULTS_ONLY: dict[str, Callable[[Any], Any]] = {"price_per_hour": _price, "currency": checks.text}


class _Reader:
    """One list; collects mistakes instead of stopping at the first."""

    def __init__(self, found: config.Document) -> None:
        self.path = found.path
        self.text = found.text
        self.mistakes: list[tuple[int, str]] = []
        """lines and what is wrong with them"""
        self.loaded = config.load()
        own = dict(found.data)
        self.tables = {name: self._table("", name, own.pop(name, {})) for name in ("defaults", "shots")}
        self.top = self._values("", own, _TOP, self.tables)
        """the settings of the list itself"""
        self.options = {name: partial(self._option, option) for name, option in OVERRIDES.items()}
        known = _SHOT | _DEFAULTS_ONLY | self.options
        self.defaults = self._values("defaults", self.tables["defaults"], known)

    def shots(self) -> list[Shot]:
        """All shots, each glob taken apart, in the order of the list."""
        if not self.tables["shots"]:
            self._wrong("", "shots", "there are no shots; a shot is a table such as [shots.sh010]")
        found: dict[str, Shot] = {}
        for name, table in self.tables["shots"].items():
            for shot in self._shot(name, self._table("shots", name, table)):
                if shot.name in found:
                    text = f"two shots would be called {shot.name!r}; rename one"
                    self._wrong("shots", name, text)
                found[shot.name] = shot
        return list(found.values())

    def _shot(self, name: str, table: Table) -> Iterator[Shot]:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            self._wrong("shots", name, f"{name!r} can't name a folder; use letters, digits, - and _")
        own = self._values(f"shots.{name}", table, _SHOT | self.options)
        values = {"keep": self.top.get("keep", KEEP_NIGHTS), **self.defaults, **own}
        if "scene" not in table and "scene" not in self.defaults:
            self._wrong("shots", name, f'shot {name!r} has no scene; write scene = "shots/{name}.blend"')
        options = {OVERRIDES[key].name: value for key, value in values.items() if key in OVERRIDES}
        configured = {name: value for name, value in self.loaded.defaults.items() if name in OVERRIDES}
        options = {**configured, **options, "no_video": not values.get("video", True)}
        self._agree(name, options)
        line = line_of(self.text, "shots", name) or 1
        for scene, suffix in _scenes(self.path.parent, str(values.get("scene", ""))):
            yield Shot(
                name=f"{name}{suffix}",
                scene=scene,
                frames=values.get("frames"),
                pool=options.get("pool") or self.loaded.default_pool,
                priority=values.get("priority", 0),
                keep=values["keep"],
                options=options,
                line=line,
            )

    def _agree(self, name: str, options: Table) -> None:
        """Look at what only makes sense, or not, together."""
        try:
            if not options["no_video"]:
                codecs.choose(Path("video.mp4"), options.get("codec"), options.get("crf"))
        except InputError as error:
            self._wrong("shots", name, f"{error.message} {error.hint}".strip())

    def _values(
        self, where: str, table: Table, known: Mapping[str, Callable[[Any], Any]], tables: Iterable[str] = ()
    ) -> dict[str, Any]:
        found = {}
        for key, value in table.items():
            name = key.replace("-", "_")
            if name not in known:
                self._unknown(where, key, (*tables, *known))
                continue
            try:
                found[name] = known[name](value)
            except InputError as error:
                self._wrong(where, key, f"{key}: {error.message} {error.hint}".strip())
        return {name: value for name, value in found.items() if value is not None}

    def _option(self, option: Option, value: Any) -> Any:
        value = option.beside(self.path.parent, value)
        if option.name == "pool":
            self.loaded.pool(checks.text(value))
        option.checked(value)
        return value

    def _table(self, where: str, key: str, value: Any) -> Table:
        if isinstance(value, dict):
            return value
        full = f"{where}.{key}" if where else key
        self._wrong(where, key, f"{key!r} must be a table, [{full}]")
        return {}

    def _unknown(self, where: str, key: str, known: Iterable[str]) -> None:
        inside = f" in [{where}]" if where else ""
        hint = nearest(key, known) or f"Known: {', '.join(sorted(set(known)))}."
        self._wrong(where, key, f"{key!r}{inside} is nothing that a list can say. {hint}")

    def _wrong(self, where: str, key: str, text: str) -> None:
        self.mistakes.append((line_of(self.text, where, key) or 1, text))


def _scenes(folder: Path, text: str) -> Iterator[tuple[Path, str]]:
    """The scenes that a path or pattern names, each with what its shot's name ends in."""
    path = folder / text
    if not set("*?[") & set(text) or path.exists():
        yield path, ""
        return
    anchor = Path(path.anchor)
    matches = sorted(match for match in anchor.glob(str(path.relative_to(anchor))) if match.is_file())
    for match in matches:
        yield match, f"-{_STRANGE.sub('_', match.stem)}"
    if not matches:
        yield path, ""
