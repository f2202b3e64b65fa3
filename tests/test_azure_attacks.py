"""What hostile scenes, nodes and blobs try: out of a folder, at a secret, at the machine that looks."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_work import work_for

from renderfarm.depots.blobs import BlobClient
from renderfarm.depots.folder import FolderDepot
from renderfarm.depots.redaction import redact
from renderfarm.errors import InputError
from renderfarm.farm import preparation, remote
from renderfarm.job import journal
from renderfarm.job.events import Taken
from renderfarm.job.journal import FARM, Reader, entry
from renderfarm.job.record import Record
from renderfarm.node import sandbox
from renderfarm.node.guard import Guard
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.program import Node
from renderfarm.node.task import Machine, Run
from renderfarm.queues.azure import queue, uploads
from renderfarm.queues.azure.on_node import setup, task
from renderfarm.renderers import SessionFailure, scratch
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.as_json import encode
from renderfarm.words.request import Request, Sandbox
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Task, Work
from tests.azure_storage import new_storage
from tests.cloud import Cloud
from tests.farm_runs import card, wait_for

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

works_here = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no bubblewrap: {sandbox.obstacle()}")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20 + b"IEND\xaeB`\x82"
RECEIPT: dict[str, Any] = encode(Rendered(1, "frames/0001.1.png", 1.0, node="n"))


@contextlib.contextmanager
def new_storage_room() -> Iterator[BlobClient]:
    """A job's container."""
    with contextlib.closing(new_storage()) as storage:
        storage.ensure(f"{storage.prefix}-job")
        yield storage.at(f"{storage.prefix}-job")


# A scene's own code, in the sandbox


@pytest.fixture
def work(tmp_path: Path, testcard: Callable[..., Path]) -> Work:
    (tmp_path / "scratch").mkdir()
    return work_for(testcard(tmp_path / "scene"), tmp_path / "scratch", sandbox=Sandbox.REQUIRE)


def run_inside(work: Work, code: str, log: str) -> None:
    argv = [str(Path(sys.executable).resolve()), "-S", "-c", code]
    scratch = Path(work.scratch)
    launch = ProcessLauncher(work)
    launch(argv, cwd=scratch, log=scratch / log).wait()


@works_here
def test_a_link_in_place_of_a_log_is_not_written_through(work: Work, tmp_path: Path) -> None:
    profile, link = tmp_path / "profile", Path(work.scratch) / "f0002.1.log"
    profile.write_text("mine\n")
    run_inside(work, f"import os; os.symlink({str(profile)!r}, {str(link)!r})", "first.log")
    assert link.is_symlink()
    with pytest.raises(OSError, match="symbolic links"):
        run_inside(work, "print('theirs')", link.name)
    assert profile.read_text() == "mine\n"


def test_a_link_in_place_of_a_log_is_not_read_through(work: Work, tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", Path(work.scratch) / "f0002.1.log"
    secret.write_text("Error: s3cret")
    link.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        scratch.tail(link, 0)


@pytest.mark.parametrize("linked", [False, True])
def test_a_renderer_that_names_a_file_outside_its_folder_gets_it_neither_taken_nor_deleted(
    work: Work, tmp_path: Path, linked: bool
) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear")
    named = letter
    if linked:
        named = Path(work.scratch) / "0001.png"
        named.symlink_to(letter)
    outcome = Node(work, "w1", lambda event: None)._looked_at(Rendered(1, str(named), 0.1))
    assert isinstance(outcome, Failed)
    assert letter.read_text() == "dear"


class Told(list[object]):
    """A journal of what was told."""

    def add(self, *events: object) -> None:
        self.extend(events)


def test_a_node_sends_no_picture_that_became_a_link(tmp_path: Path) -> None:
    others, link = tmp_path / "others.png", tmp_path / "0001.png"
    others.write_bytes(PNG)
    link.symlink_to(others)
    depot, told = FolderDepot(tmp_path / "depot"), Told()
    run = Run(Task((1,)), 0, Machine("n"), depot, told)
    run._build, run._scratch = Build("testcard", "", (), "", ""), tmp_path
    run._leaving.mkdir()
    with pytest.raises(SessionFailure, match="link"):
        run.hear(Rendered(1, str(link), 0.1))
    assert others.exists()
    assert (list(depot.list("frames/")), told) == ([], [])


def test_a_node_keeps_no_log_that_is_a_link(tmp_path: Path) -> None:
    scratch, logs = tmp_path / "scratch", tmp_path / "logs"
    (scratch / "0").mkdir(parents=True)
    logs.mkdir()
    (scratch / "0" / "own.log").write_text("mine")
    (scratch / "0" / "environ.log").symlink_to("/proc/self/environ")
    task._keep_logs(scratch, logs)
    assert [path.name for path in logs.iterdir()] == ["own.0.log"]


def test_a_scene_gets_no_key_out_of_a_home_that_is_reached_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "disk" / "me" / ".ssh" / "id_rsa"
    key.parent.mkdir(parents=True)
    key.write_text("private")
    (tmp_path / "linked").symlink_to(tmp_path / "disk" / "me")
    monkeypatch.setenv("HOME", str(tmp_path / "linked"))
    with pytest.raises(InputError, match="hidden folder"):
        uploads._refuse_private(key, Guard(tmp_path / "s.blend"))


# Tasks of somebody else on the same node


def test_a_start_task_does_not_follow_a_link_that_a_task_put_in_place_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "etc"
    system.mkdir(mode=0o700)
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "renderfarm").symlink_to(system)
    monkeypatch.setenv("AZ_BATCH_NODE_SHARED_DIR", str(shared))
    monkeypatch.chdir(tmp_path)
    setup.set_up()
    assert (oct(system.stat().st_mode)[-3:], list(system.iterdir())) == ("700", [])
    assert (shared / "renderfarm" / "node.json").exists()


# What storage holds, read by the user's machine


def said(kind: str, value: object, time: object = 1.0) -> bytes:
    return json.dumps([kind, value, time]).encode()


@pytest.mark.parametrize(
    "value",
    [
        {"node": "n"},
        {**RECEIPT, "frame": [1]},
        {**RECEIPT, "frame": True},
        {**RECEIPT, "attempt": "1"},
        {**RECEIPT, "seconds": "soon"},
        {**RECEIPT, "seconds": float("nan")},
        {**RECEIPT, "seconds": float("inf")},
        {**RECEIPT, "peak_bytes": 10**30},
        {**RECEIPT, "build": 7},
        3,
        None,
    ],
)
@pytest.mark.parametrize("kind", ["Rendered", "Failed", "Started"])
def test_nonsense_in_a_journal_is_no_event(kind: str, value: object) -> None:
    assert entry(said("Rendered", RECEIPT))
    if isinstance(value, dict):
        value = {"reason": "no-reason", **value}
        if kind == "Started" and not {"frame", "attempt"} & {k for k in value if value[k] != RECEIPT.get(k)}:
            return  # what is wrong is none of its fields
    assert entry(said(kind, value)) is None


@pytest.mark.parametrize("time", [1e999, -(10**300), "now", None, [1]])
def test_a_time_that_no_clock_shows_is_no_event(time: object) -> None:
    assert entry(said("Rendered", RECEIPT, time)) is None


@pytest.mark.parametrize("kind", ["Canceled", "Delivered", "Retried", "GivenUp", "Begun", "Left", "Reused"])
def test_a_node_decides_nothing_that_only_the_farm_decides(kind: str, tmp_path: Path) -> None:
    value = {"frame": 1, "attempt": 1, "size": 1, "mtime": 1, "message": "", "seconds": 1.0}
    for name in ("node", FARM):
        (tmp_path / f"{name}.jsonl").write_bytes(said(kind, value) + b"\n")
    reader = Reader(tmp_path)
    assert [type(each.event).__name__ for each in reader.news()] == [kind]
    assert reader.read.keys() == {"node.jsonl", f"{FARM}.jsonl"}


def test_a_node_does_not_choose_the_name_of_a_file_on_the_users_machine(tmp_path: Path) -> None:
    folder = tmp_path / "job" / "journal"
    names = ["farm.jsonl", ".hidden.jsonl", "../../x.jsonl", "a/b.jsonl", "n.json", "ä.jsonl", "a\nb.jsonl"]
    with new_storage_room() as depot:
        for name in (*names, "tvmps_1.n.jsonl"):
            depot.put(f"journal/{name}", b"line\n")
        queue.mirror(depot, folder)
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert found == ["job/journal/tvmps_1.n.jsonl"]


def test_a_journal_is_mirrored_in_whole_lines_and_not_through_a_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")
    with new_storage_room() as depot:
        depot.append("journal/n.jsonl", b"one\ntw")
        for _ in range(2):
            queue.mirror(depot, tmp_path / "journal")
            assert (tmp_path / "journal/n.jsonl").read_bytes() == b"one\n"
        depot.append("journal/n.jsonl", b"o\n")
        queue.mirror(depot, tmp_path / "journal")
        assert (tmp_path / "journal/n.jsonl").read_bytes() == b"one\ntwo\n"
        (tmp_path / "journal/n.jsonl").unlink()
        (tmp_path / "journal/n.jsonl").symlink_to(secret)
        with pytest.raises(OSError, match="symbolic links"):
            queue.mirror(depot, tmp_path / "journal")
    assert secret.read_text() == ""


def test_what_nodes_say_reaches_no_terminal_as_orders() -> None:
    bell = "\x1b]0;owned\x07"
    told = entry(
        said("Failed", {**encode(Failed(1, Reason.CRASH, bell + "\ud800")), "node": bell, "log": bell})
    )
    assert told
    assert isinstance(told.event, Failed)
    assert all(text.isprintable() for text in (told.event.message, told.event.node, told.event.log))
    long = entry(said("Rendered", {**RECEIPT, "node": "x" * 3000}))
    assert long
    assert isinstance(long.event, Rendered)
    assert len(long.event.node) == 2000


def test_a_journal_with_endless_and_hostile_lines_is_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "PIECE_BYTES", 1000)
    monkeypatch.setattr(queue, "PIECE_BYTES", 1000)
    good = [said("Taken", {"task": "f1", "node": name}) for name in "ab"]
    lines = [b"[" * 900, b"x" * 5000, good[0], b'["Taken", {}, 1e999]', b'["Taken", 3, 1]', good[1]]
    with new_storage_room() as depot:
        depot.append("journal/n.jsonl", b"\n".join(lines) + b'\n["half')
        queue.mirror(depot, tmp_path)
    told = Reader(tmp_path)
    assert [each.event for each in told.news()] == [Taken("f1", "a"), Taken("f1", "b")]
    assert told.news() == []


def record(tmp_path: Path, **fields: Any) -> Record:
    work = work_for(tmp_path / "a.testcard", tmp_path)
    request = Request(scene=str(tmp_path / "a.testcard"), output=str(tmp_path / "out"), **fields)
    scene = Scene(str(tmp_path / "a.testcard"), "testcard", "1", "1-1", 24.0, (8, 8), None)
    return Record("a-1", 0.0, request, "1-1", 1, 24.0, scene, work.build, work, fingerprint="take")


def test_a_recalled_job_writes_its_logs_where_this_machine_wants_them(tmp_path: Path) -> None:
    made = record(tmp_path)
    hostile = replace(made, work=replace(made.work, logs=str(tmp_path / ".ssh")))
    ready = preparation.recalled(hostile, PoolConfig(), tmp_path)
    assert ready.work.logs == str(tmp_path / "out" / "logs")


def test_a_record_names_no_program_and_no_file_of_the_users_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    profile = tmp_path / ".bashrc"
    profile.write_text("mine")
    fields = {"video": str(profile), "programs": {"blender": "/bin/sh"}, "sandbox": Sandbox.OFF}
    made = remote.moved(record(tmp_path, **fields).request, "cloud")
    renders = tmp_path / "renders" / "a"
    assert (made.output, made.video) == (str(renders), str(renders / ".bashrc"))
    assert (made.programs, made.sandbox) == ({}, Sandbox.AUTO)


def test_a_node_that_writes_over_the_jobs_record_is_found_out(cloud: Cloud) -> None:
    cloud.settings["pool_id"] = "rewritten"
    cloud.configure()
    cloud.control("slow_nodes", seconds=1_000_000)
    farm = cloud.farm()
    job = farm.submit(card(cloud.folder / "shot.testcard", "1-2"), "--detach").json["job"]
    (only,) = cloud.batch_jobs(job)
    files = cloud.get(f"/jobs/{only}")["jobPreparationTask"]["resourceFiles"]
    assert [f"/{cloud.prefix}-packages/node/" in file.get("httpUrl", "") for file in files] == [False, True]
    assert cloud.farm("laptop").run("status", job, "--json").code == 0
    container = cloud.storage.get_container_client(f"{cloud.prefix}-{job}")
    found = json.loads(container.download_blob("in/job.json").readall())
    found["request"]["output"] = str(cloud.folder)
    container.upload_blob("in/job.json", json.dumps(found).encode(), overwrite=True)
    for machine in (farm, cloud.farm("stranger")):
        done = machine.run("collect", job)
        assert done.code != 0
        assert "is not the one that" in done.err
    assert farm.run("cancel", job, "--json").json["state"] == "canceled"
    wait_for(lambda: cloud.get(f"/jobs/{only}")["state"] == "completed", "the end of the Batch job")
    farm.run("pool", "delete", "cloud", "--yes")


# Secrets in text


@pytest.mark.parametrize(
    "text",
    [
        "https://a/b?sp=r&sig=S3CRET%3D",
        r'{"url":"https://a/b?sp=r\u0026sig=S3CRET"}',
        "next=https%3A%2F%2Fa%3Fsp%3Dr%26sig%3DS3CRET",
        "next=https%253A%252F%252Fa%253Fsp%253Dr%2526sig%253DS3CRET",
        "{'access_token': 'S3CRET'}",
        "Authorization: Bearer S3CRET.S3CRET",
        "Authorization: SharedKey account:S3CRET+/=",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=S3CRET==;EndpointSuffix=x",
    ],
)
def test_no_spelling_of_a_secret_stays_in_a_text(text: str) -> None:
    assert ("S3CRET" in redact(text), "***" in redact(text)) == (False, True)


def test_redaction_leaves_other_text_alone() -> None:
    text = "The design=1 of signal=2: sign=2 / bearer of news, AccountKeys, 40 % done"
    assert redact(text) == text
