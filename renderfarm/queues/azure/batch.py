"""The one adapter over azure-batch: every request of the farm to a Batch account goes through here.

The SDK's typed operations are used where they do what they say. Where they don't, requests are sent as the REST
API has them: its long-running operations start a polling thread each and swallow errors, its bulk add submits
in reverse and repeats failures for ever, its downloads refuse an answer of 206; and models of a hundred
thousand tasks cost more than their JSON. Safe to use from several threads.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

from azure.batch import models
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.paging import ItemPaged
from azure.core.rest import HttpRequest, HttpResponse

from renderfarm.errors import PoolError
from renderfarm.queues.azure.at_once import at_once
from renderfarm.queues.azure.credentials import batch_client
from renderfarm.queues.azure.refusals import (
    BACKOFF_SECONDS,
    LONGEST_PAUSE_SECONDS,
    ServiceRefusal,
    answered,
    hint,
    refusals,
)
from renderfarm.queues.azure.settings import CloudSettings

Found = TypeVar("Found")
Json = dict[str, Any]
"""An object as the REST API has it."""
Chunk = list[Mapping[str, Any]]
"""Tasks of one request."""

API_VERSION = "2025-06-01"
JSON_TYPE = "application/json; odata=minimalmetadata"
OURS = "renderfarm"
"""metadata that marks pools and jobs of ours"""
UNDER_WAY = "Being"
"""in codes of what will be possible once something else has ended: PoolBeingResized, JobBeingDeleted"""
WAIT_SECONDS = 300.0
"""for that"""
LONGEST_LOOK_SECONDS = 2.0
MOST_ADDED = 100
"""tasks in a request: the service's limit"""
ADDITIONS = 4
"""requests under way at once that add tasks"""
TRIES = 8
"""of a task that the service failed to add for reasons of its own"""
TOO_LARGE = "RequestBodyTooLarge"
CLOSED = ("JobCompleted", "JobTerminating", "JobBeingTerminated", "JobBeingDeleted", "JobNotFound")
"""codes of jobs that take no tasks"""


class Batch:
    """A Batch account. Raises ServiceRefusal (with the service's `code`) and UnreachableError."""

    def __init__(self, settings: CloudSettings, *, backoff_seconds: float = BACKOFF_SECONDS) -> None:
        self.settings = settings
        self.backoff_seconds = backoff_seconds
        self.sdk = batch_client(settings, self.backoff_seconds)
        """for listings, by `items`"""

    def close(self) -> None:
        """Let go of the connections."""
        self.sdk.close()

    # What there is

    def get_pool(self, pool: str) -> models.BatchPool | None:
        """A pool, or None."""
        return _found(f"read pool {pool!r}", "PoolNotFound", lambda: self.sdk.get_pool(pool))

    def get_job(self, job: str) -> models.BatchJob | None:
        """A job, or None."""
        return _found(f"read job {job!r}", "JobNotFound", lambda: self.sdk.get_job(job))

    def nodes(
        self, pool: str, select: Sequence[str] = ("id", "state"), condition: str | None = None
    ) -> Iterator[models.BatchNode]:
        """A pool's nodes; none right after it was made, or when it is gone."""
        what = f"list the nodes of {pool!r}"
        try:
            yield from items(what, self.sdk.list_nodes, pool, filter=condition, select=list(select))
        except ServiceRefusal as refused:
            if refused.code != "PoolNotFound":
                raise

    def open_jobs(self) -> Iterator[models.BatchJob]:
        """The account's jobs that are not over."""
        select = ["id", "state", "poolInfo", "metadata"]
        return items("list the jobs", self.sdk.list_jobs, filter="state ne 'completed'", select=select)

    def tasks(
        self, job: str, select: Sequence[str], condition: str = "", since: str | None = None
    ) -> Iterator[Json]:
        """Tasks with what is selected; only those that changed at or after a time, as the service spells it.

        `condition` is in OData's words. Tasks may come again that were seen at that very time.
        """
        conditions = [f"stateTransitionTime ge datetime'{since}'"] if since else []
        wanted = " and ".join([*conditions, *filter(None, [condition])])
        query = {"$filter": wanted, "$select": ",".join(select), "maxresults": "1000"}
        path, what = at("jobs", job, "tasks"), f"list the tasks of {job!r}"
        page = _object(self.send("GET", path, what, query=query))
        yield from page.get("value", ())
        while following := page.get("odata.nextLink"):
            page = _object(self.send("GET", following, what, complete=True))
            yield from page.get("value", ())

    def file(self, *place: str, path: str, last: int | None = None) -> bytes | None:
        """A file of a task or a node (`jobs`, id, `tasks`, id), or its `last` bytes; None without it."""
        url, what = at(*place, "files", path), f"read {path}"
        try:
            headers = {}
            if last is not None and (whole := int(self.send("HEAD", url, what).headers["Content-Length"])):
                headers = {"ocp-range": f"bytes={max(whole - last, 0)}-{whole - 1}"}
            found = self.send("GET", url, what, headers=headers, accept="application/octet-stream").content
        except ServiceRefusal as refused:
            if refused.status in (404, 409):
                return None
            raise
        # The service may answer with the part or with the whole file.
        return found if last is None else found[-last:]

    # What is to be

    def create_job(self, body: Mapping[str, Any]) -> bool:
        """Make a job; False when one of ours with that id and the same mark is there already.

        The mark is the metadata item `renderfarm`; raises ServiceRefusal when the job is somebody else's.
        """
        if self.order("POST", "/jobs", f"create job {body['id']!r}", body, gone=("JobExists",)):
            return True
        there = self.get_job(body["id"])
        if there is None or marks(there.metadata).get(OURS) == marks(body.get("metadata")).get(OURS):
            return False
        message = f"Azure Batch has a job {body['id']!r} already, which is not this one."
        raise ServiceRefusal(message, "Submit again for a new id.", code="JobExists", status=409)

    def terminate_job(self, job: str, reason: str) -> bool:
        """Begin to end a job; False when it has ended or isn't there. Queued tasks stay as they are."""
        body = {"terminateReason": reason}
        return self.order("POST", at("jobs", job, "terminate"), f"end job {job!r}", body, gone=CLOSED)

    def order(
        self,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, Any] | None = None,
        gone: Sequence[str] = (),
        patient: bool = True,
    ) -> bool:
        """Ask for something to be begun; False when the answer is one of the codes `gone`: nothing to do.

        What else is under way there ends by itself, and is waited for by the `patient`.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self.send(method, path, what, content=None if body is None else json.dumps(body))
            except ServiceRefusal as refused:
                if refused.code in gone:
                    return False
                if not patient or UNDER_WAY not in refused.code or time.monotonic() > deadline:
                    raise
            else:
                return True
            time.sleep(min(self.settings.poll_seconds, LONGEST_LOOK_SECONDS))

    def add_tasks(self, job: str, tasks: Iterable[Mapping[str, Any]], concurrency: int = ADDITIONS) -> int:
        """Add tasks, a hundred at a time and in order, and return how many there were.

        One that is there already counts as added: ids follow from frames, so adding twice does no harm.
        The first failure ends it, after what is under way. The iterable is walked no further than that.
        """
        waiting = iter(tasks)
        chunks = iter(lambda: list(islice(waiting, MOST_ADDED)), [])
        return sum(at_once((partial(self._add, job, chunk) for chunk in chunks), concurrency))

    def _add(self, job: str, chunk: Chunk) -> int:
        """Add a chunk; what the service failed at is tried again, what it finds too large is halved."""
        left = chunk
        for attempt in range(TRIES):
            try:
                results = self._sent(job, left)
            except ServiceRefusal as refused:
                if refused.code != TOO_LARGE and refused.status != 413:
                    raise
                return sum(self._add(job, half) for half in _halves(left, refused))
            done = {str(result.get("taskId")) for result in results if _is_there(job, result)}
            left = [task for task in left if task["id"] not in done]
            if not left:
                return len(chunk)
            pause = min(self.backoff_seconds * 2**attempt, LONGEST_PAUSE_SECONDS)
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
        which = f"{len(left)} tasks to {job!r}, first {left[0]['id']!r}"
        message = f"Azure Batch failed {TRIES} times to add {which}."
        raise ServiceRefusal(message, "Resume the job in a few minutes.", code="ServerError", status=500)

    def _sent(self, job: str, tasks: Chunk) -> list[Json]:
        """What became of each of the tasks of one request."""
        body, path = json.dumps({"value": tasks}, separators=(",", ":")), at("jobs", job, "addtaskcollection")
        return list(_object(self.send("POST", path, f"add tasks to {job!r}", content=body)).get("value", ()))

    def send(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: str | None = None,
        accept: str = "application/json",
        complete: bool = False,
    ) -> HttpResponse:
        """One request through the SDK's pipeline: signed, repeated, checked. A `complete` path is a URL."""
        typed = {} if content is None else {"content-type": JSON_TYPE}
        given = {} if complete else {"api-version": API_VERSION, **(query or {})}
        request = HttpRequest(
            method,
            path,
            params={key: quote(value, safe="") for key, value in given.items() if value},
            headers={"Accept": accept, **typed, **(headers or {})},
            content=content,
        )
        with refusals(what):
            return self.sdk.send_request(request)


def at(*parts: str) -> str:
    """A path of these parts."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def is_word(value: object, *words: str) -> bool:
    """Whether an enumeration's value is one of these; the service's spelling of them varies in case."""
    return word(value) in words


def word(value: object) -> str:
    """An enumeration's value in small letters."""
    return str(getattr(value, "value", value)).lower()


def marks(metadata: Iterable[Any] | None) -> dict[str, str]:
    """The metadata of a pool or a job."""
    return {item["name"]: item["value"] for item in metadata or ()}


def named(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Metadata, or a task's environment, as the REST API has it."""
    return [{"name": name, "value": value} for name, value in values.items()]


def items(
    what: str, listing: Callable[..., ItemPaged[Found]], *args: object, **query: object
) -> Iterator[Found]:
    """All items of all pages of a listing of the SDK's; refusals of later pages are ours, too."""
    with refusals(what):
        yield from listing(*args, **{key: value for key, value in query.items() if value})


def _found(what: str, missing: str, read: Callable[[], Found]) -> Found | None:
    """What was read; None when the service calls it `missing`."""
    with refusals(what):
        try:
            return read()
        except HttpResponseError as error:
            if answered(error) == missing:
                return None
            raise


def _object(answer: HttpResponse) -> Json:
    """The JSON object of an answer; raises PoolError for anything else, such as a proxy's page."""
    try:
        found = answer.json()
    except (ValueError, AzureError):
        found = None
    if isinstance(found, dict):
        return found
    raise PoolError("Azure Batch answered with something that is no JSON.", "Is there a proxy in between?")


def _halves(chunk: Chunk, refused: ServiceRefusal) -> tuple[Chunk, Chunk]:
    if len(chunk) == 1:
        message = f"Task {chunk[0]['id']!r} is larger than Azure Batch takes."
        raise PoolError(message, "Use a smaller --chunk.") from refused
    middle = len(chunk) // 2
    return chunk[:middle], chunk[middle:]


def _is_there(job: str, result: Mapping[str, Any]) -> bool:
    """Whether a task is there now; False when trying again may help, ServiceRefusal when it won't."""
    status = str(result.get("status")).lower()
    error = result.get("error") or {}
    code = str(error.get("code", ""))
    if status == "success" or code == "TaskExists":
        return True
    if status == "servererror":
        return False
    message = (error.get("message") or {}).get("value", "").splitlines()
    details = "; ".join(f"{item['key']}: {item['value']}" for item in error.get("values") or ())
    told = " ".join(filter(None, [*message[:1], details]))
    what = f"Azure Batch can't add task {result.get('taskId')!r} to {job!r}: {told}"
    raise ServiceRefusal(f"{what.strip()} ({code})", hint(code), code=code, status=400)
