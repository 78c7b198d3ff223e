"""
Speakers of an engine that clones: recordings by content, each with a name that people chose.

    speakers/<id>.json         name, description, hash and length of the recording, when it was made
    recordings/<sha256>.wav    the recording, 24 kHz mono, at most 15 s
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import soundfile

from indextts_app import errors, kept_files, naming, references
from indextts_app.engines.base import Speaker, Translated
from indextts_app.kept_files import Recordings
from indextts_app.references import Reference
from indextts_app.synthesis import REFERENCE

SAMPLE = "sample"
SAMPLE_VOICE = Path(__file__).with_name("sample_voice.flac")
"""
A synthetic voice, so that a first try and the engine's self-test need nobody's recording.

`scripts/sample_voice.py` makes it with the embedded engine.
"""

_SAMPLE_NAME = Translated("Sample (synthetic voice)", "示例（合成音）")
_RESERVED = (SAMPLE, REFERENCE, "none")
"""Ids that mean something else: the built-in one, a request's own recording, no speaker."""


@dataclass(frozen=True, slots=True)
class StoredSpeaker:
    """A speaker that the service keeps; `sha256` names its recording."""

    id: str
    name: Translated
    description: str
    sha256: str
    seconds: float
    created: str
    """RFC 3339, UTC; empty for the built-in one."""
    truncated: bool = False
    """Whether what was sent was longer than is used."""


class SpeakerStore:
    """
    The speakers in a folder, read once; `sample` is always the first of them.

    Safe to use from several threads; changes are on the disk when a method returns.
    """

    def __init__(self, folder: Path, recordings: Recordings, *, max_speakers: int) -> None:
        self._folder = folder
        self._recordings = recordings
        self._max_speakers = max_speakers
        self._lock = threading.RLock()
        self._set(_read(folder, recordings))

    def offered(self) -> tuple[Speaker, ...]:
        """Every speaker as `all`, in the form that engines and pages know."""
        return self._offered

    def all(self) -> tuple[StoredSpeaker, ...]:
        """Every speaker, the built-in one first, then in the order in which they were made."""
        with self._lock:
            return (_sample(), *self._speakers.values())

    def find(self, speaker_id: str) -> StoredSpeaker | None:
        """The speaker with this id, None if there is none."""
        with self._lock:
            return _sample() if speaker_id == SAMPLE else self._speakers.get(speaker_id)

    def sample(self) -> Reference:
        """
        The recording of the built-in speaker, written where it is missing.

        Raises:
            errors.KeepingFailed: it cannot be written.
        """
        sha256, samples = _sample_content()
        found = self._recordings.find(sha256)
        return found or self._recordings.put(sha256, samples)

    def check_room(self, name: object) -> str:
        """
        The cleaned name, before work is spent on the recording.

        Raises:
            errors.InvalidField: the name is none, or taken, or there are enough speakers.
        """
        shown = naming.cleaned(name)
        with self._lock:
            names = [text for known in self.all() for text in (known.name.en, known.name.zh)]
            if any(naming.is_same(shown, taken) for taken in (*names, *_RESERVED)):
                raise errors.NameTaken(kind="speaker", kind_zh="发音人")
            if len(self._speakers) >= self._max_speakers:
                raise errors.LibraryFull(
                    limit=self._max_speakers, kind="speakers", kind_zh="发音人"
                )
        return shown

    def add(self, name: object, description: object, reference: Reference) -> StoredSpeaker:
        """
        A new speaker with this recording, which is copied.

        Raises:
            errors.InvalidField: see `check_room`.
            errors.KeepingFailed: it cannot be written.
        """
        told = naming.described(description)
        with self._lock:
            shown = self.check_room(name)
            new = StoredSpeaker(
                id=naming.new_id(
                    shown, f"voice-{reference.sha256[:8]}", {*_RESERVED, *self._speakers}
                ),
                name=Translated(shown, shown),
                description=told,
                sha256=reference.sha256,
                seconds=round(reference.seconds, 3),
                created=datetime.now(UTC).isoformat(),
                truncated=reference.truncated,
            )
            self._recordings.keep(reference)
            kept_files.write(self._path(new.id), _as_json(new))
            self._set({**self._speakers, new.id: new})
        return new

    def remove(self, speaker_id: str) -> None:
        """
        Forget a speaker; its recording stays with whoever else refers to it.

        Raises:
            errors.StillUsed: it is built in.
            errors.NotKept: there is none.
            errors.KeepingFailed: it cannot be deleted.
        """
        if speaker_id == SAMPLE:
            raise errors.StillUsed(
                reason="it is built in, and the engine tests itself with it.",
                reason_zh="这是内置发音人，引擎自检要用它。",
            )
        with self._lock:
            if speaker_id not in self._speakers:
                raise errors.NotKept(kind="speaker", kind_zh="发音人", where="GET /speakers")
            kept_files.remove(self._path(speaker_id))
            self._set({known: one for known, one in self._speakers.items() if known != speaker_id})

    def hashes(self) -> set[str]:
        """The recordings that speakers refer to, the built-in one's among them."""
        return {speaker.sha256 for speaker in self.all()}

    def _set(self, speakers: dict[str, StoredSpeaker]) -> None:
        self._speakers = speakers
        # Made once, because every request asks for it.
        self._offered = tuple(Speaker(one.id, one.name) for one in self.all())

    def _path(self, speaker_id: str) -> Path:
        return self._folder / f"{speaker_id}.json"


def _read(folder: Path, recordings: Recordings) -> dict[str, StoredSpeaker]:
    found = []
    for path in sorted(folder.glob("*.json")):
        content = kept_files.read(path)
        if content is None:
            continue
        speaker = _from_json(path.stem, content)
        if speaker is None:
            kept_files.unreadable(path, "not a speaker")
        elif recordings.find(speaker.sha256) is None:
            kept_files.unreadable(path, "its recording is missing")
        else:
            found.append(speaker)
    return {speaker.id: speaker for speaker in sorted(found, key=lambda one: one.created)}


def _as_json(speaker: StoredSpeaker) -> dict[str, Any]:
    return {
        "name": speaker.name.en,
        "description": speaker.description,
        "sha256": speaker.sha256,
        "seconds": speaker.seconds,
        "created": speaker.created,
        "truncated": speaker.truncated,
    }


def _from_json(speaker_id: str, content: Mapping[str, Any]) -> StoredSpeaker | None:
    try:
        name = naming.cleaned(content["name"])
        if not naming.is_id(speaker_id) or speaker_id in _RESERVED:
            return None
        return StoredSpeaker(
            id=speaker_id,
            name=Translated(name, name),
            description=naming.described(content["description"]),
            sha256=str(content["sha256"]),
            seconds=float(content["seconds"]),
            created=str(content["created"]),
            truncated=content["truncated"] is True,
        )
    except (errors.InvalidField, KeyError, TypeError, ValueError):
        return None


@cache
def _sample_content() -> tuple[str, bytes]:
    data = SAMPLE_VOICE.read_bytes()
    samples, _ = soundfile.read(io.BytesIO(data), dtype="<i2")
    return hashlib.sha256(data).hexdigest(), samples.astype("<i2").tobytes()


@cache
def _sample() -> StoredSpeaker:
    sha256, samples = _sample_content()
    seconds = len(samples) / references.SAMPLE_BYTES / references.SAMPLE_RATE
    return StoredSpeaker(SAMPLE, _SAMPLE_NAME, "", sha256, round(seconds, 3), "")
