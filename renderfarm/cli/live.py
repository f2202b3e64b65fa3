"""What is seen while a job runs: a live view on a terminal, plain lines everywhere else.

The view is rewritten in place by one write per refresh, the cursor never hidden and no other screen used, so
a terminal is sane even after kill -9. Both observers write to standard error and never fail the job: when
nobody can read them any more they fall silent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Self

from renderfarm.cli import text
from renderfarm.cli.output import clean
from renderfarm.cli.pictures import Draw, PictureAbove, drawing
from renderfarm.words.durations import duration
from renderfarm.words.failures import alike
from renderfarm.words.states import Phase

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from renderfarm.words.status import NodeStatus, Status

Clock = Callable[[], float]
REFRESH_SECONDS = 0.25
TICK_SECONDS = 1.0
"""without news only the clocks move, so the view is redrawn less often"""
LINE_SECONDS = 5.0
LINES_AT_ONCE = 10
LAST_FAILURES = 3
NODE_COLUMNS = 31
"""characters that a node takes besides its name"""


def observer(opening: str = "", *, quiet: bool = False, stream: IO[str] | None = None) -> PlainLines | LiveView:
    """What fits a stream (default: standard error), and is shown a job's status a few times per second.

    `opening` is shown until there is one.
    """
    target = stream or sys.stderr
    if quiet:
        return PlainLines(target, progress=False)
    if target.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveView(target, opening)
    return PlainLines(target, opening)


class PlainLines:
    """A line at each change of phase or place, each new failure, every few seconds if something moved."""

    def __init__(
        self, stream: IO[str], opening: str = "", *, progress: bool = True, clock: Clock = time.monotonic
    ) -> None:
        self._stream: IO[str] | None = stream
        self._opening = clean(opening)
        self._progress = progress
        self._clock = clock
        self._told = float("-inf")
        self._standing: object = None
        self._counts: tuple[object, ...] = ()
        self._failed: frozenset[int] = frozenset()
        self._news = FreshNotes()

    def __enter__(self) -> Self:
        if self._opening and self._progress:
            self._write(f"{self._opening}\n")
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __call__(self, status: Status) -> None:
        """Say what is new, if it is time."""
        now = self._clock()
        lines = list(self._failures(status))
        notes = self._news.since(status) if self._progress else ()
        lines += (f"{clean(status.job)}: {clean(note)}" for note in notes)
        counts = (status.pieces.succeeded, status.frames.failed, status.frames.canceled, status.doing)
        moved = counts != self._counts and now - self._told >= LINE_SECONDS
        standing = (status.phase, status.place, status.behind)
        if self._progress and (moved or standing != self._standing):
            lines.append(progress_line(status))
            self._told, self._standing, self._counts = now, standing, counts
        if lines:
            self._write("\n".join(lines) + "\n")

    def _failures(self, status: Status) -> Iterator[str]:
        if len(status.failures) == len(self._failed):
            return
        new = [failure for failure in status.failures if failure.frame not in self._failed]
        self._failed = frozenset(failure.frame for failure in status.failures)
        yield from (f"{clean(status.job)}: {line}" for line in text.failures(new, LINES_AT_ONCE))

    def _write(self, lines: str) -> None:
        self._stream = write(self._stream, lines)


def progress_line(status: Status) -> str:
    """`shot-1a2b: rendering, 12 of 48 frames, 14.2 frames/min, 2 min 30 s left, 1 failed`."""
    parts = [
        text.state(status) if status.phase is not Phase.RENDERING else "rendering",
        f"{status.frames.succeeded:,} of {text.plural(status.frames.total, 'frame')}",
        *text.parts(status),
        *pace(status),
        *([f"{status.frames.failed:,} failed"] if status.frames.failed else []),
    ]
    return f"{clean(status.job)}: {', '.join(parts)}"


def pace(status: Status) -> Iterator[str]:
    """How fast it goes and when it will be done, as far as that is known."""
    if status.frames_per_minute:
        yield f"{status.frames_per_minute:.1f} frames/min"
    if status.eta_seconds is not None and status.phase is not Phase.DONE:
        yield f"{duration(status.eta_seconds)} left"


class FreshNotes:
    """Notes that a job got since it was looked at first: nodes that don't come, a cloud that doesn't answer."""

    def __init__(self) -> None:
        self._known: frozenset[str] | None = None

    def since(self, status: Status) -> tuple[str, ...]:
        """Notes that are new since the last call; at first none."""
        known, self._known = self._known, frozenset(status.notes)
        return () if known is None else tuple(note for note in status.notes if note not in known)


class LiveView:
    """A few lines that are rewritten in place, and erased at the end."""

    def __init__(
        self,
        stream: IO[str],
        opening: str = "",
        *,
        clock: Clock = time.monotonic,
        size: tuple[int, int] | None = None,
        draw: Draw | None = None,
    ) -> None:
        self._stream: IO[str] | None = stream
        self._opening = clean(opening)
        self._clock = clock
        self._size = size
        self._drawn = float("-inf")
        self._height = 0
        self._seen: object = None
        self._news = FreshNotes()
        self._note = ""
        self._picture = PictureAbove(draw or drawing(stream=stream))

    def __enter__(self) -> Self:
        self._stream = write(self._stream, self._opening)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream = write(self._stream, self._back() + self._picture.gone() + "\x1b[J")
        self._height = 0

    def __call__(self, status: Status) -> None:
        """Redraw, if there is news or the clocks must move."""
        now = self._clock()
        self._note = (self._note, *self._news.since(status))[-1]
        nodes = [(n.state, n.frame) for n in status.nodes]
        news = (status.frames, status.pieces, text.state(status), len(status.suspects), nodes, self._note)
        wait = REFRESH_SECONDS if news != self._seen else TICK_SECONDS
        if self._stream is None or now - self._drawn < wait:
            return
        self._drawn, self._seen = now, news
        lines = self._render(status)
        painted = self._picture.paint(status.last_frame or partial(_filling, status), now)
        frame = self._back() + painted + "\n".join(f"{line}\x1b[K" for line in lines)
        self._height = len(lines)
        self._stream = write(self._stream, frame + "\x1b[J")

    def _back(self) -> str:
        up = self._height - 1
        return "\r" + (f"\x1b[{up}A" if up > 0 else "")

    def _render(self, status: Status) -> list[str]:
        from rich.console import Console

        width, height = self._size or (None, None)
        console = Console(
            file=self._stream, force_terminal=True, width=width, height=height, legacy_windows=False
        )
        console.height -= self._picture.room(console.height)
        with console.capture() as capture:
            for line in view(status, console, self._note):
                console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        return capture.get().rstrip("\n").split("\n")[: max(console.height - 1, 1)]


def _filling(status: Status) -> str | None:
    from renderfarm.farm import verbs

    return verbs.filling(status)


def view(status: Status, console: Console, note: str = "") -> Iterator[Text]:
    """The lines of the live view, fitted to the console's height; the console fits them to its width."""
    from rich.text import Text

    word = text.state(status)
    yield Text.assemble(
        (clean(status.job), "bold"), "  ", (word, text.COLOURS.get(word, "cyan")), "  ", status.pool
    )
    yield _bar(status, console)
    yield Text(" · ".join(_facts(status)))
    if note:
        yield Text(f"  {clean(note)}", style="dim")
    failures = alike(status.failures)[-LAST_FAILURES:]
    suspects = status.suspects[-1:]
    room = max(1, console.height - 5 - bool(note) - len(failures) - len(suspects))
    yield from _nodes(status.nodes, room, console.width)
    yield from (Text(f"  {text.failure(failure)}", style="red") for failure in failures)
    yield from (Text(text.suspect(each), style="yellow") for each in suspects)


def _facts(status: Status) -> Iterator[str]:
    counts = status.frames
    if status.phase is Phase.RENDERING and not status.nodes and counts.succeeded + counts.failed < counts.total:
        yield "waiting for a node"
    yield from pace(status)
    yield from text.parts(status)
    yield f"{duration(status.seconds)} so far"
    yield from (f"{n:,} {word}" for n, word in ((counts.failed, "failed"), (counts.reused, "reused")) if n)
    if len(status.suspects):
        yield f"{len(status.suspects):,} to look at"


def _bar(status: Status, console: Console) -> Text:
    from rich.text import Text

    done, total = status.pieces.succeeded, max(status.pieces.total, 1)
    label = f"  {done:,}/{status.pieces.total:,}  {100 * done // total:d} %"
    full, empty = ("#", "-") if console.options.ascii_only else ("━", "─")
    room = max(console.width - len(label) - 1, 1)
    bad = min(-(-room * status.pieces.failed // total), room)
    good = min(room * done // total, room - bad)
    return Text.assemble(
        (full * good, "green"), (full * bad, "red"), (empty * (room - good - bad), "dim"), (label, "bold")
    )


def _nodes(nodes: Sequence[NodeStatus], room: int, width: int) -> Iterator[Text]:
    """What each node does; beside each other where there is no room below each other."""
    from rich.text import Text

    ordered = sorted(nodes, key=lambda node: (len(node.node), node.node))
    longest = max((len(clean(node.node)) for node in ordered), default=0)
    columns = max(1, min(-(-len(ordered) // room), width // (longest + NODE_COLUMNS)))
    shown = ordered if len(ordered) <= room * columns else ordered[: (room - 1) * columns]
    cells = [
        f"  {clean(node.node):<{longest}}  {text.node_work(node.state, node.frame):<14}"
        f"{duration(node.seconds):>11}"
        for node in shown
    ]
    rows = -(-len(cells) // columns)
    yield from (Text("  ".join(cells[row::rows])) for row in range(rows))
    if len(shown) < len(nodes):
        yield Text(f"  … and {len(nodes) - len(shown):,} more nodes", style="dim")


class Counter:
    """`checking 12/48` on a terminal, nothing elsewhere; erased at the end."""

    def __init__(self, label: str, stream: IO[str] | None = None, clock: Clock = time.monotonic) -> None:
        target = stream or sys.stderr
        self._label = label
        self._stream = target if target.isatty() else None
        self._clock = clock
        self._drawn = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream = write(self._stream, f"\r{' ' * (len(self._label) + 24)}\r")

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show how many are done, a few times per second."""
        now = self._clock()
        if self._stream is not None and now - self._drawn >= REFRESH_SECONDS:
            self._drawn = now
            self._stream = write(self._stream, f"\r{self._label} {done:,}{f'/{total:,}' if total else ''}")


def write(stream: IO[str] | None, content: str) -> IO[str] | None:
    """Write at once; None when nobody can read the stream any more, which must not stop a job."""
    if stream is None:
        return None
    try:
        stream.write(content)
        stream.flush()
    except (OSError, ValueError):
        return None
    return stream
