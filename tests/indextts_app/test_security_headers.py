"""Promises of the headers: browsers show our answers as what they are, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indextts_app.security_headers import HEADERS, PAGE_POLICY

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/health", "/speakers", "/nowhere", "/docs", "/requests/x"])
async def test_every_answer_has_them(shared: Running, path: str) -> None:
    """Good or bad; only a document has a policy, and the server does not say what it is."""
    answer = await shared.client.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    is_document = answer.headers["content-type"].startswith("text/html")
    assert answer.headers.get("content-security-policy") == (PAGE_POLICY if is_document else None)
    assert "server" not in answer.headers


async def test_no_other_origin_may_read_or_ask(shared: Running) -> None:
    """Not the answers of the API, not after asking first, and not blindly through a browser."""
    foreign = {"Origin": "https://elsewhere.example"}
    answer = await shared.client.get("/speakers", headers=foreign)
    assert "access-control-allow-origin" not in answer.headers
    asks_first = {**foreign, "Access-Control-Request-Method": "POST"}
    answer = await shared.client.options("/tts", headers=asks_first)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    answer = await shared.speak({**foreign, "Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.json()["error"]) == (403, "foreign_site")
    assert (await shared.speak({"Sec-Fetch-Site": "same-origin"})).status_code == 200


async def test_an_origin_that_may_is_let(
    tmp_path: Path, drill_settings: Callable[..., Any], running: Callable[..., Any]
) -> None:
    """A web page of INDEXTTS_CORS_ORIGINS asks and reads the answer, its request_id as well."""
    own = "https://app.example"
    async with running(
        drill_settings(tmp_path, cors_origins=f"{own}/, https://b.example")
    ) as service:
        headers = {"Origin": own, "Sec-Fetch-Site": "cross-site"}
        asks_first = {**headers, "Access-Control-Request-Method": "POST"}
        answer = await service.client.options("/tts", headers=asks_first)
        assert answer.headers["access-control-allow-origin"] == own
        answer = await service.speak(headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == own
        exposed = answer.headers["access-control-expose-headers"]
        assert {"X-Request-ID", "X-Speaker", "X-Result-Cache"} <= set(exposed.split(", "))
