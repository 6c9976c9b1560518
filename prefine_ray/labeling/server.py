"""The web server of the page: on this machine only, with a token in the address."""

from __future__ import annotations

import hmac
import html
import secrets
import socket
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefine_ray.core.errors import PrefineError
from prefine_ray.labeling.answers import AnswerError
from prefine_ray.labeling.clips import KINDS, ClipError
from prefine_ray.labeling.session import Session, StaleAnswerError

HOST = "127.0.0.1"
_MOST_BODY = 4096  # bytes of a request
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; media-src blob:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Number = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(max_length=256)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AnswerRequest(_Request):
    """An answer, and the question that it is to."""

    rater: Name
    number: Number
    trajectories: Annotated[list[Number], Field(min_length=1, max_length=2)]
    answer: Annotated[str, Field(max_length=16)]


class UndoRequest(_Request):
    """Takes the last of `number` answers back."""

    rater: Name
    number: Number


class PortError(PrefineError, OSError):
    """The port cannot be used."""


class Guard:
    """Lets requests through that name this machine, carry the token and are small; adds the security headers."""

    def __init__(self, app: ASGIApp, token: str, port: int):
        self._app, self._token = app, token
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, as ASGI has it."""
        if scope["type"] != "http":  # the page has no web sockets
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            return
        if (refusal := self._refusal(Request(scope))) is not None:
            return await refusal(scope, receive, _with_headers(send))
        await self._app(scope, _at_most(receive, _MOST_BODY), _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("this page is for this machine alone", 421)
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return PlainTextResponse("another page asks", 403)
        tokens = request.query_params.getlist("token")
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0].encode(), self._token.encode()):
            return PlainTextResponse("open the whole address that `prefine label` printed, with its token", 403)
        return None


def _at_most(receive: Receive, most: int) -> Receive:
    """Receives until the body has `most` bytes."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, "the request is too large")  # which FastAPI answers
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sending


def make_app(session: Session, token: str, port: int) -> ASGIApp:
    """The page, its state, answers and clips, behind the guard.

    Args:
        session: what is asked.
        token: that every request has to carry.
        port: that the page is served at.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = files("prefine_ray.labeling").joinpath("page.html").read_text()

    @app.get("/")
    def show() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        text = page.replace("{{nonce}}", nonce).replace("{{task}}", html.escape(session.settings.task))
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY.format(nonce=nonce)})

    @app.get("/api/state")
    def state(rater: Name) -> JSONResponse:
        return _reply(lambda: session.state(rater))

    @app.post("/api/answer")
    def answer(said: AnswerRequest) -> JSONResponse:
        return _reply(
            lambda: session.answer(said.rater, said.number, said.trajectories, said.answer),
            lambda: session.state(said.rater),
        )

    @app.post("/api/undo")
    def undo(said: UndoRequest) -> JSONResponse:
        return _reply(lambda: session.undo(said.rater, said.number), lambda: session.state(said.rater))

    @app.get("/clip/{trajectory}")
    def clip(trajectory: Number) -> Response:
        try:
            path = session.clips.file(trajectory)
        except ClipError as error:
            return JSONResponse({"error": str(error)}, 404)
        except PrefineError as error:
            return JSONResponse({"error": str(error)}, 500)
        return FileResponse(path, media_type=KINDS[path.suffix.lower()])

    return Guard(app, token, port)


def _reply(act: Callable[[], dict[str, Any]], present: Callable[[], dict[str, Any]] | None = None) -> JSONResponse:
    """The new state; 409 with the present one where the page was left behind; 422 with what is wrong."""
    try:
        return JSONResponse(act())
    except StaleAnswerError:
        assert present is not None
        return JSONResponse(present(), 409)
    except AnswerError as error:
        return JSONResponse({"error": str(error)}, 422)
    except OSError as error:
        return JSONResponse({"error": f"the answer was not saved: {error.strerror}"}, 507)


def open_port(port: int) -> socket.socket:
    """A socket that listens on this machine alone; port 0 takes a free one.

    Raises:
        PortError: the port is taken, or not for this user.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # so that who opens the address at once waits until the page is served
    except OSError as error:
        listening.close()
        raise PortError(f"port {port} cannot be used ({error.strerror}); name another with --port") from error
    return listening


def serve(session: Session, listening: socket.socket, token: str) -> None:
    """Serves the page until the process is interrupted."""
    app = make_app(session, token, listening.getsockname()[1])
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])
