"""Configuration files: `renderfarm.toml` in or above the working directory, then the user's own.

A file has `default_pool`, `[pools.NAME]` tables, and defaults for submit's options under their own names.
What the values mean is checked where the options are checked; here only the names are.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import ConfigError
from renderfarm.options import Option, Place, nearest, options_of
from renderfarm.pools import POOLS, PoolConfig

FILE_NAME = "renderfarm.toml"
POOL_KEYS = {
    "local": ("workers", "memory_gb"),
    "azure-batch": (
        "batch_url",
        "storage_url",
        "batch_account",
        "storage_account",
        "vm_size",
        "prefix",
        "pool_id",
        "nodes",
        "dedicated_nodes",
        "spot",
        "slots_per_node",
        "image",
        "node_agent",
        "container_image",
        "start_task",
        "renderer",
        "network",
        "identity",
        "identity_client_id",
        "subscription",
        "resource_group",
        "price_per_node_hour",
        "after",
        "auto_pool",
        "autoscale",
        "poll_seconds",
        "job_hours",
    ),
}
"""Pool type to the keys of its table; tables of other types are looked at when the pool is opened."""


@dataclass(frozen=True)
class Config:
    """What the files say; empty where there are none."""

    default_pool: str = "local"
    pools: dict[str, PoolConfig] = field(default_factory=lambda: {"local": PoolConfig()})
    defaults: dict[str, object] = field(default_factory=dict)
    """submit's options by their inner names"""
    origins: dict[str, str] = field(default_factory=dict)
    """option name to the file that sets it"""
    files: tuple[Path, ...] = ()
    """files that were read, strongest last"""

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


def load(start: Path | None = None) -> Config:
    """Read the user's file, then the project's over it; raises ConfigError with file and line."""
    config = Config()
    for path, is_project in ((user_file(), False), (project_file(start), True)):
        if path is not None and path.is_file():
            config = _merge(config, path, _Reader(path, is_project))
    return config


def project_file(start: Path | None = None) -> Path | None:
    """The nearest `renderfarm.toml` in or above a folder (default: the working directory)."""
    folder = (start or Path.cwd()).resolve()
    candidates = (parent / FILE_NAME for parent in (folder, *folder.parents))
    return next((path for path in candidates if path.is_file()), None)


def user_file() -> Path:
    """Where the user's own file is looked for."""
    root = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(root) / "renderfarm" / FILE_NAME


def _merge(config: Config, path: Path, reader: _Reader) -> Config:
    defaults = reader.defaults()
    return Config(
        default_pool=reader.default_pool() or config.default_pool,
        pools={**config.pools, **reader.pools()},
        defaults={**config.defaults, **defaults},
        origins={**config.origins, **dict.fromkeys(defaults, str(path))},
        files=(*config.files, path),
    )


class _Reader:
    """One file; every complaint names it, with the line where that is known."""

    def __init__(self, path: Path, is_project: bool) -> None:
        self.path = path
        self.is_project = is_project
        self.text = self._text()
        try:
            self.data = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}.", "See https://toml.io for the format.") from error

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path} can't be read: {error}.") from error

    def default_pool(self) -> str | None:
        name = self.data.get("default_pool")
        if name is not None and not isinstance(name, str):
            raise self._wrong("", "default_pool", 'must be a name, such as "local"')
        return name

    def pools(self) -> dict[str, PoolConfig]:
        tables = self.data.get("pools", {})
        if not isinstance(tables, dict):
            raise self._wrong("", "pools", "must be tables, such as [pools.local]")
        return {name: self._pool(name, table) for name, table in tables.items()}

    def _pool(self, name: str, table: object) -> PoolConfig:
        if not isinstance(table, dict):
            raise self._wrong("pools", name, f"must be a table, [pools.{name}]")
        kind = table.get("type", "local" if name == "local" else None)
        if not isinstance(kind, str):
            raise self._wrong("pools", name, f"has no type; write type = {' or '.join(map(repr, POOL_KEYS))}")
        options = {key: value for key, value in table.items() if key != "type"}
        for key in options:
            if kind in POOL_KEYS and key not in POOL_KEYS[kind]:
                raise self._unknown(f"pools.{name}", key, ("type", *POOL_KEYS[kind]))
        return PoolConfig(name=name, type=kind, options=options)

    def defaults(self) -> dict[str, object]:
        found: dict[str, object] = {}
        options = {option.written: option for option in options_of(Place.FILE)}
        for key, value in self.data.items():
            if option := options.get(key.replace("-", "_")):
                self._refuse_power(key, option, value)
                found[option.name] = option.beside(self.path.parent, value)
            elif key not in ("default_pool", "pools"):
                raise self._unknown("", key, ("default_pool", "pools", *options))
        return found

    def _refuse_power(self, key: str, option: Option, value: object) -> None:
        """A folder from somewhere else must not decide what runs on this machine, or how freely."""
        if self.is_project and not option.harmless(value, self.path.parent):
            hint = f"Use {option.flag}, {option.variable}, or put it into {user_file()}."
            raise self._wrong("", key, "is for you to say, not for a project folder", hint)

    def _unknown(self, table: str, key: str, known: tuple[str, ...]) -> ConfigError:
        hint = nearest(key, known) or f"Known: {', '.join(known)}."
        return self._wrong(table, key, "is not a setting that renderfarm knows", hint)

    def _wrong(self, table: str, key: str, what: str, hint: str = "") -> ConfigError:
        line = line_of(self.text, table, key)
        where = f"{self.path}, line {line}" if line else str(self.path)
        inside = f" in [{table}]" if table else ""
        return ConfigError(f"{where}: {key!r}{inside} {what}.", hint)


def line_of(text: str, table: str, key: str) -> int | None:
    """The line where a table sets a key, as far as a look at the text can tell."""
    full = f"{table}.{key}" if table else key
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            current = header[1].replace('"', "").replace("'", "")
            if current == full or current.startswith(f"{full}."):
                return number
        elif current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return None
