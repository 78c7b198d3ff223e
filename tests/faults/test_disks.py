"""Disks that are full: the log's, the audio's; real file systems of a few pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.own_service import read_lines

Until = Callable[[Callable[[], object]], None]
SmallDisk = Callable[[str, int], Path]


def test_a_full_log_disk_costs_lines_and_no_request(
    start: Any, small_disk: SmallDisk, until: Until, tmp_path: Path
) -> None:
    """Answers go on, stdout has every line, the loss is counted, and it ends when there is room."""
    disk = small_disk("log-disk", 256 * 1024)
    folder = tmp_path / "service"
    with start(folder, INDEXTTS_LOG_DIR=str(disk)) as service:
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096) == 4096:
                    pass
            except OSError:
                pass
        ids = []
        for _ in range(12):
            answer = service.speak()
            assert answer.status_code == 200
            ids.append(answer.headers["x-request-id"])
        until(lambda: service.metric('indextts_lines_lost_total{sink="file"}') > 0)
        printed = folder / "stdout"
        until(lambda: printed.read_text().count('"synthesis.finished"') == len(ids))
        ballast.unlink()
        answer = service.speak()
        assert service.finished(answer.headers["x-request-id"])["status"] == "success"
        assert len(service.lines("log.sink_recovered", sink="file")) == 1
    # One line at most is torn, by the moment in which the disk became full, and it was ended.
    torn = [line for line in read_lines(disk) if not _is_json(line)]
    assert len(torn) <= 1


def test_a_full_audio_disk_is_told_before_the_engine_is_asked(
    start: Any, small_disk: SmallDisk, tmp_path: Path
) -> None:
    """507 with what to do, an event, no worker busy with it, and nothing half written."""
    disk = small_disk("audio-disk", 4 * 1024 * 1024)
    environment = {"INDEXTTS_OUTPUT_DIR": str(disk), "INDEXTTS_MIN_FREE_MB": "2"}
    with start(tmp_path / "service", **environment) as service:
        assert service.speak().status_code == 200
        (disk / "ballast").write_bytes(b"x" * 3 * 1024 * 1024)
        answer = service.speak()
        assert (answer.status_code, answer.json()["error"]) == (507, "storage_full")
        line = service.finished(answer.headers["x-request-id"])
        assert (line["error_type"], "worker" in line) == ("storage_full", False)
        assert not list(disk.rglob("*.part"))
        (disk / "ballast").unlink()
        assert service.speak().status_code == 200


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
