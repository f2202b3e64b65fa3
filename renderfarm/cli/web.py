"""`renderfarm web`: the page of this farm's jobs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from renderfarm.cli import output
from renderfarm.cli.options import command

if TYPE_CHECKING:
    import subprocess
    import threading

LINGER_SECONDS = 5.0
"""longer than the page waits for somebody who loads it anew"""


@command("renderfarm web", "renderfarm web --port 8080", "renderfarm web --host 0.0.0.0")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 (the default) takes any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address or name to listen at.")
@click.option("--beside", is_flag=True, hidden=True)
def web(port: int, host: str, beside: bool) -> int:
    """Show jobs in a browser while they render: frames, film, times, logs.

    Prints an address that lets one browser in, and the next one when that was
    used. Serves until it is stopped with Ctrl-C. Nothing leaves this machine; with
    --host 0.0.0.0 a phone or a colleague in the same network can look, too.
    """
    from renderfarm.web.server import serve

    over = _ended_input() if beside else None
    serve(lambda line: output.say(line, err=True), host, port, over.is_set if over else None)
    return 0


def _ended_input() -> threading.Event:
    """Set when standard input ends, with the process that has its other end."""
    import threading

    over = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


@contextlib.contextmanager
def page() -> Iterator[None]:
    """The page in a process of its own, which goes with what happens inside, unless somebody looks at it."""
    import subprocess
    import threading

    argv = [sys.executable, "-P", "-m", "renderfarm", "web", "--beside"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        said = iter(process.stderr or ())
        passing_on = threading.Thread(target=_pass_on, args=(said,))
        try:
            output.say(next(said, "").rstrip(), err=True)
            passing_on.start()
            yield
            if process.stdin:
                process.stdin.close()
            _linger(process)
        finally:
            process.terminate()
            if passing_on.ident:
                passing_on.join()


def _pass_on(said: Iterator[str]) -> None:
    """Say what it says: the next address, when one was used; that it was stopped is said once, by who was."""
    with contextlib.suppress(ValueError):  # closed: who was stopped just when this began does not wait for it
        for line in said:
            if line.rstrip() != output.STOPPED:
                output.say(line.rstrip(), err=True)


def _linger(process: subprocess.Popen[str]) -> None:
    """Wait for who still looks."""
    import subprocess

    with contextlib.suppress(KeyboardInterrupt):
        try:
            process.wait(LINGER_SECONDS)
        except subprocess.TimeoutExpired:
            output.say("A page is open: this ends when it is closed, or with Ctrl-C.", err=True)
            process.wait()
