"""Promises of the turnstile: in a flood a refusal is short, complete, and in the books."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from indextts_app import errors
from indextts_app.turnstile import TOLD_IN_FULL, Turnstile, TurnstileMiddleware

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

BODY = b'{"text": "hello"}'
REQUEST = (
    b"POST /tts HTTP/1.1\r\nHost: x\r\nAccept-Language: zh\r\nX-Request-ID: mine\r\n"
    b"Content-Length: %d\r\n\r\n%s"
) % (len(BODY), BODY)


class House:
    """As much of the admission as the turnstile asks."""

    def __init__(self) -> None:
        self.is_full = True
        self.error: errors.ServiceError = errors.QueueFull(waiting=32)

    def refusal(self) -> errors.ServiceError | None:
        return self.error if self.is_full else None


@pytest.fixture
def house() -> House:
    """A house without a place."""
    return House()


@pytest.fixture
def turnstile(house: House) -> Turnstile:
    """In front of it."""
    return Turnstile(house, engine="drill")  # type: ignore[arg-type]


def flood(turnstile: Turnstile, already: int = 0) -> None:
    """As many as are refused in full."""
    for _ in range(TOLD_IN_FULL - already):
        assert turnstile.refusal() is None


async def test_while_there_is_a_place_everybody_goes_on(turnstile: Turnstile, house: House) -> None:
    """However many come."""
    house.is_full = False
    assert not any(turnstile.refusal() for _ in range(1_000))


async def test_the_first_refused_are_read_and_told_in_full(turnstile: Turnstile) -> None:
    """A few are no flood: they go on to be refused like anybody."""
    assert turnstile.answer(REQUEST, "127.0.0.1") is None
    flood(turnstile, already=1)
    assert turnstile.answer(REQUEST, "127.0.0.1") is not None


async def test_in_a_flood_the_answer_is_complete(turnstile: Turnstile) -> None:
    """Status, shape, language, when to come again, and that the connection ends."""
    flood(turnstile)
    answer = turnstile.answer(REQUEST, "127.0.0.1")
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    told = json.loads(body)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert (headers["connection"], headers["content-length"]) == ("close", str(len(body)))
    assert int(headers["retry-after"]) > 0
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert told == {
        "error": "queue_full",
        "message": errors.QueueFull(waiting=32).message("zh"),
        "request_id": headers["x-request-id"],
    }


async def test_each_api_has_its_own_shape(turnstile: Turnstile) -> None:
    """A client of OpenAI's reads the refusal as it reads others."""
    flood(turnstile)
    answer = turnstile.answer(REQUEST.replace(b"/tts", b"/v1/audio/speech"), "127.0.0.1")
    assert answer is not None
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]["code"] == "queue_full"


async def test_each_has_its_two_lines_and_its_count(
    turnstile: Turnstile, recorder: Any, until: Until
) -> None:
    """Written once the flood is over, with the id that was told and the client's own."""
    flood(turnstile)
    answers = [turnstile.answer(REQUEST, "203.0.113.9") for _ in range(3)]
    told = [json.loads(answer.rpartition(b"\r\n\r\n")[2])["request_id"] for answer in answers]
    await until(lambda: len(recorder.finished_events) == 3)
    assert [event.request_id for event in recorder.started_events] == told
    assert [event.request_id for event in recorder.finished_events] == told
    (event, *_) = recorder.finished_events
    assert (event.status, event.error_type, event.engine) == ("rejected", "queue_full", "drill")
    assert (event.source, event.client_ip, event.text_len) == ("api", "203.0.113.0", None)


@pytest.mark.parametrize(
    "error",
    [
        errors.NotReady(reason="it starts.", reason_zh="正在启动。"),
        errors.NotFit(reason="weights are missing.", reason_zh="缺少权重。"),
        errors.CircuitOpen(seconds=9),
    ],
    ids=lambda error: error.code,
)
async def test_whatever_they_are_refused_with_stands_in_their_lines(
    error: errors.ServiceError, turnstile: Turnstile, house: House, recorder: Any
) -> None:
    """A flood against a service that cannot speak loses no line either."""
    house.error = error
    flood(turnstile)
    for _ in range(2):
        turnstile.answer(REQUEST, "127.0.0.1")
    turnstile.drain(5)
    told = [(event.error_type, event.error_message) for event in recorder.finished_events]
    assert told == [(error.code, str(error)[:100])] * 2


async def test_an_end_writes_what_is_still_held(turnstile: Turnstile, recorder: Any) -> None:
    """A service that is stopped in a flood owes nobody a line."""
    flood(turnstile)
    turnstile.answer(REQUEST, "127.0.0.1")
    assert turnstile.drain(5)
    assert len(recorder.finished_events) == 1


async def test_when_it_is_calm_again_refusals_are_told_in_full(
    turnstile: Turnstile, recorder: Any, until: Until
) -> None:
    """The next few are read as ever."""
    flood(turnstile)
    turnstile.answer(REQUEST, "127.0.0.1")
    await until(lambda: recorder.finished_events)
    assert turnstile.answer(REQUEST, "127.0.0.1") is None


async def test_an_address_that_a_proxy_vouches_for_is_not_guessed(
    turnstile: Turnstile, recorder: Any
) -> None:
    """The proxy's own would be wrong, and what it forwards is not checked here."""
    flood(turnstile)
    turnstile.answer(REQUEST.replace(b"Host: x", b"X-Forwarded-For: 198.51.100.7"), "10.0.0.1")
    turnstile.drain(5)
    assert recorder.finished_events[0].client_ip is None


async def test_nobody_names_themselves(turnstile: Turnstile, recorder: Any) -> None:
    """Names that the door gives to what it has checked are the door's only; a plain id is kept."""
    flood(turnstile)
    forged = b"X-IndexTTS-User: boss\r\nX-Client-Request-ID: other\r\nX-Request-Source: canary"
    turnstile.answer(REQUEST.replace(b"Host: x", forged), "127.0.0.1")
    turnstile.drain(5)
    (event,) = recorder.finished_events
    assert (event.user, event.source, event.client_request_id) == (None, "api", "mine")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\x16\x03\x01\x02\x00",
        b"POST /tts HTTP/1.1\r\nHost: x\r\n",
        REQUEST[:-1],
        b"GET /tts HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /speakers HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["nothing", "TLS", "half a head", "half a body", "GET", "another route", "upgrade"],
)
async def test_what_is_no_whole_request_for_speech_is_let_in(
    request_bytes: bytes, turnstile: Turnstile
) -> None:
    """The server knows what to say to it."""
    flood(turnstile)
    assert turnstile.answer(request_bytes, "127.0.0.1") is None


async def test_on_an_open_connection_it_is_raised(turnstile: Turnstile, recorder: Any) -> None:
    """The edge makes the answer of it; other routes are not touched."""
    passed: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["path"])

    middleware = TurnstileMiddleware(app, turnstile=turnstile)
    scope = {"type": "http", "method": "POST", "path": "/tts", "headers": [], "client": None}
    flood(turnstile)
    with pytest.raises(errors.QueueFull):
        await middleware(scope, None, None)  # type: ignore[arg-type]
    await middleware({**scope, "path": "/segments"}, None, None)  # type: ignore[arg-type]
    assert passed == ["/segments"]
    turnstile.drain(5)
    assert len(recorder.finished_events) == 1
