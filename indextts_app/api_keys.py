"""
API keys: several, each with a name, of which only hashes are stored.

A key is 256 random bits, so that a plain SHA-256 tells nothing of it; there is no word list to try.
They stand as `NAME:sha256:HEX`, one a line in a file (`INDEXTTS_API_KEYS_FILE`, made and changed by
`scripts/api_key.py`; `#` begins a comment) or comma-separated in `INDEXTTS_API_KEYS`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from indextts_app.settings import Settings, SettingsError

log = structlog.get_logger("indextts_app.api_keys")

PREFIX = "indextts_"
"""What every key begins with, so that scanners for secrets can know one."""

LOOK_SECONDS = 1.0
"""How often, at the most, it is looked whether the file has changed."""

MAX_KEY_CHARS = 256

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ENTRY = re.compile(rf"(?P<name>{_NAME.pattern}):sha256:(?P<digest>[0-9a-f]{{64}})")

Digests = Mapping[str, str]
"""The name of each key by its digest."""


class KeysError(Exception):
    """The keys cannot be read, or not be changed as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it is stored."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}:sha256:{self.digest}"


class ApiKeys:
    """
    The keys in force; for one thread.

    A file that changes is read again within a second of the next request. One that cannot be read
    then changes nothing, and is told once in the log.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            SettingsError: the keys cannot be read, or the file has none.
        """
        self._file = settings.api_keys_file
        self._clock = clock
        given = settings.api_keys
        try:
            entries = parsed(given.get_secret_value(), "INDEXTTS_API_KEYS") if given else []
            self._given = _digests(entries)
            self._kept: Digests = {}
            self._seen: object = None
            if self._file:
                self._seen = _state(self._file)
                self._kept = _digests(read(self._file))
        except (KeysError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SettingsError(f"INDEXTTS_API_KEYS_FILE or INDEXTTS_API_KEYS: {reason}.") from None
        # An empty variable is one whose secret was not there: no reason to open to everybody.
        if (self._file or given is not None) and not (self._kept or self._given):
            name = "INDEXTTS_API_KEYS_FILE" if self._file else "INDEXTTS_API_KEYS"
            raise SettingsError(
                f"{name} has no key, and nobody could ask for anything. Make one "
                "(scripts/api_key.py new NAME), or leave the setting out."
            )
        self._looked_at = clock()

    @property
    def are_needed(self) -> bool:
        """Whether whoever asks for speech has to have a key."""
        return self._file is not None or bool(self._given)

    def name_of(self, key: str) -> str | None:
        """The name of a key; None for one that is not in force."""
        return None if len(key) > MAX_KEY_CHARS else self.name_of_digest(digest_of(key))

    def name_of_digest(self, digest: str) -> str | None:
        """The same, of a key that is known by its digest."""
        self._look()
        return self._kept.get(digest) or self._given.get(digest)

    def _look(self) -> None:
        if self._file is None or self._clock() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = self._clock()
        state: object = None
        try:
            state = _state(self._file)
            if state == self._seen:
                return
            self._kept = _digests(read(self._file))
            log.info("api_keys.read", keys=len(self._kept))
        except (KeysError, OSError) as error:
            if state != self._seen:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                log.error("api_keys.unreadable", reason=reason)
        self._seen = state


def new_key() -> str:
    """A key that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read(file: Path) -> list[Entry]:
    """
    The keys in a file.

    Raises:
        KeysError: there is something else in it.
        OSError: it cannot be read.
    """
    try:
        return parsed(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError:
        raise KeysError(f"{file} is not text") from None


def parsed(text: str, where: str) -> list[Entry]:
    """
    The keys in a text; see the module.

    Raises:
        KeysError: something else is in it; the message says in which entry, and not what.
    """
    entries = []
    stripped = (part.strip() for line in text.splitlines() for part in _parts(line))
    for number, entry in enumerate(filter(None, stripped), 1):
        found = _ENTRY.fullmatch(entry)
        if not found:
            raise KeysError(f"entry {number} of {where} is not NAME:sha256:HEX")
        entries.append(Entry(found["name"], found["digest"]))
    return entries


def add(file: Path, name: str) -> str:
    """
    A new key of this name, whose hash is in the file afterwards.

    Raises:
        KeysError: the name does not fit, or is taken.
        OSError: the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(
            "a name has 1 to 64 of a-z, 0-9, '.', '_', '-' and begins with a letter or digit"
        )
    entries = read(file) if file.exists() else []
    if any(entry.name == name for entry in entries):
        raise KeysError(f"there is a key '{name}' already: revoke it first, or choose another name")
    key = new_key()
    _write(file, [*entries, Entry(name, digest_of(key))])
    return key


def revoke(file: Path, name: str) -> None:
    """
    Take the key of this name out of the file.

    Raises:
        KeysError: there is none.
        OSError: the file cannot be read or written.
    """
    entries = read(file)
    left = [entry for entry in entries if entry.name != name]
    if len(left) == len(entries):
        raise KeysError(f"there is no key '{name}'")
    _write(file, left)


def _write(file: Path, entries: list[Entry]) -> None:
    """Readable by its owner only, and whole at every moment."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    head = "# API keys of IndexTTS by their hashes; made by scripts/api_key.py.\n"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "w", encoding="utf-8") as written:
            written.write(head + "".join(f"{entry}\n" for entry in entries))
            written.flush()
            os.fsync(written.fileno())
        if file.exists():
            # The service may run as another user, who was given the file.
            kept = file.stat()
            part.chmod(kept.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(part, kept.st_uid, kept.st_gid)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _parts(line: str) -> list[str]:
    return line.partition("#")[0].split(",")


def _digests(entries: list[Entry]) -> Digests:
    return {entry.digest: entry.name for entry in entries}


def _state(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
