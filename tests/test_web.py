"""The page's server: who it lets in, what it tells, what it does; over HTTP, as a browser asks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from farm_runs import PATIENCE_SECONDS, Done, Farm, card, ended, fault, frames_there, wait_for
from PIL import Image

from renderfarm import cli
from renderfarm.cli.web import page
from renderfarm.errors import StoreError
from renderfarm.farm import job_in_hand
from renderfarm.job import record as records
from renderfarm.job import snapshots
from renderfarm.job.fold import fold
from renderfarm.job.job import Job
from renderfarm.job.ledger import Ledger
from renderfarm.job.shelf import Shelf
from renderfarm.job.store import Store
from renderfarm.pictures.small import flat
from renderfarm.renderers.blender import builds
from renderfarm.web import clerk, views
from renderfarm.web.answers import Desk
from renderfarm.web.board import SILENT
from renderfarm.web.doors import Doors
from renderfarm.web.server import serve
from renderfarm.web.stream import ANEW, Stream
from renderfarm.web.thumbnails import Thumbnails
from renderfarm.web.views import Shown
from renderfarm.words.frames import parse
from renderfarm.words.scene import Colour
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed


@dataclass
class Browser:
    """Asks like a browser that came in by a link, as far as one is needed."""

    said: list[str]
    cookie: str = ""

    @property
    def port(self) -> int:
        return urlsplit(self.said[0]).port or 0

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[HTTPResponse, bytes]:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request(method, path, body or None, {"Cookie": self.cookie, **sent})
            answer = connection.getresponse()
            return answer, answer.read()

    def get(self, path: str) -> Any:
        answer, data = self.ask(path)
        assert answer.status == 200, data
        return json.loads(data)

    def post(self, address: str, **asked: object) -> tuple[int, Any]:
        answer, data = self.ask(address, "POST", json.dumps(asked), Origin=f"http://127.0.0.1:{self.port}")
        return answer.status, json.loads(data)

    def enter(self, link: str) -> int:
        parts = urlsplit(link)
        answer, _ = self.ask(f"{parts.path}?{parts.query}")
        self.cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
        return answer.status

    def events(self, after: int | None = None) -> Iterator[Any]:
        """Batches, as they come."""
        more = {} if after is None else {"Last-Event-ID": str(after)}
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request("GET", "/events", headers={"Cookie": self.cookie, **more})
            with connection.getresponse() as answer:
                for line in answer:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])


@pytest.fixture
def browser(home: Path) -> Iterator[Browser]:
    """A browser that is in, and the server of the test's farm home."""
    over, said = threading.Event(), list[str]()
    thread = threading.Thread(target=serve, args=(said.append,), kwargs={"over": over.is_set, "linger": 0.0})
    thread.start()
    try:
        wait_for(lambda: said, "its address")
        browser = Browser(said)
        browser.enter(said[0])
        yield browser
    finally:
        over.set()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


@pytest.fixture
def farm(tmp_path: Path, home: Path) -> Farm:
    """The command line with the test's own home."""
    return Farm(tmp_path / "farm", home)


def submit(farm: Farm, scene: Path, *more: str) -> str:
    """Submit here, without a process of its own; the job's id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(farm.folder)
        cli.main(["submit", "-q", "--no-video", "-o", str(farm.folder / "out"), *more, str(scene)])
    return Shelf(farm.home).names()[-1]


# Who comes in


def test_a_link_lets_one_browser_in_and_works_once(browser: Browser) -> None:
    assert browser.cookie.startswith(f"renderfarm-{browser.port}=")
    assert browser.ask("/api/jobs")[0].status == 200
    other = Browser(browser.said)
    assert other.enter(browser.said[0]) == 403
    assert other.ask("/api/jobs")[0].status == 403


def test_a_link_leads_to_this_server_and_its_cookie_to_no_script_and_no_other_site(browser: Browser) -> None:
    for path in ("/jobs/a/frames/7", "/\\evil.example/", "//evil.example", "/\t/evil.example", "/ä&b"):
        _, made = browser.post("/api/links", path=path)
        parts = urlsplit(made["link"])
        answers = [browser.ask(f"{address}?{parts.query}") for address in (parts.path, quote(path))]
        assert {"HttpOnly", "SameSite=strict"} <= set((answers[0][0].getheader("Set-Cookie") or "").split("; "))
        for _, shown in answers:
            (target,) = re.findall(r'content="0;url=/([^"]*)"', shown.decode())
            assert re.fullmatch(r"[\w%.-][\w%./-]*", target), shown


def test_a_name_that_is_not_this_machines_is_refused_with_the_right_address(browser: Browser) -> None:
    answer, told = browser.ask("/", Host="evil.example")
    assert answer.status == 421
    assert f"http://127.0.0.1:{browser.port}" in told.decode()
    assert browser.ask("/api/jobs", Host="[::1")[0].status == 421
    for own in ("localhost", f"page.localhost:{browser.port}", "192.168.1.9", "[::1]:80", socket.gethostname()):
        assert browser.ask("/", Host=own)[0].status == 200


def test_only_the_page_itself_changes_something(browser: Browser) -> None:
    own = f"http://127.0.0.1:{browser.port}"
    strangers = [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": own},
    ]
    for headers in strangers:
        assert browser.ask("/api/links", "POST", "{}", **headers)[0].status == 403
    for headers in ({"Sec_Fetch_Site": "same-origin"}, {"Origin": own}):
        assert browser.ask("/api/links", "POST", "{}", **headers)[0].status == 200


def test_nothing_but_the_pages_own_files_is_served(browser: Browser) -> None:
    for path in ("/page/..%2fserver.py", "/page/../server.py", "/page/%2e%2e/server.py", "/page/x"):
        assert browser.ask(path)[0].status == 404


def test_every_answer_has_the_policies(browser: Browser) -> None:
    for answer, _ in (browser.ask("/"), browser.ask("/api/jobs"), Browser(browser.said).ask("/")):
        assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    folder = Path(views.__file__).with_name("page")
    for path in folder.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path
        assert "innerHTML" not in text
        assert "onclick=" not in text


# What it tells


def test_a_job_is_its_ledger(browser: Browser, farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-12", faults=fault("error", 7))
    job = submit(farm, scene, "--retries", "0")
    told = browser.get(f"/api/jobs/{job}")
    assert (told["id"], told["range"], told["runs"]) == (job, "1-12", [[2, 6], [3, 1], [2, 5]])
    for other in (job[:-1], "", str(farm.folder / "out").replace("/", "%2f"), "..%2f" + job):
        assert browser.ask(f"/api/jobs/{other}/frames/1")[0].status == 404, (
            "its whole id names it, nothing else"
        )
    (group,) = told["failures"]
    assert (group["frames"], group["reason"], group["signs"]) == (
        "7", "unknown", ["frame 7: the scene asked for an error"]
    )  # fmt: skip
    assert browser.get(f"/api/jobs/{job}/frames/7")["failure"] == ["unknown", "the scene asked for an error"]
    log = browser.get(f"/api/jobs/{job}/log?frame=7")
    assert "asked for an error" in log["text"]
    rest = browser.get(f"/api/jobs/{job}/log?node=w1&name={log['name']}&start=6")
    assert (rest["name"], rest["text"]) == (log["name"], log["text"][6:]), "its node has gone on meanwhile"
    assert browser.get(f"/api/jobs/{job}/log?node=w1&name=%00&start=6")["text"] == ""
    times = browser.get(f"/api/jobs/{job}/times?columns=4")
    assert len(times["most"]) == 4
    assert sum(node["frames"] for node in times["nodes"]) >= 11


def test_a_file_whose_name_is_no_utf_8_is_told_and_none_turns_text_around(browser: Browser, farm: Farm) -> None:
    job = Shelf(farm.home).named(submit(farm, card(farm.folder / "a\u202etxt.testcard", "1-1")))
    records.write(replace(job.record, notes=("\udcff.png is missing",)), job.folder)
    told = browser.get(f"/api/jobs/{job.id}")
    assert (told["notes"], told["scene"]) == (["\udcff.png is missing"], "a\ufffdtxt.testcard")


def test_the_ledger_of_a_long_job_is_kept_when_it_ends(
    farm: Farm, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (snapshots, job_in_hand):
        monkeypatch.setattr(room, "SNAPSHOT_EVENTS", 10)
    scene = card(farm.folder / "card.testcard", "1-12", faults=fault("error", 3))
    job = Shelf(home).named(submit(farm, scene, "--retries", "1"))
    with contextlib.closing(Store(home)) as store:
        job.restore(store.snapshot(job.folder) or b"")
    kept, told = job.ledger, Job.at(job.folder).refresh().ledger
    assert (kept.counts().succeeded, kept.counts().failed) == (11, 1)
    assert [replace(f, started=0) for f in kept.frames.values()] == [
        replace(f, started=0) for f in told.frames.values()
    ], "what was heard by pipe is what stands in the journals; only clocks differ"
    assert (kept.tally, kept.remarks, kept.tries) == (told.tally, told.remarks, told.tries)
    assert job.refresh().heard == 0


def test_ten_million_frames_that_wait_are_three_runs() -> None:
    ledger = Ledger(parse("1-10000000"), 0)
    fold(ledger, Failed(2_000_000, Reason.SCENE_ERROR, "no", attempt=1), 1.0)
    assert views.runs(ledger, parse("1-10000000")) == [[0, 1_999_999], [3, 1], [0, 8_000_000]]


def test_frames_come_small_in_one_answer_and_are_made_once(browser: Browser, farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-4", size=[960, 540], faults=fault("error", 3))
    job = submit(farm, scene, "--retries", "0")
    found = bundle(browser, job, "1,2,3,9")
    assert [found[frame].size for frame in (1, 2)] == [(480, 270)] * 2
    assert found[3] == "Frame 3 is not there yet."
    kept = farm.folder / "out" / ".renderfarm" / job / "thumbnails"
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len(before) == 2
    bundle(browser, job, "1,2")
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before


def bundle(browser: Browser, job: str, frames: str) -> dict[int, Any]:
    """The pictures of one answer, or why there is none."""
    answer, data = browser.ask(f"/api/jobs/{job}/thumbnails?frames={frames}")
    assert answer.status == 200
    file, found = io.BytesIO(data), {}
    while line := file.readline():
        told = json.loads(line)
        found[told["frame"]] = told.get("why") or Image.open(io.BytesIO(file.read(told["bytes"])))
    return found


def test_an_order_that_nobody_waits_for_any_more_leaves_no_picture_to_the_next(tmp_path: Path) -> None:
    shown = []
    for value in (0, 255):
        path = tmp_path / f"{value}.png"
        Image.new("L", (8, 8), value).save(path)
        shown.append(Shown(path, 1, 1, Colour(), tmp_path / "kept"))

    async def main() -> list[bytes | str]:
        thumbnails = Thumbnails()
        await thumbnails.warm()
        left = asyncio.create_task(thumbnails.of(shown[0], 0, "exact"))
        for _ in range(3):
            await asyncio.sleep(0)
        left.cancel()
        made = [await thumbnails.of(shown[1], 1, "exact"), await thumbnails.of(shown[0], 2, "exact")]
        await thumbnails.close()
        return made

    pictures = [Image.open(io.BytesIO(made)) for made in asyncio.run(main()) if isinstance(made, bytes)]
    assert [picture.convert("L").getpixel((0, 0)) for picture in pictures] == [255, 0]


def test_a_folder_that_does_not_answer_holds_up_its_own_job_alone(
    home: Path, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [submit(farm, card(farm.folder / f"{name}.testcard", "1-1")) for name in ("a", "b")]
    free = threading.Event()

    async def problems(desk: Desk) -> list[str]:
        jobs = await desk.ask(lambda board: (board.expect(names[0]), board.news(), board.jobs())[-1])
        return [job.get("problem", "") for job in jobs]

    async def main() -> None:
        desk = Desk(home, Doors("127.0.0.1", 1))
        assert await problems(desk) == ["", ""]
        monkeypatch.setattr(clerk, "PATIENCE_SECONDS", 0.5)
        stuck = asyncio.create_task(desk.ask(lambda board: (board.job(names[0]), free.wait(PATIENCE_SECONDS))))
        await asyncio.sleep(0)
        monkeypatch.setattr(clerk, "PATIENCE_SECONDS", PATIENCE_SECONDS)
        behind = asyncio.create_task(problems(desk))
        with pytest.raises(StoreError, match="does not answer"):
            await stuck
        assert await behind == [SILENT, ""]
        with pytest.raises(StoreError, match="does not answer"):
            await desk.ask(lambda board: board.picture(names[0], 1))
        free.set()
        while await problems(desk) != ["", ""]:
            await asyncio.sleep(0.05)
        await desk.close()

    asyncio.run(main())


def test_a_picture_that_several_ask_for_at_once_is_made_once(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    shown = Shown(tmp_path / "a.png", 1, 1, Colour(), tmp_path / "kept")

    async def main() -> list[bytes | str]:
        thumbnails = Thumbnails()
        made = await asyncio.gather(*(thumbnails.of(shown, 1, "small") for _ in range(5)))
        await thumbnails.close()
        return made

    made = asyncio.run(main())
    assert isinstance(made[0], bytes)
    assert all(each is made[0] for each in made)


def test_a_process_for_pictures_that_leaves_just_when_it_is_wanted_is_started_anew(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)

    async def main() -> list[bytes | str]:
        thumbnails, made = Thumbnails(), []
        for name in ("a.png", "b.png"):
            made.append(
                await thumbnails.of(Shown(tmp_path / name, 1, 1, Colour(), tmp_path / name[0]), 1, "small")
            )
            if process := thumbnails._process:
                os.kill(process.pid, signal.SIGALRM)
                with contextlib.suppress(ChildProcessError):  # its end has been told already
                    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        await thumbnails.close()
        return made

    assert [type(each) for each in asyncio.run(main())] == [bytes, bytes]


def test_no_module_of_the_folder_that_somebody_works_in_is_run(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("renderfarm", "click", "json", "subprocess"):
        (farm.folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit(9)")
    monkeypatch.chdir(farm.folder)
    job = submit(farm, card(farm.folder / "card.testcard", "1-1"), "--detach")
    with page():
        asyncio.run(made_ready())
    assert builds._python_facts(os.path.realpath(sys.executable), confined=False) is None
    wait_for(lambda: Shelf(farm.home).named(job).refresh().status().ended, "its end")
    assert not (tmp_path / "ran").exists()


def test_who_submits_with_a_page_is_told_the_next_address_when_one_was_used(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with page():
        address = capsys.readouterr().err
        assert Browser([address]).enter(address.strip()) == 200
        wait_for(lambda: "Another browser: http://" in capsys.readouterr().err, "another address")


async def made_ready() -> None:
    """A process for pictures that has got as far as an answer."""
    thumbnails = Thumbnails()
    shown = Shown(Path("none.png"), 1, 1, Colour(), Path("none"))
    assert "can't be shown" in str(await thumbnails.of(shown, 1, "small"))
    await thumbnails.close()


def test_a_picture_that_was_damaged_since_says_so(browser: Browser, farm: Farm) -> None:
    job = submit(farm, card(farm.folder / "card.testcard", "1-2"), "--no-reuse")
    path = farm.folder / "out" / "frames" / "card.0001.png"
    status = path.stat()
    path.write_bytes(path.read_bytes()[:40].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = bundle(browser, job, "1,2")
    assert found[1].startswith("This picture can't be shown: ")
    assert found[2].size == (32, 18)


def test_a_frame_that_was_written_over_comes_from_the_cache(browser: Browser, farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-1", size=[64, 36], views=["_L", "_R"])
    first = submit(farm, scene)
    card(scene, "1-1", size=[32, 18], views=["_L", "_R"])
    second = submit(farm, scene)
    assert bundle(browser, first, "1")[1].size == (64, 36)
    assert bundle(browser, second, "1")[1].size == (32, 18)
    assert browser.get(f"/api/jobs/{second}")["before"] == first


def test_a_large_picture_is_asked_for_once(browser: Browser, farm: Farm) -> None:
    job = submit(farm, card(farm.folder / "card.testcard", "1-1"))
    answer, data = browser.ask(f"/api/jobs/{job}/frames/1/picture?kind=exact")
    with Image.open(farm.folder / "out" / "frames" / "card.0001.png") as picture:
        assert Image.open(io.BytesIO(data)).tobytes() == flat(picture).tobytes()
    tag = answer.getheader("ETag") or ""
    assert browser.ask(f"/api/jobs/{job}/frames/1/picture?kind=exact", If_None_Match=tag)[0].status == 304


def test_of_a_long_log_its_ends_are_read_and_what_is_no_file_is_neither_read_nor_followed(
    browser: Browser, farm: Farm
) -> None:
    job = submit(farm, card(farm.folder / "card.testcard", "1-1", faults=fault("error", 1)), "--retries", "0")
    (log,) = (farm.folder / "out" / "logs").glob("*.log")
    log.write_bytes(b"error at first\n" + b"x" * (3 << 20) + b"\nerror at last\n")
    signs = browser.get(f"/api/jobs/{job}/frames/1")["signs"]
    assert (signs[0], signs[-1]) == ("error at first", "error at last")
    log.unlink()
    os.mkfifo(log)
    assert browser.get(f"/api/jobs/{job}/frames/1")["signs"] == []
    log.unlink()
    (farm.folder / "secret").write_text("error of somebody")
    log.symlink_to(farm.folder / "secret")
    assert browser.get(f"/api/jobs/{job}/log?frame=1")["text"] == ""
    assert browser.get(f"/api/jobs/{job}/frames/1")["signs"] == []


def test_what_a_report_links_to_is_on_the_page(browser: Browser, farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "-2-2", faults=fault("error", -1))
    job = submit(farm, scene, "--retries", "0")
    answer, report = browser.ask(f"/jobs/{job}/out/report.html")
    assert "media-src data:" in (answer.getheader("Content-Security-Policy") or "")
    links = dict.fromkeys(re.findall(r'href="([^"#]+)"', report.decode()))
    leads = {link: browser.ask(f"/jobs/{job}/out/{link}")[0].getheader("Location") for link in links}
    assert len(leads) >= 2
    assert {lead for link, lead in leads.items() if link.startswith("logs/")} == {f"/jobs/{job}/frames/-1"}
    assert {lead for link, lead in leads.items() if not link.startswith("logs/")} == {f"/jobs/{job}"}
    for lead in leads.values():
        assert browser.ask(str(lead))[0].status == 200


def test_nights_are_found_by_their_jobs_and_may_do_nothing(browser: Browser, farm: Farm) -> None:
    night = farm.folder / "nights" / "2026-11-30"
    job = submit(farm, card(farm.folder / "card.testcard", "1-1"), "-o", str(night / "card"))
    (night / "night.json").write_text(json.dumps({"title": "<b>", "shots": [{"state": "failed"}]}))
    (night / "index.html").write_text("<script>alert(1)</script>")
    (told,) = browser.get("/api/nights")
    assert (told["title"], told["night"], told["shots"], told["bad"]) == ("<b>", "2026-11-30", 1, 1)
    answer, _ = browser.ask(f"/nights/{told['id']}/2026-11-30/index.html")
    assert "sandbox" in (answer.getheader("Content-Security-Policy") or "")
    answer, _ = browser.ask(f"/nights/{told['id']}/2026-11-30/card/report.html")
    assert answer.getheader("Location") == f"/jobs/{job}/out/report.html"
    assert browser.ask("/nights/0123456789ab/2026-11-30/index.html")[0].status == 404


# What happens


def test_one_job_that_cant_be_read_hides_no_other_and_is_looked_at_again(browser: Browser, farm: Farm) -> None:
    bad, good = (
        submit(farm, card(farm.folder / f"{name}.testcard", "1-1"), "-o", str(farm.folder / name))
        for name in "ab"
    )
    journal = farm.folder / "a" / ".renderfarm" / bad / "journal" / "w9.jsonl"
    journal.mkdir()  # root, too, reads no folder
    told = {job["id"]: job for job in browser.get("/api/jobs")["jobs"]}
    assert (told[bad]["problem"], told[good]["state"]) == (
        f"What is known of a job can't be read: {journal}: it is no regular file.",
        "succeeded",
    )
    assert browser.ask(f"/api/jobs/{bad}")[0].status == 404
    assert "Mend that" in farm.run("status", bad).err
    assert {job["job"]: job["state"] for job in farm.look("jobs")["jobs"]}[good] == "succeeded"
    journal.rmdir()
    with contextlib.closing(browser.events()) as events:
        news = next(events)
        while bad not in news.get("anew", ()):
            news = next(events)
    assert next(job for job in news["jobs"] if job["id"] == bad)["state"] == "succeeded"


def test_frames_are_told_as_they_come_and_none_is_lost_between_two_streams(
    browser: Browser, farm: Farm
) -> None:
    browser.get("/api/jobs")
    process = farm.start("submit", "-q", card(farm.folder / "card.testcard", "1-24", seconds=0.05))
    told, number = dict[int, int](), 0
    with contextlib.closing(browser.events()) as events:
        while list(told.values()).count(2) < 3:
            told, number = after(browser, told, next(events)), number + 1
    with contextlib.closing(browser.events(after=number)) as events:
        while list(told.values()).count(2) < 24:
            told = after(browser, told, next(events))
    assert told == dict.fromkeys(range(1, 25), 2)
    assert ended(process).code == 0


def after(browser: Browser, told: dict[int, int], batch: Any) -> dict[int, int]:
    """What a page knows of the one job's frames after a batch of news, or when it missed some."""
    whole = [job["id"] for job in browser.get("/api/jobs")["jobs"]]
    for job in whole if not (batch and told) else batch.get("anew", ()):
        runs = browser.get(f"/api/jobs/{job}")["runs"]
        told = dict(enumerate((code for code, count in runs for _ in range(count)), 1))
    changes = [change for frames in batch.get("frames", {}).values() for change in frames]
    return told | {frame: code for frame, code, _ in changes}


def test_who_missed_something_asks_for_all_anew() -> None:
    async def main() -> None:
        stream = Stream(lambda: asyncio.sleep(0, ({}, False)))
        stream.tell({"at": 1})
        for after in (None, 1, 0, 999):
            follow = stream.follow(after)
            assert (ANEW in await anext(follow)) is (after in (0, 999))
            await follow.aclose()

    asyncio.run(main())


def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renderfarm.web.stream.REST_SECONDS", 0.01)
    troubles = [OSError(), sqlite3.OperationalError("locked"), StoreError("gone")]

    async def look() -> tuple[dict[str, Any], bool]:
        if troubles:
            raise troubles.pop()
        return {"jobs": []}, True

    async def main() -> bytes:
        stream = Stream(look)
        running = asyncio.create_task(stream.run())
        words = stream.follow(None)
        found = [await anext(words) for _ in range(2)][-1]
        await words.aclose()
        stream.close()
        await running
        return found

    assert asyncio.run(main()).startswith(b"id: 1")


def test_nothing_is_looked_up_while_nobody_listens() -> None:
    looks = list[object]()

    async def main() -> list[object]:
        stream = Stream(lambda: asyncio.sleep(0, (looks.append(1) or {}, True)))
        running = asyncio.create_task(stream.run())
        await asyncio.sleep(0.05)
        before = looks.copy()
        stream.close()
        await running
        return before

    assert asyncio.run(main()) == []


def test_a_film_that_grows_is_told(browser: Browser, farm: Farm) -> None:
    farm.start("submit", "-q", "--workers", "1", card(farm.folder / "card.testcard", "1-2000", seconds=0.05))
    film = farm.folder / "renders" / "card" / ".renderfarm" / "film" / "so-far.mp4"
    wait_for(lambda: frames_there(farm.folder / "renders" / "card"), "frames")
    film.parent.mkdir(exist_ok=True)
    told = list[object]()
    with contextlib.closing(browser.events()) as events:
        for moment in (1, 2):
            film.write_bytes(b"film")
            os.utime(film, (moment + 2e9, moment + 2e9))
            while told[-1:] != [(moment + 2_000_000_000) * 1000]:
                told += [job["film"] for job in next(events).get("jobs", ()) if "film" in job]


# What it does


def test_a_job_is_paused_resumed_canceled_and_tried_again_from_the_page(browser: Browser, farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-2000", seconds=0.05, faults=fault("error", 1))
    process = farm.start("submit", "-q", "--workers", "1", "--retries", "0", scene)
    wait_for(lambda: Shelf(farm.home).names() and frames_there(farm.folder / "renders" / "card") > 2, "frames")
    (job,) = Shelf(farm.home).names()
    assert browser.post(f"/api/jobs/{job}/retry", frames="1") == (200, {"done": "retry"})
    assert browser.post(f"/api/jobs/{job}/pause") == (200, {"done": "pause"})
    assert ended(process).code == 130
    assert browser.post(f"/api/jobs/{job}/resume") == (200, {"done": "resume"})
    wait_for(lambda: browser.get(f"/api/jobs/{job}")["state"] == "running", "it goes on")
    status, told = browser.post(f"/api/jobs/{job}/resume")
    assert (status, "Somebody else" in told["error"]) == (409, True)
    assert browser.post(f"/api/jobs/{job}/cancel")[0] == 200
    wait_for(lambda: browser.get(f"/api/jobs/{job}")["state"] in ("canceled", "failed"), "its end")
    assert browser.post(f"/api/jobs/{job}/retry", frames="5000")[0] == 409
    assert browser.post(f"/api/jobs/{job}/frobnicate")[0] == 404


# The command line


def test_web_prints_its_address_first_and_ends_with_130(farm: Farm) -> None:
    process = farm.start("web")
    assert process.stderr is not None
    address = process.stderr.readline()
    assert Browser([address]).enter(address.strip()) == 200
    assert process.stderr.readline().startswith("Another browser: http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert (done.code, done.out, done.err) == (130, "", "Stopped.\n")


def test_a_submit_with_a_page_that_is_stopped_says_so_once(farm: Farm) -> None:
    process = farm.start("submit", "--web", card(farm.folder / "card.testcard", "1-1000", seconds=0.1))
    assert process.stderr is not None
    assert process.stderr.readline().startswith("http://")
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert (done.code, done.err.count("Stopped.") + done.err.count("Interrupted")) == (130, 1)


def test_a_port_that_is_taken_is_a_sentence_and_2(farm: Farm, browser: Browser) -> None:
    done = farm.run("web", "--port", browser.port)
    assert (done.code, "can't be served" in done.err) == (2, True)


def test_submit_with_a_page_ends_with_its_job(farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-3")
    done: Done = farm.submit(scene, "--web")
    assert (done.code, done.json["state"]) == (0, "succeeded")
    assert done.err.startswith("http://127.0.0.1:")
    assert "A page is open" not in done.err
