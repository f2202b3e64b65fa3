"""Journals: lines that survive their writer, and that nothing in them can break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import fill_disk
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.job.events import Begun, Noted, Saw
from renderfarm.job.journal import MOST_BYTES, PIECE_BYTES, Journal, Reader, entry, line
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered


def told(folder: Path, *events: object, name: str = "farm", now: float | None = None) -> None:
    """Add events to a journal."""
    journal = Journal(folder, name)
    journal.add(*events, now=now)
    journal.close()


def heard(reader: Reader) -> list[object]:
    return [entry.event for entry in reader.news()]


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    events = [Begun(), Rendered(1, "a.png", 1.5), Failed(2, Reason.CRASH, "died")]
    told(tmp_path, *events)
    assert heard(Reader(tmp_path)) == events


def test_only_news_is_read_the_second_time(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    told(tmp_path, Begun())
    assert heard(reader) == [Begun()]
    told(tmp_path, Noted("more"))
    assert heard(reader) == [Noted("more")]
    assert heard(Reader(tmp_path, reader.read)) == []


def test_a_torn_last_line_is_no_event_until_it_is_whole(tmp_path: Path) -> None:
    told(tmp_path, Begun())
    path, whole = tmp_path / "farm.jsonl", line(Noted("torn"), 2.0)
    reader = Reader(tmp_path)
    with path.open("ab") as file:
        file.write(whole[:10])
        file.flush()
        assert heard(reader) == [Begun()]
        file.write(whole[10:])
        file.flush()
        assert heard(reader) == [Noted("torn")]


def test_the_next_writer_closes_a_torn_line_off(tmp_path: Path) -> None:
    told(tmp_path, Begun())
    with (tmp_path / "farm.jsonl").open("ab") as file:
        file.write(b'["Noted",{"no')
    told(tmp_path, Noted("whole"))
    reader = Reader(tmp_path)
    assert heard(reader) == [Begun(), Noted("whole")]


def test_what_the_farm_says_of_very_many_files_is_read_back(tmp_path: Path) -> None:
    seen = Saw("f" * 64, {f"{'textures/' * 10}{number}.png": "a" * 64 for number in range(60_000)})
    told(tmp_path, Begun(), seen, Noted("after"))
    assert (tmp_path / "farm.jsonl").stat().st_size > PIECE_BYTES
    assert heard(Reader(tmp_path)) == [Begun(), seen, Noted("after")]
    told(tmp_path / "more", seen, name="w1")
    told(tmp_path / "more", Noted("after"), name="w1")
    assert heard(Reader(tmp_path / "more")) == [Noted("after")]


def test_no_journal_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("mine")
    (tmp_path / "farm.jsonl").symlink_to(tmp_path / "own")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(tmp_path, "farm")
    assert (tmp_path / "own").read_text() == "mine"


def test_what_a_full_disk_took_half_of_spoils_no_later_word(tiny_disk: Path) -> None:
    journal, filler = Journal(tiny_disk, "farm"), tiny_disk / "filler"
    fill_disk(filler)
    with pytest.raises(OSError, match="No space left"):
        journal.add(Noted("x" * 10_000))
    filler.unlink()
    journal.add(Begun())
    journal.close()
    assert (tiny_disk / "farm.jsonl").stat().st_size > 4000
    assert heard(Reader(tiny_disk)) == [Begun()]


def test_words_of_several_writers_come_by_their_time(tmp_path: Path) -> None:
    told(tmp_path, Noted("third"), name="a", now=3.0)
    told(tmp_path, Noted("first"), name="b", now=1.0)
    told(tmp_path, Noted("second"), name="c", now=2.0)
    assert heard(Reader(tmp_path)) == [Noted("first"), Noted("second"), Noted("third")]


def test_a_clock_that_is_set_back_does_not_turn_a_writers_words_around(tmp_path: Path) -> None:
    told(tmp_path, Noted("one"), now=5.0)
    told(tmp_path, Noted("two"), now=3.0)
    assert heard(Reader(tmp_path)) == [Noted("one"), Noted("two")]


def test_a_folder_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert Reader(tmp_path / "none").news() == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"7",
        b'["Tomorrow",{},1]',
        b'["Begun",{},"now"]',
        b'["Delivered",{"frame":"1","attempt":1,"size":1,"mtime":1},1]',
        b'["Delivered",{"frame":1},1]',
        b"[" * 100_000,
        b'["Noted",{"note":"' + b"x" * MOST_BYTES + b'"},1]',
        b"\xff\xfe",
    ],
)
def test_a_line_that_is_none_of_ours_is_no_event(text: bytes) -> None:
    assert entry(text) is None


@pytest.mark.parametrize("opened", [["relative"], ["/nul\0"], [7], [["/"]], "/file", None])
def test_what_a_node_saw_counts_only_where_all_are_names_of_files(opened: object) -> None:
    seen = {"name": "seen", "opened": opened, "absent": ["/there"]}
    told = entry(
        json.dumps(["Failed", {"frame": 1, "reason": "crash", "message": "", "observed": seen}, 1]).encode()
    )
    assert told is None or told.event == Failed(1, Reason.CRASH, "")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_json_breaks_the_reader(value: object) -> None:
    entry(json.dumps(["Delivered", value, 1]).encode())


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(text: bytes) -> None:
    entry(text)
