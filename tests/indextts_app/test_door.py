"""Promises of the door: every request has an id and a bounded body, every one gets an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indextts_app import door, errors
from indextts_app.door import EdgeMiddleware, RequestIdMiddleware
from indextts_app.error_body import language_of
from observability import request_id

if TYPE_CHECKING:
    from conftest import LogReader

pytestmark = pytest.mark.anyio

LIMIT = 1_000


async def echo(request: Request) -> Response:
    """What the application behind the door sees."""
    return JSONResponse(
        {
            "id": request.headers.get("x-request-id"),
            "client_id": request.headers.get("x-client-request-id"),
            "context": request_id.current.get(),
            "received": len(await request.body()),
        }
    )


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    """An application with a fault."""
    raise RuntimeError("canary of a secret")


async def hides_everything(scope: Scope, receive: Receive, send: Send) -> None:
    """A mounted application that makes a 500 of any exception, as Gradio's does."""
    try:
        while (await receive()).get("more_body"):
            pass
        response: ASGIApp = Response("fine")
    except Exception:  # noqa: BLE001  # that is what it does
        response = Response("oh no", 500)
    await response(scope, receive, send)


def behind_the_door(app: ASGIApp) -> httpx.AsyncClient:
    guarded = RequestIdMiddleware(EdgeMiddleware(app, max_bytes=LIMIT))
    return httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://door")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client before a small application behind the door."""
    async with behind_the_door(
        Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])
    ) as client:
        yield client


async def test_every_request_gets_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    """Handler, context and answer have the same new request_id."""
    first, second = await client.get("/"), await client.get("/")
    for answer in (first, second):
        seen = answer.json()
        assert request_id.parse(seen["id"]) == answer.headers["x-request-id"] == seen["context"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert request_id.current.get() is None


async def test_a_plain_id_of_the_client_is_kept_beside(client: httpx.AsyncClient) -> None:
    """The client's X-Request-ID never becomes ours."""
    seen = (await client.get("/", headers={"X-Request-ID": "order-17.b:2_x"})).json()
    assert seen["client_id"] == "order-17.b:2_x"
    assert seen["id"] != "order-17.b:2_x"


@pytest.mark.parametrize(
    "given",
    [b"a" * 50_000, b"a" * 65, b"two words", b"", b"\xff\xfe", b'","level":"error', b"\x1b[31m"],
    ids=lambda given: ascii(given[:12]),
)
async def test_a_hostile_id_of_the_client_is_dropped(
    given: bytes, client: httpx.AsyncClient
) -> None:
    """What is long or not plain reaches neither handler nor answer."""
    answer = await client.get("/", headers=[(b"X-Request-ID", given)])
    assert answer.json()["client_id"] is None
    assert len(answer.headers["x-request-id"]) == 26


async def test_the_inner_header_cannot_be_forged(client: httpx.AsyncClient) -> None:
    """A client that sends our own header for its id is not believed."""
    headers = {"X-Client-Request-ID": "forged"}
    assert (await client.get("/", headers=headers)).json()["client_id"] is None


async def test_a_body_up_to_the_limit_passes(client: httpx.AsyncClient) -> None:
    """The last byte that may be sent can be sent."""
    assert (await client.post("/", content=b"x" * LIMIT)).json()["received"] == LIMIT


@pytest.mark.parametrize("claimed", [None, "5"])
async def test_a_body_beyond_the_limit_is_refused(
    claimed: str | None, client: httpx.AsyncClient
) -> None:
    """It is the bytes that count, whatever Content-Length claims."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LIMIT):
            yield b"xxxx"

    headers = {"Content-Length": claimed} if claimed else {}
    answer = await client.post("/", content=chunks(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"] == "too_large"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_an_application_that_hides_the_refusal_is_overruled() -> None:
    """Behind a mounted application, too, the client learns that its body was too large."""
    async with behind_the_door(hides_everything) as client:
        assert (await client.post("/", content=b"x" * LIMIT)).text == "fine"
        assert (await client.post("/", content=b"x" * (LIMIT + 1))).status_code == 413


async def test_an_unexpected_exception_is_answered_without_its_text(
    tmp_path: Path, logging_to: Callable[[Path], Any], log_reader: Callable[[Path], LogReader]
) -> None:
    """The client gets a clear, safe error in its language; the log has the traceback."""
    with logging_to(tmp_path):
        async with behind_the_door(broken) as client:
            answer = await client.get("/broken", headers={"Accept-Language": "zh-CN"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "service_error",
        "message": errors.ServiceError.zh,
        "request_id": answer.headers["x-request-id"],
    }
    (line,) = log_reader(tmp_path).lines("http.unexpected")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["traceback"].endswith("broken\nRuntimeError")
    assert "canary" not in line["traceback"], "messages may quote what a user sent"


async def test_what_is_no_http_passes_untouched() -> None:
    """Lifespan and websocket scopes are not the door's business."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    guarded = RequestIdMiddleware(EdgeMiddleware(app, max_bytes=LIMIT))
    for kind in ("lifespan", "websocket"):
        await guarded({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


@pytest.mark.parametrize(
    ("host", "source", "known_as"),
    [
        ("127.0.0.1", "api", "canary"),
        ("::1", "api", "canary"),
        ("::ffff:127.0.0.1", "api", "canary"),
        ("203.0.113.9", "api", "api"),
        (None, "api", "api"),
        ("127.0.0.1", "page", "page"),
    ],
)
def test_the_canary_is_believed_from_here_only(
    host: str | None, source: str, known_as: str
) -> None:
    """Nobody else can hide among its requests, and the page has none."""
    assert door.caller_of({"x-request-source": "canary"}, host, source).source == known_as
    assert door.caller_of({"x-request-source": "other"}, host, source).source == source


@pytest.mark.parametrize(
    ("host", "masked"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_addresses_are_masked(host: str | None, masked: str | None) -> None:
    """What is logged of an address leads to a network and not to a person."""
    assert door.masked_ip(host) == masked


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2, zh-Hans;q=0.7", "zh"),
        ("fr,de;q=0.5", "en"),
        ("fr, zh;q=0.1", "zh"),
        ("zh;q=0", "en"),
        ("zh;q=much", "en"),
        ("," * 100_000, "en"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_the_language_is_the_one_that_the_client_prefers(header: str | None, language: str) -> None:
    """Chinese where it weighs more than English, else English, whatever the header holds."""
    assert language_of(header) == language


async def test_a_body_has_its_time() -> None:
    """Byte after byte, and for ever: 504 instead, and the application that waits is let go."""

    message: dict[str, Any] = {}

    async def receive() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(sent: Message) -> None:
        message.update(sent)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    edge = EdgeMiddleware(app, max_bytes=10**9, body_seconds=0.1)
    await edge({"type": "http", "path": "/", "headers": []}, receive, send)  # type: ignore[arg-type]
    assert b"deadline_exceeded" in message["body"]


@pytest.mark.parametrize(
    ("said", "lines"),
    [("<TCPTransport closed=True>; the handler is closed", 0), ("Unexpected ASGI message", 1)],
    ids=["the client has left", "a fault of ours"],
)
async def test_an_answer_that_nobody_takes_is_no_fault(
    said: str,
    lines: int,
    tmp_path: Path,
    logging_to: Callable[[Path], Any],
    log_reader: Callable[[Path], LogReader],
) -> None:
    """Only what is a fault of the server's is an error in its log."""

    async def send(_message: Message) -> None:
        raise RuntimeError(said)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except errors.ClientGone:
            raise RuntimeError("handled, but the response has started") from None

    with logging_to(tmp_path):
        edge = EdgeMiddleware(app, max_bytes=10)
        await edge({"type": "http", "headers": []}, None, send)  # type: ignore[arg-type]
    assert len(log_reader(tmp_path).lines("http.unexpected")) == lines


async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds an answer in memory, and no longer than a minute."""
    monkeypatch.setattr(door, "STALL_SECONDS", 0.05)
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
        finally:
            ended.append(True)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    edge = EdgeMiddleware(app, max_bytes=1)
    await edge({"type": "http", "headers": []}, None, send)  # type: ignore[arg-type]
    assert ended
