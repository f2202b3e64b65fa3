"""Which tasks wait for which: links made when a task is added, loosened when one is satisfied.

Nothing here ever looks at all tasks of a job but a range that is added late, and that once.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.batch_service.state import Job, Task


def link(task: Task) -> None:
    """Counts what `task` has to wait for and registers it there."""
    job, wanted = task.job, task.body.get("dependsOn") or {}
    task.missing = 0
    for key in {task_id.lower() for task_id in wanted.get("taskIds") or ()}:
        parent = job.tasks.get(key)
        if parent is None or not parent.is_satisfied:
            job.dependents.setdefault(key, []).append(task)
            task.missing += 1
    for span in wanted.get("taskIdRanges") or ():
        _link_range(job, task, int(span["start"]), int(span["end"]))


def _link_range(job: Job, task: Task, start: int, end: int) -> None:
    length = end - start + 1
    numbers = job.satisfied_numbers
    if length <= len(numbers):
        satisfied = sum(number in numbers for number in range(start, end + 1))
    else:
        satisfied = sum(start <= number <= end for number in numbers)
    if satisfied < length:
        task.missing += length - satisfied
        job.range_dependents.append((start, end, task))


def unlink(task: Task) -> None:
    """Forgets what a task waited for, because it is deleted or replaced."""
    for waiting in task.job.dependents.values():
        while task in waiting:
            waiting.remove(task)
    task.job.range_dependents = [entry for entry in task.job.range_dependents if entry[2] is not task]
    task.missing = 0


def satisfy(task: Task) -> Iterator[Task]:
    """Marks a task as done in the eyes of others; yields those that wait for nothing more."""
    if task.is_satisfied:
        return
    task.is_satisfied = True
    for waiting in task.job.dependents.pop(task.key, ()):
        yield from _loosened(waiting)
    if task.key.isdecimal():
        yield from _satisfy_number(task.job, int(task.key))


def _satisfy_number(job: Job, number: int) -> Iterator[Task]:
    if number in job.satisfied_numbers:
        return
    job.satisfied_numbers.add(number)
    for start, end, waiting in job.range_dependents:
        if start <= number <= end:
            yield from _loosened(waiting)
    if job.range_dependents and not job.range_dependents[0][2].missing:
        job.range_dependents = [entry for entry in job.range_dependents if entry[2].missing]


def _loosened(task: Task) -> Iterator[Task]:
    task.missing -= 1
    if task.missing == 0:
        yield task
