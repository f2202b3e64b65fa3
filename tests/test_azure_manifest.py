"""What a project consists of: as JSON and back, and what no manifest may say."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile, checked, from_json
from renderfarm.words.as_json import to_json

HASH = "ab" * 32
FILE = ManifestFile("shots/scene.blend", HASH, 7)
GOOD = Manifest("/home/ann/project", "shots/scene.blend", (FILE, ManifestFile("textures/a b.png", "0" * 64, 0)))

PARTS = (
    st.lists(st.integers(1, 255).filter(lambda byte: byte != ord("/")), min_size=1, max_size=6)
    .map(lambda name: os.fsdecode(bytes(name)))
    .filter(lambda part: part not in (".", ".."))
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def with_path(path: str) -> Manifest:
    return Manifest("/p", path, (ManifestFile(path, HASH, 1),))


def test_a_manifest_comes_back_from_its_json() -> None:
    assert from_json(to_json(GOOD)) == GOOD


@given(PATHS)
def test_any_name_that_a_file_may_have_comes_back(path: str) -> None:
    assert from_json(to_json(with_path(path)).encode("ascii")) == with_path(path)


def test_a_name_that_is_no_utf8_comes_back() -> None:
    assert from_json(to_json(with_path("caf\udce9.png"))).scene == "caf\udce9.png"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../a", "a/../../b", "a/..", "..", ".", "a/./b", "a//b", "a/", "", "a\0b", "/"]
)
def test_a_path_that_leaves_the_project_or_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no path inside"):
        checked(with_path(path))


@given(st.text(st.sampled_from("a./\0"), max_size=8))
def test_no_path_that_passes_leads_out_of_the_project_folder(path: str) -> None:
    try:
        checked(with_path(path))
    except ValueError:
        return
    parts = PurePosixPath("/p", path).parts
    assert parts[:2] == ("/", "p")
    assert len(parts) > 2
    assert ".." not in parts


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scene": "other.blend"}, "scene"),
        *(
            ({"files": (dataclasses.replace(FILE, sha256=name),)}, "SHA-256")
            for name in ("", "ab", "g" * 64, "AB" * 32, "ab" * 33, "../" + "a" * 61)
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked(dataclasses.replace(GOOD, **changes))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"root":"/p","scene":"s","files":3}', '{"root":1,"scene":"s","files":[1]}'],
)
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        from_json(text)


def test_what_a_newer_writer_adds_does_no_harm() -> None:
    newer = {**json.loads(to_json(GOOD)), "more": 1}
    assert from_json(json.dumps(newer)) == GOOD
