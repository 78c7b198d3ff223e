"""What is kept for good: small JSON files, whole or not at all, and recordings by their content."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from indextts_app import errors, references
from indextts_app.references import Reference

log = structlog.get_logger("indextts_app.library")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """
    Put a JSON file under its name only once it is whole and on the disk.

    Raises:
        errors.KeepingFailed: it cannot be written.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1)
    with _into(path) as part, part.open("w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None, and a line in the log, where there is no such thing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        unreadable(path, type(error).__name__)
        return None
    if isinstance(content, dict):
        return content
    unreadable(path, "not an object")
    return None


def unreadable(path: Path, reason: str) -> None:
    """Say that a file was passed over; the service starts without it."""
    log.error("library.unreadable", file=f"{path.parent.name}/{path.name}", reason=reason)


def remove(path: Path) -> None:
    """
    Delete a file that may be gone already.

    Raises:
        errors.KeepingFailed: it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise errors.KeepingFailed(reason=error.strerror) from error


class Recordings:
    """
    `<sha256>.wav` for every recording that something refers to.

    A recording that is in use when nothing refers to it any more goes when it is given back.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._in_use: Counter[str] = Counter()
        self._unwanted: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, reference: Reference) -> None:
        """
        Have a copy of this recording.

        Raises:
            errors.KeepingFailed: it cannot be written.
        """
        path = self._path(reference.sha256)
        with self._lock:
            self._unwanted.discard(reference.sha256)
            if not path.exists():
                with _into(path) as part:
                    shutil.copyfile(reference.path, part)

    def put(self, sha256: str, samples: bytes) -> Reference:
        """
        Have a recording of these samples, 24 kHz mono 16-bit.

        Raises:
            errors.KeepingFailed: it cannot be written.
        """
        path = self._path(sha256)
        with _into(path) as part:
            references.write(part, samples)
        return references.read(path, sha256)

    def find(self, sha256: str) -> Reference | None:
        """The recording with this hash; None if it is gone, or the hash is none."""
        if not _SHA256.fullmatch(sha256):
            return None
        try:
            return references.read(self._path(sha256), sha256)
        except OSError:
            return None

    @contextmanager
    def borrowed(self, sha256: str) -> Iterator[Reference | None]:
        """The recording, which stays until the block ends."""
        with self._lock:
            self._in_use[sha256] += 1
        try:
            yield self.find(sha256)
        finally:
            with self._lock:
                self._in_use[sha256] -= 1
                if not self._in_use[sha256]:
                    del self._in_use[sha256]
                    if sha256 in self._unwanted:
                        self._remove_borrowed(sha256)

    def keep_only(self, wanted: set[str]) -> set[str]:
        """Delete every recording that is not among these; the hashes of those not in use."""
        removed = set()
        with self._lock:
            for path in self._folder.glob("*.wav"):
                if path.stem in wanted:
                    continue
                if path.stem in self._in_use:
                    self._unwanted.add(path.stem)
                else:
                    self._remove(path.stem)
                    removed.add(path.stem)
        return removed

    def _remove_borrowed(self, sha256: str) -> None:
        """A recording that stays is no fault of the request that used it; the next one tries."""
        try:
            self._remove(sha256)
        except errors.KeepingFailed as error:
            self._unwanted.add(sha256)
            log.error("library.not_deleted", sha256=sha256, reason=str(error.details["reason"]))

    def _remove(self, sha256: str) -> None:
        self._unwanted.discard(sha256)
        remove(self._path(sha256))

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.wav"


@contextmanager
def _into(path: Path) -> Iterator[Path]:
    """A name of its own to write to, which becomes `path` at the end."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise errors.KeepingFailed(reason=error.strerror) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
