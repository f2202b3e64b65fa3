"""Requests in, responses out: queries, conditions, pages and the headers that every answer carries."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.errors import BatchError, invalid_query
from tests.batch_service.odata import BadQuery, compile_filter, select
from tests.batch_service.state import Body, Service
from tests.batch_service.validation import fields_of

JSON = "application/json; odata=minimalmetadata"
MAX_PAGE = 1000
SCAN_BLOCK = 2000
"""items looked at before other requests get their turn"""
HELD: Mapping[str, str] = {}
MODELS = {
    "pools": "BatchPool",
    "nodes": "BatchNode",
    "jobs": "BatchJob",
    "tasks": "BatchTask",
    "jobschedules": "BatchJobSchedule",
    "files": "BatchNodeFile",
    "extensions": "BatchNodeVMExtension",
    "listsupportedimages": "BatchSupportedImage",
    "poolnodecounts": "BatchPoolNodeCounts",
    "poolusagemetrics": "BatchPoolUsageMetrics",
    "applications": "BatchApplication",
    "jobpreparationandreleasetaskstatuslist": "BatchJobPreparationAndReleaseTaskStatus",
}
"""what the items of a list are; their properties are what queries may name"""


@lru_cache(maxsize=1024)
def http_date(stamp: str) -> str:
    """A stamp as HTTP writes dates, whole seconds."""
    moment = datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC)
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def versions(body: Mapping[str, Any]) -> dict[str, str]:
    """The headers that say which version of a resource this is."""
    if "eTag" not in body:
        return {}
    return {"ETag": body["eTag"], "Last-Modified": http_date(body["lastModified"])}


def answer(service: Service, content: Body, fragment: str, headers: Mapping[str, str] = HELD) -> Response:
    """A JSON body with its metadata."""
    body = {"odata.metadata": f"{service.base}/$metadata#{fragment}", **content}
    text = json.dumps(service.faults.dress(body), separators=(",", ":"))
    return Response(text, 200, dict(headers), JSON)


def empty(service: Service, request: Request, status: int, body: Mapping[str, Any] = HELD) -> Response:
    """No body; the resource's version and address in the headers, if it will still be there."""
    if request.method == "DELETE":
        return Response(None, status)
    place = {} if request.method == "DELETE" else {"DataServiceId": f"{service.base}{request.url.path}"}
    headers = {**place, **versions(body)}
    return Response(None, status, headers)


def made(service: Service, path: str, body: Mapping[str, Any]) -> Response:
    """201 for what was just created at `path`."""
    url = service.base + quote(path)
    return Response(None, 201, {"Location": url, "DataServiceId": url, **versions(body)})


def resource(service: Service, request: Request, kind: str, body: Body) -> Response:
    """One pool, job, …, as far as the client selected it and unless it has it already."""
    check_conditions(request, body)
    chosen = _selection(request, service, kind)(body)
    return answer(service, chosen, f"{kind}/@Element", versions(body))


def check_conditions(request: Request, body: Mapping[str, Any]) -> None:
    """412 when a condition does not hold; for reads, 304 when the client's copy is still good."""
    headers = request.headers
    etag, modified = str(body.get("eTag", "")), body.get("lastModified")
    is_read = request.method in ("GET", "HEAD")
    if "if-match" in headers and not _names(headers["if-match"], etag):
        raise BatchError("ConditionNotMet")
    if "if-none-match" in headers and _names(headers["if-none-match"], etag):
        raise BatchError("ConditionNotMet", 304 if is_read else 412)
    if not modified:
        return
    changed = datetime.fromisoformat(modified[:19]).replace(tzinfo=UTC)
    if "if-unmodified-since" in headers and changed > _http_moment(headers, "if-unmodified-since"):
        raise BatchError("ConditionNotMet")
    if "if-modified-since" in headers and changed <= _http_moment(headers, "if-modified-since"):
        raise BatchError("ConditionNotMet", 304 if is_read else 412)


def _names(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag in tags


def _http_moment(headers: Mapping[str, str], name: str) -> datetime:
    try:
        moment = parsedate_to_datetime(headers[name])
    except ValueError:
        raise BatchError("InvalidHeaderValue", HeaderName=name, HeaderValue=headers[name]) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def json_body(raw: bytes) -> Body:
    """The request's JSON object; BatchError when it is none."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BatchError("InvalidRequestBody", Reason=f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BatchError("InvalidRequestBody", Reason="the body must be a JSON object")
    return body


def _selection(request: Request, service: Service, kind: str) -> Callable[[Body], Body]:
    text = request.query_params.get("$select")
    if not text or service.faults.has_defect("select_ignored"):
        return lambda body: body
    names = [name.strip() for name in text.split(",")]
    try:
        select({}, names, fields_of(MODELS[kind]))
    except BadQuery as error:
        raise invalid_query("$select", text, str(error)) from None
    if all(name.isalnum() for name in names):
        return lambda body: {name: body[name] for name in names if name in body}
    return lambda body: select(body, names)


def filter_of(request: Request, kind: str) -> Callable[[Mapping[str, Any]], bool] | None:
    """The compiled $filter, if there is one."""
    text = request.query_params.get("$filter")
    if not text:
        return None
    try:
        return compile_filter(text, fields_of(MODELS[kind]))
    except BadQuery as error:
        raise invalid_query("$filter", text, str(error)) from None


def page_size(service: Service, request: Request) -> int:
    text = request.query_params.get("maxresults")
    if text is None:
        return min(MAX_PAGE, service.faults.page_size or MAX_PAGE)
    if not text.lstrip("-").isdigit():
        raise invalid_query("maxresults", text, "not a whole number")
    if not 1 <= int(text) <= MAX_PAGE:
        raise BatchError(
            "OutOfRangeQueryParameterValue",
            QueryParameterName="maxresults",
            QueryParameterValue=text,
            MinimumAllowed="1",
            MaximumAllowed=str(MAX_PAGE),
        )
    return min(int(text), service.faults.page_size or MAX_PAGE)


def skip_token(request: Request) -> str:
    """Where the page before this one ended; empty for the first."""
    text = request.query_params.get("$skiptoken", "")
    try:
        return base64.urlsafe_b64decode(text.encode()).decode()
    except (binascii.Error, ValueError):
        raise invalid_query("$skiptoken", text, "not a token of this service") from None


async def page(
    service: Service,
    request: Request,
    fragment: str,
    items: Iterable[tuple[str, Callable[[], Body]]],
) -> Response:
    """One page of `items`, which are pairs of (token, body) in a lasting order, after the last page's end."""
    size, chosen = page_size(service, request), _selection(request, service, fragment)
    found: list[Body] = []
    last = next_token = ""
    async for token, body in _matching(items, filter_of(request, fragment)):
        if len(found) == size:
            next_token = last
            break
        found.append(chosen(body))
        last = token
    if next_token and service.faults.has_defect("page_loses_items"):
        found.pop()
    content: Body = {"value": found}
    if next_token:
        content["odata.nextLink"] = next_link(request, next_token)
    return answer(service, content, fragment)


async def _matching(
    items: Iterable[tuple[str, Callable[[], Body]]], predicate: Callable[[Mapping[str, Any]], bool] | None
) -> AsyncIterator[tuple[str, Body]]:
    for count, (token, make) in enumerate(items, 1):
        body = make()
        if predicate is None or predicate(body):
            yield token, body
        if count % SCAN_BLOCK == 0:
            await asyncio.sleep(0)


def next_link(request: Request, token: str) -> str:
    """The absolute address of the page after `token`."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "$skiptoken"]
    kept.append(("$skiptoken", base64.urlsafe_b64encode(token.encode()).decode()))
    query = "&".join(f"{quote(name, safe='$')}={quote(value, safe='')}" for name, value in kept)
    raw_path = request.scope["raw_path"].decode().partition("?")[0]
    host = request.headers.get("host", request.url.netloc)
    return f"{request.url.scheme}://{host}{raw_path}?{query}"


def in_order(request: Request, records: Iterable[Any], body_of: Callable[[Any], Body]) -> Iterable[Any]:
    """Records after the token, by their ids, as `page` takes them."""
    token = skip_token(request)
    for record in sorted((record for record in records if record.key > token), key=lambda record: record.key):
        yield record.key, lambda record=record: body_of(record)


def numbered(request: Request, bodies: Iterable[Body]) -> Iterable[Any]:
    """Bodies of a list that never shrinks, after the token, as `page` takes them."""
    token = skip_token(request)
    after = int(token) if token.isdecimal() else 0
    for place, body in enumerate(bodies, 1):
        if place > after:
            yield str(place), lambda body=body: body
