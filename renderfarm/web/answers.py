"""Addresses and what they answer. Jobs, frames and nights are named by ids, never by paths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from renderfarm.errors import InputError, JobBusyError, PoolError, RenderfarmError, StoreError
from renderfarm.farm import background, verbs
from renderfarm.settings.checks import frame_range
from renderfarm.web import views
from renderfarm.web.board import Board
from renderfarm.web.clerk import Clerk
from renderfarm.web.darkroom import KINDS
from renderfarm.web.doors import FOREIGN_PAGE, Doors
from renderfarm.web.stream import Stream
from renderfarm.web.thumbnails import Thumbnails

MOST_AT_ONCE = 64
"""pictures in one answer"""
FILES = {path.name: path for path in Path(__file__).with_name("page").iterdir()}
ASKED_ANEW = {"Cache-Control": "no-cache"}
LEAVE_SECONDS = 1.0


class Desk:
    """What answers are made of; all that is slow happens in threads and processes of its own."""

    def __init__(self, home: Path, doors: Doors) -> None:
        self.doors = doors
        self.thumbnails = Thumbnails()
        self._clerk = Clerk(home)
        self.ask = self._clerk.ask
        self.stream = Stream(lambda: self.ask(lambda board: (board.news(), board.busy)))

    async def close(self) -> None:
        """Let go of thread and process."""
        await self.thumbnails.close()
        self._clerk.leave()
        await asyncio.to_thread(self._clerk.thread.join, LEAVE_SECONDS)


Question = Callable[[Board, Request], Any]
QUESTIONS: dict[str, Question] = {
    "/api/nights": lambda board, _: board.nights(),
    "/api/jobs/{job}/times": lambda board, asked: views.times(
        board.job(_job(asked)), min(_number(asked, "columns", 300), 2000)
    ),
    "/api/jobs/{job}/frames/{frame}": lambda board, asked: views.one(board.job(_job(asked)), _frame(asked)),
    "/api/jobs/{job}/log": lambda board, asked: views.log(
        board.job(_job(asked)),
        _number(asked, "frame", 0) if "frame" in asked.query_params else None,
        asked.query_params.get("node", ""),
        _number(asked, "start", -views.LOG_BYTES),
        asked.query_params.get("name", ""),
    ),
}
"""what the board knows"""
NEWS: dict[str, Question] = {
    "/api/jobs": lambda board, _: {"jobs": board.jobs()},
    "/api/jobs/{job}": lambda board, asked: board.whole(_job(asked)),
}
"""what the stream of events goes on from"""
FOREIGN: dict[str, Callable[[Board, Request], Path | str]] = {
    "/jobs/{job}/out/{file:path}": lambda board, asked: board.output(_job(asked), asked.path_params["file"]),
    "/nights/{series}/{night}/{file:path}": lambda board, asked: board.night(**asked.path_params),
}
"""pages that other rooms wrote, and what their links name"""


def routes(desk: Desk) -> Iterator[Route]:
    """Every address that there is."""
    for path in ("/", "/jobs/{job}", "/jobs/{job}/frames/{frame}", "/nights"):
        yield Route(path, partial(_file, "index.html"))
    yield Route("/page/{file}", partial(_file, ""))
    for path, question in QUESTIONS.items():
        yield Route(path, partial(_answer, desk, question))
    for path, question in NEWS.items():
        yield Route(path, partial(_answer_now, desk, question))
    for path, place in FOREIGN.items():
        yield Route(path, partial(_foreign, desk, place))
    for path, answer in {
        "/events": _events,
        "/api/jobs/{job}/film": _film,
        "/api/jobs/{job}/poster": _poster,
        "/api/jobs/{job}/thumbnails": _thumbnails,
        "/api/jobs/{job}/frames/{frame}/picture": _picture,
    }.items():
        yield Route(path, partial(answer, desk))
    orders = {"/api/jobs/{job}/{what}": _act, "/api/line": _line, "/api/links": _link}
    for path, order in orders.items():
        yield Route(path, partial(order, desk), methods=["POST"])


async def _file(name: str, asked: Request) -> Response:
    path = FILES.get(name or asked.path_params["file"])
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, headers=ASKED_ANEW)


async def _answer(desk: Desk, question: Question, asked: Request) -> Response:
    return told(await desk.ask(lambda board: question(board, asked)))


async def _answer_now(desk: Desk, question: Question, asked: Request) -> Response:
    """The same with all that happened taken in, and the number of the batch that told it last."""
    desk.thumbnails.expect()
    news, found = await desk.ask(lambda board: (board.news(), question(board, asked)))
    if news:
        desk.stream.tell(news)
    return told({**found, "number": desk.stream.number})


async def _foreign(desk: Desk, place: Callable[[Board, Request], Path | str], asked: Request) -> Response:
    path = await desk.ask(lambda board: place(board, asked))
    if isinstance(path, str):
        return RedirectResponse(quote(path))
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": FOREIGN_PAGE})


async def _events(desk: Desk, asked: Request) -> Response:
    after = asked.headers.get("last-event-id") or asked.query_params.get("after", "")
    words = desk.stream.follow(int(after[:18]) if after.isdecimal() else None)
    return StreamingResponse(words, media_type="text/event-stream")


async def _film(desk: Desk, asked: Request) -> Response:
    path = await desk.ask(lambda board: views.film(board.job(_job(asked))))
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, headers=ASKED_ANEW)


# Pictures


async def _picture(desk: Desk, asked: Request) -> Response:
    frame, kind = _frame(asked), asked.query_params.get("kind", "large")
    if kind not in KINDS:
        raise HTTPException(404)
    shown = await desk.ask(lambda board: board.picture(_job(asked), frame))
    headers = ASKED_ANEW | {"ETag": f'"{shown.mtime:x}-{shown.size:x}-{kind}"'}
    if asked.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return _image(await desk.thumbnails.of(shown, frame, kind), headers)


async def _poster(desk: Desk, asked: Request) -> Response:
    frame, shown = await desk.ask(lambda board: board.poster(_job(asked)))
    return _image(await desk.thumbnails.of(shown, frame, "small"), ASKED_ANEW)


def _image(made: bytes | str, headers: dict[str, str]) -> Response:
    if isinstance(made, str):
        return told({"error": made}, 415)
    kind = "image/png" if made.startswith(b"\x89PNG") else "image/jpeg"
    return Response(made, media_type=kind, headers=headers)


async def _thumbnails(desk: Desk, asked: Request) -> Response:
    """Some frames in one answer, each as soon as it is made: a line of JSON, then the file."""
    frames = [_integer(frame, 400) for frame in asked.query_params.get("frames", "").split(",")[:MOST_AT_ONCE]]
    return StreamingResponse(_small(desk, _job(asked), frames), media_type="application/octet-stream")


async def _small(desk: Desk, job: str, frames: list[int]) -> AsyncIterator[bytes]:
    found = await desk.ask(lambda board: [_shown(board, job, frame) for frame in frames])
    for frame, shown in zip(frames, found, strict=True):
        made = shown if isinstance(shown, str) else await desk.thumbnails.of(shown, frame, "small")
        head: dict[str, object] = {"frame": frame, "seconds": None if isinstance(shown, str) else shown.seconds}
        head |= {"why": made} if isinstance(made, str) else {"bytes": len(made)}
        yield json.dumps(head).encode() + b"\n"
        if isinstance(made, bytes):
            yield made


def _shown(board: Board, job: str, frame: int) -> views.Shown | str:
    """Where a frame's picture is, or why there is none."""
    try:
        return board.picture(job, frame)
    except (InputError, StoreError) as error:
        return error.message
    except OSError as error:
        return f"It can't be read: {error.strerror}."


# What changes something


async def _act(desk: Desk, asked: Request) -> Response:
    job, what, more = _job(asked), str(asked.path_params["what"]), await _body(asked)
    await desk.ask(lambda board: board.job(job))  # one of this farm, by its whole id
    frames = frame_range(str(more["frames"])) if more.get("frames") else None
    known: dict[str, Callable[[], object]] = {
        "cancel": partial(verbs.cancel, job),
        "pause": partial(verbs.pause, job),
        "resume": partial(background.go_on, job),
        "retry": partial(background.go_on, job, frames, again=True),
    }
    if what not in known:
        raise HTTPException(404)
    await asyncio.to_thread(known[what])
    await desk.ask(lambda board: board.expect(job))
    return told({"done": what})


async def _line(desk: Desk, asked: Request) -> Response:
    jobs = (await _body(asked)).get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(job, str) for job in jobs):
        raise HTTPException(400)
    await asyncio.to_thread(verbs.line_up, jobs)
    return told({"done": "line"})


async def _link(desk: Desk, asked: Request) -> Response:
    path = str((await _body(asked)).get("path", "/"))
    own = "/" + quote(path.split("?")[0].lstrip("/"))
    return told({"link": desk.doors.link(own, asked.headers.get("host", ""))})


# What is asked, and what can't be answered


def told(what: object, code: int = 200) -> Response:
    """An answer as JSON in plain characters, as not all names of files are UTF-8."""
    return Response(json.dumps(what), code, media_type="application/json")


async def refuse(asked: HTTPConnection, error: Exception) -> Response:
    """An error as the page shows it: what happened, and what to do."""
    if isinstance(error, HTTPException):
        return told({"error": error.detail}, error.status_code)
    if isinstance(error, OSError):
        return told({"error": f"What belongs to this can't be read: {error.strerror}."}, 409)
    if not isinstance(error, RenderfarmError):
        return told({"error": f"renderfarm itself failed: {type(error).__name__}."}, 500)
    missing = isinstance(error, StoreError) and not isinstance(error, JobBusyError)
    code = 404 if missing else 503 if isinstance(error, PoolError) else 409
    return told({"error": error.message, "hint": error.hint}, code)


def _job(asked: Request) -> str:
    return str(asked.path_params["job"])


def _frame(asked: Request) -> int:
    return _integer(asked.path_params["frame"], 404)


def _number(asked: Request, name: str, default: int) -> int:
    return _integer(asked.query_params.get(name, default), 400)


def _integer(text: str | int, code: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise HTTPException(code) from None


async def _body(asked: Request) -> dict[str, Any]:
    try:
        found = await asked.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400)
    return found
