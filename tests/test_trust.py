"""What a stranger's project may do to whoever enters its folder: say how to render, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from renderfarm.errors import ConfigError
from renderfarm.nightly import shots
from renderfarm.settings import config, trust
from tests.farm_runs import Farm, card
from tests.trusting import trusted

HOW = """\
frames = "1-4"
output = "out"
video = "out/draft.webm"
chunk = 2
order = "progressive"
workers = 2
format = "exr"
resolution = "64x36"
scale = 50
samples = 4
camera = "Left"
scene = "Two"
view_layer = "Fog"
engine = "CYCLES"
option = ["Antialias=on", "seed=3", "Declare=x=1"]
fps = 12
crf = 20
codec = "vp9"
missing = "hold"
retries = 1
timeout = "10m"
allow_missing = true
no_reuse = true
trust_scripts = false
sandbox = "require"
audio = "tone.wav"
"""
POWERS = (
    'default_pool = "local"',
    "[pools.local]\nworkers = 3",
    '[pools.cloud]\ntype = "azure-batch"\nbatch_url = "https://x.batch.azure.com"',
    'povray = "bin/tool"',
    'povray = "povray"',
    'blender = "/opt/blender/blender"',
    "trust_scripts = true",
    'sandbox = "off"',
    'sandbox = "auto"',
    'after = "delete-pool"',
    "priority = 1000",
    'notify = "desktop"',
    'notify_url = "https://x.example"',
    "workers = 100000",
    'output = "/srv/elsewhere"',
    'output = "../beside"',
    'output = "~/elsewhere"',
    'output = ".git"',
    'video = "/srv/film.mp4"',
    'video = "../film.mp4"',
    'audio = "/etc/passwd"',
    'audio = "../tone.wav"',
    'option = ["Library_Path=/etc"]',
    'option = ["Include_Ini=x.ini"]',
    'option = ["+L/etc=x"]',
    'option = ["Antialias=on\\rLibrary_Path=/etc"]',
    'option = ["Antialias=on", "Post_Frame_Command=touch x"]',
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder as the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tone.wav").touch()
    monkeypatch.chdir(folder)
    return folder


def written(folder: Path, text: str, name: str = "renderfarm.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(folder: Path) -> ConfigError:
    with pytest.raises(ConfigError, match="says more than how to render") as caught:
        config.load(folder)
    return caught.value


def test_a_project_may_say_how_to_render(project: Path) -> None:
    written(project, HOW)
    assert len(config.load().defaults) == len(HOW.splitlines())


@pytest.mark.parametrize("line", POWERS)
def test_what_gives_power_counts_only_when_it_is_trusted(line: str, project: Path) -> None:
    file = written(project, f"{line}\n")
    error = refusal(project)
    assert error.exit_code == 2
    assert f"renderfarm trust {file}" in error.hint
    trusted(file)
    config.load()


def test_the_keys_are_named(project: Path) -> None:
    written(project, 'frames = "1-2"\npovray = "x"\n[pools.c]\ntype = "local"\nworkers = 1\n')
    assert ": pools.c.type, pools.c.workers, povray. That" in refusal(project).message


def test_the_users_own_file_is_not_restricted(project: Path) -> None:
    config.user_file().parent.mkdir(parents=True)
    config.user_file().write_text('trust_scripts = true\nsandbox = "off"\nblender = "./blender"\n')
    assert len(config.load().defaults) == 3


def test_a_file_that_changed_is_asked_about_again(project: Path) -> None:
    file = trusted(written(project, 'povray = "povray"\n'))
    file.write_text('povray = "tool"\n')
    assert "has changed since you trusted it" in refusal(project).message


def test_a_program_that_changed_is_asked_about_again_until_it_is_put_back(project: Path) -> None:
    (project / "tool").write_text("a")
    trusted(written(project, 'povray = "./tool"\n'))
    config.load()
    (project / "tool").write_text("b")
    assert "has changed" in refusal(project).message
    (project / "tool").unlink()
    assert "has changed" in refusal(project).message
    (project / "tool").write_text("a")
    config.load()


def test_a_program_behind_a_link_is_the_one_that_was_looked_at(project: Path, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).write_text(name)
    (project / "tool").symlink_to(tmp_path / "good")
    trusted(written(project, 'povray = "./tool"\n'))
    (project / "tool").unlink()
    (project / "tool").symlink_to(tmp_path / "bad")
    assert "has changed" in refusal(project).message


def test_same_bytes_elsewhere_are_not_trusted(project: Path, tmp_path: Path) -> None:
    trusted(written(project, 'povray = "./tool"\n'))
    shutil.copytree(project, tmp_path / "copy")
    refusal(tmp_path / "copy")


def test_a_link_to_the_users_own_file_gives_no_power(project: Path) -> None:
    config.user_file().parent.mkdir(parents=True)
    config.user_file().write_text('povray = "bin/tool"\n')
    (project / "renderfarm.toml").symlink_to(config.user_file())
    refusal(project)


def test_a_home_is_a_project_like_any_other(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    written(project, 'output = "out"\n')
    assert "output" in refusal(project).message


def test_links_lead_no_folder_outside(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / "out").symlink_to(tmp_path / "elsewhere")
    written(project, 'output = "out/deep"\n')
    assert "output" in refusal(project).message


def test_a_file_of_gigabytes_is_refused_at_once(project: Path) -> None:
    with (project / "renderfarm.toml").open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(ConfigError, match="more than 1 MiB"):
        config.load()


def test_a_device_or_a_pipe_is_no_configuration(project: Path) -> None:
    os.mkfifo(project / "renderfarm.toml")
    assert config.load() == config.Config()
    (project / "renderfarm.toml").unlink()
    (project / "renderfarm.toml").symlink_to("/dev/zero")
    assert config.load() == config.Config()


def test_what_is_trusted_is_kept_with_the_user_and_not_beside_the_project(project: Path) -> None:
    before = sorted(project.rglob("*"))
    trusted(written(project, 'povray = "x"\n'))
    assert sorted(project.rglob("*")) == sorted([*before, project / "renderfarm.toml"])
    assert config.user_file().parent in next(iter(config.user_file().parent.rglob("*.json"))).parents


def test_a_relative_configuration_folder_is_not_looked_for_in_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "xdg")
    assert not config.user_file().is_relative_to(project)


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"files": 3}', '{"files": {"x": 3}}', "\xff"])
def test_a_note_that_was_damaged_trusts_nothing(note: str, project: Path) -> None:
    trusted(written(project, 'povray = "x"\n'))
    (path,) = config.user_file().parent.rglob("*.json")
    path.write_text(note, encoding="latin-1")
    refusal(project)


# Lists


def refused_keys(folder: Path, text: str) -> str:
    list_ = written(folder, text, "shots.toml")
    with pytest.raises(ConfigError, match="says more than how to render") as caught:
        shots.read(list_)
    assert "renderfarm trust" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('notify = "touch x"\n[shots.a]\nscene = "a.blend"\n', "notify"),
        ('notify-url = "https://x.example"\n[shots.a]\nscene = "a.blend"\n', "notify-url"),
        ('output = "/srv/nights"\n[shots.a]\nscene = "a.blend"\n', "output"),
        ('[defaults]\npool = "cloud"\n[shots.a]\nscene = "a.blend"\n', "defaults.pool"),
        ('[shots.a]\nscene = "a.blend"\nblender = "bin/blender"\n', "shots.a.blender"),
        ('[shots.a]\nscene = "a.blend"\ntrust-scripts = true\n', "shots.a.trust-scripts"),
        ('[shots.a]\nscene = "../a.blend"\n', "shots.a.scene"),
        ('[shots.a]\nscene = "*/../../*.blend"\n', "shots.a.scene"),
        ('[shots.a]\nscene = "a.ini"\noptions = {Library_Path = "/etc"}\n', "shots.a.options"),
        ('[shots.a]\nscene = "a.ini"\noption = ["Library_Path=/etc"]\n', "shots.a.option"),
        ('[shots.a]\nscene = "a.ini"\naudio = "/etc/passwd"\n', "shots.a.audio"),
    ],
)
def test_a_list_is_under_the_same_rule(text: str, key: str, project: Path) -> None:
    assert f": {key}. That" in refused_keys(project, text)
    trusted(project / "shots.toml")


def test_a_list_that_says_how_to_render_needs_no_trust(project: Path) -> None:
    list_ = written(project, 'keep = 3\n[shots.a]\nscene = "shots/*.blend"\nsamples = 4\n', "shots.toml")
    assert len(shots.read(list_).shots) == 1


def test_a_program_to_notify_with_is_looked_at_too(project: Path) -> None:
    (project / "tell.sh").write_text("a")
    text = 'notify = "sh tell.sh"\n[shots.a]\nscene = "a.blend"\n'
    trusted(written(project, text, "shots.toml"))
    shots.read(project / "shots.toml")
    (project / "tell.sh").write_text("b")
    assert "has changed" in refused_keys(project, text)


def test_a_folder_of_nights_that_is_a_link_needs_trust(project: Path, tmp_path: Path) -> None:
    (project / "nights").symlink_to(tmp_path)
    assert ": output. That" in refused_keys(project, '[shots.a]\nscene = "a.blend"\n')


# The command


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    farm = Farm(tmp_path / "strange", tmp_path / "home")
    farm.environment["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    card(farm.folder / "a.testcard", "1-2")
    return farm


def spy(folder: Path) -> Path:
    """A program that leaves a mark where it may, and tells what it was shown."""
    tool = folder / "bin" / "tool"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(
        f"#!{sys.executable} -S\nimport os\nopen({str(folder / 'mark')!r}, 'w').write(repr(os.environ))\n"
    )
    tool.chmod(0o755)
    return tool


def test_nothing_of_an_untrusted_project_runs_even_on_a_dry_run(farm: Farm) -> None:
    spy(farm.folder)
    written(farm.folder, 'povray = "bin/tool"\n')
    (farm.folder / "a.pov").write_text("camera {}")
    done = farm.run("submit", "a.pov", "--dry-run")
    assert (done.code, done.out) == (2, "")
    assert "povray" in done.err
    assert "renderfarm trust" in done.err
    assert not (farm.folder / "mark").exists()


def test_a_look_allows_nothing(farm: Farm) -> None:
    written(farm.folder, 'povray = "povray"\n')
    shown = farm.run("trust", "--show", "--json").json
    assert shown["files"][0]["powers"] == [{"key": "povray", "value": '"povray"'}]
    assert farm.run("submit", "a.testcard", "--dry-run").code == 2


def test_nobody_to_ask_is_exit_2_and_allows_nothing(farm: Farm) -> None:
    written(farm.folder, 'povray = "povray"\n')
    done = farm.run("trust")
    assert (done.code, "--yes" in done.err) == (2, True)
    assert farm.run("submit", "a.testcard", "--dry-run").code == 2


def test_yes_allows_what_was_shown_until_it_is_taken_back(farm: Farm) -> None:
    tool = spy(farm.folder)
    written(farm.folder, 'povray = "bin/tool"\n')
    done = farm.run("trust", "--yes")
    assert (done.code, str(tool) in done.err) == (0, True)
    assert farm.run("submit", "a.testcard", "--dry-run").code == 0
    assert farm.run("trust", "--list", "--json").json == {"files": [str(farm.folder / "renderfarm.toml")]}
    assert farm.run("trust", "--revoke").code == 0
    assert farm.run("submit", "a.testcard", "--dry-run").code == 2


def test_a_folder_that_asks_for_nothing_is_told_so(farm: Farm) -> None:
    written(farm.folder, "retries = 1\n")
    done = farm.run("trust")
    assert (done.code, "needs no trust" in done.out) == (0, True)


def test_a_folder_without_files_is_exit_2(farm: Farm) -> None:
    assert farm.run("trust").code == 2
    assert farm.run("trust", "nowhere").code == 2


def test_control_characters_of_a_file_never_reach_the_terminal(farm: Farm) -> None:
    written(farm.folder, 'blender = "x\\u001b[2J"\n')
    assert "\x1b" not in farm.run("trust", "--show").out


def test_an_untrusted_list_is_told_when_it_is_installed(farm: Farm) -> None:
    written(farm.folder, 'notify = "mail me"\n[shots.a]\nscene = "a.testcard"\n', "shots.toml")
    done = farm.run("nightly", "install", "shots.toml", "--at", "02:00", PATH="")
    assert (done.code, "renderfarm trust" in done.err) == (2, True)


def test_json_has_the_hashes_of_what_is_named(farm: Farm) -> None:
    tool = spy(farm.folder)
    written(farm.folder, 'povray = "bin/tool"\n')
    (found,) = farm.run("trust", "--yes", "--json").json["files"]
    assert found["standing"] == "trusted"
    assert found["files"] == [{"path": str(tool), "sha256": trust.digest(tool)}]
    assert json.loads((next((farm.folder.parent / "xdg").rglob("*.json"))).read_text())["path"] == found["path"]
