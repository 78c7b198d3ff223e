"""
Promises of `observability.logs`.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Never

import pytest
import structlog

import observability
from observability import losses, observe, redaction, request_id
from observability.events import Event
from observability.logs import (
    MAX_LINE_BYTES,
    EventLog,
    LineFormatter,
    LineHandler,
    StdoutLines,
    set_up,
)
from observability.observe import Observation
from observability.own_folder import own_folder
from observability.redaction import mask_private

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"
PHONE = "13812345678"
SENTENCE = "我的银行密码是芝麻开门"
MOMENT = 1763726400.123456
TIMESTAMP = "2025-11-21T12:00:00.123456Z"
PATIENCE_SECONDS = 30.0
ROOT = Path(__file__).parents[2]


def no_constants(constant: str) -> Never:
    raise AssertionError(f"{constant} is no JSON")


def parsed(raw: bytes) -> list[dict[str, Any]]:
    """The lines, each of which must be a JSON object by the standard."""
    assert not raw or raw.endswith(b"\n")
    lines = [json.loads(line, parse_constant=no_constants) for line in raw.split(b"\n")[:-1]]
    assert all(type(line) is dict for line in lines)
    return lines


class Log:
    """The files of a folder, read back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def capture(self) -> None:
        """To be called again by tests that print: pytest puts its own streams before each test."""
        set_up(self.folder, stdout=False, static={"service": "indextts"})

    def raw(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("*.jsonl")))

    def lines(self) -> list[dict[str, Any]]:
        return parsed(self.raw())

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """All that this process logs, prints, warns and dies of; every line at one moment."""

    def at_the_moment(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.created = MOMENT
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", at_the_moment)
    found = Log(tmp_path)
    found.capture()
    return found


class Kept:
    """A line sink that keeps what it is given, or refuses it."""

    def __init__(self) -> None:
        self.raw = b""
        self.takes = True

    def write(self, line: bytes) -> bool:
        if self.takes:
            self.raw += line + b"\n"
        return self.takes

    def close(self) -> None:
        pass

    def events(self) -> list[tuple[str, object]]:
        """Each line's event, and its message or how many lines were lost."""
        return [
            (line["event"], line.get("message", line.get("lines_lost")))
            for line in parsed(self.raw)
        ]


def logger_to(**sinks: Any) -> logging.Logger:
    logger = logging.Logger("library")  # noqa: LOG001  # of no tree
    logger.addHandler(LineHandler(sinks, {}))
    return logger


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --- What a line looks like ----------------------------------------------------------------------


def test_an_event_is_one_line_of_its_fields(log: Log) -> None:
    """Timestamp, level and event first, then the event's fields in their order, flat."""
    EventLog().finished(
        Event(
            event="synthesis.finished",
            request_id=ID,
            speaker="知燕",
            emotion="calm",
            duration_ms=12.5,
            probe_ok=True,
            status="success",
            extra={"pages": 3},
        )
    )
    assert list(log.line().items()) == [
        ("timestamp", TIMESTAMP),
        ("level", "info"),
        ("event", "synthesis.finished"),
        ("request_id", ID),
        ("speaker", "知燕"),
        ("emotion", "calm"),
        ("duration_ms", 12.5),
        ("probe_ok", True),
        ("status", "success"),
        ("pages", 3),
        ("logger", "observability.events"),
        ("service", "indextts"),
    ]


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("success", "info"),
        ("cancelled", "info"),
        ("degraded", "warning"),
        ("rejected", "warning"),
        ("failed", "error"),
        ("timeout", "error"),
        ("lost", "error"),
    ],
)
def test_the_level_of_an_end_follows_its_status(log: Log, status: Any, level: str) -> None:
    """What an operator must see is an error, what a user did wrong a warning."""
    EventLog().finished(Event(event="synthesis.finished", request_id=ID, status=status))
    assert log.line()["level"] == level


def test_a_started_line_is_in_the_file_when_the_call_goes_on(log: Log) -> None:
    """No buffer stands between the event and the file."""
    EventLog().started(Event(event="synthesis.started", request_id=ID))
    assert log.line() == {
        "timestamp": TIMESTAMP,
        "level": "info",
        "event": "synthesis.started",
        "request_id": ID,
        "logger": "observability.events",
        "service": "indextts",
    }


def test_times_are_utc_to_the_microsecond(tmp_path: Path) -> None:
    """RFC 3339 with six digits and a Z, a whole second included."""
    record = logging.LogRecord("library", logging.INFO, "", 0, "text", None, None)
    record.created = 1763726400.0
    line = json.loads(LineFormatter({}).format(record))
    assert line["timestamp"] == "2025-11-21T12:00:00.000000Z"


def test_chinese_stands_unescaped(log: Log) -> None:
    """A line filter for a Chinese word finds it."""
    structlog.get_logger("service").info("speaker.added", speaker="默认女声")
    assert "默认女声".encode() in log.raw()


# --- Where lines come from -----------------------------------------------------------------------


def foreign(level: str, **fields: object) -> dict[str, object]:
    return {
        "timestamp": TIMESTAMP,
        "level": level,
        "event": "log.message",
        "request_id": ID,
        **fields,
        "service": "indextts",
    }


def test_a_library_that_logs_writes_lines_like_ours(log: Log) -> None:
    """Its message is a field, and the request it worked for is named."""
    request_id.current.set(ID)
    logging.getLogger("some.library").warning("took %d ms", 5)
    assert log.line() == foreign("warning", message="took 5 ms", logger="some.library")


def test_debug_lines_stay_out(log: Log) -> None:
    """INFO and above are written."""
    logging.getLogger("some.library").debug("detail")
    assert log.lines() == []


def test_the_extra_of_a_library_stays_out(log: Log) -> None:
    """What a library attaches for its own formatter is no field of ours."""
    request_id.current.set(ID)
    logging.getLogger("uvicorn.error").info(
        "listening", extra={"color_message": "\x1b[1mlistening"}
    )
    assert log.line() == foreign("info", message="listening", logger="uvicorn.error")


def test_a_warning_is_a_line(log: Log) -> None:
    """Python's warnings become lines where they would otherwise be raw text on stderr."""
    request_id.current.set(ID)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    line = log.line()
    assert re.fullmatch(r"\S+test_logs.py:\d+: DeprecationWarning: old way\n.*\n", line["message"])
    assert line == foreign("warning", message=line["message"], logger="py.warnings")


def test_a_print_is_a_line(log: Log) -> None:
    """Each printed line is one, as soon as its newline comes; empty ones are none."""
    log.capture()
    request_id.current.set(ID)
    print("loading ", end="")  # noqa: T201
    print("weights\n\nof 2 GB")  # noqa: T201
    print("oops", file=sys.stderr)  # noqa: T201
    assert log.lines() == [
        foreign("info", message="loading weights", logger="print.stdout"),
        foreign("info", message="of 2 GB", logger="print.stdout"),
        foreign("info", message="oops", logger="print.stderr"),
    ]


def test_what_libraries_ask_of_stdout_is_answered(log: Log) -> None:
    """It is writable, no terminal, and takes UTF-8."""
    log.capture()
    assert sys.stdout.writable()
    assert not sys.stdout.isatty()
    assert sys.stdout.encoding == "utf-8"


def boom() -> Never:
    raise LookupError("no such voice")


def test_an_uncaught_exception_is_one_line(log: Log) -> None:
    """The whole traceback is a field of it."""
    request_id.current.set(ID)
    try:
        boom()
    except LookupError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    line = log.line()
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["traceback"].endswith("LookupError: no such voice")
    assert line == foreign(
        "critical", message="LookupError", traceback=line["traceback"], logger="uncaught"
    )


def test_an_uncaught_exception_of_a_thread_is_one_line(log: Log) -> None:
    """A thread that dies of an error leaves its traceback in the log, and nothing on stderr."""
    thread = threading.Thread(target=boom)
    thread.start()
    thread.join()
    line = log.line()
    assert line["traceback"].endswith("LookupError: no such voice")
    assert (line["level"], line["message"], line["logger"]) == (
        "critical",
        "LookupError",
        "uncaught",
    )


def test_a_logged_exception_is_one_line(log: Log) -> None:
    """structlog's and logging's `exc_info` both end in the one field `traceback`."""
    try:
        boom()
    except LookupError:
        structlog.get_logger("service").error("voice.missing", exc_info=True)
        logging.getLogger("library").exception("missing")
    ours, theirs = log.lines()
    assert ours["traceback"] == theirs["traceback"]
    assert ours["traceback"].endswith("LookupError: no such voice")
    assert "exc_info" not in ours | theirs


def test_of_a_long_traceback_the_end_is_kept(log: Log) -> None:
    """The last line says what happened, however deep the framework above it."""
    trace = "".join(f"  File {number}\n" for number in range(5000)) + "LookupError: no such voice"
    structlog.get_logger("service").error("exception.unexpected", traceback=trace)
    assert log.line()["traceback"].endswith("LookupError: no such voice")


def test_the_request_of_the_event_goes_before_that_of_the_context(log: Log) -> None:
    """A line that names its own request_id keeps it."""
    request_id.current.set(ID)
    structlog.get_logger("service").info("request.asked", request_id="01ANOTHERXXXXXXXXXXXXXXXXX")
    assert log.line()["request_id"] == "01ANOTHERXXXXXXXXXXXXXXXXX"


def test_a_whole_process_speaks_json_only(tmp_path: Path) -> None:
    """Prints, warnings, log records, a dying thread and a fatal error: file and stdout agree."""
    script = """
import logging, sys, threading, warnings
from pathlib import Path
from observability import logs
handler = logs.set_up(Path(sys.argv[1]))
print("printed")
warnings.warn("warned")
logging.getLogger("library").info("logged")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
try:
    raise SystemError("the end")
except SystemError:
    sys.excepthook(*sys.exc_info())
handler.close()
"""
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, check=True
    )
    assert run.stderr == b""
    assert run.stdout == Log(tmp_path).raw()
    assert [line["logger"] for line in parsed(run.stdout)] == [
        "print.stdout",
        "py.warnings",
        "library",
        "uncaught",
        "uncaught",
    ]


def test_setup_writes_and_counts_every_observed_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call of `setup` is all that another program needs."""
    ends: list[Callable[..., object]] = []
    monkeypatch.setattr(atexit, "register", lambda end, *_: ends.append(end))
    metrics = observability.setup(tmp_path, stdout=False, instance="reader-1")
    with pytest.warns(UserWarning, match="Another process writes its log to"):
        own_folder(tmp_path)[1].close()
    observe("render")(lambda: None)()
    assert [line["event"] for line in Log(tmp_path).lines()] == [
        "log.reconciled",
        "render.started",
        "render.finished",
    ]
    assert {line["instance"] for line in Log(tmp_path).lines()} == {"reader-1"}
    labels = {"engine", "speaker", "emotion", "source"}
    counted = metrics.registry.get_sample_value(
        "indextts_requests_total", dict.fromkeys(labels, "none") | {"status": "success"}
    )
    assert counted == 1
    ends[0]()  # lets go of the folder


def test_setup_goes_on_where_the_folder_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is not ended by its log; what could not be written is counted."""
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    (tmp_path / "file").write_text("no folder")
    before = losses.lost().get("file", 0)
    observability.setup(tmp_path / "file" / "logs", stdout=False)
    observe("render")(lambda: None)()
    assert losses.lost()["file"] >= before + 3


def test_the_end_of_a_crash_is_told_of_the_instance_that_began(tmp_path: Path) -> None:
    """Whatever the service is called at its next start; no other line names an instance itself."""
    set_up(tmp_path, stdout=False, static={"instance": "new"}, capture=False)
    structlog.get_logger("service").info("thing.happened", instance="a stranger's")
    EventLog().finished(
        Event(event="synthesis.finished", request_id=ID, status="lost", instance="old")
    )
    EventLog().finished(Event(event="synthesis.finished", request_id=ID, status="success"))
    assert [line["instance"] for line in Log(tmp_path).lines()] == ["new", "old", "new"]


# --- Hostile values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("\ud800好", "\ufffd好"),
        (float("nan"), None),
        (float("-inf"), None),
        (b"bytes", "<5 bytes>"),
        (2**70, "<integer of 71 bits>"),
        ("x" * 10_000_000, "x" * 8192 + "…[+9991808]"),
        ({"nested": [float("nan"), {1: b""}]}, {"nested": [None, {"1": "<0 bytes>"}]}),
    ],
)
def test_what_json_cannot_say_is_said_otherwise(log: Log, value: object, written: object) -> None:
    """Surrogates, NaN, bytes and huge values cost neither the line nor its validity."""
    structlog.get_logger("service").info("thing.happened", value=value)
    assert log.line()["value"] == written


@pytest.mark.parametrize("key", ["filename", "name", "msg", "args", "message", "lineno", "module"])
def test_names_that_logging_reserves_are_fields_like_others(log: Log, key: str) -> None:
    """No field name raises, and none disappears."""
    structlog.get_logger("service").info("thing.happened", **{key: "value"})
    line = log.line()
    assert (line["event"], line[key], line["logger"]) == ("thing.happened", "value", "service")


def test_a_field_cannot_pass_for_what_the_line_says_of_itself(log: Log) -> None:
    """Time, level, logger and static fields are the formatter's own word."""
    structlog.get_logger("service").info(
        "thing.happened", timestamp="1999", level="debug", logger="nobody", service="other"
    )
    assert log.line() == {
        "timestamp": TIMESTAMP,
        "level": "info",
        "event": "thing.happened",
        "logger": "service",
        "service": "indextts",
    }


def test_no_value_breaks_out_of_its_line(log: Log) -> None:
    """Newlines, Unicode's line breaks and terminal commands are escaped, and read back as sent."""
    hostile = 'a\r\n{"event": "forged"}\x1b[2J\x00\x0b\x0c\x1c\x7f\x85\x9b2J\u2028\u2029b'
    logging.getLogger("library").info("%s", hostile)
    structlog.get_logger("service").info("thing.happened", value=hostile, **{hostile: 1})
    raw = log.raw().decode()
    assert raw.splitlines() == raw.split("\n")[:-1]
    assert all(character.isprintable() for character in raw if character != "\n")
    theirs, ours = log.lines()
    assert (theirs["message"], ours["value"], ours[hostile]) == (hostile, hostile, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {f"field_{number}": "很长" * 4000 for number in range(150)},
        {"键" * 8000 + str(number): number for number in range(150)},
        {"nested": ["\x9b" * 8000] * 199},
    ],
)
def test_no_line_is_longer_than_the_log_store_takes(log: Log, fields: dict[str, Any]) -> None:
    """A line that would be too long keeps what identifies it and says that it was cut."""
    request_id.current.set(ID)
    structlog.get_logger("service").info("thing.happened", **fields)
    assert len(log.raw()) <= MAX_LINE_BYTES
    line = log.line()
    assert [line[key] for key in ("timestamp", "level", "event", "request_id")] == [
        TIMESTAMP,
        "info",
        "thing.happened",
        ID,
    ]
    assert line["line_truncated"] is True


# --- Nothing private -----------------------------------------------------------------------------


def test_personal_data_is_redacted_in_every_line(log: Log) -> None:
    """In messages, fields at any depth, their names, tracebacks and prints, whoever wrote them."""
    log.capture()
    logging.getLogger("library").info("call %s", PHONE)
    structlog.get_logger("service").info(f"call {PHONE}", value={PHONE: [f"电话{PHONE}"]})
    print("printed", PHONE)  # noqa: T201
    EventLog().started(Event(event="a.started", request_id=ID, speaker=PHONE, extra={"b": PHONE}))
    try:
        raise LookupError(PHONE)
    except LookupError:
        logging.getLogger("library").exception("failed")
    assert PHONE.encode() not in log.raw()
    assert [line.get("message") or line["event"] for line in log.lines()] == [
        "call [phone]",
        "call [phone]",
        "printed [phone]",
        "a.started",
        "failed",
    ]


def test_what_the_service_made_itself_is_not_redacted(log: Log) -> None:
    """A hash or an id with a run of digits like a phone number stays whole."""
    EventLog().finished(
        Event(
            event="a.finished",
            request_id=f"01K{PHONE}ABCDEFGHJKMN",
            text_hash=PHONE,
            error_fingerprint=PHONE,
            client_request_id=PHONE,
        )
    )
    line = log.line()
    assert (line["request_id"], line["text_hash"], line["error_fingerprint"]) == (
        f"01K{PHONE}ABCDEFGHJKMN",
        PHONE,
        PHONE,
    )
    assert line["client_request_id"] == "[phone]"


@pytest.fixture
def speaking(log: Log) -> Iterator[None]:
    """Inside a call whose private text is SENTENCE."""
    with Observation("synthesis", {"request_id": ID}) as observation:
        observation.private.append(SENTENCE)
        yield


@pytest.mark.usefixtures("speaking")
def test_the_text_of_the_request_is_masked_in_what_others_write(log: Log) -> None:
    """In messages, prints, fields at any depth, and in objects that show it when printed."""
    log.capture()
    logging.getLogger("library").info("normalising %r", SENTENCE)
    print("input:", SENTENCE)  # noqa: T201
    structlog.get_logger("service").info(
        "text.refused", text=SENTENCE, parts=[{"a": SENTENCE}], error=ValueError(SENTENCE)
    )
    theirs, printed, ours = log.lines()
    assert (theirs["message"], printed["message"]) == ("normalising '[text]'", "input: [text]")
    assert (ours["text"], ours["parts"], ours["error"]) == (
        "[text]",
        [{"a": "[text]"}],
        "ValueError('[text]')",
    )


@pytest.mark.usefixtures("speaking")
def test_the_text_of_the_request_is_masked_in_tracebacks(log: Log) -> None:
    """An exception of a library that quotes the text does not bring it into the log."""
    try:
        raise LookupError(f"cannot say {SENTENCE}")
    except LookupError:
        logging.getLogger("library").exception("failed")
    assert log.line()["traceback"].endswith("LookupError: cannot say [text]")


@pytest.mark.usefixtures("speaking")
def test_masking_a_huge_value_holds_up_nobody(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only as much is searched as is written."""
    searched: list[int] = []

    def mask(text: str, private: Iterable[str]) -> str:
        searched.append(len(text))
        return mask_private(text, private)

    monkeypatch.setattr(redaction, "mask_private", mask)
    logging.getLogger("library").info("%s", SENTENCE + "x" * 1_000_000)
    assert log.line()["message"] == "[text]" + "x" * (8000 - len(SENTENCE)) + "…[+992011]"
    assert max(searched) == 8000


# --- When a sink fails ---------------------------------------------------------------------------


def test_a_failing_file_is_told_once_and_its_recovery_with_the_count(tmp_path: Path) -> None:
    """stdout has every line and one `log.sink_failing`; both have the count when it is over."""
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    kept = Kept()
    logger = logger_to(file=observability.logs.DayFile(folder), stdout=kept)
    before = losses.lost().get("file", 0)
    for number in range(50):
        logger.info("line %d", number)
    folder.unlink()
    logger.info("line 50")
    logger.info("line 51")
    messages = [("log.message", f"line {number}") for number in range(52)]
    failing, recovered = ("log.sink_failing", None), ("log.sink_recovered", 50)
    assert kept.events() == [failing, *messages[:50], recovered, *messages[50:]]
    in_file = Kept()
    in_file.raw = Log(folder).raw()
    assert in_file.events() == [messages[50], recovered, messages[51]]
    assert losses.lost()["file"] - before == 50


def test_what_is_told_of_a_failing_sink(tmp_path: Path) -> None:
    """The line names the sink and is an error; the recovery is a warning with the count."""
    kept, failing = Kept(), Kept()
    logger = logger_to(stdout=kept, file=failing)
    failing.takes = False
    logger.info("lost")
    failing.takes = True
    logger.info("written")
    _, told, _, recovered = parsed(kept.raw)
    for line in (told, recovered):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert told == {
        "level": "error",
        "event": "log.sink_failing",
        "sink": "file",
        "logger": "observability.logs",
    }
    assert recovered == {
        "level": "warning",
        "event": "log.sink_recovered",
        "sink": "file",
        "lines_lost": 1,
        "logger": "observability.logs",
    }


def test_a_bug_in_the_formatter_is_counted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that logged goes on."""

    def bug(*_: object) -> Never:
        raise RuntimeError

    monkeypatch.setattr(LineFormatter, "process_log_record", bug)
    before = losses.lost().get("format", 0)
    structlog.get_logger("service").info("thing.happened")
    assert losses.lost()["format"] == before + 1
    assert log.lines() == []


def test_a_record_whose_arguments_do_not_fit_is_counted(log: Log) -> None:
    """A library's own bug in a log call makes no request fail."""
    before = losses.lost().get("format", 0)
    logging.getLogger("library").info("%d voices", "several")
    assert losses.lost()["format"] == before + 1


# --- stdout --------------------------------------------------------------------------------------


class Pipe:
    """A pipe as small as it gets, with nobody reading it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.size = fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.reader, False)
        self.ballast = 0

    def fill(self) -> None:
        """Leave no room for a single byte."""
        self.ballast = os.write(self.writer, b"\n" * self.size)

    def read(self, ends_with: bytes) -> bytes:
        """All that comes until these bytes, without the ballast."""
        got = b""

        def has_come() -> bool:
            nonlocal got
            try:
                got += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                return False
            return got.endswith(ends_with)

        until(has_come)
        return got[self.ballast :]

    def close(self) -> None:
        for end in (self.reader, self.writer):
            os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Closed at the end of the test."""
    ends = Pipe()
    yield ends
    ends.close()


def test_lines_come_out_of_stdout_in_order(pipe: Pipe) -> None:
    """Each with its newline; closing waits until they are out."""
    stdout = StdoutLines(pipe.writer)
    assert all(stdout.write(f"line {number}".encode()) for number in range(100))
    stdout.close()
    assert os.read(pipe.reader, 1 << 20).decode().splitlines() == [f"line {n}" for n in range(100)]


def test_a_reader_that_does_not_read_blocks_nobody(tmp_path: Path, pipe: Pipe) -> None:
    """The backlog is filled, the rest counted; the file has it all, and both hear of the loss."""
    pipe.fill()
    stdout = StdoutLines(pipe.writer, backlog=10)
    logger = logger_to(file=observability.logs.DayFile(tmp_path), stdout=stdout)
    before = losses.lost().get("stdout", 0)
    logger.info("line 0")
    until(stdout._queue.empty)
    for number in range(1, 100):
        logger.info("line %d", number)
    assert losses.lost()["stdout"] - before == 89

    os.read(pipe.reader, pipe.ballast)
    until(stdout._queue.empty)
    logger.info("line 100")
    pipe.ballast = 0
    printed, in_file = Kept(), Kept()
    printed.raw = pipe.read(b'"lines_lost": 89, "logger": "observability.logs"}\n')
    in_file.raw = Log(tmp_path).raw()
    messages = [("log.message", f"line {number}") for number in range(101)]
    recovered = ("log.sink_recovered", 89)
    assert printed.events() == [*messages[:11], messages[100], recovered]
    assert in_file.events() == [
        *messages[:12],
        ("log.sink_failing", None),
        *messages[12:],
        recovered,
    ]


def test_a_reader_that_is_gone_is_counted(tmp_path: Path) -> None:
    """After a `| head` the service goes on, with its file."""
    reader, writer = os.pipe()
    os.close(reader)
    stdout = StdoutLines(writer)
    logger = logger_to(file=observability.logs.DayFile(tmp_path), stdout=stdout)
    before = losses.lost().get("stdout", 0)
    logger.info("line 0")
    until(lambda: losses.lost().get("stdout", 0) == before + 1)
    logger.info("line 1")
    logger.info("line 2")
    assert losses.lost()["stdout"] == before + 3
    assert [line.get("message", line["event"]) for line in Log(tmp_path).lines()] == [
        "line 0",
        "line 1",
        "log.sink_failing",
        "line 2",
    ]
    os.close(writer)


def test_a_pipe_that_says_try_again_is_waited_for(pipe: Pipe) -> None:
    """A stdout that a parent made non-blocking loses nothing when its reader is slow."""
    pipe.fill()
    os.set_blocking(pipe.writer, False)
    stdout = StdoutLines(pipe.writer)
    assert stdout.write(b"one")
    until(stdout._queue.empty)
    assert stdout.write(b"two")
    assert pipe.read(b"two\n") == b"one\ntwo\n"
