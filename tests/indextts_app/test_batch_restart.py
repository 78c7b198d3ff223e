"""
A promise that needs a whole process: a batch outlives the service being killed in the middle.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from service_process import serving, until

ROWS = 40


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    text = "".join(path.read_text() for path in sorted((folder / "logs").glob("*.jsonl")))
    found = (json.loads(line) for line in text.splitlines())
    return [line for line in found if line["event"] == event]


def test_a_killed_service_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Every row is done once; what died with the process is told as lost, and counted."""
    rows = "".join(f'{{"text": "row {number}"}}\n' for number in range(ROWS))
    with serving(tmp_path) as (process, client):
        job_id = client.post("/batches", files={"file": rows.encode()}).json()["job_id"]
        until(lambda: client.get(f"/batches/{job_id}").json()["done"] >= 7)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(tmp_path) as (_, client):
        until(lambda: client.get(f"/batches/{job_id}").json()["state"] == "finished")
        found = client.get(f"/batches/{job_id}").json()
        archive = client.get(f"/batches/{job_id}/archive")
        started = lines(tmp_path, "synthesis.started")
        until(lambda: len(lines(tmp_path, "synthesis.finished")) >= len(started))
    assert found["counts"] == {"success": ROWS}
    assert archive.content.count(b"request_id=") >= ROWS
    finished = lines(tmp_path, "synthesis.finished")
    assert {line["request_id"] for line in started} == {line["request_id"] for line in finished}
    assert len(started) == len(finished)
    assert {line["status"] for line in finished} == {"success", "lost"}
    # Those that were on their way, two for the one worker, were asked for once more.
    assert 0 <= len(finished) - ROWS <= 2
    (begun,) = lines(tmp_path, "batch.started")
    (resumed,) = lines(tmp_path, "batch.resumed")
    (over,) = lines(tmp_path, "batch.finished")
    assert begun["job_id"] == resumed["job_id"] == over["job_id"] == job_id
    assert 7 <= resumed["rows_done"] < ROWS
    assert over["rows_done"] == ROWS
