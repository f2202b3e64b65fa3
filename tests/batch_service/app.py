"""The HTTP side: every route of the data plane, who may call it, and how a refusal is told."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.batch_service import accounts, certificates, control, files, jobs, nodes, pools, schedules, tasks
from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError
from tests.batch_service.faults import Rule
from tests.batch_service.shared_key import verify
from tests.batch_service.wire import JSON

Handler = Callable[[App, Request], Awaitable[Response]]
VERSION = re.compile(r"20(?:1[4-9]|[2-9]\d)-\d{2}-\d{2}(?:\.\d+\.\d+)?(?:-preview)?")
VERSIONS = ("2016-01-01", "2026-10-01")
"""the oldest and the newest that are known"""
CHALLENGE = 'Bearer authorization_uri="https://login.microsoftonline.com/common", resource_id="https://batch.core.windows.net/"'
AUDIENCE = "batch.core.windows.net"

NODE = "/pools/{pool}/nodes/{node}"
CERTIFICATE = "/certificates(thumbprintAlgorithm={algorithm},thumbprint={thumbprint})"
TASK = "/jobs/{job}/tasks/{task}"
ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/supportedimages", accounts.list_images),
    ("GET", "/nodecounts", accounts.node_counts),
    ("GET", "/poolusagemetrics", accounts.usage_metrics),
    ("GET", "/lifetimepoolstats", accounts.pool_statistics),
    ("GET", "/lifetimejobstats", accounts.job_statistics),
    ("GET", "/applications", accounts.list_applications),
    ("GET", "/applications/{application}", accounts.get_application),
    ("POST", "/certificates", certificates.add_certificate),
    ("GET", "/certificates", certificates.list_certificates),
    ("GET", CERTIFICATE, certificates.get_certificate),
    ("DELETE", CERTIFICATE, certificates.delete_certificate),
    ("POST", f"{CERTIFICATE}/canceldelete", certificates.cancel_deletion),
    ("POST", "/pools", pools.create_pool),
    ("GET", "/pools", pools.list_pools),
    ("HEAD", "/pools/{pool}", pools.pool_exists),
    ("GET", "/pools/{pool}", pools.get_pool),
    ("PATCH", "/pools/{pool}", pools.update_pool),
    ("DELETE", "/pools/{pool}", pools.delete_pool),
    ("POST", "/pools/{pool}/updateproperties", pools.replace_pool_properties),
    ("POST", "/pools/{pool}/resize", pools.resize_pool),
    ("POST", "/pools/{pool}/stopresize", pools.stop_pool_resize),
    ("POST", "/pools/{pool}/removenodes", pools.remove_nodes),
    ("POST", "/pools/{pool}/enableautoscale", pools.enable_auto_scale),
    ("POST", "/pools/{pool}/disableautoscale", pools.disable_auto_scale),
    ("POST", "/pools/{pool}/evaluateautoscale", pools.evaluate_auto_scale),
    ("GET", "/pools/{pool}/nodes", nodes.list_nodes),
    ("GET", NODE, nodes.get_node),
    ("POST", f"{NODE}/reboot", nodes.reboot_node),
    ("POST", f"{NODE}/reimage", nodes.reimage_node),
    ("POST", f"{NODE}/deallocate", nodes.deallocate_node),
    ("POST", f"{NODE}/start", nodes.start_node),
    ("POST", f"{NODE}/disablescheduling", nodes.disable_scheduling),
    ("POST", f"{NODE}/enablescheduling", nodes.enable_scheduling),
    ("POST", f"{NODE}/uploadbatchservicelogs", nodes.upload_logs),
    ("GET", f"{NODE}/remoteloginsettings", nodes.remote_login),
    ("GET", f"{NODE}/rdp", nodes.remote_desktop),
    ("POST", f"{NODE}/users", nodes.create_user),
    ("PUT", f"{NODE}/users/{{user}}", nodes.replace_user),
    ("DELETE", f"{NODE}/users/{{user}}", nodes.delete_user),
    ("GET", f"{NODE}/extensions", nodes.list_extensions),
    ("GET", f"{NODE}/extensions/{{extension}}", nodes.get_extension),
    ("GET", f"{NODE}/files", files.list_files),
    ("HEAD", f"{NODE}/files/{{path:path}}", files.file_properties),
    ("GET", f"{NODE}/files/{{path:path}}", files.get_file),
    ("DELETE", f"{NODE}/files/{{path:path}}", files.delete_file),
    ("POST", "/jobs", jobs.create_job),
    ("GET", "/jobs", jobs.list_jobs),
    ("GET", "/jobs/{job}", jobs.get_job),
    ("PATCH", "/jobs/{job}", jobs.update_job),
    ("PUT", "/jobs/{job}", jobs.replace_job),
    ("DELETE", "/jobs/{job}", jobs.delete_job),
    ("POST", "/jobs/{job}/disable", jobs.disable_job),
    ("POST", "/jobs/{job}/enable", jobs.enable_job),
    ("POST", "/jobs/{job}/terminate", jobs.terminate_job),
    ("GET", "/jobs/{job}/taskcounts", jobs.task_counts),
    ("GET", "/jobs/{job}/jobpreparationandreleasetaskstatus", jobs.list_side_tasks),
    ("POST", "/jobs/{job}/addtaskcollection", tasks.create_task_collection),
    ("POST", "/jobs/{job}/tasks", tasks.create_task),
    ("GET", "/jobs/{job}/tasks", tasks.list_tasks),
    ("GET", TASK, tasks.get_task),
    ("PUT", TASK, tasks.replace_task),
    ("DELETE", TASK, tasks.delete_task),
    ("POST", f"{TASK}/terminate", tasks.terminate_task),
    ("POST", f"{TASK}/reactivate", tasks.reactivate_task),
    ("GET", f"{TASK}/subtasksinfo", tasks.list_subtasks),
    ("GET", f"{TASK}/files", files.list_files),
    ("HEAD", f"{TASK}/files/{{path:path}}", files.file_properties),
    ("GET", f"{TASK}/files/{{path:path}}", files.get_file),
    ("DELETE", f"{TASK}/files/{{path:path}}", files.delete_file),
    ("POST", "/jobschedules", schedules.create_schedule),
    ("GET", "/jobschedules", schedules.list_schedules),
    ("HEAD", "/jobschedules/{schedule}", schedules.schedule_exists),
    ("GET", "/jobschedules/{schedule}", schedules.get_schedule),
    ("PATCH", "/jobschedules/{schedule}", schedules.update_schedule),
    ("PUT", "/jobschedules/{schedule}", schedules.replace_schedule),
    ("DELETE", "/jobschedules/{schedule}", schedules.delete_schedule),
    ("POST", "/jobschedules/{schedule}/disable", schedules.disable_schedule),
    ("POST", "/jobschedules/{schedule}/enable", schedules.enable_schedule),
    ("POST", "/jobschedules/{schedule}/terminate", schedules.terminate_schedule),
    ("GET", "/jobschedules/{schedule}/jobs", jobs.list_jobs_from_schedule),
    ("GET", "/_control/state", control.state),
    ("POST", "/_control/{command}", control.command),
]


def application(app: App) -> ASGIApp:
    """The whole service as an ASGI application."""
    app.endings.job_ended = lambda job: jobs.job_ended(app, job)
    routes = [
        Route(path, _endpoint(app, method, path, handler), methods=[method]) for method, path, handler in ROUTES
    ]
    told = {BatchError: _tell(app), HTTPException: _tell_http(app)}

    @asynccontextmanager
    async def lifespan(_starlette: Starlette) -> AsyncIterator[None]:
        work = app.service.spawn(app.scheduler.loop())
        yield
        work.cancel()
        app.processes.close()

    starlette = Starlette(routes=routes, exception_handlers=told, lifespan=lifespan)
    starlette.router.redirect_slashes = False
    return Gate(app, starlette)


def _endpoint(app: App, method: str, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    name = f"{method} {path}"

    async def endpoint(request: Request) -> Response:
        counts = app.service.faults.requests
        counts[name] = counts.get(name, 0) + 1
        return await handler(app, request)

    return endpoint


def _tell(app: App) -> Callable[[Request, Any], Response]:
    def tell(request: Request, error: BatchError) -> Response:
        if error.status == 304 or request.method == "HEAD":
            return Response(None, error.status, error.headers)
        body = error.body(request.scope["request_id"], app.service.clock.stamp(), app.service.base)
        return JSONResponse(body, error.status, error.headers, JSON)

    return tell


def _tell_http(app: App) -> Callable[[Request, Any], Response]:
    tell = _tell(app)

    def tell_http(request: Request, error: HTTPException) -> Response:
        code = "UnsupportedHttpVerb" if error.status_code == 405 else "ResourceNotFound"
        return tell(request, BatchError(code, headers=error.headers))

    return tell_http


class Gate:
    """Outermost: headers of every answer, api-version, login, and the troubles that hit requests as such."""

    def __init__(self, app: App, inner: ASGIApp) -> None:
        self.app = app
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        scope["request_id"] = str(uuid.uuid4())
        answer = self._dressed(scope, send)
        if scope["path"].startswith("/_control/"):
            await self.inner(scope, receive, answer)
            return
        text = f"{scope['method']} {scope['path']}"
        try:
            self._admit(scope)
            await self._trouble(scope, text)
        except BatchError as error:
            await _read_all(receive)
            await _tell(self.app)(Request(scope), error)(scope, receive, answer)
            return
        drop = self.app.service.faults.take("drop", text)
        if drop is None:
            await self._served(scope, receive, answer, text)
        else:
            await self._dropped(scope, receive, send, drop)

    async def _served(self, scope: Scope, receive: Receive, answer: Send, text: str) -> None:
        """Answered, unless a trouble demands that what was applied is reported as failed."""
        rule = self.app.service.faults.take("server_error", text)
        if rule is None:
            await self.inner(scope, receive, answer)
            return
        error = _server_error(rule)
        apply = str(rule.options.get("apply", "none"))
        if apply == "half":
            scope.setdefault("state", {})["half"] = error
            await self.inner(scope, receive, answer)
            return
        if apply == "all":
            await self.inner(scope, receive, _nowhere)
        else:
            await _read_all(receive)
        await _tell(self.app)(Request(scope), error)(scope, receive, answer)

    async def _dropped(self, scope: Scope, receive: Receive, send: Send, rule: Rule) -> None:
        """Closes the connection without an answer, before or after the request took effect."""
        if rule.options.get("after_commit", True):
            await self.inner(scope, receive, _nowhere)
        else:
            await _read_all(receive)
        send.__self__.transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)

    def _dressed(self, scope: Scope, send: Send) -> Send:
        headers = Headers(scope=scope)
        wants_id = headers.get("return-client-request-id", "").lower() == "true"

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                own["request-id"] = scope["request_id"]
                own["DataServiceVersion"] = "3.0"
                own["Server"] = "Microsoft-HTTPAPI/2.0"
                if wants_id and "client-request-id" in headers:
                    own["client-request-id"] = headers["client-request-id"]
            await send(message)

        return dressed

    def _admit(self, scope: Scope) -> None:
        """BatchError unless the request has an api-version and a valid login."""
        query = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
        headers = Headers(scope=scope)
        self._check_login(scope, query, headers)
        version = dict(query).get("api-version", "")
        if not version:
            raise BatchError("MissingRequiredQueryParameter", QueryParameterName="api-version")
        if not VERSION.fullmatch(version) or not VERSIONS[0] <= version[:10] <= VERSIONS[1]:
            raise BatchError(
                "UnsupportedRequestVersion",
                QueryParameterName="api-version",
                QueryParameterValue=version,
                Reason=f"This service answers api-versions from {VERSIONS[0]} to {VERSIONS[1]}, all alike.",
            )

    def _check_login(self, scope: Scope, query: list[tuple[str, str]], headers: Headers) -> None:
        settings = self.app.service.settings
        login = headers.get("authorization", "")
        if self.app.service.faults.has_defect("no_auth"):
            return
        if not login:
            raise BatchError("AuthenticationFailed", 401, headers={"WWW-Authenticate": CHALLENGE})
        if login.lower().startswith("bearer "):
            _check_token(login[7:].strip())
            return
        length = int(headers.get("content-length", "0") or 0)
        raw_path = scope["raw_path"].decode().partition("?")[0]
        if not verify(scope["method"], raw_path, query, headers, settings.account, settings.key, length):
            reason = "The MAC signature found in the HTTP request is not the same as any computed signature."
            raise BatchError("AuthenticationFailed", AuthenticationErrorDetail=reason)

    async def _trouble(self, scope: Scope, text: str) -> None:
        faults = self.app.service.faults
        if slow := faults.take("slow", text):
            await asyncio.sleep(float(slow.options["seconds"]))
        if rule := faults.take("throttle", text):
            after = rule.options.get("retry_after")
            raise BatchError("TooManyRequests", headers={} if after is None else {"Retry-After": str(after)})


def _server_error(rule: Rule) -> BatchError:
    status = int(rule.options.get("status", 503))
    code = rule.options.get("code") or ("ServerBusy" if status == 503 else "InternalError")
    after = rule.options.get("retry_after")
    return BatchError(code, status, headers={} if after is None else {"Retry-After": str(after)})


def _check_token(token: str) -> None:
    """A token that says whom it is for must be for Batch; nothing else about it can be checked here."""
    parts = token.split(".")
    if len(parts) != 3:
        return
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return
    if isinstance(claims, dict) and claims.get("aud") and AUDIENCE not in str(claims["aud"]):
        reason = "The access token is for another audience."
        headers = {"WWW-Authenticate": CHALLENGE}
        raise BatchError("AuthenticationFailed", 401, headers=headers, AuthenticationErrorDetail=reason)


async def _read_all(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


async def _nowhere(_message: Message) -> None:
    return
