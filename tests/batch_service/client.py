"""A local Batch service as a process, and clients of it whose every answer is judged by the description."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pytest
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResponseNotReadError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy

from tests.batch_service.shared_key import sign
from tests.batch_service.spec import Exchange, violations

T = TypeVar("T")

API = "api-version=2025-06-01"
ACCOUNT = "farmtest"
KEY = base64.b64encode(b"the key of a service that lives as long as its tests").decode()
SPEED = 1000
WAIT_SECONDS = 120.0
QUICK: Any = 0.02
"""seconds between two looks of the SDK's pollers, who think that they want whole ones"""
IMAGE = models.BatchVmImageReference(
    publisher="canonical", offer="ubuntu-24_04-lts", sku="server", version="latest"
)
MACHINE = models.VirtualMachineConfiguration(image_reference=IMAGE, node_agent_sku_id="batch.node.ubuntu 24.04")
VM_SIZE = "Standard_D2s_v3"

_ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """An id that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


def until(probe: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
    """Asks until the answer is true; the last answer fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.01)
    return answer


class Judge(SansIOHTTPPolicy[Any, Any]):
    """Fails a test at the first answer that departs from the description."""

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        answer = response.http_response
        try:
            body = answer.content
        except ResponseNotReadError:
            body = None
        asked = request.http_request
        judge(asked.method, asked.url, asked.headers, answer.status_code, answer.headers, body)


def judge(
    method: str, url: str, asked: Mapping[str, str], status: int, headers: Mapping[str, str], body: bytes | None
) -> Exchange:
    """The exchange, when nothing is wrong with it."""
    parts = urlsplit(url)
    exchange = Exchange(
        method, parts.path, dict(parse_qsl(parts.query)), _lower(asked), status, _lower(headers), body
    )
    found = list(violations(exchange))
    assert not found, "\n".join(found)
    return exchange


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@dataclass
class BatchService:
    """A running service; its nodes live below `root`."""

    url: str
    root: Path
    process: subprocess.Popen[str]

    def client(self, **options: Any) -> BatchClient:
        """The SDK's client, judged; close it."""
        policies = [Judge(), *options.pop("per_retry_policies", [])]
        credential = AzureNamedKeyCredential(ACCOUNT, KEY)
        return BatchClient(self.url, credential, per_retry_policies=policies, **options)

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        is_signed: bool = True,
    ) -> Exchange:
        """One plain HTTP request, signed unless told otherwise, its answer judged."""
        answer = self.send(method, target, body, headers, is_signed)
        return judge(method, self.url + target, answer.asked, answer.status, answer.headers, answer.body)

    def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        is_signed: bool = True,
    ) -> Exchange:
        """One plain HTTP request, its answer unjudged."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        asked = {"Content-Length": str(len(content))} if content or method not in ("GET", "HEAD") else {}
        if content:
            asked["Content-Type"] = "application/json; odata=minimalmetadata"
        asked |= headers or {}
        parts = urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        if is_signed:
            asked.setdefault("ocp-date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
            asked["Authorization"] = sign(method, parts.path, query, asked, ACCOUNT, KEY, len(content))
        host = urlsplit(self.url).netloc
        connection = HTTPConnection(host, timeout=WAIT_SECONDS)
        try:
            connection.request(method, target, content or None, asked)
            response = connection.getresponse()
            got = response.read()
        finally:
            connection.close()
        return Exchange(
            method, parts.path, dict(query), _lower(asked), response.status, _lower(dict(response.headers)), got
        )

    def control(self, action: str, /, **fields: Any) -> dict[str, Any]:
        """Injects a fault: POST /_control/ACTION."""
        answer = self.send("POST", f"/_control/{action}", fields, is_signed=False)
        assert answer.status == 200, (answer.status, answer.body)
        found: dict[str, Any] = json.loads(answer.body or b"{}")
        return found


@contextmanager
def running_service(root: Path, *options: str, speed: float = SPEED) -> Iterator[BatchService]:
    """`python -m tests.batch_service` with this root, until the block ends."""
    command = [sys.executable, "-m", "tests.batch_service", "--port", "0", "--account", ACCOUNT, "--key", KEY]
    command += ["--root", str(root), "--speed", str(speed), *options]
    log = root.parent / f"{root.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment()
        )
    assert process.stdout is not None
    try:
        first = process.stdout.readline().split()
        assert first[:1] == ["ready"], log.read_text()
        yield BatchService(first[1], root, process)
        assert process.poll() is None, f"the service ended with {process.returncode}: {log.read_text()}"
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)
        process.stdout.close()
    assert "Traceback" not in log.read_text(), log.read_text()


def _environment() -> dict[str, str]:
    return {**os.environ, "RENDERFARM_SECRET_OF_THE_DEVELOPER": "must not reach a task"}


def make_pool(batch: BatchClient, name: str, dedicated: int = 0, spot: int = 0, **options: Any) -> None:
    """A pool that has its nodes, idle."""
    body = models.BatchPoolCreateOptions(
        id=name,
        vm_size=VM_SIZE,
        virtual_machine_configuration=MACHINE,
        target_dedicated_nodes=dedicated,
        target_low_priority_nodes=spot,
        **options,
    )
    batch.create_pool(body)
    until(lambda: states(batch, name) == ["idle"] * (dedicated + spot))
    until(lambda: batch.get_pool(name).allocation_state == "steady")


def states(batch: BatchClient, pool: str) -> list[str]:
    """The states of a pool's nodes."""
    return [str(getattr(node.state, "value", node.state)) for node in batch.list_nodes(pool)]


def make_job(batch: BatchClient, pool: str, prefix: str = "job", **options: Any) -> str:
    name = unique(prefix)
    batch.create_job(
        models.BatchJobCreateOptions(id=name, pool_info=models.BatchPoolInfo(pool_id=pool), **options)
    )
    return name


def shell(script: str) -> str:
    """A command line that gives the script to a shell."""
    quoted = script.replace("'", "'\\''")
    return f"/bin/sh -c '{quoted}'"


def add_task(batch: BatchClient, job: str, script: str = "true", name: str = "", **options: Any) -> str:
    name = name or unique("task")
    batch.create_task(job, models.BatchTaskCreateOptions(id=name, command_line=shell(script), **options))
    return name


def finished(batch: BatchClient, job: str, task: str, seconds: float = WAIT_SECONDS) -> models.BatchTask:
    """The task once it is completed."""

    def ask() -> models.BatchTask | None:
        found = batch.get_task(job, task)
        return found if found.state == "completed" else None

    found = until(ask, seconds)
    assert found is not None
    return found


def run(batch: BatchClient, job: str, script: str, **options: Any) -> models.BatchTask:
    """Add a task and wait for its end."""
    return finished(batch, job, add_task(batch, job, script, **options))


def text_of(batch: BatchClient, job: str, task: str, path: str = "stdout.txt") -> str:
    """A file of a task."""
    return b"".join(batch.download_task_file(job, task, path)).decode()


def code_of(error: pytest.ExceptionInfo[HttpResponseError]) -> str:
    """The service's code of a refusal."""
    return str(error.value.model.code if error.value.model else None)
