"""
Promises of `observability.archive` and `observability.archive_remote`.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from storage_server import KEYS, make_bucket, running_storage

from observability import archive as archive_module
from observability import archive_files
from observability.archive import Archive, ArchiveFailed, Forgotten
from observability.archive_remote import Bucket, RemoteFailed, S3Remote
from observability.generated_logs import Month, generate
from observability.log_store import parquet
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter

NOW = datetime(2026, 9, 14, 3, tzinfo=UTC)
DAYS = [date(2026, 9, day) for day in range(1, 14)]
SEPTEMBER = Filter(since=datetime(2026, 9, 1, tzinfo=UTC), until=datetime(2026, 9, 14, tzinfo=UTC))


@dataclass
class Shelf:
    """Object storage in memory."""

    held: dict[str, bytes] = field(default_factory=dict)
    is_away: bool = False

    def _ask(self, name: str) -> None:
        if self.is_away:
            raise RemoteFailed(en=f"away: {name}.", zh=f"不可用：{name}。")

    def put(self, path: Path, name: str) -> None:
        """Keep it."""
        self._ask(name)
        self.held[name] = path.read_bytes()

    def holds(self, path: Path, name: str) -> bool:
        """Whether it is kept."""
        self._ask(name)
        return self.held.get(name) == path.read_bytes()

    def get(self, name: str, path: Path) -> bool:
        """Give it back."""
        self._ask(name)
        if name in self.held:
            path.write_bytes(self.held[name])
        return name in self.held

    def delete(self, name: str) -> None:
        """Forget it."""
        self._ask(name)
        self.held.pop(name, None)

    def names(self) -> list[str]:
        """All of them."""
        self._ask("list")
        return sorted(self.held)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen days of lines, not to be changed."""
    folder = tmp_path_factory.mktemp("month")
    generate(Month(2026, 9, 1500, seed=5), folder)
    for path in folder.iterdir():
        if path.name > "indextts-2026-09-13.jsonl":
            path.unlink()
    # The second is split, the third ends in a torn line, the fourth has lines of others.
    second = folder / "indextts-2026-09-02.jsonl"
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join(lines[:40]))
    (folder / "indextts-2026-09-02-2.jsonl").write_bytes(b"".join(lines[40:]))
    with (folder / "indextts-2026-09-03.jsonl").open("ab") as file:
        file.write(b'{"timestamp": "2026-09-03T23:59:59.9')
    with (folder / "indextts-2026-09-04.jsonl").open("ab") as file:
        file.write(b"plain \xff text\n")
    return folder


@pytest.fixture
def folder(month: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(month, tmp_path / "logs"))


def lines_of(folder: Path, day: date) -> bytes:
    """All lines of a day as the service wrote them, the last of each file ended."""
    names = sorted(folder.glob(f"indextts-{day}*.jsonl"), key=lambda path: len(path.name))
    return b"".join(
        content if content.endswith(b"\n") else content + b"\n"
        for content in (path.read_bytes() for path in names)
    )


def archive_of(folder: Path, remote: Any = None, *, now: datetime = NOW, **options: int) -> Archive:
    return Archive(folder, remote, clock=lambda: now, **options)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def figures(folder: Path) -> Any:
    return FileLogStore(folder, clock=lambda: NOW).counts(SEPTEMBER, ("speaker", "status"))


# --- What a run does -----------------------------------------------------------------------------


def test_closed_days_are_put_away_whole(folder: Path, month: Path) -> None:
    """Each day's files as one archive, byte for byte, with a checksum that sha256sum reads."""
    done = archive_of(folder).run()
    assert (done.archived, done.copied, done.dropped, done.failures) == (DAYS, DAYS, [], [])
    for day in DAYS:
        packed = folder / "archive" / f"indextts-{day}.jsonl.gz"
        assert gzip.decompress(packed.read_bytes()) == lines_of(month, day)
        seal = packed.with_name(f"{packed.name}.sha256").read_text()
        assert seal == f"{hashlib.sha256(packed.read_bytes()).hexdigest()}  {packed.name}\n"


def test_an_open_day_is_left_alone(folder: Path) -> None:
    """Also in the hour after midnight, for a clock that runs behind."""
    just_after = datetime(2026, 9, 13, 0, 30, tzinfo=UTC)
    done = archive_of(folder, now=just_after).run()
    assert done.archived == DAYS[:-2]
    assert archive_of(folder, now=just_after + timedelta(hours=1)).run().archived == DAYS[-2:-1]


def test_a_second_run_changes_nothing(folder: Path) -> None:
    """Not a byte, not a time."""
    shelf = Shelf()
    archive_of(folder, shelf).run()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("indextts-*")}
    again = archive_of(folder, shelf).run()
    assert again == type(again)()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("indextts-*")} == before


def test_without_a_remote_nothing_is_dropped(folder: Path) -> None:
    """However old it is."""
    before = names(folder)
    done = archive_of(folder, now=NOW + timedelta(days=500)).run()
    assert (done.dropped, done.expired) == ([], [])
    assert names(folder) == before


def test_lines_are_dropped_here_once_they_are_elsewhere(folder: Path, month: Path) -> None:
    """After seven days; the Parquet copy stays, and answers as before."""
    shelf = Shelf()
    before = figures(folder)
    done = archive_of(folder, shelf).run()
    old = DAYS[:6]
    assert done.uploaded == DAYS
    assert done.dropped == old
    for day in DAYS:
        kept = lines_of(folder, day)
        assert kept == (b"" if day in old else lines_of(month, day))
        assert gzip.decompress(shelf.held[f"indextts-{day}.jsonl.gz"]) == lines_of(month, day)
        assert (folder / "archive" / f"indextts-{day}.jsonl.gz").exists() is (day not in old)
    after = figures(folder)
    assert (after.groups, after.total) == (before.groups, before.total)
    read = after.reading
    assert (read.lines_read, read.lines_unreadable) == (
        before.reading.lines_read,
        before.reading.lines_unreadable,
    )
    assert {note.code for note in read.notes} >= {"torn_line", "lines_unreadable"}


def test_a_dropped_request_is_still_looked_up(folder: Path) -> None:
    """All of its lines, as they were written."""
    store = FileLogStore(folder, clock=lambda: NOW)
    line = store.search(SEPTEMBER, 10_000).lines[-1]
    before = store.lines_of(line["request_id"])
    archive_of(folder, Shelf()).run()
    assert not (folder / "indextts-2026-09-01.jsonl").exists()
    assert store.lines_of(line["request_id"]) == before


def test_nothing_is_dropped_that_the_remote_lacks(folder: Path) -> None:
    """Away, or holding something else: the lines stay, and the failure is told for each day."""
    shelf = Shelf(is_away=True)
    done = archive_of(folder, shelf).run()
    assert (done.archived, done.copied, done.dropped) == (DAYS, DAYS, [])
    assert [failure.en for failure in done.failures][:1] == ["away: indextts-2026-09-01.jsonl.gz."]
    assert lines_of(folder, DAYS[0])

    class Forgetful(Shelf):
        def put(self, path: Path, name: str) -> None:
            self.held[name] = path.read_bytes()[:-1]

    done = archive_of(folder, Forgetful()).run()
    assert (done.dropped, done.failures) == ([], [])
    assert lines_of(folder, DAYS[0])
    assert archive_of(folder, Shelf()).run().dropped == DAYS[:6]


def test_days_beyond_all_keeping_are_dropped_everywhere(folder: Path) -> None:
    """Lines, archive, copy, and what the remote holds; nothing else there is touched."""
    shelf = Shelf()
    archive_of(folder, shelf).run()
    shelf.held["notes.txt"] = b"not ours"
    done = archive_of(folder, shelf, now=datetime(2026, 12, 10, 3, tzinfo=UTC)).run()
    assert done.expired == [day for day in DAYS if day < date(2026, 9, 11)]
    left = {"indextts-2026-09-11", "indextts-2026-09-12", "indextts-2026-09-13"}
    assert {name[:19] for name in names(folder / "archive")} - {".lock"} == left
    assert {name[:19] for name in shelf.held} == {*left, "notes.txt"}


def test_lines_that_came_late_are_put_away_too(folder: Path, month: Path) -> None:
    """A file that has grown since is archived, copied and sent anew."""
    shelf = Shelf()
    archive_of(folder, shelf).run()
    late = folder / "indextts-2026-09-12.jsonl"
    with late.open("ab") as file:
        file.write(b'{"timestamp": "2026-09-12T23:59:59.999999Z", "event": "late.line"}\n')
    done = archive_of(folder, shelf).run()
    assert (done.archived, done.copied, done.uploaded) == ([late_day := date(2026, 9, 12)],) * 3
    assert gzip.decompress(shelf.held[f"indextts-{late_day}.jsonl.gz"]) == late.read_bytes()


def test_the_copy_is_made_anew_from_the_lines(folder: Path) -> None:
    """Wherever they are: here, in the archive, or in the object storage."""
    shelf = Shelf()
    archive_of(folder, shelf).run()
    before = figures(folder)
    for path in (folder / "archive").glob("*.parquet"):
        path.write_bytes(b"damaged")
    done = archive_of(folder, shelf).rebuild_parquet()
    assert (done.copied, done.failures) == (DAYS, [])
    after = figures(folder)
    assert (after.groups, after.total) == (before.groups, before.total)
    assert "copy_unreadable" not in {note.code for note in after.reading.notes}


def test_lines_that_are_nowhere_are_told(folder: Path) -> None:
    """The other days are done."""
    archive_of(folder, Shelf()).run()
    (folder / "archive" / "indextts-2026-09-01.parquet").write_bytes(b"damaged")
    done = archive_of(folder).rebuild_parquet()
    assert done.copied == DAYS[6:]
    assert len(done.failures) == 6
    assert done.failures[0].en.startswith("The lines of 2026-09-01 are neither here nor in")


def test_a_damaged_archive_is_made_anew_from_the_lines_or_told(folder: Path) -> None:
    """It is never sealed as it is."""
    archive_of(folder).run()
    packed = folder / "archive" / "indextts-2026-09-05.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-10])
    assert archive_of(folder).run().archived == [date(2026, 9, 5)]
    packed.write_bytes(packed.read_bytes()[:-10])
    (folder / "indextts-2026-09-05.jsonl").unlink()
    done = archive_of(folder, Shelf()).run()
    (failure,) = done.failures
    assert failure.en.startswith("indextts-2026-09-05.jsonl.gz is damaged (cut short).")
    assert packed.exists()
    rebuilt = archive_of(folder, Shelf()).rebuild_parquet()
    assert failure.en in {each.en for each in rebuilt.failures}


def test_a_copy_that_cannot_be_made_keeps_no_other_day(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB's own reason is told, in a sentence; a full disk is one."""
    made = parquet.copy_day

    def copy_day(connection: Any, lines: Any, finished: Path, *rest: Any, **named: Any) -> Any:
        if "2026-09-05" in finished.name:
            raise duckdb.IOException("No space left\non device")
        return made(connection, lines, finished, *rest, **named)

    monkeypatch.setattr(parquet, "copy_day", copy_day)
    done = archive_of(folder).run()
    assert done.copied == [day for day in DAYS if day != date(2026, 9, 5)]
    (failure,) = done.failures
    assert failure.en.startswith("The Parquet copy of 2026-09-05 could not be made (IOException")


def test_two_runs_at_once_are_one(folder: Path) -> None:
    """The second is refused, in a sentence."""
    first = archive_of(folder)
    with first._alone(), pytest.raises(ArchiveFailed, match="Another run"):
        archive_of(folder).run()


# --- Cut off at any point ------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a process that ends here."""


def killing(monkeypatch: pytest.MonkeyPatch, shelf: Shelf, at: int) -> list[str]:
    """End at the n-th thing that changes a disk or the remote; the list tells what happened."""
    steps: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            steps.append(f"{name} {args}")
            if len(steps) == at:
                raise Killed
            result = real(*args, **kwargs)
            if len(steps) == -at:
                raise Killed
            return result

        return step

    monkeypatch.setattr(os, "replace", wrapped("replace", os.replace))
    monkeypatch.setattr(os, "fsync", wrapped("fsync", os.fsync))
    monkeypatch.setattr(Path, "unlink", wrapped("unlink", Path.unlink))
    for name in ("put", "delete"):
        monkeypatch.setattr(shelf, name, wrapped(name, getattr(shelf, name)))
    return steps


@pytest.fixture(scope="module")
def two_days(month: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two files, and with a torn end."""
    folder = tmp_path_factory.mktemp("two")
    for path in month.glob("indextts-2026-09-0[23]*"):
        shutil.copy(path, folder)
    return folder


def whole_state(folder: Path, shelf: Shelf) -> dict[str, Any]:
    """What is there, archives by what they hold."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".parquet" and path.name != ".lock"
    }
    copies = sorted(path.name for path in folder.rglob("*.parquet"))
    return {"files": files, "copies": copies, "remote": dict(shelf.held)}


def test_a_run_that_is_cut_off_anywhere_is_made_good(
    two_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every rename, flush, removal and upload, before and after: nothing lost or doubled."""
    expected_folder, expected_shelf = Path(shutil.copytree(two_days, tmp_path / "e")), Shelf()
    with monkeypatch.context() as counting:
        steps = killing(counting, expected_shelf, 0)
        archive_of(expected_folder, expected_shelf).run()
    expected = whole_state(expected_folder, expected_shelf)
    before = figures(two_days)
    for at in itertools.chain.from_iterable((n, -n) for n in itertools.count(1)):
        folder, shelf = Path(shutil.copytree(two_days, tmp_path / f"x{at}")), Shelf()
        with monkeypatch.context() as killed:
            killing(killed, shelf, at)
            try:
                archive_of(folder, shelf).run()
            except Killed:
                pass
            else:
                assert at > 30, steps
                break
        during = figures(folder)
        assert (during.groups, during.total) == (before.groups, before.total), at
        archive_of(folder, shelf).run()
        assert whole_state(folder, shelf) == expected, at
        shutil.rmtree(folder)


# --- Forgetting ----------------------------------------------------------------------------------


def everywhere(folder: Path, shelf: Shelf) -> bytes:
    """Every byte that is kept, unpacked."""
    content = b""
    for path in folder.rglob("indextts-*"):
        content += gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for name, held in shelf.held.items():
        content += gzip.decompress(held) if name.endswith(".gz") else held
    return content


def asked_for(folder: Path, **fields: str) -> int:
    chosen = {name: (value,) for name, value in fields.items()}
    asked = Filter(since=SEPTEMBER.since, until=SEPTEMBER.until, **chosen)  # type: ignore[arg-type]
    return FileLogStore(folder, clock=lambda: NOW).counts(asked).total.requests


@pytest.mark.parametrize("day", [2, 12])
def test_a_request_is_forgotten_everywhere(folder: Path, day: int) -> None:
    """Dropped already or not: lines, archive, Parquet and the object storage; others stay."""
    shelf = Shelf()
    archive_of(folder, shelf).run()
    store = FileLogStore(folder, clock=lambda: NOW)
    begin = datetime(2026, 9, day, 9, tzinfo=UTC)
    asked = Filter(since=begin, until=begin + timedelta(hours=9))
    line = store.search(asked, 1).lines[0]
    before = figures(folder).total.requests
    forgotten = archive_of(folder, shelf).forget(request_id=line["request_id"])
    assert forgotten == Forgotten(requests=1, lines=2, days=1, lines_left=0)
    assert line["request_id"].encode() not in everywhere(folder, shelf)
    after = figures(folder)
    assert after.total.requests == before - 1
    assert "copy_unreadable" not in {note.code for note in after.reading.notes}
    again = archive_of(folder, shelf).run()
    assert again == type(again)()
    assert archive_of(folder, shelf).forget(request_id=line["request_id"]).lines == 0


def test_a_user_is_forgotten_with_all_their_requests(folder: Path) -> None:
    """Error lines of theirs too, which do not say the name; others' lines stay to the byte."""
    shelf = Shelf()
    archive_of(folder, shelf).run()
    user = "newsroom"
    theirs = asked_for(folder, user=user)
    others = figures(folder).total.requests - theirs
    assert theirs > 50
    forgotten = archive_of(folder, shelf).forget(user=user)
    assert (forgotten.requests, forgotten.lines_left) == (theirs, 0)
    assert forgotten.lines >= 2 * theirs
    assert b'"user": "newsroom"' not in everywhere(folder, shelf)
    assert asked_for(folder, user=user) == 0
    assert figures(folder).total.requests == others


def test_an_open_day_is_not_rewritten_and_that_is_told(folder: Path) -> None:
    """The service writes to it; the lines left are counted."""
    open_file = folder / "indextts-2026-09-14.jsonl"
    line = {
        "timestamp": "2026-09-14T01:00:00.000000Z",
        "event": "synthesis.finished",
        "request_id": "01M1KJTKG0ABCDEFGHJKMNPQRS",
        "user": 'Ann "知燕"',
    }
    text = json.dumps(line, ensure_ascii=False) + "\n" + json.dumps(line) + "\n"
    open_file.write_text(text, "utf-8")
    forgotten = archive_of(folder).forget(user='Ann "知燕"')
    assert forgotten == Forgotten(requests=0, lines=0, days=0, lines_left=2)
    assert open_file.read_text("utf-8") == text


def test_forgetting_is_logged_without_what_was_forgotten(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts only: no name, no id."""
    said: list[tuple[str, dict[str, Any]]] = []

    class Listener:
        def info(self, event: str, **fields: Any) -> None:
            said.append((event, fields))

    archive_of(folder).run()
    monkeypatch.setattr(archive_module, "log", Listener())
    forgotten = archive_of(folder).forget(user="museum")
    (event, fields) = said[-1]
    assert event == "log.forgotten"
    assert fields == {
        "by": "user",
        "requests": forgotten.requests,
        "lines": forgotten.lines,
        "days": forgotten.days,
        "lines_left": 0,
    }
    assert "museum" not in json.dumps(said)


def test_forgetting_that_is_cut_off_is_made_good(
    two_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again it removes the rest; with nightly runs between, nothing comes back for good."""
    ready, shelf = Path(shutil.copytree(two_days, tmp_path / "ready")), Shelf()
    archive_of(ready, shelf, local_days=11).run()
    for at in itertools.count(1):
        folder, here = Path(shutil.copytree(ready, tmp_path / f"x{at}")), Shelf(dict(shelf.held))
        with monkeypatch.context() as killed:
            killing(killed, here, at)
            try:
                archive_of(folder, here, local_days=11).forget(user="newsroom")
            except Killed:
                pass
            else:
                assert at > 10
                break
        if at % 2:
            archive_of(folder, here, local_days=11).run()
        archive_of(folder, here, local_days=11).forget(user="newsroom")
        assert b'"newsroom"' not in everywhere(folder, here), at
        assert asked_for(folder, user="newsroom") == 0
        again = archive_of(folder, here, local_days=11).run()
        assert again == type(again)(), at
        shutil.rmtree(folder)


# --- The object storage --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """A server of its own that speaks S3."""
    with running_storage() as url:
        yield url


@pytest.fixture
def remote(storage: str, request: pytest.FixtureRequest) -> S3Remote:
    """An empty bucket there."""
    name = f"b{abs(hash(request.node.name)) % 10**9}"
    make_bucket(storage, name)
    return S3Remote(Bucket(name=name, endpoint=storage, prefix="logs/tts/", **KEYS))


def test_an_archive_goes_to_a_storage_and_back(folder: Path, month: Path, remote: S3Remote) -> None:
    """The whole way over HTTP: sent, verified, dropped here, fetched for a new copy, expired."""
    done = archive_of(folder, remote).run()
    assert (done.uploaded, done.dropped, done.failures) == (DAYS, DAYS[:6], [])
    assert len(remote.names()) == 2 * len(DAYS)
    fetched = folder / "fetched.gz"
    assert remote.get("indextts-2026-09-01.jsonl.gz", fetched)
    assert gzip.decompress(fetched.read_bytes()) == lines_of(month, DAYS[0])
    for path in (folder / "archive").glob("*.parquet"):
        path.unlink()
    (folder / "archive" / "indextts-2026-09-01.parquet").write_bytes(b"damaged")
    (folder / "archive" / "indextts-2026-09-01.other.parquet").write_bytes(b"damaged")
    done = archive_of(folder, remote).run()
    assert done.copied == [DAYS[0], *DAYS[6:]]
    again = archive_of(folder, remote).run()
    assert again == type(again)()
    gone = archive_of(folder, remote, now=NOW + timedelta(days=200)).run()
    assert remote.names() == []
    assert gone.expired == DAYS


def test_what_a_storage_holds_is_compared_byte_for_byte(tmp_path: Path, remote: S3Remote) -> None:
    """Missing, shorter, of the same length, the same."""
    path = tmp_path / "one"
    path.write_bytes(b"0123456789")
    assert not remote.holds(path, "one")
    assert not remote.get("one", tmp_path / "two")
    remote.put(path, "one")
    assert remote.holds(path, "one")
    path.write_bytes(b"0123456780")
    assert not remote.holds(path, "one")
    path.write_bytes(b"012345678")
    assert not remote.holds(path, "one")
    remote.delete("one")
    remote.delete("one")
    assert remote.names() == []


def test_a_request_is_forgotten_in_a_storage(folder: Path, remote: S3Remote) -> None:
    """What is fetched afterwards does not hold it."""
    archive_of(folder, remote).run()
    store = FileLogStore(folder, clock=lambda: NOW)
    line = store.search(SEPTEMBER, 10_000).lines[-1]
    assert archive_of(folder, remote).forget(request_id=line["request_id"]).lines == 2
    assert remote.get("indextts-2026-09-01.jsonl.gz", folder / "fetched.gz")
    content = gzip.decompress((folder / "fetched.gz").read_bytes())
    assert line["request_id"].encode() not in content
    archive_files.check(folder / "fetched.gz")


@pytest.mark.parametrize(
    ("endpoint", "bucket", "reason"),
    [
        ("http://127.0.0.1:9", "any", "EndpointConnectionError"),
        (None, "there-is-none", "NoSuchBucket"),
    ],
)
def test_a_storage_that_is_away_is_told(
    storage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str | None,
    bucket: str,
    reason: str,
) -> None:
    """With its address and bucket, in both languages, and never the keys."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    keys = {**KEYS, "secret_key": "a-secret"}
    asked = Bucket(name=bucket, endpoint=endpoint or storage, **keys)
    with pytest.raises(RemoteFailed) as caught:
        S3Remote(asked).names()
    assert asked.endpoint is not None
    for said in (caught.value.en, caught.value.zh):
        assert asked.endpoint in said
        assert bucket in said
        assert reason in said
    assert "a-secret" not in caught.value.en + repr(asked)
