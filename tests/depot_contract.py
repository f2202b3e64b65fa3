"""What every depot must do, wherever it lies: one suite, put to each through the fixture `depot`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from renderfarm.depots import Depot, frame_name


def test_what_was_put_is_what_one_reads_and_gets(depot: Depot, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"\0bytes")
    depot.put("frames/0001.1.png", source)
    depot.put("in/a b#?%+ä.json", b"text")
    assert depot.read("frames/0001.1.png") == b"\0bytes"
    assert depot.read("in/a b#?%+ä.json") == b"text"
    depot.get("frames/0001.1.png", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"\0bytes"
    assert source.exists()


def test_a_file_that_one_got_may_be_renamed_away_and_got_again(depot: Depot, tmp_path: Path) -> None:
    depot.put("frames/0001.1.png", b"picture")
    for name in ("one", "two"):
        depot.get("frames/0001.1.png", tmp_path / "here.png")
        (tmp_path / "here.png").rename(tmp_path / name)
    depot.get("frames/0001.1.png", tmp_path / "one")
    assert (tmp_path / "two").read_bytes() == b"picture"


def test_a_receipt_comes_with_its_file_and_only_with_it(depot: Depot) -> None:
    line = '{"frame":1,"node":"Überlauf ☂"}'
    depot.put(frame_name(1, 1, "png"), b"picture", line)
    depot.put(frame_name(2, 1, "png"), b"picture")
    assert depot.receipt(frame_name(1, 1, "png")) == line
    assert depot.receipt(frame_name(2, 1, "png")) == ""
    assert depot.receipt(frame_name(3, 1, "png")) is None


def test_a_file_that_is_put_twice_has_the_later_bytes(depot: Depot) -> None:
    depot.put("frames/0001.1.png", b"first one", "1")
    depot.put("frames/0001.1.png", b"second", "2")
    assert (depot.read("frames/0001.1.png"), depot.receipt("frames/0001.1.png")) == (b"second", "2")


def test_what_is_not_there_is_neither_read_nor_got(depot: Depot, tmp_path: Path) -> None:
    for ask in (lambda: depot.read("never"), lambda: depot.get("never", tmp_path / "x")):
        with pytest.raises(FileNotFoundError):
            ask()
    assert not list(tmp_path.glob("x*"))


def test_a_listing_has_names_and_sizes_and_nothing_else(depot: Depot) -> None:
    for name in ("frames/0002.1.png", "frames/0001.1.png", "journal/n.jsonl"):
        depot.put(name, name.encode(), "receipt")
    assert list(depot.list("frames/")) == [("frames/0001.1.png", 17), ("frames/0002.1.png", 17)]
    assert list(depot.list("frames/0001")) == [("frames/0001.1.png", 17)]
    assert list(depot.list("nothing/")) == []


def test_lines_are_added_at_the_end_and_read_from_a_place_on(depot: Depot) -> None:
    depot.append("journal/n.jsonl", b"one\n")
    depot.append("journal/n.jsonl", b"two\n")
    assert depot.read("journal/n.jsonl") == b"one\ntwo\n"
    assert depot.read("journal/n.jsonl", 4) == b"two\n"
    assert depot.read("journal/n.jsonl", 8) == b""


def test_what_is_removed_is_gone_with_its_receipt_and_may_be_removed_again(depot: Depot) -> None:
    for name in ("frames/0001.1.png", "frames/0002.1.png", "other/x"):
        depot.put(name, b"x", "receipt")
    depot.remove("frames/0001")
    assert [name for name, _ in depot.list("frames/")] == ["frames/0002.1.png"]
    for _ in range(2):
        depot.remove("frames/")
    assert depot.receipt("frames/0002.1.png") is None
    assert depot.read("other/x") == b"x"


def test_many_may_put_the_same_file_at_once_and_it_is_whole(depot: Depot) -> None:
    data = bytes(range(256)) * 400
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: depot.put("frames/0001.1.png", data, "r"), range(12)))
    assert depot.read("frames/0001.1.png") == data
    assert [name for name, _ in depot.list("frames/")] == ["frames/0001.1.png"]
