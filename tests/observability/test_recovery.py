"""
Promises of `observability.recovery`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from observability import logs, set_sinks
from observability.events import Event
from observability.logs import EventLog
from observability.recovery import RECONCILED, unfinished, write_lost

if TYPE_CHECKING:
    from tests.conftest import Recorder

TODAY = "indextts-2025-11-21.jsonl"
YESTERDAY = "indextts-2025-11-20.jsonl"
A, B, C = (f"01K8ZQ3V7M{letter}ABCDEFGHJKMNPQ" for letter in "ABC")


def line(event: str, request_id: str | None = None, **fields: object) -> str:
    named = {} if request_id is None else {"request_id": request_id}
    return json.dumps(
        {"timestamp": "2025-11-21T12:00:00.000000Z", "event": event, **named} | fields
    )


def started(request_id: str, **fields: object) -> str:
    return line("synthesis.started", request_id, **fields)


def finished(request_id: str, **fields: object) -> str:
    return line("synthesis.finished", request_id, status="success", **fields)


def write(folder: Path, *lines: str, name: str = TODAY) -> None:
    with (folder / name).open("a", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in lines)


def unfinished_ids(folder: Path) -> list[object]:
    return [fields["request_id"] for fields in unfinished(folder)]


def test_a_request_that_a_crash_swallowed_is_finished_as_lost(
    tmp_path: Path, recorder: Recorder
) -> None:
    """Its finished event carries what was asked, and nothing that only the started line meant."""
    asked = {
        "source": "api",
        "speaker": "知燕",
        "emotion": "calm",
        "text_len": 7,
        "text_hash": "ab",
    }
    write(tmp_path, started(A, **asked, level="info", logger="x", version="1"), finished(B))
    assert write_lost(tmp_path) == 1
    assert recorder.finished_events == [
        Event(
            event="synthesis.finished",
            request_id=A,
            source="api",
            speaker="知燕",
            emotion="calm",
            text_len=7,
            text_hash="ab",
            status="lost",
            error_type="process_died",
            error_message="The service stopped before this request was finished.",
        )
    ]
    assert recorder.started_events == []


def test_what_was_finished_is_not_lost(tmp_path: Path, recorder: Recorder) -> None:
    """Whatever the order of many requests, those with both lines are left alone."""
    write(tmp_path, started(A), started(B), finished(B), started(C), finished(A))
    assert write_lost(tmp_path) == 1
    assert [event.request_id for event in recorder.finished_events] == [C]


def test_a_request_may_begin_before_midnight_and_end_after_it(tmp_path: Path) -> None:
    """The finished line is found in the next day's file, the lost one in an earlier day's."""
    write(tmp_path, started(A), started(B), name=YESTERDAY)
    write(tmp_path, finished(A))
    assert unfinished_ids(tmp_path) == [B]


def test_the_parts_of_a_day_are_one(tmp_path: Path) -> None:
    """A request begun in one part and finished in the next is not lost; oldest come first."""
    write(tmp_path, started(A), started(B))
    write(tmp_path, finished(A), name="indextts-2025-11-21-2.jsonl")
    write(tmp_path, started(C), name="indextts-2025-11-21-10.jsonl")
    assert unfinished_ids(tmp_path) == [B, C]


def test_nothing_is_written_off_twice(tmp_path: Path) -> None:
    """What one start has settled the next does not look at, even if its own line came to naught."""
    write(tmp_path, started(A), name=YESTERDAY)
    write(tmp_path, line(RECONCILED, requests_lost=1), started(B))
    assert unfinished_ids(tmp_path) == [B]
    write(tmp_path, line(RECONCILED, requests_lost=1))
    assert unfinished_ids(tmp_path) == []


def test_a_start_that_died_while_recovering_is_taken_up(tmp_path: Path) -> None:
    """Without the line that ends a recovery, those written off already are not written again."""
    write(tmp_path, started(A), started(B))
    write(tmp_path, line("synthesis.finished", A, status="lost"))
    assert unfinished_ids(tmp_path) == [B]


def test_recovery_through_real_files_settles_everything(tmp_path: Path) -> None:
    """Crash, start, start: one lost line in all, and started = finished."""
    logs.set_up(tmp_path, stdout=False, capture=False)
    set_sinks([EventLog()])
    EventLog().started(Event(event="synthesis.started", request_id=A, speaker="知燕"))
    lost = []
    for _ in range(2):
        lost.append(write_lost(tmp_path))
        structlog.get_logger("service").info(RECONCILED, requests_lost=lost[-1])
    (file,) = tmp_path.iterdir()
    events = [json.loads(text)["event"] for text in file.read_text("utf-8").splitlines()]
    assert lost == [1, 0]
    assert events == ["synthesis.started", "synthesis.finished", RECONCILED, RECONCILED]


@pytest.mark.parametrize(
    "damage",
    [
        '{"event": "synthesis.started", "request_id": "01K8ZQ3V',
        '"synthesis.started"',
        '["synthesis.started"]',
        '{"event": "synthesis.started"}',
        "",
        "\0\0\0\0",
    ],
)
def test_lines_that_cannot_be_read_are_passed_over(tmp_path: Path, damage: str) -> None:
    """A torn or foreign line hides no other and raises nothing."""
    write(tmp_path, started(A), damage, started(B), finished(A))
    assert unfinished_ids(tmp_path) == [B]


def test_a_last_line_without_its_end_is_read_or_passed_over(tmp_path: Path) -> None:
    """The crash may have torn the very line that would have said how a request ended."""
    write(tmp_path, started(A))
    with (tmp_path / TODAY).open("a") as file:
        file.write(finished(A)[:-10])
    assert unfinished_ids(tmp_path) == [A]


def test_events_of_another_name_are_another_matter(tmp_path: Path) -> None:
    """A start is settled by a finish of its own name only; every name is looked at."""
    write(tmp_path, line("batch.started", A), started(B), line("batch.finished", B))
    assert unfinished_ids(tmp_path) == [A, B]


@pytest.mark.parametrize("name", ["synthesis.started", "synthesis.finished", RECONCILED])
@pytest.mark.parametrize("field", ["client_request_id", "message"])
def test_what_a_client_says_is_no_event(tmp_path: Path, name: str, field: str) -> None:
    """A client id or message that equals an event's name neither loses nor hides a request."""
    write(tmp_path, started(A), started(B), finished(A, **{field: name}))
    write(tmp_path, line("log.message", B, **{field: name}))
    assert unfinished_ids(tmp_path) == [B]


def test_a_field_that_quotes_a_whole_line_is_no_event(tmp_path: Path) -> None:
    """A line inside a string of another line counts for nothing."""
    write(tmp_path, started(A), line("log.message", message=finished(A) + line(RECONCILED)))
    assert unfinished_ids(tmp_path) == [A]


def test_a_folder_without_files_has_nothing_to_recover(tmp_path: Path, recorder: Recorder) -> None:
    """The very first start."""
    assert write_lost(tmp_path / "never") == 0
    assert recorder.finished_events == []
