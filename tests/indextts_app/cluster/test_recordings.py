"""Promises of recordings on their way to a replica, and of what a node keeps of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from indextts_app.cluster import gateway
from indextts_app.cluster.gateway import Gateway
from indextts_app.cluster.recordings import KEEP_SECONDS, Recordings
from indextts_app.cluster.replica import Replica

pytestmark = pytest.mark.anyio

CONTENT = b"RIFF, and what somebody said"
NAME = f"{hashlib.sha256(CONTENT).hexdigest()}.wav"
DAY = 24 * 3600.0


class ObjectStore:
    """Ray's, without Ray: counts what was put there."""

    def __init__(self) -> None:
        self.puts = 0

    def put(self, content: bytes) -> Awaitable[bytes]:
        """A reference that may be awaited once."""
        self.puts += 1

        async def got() -> bytes:
            return content

        return got()


async def test_a_recording_arrives_without_a_path_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica has the content under the hash of it; where it lay before is told to nobody."""
    store = ObjectStore()
    monkeypatch.setattr(gateway, "ray", store)
    own = tmp_path / "speakers" / "somebody.wav"
    own.parent.mkdir()
    own.write_bytes(CONTENT)
    hands_on: Any = SimpleNamespace(_recordings=gateway.OrderedDict())
    fields: dict[str, Any] = {"reference": str(own), "emotion_reference": None}
    sent = await Gateway._recordings_of(hands_on, fields)
    assert fields == {"reference": None, "emotion_reference": None}
    assert [name for name, _ in sent.values()] == [NAME]
    there: Any = SimpleNamespace(_recordings=Recordings(tmp_path / "node"))
    paths = await Replica._paths(there, sent)
    assert paths == {"reference": str(tmp_path / "node" / NAME)}
    assert (tmp_path / "node" / NAME).read_bytes() == CONTENT
    # The next request with it sends nothing: its reference could not be awaited again.
    again = await Gateway._recordings_of(hands_on, {**fields, "reference": str(own)})
    assert await Replica._paths(there, again) == paths
    assert store.puts == 1


def test_what_nobody_used_for_a_day_goes(tmp_path: Path) -> None:
    """Whenever another one comes; one that is used stays."""
    recordings = Recordings(tmp_path)
    unused, used, new = (f"{number:064x}.wav" for number in range(3))
    assert KEEP_SECONDS == DAY
    for name in (unused, used):
        recordings.add(name, CONTENT)
        os.utime(tmp_path / name, (0, time.time() - DAY - 60))
    assert recordings.has(used)
    recordings.add(new, CONTENT)
    assert [recordings.has(name) for name in (unused, used, new)] == [False, True, True]


def test_a_node_keeps_no_more_than_its_limit(tmp_path: Path) -> None:
    """Those that nobody has used for longest go first; what came just now stays."""
    recordings = Recordings(tmp_path, max_mb=0.003)
    names = [f"{number:064x}.wav" for number in range(5)]
    for age, name in zip(range(50, 0, -10), names, strict=True):
        recordings.add(name, bytes(1_000))
        os.utime(tmp_path / name, (0, time.time() - age))
        recordings.has(names[0])
    assert [recordings.has(name) for name in names] == [True, False, False, True, True]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "voice.wav", f"{'0' * 64}.mp3"])
def test_a_recording_has_no_other_name_than_a_hash(tmp_path: Path, name: str) -> None:
    """Nothing is read or written outside of the folder."""
    with pytest.raises(ValueError, match="hash"):
        Recordings(tmp_path).path(name)


def test_a_folder_that_is_not_its_users_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it, or can write there, could have a voice spoken with that nobody sent."""
    own, others, link = tmp_path / "own", tmp_path / "others", tmp_path / "link"
    Recordings(own)
    Recordings(own)
    others.mkdir()
    others.chmod(0o770)
    link.symlink_to(own)
    for folder in (others, link):
        with pytest.raises(PermissionError, match="a folder of this user alone"):
            Recordings(folder)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(PermissionError, match="remove what is there"):
        Recordings(own)
