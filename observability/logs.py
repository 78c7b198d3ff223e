"""
One stream of JSON lines: our events, and whatever any library logs, warns, prints or dies of.

structlog collects the fields, python-json-logger formats them, and every line goes to the day's
file and to stdout. Writing a line never raises and never waits for a reader of stdout; what could
not be written is counted in `losses`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO

import structlog
from pythonjsonlogger.json import JsonFormatter

from observability import losses, redaction, request_id
from observability.day_file import KEEP_DAYS, DayFile
from observability.events import Event, trusted_fields
from observability.observe import current

MAX_LINE_BYTES = 64 * 1024
"""Well below Loki's default limit of 256 KB, above which it drops the line."""

MAX_TRACE_CHARS = 8_000
"""Of a longer traceback the end is kept, which says what happened."""

STDOUT_BACKLOG = 10_000

LEVELS = {
    "success": "info",
    "degraded": "warning",
    "rejected": "warning",
    "cancelled": "info",
    "failed": "error",
    "timeout": "error",
    "lost": "error",
}

EVENTS_LOGGER = "observability.events"

_TRUSTED = trusted_fields() | {"timestamp", "level", "logger"}
_MAX_MASKED_CHARS = 8_000
# Line breaks to some readers, commands to some terminals; JSON would let them stand.
_BREAKS_AND_COMMANDS = re.compile("[\x7f-\x9f\u2028\u2029]")


class LineSink(Protocol):
    """Takes finished lines; says whether it has the line."""

    def write(self, line: bytes) -> bool:
        """Take a line without its newline; never raises."""

    def close(self) -> None:
        """Write what is pending, as far as that is possible at once."""


class LineFormatter(JsonFormatter):
    """
    Formats our events and foreign records alike: same first keys, redacted, always valid JSON.

    UTF-8 with Chinese unescaped, no NaN, times RFC 3339 UTC in microseconds.
    """

    def __init__(self, static: Mapping[str, str]) -> None:
        super().__init__(json_ensure_ascii=False)
        self._static = static

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Our own keys first, in a fixed order; `extra` of foreign records stays out."""
        fields = dict(message_dict)
        moment = datetime.fromtimestamp(record.created, UTC)
        log_data["timestamp"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        log_data["level"] = record.levelname.lower()
        log_data["event"] = fields.pop("event", "log.message")
        if (known_id := request_id.current.get()) and "request_id" not in fields:
            log_data["request_id"] = known_id
        if not isinstance(record.msg, dict):
            log_data["message"] = record.message
        if trace := fields.pop("exc_info", None) or fields.pop("traceback", None):
            fields["traceback"] = trace[-MAX_TRACE_CHARS:] if isinstance(trace, str) else trace
        log_data |= fields | log_data
        log_data["logger"] = record.name
        log_data.update(self._static)
        # What settles a crash tells of the instance that began the request, whatever it is called
        # now; no other event names one.
        if record.name == EVENTS_LOGGER and "instance" in fields:
            log_data["instance"] = fields["instance"]

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Nothing private, nothing that JSON cannot say."""
        observation = current()
        # Our own events hold no text by construction, and are most of the lines.
        if observation and observation.private and log_data["logger"] != EVENTS_LOGGER:
            log_data = {
                key: value if key in _TRUSTED else _masked(value, observation.private)
                for key, value in log_data.items()
            }
        cleaned = redaction.clean(log_data, trusted=_TRUSTED)
        return cleaned if isinstance(cleaned, dict) else {}

    def format(self, record: logging.LogRecord) -> str:
        """The line; one that would be too long keeps what identifies it."""
        line = super().format(record)
        if len(line) > MAX_LINE_BYTES // 4 and len(line.encode()) > MAX_LINE_BYTES:
            line = json.dumps(_shortened(json.loads(line)), ensure_ascii=False)
        return _BREAKS_AND_COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _masked(value: object, private: Sequence[str]) -> object:
    """The value, bounded, without what it quotes of the private texts at any depth."""
    if isinstance(value, str):
        shown = redaction.mask_private(value[:_MAX_MASKED_CHARS], private)
        beyond = len(value) - _MAX_MASKED_CHARS
        return f"{shown}…[+{beyond}]" if beyond > 0 else shown
    value = redaction.clean(value)
    if isinstance(value, dict):
        return {key: _masked(item, private) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, private) for item in value]
    return redaction.mask_private(value, private) if isinstance(value, str) else value


def _shortened(fields: Mapping[str, object]) -> dict[str, object]:
    """As many cut fields as are sure to fit; those that identify the line come first."""
    short: dict[str, object] = {}
    left = MAX_LINE_BYTES // 2
    for key, value in fields.items():
        if not isinstance(value, dict | list):
            field = {key: value[:200] if isinstance(value, str) else value}
            left -= len(json.dumps(field))
            if left < 0:
                break
            short |= field
    return {**short, "line_truncated": True}


class LineHandler(logging.Handler):
    """Formats each record once and gives the line to every sink."""

    def __init__(self, sinks: Mapping[str, LineSink], static: Mapping[str, str]) -> None:
        super().__init__()
        self.sinks = dict(sinks)
        self._failing: dict[str, int] = {}
        self.setFormatter(LineFormatter(static))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; never raises."""
        try:
            line = self.format(record).encode(errors="replace")
        except Exception:  # noqa: BLE001  # an edge: a record that cannot be formatted is counted
            losses.count("format")
            return
        for name, sink in self.sinks.items():
            if sink.write(line):
                self._recovered(name)
            else:
                losses.count(name)
                self._failed(name)

    def _failed(self, name: str) -> None:
        self._failing[name] = self._failing.get(name, 0) + 1
        if self._failing[name] == 1:
            self._tell_others(name, "log.sink_failing", logging.ERROR, {"sink": name})

    def _recovered(self, name: str) -> None:
        if lines := self._failing.pop(name, 0):
            fields = {"sink": name, "lines_lost": lines}
            self._tell_others(name, "log.sink_recovered", logging.WARNING, fields)

    def _tell_others(self, name: str, event: str, level: int, fields: Mapping[str, object]) -> None:
        """One line on the change, in the sinks that work, and not one for each lost line."""
        msg: Any = {"event": event, **fields}
        record = logging.LogRecord("observability.logs", level, "", 0, msg, None, None)
        line = self.format(record).encode(errors="replace")
        for other, sink in self.sinks.items():
            if other != name or event.endswith("recovered"):
                sink.write(line)

    def close(self) -> None:
        """Close every sink."""
        for sink in self.sinks.values():
            sink.close()
        super().close()


class StdoutLines:
    """
    Lines to a file descriptor by a thread of its own, so that a slow reader blocks nobody.

    When the reader is gone or too slow for the backlog, lines are refused (and so counted).
    """

    def __init__(self, fd: int, *, backlog: int = STDOUT_BACKLOG) -> None:
        self._fd = fd
        self._queue: queue.Queue[bytes | None] = queue.Queue(backlog)
        self._broken = False
        self._thread = threading.Thread(target=self._serve, name="stdout-lines", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> bool:
        """Queue a line; False when the reader is gone or the backlog is full."""
        if self._broken:
            return False
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Wait a moment for the lines that are queued."""
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout=2)

    def _serve(self) -> None:
        while (line := self._queue.get()) is not None:
            data = memoryview(line + b"\n")
            while data and not self._broken:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:
                    writable = select.poll()
                    writable.register(self._fd, select.POLLOUT)
                    writable.poll()
                except OSError:
                    self._broken = True
            if self._broken:
                losses.count("stdout")


class EventLog:
    """The sink that writes an event as a line, at the level that its status calls for."""

    def __init__(self) -> None:
        # With a pipeline of its own: a program that is observed may have configured structlog's.
        self._log = structlog.wrap_logger(
            logging.getLogger(EVENTS_LOGGER),
            processors=[_as_record],
            wrapper_class=structlog.stdlib.BoundLogger,
        )

    def started(self, event: Event) -> None:
        """Write the started line; it is in the file when this returns."""
        self._write("info", event)

    def finished(self, event: Event) -> None:
        """Write the finished line."""
        self._write(LEVELS.get(event.status or "", "info"), event)

    def _write(self, level: str, event: Event) -> None:
        line = event.line()
        getattr(self._log, level)(line.pop("event"), **line)


class PrintedLines(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr: each printed line becomes a log line."""

    encoding = "utf-8"

    def __init__(self, stream: str, original: TextIO | None) -> None:
        self._stream = stream
        self._original = original
        self._local = threading.local()

    def write(self, text: str) -> int:
        """Log whole lines; the rest waits for its newline."""
        if getattr(self._local, "busy", False):
            return len(text)
        *lines, rest = (getattr(self._local, "rest", "") + text).split("\n")
        self._local.rest = rest[-MAX_LINE_BYTES:]
        self._local.busy = True
        try:
            for line in lines:
                if line.strip():
                    logging.getLogger(f"print.{self._stream}").info("%s", line)
        finally:
            self._local.busy = False
        return len(text)

    def writable(self) -> bool:
        """True, as libraries ask before they write."""
        return True

    def isatty(self) -> bool:
        """False: libraries then leave out colours and progress bars."""
        return False

    def fileno(self) -> int:
        """The real descriptor, for libraries that hand it to a child process."""
        if self._original is None:
            raise io.UnsupportedOperation("fileno")
        return self._original.fileno()


def set_up(
    folder: Path,
    *,
    keep_days: int = KEEP_DAYS,
    static: Mapping[str, str] | None = None,
    stdout: bool = True,
    capture: bool = True,
) -> LineHandler:
    """
    Send everything that this process logs to `folder` and stdout as JSON lines.

    Args:
        folder: where the day files are; made if missing.
        keep_days: files of older days are deleted, at least 7 are kept.
        static: fields that every line carries.
        stdout: whether the lines go to stdout as well.
        capture: whether prints, warnings and uncaught exceptions become lines too.
    """
    sinks: dict[str, LineSink] = {"file": DayFile(folder, keep_days=keep_days)}
    if stdout:
        sinks["stdout"] = StdoutLines(os.dup(1))
    handler = LineHandler(sinks, static or {})
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Their own handlers would write second, unstructured lines.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # One line for every look-up of an outgoing client is noise at INFO.
    for name in ("httpx", "httpcore", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False
    configure_structlog()
    if capture:
        logging.captureWarnings(capture=True)
        sys.stdout = PrintedLines("stdout", sys.__stdout__)
        sys.stderr = PrintedLines("stderr", sys.__stderr__)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
    return handler


def configure_structlog() -> None:
    """Let structlog hand its events to the logging handlers as they are, as dictionaries."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _as_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _as_record(
    _logger: object, _method: str, event_dict: structlog.typing.EventDict
) -> tuple[Sequence[object], Mapping[str, object]]:
    keywords = {"exc_info": event_dict.pop("exc_info")} if "exc_info" in event_dict else {}
    return (dict(event_dict),), keywords


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("uncaught").critical("%s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
