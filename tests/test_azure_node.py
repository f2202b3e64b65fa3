"""What runs on cloud nodes, as processes with Azurite as storage: assets come, frames go, whatever happens."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blender_scenes import has_blender, has_bpy, make_scene, write_png
from PIL import Image

from renderfarm.depots.blobs import BlobClient, BlobError
from renderfarm.depots.identity import managed_identity
from renderfarm.job.events import Noted
from renderfarm.job.journal import line
from renderfarm.queues.azure.on_node import node_program
from renderfarm.queues.azure.on_node.assets import Store, view
from renderfarm.queues.azure.on_node.exits import Exit
from renderfarm.queues.azure.on_node.journal import Journal
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed
from tests.azure_nodes import Job, Node, Storage, ended, until
from tests.faulty_http import DROPPED, DROPPED_AFTER, Answer, Faulty, Request, through

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with contextlib.closing(Storage()) as found:
        yield found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


@pytest.fixture
def job(storage: Storage, tmp_path: Path, testcard: Callable[..., Path]) -> Callable[..., Job]:
    """Makes jobs of a test card with a picture beside it."""

    def make(fields: dict[str, object] | None = None, **work: object) -> Job:
        root = tmp_path / f"project-{next(numbers)}"
        scene = testcard(root / "shots", assets=["../maps/wood.png"], **(fields or {}))
        wood = root / "maps" / "wood.png"
        wood.parent.mkdir()
        wood.write_bytes(b"wood" * 100)
        return Job(storage, f"job-{next(numbers)}", root, scene, [wood], **work)

    return make


def receipts(job: Job) -> dict[int, dict[str, object]]:
    return {value["frame"]: value for kind, value in job.journal() if kind == "Rendered"}


def test_assets_come_once_per_node_and_frames_are_rendered_and_in_storage(
    node: Node, job: Callable[..., Job]
) -> None:
    made = job()
    assert "2 of them came" in node.prepare(made).out
    assert "0 of them came" in node.prepare(made).out
    assert {path.name for path in node.store().iterdir()} == {file.sha256 for file in made.manifest.files}
    done = node.task(made, [1, 2, 3])
    assert (done.code, done.err) == (0, "")
    assert [path.name for path in node.working(made).iterdir()] == ["logs"], "nothing of the project stays"
    assert made.frames() == [f"frames/000{n}.1.png" for n in (1, 2, 3)]
    for frame, receipt in receipts(made).items():
        assert receipt["path"] == f"frames/000{frame}.1.png"
    kinds = [kind for kind, _ in made.journal()]
    assert kinds.count("Started") == kinds.count("Rendered") == 3
    assert (kinds[0], kinds[-1]) == ("Taken", "Ended")


def test_a_renderer_sees_the_project_read_only_at_its_paths(node: Node, job: Callable[..., Job]) -> None:
    made = job({"seconds": 0.3})
    process = node.begin(made, range(1, 40))
    until(made, "Rendered")
    project = node.working(made) / "project"
    assert (project / "maps" / "wood.png").read_bytes() == b"wood" * 100
    assert {oct(path.stat().st_mode)[-3:] for path in project.rglob("*")} == {"444", "555"}
    process.kill()
    ended(process)


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        (b"x" * 400, 1, "maps/wood.png could not be brought"),
        (None, 42, "maps/wood.png is not in storage any more"),
    ],
)
def test_an_asset_with_other_bytes_than_its_name_says_or_none_is_not_taken(
    node: Node, job: Callable[..., Job], storage: Storage, data: bytes | None, code: int, told: str
) -> None:
    made = job()
    wood = made.manifest.files[1]
    if data is None:
        storage.at(made.assets).delete(wood.sha256)
    else:
        storage.put(made.assets, wood.sha256, data)
    done = node.prepare(made)
    assert (done.code, told in done.last_words) == (code, True)
    assert not (node.store() / wood.sha256).exists()


def test_an_asset_of_the_wrong_size_is_brought_again(node: Node, job: Callable[..., Job]) -> None:
    made = job()
    node.prepare(made)
    wood = node.store() / made.manifest.files[1].sha256
    wood.chmod(0o644)
    wood.write_bytes(b"wo")
    assert "1 of them came" in node.prepare(made).out
    assert wood.read_bytes() == b"wood" * 100


def test_a_signature_that_has_run_out_is_told_and_not_shown(
    node: Node, job: Callable[..., Job], storage: Storage
) -> None:
    made = job()
    assets = {"RENDERFARM_ASSETS": storage.url(made.assets, "r", hours=-1)}
    outputs = {"RENDERFARM_OUTPUTS": storage.url(made.container, "cw", hours=-1)}
    refused = [node.prepare(made, **assets), node.task(made, [1], **assets), node.task(made, [1], **outputs)]
    assert [(done.code, "sig=" in done.out + done.err) for done in refused] == [(41, False)] * 3
    assert all("resume the job" in done.last_words for done in refused[:2])


def test_a_task_that_begins_anew_elsewhere_renders_what_is_missing_and_tells_the_rest_by_its_receipts(
    node: Node, job: Callable[..., Job], tmp_path: Path
) -> None:
    made = job({"seconds": 0.2})
    process = node.begin(made, range(1, 6))
    until(made, "Rendered")
    process.kill()
    ended(process)

    def tags() -> dict[str, object]:
        return {blob.name: blob.etag for blob in made.storage.at(made.container).blobs("frames/")}

    before, told = tags(), receipts(made)
    assert 0 < len(before) < 5
    assert Node(tmp_path / "other", "node-2").task(made, range(1, 6)).code == 0
    assert sorted(receipts(made)) == [1, 2, 3, 4, 5]
    assert receipts(made).items() >= told.items()
    assert tags().items() >= before.items()


def test_a_later_attempt_renders_the_frame_again(node: Node, job: Callable[..., Job]) -> None:
    made = job()
    node.task(made, [7])
    node.task(made, [7], attempt=2)
    assert made.frames() == ["frames/0007.1.png", "frames/0007.2.png"]


def test_a_frame_that_fails_costs_no_other(node: Node, job: Callable[..., Job]) -> None:
    made = job({"faults": {"2": {"what": "garbage"}}})
    done = node.task(made, [1, 2, 3])
    assert done.code == 0, "every frame has an outcome"
    assert made.frames() == ["frames/0001.1.png", "frames/0003.1.png"]
    failed = [value for kind, value in made.journal() if kind == "Failed"]
    assert [(value["frame"], value["reason"], value["final"]) for value in failed] == [(2, "bad-picture", True)]
    assert made.storage.get(made.container, f"logs/{Path(failed[0]['log']).name}")
    assert "Frame 2 failed" in done.out


def test_a_frame_is_tried_again_by_its_node_as_often_as_the_job_allows(
    node: Node, job: Callable[..., Job]
) -> None:
    made = job({"faults": {"2": {"what": "crash", "times": 1}, "3": {"what": "crash"}}})
    assert node.task(made, [1, 2, 3], retries=1).code == 0
    assert made.frames() == ["frames/0001.1.png", "frames/0002.2.png"]
    failed = [(v["frame"], v["attempt"], v["final"]) for kind, v in made.journal() if kind == "Failed"]
    assert sorted(failed) == [(2, 1, False), (3, 1, False), (3, 2, True)]


def test_a_task_that_begins_anew_on_another_node_goes_on_counting_its_tries(
    node: Node, job: Callable[..., Job]
) -> None:
    made = job({"faults": {"1": {"what": "crash", "times": 3}}})
    tries = [Failed(1, Reason.CRASH, "It fell over.", task="f0001", attempt=n) for n in (1, 2)]
    client = BlobClient(made.storage.url(made.container, "cw"))
    client.append("tries/f0001.1.jsonl", b"".join(line(each, 1.0) for each in tries))
    assert node.task(made, [1], retries=3).code == 0
    assert made.frames() == ["frames/0001.4.png"]
    failed = [(v["attempt"], v["final"]) for kind, v in made.journal() if kind == "Failed"]
    assert failed == [(1, False), (2, False), (3, False)]


def test_a_scene_that_is_none_or_a_node_without_its_renderer_ends_the_job(
    node: Node, job: Callable[..., Job], tmp_path: Path
) -> None:
    made = job({"faults": {"1": {"what": "no such fault"}}})
    done = node.task(made, [1])
    assert (done.code, "unknown fault" in done.last_words) == (42, True)
    assert [value["code"] for kind, value in made.journal() if kind == "Ended"] == [42]
    done = node.task(job(renderer="povray"), [1], PATH=str(tmp_path))
    assert (done.code, "no povray is installed there" in done.last_words) == (42, True)


def test_being_told_to_stop_keeps_what_is_rendered(
    node: Node, job: Callable[..., Job], survivors: Callable[[], list[str]]
) -> None:
    made = job({"seconds": 0.2})
    process = node.begin(made, range(1, 100))
    until(made, "Rendered")
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 143
    numbers = [int(name.split("/")[1][:4]) for name in made.frames()]
    assert sorted(receipts(made)) == numbers
    assert 0 < len(numbers) < 99
    assert survivors() == []


def test_no_secret_reaches_the_renderer(node: Node, job: Callable[..., Job]) -> None:
    made = job({"seconds": 0.5})
    process = node.begin(made, range(1, 40))
    until(made, "Started")
    children = [child for child in _descendants(process.pid) if child != process.pid]
    environments = [Path(f"/proc/{child}/environ").read_bytes() for child in children]
    process.kill()
    ended(process)
    assert environments
    assert not [text for text in environments if b"sig=" in text]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start programs of another user")
@pytest.mark.parametrize("hide", [True, False])
def test_no_process_of_the_same_user_can_read_the_secrets(tmp_path: Path, hide: bool) -> None:
    program = f"from renderfarm.queues.azure.on_node import place; {hide} and place.hide(); print(flush=True)"
    look = "import sys; print(open(f'/proc/{sys.argv[1]}/environ').read())"
    pipe, python = subprocess.PIPE, ["/usr/bin/python3", "-c"]
    nobody: dict[str, Any] = {"stdout": pipe, "text": True, "user": 65534, "group": 65534}
    with node_program(tmp_path / "node.pyz").open("rb") as file:  # nobody may not enter the folder
        env = {"PYTHONPATH": f"/proc/self/fd/{file.fileno()}", "SECRET": "s3cret"}
        argv, given = [*python, f"{program}; input()"], (file.fileno(),)
        with subprocess.Popen(argv, env=env, stdin=pipe, cwd="/", pass_fds=given, **nobody) as hidden:
            assert hidden.stdout
            hidden.stdout.readline()
            seen = subprocess.run([*python, look, str(hidden.pid)], stderr=pipe, check=False, **nobody)
            hidden.communicate("\n")
    assert hidden.returncode == 0
    assert ("PermissionError" in seen.stderr, "s3cret" in seen.stdout) == (hide, not hide)


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _descendants(int(child))


@pytest.mark.skipif(shutil.which("povray") is None, reason="povray is not installed")
def test_povray_renders_in_several_sessions_of_one_thread(node: Node, storage: Storage, tmp_path: Path) -> None:
    root = tmp_path / "pov"
    root.mkdir()
    scene = root / "ball.pov"
    scene.write_text(BALL)
    made = Job(storage, f"job-{next(numbers)}", root, scene, [], renderer="povray", settings=SMALL)
    assert node.task(made, range(1, 10)).code == 0
    assert sorted(receipts(made)) == list(range(1, 10))
    assert {receipt["threads"] for receipt in receipts(made).values()} == {1}


BALL = """#version 3.7;
camera { location -3*z look_at 0 } light_source { <3, 3, -3> rgb 1 } sphere { 0, 1 pigment { rgb clock } }
"""
SMALL = Settings(resolution=(16, 16), frames="1-9")


@pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")
def test_blender_finds_a_texture_that_the_scene_names_by_its_place_at_home(
    node: Node, storage: Storage, tmp_path: Path
) -> None:
    root = tmp_path / "blend"
    wood = write_png(root / "maps" / "wood.png", (0, 90, 200))
    script = 'cube.data.materials[0] = textured("Wood", folder + "/../maps/wood.png")[0]'
    scene = make_scene(root / "shots" / "scene.blend", script=script)
    made = Job(storage, f"job-{next(numbers)}", root, scene, [wood], renderer="blender", sandbox=Sandbox.AUTO)
    root.rename(tmp_path / "elsewhere")
    assert node.task(made, [2]).code == 0
    (tmp_path / "frame.png").write_bytes(storage.get(made.container, "frames/0002.1.png"))
    with Image.open(tmp_path / "frame.png") as picture:
        red, _, blue = picture.convert("RGB").getpixel((16, 16))
    assert blue > red


def test_two_jobs_and_four_tasks_at_once_don_t_collide(node: Node, job: Callable[..., Job]) -> None:
    one, two = job(), job()
    preparations = [node.start("prepare", made, node.preparation(made)) for made in (one, two, one, two)]
    assert [ended(process).code for process in preparations] == [0, 0, 0, 0]
    assert node.task(one, [1]).code == node.task(two, [1]).code == 0


def test_files_of_old_jobs_make_room_when_the_disk_gets_short(
    storage: Storage, tmp_path: Path, tiny_disk: Path
) -> None:
    (tiny_disk / "assets").mkdir()
    store = Store(tiny_disk / "assets", reserve_bytes=0)
    jobs = [_large_job(storage, tmp_path / str(n), bytes([n])) for n in range(3)]
    for made in jobs:
        store.bring(made.manifest, BlobClient(storage.url(made.assets, "r")))
    left = {path.name for path in store.folder.iterdir()}
    assert left >= {file.sha256 for file in jobs[2].manifest.files}
    assert not left & {file.sha256 for file in jobs[0].manifest.files}


def test_files_that_a_task_uses_never_make_room(storage: Storage, tmp_path: Path, tiny_disk: Path) -> None:
    (tiny_disk / "assets").mkdir()
    store = Store(tiny_disk / "assets", reserve_bytes=0)
    one, two = (_large_job(storage, tmp_path / str(n), bytes([n]), size=150_000) for n in range(2))
    store.bring(one.manifest, BlobClient(storage.url(one.assets, "r")))
    client = BlobClient(storage.url(two.assets, "r"))
    with view(one.manifest, store, tiny_disk / "view", bool):
        with pytest.raises(Exit, match=r"KB free and the job's files need 150 KB more") as refused:
            store.bring(two.manifest, client)
        assert refused.value.code == 43
    assert store.bring(two.manifest, client) == 1


def _large_job(storage: Storage, root: Path, byte: bytes, size: int = 100_000) -> Job:
    root.mkdir()
    scene = root / "s.testcard"
    scene.write_bytes(byte * size)
    return Job(storage, f"large-{next(numbers)}", root, scene, [])


def test_a_full_journal_goes_on_in_another_volume(storage: Storage) -> None:
    container = storage.container(f"journal-{next(numbers)}")
    full = Answer(409, {"x-ms-error-code": "BlockCountExceedsLimit"})
    written = itertools.count(1)

    def third_block(request: Request) -> Answer | None:
        is_block = "comp=appendblock" in request.path and "/node.jsonl" in request.path
        return full if is_block and next(written) > 3 else None  # the first is refused: there is no blob yet

    with Faulty(storage.port, third_block) as port:
        for text in ("a", "b", "c"):
            client = BlobClient(through(port, storage.url(container, "cw")))
            with Journal(client, "node") as journal:
                journal.add(Noted(text))
    assert storage.names(container) == ["journal/node.1.jsonl", "journal/node.jsonl"]
    lines = storage.get(container, "journal/node.1.jsonl").splitlines()
    assert [json.loads(line)[1]["note"] for line in lines] == ["c"]


BUSY = Answer(503, {"x-ms-error-code": "ServerBusy", "Retry-After": "0"})
TROUBLES = (BUSY, Answer(429, {"Retry-After": "0"}), Answer(500), DROPPED)


@pytest.mark.parametrize("faults", [TROUBLES, (DROPPED_AFTER,)], ids=["before", "after"])
def test_storage_that_fails_twice_costs_nothing(
    storage: Storage, node: Node, job: Callable[..., Job], faults: tuple[Answer, ...]
) -> None:
    made = job()
    seen, faulty = Counter[str](), itertools.cycle(faults)

    def twice(request: Request) -> Answer | None:
        seen[key := f"{request.method} {request.path.partition('?')[0]}"] += 1
        return next(faulty) if seen[key] <= 2 else None

    with Faulty(storage.port, twice) as port:
        urls = {
            "RENDERFARM_ASSETS": through(port, storage.url(made.assets, "r")),
            "RENDERFARM_INPUTS": through(port, storage.url(made.container, "rl")),
            "RENDERFARM_OUTPUTS": through(port, storage.url(made.container, "cw")),
        }
        assert node.task(made, [1, 2], **urls).code == 0
    assert sorted(receipts(made)) == [1, 2]


def test_a_download_that_breaks_off_goes_on_where_it_was(storage: Storage, tmp_path: Path) -> None:
    container = storage.container(f"broken-{next(numbers)}")
    data = os.urandom(3_000_000)
    storage.put(container, "large", data)
    ranges = []

    def cut(request: Request) -> Answer | None:
        ranges.append(request.headers.get("Range"))
        return Answer(cut=1_000_000) if len(ranges) < 3 else None

    with Faulty(storage.port, cut) as port:
        client = BlobClient(through(port, storage.url(container, "r")), waits=(0.01, 0.01))
        client.get("large", tmp_path / "large", hashlib.sha256(data).hexdigest())
    assert (tmp_path / "large").read_bytes() == data
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_a_refusal_in_the_middle_of_a_long_body_is_heard(storage: Storage, tmp_path: Path) -> None:
    container = storage.container(f"refused-{next(numbers)}")
    large = tmp_path / "large"
    large.write_bytes(bytes(20_000_000))
    client = BlobClient(storage.url(container, "r"), waits=(0.01,))
    with contextlib.closing(client._wire), pytest.raises(BlobError) as refused:
        client.put("large", large)
    assert refused.value.refused
    assert "sig=" not in str(refused.value)


def test_a_container_that_is_gone_is_not_made_anew(storage: Storage) -> None:
    client = BlobClient(storage.url(f"never-{next(numbers)}", "rcw"), waits=())
    with contextlib.closing(client._wire), pytest.raises(BlobError, match="ContainerNotFound"):
        client.append("journal/node.jsonl", b"line")


def test_a_managed_identity_s_token_goes_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = [], []

    def service(request: Request) -> Answer:
        if request.path.startswith("/msi/token"):
            asked.append((request.path, request.headers.get("X-IDENTITY-HEADER")))
            expires = str(int(time.time()) + 3600)
            return Answer(200, body=json.dumps({"access_token": "t0ken", "expires_on": expires}).encode())
        told.append(request.headers.get("Authorization"))
        return Answer(201)

    with Faulty(0, service) as port:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        client = BlobClient(f"http://127.0.0.1:{port}/account/container", managed_identity("client-1"))
        client.put("a", b"1")
        client.put("b", b"2")
    assert told == ["Bearer t0ken"] * 2
    (path, header) = asked[0]
    assert (len(asked), header) == (1, "secret")
    assert "client_id=client-1" in path
    assert "resource=https%3A%2F%2Fstorage.azure.com" in path
