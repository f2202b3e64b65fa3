"""Single jobs tell whoever wants to know how they went; how a command or an address is told, nights test."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from renderfarm.farm import notify
from tests.farm_runs import Farm, card, fault, wait_for


def told(farm: Farm) -> Any:
    return json.loads((farm.folder / "told.json").read_text())


def test_a_command_gets_the_job_as_json_and_how_it_ended(farm: Farm) -> None:
    scene = card(farm.folder / "a.testcard", "1-3", faults=fault("crash", 2))
    done = farm.submit(scene, "--retries", 0, "--notify", "tee told.json")
    assert told(farm) == {**done.json, "exit_code": 1}
    assert done.code == 1


def test_a_job_in_the_background_tells_and_its_record_does_not_say_whom(farm: Farm) -> None:
    scene = card(farm.folder / "a.testcard", "1-2")
    done = farm.submit(scene, "--detach", "--notify", "tee told.json", "--notify-url", "http://x.test/secret")
    file = farm.folder / "told.json"
    wait_for(lambda: file.exists() and file.stat().st_size, "the command of a job in the background")
    assert b"secret" not in (farm.folder / "out" / "job.json").read_bytes()
    assert done.json["job"] == told(farm)["job"]


def test_what_stops_a_job_is_told_as_well(farm: Farm) -> None:
    done = farm.submit(farm.folder / "a.testcard", RENDERFARM_NOTIFY="tee told.json")
    assert (done.code, (farm.folder / "told.json").exists()) == (2, False), "nothing was begun"
    (farm.folder / "a.testcard").write_text("no scene")
    done = farm.submit(farm.folder / "a.testcard", RENDERFARM_NOTIFY="tee told.json")
    assert (told(farm)["exit_code"], told(farm)["error"] in done.err) == (2, True)


@pytest.fixture
def no_http() -> Iterator[str]:
    """The address of something that does not speak HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    asker, _ = server.accept()
                    with asker:
                        asker.recv(1 << 16)
                        asker.sendall(b"no such thing\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/secret"


def test_what_does_not_speak_http_is_told_without_its_address(no_http: str) -> None:
    trouble = notify.by_url(no_http, {}, pauses=())
    assert "was not told" in trouble
    assert "secret" not in trouble


@pytest.mark.parametrize("url", ["http://h:abc/", "http://h/a b", "ftp://h/"])
def test_an_address_that_can_not_be_one_is_refused_before_anything_is_rendered(farm: Farm, url: str) -> None:
    done = farm.submit(card(farm.folder / "a.testcard", "1-2"), "--notify-url", url)
    assert (done.code, "is no http or https address" in done.err) == (2, True)


def test_a_job_that_goes_on_elsewhere_without_us_can_tell_nobody(farm: Farm) -> None:
    table = farm.folder / "xdg" / "renderfarm" / "renderfarm.toml"
    table.parent.mkdir(parents=True)
    table.write_text('[pools.cluster]\ntype = "slurm"\n')
    scene = card(farm.folder / "a.testcard", "1-2")
    done = farm.submit(scene, "--pool", "cluster", "--detach", "--notify", "cat")
    assert (done.code, "status JOB --watch --notify" in done.err) == (2, True)


def test_the_desktop_shows_the_head_line(farm: Farm) -> None:
    program = farm.folder / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nshift $(($# - 1)); echo "$1" > {farm.folder}/shown\n')
    program.chmod(0o755)
    path = f"{program.parent}:{farm.environment['PATH']}"
    done = farm.submit(card(farm.folder / "a.testcard", "1-2"), "--notify", "desktop", PATH=path)
    shown = (farm.folder / "shown").read_text()
    assert shown.startswith(f"{done.json['job']} succeeded: 2 of 2 frames")


def test_a_job_that_runs_already_can_be_waited_for_with_a_bell(farm: Farm) -> None:
    job = farm.submit(card(farm.folder / "a.testcard", "1-2")).json["job"]
    assert farm.run("status", job, "--watch", "--notify", "tee told.json").code == 0
    assert told(farm)["state"] == "succeeded"
    assert told(farm)["last_frame"] == str(farm.folder / "out" / "frames" / "a.0002.png")
