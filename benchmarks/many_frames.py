"""`python -m benchmarks.many_frames`: what a job of ten million frames costs, of which hardly one was touched.

Each command in a process of its own: wall clock, CPU and the largest memory of it and its children.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FRAMES = 10_000_000
RUNNING_SECONDS = 5.0
FAULTS = {str(frame): {"what": "error"} for frame in range(1, 9)}
SUBMIT = ("submit", "--no-video", "--workers", "1", "--retries", "0")
STEPS: tuple[tuple[str, ...], ...] = (
    (*SUBMIT, "--detach", "good.testcard"),
    ("status",),
    ("cancel",),
    ("jobs",),
    ("check", "renders/good"),
    ("assemble", "renders/good", "out.mp4"),
    (*SUBMIT, "bad.testcard"),
    ("status", "--json"),
)


def main() -> None:
    """Print a line for each step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for scene, faults in (("good", {}), ("bad", FAULTS)):
            card = {"frames": f"1-{FRAMES}", "size": [32, 18], "faults": faults}
            (folder / f"{scene}.testcard").write_text(json.dumps(card))
        print(f"| {FRAMES:,} frames | exit | seconds | CPU seconds | MB |\n|---|--:|--:|--:|--:|")
        for step in STEPS:
            print(measured(step, folder), flush=True)
            time.sleep(RUNNING_SECONDS if "--detach" in step else 0)


def measured(step: tuple[str, ...], folder: Path) -> str:
    """One line of the table."""
    environment = {**os.environ, "RENDERFARM_HOME": str(folder / "home"), "PYTHONPATH": str(Path.cwd())}
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    timer = [sys.executable, "-c", _TIMED, sys.executable, "-m", "renderfarm", *step]
    done = subprocess.run(timer, cwd=folder, env=environment, stdout=subprocess.PIPE, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(done.stdout.splitlines()[-1]) / 1024
    what = " ".join(step).replace(" ".join(SUBMIT), "submit")
    return f"| `{what}` | {done.returncode} | {time.monotonic() - began:.1f} | {cpu:.1f} | {peak:.0f} |"


_TIMED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""

if __name__ == "__main__":
    main()
