"""The list of shots, `shots.toml`: read and checked as a whole before anything renders.

What it says beyond how to render (a command to notify with, a renderer, a pool, a folder elsewhere) must have
been allowed, as in `renderfarm.toml`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
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
        output=path.parent / (reader.top("output") or NIGHTS),
        shots=tuple(sorted(shots, key=lambda shot: -shot.priority)),
        together=reader.top("together"),
        notify=reader.top("notify"),
        notify_url=reader.top("notify_url"),
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
        self.data = found.data
        self.mistakes: list[tuple[int, str]] = []
        """lines and what is wrong with them"""
        self.loaded = config.load()
        for key in self.data:
            if key.replace("-", "_") not in (*_TOP, "defaults", "shots"):
                self._unknown("", key, ("defaults", "shots", *_TOP))
        self.defaults = self._values("defaults", self._table("", "defaults"), _SHOT | _DEFAULTS_ONLY)

    def top(self, name: str) -> Any:
        """A setting of the list itself; None where there is none, or no good one."""
        key = next((key for key in self.data if key.replace("-", "_") == name), None)
        return None if key is None else self._checked("", key, _TOP[name])

    def shots(self) -> list[Shot]:
        """All shots, each glob taken apart, in the order of the list."""
        tables = self._table("", "shots")
        if not tables:
            self._wrong("", "shots", "there are no shots; a shot is a table such as [shots.sh010]")
        keep = self.top("keep") or KEEP_NIGHTS
        found: dict[str, Shot] = {}
        for name in tables:
            for shot in self._shot(name, self._table("shots", name), keep):
                if shot.name in found:
                    text = f"two shots would be called {shot.name!r}; rename one"
                    self._wrong("shots", name, text)
                found[shot.name] = shot
        return list(found.values())

    def _shot(self, name: str, table: Table, keep: int) -> Iterator[Shot]:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            self._wrong("shots", name, f"{name!r} can't name a folder; use letters, digits, - and _")
        where = f"shots.{name}"
        own = self._values(where, table, _SHOT)
        values: dict[str, Any] = {"keep": keep, **self.defaults, **own}
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

    def _values(self, where: str, table: Table, own: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
        found = {}
        for key in table:
            name = key.replace("-", "_")
            if check := own.get(name) or self._check_of(name):
                found[name] = self._checked(where, key, check)
            else:
                self._unknown(where, key, (*own, *OVERRIDES))
        return {name: value for name, value in found.items() if value is not None}

    def _check_of(self, name: str) -> Callable[[Any], Any] | None:
        option = OVERRIDES.get(name)
        if option is None:
            return None

        def check(value: Any) -> Any:
            value = option.beside(self.path.parent, value)
            if option.name == "pool":
                self.loaded.pool(checks.text(value))
            option.checked(value)
            return value

        return check

    def _checked(self, where: str, key: str, check: Callable[[Any], Any]) -> Any:
        value: Any = self.data
        for part in (*_path(where), key):
            value = value[part]
        try:
            return check(value)
        except InputError as error:
            self._wrong(where, key, f"{key}: {error.message} {error.hint}".strip())
        return None

    def _table(self, where: str, key: str) -> Table:
        value: Any = self.data
        for part in _path(where):
            value = value[part]
        value = value.get(key, {})
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


def _path(where: str) -> tuple[str, ...]:
    table, _, name = where.partition(".")
    return tuple(part for part in (table, name) if part)


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
