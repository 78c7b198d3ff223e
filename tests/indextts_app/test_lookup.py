"""Promises of the look-up: whatever a user has at hand leads to the story."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ulid import ULID

from indextts_app import audio
from indextts_app.lookup import CLIENT_ID_DAYS, Lookup
from indextts_app.synthesis import AudioFormat
from observability.archived_requests import ArchivedRequests
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Missing, Unanswerable
from observability.request_id import MalformedRequestId

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


class Logs:
    """A log folder that requests are written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, moment: datetime, **fields: Any) -> str:
        """The id of a request that finished then."""
        request_id = str(ULID.from_datetime(moment))
        line: Mapping[str, Any] = {
            "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
            "level": "info",
            "event": "synthesis.finished",
            "request_id": request_id,
            "status": "success",
            "duration_ms": 12.0,
            **fields,
        }
        with (self.folder / f"indextts-{moment.date()}.jsonl").open("a") as file:
            file.write(f"{json.dumps(line)}\n")
        return request_id


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    """An empty log folder."""
    return Logs(tmp_path)


@pytest.fixture
def lookup(logs: Logs) -> Lookup:
    """A look-up in it."""
    return Lookup(FileLogStore(logs.folder, clock=lambda: NOW), clock=lambda: NOW)


def test_a_typed_id_is_forgiven(logs: Logs, lookup: Lookup) -> None:
    """Lower case and the usual misreadings; the neighbours come along."""
    asked = logs.finished(NOW - timedelta(minutes=5))
    logs.finished(NOW - timedelta(minutes=5, seconds=10), status="failed", error_type="x")
    logs.finished(NOW - timedelta(minutes=30))
    told = lookup.by_text(asked.lower().replace("0", "o").replace("1", "l"))
    assert (told.request_id, told.status, told.also) == (asked, "success", ())
    assert told.around is not None
    assert (told.around.requests, told.around.failed, told.around.failed_alike) == (1, 1, 0)


def test_an_audio_file_is_enough(logs: Logs, lookup: Lookup, tmp_path: Path) -> None:
    """By its tags; one without says so by the name that the user knows."""
    asked = logs.finished(NOW - timedelta(minutes=5))
    path = tmp_path / "complaint.dat"
    samples = np.zeros(4_410, np.int16)
    path.write_bytes(audio.encoded(samples, 22_050, AudioFormat.OGG, asked))
    assert lookup.by_file(path).request_id == asked
    path.write_bytes(b"nothing")
    with pytest.raises(Missing, match=r"^holiday\.mp3 has no request_id") as missing:
        lookup.by_file(path, "holiday.mp3")
    assert "holiday.mp3" in missing.value.zh


def test_a_clients_own_id_leads_to_the_newest(logs: Logs, lookup: Lookup) -> None:
    """Its others are named; a part of an id will do where no whole one does."""
    old = logs.finished(NOW - timedelta(days=3), client_request_id="order-17")
    new = logs.finished(NOW - timedelta(days=1), client_request_id="order-17")
    other = logs.finished(NOW - timedelta(hours=1), client_request_id="order-171")
    told = lookup.by_text(" order-17 ")
    assert (told.request_id, told.also) == (new, (old,))
    assert lookup.by_text("der-171").request_id == other


def test_a_clients_id_that_looks_like_ours_is_found_too(logs: Logs, lookup: Lookup) -> None:
    """26 characters that no request of ours has."""
    stranger = str(ULID.from_datetime(NOW - timedelta(hours=2)))
    asked = logs.finished(NOW - timedelta(hours=1), client_request_id=stranger)
    assert lookup.by_text(stranger).request_id == asked


@pytest.mark.parametrize("typed", ["", "der", "no such id", "order-18", "<script>", "订单"])
def test_what_is_no_id_is_said_to_be_none(typed: str, logs: Logs, lookup: Lookup) -> None:
    """Three characters are in too many ids, and nothing else is searched for."""
    logs.finished(NOW - timedelta(hours=1), client_request_id="order-17")
    with pytest.raises(MalformedRequestId):
        lookup.by_text(typed)


def test_a_clients_id_is_searched_for_a_month(logs: Logs, lookup: Lookup) -> None:
    """It says nothing of its time."""
    logs.finished(NOW - timedelta(days=CLIENT_ID_DAYS + 1), client_request_id="order-17")
    with pytest.raises(MalformedRequestId):
        lookup.by_text("order-17")


def test_a_story_is_told_without_its_neighbours_too(logs: Logs) -> None:
    """Where the log cannot be asked for many, it may still tell one."""

    class Half(FileLogStore):
        def neighbours(self, request_id: str, *, seconds: float = 60.0) -> Any:
            raise Unanswerable(en="away", zh="不在")

    asked = logs.finished(NOW - timedelta(minutes=5))
    told = Lookup(Half(logs.folder, clock=lambda: NOW)).by_text(asked)
    assert (told.request_id, told.around) == (asked, None)


class Shelf:
    """A bucket that holds one day of a service."""

    def __init__(self, folder: Path, day: date) -> None:
        self.names_asked = 0
        archive = folder / "shelf" / f"indextts-{day}.jsonl.gz"
        archive.parent.mkdir()
        archive.write_bytes(gzip.compress((folder / f"indextts-{day}.jsonl").read_bytes()))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        self._held = {
            f"tts-b/{archive.name}": archive.read_bytes(),
            f"tts-b/{archive.name}.sha256": f"{digest}  {archive.name}".encode(),
        }

    def names(self) -> list[str]:
        """Everything in it."""
        self.names_asked += 1
        return list(self._held)

    def get(self, name: str, path: Path) -> bool:
        """Fetch it."""
        path.write_bytes(self._held[name])
        return True


def test_what_no_store_has_is_looked_up_in_the_archives(logs: Logs, tmp_path: Path) -> None:
    """Of any service in the bucket, and only then; what is nowhere is told by all of them."""
    moment = NOW - timedelta(days=40)
    asked = logs.finished(moment, instance="tts-b")
    shelf = Shelf(tmp_path, moment.date())
    (tmp_path / f"indextts-{moment.date()}.jsonl").unlink()
    recent = logs.finished(NOW - timedelta(hours=1), instance="tts-a")
    lookup = Lookup(
        FileLogStore(logs.folder, clock=lambda: NOW),
        archives=ArchivedRequests(lambda: shelf),  # type: ignore[arg-type, return-value]
        clock=lambda: NOW,
    )
    assert lookup.by_id(recent).asked["instance"] == "tts-a"
    assert shelf.names_asked == 0
    assert lookup.by_id(asked).asked["instance"] == "tts-b"
    with pytest.raises(Missing, match=r"Look in the archive\. Nor is it in the bucket"):
        lookup.by_id(str(ULID.from_datetime(NOW - timedelta(days=50))))
