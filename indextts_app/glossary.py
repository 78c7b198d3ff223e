"""The glossary: how terms are read in Chinese and in English, in one JSON file."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from indextts_app import errors, kept_files

MAX_TERMS = 1_000
MAX_CHARS = 100
LANGUAGES = ("zh", "en")

Readings = Mapping[str, str]
"""Language to reading; at least one of `LANGUAGES`."""


class GlossaryStore:
    """
    The terms in a file, read once.

    Safe to use from several threads; changes are on the disk when a method returns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._terms = _read(path)

    def all(self) -> Mapping[str, Readings]:
        """Every term with its readings, in the order in which they were put in."""
        return MappingProxyType(self._terms)

    def of(self, text: str) -> dict[str, Readings]:
        """The terms that occur in a text, in upper or lower case."""
        folded = text.casefold()
        return {
            term: readings for term, readings in self._terms.items() if term.casefold() in folded
        }

    def put(self, term: object, readings: object) -> None:
        """
        Add a term, or replace its readings.

        Raises:
            errors.InvalidField: term or reading is none, or there are enough terms.
            errors.KeepingFailed: it cannot be written.
        """
        word, read_as = _checked(term, readings)
        with self._lock:
            self._write({**self._terms, word: read_as})

    def replace(self, terms: object) -> None:
        """
        Put these terms in place of all.

        Raises:
            errors.InvalidField, errors.KeepingFailed: as `put`; nothing has changed then.
        """
        if not isinstance(terms, Mapping):
            raise _refused("it must be an object of terms.", "应为以术语为键的对象。")
        if len(terms) > MAX_TERMS:
            raise _full()
        checked = dict(_checked(term, readings) for term, readings in terms.items())
        with self._lock:
            self._write(checked)

    def remove(self, term: str) -> None:
        """
        Forget a term.

        Raises:
            errors.NotKept: there is none.
            errors.KeepingFailed: it cannot be written.
        """
        with self._lock:
            if term not in self._terms:
                raise errors.NotKept(kind="term", kind_zh="术语", where="GET /glossary")
            self._write({known: read for known, read in self._terms.items() if known != term})

    def _write(self, terms: dict[str, Readings]) -> None:
        if len(terms) > MAX_TERMS:
            raise _full()
        kept_files.write(self._path, terms)
        self._terms = terms


def _read(path: Path) -> dict[str, Readings]:
    terms: dict[str, Readings] = {}
    for term, readings in (kept_files.read(path) or {}).items():
        try:
            word, read_as = _checked(term, readings)
        except errors.InvalidField:
            kept_files.unreadable(path, "a term in it")
            continue
        terms[word] = read_as
    return terms


def _checked(term: object, readings: object) -> tuple[str, Readings]:
    if not isinstance(term, str) or not _fits(term):
        raise _refused(
            f"a term must be one line of 1 to {MAX_CHARS} characters.",
            f"术语应为一行 1 到 {MAX_CHARS} 个字。",
        )
    given = {}
    if isinstance(readings, Mapping) and set(readings) <= set(LANGUAGES):
        given = {
            language: text.strip() if isinstance(text, str) else "\0"
            for language in LANGUAGES
            if (text := readings.get(language)) not in (None, "")
        }
    if not given or not all(map(_fits, given.values())):
        raise _refused(
            'readings look like {"zh": "接口", "en": "A P I"}: one of them or both, each one line '
            f"of 1 to {MAX_CHARS} characters without a backslash.",
            '读法形如 {"zh": "接口", "en": "A P I"}，至少一种，'
            f"每种为一行 1 到 {MAX_CHARS} 个字，不含反斜杠。",
        )
    return term.strip(), given


def _fits(text: str) -> bool:
    # To the engine's own search and replace, a backslash in a reading is a command.
    return (
        len(text.strip()) >= 1
        and len(text) <= MAX_CHARS
        and text.isprintable()
        and ("\\" not in text)
    )


def _refused(reason: str, reason_zh: str) -> errors.InvalidField:
    return errors.InvalidField(field="glossary", reason=reason, reason_zh=reason_zh)


def _full() -> errors.LibraryFull:
    return errors.LibraryFull(limit=MAX_TERMS, kind="terms", kind_zh="术语")
