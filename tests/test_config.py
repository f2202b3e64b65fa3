"""Configuration files: found, merged, checked by name, and beaten by the environment and by flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from renderfarm import request
from renderfarm.errors import ConfigError
from renderfarm.queues.local import LocalSettings
from renderfarm.queues.slurm import SlurmSettings
from renderfarm.settings import config, options
from renderfarm.settings.options import Place
from renderfarm.settings.pool import POOLS
from renderfarm.words.renderers import PROGRAMS
from renderfarm.words.request import Request, Settings
from tests.trusting import trusted


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder as working directory, with an empty configuration home."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write_user_file(text: str) -> Path:
    path = config.user_file()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def allow(project: Path, text: str) -> None:
    """A project's file that its user trusts."""
    (project / "renderfarm.toml").write_text(text)
    trusted(project / "renderfarm.toml")


def test_without_files_there_is_the_local_pool_and_nothing_else() -> None:
    found = config.load()
    assert found.pool().type == "local"
    assert found == config.Config()


def test_the_nearest_project_file_above_counts_alone_and_beats_the_users_key_by_key(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "renderfarm.toml").write_text("retries = 3\noutput = 'out'\n")
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert config.load().defaults == {"retries": 3, "output": str(project / "out")}
    write_user_file("retries = 1\nsamples = 2\n")
    assert config.load().defaults == {"retries": 3, "samples": 2, "output": str(project / "out")}
    (deep / "renderfarm.toml").write_text("workers = 2\n")
    assert config.load().defaults == {"workers": 2, "retries": 1, "samples": 2}


def test_a_pool_table_becomes_a_pool(project: Path) -> None:
    allow(project, 'default_pool = "big"\n[pools.big]\ntype = "local"\nworkers = 7\n')
    found = config.load()
    assert found.pool().name == "big"
    assert found.pool().options == {"workers": 7}
    assert found.pool("local").options == {}


def test_the_designs_cloud_table_does_not_disturb_local_work(project: Path) -> None:
    allow(
        project,
        '[pools.cloud]\ntype = "azure-batch"\nbatch_url = "https://f.westeurope.batch.azure.com"\n'
        'storage_url = "https://f.blob.core.windows.net"\npool_id = "renderfarm"\n'
        'vm_size = "Standard_D8ads_v6"\nnodes = 20\nspot = true\nslots_per_node = 1\nafter = "keep"\n',
    )
    assert config.load().pool().type == "local"


def test_a_pool_of_an_unknown_type_is_only_refused_when_it_is_used(project: Path) -> None:
    allow(project, '[pools.moon]\ntype = "rocket"\nfuel = 3\n')
    found = config.load()
    assert found.pool().type == "local"
    with pytest.raises(ConfigError, match="'rocket', which this version can't use") as caught:
        found.pool("moon")
    assert "Known types: local" in caught.value.hint


def test_keys_with_dashes_mean_the_same(project: Path) -> None:
    (project / "renderfarm.toml").write_text("no-reuse = true\nview-layer = 'Main'\nscene = 'Two'\n")
    assert config.load().defaults == {"no_reuse": True, "view_layer": "Main", "scene_name": "Two"}


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("workers = 2\nretrys = 3\n", "renderfarm.toml, line 2: 'retrys'", "Did you mean 'retries'?"),
        (
            '[pools.cloud]\ntype = "azure-batch"\n# x\nvmsize = "D8"\n',
            "line 4: 'vmsize' in [pools.cloud]",
            "Did you mean 'vm_size'?",
        ),
        ('[pool.local]\ntype = "local"\n', "line 1: 'pool'", ""),
        ("[pools.cloud]\nnodes = 3\n", "has no type", ""),
        ("pools = 3\n", "must be", ""),
        ("default_pool = 3\n", "must be", ""),
        ("[pools]\nlocal = 3\n", "must be", ""),
        ("retries = 3\nworkers = = 3\n", "at line 2", ""),
    ],
)
def test_a_file_that_makes_no_sense_says_where(text: str, told: str, hint: str, project: Path) -> None:
    (project / "renderfarm.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(trusted(project / "renderfarm.toml").parent)
    assert told in caught.value.message
    assert hint in caught.value.hint


def test_a_file_that_is_not_text_is_refused(project: Path) -> None:
    (project / "renderfarm.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"renderfarm\.toml can't be read"):
        config.load()


def test_an_unknown_pool_name_comes_with_the_nearest_one(project: Path) -> None:
    allow(project, '[pools.cloud]\ntype = "local"\n')
    with pytest.raises(ConfigError, match="There is no pool 'clod'") as caught:
        config.load().pool("clod")
    assert caught.value.hint == "Did you mean 'cloud'?"


def test_every_option_can_be_said_everywhere_but_where_it_means_something_else() -> None:
    table = {name: option.where for name, option in options.OPTIONS.items()}
    assert {name for name, where in table.items() if Place.COMMAND not in where} == set()
    assert {name for name, where in table.items() if Place.FILE not in where} == {"pool"}
    said_to_commands = {"frames", "output", "preview", "notify", "notify_url"}
    assert {name for name, where in table.items() if Place.PYTHON not in where} == said_to_commands
    not_in_lists = {"video", "no_video", "priority", "together"} | said_to_commands
    assert {name for name, where in table.items() if Place.LIST not in where} == not_in_lists


def test_the_api_takes_the_options_of_the_table() -> None:
    keywords = set(request.Options.__annotations__)
    assert keywords == {option.name for option in options.options_of(Place.PYTHON)}


@pytest.mark.parametrize("option", options.OPTIONS.values(), ids=lambda option: option.name)
def test_the_documentation_names_every_option(option: options.Option) -> None:
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    assert f"`{'default_pool' if option.name == 'pool' else option.written}`" in text


def test_every_option_ends_in_the_request_or_its_settings(tmp_path: Path) -> None:
    scene = tmp_path / "a.testcard"
    scene.write_text("{}")
    wanted = request.build(
        scene, "1-4", "out", scene_name="Two", scale="50%", timeout="1h30m", chunk="auto", no_reuse=True
    )
    assert wanted.settings == Settings(scene="Two", scale=50)
    assert (wanted.timeout, wanted.chunk, wanted.reuse, wanted.frames) == (5400.0, None, False, "1-4")
    fields = {field.name for field in dataclasses.fields(Request)}
    settings = {field.name for field in dataclasses.fields(Settings)}
    renamed = {"no_reuse": "reuse", "scene_name": "scene"}
    names = {renamed.get(name, name) for name in request.Options.__annotations__}
    assert names <= fields | settings | set(PROGRAMS)


@pytest.mark.parametrize(("kind", "table"), [("local", LocalSettings), ("slurm", SlurmSettings)])
def test_a_pools_keys_are_those_that_it_understands(kind: str, table: type) -> None:
    assert set(POOLS[kind].keys) == {field.name for field in dataclasses.fields(table)}
