"""The server of the page, from its beginning to its end, and who it lets in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from types import FrameType
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from renderfarm.errors import InputError, RenderfarmError
from renderfarm.job.home import farm_home
from renderfarm.web.answers import Desk, refuse, routes, told
from renderfarm.web.doors import POLICY, Doors
from renderfarm.web.stream import Stream

LINGER_SECONDS = 3.0
"""a page that is loaded anew is away for so long"""
LOOK_SECONDS = 0.1
LOCKED = (
    "This page is for whoever started it. The address that renderfarm printed lets one browser in; where it has"
    " been used, the terminal shows the next one, and the page's “Link” button makes others."
)
OTHERS = "Only the page itself may ask for that. Load it anew, and try again."


def serve(
    say: Callable[[str], None],
    host: str = "127.0.0.1",
    port: int = 0,
    over: Callable[[], bool] | None = None,
    linger: float = LINGER_SECONDS,
) -> None:
    """Serve the farm home's page until somebody stops it; the first thing said is its address.

    over: whether what it was started for has ended: then it goes when no page is open.
    Raises InputError for an address that it can't have.
    """
    listener = _listener(host, port)
    doors = Doors(host, listener.getsockname()[1])
    doors.used = lambda: say(f"Another browser: {doors.link()}")
    desk = Desk(farm_home(), doors)
    server = _Server(app(desk), desk.stream)

    async def main() -> None:
        say(doors.link())  # now: who is stopped while the loop is made would hear that it complains
        leaving = asyncio.create_task(server.leave_after(over, linger)) if over else None
        await server.serve([listener])
        if leaving:
            leaving.cancel()

    asyncio.run(main())


def app(desk: Desk) -> ASGIApp:
    """The page as an application."""

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        telling = asyncio.create_task(desk.stream.run())
        yield
        telling.cancel()
        await desk.close()

    handlers = dict.fromkeys((RenderfarmError, HTTPException, OSError, Exception), refuse)
    return _Guard(Starlette(routes=[*routes(desk)], lifespan=life, exception_handlers=handlers), desk.doors)


class _Server(uvicorn.Server):
    """Says goodbye to those who listen, as they would hold it up."""

    def __init__(self, app: ASGIApp, stream: Stream) -> None:
        level = "info" if os.environ.get("RENDERFARM_DEBUG") else "critical"
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level=level,
                access_log=False,
                server_header=False,
                ws="none",
                http="h11",
                timeout_graceful_shutdown=1,
            )
        )
        self._stream = stream

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Somebody wants it to end."""
        self._stream.close()
        super().handle_exit(sig, frame)

    async def leave_after(self, over: Callable[[], bool], linger: float) -> None:
        """End when something is over, and no page is open."""
        alone = 0.0
        while alone <= (linger if self._stream.heard else 0.0):
            await asyncio.sleep(LOOK_SECONDS)
            alone = alone + LOOK_SECONDS if over() and not self._stream.listeners else 0.0
        self.should_exit = True


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        message = f"The page can't be served at {host}, port {port}: {error}."
        raise InputError(message, "Choose another --port (0 takes any that is free), or --host.") from error


class _Guard:
    """Stands before everything: names, links, cookies, origins, and the headers of every answer."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in POLICY.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._stopped(Request(scope)) or self._app)(scope, receive, marked)

    def _stopped(self, asked: Request) -> Response | None:
        """What is answered at the door, if anything."""
        doors, token = self._doors, asked.query_params.get("token")
        if why := doors.stranger(asked.headers.get("host", "")):
            return _denied(asked, 421, why)
        if token is not None and asked.method == "GET" and (cookie := doors.enter(token)):
            return _welcome(asked, doors.cookie, cookie)
        if not doors.knows(asked.cookies):
            return _denied(asked, 403, LOCKED)
        if token is not None:
            return _welcome(asked)
        if asked.method not in ("GET", "HEAD") and not doors.is_own(asked.headers):
            return _denied(asked, 403, OTHERS)
        return None


def _denied(asked: Request, code: int, why: str) -> Response:
    if asked.scope["path"].startswith("/api/"):
        return told({"error": why}, code)
    return Response(why + "\n", code, media_type="text/plain")


def _welcome(asked: Request, cookie: str = "", value: str = "") -> Response:
    """On to the same page without the token.

    A page, no redirect: a strict cookie is not sent along with one that began elsewhere, as in a message.
    """
    path = "/" + quote(asked.scope["path"].lstrip("/"))  # what browsers take for another slash as well
    head = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={path}">'
    response = HTMLResponse(f'{head}<title>renderfarm</title><a href="{path}">Go on</a>')
    if cookie:
        response.set_cookie(cookie, value, httponly=True, samesite="strict", path="/")
    return response
