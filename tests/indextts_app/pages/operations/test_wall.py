"""Promises of the wall: nothing of the operations page answers a stranger."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from indextts_app.attempts import MAX_FAILURES
from indextts_app.pages import gradio_environment
from indextts_app.server import Service
from indextts_app.settings import Settings

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"  # noqa: S105  # of the test alone
STRANGER = "203.0.113.7"
HOST = "http://127.0.0.1"


def app_of(settings: Settings) -> FastAPI:
    """The application with its operations page, and nothing after it."""
    gradio_environment.prepare(settings.output_dir)
    from indextts_app.pages.operations import place

    service = Service(settings)
    app = service.api_app()
    place.mount(
        app,
        settings,
        desk=service.desk,
        operators=service.operators,
        synthesizer=service.synthesizer,
        hash_key=b"k" * 32,
    )
    return app


def client_of(app: FastAPI, host: str = "127.0.0.1", base_url: str = HOST) -> httpx.AsyncClient:
    """A client at an address, which calls the service by a name."""
    transport = httpx.ASGITransport(app, client=(host, 1), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url)


@pytest.fixture(scope="module")
async def locked(
    tmp_path_factory: pytest.TempPathFactory, drill_settings: Callable[..., Settings]
) -> FastAPI:
    """A page behind a password."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "logs").mkdir()
    return app_of(drill_settings(folder, operations_password=PASSWORD))


@pytest.fixture(scope="module")
async def unlocked(
    tmp_path_factory: pytest.TempPathFactory, drill_settings: Callable[..., Settings]
) -> FastAPI:
    """A page without one."""
    return app_of(drill_settings(tmp_path_factory.mktemp("unlocked")))


@pytest.fixture
async def visitor(locked: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this very machine who has not logged in."""
    async with client_of(locked) as client:
        yield client


async def logged_in(client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    """The answer to the login form."""
    return await client.post("/operations/login", data={"user": "operator", "password": password})


def routes_behind(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route that Gradio has, with something for each parameter."""
    mounts = [route for route in app.router.routes if isinstance(route, Mount)]
    (mounted,) = (route for route in mounts if route.path == "/operations")
    behind: Any = mounted.app
    gradio_app = behind._app.routes[-1].app
    for path, methods in _routes(gradio_app.routes):
        for method in methods:
            yield method, "/operations" + re.sub(r"\{[^}]*\}", "x", path)
    yield "GET", "/operations/report/2026-02.json"


def _routes(routes: list[Any]) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        if getattr(route, "methods", None):
            yield route.path, route.methods
        else:
            yield from _routes(route.original_router.routes)


async def test_no_route_answers_a_stranger(locked: FastAPI, unlocked: FastAPI) -> None:
    """Whatever Gradio serves, files, queue, uploads and its own login: 401, without it 403."""
    found = list(routes_behind(locked))
    paths = {path for _, path in found}
    assert {
        "/operations/",
        "/operations/config",
        "/operations/login",
        "/operations/gradio_api/queue/join",
        "/operations/gradio_api/queue/data",
        "/operations/gradio_api/upload",
        "/operations/gradio_api/file=x",
        "/operations/gradio_api/info",
        "/operations/gradio_api/heartbeat/x",
        "/operations/theme.css",
    } <= paths
    assert len(found) > 60
    async with client_of(locked) as client, client_of(unlocked, STRANGER) as stranger:
        for method, path in [*found, ("GET", "/operations/nowhere"), ("PUT", "/operations/x")]:
            if (method, path) == ("POST", "/operations/login"):
                continue
            answer = await client.request(method, path)
            assert answer.status_code == 401, path
            assert "www-authenticate" not in answer.headers
            assert (await stranger.request(method, path)).status_code == 403, path


async def test_no_name_for_a_path_leads_around(visitor: httpx.AsyncClient) -> None:
    """Doubled slashes, dots and encodings are no way past."""
    for path in ("//config", "/./config", "/%2e/config", "/login/../config", "/report/../config"):
        answer = await visitor.get(f"/operations{path}")
        assert answer.status_code in (401, 404), path
    # The login itself takes a form and nothing else.
    for method in ("GET", "PUT", "DELETE"):
        assert (await visitor.request(method, "/operations/login")).status_code == 401


@pytest.mark.parametrize(("language", "word"), [("zh-CN", "密码"), ("en", "Password")])
async def test_who_comes_to_log_in_gets_a_form(
    visitor: httpx.AsyncClient, language: str, word: str
) -> None:
    """In the browser's language, without a script, and for nobody's frame."""
    answer = await visitor.get(
        "/operations/", headers={"Accept": "text/html", "Accept-Language": language}
    )
    assert answer.status_code == 401
    assert word in answer.text
    assert 'action="login"' in answer.text
    assert "script" not in answer.text.lower()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"


async def test_a_login_opens_the_page_and_a_logout_closes_it(visitor: httpx.AsyncClient) -> None:
    """The cookie is for this browser's requests only; what it opened is closed for good."""
    answer = await logged_in(visitor)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert (await visitor.get("/operations/config")).status_code == 200
    token = visitor.cookies["indextts_operator"]
    assert (await visitor.post("/operations/logout")).status_code == 303
    for cookies in ({}, {"indextts_operator": token}):
        visitor.cookies = httpx.Cookies(cookies)
        assert (await visitor.get("/operations/config")).status_code == 401


async def test_a_cookie_is_secure_where_the_address_is(locked: FastAPI) -> None:
    """Behind TLS it never travels without."""
    async with client_of(locked, base_url="https://tts.example") as client:
        assert "Secure" in (await logged_in(client)).headers["set-cookie"]


async def test_a_wrong_password_is_told_and_counted(locked: FastAPI) -> None:
    """In words, and not for ever."""
    async with client_of(locked, "203.0.113.99") as client:
        client.headers["Accept"] = "text/html"
        for _ in range(MAX_FAILURES):
            answer = await logged_in(client, "<b>guess")
            assert answer.status_code == 401
            assert "Name or password is wrong." in answer.text
            assert "guess" not in answer.text
        answer = await logged_in(client)
        assert answer.status_code == 429
        assert "Too many wrong passwords" in answer.text


async def test_a_login_is_short(visitor: httpx.AsyncClient) -> None:
    """More than a form's worth of bytes is not even read to its end."""
    answer = await logged_in(visitor, "x" * 10_000)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_basic_credentials_open_it_too(visitor: httpx.AsyncClient) -> None:
    """For programs that fetch a report."""
    answer = await visitor.get("/operations/config", auth=("operator", PASSWORD))
    assert answer.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_sites_page_asks_nothing(visitor: httpx.AsyncClient, site: str) -> None:
    """Not even with the operator's cookie; a link from there may be followed."""
    await logged_in(visitor)
    foreign = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
    assert (await visitor.get("/operations/config", headers=foreign)).status_code == 403
    answer = await visitor.post("/operations/gradio_api/queue/join", headers=foreign)
    assert answer.status_code == 403
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert (await visitor.get("/operations/", headers=followed)).status_code == 200


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("[::1]:7860", 200),
        ("attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
    ],
)
async def test_without_a_password_no_foreign_name_will_do(
    unlocked: FastAPI, name: str, status: int
) -> None:
    """A name that was pointed at this machine would let another site's page in."""
    async with client_of(unlocked, base_url=f"http://{name}") as client:
        answer = await client.get("/operations/config")
    assert answer.status_code == status
    if status == 403:
        assert "INDEXTTS_OPERATIONS_PASSWORD" in answer.json()["message"]


async def test_the_page_has_one_address(visitor: httpx.AsyncClient) -> None:
    """Without the slash it is the same page, below whichever path a proxy serves it."""
    answer = await visitor.get("/operations")
    assert (answer.status_code, answer.headers["location"]) == (307, "operations/")


async def test_a_month_can_be_downloaded(visitor: httpx.AsyncClient) -> None:
    """As a page, as JSON, as one table and as all tables; what is none of them is told."""
    await logged_in(visitor)
    page = await visitor.get("/operations/report/2026-02.html", params={"language": "zh"})
    assert 'filename="indextts-2026-02.html"' in page.headers["content-disposition"]
    assert "2026 年 2 月" in page.text
    document = json.loads((await visitor.get("/operations/report/2026-02.json")).content)
    assert (document["month"], document["requests"]) == ("2026-02", 0)
    table = await visitor.get("/operations/report/2026-02.csv", params={"table": "summary"})
    assert "2026-02" in table.text
    packed = (await visitor.get("/operations/report/2026-02.zip")).content
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert "indextts-2026-02-summary.csv" in archive.namelist()
    for name in ("2026-13.html", "2026-02.exe", "2026-02", "..html"):
        assert (await visitor.get(f"/operations/report/{name}")).status_code == 404
    unknown = await visitor.get("/operations/report/2026-02.csv", params={"table": "../x"})
    assert unknown.status_code == 404
