"""The list of shots: what it can say, and how its mistakes are told."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.errors import ConfigError, InputError
from renderfarm.nightly import planner, shots
from renderfarm.nightly.model import Shot, ShotList
from renderfarm.nightly.planner import Prospect
from tests.farm_runs import card
from tests.trusting import trusted


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def listed(folder: Path, text: str) -> ShotList:
    path = folder / "shots.toml"
    path.write_text(text)
    return shots.read(trusted(path))


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        listed(folder, text)
    return caught.value.message


def one(found: ShotList) -> Shot:
    (shot,) = found.shots
    return shot


def test_a_shot_has_the_defaults_that_it_does_not_change(tmp_path: Path) -> None:
    text = '[defaults]\nsamples = 4\nscale = "50%"\nkeep = 3\n[shots.a]\nscene = "a.blend"\nsamples = 9\n'
    shot = one(listed(tmp_path, text))
    assert (shot.name, shot.scene, shot.keep) == ("a", tmp_path / "a.blend", 3)
    assert shot.options["samples"] == 9
    assert shot.options["scale"] == "50%"


def test_shots_come_most_important_first_and_else_in_the_order_of_the_list(tmp_path: Path) -> None:
    tables = "".join(
        f'[shots.{n}]\nscene = "x"\npriority = {p}\n' for n, p in (("a", 0), ("b", 5), ("c", 0), ("d", -1))
    )
    assert [shot.name for shot in listed(tmp_path, tables).shots] == ["b", "a", "c", "d"]


def test_options_read_as_on_the_command_line_with_dashes_or_underscores(tmp_path: Path) -> None:
    text = '[shots.a]\nscene = "a.blend"\nview-layer = "Fog"\nscene_name = "Wide"\nallow-missing = true\n'
    options = one(listed(tmp_path, text)).options
    assert (options["view_layer"], options["scene_name"], options["allow_missing"]) == ("Fog", "Wide", True)


def test_a_glob_makes_one_shot_per_scene_and_a_scene_that_is_missing_is_no_mistake(tmp_path: Path) -> None:
    assert one(listed(tmp_path, '[shots.a]\nscene = "nope/*.blend"\n')).scene.name == "*.blend"
    for name in ("b 1", "a"):
        card(tmp_path / "cards" / f"{name}.testcard")
    found = listed(tmp_path, '[shots.seq]\nscene = "cards/*.testcard"\nframes = "1-3"\n')
    assert [(s.name, s.scene.name, s.frames) for s in found.shots] == [
        ("seq-a", "a.testcard", "1-3"),
        ("seq-b_1", "b 1.testcard", "1-3"),
    ]


def test_files_are_found_from_the_list_and_not_from_where_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "tone.wav").touch()
    text = 'output = "out"\n[shots.a]\nscene = "a.blend"\naudio = "tone.wav"\nblender = "bin/blender"\n'
    found = listed(tmp_path / "lists", text)
    assert found.output == tmp_path / "lists" / "out"
    assert one(found).options["audio"] == str(tmp_path / "lists" / "tone.wav")
    assert one(found).options["blender"] == str(tmp_path / "lists" / "bin/blender")


def test_what_renderfarm_toml_says_is_under_what_the_list_says(tmp_path: Path) -> None:
    (tmp_path / "renderfarm.toml").write_text("samples = 7\nretries = 5\noutput = 'elsewhere'\n")
    found = listed(tmp_path, '[shots.a]\nscene = "a.blend"\nsamples = 1\n')
    assert found.output == tmp_path / "nights"
    assert (one(found).options["samples"], one(found).options["retries"]) == (1, 5)


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
togehter = 3
keep = 0
[defaults]
samples = "many"
[shots.a]
scene = "a.blend"
resoluton = "64x64"
frames = "9-1"
[shots."b/c"]
scene = "b.blend"
video = "yes"
[shots.d]
priority = 1.5
pool = "clowd"
"""
    message = refused(tmp_path, text)
    for line, word in (
        (1, "Did you mean 'together'?"),
        (2, "keep: keep must be at least 1, not 0."),
        (4, "'many' is not a whole number for samples."),
        (7, "Did you mean 'resolution'?"),
        (8, "runs backwards"),
        (9, "'b/c' can't name a folder"),
        (11, "video: 'yes' is neither true nor false."),
        (12, "shot 'd' has no scene"),
        (13, "priority: 1.5 is not a whole number for priority."),
        (14, "There is no pool 'clowd'."),
    ):
        assert any(f"line {line}: " in row and word in row for row in message.splitlines()), (
            line,
            word,
            message,
        )
    assert "10 mistakes" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[shots.a]\nscene = "a\n', "at line 2"),
        ("keep = 3\n", "there are no shots"),
        (
            '[shots.a]\nscene = "*.testcard"\n[shots.a-x]\nscene = "x.testcard"\n',
            "two shots would be called 'a-x'",
        ),
        ('[shots.a]\nscene = "a.blend"\ncodec = "vp9"\n', "can't hold vp9"),
        ('notify_url = "ftp://host/x"\n[shots.a]\nscene = "a"\n', "is no http or https address"),
    ],
)
def test_a_list_that_makes_no_sense_says_why(tmp_path: Path, text: str, told: str) -> None:
    card(tmp_path / "x.testcard")
    assert told in refused(tmp_path, text)


# What fits into a night

PROSPECTS = st.lists(
    st.builds(
        lambda total, left, seconds: (total, min(total, left), seconds),
        st.integers(1, 300),
        st.integers(1, 300),
        st.none() | st.floats(0, 60),
    ),
    min_size=1,
    max_size=6,
)


@given(PROSPECTS, st.floats(0, 20000))
def test_turns_never_take_more_time_or_frames_than_there_are(
    shapes: list[tuple[int, int, float | None]], time: float
) -> None:
    prospects = [Prospect(str(n), *shape) for n, shape in enumerate(shapes)]
    by_name = {each.name: each for each in prospects}
    fitting = planner.forecast(prospects, time)
    assert all(0 <= count <= by_name[name].left for name, count in fitting.items())
    taken = sum(count * (by_name[name].seconds or 0.0) for name, count in fitting.items())
    assert taken <= time + 1e-6


@given(PROSPECTS)
def test_everything_is_done_where_there_is_no_limit_of_time(
    shapes: list[tuple[int, int, float | None]],
) -> None:
    prospects = [Prospect(str(n), *shape) for n, shape in enumerate(shapes)]
    assert planner.forecast(prospects, float("inf")) == {each.name: each.left for each in prospects}


def test_every_shot_gets_something_before_the_most_important_is_finished() -> None:
    prospects = [Prospect("first", 80, 80, 1.0), Prospect("second", 80, 80, 1.0)]
    turns = planner.turns(prospects, 100)
    assert turns == [("first", 10), ("second", 10), ("first", 70), ("second", 10)]


@pytest.mark.parametrize("each", [None, 0.0, 3.0])
@pytest.mark.parametrize("time", [0.0, -5.0])
def test_nothing_fits_where_no_time_is_left(each: float | None, time: float) -> None:
    assert planner.turns([Prospect("a", 80, 80, each)], time) == []


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (None, "about 80 of the 160 frames that are left fit until 07:00: a is not measured yet, b 80 of 80"),
        (1.0, "about 100 of the 160 frames that are left fit until 07:00: a 80 of 80, b 20 of 80"),
    ],
)
def test_what_fits_is_said_shot_by_shot_and_nothing_promised_of_what_was_never_measured(
    first: float | None, said: str
) -> None:
    prospects = [Prospect("a", 80, 80, first), Prospect("b", 80, 80, 1.0)]
    assert planner.told(prospects, planner.forecast(prospects, 100), "07:00") == said


def test_a_time_of_day_is_the_next_one() -> None:
    evening = datetime(2026, 11, 20, 22, 0).astimezone()
    assert planner.moment("07:00", evening) == evening + timedelta(hours=9)
    assert planner.moment("22:30", evening) == evening + timedelta(minutes=30)
    assert planner.moment("5h", evening) == evening + timedelta(hours=5)
    assert planner.last("02:00", evening) == evening - timedelta(hours=20)


@pytest.mark.parametrize("text", ["24:00", "soon", "07:60", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    evening = datetime(2026, 11, 20, 22, 0).astimezone()
    with pytest.raises(InputError):
        planner.moment(text, evening)
