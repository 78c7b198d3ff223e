"""Promises of the storage: no work for what could not be stored, and no end of files."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from indextts_app import errors, retention, storage
from indextts_app.settings import Settings
from indextts_app.storage import FilesInUseMiddleware, PageUploadsMiddleware, Storage

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio


def put(path: Path, *, size: int = 600_000, age_seconds: float = 3600) -> Path:
    """A file that was written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    moment = time.time() - age_seconds
    os.utime(path, (moment, moment))
    return path


@pytest.fixture
def settings(tmp_path: Path, drill_settings: Callable[..., Settings]) -> Settings:
    """A megabyte may lie there, and a megabyte must be free."""
    return drill_settings(tmp_path, output_max_mb=1, min_free_mb=1)


async def test_a_full_disk_is_told_before_any_work(settings: Settings) -> None:
    """Once in the log, and once when there is room again."""
    free = [5_000_000]
    watched = Storage(settings, free_bytes=lambda _: free[0])
    watched.check()
    with capture_logs() as lines:
        for free[0] in (999_999, 0, 1_000_000):
            if free[0] < 1_000_000:
                with pytest.raises(errors.StorageFull) as refused:
                    watched.check()
                assert (refused.value.http_status, refused.value.retry_after_seconds) == (507, 60)
            else:
                watched.check()
    assert [line["event"] for line in lines] == ["storage.full", "storage.freed"]
    assert lines[0]["reason"] == "1 MB are free, 1 are needed"


async def test_a_folder_that_is_gone_is_full(settings: Settings) -> None:
    """Nobody can store anything in it."""
    with pytest.raises(errors.StorageFull), capture_logs() as lines:
        Storage(settings).check()
    assert "No such file" in lines[0]["reason"]


async def test_nobody_looks_where_nobody_asked_to(settings: Settings) -> None:
    """With 0 it is tried in any case."""
    Storage(settings.model_copy(update={"min_free_mb": 0})).check()


async def test_too_much_is_swept_at_once(
    settings: Settings, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the next sweep is due; each reason is counted."""
    monkeypatch.setattr(storage.asyncio, "sleep", asyncio.sleep)
    counted: list[tuple[str, int]] = []
    watched = Storage(settings, on_swept=lambda reason, files: counted.append((reason, files)))
    put(settings.output_dir / "old.wav", age_seconds=25 * 3600)
    first = put(settings.output_dir / "first.wav")
    sweeping = asyncio.create_task(watched.sweep_forever())
    await until(lambda: watched.bytes_used == 600_000)
    second = put(settings.output_dir / "second.wav", age_seconds=120)
    watched.added(600_000)
    await until(lambda: not first.exists())
    assert second.exists()
    await until(lambda: watched.bytes_used == 600_000)
    sweeping.cancel()
    assert [item for item in counted if item[1]] == [("old", 1), ("surplus", 1)]


async def test_where_nothing_may_go_nothing_more_is_made(settings: Settings) -> None:
    """What was just made is young, and what is being listened to is in use."""
    watched = Storage(settings)
    put(settings.output_dir / "a.wav")
    put(settings.output_dir / "b.wav")
    with watched.used("a.wav"), watched.used("b.wav"):
        assert (await watched.sweep()).bytes_left == 1_200_000
        with pytest.raises(errors.StorageFull):
            watched.check()
    await watched.sweep()
    watched.check()


async def test_who_is_refused_for_it_has_it_swept_again(
    settings: Settings, until: Callable[..., Any]
) -> None:
    """What was too young has become old enough; the next sweep that is due may be minutes away."""
    put(settings.output_dir / "a.wav", size=1_200_000, age_seconds=0)
    late = [time.time()]
    watched = Storage(settings, now=lambda: late[0])
    sweeping = asyncio.create_task(watched.sweep_forever())
    await until(lambda: watched.bytes_used == 1_200_000)
    late[0] += 2 * retention.YOUNG_SECONDS
    with pytest.raises(errors.StorageFull):
        watched.check()
    await until(lambda: not watched.bytes_used)
    watched.check()
    sweeping.cancel()


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/operations/gradio_api/upload"])
async def test_what_the_pages_visitors_upload_counts(settings: Settings, path: str) -> None:
    """As anything else that is stored; where there is no room, nothing of it is read."""
    put(settings.output_dir / "a.wav", size=1_000_000)
    watched = Storage(settings)
    await watched.sweep()
    pieces = [{"type": "http.request", "body": b"x" * 60_000, "more_body": True}] * 2

    async def receive() -> Any:
        return pieces.pop()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    guarded = PageUploadsMiddleware(app, storage=watched)
    scope = {"type": "http", "method": "POST", "path": path}
    await guarded(scope, receive, None)  # type: ignore[arg-type]
    assert watched.bytes_used == 1_120_000
    with pytest.raises(errors.StorageFull):
        await guarded(scope, receive, None)  # type: ignore[arg-type]
    assert pieces == []


async def test_a_file_is_in_use_while_it_is_sent(settings: Settings) -> None:
    """By the name that the browser asks for, until the last byte has gone or the client has."""
    watched = Storage(settings)
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(set(watched._in_use))

    guarded = FilesInUseMiddleware(app, storage=watched)
    path = f"/gradio_api/file={settings.output_dir}/gradio/01M8.wav"
    for asked in (path, "/tts"):
        await guarded({"type": "http", "path": asked}, None, None)  # type: ignore[arg-type]
    assert seen == [{"01M8.wav"}, set()]
    assert not watched._in_use


async def test_a_request_is_refused_with_its_event(
    tmp_path: Path, drill_settings: Callable[..., Settings], running: Callable[..., Any]
) -> None:
    """507 with Retry-After, and the engine was not asked."""
    async with running(drill_settings(tmp_path, min_free_mb=10**9)) as service:
        service: Running
        answer = await service.speak()
        assert (answer.status_code, answer.json()["error"]) == (507, "storage_full")
        assert answer.headers["retry-after"] == "60"
        finished = await service.log.finished(answer.headers["x-request-id"])
        assert (finished["status"], finished["error_type"]) == ("rejected", "storage_full")
        assert "worker" not in finished
