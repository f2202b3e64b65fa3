"""How a job went, shown here and told to whoever else wants to know.

Who that is belongs to the command, not to the job: a job's record travels with its frames, and an address is
often a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import click

from renderfarm.cli import output
from renderfarm.cli.output import clean
from renderfarm.errors import Interrupted, RenderfarmError
from renderfarm.settings.options import OPTIONS
from renderfarm.words.as_json import encode
from renderfarm.words.states import JobState, Phase
from renderfarm.words.status import Status
from renderfarm.words.stopping import INTERRUPTED


def report(status: Status) -> int:
    """Print how a job stands; the exit code of a command that only tells."""
    from renderfarm.cli import text

    return output.show(status, text.job(status))


def finish(status: Status) -> int:
    """Print a job's end and return the exit code that its state deserves."""
    report(status)
    if status.phase is Phase.PAUSED:
        return INTERRUPTED
    return 0 if status.state is JobState.SUCCEEDED and not status.problems else 1


@dataclass(frozen=True)
class News:
    """Whom a command tells how its job went."""

    command: str | None = None
    url: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The same for another process."""
        wanted = {"notify": self.command, "notify_url": self.url}
        return {OPTIONS[name].variable: said or "" for name, said in wanted.items()}

    def after(self, work: Callable[[], Status], show: Callable[[Status], int] = finish) -> int:
        """Show what work ends with and tell it; of an error, unless the user stopped it, they hear as well."""
        from renderfarm.cli import text  # a node is started before

        try:
            status = work()
        except Interrupted:
            raise
        except RenderfarmError as error:
            told = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
            self._tell(told, f"renderfarm: {error.message}")
            raise
        code = show(status)
        self._tell({**encode(status), "exit_code": code}, click.unstyle(text.head(status)))
        return code

    def _tell(self, summary: Mapping[str, object], headline: str) -> None:
        if not (self.command or self.url):
            return
        from renderfarm.farm import notify

        for trouble in notify.tell(self.command, self.url, summary, headline):
            output.say(f"Nobody was told: {clean(trouble)}.", err=True)
