"""
Promises of a batch over REST: every row has its event, broken ones are told, nobody is held up.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indextts_app import errors
from indextts_app.batches.table import Row
from indextts_app.settings import Settings
from indextts_app.synthesis import Caller
from observability import request_id

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Make = Callable[..., Settings]
Run = Callable[[Settings], Any]
Until = Callable[[Callable[[], object]], Awaitable[None]]

CSV = "文本,发音人,名称\n第一句。,,one\n第二句。,nobody,\n第三句。,silent,\n四，多,出,来,了\n,,\n"


async def sent(service: Running, data: str | bytes, **fields: str) -> dict[str, Any]:
    answer = await service.client.post("/batches", files={"file": ("t.csv", data)}, data=fields)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/batches/{answer.json()['job_id']}"
    body: dict[str, Any] = answer.json()
    return body


async def status(service: Running, job_id: str, query: str = "") -> dict[str, Any]:
    answer = await service.client.get(f"/batches/{job_id}{query}")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def told(
    service: Running, job_id: str, condition: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while not condition(found := await status(service, job_id)):  # noqa: ASYNC110  # over HTTP
            await asyncio.sleep(0.02)
    return found


async def ended(service: Running, job_id: str) -> dict[str, Any]:
    return await told(service, job_id, lambda found: found["ended"])


async def archive_of(service: Running, job_id: str) -> zipfile.ZipFile:
    answer = await service.client.get(f"/batches/{job_id}/archive")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    return zipfile.ZipFile(io.BytesIO(answer.content))


async def test_a_table_comes_back_as_audio_with_a_manifest(shared: Running) -> None:
    """Broken rows are told by line, at once and in the end; the others are done all the same."""
    accepted = await sent(shared, CSV, format="flac")
    job_id = accepted["job_id"]
    assert (accepted["total"], accepted["state"]) == (4, "waiting")
    assert [row["line"] for row in accepted["broken_rows"]] == [5]
    assert accepted["broken_rows"][0]["message"].startswith("The row cannot be read: it has more")
    found = await ended(shared, job_id)
    assert found["state"] == "finished"
    assert found["counts"] == {"success": 1, "rejected": 2, "degraded": 1}
    assert [(item["line"], item["status"], item["error"]) for item in found["items"]] == [
        (2, "success", None),
        (3, "rejected", "unknown_speaker"),
        (4, "degraded", None),
        (5, "rejected", "row_unreadable"),
    ]
    archive = await archive_of(shared, job_id)
    third = found["items"][2]["request_id"]
    assert archive.namelist() == ["1-one.flac", f"3-{third}.flac", "manifest.csv"]
    assert archive.read("1-one.flac")[:4] == b"fLaC"
    manifest = csv.DictReader(io.StringIO(archive.read("manifest.csv").decode("utf-8-sig")))
    assert [row["status"] for row in manifest] == [item["status"] for item in found["items"]]


async def test_every_row_has_its_event_and_the_job_its_own(shared: Running) -> None:
    """Each with the id of the job; and no text stands in the log, or on the disk, afterwards."""
    text = "XYZZY secret words"
    lines = "\n".join(json.dumps({"text": text, "seed": None}) for _ in range(5))
    job_id = (await sent(shared, lines + "\n{"))["job_id"]
    found = await ended(shared, job_id)
    for item in found["items"]:
        started, finished = await shared.log.pair(item["request_id"])
        assert started["job_id"] == finished["job_id"] == job_id
        assert finished["source"] == "batch"
        assert finished["status"] == item["status"]
    (begun,) = shared.log.lines("batch.started", job_id=job_id)
    (over,) = shared.log.lines("batch.finished", job_id=job_id)
    assert begun["rows"] == 6
    assert "request_id" not in begun
    assert (over["status"], over["rows_done"], over["rows_success"]) == ("finished", 6, 5)
    assert over["rows_rejected"] == 1
    assert "XYZZY" not in shared.log.text()
    folder = shared.service.settings.batch_dir / job_id
    assert not [path for path in folder.glob("*.json*") if "XYZZY" in path.read_text()]


async def test_a_list_of_rows_is_a_batch_as_well(shared: Running) -> None:
    """In JSON, with what holds for all of them beside it."""
    rows = [{"text": "one", "name": "a"}, {"text": "two", "format": "wav"}]
    answer = await shared.client.post("/batches", json={"rows": rows, "format": "mp3"})
    found = await ended(shared, answer.json()["job_id"])
    assert [item["file"] for item in found["items"]] == [
        "1-a.mp3",
        f"2-{found['items'][1]['request_id']}.wav",
    ]


@pytest.mark.parametrize(
    ("sending", "status_code", "code"),
    [
        ({"files": {"file": b"nothing"}}, 400, "batch_unreadable"),
        ({"files": {"file": b"text,colour\nhi,red\n"}}, 400, "batch_unreadable"),
        ({"json": {"text": "hello"}}, 400, "batch_unreadable"),
        ({"json": {"rows": []}}, 400, "batch_unreadable"),
        ({"json": {"rows": [{"text": "hi"}], "colour": "red"}}, 422, "unknown_field"),
        ({"json": {"rows": [{"text": "hi"}], "format": "m4a"}}, 422, "unknown_format"),
        ({"json": {"rows": [{"text": "hi"}], "speaker": "nobody"}}, 422, "unknown_speaker"),
        ({"json": {"rows": [{"text": "hi"}], "speed": "9"}}, 422, "speed_out_of_range"),
        ({"files": {"other": b"text\nhi\n"}}, 400, "batch_unreadable"),
        ({"content": b"text\nhi\n"}, 400, "malformed_request"),
        ({"json": {"rows": [{"text": "a"}] * 5_001}}, 413, "batch_too_long"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    shared: Running, sending: dict[str, Any], status_code: int, code: str
) -> None:
    """With what would be one, and under the id of the request."""
    answer = await shared.client.post("/batches", **sending)
    assert (answer.status_code, answer.json()["error"]) == (status_code, code)
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert "red" not in answer.text


async def test_rows_are_told_page_by_page_and_by_state(shared: Running) -> None:
    """A large batch is not told at once."""
    rows = [{"text": "a", "speaker": name} for name in ("steady", "nobody", "steady", "steady")]
    job_id = (await shared.client.post("/batches", json={"rows": rows})).json()["job_id"]
    await ended(shared, job_id)

    async def rows_of(query: str) -> list[int]:
        return [item["row"] for item in (await status(shared, job_id, query))["items"]]

    assert await rows_of("?offset=1&limit=2") == [2, 3]
    assert await rows_of("?state=success&offset=1") == [3, 4]
    assert await rows_of("?state=rejected") == [2]
    unknown = await shared.client.get(f"/batches/{job_id}?state=done")
    assert (unknown.status_code, unknown.json()["error"]) == (422, "invalid_field")
    assert "Choose one of pending, running" in unknown.json()["message"]
    assert await rows_of("?offset=-5&limit=-1") == []


async def test_an_unknown_batch_is_told_as_one(shared: Running) -> None:
    """Whatever is asked of it."""
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/archive")):
        answer = await shared.client.request(method, f"/batches/{request_id.new()}{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_batch")


async def test_a_batch_is_known_to_who_made_it(shared: Running, until: Until) -> None:
    """With API keys to that key alone; else to whoever has its id, which nobody can guess."""
    batches = shared.service.batches
    owner = Caller(request_id.new(), "api", user="a")
    job = await batches.begin([Row(2, {"text": "hi"})], {}, owner)
    assert batches.get(job.about.job_id.lower(), "a") is job
    for other in ("b", None):
        with pytest.raises(errors.UnknownBatch):
            batches.get(job.about.job_id, other)
    await until(lambda: job.has_ended)
    (item,) = job.items.values()
    finished = await shared.log.finished(item.request_id)
    assert finished["user"] == "a"


async def test_cancelling_ends_it_now_and_deleting_forgets_it(
    tmp_path: Path, drill_settings: Make, running: Run, until: Until
) -> None:
    """What was done stays; what was being made has its event; what was not begun has none."""
    settings = drill_settings(tmp_path, drill_seconds=0.2, workers=1)
    async with running(settings) as service:
        rows = [{"text": f"row {number}"} for number in range(50)]
        job_id = (await service.client.post("/batches", json={"rows": rows})).json()["job_id"]
        early = await service.client.get(f"/batches/{job_id}/archive")
        assert (early.status_code, early.json()["error"]) == (409, "batch_unfinished")
        going = await told(service, job_id, lambda found: found["done"] >= 2)
        assert going["remaining_seconds"] > 1
        assert {item["status"] for item in going["items"]} == {"success", "running", "pending"}
        began = time.monotonic()
        answer = await service.client.delete(f"/batches/{job_id}")
        assert time.monotonic() - began < 2
        assert answer.json()["state"] == "cancelled"
        done = await status(service, job_id)
        counts = done["counts"]
        assert counts["success"] >= 2
        assert 1 <= counts["cancelled"] <= 2
        asked = [item for item in done["items"] if item["status"] != "not_asked"]
        for item in asked:
            line = await service.log.finished(item["request_id"])
            assert line["status"] == item["status"]
        assert len(service.log.lines("synthesis.finished")) == len(asked)
        (over,) = service.log.lines("batch.finished")
        assert over["status"] == "cancelled"
        archive = await archive_of(service, job_id)
        assert len(archive.namelist()) == counts["success"] + 1
        await until(lambda: service.service.pool.busy == 0)
        assert (await service.client.delete(f"/batches/{job_id}")).status_code == 200
        assert (await service.client.get(f"/batches/{job_id}")).status_code == 404
        assert not (settings.batch_dir / job_id).exists()


async def test_whoever_asks_now_waits_for_one_row_at_most(
    tmp_path: Path, drill_settings: Make, running: Run
) -> None:
    """However many rows there are: they come when nobody else waits. And they do come."""
    settings = drill_settings(tmp_path, drill_seconds=0.1, workers=1, max_queue=2)
    async with running(settings) as service:
        rows = [{"text": "row"} for _ in range(30)]
        job_id = (await service.client.post("/batches", json={"rows": rows})).json()["job_id"]
        await asyncio.sleep(0.15)
        waited = []
        for _ in range(5):
            answer = await service.speak(text="now")
            assert answer.status_code == 200
            line = await service.log.finished(answer.headers["X-Request-ID"])
            waited.append(line["queue_ms"])
        together = await asyncio.gather(*(service.speak(text="now") for _ in range(3)))
        assert [answer.status_code for answer in together] == [200] * 3
        assert sorted(waited)[2] < 250
        assert max(waited) < 1000
        found = await ended(service, job_id)
        assert found["counts"] == {"success": 30}


async def test_a_small_batch_does_not_wait_for_a_large_one(
    tmp_path: Path, drill_settings: Make, running: Run
) -> None:
    """They take turns."""
    async with running(drill_settings(tmp_path, drill_seconds=0.02)) as service:
        large = {"rows": [{"text": "row"}] * 100}
        first = (await service.client.post("/batches", json=large)).json()["job_id"]
        small = {"rows": [{"text": "row"}] * 3}
        second = (await service.client.post("/batches", json=small)).json()["job_id"]
        await ended(service, second)
        assert (await status(service, first))["done"] < 50
        await service.client.delete(f"/batches/{first}")


async def test_so_many_batches_are_taken_and_no_more(
    tmp_path: Path, drill_settings: Make, running: Run
) -> None:
    """Until one has ended."""
    settings = drill_settings(tmp_path, drill_seconds=1, max_batches=1)
    async with running(settings) as service:
        first = await service.client.post("/batches", json={"rows": [{"text": "a"}] * 9})
        second = await service.client.post("/batches", json={"rows": [{"text": "a"}]})
        assert (second.status_code, second.json()["error"]) == (503, "batches_full")
        assert second.headers["Retry-After"] == "60"
        await service.client.delete(f"/batches/{first.json()['job_id']}")
        third = await service.client.post("/batches", json={"rows": [{"text": "a"}]})
        assert third.status_code == 202
        await service.client.delete(f"/batches/{third.json()['job_id']}")


async def test_a_batch_that_is_deleted_makes_room_at_once(
    tmp_path: Path, drill_settings: Make, running: Run
) -> None:
    """As the refusal says: delete a finished one."""
    async with running(drill_settings(tmp_path)) as service:
        first = await service.client.post("/batches", json={"rows": [{"text": "a"}]})
        job_id = first.json()["job_id"]
        await ended(service, job_id)
        batches = service.service.batches
        settings = batches._settings
        for limit, said in (
            ({"batch_max_mb": 0.001}, "their audio takes 0.001 MB already."),
            ({"max_batches": 1, "max_batch_rows": 1}, "1 rows are kept already, of 2 that may be."),
        ):
            batches._settings = settings.model_copy(update=limit)
            second = await service.client.post("/batches", json={"rows": [{"text": "a"}] * 2})
            assert (second.status_code, second.json()["error"]) == (503, "batches_full")
            assert said in second.json()["message"]
        await service.client.delete(f"/batches/{job_id}")
        third = await service.client.post("/batches", json={"rows": [{"text": "a"}]})
        assert third.status_code == 202


async def test_the_last_row_ends_its_batch_even_where_no_other_could_be_worked_on(
    tmp_path: Path, drill_settings: Make, running: Run
) -> None:
    """Its audio may be what takes the last of the room."""
    async with running(drill_settings(tmp_path, batch_max_mb=0.001)) as service:
        created = await service.client.post("/batches", json={"rows": [{"text": "a"}]})
        found = await ended(service, created.json()["job_id"])
    assert (found["state"], found["counts"]) == ("finished", {"success": 1})


async def test_rows_wait_while_no_worker_can_be_had(
    tmp_path: Path, drill_settings: Make, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them fails for it, and the batch says why it stands still."""
    monkeypatch.setattr("indextts_app.batches.runner.LOOK_SECONDS", 0.02)
    async with running(drill_settings(tmp_path)) as service:
        pool = service.service.pool
        refusal = pool._refusal
        pool._refusal = lambda: errors.NotReady(reason="so it is.", reason_zh="如此。")
        created = await service.client.post("/batches", json={"rows": [{"text": "a"}] * 3})
        job_id = created.json()["job_id"]
        found = await told(service, job_id, lambda found: found["waits_because"])
        assert found["waits_because"].startswith("The service cannot take requests now: so it is.")
        assert found["done"] == 0
        pool._refusal = refusal
        assert (await ended(service, job_id))["counts"] == {"success": 3}


async def test_the_time_of_a_row_counts_from_its_worker(
    tmp_path: Path, drill_settings: Make, running: Run
) -> None:
    """It waits for others longer than it may take itself; one that hangs is ended all the same."""
    settings = drill_settings(tmp_path, drill_seconds=0.2, timeout_seconds=1.5)
    async with running(settings) as service:
        end = time.monotonic() + 2.5

        async def ask(name: str) -> None:
            while time.monotonic() < end:
                await service.speak(text=f"{name} {time.monotonic()}")

        crowd = [asyncio.create_task(ask(name)) for name in ("one", "two")]
        await asyncio.sleep(0.1)
        rows = [{"text": "a"}, {"text": "b", "speaker": "hang"}]
        created = await service.client.post("/batches", json={"rows": rows})
        found = await ended(service, created.json()["job_id"])
        await asyncio.gather(*crowd)
        waited = await service.log.finished(found["items"][0]["request_id"])
    assert [item["status"] for item in found["items"]] == ["success", "timeout"]
    assert waited["queue_ms"] > 1_500


async def test_a_batch_goes_by_age(tmp_path: Path, drill_settings: Make, running: Run) -> None:
    """Its audio is kept as long as that of any request, from its end on."""
    async with running(drill_settings(tmp_path, output_keep_hours=2)) as service:
        created = await service.client.post("/batches", json={"rows": [{"text": "a"}]})
        job_id = created.json()["job_id"]
        end = (await ended(service, job_id))["ended"]
        batches = service.service.batches
        await batches.sweep(end + 7_100)
        assert (await service.client.get(f"/batches/{job_id}")).status_code == 200
        await batches.sweep(end + 7_300)
        assert (await service.client.get(f"/batches/{job_id}")).status_code == 404
        assert not (service.service.settings.batch_dir / job_id).exists()


async def test_a_stopped_service_goes_on_where_it_stopped(
    tmp_path: Path, drill_settings: Make, running: Run, until: Until
) -> None:
    """No row is done twice, the rows that were given up are done again, and one event ends it."""
    settings = drill_settings(tmp_path, drill_seconds=0.05)
    async with running(settings) as service:
        rows = [{"text": f"row {number}"} for number in range(30)]
        job_id = (await service.client.post("/batches", json={"rows": rows})).json()["job_id"]
        await told(service, job_id, lambda found: found["done"] >= 5)
    async with running(settings) as service:
        found = await ended(service, job_id)
        assert found["counts"] == {"success": 30}
        asked = {"event": "synthesis.finished", "job_id": job_id, "status": "success"}
        await until(lambda: len(service.log.lines(**asked)) == 30)
        assert len(service.log.lines("batch.started", job_id=job_id)) == 1
        assert len(service.log.lines("batch.resumed", job_id=job_id)) == 1
        assert len(service.log.lines("batch.finished", job_id=job_id)) == 1
        assert len((await archive_of(service, job_id)).namelist()) == 31
