"""A result as it is kept: the file, what was measured of it, and nothing of the text."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from indextts_app.tags import retagged
from observability.audio_check import SignalReport
from observability.events import Scalar

VERSION = 1
"""Of what `packed` writes; others are not read."""

_MAGIC = b"ITTS"
_HEAD = struct.Struct("<4sHII")
"""Magic, version, length of the JSON, CRC-32 of all that follows."""


class SharedUnavailable(Exception):
    """A shared store did not answer in time, or with an error."""


class Damaged(Exception):
    """These bytes are no entry, or not the whole of one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A result to be served again."""

    request_id: str
    """Of the request that it was made for."""
    made_at: float
    """Seconds since 1970."""
    audio: bytes
    sample_rate: int
    signal: SignalReport
    seed: int | None = None
    notes: Mapping[str, Scalar] = field(default_factory=dict)
    """What the engine told of the audio: fields of the event."""

    def audio_for(self, request_id: str) -> bytes:
        """The file with this request_id in its tags."""
        return retagged(self.audio, self.request_id, request_id)

    def packed(self) -> bytes:
        """All of it as bytes."""
        known: dict[str, Any] = {
            "request_id": self.request_id,
            "made_at": self.made_at,
            "sample_rate": self.sample_rate,
            "signal": asdict(self.signal),
            "seed": self.seed,
            "notes": dict(self.notes),
        }
        told = json.dumps(known).encode()
        checksum = zlib.crc32(self.audio, zlib.crc32(told))
        return _HEAD.pack(_MAGIC, VERSION, len(told), checksum) + told + self.audio

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """
        The entry that was packed.

        Raises:
            Damaged: it was not, or by another version.
        """
        try:
            magic, version, length, checksum = _HEAD.unpack_from(data)
            if (magic, version) != (_MAGIC, VERSION):
                raise Damaged
            told, audio = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
            if zlib.crc32(audio, zlib.crc32(told)) != checksum:
                raise Damaged
            known = json.loads(told)
            return cls(audio=audio, **{**known, "signal": SignalReport(**known["signal"])})
        except (struct.error, ValueError, TypeError, KeyError) as error:
            raise Damaged from error
