"""SIGINT and SIGTERM at random moments, from the first of our own code: exit 130, one line, no traceback."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.farm_runs import PATIENCE_SECONDS, Farm, card

LATEST_SECONDS = 1.5
COMMANDS = (("jobs",), ("inspect", "a.testcard"), ("submit", "a.testcard", "--no-reuse", "-o", "out"))
BEGIN = "import os; from renderfarm.__main__ import main; os.write(1, b'.'); main()"


def wrong(rounds: int, dice: random.Random, folder: Path) -> list[str]:
    """What went otherwise in so many rounds."""
    farm = Farm(folder)
    card(farm.folder / "a.testcard", "1-200", seconds=0.05)
    return [found for _ in range(rounds) if (found := _round(farm, dice))]


def _round(farm: Farm, dice: random.Random) -> str:
    command, number = dice.choice(COMMANDS), dice.choice((signal.SIGINT, signal.SIGTERM))
    pause = dice.uniform(0, LATEST_SECONDS) ** 2
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, *command],
        cwd=farm.folder,
        env=farm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as process:
        assert process.stdout
        process.stdout.read(1)
        time.sleep(pause)
        process.send_signal(number)
        try:
            said = process.communicate(timeout=PATIENCE_SECONDS)[1].decode()
        finally:
            process.kill()
    told = "Stopped." in said or "Interrupted" in said
    finished = process.returncode == 0  # it had ended before
    if finished or (process.returncode == 130 and told and "Traceback" not in said):
        return ""
    return f"{' '.join(command)}, {number.name} after {pause:.3f} s: {process.returncode} {said[-500:]}"
