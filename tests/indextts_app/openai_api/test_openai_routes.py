"""Promises of the routes below /v1 that no well-behaved client ever sees, asked over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from indextts_app.error_body import OpenAIError
from indextts_app.openai_api import words

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of an answer, which has OpenAI's shape and the id of its header."""
    body = answer.json()
    assert set(body) == {"error"}, body
    error: dict[str, Any] = body["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert set(error) == set(OpenAIError.model_fields)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["message"]
    return error


async def speak(client: httpx.AsyncClient, **sent: Any) -> httpx.Response:
    return await client.post("/v1/audio/speech", json={"input": "hello", **sent})


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/audio/speech/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_path_is_answered_in_their_shape(
    method: str, path: str, shared: Running
) -> None:
    """Whatever the method: nothing below /v1 answers in another one."""
    answer = await shared.client.request(method, path)
    if answer.is_redirect:
        answer = await shared.client.request(method, answer.headers["location"])
    error = refused(answer, 404, "not_found")
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/audio/speech", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/drill", "GET, HEAD"),
        ("DELETE", "/v1/voices", "GET, HEAD"),
        ("PUT", "/v1/audio/voices", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_says_which_is_right(
    method: str, path: str, allowed: str, shared: Running
) -> None:
    """405 with Allow, as everywhere, and in their shape."""
    answer = await shared.client.request(method, path)
    error = refused(answer, 405, "method_not_allowed")
    assert error["message"].startswith(f"This address answers to {allowed} only.")
    assert answer.headers["allow"] == allowed


async def test_a_monitor_may_ask_with_head(shared: Running) -> None:
    """Wherever GET is answered."""
    for path in ("models", "models/drill", "voices", "audio/voices"):
        assert (await shared.client.head(f"/v1/{path}")).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"no json", 400, "malformed_request"),
        (b"[]", 400, "malformed_request"),
        (b'{"input": "' + b"x" * 1_000_000 + b'"}', 413, "too_large"),
        (b"{}", 422, "invalid_field"),
        (b'{"input": null}', 422, "invalid_field"),
        (b'{"input": "hello", "voice": 3}', 422, "invalid_field"),
        (b'{"input": "hello", "voice": {"id": 3}}', 422, "invalid_field"),
        (b'{"input": "hello", "model": 3}', 404, "model_not_found"),
        (b'{"input": "hello", "response_format": []}', 422, "invalid_field"),
        (b'{"input": "hello", "stream_format": {}}', 422, "unknown_format"),
        (b'{"input": "hello", "stream": true}', 422, "unknown_field"),
        (b'{"input": "hello", "frobnicate": 1}', 422, "unknown_field"),
        (b'{"input": "hello", "instructions": 3}', 422, "field_not_offered"),
        (b'{"input": "\\ud800"}', 422, "text_unreadable"),
    ],
)
async def test_what_cannot_be_done_has_one_event(
    content: bytes, status: int, code: str, shared: Running
) -> None:
    """Refused at the door, with the id that its finished line has."""
    answer = await shared.client.post("/v1/audio/speech", content=content)
    error = refused(answer, status, code)
    line = await shared.log.finished(error["request_id"])
    assert (line["status"], line["error_type"]) == ("rejected", code)


async def test_errors_come_in_chinese_as_well(shared: Running) -> None:
    """Fields are called as they are called there in either language."""
    answer = await shared.client.post(
        "/v1/audio/speech", json={"input": 1}, headers={"Accept-Language": "zh-CN"}
    )
    assert refused(answer, 422, "invalid_field")["message"].startswith("字段 'input' 不合要求")


async def test_other_routes_keep_their_own_shape(shared: Running) -> None:
    """What is not below /v1 has not changed."""
    answer = await shared.client.get("/v10/audio/speech")
    assert set(answer.json()) == {"error", "message", "request_id"}


@pytest.mark.parametrize("voice", [None, "", *words.VOICES])
async def test_their_voices_are_the_first_speaker(voice: str | None, shared: Running) -> None:
    """So that a client that cannot send another name works; the answer says who spoke."""
    if voice == "":
        return refused(await speak(shared.client, voice=voice), 422, "unknown_speaker") and None
    answer = await speak(shared.client, voice=voice)
    assert (answer.status_code, answer.headers["x-speaker"]) == (200, "steady")
    return None


@pytest.mark.parametrize("model", [None, "", "drill", *words.MODELS, "gpt-4o-mini-tts-2025-12-15"])
async def test_their_models_are_the_engine(model: str | None, shared: Running) -> None:
    """And so is its own name, or none."""
    assert (await speak(shared.client, model=model)).status_code == 200
    if model:
        told = (await shared.client.get(f"/v1/models/{model}")).json()
        assert (told["id"], told["owned_by"]) == (model, "indextts")


async def test_a_form_may_bring_fields_as_well(shared: Running) -> None:
    """As /tts takes them, files included where the engine has a use for them."""
    fields = {"input": "hello", "voice": "steady", "speed": "2.0", "emotion": "calm"}
    answer = await shared.client.post(
        "/v1/audio/speech", files={name: (None, value) for name, value in fields.items()}
    )
    line = await shared.log.finished(answer.headers["x-request-id"])
    assert (line["speed"], line["emotion"], line["text_len"]) == (2.0, "calm", 5)


async def test_while_the_engine_is_loading_everything_says_so(
    running: Callable[..., Any], drill_settings: Callable[..., Any], tmp_path: Any
) -> None:
    """503 with Retry-After; models are known before."""
    async with running(drill_settings(tmp_path)) as service:
        service.service.pool.capabilities = None
        for answer in (
            await speak(service.client, voice="alloy", stream_format="audio"),
            await service.client.get("/v1/voices"),
        ):
            error = refused(answer, 503, "not_ready")
            assert error["type"] == "server_error"
            assert int(answer.headers["retry-after"]) > 0
        assert (await service.client.get("/v1/models")).json()["data"][0]["id"] == "drill"


async def test_a_client_that_leaves_stops_the_work(
    shared: Running, until: Callable[..., Any]
) -> None:
    """As on every other route."""
    body = json.dumps({"input": "hello", "voice": "hang"}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    ids = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await until(lambda: shared.service.pool.busy)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        ids.extend(dict(message.get("headers", [])).get(b"x-request-id", b"").split())

    scope = {
        "type": "http", "method": "POST", "path": "/v1/audio/speech", "headers": [],
        "query_string": b"", "client": ("127.0.0.1", 1), "server": ("localhost", 80),
        "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    await asyncio.wait_for(shared.app(scope, receive, send), 10)
    line = await shared.log.finished(ids[0].decode())
    assert line["status"] == "cancelled"
    await until(lambda: shared.service.pool.ready_workers)


async def test_the_api_says_what_it_takes(shared: Running) -> None:
    """The documented body has their fields; the shape of errors is named for each status."""
    paths = (await shared.client.get("/openapi.json")).json()["paths"]
    speech = paths["/v1/audio/speech"]["post"]
    schema = speech["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {
        "model", "input", "voice", "response_format", "speed", "stream_format", "instructions",
    }  # fmt: skip
    assert {"401", "404", "422", "429", "503"} < set(speech["responses"])
    assert "/v1/{path}" not in paths
