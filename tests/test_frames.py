"""Frame ranges: what artists type, walked lazily in either order, and the names of frame files."""

from __future__ import annotations

import tracemalloc
from itertools import islice, pairwise

import fileseq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.errors import FramesError
from renderfarm.words.frames import PROGRESSIVE, SEQUENTIAL, compact, frame_name, frame_number, ordered, parse

NUMBERS = st.integers(-200, 200)


@st.composite
def parts(draw: st.DrawFn) -> str:
    """One part of a range in fileseq's grammar."""
    low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
    step = draw(st.sampled_from(["", "x1", "x2", "x7", "y3", ":3"]))
    span = f"{low}-{high}{step}" if low < high else f"{low}-{high}"
    return draw(st.sampled_from([f"{low}", span]))


RANGES = st.lists(parts(), min_size=1, max_size=4).map(",".join)


def refused(text: str) -> FramesError:
    with pytest.raises(FramesError) as caught:
        parse(text)
    return caught.value


@given(RANGES, NUMBERS)
def test_a_range_has_just_the_frames_that_fileseq_sees_in_it(text: str, frame: int) -> None:
    frames, seen = parse(text), list(fileseq.FrameSet(text))
    assert list(frames) == list(ordered(frames, SEQUENTIAL)) == list(parse(frames.text)) == seen
    assert (len(frames), frames.first, frames.last) == (len(set(seen)), min(seen), max(seen))
    assert (frame in frames) == (frame in seen)


@given(st.sets(NUMBERS, min_size=1))
def test_compact_text_parses_to_the_frames_ascending(numbers: set[int]) -> None:
    assert list(parse(compact(numbers))) == sorted(numbers)
    assert (compact([]), compact([9, 3, 2, 1])) == ("", "1-3,9")


@pytest.mark.parametrize("text", ["", "   ", ",", " , ,", "5-5y3"])
def test_an_empty_range_is_refused(text: str) -> None:
    assert "empty" in refused(text).message


@pytest.mark.parametrize("text", ["10-1", "5--5", "-5--10", "1-5,20-10", "10-1x-1"])
def test_a_reversed_range_is_refused_with_the_right_one_in_the_hint(text: str) -> None:
    error = refused(text)
    assert "backwards" in error.message
    assert "--order progressive" in error.hint


@pytest.mark.parametrize(
    "text", ["abc", "1-", "--5", "1-10x0", "1..5", "1;5", "1-2-3", "1-5z2", "\n", "1-\x00"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("text", ["0.5-2", "1-3x0.5", "1.5"])
def test_fractions_of_frames_are_refused(text: str) -> None:
    assert "fraction" in refused(text).message


@pytest.mark.parametrize("text", ["1-10000001", "1-9000000,-9000000--1", "1-9000000:2", "1-9000000y2"])
def test_an_enormous_range_is_refused_with_a_way_out(text: str) -> None:
    assert "in parts" in refused(text).hint


@pytest.mark.parametrize("text", ["99999999999999999999", "1,-99999999999999999999", "2147483648"])
def test_a_frame_number_that_no_renderer_has_is_refused(text: str) -> None:
    refused(text)


def test_a_blank_between_numbers_is_not_swallowed() -> None:
    refused("1 5")
    refused("1\t5")


def test_blanks_around_signs_do_not_matter() -> None:
    assert list(parse(" 1 - 3 , 7 ")) == [1, 2, 3, 7]


@pytest.mark.parametrize("order", [SEQUENTIAL, PROGRESSIVE])
@pytest.mark.parametrize("text", ["1-10000000", "-4000000-0,2000000-5000000x2"])
def test_ten_million_frames_are_planned_in_hardly_any_memory(text: str, order: str) -> None:
    parse("1")
    tracemalloc.start()
    frames = parse(text)
    begin = list(islice(ordered(frames, order), 100))
    (first, last), (_, peak) = (frames.first, frames.last), tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (begin[0], first < last) == (frames[0], True)
    assert peak < 1 << 20


@given(st.integers(1, 3000))
def test_progressive_order_has_every_frame_once(count: int) -> None:
    assert sorted(ordered(parse(f"1-{count}"), PROGRESSIVE)) == list(range(1, count + 1))


def test_progressive_order_begins_with_first_last_and_middle() -> None:
    assert list(ordered(parse("1-9"), PROGRESSIVE))[:5] == [1, 9, 5, 3, 7]


@given(st.integers(2, 3000), st.floats(0.01, 1.0))
def test_progressive_order_shows_the_whole_motion_at_any_moment(count: int, share: float) -> None:
    shown = max(2, int(count * share))
    frames = sorted(islice(ordered(parse(f"1-{count}"), PROGRESSIVE), shown))
    gaps = [after - before for before, after in pairwise(frames)]
    # Each round of bisecting halves the gaps; a round that is under way leaves some of the double width.
    assert max(gaps) <= 4 * (count - 1) / (shown - 1) + 1


@pytest.mark.parametrize(
    ("frame", "name"),
    [(1, "0001"), (0, "0000"), (-5, "-0005"), (12345, "12345"), (-12345, "-12345")],
)
def test_frame_numbers_are_padded_behind_their_sign(frame: int, name: str) -> None:
    assert frame_number(frame) == name


@given(
    st.sets(st.integers(0, 20000), min_size=2, max_size=30) | st.sets(st.integers(-2000, -1), min_size=2),
    st.text("abcXYZ_ é", min_size=1, max_size=8),
)
def test_fileseq_finds_the_sequence_that_the_names_make(numbers: set[int], stem: str) -> None:
    names = [frame_name(stem, number, "png") for number in numbers]
    (found,) = fileseq.findSequencesInList(names)
    assert sorted(found.frameSet()) == sorted(numbers)
