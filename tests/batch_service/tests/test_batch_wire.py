"""The wire format of the local Batch service: plain HTTP requests, each answer judged by the description."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy

from tests.batch_service.client import (
    ACCOUNT,
    API,
    KEY,
    MACHINE,
    VM_SIZE,
    BatchService,
    add_task,
    make_job,
    make_pool,
    run,
    unique,
    until,
)
from tests.batch_service.shared_key import sign
from tests.batch_service.spec import Exchange, description, needs_description, operations, violations

pytest_plugins = ["tests.batch_service.fixtures"]
pytestmark = pytest.mark.service

JSON = "application/json; odata=minimalmetadata"
PARAMETER = re.compile(r"\{(\w+)\}")
MISSING = {
    "poolId": "PoolNotFound",
    "jobId": "JobNotFound",
    "jobScheduleId": "JobScheduleNotFound",
    "applicationId": "ApplicationNotFound",
}


def decoded(exchange: Exchange) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exchange.body or b"{}")
    return found


def without_parameters() -> list[str]:
    return [
        "/pools",
        "/jobs",
        "/jobschedules",
        "/nodecounts",
        "/supportedimages",
        "/applications",
        "/poolusagemetrics",
    ]


def body_schema(method: str, path: str) -> dict[str, list[str]]:
    """The names of the properties of an operation's body, with those of what is below."""
    spec = description() or {}
    for parameter in spec["paths"][path][method.lower()]["parameters"]:
        if parameter.get("in") == "body":
            found = properties_of(spec, parameter["schema"])
            return {name: list(properties_of(spec, entry)) for name, entry in found.items()}
    return {}


def properties_of(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = spec["definitions"].get(name, schema).get("properties", {})
    return found


# The judge itself


def exchange(**changes: Any) -> Exchange:
    body = {"odata.metadata": "http://h/$metadata#pools/@Element", "id": "p", "state": "active", "vmSize": "x"}
    headers = {
        "request-id": str(uuid.uuid4()),
        "dataserviceversion": "3.0",
        "content-type": JSON,
        "etag": "0x8DD",
        **changes.pop("headers", {}),
    }
    body |= changes.pop("body", {})
    return Exchange(
        "GET", "/pools/p", {"$select": "id"}, {}, changes.pop("status", 200), headers, json.dumps(body).encode()
    )


@needs_description
def test_the_judge_finds_nothing_wrong_with_a_good_answer() -> None:
    assert list(violations(exchange())) == []


@needs_description
@pytest.mark.parametrize(
    "change",
    [
        {"status": 201},
        {"headers": {"request-id": "1"}},
        {"headers": {"dataserviceversion": "1.0"}},
        {"headers": {"etag": '"0x8DD"'}},
        {"headers": {"content-type": "application/json"}},
        {"headers": {"last-modified": "2026-11-22T19:00:00Z"}},
        {"headers": {"client-request-id": "not asked for"}},
        {"body": {"state": "dormant"}},
        {"body": {"colour": "red"}},
        {"body": {"id": None}},
        {"body": {"creationTime": "today"}},
        {"body": {"resizeTimeout": "15 minutes"}},
        {"body": {"targetDedicatedNodes": "1"}},
        {"body": {"startTask": {"commandLine": "x", "surprise": 1}}},
        {"body": {"odata.metadata": None}},
        {"body": {"currentNodeCommunicationMode": "simplified"}},
    ],
)
def test_the_judge_finds_what_is_wrong(change: dict[str, Any]) -> None:
    assert list(violations(exchange(**change)))


# Every operation


@pytest.mark.parametrize(("method", "path"), operations(), ids=str)
def test_every_operation_is_answered(service: BatchService, pool: str, method: str, path: str) -> None:
    """On things that do not exist, so that nothing happens; no operation is answered with ResourceNotFound."""
    target = PARAMETER.sub("nothing-of-this-name", path) + f"?{API}"
    answer = service.call(method, target, {} if method in ("POST", "PUT", "PATCH") else None)
    first = PARAMETER.search(path)
    if first is None:
        assert answer.status == (200 if method == "GET" else 400)
    elif method == "HEAD":
        assert answer.status == 404
    elif answer.status != 400:
        assert (answer.status, decoded(answer)["code"]) == (404, MISSING[first[1]])


@pytest.mark.parametrize("path", without_parameters())
def test_a_list_has_its_metadata_and_values(service: BatchService, pool: str, job: str, path: str) -> None:
    body = decoded(service.call("GET", f"{path}?{API}"))
    assert isinstance(body["value"], list)
    assert body["odata.metadata"].startswith(f"{service.url}/$metadata#")


# What everything looks like at every stage of its life


def test_pools_and_nodes_in_every_state_are_as_described(service: BatchService) -> None:
    name = unique("watched")
    body = {
        "id": name,
        "vmSize": VM_SIZE,
        "virtualMachineConfiguration": MACHINE.as_dict(),
        "targetDedicatedNodes": 1,
        "targetLowPriorityNodes": 1,
        "startTask": {"commandLine": "/bin/sleep 0.1", "waitForSuccess": True},
        "metadata": [{"name": "a", "value": "b"}],
    }
    created = service.call("POST", f"/pools?{API}", body)
    assert created.status == 201
    assert created.headers["location"] == f"{service.url}/pools/{name}" == created.headers["dataserviceid"]
    assert created.headers["etag"]
    seen: set[str] = set()

    def look() -> bool:
        service.call("GET", f"/pools/{name}?{API}")
        nodes = decoded(service.call("GET", f"/pools/{name}/nodes?{API}"))["value"]
        seen.update(node["state"] for node in nodes)
        return [node["state"] for node in nodes] == ["idle", "idle"]

    until(look)
    assert "idle" in seen
    node = decoded(service.call("GET", f"/pools/{name}/nodes?{API}"))["value"][0]
    assert not {"eTag", "lastModified"} & set(node)
    assert "etag" not in service.call("GET", f"/pools/{name}/nodes/{node['id']}?{API}").headers
    resized = service.call(
        "POST", f"/pools/{name}/resize?{API}", {"targetDedicatedNodes": 0, "targetLowPriorityNodes": 0}
    )
    assert resized.status == 202
    service.call("GET", f"/pools/{name}?{API}")
    assert service.call("DELETE", f"/pools/{name}?{API}").status == 202
    until(lambda: service.call("GET", f"/pools/{name}?{API}").status == 404)


def test_a_job_and_its_task_are_as_described(service: BatchService, pool: str) -> None:
    job = unique("wired")
    created = service.call("POST", f"/jobs?{API}", {"id": job, "poolInfo": {"poolId": pool}})
    assert created.status == 201
    assert created.headers["location"] == f"{service.url}/jobs/{job}"
    task = {"id": "t", "commandLine": "/bin/sh -c 'exit 3'", "constraints": {"maxTaskRetryCount": 1}}
    assert (
        service.call("POST", f"/jobs/{job}/tasks?{API}", task)
        .headers["location"]
        .endswith(f"/jobs/{job}/tasks/t")
    )
    until(lambda: decoded(service.call("GET", f"/jobs/{job}/tasks/t?{API}"))["state"] == "completed")
    read = service.call("GET", f"/jobs/{job}/tasks/t?{API}")
    body = decoded(read)
    assert body["odata.metadata"].endswith("$metadata#tasks/@Element")
    assert body["eTag"] == read.headers["etag"]
    assert datetime.fromisoformat(body["lastModified"]).tzinfo is UTC or body["lastModified"].endswith("Z")
    assert body["executionInfo"]["failureInfo"]["category"].lower() == "usererror"
    files = decoded(service.call("GET", f"/jobs/{job}/tasks/t/files?recursive=true&{API}"))["value"]
    assert {type(file["properties"]["contentLength"]) for file in files if not file["isDirectory"]} == {str}
    assert service.call("GET", f"/jobs/{job}/taskcounts?{API}").status == 200
    assert service.call("POST", f"/jobs/{job}/tasks/t/reactivate?{API}").status == 204
    until(lambda: decoded(service.call("GET", f"/jobs/{job}/tasks/t?{API}"))["state"] == "completed")
    assert service.call("DELETE", f"/jobs/{job}/tasks/t?{API}").status == 200
    assert service.call("DELETE", f"/jobs/{job}?{API}").status == 202


def test_a_created_resource_and_its_address_agree(service: BatchService, job: str) -> None:
    answer = service.call("POST", f"/jobs/{job}/tasks?{API}", {"id": "Case-Kept", "commandLine": "true"})
    path = urlsplit(answer.headers["location"]).path
    assert decoded(service.call("GET", f"{path}?{API}"))["url"] == answer.headers["location"]


# Headers


def test_a_clients_request_id_comes_back_when_asked_for(service: BatchService) -> None:
    own = str(uuid.uuid4())
    asked = {"client-request-id": own, "return-client-request-id": "true"}
    assert service.call("GET", f"/jobs?{API}", headers=asked).headers["client-request-id"] == own
    assert (
        "client-request-id"
        not in service.call("GET", f"/jobs?{API}", headers={"client-request-id": own}).headers
    )


def test_every_request_gets_an_id_of_its_own(service: BatchService) -> None:
    ids = {service.call("GET", f"/jobs?{API}").headers["request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_an_error_has_code_message_and_details(service: BatchService) -> None:
    answer = service.call("GET", f"/pools/none?{API}")
    body = decoded(answer)
    assert (answer.status, body["code"], body["message"]["lang"].lower()) == (404, "PoolNotFound", "en-us")
    message, request_id, time = body["message"]["value"].split("\n")
    assert message
    assert request_id == f"RequestId:{answer.headers['request-id']}"
    assert re.fullmatch(r"Time:\d{4}-\d\d-\d\dT[\d:.]+Z", time)


def test_a_missing_or_unknown_api_version_is_refused(service: BatchService) -> None:
    missing, unknown = service.call("GET", "/pools"), service.call("GET", "/pools?api-version=1999-01-01")
    assert (missing.status, unknown.status) == (400, 400)


@pytest.mark.parametrize("version", ["2024-07-01.20.0", "2025-06-01"])
def test_the_api_versions_of_today_are_welcome(service: BatchService, version: str) -> None:
    assert service.call("GET", f"/pools?api-version={version}").status == 200


def test_an_unknown_path_or_verb_is_told(service: BatchService, pool: str) -> None:
    nowhere = service.call("GET", f"/clusters?{API}")
    assert nowhere.status == 404
    assert decoded(nowhere)["code"] in ("ResourceNotFound", "InvalidUri")
    assert service.call("PUT", f"/pools/{pool}?{API}", {}).status in (404, 405)


# Who may ask


def test_a_request_without_signature_is_refused(service: BatchService) -> None:
    answer = service.call("GET", f"/pools?{API}", is_signed=False)
    assert answer.status in (401, 403)
    assert decoded(answer)["code"] in (
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "MissingRequiredHeader",
    )


@pytest.mark.parametrize(
    ("account", "key"), [(ACCOUNT, "d3JvbmcgIGtleQ=="), ("somebody", KEY)], ids=["wrong key", "wrong account"]
)
def test_a_wrong_signature_is_refused(service: BatchService, account: str, key: str) -> None:
    with BatchClient(service.url, AzureNamedKeyCredential(account, key), retry_total=0) as client:
        with pytest.raises((ClientAuthenticationError, HttpResponseError)) as error:
            list(client.list_pools())
        assert error.value.status_code in (401, 403)
        assert error.value.model is not None
        assert error.value.model.code == "AuthenticationFailed"


def test_a_signature_of_yesterday_is_refused(service: BatchService) -> None:
    headers = {"ocp-date": "Sat, 21 Nov 2020 19:00:00 GMT"}
    assert service.call("GET", f"/pools?{API}", headers=headers).status in (401, 403)


class Token:
    """A credential that always has the same token."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(self.text, 2**31)


class HttpBearer(BearerTokenCredentialPolicy[Any, Any]):
    """Sends the token without TLS."""

    def on_request(self, request: Any) -> None:
        request.context.options["enforce_https"] = False
        super().on_request(request)


def test_a_bearer_token_is_welcome(service: BatchService, pool: str) -> None:
    credential = Token("a.b.c")
    policy = HttpBearer(credential, "https://batch.core.windows.net//.default")
    with BatchClient(service.url, credential, authentication_policy=policy) as client:
        assert client.get_pool(pool).id == pool


# Pages


def test_the_next_page_is_an_absolute_address_that_keeps_the_question(
    service: BatchService, batch: BatchClient, job: str
) -> None:
    for number in range(3):
        add_task(batch, job, name=f"page-{number}")
    expression = quote("startswith(id,'page-')")
    first = decoded(
        service.call("GET", f"/jobs/{job}/tasks?$filter={expression}&$select=id&maxresults=2&{API}")
    )
    link = urlsplit(first["odata.nextLink"])
    assert f"{link.scheme}://{link.netloc}" == service.url
    second = decoded(service.call("GET", f"{link.path}?{link.query}"))
    assert "odata.nextLink" not in second
    assert [item["id"] for item in first["value"] + second["value"]] == [
        f"page-{number}" for number in range(3)
    ]
    assert [set(item) for item in second["value"]] == [{"id"}]


def test_a_nonsensical_skip_token_is_refused_or_ignored(service: BatchService) -> None:
    assert service.call("GET", f"/jobs?$skiptoken=%00nonsense&{API}").status in (200, 400)


# Hostile requests never break the service


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/pools", b"\x00" * 100),
        ("POST", "/pools", b'{"id": 5}'),
        ("POST", "/pools", b'{"id": "a", "vmSize": {"x": 1}}'),
        ("POST", "/jobs", b'{"id": ["a"], "poolInfo": {"poolId": "p"}}'),
        ("POST", "/jobs", b'{"id": "hostile", "poolInfo": "p"}'),
        ("POST", "/jobs", b'{"id": "hostile", "poolInfo": {"poolId": 7}}'),
        ("POST", "/jobschedules", b'{"id": "s", "schedule": [], "jobSpecification": {}}'),
        ("POST", "/pools/POOL/resize", b'{"targetDedicatedNodes": 1e99}'),
        ("POST", "/pools/POOL/resize", b'{"resizeTimeout": 15}'),
        ("POST", "/pools/POOL/resize", b"[]"),
        ("POST", "/pools/POOL/removenodes", b'{"nodeList": "all"}'),
        ("POST", "/pools/POOL/removenodes", b'{"nodeList": []}'),
        ("POST", "/pools/POOL/enableautoscale", b'{"autoScaleFormula": 3}'),
        ("POST", "/pools/POOL/enableautoscale", b'{"autoScaleFormula": "$x="}'),
        ("PATCH", "/pools/POOL", b'{"metadata": "x"}'),
        ("PATCH", "/jobs/JOB", b'{"priority": null, "poolInfo": 3}'),
        ("PUT", "/jobs/JOB", b"{}"),
        ("POST", "/jobs/JOB/disable", b'{"disableTasks": "somehow"}'),
        ("POST", "/jobs/JOB/disable", b""),
        ("POST", "/jobs/JOB/addtaskcollection", b'{"value": 3}'),
        ("POST", "/jobs/JOB/addtaskcollection", b'{"value": []}'),
        ("POST", "/jobs/JOB/addtaskcollection", b'{"value": [3, null, "x", {}]}'),
        ("POST", "/jobs/JOB/tasks", b'{"id": "t", "commandLine": "true", "dependsOn": 3}'),
        ("POST", "/jobs/JOB/tasks", b'{"id": "t", "commandLine": "a \\" b", "requiredSlots": 10000}'),
        ("POST", "/jobs/JOB/tasks", b'{"id": "t", "commandLine": 3}'),
        ("POST", "/pools/POOL/nodes/none/users", b"{}"),
        ("GET", "/jobs/JOB/tasks?$filter=((((", None),
        ("GET", "/jobs/JOB/tasks?$select=,,,", None),
        ("GET", "/jobs/JOB/tasks?$select=commandLine,nonsense", None),
        ("GET", "/jobs/JOB/tasks?maxresults=99999999999999999999", None),
        ("GET", "/jobs/%00", None),
        ("GET", "/jobs/..%2f..%2fetc", None),
        ("GET", "/jobs/%F0%9F%92%A5", None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_hostile_request_gets_a_well_formed_answer(
    service: BatchService, pool: str, job: str, method: str, target: str, body: bytes | None
) -> None:
    path = target.replace("POOL", pool).replace("JOB", job)
    answer = service.call(method, f"{path}{'&' if '?' in path else '?'}{API}", body)
    assert answer.status < 500


WRONG = (5, "x", [None], {"x": 1})
BODIES = [(method, path) for method, path in operations() if method in ("POST", "PUT", "PATCH")]


@needs_description
@pytest.mark.parametrize(("method", "path"), BODIES, ids=str)
def test_a_property_of_a_wrong_type_never_breaks_the_service(
    service: BatchService, method: str, path: str
) -> None:
    """Every property of every body in turn, and one level below."""
    pool, job = unique("fuzzed"), unique("fuzzed")
    machine = MACHINE.as_dict()
    service.call(
        "POST", f"/pools?{API}", {"id": pool, "vmSize": VM_SIZE, "virtualMachineConfiguration": machine}
    )
    service.call("POST", f"/jobs?{API}", {"id": job, "poolInfo": {"poolId": pool}})
    names = {"poolId": pool, "jobId": job}
    target = PARAMETER.sub(lambda found: names.get(found[1], "x"), path) + f"?{API}"
    needed = {"id": "f", "commandLine": "true", "vmSize": "x", "poolInfo": {"poolId": pool}}
    schema = body_schema(method, path)
    base = {name: value for name, value in needed.items() if name in schema}
    for name, inner in schema.items():
        tried = [*WRONG, *({below: wrong} for below in inner for wrong in (5, ["x"]))]
        for wrong in tried:
            assert service.send(method, target, {**base, name: wrong}).status < 500, (name, wrong)


def test_headers_that_are_no_dates_are_refused(service: BatchService, pool: str) -> None:
    answer = service.call("GET", f"/pools/{pool}?{API}", headers={"If-Modified-Since": "yesterday"})
    assert answer.status == 400


def test_many_requests_go_over_one_connection(service: BatchService, pool: str) -> None:
    connection = HTTPConnection(urlsplit(service.url).netloc, timeout=10)
    try:
        for _ in range(20):
            headers = {"ocp-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
            query = [("api-version", "2025-06-01")]
            headers["Authorization"] = sign("GET", f"/pools/{pool}", query, headers, ACCOUNT, KEY, 0)
            connection.request("GET", f"/pools/{pool}?{API}", headers=headers)
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["id"]) == (200, pool)
    finally:
        connection.close()


def test_a_large_list_comes_in_pages_of_a_thousand(service: BatchService, batch: BatchClient) -> None:
    name = unique("empty")
    make_pool(batch, name)
    job = make_job(batch, name)
    for start in range(0, 1100, 100):
        value = [{"id": str(start + number), "commandLine": "true"} for number in range(100)]
        answer = service.call("POST", f"/jobs/{job}/addtaskcollection?{API}", {"value": value})
        assert {result["status"].lower() for result in decoded(answer)["value"]} == {"success"}
    first = decoded(service.call("GET", f"/jobs/{job}/tasks?{API}&$select=id"))
    assert len(first["value"]) == 1000
    assert "odata.nextLink" in first


def test_a_task_that_runs_is_as_described(service: BatchService, batch: BatchClient, job: str) -> None:
    name = add_task(batch, job, "sleep 60")
    until(lambda: decoded(service.call("GET", f"/jobs/{job}/tasks/{name}?{API}"))["state"] == "running")
    body = decoded(service.call("GET", f"/jobs/{job}/tasks/{name}?{API}"))
    assert body["nodeInfo"]["taskRootDirectoryUrl"].startswith(f"{service.url}/pools/")
    assert "endTime" not in body["executionInfo"]
    node = body["nodeInfo"]["nodeId"]
    read = decoded(service.call("GET", f"/pools/{body['nodeInfo']['poolId']}/nodes/{node}?{API}"))
    assert [recent["taskId"] for recent in read["recentTasks"] if recent["taskState"] == "running"] == [name]


def test_the_service_has_no_memory_of_bodies_it_refused(
    service: BatchService, batch: BatchClient, job: str
) -> None:
    service.call("POST", f"/jobs/{job}/tasks?{API}", {"id": "never", "commandLine": "true", "requiredSlots": 0})
    assert service.call("GET", f"/jobs/{job}/tasks/never?{API}").status == 404
    assert run(batch, job, "true", name="never").id == "never"
