"""What `nightly install` writes, what `uninstall` takes away, and nights that were missed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from renderfarm.nightly import planner
from tests.farm_runs import Done, ended, start
from tests.nights import Project

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$RECORD/systemctl.log"
case "$*" in
*show-environment) exit $SYSTEMD;;
*"$REFUSE"*) test -z "$REFUSE" || { echo refused >&2; exit 1; };;
esac
"""
CRONTAB = """#!/bin/sh
case "$1" in
-l) test -f "$RECORD/crontab" && cat "$RECORD/crontab" || { echo "no crontab for me" >&2; exit 1; };;
-r) rm -f "$RECORD/crontab";;
-) cat > "$RECORD/crontab";;
esac
"""


def an_hour_ago() -> str:
    """A time of day."""
    return f"{datetime.now().astimezone() - timedelta(hours=1):%H:%M}"


class Desk(Project):
    """A project on a machine with stand-ins for systemctl and crontab that write down what they are told."""

    def __init__(self, folder: Path, *, systemd: bool, cron: bool = True) -> None:
        super().__init__(folder)
        self.record_folder = folder / "record"
        programs = folder / "bin"
        for where in (self.record_folder, programs):
            where.mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("crontab", CRONTAB if cron else "")):
            if text:
                (programs / name).write_text(text)
                (programs / name).chmod(0o755)
        for name in ("sh", "env", "cat", "rm", "test", "ffmpeg", "ffprobe", "bwrap"):
            (programs / name).symlink_to(shutil.which(name) or name)
        self.machine = {
            "PATH": str(programs),
            "HOME": str(folder / "me"),
            "RECORD": str(self.record_folder),
            "SYSTEMD": "0" if systemd else "1",
            "REFUSE": "",
            "RENDERFARM_BATCH_KEY": "not for a file",
        }
        self.card("a")
        self.write(a={"scene": "a.testcard"})

    def call(self, *argv: object, **environment: str) -> Done:
        return self.nightly(*argv, **{**self.machine, **environment})

    @property
    def units(self) -> list[Path]:
        return sorted((self.farm.folder / "xdg" / "systemd" / "user").glob("*"))

    @property
    def crontab(self) -> str:
        path = self.record_folder / "crontab"
        return path.read_text() if path.exists() else ""

    @property
    def said_to_systemd(self) -> str:
        path = self.record_folder / "systemctl.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, systemd=True)


@pytest.fixture
def old_desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, systemd=False)


def test_install_writes_a_timer_that_catches_up_and_shows_it(desk: Desk) -> None:
    done = desk.call("install", desk.list, "--at", "2:00", "--finish-by", "07:00")
    assert done.code == 0, done.err
    service, timer = (path.read_text() for path in desk.units)
    assert "OnCalendar=*-*-* 02:00:00" in timer
    assert "Persistent=true" in timer
    assert f'"nightly" "run" "{desk.list}" "--quiet" "--finish-by" "07:00"' in service
    assert f"WorkingDirectory={desk.folder}" in service
    assert service in done.out
    assert timer in done.out
    assert f"enable --now {desk.units[1].name}" in desk.said_to_systemd


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_what_is_written(desk: Desk) -> None:
    folder = desk.folder / 'a 100% "odd" $place\\'
    folder.mkdir()
    desk.list = Path(shutil.copy(desk.list, folder))
    assert desk.call("install", desk.list, "--at", "02:00").code == 0
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *map(str, desk.units)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "renderfarm" in line]
    assert not ours, done.stderr


def test_installing_again_replaces_what_was_there_and_writes_no_keys_of_accounts(
    desk: Desk, tmp_path: Path
) -> None:
    desk.call("install", desk.list, "--at", "02:00")
    desk.call("install", desk.list, "--at", "23:30", RENDERFARM_RETRIES="3")
    service, timer = (path.read_text() for path in desk.units)
    assert "02:00" not in timer
    assert "OnCalendar=*-*-* 23:30:00\n" in timer
    assert "OnCalendar=*-*-* 00:30:00\n" in timer, "for nights on which the clock skips an hour"
    assert '"--if-missed" "23:30"' in service
    assert "RENDERFARM_RETRIES=3" in service
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"not for a file" in path.read_bytes()]


def test_uninstall_removes_exactly_what_install_wrote(desk: Desk) -> None:
    assert "Nothing was installed" in desk.call("uninstall", desk.list).out
    desk.call("install", desk.list, "--at", "02:00")
    name = desk.units[0].stem
    other = desk.units[0].with_name("renderfarm-nightly-other.timer")
    other.write_text("mine")
    assert desk.call("uninstall", desk.list).code == 0
    assert desk.units == [other]
    assert f"disable --now {name}.timer" in desk.said_to_systemd


def test_a_timer_that_systemd_refuses_leaves_nothing(desk: Desk) -> None:
    done = desk.call("install", desk.list, "--at", "02:00", REFUSE="enable")
    assert done.code == 3
    assert "refused" in done.err
    assert desk.units == []


@pytest.mark.parametrize("text", ["25:00", "2", "02:00:00", "night", "02:00"])
def test_neither_what_is_no_time_of_day_nor_a_list_with_mistakes_is_installed(desk: Desk, text: str) -> None:
    if text == "02:00":
        desk.write(a={"scne": "a.testcard"})
    assert desk.call("install", desk.list, "--at", text).code == 2
    assert desk.units == []


def test_without_systemd_a_line_goes_into_the_crontab_and_leaves_it_as_it_was(old_desk: Desk) -> None:
    before = "# mine\n5 5 * * * mine"
    (old_desk.record_folder / "crontab").write_text(before)
    for at in ("03:00", "02:15"):
        done = old_desk.call("install", old_desk.list, "--at", at)
        assert done.code == 0, done.err
    lines = old_desk.crontab.splitlines()
    assert (lines[:2], old_desk.crontab.count("--if-missed")) == (before.splitlines(), 1)
    assert lines[3].startswith("15 * * * * env -C ")
    assert lines[3].endswith("--if-missed 02:15")
    assert "\n".join(lines[2:]) in done.out
    assert old_desk.call("uninstall", old_desk.list).code == 0
    assert old_desk.crontab.rstrip("\n") == before


def test_where_there_is_neither_the_command_to_call_is_told(tmp_path: Path) -> None:
    bare = Desk(tmp_path, systemd=False, cron=False)
    done = bare.call("install", bare.list, "--at", "02:00")
    assert done.code == 3
    assert f"nightly run {bare.list}" in done.err


def test_the_line_in_the_crontab_runs_the_list_once_a_night(old_desk: Desk) -> None:
    old_desk.call("install", old_desk.list, "--at", an_hour_ago())
    line = re.sub(r"--installed \d+", "--installed 2025", old_desk.crontab.splitlines()[1].split(maxsplit=5)[5])
    for _ in range(2):
        assert ended(start(["/bin/sh", "-c", line], env={"PATH": "/usr/bin:/bin"})).code == 0
    assert old_desk.rendered() == {"a": 4}
    assert shlex.split(line)[0] == "env"


def test_a_missed_night_is_caught_up_once(old_desk: Desk) -> None:
    now = datetime.now().astimezone()
    assert old_desk.run("--if-missed", f"{now - timedelta(minutes=2):%H:%M}").code == 0
    assert old_desk.rendered() == {"a": 4}
    started = old_desk.record()["started"]
    done = old_desk.run("--if-missed", f"{now - timedelta(minutes=2):%H:%M}")
    assert "Nothing was missed" in done.err
    assert old_desk.record()["started"] == started
    assert old_desk.run("--if-missed", f"{now - timedelta(minutes=2):%H:%M}", day=1).code == 0
    assert len(old_desk.nights) == 2


def test_a_night_that_somebody_ran_by_hand_before_is_run_once_more_and_no_more(old_desk: Desk) -> None:
    assert old_desk.run().code == 0
    night = old_desk.nights[0] / "night.json"
    record = old_desk.record()
    then = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    night.write_text(json.dumps(record | {"started": then, "begun": then}))
    argv = ("--if-missed", an_hour_ago())
    assert "Nothing was missed" not in old_desk.run(*argv).err
    assert "Nothing was missed" in old_desk.run(*argv).err


def test_nights_before_a_list_was_installed_were_not_missed(old_desk: Desk) -> None:
    old_desk.call("install", old_desk.list, "--at", an_hour_ago())
    argv = shlex.split(old_desk.crontab.splitlines()[1])
    more = argv[argv.index("--installed") :]
    assert "Nothing was missed" in old_desk.run(*more).err
    assert old_desk.run(*more, day=1).code == 0
    assert old_desk.rendered() == {"a": 4}


STRANGE = ("a\nb", "a\rb", "a\x0bb", "a\x1bb")


@pytest.mark.parametrize(("name", "systemd"), [*((name, True) for name in STRANGE), (STRANGE[0], False)])
def test_a_line_end_in_a_path_or_variable_reaches_no_timer(name: str, systemd: bool, tmp_path: Path) -> None:
    desk = Desk(tmp_path, systemd=systemd)
    folder = desk.folder / name
    folder.mkdir()
    listed = Path(shutil.copy(desk.list, folder))
    for done in (
        desk.call("install", listed, "--at", "02:00"),
        desk.call("install", desk.list, "--at", "02:00", RENDERFARM_CAMERA=name),
    ):
        assert (done.code, "can't be told" in done.err) == (2, True)
    assert (desk.units, desk.crontab) == ([], "")


def test_a_percent_sign_which_cron_takes_for_a_line_end_reaches_no_crontab(old_desk: Desk) -> None:
    done = old_desk.call("install", old_desk.list, "--at", "02:00", RENDERFARM_SCALE="50%")
    assert (done.code, "RENDERFARM_SCALE has a %" in done.err) == (2, True)
    assert old_desk.crontab == ""


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00+00:00")


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("clock", "now", "due"),
    [
        ("02:30", "2026-03-29T00:45", "2026-03-28T01:30"),  # 01:45 in winter time
        ("02:30", "2026-03-29T01:30", "2026-03-29T01:30"),  # 03:30: there was no 02:30
        ("02:30", "2026-10-25T00:30", "2026-10-25T00:30"),  # 02:30 for the first time
        ("02:30", "2026-10-25T01:30", "2026-10-25T00:30"),  # 02:30 again
        ("02:30", "2026-10-26T01:00", "2026-10-25T00:30"),
        ("22:00", "2026-10-26T01:00", "2026-10-25T21:00"),
    ],
)
def test_a_night_is_due_once_however_the_clock_moves(clock: str, now: str, due: str) -> None:
    assert planner.last(clock, utc(now)) == utc(due)


@pytest.mark.usefixtures("berlin")
def test_a_limit_is_the_time_on_the_wall_of_the_next_morning() -> None:
    assert planner.moment("07:00", utc("2026-10-24T20:00")) == utc("2026-10-25T06:00")
    assert planner.moment("07:00", utc("2026-03-28T20:00")) == utc("2026-03-29T05:00")
