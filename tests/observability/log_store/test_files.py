"""
Promises of `observability.log_store.files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from ulid import ULID

from observability.log_store.files import FileLogStore, Missing
from observability.request_id import MalformedRequestId

MOMENT = datetime(2025, 11, 21, 23, 59, 58, tzinfo=UTC)
NOW = datetime(2025, 11, 28, 12, tzinfo=UTC)


def id_of(moment: datetime, letter: str = "A") -> str:
    """An id of this moment; another letter, another id."""
    return str(ULID.from_datetime(moment))[:10] + letter * 16


ID, OTHER_ID = id_of(MOMENT), id_of(MOMENT, "B")


def line(event: str, request_id: str = ID, **fields: object) -> dict[str, object]:
    return {"event": event, "request_id": request_id, **fields}


STARTED = line("synthesis.started", speaker="知燕")
FINISHED = line("synthesis.finished", status="success")
NOISE = [line("synthesis.finished", OTHER_ID), {"event": "log.message", "message": "ready"}]


def write(folder: Path, day: date | str, *lines: dict[str, object] | str) -> None:
    with (folder / f"indextts-{day}.jsonl").open("a", encoding="utf-8") as file:
        for each in lines:
            text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
            file.write(f"{text}\n")


@pytest.fixture
def store(tmp_path: Path) -> FileLogStore:
    """A store over the folder that the test writes to."""
    return FileLogStore(tmp_path)


# --- What is found -------------------------------------------------------------------------------


def test_the_lines_of_a_request_are_found_in_the_order_of_writing(
    tmp_path: Path, store: FileLogStore
) -> None:
    """Its own lines, and no other request's."""
    between = line("log.message", message="正在合成")
    write(tmp_path, "2025-11-21", NOISE[0], STARTED, NOISE[1], between, FINISHED, *NOISE)
    assert store.lines_of(ID, now=NOW) == [STARTED, between, FINISHED]


def test_an_id_is_found_however_it_was_typed(tmp_path: Path, store: FileLogStore) -> None:
    """Lower case and the prefix of the audio file's tag lead to the same lines."""
    write(tmp_path, "2025-11-21", STARTED, FINISHED)
    assert store.lines_of(f"request_id={ID.lower()}", now=NOW) == [STARTED, FINISHED]


def test_a_request_that_ended_after_midnight_is_found_whole(
    tmp_path: Path, store: FileLogStore
) -> None:
    """The finished line stands in the next day's file."""
    write(tmp_path, "2025-11-21", STARTED)
    write(tmp_path, "2025-11-22", *NOISE, FINISHED)
    assert store.lines_of(ID, now=NOW) == [STARTED, FINISHED]


def test_a_request_of_the_last_moment_may_begin_in_the_next_file(
    tmp_path: Path, store: FileLogStore
) -> None:
    """The id is made a little before the line is written."""
    write(tmp_path, "2025-11-21", *NOISE)
    write(tmp_path, "2025-11-22", STARTED, FINISHED)
    assert store.lines_of(ID, now=NOW) == [STARTED, FINISHED]


def test_the_parts_of_a_day_are_read_in_order(tmp_path: Path, store: FileLogStore) -> None:
    """A day that was split by size is one day."""
    between = line("log.message", message="half way")
    for name, each in (("-10", FINISHED), ("-2", between), ("", STARTED)):
        write(tmp_path, f"2025-11-21{name}", each)
    assert store.lines_of(ID, now=NOW) == [STARTED, between, FINISHED]


def test_a_request_lost_in_a_crash_is_found_at_the_later_start(
    tmp_path: Path, store: FileLogStore
) -> None:
    """The line that settles it may stand many days after the request."""
    lost = line("synthesis.finished", status="lost")
    write(tmp_path, "2025-11-21", STARTED)
    write(tmp_path, "2025-11-23", *NOISE)
    write(tmp_path, "2025-11-27", lost)
    assert store.lines_of(ID, now=NOW) == [STARTED, lost]


def test_files_before_the_id_are_not_read(tmp_path: Path, store: FileLogStore) -> None:
    """The time in the id leads straight to its day: a day before it is never opened."""
    (tmp_path / "indextts-2025-11-20.jsonl").mkdir()
    write(tmp_path, "2025-11-21", STARTED, FINISHED)
    assert store.lines_of(ID, now=NOW) == [STARTED, FINISHED]


def test_a_line_that_only_mentions_the_id_is_not_its_story(
    tmp_path: Path, store: FileLogStore
) -> None:
    """A client that sends an id of ours as its own does not get into that request's story."""
    free = {"event": "log.message", "message": f"sent {ID}.wav for {ID}"}
    other = {**FINISHED, "request_id": ID[:-1] + "0", "client_request_id": ID}
    write(tmp_path, "2025-11-21", STARTED, free, other, FINISHED)
    assert store.lines_of(ID, now=NOW) == [STARTED, FINISHED]


@pytest.mark.parametrize("damage", [f'{{"request_id": "{ID}", "ev', f'"{ID}"', f'["{ID}"]'])
def test_what_is_no_whole_line_is_passed_over(
    tmp_path: Path, store: FileLogStore, damage: str
) -> None:
    """A torn line with the id in it neither raises nor hides the others."""
    write(tmp_path, "2025-11-21", STARTED, damage, FINISHED)
    assert store.lines_of(ID, now=NOW) == [STARTED, FINISHED]


def test_a_last_line_without_its_newline_is_read(tmp_path: Path, store: FileLogStore) -> None:
    """A whole line counts, also while its end is just being written."""
    (tmp_path / "indextts-2025-11-21.jsonl").write_text(json.dumps(FINISHED))
    assert store.lines_of(ID, now=NOW) == [FINISHED]


def test_an_empty_file_hides_no_other(tmp_path: Path, store: FileLogStore) -> None:
    """A file that was made and not yet written to is no trouble."""
    write(tmp_path, "2025-11-21")
    write(tmp_path, "2025-11-22", FINISHED)
    assert store.lines_of(ID, now=NOW) == [FINISHED]


# --- What is not ---------------------------------------------------------------------------------


def missing(store: FileLogStore, request_id: str = ID) -> tuple[str, str]:
    with pytest.raises(Missing) as caught:
        store.lines_of(request_id, now=NOW)
    return caught.value.en, caught.value.zh


def test_an_unknown_id_is_told_what_was_searched(tmp_path: Path, store: FileLogStore) -> None:
    """The sentence names the id's time, the days of the logs, and what to check."""
    write(tmp_path, "2025-11-20", *NOISE)
    write(tmp_path, "2025-11-27", *NOISE)
    assert missing(store) == (
        (
            "No line has this id. It says 2025-11-21 23:59 UTC, and the logs here are of "
            "2025-11-20 to 2025-11-27. Check for a mistyped character, or ask whether another "
            "service made it."
        ),
        (
            "没有该编号的记录。编号时间是 2025-11-21 23:59 UTC，此处日志为 2025-11-20 至 "
            "2025-11-27：请核对是否抄错，或是否来自其他服务。"
        ),
    )


def test_an_id_older_than_the_logs_is_sent_to_the_archive(
    tmp_path: Path, store: FileLogStore
) -> None:
    """The sentence says when the logs begin."""
    write(tmp_path, "2025-11-22", *NOISE)
    assert missing(store) == (
        (
            "The id is of 2025-11-21 23:59 UTC; the logs here begin on 2025-11-22. "
            "Look in the archive."
        ),
        "编号的时间是 2025-11-21 23:59 UTC，本机日志从 2025-11-22 开始，请查归档。",
    )


def test_an_id_of_the_future_is_a_slip_or_a_wrong_clock(
    tmp_path: Path, store: FileLogStore
) -> None:
    """The sentence says so, beyond the minutes that clocks differ by."""
    write(tmp_path, "2025-11-28", *NOISE)
    assert missing(store, id_of(NOW + timedelta(days=400))) == (
        (
            "The id says 2027-01-02 12:00 UTC, which is in the future. "
            "It was mistyped, or a clock is wrong."
        ),
        "编号中的时间是 2027-01-02 12:00 UTC，在未来：可能抄错，或时钟有误。",
    )
    assert missing(store, id_of(NOW + timedelta(minutes=4)))[0].startswith("No line has this id.")


def test_a_folder_without_logs_is_told(tmp_path: Path, store: FileLogStore) -> None:
    """The sentence names the folder, so that a wrong one is seen."""
    assert missing(store) == (
        f"There are no log files in {tmp_path}, so nothing can be looked up.",
        f"{tmp_path} 中没有日志文件，无法查询。",
    )


def test_an_id_newer_than_the_logs_is_sent_to_another_folder(
    tmp_path: Path, store: FileLogStore
) -> None:
    """The sentence says when the logs end: the service has written elsewhere since."""
    write(tmp_path, "2025-11-20", *NOISE)
    assert missing(store) == (
        (
            "The id is of 2025-11-21 23:59 UTC; the logs here end on 2025-11-20. "
            "Look in the log folder that the service writes to now."
        ),
        (
            "编号的时间是 2025-11-21 23:59 UTC，而此处日志到 2025-11-20 为止："
            "请查该服务现在使用的日志目录。"
        ),
    )


def test_what_is_no_id_is_refused(store: FileLogStore) -> None:
    """A slip of the keyboard is told as such and not searched for."""
    with pytest.raises(MalformedRequestId):
        store.lines_of("no id")


def test_a_missing_line_goes_through_any_context_manager() -> None:
    """It is an exception like any other: it may be given a traceback, and reads in English."""

    @contextmanager
    def around() -> Iterator[None]:
        yield

    with pytest.raises(Missing) as caught, around():
        raise Missing(en="There is none.", zh="没有。")
    assert (str(caught.value), caught.value.zh) == ("There is none.", "没有。")
