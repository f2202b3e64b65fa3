"""The published description of Azure Batch as a judge of answers: statuses, bodies and headers.

It is of api-version 2024-07-01.20.0; what 2025-06-01 changed is in `_ADDED` and `_REMOVED`. It is no part of
this project: RENDERFARM_BATCH_SPEC says where it lies, else it is looked for beside the checkout. Where it is
not found only headers are judged, and the tests that need more skip.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker  # type: ignore[import-untyped]

NEWEST = "2025-06-01"
"""the api-version that the differences lead to"""

_BESIDE = Path(__file__).parents[3] / "shared" / "azure-batch-spec"

_ADDED: dict[str, dict[str, Any]] = {
    "BatchNode": {"ipv6Address": {"type": "string"}},
    "BatchNodeRemoteLoginSettings": {
        "ipv6RemoteLoginIPAddress": {"type": "string"},
        "ipv6RemoteLoginPort": {"type": "integer"},
    },
    "BatchTaskSchedulingPolicy": {"jobDefaultOrder": {"type": "string"}},
    "DataDisk": {"managedDisk": {"$ref": "#/definitions/ManagedDisk"}},
    "ManagedDisk": {"diskEncryptionSet": {"type": "object"}},
    "DiskEncryptionConfiguration": {"customerManagedKey": {"type": "object"}},
    "PublicIpAddressConfiguration": {
        "ipFamilies": {"type": "array", "items": {"type": "string"}},
        "ipTags": {"type": "array", "items": {"type": "object"}},
    },
    "SecurityProfile": {"proxyAgentSettings": {"type": "object"}},
}
_REMOVED: dict[str, tuple[str, ...]] = {
    "DataDisk": ("storageAccountType",),
    "BatchTask": ("authenticationTokenSettings",),
    "BatchJobManagerTask": ("authenticationTokenSettings",),
    "BatchPool": ("currentNodeCommunicationMode", "targetNodeCommunicationMode", "resourceTags"),
    "BatchPoolSpecification": ("resourceTags", "targetNodeCommunicationMode"),
}
_GUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_ETAG = re.compile(r"0x[0-9A-F]+")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")
_DURATION = re.compile(r"P(?=\d|T)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d{1,7})?S)?)?")
_JSON = "application/json; odata=minimalmetadata"

_formats = FormatChecker(formats=())
_formats.checks("date-time")(lambda value: not isinstance(value, str) or bool(_STAMP.fullmatch(value)))
_formats.checks("duration")(lambda value: not isinstance(value, str) or bool(_DURATION.fullmatch(value)))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as much as a judge needs; `body` is None where it was streamed."""

    method: str
    path: str
    query: Mapping[str, str]
    asked: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    body: bytes | None


def violations(exchange: Exchange) -> Iterator[str]:
    """Everything in which the answer departs from the description."""
    where = f"{exchange.method} {exchange.path} -> {exchange.status}"
    for problem in _problems(exchange):
        yield f"{where}: {problem}"


@cache
def description(is_older: bool = False) -> dict[str, Any] | None:
    """The description with the differences applied; None when it is not on this machine.

    Answers to an older api-version still have what today's removed.
    """
    folder = Path(os.environ.get("RENDERFARM_BATCH_SPEC", _BESIDE))
    found = [folder] if folder.is_file() else sorted(folder.glob("BatchService-*.json"))
    if not found:
        return None
    spec: dict[str, Any] = json.loads(found[-1].read_text())
    for name, properties in _ADDED.items():
        spec["definitions"][name]["properties"].update(properties)
    for name, gone in _REMOVED.items() if not is_older else ():
        for property_name in gone:
            spec["definitions"][name]["properties"].pop(property_name, None)
    return spec


needs_description = pytest.mark.skipif(
    description() is None,
    reason="no description of Azure Batch here; set RENDERFARM_BATCH_SPEC to the folder of BatchService-*.json",
)


def operations() -> list[tuple[str, str]]:
    """(method, path template) of all."""
    return [(method.upper(), path) for path, methods in _paths().items() for method in methods]


def _paths() -> dict[str, Any]:
    found: dict[str, Any] = (description() or {}).get("paths", {})
    return found


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """The description of the operation that this request asks for."""
    for pattern, methods in _templates():
        if pattern.fullmatch(path) and method.lower() in methods:
            found: dict[str, Any] = methods[method.lower()]
            return found
    return None


@cache
def _templates() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), methods) for path, methods in _paths().items()]


def _problems(exchange: Exchange) -> Iterator[str]:
    yield from _header_problems(exchange)
    if description() is None:
        return
    operation = operation_of(exchange.method, exchange.path)
    if operation is None:
        if exchange.status < 400:
            yield "no such operation is described"
    elif exchange.status >= 400 or exchange.status == 304:
        yield from _error_problems(exchange)
    elif str(exchange.status) not in operation["responses"]:
        yield f"described are {sorted(operation['responses'])}"
    else:
        yield from _success_problems(exchange, operation["responses"][str(exchange.status)])


def _success_problems(exchange: Exchange, response: dict[str, Any]) -> Iterator[str]:
    schema = response.get("schema")
    described = {name.lower() for name in response.get("headers", {})}
    for name in ("etag", "last-modified", "dataserviceid"):
        if name in exchange.headers and name not in described:
            yield f"header {name} is not described"
    if exchange.status == 201 and not exchange.headers.get("location", "").startswith("http"):
        yield "no Location"
    if schema is None:
        if exchange.body and exchange.method != "HEAD":
            yield f"a body where none is described: {exchange.body[:80]!r}"
    elif schema.get("type") != "file" and exchange.body is not None:
        yield from _json_problems(exchange, schema)


def _error_problems(exchange: Exchange) -> Iterator[str]:
    if exchange.method == "HEAD" or exchange.status == 304:
        if exchange.body:
            yield "a body where HTTP allows none"
    elif exchange.body is not None:
        yield from _json_problems(exchange, {"$ref": "#/definitions/BatchError"})


def _json_problems(exchange: Exchange, schema: dict[str, Any]) -> Iterator[str]:
    content_type = exchange.headers.get("content-type", "")
    if content_type != _JSON:
        yield f"content type {content_type!r}"
    try:
        document = json.loads(exchange.body or b"")
    except ValueError as error:
        yield f"not JSON: {error}"
        return
    metadata = document.pop("odata.metadata", None)
    if not isinstance(metadata, str) or "/$metadata#" not in metadata:
        yield f"odata.metadata is {metadata!r}"
    is_older = exchange.query.get("api-version", NEWEST) < NEWEST
    judge = _judge(json.dumps(schema), "$select" in exchange.query, is_older)
    for fault in judge.iter_errors(document):
        yield f"at {'/'.join(map(str, fault.absolute_path)) or 'the top'}: {fault.message[:300]}"


@cache
def _judge(schema: str, is_selection: bool, is_older: bool) -> Draft4Validator:
    """What was selected may lack what is required otherwise."""
    entries = (description(is_older) or {})["definitions"]
    definitions = {name: _strict(entry, is_selection) for name, entry in entries.items()}
    return Draft4Validator({**json.loads(schema), "definitions": definitions}, format_checker=_formats)


def _strict(node: Any, is_selection: bool) -> Any:
    """No properties but the described ones, no nulls, enums in any case: the service's own case is mixed."""
    if isinstance(node, list):
        return [_strict(item, is_selection) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        name: {key: _strict(value, is_selection) for key, value in entry.items()}
        if name == "properties"
        else _strict(entry, is_selection)
        for name, entry in copy.copy(node).items()
        if not name.startswith("x-ms-") and name not in ("discriminator", "enum")
        and not (is_selection and name == "required" and isinstance(entry, list))
    }  # fmt: skip
    if isinstance(node.get("enum"), list):
        kept["pattern"] = f"^(?i:{'|'.join(map(re.escape, node['enum']))})$"
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        kept["additionalProperties"] = False
    return kept


def _header_problems(exchange: Exchange) -> Iterator[str]:
    headers = exchange.headers
    if not _GUID.fullmatch(headers.get("request-id", "")):
        yield f"request-id {headers.get('request-id')!r}"
    if headers.get("dataserviceversion") != "3.0":
        yield f"DataServiceVersion {headers.get('dataserviceversion')!r}"
    yield from _echo_problems(exchange)
    if "etag" in headers and not _ETAG.fullmatch(headers["etag"]):
        yield f"ETag {headers['etag']!r}"
    for name in ("last-modified", "ocp-creation-time", "date"):
        if name in headers and not _is_http_date(headers[name]):
            yield f"{name} {headers[name]!r}"


def _echo_problems(exchange: Exchange) -> Iterator[str]:
    wanted = exchange.asked.get("return-client-request-id", "").lower() == "true"
    expected = exchange.asked.get("client-request-id") if wanted else None
    if exchange.headers.get("client-request-id") != expected:
        yield f"client-request-id {exchange.headers.get('client-request-id')!r}, not {expected!r}"


def _is_http_date(text: str) -> bool:
    try:
        return parsedate_to_datetime(text).tzinfo is not None and text.endswith(" GMT")
    except ValueError:
        return False
