"""Telling others how a night or a job went: a command that reads it, a desktop, an address it is posted to."""

from __future__ import annotations

import http.client
import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from renderfarm.errors import InputError
from renderfarm.settings.checks import to_url

DESKTOP = "desktop"
"""in place of a command"""
COMMAND_SECONDS = 60.0
URL_SECONDS = 20.0
PAUSES_SECONDS = (1.0, 4.0, 15.0)
"""before each further try of a post"""
PERMANENT = frozenset(range(400, 500)) - {408, 425, 429}
"""answers that another try would not change"""
SHOWN_CHARACTERS = 200


def tell(
    command: str | None,
    url: str | None,
    summary: Mapping[str, object],
    headline: str,
    folder: Path | None = None,
) -> list[str]:
    """Tell whoever wants to know; what went wrong. The headline is what a desktop shows."""
    troubles = (
        by_command(command, summary, folder, headline) if command else "",
        by_url(url, summary) if url else "",
    )
    return [trouble for trouble in troubles if trouble]


def argv(command: str, headline: str = "") -> list[str]:
    """A command as its words; there is no shell. Raises InputError."""
    if command == DESKTOP:
        return ["notify-send", "--app-name=renderfarm", "--", headline]
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"The command {command!r} can't be read: {error}.", "Mind the quotes.") from error
    if not words:
        raise InputError("The command to notify with is empty.", "Leave it out, or name a program.")
    return words


def by_command(
    command: str, summary: Mapping[str, object], folder: Path | None = None, headline: str = ""
) -> str:
    """Hand the summary to a command on standard input, in a folder; what went wrong, empty when nothing did."""
    try:
        done = subprocess.run(
            argv(command, headline),
            input=json.dumps(summary) + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        return f"the command {command!r} was still running after {COMMAND_SECONDS:.0f} s and was stopped"
    except (OSError, ValueError, InputError) as error:
        return f"the command {command!r} could not be run: {error}"
    last = "".join(f": {line[:SHOWN_CHARACTERS]}" for line in done.stderr.strip().splitlines()[-1:])
    return f"the command {command!r} ended with code {done.returncode}{last}" if done.returncode else ""


def by_url(
    url: str,
    summary: Mapping[str, object],
    pauses: tuple[float, ...] = PAUSES_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Post the summary as JSON, again after a while when that fails; what went wrong in the end."""
    trouble = ""
    for pause in (0.0, *pauses):
        sleep(pause)
        trouble, worth_another = _post(url, summary)
        if not trouble or not worth_another:
            break
    # What follows the host is often a token.
    return trouble and f"{urlsplit(url).hostname} was not told: {trouble}"


def _post(url: str, summary: Mapping[str, object]) -> tuple[str, bool]:
    """What went wrong, and whether trying again makes sense."""
    headers = {"Content-Type": "application/json", "User-Agent": "renderfarm"}
    try:
        request = urllib.request.Request(to_url(url), json.dumps(summary).encode(), headers, method="POST")  # noqa: S310 - http(s) only
        with urllib.request.urlopen(request, timeout=URL_SECONDS):  # noqa: S310 - http(s) only
            return "", False
    except urllib.error.HTTPError as error:
        with error:
            return f"it answered {error.code} {error.reason}", error.code not in PERMANENT
    except urllib.error.URLError as error:
        return str(error.reason), True
    except OSError as error:
        return str(error), True
    except (http.client.HTTPException, ValueError) as error:  # their texts may hold the address, a secret
        return f"no answer that HTTP knows ({type(error).__name__})", not isinstance(error, ValueError)
