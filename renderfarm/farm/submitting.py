"""Submitting a scene: before a renderer looks at it nothing is imported that is not needed until then."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections.abc import Iterator

from renderfarm.errors import Interrupted
from renderfarm.farm.cache import FrameCache
from renderfarm.farm.inspector import Beginning, NotRemembered
from renderfarm.farm.preparation import output_claimed, prepared
from renderfarm.farm.terms import WHOLE, Observer, Terms
from renderfarm.job.home import farm_home
from renderfarm.job.store import Store, unusable
from renderfarm.node.process import NodeProcess
from renderfarm.words.request import Request
from renderfarm.words.status import Status
from renderfarm.words.stopping import stoppable


def submit(
    request: Request,
    observer: Observer | None = None,
    terms: Terms = WHOLE,
    node: NodeProcess | None = None,
    *,
    known: bool = False,
) -> Status:
    """Render a scene, check every frame, make the video; returns when all that the terms want is done.

    `node` was started beforehand, so that the scene is looked at sooner; who did closes it if nobody takes it.
    `known` is a job whose frames are all there already; else NotRemembered is raised.
    Raises InputError for what can't be done, PoolError, OutputFullError or StoreError with work left,
    Interrupted on Ctrl-C; what was finished is kept in each case.
    """
    with (
        opened_store() as store,
        told_how_to_go_on("Submit it again."),
        output_claimed(request) as scratch,
        prepared(request, store, scratch, look=not known, beginning=Beginning(node, _import_work)) as ready,
    ):
        there = FrameCache(store).expected(ready.origin(store)) if known else {}
        if known and any(frame not in there for frame in ready.frames):
            raise NotRemembered
        from renderfarm.farm.job_in_hand import JobInHand, claimed, create

        job = create(request, ready, store)
        with claimed(job):
            return JobInHand(store, job, observer, terms).run(ready)


@contextlib.contextmanager
def opened_store() -> Iterator[Store]:
    """The farm's memory; raises StoreError."""
    home = farm_home()
    try:
        with contextlib.closing(Store(home)) as store:
            yield store
    except sqlite3.Error as error:
        raise unusable(home, error) from error


@contextlib.contextmanager
def told_how_to_go_on(hint: str = "") -> Iterator[None]:
    """Let SIGTERM end the work like Ctrl-C does, and tell how to go on."""
    with stoppable() as stop:
        try:
            yield
        except KeyboardInterrupt as error:
            raise Interrupted("Interrupted before anything was rendered.", hint) from error
        except ImportError as error:
            if not stop.came:
                raise
            raise Interrupted("Interrupted; what is finished is kept.", hint) from error


def _import_work() -> None:
    """Import what the job needs once its scene is known, while a renderer looks at that."""
    importlib.import_module("renderfarm.farm.job_in_hand")
    importlib.import_module("renderfarm.pictures.reading").prepare()
