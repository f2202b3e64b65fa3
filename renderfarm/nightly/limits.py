"""Nights that must end at a time or stay within a budget: probe, say what will fit, render in turns, stop.

On this machine a night stops at its limit. What goes to a remote pool is chosen so that it fits, and then goes
on without this machine: nothing here has to be awake to stop it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from renderfarm.errors import InputError
from renderfarm.farm import verbs
from renderfarm.farm.experience import encoding_seconds
from renderfarm.farm.terms import Terms, Until
from renderfarm.job.home import farm_home
from renderfarm.job.store import Store
from renderfarm.nightly import outcome, planner
from renderfarm.nightly.model import Shot, ShotList, ShotState
from renderfarm.nightly.planner import PROBE_FRAMES, Prospect
from renderfarm.nightly.shot_runner import HANDED_OVER_AT_ONCE, ShotRunner, is_remote
from renderfarm.settings import config
from renderfarm.words.status import Status

CLOSING_SECONDS = 2.0
"""per shot, for contact sheet and report"""
NEVER = float("inf")


def refuse_unpriced(listed: ShotList) -> None:
    """Raise InputError for a budget where this machine has no price."""
    here = [shot for shot in listed.shots if not is_remote(shot.pool)]
    if here and listed.price_per_hour is None:
        message = f"A budget needs to know what this machine costs: {here[0].name} renders on it."
        raise InputError(message, "Set price_per_hour under [defaults] in the list.")


class WithinLimits:
    """Renders as much of the shots of a night as its limits allow."""

    def __init__(self, runner: ShotRunner) -> None:
        self._runner = runner
        limits = runner.night.limits
        by = datetime.fromisoformat(limits.finish_by).astimezone() if limits.finish_by else None
        self._deadline = by.timestamp() if by else NEVER
        self._money = NEVER if limits.budget is None else limits.budget
        self._paid = NEVER
        """until when this machine's time is paid for, in seconds since the epoch like the deadline"""
        self._reserved = 0.0
        """seconds to keep for videos and reports"""
        words = [f"{by:%H:%M}"] if by else []
        self._until = " or ".join(words + ([f"{limits.budget:g} {limits.currency}"] if limits.budget else []))

    def work(self, shots: Sequence[Shot]) -> None:
        """Remote pools first, as what they will cost is only promised; then this machine, up to the limit."""
        far = [shot for shot in shots if is_remote(shot.pool)]
        if far:
            self._far(far)
        if self._money != NEVER and (price := self._runner.listed.price_per_hour):
            self._paid = time.time() + self._money / price * 3600
        self._here([shot for shot in shots if shot not in far])

    def _seconds(self) -> float:
        """Wall clock that this machine may still render."""
        return min(self._deadline - self._reserved, self._paid) - time.time()

    def _is_over(self) -> bool:
        return self._runner.stop.is_set() or self._seconds() <= 0

    # This machine

    def _here(self, shots: Sequence[Shot]) -> None:
        self._reserve(shots)
        for shot in shots:
            self._step(shot, PROBE_FRAMES)
            self._reserve(shots)
        idle: set[str] = set()
        if prospects := self._prospects(shots, idle):
            self._say(prospects, planner.forecast(prospects, self._seconds()))
        while not self._is_over() and (turns := planner.turns(self._prospects(shots, idle), self._seconds())):
            name, frames = turns[0]
            shot = next(shot for shot in shots if shot.name == name)
            before = self._runner.record(shot).frames.left
            self._step(shot, frames)
            if self._runner.record(shot).frames.left == before:
                idle.add(name)
        for shot in shots:
            if self._runner.state(shot) in (ShotState.LIMITED, None):
                self._conclude(shot)

    def _step(self, shot: Shot, frames: int) -> None:
        terms = Terms(frames=frames, enough=self._is_over, products=False, again=self._runner.is_fresh(shot))
        if not self._is_over():
            self._runner.attempt(shot, self._runner.step(terms), ShotState.LIMITED)

    def _conclude(self, shot: Shot) -> None:
        """Make the video and the rest of what is there."""
        terms = Terms(frames=0, products=True, again=False)
        self._runner.attempt(shot, self._runner.step(terms), ShotState.LIMITED)

    def _prospects(self, shots: Sequence[Shot], idle: set[str]) -> list[Prospect]:
        return [
            self._prospect(shot, self._pace(shot))
            for shot in shots
            if self._runner.state(shot) is ShotState.LIMITED and shot.name not in idle
        ]

    def _prospect(self, shot: Shot, each: float | None) -> Prospect:
        frames = self._runner.record(shot).frames
        return Prospect(shot.name, frames.total, frames.left, each)

    def _pace(self, shot: Shot) -> float | None:
        job = self._runner.record(shot).job
        return outcome.pace(self._runner.shelf.find(job).refresh()) if job else None

    def _reserve(self, shots: Sequence[Shot]) -> None:
        """Keep time for the videos of what is there."""
        total = 0.0
        for shot in shots:
            if self._runner.state(shot) is ShotState.LIMITED:
                record = self._runner.record(shot)
                size, frames = record.resolution or (0, 0), record.frames.total
                with contextlib.closing(Store(farm_home())) as store:
                    encoding = encoding_seconds(store, self._runner.request(shot), size, frames)
                total += CLOSING_SECONDS + encoding
            elif self._runner.state(shot) is None:
                total += CLOSING_SECONDS
        self._reserved = total

    def _say(self, prospects: Sequence[Prospect], fitting: Mapping[str, int]) -> None:
        self._runner.way.tell(planner.told(prospects, fitting, self._until))

    # Remote pools

    def _far(self, shots: Sequence[Shot]) -> None:
        probe = Terms(frames=PROBE_FRAMES, enough=self._is_over, products=False)
        at_once = min(len(shots), HANDED_OVER_AT_ONCE)
        self._runner.at_once(shots, self._runner.step(probe), at_once, ShotState.LIMITED)
        open_ones = [shot for shot in shots if self._runner.state(shot) is ShotState.LIMITED]
        rates = [(shot, *self._rates(shot)) for shot in open_ones]
        costs = [self._prospect(shot, cost) for shot, _, cost in rates]
        times = [self._prospect(shot, seconds) for shot, seconds, _ in rates]
        in_time = planner.forecast(times, self._deadline - time.time())
        paid = planner.forecast(costs, self._money)
        fitting = {name: min(in_time[name], paid[name]) for name in paid}
        if costs:
            self._say(costs, fitting)
        self._money -= sum((each.seconds or 0.0) * fitting[each.name] for each in costs)
        for shot in open_ones:
            self._send(shot, fitting[shot.name])

    def _rates(self, shot: Shot) -> tuple[float | None, float | None]:
        """Wall clock of the whole pool, and money, per frame of a shot; None: not measured."""
        left = self._runner.record(shot).frames.left
        pool = config.load().pool(shot.pool)
        seconds = self._pace(shot)
        bill = verbs.plan(self._runner.request(shot)).bill
        cost = bill.cost / left if bill and bill.cost is not None and left else None
        if self._money != NEVER and bill and bill.cost is None:
            message = f"Pool {pool.name!r} has no price, so nobody can say what {shot.name} will cost."
            raise InputError(message, f"Set price_per_node_hour in its table in {config.FILE_NAME}.")
        return None if seconds is None else seconds / pool.sessions, cost

    def _send(self, shot: Shot, frames: int) -> None:
        """Leave so many frames to the pool; with none, make the video of what is there."""
        if not frames:
            self._conclude(shot)
            return

        def step(shot: Shot) -> Status | None:
            job = self._runner.record(shot).job or ""
            return verbs.resume(job, self._runner.way.observer, Terms(Until.SUBMITTED, frames, again=False))

        self._runner.attempt(shot, step, ShotState.RUNNING)
