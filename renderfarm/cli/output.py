"""The boundary between library and terminal: what is printed, in which colour, and with which exit code.

Standard output carries results (with --json exactly one JSON object per result), standard error everything
else. Every error ends here in one sentence and the next step; nobody sees a traceback unasked.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from renderfarm.errors import InputError, Interrupted, PoolError, RenderfarmError
from renderfarm.words.stopping import INTERRUPTED, Stop, stoppable

DEBUG_VARIABLE = "RENDERFARM_DEBUG"
PROGRAM = "renderfarm"
COMPLETE_VARIABLE = "_RENDERFARM_COMPLETE"
STOPPED = "Stopped."
LIMITS = {
    errno.EMFILE: "as many open files as it needs (see ulimit -n)",
    errno.ENFILE: "as many open files as it needs",
    errno.EAGAIN: "as many processes as it needs (see ulimit -u)",
    errno.ENOMEM: "the memory that it needs",
    errno.ENOSPC: "the room that it needs on a disk",
    errno.EDQUOT: "the room that it needs on a disk",
}
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


def clean(text: str) -> str:
    """Text with every character that could move a cursor or break a line made visible."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def examples(*lines: str) -> dict[str, Any]:
    """What all commands have in common, with the examples at the end of a command's help."""
    return {"context_settings": HELP, "epilog": "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)}


def run(group: click.Group, argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; the only place that turns errors into text.

    In place of click's own `main`, which takes every broken pipe, a renderer's too, for a reader who left.
    """
    with stoppable() as stop:
        return _run(group, list(sys.argv[1:] if argv is None else argv), stop)


def _run(group: click.Group, arguments: list[str], stop: Stop) -> int:
    try:
        return _invoke(group, arguments)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except ReaderGone:
        return _fall_silent()
    except (KeyboardInterrupt, click.Abort):
        return _stopped()
    except click.ClickException as error:
        return _show_usage_error(error, arguments)
    except RenderfarmError as error:
        return _show_error(error)
    except Exception as error:  # noqa: BLE001 - the boundary: recorded, reported, exit 1
        if stop.came:
            return _stopped()
        told = _of_system(error)
        return _show_error(told) if told else _show_crash(error)


def _of_system(error: Exception) -> RenderfarmError | None:
    """What the system refused, in a place that nobody foresaw."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError):
        number = errno.ENOMEM
    elif isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        number = errno.EAGAIN
    if limit := LIMITS.get(number or 0):
        return PoolError(f"The system did not give this command {limit}.", "Allow more, and try again.")
    if isinstance(error, OSError) and error.filename:
        return InputError(f"{error.filename} can't be used: {error.strerror}.", "Mend that, and try again.")
    return None


def _stopped() -> int:
    say(STOPPED, err=True)
    return INTERRUPTED


def _invoke(group: click.Group, arguments: Sequence[str]) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    with group.make_context(PROGRAM, list(arguments) or ["--help"]) as context:
        result = group.invoke(context)
    return result if isinstance(result, int) else 0


class ReaderGone(Exception):  # noqa: N818 - nobody reads standard output any more, as in `renderfarm jobs | head`
    """Raised in place of BrokenPipeError, which could come from anywhere."""


def say(text: str = "", *, err: bool = False) -> None:
    """Print a line (or lines) for people."""
    stream = sys.stderr if err else sys.stdout
    _echo(text, err, None if coloured(stream) else False)


def emit(value: object) -> None:
    """Print a value as one line of JSON on standard output."""
    from renderfarm.words.as_json import encode

    _echo(json.dumps(encode(value), separators=(", ", ": ")))


def as_json() -> bool:
    """Whether the command that runs was asked for JSON."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get("json"))


def show(value: object, text: str) -> int:
    """Print a value for scripts or for people; the exit code of a command that only tells."""
    if as_json():
        emit(value)
    else:
        say(text)
    return 0


def _echo(text: str, err: bool = False, color: bool | None = None) -> None:
    try:
        click.echo(text, err=err, color=color)
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError:
        if not err:  # else nobody can be told
            raise


def _fall_silent() -> int:
    """Point standard output at nothing, so that the interpreter's last flush doesn't complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def coloured(stream: IO[str]) -> bool:
    """Whether colour is welcome: a terminal, not a dumb one, and no NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def harmless(text: str) -> str:
    """Foreign text as it is for a file or a pipe, and without control characters for a terminal."""
    return _lines(text.expandtabs()) if sys.stdout.isatty() else text


def _show_error(error: RenderfarmError) -> int:
    label = "" if isinstance(error, Interrupted) else click.style("Error: ", fg="red", bold=True)
    say(label + _lines(error.message), err=True)
    if error.hint:
        say(_lines(error.hint), err=True)
    if os.environ.get(DEBUG_VARIABLE):
        say(traceback.format_exc(), err=True)
    return error.exit_code


def _lines(text: str) -> str:
    return "\n".join(clean(line) for line in text.splitlines())


def _show_usage_error(error: click.ClickException, argv: Sequence[str]) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return error.exit_code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        say(error.ctx.get_usage(), err=True)
    say(click.style("Error: ", fg="red", bold=True) + _lines(error.format_message() + _origin(error)), err=True)
    from renderfarm.settings.checks import is_file

    dashed = next((a for a in argv if a.startswith("-") and is_file(Path(a))), None)
    if dashed is not None:
        say(f"{clean(dashed)} is a file here: write ./{clean(dashed)}", err=True)
    elif isinstance(error, click.UsageError) and error.ctx is not None:
        say(f"See {error.ctx.command_path} --help.", err=True)
    return error.exit_code


def _origin(error: click.ClickException) -> str:
    """Where a bad value came from, when it was not typed."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    source = error.ctx.get_parameter_source(error.param.name or "")
    if source is click.core.ParameterSource.ENVIRONMENT:
        return " It comes from the environment."
    if source is click.core.ParameterSource.DEFAULT_MAP:
        origin = error.ctx.meta.get("origins", {}).get(error.param.name, "a configuration file")
        return f" It comes from {origin}."
    return ""


def _show_crash(error: Exception) -> int:
    text = traceback.format_exc()
    what = clean(f"{type(error).__name__}: {error}")
    say(click.style("Error: ", fg="red", bold=True) + f"renderfarm itself failed: {what}", err=True)
    if os.environ.get(DEBUG_VARIABLE):
        say(text, err=True)
    else:
        say(f"{_save_crash(text)} {DEBUG_VARIABLE}=1 prints it.", err=True)
    return 1


def _save_crash(text: str) -> str:
    from renderfarm.job.home import farm_home

    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    try:
        path = farm_home() / "crashes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except (OSError, RenderfarmError):
        return "The traceback could not be saved;"
    return f"The traceback is in {path};"
