"""What comes from outside becomes a dataclass only when its fields have their types."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from renderfarm.job.fingerprint import Ingredients
from renderfarm.words.as_json import decode, encode, read_json, to_json
from renderfarm.words.request import Request, Sandbox, Settings
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Observed, Rendered
from renderfarm.words.work import Task


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Task, {"frames": "1-3"}),
        (Task, {"frames": [1, "2"]}),
        (Task, {"frames": [True]}),
        (Task, {"attempt": 1}),
        (Task, []),
        (Task, None),
        (Rendered, {"frame": 1, "path": 7, "seconds": 1}),
        (Rendered, {"frame": 1, "path": "a", "seconds": "1"}),
        (Rendered, {"frame": 1.0, "path": "a", "seconds": 1}),
        (Rendered, {"frame": 1, "path": "a", "seconds": 1, "observed": {"name": "a", "opened": "none"}}),
        (Failed, {"frame": 1, "reason": "no such reason", "message": ""}),
        (Settings, {"resolution": [640]}),
        (Settings, {"options": ["a"]}),
        (Settings, {"options": {"a": 1}}),
        (Request, {"scene": "a", "output": "b", "settings": "fast"}),
        (Request, {"scene": "a\0", "output": "b"}),
        (Request, {"scene": "a", "output": "b", "fps": float("nan")}),
        (Request, {"scene": "a", "output": "b", "fps": float("inf")}),
        (Settings, {"options": {"\ud800": "a"}}),
    ],
)
def test_a_value_of_another_type_is_refused(kind: type, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(kind, value)


@pytest.mark.parametrize(
    "value",
    [
        Task((1, 2), 3),
        Rendered(1, "a.png", 2, observed=Observed("a", ("pale", "thin"))),
        Failed(1, Reason.CRASH, "died"),
        Request("a", "b", settings=Settings((640, 360), options={"x": "y"}), sandbox=Sandbox.OFF, fps=25),
    ],
)
def test_what_was_encoded_comes_back(value: Any) -> None:
    assert decode(type(value), json.loads(json.dumps(encode(value)))) == value


@pytest.mark.parametrize("text", [b"[" * 100_000, "[" * 100_000, b"", b"\xff", "9" * 5000], ids=range(5))
def test_a_text_that_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(Task, text)


def test_a_name_that_is_not_utf_8_comes_back() -> None:
    task = Request(os.fsdecode(b"/caf\xe9.blend"), "b")
    assert read_json(Request, to_json(task)) == task


def test_a_key_of_a_newer_writer_is_ignored() -> None:
    assert decode(Task, {"frames": [1], "mood": "good"}) == Task((1,))


@pytest.mark.parametrize("assets", [{"a.png": 7}, ["a.png"], "a.png"])
def test_a_mapping_is_decoded_by_the_types_of_its_items(assets: Any) -> None:
    value = encode(Ingredients(3, "shot", "abc", "1-8", "x", "y"))
    with pytest.raises(ValueError, match=r"."):
        decode(Ingredients, {**value, "assets": assets})
