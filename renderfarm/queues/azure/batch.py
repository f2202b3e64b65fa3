"""The one adapter over azure-batch: every request of the farm to a Batch account goes through here.

The SDK's typed operations are used where they do what they say. Where they don't, requests are sent as the REST
API has them: its long-running operations start a polling thread each and swallow errors, its bulk add submits
in reverse and repeats failures for ever, its downloads refuse an answer of 206; and models of a hundred
thousand tasks cost more than their JSON. Safe to use from several threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from azure.batch import BatchClient, models
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.paging import ItemPaged
from azure.core.rest import HttpRequest, HttpResponse

from renderfarm.errors import PoolError
from renderfarm.queues.azure.additions import Additions
from renderfarm.queues.azure.credentials import batch_client
from renderfarm.queues.azure.refusals import ServiceRefusal, answered, refusals
from renderfarm.queues.azure.settings import CloudSettings

__all__ = ["Batch", "Json", "ServiceRefusal"]

Found = TypeVar("Found")
Json = dict[str, Any]
"""An object as the REST API has it."""
Body = Mapping[str, Any]
"""such an object, or a model of the SDK"""

API_VERSION = "2025-06-01"
JSON_TYPE = "application/json; odata=minimalmetadata"
OURS = "renderfarm"
"""metadata that marks pools and jobs of ours"""
CONCURRENCY = 4
UNDER_WAY = "Being"
"""in codes of what will be possible once something else has ended: PoolBeingResized, JobBeingDeleted"""
WAIT_SECONDS = 300.0
"""for that"""
LONGEST_LOOK_SECONDS = 2.0
_NO_POOL = ("PoolNotFound", "PoolBeingDeleted")
_STARTING = ("NodeBeingCreated", "NodeBeingStarted", "NodeBeingRebooted", "NodeBeingReimaged")
_NO_JOB = ("JobNotFound", "JobBeingDeleted")


class Batch:
    """A Batch account. Raises ServiceRefusal (with the service's `code`) and UnreachableError."""

    def __init__(
        self,
        settings: CloudSettings,
        client: BatchClient | None = None,
        *,
        backoff_seconds: float | None = None,
        patience_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.settings = settings
        self._client = client or batch_client(settings, backoff_seconds=backoff_seconds)
        self._patience_seconds = patience_seconds
        self._additions = Additions(self._add_collection, backoff_seconds)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    # pools

    def create_pool(self, body: Body) -> bool:
        """Make a pool; False when there is one of that id already."""
        return self._order("POST", "/pools", f"create pool {body['id']!r}", body, gone=("PoolExists",))

    def get_pool(self, pool: str, select: Sequence[str] = ()) -> models.BatchPool | None:
        """A pool, or None."""
        with refusals(f"read pool {pool!r}"):
            return _found("PoolNotFound", lambda: self._client.get_pool(pool, select=list(select) or None))

    def pool_exists(self, pool: str) -> bool:
        """Whether there is a pool of that id, and it is not on its way out."""
        found = self.get_pool(pool, select=("id", "state"))
        return found is not None and not is_word(found.state, "deleting")

    def list_pools(
        self,
        select: Sequence[str] = (),
        filter: str | None = None,
    ) -> Iterator[models.BatchPool]:
        """The account's pools."""
        return _paged("list the pools", self._client.list_pools, filter=filter, select=list(select))

    def patch_pool(self, pool: str, body: Body) -> None:
        """Change what the body names, and nothing else; a start task is for nodes that start from now on."""
        self._order("PATCH", f"/pools/{_part(pool)}", f"change pool {pool!r}", body)

    def delete_pool(self, pool: str) -> bool:
        """Begin to delete a pool; False when there is none."""
        return self._order("DELETE", f"/pools/{_part(pool)}", f"delete pool {pool!r}", gone=_NO_POOL)

    def resize_pool(self, pool: str, *, spot: int, dedicated: int, requeue: bool = False) -> None:
        """Begin to resize a pool of fixed size; running tasks may end first unless `requeue`."""
        body: Json = {
            "targetDedicatedNodes": dedicated,
            "targetLowPriorityNodes": spot,
            "nodeDeallocationOption": "requeue" if requeue else "taskcompletion",
        }
        self._order("POST", f"/pools/{_part(pool)}/resize", f"resize pool {pool!r}", body)

    def stop_resize(self, pool: str) -> None:
        """Give up what a resize has not reached yet."""
        done = ("OperationInvalidForCurrentState", "PoolNotBeingResized")
        self._order("POST", f"/pools/{_part(pool)}/stopresize", f"stop resizing {pool!r}", {}, gone=done)

    def enable_autoscale(self, pool: str, formula: str, minutes: int) -> None:
        """Let a formula decide on a pool's size. The service takes this once in 30 seconds."""
        body = {"autoScaleFormula": formula, "autoScaleEvaluationInterval": f"PT{minutes}M"}
        path = f"/pools/{_part(pool)}/enableautoscale"
        self._order("POST", path, f"let pool {pool!r} scale itself", body)

    def evaluate(self, pool: str, formula: str) -> str:
        """What a formula gives now, such as `$TargetLowPriorityNodes=3;…`; raises PoolError for a bad one."""
        options = models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula=formula)
        with refusals(f"evaluate the formula of {pool!r}"):
            run = self._client.evaluate_pool_auto_scale(pool, options)
        if run.error is not None:
            raise PoolError(f"The autoscale formula of {pool!r} fails: {run.error.message}")
        return run.results or ""

    def nodes(
        self,
        pool: str,
        select: Sequence[str] = (),
        filter: str | None = None,
    ) -> Iterator[models.BatchNode]:
        """A pool's nodes; none right after it was made."""
        return _paged(
            f"list the nodes of {pool!r}", self._client.list_nodes, pool, filter=filter, select=list(select)
        )

    def node_counts(self, pool: str) -> models.BatchPoolNodeCounts | None:
        """How many of a pool's nodes are in which state; None without a pool."""
        return next(
            _paged(
                f"count the nodes of {pool!r}", self._client.list_pool_node_counts, filter=f"poolId eq '{pool}'"
            ),
            None,
        )

    def supported_images(self) -> Iterator[models.BatchSupportedImage]:
        """The images that Batch can make nodes of."""
        return _paged("list the images", self._client.list_supported_images)

    def remove_nodes(self, pool: str, nodes: Sequence[str]) -> None:
        """Begin to remove nodes of a pool of fixed size, at most 100."""
        body = {"nodeList": list(nodes), "nodeDeallocationOption": "requeue"}
        path = f"/pools/{_part(pool)}/removenodes"
        self._order("POST", path, f"remove nodes of {pool!r}", body, patient=False)

    def disable_scheduling(self, pool: str, node: str) -> None:
        """Give a node no more tasks; what runs on it begins anew elsewhere."""
        path = f"/pools/{_part(pool)}/nodes/{_part(node)}/disablescheduling"
        body = {"nodeDisableSchedulingOption": "requeue"}
        done = ("NodeAlreadyInTargetSchedulingState",)
        self._order("POST", path, f"keep tasks away from node {node}", body, gone=done)

    def reboot_node(self, pool: str, node: str) -> None:
        """Restart a node; its start task runs again."""
        path = f"/pools/{_part(pool)}/nodes/{_part(node)}/reboot"
        self._order("POST", path, f"restart node {node}", {"nodeRebootOption": "requeue"}, gone=_STARTING)

    # jobs

    def create_job(self, body: Body) -> bool:
        """Make a job; False when one of ours with that id and the same mark is there already.

        The mark is the metadata item `renderfarm`; raises ServiceRefusal when the job is somebody else's.
        """
        if self._order("POST", "/jobs", f"create job {body['id']!r}", body, gone=("JobExists",)):
            return True
        there = self.get_job(body["id"], select=("id", "metadata"))
        if there is None or _mark(there.get("metadata")) == _mark(body.get("metadata")):
            return False
        message = f"Azure Batch has a job {body['id']!r} already, which is not this one."
        raise ServiceRefusal(message, "Submit again for a new id.", code="JobExists", status=409)

    def get_job(self, job: str, select: Sequence[str] = ()) -> models.BatchJob | None:
        """A job, or None."""
        with refusals(f"read job {job!r}"):
            return _found("JobNotFound", lambda: self._client.get_job(job, select=list(select) or None))

    def list_jobs(
        self,
        filter: str | None = None,
        select: Sequence[str] = (),
    ) -> Iterator[models.BatchJob]:
        """The account's jobs."""
        return _paged("list the jobs", self._client.list_jobs, filter=filter, select=list(select))

    def patch_job(self, job: str, body: Body) -> None:
        """Change what the body names, and nothing else."""
        self._order("PATCH", f"/jobs/{_part(job)}", f"change job {job!r}", body)

    def terminate_job(self, job: str, reason: str) -> bool:
        """Begin to end a job; False when it has ended or isn't there. Queued tasks stay as they are."""
        over = (*_NO_JOB, "JobCompleted", "JobBeingTerminated", "JobTerminating")
        path = f"/jobs/{_part(job)}/terminate"
        return self._order("POST", path, f"end job {job!r}", {"terminateReason": reason}, gone=over)

    def delete_job(self, job: str) -> bool:
        """Begin to delete a job with all its tasks; False when there is none."""
        return self._order("DELETE", f"/jobs/{_part(job)}", f"delete job {job!r}", gone=_NO_JOB)

    def prep_status(
        self,
        job: str,
        filter: str | None = None,
        select: Sequence[str] = (),
    ) -> Iterator[models.BatchJobPreparationAndReleaseTaskStatus]:
        """How job preparation went on each node that the job has run on."""
        listing = self._client.list_job_preparation_and_release_task_status
        return _paged(f"read the preparation of {job!r}", listing, job, filter=filter, select=list(select))

    # tasks, as the REST API has them

    def add_tasks(
        self,
        job: str,
        tasks: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = CONCURRENCY,
        added: Callable[[int], None] | None = None,
    ) -> int:
        """Add tasks in order, 100 to a request, `concurrency` requests at once; how many there were.

        The iterable is walked no further than the requests that are under way. A task that is there already
        counts as added. `added` is told the running total.
        """
        return self._additions.add(job, tasks, concurrency, added)

    def changed_tasks(
        self,
        job: str,
        since: str | None = None,
        select: Sequence[str] = ("id", "state"),
        more: str | None = None,
    ) -> Iterator[Json]:
        """Tasks whose state changed at or after a time (spelled as the service does), with what is selected.

        `more` is a further OData condition. Tasks may come again that were seen at that very time.
        """
        conditions = [f"stateTransitionTime ge datetime'{since}'"] if since else []
        conditions += [more] if more else []
        query = {"$filter": " and ".join(conditions), "$select": ",".join(select), "maxresults": "1000"}
        return self._listing(f"/jobs/{_part(job)}/tasks", query, f"list the tasks of {job!r}")

    def get_task(self, job: str, task: str, select: Sequence[str] = ()) -> Json | None:
        """A task, or None."""
        query = {"$select": ",".join(select)}
        try:
            answer = self._send("GET", _task(job, task), f"read task {task!r}", query=query)
        except ServiceRefusal as refused:
            if refused.code == "TaskNotFound":
                return None
            raise
        return _object(answer)

    def terminate_task(self, job: str, task: str) -> bool:
        """End a task; False when it has ended or isn't there."""
        gone = ("TaskCompleted", "TaskNotFound")
        return self._order("POST", f"{_task(job, task)}/terminate", f"end task {task!r}", gone=gone)

    # files

    def task_file(
        self, job: str, task: str, path: str, offset: int = 0, limit: int | None = None
    ) -> bytes | None:
        """A task's file from a byte on (negative: from the end), at most `limit` bytes; None when not there."""
        return self._file(f"{_task(job, task)}/files/{_part(path)}", path, offset, limit)

    def node_file(
        self, pool: str, node: str, path: str, offset: int = 0, limit: int | None = None
    ) -> bytes | None:
        """A node's file, such as `startup/stderr.txt`, as `task_file` has it."""
        return self._file(f"/pools/{_part(pool)}/nodes/{_part(node)}/files/{_part(path)}", path, offset, limit)

    # requests

    def _file(self, path: str, name: str, offset: int, limit: int | None) -> bytes | None:
        what = f"read {name}"
        try:
            if not offset and limit is None:
                return self._send("GET", path, what, accept="application/octet-stream").content
            whole = int(self._send("HEAD", path, what).headers["Content-Length"])
            start = max(whole + offset, 0) if offset < 0 else offset
            stop = whole if limit is None else min(start + limit, whole)
            return self._range(path, what, start, stop) if start < stop else b""
        except ServiceRefusal as refused:
            if refused.status in (404, 409):
                return None
            raise

    def _range(self, path: str, what: str, start: int, stop: int) -> bytes:
        """Bytes of a file; the service may answer with them (200 or 206) or with the whole file."""
        headers = {"ocp-range": f"bytes={start}-{stop - 1}"}
        found = self._send("GET", path, what, headers=headers, accept="application/octet-stream").content
        return found if len(found) <= stop - start else found[start:stop]

    def _listing(self, path: str, query: Mapping[str, str], what: str) -> Iterator[Json]:
        page = _object(self._send("GET", path, what, query=query))
        yield from page.get("value", ())
        while following := page.get("odata.nextLink"):
            page = _object(self._send("GET", following, what, complete=True))
            yield from page.get("value", ())

    def _add_collection(self, job: str, body: str) -> list[Json]:
        """What became of each task of one request."""
        path = f"/jobs/{_part(job)}/addtaskcollection"
        answer = self._send("POST", path, f"add tasks to {job!r}", content=body)
        return list(_object(answer).get("value", ()))

    def _order(
        self,
        method: str,
        path: str,
        what: str,
        body: Body | None = None,
        gone: Sequence[str] = (),
        patient: bool = True,
    ) -> bool:
        """Ask for something to be begun; False when the answer is one of the codes `gone`: nothing to do.

        What else is under way there ends by itself, and is waited for by the `patient`.
        """
        content = None if body is None else json.dumps(body, default=_as_json)
        deadline = time.monotonic() + self._patience_seconds
        while True:
            try:
                self._send(method, path, what, content=content)
            except ServiceRefusal as refused:
                if refused.code in gone:
                    return False
                if not patient or UNDER_WAY not in refused.code or time.monotonic() > deadline:
                    raise
            else:
                return True
            time.sleep(min(self.settings.poll_seconds, LONGEST_LOOK_SECONDS))

    def _send(
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
            params={key: _part(value) for key, value in given.items() if value},
            headers={"Accept": accept, **typed, **(headers or {})},
            content=content,
        )
        with refusals(what):
            return self._client.send_request(request)


def is_word(value: object, *words: str) -> bool:
    """Whether an enumeration's value is one of these; the service's spelling of them varies in case."""
    return str(getattr(value, "value", value)).lower() in words


def _found(missing: str, read: Callable[[], Found]) -> Found | None:
    """What was read; None when the service calls it `missing`."""
    try:
        return read()
    except HttpResponseError as error:
        if answered(error) == missing:
            return None
        raise


def _paged(
    what: str, listing: Callable[..., ItemPaged[Found]], *args: object, **query: object
) -> Iterator[Found]:
    """All items of all pages; refusals of later pages are ours, too."""
    with refusals(what):
        yield from listing(*args, **{key: value for key, value in query.items() if value})


def _mark(metadata: Sequence[Json] | None) -> str | None:
    return next((item["value"] for item in metadata or () if item["name"] == OURS), None)


def _object(answer: HttpResponse) -> Json:
    """The JSON object of an answer; raises PoolError for anything else, such as a proxy's page."""
    try:
        found = answer.json()
    except (ValueError, AzureError):
        found = None
    if isinstance(found, dict):
        return found
    raise PoolError("Azure Batch answered with something that is no JSON.", "Is there a proxy in between?")


def _as_json(model: Any) -> Json:
    return dict(model.as_dict())


def _part(text: str) -> str:
    """Text as one part of a path."""
    return quote(text, safe="")


def _task(job: str, task: str) -> str:
    return f"/jobs/{_part(job)}/tasks/{_part(task)}"
