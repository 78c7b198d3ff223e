"""Promises of the access: with keys, nothing but what is open answers whoever has none."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from structlog.testing import capture_logs

from indextts_app import api_keys, errors
from indextts_app.access import OPEN, OPEN_BELOW, tell_if_open
from indextts_app.api_keys import ApiKeys
from indextts_app.attempts import MAX_FAILURES
from indextts_app.settings import Settings

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"  # noqa: S105  # of the test alone


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the keys are."""
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(keys_file: Path) -> str:
    """A key in force."""
    return api_keys.add(keys_file, "shop")


@pytest.fixture(scope="module")
async def locked(
    keys_file: Path,
    key: str,
    tmp_path_factory: pytest.TempPathFactory,
    drill_settings: Callable[..., Any],
    running: Callable[..., Any],
) -> AsyncIterator[Running]:
    """A service that needs a key."""
    settings = drill_settings(
        tmp_path_factory.mktemp("service"),
        api_keys_file=keys_file,
        operations_password=PASSWORD,
    )
    async with running(settings) as service:
        yield service


@pytest.fixture
def visitor(locked: Running) -> httpx.AsyncClient:
    """A browser of its own."""
    client = locked.client_from("203.0.113.20")
    client.headers["Accept"] = "text/html"
    return client


def bearer(key: str) -> dict[str, str]:
    """The header that a program sends."""
    return {"Authorization": f"Bearer {key}"}


def asked(service: Running) -> Iterator[tuple[str, str]]:
    """Every path and method of the API, and some of the page."""
    for path, methods in service.app.openapi()["paths"].items():
        for method in methods:
            yield re.sub(r"\{[^}]*\}", "x", path), method.upper()
    yield from (("/", "GET"), ("/gradio_api/info", "GET"), ("/gradio_api/queue/join", "POST"))


async def test_every_route_needs_a_key_unless_it_is_open(locked: Running) -> None:
    """One that is added later is closed until somebody opens it."""
    closed = 0
    for path, method in asked(locked):
        answer = await locked.client.request(method, path)
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        assert is_open == (answer.headers.get("www-authenticate", "")[:6] != "Bearer"), path
        if not is_open:
            closed += 1
            body = answer.json()
            # The routes of OpenAI's API have its words.
            told = body["error"] if path.startswith("/v1/") else {**body, "code": body["error"]}
            assert (answer.status_code, told["code"]) == (401, "key_needed"), path
            assert told["request_id"] == answer.headers["x-request-id"]
    assert closed > 15


@pytest.mark.parametrize(
    "path",
    ["//tts", "/tts/", "/TTS", "/health/../tts", "/operations/../tts", "/docs/x", "/healthy"],
)
async def test_no_other_spelling_is_open(locked: Running, path: str) -> None:
    """It is answered by the wall, or by nobody."""
    answer = await locked.client.post(path, json={"text": "hello"})
    assert answer.status_code in (401, 404)


@pytest.mark.parametrize(
    ("host", "is_told"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("tts", True)],
)
async def test_a_service_that_is_open_to_others_says_so(
    host: str, is_told: bool, key: str, keys_file: Path
) -> None:
    """Once, at its start; with keys it is not open."""
    assert key
    open_one, locked_one = (
        Settings(_env_file=None, host=host, api_keys_file=file) for file in (None, keys_file)
    )
    with capture_logs() as lines:
        tell_if_open(open_one, ApiKeys(open_one))
        tell_if_open(locked_one, ApiKeys(locked_one))
    assert [line["event"] for line in lines] == ["access.open"] * is_told


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics", "/docs"])
async def test_what_watches_needs_none(locked: Running, path: str) -> None:
    """An orchestrator has no key."""
    assert (await locked.client.get(path)).status_code == 200


async def test_a_key_lets_in_and_names_the_user(locked: Running, key: str) -> None:
    """In either header; the event says whose key it was, and nothing holds the key itself."""
    for headers in (bearer(key), {"authorization": f"bearer  {key}"}, {"X-API-Key": key}):
        answer = await locked.speak(headers)
        assert answer.status_code == 200
        started, finished = await locked.log.pair(answer.headers["x-request-id"])
        assert (started["user"], finished["user"]) == ("shop", "shop")
    assert (await locked.client.get("/speakers", headers=bearer(key))).status_code == 200
    assert key not in locked.log.text()


async def test_nobody_names_themselves(locked: Running, key: str) -> None:
    """The header that carries the name inside is ours."""
    answer = await locked.speak({**bearer(key), "X-IndexTTS-User": "boss"})
    assert (await locked.log.finished(answer.headers["x-request-id"]))["user"] == "shop"


async def test_a_wrong_key_is_told_and_not_logged(locked: Running, key: str) -> None:
    """What to do stands in the answer; after a few of them the address hears only to wait."""
    wrong = "indextts_canary-of-a-wrong-key"
    async with locked.client_from("203.0.113.99") as stranger:
        for _ in range(MAX_FAILURES):
            answer = await stranger.post("/tts", json={"text": "hello"}, headers=bearer(wrong))
            assert (answer.status_code, answer.json()["error"]) == (401, "key_unknown")
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        answer = await stranger.post("/tts", json={"text": "hello"}, headers=bearer(wrong))
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_attempts")
        assert answer.headers["retry-after"]
        # Whoever has the right one is not locked out by a neighbour who guesses.
        assert (await stranger.get("/speakers", headers=bearer(key))).status_code == 200
    (line, *_) = locked.log.lines("access.refused")
    assert line["client_ip"] == "203.0.113.0"
    assert len(locked.log.lines("access.refused")) == MAX_FAILURES
    assert "canary" not in locked.log.text()


async def test_a_revoked_key_is_refused(
    locked: Running, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and with it the sessions that were opened with it."""
    monkeypatch.setattr(api_keys, "LOOK_SECONDS", 0.0)
    key = api_keys.add(keys_file, "guest")
    async with locked.client_from("203.0.113.21") as guest:
        assert (await guest.post("/login", data={"key": key})).status_code == 303
        assert (await guest.get("/speakers")).status_code == 200
        api_keys.revoke(keys_file, "guest")
        assert (await guest.get("/speakers")).status_code == 401
        assert (await guest.get("/speakers", headers=bearer(key))).status_code == 401


async def test_a_visitor_logs_in_with_a_key(visitor: httpx.AsyncClient, key: str) -> None:
    """The page asks for it, once; the session is this browser's, and a logout ends it."""
    page = await visitor.get("/")
    assert page.status_code == 401
    assert 'action="login"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    wrong = await visitor.post("/login", data={"key": "<b>guess"})
    assert wrong.status_code == 401
    assert errors.KeyUnknown.en in wrong.text
    assert "guess" not in wrong.text
    answer = await visitor.post("/login", data={"key": f" {key} "})
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert key not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    # The page itself is not mounted here; the wall has let through.
    assert (await visitor.get("/")).status_code == 404
    spoken = await visitor.post("/tts", json={"text": "hello"})
    assert spoken.status_code == 200
    token = visitor.cookies["indextts_visitor"]
    assert (await visitor.post("/logout")).status_code == 303
    visitor.cookies = httpx.Cookies({"indextts_visitor": token})
    assert (await visitor.get("/")).status_code == 401


async def test_the_login_speaks_the_visitors_language(visitor: httpx.AsyncClient) -> None:
    """Chinese where the browser prefers it."""
    answer = await visitor.get("/", headers={"Accept-Language": "zh-CN"})
    assert "API 密钥" in answer.text


async def test_another_sites_page_asks_nothing_with_a_session(
    visitor: httpx.AsyncClient, key: str
) -> None:
    """A session is the browser's own, whoever's page has it ask; a key is not."""
    await visitor.post("/login", data={"key": key})
    foreign = {"Sec-Fetch-Site": "cross-site"}
    answer = await visitor.post("/tts", json={"text": "hello"}, headers=foreign)
    assert (answer.status_code, answer.json()["error"]) == (403, "foreign_site")
    assert (await visitor.get("/", headers=foreign)).status_code == 404, "a link may be followed"
    answer = await visitor.post("/tts", json={"text": "hello"}, headers={**foreign, **bearer(key)})
    assert answer.status_code == 200


async def test_an_operator_needs_no_key(locked: Running) -> None:
    """The password is worth more than a key; a wrong one is a missing key."""

    def basic(password: str) -> dict[str, str]:
        return {"Authorization": f"Basic {b64encode(f'operator:{password}'.encode()).decode()}"}

    answer = await locked.speak(basic(PASSWORD))
    assert answer.status_code == 200
    assert (await locked.log.finished(answer.headers["x-request-id"]))["user"] == "operator"
    assert (await locked.speak(basic("guess"))).json()["error"] == "key_needed"


async def test_without_keys_whatever_is_sent_is_ignored(shared: Running) -> None:
    """A client of the OpenAI form always sends some key."""
    answer = await shared.speak(bearer("sk-anything"))
    assert answer.status_code == 200
    assert "user" not in await shared.log.finished(answer.headers["x-request-id"])
