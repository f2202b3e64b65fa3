"""Whatever comes from outside ends in a sentence, never in a traceback: files made up, cut off and mangled.

The quick run tries a few dozen of each kind; `-m slow` tries 2,000 in all.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import os
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from renderfarm import cli
from renderfarm.errors import RenderfarmError
from renderfarm.job.home import farm_home
from renderfarm.renderers import renderer
from renderfarm.settings import config, pool
from renderfarm.settings.options import OPTIONS
from tests.farm_runs import card
from tests.trusting import trusted

QUICK, ALL = 25, 2000
KINDS = 10
EXAMPLES = [
    pytest.param(QUICK, id="quick"),
    pytest.param(ALL // KINDS + 1, id="2000-in-all", marks=pytest.mark.slow),
]
FEW = [pytest.param(5, id="quick"), EXAMPLES[1]]
"""of what is told by whole jobs"""
POOLS = ("type", "workers", "memory_gb", *pool.POOLS["azure-batch"].keys)
STRANGE = (
    *("", " ", "a\0b", "\udcff.blend", "\u202ex", "x" * 300, "x/" * 3000, "~nobody/x", "--", "[", "*", "%"),
    *("-1", "1.5", "nan", "1e309", "9" * 30, "9" * 5000, str(2**64 + 1)),
    *("loop", "dangling", "out", "pipe", "/dev/null", "/dev/zero", "a.testcard/x"),
)
"""as an argument: no name, no number, no file"""
SERVING = {"web", "setup", "doctor"}
"""commands that go on until they are stopped, or ask all programs that there are"""
USUAL = {"scene": "a.testcard", "source": "out", "out": "o.txt", "nodes": "5"}
TAME = {"submit": ["--dry-run"], "trust": ["--yes"], "addon install": ["--zip=z.zip"]}
RECORD = {
    "id": "a-1234",
    "frames": "1-2",
    "fps": 24.0,
    "request": {"scene": "/a.blend", "frames": "1-2", "fps": 24.0, "settings": {"resolution": [8, 8]}},
    "scene": {
        "fps": 24.0,
        "pixel_aspect": 1.0,
        "colour": {"config": "", "display": "sRGB", "view": "Standard"},
    },
}
CARD = {
    "frames": "1-2",
    "size": [8, 8],
    "fps": 24,
    "seconds": 0.0,
    "assets": ["a.png"],
    "faults": {"1": {"what": "crash", "times": 1}},
}
HEADERS = (b"BLENDER-v405", b"BLENDER_V279", b"BLENDER17-01v0500", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"")

characters = st.characters(codec="utf-8")
words = st.one_of(
    st.sampled_from(["", "\0", "\ud800", "\u202e", "~nobody/x", "../x", "/", "a" * 300, "9" * 50]),
    st.sampled_from(["1-2", "auto", "cloud", "*.blend"]),
    st.text(characters, max_size=12),
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30]),
    st.integers(),
    st.floats(),
)
values = st.recursive(
    st.one_of(st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)
json_values = st.one_of(st.none(), values)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a scene, and a folder with two frames."""
    folder = tmp_path / "here"
    card(folder / "a.testcard", "1-2")
    (folder / "out" / "frames").mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "out" / "frames" / f"a.{number:04d}.png")
    config.user_file().parent.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def told(*argv: object) -> int:
    """The exit code of a command line that ended as one should."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(each) for each in argv])
    assert "itself failed" not in err.getvalue(), err.getvalue()
    assert "Traceback" not in err.getvalue()
    assert code in (0, 1, 2, 3)
    assert code == 0 or err.getvalue() or out.getvalue()
    return code


def tried(examples: int, strategy: st.SearchStrategy[Any], look: Callable[[Any], object]) -> None:
    """Look at so many values of a kind."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.nested_given]

    @settings(max_examples=examples, deadline=None, suppress_health_check=checks, database=None)
    @given(strategy)
    def run(value: Any) -> None:
        look(value)

    run()


def toml(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan").replace("\x7f", "\\u007f")


def tables(*keys: str) -> st.SearchStrategy[str]:
    """Lines that set some keys, known ones mostly."""
    known = st.one_of(st.sampled_from(keys), st.text(string.ascii_lowercase, min_size=1, max_size=6))
    lines = st.dictionaries(known, values, max_size=3)
    return lines.map(lambda table: "".join(f"{key} = {toml(value)}\n" for key, value in table.items()))


def mangled(base: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """JSON in which one value is another, or which is cut off, or is none."""

    def changed(path: tuple[Any, ...], value: object) -> bytes:
        data: Any = copy.deepcopy(base)
        inner = data
        for key in path[:-1]:
            inner = inner[key]
        if path:
            inner[path[-1]] = value
        return json.dumps(data if path else value).encode()

    whole = json.dumps(base).encode()
    return st.one_of(
        st.builds(changed, st.sampled_from(list(places(base))), json_values),
        st.integers(0, len(whole)).map(lambda end: whole[:end]),
        st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"fps": ' + b"9" * 5000 + b"}"]),
        st.binary(max_size=40),
    )


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_configuration(examples: int, here: Path) -> None:
    keys = [option.written for option in OPTIONS.values()]
    files = st.builds(
        lambda top, name, pool: f"{top}\n[pools.{name}]\n{pool}",
        tables(*keys, "default_pool"),
        st.sampled_from(["local", "cloud", '""', '"\\u0000"']),
        tables(*POOLS),
    )

    def look(text: str) -> None:
        config.user_file().write_text(text, encoding="utf-8", errors="replace")
        told("pool", "show", "cloud")
        told("submit", "a.testcard", "--dry-run")
        config.user_file().rename(here / "renderfarm.toml")
        told("trust", "--show")
        told("pool", "list")
        (here / "renderfarm.toml").unlink()

    tried(examples, files, look)


def sweep(group: click.Group, *path: str) -> Iterator[list[str]]:
    """Every argument and option of every command with every strange value, the others as they should be."""
    ctx = click.Context(group)
    for name in sorted({*group.list_commands(ctx)} - SERVING):
        command = group.get_command(ctx, name)
        assert command
        if isinstance(command, click.Group):
            yield from sweep(command, *path, name)
            continue
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        options = [each for each in command.params if isinstance(each, click.Option) and not each.is_flag]
        for param, value in itertools.product([*arguments, *options], STRANGE):
            named = [f"{param.opts[-1]}={value}"] if param in options else []
            said = [value if each is param else USUAL.get(each.name or "", "local") for each in arguments]
            yield [*path, name, *TAME.get(" ".join((*path, name)), []), *named, "--", *said]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_arguments_of_commands(examples: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (here / "loop").symlink_to("loop")
    (here / "dangling").symlink_to("nowhere")
    os.mkfifo(here / "pipe")
    tried(examples, st.sampled_from(list(sweep(cli.group))), lambda argv: told(*argv))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_lists_of_shots(examples: int, here: Path) -> None:
    keys = (*OPTIONS, "option", "scene", "video", "priority", "keep", "price_per_hour", "currency")
    files = st.builds(
        lambda top, defaults, shot: f"{top}\n[defaults]\n{defaults}\n[shots.a]\n{shot}",
        tables("output", "keep", "together", "notify", "notify_url"),
        tables(*keys),
        tables(*keys),
    )

    def look(text: str) -> None:
        (here / "shots.toml").write_text(text, encoding="utf-8", errors="replace")
        told("trust", "--show", "shots.toml")
        told("nightly", "check", "shots.toml")
        with contextlib.suppress(RenderfarmError):
            trusted(here / "shots.toml")
        told("nightly", "check", "shots.toml")

    tried(examples, files, look)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_records_of_jobs(examples: int, here: Path) -> None:
    def look(data: bytes) -> None:
        (here / "out" / "job.json").write_bytes(data)
        told("check", "out")
        told("assemble", "out", "o.txt")

    tried(examples, mangled(RECORD), look)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_jobs(examples: int, here: Path) -> None:
    """Records and journals of a job that was really rendered."""
    told("submit", "a.testcard", "-o", "real", "--quiet")
    (record,) = (here / "real" / ".renderfarm").glob("*/job.json")
    journals = sorted(record.parent.glob("journal/*.jsonl"))
    said = [json.loads(line) for journal in journals for line in journal.read_text().splitlines()]
    lines = st.one_of(st.sampled_from(said).flatmap(lambda line: mangled({"x": line})), st.binary(max_size=40))
    torn = st.lists(lines, max_size=4).map(lambda all_: b"".join(_inner(line) + b"\n" for line in all_))
    whole = record.read_bytes()

    def look(changed: tuple[bytes, bytes]) -> None:
        journals[0].write_bytes(changed[0])
        record.write_bytes(changed[1])
        for verb in ("status", "logs", "check"):
            told(verb, "real")
        assert told("jobs") == 0

    tried(examples, st.tuples(torn, st.one_of(st.just(whole), mangled(json.loads(whole)))), look)


def _inner(data: bytes) -> bytes:
    """The line of a journal in JSON that holds one."""
    return data.removeprefix(b'{"x": ').removesuffix(b"}")


@pytest.mark.parametrize("examples", FEW)
def test_records_of_nights(examples: int, here: Path) -> None:
    (here / "shots.toml").write_text('[shots.a]\nscene = "a.testcard"\nvideo = false\n')
    told("nightly", "run", "shots.toml", "--quiet")
    (record,) = (here / "nights").glob("*/night.json")
    kept = record.with_name(".differences.json")
    base = json.loads(record.read_text())
    stories = {"a": {"to": "2026-11-29", "views": [None, None], "frames": {"1": [0.1, True, [1, 2, 3], None]}}}

    def look(changed: tuple[bytes, bytes]) -> None:
        record.write_bytes(changed[0])
        kept.write_bytes(changed[1])
        told("nightly", "report", "shots.toml", "--json")
        told("nightly", "prune", "shots.toml", "--dry-run")
        told("nightly", "run", "shots.toml", "--quiet", "--if-missed", "00:00")

    tried(examples, st.tuples(mangled(base), mangled(stories)), look)


@pytest.mark.parametrize("examples", FEW)
def test_what_a_farm_keeps(examples: int, here: Path) -> None:
    """Cards, tickets, orders, notes of what is trusted and of what was made: cut off, or mangled."""
    told("submit", "a.testcard", "-o", "real", "--quiet", "--no-video")
    (here / "renderfarm.toml").write_text('[pools.local]\ntype = "local"\nworkers = 1\n')
    told("trust", "--yes")
    job = next((here / "real" / ".renderfarm").glob("*/job.json")).parent
    (job / "orders").mkdir(exist_ok=True)
    (farm_home() / "machine").mkdir(exist_ok=True)
    found = [
        *farm_home().glob("jobs/*.json"),
        *farm_home().glob("cache/*/take.json"),
        *config.user_file().parent.glob("trusted/*.json"),
        here / "real" / ".renderfarm" / "made.json",
    ]
    whole = {path: path.read_bytes() for path in found}
    whole |= {
        job / "orders" / "1": b'{"retry": 1}',
        farm_home() / "machine" / "1": b'{"number": 1, "job": "a"}',
    }

    def look(changed: tuple[Path, bytes]) -> None:
        path, data = changed
        path.write_bytes(data)
        assert told("jobs") == 0
        told("status", "real")
        told("trust", "--show")
        told("submit", "a.testcard", "-o", "real", "--quiet", "--no-video")
        path.write_bytes(whole[path])

    one = st.sampled_from(sorted(whole)).flatmap(
        lambda path: st.tuples(st.just(path), mangled(json.loads(whole[path])))
    )
    tried(examples, one, look)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_test_cards(examples: int, here: Path) -> None:
    def look(data: bytes) -> None:
        (here / "b.testcard").write_bytes(data)
        with contextlib.suppress(RenderfarmError):
            renderer("testcard").preread(here / "b.testcard")

    tried(examples, mangled(CARD), look)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_folders_of_frames(examples: int, here: Path) -> None:
    picture = (here / "out" / "frames" / "a.0001.png").read_bytes()
    stems = st.sampled_from([b"a.", b"a", b"", b"\xff.", b"a\n.", b"a.-", "\u0661.".encode()])
    digits = st.one_of(st.integers(-3, 3), st.integers(0, 10**12), st.just(10**180))
    suffixes = st.sampled_from([b".png", b".exr", b".PNG", b".jpg", b".txt"])
    named = st.builds(lambda stem, number, suffix: stem + b"%04d" % number + suffix, stems, digits, suffixes)
    contents = st.one_of(
        st.just(picture), st.integers(0, len(picture)).map(lambda n: picture[:n]), st.just(None)
    )

    def look(files: dict[bytes, bytes | None]) -> None:
        folder = here / "strange"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in files.items():
            path = folder / os.fsdecode(name)
            path.write_bytes(data) if data is not None else path.symlink_to(path)
        told("check", folder)
        told("assemble", folder, "o.txt")

    tried(examples, st.dictionaries(named, contents, max_size=4), look)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_inis(examples: int, here: Path) -> None:
    keys = st.sampled_from(
        ["Width", "Final_Frame", "Input_File_Name", "Library_Path", "Declare", "Include_Ini", "+W"]
    )
    lines = st.builds(lambda key, value: f"{key}={value}", keys, st.one_of(words, numbers))
    texts = st.lists(st.one_of(lines, st.text(characters, max_size=20)), max_size=6).map("\n".join)

    def look(text: str) -> None:
        for name in ("b.ini", "b.pov"):
            (here / name).write_text(text, encoding="utf-8", errors="replace")
            with contextlib.suppress(RenderfarmError):
                renderer("povray").preread(here / name)

    tried(examples, texts, look)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_headers_of_blends(examples: int, here: Path) -> None:
    def look(data: bytes) -> None:
        (here / "b.blend").write_bytes(data)
        with contextlib.suppress(RenderfarmError):
            renderer("blender").preread(here / "b.blend")

    tried(
        examples,
        st.builds(lambda head, rest: head + rest, st.sampled_from(HEADERS), st.binary(max_size=200)),
        look,
    )
