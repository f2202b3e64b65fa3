"""Every night by itself: a systemd user timer, or a line in the crontab where there is no systemd.

What is written names the list, so installing again replaces it and uninstalling removes exactly it. Keys of
accounts are never written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from renderfarm.errors import InputError, PoolError
from renderfarm.job.home import user_folder
from renderfarm.nightly import planner, shots
from renderfarm.settings.checks import absolute

SECONDS = 30.0
"""for systemctl and crontab to answer"""
ENVIRONMENT = ("PATH", "PYTHONPATH", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
"""what a timer needs to find the same programs and files as the shell that installs it"""
SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")
MOMENT = "%Y-%m-%dT%H:%M:%S%z"


@dataclass(frozen=True)
class Installed:
    """What was written where, and what it means."""

    written: Mapping[str, str]
    told: str


def clock(value: object) -> str:
    """A time of day as HH:MM; raises InputError."""
    text = str(value)
    if text.count(":") > 1:
        raise InputError(f"{text!r} has seconds, and a night begins on a minute.", "Write it like 02:00.")
    return f"{planner.clock(text):%H:%M}"


def install(path: Path, at: str, finish_by: str | None = None, budget: float | None = None) -> Installed:
    """Run a list every night at a time of day. Raises ConfigError for a list with mistakes, PoolError where
    neither systemd nor cron can be used."""
    listed = shots.read(path)
    job = _Job(listed.path, clock(at), finish_by, budget, f"{datetime.now(UTC):{MOMENT}}")
    has_systemd = shutil.which("systemctl") and _systemctl("show-environment").returncode == 0
    _refuse_unwritable(job, "" if has_systemd else "%")
    uninstall(path)
    return _install_timer(job) if has_systemd else _install_line(job)


def _refuse_unwritable(job: _Job, taken: str) -> None:
    """Raise InputError for what would end a line of a unit file or crontab; cron takes `%` for an end, too."""
    paths = {"the list's path": str(job.path), "this folder's path": str(Path.cwd())}
    said = {**paths, "this Python's path": sys.executable, **job.environment}
    for what, value in said.items():
        for character in value:
            if not character.isprintable() or character in taken:
                shown = character if character in taken else character.encode("unicode_escape").decode()
                message = f"{what} has a {shown} in it, which a timer can't be told: {value!r}."
                raise InputError(message[0].upper() + message[1:], "Rename it, or change the variable.")


def uninstall(path: Path) -> list[str]:
    """Take away what `install` wrote for a list; what that was."""
    job = _Job(Path(absolute(path)), "00:00")
    return [*_remove_timer(job), *_remove_line(job)]


@dataclass(frozen=True)
class _Job:
    path: Path
    at: str
    finish_by: str | None = None
    budget: float | None = None
    installed: str = ""

    @property
    def name(self) -> str:
        """The same for the same list, whatever it is called elsewhere."""
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", self.path.stem)
        return f"renderfarm-nightly-{stem}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]}"

    @property
    def argv(self) -> list[str]:
        words = [sys.executable, "-P", "-m", "renderfarm", "nightly", "run", str(self.path), "--quiet"]
        words += ["--finish-by", self.finish_by] if self.finish_by else []
        words += ["--budget", f"{self.budget:g}"] if self.budget is not None else []
        return [*words, "--installed", self.installed, "--if-missed", self.at]

    @property
    def environment(self) -> dict[str, str]:
        ours = {name for name in os.environ if name.startswith("RENDERFARM_") and not SECRET.search(name)}
        return {name: os.environ[name] for name in sorted(ours | set(ENVIRONMENT)) if name in os.environ}


# systemd


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return _ran(["systemctl", "--user", *words])


def _ran(argv: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    stdin = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False, **stdin)
    except subprocess.TimeoutExpired as error:
        message = f"{argv[0]} did not answer within {SECONDS:.0f} s."
        raise PoolError(message, f"Try it by hand: {shlex.join(argv)}") from error


def _units() -> Path:
    return user_folder().parent / "systemd" / "user"


def _install_timer(job: _Job) -> Installed:
    folder = _units()
    written = {
        str(folder / f"{job.name}.service"): _service(job),
        str(folder / f"{job.name}.timer"): _timer(job),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        Path(name).write_text(content, encoding="utf-8")
    for words in (("daemon-reload",), ("enable", "--now", f"{job.name}.timer")):
        done = _systemctl(*words)
        if done.returncode:
            _remove_timer(job)
            message = f"systemctl --user {shlex.join(words)} failed: {done.stderr.strip()}"
            raise PoolError(message, "Nothing was installed.")
    told = (
        f"It runs every night at {job.at}, and once after a night that was missed.\n"
        f"See it with: systemctl --user list-timers {job.name}.timer\n"
        "To run while you are logged out as well: loginctl enable-linger"
    )
    return Installed(written, told)


def _service(job: _Job) -> str:
    variables = [f"Environment={_quoted(f'{name}={value}')}\n" for name, value in job.environment.items()]
    return f"""\
[Unit]
Description=Nightly renders of {_escaped(str(job.path))}

[Service]
Type=oneshot
WorkingDirectory={_escaped(str(Path.cwd()))}
{"".join(variables)}ExecStart={" ".join(map(_quoted, job.argv)).replace("$", "$$")}
# stopped at its limit with work left: as asked
SuccessExitStatus=4
Nice=10
"""


def _timer(job: _Job) -> str:
    return f"""\
[Unit]
Description=Nightly renders of {_escaped(str(job.path))}

[Timer]
OnCalendar=*-*-* {job.at}:00
# where the clock skips that hour; the run leaves when there was one
OnCalendar=*-*-* {(int(job.at[:2]) + 1) % 24:02d}{job.at[2:]}:00
# a night that was missed is caught up once
Persistent=true

[Install]
WantedBy=timers.target
"""


def _escaped(text: str) -> str:
    """Text in which nothing is a specifier of systemd."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a unit file, as systemd.syntax(7) has it."""
    inner = _escaped(word).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _remove_timer(job: _Job) -> list[str]:
    timer = f"{job.name}.timer"
    there = [file for file in (_units() / timer, _units() / f"{job.name}.service") if file.exists()]
    if not there:
        return []
    _systemctl("disable", "--now", timer)
    _systemctl("clean", "--what=state", timer)
    for file in there:
        file.unlink()
    _systemctl("daemon-reload")
    return [str(file) for file in there]


# cron


def _install_line(job: _Job) -> Installed:
    """Every hour at that minute; the run leaves unless it is due, or was missed."""
    if shutil.which("crontab") is None:
        message = "There is neither a systemd of your own nor cron here."
        raise PoolError(message, f"Have this run every night by other means:\n{shlex.join(job.argv)}")
    variables = [f"{name}={value}" for name, value in job.environment.items()]
    command = shlex.join(["env", "-C", str(Path.cwd()), *variables, *job.argv])
    block = f"# begin {job.name}\n{int(job.at[3:])} * * * * {command}\n# end {job.name}\n"
    before = _crontab()
    _write_crontab(before + "\n" * (before[-1:] not in ("", "\n")) + block)
    told = f"It runs every night at {job.at}, and within the hour after a night that was missed."
    return Installed({"crontab": block}, told)


def _crontab() -> str:
    done = _ran(["crontab", "-l"])
    return done.stdout if done.returncode == 0 else ""


def _write_crontab(text: str) -> None:
    done = _ran(["crontab", "-"], text) if text else _ran(["crontab", "-r"])
    if done.returncode:
        raise PoolError(f"crontab failed: {done.stderr.strip()}", "Nothing was installed.")


def _remove_line(job: _Job) -> list[str]:
    if shutil.which("crontab") is None:
        return []
    before, name = _crontab(), re.escape(job.name)
    kept = re.sub(rf"^# begin {name}\s*$.*?^# end {name}\s*?$\n?", "", before, flags=re.DOTALL | re.MULTILINE)
    if kept == before:
        return []
    _write_crontab(kept)
    return [f"the lines of {job.name} in the crontab"]
