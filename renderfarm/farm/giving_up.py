"""When the frames that are left are not worth trying, and how that is told."""

from __future__ import annotations

from collections.abc import Iterable

from renderfarm.errors import MissingAssetsError, PoolError
from renderfarm.farm.inspector import withheld
from renderfarm.job import events
from renderfarm.job.job import Job
from renderfarm.job.ledger import Ledger
from renderfarm.words.scene import Scene
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.updates import Failed, Trouble

SHOWN_PATHS = 3
HOPELESS_FRAMES = 3
"""frames that fail for good in the same way, with none good, before the others are not tried"""


def rendered_well(ledger: Ledger) -> int:
    """Frames that were rendered well for this job, now or before."""
    counts = ledger.counts()
    return counts.succeeded - counts.reused


def is_hopeless(ledger: Ledger) -> bool:
    """Nothing is good, and several frames failed for good in the same way.

    Those whose files changed say nothing of the others.
    """
    if ledger.counts().failed < HOPELESS_FRAMES or rendered_well(ledger):
        return False
    reasons = {frame.reason for frame in ledger.of(FrameState.FAILED)}
    return len(reasons) == 1 and Reason.INPUT_CHANGED not in reasons


def refuse_missing(scene: Scene, failures: Iterable[Failed]) -> None:
    """Raise MissingAssetsError for the first frame that lacks a file, in the renderer's own words."""
    first = next((failure for failure in failures if failure.reason is Reason.MISSING_FILE), None)
    if first is None:
        return
    kept_back = [asset for asset in scene.missing if asset.withheld]
    why = "".join(f"\n  {withheld(asset.path, asset.withheld)}" for asset in kept_back[:SHOWN_PATHS])
    hint = "Copy what the scene needs into its folder" if kept_back else "Put the file back"
    message = f"Frame {first.frame}: {first.message}{why}"
    paths = tuple(asset.path for asset in kept_back)
    raise MissingAssetsError(message, paths, f"{hint}, then submit again.")


def give_up(job: Job, trouble: Trouble | None) -> None:
    """Don't try the frames that are left: they would fail like those before. Raises PoolError for trouble."""
    first = next(job.ledger.of(FrameState.FAILED), None)
    if trouble and first is None:
        raise PoolError(trouble.message, "Run `renderfarm doctor`.")
    why = trouble.message if trouble else f"the frames before it failed: {first.message}" if first else ""
    job.tell(events.GivenUp(why))
