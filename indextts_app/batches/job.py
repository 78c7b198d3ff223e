"""One batch: what it is made of, how far it is, and where all that stands on the disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import structlog

from indextts_app import errors
from indextts_app.batches.table import Row

log = structlog.get_logger("indextts_app.batches")

State = Literal["waiting", "running", "finished", "cancelled"]

ABOUT, ROWS, RESULTS, AUDIO = "job.json", "rows.jsonl", "results.jsonl", "audio"
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700

RATE_WINDOW = 50
"""The time that is left goes by how long so many of the last rows took."""

MAX_NAME_BYTES = 200
"""Of a row's own name; file systems take 255 of a whole one, and a character has up to four."""


@dataclass(frozen=True, slots=True)
class Item:
    """What came of one row; no field holds anything of its text."""

    row: int
    """From 1, in the order of the table."""
    line: int
    """Where it begins in the file."""
    request_id: str
    status: str
    """success, degraded, failed, rejected, timeout or cancelled, as in its event."""
    file: str | None = None
    """In the archive; None where there is no audio."""
    verdict: str | None = None
    audio_seconds: float | None = None
    seed: int | None = None
    error: str | None = None
    message: str | None = None
    message_zh: str | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A row that is to be asked for."""

    row: int
    line: int
    name: str | None
    asked: Mapping[str, object] | errors.ServiceError


@dataclass(slots=True)
class About:
    """What is kept of a job beside its rows."""

    job_id: str
    owner: str | None
    total: int
    created: float
    state: State = "waiting"
    ended: float | None = None
    told: list[str] = field(default_factory=list)
    """The events that were written of it."""


class Job:
    """
    A batch in a folder of its own, named by its id.

    `rows.jsonl` holds the texts, for its owner's eyes only, until the job has ended;
    `results.jsonl` grows by a line for each row that is done, once its audio is in place. So
    whatever moment the process dies at, what is done is known, and the rest is done later.
    """

    def __init__(self, folder: Path, about: About) -> None:
        self.about = about
        self.folder = folder
        self.items: dict[int, Item] = {}
        self.running: dict[int, str] = {}
        """Row to request_id."""
        self.reason: tuple[str, str] | None = None
        """Why nothing of it is worked on at the moment, in English and Chinese."""
        self._places: array[int] = array("q")
        self._next = 0
        self._ends: deque[float] = deque(maxlen=RATE_WINDOW + 1)
        self._lock = threading.Lock()
        self._readers = 0
        self._is_removed = False

    @classmethod
    def create(
        cls,
        parent: Path,
        about: About,
        rows: Sequence[Row],
        defaults: Mapping[str, object],
    ) -> Job:
        """
        A new job, which is there as a whole or not at all.

        Raises:
            errors.StorageFailed: it cannot be written.
        """
        making = parent / f".{about.job_id}.part"
        try:
            parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            making.mkdir(mode=PRIVATE_FOLDER)
            (making / AUDIO).mkdir(mode=PRIVATE_FOLDER)
            _write_private(making / ROWS, (_row_line(row, defaults) for row in rows))
            _write_private(making / ABOUT, [json.dumps(asdict(about))])
            _write_private(making / RESULTS, [])
            os.replace(making, parent / about.job_id)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            raise errors.StorageFailed(origin=type(error).__name__) from error
        job = cls(parent / about.job_id, about)
        job._index()
        return job

    @classmethod
    def load(cls, folder: Path) -> Job | None:
        """The job in a folder; None where there is none that can be read."""
        try:
            job = cls(folder, About(**json.loads((folder / ABOUT).read_bytes())))
        except (OSError, ValueError, TypeError):
            return None
        job._read_results()
        try:
            if job.has_ended:
                (folder / ROWS).unlink(missing_ok=True)
            else:
                job._index()
        except OSError:
            return None
        return job

    @property
    def has_ended(self) -> bool:
        """Whether nothing will be added any more."""
        return self.about.state in ("finished", "cancelled")

    @property
    def done(self) -> int:
        """Rows with a result."""
        return len(self.items)

    @property
    def results(self) -> list[Item]:
        """What came of the rows so far, the last one last; `add` may go on meanwhile."""
        # One call, which no other thread gets between; a loop over them it does.
        return list(self.items.values())

    @property
    def counts(self) -> dict[str, int]:
        """Rows by how they ended."""
        return dict(Counter(item.status for item in self.results))

    @property
    def audio_bytes(self) -> int:
        """What its audio takes on the disk."""
        with suppress(OSError):
            return sum(entry.stat().st_size for entry in os.scandir(self.folder / AUDIO))
        return 0

    def take(self) -> Pending | None:
        """The next row that is neither done nor being worked on; None where there is none."""
        while self._next < len(self._places):
            row = self._next + 1
            self._next += 1
            if row not in self.items and row not in self.running:
                return self._pending(row)
        return None

    def put_back(self, row: int) -> None:
        """A row that was taken is to be taken again."""
        self._next = min(self._next, row - 1)

    @property
    def is_worked_off(self) -> bool:
        """Whether every row has its result."""
        return self.done >= self.about.total

    def file_name(self, pending: Pending, request_id: str, kind: str) -> str:
        """What the audio of a row is called in the archive: by its own name, or its request_id."""
        plain = "".join(
            char for char in pending.name or "" if char.isalnum() or char in "-_ ."
        ).strip(" .")
        plain = plain.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
        digits = len(str(self.about.total))
        return f"{pending.row:0{digits}}-{plain or request_id}.{kind}"

    def add(self, item: Item, audio: Path | bytes | None = None) -> None:
        """
        Keep the result of a row, its audio first.

        Raises:
            OSError: it could not be written; the row counts as not done.
        """
        if item.file and audio is not None:
            _put(audio, self.folder / AUDIO / item.file)
        line = json.dumps(asdict(item), ensure_ascii=False)
        with self._lock:
            _append(self.folder / RESULTS, f"{line}\n".encode())
        self.items[item.row] = item
        self._ends.append(time.monotonic())

    def put_away(self, state: State) -> About:
        """Keep on the disk that nothing will be added, and delete the texts; what it is then."""
        about = replace(self.about, state=state, ended=round(time.time(), 3))
        self._save(about)
        with suppress(OSError):
            (self.folder / ROWS).unlink(missing_ok=True)
        return about

    def save(self) -> None:
        """Keep what is known of the job itself; what cannot be is told in the log."""
        self._save(self.about)

    def _save(self, about: About) -> None:
        part = self.folder / f".{ABOUT}.part"
        try:
            part.unlink(missing_ok=True)
            _write_private(part, [json.dumps(asdict(about))])
            os.replace(part, self.folder / ABOUT)
        except OSError as error:
            log.error("batch.not_stored", job_id=self.about.job_id, reason=error.strerror)

    @contextmanager
    def read(self) -> Iterator[None]:
        """
        Its files stay for as long as the block; what was removed meanwhile goes afterwards.

        Raises:
            FileNotFoundError: it was removed before.
        """
        with self._lock:
            if self._is_removed:
                raise FileNotFoundError(self.folder.name)
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                is_last = self._is_removed and not self._readers
            if is_last:
                shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self) -> None:
        """Delete all of it, once nobody reads it any more."""
        with self._lock:
            self._is_removed = True
            is_read = bool(self._readers)
        if not is_read:
            shutil.rmtree(self.folder, ignore_errors=True)

    def remaining_seconds(self) -> float | None:
        """About how long it will still take, by its last rows; None where that cannot be told."""
        if self.has_ended or len(self._ends) < 2 or self.reason:
            return None
        each = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        left = each * (self.about.total - self.done) - (time.monotonic() - self._ends[-1])
        return max(left, 0.0)

    def _pending(self, row: int) -> Pending:
        with (self.folder / ROWS).open("rb") as file:
            file.seek(self._places[row - 1])
            content = json.loads(file.readline())
        asked: Mapping[str, object] | errors.ServiceError = content["fields"]
        if fault := content["fault"]:
            asked = errors.RowUnreadable(reason=fault[0], reason_zh=fault[1])
        return Pending(row, content["line"], content["name"], asked)

    def _index(self) -> None:
        place = 0
        with (self.folder / ROWS).open("rb") as file:
            for line in file:
                self._places.append(place)
                place += len(line)

    def _read_results(self) -> None:
        """A line that was being written when the process died is cut off: its row is done again."""
        whole = 0
        with suppress(FileNotFoundError), (self.folder / RESULTS).open("rb+") as file:
            for line in file:
                item = _item(line)
                if item is None:
                    break
                whole += len(line)
                self.items[item.row] = item
            file.truncate(whole)


def _item(line: bytes) -> Item | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return Item(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _row_line(row: Row, defaults: Mapping[str, object]) -> str:
    content = {
        "line": row.line,
        "name": row.name,
        "fields": {**defaults, **row.fields},
        "fault": row.fault,
    }
    # Plain ASCII, because half of a character is JSON as well, and no UTF-8.
    return json.dumps(content)


def _write_private(path: Path, lines: Iterator[str] | Sequence[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def _append(path: Path, line: bytes) -> None:
    """All of the line or nothing: a full disk takes a part, and the next line would join it."""
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(before)
            raise


def _put(audio: Path | bytes, path: Path) -> None:
    """A second name for the file that is stored already, or a copy on another file system."""
    path.unlink(missing_ok=True)
    if isinstance(audio, bytes):
        path.write_bytes(audio)
        return
    try:
        os.link(audio, path)
    except OSError:
        shutil.copyfile(audio, path)
