"""Configuration files: `renderfarm.toml` in or above the working directory, then the user's own.

A file has `default_pool`, `[pools.NAME]` tables, and defaults for submit's options under their own names.
What the values mean is checked where the options are checked; here only the names are.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from renderfarm.errors import ConfigError, InputError
from renderfarm.job.home import user_folder
from renderfarm.settings import trust
from renderfarm.settings.checks import is_file, user_path
from renderfarm.settings.options import Option, Place, nearest, options_of
from renderfarm.settings.pool import POOLS, PoolConfig
from renderfarm.settings.trust import Power, Wish
from renderfarm.words import files

T = TypeVar("T")

FILE_NAME = "renderfarm.toml"
MOST_BYTES = 1 << 20
"""of a file that says something to the farm"""
SHOWN_CHARACTERS = 200
LONGEST_LINE = 500
"""that is searched for a key"""


@dataclass(frozen=True)
class Config:
    """What the files say; empty where there are none."""

    default_pool: str = "local"
    pools: dict[str, PoolConfig] = field(default_factory=lambda: {"local": PoolConfig()})
    defaults: dict[str, object] = field(default_factory=dict)
    """submit's options by their inner names"""
    origins: dict[str, str] = field(default_factory=dict)
    """option name to the file that sets it"""

    def pool(self, name: str | None = None) -> PoolConfig:
        """The pool of that name (or the default pool), fit for use; raises ConfigError."""
        found = self.table(name)
        if found.type not in POOLS:
            message = f"Pool {found.name!r} has the type {found.type!r}, which this version can't use."
            raise ConfigError(message, f"Known types: {', '.join(POOLS)}.")
        return found

    def table(self, name: str | None = None) -> PoolConfig:
        """What the files say about the pool of that name, usable or not; raises ConfigError when nothing."""
        wanted = name or self.default_pool
        if wanted in self.pools:
            return self.pools[wanted]
        known = ", ".join(sorted(self.pools))
        where = f"A pool is a [pools.{wanted}] table in {FILE_NAME} or in {user_file()}."
        close = nearest(wanted, self.pools)
        raise ConfigError(f"There is no pool {wanted!r}.", close or f"Known pools: {known}. {where}")


@dataclass(frozen=True)
class Document:
    """A TOML file that was read once: what is hashed is what is parsed."""

    path: Path
    text: str
    data: dict[str, Any]
    digest: str


def load(start: Path | None = None) -> Config:
    """Read the user's file, then the project's over it; raises ConfigError with file and line.

    What a project's file says beyond how to render must have been allowed (`trust`).
    """
    config = Config()
    if is_file(user_file()):
        config = _merge(config, _Reader(document(user_file()), own=True))
    if project := project_file(start):
        reader = _Reader(document(project), own=False)
        trust.require(reader.wish())
        config = _merge(config, reader)
    return config


def wish(path: Path) -> Wish:
    """What a project's file says beyond how to render; raises ConfigError."""
    return _Reader(document(path), own=False).wish()


def document(path: Path) -> Document:
    """Read a TOML file; raises ConfigError, also for what is none: a device, a pipe, gigabytes."""
    try:
        data = files.whole(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        text = data.decode("utf-8")
        return Document(path, text, tomllib.loads(text), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} can't be read: {error}.", "TOML files are UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.", "See https://toml.io for the format.") from error


def project_file(start: Path | None = None) -> Path | None:
    """The nearest `renderfarm.toml` in or above a folder (default: the working directory)."""
    try:
        folder = (start or Path.cwd()).resolve()
    except OSError as error:
        raise ConfigError(f"The working directory can't be used: {error}.", "Change to another one.") from error
    candidates = (
        parent / FILE_NAME for parent in (folder, *folder.parents) if parent != user_folder().resolve()
    )
    return next((path for path in candidates if is_file(path)), None)


def user_file() -> Path:
    """Where the user's own file is looked for."""
    return user_folder() / FILE_NAME


def beyond_rendering(
    table: Mapping[str, object], options: Mapping[str, Option], folder: Path, where: str = ""
) -> Iterator[Power]:
    """What a table says that is for its user to say."""
    for key, value in table.items():
        option = options.get(key.replace("-", "_"))
        if option and not option.harmless(value, folder):
            yield Power(where + key, as_written(value), option.files(folder, value))


def as_written(value: object) -> str:
    """A value much as the file has it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _merge(config: Config, reader: _Reader) -> Config:
    defaults = reader.defaults()
    return Config(
        default_pool=reader.default_pool() or config.default_pool,
        pools={**config.pools, **reader.pools()},
        defaults={**config.defaults, **defaults},
        origins={**config.origins, **dict.fromkeys(defaults, str(reader.found.path))},
    )


@dataclass(frozen=True)
class _Reader:
    """One file; every complaint names it, with the line where that is known."""

    found: Document
    own: bool
    options = {option.written: option for option in options_of(Place.FILE)}  # noqa: RUF012 - a constant

    def wish(self) -> Wish:
        """What it says beyond how to render: all about pools, and what the options' table does not let pass."""
        powers = [Power("default_pool", as_written(name))] if (name := self.default_pool()) else []
        for pool in self.pools().values():
            for key, value in {"type": pool.type, **pool.options}.items():
                named = (Path(str(value)),) if key in pool.kind.files else ()
                powers.append(Power(f"pools.{pool.name}.{key}", as_written(value), named))
        powers += beyond_rendering(self.found.data, self.options, self.found.path.parent)
        return Wish(self.found.path, self.found.digest, tuple(powers))

    def default_pool(self) -> str | None:
        name = self.found.data.get("default_pool")
        if name is not None and not isinstance(name, str):
            raise self._wrong("", "default_pool", 'must be a name, such as "local"')
        return name

    def pools(self) -> dict[str, PoolConfig]:
        tables = self.found.data.get("pools", {})
        if not isinstance(tables, dict):
            raise self._wrong("", "pools", "must be tables, such as [pools.local]")
        return {name: self._pool(name, table) for name, table in tables.items()}

    def _pool(self, name: str, table: object) -> PoolConfig:
        if not isinstance(table, dict):
            raise self._wrong("pools", name, f"must be a table, [pools.{name}]")
        kind = table.get("type", "local" if name == "local" else None)
        if not isinstance(kind, str):
            raise self._wrong("pools", name, f"has no type; write type = {' or '.join(map(repr, POOLS))}")
        options = {key: value for key, value in table.items() if key != "type"}
        known = POOLS.get(kind)
        for key in options:
            if known is None:
                break  # told when the pool is opened
            if key not in known.keys:
                raise self._unknown(f"pools.{name}", key, ("type", *known.keys))
            if key in known.files and isinstance(options[key], str):
                path = self._understood(f"pools.{name}", key, partial(user_path, options[key]))
                options[key] = str(self.found.path.parent / path)
        return PoolConfig(name=name, type=kind, options=options, own=self.own)

    def defaults(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in self.found.data.items():
            if option := self.options.get(key.replace("-", "_")):
                beside = partial(option.beside, self.found.path.parent, value)
                found[option.name] = self._understood("", key, beside)
            elif key not in ("default_pool", "pools"):
                raise self._unknown("", key, ("default_pool", "pools", *self.options))
        return found

    def _understood(self, table: str, key: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except InputError as error:
            raise self._wrong(table, key, f"can't be used: {error.message}", error.hint) from error

    def _unknown(self, table: str, key: str, known: tuple[str, ...]) -> ConfigError:
        hint = nearest(key, known) or f"Known: {', '.join(known)}."
        return self._wrong(table, key, "is not a setting that renderfarm knows", hint)

    def _wrong(self, table: str, key: str, what: str, hint: str = "") -> ConfigError:
        line = line_of(self.found.text, table, key)
        where = f"{self.found.path}, line {line}" if line else str(self.found.path)
        inside = f" in [{table}]" if table else ""
        return ConfigError(f"{where}: {key!r}{inside} {what}.", hint)


def line_of(text: str, table: str, key: str) -> int | None:
    """The line where a table sets a key, as far as a look at the text can tell."""
    full = f"{table}.{key}" if table else key
    current = ""
    for number, line in enumerate((line[:LONGEST_LINE] for line in text.splitlines()), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            current = header[1].replace('"', "").replace("'", "")
            if current == full or current.startswith(f"{full}."):
                return number
        elif current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return None
