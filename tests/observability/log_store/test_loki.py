"""
Promises of `observability.log_store.loki`: the same answers as from the files, or a plain word.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from loki_process import push, running_loki
from record_loki import write_days
from same_questions import answers

from observability.generated_logs import Month, generate
from observability.log_store.files import FileLogStore
from observability.log_store.loki import LokiLogStore
from observability.log_store.questions import FAILED, Filter, Missing, Unanswerable
from observability.request_id import MalformedRequestId

RECORDED = json.loads((Path(__file__).parent / "recorded" / "loki.json").read_text("utf-8"))
LATER = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = datetime(2026, 9, 3, tzinfo=UTC)


# --- On recorded answers of a real Loki ----------------------------------------------------------


def replay(request: httpx.Request) -> httpx.Response:
    """What a real Loki answered to exactly this request."""
    asked = str(request.url)
    (found, *_) = [each for each in RECORDED["answers"] if each["asked"] == asked]
    result = [
        {**sample, "values": [[at, RECORDED["lines"][line]] for at, line in sample["values"]]}
        if "values" in sample
        else sample
        for sample in found["result"]
    ]
    return httpx.Response(200, json={"status": "success", "data": {"result": result}})


def test_recorded_answers_of_a_real_loki_give_the_files_figures(tmp_path: Path) -> None:
    """Every question, to the last figure, over pages of 8 lines and with strange lines among."""
    write_days(tmp_path, RECORDED["lines"])
    now = datetime.fromisoformat(RECORDED["now"])
    client = httpx.Client(transport=httpx.MockTransport(replay))
    loki = LokiLogStore("http://loki", client=client, clock=lambda: now, page=8)
    time = [datetime.fromisoformat(RECORDED[name]) for name in ("since", "until")]
    asked = {name: RECORDED[name] for name in ("request_ids", "client_id")}
    files = FileLogStore(tmp_path, clock=lambda: now)
    assert dict(answers(loki, *time, **asked)) == dict(answers(files, *time, **asked))


def test_what_loki_holds_is_told(tmp_path: Path) -> None:
    """Lines of any kind, and the strange ones by kind, as recorded."""
    client = httpx.Client(transport=httpx.MockTransport(replay))
    now, since, until = (
        datetime.fromisoformat(RECORDED[name]) for name in ("now", "since", "until")
    )
    loki = LokiLogStore("http://loki", client=client, clock=lambda: now, page=8)
    reading = loki.counts(Filter(since=since, until=until), ("status", "speaker")).reading
    assert (reading.source, reading.files) == ("loki", 0)
    assert (reading.lines_unreadable, reading.lines_foreign) == (2, 1)
    assert [note.code for note in reading.notes] == ["lines_unreadable", "lines_foreign"]
    inside = [
        line
        for line in RECORDED["lines"]
        if line.startswith('{"timestamp": "2026')
        and since.isoformat() <= line[15:41] + "+00:00" < until.isoformat()
    ]
    assert reading.lines_read == len(inside) + 3


# --- On a real Loki, where there is one ----------------------------------------------------------

has_loki = pytest.mark.skipif(
    shutil.which("loki") is None, reason="no loki on PATH: only its recorded answers were used"
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FileLogStore, LokiLogStore]]:
    """A month in files and in a real Loki; some lines were shipped twice, some are strange."""
    folder = tmp_path_factory.mktemp("loki")
    paths = generate(Month(2026, 9, 3000, seed=6), folder / "logs")
    with paths[9].open("a") as file:
        file.write('a line of another program\n{"log": "of another"}\n{"timestamp": "2026-09-1')
    lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    with running_loki(folder) as url:
        again = {at for at in range(1000, 3000, 7) if b".finished" in lines[at]}
        push(url, lines, fallback=DAY, is_sent_twice=again.__contains__)
        yield (
            FileLogStore(folder / "logs", clock=lambda: LATER),
            LokiLogStore(url, clock=lambda: LATER, page=500),
        )


@has_loki
def test_a_real_loki_gives_the_files_figures(stores: tuple[FileLogStore, LokiLogStore]) -> None:
    """Every question, to the last figure, though lines were shipped twice."""
    files, loki = stores
    since, until = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    whole = Filter(since=since, until=until)
    failed = files.search(replace(whole, status=FAILED), 12).lines
    named = files.search(whole, 200).lines
    asked = {
        "request_ids": [line["request_id"] for line in failed],
        "client_id": next(
            line["client_request_id"] for line in named if "client_request_id" in line
        ),
    }
    for (question, ours), (_, theirs) in zip(
        answers(files, since, until, **asked), answers(loki, since, until, **asked), strict=True
    ):
        assert theirs == ours, question


@has_loki
def test_a_real_loki_tells_what_it_holds(stores: tuple[FileLogStore, LokiLogStore]) -> None:
    """Duplicates of the shipper, and the lines that are not ours."""
    files, loki = stores
    whole = Filter(since=datetime(2026, 9, 1, tzinfo=UTC), until=datetime(2026, 10, 1, tzinfo=UTC))
    ours, theirs = files.counts(whole).reading, loki.counts(whole).reading
    assert theirs.duplicates > 100
    assert theirs.lines_read == ours.lines_read + theirs.duplicates
    assert (theirs.lines_unreadable, theirs.lines_foreign) == (2, 1)
    assert (ours.lines_unreadable, ours.lines_foreign) == (2, 1)
    assert sorted(note.code for note in theirs.notes) == [
        "duplicates",
        "lines_foreign",
        "lines_unreadable",
    ]


@has_loki
def test_a_real_loki_takes_odd_values(stores: tuple[FileLogStore, LokiLogStore]) -> None:
    """Quotes, backslashes and dots in a filter's values are themselves."""
    _, loki = stores
    for value in ('a"b', "a\\b", "a.b|c", "`", "知燕 {x}"):
        asked = Filter(since=DAY, until=DAY + timedelta(hours=1), speaker=(value, value + "2"))
        assert loki.counts(asked).total.requests == 0
        assert loki.counts(replace(asked, speaker=(value,))).total.requests == 0
        assert loki.counts(replace(asked, speaker=(), client_request_id=value)).total.requests == 0


# --- Loki away, slow, odd ------------------------------------------------------------------------

Answer = Callable[[httpx.Request], httpx.Response]


def loki_that(answer: Answer, *, page: int = 5000) -> LokiLogStore:
    client = httpx.Client(transport=httpx.MockTransport(answer))
    return LokiLogStore("http://loki:3100/", client=client, clock=lambda: LATER, page=page)


def result(*entries: tuple[int, str]) -> httpx.Response:
    values = [[str(moment), text] for moment, text in entries]
    return httpx.Response(200, json={"data": {"result": [{"stream": {}, "values": values}]}})


def counted(number: int) -> httpx.Response:
    return httpx.Response(200, json={"data": {"result": [{"value": [0, str(number)]}]}})


WEEK = Filter(since=DAY, until=DAY + timedelta(days=7))


def test_loki_away_is_told_at_once() -> None:
    """One try, and a sentence that names the address and the way out."""
    tries = []

    def refuse(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        raise httpx.ConnectError("refused")

    with pytest.raises(Unanswerable) as caught:
        loki_that(refuse).counts(WEEK)
    assert len(tries) == 1
    assert caught.value.en == (
        "Loki at http://loki:3100 did not answer (ConnectError). Ask the log files instead, or see "
        "whether it runs."
    )
    assert caught.value.zh.endswith("请改查日志文件，或检查 Loki 是否运行。")
    with pytest.raises(Unanswerable):
        loki_that(refuse).lines_of("01K8ZQ3V7M1ABCDEFGHJKMNPQR")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://reader:s3cret@loki:3100/", "http://loki:3100 did not answer (ConnectError)"),
        ("http://loki:31OO", "http://loki:31OO did not answer (InvalidURL)"),
        ("loki:3100", "loki:3100 did not answer (UnsupportedProtocol)"),
    ],
)
def test_an_address_is_told_without_its_password(url: str, shown: str) -> None:
    """Whatever is wrong with it."""

    def refuse(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("Basic ")
        raise httpx.ConnectError("refused")

    transport = httpx.MockTransport(refuse) if "@" in url else None
    with pytest.raises(Unanswerable) as caught:
        LokiLogStore(url, client=httpx.Client(transport=transport)).counts(WEEK)
    assert shown in caught.value.en
    assert "s3cret" not in caught.value.en + caught.value.zh


def test_a_day_that_loki_is_too_slow_for_is_told_and_the_others_count() -> None:
    """The note names the day; nothing is silently left out."""

    def slow_on_the_fifth(request: httpx.Request) -> httpx.Response:
        begin = int(request.url.params.get("start", "0")) // 10**9
        if datetime.fromtimestamp(begin, UTC).day == 5:
            raise httpx.ReadTimeout("slow")
        if request.url.path.endswith("/query"):
            return counted(1)
        text = json.dumps(
            {
                "timestamp": datetime.fromtimestamp(begin, UTC).isoformat(),
                "event": "synthesis.finished",
                "request_id": f"01K8ZQ3V7M1ABCDEFGHJ{begin:06d}"[:26],
                "status": "success",
            }
        )
        return result((begin * 10**9, text)) if "!~" not in str(request.url) else result()

    found = loki_that(slow_on_the_fifth).counts(WEEK)
    assert found.total.requests == 6
    (note, *_) = found.reading.notes
    assert (note.code, note.en) == (
        "loki_unanswered",
        "Loki did not answer for 2026-09-05 (ReadTimeout); these days are not counted.",
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(500, text="ring is\n empty"), "500: ring is empty"),
        (httpx.Response(429, text="limit"), "429: limit"),
        (httpx.Response(200, text="<html>"), "not an answer of Loki's"),
        (httpx.Response(200, json={"data": {"result": {}}}), "not an answer of Loki's"),
        (httpx.Response(200, json=[]), "not an answer of Loki's"),
    ],
)
def test_what_is_no_answer_is_told_after_three(answer: httpx.Response, reason: str) -> None:
    """A proxy's page, an error, another service: not asked for every day of a year."""
    tries = []

    def odd(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        return httpx.Response(answer.status_code, content=answer.content)

    with pytest.raises(Unanswerable) as caught:
        loki_that(odd).counts(replace(WEEK, until=DAY + timedelta(days=30)))
    assert len(tries) == 3
    assert f"({reason})" in caught.value.en


def test_pages_neither_lose_nor_repeat_a_line() -> None:
    """Lines of the same moment stand on both sides of a page's end."""
    moments = [1, 2, 2, 2, 3, 3, 4, 5, 5, 6]
    start = int(DAY.timestamp()) * 10**9
    held = [(start + moment, f"line {number}") for number, moment in enumerate(moments)]

    def page(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        begin, end, limit = (int(asked[name]) for name in ("start", "end", "limit"))
        return result(*[each for each in held if begin <= each[0] < end][:limit])

    for size in (4, 5, 9, 10, 11):
        store = loki_that(page, page=size)
        assert list(store._pages("q", DAY, DAY + timedelta(hours=1))) == held


@pytest.mark.parametrize(
    "failure", [httpx.ReadTimeout("hangs"), "trying to send message larger than max (8 vs. 4)"]
)
def test_an_answer_that_is_too_large_is_asked_for_in_smaller_pages(failure: object) -> None:
    """Loki hangs, or says so: the same lines come in more answers."""
    start = int(DAY.timestamp()) * 10**9
    held = [(start + number, f"line {number}") for number in range(250)]

    def page(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        begin, limit = int(asked["start"]), int(asked["limit"])
        if limit > 200:
            if isinstance(failure, Exception):
                raise failure
            return httpx.Response(500, text=str(failure))
        return result(*[each for each in held if begin <= each[0]][:limit])

    assert list(loki_that(page)._pages("q", DAY, DAY + timedelta(hours=1))) == held


def test_one_request_is_asked_for_in_a_narrow_window() -> None:
    """Within two minutes of its id, and once, where its finished line is found."""
    windows = []
    request_id = "01M1KJTKG0ABCDEFGHJKMNPQRS"
    line = {"event": "synthesis.finished", "request_id": request_id, "status": "success"}

    def narrow(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        windows.append((int(asked["end"]) - int(asked["start"])) // 10**9)
        return result((int(asked["start"]), json.dumps(line)))

    assert loki_that(narrow).lines_of(request_id.lower()) == [line]
    assert windows == [95]


def test_a_line_that_only_mentions_the_id_is_not_its_story() -> None:
    """Nor is one that was shipped twice there twice."""
    request_id = "01M1KJTKG0ABCDEFGHJKMNPQRS"
    own = json.dumps({"event": "synthesis.finished", "request_id": request_id})
    other = json.dumps({"event": "synthesis.finished", "client_request_id": request_id})

    def mixed(request: httpx.Request) -> httpx.Response:
        begin = int(request.url.params["start"])
        return result((begin, other), (begin, own), (begin + 5, own), (begin, "{torn"))

    assert loki_that(mixed).lines_of(request_id) == [json.loads(own)]


def test_an_id_that_loki_does_not_hold_is_told() -> None:
    """With the time that it says; what is no id is refused unasked."""
    store = loki_that(lambda request: result())
    with pytest.raises(Missing) as caught:
        store.lines_of("01M1KJTKG0ABCDEFGHJKMNPQRS")
    assert "2026-09-03 12:10 UTC" in caught.value.en
    assert "2026-09-03 12:10 UTC" in caught.value.zh
    with pytest.raises(MalformedRequestId):
        store.lines_of("no id")


def test_a_time_in_the_future_is_not_asked_for() -> None:
    """The answer says so instead."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError("asked")

    future = Filter(since=LATER + timedelta(days=30), until=LATER + timedelta(days=60))
    reading: Any = loki_that(refuse).counts(future).reading
    assert [note.code for note in reading.notes] == ["future"]
