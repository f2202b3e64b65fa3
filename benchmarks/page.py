"""`python -m benchmarks.page`: what the page costs a job, and what the server of a very long job takes.

Without a page, with one viewer and with five, in turns; each viewer hears the stream and asks for the small
picture of every frame as soon as it is told. Then the memory of the server that shows 100,000 frames.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from renderfarm.job import record as records
from renderfarm.job.events import Delivered
from renderfarm.job.job import Job
from renderfarm.job.journal import line
from renderfarm.job.shelf import Shelf
from renderfarm.job.snapshots import read_on
from renderfarm.job.store import Store
from renderfarm.words.updates import Rendered

FRAMES = 100_000
VIEWERS = (0, 1, 5)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("scene", nargs="?", type=Path, default=Path("scenes/povray/balloons.ini"))
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        costs(Path(name), asked.scene.absolute(), asked.rounds)
        memory(Path(name) / "long")


def costs(folder: Path, scene: Path, rounds: int) -> None:
    """What viewers cost a job: of its wall clock, each round beside the one without; of all cores meanwhile."""
    taken: dict[int, list[tuple[float, float]]] = {viewers: [] for viewers in VIEWERS}
    waited: dict[int, list[float]] = {viewers: [] for viewers in VIEWERS}
    for number in range(rounds):
        for viewers in VIEWERS:
            at = folder / f"{number}-{viewers}"
            taken[viewers].append(job_seconds(at, scene, viewers, waited[viewers]))
    print(f"Load {os.getloadavg()[0]:.1f}, medians of {rounds} rounds.\n")
    print("| viewers | seconds | share of the wall clock | CPU of the page | of all cores | picture after it |")
    print("|--:|--:|--:|--:|--:|--:|")
    for viewers, found in taken.items():
        seconds, used = zip(*found, strict=True)
        more = [took / plain - 1 for took, (plain, _) in zip(seconds, taken[0], strict=True)]
        shares = [each / took / len(os.sched_getaffinity(0)) for took, each in found]
        cells = [
            f"{viewers}",
            f"{_middle(seconds, '.2f')} ({min(seconds):.2f} to {max(seconds):.2f})",
            f"{_middle(more, '+.1%')} ({min(more):+.1%} to {max(more):+.1%})",
            f"{_middle(used, '.2f')} s",
            f"{_middle(shares, '.1%')}",
            f"{_middle(waited[viewers], '.2f')} s (longest {max(waited[viewers]):.2f} s)" if viewers else "",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    print()


def _middle(values: Sequence[float], form: str) -> str:
    return format(statistics.median(values), form)


def job_seconds(folder: Path, scene: Path, viewers: int, waited: list[float]) -> tuple[float, float]:
    """How long a job takes that so many look at, and how many seconds of CPU the page took meanwhile.

    How late pictures were is added to `waited`.
    """
    folder.mkdir(parents=True)
    environment = _environment(folder)
    argv = [
        sys.executable,
        "-m",
        "renderfarm",
        "submit",
        "-q",
        "--no-reuse",
        "-o",
        str(folder / "out"),
        str(scene),
    ]
    with _served(environment) if viewers else contextlib.nullcontext(("", 0)) as (link, server):
        if viewers:
            cookie, port = _enter(link)
            for number in range(viewers):
                watch = (port, cookie, folder / "out", waited if number == 0 else [])
                threading.Thread(target=_watch, args=watch, daemon=True).start()
            time.sleep(2.0)
        began, before = time.monotonic(), _cpu_seconds(server)
        subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - began
        return took, _cpu_seconds(server) - before


def _cpu_seconds(process: int) -> float:
    """What a process and its children took; 0 for none."""
    if not process:
        return 0.0
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(_cpu_seconds(int(child)) for child in children)


def _watch(port: int, cookie: str, output: Path, waited: list[float]) -> None:
    """Look like a page: ask for the jobs, hear what happens, ask for the small picture of each new frame."""
    _ask(port, cookie, "/api/jobs")
    events = http.client.HTTPConnection("127.0.0.1", port)
    events.request("GET", "/events", headers={"Cookie": cookie})
    with contextlib.suppress(OSError, http.client.HTTPException), events.getresponse() as answer:
        for text in answer:
            told = json.loads(text[6:]) if text.startswith(b'data: {"') else {}
            for job, frames in told.get("frames", {}).items():
                there = [frame for frame, code, _ in frames if code == 2]
                for frame in there:
                    _ask(port, cookie, f"/api/jobs/{job}/thumbnails?frames={frame}")
                    file = next((output / "frames").glob(f"*.{frame:04d}.*"))
                    waited.append(time.time() - file.stat().st_mtime)


def _ask(port: int, cookie: str, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Cookie": cookie})
    return connection.getresponse().read()


def _enter(link: str) -> tuple[str, int]:
    parts = urlsplit(link)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0)
    connection.request("GET", f"{parts.path}?{parts.query}")
    return str(connection.getresponse().getheader("Set-Cookie")).split(";")[0], parts.port or 0


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "RENDERFARM_HOME": str(folder / "home"), "PYTHONPATH": str(Path.cwd())}


@contextlib.contextmanager
def _served(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    argv = [sys.executable, "-m", "renderfarm", "web"]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        yield process.stderr.readline().strip() if process.stderr else "", process.pid
        process.terminate()


def memory(folder: Path) -> None:
    """What the server of a very long job takes, and how long its answers."""
    environment = _environment(folder)
    job = long_job(folder, Path(environment["RENDERFARM_HOME"]), FRAMES)
    print(f"| {FRAMES:,} frames | seconds | KB |\n|---|--:|--:|")
    with _served(environment) as (link, server):
        cookie, port = _enter(link)
        for what in ("", "", "/times", "/thumbnails?frames=" + ",".join(map(str, range(50_000, 50_024)))):
            began = time.monotonic()
            answer = _ask(port, cookie, f"/api/jobs/{job}{what}")
            took, name = time.monotonic() - began, what.partition("?")[0] or "the job"
            print(f"| `{name}` | {took:.2f} | {len(answer) / 1024:.0f} |")
        status = Path(f"/proc/{server}/status").read_text()
        peak = next(text.split()[1] for text in status.splitlines() if text.startswith("VmHWM"))
        print(f"\nThe server took at most {int(peak) / 1024:.0f} MB.")


def long_job(folder: Path, home: Path, frames: int) -> str:
    """A job of very many frames that are all there, as one picture under many names; its id."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = folder / "long.testcard"
    scene.write_text(json.dumps({"frames": "1-1", "size": [320, 180]}))
    environment = {**_environment(folder), "RENDERFARM_HOME": str(home)}
    argv = [sys.executable, "-m", "renderfarm", "submit", "-q", "-o", str(folder / "out"), str(scene)]
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
    job = Shelf(home).find(str(folder / "out"))
    first = job.record.picture(1)
    found = first.stat()
    written = [_frame(number, found.st_size, found.st_mtime_ns) for number in range(2, frames + 1)]
    for number in range(2, frames + 1):
        job.record.picture(number).symlink_to(first)
    records.write(replace(job.record, frames=f"1-{frames}", total=frames), job.folder)
    with (job.journals / "farm.jsonl").open("ab") as file:
        file.writelines(delivered for _, delivered in written)
    with (job.journals / "w1.jsonl").open("ab") as file:
        file.writelines(rendered for rendered, _ in written)
    with contextlib.closing(Store(home)) as store:
        read_on(store, Job.at(job.folder))  # as the farm does at the end of such a job
    return job.id


def _frame(number: int, size: int, mtime: int) -> tuple[bytes, bytes]:
    """What node and farm say of a frame that came."""
    when = mtime / 1e9 + number * 1e-3
    rendered = Rendered(
        number, f"/somewhere/{number}.png", 0.5 + number % 7 / 10, node="w1", log=f"f{number:04d}.1.log"
    )
    return line(rendered, when), line(Delivered(number, 1, size, mtime), when)


if __name__ == "__main__":
    main()
