"""Several services share one bucket, and none loses a day to another."""

from __future__ import annotations

import errno
import gzip
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from test_archive import Shelf

from observability import request_id as request_ids
from observability.archive import Archive
from observability.archive_place import OWNER, PlaceTaken, fetch, own_place
from observability.archive_remote import RemoteFailed
from observability.archived_requests import ArchivedRequests
from observability.generated_logs import Month, generate
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Missing, Unanswerable

NOW = datetime(2026, 9, 4, 3, tzinfo=UTC)
LATER = datetime(2026, 9, 20, 3, tzinfo=UTC)
DAY = date(2026, 9, 2)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Three days of two services, not to be changed."""
    place = tmp_path_factory.mktemp("services")
    for seed, name in enumerate(("tts-a", "tts-b")):
        for path in generate(Month(2026, 9, 300, seed=seed), place / name)[3:]:
            path.unlink()
    return {name: place / name for name in ("tts-a", "tts-b")}


@pytest.fixture
def services(written: Mapping[str, Path], tmp_path: Path) -> Mapping[str, Path]:
    """Copies of them."""
    return {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in written.items()}


def put_away(folder: Path, shelf: Shelf, instance: str, now: datetime = NOW) -> None:
    done = Archive(folder, own_place(folder, shelf, instance), clock=lambda: now).run()
    assert not done.failures


def content(shelf: Shelf, name: str) -> bytes:
    return gzip.decompress(shelf.held[name])


def test_each_has_a_place_of_its_own(services: Mapping[str, Path]) -> None:
    """The days of both are there, whole, after each dropped its own."""
    shelf = Shelf()
    lines = {name: (path / f"indextts-{DAY}.jsonl").read_bytes() for name, path in services.items()}
    for now in (NOW, LATER):
        for name, folder in services.items():
            put_away(folder, shelf, name, now)
    for name, folder in services.items():
        assert not (folder / f"indextts-{DAY}.jsonl").exists()
        assert content(shelf, f"{name}/indextts-{DAY}.jsonl.gz") == lines[name]
    assert {name.partition("/")[0] for name in shelf.held} == set(services)


def test_one_that_bears_anothers_name_is_refused(services: Mapping[str, Path]) -> None:
    """Before it has written anything over the other's days; it is told what to do."""
    shelf = Shelf()
    put_away(services["tts-a"], shelf, "127.0.0.1:7860")
    held = dict(shelf.held)
    with pytest.raises(PlaceTaken, match="give each its own INDEXTTS_INSTANCE"):
        own_place(services["tts-b"], shelf, "127.0.0.1:7860")
    assert shelf.held == held
    # As it was told: another name, and the place that it chose forgotten.
    (services["tts-b"] / "archive" / OWNER).unlink()
    put_away(services["tts-b"], shelf, "tts-b")


def test_a_folder_keeps_its_place_under_another_name(services: Mapping[str, Path]) -> None:
    """Or what it stored would be out of the reach of expiry and of forgetting."""
    shelf = Shelf()
    put_away(services["tts-a"], shelf, "tts-a")
    before = set(shelf.held)
    put_away(services["tts-a"], shelf, "renamed")
    assert set(shelf.held) == before
    archive = Archive(
        services["tts-a"], own_place(services["tts-a"], shelf, "renamed"), clock=lambda: LATER
    )
    lines = content(shelf, f"tts-a/indextts-{DAY}.jsonl.gz").splitlines()
    wanted = json.loads(lines[0])["request_id"]
    assert archive.forget(request_id=wanted).requests == 1
    assert wanted.encode() not in content(shelf, f"tts-a/indextts-{DAY}.jsonl.gz")


def test_days_from_before_instances_had_names_stay_where_they_are(
    services: Mapping[str, Path],
) -> None:
    """Whose they are goes on there; another service, new to the bucket, has a place of its own."""
    shelf = Shelf()
    Archive(services["tts-a"], shelf, clock=lambda: NOW).run()
    before = set(shelf.held)
    put_away(services["tts-b"], shelf, "tts-b")
    put_away(services["tts-a"], shelf, "tts-a")
    assert set(shelf.held) - before == {
        OWNER,
        f"tts-b/{OWNER}",
        *(f"tts-b/{name}" for name in before),
    }


def test_a_bucket_that_is_away_takes_no_place(services: Mapping[str, Path]) -> None:
    """It is tried again, and then the place is chosen."""
    shelf = Shelf(is_away=True)
    with pytest.raises(RemoteFailed):
        own_place(services["tts-a"], shelf, "tts-a")
    shelf.is_away = False
    put_away(services["tts-a"], shelf, "tts-a")
    assert f"tts-a/{OWNER}" in shelf.held


def test_a_month_of_all_is_fetched_and_read(
    services: Mapping[str, Path], written: Mapping[str, Path], tmp_path: Path
) -> None:
    """The fetched folder answers for every service; what is there already is not fetched again."""
    shelf = Shelf()
    for name, folder in services.items():
        put_away(folder, shelf, name)
    shelf.held["../up/indextts-2026-09-02.jsonl.gz"] = b"out of the folder"
    shelf.held["notes.txt"] = b"of somebody else"
    found = fetch(shelf, lambda day: day == DAY, tmp_path / "fetched")
    assert [str(path.relative_to(tmp_path / "fetched")) for path in found] == [
        f"{name}/archive/indextts-{DAY}.jsonl.gz" for name in services
    ]
    store = FileLogStore(tmp_path / "fetched", clock=lambda: NOW)
    for folder in written.values():
        line = json.loads((folder / f"indextts-{DAY}.jsonl").read_text("utf-8").splitlines()[5])
        assert store.lines_of(line["request_id"])
    shelf.held = dict.fromkeys(shelf.held, b"")
    assert fetch(shelf, lambda day: day == DAY, tmp_path / "fetched") == found
    with pytest.raises(RemoteFailed, match="is not what its checksum says"):
        fetch(shelf, lambda day: day == DAY, tmp_path / "damaged")


def test_a_request_is_found_in_the_bucket_whoever_served_it(
    services: Mapping[str, Path],
    written: Mapping[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its id alone; one that is in none is missing; a bucket away and a full disk are told."""
    shelf = Shelf()
    for name, folder in services.items():
        put_away(folder, shelf, name)
    archives = ArchivedRequests(lambda: shelf)
    for folder in written.values():
        first = (folder / f"indextts-{DAY}.jsonl").read_text("utf-8").splitlines()[0]
        request_id = json.loads(first)["request_id"]
        own = FileLogStore(folder, clock=lambda: NOW).lines_of(request_id)
        assert archives.lines_of(request_id) == own
    with pytest.raises(Missing, match="which has 0 archives of"):
        archives.lines_of(request_ids.new())
    shelf.is_away = True
    with pytest.raises(Unanswerable, match="away"):
        archives.lines_of(request_id)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(shelf, "names", Mock(side_effect=full))
    with pytest.raises(Unanswerable, match="No space left"):
        archives.lines_of(request_id)
